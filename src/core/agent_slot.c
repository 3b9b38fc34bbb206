/* Slots and the executors in them. */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "core/agent_parts.h"

#define START_MS      15000 /* an executor that does not speak within is given up */
#define YOUNG_MS      10000 /* one that ends sooner after its start has failed */
#define BACKOFF_MS    100
#define BACKOFF_SHIFT 6 /* 6.4 s at most between starts */
#define FAILURES_MAX  3 /* then waiting attempts are given back */
#define KILL_GRACE_MS 1 /* 0 would be absent: the executor's own grace */

/* ---- slots ---- */

static slot *slot_at(agent *a, unsigned n)
{
    assert(n <= MSG_SLOTS_MAX);
    if (n >= a->slots_cap) {
        a->slots = mem_grow(a->slots, n + 1, sizeof *a->slots);
        for (unsigned i = a->slots_cap; i <= n; i++)
            a->slots[i] = NULL;
        a->slots_cap = n + 1;
    }
    if (!a->slots[n]) {
        a->slots[n] = NEW(slot);
        a->slots[n]->n = n;
    }
    return a->slots[n];
}

static void start_executor(agent *a, slot *s, int64_t now, agent_effects *out)
{
    s->state = SLOT_STARTING;
    s->started_ms = now;
    heap_set(&a->slot_timers, &s->timer, now + START_MS);
    agent_add(out, AGENT_SPAWN)->slot = s->n;
}

void agent_send_exec(unsigned n, const msg *m, agent_effects *out)
{
    agent_effect *e = agent_add(out, AGENT_EXEC);

    e->slot = n;
    e->msg = m;
}

void agent_kill_task(unsigned n, uint64_t task, uint64_t att, agent_effects *out)
{
    msg *m = ARENA_NEW(&out->arena, msg);

    m->type = MSG_cancel;
    m->cancel.task = task;
    m->cancel.att = att;
    m->cancel.grace_ms = KILL_GRACE_MS;
    m->cancel.why = SLICE("no longer this runner's");
    agent_send_exec(n, m, out);
}

static void bye(slot *s, agent_effects *out)
{
    msg *m = ARENA_NEW(&out->arena, msg);

    m->type = MSG_bye;
    s->leaving = true;
    agent_send_exec(s->n, m, out);
}

void agent_bye_slots(agent *a, agent_effects *out)
{
    for (unsigned i = 0; i < a->slots_cap; i++) {
        slot *s = a->slots[i];

        if (!s)
            continue;
        heap_remove(&a->slot_timers, &s->timer);
        if (s->state == SLOT_CONNECTED || s->state == SLOT_READY)
            bye(s, out);
        else if (s->state != SLOT_KILLED)
            s->state = SLOT_DOWN;
    }
}

/* An executor keeps its last attempt and takes an assign of the same numbers for a repetition,
 * which it is not in another history. */
void agent_renew_slots(agent *a, agent_effects *out)
{
    for (unsigned i = 0; i < a->slots_cap; i++) {
        slot *s = a->slots[i];

        if (!s || s->state == SLOT_DOWN)
            continue;
        s->old = true;
        if (s->state == SLOT_READY && !s->a && !s->leaving)
            bye(s, out);
    }
}

bool agent_slots_gone(const agent *a)
{
    for (unsigned i = 0; i < a->slots_cap; i++)
        if (a->slots[i] && a->slots[i]->state != SLOT_DOWN)
            return false;
    LIST_FOR(at, &a->held)
    {
        if (LIST_OWNER(at, attempt, link)->result_reading)
            return false;
    }
    return true;
}

/* How well slot `s` suits: 0 not at all. */
static int suits(const slot *s, const attempt *t)
{
    if (s->state != SLOT_READY || s->a || s->leaving)
        return 0;
    if (s->place[0] == t->place[0])
        return 4; /* workspace and set-up of this very job */
    if (s->place[1] == t->place[1])
        return 3;               /* a workspace some commits away */
    return s->place[1] ? 1 : 2; /* rather a fresh one than spoil another's */
}

