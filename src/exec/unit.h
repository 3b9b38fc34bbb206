/*
 * unit.h - one process of a task, from its start until all it started is gone.
 *
 *   running --its process ended, nothing is left------------------------------> ended
 *           --its process ended, something is left--> lingering --TERM--> ending --KILL--> killing
 *           --time limit, or unit_stop()--------------------------TERM--> ending --KILL--> killing
 *
 * One that starts with a keeper (keeper.h) becomes kept when its commands have succeeded: it waits,
 * set aside from all units that run meanwhile, until
 *
 *   kept --unit_stop()--TERM--> ending      --unit_let_go()--> ended, its processes the next unit's
 *
 * In every state "nothing is left" ends it.  The owner calls unit_step() when the output's pipe is
 * readable, after SIGCHLD, and at unit_deadline_ms().  Times are the owner's monotonic clock.
 */
#ifndef VOLT_EXEC_UNIT_H
#define VOLT_EXEC_UNIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "exec/output.h"
#include "exec/process.h"

#define UNIT_NEVER INT64_MAX
/* What is left when a unit's process ends may be about to end by itself (`cmd | tee`, a process
 * substitution): only after this is it told to. */
#define UNIT_LINGER_MS 100
/* TERM to KILL for what is left, when the grace is longer: it is not asked to finish work. */
#define UNIT_LEFT_GRACE_MS 2000
/* After the first KILL, until what still shows is given up and named (a setuid program, a process
 * that waits for a dead disk). */
#define UNIT_KILL_MS 10000

typedef enum unit_end {
    UNIT_EXITED,      /* by itself */
    UNIT_TIMEOUT,     /* ended at its time limit */
    UNIT_CANCELED,    /* ended by unit_stop() */
    UNIT_NOT_STARTED, /* the log says why */
} unit_end;

typedef struct unit_order {
    const char *name;    /* for lines in the log: "tests/test_x.py" */
    int64_t timeout_ms;  /* from its start; 0: none */
    int64_t grace_ms;    /* between TERM and KILL */
    process_command run; /* `out` is set here; path NULL: argv[0] is nowhere in PATH */
    bool keep;           /* it runs a keeper; `in` is set here, too */
} unit_order;

typedef struct unit_outcome {
    unit_end end;
    int exit;            /* of its process */
    int signal;          /* that ended it; 0: none */
    int64_t duration_ms; /* until its process ended */
    int64_t cpu_us;      /* of all its processes */
    int64_t max_rss_bytes;
    uint64_t log_off, log_len;
    size_t left; /* processes that could not be ended */
} unit_outcome;

typedef struct unit unit;

/* Starts it; never fails: what cannot be started ends at once.  `order` is copied, its name must
 * stand as long as the unit; `out` is borrowed until it has ended or is kept. */
unit *unit_start(const unit_order *order, output *out, int64_t now_ms);
/* Only an ended one. */
void unit_free(unit *u);

/* True when it has ended, or is kept. */
bool unit_step(unit *u, int64_t now_ms);
bool unit_ended(const unit *u);
bool unit_kept(const unit *u);
int64_t unit_deadline_ms(const unit *u);
/* Ends it: TERM now, KILL after grace_ms; again with a shorter grace hurries. */
void unit_stop(unit *u, int64_t now_ms, int64_t grace_ms);
/* Ends one that was kept at once, for what it left shall end with the unit that runs. */
void unit_let_go(unit *u);
/* Of an ended or kept one; stands as long as the unit. */
const unit_outcome *unit_result(const unit *u);

#endif
