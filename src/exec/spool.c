#include "exec/spool.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"

#define HEAD_SIZE  4
#define NAME_SIZE  48
#define ASIDE      "gone-" /* prefix of a directory that is being deleted */
#define RESULT_NEW "result.new"

static const char *const part_names[] = {
    [SPOOL_ASSIGN] = "assign", [SPOOL_PLAN] = "plan",     [SPOOL_TESTS] = "tests",
    [SPOOL_LOG] = "log",       [SPOOL_RESULT] = "result",
};

struct spool {
    spool_id id;
    int dir;
    int log; /* -1 until asked for */
};

DEFINE_CLEANUP(spool *, spool_free);
DEFINE_CLEANUP(DIR *, closedir);

static volt_code fail_errno(volt_err *err, const char *what, spool_id id, const char *name)
{
    volt_code code = errno == ENOSPC || errno == EDQUOT ? VOLT_EFULL
                     : errno == ENOENT                  ? VOLT_ENOTFOUND
                     : errno == EEXIST                  ? VOLT_EEXISTS
                                                        : VOLT_EIO;

    return volt_fail(err, code, "%s spool %" PRIu64 "-%" PRIu64 "%s%s: %s", what, id.task, id.att,
                     *name ? "/" : "", name, strerror(errno));
}

static void dir_name(spool_id id, char ret[NAME_SIZE])
{
    snprintf(ret, NAME_SIZE, "%" PRIu64 "-%" PRIu64, id.task, id.att);
}

/* WORK/spool as a descriptor; -1 with errno. */
static int open_root(const char *work, bool make)
{
    CLEANUP(free)
    char *path = mem_printf("%s/spool", work);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0 || !make || errno != ENOENT)
        return fd;
    if (mkdir(path, 0700) && errno != EEXIST)
        return -1;
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Writes all of `v`, which it changes; false with errno. */
static bool write_all(int fd, struct iovec *v, int n)
{
    while (n > 0) {
        ssize_t did = writev(fd, v, n);

        if (did < 0) {
            if (errno == EINTR)
                continue;
            return false;
        }
        while (n > 0 && (size_t)did >= v->iov_len) {
            did -= (ssize_t)v->iov_len;
            v++, n--;
        }
        if (n > 0) {
            v->iov_base = (char *)v->iov_base + did;
            v->iov_len -= (size_t)did;
        }
    }
    return true;
}

static volt_code write_part(const spool *s, const char *name, int flags, struct iovec *v, int n,
                            volt_err *err)
{
    CLEANUP(close)
    int fd = openat(s->dir, name, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);

    off_t before;

    if (fd < 0)
        return fail_errno(err, "open", s->id, name);
    before = flags & O_APPEND ? lseek(fd, 0, SEEK_END) : 0;
    if (!write_all(fd, v, n)) {
        volt_code rc = fail_errno(err, "write", s->id, name);

        /* No half frame may stay before those that follow. */
        if (ftruncate(fd, before))
            return fail_errno(err, "cut", s->id, name);
        return rc;
    }
    return VOLT_OK;
}

static spool *spool_new(spool_id id, int dir)
{
    spool *s = NEW(spool);

    s->id = id;
    s->dir = dir;
    s->log = -1;
    return s;
}

void spool_free(spool *s)
{
    if (!s)
        return;
    if (s->log >= 0)
        close(s->log);
    close(s->dir);
    free(s);
}

spool_id spool_of(const spool *s)
{
    return s->id;
}

volt_code spool_open(const char *work, spool_id id, spool **ret, volt_err *err)
{
    CLEANUP(close)
    int root = open_root(work, false);
    char name[NAME_SIZE];
    int dir;

    dir_name(id, name);
    dir = root < 0 ? -1 : openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return fail_errno(err, "open", id, "");
    *ret = spool_new(id, dir);
    return VOLT_OK;
}

volt_code spool_create(const char *work, spool_id id, slice assign, spool **ret, volt_err *err)
{
    CLEANUP(close)
    int root = open_root(work, true);
    CLEANUP(spool_free)
    spool *s = NULL;
    struct iovec v = { (void *)(uintptr_t)assign.p, assign.n };
    char name[NAME_SIZE];
    volt_code rc;
    int dir;

    assert(id.task > 0 && id.att > 0);
    dir_name(id, name);
    if (root < 0 || mkdirat(root, name, 0700))
        return fail_errno(err, "make", id, "");
    dir = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return fail_errno(err, "open", id, "");
    s = spool_new(id, dir);
    rc = write_part(s, part_names[SPOOL_ASSIGN], O_EXCL, &v, 1, err);
    if (rc) {
        spool_delete(work, id);
        return rc;
    }
    *ret = TAKE(s);
    return VOLT_OK;
}

