#include "cmd/up/children.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "cmd/command.h"
#include "net/loop.h"

#define PARENT_VARIABLE "VOLT_UP_PID"
#define SHORT_LIFE_MS   3000 /* a kept child that ends sooner... */
#define SHORT_LIVES_MAX 3    /* ...so many times in a row is given up */

typedef struct process {
    char *name;
    char **args; /* with argv[0]; NULL-terminated */
    pid_t pid;   /* 0: does not run */
    bool keep, asked;
    int64_t started_ms;
    int short_lives;
} process;

struct children {
    process v[CHILDREN_MAX];
    size_t n;
};

children *children_new(void)
{
    return NEW(children);
}

void children_free(children *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++) {
        process *p = &c->v[i];

        if (p->pid) {
            kill(p->pid, SIGKILL);
            waitpid(p->pid, NULL, 0);
        }
        for (char **a = p->args; *a; a++)
            free(*a);
        free(p->args);
        free(p->name);
    }
    free(c);
}

/* This process's environment with the mark for children_watch_parent(), and without the options
 * that VOLT_* variables give to `volt up`: VOLT_DATA means another directory to each command. */
static char **child_environment(void)
{
    size_t n = 0, kept = 0;
    char **env;

    while (environ[n])
        n++;
    env = NEW_ARRAY(char *, n + 2);
    env[kept++] = mem_printf(PARENT_VARIABLE "=%ld", (long)getpid());
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "VOLT_", 5) != 0)
            env[kept++] = environ[i];
    return env;
}

static volt_code spawn(process *p, volt_err *err)
{
    posix_spawnattr_t attr;
    sigset_t none, all;
    char **env = child_environment();
    int rc;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                        POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    rc = posix_spawn(&p->pid, command_self(), NULL, &attr, p->args, env);
    posix_spawnattr_destroy(&attr);
    free(env[0]);
    free(env);
    if (rc != 0) {
        p->pid = 0;
        return volt_fail(err, VOLT_EIO, "start '%s': %s", p->name, strerror(rc));
    }
    p->started_ms = loop_now_ms();
    return VOLT_OK;
}

volt_code children_start(children *c, const char *name, const char *const *args, bool keep,
                         volt_err *err)
{
    process *p;
    size_t n = 0;

    while (args[n])
        n++;
    if (c->n == CHILDREN_MAX || n > CHILDREN_ARGS_MAX)
        return volt_fail(err, VOLT_EFULL, "too many processes or arguments");
    p = &c->v[c->n++];
    p->name = mem_strdup(name);
    p->keep = keep;
    p->args = NEW_ARRAY(char *, n + 2);
    p->args[0] = mem_strdup("volt");
    for (size_t i = 0; i < n; i++)
        p->args[i + 1] = mem_strdup(args[i]);
    return spawn(p, err);
}

void children_keep(children *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->v[i].name, name) == 0)
            c->v[i].keep = true;
}

static bool named(const process *p, const char *prefix)
{
    return strncmp(p->name, prefix, strlen(prefix)) == 0;
}

void children_signal(children *c, const char *prefix, int signal)
{
    for (size_t i = 0; i < c->n; i++)
        if (named(&c->v[i], prefix)) {
            c->v[i].asked = true;
            if (c->v[i].pid)
                kill(c->v[i].pid, signal);
        }
}

size_t children_running(const children *c, const char *prefix)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n; i++)
        n += c->v[i].pid && named(&c->v[i], prefix);
    return n;
}

static bool start_again(process *p, int64_t now_ms)
{
    if (!p->keep || p->asked)
        return false;
    p->short_lives = now_ms - p->started_ms < SHORT_LIFE_MS ? p->short_lives + 1 : 0;
    return p->short_lives < SHORT_LIVES_MAX && spawn(p, NULL) == VOLT_OK;
}

bool children_reap(children *c, int64_t now_ms, child_end *ret)
{
    for (size_t i = 0; i < c->n; i++) {
        process *p = &c->v[i];

        if (!p->pid || waitpid(p->pid, &ret->status, WNOHANG) != p->pid)
            continue;
        p->pid = 0;
        ret->name = p->name;
        ret->again = start_again(p, now_ms);
        return true;
    }
    return false;
}

void children_watch_parent(void)
{
    const char *value = getenv(PARENT_VARIABLE);
    long parent = value ? strtol(value, NULL, 10) : 0;

    if (parent <= 0)
        return;
    unsetenv(PARENT_VARIABLE); /* what this process starts is not the parent's child */
    /* Not SIGTERM: a runner would drain, hold its directory meanwhile, and end only when a
     * dispatcher has its results, so that no other `volt up` could start there. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != (pid_t)parent) /* it ended before this could be asked for */
        _exit(EXIT_INTERRUPTED);
}
