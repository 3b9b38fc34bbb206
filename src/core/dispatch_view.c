#include <stdio.h>

#include "core/dispatch_internal.h"

#define VIEW_ROWS_MAX    1000
#define VIEW_RUNNERS_MAX 500

static size_t rows_of(size_t n)
{
    return n < VIEW_ROWS_MAX ? n : VIEW_ROWS_MAX;
}

static void describe_task(const task *t, rec_task_row *ret)
{
    *ret = (rec_task_row){ .task = t->id,
                           .build = t->build->id,
                           .repo = t->build->repo->name,
                           .job = t->job ? t->job->name : (slice){ 0 },
                           .kind = t->kind,
                           .state = t->state,
                           .att = t->att,
                           .tries = t->tries,
                           .runner = t->runner_name,
                           .why = t->why,
                           .since_ms = (uint64_t)t->since_wall_ms,
                           .log_bytes = t->bytes[PART_LOG],
                           .artifact_bytes = t->bytes[PART_ARTIFACTS],
                           .units = t->units_n - t->done };
}

static void describe_item(const queue_item *item, const char *why, rec_task_row *ret)
{
    if (item->kind == ITEM_TASK) {
        describe_task(HEAP_OWNER(item, task, item), ret);
    } else {
        const job *j = HEAP_OWNER(item, job, item);

        *ret = (rec_task_row){ .build = j->build->id,
                               .repo = j->build->repo->name,
                               .job = j->name,
                               .kind = TASK_TESTS,
                               .state = STATE_QUEUED,
                               .since_ms = (uint64_t)j->build->created_wall_ms,
                               .units = j->units_n - j->units_out };
    }
    ret->why = slice_of(why);
}

/* Rows in the order in which they go, were only this class handed out.  O(rows + lines): what
 * stands behind the last row of its line is not looked at. */
static void waiting_class(const dispatch *d, int64_t now_ms, const queue_class *c,
                          msg_status_is *ret, arena *a)
{
    size_t first = ret->waiting.n, room = VIEW_ROWS_MAX - first;
    rec_task_row *rows = ret->waiting.v + first;
    why w = { 0 };

    if (c->n == 0 || room == 0)
        return;
    why_begin(d, now_ms, c, &w, a);
    LIST_FOR(k, &c->lines)
    {
        const queue_line *line = LIST_OWNER(k, queue_line, node);
        size_t index = 0;

        LIST_FOR(i, &line->items)
        {
            const queue_item *item = LIST_OWNER(i, queue_item, node);
            size_t ahead = why_ahead(&w, line, index++);

            if (ahead >= room) /* and so have all behind it */
                break;
            /* each place is taken once */
            describe_item(item, why_waits(d, now_ms, &w, item, ahead, a), &rows[ahead]);
        }
    }
    ret->waiting.n += c->n < room ? c->n : room;
}

/* What waits for its concurrency group, the order of its turns. */
static void waiting_groups(const dispatch *d, int64_t now_ms, msg_status_is *ret, arena *a)
{
    rec_task_row_list *rows = &ret->waiting;

    LIST_FOR(l, &d->groups)
    {
        const group *g = LIST_OWNER(l, group, in_dispatch);
        const char *why = list_empty(&g->waiting) ? "" : group_why(d, now_ms, g, a);

        LIST_FOR(i, &g->waiting)
        {
            const queue_item *item = LIST_OWNER(i, queue_item, in_group);

            if (!group_parks(g, item))
                continue;
            ret->queued += item->stands_for;
            if (rows->n < VIEW_ROWS_MAX)
                describe_item(item, why, &rows->v[rows->n++]);
        }
    }
}

static size_t waiting_n(const dispatch *d)
{
    size_t n = d->queue.n + d->queue.delayed.n;

    LIST_FOR(l, &d->groups)
    {
        const group *g = LIST_OWNER(l, group, in_dispatch);

        LIST_FOR(i, &g->waiting)
        {
            if (n++ >= VIEW_ROWS_MAX)
                return n;
        }
    }
    return n;
}

static void waiting(const dispatch *d, int64_t now_ms, msg_status_is *ret, arena *a)
{
    rec_task_row_list *rows = &ret->waiting;

    rows->v = ARENA_ARRAY(a, rec_task_row, rows_of(waiting_n(d)));
    for (int plans = 1; plans >= 0; plans--) /* these go first */
        LIST_FOR(l, &d->queue.classes)
        {
            const queue_class *c = LIST_OWNER(l, queue_class, node);

            if (c->plan == plans)
                waiting_class(d, now_ms, c, ret, a);
        }
    ret->queued = d->queue.tasks + d->queue.delayed.n;
    waiting_groups(d, now_ms, ret, a);
    for (size_t i = 0; i < d->queue.delayed.n && rows->n < VIEW_ROWS_MAX; i++) {
        const queue_item *item = HEAP_OWNER(d->queue.delayed.v[i], queue_item, delay);

        describe_item(item, why_delayed(d, now_ms, item, a), &rows->v[rows->n++]);
    }
}

static void describe_lease(const dispatch *d, int64_t now_ms, const task *t, rec_task_row *ret,
                           arena *a)
{
    describe_task(t, ret);
    ret->why = slice_of(why_under_way(d, now_ms, t, a));
}

