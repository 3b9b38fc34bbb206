#include "exec/channel.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"

#define HEAD_SIZE    4
#define NAME_MAX_    64
#define BACKLOG      8
#define RECV_AT_ONCE ((size_t)64 << 10)
#define PUT_MAX      ((size_t)16 << 10)

static_assert(sizeof "/proc/self/fd/2147483647/" + NAME_MAX_ <=
                  sizeof((struct sockaddr_un){ 0 }.sun_path),
              "a socket address holds the way through /proc and a name");
static_assert(CHANNEL_PENDING_MAX > CHANNEL_FRAME_MAX + HEAD_SIZE, "one frame always fits");

struct channel {
    int fd;
    bool gone; /* the peer closed or the connection failed */
    buf in;    /* received; the first in_used bytes were handed out */
    size_t in_used;
    buf out; /* to be sent from out_sent on */
    size_t out_sent;
};

DEFINE_CLEANUP(channel *, channel_free);

/* The directory is named by a descriptor, for DIR may be longer than a socket address holds. */
static volt_code address(int dir_fd, const char *dir, const char *name, struct sockaddr_un *ret,
                         volt_err *err)
{
    size_t n = strlen(name);

    if (n == 0 || n > NAME_MAX_ || strchr(name, '/'))
        return volt_fail(err, VOLT_EINVALID, "socket '%s/%s': not a name", dir, name);
    *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
    snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/%s", dir_fd, name);
    return VOLT_OK;
}

static volt_code fail_at(volt_err *err, volt_code code, const char *what, const char *dir,
                         const char *name)
{
    return volt_fail(err, code, "%s '%s/%s': %s", what, dir, name, strerror(errno));
}

static int new_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static channel *channel_new(int fd)
{
    channel *c = NEW(channel);

    c->fd = fd;
    return c;
}

void channel_free(channel *c)
{
    if (!c)
        return;
    close(c->fd);
    buf_free(&c->in);
    buf_free(&c->out);
    free(c);
}

int channel_fd(const channel *c)
{
    return c->fd;
}

volt_code channel_connect(const char *dir, const char *name, channel **ret, volt_err *err)
{
    CLEANUP(close)
    int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(close)
    int fd = -1;
    struct sockaddr_un at;
    volt_code rc;

    if (dir_fd < 0)
        return fail_at(err, errno == ENOENT ? VOLT_ENOTFOUND : VOLT_EIO, "connect to", dir, name);
    rc = address(dir_fd, dir, name, &at, err);
    if (rc)
        return rc;
    fd = new_socket();
    if (fd < 0)
        return fail_at(err, VOLT_EIO, "make a socket for", dir, name);
    if (connect(fd, (const struct sockaddr *)&at, sizeof at)) {
        rc = errno == ENOENT || errno == ECONNREFUSED ? VOLT_ENOTFOUND
             : errno == EAGAIN                        ? VOLT_EAGAIN
                                                      : VOLT_EIO;
        return fail_at(err, rc, "connect to", dir, name);
    }
    *ret = channel_new(fd);
    fd = -1;
    return VOLT_OK;
}

volt_code channel_listen(const char *dir, const char *name, int *ret, volt_err *err)
{
    CLEANUP(close)
    int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(close)
    int fd = -1;
    channel *other = NULL;
    struct sockaddr_un at;
    volt_code rc;

    if (dir_fd < 0)
        return fail_at(err, VOLT_EIO, "listen at", dir, name);
    rc = address(dir_fd, dir, name, &at, err);
    if (rc)
        return rc;
    rc = channel_connect(dir, name, &other, NULL);
    if (rc == VOLT_OK || rc == VOLT_EAGAIN) {
        channel_free(other);
        return volt_fail(err, VOLT_EEXISTS, "listen at '%s/%s': another process listens there", dir,
                         name);
    }
    if (unlink(at.sun_path) && errno != ENOENT)
        return fail_at(err, VOLT_EIO, "replace", dir, name);

    fd = new_socket();
    if (fd < 0)
        return fail_at(err, VOLT_EIO, "make a socket for", dir, name);
    /* The mode of the socket's inode is taken over by the file that bind() makes. */
    if (fchmod(fd, 0600) || bind(fd, (const struct sockaddr *)&at, sizeof at) ||
        listen(fd, BACKLOG))
        return fail_at(err, VOLT_EIO, "listen at", dir, name);
    *ret = fd;
    fd = -1;
    return VOLT_OK;
}

