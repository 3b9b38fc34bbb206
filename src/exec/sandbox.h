/*
 * sandbox.h - running a task's processes by bubblewrap (bwrap).
 *
 * In a closed sandbox they see the machine's files as they are, but write only in their workspace
 * and scratch directories; /tmp is the scratch one, /dev a small one; of the runner's own directory
 * and secrets nothing is to be seen, nor any other process.  Without network there is a loopback of
 * their own and nothing else.  Both keep honest tasks out of each other's way, and what is not
 * trusted away from the runner's secrets; a socket of the machine's that the runner's user may
 * connect to is still one that they may, unless it is in /tmp.
 *
 * What runs inside is ended like any other process (process.h): bwrap passes no signals on, but all
 * its processes are our descendants, and the end of the first one of its PID namespace is that of
 * all in it.
 */
#ifndef VOLT_EXEC_SANDBOX_H
#define VOLT_EXEC_SANDBOX_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"

typedef struct sandbox {
    const char *bwrap; /* the program, absolute */
    bool closed;
    bool network_off;
    /* Of a closed one; absolute. */
    const char *work;                            /* hidden, but for the following */
    const char *workspace, *home, *tmp, *output; /* writable */
    const char *objects;                         /* the repository's, to be read */
    const char *secrets;                         /* the task's, to be read; NULL: none */
    const char *hidden;                          /* a file or directory; NULL: none */
} sandbox;

/* The words of a command that runs `path` with `argv` in it, in `a`. */
const char *const *sandbox_wrap(const sandbox *s, const char *path, const char *const *argv,
                                arena *a);

/* Looks for bwrap in `path` (as PATH) and has it run something; *ret is in `a`.  `work` is any
 * directory of ours.  VOLT_ENOTFOUND: it is not installed.  VOLT_EREFUSED: it does not work here,
 * and its words for that.  VOLT_EIO.  Blocks for some ms. */
volt_code sandbox_find(const char *path, const char *work, arena *a, const char **ret,
                       volt_err *err);

#endif