slot *agent_choose_slot(const agent *a, const attempt *t)
{
    unsigned first = t->kind == TASK_PLAN ? 0 : 1, last = t->kind == TASK_PLAN ? 0 : a->slots_n;
    slot *best = NULL;
    int most = 0;

    for (unsigned i = 0; i < a->slots_cap; i++) { /* an older attempt of it must have ended */
        const slot *s = a->slots[i];

        if (s && s->a && s->a->task == t->task)
            return NULL;
    }
    for (unsigned i = first; i <= last && most < 4; i++) {
        int fit = suits(a->slots[i], t);

        if (fit > most) {
            best = a->slots[i];
            most = fit;
        }
    }
    return best;
}

void agent_place(slot *s, attempt *t, const msg *assign, agent_effects *out)
{
    if (t->alone) {
        msg *own = agent_copy_assign(assign, &out->arena);

        own->assign.until_ms = (uint64_t)t->until_ms;
        assign = own;
    }
    t->placed = true;
    t->slot = s->n;
    s->a = t;
    memcpy(s->place, t->place, sizeof s->place);
    agent_send_exec(s->n, assign, out);
}

static void place_waiting(agent *a, agent_effects *out)
{
    if (!a->waiting)
        return;
    LIST_FOR(at, &a->held)
    {
        attempt *t = LIST_OWNER(at, attempt, link);
        slot *s = t->assign ? agent_choose_slot(a, t) : NULL;

        if (s) { /* a copy, for the attempt may end within this step */
            agent_place(s, t, agent_copy_assign(t->assign, &out->arena), out);
            t->assign = NULL;
            a->waiting--;
        }
    }
}

/* The slot has no attempt any more. */
static void vacate(agent *a, slot *s, agent_effects *out)
{
    s->a = NULL;
    if ((s->old || s->n > a->slots_n) && s->state == SLOT_READY && !s->leaving)
        bye(s, out); /* of an earlier start, perhaps with more slots */
    place_waiting(a, out);
}

void agent_begin_slots(agent *a, int64_t now, agent_effects *out)
{
    for (unsigned i = 0; i <= a->slots_n; i++)
        if (slot_at(a, i)->state == SLOT_DOWN)
            start_executor(a, a->slots[i], now, out);
}

/* ---- executors ---- */

void agent_exec_up(agent *a, const agent_event *ev, agent_effects *out)
{
    slot *s;

    if (ev->slot > MSG_SLOTS_MAX)
        return;
    s = slot_at(a, ev->slot);
    s->old = s->state == SLOT_DOWN;
    s->state = SLOT_CONNECTED;
    s->started_ms = ev->now_ms;
    heap_set(&a->slot_timers, &s->timer, ev->now_ms + START_MS);
    if (a->stopping)
        bye(s, out);
}

/* What an executor that has just connected works at: nothing, unless it served an earlier agent. */
static void adopt(agent *a, slot *s, const rec_held *h, agent_effects *out)
{
    attempt *t = agent_find(a, h->task, h->att);

    if (t && !t->placed && !s->a && h->state != HELD_DONE && !MUTANT(not_adopted)) {
        t->found = false;
        t->placed = true;
        t->slot = s->n;
        t->state = h->state == HELD_RUNNING ? HELD_RUNNING : HELD_ACCEPTED;
        t->log_at = t->state == HELD_RUNNING ? 0 : HEAP_NEVER;
        s->a = t;
        memcpy(s->place, t->place, sizeof s->place);
        agent_ask_spool(t, out);
    } else if (t && !t->placed && t->state != HELD_DONE) { /* else another executor has it */
        t->found = false;
        agent_ask_spool(t, out);
        agent_ask_result(t, out);
    } else if (!t && h->state != HELD_DONE && !s->a) {
        t = NEW(attempt); /* not ours any more */
        t->task = h->task;
        t->att = h->att;
        t->doomed = t->placed = true;
        t->slot = s->n;
        s->a = t;
        agent_kill_task(s->n, t->task, t->att, out);
    }
}

