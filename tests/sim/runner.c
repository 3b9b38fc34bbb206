#include "runner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/agent_parts.h"

/* ---- spool ---- */

spool *runner_spool(sim_runner *r, uint64_t task, uint64_t att)
{
    LIST_FOR(n, &r->spools)
    {
        spool *s = LIST_OWNER(n, spool, node);

        if (s->task == task && s->att == att)
            return s;
    }
    return NULL;
}

spool *runner_spool_new(sim_runner *r, uint64_t task, uint64_t att, slice assign)
{
    spool *s = NEW(spool);

    s->r = r;
    s->task = task;
    s->att = att;
    s->timeline = slice_is(slice_of(r->hist), dispatcher_history(r->w)) ? r->w->timeline : 0;
    buf_add_slice(&s->assign, assign);
    list_push(&r->spools, &s->node);
    return s;
}

void runner_spool_free(spool *s)
{
    list_remove(&s->node);
    buf_free(&s->assign);
    buf_free(&s->plan);
    buf_free(&s->tests);
    buf_free(&s->result);
    free(s);
}

/* ---- what stepping the agent makes happen ---- */

static void spawn(void *ctx, uint64_t life)
{
    executor *x = ctx;
    sim_runner *r = x->r;

    if (life != r->p.life || !r->p.up || x->up)
        return;
    if (!r->w->calm && (chance(r->w, 30) || r->w->now_ms < r->broken_ms)) { /* it does not start */
        x->connected = true;
        runner_hears(x, (slice){ 0 }, true);
        x->connected = false;
        return;
    }
    executor_start(x);
}

static const msg *decode_spooled(sim_runner *r, slice frame)
{
    msg *m = ARENA_NEW(&r->out.arena, msg);

    if (wire_decode(arena_slice(&r->out.arena, frame), &r->out.arena, m, NULL) != VOLT_OK)
        broken(r->w, RULE_WIRE, "a spooled message cannot be read");
    return m;
}

static void tell_spooled(sim_runner *r, const agent_effect *e, const msg *m)
{
    const agent_event ev = { .kind = AGENT_SPOOL,
                             .now_ms = process_now(&r->p),
                             .task = e->task,
                             .att = e->att,
                             .part = e->part,
                             .msg = m };

    agent_step(r->a, &ev, &r->out);
}

static void read_part(sim_runner *r, agent_effect e)
{
    spool *s = runner_spool(r, e.task, e.att);
    const buf *from = !s                           ? NULL
                      : e.part == AGENT_PART_PLAN  ? &s->plan
                      : e.part == AGENT_PART_TESTS ? &s->tests
                                                   : &s->result;

    if (e.part == AGENT_PART_RESULT) {
        tell_spooled(r, &e, from && from->n ? decode_spooled(r, buf_slice(from)) : NULL);
        return;
    }
    for (size_t at = 0; from && at + sizeof(uint64_t) <= from->n;) {
        uint64_t n;
        const msg *m;

        memcpy(&n, from->p + at, sizeof n);
        if (n > from->n - at - sizeof n) /* torn: the last piece was being written */
            break;
        m = decode_spooled(r, (slice){ from->p + at + sizeof n, (size_t)n });
        at += sizeof n + (size_t)n;
        if (m->type != MSG_plan || m->plan.part >= e.off)
            tell_spooled(r, &e, m);
    }
    tell_spooled(r, &e, NULL);
}

typedef struct log_wish {
    sim_runner *r;
    log_name name;
    uint64_t off, max;
} log_wish;

static void read_log(void *ctx, uint64_t life)
{
    log_wish *want = ctx;
    sim_runner *r = want->r;
    spool *s = runner_spool(r, want->name.task, want->name.att);
    uint64_t has = s ? s->bytes[want->name.part] : 0, n = has > want->off ? has - want->off : 0;
    char *bytes;

    if (r->p.paused_ms && life == r->p.life) {
        call_at(r->w, r->p.paused_ms + 1, read_log, want, life);
        return;
    }
    n = n < want->max ? n : want->max;
    bytes = mem_grow(NULL, (size_t)n + 1, 1);
    output_fill(bytes, &want->name, want->off, (size_t)n);
    if (r->p.up && life == r->p.life)
        runner_steps(r, (agent_event){ .kind = AGENT_LOG_READ,
                                       .task = want->name.task,
                                       .att = want->name.att,
                                       .stream = want->name.part,
                                       .off = want->off,
                                       .bytes = { bytes, (size_t)n } });
    free(bytes);
    free(want);
}

