#include "net/loop.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "base/mem.h"

#define GAP_MS   2000
#define SLICE_MS 1000 /* longest single poll when the caller wants gaps: a stop shows within it */

typedef struct loop_item {
    loop_fn fn; /* NULL: removed, goes at the next wait */
    void *ctx;
} loop_item;

struct loop {
    zmq_pollitem_t *polls; /* items[i] belongs to polls[i] */
    loop_item *items;
    int n, cap;
    int removed;       /* of n */
    int64_t looked_ms; /* end of the last wait; 0: none yet */
    int signal_fd;
    void (*signal_fn)(void *ctx, int signal);
    void *signal_ctx;
};

static int64_t clock_ms(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* With the time that the machine slept: leases go by it, and the other side did not sleep. */
int64_t loop_now_ms(void)
{
    return clock_ms(CLOCK_BOOTTIME);
}

int64_t loop_wall_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

loop *loop_new(void)
{
    loop *l = NEW(loop);

    l->signal_fd = -1;
    return l;
}

void loop_free(loop *l)
{
    if (!l)
        return;
    if (l->signal_fd >= 0)
        close(l->signal_fd);
    free(l->polls);
    free(l->items);
    free(l);
}

static volt_code add(loop *l, zmq_pollitem_t poll, loop_fn fn, void *ctx, volt_err *err)
{
    assert(fn);
    if (l->n - l->removed >= LOOP_ITEMS_MAX)
        return volt_fail(err, VOLT_EFULL, "%d sockets and descriptors are watched already", l->n);
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 8;
        l->polls = mem_grow(l->polls, (size_t)l->cap, sizeof *l->polls);
        l->items = mem_grow(l->items, (size_t)l->cap, sizeof *l->items);
    }
    poll.events = ZMQ_POLLIN;
    l->polls[l->n] = poll;
    l->items[l->n] = (loop_item){ fn, ctx };
    l->n++;
    return VOLT_OK;
}

volt_code loop_add_sock(loop *l, sock *s, loop_fn fn, void *ctx, volt_err *err)
{
    return add(l, (zmq_pollitem_t){ .socket = sock_raw(s) }, fn, ctx, err);
}

volt_code loop_add_fd(loop *l, int fd, loop_fn fn, void *ctx, volt_err *err)
{
    assert(fd >= 0);
    return add(l, (zmq_pollitem_t){ .fd = fd }, fn, ctx, err);
}

/* Entries stay in their places until the next wait, which may be walking over them now. */
static void remove_item(loop *l, const void *socket, int fd)
{
    for (int i = 0; i < l->n; i++)
        if (l->items[i].fn && l->polls[i].socket == socket && (socket || l->polls[i].fd == fd)) {
            l->items[i].fn = NULL;
            l->removed++;
        }
}

void loop_remove_sock(loop *l, const sock *s)
{
    remove_item(l, sock_raw((sock *)(uintptr_t)s), -1);
}

void loop_remove_fd(loop *l, int fd)
{
    remove_item(l, NULL, fd);
}

static void sweep(loop *l)
{
    int kept = 0;

    for (int i = 0; i < l->n; i++)
        if (l->items[i].fn) {
            l->polls[kept] = l->polls[i];
            l->items[kept++] = l->items[i];
        }
    l->n = kept;
    l->removed = 0;
}

static void on_signal(void *ctx)
{
    loop *l = ctx;
    struct signalfd_siginfo s;

    while (read(l->signal_fd, &s, sizeof s) == sizeof s)
        l->signal_fn(l->signal_ctx, (int)s.ssi_signo);
}

volt_code loop_signals(loop *l, void (*fn)(void *ctx, int signal), void *ctx, volt_err *err)
{
    struct sigaction hup;
    sigset_t set;

    assert(l->signal_fd < 0 && fn);
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaction(SIGHUP, NULL, &hup);
    if (hup.sa_handler != SIG_IGN) /* blocked it would come all the same */
        sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    l->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (l->signal_fd < 0)
        return volt_fail(err, VOLT_EIO, "signalfd: %s", strerror(errno));
    l->signal_fn = fn;
    l->signal_ctx = ctx;
    return loop_add_fd(l, l->signal_fd, on_signal, l, err);
}

/* How many are ready within timeout_ms (-1: no limit), or -1 with errno. */
static int poll_once(loop *l, long timeout_ms)
{
    if (l->n == 0) /* zmq_poll would take -1 for "not at all" */
        return poll(NULL, 0, (int)timeout_ms);
    return zmq_poll(l->polls, l->n, timeout_ms);
}

/* Waits until something is ready or the deadline.  Adds to *overslept_ms by how much single polls
 * took longer than asked, where that is a gap. */
static volt_code wait_ready(loop *l, int64_t deadline_ms, bool want_gap, int64_t *overslept_ms,
                            int *ready, volt_err *err)
{
    int64_t now = loop_now_ms();

    do {
        long timeout = -1;
        int64_t before = now;

        if (deadline_ms != INT64_MAX)
            timeout = deadline_ms <= now                 ? 0
                      : deadline_ms - now > 24 * 3600000 ? 24 * 3600000 /* poll takes an int */
                                                         : (long)(deadline_ms - now);
        if (want_gap && (timeout < 0 || timeout > SLICE_MS))
            timeout = SLICE_MS;
        *ready = poll_once(l, timeout);
        if (*ready < 0 && errno != EINTR)
            return volt_fail(err, VOLT_EIO, "poll: %s", zmq_strerror(errno));
        now = loop_now_ms();
        if (want_gap && now - before - timeout > GAP_MS)
            *overslept_ms += now - before - timeout;
    } while (*ready <= 0 && now < deadline_ms);
    return VOLT_OK;
}

volt_code loop_wait(loop *l, int64_t deadline_ms, int64_t *gap_ms, volt_err *err)
{
    int64_t gap = 0, away = l->looked_ms ? loop_now_ms() - l->looked_ms : 0;
    int ready, n;
    volt_code code;

    sweep(l);
    code = wait_ready(l, deadline_ms, gap_ms != NULL, &gap, &ready, err);
    if (code)
        return code;
    if (gap_ms)
        *gap_ms = gap + (away > GAP_MS ? away : 0);
    l->looked_ms = loop_now_ms();
    n = ready > 0 ? l->n : 0; /* what the callbacks add was not polled */
    for (int i = 0; i < n; i++)
        if (l->polls[i].revents && l->items[i].fn)
            l->items[i].fn(l->items[i].ctx);
    return VOLT_OK;
}
