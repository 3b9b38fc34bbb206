#include "core/build.h"

#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/mutant.h"

build *build_new(uint64_t id, repo *repo)
{
    build *b = NEW(build);

    b->id = id;
    b->repo = repo;
    b->state = STATE_WAITING;
    list_init(&b->tasks);
    return b;
}

void build_free(build *b)
{
    if (!b)
        return;
    LIST_FOR_SAFE(l, &b->tasks)
    {
        task *t = LIST_OWNER(l, task, in_build);

        assert(!t->lease.runner && !queue_has(&t->item));
        free(t->units);
        free(t);
    }
    for (size_t i = 0; i < b->jobs_n; i++)
        free(b->jobs[i]->units);
    free(b->jobs);
    draft_clear(&b->draft);
    arena_free(&b->plan);
    arena_free(&b->arena);
    free(b);
}

task *task_new(build *b, job *j, uint64_t id, task_kind kind)
{
    task *t = NEW(task);

    t->id = id;
    t->build = b;
    t->job = j;
    t->kind = kind;
    t->state = STATE_QUEUED;
    t->item.kind = ITEM_TASK;
    t->item.stands_for = 1;
    list_push(&b->tasks, &t->in_build);
    if (j)
        j->tasks_open++;
    return t;
}

void draft_clear(plan_draft *draft)
{
    for (size_t i = 0; i < draft->n; i++)
        free(draft->jobs[i]->units);
    free(draft->jobs);
    arena_free(&draft->arena);
    *draft = (plan_draft){ 0 };
}

slice build_keep(build *b, slice s)
{
    return s.n ? arena_slice(&b->arena, s) : (slice){ 0 };
}

static slices keep_list(arena *a, slices s)
{
    slices kept = { s.n ? ARENA_ARRAY(a, slice, s.n) : NULL, s.n };

    for (size_t i = 0; i < s.n; i++)
        kept.v[i] = arena_slice(a, s.v[i]);
    return kept;
}

slices build_keep_list(build *b, slices s)
{
    return keep_list(&b->arena, s);
}

job *job_new(build *b, arena *a, const row_job *like)
{
    job *j = arena_zero(a, like->tests ? sizeof *j : offsetof(job, item));

    j->build = b;
    j->idx = like->idx;
    j->name = arena_slice(a, like->name);
    j->needs = keep_list(a, like->needs);
    j->labels = keep_list(a, like->labels);
    j->spec = like->spec.n ? arena_slice(a, like->spec) : (slice){ 0 };
    j->priority = like->priority;
    j->timeout_ms = like->timeout_ms;
    j->retry = like->retry;
    j->batch = like->batch;
    j->allow_failure = like->allow_failure;
    j->always = like->always;
    j->concurrency = like->concurrency.n ? arena_slice(a, like->concurrency) : (slice){ 0 };
    j->tests = like->tests;
    j->artifacts = like->artifacts;
    j->state = STATE_WAITING;
    if (j->tests)
        j->item.kind = ITEM_JOB;
    return j;
}

void build_resolve(build *b)
{
    map by_name = { 0 };

    for (size_t i = 0; i < b->jobs_n; i++)
        map_puts(&by_name, b->jobs[i]->name, b->jobs[i]);
    for (size_t i = 0; i < b->jobs_n; i++) {
        job *j = b->jobs[i];

        j->needed = ARENA_ARRAY(&b->arena, job *, j->needs.n);
        for (size_t k = 0; k < j->needs.n; k++) {
            j->needed[k] = map_gets(&by_name, j->needs.v[k]);
            if (j->needed[k])
                j->needed[k]->needed_by_n++;
        }
        b->jobs_open += j->state != STATE_FINAL;
    }
    map_free(&by_name);
    for (size_t i = 0; i < b->jobs_n; i++) {
        b->jobs[i]->needed_by = ARENA_ARRAY(&b->arena, job *, b->jobs[i]->needed_by_n);
        b->jobs[i]->needed_by_n = 0;
    }
    for (size_t i = 0; i < b->jobs_n; i++)
        for (size_t k = 0; k < b->jobs[i]->needs.n; k++) {
            job *other = b->jobs[i]->needed[k];

            if (other)
                other->needed_by[other->needed_by_n++] = b->jobs[i];
        }
}

