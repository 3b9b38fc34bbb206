#include "store/logs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/files.h"
#include "base/mem.h"

#define LOGS_OPEN_MAX   64 /* files kept open, the least recently used goes first */
#define LOGS_BEHIND_MAX (8u << 20)
#define LOGS_FLUSH_SIZE (1u << 20) /* written bytes after which writing back is begun */
#define NAME_MAX_BYTES  64
#define ARTIFACT_SUFFIX ".artifacts"

typedef struct log_file {
    log_name name;
    uint64_t used;    /* turn of the last use; 0: the place is free */
    uint64_t flushed; /* written back, or on its way, up to here */
    uint64_t settled; /* waited for up to here */
    uint64_t end;     /* greatest offset written */
    uint64_t size;
    int fd;
} log_file;

DEFINE_CLEANUP(DIR *, closedir);

struct logs {
    int dir;
    uint64_t bytes; /* of all files; kept here, for a walk over many would hold the loop */
    uint64_t turn;
    log_file open[LOGS_OPEN_MAX];
};

static const char *kind_of(const log_name *n)
{
    return n->part == PART_ARTIFACTS ? "artifacts" : "log";
}

static volt_code fail(volt_err *err, const char *what, const log_name *n)
{
    bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;

    return volt_fail(err, full ? VOLT_EFULL : VOLT_EIO,
                     "%s %s of task %" PRIu64 ", attempt %" PRIu64 ": %s", what, kind_of(n),
                     n->task, n->att, strerror(errno));
}

