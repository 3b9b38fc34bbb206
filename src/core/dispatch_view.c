#include <stdio.h>

#include "core/dispatch_internal.h"

#define VIEW_ROWS_MAX 1000

/* A label of the class that no runner has; empty: each is there. */
static slice missing_label(const dispatch *d, const queue_class *c)
{
    for (size_t i = 0; i < c->labels.n; i++) {
        bool some = false;

        LIST_FOR(l, &d->fleet.all)
        {
            const runner *r = LIST_OWNER(l, runner, in_fleet);

            some = r->state == RUNNER_UP && runner_has_labels(r, (slices){ &c->labels.v[i], 1 });
            if (some)
                break;
        }
        if (!some)
            return c->labels.v[i];
    }
    return (slice){ 0 };
}

/* Why what fits nobody now waits: the first thing that an operator could change; NULL: a runner
 * takes such work.  O(runners), at once when one is found early, so that each class of a long queue
 * is looked at once and not each row. */
static const char *no_runner_reason(const dispatch *d, const queue_class *c, arena *a)
{
    bool up = false, labelled = false, reaching = false;
    slice label;

    LIST_FOR(l, &d->fleet.all)
    {
        const runner *r = LIST_OWNER(l, runner, in_fleet);

        if (r->state != RUNNER_UP)
            continue;
        up = true;
        if (!runner_has_labels(r, c->labels))
            continue;
        labelled = true;
        if (!runner_suits(r, c))
            continue;
        reaching = true;
        if (runner_takes(r))
            return NULL;
    }
    if (!up)
        return "no runner is connected";
    if (reaching)
        return "its runners are cordoned or draining";
    if (labelled)
        return arena_printf(a,
                            "no runner can reach the repository; start one on " SLICE_FMT
                            " or with --repo " SLICE_FMT "=PATH",
                            SLICE_ARG(c->host), SLICE_ARG(c->repo));
    label = missing_label(d, c);
    if (label.n)
        return arena_printf(a, "no runner has label " SLICE_FMT, SLICE_ARG(label));
    return "no runner has all its labels";
}

static const char *unreachable_reason(const dispatch *d, const queue_line *line, arena *a)
{
    const bad_repo *bad = NULL;

    LIST_FOR(l, &d->fleet.all)
    {
        const runner *r = LIST_OWNER(l, runner, in_fleet);

        if (!runner_takes(r) || !runner_suits(r, line->in))
            continue;
        bad = runner_bad_repo(r, line->repo, d->now_ms);
        if (!bad)
            return NULL;
    }
    return bad ? arena_printf(a, "no runner can reach the repository: %s", bad->why) : NULL;
}

/* What keeps the whole line waiting, or NULL; `of_class` is what no_runner_reason() said. */
static const char *line_reason(const dispatch *d, const queue_line *line, const char *of_class,
                               arena *a)
{
    if (d->stale_db)
        return d->trouble;
    return of_class ? of_class : unreachable_reason(d, line, a);
}

static const char *turn_reason(size_t ahead, arena *a)
{
    return ahead ? arena_printf(a, "%zu ahead", ahead) : "next for a free slot";
}

static const char *delay_reason(const dispatch *d, int64_t now_ms, const queue_item *item, arena *a)
{
    if (d->stale_db)
        return d->trouble;
    return arena_printf(a, "tried again in %lld s",
                        (long long)((item->delay.key - now_ms + 999) / 1000));
}

