#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "core/dispatch_internal.h"

static volt_code load_build(dispatch *d, const row_build *row, volt_err *err)
{
    repo *p = map_gets(&d->repos, row->repo);
    build *b;

    if (!p || map_get(&d->builds, row->build))
        return volt_fail(err, VOLT_ECORRUPT,
                         "build %llu: its repository is unknown, or it is there twice",
                         (unsigned long long)row->build);
    b = build_new(row->build, p);
    b->ref = build_keep(b, row->ref);
    b->oid = build_keep(b, row->oid);
    b->subject = build_keep(b, row->subject);
    b->author = build_keep(b, row->author);
    b->why = build_keep(b, row->why);
    b->gen = row->gen;
    b->retry_of = row->retry_of;
    b->passed = build_keep_list(b, row->passed);
    b->env = build_keep_list(b, row->env);
    b->priority = row->priority;
    b->state = row->state;
    b->canceled = row->state == STATE_CANCELING && !MUTANT(cancel_not_loaded);
    b->created_wall_ms = row->created_ms;
    b->units = row->units;
    b->slots = (size_t)row->slots;
    map_put(&d->builds, b->id, b);
    list_push(&d->build_list, &b->in_dispatch);
    d->builds_n++;
    return VOLT_OK;
}

static volt_code load_job(dispatch *d, const row_job *row, volt_err *err)
{
    build *b = map_get(&d->builds, row->build);
    job *j;

    if (!b || b->jobs_n != row->idx)
        return volt_fail(err, VOLT_ECORRUPT,
                         "job %llu of build %llu has no build or is out of order",
                         (unsigned long long)row->idx, (unsigned long long)row->build);
    if (row->units > BUILD_UNITS_MAX)
        return volt_fail(err, VOLT_ECORRUPT, "job %llu of build %llu has too many units",
                         (unsigned long long)row->idx, (unsigned long long)row->build);
    j = job_new(b, &b->plan, row);
    j->state = row->state;
    j->verdict = row->verdict;
    j->why = build_keep(b, row->why);
    j->ready_wall_ms = row->ready_ms;
    j->started_wall_ms = row->started_ms;
    j->ended_wall_ms = row->ended_ms;
    if (j->tests && row->units) {
        j->units = NEW_ARRAY(unit, (size_t)row->units);
    } else if (!j->tests && j->state == STATE_FINAL) {
        j->units_done = row->units_done; /* 0 when it never ran */
        j->units_bad = row->units_bad;
        b->units_done += j->units_done;
        b->units_bad += j->units_bad;
    }
    b->jobs = mem_grow(b->jobs, b->jobs_n + 1, sizeof *b->jobs);
    b->jobs[b->jobs_n++] = j;
    /* units_n counts up to the row's number as they come; it is checked when all are there. */
    j->units_expected = j->tests ? (size_t)row->units : 0;
    return VOLT_OK;
}

static volt_code load_unit(dispatch *d, const row_unit *row, volt_err *err)
{
    build *b = map_get(&d->builds, row->build);
    job *j = b && row->job < b->jobs_n ? b->jobs[row->job] : NULL;
    unit *u;

    if (!j || row->i != j->units_n || j->units_n == j->units_expected)
        return volt_fail(err, VOLT_ECORRUPT, "unit %llu of job %llu of build %llu is out of order",
                         (unsigned long long)row->i, (unsigned long long)row->job,
                         (unsigned long long)row->build);
    u = &j->units[j->units_n++];
    u->file = arena_slice(&b->plan, row->file);
    u->verdict = row->verdict;
    u->expected_ms = row->expected_ms < UINT32_MAX ? (uint32_t)row->expected_ms : UINT32_MAX;
    if (!u->verdict)
        b->left_ms += u->expected_ms;
    if (u->verdict) {
        job_add_work(j, row->duration_ms);
        j->units_out = j->units_n;
        j->units_done++;
        b->units_done++;
        j->rolled = verdict_worse(j->rolled, u->verdict);
        if (verdict_is_bad(u->verdict)) {
            j->units_bad++;
            b->units_bad++;
        }
    }
    return VOLT_OK;
}

