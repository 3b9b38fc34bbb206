/*
 * exec.h - the executor processes of a runner, and the channels to them.
 *
 * One `volt executor --slot N` a slot, each in a session of its own.  They outlive the agent: those
 * that still run are found by their sockets and taken over.  What an executor leaves behind when it
 * dies falls to the agent, a child subreaper, which kills it before the executor counts as gone.
 */
#ifndef VOLT_CMD_RUNNER_EXEC_H
#define VOLT_CMD_RUNNER_EXEC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"
#include "net/loop.h"

typedef struct executors executors;

typedef struct executors_config {
    loop *loop;
    const char *work;        /* absolute */
    const char *const *args; /* of `volt executor`, besides --slot N and --work DIR; NULL-ended */
    void (*up)(void *ctx, unsigned slot);                 /* connected */
    void (*frame)(void *ctx, unsigned slot, slice frame); /* borrowed for the call */
    void (*gone)(void *ctx, unsigned slot);               /* ended, and all it had started */
    void *ctx;
} executors_config; /* texts are borrowed as long as the executors stand */

/* Makes this process a child subreaper; what it has for children already is left alone. */
executors *executors_new(const executors_config *config);
/* Leaves the processes as they are. */
void executors_free(executors *e);

/* Connects to every executor that runs already: config.up of each.  Then ends what tasks of others
 * have left: their executor was killed, and so was the agent that would have inherited them.
 * Blocks until they are gone, a second at most. */
void executors_adopt(executors *e);
/* Starts one; config.up when it is connected, config.gone when that fails. */
void executors_spawn(executors *e, unsigned slot);
/* Ends an executor, started here or not, and all that it started; then config.gone. */
void executors_kill(executors *e, unsigned slot);
/* Each that runs. */
void executors_kill_all(executors *e);
/* Nothing when it is not connected. */
void executors_send(executors *e, unsigned slot, slice frame);

/* A SIGCHLD came. */
void executors_reap(executors *e);
/* When executors_due() has work; INT64_MAX: none. */
int64_t executors_deadline_ms(const executors *e);
void executors_due(executors *e, int64_t now_ms);

/* At the agent's end: waits at most wait_ms for the executors it started, then kills them. */
void executors_end(executors *e, int64_t wait_ms);

#endif
