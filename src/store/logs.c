#include "store/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"

#define LOGS_OPEN_MAX   64 /* files kept open, the least recently used goes first */
#define LOGS_BEHIND_MAX (8u << 20)
#define LOGS_FLUSH_SIZE (1u << 20) /* written bytes after which writing back is begun */
#define NAME_MAX_BYTES  64

typedef struct log_file {
    uint64_t task, att;
    uint64_t used;    /* turn of the last use; 0: the place is free */
    uint64_t flushed; /* written back, or on its way, up to here */
    uint64_t settled; /* waited for up to here */
    uint64_t end;     /* greatest offset written */
    int fd;
} log_file;

struct logs {
    int dir;
    uint64_t turn;
    log_file open[LOGS_OPEN_MAX];
};

static volt_code fail(volt_err *err, const char *what, uint64_t task, uint64_t att)
{
    bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;

    return volt_fail(err, full ? VOLT_EFULL : VOLT_EIO,
                     "%s log of task %" PRIu64 ", attempt %" PRIu64 ": %s", what, task, att,
                     strerror(errno));
}

static const char *name_of(uint64_t task, uint64_t att, char ret[NAME_MAX_BYTES])
{
    snprintf(ret, NAME_MAX_BYTES, "%" PRIu64 "-%" PRIu64, task, att);
    return ret;
}

volt_code logs_open(const char *dir, logs **ret, volt_err *err)
{
    char *path = mem_printf("%s/logs", dir);
    logs *l;
    int fd = -1;

    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        volt_code code = volt_fail(err, VOLT_EIO, "open '%s': %s", path, strerror(errno));

        free(path);
        return code;
    }
    free(path);
    l = NEW(logs);
    l->dir = fd;
    *ret = l;
    return VOLT_OK;
}

static void forget(log_file *f)
{
    if (f->used)
        close(f->fd);
    f->used = 0;
}

void logs_close(logs *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < LOGS_OPEN_MAX; i++)
        forget(&l->open[i]);
    close(l->dir);
    free(l);
}

volt_code logs_check(const logs *l, volt_err *err)
{
    struct stat st;

    if (fstat(l->dir, &st) < 0 || st.st_nlink > 0)
        return VOLT_OK;
    return volt_fail(err, VOLT_ENOTFOUND,
                     "the directory 'logs' of the data directory was deleted while it was in use; "
                     "put it or a copy of it back, or start again without");
}

static log_file *find(logs *l, uint64_t task, uint64_t att)
{
    for (size_t i = 0; i < LOGS_OPEN_MAX; i++)
        if (l->open[i].used && l->open[i].task == task && l->open[i].att == att)
            return &l->open[i];
    return NULL;
}

static volt_code open_file(logs *l, uint64_t task, uint64_t att, log_file **ret, volt_err *err)
{
    char name[NAME_MAX_BYTES];
    log_file *f = find(l, task, att);
    int fd;

    if (!f) {
        f = &l->open[0];
        for (size_t i = 1; i < LOGS_OPEN_MAX; i++)
            if (l->open[i].used < f->used)
                f = &l->open[i];
        fd = openat(l->dir, name_of(task, att, name), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0)
            return fail(err, "open", task, att);
        forget(f);
        *f = (log_file){ .task = task, .att = att, .fd = fd };
    }
    f->used = ++l->turn;
    *ret = f;
    return VOLT_OK;
}

/* Begins to write back what has come, and waits for what was begun LOGS_BEHIND_MAX bytes ago, which
 * is mostly done: so the sync at the end has little left to wait for (49 ms after 60 MiB without
 * it, measured, in which no heartbeat was answered).
 * Who waits is told of a failed write, and only who is told first: the sync would not be. */
static int write_back(log_file *f)
{
    int rc;

    if (f->end < f->flushed + LOGS_FLUSH_SIZE)
        return 0;
    rc = sync_file_range(f->fd, (off_t)f->flushed, (off_t)(f->end - f->flushed),
                         SYNC_FILE_RANGE_WRITE);
    f->flushed = f->end;
    if (rc != 0 || f->flushed < f->settled + LOGS_BEHIND_MAX)
        return rc;
    rc = sync_file_range(f->fd, (off_t)f->settled, LOGS_FLUSH_SIZE,
                         SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                             SYNC_FILE_RANGE_WAIT_AFTER);
    f->settled += LOGS_FLUSH_SIZE;
    return rc;
}

volt_code logs_write(logs *l, uint64_t task, uint64_t att, uint64_t off, slice bytes, volt_err *err)
{
    log_file *f;
    volt_code code = open_file(l, task, att, &f, err);

    if (code != VOLT_OK)
        return code;
    while (bytes.n) {
        ssize_t n = pwrite(f->fd, bytes.p, bytes.n, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail(err, "write", task, att);
        off += (uint64_t)n;
        bytes.p += n;
        bytes.n -= (size_t)n;
    }
    f->end = off;
    if (write_back(f) == 0 || errno == ENOSYS || errno == EINVAL)
        return VOLT_OK;
    return volt_fail(err, VOLT_EIO, "write log of task %" PRIu64 ", attempt %" PRIu64 " back: %s",
                     task, att, strerror(errno));
}

volt_code logs_sync(logs *l, uint64_t task, uint64_t att, uint64_t bytes, volt_err *err)
{
    log_file *f;
    volt_code code = open_file(l, task, att, &f, err);

    if (code != VOLT_OK)
        return code;
    if (ftruncate(f->fd, (off_t)bytes) != 0 || fdatasync(f->fd) != 0 || fsync(l->dir) != 0)
        code = fail(err, "sync", task, att);
    forget(f);
    /* What was not written back then counts as clean afterwards, so that a second sync would
     * succeed without it (fsync(2)); and the blocks may be bad.  The runner still has it all. */
    if (code != VOLT_OK)
        logs_remove(l, task, att);
    return code;
}

volt_code logs_read(logs *l, uint64_t task, uint64_t att, uint64_t off, size_t max, buf *ret,
                    volt_err *err)
{
    char name[NAME_MAX_BYTES];
    log_file *f = find(l, task, att);
    CLEANUP(close)
    int own = -1;
    char *to = buf_room(ret, max);
    ssize_t n;

    if (!f) {
        own = openat(l->dir, name_of(task, att, name), O_RDONLY | O_CLOEXEC);
        if (own < 0)
            return errno == ENOENT ? VOLT_OK : fail(err, "open", task, att);
    }
    n = pread(f ? f->fd : own, to, max, (off_t)off);
    if (n < 0)
        return fail(err, "read", task, att);
    ret->n += (size_t)n;
    ret->p[ret->n] = '\0';
    return VOLT_OK;
}

void logs_remove(logs *l, uint64_t task, uint64_t att)
{
    char name[NAME_MAX_BYTES];
    log_file *f = find(l, task, att);

    if (f)
        forget(f);
    unlinkat(l->dir, name_of(task, att, name), 0); /* gone already is as good */
}
