#include "cmd/tail/resultfile.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/text.h"

#define FLUSH_BYTES ((size_t)64 * 1024)
#define HEAD_BYTES  8192 /* a header is shorter: its texts are bounded by the protocol */
#define COUNT_WIDTH 10

struct resultfile {
    int dir;                             /* borrowed */
    const msg_event *build;              /* borrowed */
    int fd;                              /* -1: committed, or given up */
    char *path;                          /* repo/commit */
    char *tmp;                           /* the same under a name that begins with a dot */
    char *flat;                          /* commit */
    char *repo;                          /* as a file name */
    buf out;                             /* not written yet */
    uint64_t at;                         /* file offset of out.p[0] */
    int error;                           /* errno of the first failed write */
    bool body;                           /* the empty line behind the header is there */
    uint64_t count_at, announced, bytes; /* of the open unit: where its count stands */
};

volt_code resultfile_dir(const char *dir, int *ret, volt_err *err)
{
    CLEANUP(free)
    char *path = mem_strdup(dir);
    int fd;

    for (char *p = path + 1; *path && *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        mkdir(path, 0777); /* whether it worked is seen when DIR itself is opened */
        *p = '/';
    }
    mkdir(path, 0777);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return volt_fail(err, VOLT_EIO, "open results directory '%s': %s", dir, strerror(errno));
    *ret = fd;
    return VOLT_OK;
}

/* A repository's name as one path component that is neither hidden nor looks like a commit: what
 * would be otherwise is written as %XX.  NULL: too long, or empty. */
static char *file_name(slice repo)
{
    __attribute__((cleanup(cleanup_buf))) buf name = { 0 };
    bool oid = text_is_oid(repo);

    for (size_t i = 0; i < repo.n; i++) {
        unsigned char c = (unsigned char)repo.p[i];

        if (c == '/' || c == '%' || c < 0x20 || c == 0x7f || (i == 0 && (c == '.' || oid)))
            buf_addf(&name, "%%%02X", c);
        else
            buf_addc(&name, (char)c);
    }
    return name.n && name.n <= NAME_MAX ? mem_strdup(name.p) : NULL;
}

/* The value of "key: " at the start of a line of `head`. */
static slice head_value(slice head, const char *key)
{
    size_t n = strlen(key);

    while (head.n) {
        const char *end = memchr(head.p, '\n', head.n);
        size_t line = end ? (size_t)(end - head.p) : head.n;

        if (line == 0)
            break;
        if (line > n + 2 && memcmp(head.p, key, n) == 0 && memcmp(head.p + n, ": ", 2) == 0)
            return (slice){ head.p + n + 2, line - n - 2 };
        if (!end)
            break;
        head = (slice){ end + 1, head.n - line - 1 };
    }
    return (slice){ 0 };
}

volt_code resultfile_new(int dir, const msg_event *build, resultfile **ret, volt_err *err)
{
    resultfile *f = NEW(resultfile);

    f->dir = dir;
    f->build = build;
    f->fd = -1;
    f->repo = file_name(build->repo);
    if (!f->repo) {
        resultfile_free(f);
        return volt_fail(err, VOLT_EINVALID, "the repository's name '%.*s' makes no file name",
                         SLICE_ARG(build->repo));
    }
    f->flat = mem_printf("%.*s", SLICE_ARG(build->oid));
    f->path = mem_printf("%s/%s", f->repo, f->flat);
    f->tmp = mem_printf("%s/.%s.%d.tmp", f->repo, f->flat, (int)getpid());
    if (mkdirat(dir, f->repo, 0777) < 0 && errno != EEXIST) {
        volt_fail(err, VOLT_EIO, "make directory '%s': %s", f->repo, strerror(errno));
        resultfile_free(f);
        return VOLT_EIO;
    }
    f->fd = openat(dir, f->tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (f->fd < 0) {
        volt_fail(err, VOLT_EIO, "create '%s': %s", f->tmp, strerror(errno));
        resultfile_free(f);
        return VOLT_EIO;
    }
    *ret = f;
    return VOLT_OK;
}

bool resultfile_is_newer(const resultfile *f, bool or_same)
{
    CLEANUP(close)
    int fd = openat(f->dir, f->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char bytes[HEAD_BYTES + 1];
    ssize_t n = fd < 0 ? -1 : read(fd, bytes, HEAD_BYTES);
    slice head = { bytes, n < 0 ? 0 : (size_t)n }, number;
    uint64_t build;

    bytes[head.n] = '\0';
    number = head_value(head, "build");
    build = number.n ? strtoull(number.p, NULL, 10) : 0;
    return slice_eq(head_value(head, "history"), f->build->hist) &&
           (build > f->build->build || (or_same && build == f->build->build));
}

void resultfile_free(resultfile *f)
{
    if (!f)
        return;
    if (f->fd >= 0) {
        close(f->fd);
        unlinkat(f->dir, f->tmp, 0);
    }
    buf_free(&f->out);
    free(f->repo);
    free(f->flat);
    free(f->path);
    free(f->tmp);
    free(f);
}

static void write_all(resultfile *f, const char *p, size_t n, uint64_t at)
{
    while (n && !f->error) {
        ssize_t done = pwrite(f->fd, p, n, (off_t)at);

        if (done < 0 && errno != EINTR)
            f->error = errno;
        if (done <= 0)
            continue;
        p += done;
        n -= (size_t)done;
        at += (uint64_t)done;
    }
}

static void flush(resultfile *f)
{
    write_all(f, f->out.p, f->out.n, f->at);
    f->at += f->out.n;
    buf_clear(&f->out);
}

/* What a peer wrote on a line of ours: control characters as \xNN, so that it stays one line. */
static void add_plain(buf *out, slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];

        if (c < 0x20 || c == 0x7f)
            buf_addf(out, "\\x%02x", c);
        else
            buf_addc(out, (char)c);
    }
}

