#include "oracle.h"

#include <stdio.h>

#include "base/mem.h"

bool is_leased(state s)
{
    return s == STATE_LEASED || s == STATE_RUNNING || s == STATE_CANCELING;
}

bool is_good(verdict v)
{
    return v == VERDICT_PASSED || v == VERDICT_FLAKY;
}

/* Our own reading of the roll-up: the worst wins. */
static int badness(verdict v)
{
    switch (v) {
    case VERDICT_ERRORED:
        return 7;
    case VERDICT_LOST:
        return 6;
    case VERDICT_TIMEOUT:
        return 5;
    case VERDICT_FAILED:
        return 4;
    case VERDICT_CANCELED:
        return 3;
    case VERDICT_NO_TESTS:
        return 2;
    case VERDICT_PASSED:
    case VERDICT_FLAKY:
        return 1;
    default:
        return 0;
    }
}

/* ---- tasks ---- */

static known_runner *runner_of(oracle *o, const char *id)
{
    return map_gets(&o->runners, slice_of(id));
}

static void count_lease(oracle *o, const known_task *t, int by)
{
    known_runner *r = is_leased(t->state) ? runner_of(o, t->runner) : NULL;

    if (!r)
        return;
    if (t->kind == TASK_PLAN)
        r->plans += (size_t)by;
    else
        r->busy += (size_t)by;
}

static bool may_follow(state from, state to)
{
    switch (from) {
    case STATE_QUEUED:
        return to == STATE_LEASED || to == STATE_FINAL;
    case STATE_LEASED:
        return to != STATE_WAITING;
    case STATE_RUNNING:
        return to != STATE_WAITING && to != STATE_LEASED;
    case STATE_CANCELING:
        return to == STATE_FINAL;
    default:
        return false;
    }
}

static bool lets_go_on(const known_job *j)
{
    return j->state == STATE_FINAL &&
           (is_good(j->verdict) || (j->allow_failure && j->verdict != VERDICT_SKIPPED));
}

/* A new attempt: S13, S14. */
static void check_lease(oracle *o, const known_task *t)
{
    const known_build *b = o->builds[t->build];
    const known_runner *r = runner_of(o, t->runner);
    const known_job *j;

    if (!r)
        broken(o->w, "S11", "task %llu is leased to a runner that is not known", ULL(t->id));
    if (r->mode != MODE_RUN)
        broken(o->w, "S14", "task %llu goes to a runner in mode %s", ULL(t->id),
               runner_mode_text(r->mode));
    if (b->state == STATE_FINAL || b->state == STATE_CANCELING)
        broken(o->w, "cancel", "task %llu is leased though its build is %s", ULL(t->id),
               state_text(b->state));
    if (t->job == ROW_JOB_PLAN)
        return;
    j = &b->jobs[t->job];
    for (size_t i = 0; i < j->needs.n; i++)
        for (size_t k = 0; k < b->jobs_n; k++)
            if (slice_eq(b->jobs[k].name, j->needs.v[i]) && !lets_go_on(&b->jobs[k]))
                broken(o->w, "S13",
                       "task %llu of job " SLICE_FMT " starts before " SLICE_FMT " passed",
                       ULL(t->id), SLICE_ARG(j->name), SLICE_ARG(b->jobs[k].name));
}

static known_task *add_task(oracle *o, const row_task *r)
{
    known_task *t = ARENA_NEW(&o->mem, known_task);

    while (o->tasks_cap <= r->task) {
        o->tasks_cap = o->tasks_cap ? o->tasks_cap * 2 : 256;
        o->tasks = mem_grow(o->tasks, (size_t)o->tasks_cap, sizeof *o->tasks);
        for (uint64_t i = o->tasks_cap == 256 ? 0 : o->tasks_cap / 2; i < o->tasks_cap; i++)
            o->tasks[i] = NULL;
    }
    o->tasks[r->task] = t;
    if (r->task > o->tasks_n)
        o->tasks_n = r->task;
    t->id = r->task;
    t->build = r->build;
    t->job = r->job;
    t->kind = r->kind;
    t->state = STATE_QUEUED;
    if (!o->builds[r->build])
        broken(o->w, "store", "task %llu has no build", ULL(r->task));
    if (r->kind == TASK_PLAN)
        o->builds[r->build]->plan = r->task;
    return t;
}

