#include "agent_world.h"

#include <stdio.h>
#include <string.h>

/* ---- attempts ---- */

known *world_find(world *w, uint64_t task, uint64_t att)
{
    for (size_t i = 0; i < w->known_n; i++)
        if (w->known[i].task == task && w->known[i].att == att && !w->known[i].old)
            return &w->known[i];
    return NULL;
}

static known *learn(world *w, uint64_t task, uint64_t att, task_kind kind)
{
    known *k = world_find(w, task, att);

    if (!k && w->known_n < ATTEMPTS_MAX) {
        k = &w->known[w->known_n++];
        *k = (known){ .task = task, .att = att, .kind = kind };
    }
    return k;
}

static void release(world *w, uint64_t task, uint64_t att)
{
    known *k = world_find(w, task, att);

    if (k)
        k->released = true;
}

uint64_t world_artifacts(const known *k)
{
    return k->kind == TASK_PLAN ? 0 : (k->task * 7 + k->att * 3) % 5 * 40000;
}

static void give_credit(known *k, msg_part part, uint64_t arrived, uint64_t window)
{
    if (k && arrived > k->arrived[part])
        k->arrived[part] = arrived;
    if (k && arrived + window > k->most[part])
        k->most[part] = arrived + window;
}

static void give_first_credit(known *k, uint64_t window)
{
    give_credit(k, PART_LOG, 0, window);
    give_credit(k, PART_ARTIFACTS, 0, window);
}

/* What a message to the agent allows it to do. */
static void note_told(world *w, const msg *m)
{
    const rec_held_list *drop = m->type == MSG_welcome ? &m->welcome.drop
                                : m->type == MSG_hb_ok ? &m->hb_ok.drop
                                                       : NULL;

    for (size_t i = 0; drop && i < drop->n; i++)
        release(w, drop->v[i].task, drop->v[i].att);
    if (m->type == MSG_welcome) {
        for (size_t i = 0; i < w->known_n; i++)
            give_first_credit(&w->known[i], m->welcome.window);
        for (size_t i = 0; i < m->welcome.keep.n; i++) {
            const rec_held *h = &m->welcome.keep.v[i];

            give_credit(world_find(w, h->task, h->att), PART_LOG, h->log_bytes, m->welcome.window);
            give_credit(world_find(w, h->task, h->att), PART_ARTIFACTS, h->artifact_bytes,
                        m->welcome.window);
        }
    }
    if (m->type == MSG_result_ok)
        release(w, m->result_ok.task, m->result_ok.att);
    if (m->type == MSG_fenced)
        release(w, m->fenced.task, m->fenced.att);
    if (m->type == MSG_log_ok) {
        known *k = world_find(w, m->log_ok.task, m->log_ok.att);

        give_credit(k, (msg_part)m->log_ok.part, m->log_ok.off, m->log_ok.window);
        /* It says to have more than there is: the archives here are not all, should it forget. */
        if (k && m->log_ok.part == PART_ARTIFACTS && m->log_ok.off > world_artifacts(k))
            k->damaged = true;
    }
    if (m->type != MSG_assign)
        return;
    for (size_t i = 0; i < w->known_n; i++)
        if (w->known[i].task == m->assign.task && w->known[i].att < m->assign.att)
            w->known[i].released = true;
    give_first_credit(learn(w, m->assign.task, m->assign.att, m->assign.kind), w->a->window);
}

/* ---- what it does ---- */

static void hear_held(world *w, const rec_held_list *held)
{
    for (size_t i = 0; i < held->n; i++) {
        const known *k = world_find(w, held->v[i].task, held->v[i].att);

        require(!k || !k->nacked, "it holds nothing that was given back");
        for (size_t j = 0; j < i; j++)
            require(held->v[i].task != held->v[j].task, "one attempt of a task");
    }
}

