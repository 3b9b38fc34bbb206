#include "exec/output.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"

/* A larger pipe means fewer wake-ups: 64 KiB is Linux' default, 1 MiB what any user may set. */
#define PIPE_SIZE ((size_t)1 << 20)
/* Moved before the owner looks at other things again; some ms at disk speed. */
#define PUMP_MAX ((size_t)4 << 20)

struct output {
    output_log *open_log;
    void *ctx;
    int log;  /* -1: not opened yet: a task that writes nothing needs no file */
    int pipe; /* -1: none */
    uint64_t bytes, max, lost;
    bool full;          /* what comes is thrown away */
    bool cannot_splice; /* the log's file system has no splice */
    char why[128];
    char *bin;  /* for what goes through this process, or is thrown away */
    mask *mask; /* NULL: there is nothing to hide */
    buf masked;
};

output *output_new(output_log *log, void *ctx, uint64_t max)
{
    output *o = NEW(output);

    o->open_log = log;
    o->ctx = ctx;
    o->log = -1;
    o->pipe = -1;
    o->max = max;
    return o;
}

void output_free(output *o)
{
    if (!o)
        return;
    if (o->pipe >= 0)
        close(o->pipe);
    free(o->bin);
    buf_free(&o->masked);
    free(o);
}

void output_mask(output *o, mask *m)
{
    assert(o->pipe < 0);
    o->mask = m;
}

volt_code output_open(output *o, int *ret, volt_err *err)
{
    int ends[2];

    assert(o->pipe < 0);
    if (pipe2(ends, O_CLOEXEC))
        return volt_fail(err, VOLT_EIO, "make a pipe: %s", strerror(errno));
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    fcntl(ends[0], F_SETPIPE_SZ, PIPE_SIZE); /* only speed: a user's total may be used up */
    o->pipe = ends[0];
    *ret = ends[1];
    return VOLT_OK;
}

int output_fd(const output *o)
{
    return o->pipe;
}

static bool have_log(output *o)
{
    if (o->log < 0)
        o->log = o->open_log(o->ctx);
    return o->log >= 0;
}

static void stop_keeping(output *o, const char *line, const char *why)
{
    if (o->full)
        return;
    o->full = true;
    snprintf(o->why, sizeof o->why, "%s", why);
    output_line(o, line);
}

static void disk_failed(output *o)
{
    char line[96];

    snprintf(line, sizeof line, "volt: the log ends here: %s", strerror(errno));
    stop_keeping(o, line, line + sizeof "volt: " - 1);
}

static ssize_t read_some(output *o, size_t max)
{
    if (!o->bin)
        o->bin = mem_zero(PIPE_SIZE);
    return read(o->pipe, o->bin, max < PIPE_SIZE ? max : PIPE_SIZE);
}

static void limit_reached(output *o, size_t lost)
{
    char line[96];

    o->lost += lost;
    snprintf(line, sizeof line, "volt: the log ends here, at its limit of %" PRIu64 " bytes",
             o->max);
    stop_keeping(o, line, "the log was cut at its limit");
}

/* Reads and forgets up to `max` bytes; as read(). */
static ssize_t throw_away(output *o, size_t max)
{
    ssize_t n = read_some(o, max);

    if (n > 0)
        limit_reached(o, (size_t)n);
    return n;
}

/* Writes to the log; false with errno when not all of it went. */
static bool append(output *o, const char *p, size_t n)
{
    if (!have_log(o))
        return false;
    while (n > 0) {
        ssize_t did = write(o->log, p, n);

        if (did < 0 && errno == EINTR)
            continue;
        if (did <= 0)
            return false;
        o->bytes += (uint64_t)did;
        p += did;
        n -= (size_t)did;
    }
    return true;
}

static void keep(output *o, const char *p, size_t n)
{
    uint64_t before = o->bytes;

    if (!append(o, p, n)) {
        o->lost += n - (o->bytes - before);
        disk_failed(o);
    }
}

