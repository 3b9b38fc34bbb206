/*
 * client.h - questions to the dispatcher and their answers.
 *
 * A DEALER to port B+1.  Each question has a number that its answer repeats; a question is sent
 * again every second until it is answered or its time is up, by turns to each address of the name.
 * That is safe because every query and command may be repeated.
 */
#ifndef VOLT_CMD_CLIENT_H
#define VOLT_CMD_CLIENT_H

#include "base/err.h"
#include "cmd/command.h"
#include "core/msg.h"

typedef struct client client;

/* What commands that use a client have besides OPTION_DISPATCHER. */
#define OPTION_TIMEOUT                                                                            \
    {                                                                                             \
        "timeout", 0, OPTION_DURATION, "TIME", "5s", 0, 0, "how long to wait for an answer", true \
    }

/* Resolves and starts to connect; does not wait for it.  The command has OPTION_DISPATCHER and
 * OPTION_TIMEOUT.  VOLT_EINVALID: a malformed address.  VOLT_EUNREACHABLE: an unknown host. */
volt_code client_new(const command_line *line, client **ret, volt_err *err);
/* The same without a command line: `server` is HOST:PORT. */
volt_code client_open(const char *server, int64_t timeout_ms, client **ret, volt_err *err);
void client_free(client *c);

/* Asks and waits for the answer; *ret stands until the next call.  `question` needs no `r`.
 * An answer `err` or `rejected` is an error here: VOLT_ENOTFOUND, VOLT_EREFUSED and so on, with the
 * dispatcher's words; VOLT_EAGAIN when that may be otherwise soon.  VOLT_EUNREACHABLE: no answer in
 * time; says what a plain connect says. VOLT_EMSG: an answer of another type than `expected`, or
 * malformed. */
volt_code client_ask(client *c, const msg *question, msg_type expected, const msg **ret,
                     volt_err *err);

/* The answer last returned stands until client_free(). */
void client_keep(client *c);

/* "localhost:8888", as it was given. */
const char *client_server(const client *c);

/* A new random name for a submission or command: 32 hex digits and a NUL. */
void client_new_sid(char ret[33]);

#endif