static void hear_log(const msg_log *m, known *k)
{
    require(m->off + m->d.n <= k->most[m->part] || m->d.n == 0, "no more than its credit");
    require(m->part == PART_LOG || k->has_result, "artifacts come when it has ended");
    if (m->off + m->d.n > k->end[m->part])
        k->end[m->part] = m->off + m->d.n;
}

static void hear_result(const msg_result *m, known *k)
{
    require(!k->nacked, "what was given back has no result");
    require(m->verdict == (k->has_result ? k->verdict : VERDICT_CANCELED),
            "the verdict is its executor's, or it never started");
    require(k->damaged || m->log.n == m->log_bytes || k->arrived[PART_LOG] >= m->log_bytes,
            "its log comes before it, or with it");
    require(k->arrived[PART_ARTIFACTS] >= m->artifact_bytes, "its artifacts come before it");
    require(k->damaged || m->from + m->items.n >= k->units, "it has all outcomes");
}

/* Of one attempt: task and att come first in all of these. */
static void hear_of(world *w, const msg *m)
{
    known *k = world_find(w, m->start.task, m->start.att);

    if (!k) /* of an attempt that was never assigned there is only one thing to say */
        require(m->type == MSG_nack, "it tells of attempts that it was given");
    if (!k)
        return;
    if (m->type == MSG_nack) {
        require(!k->has_result || k->damaged || k->released, "what has a result is not given back");
        k->nacked = k->released = true;
        return;
    }
    require(!k->nacked, "nothing is told of what was given back");
    k->told_more = true;
    k->told_result |= m->type == MSG_result;
    if (m->type == MSG_log)
        hear_log(&m->log, k);
    else if (m->type == MSG_result)
        hear_result(&m->result, k);
    else if (m->type == MSG_tests)
        k->items_end = m->tests.from + m->tests.items.n;
    else if (m->type == MSG_plan)
        k->parts_end = m->plan.part + 1;
}

static void hear(world *w, const msg *m)
{
    arena a = { 0 };
    buf frame = { 0 };
    msg same;

    wire_encode(m, &frame);
    require(frame.n <= WIRE_WORK_MAX, "its frames are no larger than is taken");
    require(wire_decode(buf_slice(&frame), &a, &same, NULL) == VOLT_OK, "it speaks as it must");
    arena_free(&a);
    buf_free(&frame);
    switch (m->type) {
    case MSG_hello:
        hear_held(w, &m->hello.held);
        w->hello = true;
        return;
    case MSG_bye:
        return;
    case MSG_hb:
        hear_held(w, &m->hb.held);
        require(m->hb.free <= w->slots, "no more free slots than there are");
        w->beat = true;
        break;
    default:
        hear_of(w, m);
        break;
    }
    require(w->a->maxep == w->durable_ep && strcmp(w->a->hist, w->durable_hist) == 0,
            "it acts on no epoch that it could forget");
}

static void order(world *w, unsigned slot, const msg *m)
{
    executor *x = &w->exec[slot];
    known *k;

    require(slot <= SLOTS_MOST, "it speaks to slots that there are");
    x->asked |= m->type == MSG_hb;
    x->leaving |= m->type == MSG_bye; /* when its turn comes */
    if (m->type != MSG_assign)
        return;
    k = world_find(w, m->assign.task, m->assign.att);
    require(k, "it orders what it was given");
    require(slot <= w->slots && (slot == 0) == (m->assign.kind == TASK_PLAN), "in a slot for it");
    require(x->connected && !x->works && !x->leaving, "where nothing runs");
    require(!k->ordered, "an attempt starts once");
    require(!k->nacked, "nothing starts that was given back");
    k->ordered = k->spooled = true;
    k->kind = m->assign.kind;
    x->works = k;
    x->started = false;
}

static void delete_spool(world *w, uint64_t task, uint64_t att)
{
    known *k = world_find(w, task, att);

    if (!k)
        return;
    require(!k->has_result || k->released || k->damaged, "a result stays until it is taken");
    k->spooled = k->has_result = false;
    k->plan_parts = k->units = 0;
    k->log_bytes = 0;
}