void resultfile_head(resultfile *f, const char *key, slice value)
{
    if (!value.n)
        return;
    buf_addf(&f->out, "%s: ", key);
    add_plain(&f->out, value);
    buf_addc(&f->out, '\n');
}

static void begin_body(resultfile *f)
{
    if (!f->body)
        buf_addc(&f->out, '\n');
    f->body = true;
}

void resultfile_note(resultfile *f, const char *text)
{
    begin_body(f);
    buf_adds(&f->out, "--- note: ");
    add_plain(&f->out, slice_of(text));
    buf_addc(&f->out, '\n');
}

static void add_number(buf *out, const char *name, uint64_t value)
{
    if (value)
        buf_addf(out, "  %s %llu", name, (unsigned long long)value);
}

static void add_text(buf *out, const char *name, slice value)
{
    if (!value.n)
        return;
    buf_addf(out, "  %s ", name);
    add_plain(out, value);
}

void resultfile_unit(resultfile *f, const result_unit *unit)
{
    begin_body(f);
    buf_addf(&f->out, "--- %-8s ", unit->verdict ? verdict_text(unit->verdict) : "not-run");
    f->count_at = f->at + f->out.n;
    f->announced = unit->len;
    f->bytes = 0;
    buf_addf(&f->out, "%*llu bytes  %6llu ms", COUNT_WIDTH, (unsigned long long)unit->len,
             (unsigned long long)unit->duration_ms);
    add_number(&f->out, "exit", unit->exit);
    add_number(&f->out, "signal", unit->signal);
    add_text(&f->out, "job", unit->job);
    if (unit->task)
        buf_addf(&f->out, "  attempt %llu/%llu", (unsigned long long)unit->task,
                 (unsigned long long)unit->att);
    add_text(&f->out, "runner", unit->runner);
    add_text(&f->out, "why", unit->why);
    buf_adds(&f->out, "  ");
    add_plain(&f->out, unit->name);
    buf_addc(&f->out, '\n');
}

void resultfile_bytes(resultfile *f, slice bytes)
{
    f->bytes += bytes.n;
    assert(f->bytes <= f->announced);
    buf_add_slice(&f->out, bytes);
    if (f->out.n >= FLUSH_BYTES)
        flush(f);
}

void resultfile_unit_end(resultfile *f)
{
    buf_addc(&f->out, '\n');
    if (f->bytes < f->announced) {
        char count[32];
        int n = snprintf(count, sizeof count, "%*llu", COUNT_WIDTH, (unsigned long long)f->bytes);

        flush(f);
        write_all(f, count, (size_t)n, f->count_at);
        buf_addf(&f->out, "--- note: %llu more bytes of this output are no longer kept\n",
                 (unsigned long long)(f->announced - f->bytes));
    }
}

/* The flat name, as the seed has it; relative, so that DIR may be moved. */
static bool link_flat(const resultfile *f)
{
    CLEANUP(free)
    char *tmp = mem_printf(".%s.%d.tmp", f->flat, (int)getpid());

    unlinkat(f->dir, tmp, 0);
    if (symlinkat(f->path, f->dir, tmp) < 0)
        return false;
    if (renameat(f->dir, tmp, f->dir, f->flat) < 0) {
        unlinkat(f->dir, tmp, 0);
        return false;
    }
    return true;
}

volt_code resultfile_commit(resultfile *f, volt_err *err)
{
    CLEANUP(close)
    int repo = -1;

    flush(f);
    if (f->error)
        return volt_fail(err, VOLT_EIO, "write '%s': %s", f->tmp, strerror(f->error));
    repo = openat(f->dir, f->repo, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fsync(f->fd) < 0 || renameat(f->dir, f->tmp, f->dir, f->path) < 0 || repo < 0 ||
        fsync(repo) < 0)
        return volt_fail(err, VOLT_EIO, "replace '%s': %s", f->path, strerror(errno));
    close(f->fd);
    f->fd = -1;
    if (!link_flat(f) || fsync(f->dir) < 0)
        return volt_fail(err, VOLT_EIO, "link '%s' to '%s': %s", f->flat, f->path, strerror(errno));
    return VOLT_OK;
}

const char *resultfile_path(const resultfile *f)
{
    return f->path;
}
