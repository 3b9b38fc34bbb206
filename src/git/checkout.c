#include "git/checkout.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>

#include "base/mem.h"
#include "base/rmtree.h"
#include "git/content.h"

#define DIR_MODE      0755
#define CHUNK_BYTES   (64 << 10)
#define ROUNDS_MAX    100
#define LINK_MAX_SIZE 4096

/* A name of one directory: a file of the manifest, or a directory with several. */
typedef struct child {
    const char *name;
    size_t from, to; /* items */
    bool is_dir;
    bool seen;
} child;

typedef struct level {
    DIR *dir;
    child *v; /* sorted by name */
    size_t n;
    size_t next; /* the child to look at, once what is there was read */
    size_t skip; /* bytes of its items' paths that lead here, with the slash */
    bool fresh;  /* we made it: there is nothing to read */
} level;

typedef struct levels {
    checkout *c;
    level v[TREE_DEPTH_MAX + 4]; /* .git/objects/info, and the top */
    size_t n;
} levels;

/* Errors that a fresh directory would meet as well. */
static bool is_ours(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EMFILE || error == ENFILE ||
           error == ENOMEM || error == EROFS || error == ENAMETOOLONG || error == EFBIG;
}

static volt_code fail_disk(checkout *c, const char *what, const char *path, volt_err *err)
{
    volt_code code = errno == ENOSPC || errno == EDQUOT ? VOLT_EFULL : VOLT_EIO;

    c->spoiled = !is_ours(errno);
    return volt_fail(err, code, "%s '%s': %s", what, path, strerror(errno));
}

static volt_code discard(checkout *c, int at, const char *name, volt_err *err)
{
    volt_code code;

    errno = 0;
    code = rmtree(at, name, err);
    if (code)
        c->spoiled = !is_ours(errno);
    return code;
}

