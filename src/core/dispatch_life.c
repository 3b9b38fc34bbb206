#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "core/dispatch_internal.h"
#include "core/split.h"

/* ---- builds ---- */

task *life_add_task(dispatch *d, build *b, job *j, task_kind kind)
{
    task *t = task_new(b, j, ++d->last_task, kind);

    t->since_wall_ms = d->wall_ms;
    map_put(&d->tasks, t->id, t);
    return t;
}

build *life_submit(dispatch *d, repo *p, const row_build *like, uint64_t priority)
{
    build *b = build_new(++d->last_build, p);
    task *plan;
    msg_event *e;

    b->ref = build_keep(b, like->ref);
    b->oid = build_keep(b, like->oid);
    b->subject = build_keep(b, like->subject);
    b->author = build_keep(b, like->author);
    b->gen = like->gen;
    b->retry_of = like->retry_of;
    b->passed = build_keep_list(b, like->passed);
    b->env = build_keep_list(b, like->env);
    b->priority = priority;
    b->created_wall_ms = d->wall_ms;
    map_put(&d->builds, b->id, b);
    list_push(&d->build_list, &b->in_dispatch);
    d->builds_n++;
    plan = life_add_task(d, b, NULL, TASK_PLAN);
    put_build(d, b);
    put_task(d, plan);
    e = emit(d, EVENT_SUBMITTED, b);
    e->subject = b->subject;
    e->author = b->author;
    life_queue_task(d, plan);
    return b;
}

static void build_final(dispatch *d, build *b, verdict v, slice why)
{
    msg_event *e;

    assert(b->state != STATE_FINAL);
    b->state = STATE_FINAL;
    b->verdict = v;
    b->why = build_keep(b, why);
    b->finished_wall_ms = d->wall_ms;
    put_build(d, b);
    e = emit(d, EVENT_BUILD_DONE, b);
    e->verdict = v;
    e->n = b->units;
    e->why = b->why;
    e->subject = b->subject;
    e->author = b->author;
    if (b->finished_wall_ms > b->created_wall_ms) { /* the clock may have been set meanwhile */
        e->duration_ms = (uint64_t)(b->finished_wall_ms - b->created_wall_ms);
        if (e->duration_ms > MSG_TIME_MAX)
            e->duration_ms = MSG_TIME_MAX;
    }
    map_remove(&d->builds, b->id);
    LIST_FOR(l, &b->tasks)
    {
        map_remove(&d->tasks, LIST_OWNER(l, task, in_build)->id);
    }
    group_quit(b);
    list_remove(&b->in_dispatch);
    list_push(&d->ended, &b->in_dispatch);
    d->builds_n--;
}

static void job_final(dispatch *d, job *j, verdict v, slice why)
{
    msg_event *e;

    assert(j->state != STATE_FINAL && j->tasks_open == 0);
    if (j->tests)
        life_unqueue(d, j, &j->item);
    j->state = STATE_FINAL;
    j->verdict = v;
    j->ended_wall_ms = d->wall_ms;
    j->why = build_keep(j->build, why);
    put_job(d, j);
    e = emit(d, EVENT_JOB_DONE, j->build);
    e->job = j->name;
    e->verdict = v;
    e->why = j->why;
    e->n = job_size(j);
    j->build->jobs_open--;
}

static void job_ready(dispatch *d, job *j)
{
    j->state = STATE_QUEUED;
    j->ready_wall_ms = d->wall_ms;
    put_job(d, j);
    emit(d, EVENT_QUEUED, j->build)->job = j->name;
    if (j->tests) {
        life_queue_job(d, j);
    } else {
        task *t = life_add_task(d, j->build, j, TASK_SCRIPT);

        put_task(d, t);
        life_queue_task(d, t);
    }
}