static void save(world *w, const agent_effect *e)
{
    if (w->disk_full) {
        w->unsaved = true;
        return;
    }
    snprintf(w->durable_hist, sizeof w->durable_hist, "%s", e->hist);
    snprintf(w->durable_key, sizeof w->durable_key, "%s", e->key);
    w->durable_ep = e->ep;
}

/* ---- the spool ---- */

static void tell_spooled(world *w, const agent_effect *e, const msg *m)
{
    const agent_event ev = { .kind = AGENT_SPOOL,
                             .now_ms = w->now_ms,
                             .task = e->task,
                             .att = e->att,
                             .part = e->part,
                             .msg = m };

    agent_step(w->a, &ev, &w->out);
}

static msg *spooled_result(world *w, const known *k)
{
    msg *m = ARENA_NEW(&w->out.arena, msg);

    *m = (msg){ .type = MSG_result };
    m->result.task = k->task;
    m->result.att = k->att;
    m->result.verdict = k->verdict;
    m->result.log_bytes = k->log_bytes;
    m->result.artifact_bytes = world_artifacts(k);
    return m;
}

rec_item_list world_units(size_t from, size_t to, arena *a)
{
    rec_item_list l = { ARENA_ARRAY(a, rec_item, to - from + 1), 0 };

    for (size_t i = from; i < to; i++)
        l.v[l.n++] = (rec_item){ .verdict = VERDICT_PASSED, .log_off = i * 100, .log_len = 100 };
    return l;
}

static void answer_read(world *w, agent_effect e)
{
    known *k = world_find(w, e.task, e.att);
    msg *m;

    if (e.part == AGENT_PART_RESULT) {
        tell_spooled(w, &e, k && k->has_result && !k->damaged ? spooled_result(w, k) : NULL);
        return;
    }
    for (size_t i = (size_t)e.off; k && e.part == AGENT_PART_PLAN && i < k->plan_parts; i++) {
        m = ARENA_NEW(&w->out.arena, msg);
        *m = (msg){ .type = MSG_plan, .plan = { .task = k->task, .att = k->att, .part = i } };
        if (!(k->damaged && i == 1))
            tell_spooled(w, &e, m);
    }
    if (k && e.part == AGENT_PART_TESTS && k->units) {
        m = ARENA_NEW(&w->out.arena, msg);
        *m = (msg){ .type = MSG_tests, .tests = { .task = k->task, .att = k->att } };
        m->tests.items = world_units(0, k->units, &w->out.arena);
        tell_spooled(w, &e, m);
    }
    tell_spooled(w, &e, NULL);
}

void world_answer_log(world *w)
{
    static char bytes[AGENT_CHUNK_MAX];
    want x = w->wants[--w->wants_n];
    const known *k = world_find(w, x.task, x.att);
    uint64_t all = !k ? 0 : x.stream == PART_LOG ? k->log_bytes : world_artifacts(k);
    uint64_t n;

    if (k && k->damaged)
        all /= 2;
    n = all > x.off ? all - x.off : 0;
    n = n < x.max ? n : x.max;
    require(x.max <= sizeof bytes, "it asks for no more than fits into a message");
    world_step(w, (agent_event){ .kind = AGENT_LOG_READ,
                                 .task = x.task,
                                 .att = x.att,
                                 .stream = x.stream,
                                 .off = x.off,
                                 .bytes = { bytes, (size_t)n } });
}

/* ---- stepping ---- */

void world_executor_dies(world *w, unsigned slot)
{
    w->exec[slot] = (executor){ 0 };
}

