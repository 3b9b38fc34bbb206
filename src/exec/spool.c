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

#define LENGTH_SIZE 4
#define HEAD_SIZE   (LENGTH_SIZE + 1) /* of a record: its length, its part */
#define NAME_SIZE   64
#define READ_SIZE   16384

struct spool {
    spool_id id;
    char *work;
    int root;             /* WORK/spool */
    int records;          /* the attempt's file */
    int streams[PARTS_N]; /* -1 until asked for */
    off_t end;            /* the writer's: bytes of whole records */
};

static const char *const suffixes[PARTS_N] = {
    [PART_LOG] = ".log", [PART_ARTIFACTS] = ".artifacts"
};

DEFINE_CLEANUP(spool *, spool_free);
DEFINE_CLEANUP(DIR *, closedir);

static volt_code fail_errno(volt_err *err, const char *what, spool_id id)
{
    volt_code code = errno == ENOSPC || errno == EDQUOT ? VOLT_EFULL
                     : errno == ENOENT                  ? VOLT_ENOTFOUND
                     : errno == EEXIST                  ? VOLT_EEXISTS
                                                        : VOLT_EIO;

    return volt_fail(err, code, "%s spool %" PRIu64 "-%" PRIu64 ": %s", what, id.task, id.att,
                     strerror(errno));
}

