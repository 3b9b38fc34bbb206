#include "cmd/runner/exec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/files.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/command.h"
#include "core/msg.h"
#include "exec/channel.h"
#include "exec/stray.h"

#define NEVER         INT64_MAX
#define CONNECT_MS    2    /* between tries to reach a new executor, growing … */
#define CONNECT_MAX   50   /* … to this */
#define HUNG_MS       2000 /* from the end of the channel to the end of the process, then KILL */
#define ORPHANS_MS    20   /* between looks for what a dead executor left */
#define ORPHANS_MAX   2000 /* then it counts as gone all the same */
#define STRAYS_MS     10   /* between looks for what earlier ones left, at the start */
#define STRAYS_LOOKS  100  /* and so many looks at most */
#define FLUSH_MS      5
#define FRAMES_MAX    64 /* taken from one executor before the others get their turn */
#define INHERITED_MAX 64 /* children that were there before us */
#define ARGS_MAX      1200

DEFINE_CLEANUP(DIR *, closedir);

typedef struct executor {
    executors *owner;
    unsigned slot;
    pid_t pid; /* 0: none, or not our child */
    channel *ch;
    int64_t connect_at, connect_ms; /* next try to connect; NEVER */
    int64_t kill_at;                /* the channel ended, the process did not; NEVER */
    int64_t dead_ms;                /* since when it is dead, with orphans perhaps; NEVER */
} executor;

struct executors {
    executors_config config;
    executor *v[MSG_SLOTS_MAX + 1];
    unsigned n; /* entries in use: 0..n-1, some NULL */
    int64_t orphans_at;
    pid_t inherited[INHERITED_MAX];
    size_t inherited_n;
};

/* ---- what falls to us ---- */

/* Parent and state of a process, from /proc/PID/stat; false: it is gone. */
static bool look(const char *pid, pid_t *parent, char *state_letter)
{
    char path[64], line[512];
    const char *end;
    int ppid, fd;
    ssize_t n;

    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return false;
    line[n] = 0;
    end = strrchr(line, ')'); /* the name before it may hold anything */
    if (!end || sscanf(end + 1, " %c %d", state_letter, &ppid) != 2)
        return false;
    *parent = ppid;
    return true;
}

static bool is_ours(const executors *e, pid_t pid)
{
    for (unsigned i = 0; i < e->n; i++)
        if (e->v[i] && e->v[i]->pid == pid)
            return true;
    for (size_t i = 0; i < e->inherited_n; i++)
        if (e->inherited[i] == pid)
            return true;
    return false;
}

/* Calls `fn` for each child that is no executor; returns how many.  O(processes here). */
static size_t each_orphan(executors *e, void (*fn)(executors *e, pid_t pid))
{
    CLEANUP(closedir)
    DIR *proc = files_open_dir("/proc");
    const struct dirent *entry;
    size_t n = 0;

    while (proc && (entry = readdir(proc))) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10), parent;
        char letter;

        if (pid > 0 && look(entry->d_name, &parent, &letter) && parent == getpid() &&
            letter != 'Z' && !is_ours(e, pid)) {
            fn(e, pid);
            n++;
        }
    }
    return n;
}

static void spare(executors *e, pid_t pid)
{
    if (e->inherited_n < INHERITED_MAX)
        e->inherited[e->inherited_n++] = pid;
}

static void end_orphan(executors *e, pid_t pid)
{
    (void)e;
    kill(pid, SIGKILL);
}

/* ---- life ---- */

executors *executors_new(const executors_config *config)
{
    executors *e = NEW(executors);

    e->config = *config;
    e->orphans_at = NEVER;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    each_orphan(e, spare);
    return e;
}

static void disconnect(executor *x)
{
    if (!x->ch)
        return;
    loop_remove_fd(x->owner->config.loop, channel_fd(x->ch));
    channel_free(x->ch);
    x->ch = NULL;
}

void executors_free(executors *e)
{
    if (!e)
        return;
    for (unsigned i = 0; i < e->n; i++)
        if (e->v[i]) {
            disconnect(e->v[i]);
            free(e->v[i]);
        }
    free(e);
}

static executor *at(executors *e, unsigned slot)
{
    executor *x = e->v[slot];

    if (!x) {
        x = e->v[slot] = NEW(executor);
        x->owner = e;
        x->slot = slot;
        x->connect_at = x->kill_at = x->dead_ms = NEVER;
        if (slot >= e->n)
            e->n = slot + 1;
    }
    return x;
}

/* ---- the channel ---- */

static void dead(executor *x)
{
    int64_t now = loop_now_ms();

    x->kill_at = x->connect_at = NEVER;
    x->dead_ms = now;
    x->owner->orphans_at = now;
}

/* The channel has ended: so will the process, or it is made to. */
static void cut(executor *x)
{
    disconnect(x);
    if (x->pid)
        x->kill_at = loop_now_ms() + HUNG_MS;
    else
        dead(x);
}