static void put_task(oracle *o, const row_task *r)
{
    known_task *t = oracle_task(o, r->task);
    bool fresh = !t;
    known_task old;

    if (!t)
        t = add_task(o, r);
    old = *t;
    if (old.state == STATE_FINAL &&
        (r->state != STATE_FINAL || r->verdict != old.verdict || r->att != old.att))
        broken(o->w, "S1", "task %llu was final (%s, attempt %llu) and becomes %s (%s, %llu)",
               ULL(t->id), verdict_text(old.verdict), ULL(old.att), state_text(r->state),
               verdict_text(r->verdict), ULL(r->att));
    if (r->att < old.att || r->att > old.att + 1 || (r->att > old.att && r->state != STATE_LEASED))
        broken(o->w, "S2", "task %llu goes from attempt %llu to %llu (%s)", ULL(t->id),
               ULL(old.att), ULL(r->att), state_text(r->state));
    if (!fresh && r->state != old.state && !may_follow(old.state, r->state))
        broken(o->w, "state", "task %llu goes from %s to %s", ULL(t->id), state_text(old.state),
               state_text(r->state));
    if (r->tries > dispatcher_tries_max(o->w))
        broken(o->w, "S12", "task %llu had %llu tries", ULL(t->id), ULL(r->tries));
    count_lease(o, t, -1);
    t->state = r->state;
    t->verdict = r->verdict;
    t->att = r->att;
    t->tries = r->tries;
    t->done = r->done;
    t->log_bytes = r->log_bytes;
    if (r->state == STATE_QUEUED)
        t->requeued_ms = o->w->now_ms;
    snprintf(t->runner, sizeof t->runner, SLICE_FMT, SLICE_ARG(r->runner));
    count_lease(o, t, 1);
    if (t->att > old.att)
        check_lease(o, t);
    work_task(o, &old, t, r->why);
}

/* ---- jobs, units ---- */

static void put_unit(oracle *o, const row_unit *r)
{
    known_build *b = o->builds[r->build];
    verdict *v;

    if (!b || r->job >= b->jobs_n || r->i >= UNITS_MAX)
        broken(o->w, "store", "a unit without a job");
    work_unit(o, r);
    v = &b->jobs[r->job].unit[r->i];
    if (*v && r->verdict != *v)
        broken(o->w, "S1", "unit %llu of build %llu was %s and becomes %s", ULL(r->i),
               ULL(r->build), verdict_text(*v), verdict_text(r->verdict));
    *v = r->verdict;
}

/* S15 for a job of test files. */
static void check_job(oracle *o, const known_build *b, const known_job *j)
{
    int worst = 0;

    if (!j->tests || j->verdict == VERDICT_SKIPPED)
        return;
    for (uint64_t i = 0; i < j->units; i++) {
        if (!j->unit[i] && !b->canceled)
            broken(o->w, "S15", "job " SLICE_FMT " of build %llu ends before its unit %llu",
                   SLICE_ARG(j->name), ULL(b->id), ULL(i));
        worst = badness(j->unit[i]) > worst ? badness(j->unit[i]) : worst;
    }
    if (badness(j->verdict) != worst &&
        !(b->canceled && worst < badness(VERDICT_CANCELED) && j->verdict == VERDICT_CANCELED))
        broken(o->w, "S15", "job " SLICE_FMT " of build %llu is %s, but that is not its roll-up",
               SLICE_ARG(j->name), ULL(b->id), verdict_text(j->verdict));
}

static void put_job(oracle *o, const row_job *r)
{
    known_build *b = o->builds[r->build];
    known_job *j;

    if (!b || r->idx >= JOBS_LIMIT)
        broken(o->w, "store", "a job without a build");
    j = &b->jobs[r->idx];
    if (!j->there) {
        j->there = true;
        j->name = arena_slice(&o->mem, r->name);
        j->needs.n = r->needs.n;
        j->needs.v = ARENA_ARRAY(&o->mem, slice, r->needs.n + 1);
        for (size_t i = 0; i < r->needs.n; i++)
            j->needs.v[i] = arena_slice(&o->mem, r->needs.v[i]);
        j->tests = r->tests;
        j->allow_failure = r->allow_failure;
        j->special = r->labels.n > 0;
        j->units = r->units;
        b->jobs_n = r->idx + 1 > b->jobs_n ? (size_t)r->idx + 1 : b->jobs_n;
    }
    if (j->state == STATE_FINAL && (r->state != STATE_FINAL || r->verdict != j->verdict))
        broken(o->w, "S1", "job " SLICE_FMT " of build %llu was final and changes",
               SLICE_ARG(j->name), ULL(b->id));
    if (r->state == STATE_FINAL && j->state != STATE_FINAL) {
        j->verdict = r->verdict;
        check_job(o, b, j);
    }
    j->state = r->state;
    j->verdict = r->verdict;
}

/* ---- builds ---- */

static const char *identity(arena *a, slice repo, slice ref, slice oid, uint64_t gen)
{
    return arena_printf(a, SLICE_FMT "|" SLICE_FMT "|" SLICE_FMT "|%llu", SLICE_ARG(repo),
                        SLICE_ARG(ref), SLICE_ARG(oid), ULL(gen));
}

bool oracle_has_build(oracle *o, slice repo, slice ref, slice oid)
{
    return map_gets(&o->identities, slice_of(identity(&o->w->scratch, repo, ref, oid, 0))) != NULL;
}

