#include <assert.h>
#include <stdlib.h>

#include "base/mutant.h"
#include "store/memory_store.h"

static const row_build *find_build(const memory_store *s, uint64_t build)
{
    row_build key = { .build = build };

    return memory_find(&s->shelves[ROW_BUILD], &key);
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

static void forget_details(memory_store *s, size_t *left, store_log_fn log_gone, void *ctx)
{
    const uint64_t build = s->ids.forgetting;
    const shelf *tasks = &s->shelves[ROW_TASK];
    row_case case_from = { .build = build }, case_to = { .build = build + 1 };
    row_unit unit_from = { .build = build }, unit_to = { .build = build + 1 };
    row_job job_from = { .build = build }, job_to = { .build = build + 1 };

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
    if (*left)
        s->ids.forgetting = 0;
}

/* A build that is not final inherits from it. */
static bool is_needed(const memory_store *s, uint64_t build)
{
    const shelf *sh = &s->shelves[ROW_BUILD];

    for (size_t i = 0; i < sh->n && !MUTANT(needed_forgotten); i++) {
        const row_build *b = sh->v[i];

        if (b->state == STATE_FINAL)
            continue;
        while (b && b->retry_of != build)
            b = b->retry_of && b->retry_of < b->build ? find_build(s, b->retry_of) : NULL;
        if (b)
            return true;
    }
    return false;
}

static bool may_go(const memory_store *s, const row_build *b)
{
    return (b->state == STATE_FINAL || MUTANT(open_forgotten)) && !b->forgotten &&
           !is_needed(s, b->build);
}

/* By the time they ended, then by number. */
static bool ended_before(const row_build *a, const row_build *b)
{
    return a->finished_ms < b->finished_ms ||
           (a->finished_ms == b->finished_ms && a->build < b->build);
}

/* The first that ended of those that may go, or NULL. */
static const row_build *first_ended(const memory_store *s)
{
    const shelf *sh = &s->shelves[ROW_BUILD];
    const row_build *first = NULL;

    for (size_t i = 0; i < sh->n; i++) {
        const row_build *b = sh->v[i];

        if ((!first || ended_before(b, first)) && may_go(s, b))
            first = b;
    }
    return first;
}

/* How many of its repository ended later and have their details. */
static uint64_t newer(const memory_store *s, const row_build *than)
{
    const shelf *sh = &s->shelves[ROW_BUILD];
    uint64_t n = 0;

    for (size_t i = 0; i < sh->n; i++) {
        const row_build *b = sh->v[i];

        n += b->state == STATE_FINAL && !b->forgotten && ended_before(than, b) &&
             slice_eq(b->repo, than->repo);
    }
    return n;
}

/* Of the builds of a repository beyond the newest, the one that ended last. */
static const row_build *first_beyond(const memory_store *s, slice repo, uint64_t newest)
{
    const shelf *sh = &s->shelves[ROW_BUILD];
    const row_build *found = NULL;

    for (size_t i = 0; i < sh->n; i++) {
        const row_build *b = sh->v[i];

        if (slice_eq(b->repo, repo) && (!found || ended_before(found, b)) && may_go(s, b) &&
            newer(s, b) >= newest)
            found = b;
    }
    return found;
}

static const row_build *next_victim(const memory_store *s, const store_old *old, bool room)
{
    const row_build *first = first_ended(s);

    if (first && (room || first->finished_ms < old->ended_ms))
        return first;
    return old->repo.n ? first_beyond(s, old->repo, old->newest) : NULL;
}

static void begin_forgetting(memory_store *s, const row_build *b)
{
    row_build *now = table_clone(s->shelves[ROW_BUILD].table, b);

    now->forgotten = true;
    s->ids.forgetting = b->build;
    memory_replace(s, ROW_BUILD, memory_place(&s->shelves[ROW_BUILD], b), now);
}

/* The build is marked first, so that what a slice leaves of it is missed by nobody. */
static void forget_builds(memory_store *s, const store_old *old, size_t max, size_t *left,
                          store_log_fn log_gone, void *ctx)
{
    while (*left > 0) {
        if (!s->ids.forgetting) {
            const row_build *b = next_victim(s, old, old->for_room && *left == max);

            if (!b)
                return;
            begin_forgetting(s, b);
            --*left;
        }
        forget_details(s, left, log_gone, ctx);
    }
}

static void forget_lines(memory_store *s, int64_t before_ms, size_t *left)
{
    const shelf *sh = &s->shelves[ROW_BUILD];

    while (*left > 0) {
        size_t first = sh->n;

        for (size_t i = 0; i < sh->n; i++) {
            const row_build *b = sh->v[i];

            if (b->forgotten && b->finished_ms < before_ms &&
                (first == sh->n || ended_before(b, sh->v[first])))
                first = i;
        }
        if (first == sh->n)
            return;
        memory_forget(s, ROW_BUILD, first, 1);
        --*left;
    }
}

static int64_t event_bound(const memory_store *s, const store_old *old)
{
    const row_build *first = first_ended(s);
    int64_t room_ms = old->room_ms;

    if (!old->for_room)
        return old->event_ms;
    if (first && first->finished_ms < room_ms)
        room_ms = first->finished_ms;
    return room_ms > old->event_ms ? room_ms : old->event_ms;
}

static uint64_t oldest_open(const memory_store *s)
{
    const shelf *sh = &s->shelves[ROW_BUILD];

    for (size_t i = 0; i < sh->n; i++) {
        const row_build *b = sh->v[i];

        if (b->state != STATE_FINAL)
            return b->build;
    }
    return UINT64_MAX;
}

/* The newest event always stays. */
static void forget_events(memory_store *s, const store_old *old, size_t *left)
{
    const shelf *sh = &s->shelves[ROW_EVENT];
    const uint64_t oldest = oldest_open(s);
    const int64_t before_ms = event_bound(s, old);
    size_t n = 0;

    while (n < *left && n + 1 < sh->n) {
        const memory_event *e = sh->v[n];

        if (e->seq > old->counted || e->time_ms >= before_ms || e->build >= oldest)
            break;
        n++;
    }
    memory_forget(s, ROW_EVENT, 0, n);
    *left -= n;
}

/* Looks at `max` of them, from where the last call ended. */
static void forget_submissions(memory_store *s, int64_t before_ms, size_t max)
{
    const shelf *sh = &s->shelves[ROW_SUBMISSION];
    size_t at = s->sweep_submission ? memory_place(sh, s->sweep_submission) : 0;

    for (; max > 0 && at < sh->n; max--) {
        const row_submission *sub = sh->v[at];
        const row_build *b = find_build(s, sub->build);

        if (sub->wall_ms < before_ms && (!b || b->forgotten))
            memory_forget(s, ROW_SUBMISSION, at, 1);
        else
            at++;
    }
    free(s->sweep_submission);
    s->sweep_submission = at < sh->n ? table_clone(sh->table, sh->v[at]) : NULL;
}

/* The same of the histories of files. */
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
    size_t left = max;

    (void)err;
    assert(max > 0 && more);
    forget_builds(s, old, max, &left, log_gone, ctx);
    forget_lines(s, old->line_ms, &left);
    forget_events(s, old, &left);
    forget_submissions(s, old->event_ms, max);
    forget_files(s, old->line_ms, max);
    *more = left == 0 || (old->for_room && left < max);
    return VOLT_OK;
}

/* About: texts are not counted, but for those of events and short logs. */
volt_code memory_bytes(store *base, uint64_t *ret, volt_err *err)
{
    const memory_store *s = (memory_store *)base;
    uint64_t n = 0;

    (void)err;
    for (row_kind kind = 0; kind < ROW_KINDS; kind++)
        n += s->shelves[kind].n * s->shelves[kind].table->size;
    for (size_t i = 0; i < s->shelves[ROW_EVENT].n; i++)
        n += ((const memory_event *)s->shelves[ROW_EVENT].v[i])->bytes.n;
    for (size_t i = 0; i < s->shelves[ROW_LOG].n; i++)
        n += ((const row_log *)s->shelves[ROW_LOG].v[i])->bytes.n;
    *ret = n;
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