static void readable(void *ctx)
{
    executor *x = ctx;
    volt_err err;
    slice frame;

    for (int i = 0; i < FRAMES_MAX && x->ch; i++) {
        volt_code code = channel_recv(x->ch, &frame, &err);

        if (code == VOLT_EAGAIN)
            return;
        if (code) {
            cut(x);
            return;
        }
        x->owner->config.frame(x->owner->config.ctx, x->slot, frame);
    }
}

static volt_code connect_to(executor *x, volt_err *err)
{
    const executors_config *config = &x->owner->config;
    CLEANUP(free)
    char *dir = mem_printf("%s/slots", config->work);
    char name[32];
    volt_code code;

    snprintf(name, sizeof name, "%u.sock", x->slot);
    code = channel_connect(dir, name, &x->ch, err);
    if (code)
        return code;
    code = loop_add_fd(config->loop, channel_fd(x->ch), readable, x, err);
    if (code) {
        channel_free(x->ch);
        x->ch = NULL;
        return code;
    }
    x->connect_at = NEVER;
    config->up(config->ctx, x->slot);
    return VOLT_OK;
}

static bool is_unmanned(void *ctx, uint64_t slot)
{
    const executors *e = ctx;

    return slot >= e->n || !e->v[slot] || !e->v[slot]->ch;
}

static void end_strays(executors *e)
{
    const struct timespec pause = { 0, STRAYS_MS * 1000000 };
    size_t n = stray_kill(e->config.work, is_unmanned, e);

    if (n == 0)
        return;
    log_warn("ended %zu process%s that an earlier runner of '%s' had left", n, n == 1 ? "" : "es",
             e->config.work);
    for (int i = 0; i < STRAYS_LOOKS && n; i++) {
        nanosleep(&pause, NULL);
        n = stray_kill(e->config.work, is_unmanned, e);
    }
}

void executors_adopt(executors *e)
{
    CLEANUP(free)
    char *path = mem_printf("%s/slots", e->config.work);
    CLEANUP(closedir)
    DIR *dir = files_open_dir(path);
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        char *end;
        unsigned long slot = strtoul(entry->d_name, &end, 10);

        if (end != entry->d_name && strcmp(end, ".sock") == 0 && slot <= MSG_SLOTS_MAX)
            connect_to(at(e, (unsigned)slot), NULL);
    }
    end_strays(e);
}

void executors_send(executors *e, unsigned slot, slice frame)
{
    executor *x = slot < e->n ? e->v[slot] : NULL;
    volt_err err;

    if (!x || !x->ch)
        return;
    if (channel_send(x->ch, frame, &err)) { /* it reads no more */
        log_warn("executor of slot %u: %s", slot, err.msg);
        cut(x);
    }
}

/* ---- processes ---- */

static volt_code start(executor *x, volt_err *err)
{
    const char *const *args = x->owner->config.args;
    const char *argv[ARGS_MAX + 8] = { "volt", "executor", "--slot", NULL, "--work" };
    extern char **environ;
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    char slot[16];
    int n = 6, rc;

    snprintf(slot, sizeof slot, "%u", x->slot);
    argv[3] = slot;
    argv[5] = x->owner->config.work;
    for (int i = 0; args[i] && i < ARGS_MAX; i++)
        argv[n++] = args[i];
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, 2, 1);
    /* posix_spawn takes the arguments as not const, and does not change them (POSIX). */
    rc = posix_spawn(&x->pid, command_self(), &files, &attr, (char **)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    if (rc) {
        x->pid = 0;
        return volt_fail(err, VOLT_EIO, "start executor: %s", strerror(rc));
    }
    return VOLT_OK;
}

void executors_spawn(executors *e, unsigned slot)
{
    executor *x = at(e, slot);
    volt_err err;

    disconnect(x);
    if (x->pid) { /* reaped without further ado, but what it leaves must go */
        kill(x->pid, SIGKILL);
        e->orphans_at = loop_now_ms() + ORPHANS_MS;
    }
    x->kill_at = x->dead_ms = NEVER;
    if (start(x, &err)) {
        log_warn("slot %u: %s", slot, err.msg);
        dead(x);
        return;
    }
    x->connect_ms = CONNECT_MS;
    x->connect_at = loop_now_ms() + CONNECT_MS;
}

/* The process at the other end of the channel; 0: unknown. */
static pid_t peer_of(const executor *x)
{
    struct ucred of;
    socklen_t n = sizeof of;

    return getsockopt(channel_fd(x->ch), SOL_SOCKET, SO_PEERCRED, &of, &n) == 0 ? of.pid : 0;
}

/* One that an earlier agent started.  Its number is its own as long as the channel stands, so that
 * is looked at once the process is held. */
