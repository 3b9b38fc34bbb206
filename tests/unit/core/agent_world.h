/*
 * agent_world.h - a small world around an agent, for its tests: what goes in (>) and what comes out
 * is printed, and the print is the assertion.  READ effects are answered from a spool of the
 * world's own.
 */
#ifndef VOLT_TESTS_AGENT_WORLD_H
#define VOLT_TESTS_AGENT_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/heap.h"
#include "base/prng.h"
#include "core/agent.h"

#define HIST  "00000000000000000000000000000001"
#define HIST2 "00000000000000000000000000000002"
#define OID   "0123456789012345678901234567890123456789"

typedef struct world {
    agent *a;
    agent_effects out;
    buf story;
    int64_t now;
    char log[300000]; /* of every attempt, as far as log_n */
    size_t log_n;
    size_t artifacts_n;    /* the same bytes */
    msg tests[4], plan[4]; /* spooled */
    size_t tests_n, plan_n;
    const msg *result;
    unsigned plan_reads;
    unsigned asked[8]; /* heartbeats sent to executors */
    bool quiet;
    bool exited;
    bool disk_full; /* a save fails */
} world;

static inline void step(world *w, agent_event ev);

static inline void tell(world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline void tell(world *w, const char *fmt, ...)
{
    char line[600];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (!w->quiet)
        buf_addf(&w->story, "%s\n", line);
}

static inline void tell_held(world *w, const char *what, const rec_held_list *held)
{
    char line[300] = "";
    size_t n = 0;

    for (size_t i = 0; i < held->n && n < sizeof line - 40; i++)
        n += (size_t)snprintf(line + n, sizeof line - n, " %d-%d/%s", (int)held->v[i].task,
                              (int)held->v[i].att, held_state_text(held->v[i].state));
    tell(w, "  %s%s", what, line);
}

static inline void tell_sent(world *w, const char *to, const msg *m)
{
    int t = (int)m->start.task, n = (int)m->start.att; /* of all but hello, hb and bye */

    switch (m->type) {
    case MSG_hello:
        tell_held(w, m->hello.mode == MODE_DRAIN ? "hello(drain)" : "hello", &m->hello.held);
        break;
    case MSG_hb:
        tell_held(w, "hb", &m->hb.held);
        break;
    case MSG_bye:
        tell(w, "  %sbye", to);
        break;
    case MSG_nack:
        tell(w, "  nack %d-%d %s", t, n, code_text(m->nack.code));
        break;
    case MSG_plan:
        tell(w, "  plan %d-%d part %d", t, n, (int)m->plan.part);
        break;
    case MSG_tests:
        tell(w, "  tests %d-%d from %d: %d", t, n, (int)m->tests.from, (int)m->tests.items.n);
        if (m->tests.cases.n)
            tell(w, "    cases from %d: %d", (int)m->tests.cases_from, (int)m->tests.cases.n);
        break;
    case MSG_log:
        tell(w, "  %s %d-%d at %d: %d%s", m->log.part ? "artifacts" : "log", t, n, (int)m->log.off,
             (int)m->log.d.n, m->log.eof ? " eof" : "");
        break;
    case MSG_result:
        tell(w, "  result %d-%d %s log %d of %d, items %d from %d", t, n,
             verdict_text(m->result.verdict), (int)m->result.log.n, (int)m->result.log_bytes,
             (int)m->result.items.n, (int)m->result.from);
        if (m->result.cases.n)
            tell(w, "    cases from %d: %d", (int)m->result.cases_from, (int)m->result.cases.n);
        break;
    default:
        tell(w, "  %s%s %d-%d", to, msg_type_text(m->type), t, n);
        break;
    }
}

/* Answers of the spool. */
static inline void answer(world *w, const agent_effect *e)
{
    agent_event ev = { .kind = AGENT_SPOOL, .task = e->task, .att = e->att, .part = e->part };

    if (e->kind == AGENT_READ_LOG) {
        size_t all = e->stream == PART_LOG ? w->log_n : w->artifacts_n;
        size_t have = all > e->off ? all - (size_t)e->off : 0;

        ev.kind = AGENT_LOG_READ;
        ev.stream = e->stream;
        ev.off = e->off;
        ev.bytes = (slice){ w->log + e->off, have < e->max ? have : (size_t)e->max };
        step(w, ev);
        return;
    }
    if (e->part == AGENT_PART_RESULT) {
        ev.msg = w->result && w->result->result.task == e->task ? w->result : NULL;
        step(w, ev);
        return;
    }
    w->plan_reads += e->part == AGENT_PART_PLAN;
    for (size_t i = 0; i < (e->part == AGENT_PART_PLAN ? w->plan_n : w->tests_n); i++) {
        ev.msg = e->part == AGENT_PART_PLAN ? &w->plan[i] : &w->tests[i];
        if (e->part != AGENT_PART_PLAN || ev.msg->plan.part >= e->off)
            step(w, ev);
    }
    ev.msg = NULL;
    step(w, ev);
}

static inline void carry_out(world *w, const agent_effect *e)
{
    char to[24];

    switch (e->kind) {
    case AGENT_SEND:
        tell_sent(w, "", e->msg);
        break;
    case AGENT_EXEC:
        if (e->msg->type == MSG_hb) {
            w->asked[e->slot]++;
            break;
        }
        snprintf(to, sizeof to, "slot %u: ", e->slot);
        tell_sent(w, to, e->msg);
        break;
    case AGENT_SPAWN:
        tell(w, "  spawn %u", e->slot);
        break;
    case AGENT_KILL:
        tell(w, "  kill %u", e->slot);
        break;
    case AGENT_SAVE:
        tell(w, "  save %c %d%s", e->hist[31], (int)e->ep, w->disk_full ? " fails" : "");
        break;
    case AGENT_READ_LOG:
    case AGENT_READ:
        answer(w, e);
        break;
    case AGENT_DELETE_SPOOL:
        tell(w, "  delete %d-%d", (int)e->task, (int)e->att);
        break;
    case AGENT_RECONNECT:
        tell(w, "  reconnect");
        break;
    case AGENT_SAY:
        tell(w, "  \"%s\"", e->text);
        break;
    case AGENT_EXIT:
        tell(w, "  exit: %s", e->text);
        w->exited = true;
        break;
    }
}

static inline void step(world *w, agent_event ev)
{
    agent_effects out = { 0 };
    bool unsaved = false;

    ev.now_ms = w->now;
    agent_step(w->a, &ev, &out);
    for (size_t i = 0; i < out.n; i++) {
        const agent_effect *e = &out.v[i];

        unsaved = unsaved || (e->kind == AGENT_SAVE && w->disk_full);
        if (!unsaved || (e->kind != AGENT_SEND && e->kind != AGENT_SAY))
            carry_out(w, e);
    }
    agent_effects_free(&out);
    if (unsaved)
        step(w, (agent_event){ .kind = AGENT_UNSAVED });
}

/* Lets time pass, ticking when the agent asks for it. */
static inline void pass(world *w, int64_t ms)
{
    int64_t end = w->now + ms;

    tell(w, "> %d ms", (int)ms);
    while (agent_next_deadline_ms(w->a) <= end) {
        int64_t at = agent_next_deadline_ms(w->a);

        w->now = at > w->now ? at : w->now;
        step(w, (agent_event){ .kind = AGENT_TICK });
        assert_true(agent_next_deadline_ms(w->a) > w->now || w->exited);
    }
    w->now = end;
}

static inline void hear(world *w, msg m)
{
    tell(w, "> %s", msg_type_text(m.type));
    step(w, (agent_event){ .kind = AGENT_MSG, .msg = &m });
}

static inline void exec_says(world *w, unsigned slot, msg m)
{
    tell(w, "> slot %u: %s", slot, msg_type_text(m.type));
    step(w, (agent_event){ .kind = AGENT_EXEC_MSG, .slot = slot, .msg = &m });
}

static inline msg welcome(uint64_t ep, rec_held_list keep, rec_held_list drop)
{
    return (msg){ .type = MSG_welcome,
                  .welcome = { .ver = 1,
                               .ep = ep,
                               .hist = SLICE(HIST),
                               .hb_ms = 1000,
                               .suspect_ms = 4000,
                               .lease_ms = 15000,
                               .window = 262144,
                               .keep = keep,
                               .drop = drop } };
}

static inline msg assign(uint64_t task, uint64_t att, task_kind kind)
{
    return (msg){ .type = MSG_assign,
                  .assign = { .task = task,
                              .att = att,
                              .ep = 1,
                              .kind = kind,
                              .build = 1,
                              .job = kind == TASK_PLAN ? SLICE("") : SLICE("tests"),
                              .repo = SLICE("repo"),
                              .url = SLICE("local:here:/repo"),
                              .oid = SLICE(OID),
                              .ref = SLICE("refs/heads/main") } };
}

static inline msg start(uint64_t task, uint64_t att)
{
    return (msg){ .type = MSG_start, .start = { .task = task, .att = att } };
}

static inline msg result(uint64_t task, uint64_t att, uint64_t log_bytes)
{
    return (msg){
        .type = MSG_result,
        .result = { .task = task, .att = att, .verdict = VERDICT_PASSED, .log_bytes = log_bytes }
    };
}

static inline msg result_ok(uint64_t task, uint64_t att)
{
    return (msg){ .type = MSG_result_ok, .result_ok = { .task = task, .att = att } };
}

static inline msg log_ok(uint64_t off, uint64_t window)
{
    return (msg){ .type = MSG_log_ok,
                  .log_ok = { .task = 1, .att = 1, .off = off, .window = window } };
}

static inline msg idle_hb(void)
{
    return (msg){ .type = MSG_hb };
}

static inline world *open_world(unsigned slots)
{
    world *w = calloc(1, sizeof *w);
    const agent_config config = {
        .id = "0000000000000000000000000000000a",
        .name = "here-1",
        .host = "here",
        .boot = "0000000000000000000000000000000b",
        .slots = slots,
        .seed = 7,
    };

    assert_non_null(w);
    memset(w->log, 'x', sizeof w->log);
    w->a = agent_new(&config);
    w->now = 1000;
    return w;
}

static inline void close_world(world *w)
{
    agent_free(w->a);
    buf_free(&w->story);
    free(w);
}

/* Registered, executors ready; the story begins after that. */
static inline world *ready_world(unsigned slots)
{
    world *w = open_world(slots);

    w->quiet = true;
    step(w, (agent_event){ .kind = AGENT_BEGIN });
    for (unsigned i = 0; i <= slots; i++) {
        step(w, (agent_event){ .kind = AGENT_EXEC_UP, .slot = i });
        exec_says(w, i, idle_hb());
    }
    hear(w, welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 }));
    w->quiet = false;
    return w;
}

static inline void check(world *w, const char *expected)
{
    assert_string_equal(buf_str(&w->story), expected);
    buf_clear(&w->story);
}

#endif
