#include "exec/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/files.h"
#include "base/mem.h"

#define STAT_SIZE 1024

DEFINE_CLEANUP(DIR *, closedir);

/* /proc/PID/stat: the name in parentheses may hold anything, so fields count from the last ')'. */
static bool read_stat(int proc, const char *name, walk_entry *ret)
{
    char path[64], text[STAT_SIZE];
    const char *p;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "%s/stat", name);
    fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    p = strrchr(text, ')');
    *ret = (walk_entry){ .pid = (pid_t)strtol(name, NULL, 10) };
    return p && sscanf(p + 1,
                       " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                       "%*d %*d %llu",
                       &ret->state, &ret->ppid, &ret->start) == 3;
}

static int compare_pids(const void *a, const void *b)
{
    const walk_entry *x = a, *y = b;

    return (x->pid > y->pid) - (x->pid < y->pid);
}

void walk_mark_children(walk *w)
{
    pid_t self = getpid();
    bool more = true;

    while (more) { /* each pass goes one generation down */
        more = false;
        for (size_t i = 0; i < w->n; i++) {
            walk_entry key = { .pid = w->v[i].ppid };
            const walk_entry *parent;

            if (w->v[i].ours || w->v[i].pid == self)
                continue;
            parent = bsearch(&key, w->v, w->n, sizeof *w->v, compare_pids);
            if (parent && parent->ours)
                w->v[i].ours = more = true;
        }
    }
}

void cleanup_walk(walk *w)
{
    free(w->v);
    if (w->proc >= 0)
        close(w->proc);
}

bool walk_open(walk *ret)
{
    *ret = (walk){ .proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
    return ret->proc >= 0;
}

void walk_look(walk *ret)
{
    int again = openat(ret->proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(closedir)
    DIR *d = again < 0 ? NULL : files_dir_of(again);
    const struct dirent *e;
    walk_entry found;

    ret->n = 0;
    while (d && (e = readdir(d))) {
        if (e->d_name[0] < '1' || e->d_name[0] > '9' || !read_stat(ret->proc, e->d_name, &found))
            continue;
        if (ret->n == ret->cap) {
            ret->cap = ret->cap ? 2 * ret->cap : 256;
            ret->v = mem_grow(ret->v, ret->cap, sizeof *ret->v);
        }
        ret->v[ret->n++] = found;
    }
    if (ret->n)
        qsort(ret->v, ret->n, sizeof *ret->v, compare_pids);
}

void walk_signal(const walk *w, const walk_entry *e, int signal_number)
{
    CLEANUP(close)
    int fd = (int)syscall(SYS_pidfd_open, e->pid, 0);
    char name[16];
    walk_entry now;

    if (fd < 0 && errno != ENOSYS)
        return;
    snprintf(name, sizeof name, "%d", e->pid);
    if (!read_stat(w->proc, name, &now) || now.start != e->start)
        return;
    if (fd < 0)
        kill(e->pid, signal_number); /* before Linux 5.3 */
    else
        syscall(SYS_pidfd_send_signal, fd, signal_number, NULL, 0);
}