static void file_name(spool_id id, const char *suffix, char ret[NAME_SIZE])
{
    snprintf(ret, NAME_SIZE, "%" PRIu64 "-%" PRIu64 "%s", id.task, id.att, suffix);
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

static volt_code spool_new(const char *work, spool_id id, int flags, spool **ret, volt_err *err)
{
    CLEANUP(spool_free)
    spool *s = NEW(spool);
    char name[NAME_SIZE];

    file_name(id, "", name);
    s->id = id;
    s->work = mem_strdup(work);
    s->records = s->streams[PART_LOG] = s->streams[PART_ARTIFACTS] = -1;
    s->root = open_root(work, flags & O_CREAT);
    if (s->root >= 0)
        s->records = openat(s->root, name, flags | O_CLOEXEC, 0600);
    if (s->records < 0)
        return fail_errno(err, flags & O_CREAT ? "make" : "open", id);
    *ret = TAKE(s);
    return VOLT_OK;
}

void spool_free(spool *s)
{
    if (!s)
        return;
    for (unsigned part = 0; part < PARTS_N; part++)
        if (s->streams[part] >= 0)
            close(s->streams[part]);
    if (s->records >= 0)
        close(s->records);
    if (s->root >= 0)
        close(s->root);
    free(s->work);
    free(s);
}

volt_code spool_open(const char *work, spool_id id, spool **ret, volt_err *err)
{
    return spool_new(work, id, O_RDONLY, ret, err);
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

static void put_length(size_t n, unsigned char ret[LENGTH_SIZE])
{
    for (size_t i = 0; i < LENGTH_SIZE; i++)
        ret[i] = (unsigned char)(n >> 8 * i);
}

static size_t get_length(const unsigned char *p)
{
    return (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
}

static volt_code add_record(spool *s, spool_part part, slice frame, volt_err *err)
{
    unsigned char head[HEAD_SIZE];
    struct iovec v[2] = { { head, sizeof head }, { (void *)(uintptr_t)frame.p, frame.n } };

    assert(frame.n <= UINT32_MAX);
    put_length(frame.n, head);
    head[LENGTH_SIZE] = (unsigned char)part;
    if (!write_all(s->records, v, 2)) {
        volt_code rc = fail_errno(err, "write", s->id);

        /* No half record may stay before those that follow. */
        if (ftruncate(s->records, s->end))
            return fail_errno(err, "cut", s->id);
        return rc;
    }
    s->end += (off_t)(sizeof head + frame.n);
    return VOLT_OK;
}

volt_code spool_create(const char *work, spool_id id, slice assign, spool **ret, volt_err *err)
{
    CLEANUP(spool_free)
    spool *s = NULL;
    volt_code rc;

    assert(id.task > 0 && id.att > 0);
    rc = spool_new(work, id, O_WRONLY | O_CREAT | O_EXCL | O_APPEND, &s, err);
    if (rc)
        return rc;
    rc = add_record(s, SPOOL_ASSIGN, assign, err);
    if (rc) {
        spool_delete(work, id);
        return rc;
    }
    *ret = TAKE(s);
    return VOLT_OK;
}

int spool_stream_fd(spool *s, msg_part part)
{
    char name[NAME_SIZE];

    file_name(s->id, suffixes[part], name);
    if (s->streams[part] < 0)
        s->streams[part] = openat(s->root, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return s->streams[part];
}

const char *spool_stream_path(const spool *s, msg_part part, arena *a)
{
    char name[NAME_SIZE];

    file_name(s->id, suffixes[part], name);
    return arena_printf(a, "%s/spool/%s", s->work, name);
}

int64_t spool_changed_ns(const spool *s)
{
    struct stat st;

    if (fstat(s->records, &st) < 0)
        return 0;
    return st.st_ctim.tv_sec * INT64_C(1000000000) + st.st_ctim.tv_nsec;
}

volt_code spool_add(spool *s, spool_part part, slice frame, volt_err *err)
{
    assert(part == SPOOL_PLAN || part == SPOOL_TESTS);
    return add_record(s, part, frame, err);
}

volt_code spool_finish(spool *s, slice result, volt_err *err)
{
    struct stat st;

    if (fstat(s->records, &st) == 0 && st.st_nlink == 0) {
        errno = ENOENT;
        return fail_errno(err, "end", s->id);
    }
    return add_record(s, SPOOL_RESULT, result, err);
}

static volt_code read_records(const spool *s, size_t max, buf *ret, volt_err *err)
{
    for (;;) {
        ssize_t n = pread(s->records, buf_room(ret, READ_SIZE), READ_SIZE, (off_t)ret->n);

        if (n == 0)
            return VOLT_OK;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, "read", s->id);
        ret->n += (size_t)n;
        if (ret->n > max)
            return volt_fail(err, VOLT_EFULL,
                             "spool %" PRIu64 "-%" PRIu64 " is larger than %zu bytes", s->id.task,
                             s->id.att, max);
    }
}

/* Takes the first record off *rest.  False: no whole one is left. */
static bool next_record(slice *rest, spool_part *part, slice *frame)
{
    size_t n;

    if (rest->n < HEAD_SIZE)
        return false;
    n = get_length((const unsigned char *)rest->p);
    if (rest->n - HEAD_SIZE < n)
        return false;
    *part = (spool_part)(unsigned char)rest->p[LENGTH_SIZE];
    *frame = (slice){ rest->p + HEAD_SIZE, n };
    *rest = (slice){ frame->p + n, rest->n - HEAD_SIZE - n };
    return true;
}

volt_code spool_read(const spool *s, spool_part part, size_t max, buf *out, volt_err *err)
{
    CLEANUP(buf)
    buf all = { 0 };
    volt_code rc = read_records(s, max, &all, err);
    slice rest = buf_slice(&all), frame;
    spool_part is;

    if (rc)
        return rc;
    assert(part != SPOOL_LOG);
    while (next_record(&rest, &is, &frame)) {
        unsigned char length[LENGTH_SIZE];

        if (is != part)
            continue;
        put_length(frame.n, length);
        if (part == SPOOL_PLAN || part == SPOOL_TESTS)
            buf_add(out, length, sizeof length);
        buf_add_slice(out, frame);
    }
    return VOLT_OK;
}

bool spool_has_result(const spool *s)
{
    unsigned char head[HEAD_SIZE];
    off_t at = 0;
    struct stat st;

    if (fstat(s->records, &st) < 0)
        return false;
    while (pread(s->records, head, sizeof head, at) == HEAD_SIZE) {
        at += HEAD_SIZE + (off_t)get_length(head);
        if (head[LENGTH_SIZE] == SPOOL_RESULT)
            return at <= st.st_size;
    }
    return false;
}

bool spool_next(slice *rest, slice *ret)
{
    size_t n;

    if (rest->n < LENGTH_SIZE)
        return false;
    n = get_length((const unsigned char *)rest->p);
    if (rest->n - LENGTH_SIZE < n)
        return false;
    *ret = (slice){ rest->p + LENGTH_SIZE, n };
    *rest = (slice){ ret->p + n, rest->n - LENGTH_SIZE - n };
    return true;
}

volt_code spool_read_stream(spool *s, msg_part part, uint64_t off, char *to, size_t max, size_t *n,
                            volt_err *err)
{
    int *fd = &s->streams[part];
    char name[NAME_SIZE];
    size_t got = 0;

    file_name(s->id, suffixes[part], name);
    /* Opened for reading only: the agent must not make one where the executor made none. */
    if (*fd < 0)
        *fd = openat(s->root, name, O_RDONLY | O_CLOEXEC);
    if (*fd < 0 && errno == ENOENT) {
        *n = 0;
        return VOLT_OK;
    }
    if (*fd < 0)
        return fail_errno(err, "open a stream of", s->id);
    while (got < max) {
        ssize_t did = pread(*fd, to + got, max - got, (off_t)(off + got));

        if (did < 0 && errno == EINTR)
            continue;
        if (did < 0)
            return fail_errno(err, "read a stream of", s->id);
        if (did == 0)
            break;
        got += (size_t)did;
    }
    *n = got;
    return VOLT_OK;
}

void spool_delete(const char *work, spool_id id)
{
    CLEANUP(close)
    int root = open_root(work, false);
    char name[NAME_SIZE];

    if (root < 0)
        return;
    file_name(id, "", name);
    unlinkat(root, name, 0);
    for (unsigned part = 0; part < PARTS_N; part++) {
        file_name(id, suffixes[part], name);
        unlinkat(root, name, 0);
    }
}

/* "12-3", as file_name() writes it. */
static bool parse_name(const char *name, spool_id *ret)
{
    char again[NAME_SIZE];
    spool_id id;

    if (sscanf(name, "%" SCNu64 "-%" SCNu64, &id.task, &id.att) != 2 || !id.task || !id.att)
        return false;
    file_name(id, "", again);
    if (strcmp(again, name) != 0)
        return false;
    *ret = id;
    return true;
}

/* A stream whose attempt is deleted, or what was being made of one. */
static void remove_stray(int root, const char *name)
{
    char attempt[NAME_SIZE];
    spool_id id;

    if (sscanf(name, "%" SCNu64 "-%" SCNu64, &id.task, &id.att) != 2)
        return;
    file_name(id, "", attempt);
    if (strncmp(name, attempt, strlen(attempt)) == 0 && name[strlen(attempt)] == '.' &&
        faccessat(root, attempt, F_OK, 0) < 0 && errno == ENOENT)
        unlinkat(root, name, 0);
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

        if (!parse_name(e->d_name, &id)) {
            remove_stray(root, e->d_name);
            continue;
        }
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
