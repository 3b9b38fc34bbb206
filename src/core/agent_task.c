/* Attempts: what the dispatcher asks for, and what an earlier agent left. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "core/agent_parts.h"

/* ---- attempts ---- */

void agent_free_attempt(attempt *t)
{
    arena_free(&t->arena);
    agent_free_outcomes(t);
    free(t);
}

attempt *agent_find(const agent *a, uint64_t task, uint64_t att)
{
    attempt *t = map_get(&a->by_task, task);

    return t && t->att == att ? t : NULL;
}

/* FNV-1a: only to see whether a slot had the same before. */
static uint64_t hash(uint64_t h, slice s)
{
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * UINT64_C(1099511628211);
    return h | 1;
}

/* Numbers only grow: an old copy of the dispatcher's data does not know the greatest. */
static void remember_last(agent *a, const msg_assign *m)
{
    if (!m->key.n || m->task < a->last_task || (m->task == a->last_task && m->att <= a->last_att))
        return;
    a->last_task = m->task;
    a->last_att = m->att;
    snprintf(a->last_key, sizeof a->last_key, SLICE_FMT, SLICE_ARG(m->key));
}

static attempt *hold(agent *a, const msg_assign *m)
{
    attempt *t = NEW(attempt);

    t->task = m->task;
    t->att = m->att;
    t->ep = m->ep;
    snprintf(t->key, sizeof t->key, SLICE_FMT, SLICE_ARG(m->key));
    t->kind = m->kind;
    t->alone = m->alone;
    a->any_alone |= m->alone;
    t->state = HELD_ACCEPTED;
    t->place[0] = hash(UINT64_C(14695981039346656037) ^ m->build, m->job);
    t->place[1] = hash(UINT64_C(14695981039346656037), m->repo);
    t->told.file = t->sent.file = m->from;
    t->streams[PART_LOG].window = t->streams[PART_ARTIFACTS].window = a->window;
    t->log_at = t->retry_at = HEAP_NEVER;
    t->poll_ms = AGENT_LINGER_MS;
    list_push(&a->held, &t->link);
    map_put(&a->by_task, t->task, t);
    a->held_n++;
    remember_last(a, m);
    return t;
}

static void unlist(agent *a, attempt *t)
{
    if (t->assign)
        a->waiting--;
    heap_remove(&a->timers, &t->timer);
    list_remove(&t->link);
    map_remove(&a->by_task, t->task);
    a->held_n--;
}

void agent_delete_spool(const attempt *t, agent_effects *out)
{
    agent_effect *e = agent_add(out, AGENT_DELETE_SPOOL);

    e->task = t->task;
    e->att = t->att;
}

static void remember_ended(agent *a, uint64_t task, uint64_t att, code nacked)
{
    const ended *last = map_get(&a->ended_by_task, task);
    ended *e;

    if (last && last->att > att) /* given back before this one ended, and must not start */
        return;
    e = &a->ended[a->ended_next++ % AGENT_ENDED_MAX];
    if (e->task && map_get(&a->ended_by_task, e->task) == e)
        map_remove(&a->ended_by_task, e->task);
    *e = (ended){ task, att, nacked };
    map_put(&a->ended_by_task, task, e);
}

void agent_forget_ended(agent *a)
{
    map_free(&a->ended_by_task);
    a->ended_by_task = (map){ 0 };
    memset(a->ended, 0, sizeof a->ended);
}

static void send_nack(agent *a, uint64_t task, uint64_t att, code why, slice text,
                      agent_effects *out)
{
    msg_nack *n;

    if (a->session != SESSION_UP) /* the next hello does not list it, which says the same */
        return;
    n = &agent_send(out, MSG_nack)->nack;
    n->task = task;
    n->att = att;
    n->code = why;
    n->msg = arena_slice(&out->arena, text);
}

/* Ends an attempt that no executor has, by a nack or (why 0) without a word. */
void agent_give_up(agent *a, attempt *t, code why, slice text, agent_effects *out)
{
    assert(!t->placed);
    if (why && !a->stopping) /* else bye gives all back at once, and nothing new comes between */
        send_nack(a, t->task, t->att, why, text, out);
    remember_ended(a, t->task, t->att, why);
    /* Else the spool of that name is another's: an attempt of an older history that still ends. */
    if (!t->assign && !t->no_spool && !(MUTANT(spool_kept) && !why))
        agent_delete_spool(t, out);
    unlist(a, t);
    agent_free_attempt(t);
}

static slices copy_list(const slices *from, arena *to)
{
    slices l = { from->n ? ARENA_ARRAY(to, slice, from->n) : NULL, from->n };

    for (size_t i = 0; i < l.n; i++)
        l.v[i] = arena_slice(to, from->v[i]);
    return l;
}

