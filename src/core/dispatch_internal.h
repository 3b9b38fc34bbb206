/*
 * dispatch_internal.h - what the handlers behind dispatch.c share.
 *
 * dispatch.c         state, time, routing of events
 * dispatch_load.c    the state rebuilt from rows
 * dispatch_task.c    messages about attempts: start, nack, plan, tests, log, result
 * dispatch_fleet.c   messages about runners: hello, heartbeat, bye; silence; modes
 * dispatch_client.c  submissions and commands
 * dispatch_stale.c   an old copy of the data directory is recognised
 * dispatch_life.c    the life of builds, jobs and tasks: every change of state, its row and event
 * dispatch_attempt.c the same of attempts: handed out, started, given back, lost
 * dispatch_queue.c   what waits, in the queue or before its group
 * dispatch_group.c   concurrency groups: one attempt at a time, also beyond its loss
 * dispatch_rows.c    them as rows to persist
 * dispatch_view.c    answers from memory: status, runners
 * dispatch_why.c     why a task waits, or does not come forward
 */
#ifndef VOLT_CORE_DISPATCH_INTERNAL_H
#define VOLT_CORE_DISPATCH_INTERNAL_H

#include "core/dispatch.h"
#include "core/history.h"
#include "core/match.h"

#define DISPATCH_BUILDS_MAX     100000 /* without a verdict; more are refused with BUSY */
#define DISPATCH_BACKOFF_MAX_MS 60000
#define DISPATCH_HEAD_MS        1000
#define DISPATCH_TAKEN_BACK     2 /* heartbeats without a leased attempt, then it is sent again */
#define DISPATCH_LARGE          1000 /* runners; more keep the slow pace */
#define DISPATCH_LARGE_LEFT     80   /* per cent of that: so few keep the quick one again */

/* Times that a runner keeps; see dispatch_pace(). */
typedef struct pace {
    int64_t hb_ms, suspect_ms, lease_ms;
} pace;

struct dispatch {
    dispatch_config config;
    pace quick, slow; /* in a small and in a large fleet */
    bool large;       /* the fleet is: runners are told to keep the slow pace */
    map repos;        /* name -> repo */
    map builds;       /* id -> build without a verdict */
    list build_list;
    size_t builds_n;
    map tasks; /* id -> task of those builds */
    queue queue;
    fleet fleet;
    lease_table leases;
    list groups;     /* of group.in_dispatch */
    heap group_ends; /* of groups that a lost attempt holds */
    uint64_t last_seq, last_build, last_task;
    uint64_t repo_orders;
    int64_t head_ms; /* when the next head beat is due */
    bool disk_low;   /* as the last event said */
    bool stale_db;   /* an old copy of the data directory: all stands still */
    uint64_t bad_msgs;
    char trouble[512]; /* what an operator should know */
    list ended; /* builds with a verdict, freed at the next step: effects may point into them */

    uint64_t steps;

    /* Of the step under way. */
    int64_t now_ms, wall_ms;
    const dispatch_event *ev;
    effects *out;
};

/* ---- dispatch.c ---- */

/* A step begins: what the last one's effects pointed to is freed. */
void dispatch_begin(dispatch *d, int64_t now_ms, int64_t wall_ms, effects *out);

/* An event of the stream with the next number, put in the store (the shell publishes it after the
 * commit); the caller fills the rest.  `b` may be NULL. */
