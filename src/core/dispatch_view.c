#include <stdio.h>

#include "core/dispatch_internal.h"

#define VIEW_ROWS_MAX 1000

/* Why an item that fits nobody now waits: the first thing that an operator could change. */
static const char *no_runner_reason(const dispatch *d, const queue_class *c, arena *a)
{
    size_t up = 0, labelled = 0, reaching = 0, taking = 0;
    slice label = { 0 };

    LIST_FOR(l, &d->fleet.all)
    {
        const runner *r = LIST_OWNER(l, runner, in_fleet);

        if (r->state != RUNNER_UP)
            continue;
        up++;
        if (!runner_has_labels(r, c->labels))
            continue;
        labelled++;
        if (!runner_suits(r, c))
            continue;
        reaching++;
        taking += runner_takes(r);
    }
    for (size_t i = 0; i < c->labels.n && !labelled; i++) {
        bool some = false;

        LIST_FOR(l, &d->fleet.all)
        {
            const runner *r = LIST_OWNER(l, runner, in_fleet);

            some |= r->state == RUNNER_UP && runner_has_labels(r, (slices){ &c->labels.v[i], 1 });
        }
        if (!some)
            label = c->labels.v[i];
    }
    if (!up)
        return "no runner is connected";
    if (label.n)
        return arena_printf(a, "no runner has label " SLICE_FMT, SLICE_ARG(label));
    if (!labelled)
        return "no runner has all its labels";
    if (!reaching)
        return arena_printf(a,
                            "no runner can reach the repository; start one on " SLICE_FMT
                            " or with --repo " SLICE_FMT "=PATH",
                            SLICE_ARG(c->host), SLICE_ARG(c->repo));
    if (!taking)
        return "its runners are cordoned or draining";
    return NULL;
}

static const char *unreachable_reason(const dispatch *d, const queue_item *item, arena *a)
{
    const char *why = NULL;

    LIST_FOR(l, &d->fleet.all)
    {
        const runner *r = LIST_OWNER(l, runner, in_fleet);
        const bad_repo *bad;

        if (!runner_takes(r) || !runner_suits(r, item->line->in))
            continue;
        bad = runner_bad_repo(r, item->line->repo, d->now_ms);
        if (!bad)
            return NULL;
        why = arena_printf(a, "no runner can reach the repository: %s", bad->why);
    }
    return why;
}

static const char *reason(const dispatch *d, int64_t now_ms, const queue_item *item, size_t ahead,
                          arena *a)
{
    const char *why;

    if (d->stale_db)
        return d->trouble;
    if (item->delay.at)
        return arena_printf(a, "tried again in %lld s",
                            (long long)((item->delay.key - now_ms + 999) / 1000));
    why = no_runner_reason(d, item->line->in, a);
    if (!why)
        why = unreachable_reason(d, item, a);
    if (why)
        return why;
    return ahead ? arena_printf(a, "%zu ahead", ahead) : "next for a free slot";
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

static void describe_item(const dispatch *d, int64_t now_ms, const queue_item *item, size_t ahead,
                          rec_task_row *ret, arena *a)
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
    ret->why = slice_of(reason(d, now_ms, item, ahead, a));
}

static void waiting(const dispatch *d, int64_t now_ms, msg_status_is *ret, arena *a)
{
    rec_task_row *rows = ARENA_ARRAY(a, rec_task_row, VIEW_ROWS_MAX);
    size_t n = 0;

    LIST_FOR(l, &d->queue.classes)
    {
        const queue_class *c = LIST_OWNER(l, queue_class, node);

        LIST_FOR(k, &c->lines)
        {
            LIST_FOR(i, &LIST_OWNER(k, queue_line, node)->items)
            {
                const queue_item *item = LIST_OWNER(i, queue_item, node);

                if (n < VIEW_ROWS_MAX) {
                    describe_item(d, now_ms, item, (size_t)ret->queued, &rows[n], a);
                    n++;
                }
                ret->queued += item->kind == ITEM_JOB ? HEAP_OWNER(item, job, item)->units_n -
                                                            HEAP_OWNER(item, job, item)->units_out
                                                      : 1;
            }
        }
    }
    for (size_t i = 0; i < d->queue.delayed.n; i++, ret->queued++)
        if (n < VIEW_ROWS_MAX)
            describe_item(d, now_ms, HEAP_OWNER(d->queue.delayed.v[i], queue_item, delay), 0,
                          &rows[n++], a);
    ret->waiting = (rec_task_row_list){ rows, n };
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
        row->why = slice_of(reason(d, now_ms, &t->item, 0, a));
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
        row->why = slice_of(reason(d, d->now_ms, &j->item, 0, a));
}