static void first_hb(agent *a, slot *s, const msg_hb *m, int64_t now, agent_effects *out)
{
    s->state = SLOT_READY;
    if (!a->stopping)
        heap_set(&a->slot_timers, &s->timer, now + a->beat_ms);
    for (size_t i = 0; i < m->held.n; i++)
        adopt(a, s, &m->held.v[i], out);
    if (!s->a)
        vacate(a, s, out);
}

static void executor_nacks(agent *a, slot *s, attempt *t, const msg_nack *m, agent_effects *out)
{
    t->placed = false;
    if (t->doomed) {
        agent_delete_spool(t, out);
        agent_free_attempt(t);
    } else {
        agent_give_up(a, t, m->code, m->msg, out);
    }
    vacate(a, s, out);
}

static void executor_ends(agent *a, slot *s, attempt *t, const agent_event *ev, agent_effects *out)
{
    t->placed = false;
    if (t->doomed) {
        agent_delete_spool(t, out);
        agent_free_attempt(t);
    } else {
        if (agent_ended(a, t, &ev->msg->result, out))
            agent_pump(a, t, ev->now_ms, out);
    }
    vacate(a, s, out);
}

static void executor_starts(agent *a, attempt *t, int64_t now, agent_effects *out)
{
    if (t->state != HELD_ACCEPTED)
        return;
    t->state = HELD_RUNNING;
    t->log_at = now + AGENT_LINGER_MS;
    if (a->session == SESSION_UP)
        agent_send_start(t, out);
    agent_pump(a, t, now, out);
}

void agent_exec_msg(agent *a, const agent_event *ev, agent_effects *out)
{
    slot *s = ev->slot < a->slots_cap ? a->slots[ev->slot] : NULL;
    const msg *m = ev->msg;
    attempt *t;

    if (!s || (s->state != SLOT_CONNECTED && s->state != SLOT_READY))
        return;
    s->unheard = 0;
    if (m->type == MSG_hb) {
        if (s->state == SLOT_CONNECTED)
            first_hb(a, s, &m->hb, ev->now_ms, out);
        return;
    }
    t = s->a;
    if (!t)
        return;
    /* start, nack, plan, tests and result all begin with task and att. */
    if (m->type == MSG_start && m->start.task == t->task && m->start.att == t->att) {
        if (!t->doomed)
            executor_starts(a, t, ev->now_ms, out);
    } else if (m->type == MSG_nack && m->nack.task == t->task && m->nack.att == t->att) {
        executor_nacks(a, s, t, &m->nack, out);
    } else if (m->type == MSG_plan && m->plan.task == t->task && m->plan.att == t->att) {
        if (!t->doomed)
            agent_relay_plan(a, t, m, ev->now_ms, out);
    } else if (m->type == MSG_tests && m->tests.task == t->task && m->tests.att == t->att) {
        agent_take_outcomes(t, OUTCOME_RUN(&m->tests));
        if (!t->doomed)
            agent_pump(a, t, ev->now_ms, out);
    } else if (m->type == MSG_result && m->result.task == t->task && m->result.att == t->att) {
        executor_ends(a, s, t, ev, out);
    }
}

/* Executors fail again and again: what waits for one goes back to the dispatcher. */
static void give_back_waiting(agent *a, agent_effects *out)
{
    for (unsigned i = 1; i <= a->slots_n; i++)
        if (a->slots[i]->state == SLOT_READY)
            return;
    LIST_FOR_SAFE(at, &a->held)
    {
        attempt *t = LIST_OWNER(at, attempt, link);

        if (t->assign)
            agent_give_up(a, t, CODE_BUSY, SLICE("executors do not start"), out);
    }
}