static void carry_out(world *w, agent_effect e)
{
    require(!w->exited, "nothing follows its end");
    switch (e.kind) {
    case AGENT_SEND:
        if (!w->unsaved)
            hear(w, e.msg);
        break;
    case AGENT_EXEC:
        order(w, e.slot, e.msg);
        break;
    case AGENT_SPAWN:
        require(e.slot <= w->slots, "it starts executors of its own slots");
        world_executor_dies(w, e.slot);
        w->exec[e.slot].coming = true;
        break;
    case AGENT_KILL:
        world_executor_dies(w, e.slot);
        w->exec[e.slot].dying = true;
        break;
    case AGENT_SAVE:
        save(w, &e);
        break;
    case AGENT_READ_LOG:
        require(w->wants_n < WANTS_MAX, "it reads one piece of a log at a time");
        w->wants[w->wants_n++] = (want){ e.task, e.att, e.off, e.max, e.stream };
        break;
    case AGENT_READ:
        answer_read(w, e);
        break;
    case AGENT_DELETE_SPOOL:
        delete_spool(w, e.task, e.att);
        break;
    case AGENT_RECONNECT:
        w->hello = w->beat = false;
        break;
    case AGENT_SAY:
        break;
    case AGENT_EXIT:
        w->exited = true;
        w->why = e.why;
        break;
    }
}

/* What is remembered agrees with itself and has its limits. */
static void check_inside(const world *w)
{
    const agent *a = w->a;
    size_t n = 0, waiting = 0;

    LIST_FOR(at, &a->held)
    {
        const attempt *t = LIST_OWNER(at, attempt, link);

        n++;
        waiting += t->assign != NULL;
        require(map_get(&a->by_task, t->task) == t, "what is held can be found");
        require(!t->doomed && !(t->assign && t->placed), "it waits, or it is placed");
        if (t->placed)
            require(a->slots[t->slot] && a->slots[t->slot]->a == t, "where it is placed, it is");
        require(t->items_n <= t->items_cap, "in its order");
        for (unsigned part = 0; part < PARTS_N; part++)
            require(t->streams[part].acked <= t->streams[part].sent, "in its order, too");
    }
    require(n == a->held_n && n == a->by_task.n && n <= AGENT_HELD_MAX, "its numbers agree");
    require(waiting == a->waiting, "those that wait are counted");
    require(agent_free_slots(a) <= a->slots_n, "no more free slots than there are");
    require(a->ended_by_task.n <= AGENT_ENDED_MAX, "it remembers no more ends than it may");
    require(a->timers.n <= n && a->slot_timers.n <= a->slots_cap, "a timer each");
    for (unsigned i = 0; i < a->slots_cap; i++) {
        const slot *s = a->slots[i];

        require(!s || !s->a || (s->a->placed && s->a->slot == i), "who is in a slot is placed");
        require(!s || !s->a || s->state != SLOT_DOWN, "nobody works where nobody is");
    }
}

void world_step(world *w, agent_event ev)
{
    size_t held = agent_held(w->a), most;

    if (w->exited)
        return;
    ev.now_ms = w->now_ms;
    agent_step(w->a, &ev, &w->out);
    for (size_t i = 0; i < w->out.n; i++) /* reading adds to it */
        carry_out(w, w->out.v[i]);
    held = held > agent_held(w->a) ? held : agent_held(w->a);
    most = 20 + 4 * SLOTS_MOST + (8 + PARTS_MAX) * (held + 1);
    require(w->out.n <= most, "a step has bounded effects");
    agent_effects_clear(&w->out);
    check_inside(w);
    require(w->exited || agent_next_deadline_ms(w->a) > w->now_ms, "what is due is done");
    if (w->unsaved && !w->exited) {
        w->unsaved = false;
        world_step(w, (agent_event){ .kind = AGENT_UNSAVED });
    }
}

void world_tell(world *w, const msg *m)
{
    const agent *a = w->a;

    if (w->exited || (m->type == MSG_assign && w->known_n == ATTEMPTS_MAX))
        return;
    note_told(w, m);
    if (m->type == MSG_welcome && a->session != SESSION_NONE && a->hist[0] &&
        !slice_is(m->welcome.hist, a->hist))
        for (size_t i = 0; i < w->known_n; i++) /* the same numbers may come again */
            w->known[i].old = true;
    world_step(w, (agent_event){ .kind = AGENT_MSG, .msg = m });
}