static void running(const dispatch *d, int64_t now_ms, msg_status_is *ret, arena *a)
{
    rec_task_row *rows = ARENA_ARRAY(a, rec_task_row, rows_of(d->leases.deadlines.n));
    size_t n = 0;

    LIST_FOR(l, &d->fleet.all)
    {
        const runner *r = LIST_OWNER(l, runner, in_fleet);

        LIST_FOR(k, &r->leases)
        {
            if (n < VIEW_ROWS_MAX)
                describe_lease(d, now_ms, LIST_OWNER(LIST_OWNER(k, lease, on_runner), task, lease),
                               &rows[n++], a);
        }
    }
    ret->running = (rec_task_row_list){ rows, n };
}

void dispatch_status(const dispatch *d, int64_t now_ms, msg_status_is *ret, arena *a)
{
    *ret = (msg_status_is){ .hist = slice_of(d->config.hist),
                            .ep = d->config.ep,
                            .last = d->last_seq,
                            .builds = d->builds_n,
                            .bad_msgs = d->bad_msgs,
                            .trouble = slice_of(d->trouble) };
    LIST_FOR(l, &d->fleet.all)
    {
        const runner *r = LIST_OWNER(l, runner, in_fleet);

        if (r->state == RUNNER_GONE)
            continue;
        ret->runners++;
        ret->slots += r->slots;
        ret->busy += r->busy;
    }
    running(d, now_ms, ret, a);
    waiting(d, now_ms, ret, a);
}

void dispatch_runners(const dispatch *d, int64_t now_ms, const msg_runners *query,
                      msg_runners_are *ret, arena *a)
{
    size_t max = d->fleet.n < VIEW_RUNNERS_MAX ? d->fleet.n : VIEW_RUNNERS_MAX;
    size_t skip = (size_t)query->from;

    *ret = (msg_runners_are){ .rows = { ARENA_ARRAY(a, rec_runner_row, max), 0 } };
    LIST_FOR(l, &d->fleet.all)
    {
        const runner *r = LIST_OWNER(l, runner, in_fleet);

        if (r->state == RUNNER_GONE && !query->all)
            continue;
        if (skip) {
            skip--;
            continue;
        }
        if (ret->rows.n == max) {
            ret->more = true;
            break;
        }
        ret->rows.v[ret->rows.n++] = (rec_runner_row){
            .id = { r->id, 32 },
            .name = r->name,
            .host = r->host,
            .state = r->state,
            .mode = r->mode == MODE_RUN ? r->own_mode : r->mode,
            .slots = r->slots,
            .busy = r->busy,
            .labels = r->labels,
            .seen_ms = now_ms > r->seen_ms ? (uint64_t)(now_ms - r->seen_ms) : 0,
            .losses = r->losses,
        };
    }
}

slice dispatch_runner_name(const dispatch *d, slice id)
{
    const runner *r = id.n ? fleet_by_id(&d->fleet, id) : NULL;

    return r ? r->name : (slice){ 0 };
}

static why *why_of(dispatch_memo *memo, arena *a)
{
    if (!memo->why)
        memo->why = ARENA_NEW(a, why);
    return memo->why;
}

void dispatch_explain(const dispatch *d, int64_t now_ms, rec_task_row *row, dispatch_memo *memo,
                      arena *a)
{
    const task *t = map_get(&d->tasks, row->task);

    if (!t)
        return;
    row->runner = t->runner_name;
    if (t->lease.runner)
        row->why = slice_of(why_under_way(d, now_ms, t, a));
    else if (t->job && group_parks(t->job->group, &t->item))
        row->why = slice_of(group_why(d, now_ms, t->job->group, a));
    else if (queue_has(&t->item))
        row->why = slice_of(why_queued(d, now_ms, &t->item, why_of(memo, a), a));
}

void dispatch_progress(const dispatch *d, rec_build_row *row)
{
    const build *b = map_get(&d->builds, row->build);

    if (!b)
        return;
    row->units = b->units;
    row->units_done = b->units_done;
    row->units_bad = b->units_bad;
    row->slots = b->slots;
    row->busy = b->busy;
    row->left_ms = b->left_ms;
}

void dispatch_job_progress(const dispatch *d, int64_t now_ms, uint64_t id, rec_job_row *row,
                           dispatch_memo *memo, arena *a)
{
    const build *b = map_get(&d->builds, id);
    const job *j = b ? build_job(b, row->name) : NULL;
    const job *which = NULL;

    if (!j)
        return;
    row->state = j->state;
    row->units_done = j->units_done;
    row->units_bad = j->units_bad;
    row->busy = j->busy;
    row->started_ms = (uint64_t)j->started_wall_ms;
    row->work_ms = j->work_ms;
    row->longest_ms = j->longest_ms;
    row->artifact_bytes = j->artifact_bytes;
    if (j->state == STATE_WAITING && job_needs(j, &which) == NEED_OPEN && which)
        row->why = slice_of(arena_printf(a, "needs " SLICE_FMT, SLICE_ARG(which->name)));
    else if (j->tests && group_parks(j->group, &j->item))
        row->why = slice_of(group_why(d, now_ms, j->group, a));
    else if (j->tests && queue_has(&j->item))
        row->why = slice_of(why_queued(d, now_ms, &j->item, why_of(memo, a), a));
}
