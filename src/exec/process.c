#include "exec/process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "exec/cgroup.h"
#include "exec/walk.h"

/* Rounds of "stop what is new" before killing: each round a fork storm can at most add what its
 * members, not yet stopped, fork in the time of one walk. */
#define STOP_ROUNDS_MAX 20

/* What process_keep() set aside: like its children a property of the whole process. */
static pid_t kept;

/* ---- starting ---- */

/* Not closed: a library may have opened some before main. */
static void keep_from_tasks(void)
{
    if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    for (int fd = 3; fd < 1024; fd++) /* before Linux 5.11 */
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

volt_code process_setup(volt_err *err)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    keep_from_tasks();
    umask(022);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
        return volt_fail(err, VOLT_EIO, "become a child subreaper: %s", strerror(errno));
    return VOLT_OK;
}

bool process_enter_cgroup(const char *name)
{
    cgroup_enter(name);
    return cgroup_entered();
}

void process_teardown(void)
{
    cgroup_leave();
}

/* What the child tells its parent, whose memory it shares until exec. */
typedef struct spawn_report {
    const process_command *command;
    const char *const *sh_argv; /* the command's, or for a script without an interpreter line */
    pid_t parent;
    volatile int err;
    const char *volatile where; /* it failed: "" at exec */
} spawn_report;

/* Runs in the child of a vfork: async-signal-safe calls only, no memory of the parent's but the
 * report changes, and it never returns. */
static void __attribute__((noreturn, noinline)) spawn_child(spawn_report *r)
{
    const process_command *c = r->command;
    char *const *env = (char *const *)(uintptr_t)c->env;
    sigset_t none;

    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != r->parent) /* it died before the line above */
        _exit(127);
    signal(SIGPIPE, SIG_DFL);
    r->where = "its descriptors: ";
    if (dup2(c->in, 0) < 0 || dup2(c->out, 1) < 0 || dup2(c->out, 2) < 0)
        goto fail;
    syscall(SYS_close_range, 3U, ~0U, 0U); /* all are close-on-exec; a library's may not be */
    r->where = "its directory: ";
    if (chdir(c->dir))
        goto fail;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    r->where = "";
    execve(c->path, (char *const *)(uintptr_t)c->argv, env);
    if (errno == ENOEXEC || c->sh_argv)
        execve("/bin/sh", (char *const *)(uintptr_t)r->sh_argv, env);
fail:
    r->err = errno;
    _exit(127);
}

static bool is_there(const process_command *c)
{
    CLEANUP(free)
    char *path = *c->path == '/' ? mem_strdup(c->path) : mem_printf("%s/%s", c->dir, c->path);

    return access(path, F_OK) == 0;
}

volt_code process_spawn(const process_command *c, pid_t *ret, volt_err *err)
{
    CLEANUP(free)
    const char **sh_argv = NULL;
    spawn_report r = { .command = c, .parent = getpid() };
    sigset_t all, before;
    size_t n = 0;
    pid_t pid;

    assert(c->path && c->argv && c->argv[0] && c->env && c->dir);
    while (c->argv[n])
        n++;
    sh_argv = mem_array(n + 2, sizeof *sh_argv);
    sh_argv[0] = "/bin/sh";
    sh_argv[1] = c->path;
    memcpy(sh_argv + 2, c->argv + 1, n * sizeof *sh_argv);
    r.sh_argv = c->sh_argv ? c->sh_argv : sh_argv;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    pid = vfork();
    if (pid == 0)
        spawn_child(&r);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return volt_fail(err, VOLT_EIO, "start a process: %s", strerror(errno));
    if (r.err) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        if (r.err == ENOENT && !*r.where && is_there(c))
            return volt_fail(err, VOLT_EINVALID, "the interpreter its first line names is missing");
        return volt_fail(err, VOLT_EINVALID, "%s%s", r.where, strerror(r.err));
    }
    *ret = pid;
    return VOLT_OK;
}

process_found process_reap(process_exit *ret)
{
    struct rusage ru;
    int status;
    pid_t pid;

    do
        pid = wait4(-1, &status, WNOHANG, &ru);
    while (pid < 0 && errno == EINTR);
    if (pid == 0)
        return PROCESS_RUNNING;
    if (pid < 0)
        return PROCESS_NONE;
    if (pid == kept)
        kept = 0;
    *ret = (process_exit){
        .pid = pid,
        .exit = WIFEXITED(status) ? WEXITSTATUS(status) : 0,
        .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
        .cpu_us = (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * INT64_C(1000000) +
                  ru.ru_utime.tv_usec + ru.ru_stime.tv_usec,
        .max_rss_bytes = (int64_t)ru.ru_maxrss * 1024,
    };
    return PROCESS_ENDED;
}

/* ---- ending ---- */

/* Marks what this process started, and all that came of it, but for what is set aside. */
static void look(walk *w)
{
    walk_look(w);
    for (size_t i = 0; i < w->n; i++)
        w->v[i].ours = w->v[i].ppid == getpid() && w->v[i].pid != kept;
    walk_mark_children(w);
}

void process_keep(pid_t pid)
{
    kept = pid;
}

pid_t process_kept(void)
{
    return kept;
}

/* Nobody else takes our children away, so whatever runs has an ancestor among them, be it dead. */
bool process_only_kept(void)
{
    char path[64], text[32], *end;
    ssize_t n;

    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    CLEANUP(close)
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        CLEANUP(walk)
        walk w = { .proc = -1 };

        if (!walk_open(&w))
            return false;
        look(&w);
        for (size_t i = 0; i < w.n; i++)
            if (w.v[i].ours)
                return false;
        return true;
    }
    n = read(fd, text, sizeof text - 1);
    if (n < 0)
        return false;
    text[n] = '\0';
    return strtol(text, &end, 10) == kept && end[strspn(end, " \n")] == '\0';
}

size_t process_signal_all(int signal_number)
{
    CLEANUP(walk)
    walk w = { .proc = -1 };
    size_t n = 0;

    if (!walk_open(&w))
        return 0;
    look(&w);
    for (size_t i = 0; i < w.n; i++) {
        if (!w.v[i].ours)
            continue;
        walk_signal(&w, &w.v[i], signal_number);
        walk_signal(&w, &w.v[i], SIGCONT); /* a stopped one would not act on it */
        n++;
    }
    return n;
}

size_t process_kill_all(void)
{
    CLEANUP(walk)
    walk w = { .proc = -1 };
    size_t n = 0;
    bool more = true;

    /* That is enough but for processes whose first thread ended before the others, which
     * cgroup.kill passes over (Linux 6.18).  What is set aside is in the same group. */
    if (!kept)
        cgroup_kill();
    if (!walk_open(&w))
        return 0;
    for (int round = 0; more && round < STOP_ROUNDS_MAX; round++) {
        more = false;
        look(&w);
        for (size_t i = 0; i < w.n; i++) {
            if (!w.v[i].ours || strchr("ZTtX", w.v[i].state))
                continue;
            walk_signal(&w, &w.v[i], SIGSTOP);
            more = true;
        }
    }
    for (size_t i = 0; i < w.n; i++) {
        /* Also to what looks like a zombie: its first thread may have ended before the others. */
        if (!w.v[i].ours)
            continue;
        walk_signal(&w, &w.v[i], SIGKILL);
        n++;
    }
    return n;
}
