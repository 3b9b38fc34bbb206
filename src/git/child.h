/*
 * child.h - one run of the git command, watched without blocking.
 *
 * The child gets its own session (nothing can ask at a terminal), a scrubbed environment, no hooks,
 * no standard input and a time limit.  Its life: child_start(); when child_fd() is readable,
 * child_step(), until that returns something else than VOLT_EAGAIN; child_free(), which kills it
 * when it still runs.
 */
#ifndef VOLT_GIT_CHILD_H
#define VOLT_GIT_CHILD_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "git/git.h"

#define CHILD_ARGS_MAX   32
#define CHILD_STDERR_MAX 4096 /* bytes kept, the last ones */

typedef struct child child;

typedef struct child_options {
    const char *git_dir; /* --git-dir; NULL: none, and no repository around is looked for */
    int64_t limit_ms;    /* >= 1; then it is killed and VOLT_ETIMEOUT */
    size_t output_max;   /* bytes of standard output; more is VOLT_EFULL */
    int lock_fd;         /* handed down, so that a lock on it lasts as long as the child and what
                            it starts; 0: none */
} child_options;

/* Starts `git ARGS...` (NULL-terminated, at most CHILD_ARGS_MAX, without "git").
 * VOLT_ENOTFOUND: no git command in PATH.  VOLT_EIO. */
volt_code child_start(const char *const *args, const child_options *options, child **ret,
                      volt_err *err);
/* For poll() or a loop: readable when child_step() has work. */
int child_fd(const child *c);
/* Takes what there is.  VOLT_EAGAIN: not finished (*err untouched).  VOLT_OK: exit code 0.
 * VOLT_EGIT: another one; the message is the command's last words without credentials.
 * VOLT_ETIMEOUT, VOLT_EFULL: killed. */
volt_code child_step(child *c, volt_err *err);
/* Blocks until it has finished. */
volt_code child_wait(child *c, volt_err *err);
/* What it wrote to standard output so far; stands until the next step. */
slice child_output(const child *c);
/* Its standard error, the end of it, credentials removed; for telling errors apart. */
const char *child_errors(const child *c);
void child_free(child *c);

#endif