/* All jobs have ended. */
static void build_roll_up(dispatch *d, build *b)
{
    verdict v = verdict_none;

    for (size_t i = 0; i < b->jobs_n; i++) {
        const job *j = b->jobs[i];

        if (!j->allow_failure || MUTANT(allow_failure_reddens) ||
            j->verdict == VERDICT_CANCELED) /* which is no failure */
            v = verdict_worse(v, j->verdict);
    }
    if (v == verdict_none || v == VERDICT_SKIPPED || v == VERDICT_FLAKY)
        v = VERDICT_PASSED;
    build_final(d, b, v, b->why);
}

/* Starts a waiting job that can start, or ends one that never can.  True: it ended. */
static bool job_advance(dispatch *d, job *j)
{
    const job *which = NULL;
    job_need need;

    if (j->state != STATE_WAITING)
        return false;
    need = job_needs(j, &which);
    if (need == NEED_OPEN && MUTANT(needs_ignored))
        need = NEED_MET;
    if (need == NEED_FAILED) {
        job_final(d, j, VERDICT_SKIPPED,
                  step_text(d, "job '" SLICE_FMT "' did not pass", SLICE_ARG(which->name)));
        return !MUTANT(skips_once);
    }
    if (need == NEED_MET && j->tests && j->units_n == 0) {
        job_final(d, j, VERDICT_NO_TESTS, SLICE("it lists no test files"));
        return true;
    }
    if (need == NEED_MET)
        job_ready(d, j);
    return false;
}

/* What follows from the end of a job: those that need it start or are skipped, which may decide
 * others, and the build ends with its last job.  O(jobs that need it), not O(jobs of the build). */
static void job_ended(dispatch *d, job *j)
{
    build *b = j->build;
    job *last = j;

    j->next_ended = NULL;
    for (; j && !b->canceled; j = j->next_ended)
        for (size_t i = 0; i < j->needed_by_n; i++)
            if (job_advance(d, j->needed_by[i])) {
                last = last->next_ended = j->needed_by[i];
                last->next_ended = NULL;
            }
    if (b->jobs_open == 0)
        build_roll_up(d, b);
}

/* The first look at the jobs of a build. */
static void build_begin(dispatch *d, build *b)
{
    for (size_t i = 0; i < b->jobs_n && b->state != STATE_FINAL; i++)
        if (job_advance(d, b->jobs[i]))
            job_ended(d, b->jobs[i]);
}

static void job_check(dispatch *d, job *j)
{
    bool ended = j->tasks_open == 0 && (j->build->canceled || j->state == STATE_CANCELING ||
                                        j->units_done == j->units_n || MUTANT(job_ends_early));

    if (j->state == STATE_FINAL || !ended)
        return;
    job_final(d, j, j->build->canceled ? verdict_worse(j->rolled, VERDICT_CANCELED) : j->rolled,
              j->why.n || !j->build->canceled ? j->why : j->build->why);
    job_ended(d, j);
}

/* What a unit's runner says of it is a run of its file. */
static bool is_run(const dispatch *d, const rec_item *item, bool told)
{
    if (MUTANT(run_forgotten) && told && d->ev->msg->type == MSG_result)
        return false;
    return told && history_counts(item->verdict);
}

void life_unit_done(dispatch *d, task *t, const rec_item *item, bool told)
{
    job *j = t->job;
    size_t i = t->units[t->done];
    msg_event *e;

    assert(t->done < t->units_n && j->units[i].verdict == verdict_none);
    if (t->cases_kept && !MUTANT(cases_left_over))
        cut_cases(d, t, item->cases);
    t->cases = 0;
    t->cases_kept = false;
    t->done++;
    j->units[i].verdict = item->verdict;
    job_add_work(j, item->duration_ms);
    j->build->left_ms -= j->units[i].expected_ms;
    j->rolled = verdict_worse(j->rolled, item->verdict);
    j->units_done++;
    j->build->units_done++;
    if (verdict_is_bad(item->verdict)) {
        j->units_bad++;
        j->build->units_bad++;
    }
    put_unit(d, j, i, t, item);
    e = emit_task(d, EVENT_TEST_DONE, t);
    e->i = i;
    e->file = j->units[i].file;
    e->verdict = item->verdict;
    e->duration_ms = item->duration_ms;
    e->run = is_run(d, item, told);
    e->log_off = item->log_off;
    e->log_len = item->log_len;
    e->exit = item->exit;
    e->signal = item->signal;
    e->n = item->tries;
    e->cases = item->cases;
    e->bad = item->bad;
}

