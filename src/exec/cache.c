#include "exec/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "git/tree.h"
#include "pipeline/glob.h"

#define DIGEST_SIZE (CACHE_KEY_SIZE / 2)

static const archive_limits limits = { .bytes = CACHE_CONTENT_MAX, .entries = CACHE_ENTRIES_MAX };

DEFINE_CLEANUP(DIR *, closedir);

/* ---- the key ---- */

typedef struct hasher {
    crypto_generichash_state state;
    slices patterns;
    size_t files;
} hasher;

/* With its length, so that no two lists run together to the same bytes. */
static void add(hasher *h, slice s)
{
    uint64_t n = s.n;

    crypto_generichash_update(&h->state, (const unsigned char *)&n, sizeof n);
    crypto_generichash_update(&h->state, (const unsigned char *)s.p, s.n);
}

static void add_list(hasher *h, slices list)
{
    uint64_t n = list.n;

    add(h, (slice){ (const char *)&n, sizeof n });
    for (size_t i = 0; i < list.n; i++)
        add(h, list.v[i]);
}

static bool add_file(void *ctx, const tree_file *file)
{
    hasher *h = ctx;
    slice path = slice_of(file->path);

    for (size_t i = 0; i < h->patterns.n; i++)
        if (glob_match(h->patterns.v[i], path)) {
            add(h, path);
            add(h, file->id);
            h->files++;
            break;
        }
    return true;
}

volt_code cache_key_of(objects *o, const commit_id *id, slice job, slices patterns, slices paths,
                       cache_key *ret, volt_err *err)
{
    hasher h = { .patterns = patterns };
    unsigned char digest[DIGEST_SIZE];
    volt_code code;

    crypto_generichash_init(&h.state, NULL, 0, sizeof digest);
    add(&h, SLICE("cache 1"));
    add(&h, job);
    add_list(&h, patterns);
    add_list(&h, paths);
    code = tree_walk(o, id, "", add_file, &h, err);
    if (code)
        return code;
    crypto_generichash_final(&h.state, digest, sizeof digest);
    sodium_bin2hex(ret->hex, sizeof ret->hex, digest, sizeof digest);
    ret->files = h.files;
    return VOLT_OK;
}

/* ---- restoring ---- */

volt_code cache_restore(const char *file, const archive_place *place, archive_sum *ret,
                        volt_err *err)
{
    volt_code code = archive_unpack(file, place, &limits, ret, err);

    if (code == VOLT_ECORRUPT)
        unlink(file);
    if (code == VOLT_OK) /* may be removed meanwhile */
        utimensat(AT_FDCWD, file, NULL, 0);
    return code;
}

/* ---- the limit ---- */

typedef struct found {
    char *path;
    uint64_t bytes;
    struct timespec used;
} found;

typedef struct caches {
    found *v;
    size_t n, cap;
    uint64_t bytes;
} caches;

static void add_cache(caches *c, const char *path, const struct stat *st)
{
    if (c->n == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 64;
        c->v = mem_grow(c->v, c->cap, sizeof *c->v);
    }
    c->v[c->n++] =
        (found){ .path = mem_strdup(path), .bytes = (uint64_t)st->st_size, .used = st->st_mtim };
    c->bytes += (uint64_t)st->st_size;
}

/* Finds the caches in one directory, and removes what is left of saves that were killed. */
static void look_into(caches *c, const char *dir, time_t now)
{
    CLEANUP(closedir)
    DIR *d = opendir(dir);
    const struct dirent *e;

    while (d && (e = readdir(d))) {
        CLEANUP(free)
        char *path = mem_printf("%s/%s", dir, e->d_name);
        struct stat st;

        if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode))
            continue;
        if (!strstr(e->d_name, ARCHIVE_TEMPORARY))
            add_cache(c, path, &st);
        else if (now - st.st_mtim.tv_sec > CACHE_STALE_S)
            unlink(path);
    }
}

static int by_use(const void *a, const void *b)
{
    const struct timespec *x = &((const found *)a)->used, *y = &((const found *)b)->used;

    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? -1 : 1;
    return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

/* Another executor may remove the same ones: then a few more go than had to. */
static void trim(const char *root, uint64_t bytes_max, time_t now)
{
    CLEANUP(closedir)
    DIR *d = opendir(root);
    const struct dirent *e;
    caches c = { 0 };

    while (d && (e = readdir(d))) {
        CLEANUP(free)
        char *dir = mem_printf("%s/%s", root, e->d_name);

        if (e->d_name[0] != '.')
            look_into(&c, dir, now);
    }
    if (c.n)
        qsort(c.v, c.n, sizeof *c.v, by_use);
    for (size_t i = 0; i < c.n; i++) {
        if (c.bytes > bytes_max && unlink(c.v[i].path) == 0)
            c.bytes -= c.v[i].bytes;
        free(c.v[i].path);
    }
    free(c.v);
}

/* ---- saving ---- */

static volt_code make_dir(const char *path, volt_err *err)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return VOLT_OK;
    return volt_fail(err, errno == ENOSPC || errno == EDQUOT ? VOLT_EFULL : VOLT_EIO,
                     "make directory '%s': %s", path, strerror(errno));
}

volt_code cache_save(const char *root, const char *file, const archive_place *place,
                     slices patterns, uint64_t bytes_max, archive_sum *ret, volt_err *err)
{
    CLEANUP(free)
    char *dir = mem_strndup(file, (size_t)(strrchr(file, '/') - file));
    volt_code code = make_dir(root, err);
    struct stat st;

    if (!code)
        code = make_dir(dir, err);
    if (!code)
        code = archive_pack(file, place, patterns, &limits, ret, err);
    if (code)
        return code;
    if (ret->packed > bytes_max) {
        unlink(file);
        return volt_fail(err, VOLT_EREFUSED,
                         "its %llu bytes are more than all caches may have, %llu",
                         (unsigned long long)ret->packed, (unsigned long long)bytes_max);
    }
    if (lstat(file, &st) == 0) /* the file system's own clock */
        trim(root, bytes_max, st.st_mtim.tv_sec);
    return VOLT_OK;
}
