#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"

static volt_code fail(volt_err *err, const char *what, const char *path)
{
    volt_code code = errno == ENOSPC || errno == EDQUOT ? VOLT_EFULL
                     : errno == ENOENT                  ? VOLT_ENOTFOUND
                                                        : VOLT_EIO;

    return volt_fail(err, code, "%s '%s': %s", what, path, strerror(errno));
}

/* Nothing was looked for, so nothing was "not found". */
static volt_code fail_mkdir(volt_err *err, const char *path)
{
    volt_code code = fail(err, "make directory", path);

    return code == VOLT_ENOTFOUND
               ? volt_fail(err, VOLT_EIO, "make directory '%s': %s", path, strerror(errno))
               : code;
}

volt_code files_make_dir(const char *path, volt_err *err)
{
    CLEANUP(free)
    char *copy = mem_strdup(path);

    for (char *p = copy + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            return fail_mkdir(err, copy);
        *p = '/';
    }
    if (mkdir(copy, 0777) != 0 && errno != EEXIST)
        return fail_mkdir(err, path);
    return VOLT_OK;
}

static volt_code write_all(int fd, slice bytes, const char *path, volt_err *err)
{
    while (bytes.n) {
        ssize_t n = write(fd, bytes.p, bytes.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail(err, "write", path);
        bytes.p += n;
        bytes.n -= (size_t)n;
    }
    return fsync(fd) == 0 ? VOLT_OK : fail(err, "sync", path);
}

/* The directory entry is durable only after the directory is. */
static volt_code sync_parent(const char *path, volt_err *err)
{
    CLEANUP(free)
    char *dir = mem_strdup(path);
    char *slash = strrchr(dir, '/');
    CLEANUP(close)
    int fd = -1;

    if (slash)
        *(slash == dir ? slash + 1 : slash) = '\0';
    fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0 ? VOLT_OK : fail(err, "sync the directory of", path);
}

volt_code files_replace(const char *path, slice bytes, volt_err *err)
{
    CLEANUP(free)
    char *temporary = mem_printf("%s.new", path);
    CLEANUP(close)
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    volt_code code;

    if (fd < 0)
        return fail(err, "write", temporary);
    code = write_all(fd, bytes, temporary, err);
    if (code == VOLT_OK && rename(temporary, path) != 0)
        code = fail(err, "replace", path);
    if (code != VOLT_OK) {
        unlink(temporary);
        return code;
    }
    return sync_parent(path, err);
}

volt_code files_read(const char *path, size_t max, buf *ret, volt_err *err)
{
    CLEANUP(close)
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t start = ret->n;

    if (fd < 0)
        return fail(err, "read", path);
    for (;;) {
        ssize_t n = read(fd, buf_room(ret, 4096), 4096);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(err, "read", path);
        if (n == 0)
            return VOLT_OK;
        ret->n += (size_t)n;
        ret->p[ret->n] = '\0';
        if (ret->n - start > max)
            return volt_fail(err, VOLT_EFULL, "read '%s': over %zu bytes", path, max);
    }
}

char *files_real_path(const char *path)
{
    char *real = realpath(path, NULL);

    if (!real && errno == ENOMEM)
        mem_end();
    return real;
}

static DIR *sure(DIR *dir)
{
    if (!dir && errno == ENOMEM)
        mem_end();
    return dir;
}

DIR *files_open_dir(const char *path)
{
    return sure(opendir(path));
}

DIR *files_dir_of(int fd)
{
    return sure(fdopendir(fd));
}