static void want_log(sim_runner *r, const agent_effect *e)
{
    log_wish *want = NEW(log_wish);

    *want = (log_wish){ r, { e->task, e->att, e->stream }, e->off, e->max };
    call_at(r->w, r->w->now_ms + some_ms(r->w, 0, 2), read_log, want, r->p.life);
}

static void delete_spool(sim_runner *r, const agent_effect *e)
{
    spool *s = runner_spool(r, e->task, e->att);
    arena a = { 0 };
    msg m = { 0 };

    if (!s)
        return;
    if (s->result.n)
        wire_decode(buf_slice(&s->result), &a, &m, NULL);
    if (s->timeline == r->w->timeline)
        oracle_spool_deleted(r->w->oracle, slice_of(r->id), e->task, e->att,
                             s->result.n ? &m.result : NULL);
    arena_free(&a);
    for (unsigned i = 0; i <= r->slots; i++)
        if (r->exec[i].spool == s) {
            checked(r->w, RULE_SPOOL);
            if (executor_busy(&r->exec[i]))
                broken(r->w, RULE_SPOOL,
                       "task %" PRIu64 " attempt %" PRIu64
                       " loses its spool while its executor works",
                       e->task, e->att);
            r->exec[i].spool = NULL;
            if (r->exec[i].phase == EXEC_DONE)
                r->exec[i].phase = EXEC_IDLE;
        }
    runner_spool_free(s);
}

static void forget_given_back(sim_runner *r)
{
    map_free(&r->given_back);
    r->given_back = (map){ 0 };
}

/* It may be somebody else's already. */
static void check_order(const sim_runner *r, const msg *m)
{
    if (m->type != MSG_assign)
        return;
    checked(r->w, RULE_S3);
    if (map_get(&r->given_back, m->assign.task << 20 | m->assign.att))
        broken(r->w, RULE_S3,
               "task %" PRIu64 " attempt %" PRIu64 " is to start on a runner that gave it back",
               m->assign.task, m->assign.att);
}

static void save(sim_runner *r, const agent_effect *e)
{
    if (strcmp(r->hist, e->hist) != 0)
        forget_given_back(r); /* the same numbers may come again */
    snprintf(r->hist, sizeof r->hist, "%s", e->hist);
    r->ep = e->ep;
    snprintf(r->key, sizeof r->key, "%s", e->key);
}

static void carry_out(sim_runner *r, agent_effect e)
{
    executor *x = e.slot <= r->slots ? &r->exec[e.slot] : NULL;

    buf_clear(&r->frame);
    switch (e.kind) {
    case AGENT_SEND:
        wire_encode(e.msg, &r->frame);
        cover("agent to dispatcher", msg_type_text(e.msg->type));
        if (e.msg->type == MSG_nack) {
            map_put(&r->given_back, e.msg->nack.task << 20 | e.msg->nack.att, r);
            oracle_nacked(r->w->oracle, &e.msg->nack);
        }
        link_send(&r->work, buf_slice(&r->frame));
        break;
    case AGENT_EXEC:
        wire_encode(e.msg, &r->frame);
        check_order(r, e.msg);
        if (x && x->up && x->connected)
            executor_take(x, buf_slice(&r->frame));
        break;
    case AGENT_SPAWN:
        executor_die(x);
        x->conn++; /* what it said last is not heard */
        call_at(r->w, r->w->now_ms + some_ms(r->w, 1, 40), spawn, x, r->p.life);
        break;
    case AGENT_KILL:
        executor_die(x);
        break;
    case AGENT_SAVE:
        save(r, &e);
        break;
    case AGENT_READ_LOG:
        want_log(r, &e);
        break;
    case AGENT_READ:
        read_part(r, e);
        break;
    case AGENT_DELETE_SPOOL:
        delete_spool(r, &e);
        break;
    case AGENT_RECONNECT:
        link_close(&r->work);
        link_open(&r->work);
        break;
    case AGENT_SAY:
        tell(r->w, &r->p, "says: %s", e.text);
        break;
    case AGENT_EXIT:
        tell(r->w, &r->p, "leaves: %s", e.text);

        for (unsigned i = 0; i <= r->slots && e.why != AGENT_REFUSED; i++)
            executor_die(&r->exec[i]);
        r->p.dying = true;
        break;
    }
}

