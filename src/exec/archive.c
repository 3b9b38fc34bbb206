#include "exec/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/text.h"
#include "exec/seal.h"

#define BLOCK_BYTES (64 << 10)
#define SECURE                                                           \
    (ARCHIVE_EXTRACT_SECURE_NODOTDOT | ARCHIVE_EXTRACT_SECURE_SYMLINKS | \
     ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS)

typedef struct archive archive_handle;

typedef struct reader {
    const char *file;
    archive_handle *from;
    const archive_limits *max;
    bool has_home;
    archive_sum sum;
} reader;

/* The entry at hand. */
typedef struct entry {
    struct archive_entry *of;
    archive_file file; /* `path` as the archive names it, without a slash at the end */
    bool home;
    char *name; /* where it goes, in the directory or in the home */
} entry;

/* ---- reading ---- */

static volt_code fail_damaged(const reader *r, volt_err *err)
{
    return volt_fail(err, VOLT_ECORRUPT, "'%s' is damaged: %s", r->file,
                     archive_error_string(r->from));
}

static volt_code refuse(const reader *r, slice path, const char *why, volt_err *err)
{
    return volt_fail(err, VOLT_ECORRUPT, "'%s' holds '" SLICE_FMT "', %s", r->file, SLICE_ARG(path),
                     why);
}

static bool is_at_or_below(slice path, slice dir)
{
    return slice_starts(path, dir) && (path.n == dir.n || path.p[dir.n] == '/');
}

static volt_code check_path(reader *r, entry *e, volt_err *err)
{
    slice path = e->file.path, name = path;

    e->home = r->has_home && is_at_or_below(path, SLICE("~"));
    if (e->home)
        name = path.n > 2 ? (slice){ path.p + 2, path.n - 2 } : (slice){ 0 };
    if (!text_is_inside(name))
        return refuse(r, path, "which is no path in a directory", err);
    if (!e->home && is_at_or_below(path, SLICE(".git")))
        return refuse(r, path, "which belongs to git", err);
    e->name = mem_strndup(name.p, name.n);
    return VOLT_OK;
}

static volt_code check_limits(reader *r, const entry *e, volt_err *err)
{
    if (r->sum.entries == r->max->entries)
        return volt_fail(err, VOLT_EREFUSED, "'%s' holds more than %llu files", r->file,
                         (unsigned long long)r->max->entries);
    if (e->file.bytes > r->max->bytes - r->sum.bytes)
        return volt_fail(err, VOLT_EREFUSED,
                         "'%s' holds more than %llu bytes, with '" SLICE_FMT "'", r->file,
                         (unsigned long long)r->max->bytes, SLICE_ARG(e->file.path));
    r->sum.entries++;
    r->sum.bytes += e->file.bytes;
    return VOLT_OK;
}

