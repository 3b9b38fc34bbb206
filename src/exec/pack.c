#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "exec/archive.h"
#include "exec/seal.h"
#include "pipeline/glob.h"

#define DEPTH_MAX   200 /* a directory each is open */
#define CHUNK_BYTES (256 << 10)
#define LINK_MAX    4096

typedef struct packer {
    struct archive *to;
    struct archive_entry *entry;
    const char *file; /* the temporary one */
    int fd;
    crypto_generichash_state digest;
    slices patterns; /* of the directory at hand */
    const archive_limits *max;
    archive_sum sum;
    buf path;    /* of the entry at hand, as the archive names it */
    size_t skip; /* bytes of it that patterns do not have: "~/" */
    bool has_home;
    int64_t since_ns;
    bool failed; /* what libarchive still writes when it is freed is for nobody */
    char *chunk;
} packer;

static volt_code fail_errno(volt_err *err, const char *what, const char *path)
{
    volt_code code = errno == ENOSPC || errno == EDQUOT ? VOLT_EFULL : VOLT_EIO;

    return volt_fail(err, code, "%s '%s': %s", what, path, strerror(errno));
}

static volt_code fail_archive(packer *p, volt_err *err)
{
    int error = archive_errno(p->to);
    volt_code code = error == ENOSPC || error == EDQUOT ? VOLT_EFULL : VOLT_EIO;

    return volt_fail(err, code, "write '%s': %s", p->file, archive_error_string(p->to));
}

/* ---- the file ---- */

