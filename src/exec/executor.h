/*
 * executor.h - what `volt executor` decides: one attempt at a time, told and asked by the agent.
 *
 * The agent may go and come back; the attempt goes on.  An attempt that is done is kept, for the
 * agent to ask about, until the next assign.
 */
#ifndef VOLT_EXEC_EXECUTOR_H
#define VOLT_EXEC_EXECUTOR_H

#include "exec/attempt.h"

/* Shorter than a stopping agent waits (AGENT_STOP_MS). */
#define EXECUTOR_LEAVE_MS 2000
/* Without a batch of the job for so long, what its setup left is ended: a job whose last files run
 * elsewhere would hold its servers, and their ports, for nothing. */
#define EXECUTOR_IDLE_MS 5000

typedef struct executor executor;

/* `say` is called with each message for the agent; it may be called within any function here.
 * The site is borrowed. */
executor *executor_new(site *s, attempt_say *say, void *ctx);
/* Only when idle. */
void executor_free(executor *e);

/* Says `hb` with what it holds: the first thing a new agent hears. */
void executor_report(executor *e);
/* A message of the agent's: assign, renew, cancel, hb, bye; others are ignored.
 * VOLT_EMSG: malformed; the connection should be closed. */
volt_code executor_take(executor *e, slice frame, int64_t now_ms, volt_err *err);
/* Ends what runs, TERM now, KILL after EXECUTOR_LEAVE_MS, and is finished then.  bye is the same.
 */
void executor_leave(executor *e, const char *why, int64_t now_ms);

/* When what runs must have ended, by the clock that counts sleep, too; ATTEMPT_NEVER: whenever it
 * likes.  And ends it for that reason. */
int64_t executor_until_ms(const executor *e);
void executor_expire(executor *e, int64_t now_ms);

size_t executor_fds(const executor *e, struct pollfd ret[ATTEMPT_FDS_MAX]);
int64_t executor_deadline_ms(const executor *e);
/* After SIGCHLD, when a descriptor was readable, and at the deadline. */
void executor_step(executor *e, int64_t now_ms);

bool executor_busy(const executor *e);
/* Idle for good, after bye or executor_leave(). */
bool executor_finished(const executor *e);

#endif