static volt_code load_batch(task *t, const row_task *row, volt_err *err)
{
    const unsigned char *p = (const unsigned char *)row->units.p;

    t->units_n = row->units.n / 4;
    t->units = NEW_ARRAY(uint32_t, t->units_n);
    for (size_t i = 0; i < t->units_n; i++) {
        t->units[i] = (uint32_t)p[4 * i] | (uint32_t)p[4 * i + 1] << 8 |
                      (uint32_t)p[4 * i + 2] << 16 | (uint32_t)p[4 * i + 3] << 24;
        if (!t->job || t->units[i] >= t->job->units_n)
            return volt_fail(err, VOLT_ECORRUPT, "task %llu names a unit that is not there",
                             (unsigned long long)row->task);
        if (t->units[i] >= t->job->units_out && !MUTANT(batch_forgotten))
            t->job->units_out = t->units[i] + 1;
    }
    /* Told by the units themselves: the task's own count may be older. */
    while (t->done < t->units_n && t->job->units[t->units[t->done]].verdict)
        t->done++;
    return VOLT_OK;
}

static volt_code load_task(dispatch *d, const row_task *row, volt_err *err)
{
    build *b = map_get(&d->builds, row->build);
    job *j = b && row->job < b->jobs_n ? b->jobs[row->job] : NULL;
    task *t;
    runner *r;

    if (!b || (!j && row->job != ROW_JOB_PLAN) || map_get(&d->tasks, row->task))
        return volt_fail(err, VOLT_ECORRUPT, "task %llu has no build or job, or is there twice",
                         (unsigned long long)row->task);
    t = task_new(b, j, row->task, row->kind);
    t->state = row->state;
    t->verdict = row->verdict;
    t->att = row->att;
    t->cases_kept = t->kind == TASK_TESTS && t->att > 0;
    t->tries = (uint32_t)row->tries;
    t->why = build_keep(b, row->why);
    t->since_wall_ms = t->leased_wall_ms = row->since_ms;
    if (row->state == STATE_FINAL || MUTANT(log_bytes_trusted)) {
        t->bytes[PART_LOG] = row->log_bytes;
        t->bytes[PART_ARTIFACTS] = row->artifact_bytes;
    }
    if (row->runner.n == 32) {
        memcpy(t->runner_id, row->runner.p, 32);
        r = fleet_by_id(&d->fleet, row->runner);
        if (r)
            t->runner_name = build_keep(b, r->name);
    }
    if (j && t->att && (!j->started_wall_ms || row->since_ms < j->started_wall_ms))
        j->started_wall_ms = row->since_ms;
    if (t->state == STATE_FINAL && j) {
        j->tasks_open--;
        task_counts_artifacts(t);
        if (t->kind == TASK_SCRIPT) {
            j->retried += verdict_is_bad(t->verdict);
            job_add_work(j, row->duration_ms);
        } else {
            j->rolled = verdict_worse(j->rolled, t->verdict);
        }
    }
    map_put(&d->tasks, t->id, t);
    return load_batch(t, row, err);
}

static void load_runner(dispatch *d, const row_runner *row)
{
    runner *r = fleet_add(&d->fleet, row->id);

    runner_describe(r, row->name, row->host, row->labels, row->reach, row->slots);
    if (row->boot.n == 32)
        memcpy(r->boot, row->boot.p, 32);
    r->mode = row->mode ? row->mode : MODE_RUN;
    r->losses = row->losses;
    r->seen_wall_ms = row->seen_ms;
    fleet_set_state(&d->fleet, r, row->state == RUNNER_GONE ? RUNNER_GONE : RUNNER_SUSPECT);
}

static void load_repo(dispatch *d, const row_repo *row)
{
    repo *p = dispatch_repo(d, row->name, row->url, row->default_branch);

    for (size_t i = 0; i < row->held.n; i++)
        group_restored(d, p, row->held.v[i]);
}

