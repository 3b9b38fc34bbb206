#include "base/mutant.h"
#include "core/dispatch_internal.h"

#define REPLACED_BEATS 2 /* a process that lives is heard once in so many heartbeats */

void put_runner(dispatch *d, const runner *r)
{
    row_runner *row = &effects_put(d->out, ROW_RUNNER)->runner;

    *row = (row_runner){ .id = { r->id, 32 },
                         .name = r->name,
                         .host = r->host,
                         .boot = slice_of(r->boot),
                         .labels = r->labels,
                         .reach = r->reach,
                         .slots = r->slots,
                         .mode = r->mode,
                         .state = r->state,
                         .losses = r->losses,
                         .seen_ms = r->seen_wall_ms };
}

static msg_event *emit_runner(dispatch *d, event_kind kind, const runner *r)
{
    msg_event *e = emit(d, kind, NULL);

    e->runner = r->name;
    e->runner_id = (slice){ r->id, 32 };
    return e;
}

void fleet_measure(dispatch *d)
{
    size_t n = d->fleet.present, large = d->config.large;

    d->large = d->large ? n > large * DISPATCH_LARGE_LEFT / 100 : n > large;
}

const pace *dispatch_pace(const dispatch *d, const runner *r)
{
    return r->slow ? &d->slow : &d->quick;
}

static void arm(dispatch *d, runner *r)
{
    const pace *p = dispatch_pace(d, r);

    heap_set(&d->fleet.alarms, &r->alarm,
             r->seen_ms + (r->state == RUNNER_UP ? p->suspect_ms : p->lease_ms));
}

static void renew(dispatch *d, task *t)
{
    lease_renew(&d->leases, &t->lease, d->now_ms + dispatch_pace(d, t->lease.runner)->lease_ms);
}

void fleet_heard(dispatch *d, runner *r)
{
    r->seen_ms = d->now_ms; /* the alarm is moved when it rings, not at each message */
    r->seen_wall_ms = d->wall_ms;
    r->awaited = false;
    if (r->state == RUNNER_UP)
        return;
    fleet_set_state(&d->fleet, r, RUNNER_UP);
    arm(d, r);
    fleet_update(&d->fleet, r, true);
    emit_runner(d, EVENT_RUNNER_UP, r)->n = r->slots;
}

static void gone(dispatch *d, runner *r, const char *why)
{
    fleet_set_state(&d->fleet, r, RUNNER_GONE);
    heap_remove(&d->fleet.alarms, &r->alarm);
    fleet_bind(&d->fleet, r, 0);
    fleet_update(&d->fleet, r, false);
    LIST_FOR_SAFE(l, &r->leases)
    {
        life_lost(d, LIST_OWNER(LIST_OWNER(l, lease, on_runner), task, lease), false, why);
    }
    put_runner(d, r);
    emit_runner(d, EVENT_RUNNER_DOWN, r)->why = step_text(d, "%s", why);
}

static void suspect(dispatch *d, runner *r)
{
    fleet_set_state(&d->fleet, r, RUNNER_SUSPECT);
    fleet_update(&d->fleet, r, false);
    emit_runner(d, EVENT_SUSPECT, r);
}

void fleet_unreachable(dispatch *d, uint64_t peer)
{
    runner *r = fleet_by_peer(&d->fleet, peer);

    if (!r)
        return;
    fleet_bind(&d->fleet, r, 0);
    if (r->state == RUNNER_UP)
        suspect(d, r);
    LIST_FOR_SAFE(l, &r->leases)
    {
        task *t = LIST_OWNER(LIST_OWNER(l, lease, on_runner), task, lease);

        if (t->state == STATE_LEASED)
            life_return(d, t, CODE_GONE, SLICE("its runner's connection is gone"), 0);
    }
    arm(d, r);
}

void fleet_alarms(dispatch *d)
{
    heap_node *top;

    while ((top = heap_top(&d->fleet.alarms)) && top->key <= d->now_ms) {
        runner *r = HEAP_OWNER(top, runner, alarm);
        const pace *p = dispatch_pace(d, r);

        if (r->state == RUNNER_UP && r->seen_ms + p->suspect_ms <= d->now_ms) {
            suspect(d, r);
        } else if (r->state == RUNNER_SUSPECT && r->seen_ms + p->lease_ms <= d->now_ms) {
            gone(d, r, "its runner was silent for a whole lease");
            continue;
        }
        arm(d, r);
    }
}