static int write_all(int fd, const void *bytes, size_t n)
{
    const char *p = bytes;

    while (n) {
        ssize_t done = write(fd, p, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

static la_ssize_t take_bytes(struct archive *a, void *ctx, const void *bytes, size_t n)
{
    packer *p = ctx;

    if (p->failed)
        return -1;
    if (write_all(p->fd, bytes, n) < 0) {
        archive_set_error(a, errno, "%s", strerror(errno));
        return -1;
    }
    crypto_generichash_update(&p->digest, bytes, n);
    p->sum.packed += n;
    return (la_ssize_t)n;
}

static volt_code begin(packer *p, volt_err *err)
{
    p->to = archive_write_new();
    p->entry = archive_entry_new();
    if (!p->to || !p->entry)
        mem_end();
    crypto_generichash_init(&p->digest, NULL, 0, SEAL_DIGEST);
    if (archive_write_add_filter_zstd(p->to) != ARCHIVE_OK ||
        archive_write_set_format_pax(p->to) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(p->to, 1) != ARCHIVE_OK ||
        archive_write_open(p->to, p, NULL, take_bytes, NULL) != ARCHIVE_OK)
        return fail_archive(p, err);
    return VOLT_OK;
}

static volt_code end(packer *p, volt_err *err)
{
    unsigned char digest[SEAL_DIGEST], seal[SEAL_SIZE];

    if (archive_write_close(p->to) != ARCHIVE_OK)
        return fail_archive(p, err);
    crypto_generichash_final(&p->digest, digest, sizeof digest);
    seal_make(digest, seal);
    if (write_all(p->fd, seal, sizeof seal) < 0 || fsync(p->fd) < 0)
        return fail_errno(err, "write", p->file);
    p->sum.packed += sizeof seal;
    return VOLT_OK;
}

/* ---- entries ---- */

/* Something may have gone or become something else since it was looked at. */
static bool has_vanished(void)
{
    return errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == ENXIO;
}

static volt_code add_header(packer *p, const struct stat *st, const char *target, volt_err *err)
{
    uint64_t bytes = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;

    if (p->sum.entries == p->max->entries)
        return volt_fail(err, VOLT_EREFUSED, "more than %llu files",
                         (unsigned long long)p->max->entries);
    if (bytes > p->max->bytes - p->sum.bytes)
        return volt_fail(err, VOLT_EREFUSED, "more than %llu bytes, with '%s'",
                         (unsigned long long)p->max->bytes, buf_str(&p->path));
    p->sum.entries++;
    p->sum.bytes += bytes;
    archive_entry_clear(p->entry);
    archive_entry_copy_pathname(p->entry, buf_str(&p->path));
    archive_entry_set_mode(p->entry, st->st_mode & (S_IFMT | 0777));
    archive_entry_set_mtime(p->entry, st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
    archive_entry_set_size(p->entry, (la_int64_t)bytes);
    if (target)
        archive_entry_copy_symlink(p->entry, target);
    return archive_write_header(p->to, p->entry) < ARCHIVE_WARN ? fail_archive(p, err) : VOLT_OK;
}

static volt_code add_content(packer *p, int fd, uint64_t bytes, volt_err *err)
{
    while (bytes) {
        size_t want = bytes < CHUNK_BYTES ? (size_t)bytes : CHUNK_BYTES;
        ssize_t n = read(fd, p->chunk, want);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, "read", buf_str(&p->path));
        if (n == 0) /* it shrank; libarchive fills up */
            return VOLT_OK;
        if (archive_write_data(p->to, p->chunk, (size_t)n) < 0)
            return fail_archive(p, err);
        bytes -= (uint64_t)n;
    }
    return VOLT_OK;
}

static volt_code add_file(packer *p, int at, const char *name, volt_err *err)
{
    CLEANUP(close)
    int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    volt_code code;

    if (fd < 0 && has_vanished())
        return VOLT_OK;
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_errno(err, "read", buf_str(&p->path));
    if (!S_ISREG(st.st_mode))
        return VOLT_OK;
    code = add_header(p, &st, NULL, err);
    return code ? code : add_content(p, fd, (uint64_t)st.st_size, err);
}

static volt_code add_link(packer *p, int at, const char *name, const struct stat *st, volt_err *err)
{
    char target[LINK_MAX + 1];
    ssize_t n = readlinkat(at, name, target, sizeof target - 1);

    if (n < 0)
        return has_vanished() || errno == EINVAL ? VOLT_OK
                                                 : fail_errno(err, "read", buf_str(&p->path));
    target[n] = '\0';
    return add_header(p, st, target, err);
}

/* ---- the walk ---- */

/* The part of a pattern that stands for itself, so that directories beside it are not read. */
static slice plain_part(slice pattern)
{
    slice s = pattern;

    while (slice_starts(s, SLICE("./")))
        s = (slice){ s.p + 2, s.n - 2 };
    for (size_t i = 0; i < s.n; i++) {
        slice rest = { s.p + i, s.n - i };

        if (strchr("*?[\\", s.p[i]) || slice_starts(rest, SLICE("//")) ||
            slice_starts(rest, SLICE("/./")) || slice_is(rest, "/."))
            return (slice){ s.p, i };
    }
    return slice_is(s, ".") ? (slice){ 0 } : s;
}

/* May a pattern name something below this directory?  Yes when in doubt. */
static bool may_hold(const packer *p, slice dir)
{
    for (size_t i = 0; i < p->patterns.n; i++) {
        slice plain = plain_part(p->patterns.v[i]);
        size_t n = plain.n < dir.n ? plain.n : dir.n;

        if ((n == 0 || memcmp(plain.p, dir.p, n) == 0) && (plain.n <= dir.n || plain.p[n] == '/'))
            return true;
    }
    return false;
}

static bool is_named(const packer *p, slice path)
{
    for (size_t i = 0; i < p->patterns.n; i++)
        if (glob_match(p->patterns.v[i], path))
            return true;
    return false;
}

/* By the time that no program can set. */
static bool is_new(const packer *p, const struct stat *st)
{
    return st->st_ctim.tv_sec * INT64_C(1000000000) + st->st_ctim.tv_nsec >= p->since_ns;
}

static volt_code add_dir(packer *p, int fd, unsigned depth, volt_err *err);

static volt_code add_entry(packer *p, int at, const char *name, unsigned depth, volt_err *err)
{
    slice path = { p->path.p + p->skip, p->path.n - p->skip };
    bool named = is_named(p, path);
    volt_code code = VOLT_OK;
    struct stat st;
    int fd;

    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return has_vanished() ? VOLT_OK : fail_errno(err, "look at", buf_str(&p->path));
    named = named && is_new(p, &st);
    if (named && S_ISREG(st.st_mode))
        return add_file(p, at, name, err);
    if (named && S_ISLNK(st.st_mode))
        return add_link(p, at, name, &st, err);
    if (!S_ISDIR(st.st_mode))
        return VOLT_OK;
    if (named)
        code = add_header(p, &st, NULL, err);
    if (code || !may_hold(p, path))
        return code;
    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return has_vanished() ? VOLT_OK : fail_errno(err, "read", buf_str(&p->path));
    return add_dir(p, fd, depth + 1, err);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Names at the top that are not the task's. */
static bool is_skipped(const packer *p, const char *name, unsigned depth)
{
    return depth == 0 && p->skip == 0 &&
           (strcmp(name, ".git") == 0 || (p->has_home && strcmp(name, "~") == 0));
}

/* Takes the descriptor. */
static volt_code add_dir(packer *p, int fd, unsigned depth, volt_err *err)
{
    size_t path_n = p->path.n;
    volt_code code = VOLT_OK;
    struct dirent **names;
    int n = -1;

    if (depth > DEPTH_MAX)
        code = volt_fail(err, VOLT_EREFUSED, "'%s' lies deeper than %d directories",
                         buf_str(&p->path), DEPTH_MAX);
    else if ((n = scandirat(fd, ".", &names, NULL, by_name)) < 0)
        code = fail_errno(err, "read", buf_str(&p->path));
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;

        if (code == VOLT_OK && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
            !is_skipped(p, name, depth)) {
            buf_addf(&p->path, "%s%s", depth ? "/" : "", name);
            code = add_entry(p, fd, name, depth, err);
            p->path.n = path_n;
            p->path.p[path_n] = '\0';
        }
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    close(fd);
    return code;
}

/* Those patterns that begin with "~/", without it, or the others. */
static volt_code add_tree(packer *p, const char *dir, slices patterns, bool home, volt_err *err)
{
    const slice tilde = SLICE("~/");
    CLEANUP(free)
    slice *own = NEW_ARRAY(slice, patterns.n + 1);
    int fd;

    p->patterns = (slices){ .v = own };
    p->skip = home ? tilde.n : 0;
    buf_clear(&p->path);
    buf_adds(&p->path, home ? "~/" : "");
    for (size_t i = 0; i < patterns.n; i++) {
        slice s = patterns.v[i];

        if (!p->has_home || slice_starts(s, tilde) == home)
            own[p->patterns.n++] = home ? (slice){ s.p + tilde.n, s.n - tilde.n } : s;
    }
    if (p->patterns.n == 0)
        return VOLT_OK;
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? fail_errno(err, "read", dir) : add_dir(p, fd, 0, err);
}

static volt_code pack(packer *p, const archive_place *place, slices patterns, volt_err *err)
{
    volt_code code = begin(p, err);

    if (!code)
        code = add_tree(p, place->dir, patterns, false, err);
    if (!code && place->home)
        code = add_tree(p, place->home, patterns, true, err);
    if (!code)
        code = end(p, err);
    p->failed = code != VOLT_OK;
    archive_write_free(p->to);
    archive_entry_free(p->entry);
    return code;
}

volt_code archive_pack(const char *file, const archive_place *place, slices patterns,
                       const archive_limits *max, archive_sum *ret, volt_err *err)
{
    CLEANUP(free)
    char *temporary = mem_printf("%s" ARCHIVE_TEMPORARY "XXXXXX", file);
    CLEANUP(close)
    int fd = mkostemp(temporary, O_CLOEXEC);
    packer p = { .file = temporary,
                 .fd = fd,
                 .max = max,
                 .has_home = place->home != NULL,
                 .since_ns = place->since_ns };
    volt_code code;

    if (fd < 0)
        return fail_errno(err, "make", temporary);
    p.chunk = mem_zero(CHUNK_BYTES);
    code = pack(&p, place, patterns, err);
    free(p.chunk);
    buf_free(&p.path);
    if (!code && rename(temporary, file) < 0)
        code = fail_errno(err, "make", file);
    if (code)
        unlink(temporary);
    else
        *ret = p.sum;
    return code;
}