void runner_steps(sim_runner *r, agent_event ev)
{
    static const char *const names[] = {
        [AGENT_SEND] = "send",           [AGENT_EXEC] = "exec",
        [AGENT_SPAWN] = "spawn",         [AGENT_KILL] = "kill",
        [AGENT_SAVE] = "save",           [AGENT_READ_LOG] = "read log",
        [AGENT_READ] = "read",           [AGENT_DELETE_SPOOL] = "delete spool",
        [AGENT_RECONNECT] = "reconnect", [AGENT_SAY] = "say",
        [AGENT_EXIT] = "exit",
    };

    ev.now_ms = process_now(&r->p);
    agent_step(r->a, &ev, &r->out);
    for (size_t i = 0; i < r->out.n && !process_dies(&r->p); i++) { /* reading adds to it */
        cover("agent effect", names[r->out.v[i].kind]);
        carry_out(r, r->out.v[i]);
    }
    agent_effects_clear(&r->out);
    process_settle(&r->p);
}

/* ---- as a process ---- */

static void on_frame(process *p, const packet *k)
{
    sim_runner *r = (sim_runner *)p;
    arena a = { 0 };
    msg m;

    if (wire_decode((slice){ k->bytes, k->n }, &a, &m, NULL) != VOLT_OK) {
        if (!k->hostile)
            broken(r->w, RULE_WIRE, "a runner does not understand the dispatcher");
        checked(r->w, RULE_HOSTILE);
        arena_free(&a);
        return;
    }
    cover("dispatcher to agent", msg_type_text(m.type));
    r->assigns += m.type == MSG_assign;
    runner_steps(r, (agent_event){ .kind = AGENT_MSG, .msg = &m });
    arena_free(&a);
}

static void on_time(process *p, int64_t gap_ms)
{
    sim_runner *r = (sim_runner *)p;

    (void)gap_ms;
    runner_steps(r, (agent_event){ .kind = AGENT_TICK });
}

static int64_t deadline_ms(const process *p)
{
    return process_when(p, agent_next_deadline_ms(((const sim_runner *)p)->a));
}

static void find_spooled(sim_runner *r)
{
    LIST_FOR_SAFE(n, &r->spools)
    {
        spool *s = LIST_OWNER(n, spool, node);
        agent_event ev = { .kind = AGENT_FOUND, .task = s->task, .att = s->att };
        arena a = { 0 };
        msg m;

        if (!s->torn)
            wire_decode(buf_slice(&s->assign), &a, &m, NULL);
        ev.msg = s->torn ? NULL : &m;
        ev.has_result = s->result.n > 0;
        runner_steps(r, ev);
        arena_free(&a);
        if (!r->p.up)
            return;
    }
}

static void on_start(process *p)
{
    sim_runner *r = (sim_runner *)p;
    char boot[33];
    agent_config config = { .id = r->id,
                            .name = r->name,
                            .host = r->host,
                            .boot = boot,
                            .hist = r->hist,
                            .maxep = r->ep,
                            .key = r->key,
                            .slots = r->slots,
                            .labels = { r->labels, r->labels_n },
                            .reach = { r->reach, r->reach_n } };

    prng_hex32(&r->w->rng, boot);
    config.seed = prng_next(&r->w->rng);
    r->a = agent_new(&config);
    link_open(&r->work);
    find_spooled(r);
    for (unsigned i = 0; p->up && i <= r->slots; i++)
        if (r->exec[i].up) {
            runner_steps(r, (agent_event){ .kind = AGENT_EXEC_UP, .slot = i });
            executor_connect(&r->exec[i], true);
        }
    if (p->up)
        runner_steps(r, (agent_event){ .kind = AGENT_BEGIN });
}

