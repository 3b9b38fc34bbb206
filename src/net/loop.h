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

/* Called when the socket or descriptor is readable (or a descriptor has hung up).  What it leaves
 * unread is reported again by the next wait.  May add and remove, itself too. */
typedef void (*loop_fn)(void *ctx);

/* Monotonic milliseconds, and wall-clock milliseconds since 1970. */
int64_t loop_now_ms(void);
int64_t loop_wall_ms(void);

loop *loop_new(void);
void loop_free(loop *l);
/* VOLT_EFULL: LOOP_ITEMS_MAX are watched. */
volt_code loop_add_sock(loop *l, sock *s, loop_fn fn, void *ctx, volt_err *err);
volt_code loop_add_fd(loop *l, int fd, loop_fn fn, void *ctx, volt_err *err);
/* Before the socket or descriptor is closed.  Harmless when it is not watched. */
void loop_remove_sock(loop *l, const sock *s);
void loop_remove_fd(loop *l, int fd);

/* Blocks SIGINT, SIGTERM, SIGHUP and SIGCHLD for this process (before any thread is made, which
 * means before the first socket) and reports them as events; SIGPIPE is ignored, and so is a SIGHUP
 * that was before, as nohup leaves it.  `fn` gets the signal's number; several SIGCHLD may come as
 * one.  One loop of a process may have the signals.  Programs that are started inherit both: reset
 * them (posix_spawnattr_setsigmask, _setsigdefault). */
volt_code loop_signals(loop *l, void (*fn)(void *ctx, int signal), void *ctx, volt_err *err);

/* Waits until something is readable or deadline_ms (monotonic; INT64_MAX: none) is reached, then
 * calls what is due once each.  *gap_ms (may be NULL): for how long nobody looked, since the last
 * wait, beyond what was asked for, when that is over 2 s, else 0: the process was stopped, or a
 * step took that long.  (While the machine sleeps the monotonic clock stands still.)
 * VOLT_EIO: polling itself failed. */
volt_code loop_wait(loop *l, int64_t deadline_ms, int64_t *gap_ms, volt_err *err);

#endif