int spool_log_fd(spool *s)
{
    if (s->log < 0)
        s->log = openat(s->dir, part_names[SPOOL_LOG], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return s->log;
}

volt_code spool_add(spool *s, spool_part part, slice frame, volt_err *err)
{
    uint32_t n = (uint32_t)frame.n;
    unsigned char head[HEAD_SIZE] = { (unsigned char)n, (unsigned char)(n >> 8),
                                      (unsigned char)(n >> 16), (unsigned char)(n >> 24) };
    struct iovec v[2] = { { head, sizeof head }, { (void *)(uintptr_t)frame.p, frame.n } };

    assert(part == SPOOL_PLAN || part == SPOOL_TESTS);
    assert(frame.n <= UINT32_MAX);
    return write_part(s, part_names[part], O_APPEND, v, 2, err);
}

volt_code spool_finish(spool *s, slice result, volt_err *err)
{
    struct iovec v = { (void *)(uintptr_t)result.p, result.n };
    volt_code rc = write_part(s, RESULT_NEW, O_TRUNC, &v, 1, err);

    if (rc)
        return rc;
    if (renameat(s->dir, RESULT_NEW, s->dir, part_names[SPOOL_RESULT]))
        return fail_errno(err, "rename", s->id, RESULT_NEW);
    return VOLT_OK;
}

bool spool_has(const spool *s, spool_part part)
{
    return faccessat(s->dir, part_names[part], F_OK, 0) == 0;
}

uint64_t spool_size(const spool *s, spool_part part)
{
    struct stat st;

    return fstatat(s->dir, part_names[part], &st, 0) == 0 ? (uint64_t)st.st_size : 0;
}

volt_code spool_read(const spool *s, spool_part part, size_t max, buf *out, volt_err *err)
{
    CLEANUP(close)
    int fd = openat(s->dir, part_names[part], O_RDONLY | O_CLOEXEC);
    size_t had = out->n;

    assert(part != SPOOL_LOG);
    if (fd < 0)
        return errno == ENOENT ? VOLT_OK : fail_errno(err, "open", s->id, part_names[part]);
    for (;;) {
        ssize_t n = read(fd, buf_room(out, 16384), 16384);

        if (n == 0)
            return VOLT_OK;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, "read", s->id, part_names[part]);
        out->n += (size_t)n;
        out->p[out->n] = '\0';
        if (out->n - had > max)
            return volt_fail(err, VOLT_EFULL,
                             "spool %" PRIu64 "-%" PRIu64 "/%s is larger than %zu bytes",
                             s->id.task, s->id.att, part_names[part], max);
    }
}

bool spool_next(slice *rest, slice *ret)
{
    const unsigned char *p = (const unsigned char *)rest->p;
    size_t n;

    if (rest->n < HEAD_SIZE)
        return false;
    n = (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
    if (rest->n - HEAD_SIZE < n)
        return false;
    *ret = (slice){ rest->p + HEAD_SIZE, n };
    *rest = (slice){ ret->p + n, rest->n - HEAD_SIZE - n };
    return true;
}

volt_code spool_read_log(spool *s, uint64_t off, char *to, size_t max, size_t *n, volt_err *err)
{
    size_t got = 0;

    /* Opened for reading only: the agent must not make a log where the executor made none. */
    if (s->log < 0)
        s->log = openat(s->dir, part_names[SPOOL_LOG], O_RDONLY | O_CLOEXEC);
    if (s->log < 0 && errno == ENOENT) {
        *n = 0;
        return VOLT_OK;
    }
    if (s->log < 0)
        return fail_errno(err, "open", s->id, part_names[SPOOL_LOG]);
    while (got < max) {
        ssize_t did = pread(s->log, to + got, max - got, (off_t)(off + got));

        if (did < 0 && errno == EINTR)
            continue;
        if (did < 0)
            return fail_errno(err, "read", s->id, part_names[SPOOL_LOG]);
        if (did == 0)
            break;
        got += (size_t)did;
    }
    *n = got;
    return VOLT_OK;
}

/* Removes a directory renamed aside; it holds files only. */
static void remove_aside(int root, const char *name)
{
    int fd = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(closedir)
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;

    if (!d)
        return;
    while ((e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(fd, e->d_name, 0);
    unlinkat(root, name, AT_REMOVEDIR);
}

void spool_delete(const char *work, spool_id id)
{
    CLEANUP(close)
    int root = open_root(work, false);
    char name[NAME_SIZE];
    char aside[NAME_SIZE + sizeof ASIDE];

    if (root < 0)
        return;
    dir_name(id, name);
    snprintf(aside, sizeof aside, "%s%s", ASIDE, name);
    remove_aside(root, aside); /* of a deletion that was cut short */
    if (renameat(root, name, root, aside) == 0)
        remove_aside(root, aside);
}

/* "12-3", as dir_name() writes it. */
static bool parse_name(const char *name, spool_id *ret)
{
    char again[NAME_SIZE];
    spool_id id;

    if (sscanf(name, "%" SCNu64 "-%" SCNu64, &id.task, &id.att) != 2 || !id.task || !id.att)
        return false;
    dir_name(id, again);
    if (strcmp(again, name) != 0)
        return false;
    *ret = id;
    return true;
}

static int compare_ids(const void *a, const void *b)
{
    const spool_id *x = a, *y = b;

    if (x->task != y->task)
        return x->task < y->task ? -1 : 1;
    return (x->att > y->att) - (x->att < y->att);
}

volt_code spool_scan(const char *work, spool_id **ret, size_t *n, volt_err *err)
{
    CLEANUP(close)
    int root = open_root(work, true);
    int dup_fd = root < 0 ? -1 : openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(closedir)
    DIR *d = dup_fd < 0 ? NULL : fdopendir(dup_fd);
    const struct dirent *e;
    spool_id *v = NULL;
    size_t count = 0, cap = 0;

    if (!d)
        return volt_fail(err, VOLT_EIO, "read '%s/spool': %s", work, strerror(errno));
    while ((e = readdir(d))) {
        spool_id id;

        if (strncmp(e->d_name, ASIDE, sizeof ASIDE - 1) == 0)
            remove_aside(root, e->d_name);
        if (!parse_name(e->d_name, &id))
            continue;
        if (count == cap) {
            cap = cap ? 2 * cap : 16;
            v = mem_grow(v, cap, sizeof *v);
        }
        v[count++] = id;
    }
    if (count)
        qsort(v, count, sizeof *v, compare_ids);
    *ret = v;
    *n = count;
    return VOLT_OK;
}