static void on_crash(process *p)
{
    sim_runner *r = (sim_runner *)p;

    agent_free(r->a);
    r->a = NULL;
    forget_given_back(r);
    agent_effects_clear(&r->out);
    link_close(&r->work);
    for (unsigned i = 0; i <= r->slots; i++)
        executor_disconnect(&r->exec[i]);
}

static const process_ops ops = { on_start, on_crash, on_frame, on_time, deadline_ms };

/* ---- life ---- */

void runner_make(world *w, size_t number)
{
    sim_runner *r = NEW(sim_runner);

    r->w = w;
    r->number = number;
    w->runners[number] = r;
    process_init(&r->p, w, &ops, "runner", number);
    snprintf(r->name, sizeof r->name, "r%zu", number == 4 ? 3 : number); /* two have one name */
    snprintf(r->host, sizeof r->host, "h%zu", number);
    prng_hex32(&w->rng, r->id);
    r->slots = 1 + (unsigned)pick(w, w->long_haul ? 2 : SLOTS_MAX);
    r->cursed = chance(w, 60);
    r->labels[0] = SLICE(LABEL_SPECIAL);
    r->labels_n = number == 0 || chance(w, 300);
    r->reach[0] = SLICE("repo1"); /* local to the first host, see observer.c */
    r->reach_n = chance(w, 500);
    list_init(&r->spools);
    list_init(&r->whispers);
    link_init(&r->work, &r->p, LINK_WORK);
    r->work.runners = true;
    for (unsigned i = 0; i <= SLOTS_MAX; i++) {
        r->exec[i] = (executor){ .r = r, .slot = i };
        list_init(&r->exec[i].held_back);
    }
    r->p.up_at = w->now_ms + some_ms(w, 0, 2000);
    process_arm(&r->p);
}

void runner_end(sim_runner *r)
{
    agent_free(r->a);
    agent_effects_free(&r->out);
    link_close(&r->work);
    LIST_FOR_SAFE(n, &r->spools)
    {
        runner_spool_free(LIST_OWNER(n, spool, node));
    }
    runner_forget_whispers(r);
    map_free(&r->given_back);
    for (unsigned i = 0; i <= SLOTS_MAX; i++)
        executor_free(&r->exec[i]);
    buf_free(&r->frame);
    free(r);
}

process *runner_process(sim_runner *r)
{
    return &r->p;
}

void runner_calm(sim_runner *r)
{
    r->p.die_in = 0;
    /* One that was to be drained leaves by itself, unless it was killed meanwhile. */
    if (!r->retired_ms || (r->drained && r->p.up))
        process_wake(&r->p);
}

bool runner_at_rest(const sim_runner *r, rest *ret)
{
    checked(r->w, RULE_L2);
    if (r->retired_ms && !r->p.up)
        return true;
    if (r->retired_ms)
        *ret = (rest){ RULE_L6, "a drained runner has not left" };
    else if (!r->p.up || !agent_registered(r->a))
        *ret = (rest){ RULE_L1, "a runner is not registered" };
    else if (agent_held(r->a))
        *ret = (rest){ RULE_L2, "a runner holds an attempt" };
    else if (!list_empty(&r->spools))
        *ret = (rest){ RULE_L2, "a spool is not empty" };
    else
        return true;
    return false;
}

bool runner_is_retired(const sim_runner *r)
{
    return r->retired_ms > 0;
}

bool runner_is_draining(const sim_runner *r, int64_t since_ms)
{
    return r->retired_ms && r->p.up && r->retired_ms <= since_ms;
}

uint64_t runner_class(const sim_runner *r)
{
    uint64_t h = process_class(&r->p) | (uint64_t)(r->a && agent_registered(r->a)) << 2 |
                 (uint64_t)(r->retired_ms > 0) << 3 | (uint64_t)r->work.connected << 4;

    for (unsigned i = 0; i <= r->slots; i++)
        h = mix_word(h, (uint64_t)r->exec[i].phase << 2 | (uint64_t)r->exec[i].up << 1 |
                            r->exec[i].connected);
    return h;
}