void build_take_over(build *b)
{
    map by_name = { 0 };

    for (size_t i = 0; i < b->passed.n; i++)
        map_puts(&by_name, b->passed.v[i], b);
    for (size_t i = 0; i < b->jobs_n && b->passed.n; i++) {
        job *j = b->jobs[i];

        if (!map_gets(&by_name, j->name))
            continue;
        j->taken_over = true;
        free(TAKE(j->units));
        j->units_n = 0;
    }
    map_free(&by_name);
}

size_t job_size(const job *j)
{
    if (j->tests)
        return j->units_n;
    return j->taken_over ? 0 : 1;
}

job *build_job(const build *b, slice name)
{
    for (size_t i = 0; i < b->jobs_n; i++)
        if (slice_eq(b->jobs[i]->name, name))
            return b->jobs[i];
    return NULL;
}

job_need job_needs(const job *j, const job **which)
{
    job_need need = NEED_MET;

    for (size_t i = 0; i < j->needs.n; i++) {
        const job *other = j->needed[i];

        if (!other || other->state != STATE_FINAL) {
            if (need == NEED_MET)
                *which = other;
            need = NEED_OPEN;
        } else if (j->always && !MUTANT(always_skipped)) {
            continue;
        } else if ((verdict_is_bad(other->verdict) && !other->allow_failure &&
                    !MUTANT(needs_failed)) ||
                   other->verdict == VERDICT_SKIPPED) {
            *which = other;
            return NEED_FAILED;
        }
    }
    return need;
}

static size_t draft_index(const map *by_name, slice name)
{
    return (size_t)(uintptr_t)map_gets(by_name, name); /* place + 1, or 0 */
}

/* Takes away jobs without open needs until none is left: what is left is a cycle (Kahn, 1962). */
static volt_code check_cycles(const plan_draft *draft, const map *by_name, volt_err *err)
{
    size_t n = draft->n, needs = 0, ready_n = 0, taken = 0;
    size_t *open = NEW_ARRAY(size_t, n);      /* needs that were not taken away */
    size_t *first = NEW_ARRAY(size_t, n + 2); /* of job i: needed_by[first[i]..first[i + 1]) */
    size_t *ready = NEW_ARRAY(size_t, n);
    size_t *needed_by;
    volt_code code = VOLT_OK;

    for (size_t i = 0; i < n; i++) {
        open[i] = draft->jobs[i]->needs.n;
        needs += open[i];
        for (size_t k = 0; k < open[i]; k++)
            first[draft_index(by_name, draft->jobs[i]->needs.v[k]) + 1]++;
        if (open[i] == 0)
            ready[ready_n++] = i;
    }
    for (size_t i = 0; i < n; i++)
        first[i + 2] += first[i + 1]; /* one place too far: filling moves it back */
    needed_by = NEW_ARRAY(size_t, needs);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < open[i]; k++)
            needed_by[first[draft_index(by_name, draft->jobs[i]->needs.v[k])]++] = i;
    for (; taken < ready_n; taken++)
        for (size_t k = first[ready[taken]]; k < first[ready[taken] + 1]; k++)
            if (--open[needed_by[k]] == 0)
                ready[ready_n++] = needed_by[k];
    for (size_t i = 0; taken < n && i < n; i++)
        if (open[i]) {
            code = volt_fail(err, VOLT_EINVALID, "job '" SLICE_FMT "' needs itself in a circle",
                             SLICE_ARG(draft->jobs[i]->name));
            break;
        }
    free(open);
    free(first);
    free(ready);
    free(needed_by);
    return code;
}

volt_code draft_check(const plan_draft *draft, volt_err *err)
{
    map by_name = { 0 };
    volt_code code = VOLT_OK;

    for (size_t i = 0; i < draft->n && code == VOLT_OK; i++) {
        slice name = draft->jobs[i]->name;

        if (draft_index(&by_name, name))
            code = volt_fail(err, VOLT_EINVALID, "two jobs are named '" SLICE_FMT "'",
                             SLICE_ARG(name));
        else if (!draft->jobs[i]->tests && draft->jobs[i]->units_n)
            code = volt_fail(err, VOLT_EINVALID,
                             "job '" SLICE_FMT "' lists test files, but it is a script",
                             SLICE_ARG(name));
        else
            map_puts(&by_name, name, (void *)(uintptr_t)(i + 1));
    }
    for (size_t i = 0; i < draft->n && code == VOLT_OK; i++)
        for (size_t k = 0; k < draft->jobs[i]->needs.n && code == VOLT_OK; k++)
            if (!draft_index(&by_name, draft->jobs[i]->needs.v[k]))
                code = volt_fail(err, VOLT_EINVALID,
                                 "job '" SLICE_FMT "' needs '" SLICE_FMT "', which is no job",
                                 SLICE_ARG(draft->jobs[i]->name),
                                 SLICE_ARG(draft->jobs[i]->needs.v[k]));
    if (code == VOLT_OK)
        code = check_cycles(draft, &by_name, err);
    map_free(&by_name);
    return code;
}

