#include "oracle.h"

#include <stdio.h>

#include "base/mem.h"
#include "commits.h"

bool is_leased(state s)
{
    return s == STATE_LEASED || s == STATE_RUNNING || s == STATE_CANCELING;
}

/* ---- tasks ---- */

static known_runner *runner_of(oracle *o, const char *id)
{
    known_runner *r = map_gets(&o->runners, slice_of(id));

    return r && r->there ? r : NULL;
}

/* An open task as a part of the world's abstract state: tasks of a kind are alike. */
static uint64_t class_of(const known_task *t)
{
    uint64_t att = t->att < 4 ? t->att : 4;

    if (t->state == STATE_FINAL)
        return 0;
    return mix_word(7, (uint64_t)t->kind | (uint64_t)t->state << 8 | att << 16 | t->tries << 24 |
                           (uint64_t)(t->done > 0) << 32);
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

static bool lets_go_on(const known_job *j, const known_job *next)
{
    return j->state == STATE_FINAL && (next->always || is_good(j->verdict) ||
                                       (j->allow_failure && j->verdict != VERDICT_SKIPPED));
}

static const char *branch(arena *a, const known_build *b)
{
    return arena_printf(a, SLICE_FMT "|" SLICE_FMT, SLICE_ARG(b->repo), SLICE_ARG(b->ref));
}

/* The newest build whose plan canceled the older ones of b's branch; 0: none. */
static uint64_t newest_superseding(oracle *o, const known_build *b)
{
    const known_build *newest = map_gets(&o->superseding, slice_of(branch(&o->w->scratch, b)));

    return newest ? newest->id : 0;
}

static void planned(oracle *o, known_build *b)
{
    if (!b->canceled && b->gen == 0 && commit_supersedes(b->oid) &&
        newest_superseding(o, b) < b->id)
        map_puts(&o->superseding, slice_of(branch(&o->mem, b)), b);
}

/* A new attempt: S13. */
static void check_lease(oracle *o, const known_task *t)
{
    const known_build *b = o->builds[t->build];
    const known_runner *r = runner_of(o, t->runner);
    const known_job *j;

    if (!r)
        broken(o->w, RULE_S11, "task %llu is leased to a runner that is not known", ULL(t->id));
    checked(o->w, RULE_CANCEL);
    if (b->state == STATE_FINAL || b->state == STATE_CANCELING)
        broken(o->w, RULE_CANCEL, "task %llu is leased though its build is %s", ULL(t->id),
               state_text(b->state));
    checked(o->w, RULE_SUPERSEDE);
    if (b->id < newest_superseding(o, b))
        broken(o->w, RULE_SUPERSEDE, "task %llu is leased though build %llu supersedes its build",
               ULL(t->id), ULL(newest_superseding(o, b)));
    if (t->job == ROW_JOB_PLAN)
        return;
    j = &b->jobs[t->job];
    checked(o->w, RULE_SETUP);
    if (j->setup)
        broken(o->w, RULE_SETUP, "task %llu of job " SLICE_FMT " is leased though its setup failed",
               ULL(t->id), SLICE_ARG(j->name));
    checked(o->w, RULE_S13);
    for (size_t i = 0; i < j->needs.n; i++)
        for (size_t k = 0; k < b->jobs_n; k++)
            if (slice_eq(b->jobs[k].name, j->needs.v[i]) && !lets_go_on(&b->jobs[k], j))
                broken(o->w, RULE_S13,
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
        broken(o->w, RULE_STORE, "task %llu has no build", ULL(r->task));
    if (r->kind == TASK_PLAN)
        o->builds[r->build]->plan = r->task;
    else if (r->kind == TASK_SCRIPT)
        o->builds[r->build]->jobs[r->job].scripts++;
    t->units_n = r->units.n / sizeof *t->units;
    if (t->units_n > UNITS_MAX)
        broken(o->w, RULE_SIMULATOR, "a batch of %zu files", t->units_n);
    for (size_t i = 0; i < r->units.n; i++)
        t->units[i / 4] |= (uint32_t)(unsigned char)r->units.p[i] << i % 4 * 8;
    o->open_tasks++;
    return t;
}

/* Its setup failed; what an old copy of the data tells once more was seen by the oracle of that
 * time. */
static bool had_no_setup(oracle *o, uint64_t task, uint64_t att)
{
    return oracle_truth(o, task, att)->setup_failed ||
           (o->stale && o->past && oracle_truth(o->past, task, att)->setup_failed);
}

/* One that is lost in the end, or canceled with its build, was not heard of its setup. */
void oracle_note_setup(oracle *o, const known_task *t)
{
    if (t->kind == TASK_TESTS && t->verdict != VERDICT_CANCELED && t->verdict != VERDICT_LOST &&
        had_no_setup(o, t->id, t->att))
        o->builds[t->build]->jobs[t->job].setup = t->verdict;
}

static void put_task(oracle *o, const row_task *r)
{
    known_task *t = oracle_task(o, r->task);
    bool fresh = !t;
    known_task old;

    if (!t)
        t = add_task(o, r);
    old = *t;
    checked(o->w, RULE_S1);
    checked(o->w, RULE_S2);
    checked(o->w, RULE_S12);
    checked(o->w, RULE_STATE);
    if (old.state == STATE_FINAL &&
        (r->state != STATE_FINAL || r->verdict != old.verdict || r->att != old.att))
        broken(o->w, RULE_S1, "task %llu was final (%s, attempt %llu) and becomes %s (%s, %llu)",
               ULL(t->id), verdict_text(old.verdict), ULL(old.att), state_text(r->state),
               verdict_text(r->verdict), ULL(r->att));
    if (r->att < old.att || r->att > old.att + 1 || (r->att > old.att && r->state != STATE_LEASED))
        broken(o->w, RULE_S2, "task %llu goes from attempt %llu to %llu (%s)", ULL(t->id),
               ULL(old.att), ULL(r->att), state_text(r->state));
    if (!fresh && r->state != old.state && !may_follow(old.state, r->state))
        broken(o->w, RULE_STATE, "task %llu goes from %s to %s", ULL(t->id), state_text(old.state),
               state_text(r->state));
    if (r->tries > dispatcher_tries_max(o->w))
        broken(o->w, RULE_S12, "task %llu had %llu tries", ULL(t->id), ULL(r->tries));
    count_lease(o, t, -1);
    t->state = r->state;
    t->verdict = r->verdict;
    t->att = r->att;
    t->tries = r->tries;
    t->done = r->done;
    t->log_bytes = r->log_bytes;
    t->artifact_bytes = r->artifact_bytes;
    if (r->state == STATE_QUEUED)
        t->requeued_ms = o->w->now_ms;
    snprintf(t->runner, sizeof t->runner, SLICE_FMT, SLICE_ARG(r->runner));
    count_lease(o, t, 1);
    if (t->att > old.att) {
        check_lease(o, t);
        t->renewed_ms = oracle_now(o) + o->turn_gap_ms; /* it was given before the pause was told */
    }
    if (!o->stale)
        work_task(o, &old, t, r->why);
    o->w->task_states += class_of(t) - (fresh ? 0 : class_of(&old));
    if (t->state == STATE_FINAL && (fresh || old.state != STATE_FINAL)) {
        o->open_tasks--;
        if (t->kind == TASK_SCRIPT)
            o->builds[t->build]->jobs[t->job].script = t->verdict;
        oracle_check_task(o, t);
        oracle_note_setup(o, t);
    }
}

/* ---- jobs, units ---- */

static bool is_failure(verdict v)
{
    return v == VERDICT_FAILED || v == VERDICT_TIMEOUT;
}

/* It says something of the file, and in a simulation only a process says so; or it is what became
 * of the setup before. */
static bool is_run(oracle *o, const row_unit *r)
{
    return is_good(r->verdict) || (is_failure(r->verdict) && !had_no_setup(o, r->task, r->att));
}

static known_file *file_of(oracle *o, slice repo, slice job, slice file)
{
    char *key = arena_printf(&o->open, SLICE_FMT "\n" SLICE_FMT "\n" SLICE_FMT, SLICE_ARG(repo),
                             SLICE_ARG(job), SLICE_ARG(file));
    known_file *f = map_gets(&o->files, slice_of(key));

    if (!f) {
        f = ARENA_NEW(&o->mem, known_file);
        map_puts(&o->files, slice_of(key), f);
    }
    return f;
}

/* Outcomes are counted one by one, and none before it is durable. */
static void put_file(oracle *o, const row_file *r)
{
    known_file *f = file_of(o, r->repo, r->job, r->file);

    checked(o->w, RULE_HISTORY);
    if (r->runs != f->runs + 1 || r->failures != f->failures + is_failure(r->verdict) ||
        r->runs > f->told || r->failures > f->told_failed)
        broken(o->w, RULE_HISTORY,
               SLICE_FMT " had %llu runs and %llu failures, now %llu and %llu, of %llu and %llu",
               SLICE_ARG(r->file), ULL(f->runs), ULL(f->failures), ULL(r->runs), ULL(r->failures),
               ULL(f->told), ULL(f->told_failed));
    f->runs = r->runs;
    f->failures = r->failures;
}

static void put_unit(oracle *o, const row_unit *r)
{
    known_build *b = o->builds[r->build];
    known_job *j;
    verdict *v;

    if (!b || r->job >= b->jobs_n || r->i >= UNITS_MAX)
        broken(o->w, RULE_STORE, "a unit without a job");
    j = &b->jobs[r->job];
    v = &j->unit[r->i];
    if (r->file.n)
        j->file[r->i] = arena_slice(&o->mem, r->file);
    if (*v && r->verdict != *v)
        broken(o->w, RULE_S1, "unit %llu of build %llu was %s and becomes %s", ULL(r->i),
               ULL(r->build), verdict_text(*v), verdict_text(r->verdict));
    if (r->verdict && !*v)
        oracle_check_unit(o, r);
    if (is_run(o, r) && !*v) {
        known_file *f = file_of(o, b->repo, j->name, j->file[r->i]);

        f->told++;
        f->told_failed += is_failure(r->verdict);
    }
    *v = r->verdict;
}

static void put_job(oracle *o, const row_job *r)
{
    known_build *b = o->builds[r->build];
    known_job *j;

    if (!b || r->idx >= JOBS_LIMIT)
        broken(o->w, RULE_STORE, "a job without a build");
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
        j->always = r->always;
        j->artifacts = r->artifacts;
        j->special = r->labels.n > 0;
        j->concurrency = arena_slice(&o->mem, r->concurrency);
        j->units = r->units;
        b->jobs_n = r->idx + 1 > b->jobs_n ? (size_t)r->idx + 1 : b->jobs_n;
    }
    if (j->state == STATE_FINAL && (r->state != STATE_FINAL || r->verdict != j->verdict))
        broken(o->w, RULE_S1, "job " SLICE_FMT " of build %llu was final and changes",
               SLICE_ARG(j->name), ULL(b->id));
    if (r->state == STATE_FINAL && j->state != STATE_FINAL) {
        j->verdict = r->verdict;
        oracle_check_job(o, b, j);
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

bool oracle_is_taken(oracle *o, slice repo, slice url)
{
    const char *bound = map_gets(&o->repos, repo);

    return bound && !slice_is(url, bound);
}

static void add_build(oracle *o, const row_build *r)
{
    known_build *b = ARENA_NEW(&o->mem, known_build);
    const char *id = identity(&o->mem, r->repo, r->ref, r->oid, r->gen);
    const known_build *other = map_gets(&o->identities, slice_of(id));

    if (r->build >= BUILDS_MAX)
        broken(o->w, RULE_SIMULATOR, "too many builds");
    checked(o->w, RULE_S5);
    if (other && !oracle_is_gone(o, other->id))
        broken(o->w, RULE_S5, "build %llu is the second of %s", ULL(r->build), id);
    map_puts(&o->identities, slice_of(id), b);
    b->id = r->build;
    b->repo = arena_slice(&o->mem, r->repo);
    b->ref = arena_slice(&o->mem, r->ref);
    b->oid = arena_slice(&o->mem, r->oid);
    b->gen = r->gen;
    b->retry_of = r->retry_of;
    b->passed = (slices){ ARENA_ARRAY(&o->mem, slice, r->passed.n + 1), r->passed.n };
    for (size_t i = 0; i < r->passed.n; i++)
        b->passed.v[i] = arena_slice(&o->mem, r->passed.v[i]);
    o->builds[b->id] = b;
    o->builds_n = b->id;
    o->open_builds++;
}

static void put_build(oracle *o, const row_build *r)
{
    known_build *b;

    if (r->build < BUILDS_MAX && !o->builds[r->build])
        add_build(o, r);
    b = o->builds[r->build];
    if (b->state == STATE_FINAL && (r->state != STATE_FINAL || r->verdict != b->verdict))
        broken(o->w, RULE_S1, "build %llu was final and changes", ULL(b->id));
    if (b->state == STATE_CANCELING && r->state != STATE_CANCELING && r->state != STATE_FINAL &&
        r->state != STATE_RUNNING)
        broken(o->w, RULE_CANCEL, "build %llu forgets that it was canceled", ULL(b->id));
    if (b->state != STATE_FINAL && r->state == STATE_FINAL)
        o->open_builds--;
    if (b->state == STATE_WAITING && r->state == STATE_RUNNING)
        planned(o, b);
    b->state = r->state;
    b->verdict = r->verdict;
    b->canceled |= r->state == STATE_CANCELING;
    if (b->state == STATE_FINAL)
        oracle_check_build(o, b);
}

/* ---- the others ---- */

known_runner *oracle_runner(oracle *o, slice id)
{
    known_runner *k = map_gets(&o->runners, id);

    if (k)
        return k;
    k = ARENA_NEW(&o->mem, known_runner);
    snprintf(k->id, sizeof k->id, SLICE_FMT, SLICE_ARG(id));
    k->mode = k->mode_put = MODE_RUN;
    map_puts(&o->runners, id, k);
    return k;
}

static void put_runner(oracle *o, const row_runner *r)
{
    known_runner *k = oracle_runner(o, r->id);

    k->there = true;
    k->mode = r->mode;
    k->slots = r->slots;
    work_runner(o, k, r);
}

/* S14 and STALE_DB: a row tells what was so when it was put, not when it is committed. */
void oracle_put_now(oracle *o, const row *r)
{
    const known_task *t;
    const known_runner *k;

    if (r->kind == ROW_RUNNER)
        oracle_runner(o, r->runner.id)->mode_put = r->runner.mode;
    if (r->kind != ROW_TASK || r->task.state != STATE_LEASED)
        return;
    t = oracle_task(o, r->task.task);
    if (t && t->att >= r->task.att)
        return;
    k = oracle_runner(o, r->task.runner);
    checked(o->w, RULE_S14);
    if (k->mode_put != MODE_RUN || (k->own_mode && k->own_mode != MODE_RUN))
        broken(o->w, RULE_S14, "task %llu goes to a runner in mode %s (its own: %s)",
               ULL(r->task.task), runner_mode_text(k->mode_put),
               k->own_mode ? runner_mode_text(k->own_mode) : "-");
    if (o->noticed)
        broken(o->w, RULE_STALE_DB, "task %llu is assigned from an old copy of the data",
               ULL(r->task.task));
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
    if (k->build != r->build && oracle_is_forgotten(o, k->build))
        k->build = r->build;
    if (k->build != r->build)
        broken(o->w, RULE_S5, "a submission had build %llu and gets build %llu", ULL(k->build),
               ULL(r->build));
}

static void put_event(oracle *o, const pending *p)
{
    const msg_event *e = &p->row.event;

    checked(o->w, RULE_S9);
    if (e->seq != o->events_n + 1)
        broken(o->w, RULE_S9, "event %llu follows event %llu", ULL(e->seq), ULL(o->events_n));
    if (o->events_n + 1 >= o->events_cap) {
        o->events_cap = o->events_cap ? o->events_cap * 2 : 1024;
        o->events = mem_grow(o->events, (size_t)o->events_cap, sizeof *o->events);
    }
    o->events[e->seq] = p->event;
    o->events_n = e->seq;
    cover("event", event_kind_text(e->kind));
    if (!o->stale)
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
    case ROW_REPO:
        map_puts(&o->repos, arena_slice(&o->mem, p->row.repo.name),
                 arena_str(&o->mem, p->row.repo.url));
        break;
    case ROW_FILE:
        put_file(o, &p->row.file);
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
