/*
 * loop.h - one thread waits for sockets, descriptors, signals and a deadline.
 *
 * The only place with a clock besides cmd/.  The owner asks its core for the next deadline before
 * each wait; there are no timers of the loop's own.
 */
#ifndef VOLT_NET_LOOP_H
#define VOLT_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "net/sock.h"

#define LOOP_ITEMS_MAX 4096

typedef struct loop loop;

/* Called when the socket or descriptor is readable. */
typedef void (*loop_fn)(void *ctx);

/* Monotonic milliseconds, and wall-clock milliseconds since 1970. */
int64_t loop_now_ms(void);
int64_t loop_wall_ms(void);

loop *loop_new(void);
void loop_free(loop *l);
/* VOLT_EFULL: LOOP_ITEMS_MAX are watched. */
volt_code loop_add_sock(loop *l, sock *s, loop_fn fn, void *ctx, volt_err *err);
volt_code loop_add_fd(loop *l, int fd, loop_fn fn, void *ctx, volt_err *err);
void loop_remove_sock(loop *l, const sock *s);
void loop_remove_fd(loop *l, int fd);

/* Blocks SIGINT, SIGTERM, SIGHUP and SIGCHLD for this process (before any thread is made) and
 * reports them as events; SIGPIPE is ignored.  `fn` gets the signal's number. */
volt_code loop_signals(loop *l, void (*fn)(void *ctx, int signal), void *ctx, volt_err *err);

/* Waits until something is readable or deadline_ms (monotonic; INT64_MAX: none) is reached, then
 * calls what is due once each.  *gap_ms (may be NULL): how much longer than asked it took, when
 * that is over 2 s (the process was stopped or the machine slept), else 0. VOLT_EIO: polling itself
 * failed. */
volt_code loop_wait(loop *l, int64_t deadline_ms, int64_t *gap_ms, volt_err *err);

#endif