uint64_t runner_greatest_epoch(const world *w, const char *hist)
{
    uint64_t ep = 0;

    for (size_t i = 0; i < w->runners_n; i++) {
        const sim_runner *r = w->runners[i];

        if (!r->retired_ms && strcmp(r->hist, hist) == 0 && r->ep > ep)
            ep = r->ep;
    }
    return ep;
}

uint64_t runner_idle_slots(const sim_runner *r, bool plan, uint64_t *assigns)
{
    *assigns = r->assigns;
    if (!r->p.up || r->p.paused_ms || r->retired_ms || !agent_registered(r->a))
        return 0;
    if (!plan)
        return agent_free_slots(r->a);
    return r->exec[0].up && r->exec[0].hangs_ms <= r->w->now_ms && !executor_busy(&r->exec[0]) &&
           agent_free_slots(r->a) == r->slots;
}

void runner_check_empty(const sim_runner *r)
{
    if (!r->p.up)
        return;
    if (r->a->held_n || r->a->by_task.n || r->a->timers.n || r->a->waiting)
        broken(r->w, RULE_S17, "%s: an agent without work remembers %zu attempts", r->name,
               r->a->by_task.n);
    for (unsigned i = 0; i < r->a->slots_cap; i++)
        if (r->a->slots[i] && r->a->slots[i]->a)
            broken(r->w, RULE_S17, "%s: slot %u is taken, and nothing runs", r->name, i);
}

bool runner_is_special(const sim_runner *r)
{
    return r->labels_n > 0;
}

slice runner_name(const sim_runner *r)
{
    return slice_of(r->name);
}

slice runner_id(const sim_runner *r)
{
    return slice_of(r->id);
}

bool runner_reaches(const world *w, slice id, slice repo)
{
    for (size_t i = 0; i < w->runners_n; i++)
        if (slice_is(id, w->runners[i]->id))
            return !slice_is(repo, "repo1") || i == 0 || w->runners[i]->reach_n;
    return false;
}

/* Stopped, and so is its agent: what it started runs on, and nobody can be blamed. */
static bool is_helpless(const executor *x)
{
    return x->hangs_ms > x->r->w->now_ms && x->r->p.paused_ms;
}

void runner_check_alone(const executor *x)
{
    world *w = x->r->w;

    if (x->spool->timeline != w->timeline)
        return;
    checked(w, RULE_ALONE);
    for (size_t i = 0; i < w->runners_n; i++)
        for (unsigned k = 0; k <= SLOTS_MAX; k++) {
            const executor *y = &w->runners[i]->exec[k];

            if (y != x && executor_busy(y) && y->started && y->spool->timeline == w->timeline &&
                !is_helpless(y) &&
                oracle_same_group(w->oracle, x->order.assign.task, y->order.assign.task))
                broken(w, RULE_ALONE,
                       "task %" PRIu64 " starts beside task %" PRIu64 " attempt %" PRIu64
                       " of its group at %s slot %u",
                       x->order.assign.task, y->order.assign.task, y->order.assign.att,
                       w->runners[i]->p.name, k);
        }
}

bool runner_works_at(const world *w, slice id, uint64_t task, uint64_t att)
{
    for (size_t i = 0; i < w->runners_n; i++)
        for (unsigned k = 0; k <= SLOTS_MAX && slice_is(id, w->runners[i]->id); k++) {
            const executor *x = &w->runners[i]->exec[k];

            /* What goes by these numbers in an older history is another. */
            if (executor_busy(x) && x->spool->timeline == w->timeline &&
                x->order.assign.task == task && x->order.assign.att == att)
                return true;
        }
    return false;
}

slice runner_of_peer(const world *w, uint64_t peer)
{
    const net_link *l = map_get(&w->peers, peer);

    return l && l != &w->ghost && l->runners ? slice_of(((const sim_runner *)l->client)->id)
                                             : (slice){ 0 };
}
