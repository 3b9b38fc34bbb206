/*
 * work.h - the directory of one runner: who it is, and what it must not forget.
 *
 *   WORK/lock    held while the agent runs: one agent a directory
 *   WORK/id      the runner's id, random, kept for ever
 *   WORK/state   history, greatest epoch acted upon, and the key of its welcome
 *   WORK/slots/, spool/, pool/, mirrors/, home/   the executors' and the agent's
 */
#ifndef VOLT_CMD_RUNNER_WORK_H
#define VOLT_CMD_RUNNER_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

typedef struct runner_work {
    char *dir;     /* absolute */
    char *ordinal; /* for a default name: "1" of runner-1, else the directory's name */
    int lock;      /* descriptor, closed on exec */
    char id[33];
    char hist[33]; /* "": none yet */
    uint64_t maxep;
    char key[33]; /* "": it told none */
} runner_work;    /* { .lock = -1 } before */

/* Makes (with its parents), locks and reads the directory; NULL: the first unlocked of
 * $XDG_STATE_HOME/volt/runner-1, -2, ...
 * VOLT_ELOCKED: another agent has it.  VOLT_EIO: named. */
volt_code runner_work_open(const char *dir, runner_work *ret, volt_err *err);
void runner_work_close(runner_work *w);

/* Keeps history, epoch and key, durably.  VOLT_EIO: the old ones stand. */
volt_code runner_work_save(runner_work *w, const char *hist, uint64_t maxep, const char *key,
                           volt_err *err);

/* False: some of it was deleted, or the lock is no longer in the way of another agent. */
bool runner_work_is_whole(const runner_work *w);
/* Makes again what is missing, with id and state as they were.  VOLT_ELOCKED: another agent has it
 * by now.  VOLT_EIO: named. */
volt_code runner_work_mend(runner_work *w, volt_err *err);

/* 32 random hex digits. */
void runner_work_random(char ret[33]);

#endif
