#include <assert.h>
#include <stdlib.h>

#include "store/memory_store.h"

static bool build_kept(const memory_store *s, uint64_t build)
{
    row_build key = { .build = build };

    return memory_find(&s->shelves[ROW_BUILD], &key) != NULL;
}

/* Forgets up to *left rows of a shelf that lie in [from, to), which are structs with keys. */
static void forget_range(memory_store *s, row_kind kind, const void *from, const void *to,
                         size_t *left)
{
    size_t at = memory_place(&s->shelves[kind], from);
    size_t n = memory_place(&s->shelves[kind], to) - at;

    n = n < *left ? n : *left;
    memory_forget(s, kind, at, n);
    *left -= n;
}

static void forget_task(memory_store *s, size_t at, store_log_fn log_gone, void *ctx)
{
    const row_task *t = s->shelves[ROW_TASK].v[at];
    row_attempt from = { .task = t->task }, to = { .task = t->task + 1 };
    row_log log_from = { .task = t->task }, log_to = { .task = t->task + 1 };
    const shelf *attempts = &s->shelves[ROW_ATTEMPT];
    size_t all = SIZE_MAX;

    for (size_t i = memory_place(attempts, &from); log_gone && i < attempts->n; i++) {
        const row_attempt *a = attempts->v[i];

        if (a->task != t->task)
            break;
        log_gone(ctx, a->task, a->att);
    }
    forget_range(s, ROW_ATTEMPT, &from, &to, &all);
    forget_range(s, ROW_LOG, &log_from, &log_to, &all);
    memory_forget(s, ROW_TASK, at, 1);
}

/* The row of the build goes last, so that a later slice finds what this one leaves. */
static void forget_build(memory_store *s, uint64_t build, size_t *left, store_log_fn log_gone,
                         void *ctx)
{
    const shelf *tasks = &s->shelves[ROW_TASK];
    row_case case_from = { .build = build }, case_to = { .build = build + 1 };
    row_unit unit_from = { .build = build }, unit_to = { .build = build + 1 };
    row_job job_from = { .build = build }, job_to = { .build = build + 1 };
    row_build row_from = { .build = build }, row_to = { .build = build + 1 };

    for (size_t i = 0; *left > 0 && i < tasks->n;) {
        if (((const row_task *)tasks->v[i])->build != build) {
            i++;
            continue;
        }
        forget_task(s, i, log_gone, ctx);
        --*left;
    }
    forget_range(s, ROW_CASE, &case_from, &case_to, left);
    forget_range(s, ROW_UNIT, &unit_from, &unit_to, left);
    forget_range(s, ROW_JOB, &job_from, &job_to, left);
    forget_range(s, ROW_BUILD, &row_from, &row_to, left);
}

static void forget_submissions(memory_store *s, int64_t before_ms, size_t *left)
{
    const shelf *sh = &s->shelves[ROW_SUBMISSION];

    for (size_t i = 0; *left > 0 && i < sh->n;) {
        const row_submission *sub = sh->v[i];

        if (sub->wall_ms >= before_ms || build_kept(s, sub->build)) {
            i++;
            continue;
        }
        memory_forget(s, ROW_SUBMISSION, i, 1);
        --*left;
    }
}

/* The newest event always stays. */
static void forget_events(memory_store *s, const store_old *old, size_t *left)
{
    const shelf *sh = &s->shelves[ROW_EVENT];
    const shelf *builds = &s->shelves[ROW_BUILD];
    uint64_t oldest = builds->n ? ((const row_build *)builds->v[0])->build : UINT64_MAX;
    size_t n = 0;

    while (n < *left && n + 1 < sh->n) {
        const memory_event *e = sh->v[n];

        if (e->seq > old->counted || e->time_ms >= old->ended_ms || e->build >= oldest)
            break;
        n++;
    }
    memory_forget(s, ROW_EVENT, 0, n);
    *left -= n;
}

static void forget_files(memory_store *s, int64_t before_ms, size_t max)
{
    const shelf *sh = &s->shelves[ROW_FILE];
    size_t at = s->sweep ? memory_place(sh, s->sweep) : 0;

    for (; max > 0 && at < sh->n; max--) {
        if (((const row_file *)sh->v[at])->seen_ms < before_ms)
            memory_forget(s, ROW_FILE, at, 1);
        else
            at++;
    }
    free(s->sweep);
    s->sweep = at < sh->n ? table_clone(sh->table, sh->v[at]) : NULL;
}

volt_code memory_prune(store *base, const store_old *old, size_t max, store_log_fn log_gone,
                       void *ctx, bool *more, volt_err *err)
{
    memory_store *s = (memory_store *)base;
    const shelf *builds = &s->shelves[ROW_BUILD];
    size_t left = max;

    (void)err;
    assert(max > 0 && more);
    for (size_t i = 0; left > 0 && i < builds->n;) {
        const row_build *b = builds->v[i];

        if (b->created_ms >= old->ended_ms)
            break;
        if (b->state == STATE_FINAL && b->finished_ms < old->ended_ms)
            forget_build(s, b->build, &left, log_gone, ctx);
        else
            i++;
    }
    forget_submissions(s, old->ended_ms, &left);
    forget_events(s, old, &left);
    forget_files(s, old->seen_ms, max);
    *more = left == 0;
    return VOLT_OK;
}

volt_code memory_cut_cases(store *base, const row_case *from, volt_err *err)
{
    memory_store *s = (memory_store *)base;
    const shelf *sh = &s->shelves[ROW_CASE];
    const row_case to = { .build = from->build, .job = from->job, .i = from->i + 1 };
    size_t at = memory_place(sh, from);

    (void)err;
    memory_forget(s, ROW_CASE, at, memory_place(sh, &to) - at);
    return VOLT_OK;
}
