#include "exec/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"

/* Both directories while we are in a group, else -1.  Where a process is, is its own property, so
 * this one state of the process stands in file scope. */
static int home_fd = -1;  /* where we came from */
static int group_fd = -1; /* our own, below it */
static char group_name[64];

DEFINE_CLEANUP(FILE *, fclose);

static int take_fd(int *fd)
{
    int ret = *fd;

    *fd = -1;
    return ret;
}

/* The mount point of cgroup v2, owned by the caller; NULL: there is none. */
static char *find_mount(void)
{
    FILE *f = setmntent("/proc/self/mounts", "re");
    const struct mntent *m;
    char *ret = NULL;

    while (f && !ret && (m = getmntent(f)))
        if (strcmp(m->mnt_type, "cgroup2") == 0)
            ret = mem_strdup(m->mnt_dir);
    if (f)
        endmntent(f);
    return ret;
}

/* The directory of the group this process is in, owned by the caller; NULL: none. */
static char *find_own(void)
{
    CLEANUP(free)
    char *mount = find_mount();
    CLEANUP(fclose)
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[4096];

    while (mount && f && fgets(line, sizeof line, f))
        if (strncmp(line, "0::/", 4) == 0) {
            line[strcspn(line, "\n")] = '\0';
            return mem_printf("%s%s", mount, line + 3);
        }
    return NULL;
}

/* Root may write everywhere, which does not make a group root's to divide: systemd marks those that
 * are.  The top of a cgroup namespace looks like a root group but has the files of an inner one. */
static bool delegated(const char *path, int fd)
{
    char mark[2];

    if (faccessat(fd, "cgroup.kill", F_OK, 0) || faccessat(fd, "cgroup.procs", W_OK, AT_EACCESS))
        return false;
    if (geteuid() != 0)
        return true;
    if (fgetxattr(fd, "user.delegate", mark, sizeof mark) == 1 && mark[0] == '1')
        return true;
    if (fgetxattr(fd, "trusted.delegate", mark, sizeof mark) == 1 && mark[0] == '1')
        return true;
    return path[strlen(path) - 1] == '/';
}

static bool write_to(int dir, const char *name, const char *text)
{
    CLEANUP(close)
    int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

void cgroup_enter(const char *name)
{
    CLEANUP(free)
    char *path = find_own();
    CLEANUP(close)
    int home = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    CLEANUP(close)
    int group = -1;

    if (home < 0 || group_fd >= 0 || strlen(name) >= sizeof group_name || !delegated(path, home))
        return;
    if (mkdirat(home, name, 0755) && errno != EEXIST)
        return;
    group = openat(home, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (group < 0)
        return;
    if (!write_to(group, "cgroup.kill", "1") || !write_to(group, "cgroup.procs", "0")) {
        unlinkat(home, name, AT_REMOVEDIR);
        return;
    }
    snprintf(group_name, sizeof group_name, "%s", name);
    home_fd = take_fd(&home);
    group_fd = take_fd(&group);
}

bool cgroup_entered(void)
{
    return group_fd >= 0;
}

void cgroup_kill(void)
{
    if (group_fd < 0 || !write_to(home_fd, "cgroup.procs", "0"))
        return;
    write_to(group_fd, "cgroup.kill", "1");
    /* When the way back is barred, what starts from here on is found through /proc. */
    if (!write_to(group_fd, "cgroup.procs", "0")) {
        close(take_fd(&group_fd));
        close(take_fd(&home_fd));
    }
}

void cgroup_leave(void)
{
    if (group_fd < 0)
        return;
    write_to(home_fd, "cgroup.procs", "0");
    unlinkat(home_fd, group_name, AT_REMOVEDIR);
    close(take_fd(&group_fd));
    close(take_fd(&home_fd));
}
