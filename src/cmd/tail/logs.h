/*
 * logs.h - the output of running tasks as it comes, whole and in order for each attempt.
 *
 * Published pieces are only a hint, for PUB drops: a piece that does not continue what was shown is
 * left out and fetched by query from where it goes on, and at the end of an attempt's log whatever
 * was not shown yet is fetched.  Lines of several attempts may alternate, but no line is torn.
 */
#ifndef VOLT_CMD_TAIL_LOGS_H
#define VOLT_CMD_TAIL_LOGS_H

#include "base/buf.h"
#include "core/msg.h"
#include "net/sock.h"

#define LOGS_MAX       16384 /* attempts at a time; output of further ones is not shown */
#define LOGS_FETCH_MAX 256   /* logs to fetch; beyond, logs_is_full(): hold back what is read */
#define LOGS_LINE_MAX  8192  /* bytes of a line; a longer one is shown in pieces */

typedef struct logs logs;

typedef struct logs_config {
    sock *sock;       /* borrowed, for queries */
    unsigned tag;     /* of the queries */
    bool json, color; /* one object a piece; else prefixed lines */
    bool whole;       /* also the beginning of logs that began before this was started */
    bool filtered;    /* show only what logs_event() says is wanted */
    buf *out;         /* borrowed: where output is appended */
} logs_config;

logs *logs_new(const logs_config *config);
void logs_free(logs *l);

/* A published piece. */
void logs_piece(logs *l, int64_t now_ms, const msg_log *piece);
/* An event, after its own line was shown; `wanted`: output of its build is to be shown. */
void logs_event(logs *l, int64_t now_ms, const msg_event *event, bool wanted);
/* True when `answer` was for one of our questions. */
bool logs_take(logs *l, int64_t now_ms, const msg *answer);
/* The dispatcher has another history. */
void logs_forget(logs *l);
bool logs_is_full(const logs *l);
/* Logs that are being fetched. */
size_t logs_pending(const logs *l);

void logs_tick(logs *l, int64_t now_ms);
int64_t logs_deadline_ms(const logs *l);

#endif