msg_event *emit(dispatch *d, event_kind kind, const build *b);
/* The same with what is known of a task's newest attempt. */
msg_event *emit_task(dispatch *d, event_kind kind, const task *t);
/* An answer to the message of this step, with its request number. */
msg *answer(dispatch *d, msg_type type);
void answer_err(dispatch *d, code code, const char *why);
/* Text that lives as long as the effects of this step. */
slice step_text(dispatch *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A match_give. */
void dispatch_give(void *ctx, runner *r, queue_item *item);

/* ---- dispatch_rows.c ---- */

void put_build(dispatch *d, const build *b);
void put_job(dispatch *d, const job *j);
void put_task(dispatch *d, const task *t);
void put_attempt(dispatch *d, const task *t, state state, code code);
/* A unit without outcome (its row is new), or what `item` of batch t says of it. */
void put_unit(dispatch *d, const job *j, size_t i, const task *t, const rec_item *item);
/* The next case of the unit that t reports next. */
void put_case(dispatch *d, const task *t, const rec_test_case *c);
/* That unit has so many cases, and what is stored behind them an earlier attempt has told. */
void cut_cases(dispatch *d, const task *t, uint64_t n);

/* ---- dispatch_stale.c ---- */

/* Keys that prove an epoch, or an attempt, to an older copy of this data directory; they live as
 * long as the effects of this step. */
slice stale_epoch_key(dispatch *d, uint64_t ep);
slice stale_attempt_key(dispatch *d, uint64_t task, uint64_t att);
/* Nothing changes any more; `shown`: what gave it away.  d->trouble says what to do. */
void stale_stand_still(dispatch *d, const char *shown);
/* A runner that knows more than this data directory is refused: true.  When it can show that it
 * does, all stands still from now on. */
bool stale_hello(dispatch *d, const msg_hello *m);
/* Answers a message while all stands still. */
void stale_message(dispatch *d, const msg *m);

/* ---- dispatch_life.c ---- */

/* A new build with its plan task, queued. */
build *life_submit(dispatch *d, repo *p, const row_build *like, uint64_t priority);
task *life_add_task(dispatch *d, build *b, job *j, task_kind kind);
/* A verdict; `why` may be empty.  Goes on to the job and the build. */
void life_task_final(dispatch *d, task *t, verdict v, slice why);
/* A unit has its verdict; `told` by its runner: else it shares its task's end. */
void life_unit_done(dispatch *d, task *t, const rec_item *item, bool told);
/* The setup of batch t's job failed, and t is about to end with that verdict: so does the job, as
 * soon as its other batches, which are canceled, have ended.  Files that are in none stay without a
 * verdict, as when a build is canceled. */
void life_setup_failed(dispatch *d, const task *t, slice why);
/* The plan was accepted: jobs become rows, ready ones are queued. */
void life_planned(dispatch *d, task *plan);
void life_cancel_build(dispatch *d, build *b, slice why);

/* ---- dispatch_attempt.c ---- */

/* An attempt for `r`: commits and sends the assign. */
void life_lease(dispatch *d, runner *r, queue_item *item);
/* Over how many slots a job's files are spread now, at least 1. */
uint64_t life_slots(const dispatch *d, const job *j);
void life_assign(dispatch *d, const task *t); /* sends the newest attempt's assign (again) */
void life_running(dispatch *d, task *t);
/* The lease ends; the runner has room again. */
void life_release(dispatch *d, task *t);
/* Takes the attempt back without counting a try; another runner is preferred for delay_ms. */
void life_return(dispatch *d, task *t, code code, slice why, int64_t delay_ms);
/* The attempt is lost: another try, or the end.  `ended`: it certainly does not run any more. */
void life_lost(dispatch *d, task *t, bool ended, const char *why);
/* Of the files of a batch. */
verdict life_worst_unit(const task *t);

/* ---- dispatch_queue.c ---- */

/* Waiting work of a loaded or changed build is queued, or waits for its group. */
void life_queue_task(dispatch *d, task *t);
void life_queue_job(dispatch *d, job *j);
/* Puts an item, whose place is set, into the queue. */
void life_push(dispatch *d, queue_item *item);
uint64_t life_priority(const queue_item *item);
/* Takes it out, wherever it stands; and for good, so that whoever waits behind it is next. */
void life_take_out(dispatch *d, job *j, queue_item *item);
void life_unqueue(dispatch *d, job *j, queue_item *item);

/* ---- dispatch_group.c ---- */

/* The group of that name, made when it is new. */
group *group_of(dispatch *d, repo *p, slice name);
void group_free(group *g);
/* The jobs of a build name their groups from now on; and not any more. */
void group_join(dispatch *d, build *b);
void group_quit(build *b);
/* An item with its place set waits for its turn in the group.  O(items behind it). */
void group_wait(dispatch *d, group *g, queue_item *item);
/* It waits no more, there or in the queue. */
void group_unwait(dispatch *d, group *g, queue_item *item);
/* Lets the first that waits into the queue, or out of it again. */
void group_offer(dispatch *d, group *g);
/* An attempt of t is leased; it has ended, or (until_ms > 0) may run until then. */
void group_take(dispatch *d, group *g, task *t);
void group_leave(dispatch *d, group *g, const task *t, int64_t until_ms);
/* Its runner says that the attempt has ended (task 0: all it ever had); or comes back as another
 * process, with what it holds.  O(groups). */
void group_ended(dispatch *d, const runner *r, uint64_t task, uint64_t att);
void group_returned(dispatch *d, const runner *r, const rec_held_list *held);
/* Lost attempts that can no longer run let go. */
void group_due(dispatch *d);
/* A lost attempt held the group when the last start ended; once all is loaded, a time is set. */
void group_restored(dispatch *d, repo *p, slice name);
void group_start(dispatch *d);
/* The item waits in the group and not in the queue; and why. */
bool group_parks(const group *g, const queue_item *item);
const char *group_why(const dispatch *d, int64_t now_ms, const group *g, arena *a);

/* ---- dispatch_task.c ---- */

void on_start(dispatch *d, runner *r, const msg_start *m);
void on_nack(dispatch *d, runner *r, const msg_nack *m);
void on_plan(dispatch *d, runner *r, const msg_plan *m);
void on_tests(dispatch *d, runner *r, const msg_tests *m);
void on_result(dispatch *d, runner *r, const msg_result *m);
/* The task whose newest attempt `att` is leased to r; NULL: it is not. */
task *task_of(dispatch *d, const runner *r, uint64_t task, uint64_t att);
/* Tells r that an attempt is not its own. */
void fence(dispatch *d, const runner *r, uint64_t task, uint64_t att);

/* ---- dispatch_parts.c ---- */

void on_log(dispatch *d, runner *r, const msg_log *m);
/* The greatest length of a part of t's attempt; 0: it has none. */
uint64_t parts_max(const dispatch *d, const task *t, msg_part part);
/* True: log and artifacts as the result tells of them are all here, and durable with this
 * transaction; else asks r for the rest. */
bool parts_take(dispatch *d, const runner *r, task *t, const msg_result *m);
/* The attempt is over without its result, and counts: what is here of its log is durable with this
 * transaction. */
void parts_end_told(dispatch *d, const task *t);
/* The attempt is over: a torn archive is of no use to anybody. */
void parts_drop_torn(dispatch *d, task *t);
/* Names of the jobs whose artifacts j wants: those it needs that left some, here or in the build
 * that they were taken over from.  In the step's arena. */
slices parts_inputs(dispatch *d, const job *j);

/* ---- dispatch_fleet.c ---- */

void on_hello(dispatch *d, const msg_hello *m);
void on_hb(dispatch *d, runner *r, const msg_hb *m);
void on_bye(dispatch *d, runner *r, const msg_bye *m);
/* Looks at the size of the fleet: whether it is large, which has to be told to its runners. */
void fleet_measure(dispatch *d);
/* The pace that r may keep at the slowest: the one it was told last, until its heartbeat says that
 * it has taken over a quicker one.  Silence and leases are measured by it. */
const pace *dispatch_pace(const dispatch *d, const runner *r);
/* It was heard of: it is up. */
void fleet_heard(dispatch *d, runner *r);
/* Its connection is gone: it gets nothing new, and what it had not started goes to others. */
void fleet_unreachable(dispatch *d, uint64_t peer);
/* Looks at silences that are due. */
void fleet_alarms(dispatch *d);
void fleet_set_mode(dispatch *d, runner *r, runner_mode mode, slice why);
/* One more loss in a row: enough of them cordon the runner. */
void fleet_count_loss(dispatch *d, runner *r);
void put_runner(dispatch *d, const runner *r);

/* ---- dispatch_client.c ---- */

/* A repository bound to its url. */
repo *dispatch_repo(dispatch *d, slice name, slice url, slice default_branch);
void on_submit(dispatch *d, const msg_submit *m);
/* Refuses a submission for now; it will come again. */
void client_put_off(dispatch *d, slice obs, slice sid, code code, slice why);
void on_submission(dispatch *d, const msg_submission *m);
void on_cancel_build(dispatch *d, const msg_cancel_build *m);
void on_rebuild(dispatch *d, const msg_rebuild *m);
void on_set_mode(dispatch *d, const msg_set_mode *m);

/* ---- dispatch_why.c ---- */

#define WHY_AHEAD_MAX 1000 /* counted so far */

typedef struct why_line {
    const queue_line *line;
    uint64_t turn; /* virtual time of its first item */
} why_line;

/* What was found out about one class of work; zero-initialise, and again after the next step. */
typedef struct why {
    const queue_class *in;
    const char *of_class; /* why all of it waits; NULL: a runner takes it */
    const runner *taker;  /* that runner */
    why_line *lines;
    size_t lines_n;
} why;

/* Looks at a class, unless *w is of it already.  O(runners + lines). */
void why_begin(const dispatch *d, int64_t now_ms, const queue_class *c, why *w, arena *a);
/* Items of its class that go before the one at `index` of a line, if only this class were handed
 * out.  O(lines). */
size_t why_ahead(const why *w, const queue_line *line, size_t index);
/* Why an item of w's class waits in its line. */
const char *why_waits(const dispatch *d, int64_t now_ms, const why *w, const queue_item *item,
                      size_t ahead, arena *a);
/* Why a delayed item waits. */
const char *why_delayed(const dispatch *d, int64_t now_ms, const queue_item *item, arena *a);
/* Why a queued item waits, wherever it is. */
const char *why_queued(const dispatch *d, int64_t now_ms, const queue_item *item, why *w, arena *a);
/* Why a leased task does not come forward; empty: there is nothing to say. */
const char *why_under_way(const dispatch *d, int64_t now_ms, const task *t, arena *a);

#endif