void fleet_set_mode(dispatch *d, runner *r, runner_mode mode, slice why)
{
    if (r->mode == mode)
        return;
    r->mode = mode;
    if (mode == MODE_RUN)
        r->losses = 0;
    fleet_update(&d->fleet, r, true);
    if (!MUTANT(mode_not_stored))
        put_runner(d, r);
    {
        msg_event *e = emit_runner(d, EVENT_RUNNER_MODE, r);

        e->mode = mode;
        e->why = why;
    }
    if (r->peer) {
        msg_mode *m = &effects_send(d->out, r->peer, MSG_mode)->mode;

        *m = (msg_mode){ .mode = mode, .why = why };
    }
}

void fleet_count_loss(dispatch *d, runner *r)
{
    if (r->loss_step == d->steps) /* one end of a runner takes all its attempts */
        return;
    r->loss_step = d->steps;
    if (++r->losses >= FLEET_LOSSES_MAX && r->mode == MODE_RUN && !MUTANT(cordon_never))
        fleet_set_mode(d, r, MODE_CORDON,
                       step_text(d,
                                 "it lost its work %d times in a row; look at it, then 'volt "
                                 "resume' it",
                                 FLEET_LOSSES_MAX));
}

/* ---- hello ---- */

typedef struct reconcile {
    rec_held *keep, *drop;
    size_t keep_n, drop_n;
} reconcile;

static void drop(reconcile *rc, const rec_held *h, code code)
{
    if (MUTANT(nobody_drops))
        return;
    rc->drop[rc->drop_n++] = (rec_held){ .task = h->task, .att = h->att, .code = code };
}

static void reconcile_held(dispatch *d, runner *r, const msg_hello *m, reconcile *rc)
{
    bool same_history = slice_is(m->hist, d->config.hist);

    for (size_t i = 0; i < m->held.n; i++) {
        const rec_held *h = &m->held.v[i];
        task *t = map_get(&d->tasks, h->task);

        if (m->hist.n && !same_history) {
            /* By the welcome's history it ends all it holds.  Were it named, and this a late hello
             * of one that did so already, what it got since under the same numbers would end. */
            continue;
        } else if (!same_history) {
            drop(rc, h, CODE_STALE);
        } else if (t && t->lease.runner == r && (t->att == h->att || MUTANT(hello_keeps_stale))) {
            t->hb_seen = r->hb_count;
            t->missed = 0;
            renew(d, t);
            if (h->state != HELD_ACCEPTED)
                life_running(d, t);
            rc->keep[rc->keep_n++] = (rec_held){ .task = h->task,
                                                 .att = h->att,
                                                 .log_bytes = t->bytes[PART_LOG],
                                                 .artifact_bytes = t->bytes[PART_ARTIFACTS] };
        } else {
            drop(rc, h, CODE_STALE);
        }
    }
}

static bool holds(const msg_hello *m, const task *t)
{
    for (size_t i = 0; i < m->held.n; i++)
        if (m->held.v[i].task == t->id && m->held.v[i].att == t->att)
            return true;
    return false;
}

/* Leases that the runner does not hold: sent again when it is the same process and had not started,
 * else lost.  (After a new boot, or when it knows another history, nothing tells whether it had
 * started.) */
static void reconcile_leases(dispatch *d, runner *r, const msg_hello *m, bool same_boot)
{
    bool ours = slice_is(m->hist, d->config.hist);

    LIST_FOR_SAFE(l, &r->leases)
    {
        task *t = LIST_OWNER(LIST_OWNER(l, lease, on_runner), task, lease);

        if (ours && holds(m, t))
            continue;
        if (same_boot && (ours || !m->hist.n) && t->state == STATE_LEASED) {
            renew(d, t);
            life_assign(d, t);
        } else if (!MUTANT(hello_keeps_leases)) {
            life_lost(d, t, !same_boot, "its runner came back without it");
        }
    }
}