static void script_final(dispatch *d, task *t)
{
    job *j = t->job;
    verdict v = t->verdict;

    job_add_work(j, t->duration_ms);
    if ((v == VERDICT_FAILED || v == VERDICT_TIMEOUT) && j->retried < j->retry &&
        (!j->build->canceled || MUTANT(canceled_retried))) {
        task *again = life_add_task(d, j->build, j, TASK_SCRIPT);

        j->retried++;
        put_task(d, again);
        life_queue_task(d, again);
        return;
    }
    j->rolled = v == VERDICT_PASSED && j->retried ? VERDICT_FLAKY : v;
    j->units_done = 1;
    j->units_bad = verdict_is_bad(v);
    j->build->units_done++;
    j->build->units_bad += j->units_bad;
    job_final(d, j, j->rolled, t->why);
    job_ended(d, j);
}

static void plan_final(dispatch *d, task *t)
{
    if (t->verdict == VERDICT_PASSED)
        life_planned(d, t);
    else if (t->verdict == VERDICT_CANCELED || t->verdict == VERDICT_SKIPPED)
        build_final(d, t->build, t->verdict, t->why);
    else
        build_final(d, t->build, VERDICT_ERRORED, t->why);
}

void life_task_final(dispatch *d, task *t, verdict v, slice why)
{
    msg_event *e;

    assert(t->state != STATE_FINAL);
    while (t->done < t->units_n) /* what a batch leaves undone shares its end */
        life_unit_done(d, t, &(rec_item){ .verdict = v }, false);
    t->verdict = v;
    t->why = build_keep(t->build, why);
    if (t->lease.runner) {
        parts_drop_torn(d, t);
        put_attempt(d, t, STATE_FINAL, code_none);
    } else {
        life_unqueue(d, t->job, &t->item);
    }
    life_release(d, t);
    t->state = STATE_FINAL;
    t->since_wall_ms = d->wall_ms;
    if (!MUTANT(result_not_stored))
        put_task(d, t);
    e = emit_task(d, EVENT_TASK_DONE, t);
    e->verdict = v;
    e->duration_ms = t->duration_ms;
    e->exit = t->exit;
    e->signal = t->signal;
    e->log_bytes = t->bytes[PART_LOG];
    e->why = t->why;
    if (t->job) {
        t->job->tasks_open--;
        task_counts_artifacts(t);
    }
    if (t->kind == TASK_PLAN)
        plan_final(d, t);
    else if (t->kind == TASK_SCRIPT)
        script_final(d, t);
    else {
        /* A batch may end worse than its units: what broke it must not pass. */
        t->job->rolled = verdict_worse(t->job->rolled, v);
        job_check(d, t->job);
    }
}

/* Jobs that nobody works at end at once, the others with their attempts. */
static void cancel_jobs(dispatch *d, build *b)
{
    for (size_t i = 0; i < b->jobs_n; i++) {
        job *j = b->jobs[i];

        if (j->tests && !MUTANT(cancel_leaves_units)) /* units not handed out never will be */
            life_unqueue(d, j, &j->item);
        if (j->state != STATE_FINAL && j->tasks_open == 0)
            job_final(d, j, verdict_worse(j->rolled, VERDICT_CANCELED), b->why);
    }
    if (b->jobs_n && b->jobs_open == 0)
        build_roll_up(d, b);
}

static void take_over(dispatch *d, const build *b)
{
    slice why = step_text(d, "it passed in build %llu", (unsigned long long)b->retry_of);

    for (size_t i = 0; i < b->jobs_n; i++)
        if (b->jobs[i]->taken_over)
            job_final(d, b->jobs[i], VERDICT_PASSED, why);
}

/* A newer push to the branch makes them pointless.  Of a commit that is tested once more nothing
 * follows for others. */
