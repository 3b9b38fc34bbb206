/*
 * link.h - the observer's three sockets to one dispatcher.
 *
 * PUSH to B takes submissions, SUB to B+2 hears answers and head beats, DEALER to B+1 asks.  Of a
 * name with several addresses one is connected at a time (a PUSH with two connections would deal
 * messages to both), the next one when nothing is heard.
 */
#ifndef VOLT_CMD_OBSERVER_LINK_H
#define VOLT_CMD_OBSERVER_LINK_H

#include "base/err.h"
#include "core/msg.h"
#include "net/addr.h"
#include "net/loop.h"

typedef struct observer_link observer_link;

/* Called with each message that comes; it stands for the call. */
typedef void (*observer_link_fn)(void *ctx, const msg *m);

/* VOLT_EIO.  A name that cannot be resolved now is tried again later. */
volt_code observer_link_new(loop *l, const addr *dispatcher, const char *obs, observer_link_fn fn,
                            void *ctx, observer_link **ret, volt_err *err);
void observer_link_free(observer_link *k);

/* VOLT_EAGAIN: would block. */
volt_code observer_link_push(observer_link *k, slice frame, volt_err *err);
void observer_link_query(observer_link *k, const msg *question);

/* To be called when it is due; `heard`: head beats come.  Connects to the next address when not. */
void observer_link_tick(observer_link *k, int64_t now_ms, bool heard);
/* Monotonic; INT64_MAX: none. */
int64_t observer_link_deadline_ms(const observer_link *k);

#endif