/* Why one queued item waits. */
static const char *reason(const dispatch *d, int64_t now_ms, const queue_item *item, arena *a)
{
    const char *why;

    if (item->delay.at)
        return delay_reason(d, now_ms, item, a);
    why = line_reason(d, item->line, no_runner_reason(d, item->line->in, a), a);
    return why ? why : turn_reason(0, a);
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
                           .log_bytes = t->log_bytes,
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

static size_t units_waiting(const queue_item *item)
{
    const job *j = item->kind == ITEM_JOB ? HEAP_OWNER(item, job, item) : NULL;

    return j ? j->units_n - j->units_out : 1;
}

static void waiting_line(const dispatch *d, const queue_line *line, const char *of_class,
                         msg_status_is *ret, arena *a)
{
    rec_task_row_list *rows = &ret->waiting;
    const char *why = rows->n < VIEW_ROWS_MAX ? line_reason(d, line, of_class, a) : NULL;

    LIST_FOR(i, &line->items)
    {
        const queue_item *item = LIST_OWNER(i, queue_item, node);

        if (rows->n < VIEW_ROWS_MAX)
            describe_item(item, why ? why : turn_reason((size_t)ret->queued, a),
                          &rows->v[rows->n++]);
        ret->queued += units_waiting(item);
    }
}

static void waiting(const dispatch *d, int64_t now_ms, msg_status_is *ret, arena *a)
{
    rec_task_row_list *rows = &ret->waiting;

    rows->v = ARENA_ARRAY(a, rec_task_row, VIEW_ROWS_MAX);
    LIST_FOR(l, &d->queue.classes)
    {
        const queue_class *c = LIST_OWNER(l, queue_class, node);
        const char *why = c->n && rows->n < VIEW_ROWS_MAX ? no_runner_reason(d, c, a) : NULL;

        LIST_FOR(k, &c->lines)
        {
            waiting_line(d, LIST_OWNER(k, queue_line, node), why, ret, a);
        }
    }
    for (size_t i = 0; i < d->queue.delayed.n; i++, ret->queued++) {
        const queue_item *item = HEAP_OWNER(d->queue.delayed.v[i], queue_item, delay);

        if (rows->n < VIEW_ROWS_MAX)
            describe_item(item, delay_reason(d, now_ms, item, a), &rows->v[rows->n++]);
    }
}

static void running(const dispatch *d, msg_status_is *ret, arena *a)
{
    rec_task_row *rows = ARENA_ARRAY(a, rec_task_row, VIEW_ROWS_MAX);
    size_t n = 0;

    LIST_FOR(l, &d->fleet.all)
    {
        const runner *r = LIST_OWNER(l, runner, in_fleet);

        LIST_FOR(k, &r->leases)
        {
            if (n < VIEW_ROWS_MAX)
                describe_task(LIST_OWNER(LIST_OWNER(k, lease, on_runner), task, lease), &rows[n++]);
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
    running(d, ret, a);
    waiting(d, now_ms, ret, a);
}

void dispatch_runners(const dispatch *d, int64_t now_ms, const msg_runners *query,
                      msg_runners_are *ret, arena *a)
{
    size_t max = 500, skip = (size_t)query->from;

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

void dispatch_explain(const dispatch *d, int64_t now_ms, rec_task_row *row, arena *a)
{
    const task *t = map_get(&d->tasks, row->task);

    if (!t)
        return;
    row->runner = t->runner_name;
    if (t->state == STATE_QUEUED && queue_has(&t->item))
        row->why = slice_of(reason(d, now_ms, &t->item, a));
}

void dispatch_progress(const dispatch *d, rec_build_row *row)
{
    const build *b = map_get(&d->builds, row->build);

    if (!b)
        return;
    row->units = b->units;
    row->units_done = b->units_done;
    row->units_bad = b->units_bad;
}

void dispatch_job_progress(const dispatch *d, uint64_t id, rec_job_row *row, arena *a)
{
    const build *b = map_get(&d->builds, id);
    const job *j = b ? build_job(b, row->name) : NULL;
    const job *which = NULL;

    if (!j)
        return;
    row->state = j->state;
    row->units_done = j->units_done;
    row->units_bad = j->units_bad;
    if (j->state == STATE_WAITING && job_needs(j, &which) == NEED_OPEN && which)
        row->why = slice_of(arena_printf(a, "needs " SLICE_FMT, SLICE_ARG(which->name)));
    else if (queue_has(&j->item))
        row->why = slice_of(reason(d, d->now_ms, &j->item, a));
}