/* S15 for a build. */
static void check_build(oracle *o, const known_build *b)
{
    const known_task *plan = oracle_task(o, b->plan);
    int worst = 0;
    verdict want;

    for (size_t i = 0; i < b->jobs_n; i++) {
        if (b->jobs[i].state != STATE_FINAL)
            broken(o->w, "S15", "build %llu ends before its job " SLICE_FMT, ULL(b->id),
                   SLICE_ARG(b->jobs[i].name));
        if (!b->jobs[i].allow_failure && badness(b->jobs[i].verdict) > worst)
            worst = badness(b->jobs[i].verdict);
    }
    if (b->jobs_n == 0) {
        want = !plan                               ? verdict_none
               : plan->verdict == VERDICT_PASSED   ? VERDICT_NO_TESTS
               : plan->verdict == VERDICT_CANCELED ? VERDICT_CANCELED
                                                   : VERDICT_ERRORED;
        worst = badness(want);
    }
    if (worst == 0) /* nothing that counts: no failure */
        worst = badness(VERDICT_PASSED);
    if (badness(b->verdict) != worst && !(b->canceled && b->verdict == VERDICT_CANCELED))
        broken(o->w, "S15", "build %llu is %s, but that is not its roll-up", ULL(b->id),
               verdict_text(b->verdict));
}

static void add_build(oracle *o, const row_build *r)
{
    known_build *b = ARENA_NEW(&o->mem, known_build);
    const char *id = identity(&o->mem, r->repo, r->ref, r->oid, r->gen);

    if (r->build >= BUILDS_MAX)
        broken(o->w, "simulator", "too many builds");
    if (map_gets(&o->identities, slice_of(id)))
        broken(o->w, "S5", "build %llu is the second of %s", ULL(r->build), id);
    map_puts(&o->identities, slice_of(id), b);
    b->id = r->build;
    b->repo = arena_slice(&o->mem, r->repo);
    b->ref = arena_slice(&o->mem, r->ref);
    b->oid = arena_slice(&o->mem, r->oid);
    b->gen = r->gen;
    o->builds[b->id] = b;
    o->builds_n++;
}

static void put_build(oracle *o, const row_build *r)
{
    known_build *b;

    if (r->build < BUILDS_MAX && !o->builds[r->build])
        add_build(o, r);
    b = o->builds[r->build];
    if (b->state == STATE_FINAL && (r->state != STATE_FINAL || r->verdict != b->verdict))
        broken(o->w, "S1", "build %llu was final and changes", ULL(b->id));
    if (b->state == STATE_CANCELING && r->state != STATE_CANCELING && r->state != STATE_FINAL &&
        r->state != STATE_RUNNING)
        broken(o->w, "cancel", "build %llu forgets that it was canceled", ULL(b->id));
    b->state = r->state;
    b->verdict = r->verdict;
    b->canceled |= r->state == STATE_CANCELING;
    if (b->state == STATE_FINAL)
        check_build(o, b);
}

/* ---- the others ---- */

static void put_runner(oracle *o, const row_runner *r)
{
    known_runner *k = map_gets(&o->runners, r->id);

    if (!k) {
        k = ARENA_NEW(&o->mem, known_runner);
        snprintf(k->id, sizeof k->id, SLICE_FMT, SLICE_ARG(r->id));
        map_puts(&o->runners, r->id, k);
    }
    k->mode = r->mode;
    k->slots = r->slots;
    work_runner(o, k, r);
}

static void put_submission(oracle *o, const row_submission *r)
{
    known_submission *k = map_gets(&o->submissions, r->sid);

    if (!k) {
        k = ARENA_NEW(&o->mem, known_submission);
        k->sid = arena_slice(&o->mem, r->sid);
        k->build = r->build;
        map_puts(&o->submissions, r->sid, k);
    }
    if (k->build != r->build)
        broken(o->w, "S5", "a submission had build %llu and gets build %llu", ULL(k->build),
               ULL(r->build));
}

static void put_event(oracle *o, const pending *p)
{
    const msg_event *e = &p->row.event;

    if (e->seq != o->events_n + 1)
        broken(o->w, "S9", "event %llu follows event %llu", ULL(e->seq), ULL(o->events_n));
    if (o->events_n + 1 >= o->events_cap) {
        o->events_cap = o->events_cap ? o->events_cap * 2 : 1024;
        o->events = mem_grow(o->events, (size_t)o->events_cap, sizeof *o->events);
    }
    o->events[e->seq] = p->hash;
    o->events_n = e->seq;
    cover("event", event_kind_text(e->kind));
    work_event(o, e);
}

void oracle_apply(oracle *o, const pending *p)
{
    switch (p->row.kind) {
    case ROW_TASK:
        put_task(o, &p->row.task);
        break;
    case ROW_JOB:
        put_job(o, &p->row.job);
        break;
    case ROW_UNIT:
        put_unit(o, &p->row.unit);
        break;
    case ROW_BUILD:
        put_build(o, &p->row.build);
        break;
    case ROW_RUNNER:
        put_runner(o, &p->row.runner);
        break;
    case ROW_SUBMISSION:
        put_submission(o, &p->row.submission);
        break;
    case ROW_EVENT:
        put_event(o, p);
        break;
    default:
        break;
    }
}
