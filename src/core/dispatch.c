#include "core/dispatch.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "core/dispatch_internal.h"

/* ---- what the handlers share ---- */

msg_event *emit(dispatch *d, event_kind kind, const build *b)
{
    msg_event *e = &effects_put(d->out, ROW_EVENT)->event;

    *e = (msg_event){ .hist = slice_of(d->config.hist),
                      .seq = ++d->last_seq,
                      .ep = d->config.ep,
                      .kind = kind,
                      .time_ms = (uint64_t)d->wall_ms };
    if (b) {
        e->build = b->id;
        e->repo = b->repo->name;
        e->ref = b->ref;
        e->oid = b->oid;
        e->gen = b->gen;
    }
    return e;
}

msg_event *emit_task(dispatch *d, event_kind kind, const task *t)
{
    msg_event *e = emit(d, kind, t->build);

    e->task = t->id;
    e->att = t->att;
    e->task_kind = t->kind;
    if (t->job)
        e->job = t->job->name;
    if (t->att) { /* copied: the task may get its next attempt in this very step */
        e->runner = t->runner_name;
        e->runner_id = arena_slice(&d->out->arena, slice_of(t->runner_id));
    }
    return e;
}

msg *answer(dispatch *d, msg_type type)
{
    msg *m = effects_send(d->out, d->ev->peer, type);

    m->r = d->ev->msg->r;
    return m;
}

void answer_err(dispatch *d, code code, const char *why)
{
    msg_err *m = &answer(d, MSG_err)->err;

    m->code = code;
    m->msg = slice_of(why);
}