static const char *name_of(const log_name *n, char ret[NAME_MAX_BYTES])
{
    snprintf(ret, NAME_MAX_BYTES, "%" PRIu64 "-%" PRIu64 "%s", n->task, n->att,
             n->part == PART_ARTIFACTS ? ARTIFACT_SUFFIX : "");
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

static bool is_same(const log_name *a, const log_name *b)
{
    return a->task == b->task && a->att == b->att && a->part == b->part;
}

static log_file *find(logs *l, const log_name *n)
{
    for (size_t i = 0; i < LOGS_OPEN_MAX; i++)
        if (l->open[i].used && is_same(&l->open[i].name, n))
            return &l->open[i];
    return NULL;
}

/* The file has another size now. */
static void count(logs *l, uint64_t was, uint64_t is)
{
    l->bytes -= was < l->bytes ? was : l->bytes;
    l->bytes += is;
}

static volt_code open_file(logs *l, const log_name *n, log_file **ret, volt_err *err)
{
    char name[NAME_MAX_BYTES];
    log_file *f = find(l, n);
    struct stat st;
    int fd;

    if (!f) {
        f = &l->open[0];
        for (size_t i = 1; i < LOGS_OPEN_MAX; i++)
            if (l->open[i].used < f->used)
                f = &l->open[i];
        fd = openat(l->dir, name_of(n, name), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0)
            return fail(err, "open", n);
        forget(f);
        *f = (log_file){ .name = *n, .fd = fd };
        f->size = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
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

volt_code logs_write(logs *l, const log_name *n, uint64_t off, slice bytes, volt_err *err)
{
    log_file *f;
    volt_code code = open_file(l, n, &f, err);

    if (code != VOLT_OK)
        return code;
    while (bytes.n) {
        ssize_t did = pwrite(f->fd, bytes.p, bytes.n, (off_t)off);

        if (did < 0 && errno == EINTR)
            continue;
        if (did <= 0)
            return fail(err, "write", n);
        off += (uint64_t)did;
        bytes.p += did;
        bytes.n -= (size_t)did;
        if (off > f->size) {
            count(l, f->size, off);
            f->size = off;
        }
    }
    f->end = off;
    if (write_back(f) == 0 || errno == ENOSYS || errno == EINVAL)
        return VOLT_OK;
    return volt_fail(err, VOLT_EIO, "write %s of task %" PRIu64 ", attempt %" PRIu64 " back: %s",
                     kind_of(n), n->task, n->att, strerror(errno));
}

volt_code logs_sync(logs *l, const log_name *n, uint64_t bytes, volt_err *err)
{
    log_file *f;
    volt_code code = open_file(l, n, &f, err);

    if (code != VOLT_OK)
        return code;
    if (ftruncate(f->fd, (off_t)bytes) != 0)
        code = fail(err, "sync", n);
    else
        count(l, f->size, bytes);
    if (code == VOLT_OK && (fdatasync(f->fd) != 0 || fsync(l->dir) != 0))
        code = fail(err, "sync", n);
    forget(f);
    /* What was not written back then counts as clean afterwards, so that a second sync would
     * succeed without it (fsync(2)); and the blocks may be bad.  The runner still has it all. */
    if (code != VOLT_OK)
        logs_remove(l, n);
    return code;
}

volt_code logs_read(logs *l, const log_name *n, uint64_t off, size_t max, buf *ret, volt_err *err)
{
    char name[NAME_MAX_BYTES];
    log_file *f = find(l, n);
    CLEANUP(close)
    int own = -1;
    char *to = buf_room(ret, max);
    ssize_t got;

    if (!f) {
        own = openat(l->dir, name_of(n, name), O_RDONLY | O_CLOEXEC);
        if (own < 0)
            return errno == ENOENT ? VOLT_OK : fail(err, "open", n);
    }
    got = pread(f ? f->fd : own, to, max, (off_t)off);
    if (got < 0)
        return fail(err, "read", n);
    ret->n += (size_t)got;
    ret->p[ret->n] = '\0';
    return VOLT_OK;
}

void logs_remove(logs *l, const log_name *n)
{
    char name[NAME_MAX_BYTES];
    log_file *f = find(l, n);
    struct stat st;

    if (f)
        forget(f);
    if (fstatat(l->dir, name_of(n, name), &st, 0) == 0 && unlinkat(l->dir, name, 0) == 0)
        count(l, (uint64_t)st.st_size, 0); /* gone already is as good */
}

uint64_t logs_bytes(const logs *l)
{
    return l->bytes;
}

/* As name_of() writes it. */
static bool parse_name(const char *text, log_name *ret)
{
    char again[NAME_MAX_BYTES];

    if (sscanf(text, "%" SCNu64 "-%" SCNu64, &ret->task, &ret->att) != 2)
        return false;
    ret->part = strstr(text, ARTIFACT_SUFFIX) ? PART_ARTIFACTS : PART_LOG;
    return strcmp(name_of(ret, again), text) == 0;
}

/* An older attempt's log is kept with the task, but no artifacts beside those of the result.  What
 * is newer than the store is left alone: the store may be an old copy, and the newest be put back.
 */
static bool is_stray(const log_name *n, const row_task *t)
{
    if (n->part == PART_LOG || n->att > t->att)
        return false;
    return n->att < t->att || (t->state == STATE_FINAL && !t->artifact_bytes);
}

volt_code logs_sweep(logs *l, store *s, volt_err *err)
{
    CLEANUP(closedir)
    DIR *d = files_dir_of(openat(l->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    CLEANUP(arena)
    arena a = { 0 };
    store_head head;
    volt_code code = s->ops->head(s, &head, err);
    const struct dirent *e;

    l->bytes = 0;
    while ((code == VOLT_OK || code == VOLT_ENOTFOUND) && (e = readdir(d))) {
        log_name name;
        struct stat st;
        row_task t;

        if (!parse_name(e->d_name, &name) || fstatat(l->dir, e->d_name, &st, 0) != 0)
            continue;
        count(l, 0, (uint64_t)st.st_size);
        if (name.task > head.last_task)
            continue;
        arena_reset(&a);
        code = s->ops->task(s, name.task, &a, &t, err);
        if (code == VOLT_ENOTFOUND || (code == VOLT_OK && is_stray(&name, &t)))
            logs_remove(l, &name);
    }
    return code == VOLT_ENOTFOUND ? VOLT_OK : code;
}