static int write_all(int fd, slice bytes)
{
    while (bytes.n) {
        ssize_t n = write(fd, bytes.p, bytes.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        bytes.p += n;
        bytes.n -= (size_t)n;
    }
    return 0;
}

static mode_t permissions(const item *it)
{
    return it->mode == TREE_EXECUTABLE ? 0755 : 0644;
}

static const char *last_part(const item *it)
{
    const char *slash = strrchr(it->path, '/');

    return slash ? slash + 1 : it->path;
}

static int make_file(int at, const item *it, slice bytes, struct stat *st)
{
    CLEANUP(close)
    int fd = openat(at, last_part(it), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    permissions(it));

    if (fd < 0 || write_all(fd, bytes) < 0 || fstat(fd, st) < 0)
        return -1;
    if ((st->st_mode & 07777) == permissions(it))
        return 0;
    return fchmod(fd, permissions(it)) < 0 ? -1 : fstat(fd, st);
}

static int make_link(int at, const item *it, slice bytes, struct stat *st)
{
    CLEANUP(free)
    char *target = mem_strndup(bytes.p ? bytes.p : "", bytes.n);

    if (symlinkat(target, at, last_part(it)) < 0)
        return -1;
    return fstatat(at, last_part(it), st, AT_SYMLINK_NOFOLLOW);
}

/* Makes an item where there is nothing. */
static volt_code make(checkout *c, int at, item *it, volt_err *err)
{
    CLEANUP(content)
    content file = { 0 };
    volt_code code;
    struct stat st;
    int rc;

    if (it->mode == ITEM_ANY)
        return VOLT_OK;
    if (it->mode == TREE_SUBMODULE) {
        CLEANUP(close)
        int fd = -1;

        if (mkdirat(at, last_part(it), DIR_MODE) < 0 ||
            (fd = rmtree_open_dir(at, last_part(it))) < 0 || fchmod(fd, DIR_MODE) < 0 ||
            fstat(fd, &st) < 0)
            return fail_disk(c, "make directory", it->path, err);
    } else {
        code = content_load(c->objects, c->m, it, &file, err);
        if (code)
            return code;
        rc = it->mode == TREE_SYMLINK ? make_link(at, it, file.bytes, &st)
                                      : make_file(at, it, file.bytes, &st);
        if (rc < 0)
            return fail_disk(c, "write", it->path, err);
    }
    stamp_take(&it->at, &st);
    it->known = true;
    c->report->written++;
    return VOLT_OK;
}

/* Extended attributes stay when a file is written over, and some of them grant rights; what the
 * system itself labels files with (SELinux) is not a task's doing. */
static bool has_attributes(int fd)
{
    char names[1024];
    ssize_t n = flistxattr(fd, names, sizeof names);

    if (n < 0)
        return errno == ERANGE;
    for (const char *p = names; p < names + n; p += strlen(p) + 1)
        if (strncmp(p, "security.", 9) != 0)
            return true;
    return false;
}

static bool same_bytes(int fd, slice bytes)
{
    char chunk[CHUNK_BYTES];

    for (;;) {
        ssize_t n = read(fd, chunk, CHUNK_BYTES);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 && bytes.n == 0;
        if ((size_t)n > bytes.n || memcmp(chunk, bytes.p, (size_t)n) != 0)
            return false;
        bytes.p += n;
        bytes.n -= (size_t)n;
    }
}

static bool same_file(int at, const item *it, slice bytes)
{
    CLEANUP(close)
    int fd = openat(at, last_part(it), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    return fd >= 0 && !has_attributes(fd) && same_bytes(fd, bytes);
}

static bool same_link(int at, const item *it, slice bytes)
{
    char target[LINK_MAX_SIZE];
    ssize_t n = readlinkat(at, last_part(it), target, sizeof target);

    return n >= 0 && (size_t)n < sizeof target && slice_eq(bytes, (slice){ target, (size_t)n });
}

/* Whether what is there is good, byte by byte. */
static volt_code compare(checkout *c, int at, const item *it, const struct stat *st, bool *ret,
                         volt_err *err)
{
    CLEANUP(content)
    content file = { 0 };
    bool link = it->mode == TREE_SYMLINK;
    volt_code code;

    *ret = false;
    if (st->st_uid != geteuid() || st->st_nlink != 1 ||
        (st->st_mode & S_IFMT) != (link ? S_IFLNK : S_IFREG) ||
        (!link && (st->st_mode & 07777) != permissions(it)))
        return VOLT_OK;
    code = content_load(c->objects, c->m, it, &file, err);
    if (code)
        return code;
    *ret = (size_t)st->st_size == file.bytes.n &&
           (link ? same_link(at, it, file.bytes) : same_file(at, it, file.bytes));
    return VOLT_OK;
}

static bool is_part(const checkout *c, const item *it)
{
    for (size_t i = 0; i < c->parts_n; i++)
        if (strcmp(c->parts[i].path, it->path) == 0)
            return true;
    return false;
}

/* Empties a directory of which nothing is the commit's: the place of a submodule. */
static volt_code empty_dir(checkout *c, int at, const item *it, volt_err *err)
{
    int fd = rmtree_open_dir(at, last_part(it));
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    volt_code code = VOLT_OK;

    if (!dir) {
        if (fd >= 0)
            close(fd);
        return fail_disk(c, "open directory", it->path, err);
    }
    while (code == VOLT_OK && !is_part(c, it) && (e = readdir(dir)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            code = discard(c, dirfd(dir), e->d_name, err);
            c->report->removed++;
        }
    if (code == VOLT_OK && fchmod(dirfd(dir), DIR_MODE) < 0)
        code = fail_disk(c, "make good", it->path, err);
    closedir(dir);
    return code;
}

/* An item of which something is there under its name. */
static volt_code mend(checkout *c, int at, item *it, volt_err *err)
{
    struct stat st;
    volt_code code;
    bool good;

    if (fstatat(at, last_part(it), &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fail_disk(c, "look at", it->path, err);
    if (it->mode == TREE_SUBMODULE && S_ISDIR(st.st_mode) && st.st_uid == geteuid())
        return empty_dir(c, at, it, err);
    if (it->mode == ITEM_ANY && S_ISREG(st.st_mode))
        return VOLT_OK;
    if (it->known && stamp_fits(&it->at, &st))
        return VOLT_OK;
    code = it->mode == ITEM_ANY || it->mode == TREE_SUBMODULE ? (good = false, VOLT_OK)
                                                              : compare(c, at, it, &st, &good, err);
    if (code)
        return code;
    if (good) {
        stamp_take(&it->at, &st);
        it->known = true;
        c->report->compared++;
        return VOLT_OK;
    }
    code = discard(c, at, last_part(it), err);
    return code ? code : make(c, at, it, err);
}

static int child_cmp(const void *a, const void *b)
{
    return strcmp(((const child *)a)->name, ((const child *)b)->name);
}

/* The names that items [from, to) have behind the first `skip` bytes of their paths. */
static void list_children(level *l, manifest *m, size_t from, size_t to, size_t skip)
{
    size_t cap = 0;

    for (size_t i = from; i < to;) {
        const char *name = m->v[i].path + skip;
        const char *slash = strchr(name, '/');
        child c = { .name = name, .from = i, .is_dir = slash != NULL };

        if (slash) {
            size_t n = (size_t)(slash - name) + 1;

            c.name = arena_slice(&m->mem, (slice){ name, n - 1 }).p;
            while (i < to && strncmp(m->v[i].path + skip, name, n) == 0)
                i++;
        } else {
            i++;
        }
        c.to = i;
        if (l->n == cap) {
            cap = cap ? 2 * cap : 16;
            l->v = mem_grow(l->v, cap, sizeof *l->v);
        }
        l->v[l->n++] = c;
    }
    if (l->n)
        qsort(l->v, l->n, sizeof *l->v, child_cmp);
}

static child *find_child(level *l, const char *name)
{
    child key = { .name = name };

    return l->n ? bsearch(&key, l->v, l->n, sizeof *l->v, child_cmp) : NULL;
}

/* Removes what is not ours.  Another round follows one that removed something, for a directory that
 * changes under its reader may pass over names. */
static volt_code read_level(checkout *c, level *l, volt_err *err)
{
    volt_code code = VOLT_OK;
    size_t before;
    int rounds = 0;

    do {
        const struct dirent *e;

        before = c->report->removed;
        while (code == VOLT_OK && (e = readdir(l->dir))) {
            child *known;

            if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                continue;
            known = find_child(l, e->d_name);
            if (known) {
                known->seen = true;
                continue;
            }
            code = discard(c, dirfd(l->dir), e->d_name, err);
            c->report->removed++;
        }
        rewinddir(l->dir);
    } while (code == VOLT_OK && before != c->report->removed && ++rounds < ROUNDS_MAX);
    return code;
}

/* Owner, mode and access lists of a directory. */
static int mend_dir(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -1;
    if (st.st_uid != geteuid() && fchown(fd, geteuid(), getegid()) < 0)
        return -1;
    if ((st.st_mode & 07777) != DIR_MODE && fchmod(fd, DIR_MODE) < 0)
        return -1;
    if (fremovexattr(fd, "system.posix_acl_default") < 0 && errno == EPERM)
        return -1;
    if (fremovexattr(fd, "system.posix_acl_access") < 0 && errno == EPERM)
        return -1;
    return 0;
}

/* Goes down into `fd`, which it takes. */
static volt_code push(levels *s, int fd, const child *as, size_t skip, volt_err *err)
{
    level *l = &s->v[s->n];

    assert(s->n < sizeof s->v / sizeof *s->v);
    if (mend_dir(fd) < 0) {
        close(fd);
        return fail_disk(s->c, "make good directory", as->name, err);
    }
    *l = (level){ .dir = fdopendir(fd), .skip = skip, .fresh = !as->seen };
    if (!l->dir) {
        close(fd);
        return fail_disk(s->c, "read directory", as->name, err);
    }
    s->n++;
    list_children(l, s->c->m, as->from, as->to, skip);
    return l->fresh ? VOLT_OK : read_level(s->c, l, err);
}

static void pop(levels *s)
{
    level *l = &s->v[--s->n];

    closedir(l->dir);
    free(l->v);
}

static volt_code enter(levels *s, int at, child *dir, volt_err *err)
{
    size_t skip = s->v[s->n - 1].skip + strlen(dir->name) + 1;
    int fd = dir->seen ? rmtree_open_dir(at, dir->name) : -1;
    volt_code code;

    if (dir->seen && fd < 0) {
        if (errno != ENOTDIR && errno != ELOOP)
            return fail_disk(s->c, "open directory", dir->name, err);
        code = discard(s->c, at, dir->name, err);
        if (code)
            return code;
        dir->seen = false;
    }
    if (!dir->seen) {
        if (mkdirat(at, dir->name, DIR_MODE) < 0)
            return fail_disk(s->c, "make directory", dir->name, err);
        fd = rmtree_open_dir(at, dir->name);
        if (fd < 0)
            return fail_disk(s->c, "open directory", dir->name, err);
    }
    return push(s, fd, dir, skip, err);
}

volt_code checkout_run(checkout *c, int root, volt_err *err)
{
    child top = { .name = ".", .to = c->m->n, .is_dir = true, .seen = true };
    CLEANUP(free)
    levels *s = NEW(levels);
    volt_code code;

    s->c = c;
    code = push(s, root, &top, 0, err);
    if (code == VOLT_OK)
        code = content_setup(c->objects, c->m, err);
    while (code == VOLT_OK && s->n) {
        level *l = &s->v[s->n - 1];

        if (l->next == l->n) {
            pop(s);
        } else {
            child *next = &l->v[l->next++];
            int at = dirfd(l->dir);

            if (next->is_dir)
                code = enter(s, at, next, err);
            else if (next->seen)
                code = mend(c, at, &c->m->v[next->from], err);
            else
                code = make(c, at, &c->m->v[next->from], err);
        }
    }
    while (s->n)
        pop(s);
    return code;
}