static void kill_foreign(executor *x)
{
    struct pollfd end = { .fd = channel_fd(x->ch), .events = POLLRDHUP };
    pid_t pid = peer_of(x);
    CLEANUP(close)
    int fd = -1;

    if (pid > 0)
        fd = pidfd_open(pid, 0);
    if (fd >= 0 && poll(&end, 1, 0) == 0)
        pidfd_send_signal(fd, SIGKILL, NULL, 0);
}

void executors_kill(executors *e, unsigned slot)
{
    executor *x = at(e, slot);

    if (x->pid)
        kill(x->pid, SIGKILL); /* reaped, and what it leaves falls to us */
    else if (x->ch)
        kill_foreign(x);
    disconnect(x);
    if (!x->pid)
        dead(x);
}

void executors_kill_all(executors *e)
{
    for (unsigned i = 0; i < e->n; i++)
        if (e->v[i] && (e->v[i]->pid || e->v[i]->ch))
            executors_kill(e, i);
}

void executors_reap(executors *e)
{
    pid_t pid;

    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
        executor *x = NULL;

        for (unsigned i = 0; i < e->n && !x; i++)
            if (e->v[i] && e->v[i]->pid == pid)
                x = e->v[i];
        if (!x)
            continue;
        x->pid = 0;
        /* One that an earlier agent started as it died may have taken the place: the channel is to
         * that one, which lives and works. */
        if (x->ch && peer_of(x) != pid)
            continue;
        while (x->ch) { /* its last words */
            slice frame;

            if (channel_recv(x->ch, &frame, NULL))
                break;
            e->config.frame(e->config.ctx, x->slot, frame);
        }
        disconnect(x);
        dead(x);
    }
}

static bool is_dead(void *ctx, uint64_t slot)
{
    const executors *e = ctx;

    return slot < e->n && e->v[slot] && e->v[slot]->dead_ms != NEVER;
}

/* What dead executors left is killed; then they are gone.  It falls to us, but for that of an
 * executor that an earlier agent started. */
static void bury(executors *e, int64_t now)
{
    size_t left = each_orphan(e, end_orphan) + stray_kill(e->config.work, is_dead, e);

    e->orphans_at = left ? now + ORPHANS_MS : NEVER;
    for (unsigned i = 0; i < e->n; i++) {
        executor *x = e->v[i];

        if (x && x->dead_ms != NEVER && (left == 0 || now - x->dead_ms > ORPHANS_MAX)) {
            x->dead_ms = NEVER;
            e->config.gone(e->config.ctx, x->slot);
        }
    }
}

int64_t executors_deadline_ms(const executors *e)
{
    int64_t first = e->orphans_at;

    for (unsigned i = 0; i < e->n; i++) {
        const executor *x = e->v[i];

        if (!x)
            continue;
        if (x->connect_at < first)
            first = x->connect_at;
        if (x->kill_at < first)
            first = x->kill_at;
        if (x->ch && channel_pending(x->ch)) /* the loop does not watch for room to write */
            first = first < loop_now_ms() + FLUSH_MS ? first : loop_now_ms() + FLUSH_MS;
    }
    return first;
}

void executors_due(executors *e, int64_t now_ms)
{
    for (unsigned i = 0; i < e->n; i++) {
        executor *x = e->v[i];

        if (!x)
            continue;
        if (x->ch && channel_pending(x->ch))
            channel_flush(x->ch);
        if (x->kill_at <= now_ms && x->pid) {
            kill(x->pid, SIGKILL);
            x->kill_at = NEVER;
        }
        if (x->connect_at <= now_ms && connect_to(x, NULL)) {
            x->connect_ms = x->connect_ms * 2 < CONNECT_MAX ? x->connect_ms * 2 : CONNECT_MAX;
            x->connect_at = now_ms + x->connect_ms;
        }
    }
    if (e->orphans_at <= now_ms)
        bury(e, now_ms);
}

static bool any_left(const executors *e)
{
    for (unsigned i = 0; i < e->n; i++)
        if (e->v[i] && e->v[i]->pid)
            return true;
    return false;
}

void executors_end(executors *e, int64_t wait_ms)
{
    const struct timespec pause = { 0, 5000000 };
    int64_t until = loop_now_ms() + wait_ms;
    bool killed = false;

    for (unsigned i = 0; i < e->n; i++)
        if (e->v[i])
            disconnect(e->v[i]);
    for (;;) {
        int64_t now = loop_now_ms();
        pid_t pid;

        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
            for (unsigned i = 0; i < e->n; i++)
                if (e->v[i] && e->v[i]->pid == pid)
                    e->v[i]->pid = 0;
        if (!any_left(e) && each_orphan(e, end_orphan) == 0)
            return;
        if (now >= until + HUNG_MS)
            return;
        if (now >= until && !killed) {
            for (unsigned i = 0; i < e->n; i++)
                if (e->v[i] && e->v[i]->pid)
                    kill(e->v[i]->pid, SIGKILL);
            killed = true;
        }
        nanosleep(&pause, NULL);
    }
}
