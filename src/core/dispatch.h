/*
 * dispatch.h - the dispatcher's decisions: events in, effects out.
 *
 * Pure: no I/O, no clock, no logging.  Each event carries the time; what the store knows about it
 * comes along as `facts`.  A step changes the state in memory and asks, by effects, for that change
 * to be made durable; the shell commits before it sends or publishes anything.  When a commit fails
 * this state must be thrown away, for it has moved on, and rebuilt from the store.
 *
 * dispatch.c routes events and gathers effects; the deciding is in build.c, queue.c, lease.c,
 * fleet.c, match.c and split.c.
 */
#ifndef VOLT_CORE_DISPATCH_H
#define VOLT_CORE_DISPATCH_H

#include "core/effect.h"

typedef struct dispatch dispatch;

/* Writes 32 hex digits that only who knows `secret` (32 hex digits) can make of `about`. */
typedef void dispatch_prove(const char *secret, const char *about, char ret[33]);

typedef struct dispatch_config {
    char hist[33];                  /* history of the data directory */
    char secret[33];                /* of that directory, for `prove` */
    dispatch_prove *prove;          /* NULL: nothing is proven, and nothing believed */
    const char *stale;              /* what showed that this is an old copy; NULL, "": nothing */
    uint64_t ep;                    /* this start's epoch, already committed */
    char boot[33];                  /* this start's own name; "": it has none */
    uint64_t last_seq;              /* newest event in the store */
    uint64_t last_build, last_task; /* greatest ids ever used */
    /* 0: 1,000, 4,000 and 15,000; in a large fleet 5,000, 20,000 and 60,000. */
    int64_t hb_ms, suspect_ms, lease_ms;
    size_t large; /* a fleet of more runners is large, 0: 1,000; any of the times above: never */
    uint64_t tries_max;    /* 0: 3 */
    uint64_t log_max;      /* cap of an attempt's log in bytes, 0: 64 MiB */
    uint64_t artifact_max; /* cap of its artifacts, 0: 1 GiB */
    uint64_t log_window;   /* log credit in bytes, 0: 256 KiB */
    uint64_t seed;         /* of the jitter */
} dispatch_config;

/* What the store knows that bears on one event. */
typedef struct dispatch_facts {
    const row_submission *submission; /* submit, submission, rebuild: the row with that sid */
    const row_build *latest; /* submit: greatest gen of (repo, ref, oid); rebuild: of build's */
    const row_build *build;  /* rebuild, cancel_build: the row */
    slices passed;           /* rebuild of failed ones: names of build's jobs that passed */
    const row_task *tasks;   /* result, hello, tests, plan, log, nack, start, hb: rows of the   */
    size_t tasks_n;          /* named tasks that dispatch_task_known() does not have, any order */
    const uint32_t *expected_ms; /* plan: how long each file of its jobs takes by its history, in */
    size_t expected_n;           /* their order; 0: nothing is known.  None at all: of no file.   */
} dispatch_facts;

typedef enum dispatch_event_kind {
    DISPATCH_MSG,         /* `msg` came: from `peer`, or from an observer (peer 0) */
    DISPATCH_TICK,        /* time has passed: at the latest when dispatch_next_deadline_ms() says */
    DISPATCH_GAP,         /* the process did not run for `gap_ms`: leases get that more */
    DISPATCH_UNREACHABLE, /* the connection `peer` is gone: a message to it could not be sent */
} dispatch_event_kind;

typedef struct dispatch_event {
    dispatch_event_kind kind;
    int64_t now_ms;  /* monotonic */
    int64_t wall_ms; /* for display */
    uint64_t peer;   /* connection it came from, > 0; 0: the intake, which has no way back */
    const msg *msg;
    dispatch_facts facts;
    int64_t gap_ms;
    bool disk_low; /* refuse new submissions */
} dispatch_event;

dispatch *dispatch_new(const dispatch_config *config);
void dispatch_free(dispatch *d);

/* Rebuilds from the store, before the first step: every repo and runner, then for each build that
 * is not final its row, jobs, units and tasks, in this order.  VOLT_ECORRUPT: the rows contradict
 * each other (said which). */
volt_code dispatch_load(dispatch *d, const row *r, volt_err *err);
/* After the last row: leases start anew at lease + grace, waiting work is queued. */
void dispatch_loaded(dispatch *d, int64_t now_ms, int64_t wall_ms, effects *out);

/* One event.  Input never fails: what cannot be served is answered or counted. */
void dispatch_step(dispatch *d, const dispatch_event *ev, effects *out);
/* Monotonic time at which a DISPATCH_TICK is due; HEAP_NEVER: none. */
int64_t dispatch_next_deadline_ms(const dispatch *d);

/* Of an attempt's log or artifacts only the first `bytes` bytes are there: a LOG_WRITE failed.  The
 * runner sends the rest again, as soon as it gets credit.  Without effect when the attempt is over.
 */
void dispatch_log_is(dispatch *d, uint64_t task, uint64_t att, msg_part part, uint64_t bytes);
/* So many bytes of an attempt's log may be shown: of one under way those that came since this
 * start, for behind them a loss of power may have left a file torn, until its runner has sent all
 * of it again.  UINT64_MAX: the attempt is over, and what is kept is all there is. */
uint64_t dispatch_log_shown(const dispatch *d, uint64_t task, uint64_t att);

/* False: the task is not in memory, so facts must bring its row when there is one. */
bool dispatch_task_known(const dispatch *d, uint64_t task);
/* The repository of a task in memory; empty: it is not. */
slice dispatch_task_repo(const dispatch *d, uint64_t task);
/* Builds without a verdict. */
size_t dispatch_builds(const dispatch *d);
/* What an operator should know, for people; empty: nothing.  Stands until the next step. */
const char *dispatch_trouble(const dispatch *d);
/* The lease that the fleet has now, ms. */
int64_t dispatch_lease_ms(const dispatch *d);
/* Newest event number given out. */
uint64_t dispatch_last_seq(const dispatch *d);
/* There was one of that number, whether or not it is still kept. */
bool dispatch_had_build(const dispatch *d, uint64_t build);
bool dispatch_had_task(const dispatch *d, uint64_t task);

/* The live answer to `status` (running, waiting and why, counts), in `a`. */
void dispatch_status(const dispatch *d, int64_t now_ms, msg_status_is *ret, arena *a);
/* The live answer to `runners`, in `a`. */
void dispatch_runners(const dispatch *d, int64_t now_ms, const msg_runners *query,
                      msg_runners_are *ret, arena *a);
/* What the rows of one answer share; zero-initialise it for each answer. */
typedef struct dispatch_memo {
    struct why *why;
} dispatch_memo;

/* Fills row's `why` and `runner` for a task that is not final; leaves others alone. */
void dispatch_explain(const dispatch *d, int64_t now_ms, rec_task_row *task, dispatch_memo *memo,
                      arena *a);
/* The name of a runner by its id, empty when it is not known; stands until the next step. */
slice dispatch_runner_name(const dispatch *d, slice id);
/* Bring a stored row of a build, or of a job of that build, up to now: the store has counts only at
 * the end.  Rows of builds that have ended are left alone. */
void dispatch_progress(const dispatch *d, rec_build_row *row);
void dispatch_job_progress(const dispatch *d, int64_t now_ms, uint64_t build, rec_job_row *row,
                           dispatch_memo *memo, arena *a);

#endif