static bool refuse(dispatch *d, code code, const char *why, uint64_t retry_ms)
{
    msg_refuse *m = &effects_send(d->out, d->ev->peer, MSG_refuse)->refuse;

    *m = (msg_refuse){ .code = code, .msg = slice_of(why), .retry_ms = retry_ms };
    return false;
}

/* Makes room: runners that are gone are forgotten (their rows stay).  False: there are none. */
static bool forget_gone(dispatch *d)
{
    bool some = false;

    LIST_FOR_SAFE(l, &d->fleet.all)
    {
        runner *r = LIST_OWNER(l, runner, in_fleet);

        if (r->state == RUNNER_GONE && list_empty(&r->leases)) {
            fleet_remove(&d->fleet, r);
            some = true;
        }
    }
    return some;
}

static bool may_register(dispatch *d, const msg_hello *m)
{
    if (m->vmin > MSG_VERSION || m->vmax < MSG_VERSION)
        return refuse(d, CODE_VERSION, "this dispatcher speaks VOLT/1 only", 0);
    if (!fleet_by_id(&d->fleet, m->id) && d->fleet.n >= FLEET_RUNNERS_MAX && !forget_gone(d))
        return refuse(d, CODE_TOO_BIG, "there are too many runners", 60000);
    return true;
}

static void describe(dispatch *d, runner *r, const msg_hello *m)
{
    runner_describe(r, m->name, m->host, m->labels, m->reach, m->slots);
    r->own_mode = m->mode ? m->mode : MODE_RUN;
    memcpy(r->boot, m->boot.p, 32);
    runner_forgive_repos(r); /* the new process may reach what the old one did not */
    fleet_update(&d->fleet, r, true);
}

/* Of two processes with one id the newer one wins.  The older one is told so when it says hello
 * again, as it must (its messages are answered with `who`), and not at once: a hello that a process
 * left when it died may be read after that of its successor, which would then be sent away.  So it
 * only counts while it speaks; an older one that comes again after some heartbeats is welcome. */
static bool is_replaced(const dispatch *d, const runner *r, const msg_hello *m)
{
    return r->peer && r->peer != d->ev->peer && slice_is(m->boot, r->before) &&
           d->now_ms - r->seen_ms <= REPLACED_BEATS * dispatch_pace(d, r)->hb_ms;
}

void on_hello(dispatch *d, const msg_hello *m)
{
    runner *r;
    reconcile rc;
    msg_welcome *w;
    const pace *p;
    bool same_boot;

    if (!may_register(d, m) || stale_hello(d, m))
        return;
    r = fleet_by_id(&d->fleet, m->id);
    if (!r)
        r = fleet_add(&d->fleet, m->id);
    same_boot = slice_is(m->boot, r->boot) || MUTANT(boot_unseen);
    if (is_replaced(d, r, m)) {
        refuse(d, CODE_REPLACED, "a newer process with the same id took over", 0);
        return;
    }
    if (!same_boot)
        memcpy(r->before, r->boot, sizeof r->before);
    fleet_bind(&d->fleet, r, d->ev->peer);
    describe(d, r, m);
    r->slow = d->large; /* as the welcome tells it */
    fleet_heard(d, r);
    put_runner(d, r);
    rc.keep = ARENA_ARRAY(&d->out->arena, rec_held, m->held.n);
    rc.drop = ARENA_ARRAY(&d->out->arena, rec_held, m->held.n);
    rc.keep_n = rc.drop_n = 0;
    reconcile_held(d, r, m, &rc);
    p = dispatch_pace(d, r);
    w = &answer(d, MSG_welcome)->welcome;
    *w = (msg_welcome){ .ver = MSG_VERSION,
                        .ep = d->config.ep,
                        .hist = slice_of(d->config.hist),
                        .key = stale_epoch_key(d, d->config.ep),
                        .hb_ms = (uint64_t)p->hb_ms,
                        .suspect_ms = (uint64_t)p->suspect_ms,
                        .lease_ms = (uint64_t)p->lease_ms,
                        .window = d->config.log_window,
                        .mode = r->mode,
                        .keep = { rc.keep, rc.keep_n },
                        .drop = { rc.drop, rc.drop_n } };
    reconcile_leases(d, r, m, same_boot); /* behind the welcome: assigns come after it */
    if (!same_boot)
        group_returned(d, r, &m->held);
}

