#include "zmtp.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

#define GREETING_SIZE    64
#define RECONNECT_MS     100 /* libzmq's, as net/sock.c sets them */
#define RECONNECT_MAX_MS 2000

#define FLAG_MORE    1
#define FLAG_LONG    2
#define FLAG_COMMAND 4

/* Command READY with the socket's type. */
static const char ready[] = "\x04\x1c"
                            "\x05READY\x0bSocket-Type\0\0\0\x06"
                            "DEALER";

static_assert(sizeof ready - 1 == 2 + 0x1c, "the command's length is right");

void zmtp_init(zmtp *z, const struct sockaddr_in *to, int epoll, void *owner)
{
    *z = (zmtp){ .fd = -1, .to = *to, .epoll = epoll, .owner = owner, .wait_ms = RECONNECT_MS };
}

void zmtp_free(zmtp *z)
{
    if (z->fd >= 0)
        close(z->fd);
    buf_free(&z->in);
    buf_free(&z->out);
}

void zmtp_renew(zmtp *z, int64_t now_ms)
{
    if (z->fd >= 0)
        close(z->fd);
    z->fd = -1;
    z->state = ZMTP_DOWN;
    buf_clear(&z->in); /* kept: a payload in it may be what led here */
    buf_clear(&z->out);
    z->out_sent = 0;
    z->wait_ms = RECONNECT_MS;
    z->connect_at = now_ms;
}

static size_t frame_size(const char *p, size_t n)
{
    const unsigned char *b = (const unsigned char *)p;
    uint64_t size = 0;

    if (n < 2 || ((b[0] & FLAG_LONG) && n < 9))
        return 0;
    if (!(b[0] & FLAG_LONG))
        return 2 + (size_t)b[1];
    for (int i = 1; i < 9; i++)
        size = size << 8 | b[i];
    return 9 + (size_t)size;
}

/* The connection is gone.  A frame that was sent in part is lost, as libzmq's are. */
static void lose(zmtp *z, int64_t now_ms, prng *rng)
{
    if (z->state == ZMTP_UP)
        z->wait_ms = RECONNECT_MS;
    close(z->fd);
    z->fd = -1;
    z->state = ZMTP_DOWN;
    buf_clear(&z->in);
    if (z->out_sent) {
        buf_drop(&z->out, frame_size(z->out.p, z->out.n));
        z->out_sent = 0;
    }
    z->connect_at = now_ms + z->wait_ms + (int64_t)prng_below(rng, RECONNECT_MS);
    z->wait_ms = z->wait_ms * 2 < RECONNECT_MAX_MS ? z->wait_ms * 2 : RECONNECT_MAX_MS;
}

static void want_writable(zmtp *z, bool want)
{
    struct epoll_event ev = { EPOLLIN | (want ? (uint32_t)EPOLLOUT : 0), { .ptr = z->owner } };

    if (z->hears_writable != want && epoll_ctl(z->epoll, EPOLL_CTL_MOD, z->fd, &ev) < 0)
        bench_die("epoll: %s", strerror(errno));
    z->hears_writable = want;
}

static void flush(zmtp *z, int64_t now_ms, prng *rng)
{
    while (z->state == ZMTP_UP && z->out_sent < z->out.n) {
        ssize_t sent = send(z->fd, z->out.p + z->out_sent, z->out.n - z->out_sent,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        size_t whole = 0;

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN) {
            want_writable(z, true);
            return;
        }
        if (sent < 0) {
            lose(z, now_ms, rng);
            return;
        }
        z->out_sent += (size_t)sent;
        while (whole < z->out_sent) {
            size_t n = frame_size(z->out.p + whole, z->out.n - whole);

            if (whole + n > z->out_sent)
                break;
            whole += n;
        }
        buf_drop(&z->out, whole);
        z->out_sent -= whole;
    }
    if (z->state == ZMTP_UP)
        want_writable(z, false);
    if (z->out.n == 0) /* ten thousand of them */
        buf_free(&z->out);
}

