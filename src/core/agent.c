#include "core/agent.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "core/agent_parts.h"

#define SETTLE_MS 5000 /* executors of an earlier agent must speak within */

static_assert(AGENT_HELD_MAX <= 1024, "hello and hb list at most 1,024 held attempts");
static_assert(AGENT_INLINE_MAX <= 16384, "result.log holds at most 16 KiB");
static_assert(AGENT_CHUNK_MAX <= 65536, "log.d holds at most 64 KiB");

/* ---- effects ---- */

agent_effect *agent_add(agent_effects *out, agent_effect_kind kind)
{
    agent_effect *e;

    if (out->n == out->cap) {
        out->cap = out->cap ? out->cap * 2 : 16;
        out->v = mem_grow(out->v, out->cap, sizeof *out->v);
    }
    e = &out->v[out->n++];
    *e = (agent_effect){ .kind = kind };
    return e;
}

msg *agent_send(agent_effects *out, msg_type type)
{
    msg *m = ARENA_NEW(&out->arena, msg);

    m->type = type;
    agent_add(out, AGENT_SEND)->msg = m;
    return m;
}

void agent_say(agent_effects *out, bool warn, const char *fmt, ...)
{
    char text[512];
    agent_effect *e = agent_add(out, AGENT_SAY);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    e->warn = warn;
    e->text = arena_str(&out->arena, slice_of(text));
}

void agent_effects_clear(agent_effects *e)
{
    e->n = 0;
    arena_reset(&e->arena);
}

void agent_effects_free(agent_effects *e)
{
    free(e->v);
    arena_free(&e->arena);
    *e = (agent_effects){ 0 };
}

/* ---- life ---- */

static slices copy_texts(arena *a, slices from)
{
    slices to = { from.n ? ARENA_ARRAY(a, slice, from.n) : NULL, from.n };

    for (size_t i = 0; i < from.n; i++)
        to.v[i] = arena_slice(a, from.v[i]);
    return to;
}

agent *agent_new(const agent_config *config)
{
    agent *a = NEW(agent);

    assert(config->slots >= 1 && config->slots <= MSG_SLOTS_MAX);
    a->id = arena_slice(&a->arena, slice_of(config->id));
    a->name = arena_slice(&a->arena, slice_of(config->name));
    a->host = arena_slice(&a->arena, slice_of(config->host));
    a->boot = arena_slice(&a->arena, slice_of(config->boot));
    a->labels = copy_texts(&a->arena, config->labels);
    a->reach = copy_texts(&a->arena, config->reach);
    a->slots_n = config->slots;
    a->beat_ms = (config->hung_ms ? config->hung_ms : AGENT_HUNG_MS) / AGENT_BEATS;
    a->prng.state = config->seed;
    if (config->hist)
        snprintf(a->hist, sizeof a->hist, "%s", config->hist);
    a->maxep = config->maxep;
    if (config->key)
        snprintf(a->key, sizeof a->key, "%s", config->key);
    a->settle_at = a->stop_at = HEAP_NEVER;
    agent_init_session(a);
    list_init(&a->held);
    return a;
}

void agent_free(agent *a)
{
    if (!a)
        return;
    for (unsigned i = 0; i < a->slots_cap; i++) {
        if (a->slots[i] && a->slots[i]->a && a->slots[i]->a->doomed)
            agent_free_attempt(a->slots[i]->a);
        free(a->slots[i]);
    }
    LIST_FOR_SAFE(at, &a->held)
    {
        agent_free_attempt(LIST_OWNER(at, attempt, link));
    }
    free(a->slots);
    heap_free(&a->timers);
    heap_free(&a->slot_timers);
    map_free(&a->by_task);
    map_free(&a->ended_by_task);
    arena_free(&a->arena);
    free(a);
}

bool agent_registered(const agent *a)
{
    return a->session == SESSION_UP;
}

size_t agent_held(const agent *a)
{
    return a->held_n;
}

bool agent_leaves(const agent *a)
{
    return a->draining || a->stopping || a->mode == MODE_DRAIN;
}

/* ---- leaving ---- */

void agent_leave(agent *a, agent_exit why, const char *text, agent_effects *out)
{
    agent_effect *e = agent_add(out, AGENT_EXIT);

    e->why = why;
    e->text = arena_str(&out->arena, slice_of(text));
    a->done = true;
}