slice step_text(dispatch *d, const char *fmt, ...)
{
    char line[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    return arena_slice(&d->out->arena, slice_of(line));
}

void dispatch_give(void *ctx, runner *r, queue_item *item)
{
    life_lease(ctx, r, item);
}

/* ---- life of the machine ---- */

static int64_t time_or(int64_t ms, int64_t otherwise_ms)
{
    return ms ? ms : otherwise_ms;
}

/* Times that were asked for hold for any number of runners. */
static void choose_paces(dispatch *d)
{
    const dispatch_config *c = &d->config;
    bool asked = c->hb_ms || c->suspect_ms || c->lease_ms;

    d->quick = (pace){ time_or(c->hb_ms, 1000), time_or(c->suspect_ms, 4000),
                       time_or(c->lease_ms, 15000) };
    d->slow = asked ? d->quick : (pace){ 5000, 20000, 60000 };
    if (!c->large)
        d->config.large = DISPATCH_LARGE;
}

dispatch *dispatch_new(const dispatch_config *config)
{
    dispatch *d = NEW(dispatch);

    assert(config->ep > 0 && strlen(config->hist) == 32);
    d->config = *config;
    d->config.stale = NULL; /* borrowed for the call */
    choose_paces(d);
    if (!d->config.tries_max)
        d->config.tries_max = 3;
    if (!d->config.log_max)
        d->config.log_max = 64 << 20;
    if (!d->config.artifact_max)
        d->config.artifact_max = 1 << 30;
    if (!d->config.log_window)
        d->config.log_window = 256 << 10;
    if (config->stale && *config->stale)
        stale_stand_still(d, config->stale);
    d->last_seq = config->last_seq;
    d->last_build = config->last_build;
    d->last_task = config->last_task;
    list_init(&d->build_list);
    list_init(&d->ended);
    list_init(&d->groups);
    queue_init(&d->queue);
    fleet_init(&d->fleet);
    return d;
}

static void free_builds(list *builds)
{
    LIST_FOR_SAFE(l, builds)
    {
        list_remove(l);
        build_free(LIST_OWNER(l, build, in_dispatch));
    }
}

void dispatch_free(dispatch *d)
{
    const map_entry *e;
    size_t at = 0;

    if (!d)
        return;
    LIST_FOR(l, &d->build_list)
    {
        build *b = LIST_OWNER(l, build, in_dispatch);

        LIST_FOR(k, &b->tasks)
        {
            task *t = LIST_OWNER(k, task, in_build);

            queue_remove(&d->queue, &t->item);
            lease_release(&d->leases, &t->lease);
        }
        for (size_t i = 0; i < b->jobs_n; i++)
            if (b->jobs[i]->tests)
                queue_remove(&d->queue, &b->jobs[i]->item);
    }
    free_builds(&d->build_list);
    free_builds(&d->ended);
    while ((e = map_next(&d->repos, &at))) {
        repo *p = e->value;

        free((char *)(uintptr_t)p->name.p);
        free((char *)(uintptr_t)p->url.p);
        free((char *)(uintptr_t)p->default_branch.p);
        map_free(&p->groups);
        free(p);
    }
    LIST_FOR_SAFE(l, &d->groups)
    {
        group_free(LIST_OWNER(l, group, in_dispatch));
    }
    heap_free(&d->group_ends);
    map_free(&d->repos);
    map_free(&d->builds);
    map_free(&d->tasks);
    queue_free(&d->queue);
    fleet_free(&d->fleet);
    lease_table_free(&d->leases);
    free(d);
}

bool dispatch_task_known(const dispatch *d, uint64_t task)
{
    return map_get(&d->tasks, task) != NULL;
}

slice dispatch_task_repo(const dispatch *d, uint64_t task)
{
    const struct task *t = map_get(&d->tasks, task);

    return t ? t->build->repo->name : (slice){ 0 };
}

size_t dispatch_builds(const dispatch *d)
{
    return d->builds_n;
}

int64_t dispatch_lease_ms(const dispatch *d)
{
    return d->large ? d->slow.lease_ms : d->quick.lease_ms;
}

const char *dispatch_trouble(const dispatch *d)
{
    return d->trouble;
}

uint64_t dispatch_last_seq(const dispatch *d)
{
    return d->last_seq;
}

bool dispatch_had_build(const dispatch *d, uint64_t build)
{
    return build > 0 && build <= d->last_build;
}

bool dispatch_had_task(const dispatch *d, uint64_t task)
{
    return task > 0 && task <= d->last_task;
}

/* ---- time ---- */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t dispatch_next_deadline_ms(const dispatch *d)
{
    int64_t at = earlier(d->head_ms, lease_next_deadline_ms(&d->leases));

    if (d->stale_db)
        return d->head_ms;
    at = earlier(at, heap_top_key(&d->fleet.hindrances));
    at = earlier(at, heap_top_key(&d->fleet.alarms));
    at = earlier(at, heap_top_key(&d->group_ends));
    return earlier(at, heap_top_key(&d->queue.delayed));
}

static void end_delays(dispatch *d)
{
    queue_item *item;

    while ((item = queue_due(&d->queue, d->now_ms)))
        if (!MUTANT(delay_never_ends))
            life_queue_task(d, HEAP_OWNER(item, task, item));
}

static void say_head(dispatch *d)
{
    msg_head *m;

    if (d->now_ms < d->head_ms)
        return;
    d->head_ms = d->now_ms + DISPATCH_HEAD_MS;
    if (MUTANT(heads_stop) && d->out->n == 0)
        return;
    m = &effects_publish(d->out, "h.", MSG_head)->head;
    *m = (msg_head){ .hist = slice_of(d->config.hist),
                     .ep = d->config.ep,
                     .last = d->last_seq,
                     .boot = slice_of(d->config.boot) };
}

static void time_passes(dispatch *d)
{
    lease *l;

    if (d->stale_db) {
        say_head(d);
        return;
    }
    while ((l = lease_due(&d->leases, d->now_ms)))
        if (MUTANT(lapse_off))
            lease_renew(&d->leases, l, d->now_ms + dispatch_pace(d, l->runner)->lease_ms);
        else
            life_lost(d, LIST_OWNER(l, task, lease), false,
                      "its lease lapsed: nothing was heard of it");
    fleet_alarms(d);
    end_delays(d);
    group_due(d);
    queue_tidy(&d->queue);
    fleet_rematch(&d->fleet, d->now_ms);
    say_head(d);
}

/* ---- messages ---- */

static void from_runner(dispatch *d, runner *r, const msg *m)
{
    switch (m->type) {
    case MSG_hb:
        on_hb(d, r, &m->hb);
        break;
    case MSG_start:
        on_start(d, r, &m->start);
        break;
    case MSG_nack:
        on_nack(d, r, &m->nack);
        break;
    case MSG_plan:
        on_plan(d, r, &m->plan);
        break;
    case MSG_tests:
        on_tests(d, r, &m->tests);
        break;
    case MSG_log:
        on_log(d, r, &m->log);
        break;
    case MSG_result:
        on_result(d, r, &m->result);
        break;
    case MSG_bye:
        on_bye(d, r, &m->bye);
        break;
    default:
        break;
    }
}

static bool is_runners(msg_type type)
{
    return type == MSG_hb || type == MSG_start || type == MSG_nack || type == MSG_plan ||
           type == MSG_tests || type == MSG_log || type == MSG_result || type == MSG_bye;
}

static void message(dispatch *d)
{
    const msg *m = d->ev->msg;
    runner *r = d->ev->peer ? fleet_by_peer(&d->fleet, d->ev->peer) : NULL;

    if (d->stale_db) {
        stale_message(d, m);
        return;
    }
    if (m->type == MSG_submit) {
        on_submit(d, &m->submit);
        return;
    }
    if (!d->ev->peer) { /* the intake takes submissions only */
        d->bad_msgs++;
        return;
    }
    if (is_runners(m->type)) {
        if (!r) {
            effects_send(d->out, d->ev->peer, MSG_who);
            return;
        }
        fleet_heard(d, r);
        from_runner(d, r, m);
        return;
    }
    switch (m->type) {
    case MSG_hello:
        on_hello(d, &m->hello);
        break;
    case MSG_submission:
        on_submission(d, &m->submission);
        break;
    case MSG_cancel_build:
        on_cancel_build(d, &m->cancel_build);
        break;
    case MSG_rebuild:
        on_rebuild(d, &m->rebuild);
        break;
    case MSG_set_mode:
        on_set_mode(d, &m->set_mode);
        break;
    default: /* the dispatcher's own words, sent back to it */
        d->bad_msgs++;
        answer_err(
            d, CODE_BAD_MSG,
            arena_printf(&d->out->arena, "a dispatcher takes no '%s'", msg_type_text(m->type)));
        break;
    }
}

void dispatch_begin(dispatch *d, int64_t now_ms, int64_t wall_ms, effects *out)
{
    free_builds(&d->ended);
    d->steps++;
    d->now_ms = now_ms;
    d->wall_ms = wall_ms;
    d->out = out;
}

static void match_work(dispatch *d)
{
    const match m = { &d->queue, &d->fleet, d->now_ms, dispatch_give, d };

    if (!d->stale_db)
        match_all(&m);
}

static void postpone_expiry(dispatch *d, int64_t by_ms)
{
    lease_shift(&d->leases, by_ms);
    LIST_FOR(l, &d->fleet.all)
    {
        LIST_OWNER(l, runner, in_fleet)->seen_ms += by_ms;
    }
}

void dispatch_step(dispatch *d, const dispatch_event *ev, effects *out)
{
    dispatch_begin(d, ev->now_ms, ev->wall_ms, out);
    d->ev = ev;
    d->disk_low = ev->disk_low;
    fleet_measure(d);
    switch (ev->kind) {
    case DISPATCH_MSG:
        if (MUTANT(expiry_starved))
            postpone_expiry(d, DISPATCH_HEAD_MS);
        message(d);
        break;
    case DISPATCH_TICK:
        time_passes(d);
        break;
    case DISPATCH_UNREACHABLE:
        if (!d->stale_db)
            fleet_unreachable(d, ev->peer);
        break;
    case DISPATCH_GAP:
        if (!MUTANT(gap_ignored))
            postpone_expiry(d, ev->gap_ms);
        break;
    }
    match_work(d);
    d->ev = NULL;
    d->out = NULL;
}