void zmtp_send(zmtp *z, slice payload, int64_t now_ms, prng *rng)
{
    if (payload.n < 256) {
        buf_addc(&z->out, 0);
        buf_addc(&z->out, (char)payload.n);
    } else {
        buf_addc(&z->out, FLAG_LONG);
        for (int i = 7; i >= 0; i--)
            buf_addc(&z->out, (char)(payload.n >> (8 * i)));
    }
    buf_add_slice(&z->out, payload);
    if (z->state == ZMTP_UP && !z->hears_writable)
        flush(z, now_ms, rng);
}

void zmtp_tick(zmtp *z, int64_t now_ms, prng *rng)
{
    struct epoll_event ev = { EPOLLIN | EPOLLOUT, { .ptr = z->owner } };
    int one = 1;

    if (z->connect_at > now_ms)
        return;
    z->connect_at = HEAP_NEVER;
    z->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (z->fd < 0)
        bench_die("make a socket: %s", strerror(errno));
    setsockopt(z->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    z->state = ZMTP_CONNECTING;
    z->hears_writable = true;
    if (connect(z->fd, (const struct sockaddr *)&z->to, sizeof z->to) < 0 && errno != EINPROGRESS) {
        lose(z, now_ms, rng);
        return;
    }
    if (epoll_ctl(z->epoll, EPOLL_CTL_ADD, z->fd, &ev) < 0)
        bench_die("epoll: %s", strerror(errno));
}

static void greet(zmtp *z, int64_t now_ms, prng *rng)
{
    char greeting[GREETING_SIZE] = { [0] = (char)0xff, [9] = 0x7f, [10] = 3 };
    int error = 0;
    socklen_t n = sizeof error;

    memcpy(greeting + 12, "NULL", 4);
    getsockopt(z->fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error || send(z->fd, greeting, sizeof greeting, MSG_NOSIGNAL) != sizeof greeting ||
        send(z->fd, ready, sizeof ready - 1, MSG_NOSIGNAL) != sizeof ready - 1) {
        lose(z, now_ms, rng);
        return;
    }
    z->state = ZMTP_GREETED;
    want_writable(z, false);
}

/* Takes what has come whole; false: more has to come first, or the connection was renewed. */
static bool take(zmtp *z, size_t *at, int64_t now_ms, prng *rng, zmtp_fn fn)
{
    const char *p = z->in.p + *at;
    size_t n = z->in.n - *at, size, head;

    if (z->state == ZMTP_GREETED && *at == 0 && n && (unsigned char)p[0] == 0xff) {
        if (n < GREETING_SIZE)
            return false;
        *at += GREETING_SIZE;
        return true;
    }
    size = frame_size(p, n);
    if (size == 0 || size > n)
        return false;
    head = p[0] & FLAG_LONG ? 9 : 2;
    *at += size;
    if (p[0] & FLAG_COMMAND) { /* its READY */
        z->state = ZMTP_UP;
        z->wait_ms = RECONNECT_MS;
        flush(z, now_ms, rng);
        return z->state == ZMTP_UP;
    }
    if (p[0] & FLAG_MORE)
        bench_die("a message of several parts came");
    fn(z->owner, (slice){ p + head, size - head });
    return z->fd >= 0;
}

void zmtp_ready(zmtp *z, uint32_t events, int64_t now_ms, prng *rng, zmtp_fn fn)
{
    static char bytes[1 << 16];
    size_t at = 0;
    ssize_t got;

    if (z->state == ZMTP_CONNECTING) {
        greet(z, now_ms, rng);
        return;
    }
    if ((events & EPOLLOUT) && z->state == ZMTP_UP)
        flush(z, now_ms, rng);
    if (z->fd < 0 || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    got = recv(z->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        lose(z, now_ms, rng);
        return;
    }
    buf_add(&z->in, bytes, (size_t)got);
    while (take(z, &at, now_ms, rng, fn))
        ;
    if (z->fd < 0) /* renewed or lost: what was left of the old connection is gone with it */
        return;
    if (at == z->in.n)
        buf_free(&z->in);
    else
        buf_drop(&z->in, at);
}
