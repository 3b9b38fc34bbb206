#include "exec/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "exec/process.h"

#define CANNOT    127 /* as a shell that does not find its command */
#define DRAIN_MAX 64  /* chunks, before it looks who has ended */

extern char **environ;

typedef struct keeper {
    pid_t commands;
    int children; /* signalfd of SIGCHLD */
    int talk;     /* what the commands and their descendants write; -1: all who could are gone */
    int word;     /* to the executor; -1: it was said */
    int null;
} keeper;

static bool write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t did = write(fd, p, n);

        if (did < 0 && errno == EINTR)
            continue;
        if (did <= 0)
            return false;
        p += did;
        n -= (size_t)did;
    }
    return true;
}

/* Passes on what was written, or forgets it once the word was said. */
static void drain(keeper *k)
{
    char chunk[16384];
    ssize_t n;

    for (int i = 0; k->talk >= 0 && i < DRAIN_MAX; i++) {
        n = read(k->talk, chunk, sizeof chunk);
        if (n > 0 && k->word >= 0)
            write_all(STDOUT_FILENO, chunk, (size_t)n);
        if (n > 0 || (n < 0 && errno == EINTR))
            continue;
        if (n == 0) {
            close(k->talk);
            k->talk = -1;
        }
        return;
    }
}

/* The word comes before the end of the output, so that it is there when that is seen. */
static void say(keeper *k, const process_exit *e)
{
    const keeper_word word = { .exit = e->exit, .signal = e->signal };

    drain(k);
    write_all(k->word, (const char *)&word, sizeof word);
    close(k->word);
    k->word = -1;
    dup2(k->null, STDOUT_FILENO);
    dup2(k->null, STDERR_FILENO);
}

static volt_code start(keeper *k, const char *const *argv, volt_err *err)
{
    process_command run = { .path = argv[0],
                            .argv = argv,
                            .env = (const char *const *)environ,
                            .dir = ".",
                            .in = k->null };
    sigset_t all, child;
    int ends[2];
    volt_code rc;

    if (pipe2(ends, O_CLOEXEC))
        return volt_fail(err, VOLT_EIO, "make a pipe: %s", strerror(errno));
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    k->children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    k->talk = ends[0];
    run.out = ends[1];
    rc = process_spawn(&run, &k->commands, err);
    close(ends[1]);
    return rc;
}

/* Takes note of what ended.  False: nothing is left. */
static bool reap(keeper *k)
{
    process_exit e;
    process_found found;

    while ((found = process_reap(&e)) == PROCESS_ENDED)
        if (e.pid == k->commands && k->word >= 0)
            say(k, &e);
    return found == PROCESS_RUNNING;
}

int keeper_run(const char *const *argv)
{
    keeper k = { .word = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3),
                 .null = open("/dev/null", O_RDWR | O_CLOEXEC) };
    struct signalfd_siginfo told;
    volt_err err;

    if (process_setup(&err) || start(&k, argv, &err)) {
        fprintf(stderr, "volt: the setup cannot be started: %s\n", err.msg);
        return CANNOT;
    }
    dup2(k.null, STDIN_FILENO);
    while (reap(&k)) {
        struct pollfd fds[] = { { .fd = k.children, .events = POLLIN },
                                { .fd = k.talk, .events = POLLIN } };

        poll(fds, 2, -1);
        while (read(k.children, &told, sizeof told) > 0)
            ;
        drain(&k);
    }
    return 0;
}