static volt_code check(reader *r, entry *e, volt_err *err)
{
    slice path = slice_of(archive_entry_pathname(e->of));
    mode_t type = archive_entry_filetype(e->of);
    la_int64_t size = type == AE_IFREG ? archive_entry_size(e->of) : 0;
    volt_code code;

    if (type == AE_IFDIR && path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    e->file = (archive_file){ .path = path,
                              .mode = archive_entry_mode(e->of) & (S_IFMT | 0777),
                              .bytes = (uint64_t)size };
    if (archive_entry_hardlink(e->of) || (type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK))
        return refuse(r, path, "which is no file, directory or symbolic link", err);
    if (size < 0 || (type == AE_IFLNK && !archive_entry_symlink(e->of)))
        return refuse(r, path, "of which something is missing", err);
    code = check_path(r, e, err);
    return code ? code : check_limits(r, e, err);
}

static void clear(entry *e)
{
    free(TAKE(e->name));
}

/* The next entry, *more false: there is none.  Clear it first. */
static volt_code next(reader *r, entry *e, bool *more, volt_err *err)
{
    int rc = archive_read_next_header(r->from, &e->of);

    clear(e);
    *more = rc != ARCHIVE_EOF;
    if (!*more)
        return VOLT_OK;
    return rc < ARCHIVE_WARN ? fail_damaged(r, err) : check(r, e, err);
}

static archive_handle *sure(archive_handle *a)
{
    if (!a)
        mem_end();
    return a;
}

/* `fd` must stand as long as the reader. */
static volt_code start(reader *r, int *fd, volt_err *err)
{
    struct stat st;
    volt_code code;

    *fd = open(r->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0 || fstat(*fd, &st) < 0)
        return volt_fail(err, errno == ENOENT ? VOLT_ENOTFOUND : VOLT_EIO, "open '%s': %s", r->file,
                         strerror(errno));
    code = seal_check(*fd, r->file, err);
    if (code)
        return code;
    r->sum.packed = (uint64_t)st.st_size;
    r->from = sure(archive_read_new());
    if (archive_read_support_filter_zstd(r->from) < ARCHIVE_WARN ||
        archive_read_support_format_tar(r->from) < ARCHIVE_WARN ||
        archive_read_open_fd(r->from, *fd, BLOCK_BYTES) < ARCHIVE_WARN)
        return fail_damaged(r, err);
    return VOLT_OK;
}

volt_code archive_list(const char *file, const archive_limits *max, archive_visit *visit, void *ctx,
                       archive_sum *ret, volt_err *err)
{
    CLEANUP(close)
    int fd = -1;
    reader r = { .file = file, .max = max };
    entry e = { 0 };
    bool more = true;
    volt_code code = start(&r, &fd, err);

    while (!code && more) {
        code = next(&r, &e, &more, err);
        if (!code && more)
            visit(ctx, &e.file);
    }
    clear(&e);
    archive_read_free(r.from);
    if (!code)
        *ret = r.sum;
    return code;
}

/* ---- writing ---- */

/* libarchive makes paths from the working directory only, so each use goes there first. */
typedef struct target {
    int fd;
    archive_handle *to;
} target;

static volt_code fail_write(archive_handle *to, const char *name, volt_err *err)
{
    int error = archive_errno(to); /* not above 0: of its own */
    volt_code code = error == ENOSPC || error == EDQUOT ? VOLT_EFULL : VOLT_EIO;

    return volt_fail(err, code, "unpack '%s': %s%s%s", name, archive_error_string(to),
                     error > 0 ? ": " : "", error > 0 ? strerror(error) : "");
}

static volt_code open_target(target *t, const char *dir, volt_err *err)
{
    t->fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (t->fd < 0)
        return volt_fail(err, VOLT_EIO, "open '%s': %s", dir, strerror(errno));
    t->to = sure(archive_write_disk_new());
    archive_write_disk_set_options(t->to, ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME | SECURE);
    return VOLT_OK;
}

/* Directories get their modes and times now, after what is in them. */
static volt_code close_target(target *t, volt_code code, volt_err *err)
{
    if (t->to && fchdir(t->fd) == 0 && archive_write_close(t->to) < ARCHIVE_WARN && !code)
        code = fail_write(t->to, ".", err);
    archive_write_free(t->to);
    if (t->fd >= 0)
        close(t->fd);
    return code;
}

static volt_code put_content(reader *r, archive_handle *to, const entry *e, volt_err *err)
{
    const void *block;
    size_t n;
    la_int64_t at;
    int rc;

    while ((rc = archive_read_data_block(r->from, &block, &n, &at)) == ARCHIVE_OK)
        if (archive_write_data_block(to, block, n, at) != ARCHIVE_OK) /* a full disk is a warning */
            return fail_write(to, e->name, err);
    return rc == ARCHIVE_EOF ? VOLT_OK : fail_damaged(r, err);
}

static volt_code put(reader *r, target *t, entry *e, volt_err *err)
{
    volt_code code = VOLT_OK;

    if (fchdir(t->fd) < 0)
        return volt_fail(err, VOLT_EIO, "change the directory: %s", strerror(errno));
    archive_entry_set_pathname(e->of, e->name);
    archive_entry_set_mode(e->of, e->file.mode);
    if (archive_write_header(t->to, e->of) < ARCHIVE_WARN)
        return fail_write(t->to, e->name, err);
    if (S_ISREG(e->file.mode))
        code = put_content(r, t->to, e, err);
    if (!code && archive_write_finish_entry(t->to) < ARCHIVE_WARN)
        code = fail_write(t->to, e->name, err);
    return code;
}

static volt_code unpack(reader *r, const archive_place *place, volt_err *err)
{
    target dir = { .fd = -1 }, home = { .fd = -1 };
    entry e = { 0 };
    bool more = true;
    volt_code code = open_target(&dir, place->dir, err);

    if (!code && place->home)
        code = open_target(&home, place->home, err);
    while (!code && more) {
        code = next(r, &e, &more, err);
        if (!code && more)
            code = put(r, e.home ? &home : &dir, &e, err);
    }
    clear(&e);
    code = close_target(&dir, code, err);
    return close_target(&home, code, err);
}

volt_code archive_unpack(const char *file, const archive_place *place, const archive_limits *max,
                         archive_sum *ret, volt_err *err)
{
    CLEANUP(close)
    int fd = -1;
    CLEANUP(close)
    int back = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    reader r = { .file = file, .max = max, .has_home = place->home != NULL };
    volt_code code = start(&r, &fd, err);

    if (!code)
        code = unpack(&r, place, err);
    archive_read_free(r.from);
    if (back >= 0 && fchdir(back) < 0 && !code)
        code = volt_fail(err, VOLT_EIO, "change the directory back: %s", strerror(errno));
    if (!code)
        *ret = r.sum;
    return code;
}