void job_add_work(job *j, uint64_t duration_ms)
{
    j->work_ms += duration_ms;
    if (duration_ms > j->longest_ms)
        j->longest_ms = duration_ms;
}

void task_counts_artifacts(const task *t)
{
    if (t->kind == TASK_SCRIPT)
        t->job->artifact_bytes = 0;
    t->job->artifact_bytes += t->bytes[PART_ARTIFACTS];
}

void build_to_row(const build *b, row_build *ret)
{
    *ret = (row_build){ .build = b->id,
                        .repo = b->repo->name,
                        .ref = b->ref,
                        .oid = b->oid,
                        .gen = b->gen,
                        .retry_of = b->retry_of,
                        .passed = b->passed,
                        .env = b->env,
                        .subject = b->subject,
                        .author = b->author,
                        .priority = b->priority,
                        .state = b->state,
                        .verdict = b->verdict,
                        .why = b->why,
                        .created_ms = b->created_wall_ms,
                        .finished_ms = b->finished_wall_ms,
                        .units = b->units,
                        .units_done = b->units_done,
                        .units_bad = b->units_bad,
                        .slots = b->slots };
}

void job_to_row(const job *j, row_job *ret)
{
    *ret = (row_job){ .build = j->build->id,
                      .idx = j->idx,
                      .name = j->name,
                      .needs = j->needs,
                      .labels = j->labels,
                      .spec = j->spec,
                      .priority = j->priority,
                      .timeout_ms = j->timeout_ms,
                      .retry = j->retry,
                      .batch = j->batch,
                      .allow_failure = j->allow_failure,
                      .always = j->always,
                      .concurrency = j->concurrency,
                      .tests = j->tests,
                      .state = j->state,
                      .verdict = j->verdict,
                      .why = j->why,
                      .units = job_size(j),
                      .units_done = j->units_done,
                      .units_bad = j->units_bad,
                      .ready_ms = j->ready_wall_ms,
                      .started_ms = j->started_wall_ms,
                      .ended_ms = j->ended_wall_ms,
                      .work_ms = j->work_ms,
                      .longest_ms = j->longest_ms,
                      .artifacts = j->artifacts,
                      .artifact_bytes = j->artifact_bytes };
}

void task_to_row(const task *t, arena *a, row_task *ret)
{
    unsigned char *packed = arena_zero(a, 4 * t->units_n + 1);

    for (size_t i = 0; i < t->units_n; i++)
        for (unsigned k = 0; k < 4; k++)
            packed[4 * i + k] = (unsigned char)(t->units[i] >> (8 * k));
    *ret = (row_task){ .task = t->id,
                       .build = t->build->id,
                       .job = t->job ? t->job->idx : ROW_JOB_PLAN,
                       .kind = t->kind,
                       .state = t->state,
                       .verdict = t->verdict,
                       .att = t->att,
                       .tries = t->tries,
                       .runner = MUTANT(row_borrowed) ? slice_of(t->runner_id)
                                                      : arena_slice(a, slice_of(t->runner_id)),
                       .units = { (const char *)packed, 4 * t->units_n },
                       .done = t->done,
                       .why = t->why,
                       .since_ms = t->since_wall_ms,
                       .duration_ms = t->duration_ms,
                       .exit = t->exit,
                       .signal = t->signal,
                       .log_bytes = t->bytes[PART_LOG],
                       .cpu_ms = t->cpu_ms,
                       .max_rss_bytes = t->max_rss_bytes,
                       .artifact_bytes = t->bytes[PART_ARTIFACTS] };
}