volt_code dispatch_load(dispatch *d, const row *r, volt_err *err)
{
    switch (r->kind) {
    case ROW_REPO:
        load_repo(d, &r->repo);
        return VOLT_OK;
    case ROW_RUNNER:
        load_runner(d, &r->runner);
        return VOLT_OK;
    case ROW_BUILD:
        return load_build(d, &r->build, err);
    case ROW_JOB:
        return load_job(d, &r->job, err);
    case ROW_UNIT:
        return load_unit(d, &r->unit, err);
    case ROW_TASK:
        return load_task(d, &r->task, err);
    default:
        return VOLT_OK;
    }
}

/* Leases start anew at a lease and a grace of another one: the runners have to find back first. */
static int64_t resumed_until(const dispatch *d, const task *t, int64_t lease_ms)
{
    if (MUTANT(no_restart_grace))
        return d->now_ms;
    if (MUTANT(deadline_stored))
        return d->now_ms + lease_ms - (d->wall_ms - t->since_wall_ms);
    return d->now_ms + 2 * lease_ms;
}

static void resume_task(dispatch *d, task *t)
{
    runner *r;

    if (t->state == STATE_FINAL)
        return;
    if (t->state == STATE_QUEUED) {
        if (!MUTANT(queue_forgotten))
            life_queue_task(d, t);
        return;
    }
    r = fleet_by_id(&d->fleet, (slice){ t->runner_id, 32 });
    if (!r) { /* its row is written with its first hello, so only a damaged store gets here */
        r = fleet_add(&d->fleet, (slice){ t->runner_id, 32 });
        fleet_set_state(&d->fleet, r, RUNNER_SUSPECT);
        r->slow = d->large;
        runner_describe(r, slice_of(t->runner_id), (slice){ 0 }, (slices){ 0 }, (slices){ 0 }, 0);
    }
    lease_grant(&d->leases, &t->lease, r, &r->leases,
                resumed_until(d, t, dispatch_pace(d, r)->lease_ms));
    t->lease.least_ms = t->lease.deadline.key;
    t->build->busy++;
    if (t->job)
        t->job->busy++;
    if (t->job && t->job->group)
        group_take(d, t->job->group, t);
    if (t->kind == TASK_PLAN)
        r->plans++;
    else
        r->busy++;
}

void dispatch_loaded(dispatch *d, int64_t now_ms, int64_t wall_ms, effects *out)
{
    dispatch_begin(d, now_ms, wall_ms, out);
    fleet_measure(d);
    LIST_FOR(l, &d->fleet.all)
    { /* those of a large fleet keep the pace that the last start told them */
        LIST_OWNER(l, runner, in_fleet)->slow = d->large;
    }
    group_start(d);
    LIST_FOR(l, &d->build_list)
    {
        build *b = LIST_OWNER(l, build, in_dispatch);

        build_resolve(b);
        group_join(d, b);
        LIST_FOR(k, &b->tasks)
        {
            resume_task(d, LIST_OWNER(k, task, in_build));
        }
        for (size_t i = 0; i < b->jobs_n; i++) {
            job *j = b->jobs[i];

            if ((j->state == STATE_QUEUED || j->state == STATE_RUNNING) && !b->canceled &&
                j->units_out < j->units_n && !MUTANT(units_forgotten))
                life_queue_job(d, j);
        }
    }
    LIST_FOR(l, &d->fleet.all)
    {
        runner *r = LIST_OWNER(l, runner, in_fleet);

        if (r->state != RUNNER_GONE) {
            int64_t lease_ms = dispatch_pace(d, r)->lease_ms;

            r->awaited = true;
            r->seen_ms = now_ms + lease_ms; /* the grace */
            heap_set(&d->fleet.alarms, &r->alarm, r->seen_ms + lease_ms);
        }
    }
    d->head_ms = now_ms;
    emit(d, EVENT_EPOCH, NULL)->n = d->config.ep;
    d->out = NULL;
}
