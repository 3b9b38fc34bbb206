#include "base/mutant.h"
#include "core/build.h"
#include "role/dispatcher_internal.h"

/* VOLT_ENOTFOUND is an answer, not an error. */
static volt_code found(volt_code code, bool *ret)
{
    *ret = code == VOLT_OK;
    return code == VOLT_ENOTFOUND ? VOLT_OK : code;
}

static volt_code find_submission(dispatcher *d, slice sid, dispatch_facts *ret, volt_err *err)
{
    row_submission *row = ARENA_NEW(&d->arena, row_submission);
    bool there;
    volt_code code = found(d->store->ops->submission(d->store, sid, &d->arena, row, err), &there);

    if (there)
        ret->submission = row;
    return code;
}

static volt_code find_latest(dispatcher *d, slice repo, slice ref, slice oid, dispatch_facts *ret,
                             volt_err *err)
{
    row_build *row = ARENA_NEW(&d->arena, row_build);
    bool there;
    volt_code code =
        found(d->store->ops->latest_build(d->store, repo, ref, oid, &d->arena, row, err), &there);

    if (there)
        ret->latest = row;
    return code;
}

static volt_code find_build(dispatcher *d, uint64_t build, dispatch_facts *ret, volt_err *err)
{
    row_build *row = ARENA_NEW(&d->arena, row_build);
    bool there;
    volt_code code = found(d->store->ops->build(d->store, build, &d->arena, row, err), &there);

    if (there)
        ret->build = row;
    return code;
}

/* Rows of tasks that the core has forgotten because their builds have ended. */
static volt_code find_tasks(dispatcher *d, const uint64_t *ids, size_t n, dispatch_facts *ret,
                            volt_err *err)
{
    row_task *rows = ARENA_ARRAY(&d->arena, row_task, n);

    for (size_t i = 0; i < n; i++) {
        bool there;
        volt_code code;

        if (dispatch_task_known(d->core, ids[i]))
            continue;
        code = found(d->store->ops->task(d->store, ids[i], &d->arena, &rows[ret->tasks_n], err),
                     &there);
        if (code != VOLT_OK)
            return code;
        ret->tasks_n += there;
    }
    ret->tasks = rows;
    return VOLT_OK;
}

static volt_code find_held(dispatcher *d, const msg_hello *m, dispatch_facts *ret, volt_err *err)
{
    size_t n = m->held.n + m->last.n;
    uint64_t *ids = ARENA_ARRAY(&d->arena, uint64_t, n);

    for (size_t i = 0; i < n; i++)
        ids[i] = i < m->held.n ? m->held.v[i].task : m->last.v[i - m->held.n].task;
    return find_tasks(d, ids, n, ret, err);
}

#define LEVELS_MAX 100 /* retries of retries that are looked through, as in artifacts.c */

typedef struct passed_jobs {
    arena *a;
    slices names;
    slices gone; /* whose artifacts, if they left some, are no longer kept */
} passed_jobs;

static bool has(slices list, slice name)
{
    for (size_t i = 0; i < list.n; i++)
        if (slice_eq(list.v[i], name))
            return true;
    return false;
}

static volt_code keep_passed(void *ctx, const row *r, volt_err *err)
{
    passed_jobs *p = ctx;

    (void)err;
    if (r->job.artifacts && has(p->gone, r->job.name))
        return VOLT_OK;
    if (r->job.verdict == VERDICT_PASSED || r->job.verdict == VERDICT_FLAKY ||
        MUTANT(retry_takes_all))
        p->names.v[p->names.n++] = arena_slice(p->a, r->job.name);
    return VOLT_OK;
}

/* Those of `names` that are in `list`, too. */
static slices common(slices names, slices list, arena *a)
{
    slices both = { ARENA_ARRAY(a, slice, names.n), 0 };

    for (size_t i = 0; i < names.n; i++)
        if (has(list, names.v[i]))
            both.v[both.n++] = names.v[i];
    return both;
}