/* ---- heartbeats ---- */

/* Leases that the heartbeat did not list: the assign, or the cancel, is sent again. */
static void repeat_unheard(dispatch *d, runner *r)
{
    LIST_FOR_SAFE(l, &r->leases)
    {
        task *t = LIST_OWNER(LIST_OWNER(l, lease, on_runner), task, lease);

        if (t->state == STATE_CANCELING) {
            msg_cancel *m = &effects_send(d->out, r->peer, MSG_cancel)->cancel;

            *m = (msg_cancel){ .task = t->id, .att = t->att, .why = t->why };
        }
        if (t->hb_seen == r->hb_count) {
            t->missed = 0;
        } else if (++t->missed >= DISPATCH_TAKEN_BACK && t->state == STATE_LEASED) {
            t->missed = 0;
            life_assign(d, t);
        }
    }
}

/* A fleet that grew or shrank: a runner that says which pace it keeps is told of the right one,
 * with each heartbeat until it does.  One that says nothing keeps what its welcome told. */
static void set_pace(dispatch *d, runner *r, const msg_hb *m, msg_hb_ok *ok)
{
    const pace *p = d->large ? &d->slow : &d->quick;

    if (!m->hb_ms)
        return;
    if (m->hb_ms == (uint64_t)p->hb_ms) {
        r->slow = d->large;
        arm(d, r); /* sooner than for the slow pace */
        return;
    }
    r->slow = true; /* it is, or may be once this has arrived */
    ok->hb_ms = (uint64_t)p->hb_ms;
    ok->suspect_ms = (uint64_t)p->suspect_ms;
    ok->lease_ms = (uint64_t)p->lease_ms;
}

void on_hb(dispatch *d, runner *r, const msg_hb *m)
{
    rec_held *drops = ARENA_ARRAY(&d->out->arena, rec_held, m->held.n);
    size_t drops_n = 0;
    msg_hb_ok ok = { .n = m->n, .ep = d->config.ep };

    set_pace(d, r, m, &ok); /* first: the leases are renewed for the pace it may have then */
    r->hb_count++;
    for (size_t i = 0; i < m->held.n; i++) {
        const rec_held *h = &m->held.v[i];
        task *t = task_of(d, r, h->task, h->att);

        if (!t) {
            const task *known = map_get(&d->tasks, h->task);

            /* Final and acknowledged, the answer is on its way or comes with the result's repeat.
             * What still runs is told, for it must not be taken for renewed. */
            if (h->state == HELD_DONE &&
                (!known || (known->state == STATE_FINAL && known->att == h->att)))
                continue;
            if (MUTANT(nobody_drops))
                continue;
            drops[drops_n++] = (rec_held){ .task = h->task, .att = h->att, .code = CODE_STALE };
            continue;
        }
        t->hb_seen = r->hb_count;
        if (!MUTANT(lease_not_renewed))
            renew(d, t);
        if (h->state == HELD_RUNNING || MUTANT(accepted_is_running))
            life_running(d, t);
    }
    repeat_unheard(d, r);
    ok.drop = (rec_held_list){ drops, drops_n };
    effects_send(d->out, r->peer, MSG_hb_ok)->hb_ok = ok;
}

void on_bye(dispatch *d, runner *r, const msg_bye *m)
{
    slice why = m->why.n ? m->why : SLICE("its runner left");

    /* Somebody stopped it: that speaks against neither its work nor itself, so no try is counted,
     * and it may have the same work again when it is back. */
    LIST_FOR_SAFE(l, &r->leases)
    {
        task *t = LIST_OWNER(LIST_OWNER(l, lease, on_runner), task, lease);

        if (MUTANT(bye_counts))
            t->tries++;
        life_return(d, t, CODE_DRAIN, why, 0);
        t->avoid = 0;
    }
    group_ended(d, r, 0, 0);
    gone(d, r, arena_str(&d->out->arena, why));
}