msg *agent_copy_assign(const msg *from, arena *to)
{
    msg *m = ARENA_NEW(to, msg);
    msg_assign *x = &m->assign;

    *m = *from;
    x->job = arena_slice(to, x->job);
    x->repo = arena_slice(to, x->repo);
    x->url = arena_slice(to, x->url);
    x->oid = arena_slice(to, x->oid);
    x->ref = arena_slice(to, x->ref);
    x->default_branch = arena_slice(to, x->default_branch);
    x->spec = arena_slice(to, x->spec);
    x->key = arena_slice(to, x->key);
    x->env = copy_list(&from->assign.env, to);
    x->files = copy_list(&from->assign.files, to);
    x->inputs = copy_list(&from->assign.inputs, to);
    return m;
}

bool agent_ended(agent *a, attempt *t, const msg_result *m, agent_effects *out)
{
    if (m->verdict == VERDICT_CANCELED && !t->canceled) {
        agent_give_up(a, t, CODE_LOST, m->msg, out);
        return false;
    }
    agent_take_result(t, m);
    return true;
}

void agent_no_result(agent *a, attempt *t, agent_effects *out)
{
    agent_give_up(a, t, CODE_LOST, SLICE("its executor ended"), out);
}

void agent_lose_all(agent *a, agent_effects *out)
{
    LIST_FOR_SAFE(at, &a->held)
    {
        attempt *t = LIST_OWNER(at, attempt, link);

        if (t->state == HELD_DONE)
            continue; /* told at the next start */
        if (t->placed)
            a->slots[t->slot]->a = NULL;
        t->placed = false;
        agent_give_up(a, t, CODE_LOST, SLICE("the runner was stopped"), out);
    }
}

/* ---- the dispatcher's word ---- */

static size_t active(const agent *a, bool plans)
{
    size_t n = 0;

    LIST_FOR(at, &a->held)
    {
        const attempt *t = LIST_OWNER(at, attempt, link);

        n += t->state != HELD_DONE && (t->kind == TASK_PLAN) == plans;
    }
    return n;
}

uint64_t agent_free_slots(const agent *a)
{
    size_t n = active(a, false);

    return agent_leaves(a) || n >= a->slots_n ? 0 : a->slots_n - n;
}

void agent_send_start(const attempt *t, agent_effects *out)
{
    msg_start *m = &agent_send(out, MSG_start)->start;

    m->task = t->task;
    m->att = t->att;
}

/* False: it must not run (again); what there is to say was said. */
static bool is_new(agent *a, const msg_assign *m, int64_t now, agent_effects *out)
{
    attempt *t = map_get(&a->by_task, m->task);
    const ended *e;

    if (t && m->att == t->att) {
        if (t->state == HELD_RUNNING)
            agent_send_start(t, out);
        t->result_sent = false;
        agent_pump(a, t, now, out);
    }
    if (t && m->att <= t->att)
        return false;
    if (t)
        agent_doom(a, t, out);
    e = map_get(&a->ended_by_task, m->task);
    if (!e || m->att > e->att || MUTANT(ended_forgotten))
        return true;
    if (m->att == e->att && e->nacked)
        send_nack(a, m->task, m->att, e->nacked, (slice){ 0 }, out);
    return false;
}

void agent_assign(agent *a, const agent_event *ev, agent_effects *out)
{
    const msg_assign *m = &ev->msg->assign;
    bool plan = m->kind == TASK_PLAN;
    code why = CODE_BUSY;
    attempt *t;
    slot *s;

    if (!is_new(a, m, ev->now_ms, out))
        return;
    if (agent_leaves(a))
        why = CODE_DRAIN;
    else if (m->alone && agent_alone_first_ms(a) <= ev->now_ms)
        ; /* it comes so late that it may have been given to another */
    else if (a->held_n < AGENT_HELD_MAX && active(a, plan) < (plan ? 1 : a->slots_n))
        why = code_none;
    if (why) {
        send_nack(a, m->task, m->att, why, (slice){ 0 }, out);
        remember_ended(a, m->task, m->att, why);
        return;
    }
    t = hold(a, m);
    if (t->alone)
        t->until_ms = agent_alone_first_ms(a);
    s = agent_choose_slot(a, t);
    if (s) {
        agent_place(s, t, ev->msg, out);
    } else { /* its slot is being cleared, or its executor is starting */
        t->assign = agent_copy_assign(ev->msg, &t->arena);
        a->waiting++;
    }
}

void agent_doom(agent *a, attempt *t, agent_effects *out)
{
    if (!t->placed) {
        agent_give_up(a, t, code_none, (slice){ 0 }, out);
        return;
    }
    remember_ended(a, t->task, t->att, code_none);
    unlist(a, t);
    t->doomed = true;
    agent_kill_task(t->slot, t->task, t->att, out);
}

