#include "cmd/tail/output.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define WRITE_BYTES 4096 /* a pipe that poll() calls writable takes so many without blocking */
#define LOOK_MS     200  /* how often pending signals are looked for */

static bool is_told_to_end(void)
{
    sigset_t pending;

    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM) ||
            sigismember(&pending, SIGHUP));
}

static volt_code write_some(const char *p, size_t n, bool wait, size_t *done, volt_err *err)
{
    struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };
    ssize_t rc;

    *done = 0;
    if (poll(&out, 1, wait ? LOOK_MS : 0) <= 0)
        return !wait || is_told_to_end() ? VOLT_ECANCELED : VOLT_OK;
    rc = write(STDOUT_FILENO, p, n < WRITE_BYTES ? n : WRITE_BYTES);
    if (rc >= 0)
        *done = (size_t)rc;
    else if (errno == EPIPE)
        return volt_fail(err, VOLT_EUNREACHABLE, "standard output is closed");
    else if (errno != EINTR && errno != EAGAIN)
        return volt_fail(err, VOLT_EIO, "write to standard output: %s", strerror(errno));
    return VOLT_OK;
}

volt_code output_write(buf *b, bool wait, volt_err *err)
{
    volt_code rc = VOLT_OK;

    for (size_t at = 0, done; at < b->n && rc == VOLT_OK; at += done)
        rc = write_some(b->p + at, b->n - at, wait, &done, err);
    buf_clear(b);
    return rc == VOLT_ECANCELED && !wait ? VOLT_OK : rc;
}

bool output_is_closed(void)
{
    struct pollfd out = { .fd = STDOUT_FILENO, .events = 0 };

    return poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLNVAL));
}