/* The jobs that `of` took over, directly or by way of others, from a build that is forgotten. */
static volt_code find_gone(dispatcher *d, const row_build *of, slices *ret, volt_err *err)
{
    slices taken = of->passed;
    row_build at = *of;

    for (unsigned n = 0; n < LEVELS_MAX && at.retry_of; n++) {
        row_build from;
        bool there;
        volt_code code =
            found(d->store->ops->build(d->store, at.retry_of, &d->arena, &from, err), &there);

        if (code != VOLT_OK)
            return code;
        if (!there || from.forgotten) {
            *ret = taken;
            return VOLT_OK;
        }
        taken = common(taken, from.passed, &d->arena);
        at = from;
    }
    return VOLT_OK;
}

/* What passed, but for what left artifacts that others might need, and that nobody has any more. */
static volt_code find_passed(dispatcher *d, const row_build *of, dispatch_facts *ret, volt_err *err)
{
    passed_jobs p = { .a = &d->arena, .names.v = ARENA_ARRAY(&d->arena, slice, BUILD_JOBS_MAX) };
    volt_code code = find_gone(d, of, &p.gone, err);

    if (code == VOLT_OK)
        code = d->store->ops->jobs(d->store, of->build, keep_passed, &p, err);
    ret->passed = p.names;
    return code;
}

/* Of a mean; what takes no time is known, too. */
static uint32_t expected_of(uint64_t mean_ms)
{
    if (mean_ms == UINT64_MAX)
        return 0;
    if (mean_ms == 0)
        return 1;
    return mean_ms < UINT32_MAX ? (uint32_t)mean_ms : UINT32_MAX;
}

static volt_code find_expected(dispatcher *d, const msg_plan *m, dispatch_facts *ret, volt_err *err)
{
    slice repo = dispatch_task_repo(d->core, m->task);
    uint32_t *expected_ms;
    size_t n = 0;

    for (size_t i = 0; i < m->jobs.n; i++)
        n += m->jobs.v[i].files.n;
    if (repo.n == 0 || n == 0)
        return VOLT_OK;
    expected_ms = ARENA_ARRAY(&d->arena, uint32_t, n);
    for (size_t i = 0; i < m->jobs.n; i++) {
        slices files = m->jobs.v[i].files;
        uint64_t *means = ARENA_ARRAY(&d->arena, uint64_t, files.n);
        volt_code code = d->store->ops->means(d->store, repo, m->jobs.v[i].name, files, means, err);

        if (code)
            return code;
        for (size_t k = 0; k < files.n; k++)
            expected_ms[ret->expected_n++] = expected_of(means[k]);
    }
    ret->expected_ms = expected_ms;
    return VOLT_OK;
}

volt_code facts_find(dispatcher *d, const msg *m, dispatch_facts *ret, volt_err *err)
{
    volt_code code;

    *ret = (dispatch_facts){ 0 };
    switch (m->type) {
    case MSG_submit:
        code = find_submission(d, m->submit.sid, ret, err);
        if (code == VOLT_OK && !ret->submission)
            code = find_latest(d, m->submit.repo, m->submit.ref, m->submit.oid, ret, err);
        return code;
    case MSG_submission:
        return find_submission(d, m->submission.sid, ret, err);
    case MSG_rebuild:
        code = find_submission(d, m->rebuild.sid, ret, err);
        if (code == VOLT_OK && !ret->submission)
            code = find_build(d, m->rebuild.build, ret, err);
        if (code == VOLT_OK && ret->build)
            code = find_latest(d, ret->build->repo, ret->build->ref, ret->build->oid, ret, err);
        if (code == VOLT_OK && ret->build && m->rebuild.failed)
            code = find_passed(d, ret->build, ret, err);
        return code;
    case MSG_cancel_build:
        return find_build(d, m->cancel_build.build, ret, err);
    case MSG_result: /* the only one whose answer differs for a task that is final and forgotten */
        return find_tasks(d, &m->result.task, 1, ret, err);
    case MSG_plan:
        return find_expected(d, &m->plan, ret, err);
    case MSG_hello:
        return find_held(d, &m->hello, ret, err);
    default:
        return VOLT_OK;
    }
}