void agent_result_ok(agent *a, uint64_t task, uint64_t att, agent_effects *out)
{
    attempt *t = agent_find(a, task, att);

    if (t) /* one that still runs, too: its task is final without it */
        agent_doom(a, t, out);
}

void agent_disown(agent *a, uint64_t task, uint64_t att, agent_effects *out)
{
    const ended *e = map_get(&a->ended_by_task, task);

    if (e && e->att >= att && !e->nacked) /* by a result, or at the dispatcher's word */
        return;
    send_nack(a, task, att, CODE_LOST, SLICE("not held by this runner"), out);
    if (!e || e->att < att)
        remember_ended(a, task, att, CODE_LOST);
}

void agent_cancel(agent *a, const msg_cancel *m, int64_t now, agent_effects *out)
{
    attempt *t = agent_find(a, m->task, m->att);
    msg *copy;

    if (t)
        t->canceled = true;
    if (t && t->placed) {
        copy = ARENA_NEW(&out->arena, msg);
        copy->type = MSG_cancel;
        copy->cancel = *m;
        copy->cancel.why = arena_slice(&out->arena, m->why);
        agent_send_exec(t->slot, copy, out);
    } else if (t && t->assign) { /* never started */
        msg never = { .type = MSG_result };

        a->waiting--;
        t->assign = NULL;
        t->no_spool = true;
        never.result.verdict = VERDICT_CANCELED;
        never.result.msg = m->why;
        never.result.from = t->told.file;
        agent_take_result(t, &never.result);
        agent_pump(a, t, now, out);
    } else if (!t) {
        agent_disown(a, m->task, m->att, out);
    }
}

/* ---- what was there at the start ---- */

static void ask_part(attempt *t, agent_part part, uint64_t from, agent_effects *out)
{
    agent_effect *e = agent_add(out, AGENT_READ);

    e->task = t->task;
    e->att = t->att;
    e->part = part;
    e->off = from;
}

/* Learns from the spool what an attempt's executor has told an earlier agent. */
void agent_ask_spool(attempt *t, agent_effects *out)
{
    if (t->kind == TASK_PLAN) {
        t->plan_reading = true;
        t->plan_read_from = 0;
        ask_part(t, AGENT_PART_PLAN, 0, out);
    } else {
        ask_part(t, AGENT_PART_TESTS, 0, out);
    }
}

void agent_ask_result(attempt *t, agent_effects *out)
{
    t->result_reading = true;
    ask_part(t, AGENT_PART_RESULT, 0, out);
}

void agent_found(agent *a, const agent_event *ev, agent_effects *out)
{
    attempt *old = ev->msg ? map_get(&a->by_task, ev->msg->assign.task) : NULL;
    attempt *t;

    if (!ev->msg || ev->msg->assign.task != ev->task || ev->msg->assign.att != ev->att ||
        a->held_n >= AGENT_HELD_MAX || (old && old->att >= ev->att)) {
        agent_effect *e = agent_add(out, AGENT_DELETE_SPOOL);

        e->task = ev->task;
        e->att = ev->att;
        remember_ended(a, ev->task, ev->att, CODE_LOST);
        return;
    }
    if (old) /* a greater attempt fences it */
        agent_give_up(a, old, code_none, (slice){ 0 }, out);
    t = hold(a, &ev->msg->assign);
    t->found = true;
    if (ev->has_result) {
        t->state = HELD_DONE;
        agent_ask_spool(t, out);
        if (!MUTANT(spooled_result_unread))
            agent_ask_result(t, out);
    }
}

static bool is_orphan(const attempt *t)
{
    return t->found && !t->placed && t->state != HELD_DONE && !t->result_reading;
}

bool agent_settled(const agent *a)
{
    bool orphans = false;

    LIST_FOR(at, &a->held)
    {
        orphans |= is_orphan(LIST_OWNER(at, attempt, link));
    }
    if (!orphans)
        return true;
    for (unsigned i = 0; i < a->slots_cap; i++)
        if (a->slots[i] && a->slots[i]->state == SLOT_CONNECTED)
            return false;
    return true;
}

bool agent_settle(agent *a, int64_t now, agent_effects *out)
{
    bool reading = false;

    if (!agent_settled(a))
        agent_kill_silent(a, now, out);
    LIST_FOR(at, &a->held)
    {
        attempt *t = LIST_OWNER(at, attempt, link);

        if (is_orphan(t)) {
            agent_ask_spool(t, out);
            agent_ask_result(t, out);
        }
        reading |= t->found && t->state != HELD_DONE && t->result_reading;
    }
    return !reading;
}