static void lose_executor(agent *a, slot *s, int64_t now, agent_effects *out)
{
    attempt *t = s->a;
    bool replace;

    s->a = NULL;
    s->state = SLOT_DOWN;
    s->unheard = 0;
    heap_remove(&a->slot_timers, &s->timer);
    if (t) {
        t->placed = false;
        if (t->doomed) {
            agent_delete_spool(t, out);
            agent_free_attempt(t);
        } else { /* it may have ended its task, and only could not say so any more */
            agent_ask_spool(t, out);
            agent_ask_result(t, out);
        }
    }
    replace = s->old && s->leaving;
    s->leaving = s->old = false;
    if (a->stopping || s->n > a->slots_n || !a->begun)
        return;
    if (replace) {
        start_executor(a, s, now, out);
        return;
    }
    s->failures = now - s->started_ms < YOUNG_MS ? s->failures + 1 : 0;
    agent_say(out, true, "executor of slot %u ended; starting another", s->n);
    if (s->failures >= FAILURES_MAX)
        give_back_waiting(a, out);
    if (s->failures == 0) {
        start_executor(a, s, now, out);
    } else {
        unsigned shift = s->failures < BACKOFF_SHIFT ? s->failures : BACKOFF_SHIFT;

        heap_set(&a->slot_timers, &s->timer, now + (BACKOFF_MS << shift));
    }
}

void agent_exec_gone(agent *a, const agent_event *ev, agent_effects *out)
{
    slot *s = ev->slot < a->slots_cap ? a->slots[ev->slot] : NULL;

    if (s && s->state != SLOT_DOWN)
        lose_executor(a, s, ev->now_ms, out);
}

/* Its task may run on, so that counts as lost only once all of it is gone. */
void agent_kill_executor(agent *a, slot *s, int64_t now, agent_effects *out)
{
    agent_say(out, true, "executor of slot %u is hung; it is ended with all it started", s->n);
    s->state = SLOT_KILLED;
    heap_set(&a->slot_timers, &s->timer, now + START_MS);
    agent_add(out, AGENT_KILL)->slot = s->n;
}

void agent_kill_slots(agent *a, agent_effects *out)
{
    for (unsigned i = 0; i < a->slots_cap; i++)
        if (a->slots[i] &&
            (a->slots[i]->state == SLOT_CONNECTED || a->slots[i]->state == SLOT_READY))
            agent_add(out, AGENT_KILL)->slot = i;
}

void agent_kill_silent(agent *a, int64_t now, agent_effects *out)
{
    for (unsigned i = 0; i < a->slots_cap; i++)
        if (a->slots[i] && a->slots[i]->state == SLOT_CONNECTED)
            agent_kill_executor(a, a->slots[i], now, out);
}

/* Asks an executor whether it is there.  Counted in questions and not in time, for an agent that
 * was stopped has not been met with silence.  An executor checks out and cleans up in its one
 * thread, which may take long; what runs in it does not stop it. */
static void beat(agent *a, slot *s, int64_t now, agent_effects *out)
{
    bool preparing = s->a && s->a->state == HELD_ACCEPTED;
    msg *m;

    if (s->unheard >= AGENT_BEATS * (preparing ? AGENT_PATIENCE : 1)) {
        agent_kill_executor(a, s, now, out);
        return;
    }
    s->unheard++;
    heap_set(&a->slot_timers, &s->timer, now + a->beat_ms);
    m = ARENA_NEW(&out->arena, msg);
    m->type = MSG_hb;
    agent_send_exec(s->n, m, out);
}

void agent_tick_slots(agent *a, int64_t now, agent_effects *out)
{
    while (heap_top_key(&a->slot_timers) <= now) {
        slot *s = HEAP_OWNER(heap_top(&a->slot_timers), slot, timer);

        if (s->state == SLOT_DOWN)
            start_executor(a, s, now, out);
        else if (s->state == SLOT_READY)
            beat(a, s, now, out);
        else if (s->state == SLOT_CONNECTED)
            agent_kill_executor(a, s, now, out);
        else
            lose_executor(a, s, now, out); /* started, but never spoke; or cannot be killed */
    }
}