volt_code channel_accept(int listener, channel **ret, volt_err *err)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return volt_fail(err,
                         errno == EAGAIN || errno == ECONNABORTED || errno == EINTR ? VOLT_EAGAIN
                                                                                    : VOLT_EIO,
                         "accept a connection: %s", strerror(errno));
    *ret = channel_new(fd);
    return VOLT_OK;
}

size_t channel_pending(const channel *c)
{
    return c->out.n - c->out_sent;
}

void channel_flush(channel *c)
{
    while (!c->gone && channel_pending(c) > 0) {
        ssize_t n = send(c->fd, c->out.p + c->out_sent, channel_pending(c), MSG_NOSIGNAL);

        if (n > 0)
            c->out_sent += (size_t)n;
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR)
            break; /* what the peer sent before it went can still be read */
    }
    c->out_sent = 0;
    buf_clear(&c->out);
}

volt_code channel_put(channel *c, slice frame, volt_err *err)
{
    uint32_t n = (uint32_t)frame.n;
    const unsigned char head[HEAD_SIZE] = { (unsigned char)n, (unsigned char)(n >> 8),
                                            (unsigned char)(n >> 16), (unsigned char)(n >> 24) };

    assert(frame.n <= CHANNEL_FRAME_MAX);
    if (channel_pending(c) + HEAD_SIZE + frame.n > CHANNEL_PENDING_MAX)
        return volt_fail(err, VOLT_EFULL, "%zu bytes wait for a peer that does not read",
                         channel_pending(c));
    if (c->out_sent > CHANNEL_FRAME_MAX) { /* moved seldom: a copy a frame would be quadratic */
        buf_drop(&c->out, c->out_sent);
        c->out_sent = 0;
    }
    buf_add(&c->out, head, sizeof head);
    buf_add_slice(&c->out, frame);
    if (channel_pending(c) >= PUT_MAX)
        channel_flush(c);
    return VOLT_OK;
}

volt_code channel_send(channel *c, slice frame, volt_err *err)
{
    volt_code rc = channel_put(c, frame, err);

    if (!rc)
        channel_flush(c);
    return rc;
}

/* Reads once.  False: nothing came. */
static bool fill(channel *c)
{
    ssize_t n;

    if (c->gone)
        return false;
    buf_drop(&c->in, c->in_used);
    c->in_used = 0;
    do
        n = recv(c->fd, buf_room(&c->in, RECV_AT_ONCE), RECV_AT_ONCE, 0);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        c->in.n += (size_t)n;
        return true;
    }
    if (n == 0 || errno != EAGAIN)
        c->gone = true;
    return false;
}

volt_code channel_recv(channel *c, slice *ret, volt_err *err)
{
    for (;;) {
        size_t have = c->in.n - c->in_used;
        const unsigned char *p = (const unsigned char *)c->in.p + c->in_used;

        if (have >= HEAD_SIZE) {
            size_t n = (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;

            if (n > CHANNEL_FRAME_MAX)
                return volt_fail(err, VOLT_EMSG, "a frame of %zu bytes; %zu is the most", n,
                                 CHANNEL_FRAME_MAX);
            if (have >= HEAD_SIZE + n) {
                *ret = (slice){ (const char *)p + HEAD_SIZE, n };
                c->in_used += HEAD_SIZE + n;
                return VOLT_OK;
            }
        }
        if (fill(c))
            continue;
        if (!c->gone)
            return volt_fail(err, VOLT_EAGAIN, "no whole frame is there");
        if (have > 0)
            return volt_fail(err, VOLT_EMSG, "the connection ended within a frame");
        return volt_fail(err, VOLT_EUNREACHABLE, "the peer is gone");
    }
}
