#include "cmd/dispatcher/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/files.h"
#include "base/log.h"
#include "base/mem.h"

#define CHECK_MS     5000
#define LOW          (64ull << 20)  /* free bytes below which new commits are refused */
#define FINE         (128ull << 20) /* and above which they are taken again */
#define BALLAST_SIZE (8 << 20)

volt_code disk_make_dir(const disk *d, volt_err *err)
{
    volt_err why;
    volt_code code = files_make_dir(d->dir, &why);

    if (code == VOLT_OK && access(d->dir, W_OK | X_OK) < 0)
        code = volt_fail(&why, VOLT_EIO, "write to '%s': %s", d->dir, strerror(errno));
    if (code == VOLT_OK)
        return VOLT_OK;
    return volt_fail(err, code, "%s; give a data directory that this user may write to with --data",
                     why.msg);
}

static char *ballast_path(const disk *d)
{
    return mem_printf("%s/ballast", d->dir);
}

static void make_ballast(const disk *d)
{
    char *path = ballast_path(d);
    CLEANUP(close)
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

    if (fd >= 0 && posix_fallocate(fd, 0, BALLAST_SIZE) != 0)
        unlink(path); /* no room for it: the watermark alone has to do */
    free(path);
}

bool disk_drop_ballast(const disk *d)
{
    char *path = ballast_path(d);
    bool there = unlink(path) == 0;

    free(path);
    return there;
}

bool disk_check(disk *d, int64_t now_ms)
{
    struct statvfs fs;
    uint64_t free_bytes;
    bool low = d->low;

    if (now_ms < d->look_ms)
        return false;
    d->look_ms = now_ms + CHECK_MS;
    if (statvfs(d->dir, &fs) != 0)
        return true;
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (free_bytes < LOW || now_ms < d->doubt_ms)
        low = true;
    else if (free_bytes > FINE)
        low = false;
    if (low != d->low) {
        if (low && free_bytes > FINE)
            log_warn("a write to '%s' found no room: new commits are refused for a while", d->dir);
        else if (low)
            log_warn("'%s' has %llu MiB free: new commits are refused until there are %llu", d->dir,
                     (unsigned long long)(free_bytes >> 20), FINE >> 20);
        else
            log_note("'%s' has room again: new commits are taken", d->dir);
    }
    if (!low)
        make_ballast(d);
    d->low = low;
    return true;
}

void disk_doubt(disk *d, int64_t now_ms)
{
    d->doubt_ms = now_ms + CHECK_MS;
    d->look_ms = now_ms;
}