static void supersede(dispatch *d, const build *b)
{
    slice why = step_text(d, "superseded by build %llu", (unsigned long long)b->id);

    LIST_FOR_SAFE(l, &d->build_list)
    {
        build *old = LIST_OWNER(l, build, in_dispatch);

        if (old->id < b->id && old->repo == b->repo && slice_eq(old->ref, b->ref))
            life_cancel_build(d, old, why);
    }
}

void life_planned(dispatch *d, task *plan)
{
    build *b = plan->build;
    plan_draft *draft = &b->draft;
    bool newer = draft->supersede && b->gen == 0 && !b->canceled && !MUTANT(supersede_off);

    b->jobs = draft->jobs;
    b->jobs_n = draft->n;
    b->plan = draft->arena;
    *draft = (plan_draft){ 0 };
    build_resolve(b);
    group_join(d, b);
    build_take_over(b);
    for (size_t i = 0; i < b->jobs_n; i++)
        b->units += job_size(b->jobs[i]);
    b->state = STATE_RUNNING;
    put_build(d, b);
    for (size_t i = 0; i < b->jobs_n; i++) {
        put_job(d, b->jobs[i]);
        split_order(b->jobs[i]->units, b->jobs[i]->units_n, life_slots(d, b->jobs[i]));
        for (size_t k = 0; k < b->jobs[i]->units_n; k++) {
            b->left_ms += b->jobs[i]->units[k].expected_ms;
            put_unit(d, b->jobs[i], k, NULL, NULL);
        }
    }
    emit(d, EVENT_PLANNED, b)->n = b->units;
    if (newer)
        supersede(d, b);
    take_over(d, b);
    if (b->jobs_n == 0)
        build_final(d, b, VERDICT_NO_TESTS,
                    SLICE("nothing to run: no .volt.yml, and no tests below tests/"));
    else if (b->canceled)
        cancel_jobs(d, b);
    else if (b->jobs_open == 0)
        build_roll_up(d, b);
    else
        build_begin(d, b);
}

/* One that waits ends at once, one that a runner has when that says so. */
static void cancel_task(dispatch *d, task *t, slice why)
{
    msg_cancel *m;

    if (t->state == STATE_QUEUED || (MUTANT(cancel_unconfirmed) && t->state != STATE_FINAL)) {
        life_task_final(d, t, VERDICT_CANCELED, why);
        return;
    }
    if (t->state != STATE_LEASED && t->state != STATE_RUNNING)
        return;
    t->state = STATE_CANCELING;
    t->since_wall_ms = d->wall_ms;
    t->why = build_keep(t->build, why);
    put_task(d, t);
    emit_task(d, EVENT_CANCELING, t)->why = t->why;
    m = &effects_send(d->out, t->lease.runner->peer, MSG_cancel)->cancel;
    *m = (msg_cancel){ .task = t->id, .att = t->att, .why = t->why };
}

void life_setup_failed(dispatch *d, const task *t, slice why)
{
    job *j = t->job;

    if (j->state == STATE_CANCELING || j->build->canceled)
        return;
    queue_remove(&d->queue, &j->item);
    j->state = STATE_CANCELING; /* which says it after a restart */
    j->why = build_keep(j->build, why);
    if (!MUTANT(setup_failure_not_stored))
        put_job(d, j);
    LIST_FOR(l, &j->build->tasks)
    {
        task *other = LIST_OWNER(l, task, in_build);

        if (other->job == j && other != t)
            cancel_task(d, other, j->why);
    }
}

void life_cancel_build(dispatch *d, build *b, slice why)
{
    if (b->canceled)
        return;
    b->canceled = true;
    b->why = build_keep(b, why);
    LIST_FOR(l, &b->tasks)
    {
        cancel_task(d, LIST_OWNER(l, task, in_build), why);
    }
    if (b->state == STATE_FINAL)
        return;
    cancel_jobs(d, b);
    if (b->state != STATE_FINAL) {
        b->state = STATE_CANCELING;
        if (!MUTANT(cancel_not_stored))
            put_build(d, b);
    }
}