static ssize_t copy_some(output *o, size_t max)
{
    ssize_t n = read_some(o, max);

    if (n > 0)
        keep(o, o->bin, (size_t)n);
    return n;
}

static uint64_t room_in(const output *o)
{
    return o->bytes < o->max ? o->max - o->bytes : 0;
}

/* Writes what came out of the mask, which may be more than went in: some was held back. */
static void keep_masked(output *o)
{
    size_t n = o->masked.n, fits = o->full ? 0 : room_in(o) < n ? (size_t)room_in(o) : n;

    if (fits > 0)
        keep(o, o->masked.p, fits);
    if (fits < n)
        limit_reached(o, n - fits);
    buf_clear(&o->masked);
}

static ssize_t mask_some(output *o, size_t max)
{
    ssize_t n = read_some(o, max);

    if (n > 0) {
        mask_feed(o->mask, (slice){ o->bin, (size_t)n }, &o->masked);
        keep_masked(o);
    }
    return n;
}

/* Moves up to `max` bytes from pipe to log; as read(). */
static ssize_t move_some(output *o, size_t max)
{
    uint64_t room = room_in(o);
    ssize_t n;

    if (o->full || room == 0)
        return throw_away(o, max);
    if (o->mask)
        return mask_some(o, max);
    if (max > room)
        max = (size_t)room;
    if (!have_log(o)) {
        disk_failed(o);
        return throw_away(o, max);
    }
    if (o->cannot_splice)
        return copy_some(o, max);
    n = splice(o->pipe, NULL, o->log, NULL, max, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0)
        o->bytes += (uint64_t)n;
    if (n < 0 && errno == EINVAL) {
        o->cannot_splice = true;
        return copy_some(o, max);
    }
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        disk_failed(o);
        return throw_away(o, max);
    }
    return n;
}

static void close_pipe(output *o)
{
    if (o->pipe >= 0)
        close(o->pipe);
    o->pipe = -1;
}

/* Before the first byte, so that none means no file.  True: there is one. */
static bool first_byte(output *o)
{
    struct pollfd p = { .fd = o->pipe, .events = POLLIN };

    if (poll(&p, 1, 0) != 1)
        return false;
    if (!(p.revents & POLLIN))
        close_pipe(o);
    return p.revents & POLLIN;
}

bool output_pump(output *o)
{
    size_t left = PUMP_MAX;

    if (o->pipe >= 0 && o->log < 0 && !o->full && !first_byte(o))
        return false;
    while (o->pipe >= 0 && left > 0) {
        ssize_t n = move_some(o, left);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n <= 0) { /* everybody who could write is gone */
            close_pipe(o);
            return false;
        }
        left -= (size_t)n;
    }
    return o->pipe >= 0;
}

void output_close(output *o)
{
    /* Nobody is left to write, or only what could not be ended: a pipe's worth is all there is. */
    for (size_t i = 0; i < 4 && output_pump(o); i++)
        ;
    close_pipe(o);
    if (o->mask) {
        mask_end(o->mask, &o->masked);
        keep_masked(o);
    }
}

void output_line(output *o, const char *text)
{
    char last = '\n';
    CLEANUP(buf)
    buf masked = { 0 };

    if (o->bytes > 0 && pread(o->log, &last, 1, (off_t)o->bytes - 1) == 1 && last != '\n')
        append(o, "\n", 1);
    if (o->mask && o->pipe < 0) { /* while one is open, the mask is in the middle of its stream */
        mask_text(o->mask, slice_of(text), &masked);
        text = buf_str(&masked);
    }
    if (append(o, text, strlen(text))) /* else the disk is full, which the result says */
        append(o, "\n", 1);
}

uint64_t output_bytes(const output *o)
{
    return o->bytes;
}

uint64_t output_lost(const output *o)
{
    return o->lost;
}

const char *output_why(const output *o)
{
    return o->why;
}
