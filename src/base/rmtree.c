#include "base/rmtree.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"

/* Directories open at once.  What lies deeper is moved up to the top and removed from there. */
#define LEVELS_MAX 32

typedef struct level {
    DIR *dir;
    char *name;    /* in the level above */
    bool progress; /* something went since it was last read from the start */
} level;

typedef struct removal {
    level v[LEVELS_MAX];
    size_t n;
    unsigned moved; /* names given to what was moved up */
} removal;

/* For kernels before 5.6 and filters that do not know openat2. */
static int open_dir_plain(int at, const char *name)
{
    struct stat above, st;
    struct statx sx;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return -1;
    /* The attribute tells bind mounts of the same file system, the device tells all others. */
    if (fstat(fd, &st) < 0 || fstat(at, &above) < 0 || st.st_dev != above.st_dev ||
        (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &sx) == 0 &&
         (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT))) {
        close(fd);
        errno = EXDEV;
        return -1;
    }
    return fd;
}

static int open_dir_once(int at, const char *name)
{
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
    };
    int fd = (int)syscall(SYS_openat2, at, name, &how, sizeof how);

    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        return open_dir_plain(at, name);
    return fd;
}

int rmtree_open_dir(int at, const char *name)
{
    struct stat st;
    int fd = open_dir_once(at, name);

    if (fd < 0 && errno == EACCES && fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISDIR(st.st_mode) && fchmodat(at, name, 0700, 0) == 0)
        fd = open_dir_once(at, name);
    if (fd < 0)
        return -1;
    /* Ours, but not to be written or searched; if that cannot be changed the caller will see. */
    if (fstat(fd, &st) == 0 && (st.st_mode & 0700) != 0700)
        (void)!fchmod(fd, (st.st_mode & 07777) | 0700);
    return fd;
}

static volt_code fail_at(volt_err *err, const char *what, const char *name)
{
    if (errno == EXDEV)
        return volt_fail(err, VOLT_EIO, "remove '%s': something is mounted there", name);
    return volt_fail(err, VOLT_EIO, "%s '%s': %s", what, name, strerror(errno));
}

static volt_code enter(removal *r, int at, const char *name, volt_err *err)
{
    int fd = rmtree_open_dir(at, name);
    DIR *dir;

    if (fd < 0)
        return fail_at(err, "open directory", name);
    dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return fail_at(err, "read directory", name);
    }
    r->v[r->n++] = (level){ .dir = dir, .name = mem_strdup(name), .progress = true };
    return VOLT_OK;
}

static void leave(removal *r)
{
    level *l = &r->v[--r->n];

    closedir(l->dir);
    free(l->name);
}

/* Opened first, for its ".." changes when it moves, which takes the right to write in it. */
static volt_code move_up(removal *r, int at, const char *name, volt_err *err)
{
    CLEANUP(close)
    int fd = rmtree_open_dir(at, name);
    char fresh[32];

    if (fd < 0)
        return fail_at(err, "open directory", name);
    do {
        snprintf(fresh, sizeof fresh, "volt-deep-%u", ++r->moved);
    } while (renameat2(at, name, dirfd(r->v[0].dir), fresh, RENAME_NOREPLACE) < 0 &&
             errno == EEXIST);
    r->v[0].progress = true;
    return faccessat(dirfd(r->v[0].dir), fresh, F_OK, AT_SYMLINK_NOFOLLOW) < 0
               ? fail_at(err, "move", name)
               : VOLT_OK;
}

static volt_code remove_entry(removal *r, const struct dirent *e, volt_err *err)
{
    level *top = &r->v[r->n - 1];
    int at = dirfd(top->dir);

    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
        return VOLT_OK;
    if (e->d_type != DT_DIR) {
        if (unlinkat(at, e->d_name, 0) == 0) {
            top->progress = true;
            return VOLT_OK;
        }
        if (errno == ENOENT)
            return VOLT_OK;
        if (errno != EISDIR)
            return fail_at(err, "remove", e->d_name);
    }
    if (r->n < LEVELS_MAX)
        return enter(r, at, e->d_name, err);
    top->progress = true;
    return move_up(r, at, e->d_name, err);
}

/* The directory has been read to its end.  What was added meanwhile, or passed over because names
 * went under the reader, makes another round. */
static volt_code finish_level(removal *r, int at, volt_err *err)
{
    level *top = &r->v[r->n - 1];
    int above = r->n > 1 ? dirfd(r->v[r->n - 2].dir) : at;

    if (unlinkat(above, top->name, AT_REMOVEDIR) == 0) {
        leave(r);
        if (r->n)
            r->v[r->n - 1].progress = true;
        return VOLT_OK;
    }
    if ((errno == ENOTEMPTY || errno == EEXIST) && top->progress) {
        top->progress = false;
        rewinddir(top->dir);
        return VOLT_OK;
    }
    return fail_at(err, "remove directory", top->name);
}

static volt_code remove_dir(int at, const char *name, volt_err *err)
{
    removal r = { .n = 0 };
    volt_code code = enter(&r, at, name, err);

    while (code == VOLT_OK && r.n) {
        const struct dirent *e = readdir(r.v[r.n - 1].dir);

        code = e ? remove_entry(&r, e, err) : finish_level(&r, at, err);
    }
    while (r.n)
        leave(&r);
    return code;
}

volt_code rmtree(int at, const char *name, volt_err *err)
{
    CLEANUP(close)
    int parent = -1;
    const char *slash = strrchr(name, '/');

    assert(*name && (!slash || slash[1]));
    if (slash || at == AT_FDCWD) {
        char *above = !slash ? mem_strdup(".") : mem_strndup(name, (size_t)(slash - name) + 1);

        parent = openat(at, above, O_PATH | O_DIRECTORY | O_CLOEXEC);
        free(above);
        if (parent < 0)
            return errno == ENOENT ? VOLT_OK : fail_at(err, "remove", name);
        at = parent;
        name = slash ? slash + 1 : name;
    }
    if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
        return VOLT_OK;
    if (errno != EISDIR)
        return fail_at(err, "remove", name);
    return remove_dir(at, name, err);
}
