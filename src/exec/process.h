/*
 * process.h - starting a task's process, and ending everything it started.
 *
 * The executor is a child subreaper: whatever a task leaves behind, daemons that forked twice and
 * left the session included, becomes its child.  So "no child is left" proves that the task's
 * processes are gone, and a task that leaves nothing costs one wait and no look at /proc.  When
 * something is left it is found by walking /proc from our children downwards, or, where a cgroup v2
 * of our own is to be had, ended by cgroup.kill, which no fork can outrun.  One child with all that
 * is below it can be set aside (process_keep(), for keeper.h): then only /proc tells what is left.
 *
 * Not covered:
 * - The executor killed with SIGKILL: its direct child dies with it (PR_SET_PDEATHSIG), the rest
 *   falls to the next subreaper above, the agent, which ends what it inherits.  When the agent that
 *   started the executor is gone too, it falls to init, and lives until the next executor of the
 *   slot ends it in its cgroup, or the next agent finds it by its environment (stray.h).
 * - A process that changed to another user (a setuid program) cannot be signalled by an ordinary
 *   user's runner; PR_SET_PDEATHSIG is void for it as well.
 * - What a task asks somebody else to start (a container of dockerd, a unit of systemd, at, cron).
 *
 * A property of the whole process: used by executors only.  Threads: one.
 */
#ifndef VOLT_EXEC_PROCESS_H
#define VOLT_EXEC_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* Once at the start: becomes a subreaper, sets every signal to its default but SIGPIPE (ignored),
 * makes the descriptors above 2 that were inherited close-on-exec, and sets umask 022.  Unblocks
 * all signals: block those that are waited for afterwards.  VOLT_EIO. */
volt_code process_setup(volt_err *err);
/* Tries to move into a control group of that name ("volt-1") below the present one, after ending
 * what is in it.  False: there is none to be had. */
bool process_enter_cgroup(const char *name);
/* Leaves the control group, when in one, and removes it. */
void process_teardown(void);

typedef struct process_command {
    const char *path; /* absolute, or relative to `dir` with a slash */
    const char *const *argv;
    const char *const *env;
    const char *dir; /* working directory */
    int in;          /* descriptor of its standard input */
    int out;         /* of its standard output and error */
    /* It stands in for /bin/sh with these, which is started where it cannot be executed.  NULL: for
     * nothing. */
    const char *const *sh_argv;
} process_command;

/* Starts it as the leader of a session of its own, with no other descriptors, no blocked or ignored
 * signals; it is killed when the executor dies.  A script without an interpreter line is given to
 * /bin/sh, as a shell does, where the command does not say what that gets.  *ret is its process id.
 * VOLT_EINVALID: it cannot be executed, and why.  VOLT_EIO: no more processes or memory. */
volt_code process_spawn(const process_command *command, pid_t *ret, volt_err *err);

typedef struct process_exit {
    pid_t pid;
    int exit;   /* status 0..255; of one that a signal ended 0 */
    int signal; /* 0: exited */
    int64_t cpu_us;
    int64_t max_rss_bytes; /* at least the executor's own, which it had before exec */
} process_exit;

typedef enum process_found {
    PROCESS_ENDED,   /* *ret is one that ended */
    PROCESS_RUNNING, /* none has ended, some are left */
    PROCESS_NONE,    /* none is left: the task and all it started are gone */
} process_found;

/* Takes note of one ended process; never blocks. */
process_found process_reap(process_exit *ret);

/* Sets a child aside with all that comes of it: it is not the task's, so that ending the task
 * passes it over.  0: none is, what was is the task's again.  One at most; when it ends none is. */
void process_keep(pid_t pid);
/* The one that is set aside; 0: none. */
pid_t process_kept(void);
/* Whether nothing else is left, where PROCESS_RUNNING only says that something is.
 * O(children) where the kernel lists them (Linux with PROC_CHILDREN), else O(processes). */
bool process_only_kept(void);

/* Sends `signal` to all processes of the task, once each; returns how many there were.
 * O(processes on this machine). */
size_t process_signal_all(int signal);
/* Kills all processes of the task: stops them first until no new one shows, so that none can fork
 * away meanwhile.  Returns how many it found; call again while process_reap() finds some. */
size_t process_kill_all(void);

#endif