static void drain(agent *a, int64_t now, agent_effects *out)
{
    if (a->draining)
        return;
    a->draining = true;
    agent_say(out, false, a->held_n ? "draining: finishing what is held" : "draining");
    if (a->held_n && a->session == SESSION_UP) /* tells the dispatcher, by its mode */
        agent_hello_soon(a, now);
}

static void stop(agent *a, int64_t now, agent_effects *out)
{
    if (a->stopping)
        return;
    a->stopping = true;
    a->stop_at = now + AGENT_STOP_MS;
    agent_bye_slots(a, out);
}

static void say_bye(agent *a, const char *why, agent_effects *out)
{
    if (a->session != SESSION_NONE)
        agent_send(out, MSG_bye)->bye.why = slice_of(why);
}

/* Leaves when there is nothing left to wait for. */
static void try_leave(agent *a, int64_t now, agent_effects *out)
{
    if (a->stopping && (now >= a->stop_at || agent_slots_gone(a))) {
        agent_kill_slots(a, out); /* bye says that nothing runs any more */
        agent_lose_all(a, out);
        say_bye(a, "stopped", out);
        agent_leave(a, AGENT_STOPPED, "stopped", out);
    } else if (agent_leaves(a) && !MUTANT(drained_stays) && !a->stopping && a->held_n == 0 &&
               a->settle_at == HEAP_NEVER) {
        say_bye(a, "drained", out);
        agent_bye_slots(a, out);
        agent_leave(a, AGENT_DRAINED,
                    a->draining ? "drained" : "drained, as was asked for with 'volt drain'", out);
    }
}

/* ---- stepping ---- */

static void begin(agent *a, int64_t now, agent_effects *out)
{
    assert(!a->begun);
    a->begun = true;
    agent_begin_slots(a, now, out);
    a->settle_at = now + SETTLE_MS;
}

static void due(agent *a, int64_t now, agent_effects *out)
{
    if (a->settle_at != HEAP_NEVER && (now >= a->settle_at || agent_settled(a)) &&
        agent_settle(a, now, out)) {
        a->settle_at = HEAP_NEVER;
        a->hello_at = now;
    }
    agent_tick_slots(a, now, out);
    agent_tick_alone(a, now, out);
    agent_tick_session(a, now, out);
    agent_tick_flow(a, now, out);
    try_leave(a, now, out);
}

void agent_step(agent *a, const agent_event *ev, agent_effects *out)
{
    if (a->done)
        return;
    switch (ev->kind) {
    case AGENT_FOUND:
        agent_found(a, ev, out);
        break;
    case AGENT_BEGIN:
        begin(a, ev->now_ms, out);
        break;
    case AGENT_MSG:
        agent_from_dispatcher(a, ev, out);
        break;
    case AGENT_EXEC_UP:
        agent_exec_up(a, ev, out);
        break;
    case AGENT_EXEC_MSG:
        agent_exec_msg(a, ev, out);
        break;
    case AGENT_EXEC_GONE:
        agent_exec_gone(a, ev, out);
        break;
    case AGENT_LOG_READ:
        agent_log_read(a, ev, out);
        break;
    case AGENT_SPOOL:
        agent_spool(a, ev, out);
        break;
    case AGENT_UNSAVED:
        agent_unsaved(a, ev->now_ms);
        break;
    case AGENT_DRAIN:
        drain(a, ev->now_ms, out);
        break;
    case AGENT_STOP:
        stop(a, ev->now_ms, out);
        break;
    case AGENT_TICK:
        break;
    }
    if (a->begun)
        due(a, ev->now_ms, out);
}

int64_t agent_next_deadline_ms(const agent *a)
{
    int64_t at = HEAP_NEVER;
    const int64_t all[] = {
        heap_top_key(&a->timers),
        heap_top_key(&a->slot_timers),
        agent_session_deadline_ms(a),
        agent_alone_deadline_ms(a),
        a->settle_at,
        a->stop_at,
    };

    if (a->done || !a->begun)
        return HEAP_NEVER;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        at = all[i] < at ? all[i] : at;
    return at;
}
