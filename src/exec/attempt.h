/*
 * attempt.h - one attempt of a task on this runner, from its assign to its result.
 *
 * It brings the commit here, then reads the plan from its tree, or prepares the workspace and runs
 * unit after unit, each in a fresh process.  What it has to say goes to the spool first, then to
 * `say`: start, plan, tests, and at last result or nack.  It never fails otherwise: what goes wrong
 * before anything started is a nack, later it is a verdict.
 *
 * Event-driven but for two calls that block, the walk over a commit's tree and the workspace's move
 * from commit to commit (milliseconds; seconds for the first checkout of a large repository).
 */
#ifndef VOLT_EXEC_ATTEMPT_H
#define VOLT_EXEC_ATTEMPT_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/msg.h"
#include "exec/site.h"
#include "exec/spool.h"

#define ATTEMPT_FDS_MAX 2
#define ATTEMPT_NEVER   INT64_MAX
/* Outcomes travel at the latest so long after their unit ended, or when so many wait. */
#define ATTEMPT_FLUSH_MS    20
#define ATTEMPT_FLUSH_ITEMS 64
/* Bytes of cases in one message; and in all of an attempt, which its agent may have to hold while
 * the dispatcher is away. */
#define ATTEMPT_FLUSH_CASES ((size_t)96 << 10)
#define ATTEMPT_CASES_MAX   ((size_t)16 << 20)
/* A start is told so late, for what ends sooner tells all at once: half the messages and commits.
 */
#define ATTEMPT_START_MS 5
#define ATTEMPT_GRACE_MS 10000 /* TERM to KILL, when the assign names none */
/* Exit statuses of `volt carry`: the dispatcher does not answer; the disk here is full. */
#define CARRY_EXIT_AWAY 4
#define CARRY_EXIT_FULL 8
/* Exit statuses of unittest_one.py. */
#define ATTEMPT_UNITTEST_PASSED   93
#define ATTEMPT_UNITTEST_NO_TESTS 5

typedef struct attempt attempt;

/* Takes an encoded message, borrowed for the call. */
typedef void attempt_say(void *ctx, slice frame);

/* Begins with the `assign` message in `frame`, which is valid.  The site is borrowed. */
attempt *attempt_start(site *s, slice frame, attempt_say *say, void *ctx, int64_t now_ms);
/* Only when ended. */
void attempt_free(attempt *a);

spool_id attempt_id(const attempt *a);
/* accepted, running, done; held_state_none: it was refused with a nack. */
held_state attempt_state(const attempt *a);
bool attempt_ended(const attempt *a);
uint64_t attempt_log_bytes(const attempt *a);

/* What to wait for readability of, besides SIGCHLD; returns how many. */
size_t attempt_fds(const attempt *a, struct pollfd ret[ATTEMPT_FDS_MAX]);
int64_t attempt_deadline_ms(const attempt *a);
/* Goes on, when something was readable, a child ended or the deadline is reached. */
void attempt_step(attempt *a, int64_t now_ms);
/* Ends it with verdict canceled: TERM, after grace_ms KILL (0: the assign's). */
void attempt_cancel(attempt *a, int64_t grace_ms, slice why, int64_t now_ms);
/* One that is `alone` may run on until then, by the clock that counts sleep, too. */
void attempt_renew(attempt *a, int64_t until_ms);
/* That time; ATTEMPT_NEVER: it has no end. */
int64_t attempt_until_ms(const attempt *a);
/* Says its present state again: start while running, result when done. */
void attempt_repeat(const attempt *a);

#endif
