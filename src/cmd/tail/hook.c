#include "cmd/tail/hook.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"

#define BRANCH_PREFIX "refs/heads/"

/* NAME=value strings that a command gets besides the environment of this process. */
typedef struct waiting {
    list node;
    uint64_t build;
    char **vars;
    size_t n;
} waiting;

struct hook {
    char *command;
    int64_t limit_ms;
    list queue;
    size_t queued;
    pid_t pid;         /* running command, also its process group; 0: none */
    uint64_t build;    /* of the running command */
    int64_t due_ms;    /* TERM, then KILL */
    unsigned warnings; /* signals sent so far */
};

hook *hook_new(const char *command, int64_t limit_ms)
{
    hook *h = NEW(hook);

    h->command = mem_strdup(command);
    h->limit_ms = limit_ms;
    list_init(&h->queue);
    return h;
}

static void waiting_free(waiting *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->vars[i]);
    free(w->vars);
    free(w);
}

void hook_free(hook *h)
{
    if (!h)
        return;
    if (h->pid)
        kill(-h->pid, SIGTERM);
    LIST_FOR_SAFE(node, &h->queue)
    waiting_free(LIST_OWNER(node, waiting, node));
    free(h->command);
    free(h);
}

static void add_var(waiting *w, char *var)
{
    w->vars = mem_grow(w->vars, w->n + 1, sizeof *w->vars);
    w->vars[w->n++] = var;
}

static void add_text(waiting *w, const char *name, slice value)
{
    char *var = mem_printf("%s=%.*s", name, SLICE_ARG(value));

    add_var(w, var);
}

static void add_number(waiting *w, const char *name, uint64_t value)
{
    add_var(w, mem_printf("%s=%llu", name, (unsigned long long)value));
}

/* The environment of this process without the names that `w` sets, then those. */
static char **environment(const waiting *w)
{
    size_t have = 0, n = 0;
    char **env;

    while (environ[have])
        have++;
    env = NEW_ARRAY(char *, have + w->n + 1);
    for (size_t i = 0; i < have; i++) {
        bool replaced = false;

        for (size_t k = 0; k < w->n && !replaced; k++) {
            size_t name = (size_t)(strchr(w->vars[k], '=') - w->vars[k]) + 1;

            replaced = strncmp(environ[i], w->vars[k], name) == 0;
        }
        if (!replaced)
            env[n++] = environ[i];
    }
    for (size_t k = 0; k < w->n; k++)
        env[n++] = w->vars[k];
    return env;
}

static int spawn(const hook *h, char *const *env, pid_t *ret)
{
    const char *argv[] = { "sh", "-c", h->command, NULL };
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, defaults;
    int rc;

    sigemptyset(&none);
    sigfillset(&defaults); /* SIGPIPE is ignored here, but must not be there */
    sigdelset(&defaults, SIGKILL);
    sigdelset(&defaults, SIGSTOP);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    /* What it prints must not get between the lines of the stream. */
    posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                        POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    rc = posix_spawn(ret, "/bin/sh", &files, &attr, (char *const *)(uintptr_t)argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return rc;
}

static void start_next(hook *h, int64_t now_ms)
{
    while (!h->pid && !list_empty(&h->queue)) {
        waiting *w = LIST_OWNER(h->queue.next, waiting, node);
        char **env = environment(w);
        int rc = spawn(h, env, &h->pid);

        if (rc) {
            h->pid = 0;
            log_error("run --exec for build %llu: %s", (unsigned long long)w->build, strerror(rc));
        }
        h->build = w->build;
        h->due_ms = now_ms + h->limit_ms;
        h->warnings = 0;
        free(env);
        list_remove(&w->node);
        h->queued--;
        waiting_free(w);
    }
}

void hook_add(hook *h, int64_t now_ms, const msg_event *event, const char *result)
{
    waiting *w = NEW(waiting);
    slice ref = event->ref;

    w->build = event->build;
    add_number(w, "VOLT_BUILD", event->build);
    add_number(w, "VOLT_SEQ", event->seq);
    add_number(w, "VOLT_GENERATION", event->gen);
    add_number(w, "VOLT_DURATION_MS", event->duration_ms);
    add_text(w, "VOLT_REPO", event->repo);
    add_text(w, "VOLT_REF", ref);
    if (slice_starts(ref, SLICE(BRANCH_PREFIX)))
        ref = (slice){ ref.p + sizeof BRANCH_PREFIX - 1, ref.n - (sizeof BRANCH_PREFIX - 1) };
    add_text(w, "VOLT_BRANCH", ref);
    add_text(w, "VOLT_OID", event->oid);
    add_text(w, "VOLT_COMMIT", event->oid);
    add_text(w, "VOLT_VERDICT", slice_of(verdict_text(event->verdict)));
    add_text(w, "VOLT_SUBJECT", event->subject);
    add_text(w, "VOLT_AUTHOR", event->author);
    add_text(w, "VOLT_WHY", event->why);
    add_text(w, "VOLT_RESULT", slice_of(result ? result : ""));
    list_push(&h->queue, &w->node);
    h->queued++;
    start_next(h, now_ms);
}

bool hook_is_full(const hook *h)
{
    return h->queued >= HOOK_QUEUE_MAX;
}

size_t hook_pending(const hook *h)
{
    return h->queued + (h->pid != 0);
}

static void say_how_it_ended(const hook *h, int status)
{
    unsigned long long build = h->build;

    if (h->warnings)
        log_error("--exec for build %llu took longer than %lld ms and was ended", build,
                  (long long)h->limit_ms);
    else if (WIFSIGNALED(status))
        log_error("--exec for build %llu was ended by signal %d", build, WTERMSIG(status));
    else if (WEXITSTATUS(status))
        log_error("--exec for build %llu exited with %d", build, WEXITSTATUS(status));
}

/* False: it still runs. */
static bool reap(hook *h)
{
    siginfo_t gone = { 0 };
    int status = 0;

    /* What is left of its group is ended before the group's number may be given to others. */
    if (waitid(P_PID, (id_t)h->pid, &gone, WEXITED | WNOHANG | WNOWAIT) == 0) {
        if (!gone.si_pid)
            return false;
        if (h->warnings)
            kill(-h->pid, SIGKILL);
        waitpid(h->pid, &status, 0);
        say_how_it_ended(h, status);
    }
    h->pid = 0;
    return true;
}

void hook_tick(hook *h, int64_t now_ms)
{
    if (!h->pid)
        return;
    if (reap(h)) {
        start_next(h, now_ms);
        return;
    }
    if (now_ms >= h->due_ms) {
        kill(-h->pid, h->warnings ? SIGKILL : SIGTERM);
        h->warnings++;
        h->due_ms = now_ms + HOOK_GRACE_MS;
    }
}

int64_t hook_deadline_ms(const hook *h)
{
    return h->pid ? h->due_ms : INT64_MAX;
}
