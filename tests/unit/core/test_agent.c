/* The agent's stories: what goes in (>) and what comes out is printed, and the print is the
 * assertion.  A small world answers READ effects from a spool of its own. */
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
    msg tests[4], plan[4]; /* spooled */
    size_t tests_n, plan_n;
    const msg *result;
    bool quiet;
    bool exited;
} world;

static void step(world *w, agent_event ev);

static void tell(world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void tell(world *w, const char *fmt, ...)
{
    char line[600];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (!w->quiet)
        buf_addf(&w->story, "%s\n", line);
}

static void tell_held(world *w, const char *what, const rec_held_list *held)
{
    char line[300] = "";
    size_t n = 0;

    for (size_t i = 0; i < held->n && n < sizeof line - 40; i++)
        n += (size_t)snprintf(line + n, sizeof line - n, " %d-%d/%s", (int)held->v[i].task,
                              (int)held->v[i].att, held_state_text(held->v[i].state));
    tell(w, "  %s%s", what, line);
}

static void tell_sent(world *w, const char *to, const msg *m)
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
        break;
    case MSG_log:
        tell(w, "  log %d-%d at %d: %d%s", t, n, (int)m->log.off, (int)m->log.d.n,
             m->log.eof ? " eof" : "");
        break;
    case MSG_result:
        tell(w, "  result %d-%d %s log %d of %d, items %d from %d", t, n,
             verdict_text(m->result.verdict), (int)m->result.log.n, (int)m->result.log_bytes,
             (int)m->result.items.n, (int)m->result.from);
        break;
    default:
        tell(w, "  %s%s %d-%d", to, msg_type_text(m->type), t, n);
        break;
    }
}

/* Answers of the spool. */
static void answer(world *w, const agent_effect *e)
{
    agent_event ev = { .kind = AGENT_SPOOL, .task = e->task, .att = e->att, .part = e->part };

    if (e->kind == AGENT_READ_LOG) {
        size_t have = w->log_n > e->off ? w->log_n - (size_t)e->off : 0;

        ev.kind = AGENT_LOG_READ;
        ev.off = e->off;
        ev.bytes = (slice){ w->log + e->off, have < e->max ? have : (size_t)e->max };
        step(w, ev);
        return;
    }
    if (e->part == AGENT_PART_RESULT) {
        ev.msg = w->result;
        step(w, ev);
        return;
    }
    for (size_t i = 0; i < (e->part == AGENT_PART_PLAN ? w->plan_n : w->tests_n); i++) {
        ev.msg = e->part == AGENT_PART_PLAN ? &w->plan[i] : &w->tests[i];
        if (e->part != AGENT_PART_PLAN || ev.msg->plan.part >= e->off)
            step(w, ev);
    }
    ev.msg = NULL;
    step(w, ev);
}

static void carry_out(world *w, const agent_effect *e)
{
    char to[24];

    switch (e->kind) {
    case AGENT_SEND:
        tell_sent(w, "", e->msg);
        break;
    case AGENT_EXEC:
        snprintf(to, sizeof to, "slot %u: ", e->slot);
        tell_sent(w, to, e->msg);
        break;
    case AGENT_SPAWN:
        tell(w, "  spawn %u", e->slot);
        break;
    case AGENT_SAVE:
        tell(w, "  save %c %d", e->hist[31], (int)e->ep);
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

static void step(world *w, agent_event ev)
{
    agent_effects out = { 0 };

    ev.now_ms = w->now;
    agent_step(w->a, &ev, &out);
    for (size_t i = 0; i < out.n; i++)
        carry_out(w, &out.v[i]);
    agent_effects_free(&out);
}

/* Lets time pass, ticking when the agent asks for it. */
static void pass(world *w, int64_t ms)
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

static void hear(world *w, msg m)
{
    tell(w, "> %s", msg_type_text(m.type));
    step(w, (agent_event){ .kind = AGENT_MSG, .msg = &m });
}

static void exec_says(world *w, unsigned slot, msg m)
{
    tell(w, "> slot %u: %s", slot, msg_type_text(m.type));
    step(w, (agent_event){ .kind = AGENT_EXEC_MSG, .slot = slot, .msg = &m });
}

static msg welcome(uint64_t ep, rec_held_list keep, rec_held_list drop)
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

static msg assign(uint64_t task, uint64_t att, task_kind kind)
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

static msg start(uint64_t task, uint64_t att)
{
    return (msg){ .type = MSG_start, .start = { .task = task, .att = att } };
}

static msg result(uint64_t task, uint64_t att, uint64_t log_bytes)
{
    return (msg){
        .type = MSG_result,
        .result = { .task = task, .att = att, .verdict = VERDICT_PASSED, .log_bytes = log_bytes }
    };
}

static msg result_ok(uint64_t task, uint64_t att)
{
    return (msg){ .type = MSG_result_ok, .result_ok = { .task = task, .att = att } };
}

static msg log_ok(uint64_t off, uint64_t window)
{
    return (msg){ .type = MSG_log_ok,
                  .log_ok = { .task = 1, .att = 1, .off = off, .window = window } };
}

static msg idle_hb(void)
{
    return (msg){ .type = MSG_hb };
}

static world *open_world(unsigned slots)
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

static void close_world(world *w)
{
    agent_free(w->a);
    buf_free(&w->story);
    free(w);
}

/* Registered, executors ready; the story begins after that. */
static world *ready_world(unsigned slots)
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

static void check(world *w, const char *expected)
{
    assert_string_equal(buf_str(&w->story), expected);
    buf_clear(&w->story);
}

static void registers_and_beats(void **fixture)
{
    world *w = open_world(1);

    (void)fixture;
    step(w, (agent_event){ .kind = AGENT_BEGIN });
    hear(w, welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 }));
    pass(w, 1000);
    hear(w, (msg){ .type = MSG_hb_ok, .hb_ok = { .n = 1, .ep = 1 } });
    pass(w, 1000);
    check(w, "  spawn 0\n"
             "  spawn 1\n"
             "  hello\n"
             "> welcome\n"
             "  save 1 1\n"
             "  \"registered\"\n"
             "> 1000 ms\n"
             "  hb\n"
             "> hb_ok\n"
             "> 1000 ms\n"
             "  hb\n");
    close_world(w);
}

static void runs_a_task(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    w->log_n = 5;
    exec_says(w, 1, result(1, 1, 5));
    hear(w, result_ok(1, 1));
    assert_int_equal(agent_held(w->a), 0);
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> slot 1: result\n"
             "  result 1-1 passed log 5 of 5, items 0 from 0\n"
             "> result_ok\n"
             "  delete 1-1\n");
    close_world(w);
}

static void waits_for_an_executor_that_is_starting(void **fixture)
{
    world *w = open_world(1);

    (void)fixture;
    w->quiet = true;
    step(w, (agent_event){ .kind = AGENT_BEGIN });
    hear(w, welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 }));
    w->quiet = false;
    hear(w, assign(1, 1, TASK_SCRIPT));
    step(w, (agent_event){ .kind = AGENT_EXEC_UP, .slot = 1 });
    exec_says(w, 1, idle_hb());
    check(w, "> assign\n"
             "> slot 1: hb\n"
             "  slot 1: assign 1-1\n");
    close_world(w);
}

static void plans_outside_the_slots(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, assign(2, 1, TASK_PLAN));
    hear(w, assign(3, 1, TASK_PLAN));
    hear(w, assign(4, 1, TASK_SCRIPT));
    w->plan[0] = (msg){ .type = MSG_plan, .plan = { .task = 2, .att = 1, .last = true } };
    w->plan_n = 1;
    exec_says(w, 0, w->plan[0]);
    exec_says(w, 0, result(2, 1, 0));
    pass(w, 999);
    pass(w, 1);
    hear(w, (msg){ .type = MSG_plan_ok, .plan_ok = { .task = 2, .att = 1, .next = 1 } });
    hear(w, result_ok(2, 1));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> assign\n"
             "  slot 0: assign 2-1\n"
             "> assign\n"
             "  nack 3-1 BUSY\n"
             "> assign\n"
             "  nack 4-1 BUSY\n"
             "> slot 0: plan\n"
             "  plan 2-1 part 0\n"
             "> slot 0: result\n"
             "  result 2-1 passed log 0 of 0, items 0 from 0\n"
             "> 999 ms\n"
             "> 1 ms\n"
             "  hb 1-1/accepted 2-1/done\n"
             "  plan 2-1 part 0\n"
             "  result 2-1 passed log 0 of 0, items 0 from 0\n"
             "> plan_ok\n"
             "> result_ok\n"
             "  delete 2-1\n");
    close_world(w);
}

static void reads_a_plan_again_that_the_dispatcher_forgot(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    for (uint64_t i = 0; i < 2; i++)
        w->plan[i] =
            (msg){ .type = MSG_plan, .plan = { .task = 1, .att = 1, .part = i, .last = i == 1 } };
    w->plan_n = 2;
    hear(w, assign(1, 1, TASK_PLAN));
    exec_says(w, 0, w->plan[0]);
    exec_says(w, 0, w->plan[1]);
    exec_says(w, 0, result(1, 1, 0));
    hear(w, (msg){ .type = MSG_plan_ok, .plan_ok = { .task = 1, .att = 1, .next = 2 } });
    hear(w, (msg){ .type = MSG_plan_ok, .plan_ok = { .task = 1, .att = 1, .next = 1 } });
    check(w, "> assign\n"
             "  slot 0: assign 1-1\n"
             "> slot 0: plan\n"
             "  plan 1-1 part 0\n"
             "> slot 0: plan\n"
             "  plan 1-1 part 1\n"
             "> slot 0: result\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n"
             "> plan_ok\n"
             "> plan_ok\n"
             "  plan 1-1 part 1\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n");
    close_world(w);
}

static void answers_duplicates_and_starts_nothing_twice(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, assign(1, 2, TASK_SCRIPT));
    hear(w, assign(1, 2, TASK_SCRIPT));
    exec_says(w, 1, start(1, 2));
    hear(w, assign(1, 2, TASK_SCRIPT));
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, result(1, 2, 0));
    hear(w, assign(1, 2, TASK_SCRIPT));
    hear(w, result_ok(1, 2));
    hear(w, result_ok(1, 2));
    hear(w, assign(1, 2, TASK_SCRIPT));
    check(w, "> assign\n"
             "  slot 1: assign 1-2\n"
             "> assign\n"
             "> slot 1: start\n"
             "  start 1-2\n"
             "> assign\n"
             "  start 1-2\n"
             "> assign\n"
             "> slot 1: result\n"
             "  result 1-2 passed log 0 of 0, items 0 from 0\n"
             "> assign\n"
             "  result 1-2 passed log 0 of 0, items 0 from 0\n"
             "> result_ok\n"
             "  delete 1-2\n"
             "> result_ok\n"
             "> assign\n");
    close_world(w);
}

static void kills_the_old_attempt_before_a_greater_one(void **fixture)
{
    world *w = ready_world(2);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, assign(1, 2, TASK_SCRIPT));
    exec_says(w, 1, result(1, 1, 0));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> assign\n"
             "  slot 1: cancel 1-1\n"
             "> slot 1: result\n"
             "  delete 1-1\n"
             "  slot 1: assign 1-2\n");
    close_world(w);
}

static void prefers_the_slot_with_a_warm_workspace(void **fixture)
{
    world *w = ready_world(3);
    msg other = assign(3, 1, TASK_SCRIPT);

    (void)fixture;
    other.assign.job = SLICE("lint");
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, other);
    exec_says(w, 1, result(1, 1, 0));
    exec_says(w, 2, result(3, 1, 0));
    other.assign.task = 4;
    hear(w, other);
    other.assign.task = 5;
    other.assign.repo = SLICE("another");
    hear(w, other);
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> assign\n"
             "  slot 2: assign 3-1\n"
             "> slot 1: result\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n"
             "> slot 2: result\n"
             "  result 3-1 passed log 0 of 0, items 0 from 0\n"
             "> assign\n"
             "  slot 2: assign 4-1\n"
             "> assign\n"
             "  slot 3: assign 5-1\n");
    close_world(w);
}

static void goes_on_while_the_dispatcher_is_silent(void **fixture)
{
    world *w = ready_world(1);
    rec_held kept = { .task = 1, .att = 1 };

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    pass(w, 3900);
    pass(w, 700);
    exec_says(w, 1, result(1, 1, 0));
    hear(w, welcome(1, (rec_held_list){ &kept, 1 }, (rec_held_list){ 0 }));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> 3900 ms\n"
             "  hb 1-1/running\n"
             "  hb 1-1/running\n"
             "  hb 1-1/running\n"
             "> 700 ms\n"
             "  \"connection to the dispatcher lost; what runs goes on\"\n"
             "  reconnect\n"
             "  hello 1-1/running\n"
             "> slot 1: result\n"
             "> welcome\n"
             "  \"registered again\"\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n");
    close_world(w);
}

static void follows_a_restarted_dispatcher(void **fixture)
{
    world *w = ready_world(1);
    msg again = assign(3, 1, TASK_SCRIPT), old = assign(4, 1, TASK_SCRIPT);
    rec_held kept = { .task = 1, .att = 1 };

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    pass(w, 10);
    hear(w, (msg){ .type = MSG_who });
    pass(w, 300);
    hear(w, welcome(2, (rec_held_list){ &kept, 1 }, (rec_held_list){ 0 }));
    exec_says(w, 1, result(1, 1, 0));
    hear(w, result_ok(1, 1));
    hear(w, old);
    again.assign.ep = 2;
    hear(w, again);
    hear(w, (msg){ .type = MSG_who });
    pass(w, 300);
    hear(w, welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 }));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> 10 ms\n"
             "> who\n"
             "> 300 ms\n"
             "  hello 1-1/running\n"
             "> welcome\n"
             "  save 1 2\n"
             "  \"registered again\"\n"
             "  start 1-1\n"
             "> slot 1: result\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n"
             "> result_ok\n"
             "  delete 1-1\n"
             "> assign\n"
             "> assign\n"
             "  slot 1: assign 3-1\n"
             "> who\n"
             "> 300 ms\n"
             "  hello 3-1/accepted\n"
             "> welcome\n"
             "  \"an outdated dispatcher (epoch 1, newest 2) answered; ignored\"\n");
    close_world(w);
}

static void starts_afresh_in_another_history(void **fixture)
{
    world *w = ready_world(2);
    msg m = welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 });

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, assign(2, 1, TASK_SCRIPT));
    exec_says(w, 2, result(2, 1, 0));
    hear(w, (msg){ .type = MSG_who });
    pass(w, 200);
    m.welcome.hist = SLICE(HIST2);
    hear(w, m);
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, result(1, 1, 0));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> assign\n"
             "  slot 2: assign 2-1\n"
             "> slot 2: result\n"
             "  result 2-1 passed log 0 of 0, items 0 from 0\n"
             "> who\n"
             "> 200 ms\n"
             "  hello 1-1/accepted 2-1/done\n"
             "> welcome\n"
             "  slot 1: cancel 1-1\n"
             "  delete 2-1\n"
             "  save 2 1\n"
             "  \"registered again\"\n"
             "> assign\n"
             "> slot 1: result\n"
             "  delete 1-1\n"
             "  slot 1: assign 1-1\n");
    close_world(w);
}

static void ends_what_is_fenced(void **fixture)
{
    world *w = ready_world(1);
    rec_held dropped = { .task = 2, .att = 1, .code = CODE_STALE };

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    hear(w, (msg){ .type = MSG_fenced, .fenced = { .task = 1, .att = 1, .code = CODE_STALE } });
    hear(w, assign(2, 1, TASK_SCRIPT));
    exec_says(w, 1, result(1, 1, 0));
    hear(w, (msg){ .type = MSG_hb_ok, .hb_ok = { .n = 1, .ep = 1, .drop = { &dropped, 1 } } });
    exec_says(w, 1, (msg){ .type = MSG_nack, .nack = { .task = 2, .att = 1, .code = CODE_LOST } });
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> fenced\n"
             "  slot 1: cancel 1-1\n"
             "> assign\n"
             "> slot 1: result\n"
             "  delete 1-1\n"
             "  slot 1: assign 2-1\n"
             "> hb_ok\n"
             "  slot 1: cancel 2-1\n"
             "> slot 1: nack\n"
             "  delete 2-1\n");
    close_world(w);
}

static void relays_nacks_and_repeats_them(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, (msg){ .type = MSG_nack, .nack = { .task = 1, .att = 1, .code = CODE_REPO } });
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, assign(1, 2, TASK_SCRIPT));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: nack\n"
             "  nack 1-1 REPO\n"
             "  delete 1-1\n"
             "> assign\n"
             "  nack 1-1 REPO\n"
             "> assign\n"
             "  slot 1: assign 1-2\n");
    close_world(w);
}

static void cancels(void **fixture)
{
    world *w = ready_world(1);
    const msg one = { .type = MSG_cancel, .cancel = { .task = 1, .att = 1 } };
    const msg two = { .type = MSG_cancel, .cancel = { .task = 2, .att = 1 } };
    const msg nine = { .type = MSG_cancel, .cancel = { .task = 9, .att = 1 } };

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, one);
    hear(w, (msg){ .type = MSG_fenced, .fenced = { .task = 1, .att = 1, .code = CODE_STALE } });
    hear(w, assign(2, 1, TASK_SCRIPT)); /* waits for the slot */
    hear(w, two);
    hear(w, two);
    hear(w, nine);
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> cancel\n"
             "  slot 1: cancel 1-1\n"
             "> fenced\n"
             "  slot 1: cancel 1-1\n"
             "> assign\n"
             "> cancel\n"
             "  result 2-1 canceled log 0 of 0, items 0 from 0\n"
             "> cancel\n"
             "> cancel\n"
             "  nack 9-1 LOST\n");
    close_world(w);
}

static void gives_back_what_a_lost_executor_had(void **fixture)
{
    world *w = ready_world(1);
    msg done = result(2, 1, 0);

    (void)fixture;
    pass(w, 1);
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    step(w, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = 1 });
    pass(w, 200);
    step(w, (agent_event){ .kind = AGENT_EXEC_UP, .slot = 1 });
    exec_says(w, 1, idle_hb());
    hear(w, assign(2, 1, TASK_SCRIPT));
    w->result = &done; /* it wrote the result, and could not say so */
    step(w, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = 1 });
    check(w, "> 1 ms\n"
             "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "  nack 1-1 LOST\n"
             "  delete 1-1\n"
             "  \"executor of slot 1 ended; starting another\"\n"
             "> 200 ms\n"
             "  spawn 1\n"
             "> slot 1: hb\n"
             "> assign\n"
             "  slot 1: assign 2-1\n"
             "  result 2-1 passed log 0 of 0, items 0 from 0\n"
             "  \"executor of slot 1 ended; starting another\"\n");
    close_world(w);
}

static void keeps_outcomes_until_acknowledged(void **fixture)
{
    world *w = ready_world(1);
    rec_item items[4] = { { .verdict = VERDICT_PASSED } };
    msg one = { .type = MSG_tests, .tests = { .task = 1, .att = 1, .items = { items, 1 } } };
    msg done = result(1, 1, 0);

    (void)fixture;
    hear(w, assign(1, 1, TASK_TESTS));
    exec_says(w, 1, start(1, 1));
    exec_says(w, 1, one);
    one.tests.from = 1;
    exec_says(w, 1, one);
    one.tests.from = 2;
    exec_says(w, 1, one);
    hear(w, (msg){ .type = MSG_tests_ok, .tests_ok = { .task = 1, .att = 1, .next = 1 } });
    pass(w, 2000);
    done.result.from = 3;
    done.result.items = (rec_item_list){ items, 2 };
    exec_says(w, 1, done);
    hear(w, (msg){ .type = MSG_tests_ok, .tests_ok = { .task = 1, .att = 1, .next = 3 } });
    hear(w, result_ok(1, 1));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> slot 1: tests\n"
             "  tests 1-1 from 0: 1\n"
             "> slot 1: tests\n"
             "> slot 1: tests\n"
             "> tests_ok\n"
             "  tests 1-1 from 1: 2\n"
             "> 2000 ms\n"
             "  hb 1-1/running\n"
             "  tests 1-1 from 1: 2\n"
             "  hb 1-1/running\n"
             "> slot 1: result\n"
             "  result 1-1 passed log 0 of 0, items 4 from 1\n"
             "> tests_ok\n"
             "> result_ok\n"
             "  delete 1-1\n");
    close_world(w);
}

static void streams_a_log_under_credit(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    w->log_n = 100000;
    pass(w, 200);
    hear(w, log_ok(65536, 65536));
    hear(w, log_ok(100000, 65536));
    w->log_n = 300000;
    pass(w, 200);
    exec_says(w, 1, result(1, 1, 300000));
    hear(w, log_ok(165536, 0));
    pass(w, 1000);
    hear(w, log_ok(65536, 262144));
    hear(w, log_ok(300000, 262144));
    hear(w, result_ok(1, 1));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> 200 ms\n"
             "  log 1-1 at 0: 65536\n"
             "  log 1-1 at 65536: 34464\n"
             "> log_ok\n"
             "> log_ok\n"
             "> 200 ms\n"
             "  log 1-1 at 100000: 65536\n"
             "> slot 1: result\n"
             "> log_ok\n"
             "> 1000 ms\n"
             "  hb 1-1/done\n"
             "  log 1-1 at 165536: 0\n"
             "> log_ok\n"
             "  log 1-1 at 65536: 65536\n"
             "  log 1-1 at 131072: 65536\n"
             "  log 1-1 at 196608: 65536\n"
             "  log 1-1 at 262144: 37856 eof\n"
             "> log_ok\n"
             "  result 1-1 passed log 0 of 300000, items 0 from 0\n"
             "> result_ok\n"
             "  delete 1-1\n");
    close_world(w);
}

static void sends_a_lost_piece_again(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    w->log_n = 20000;
    exec_says(w, 1, result(1, 1, 20000));
    pass(w, 1000);
    hear(w, log_ok(20000, 65536));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: result\n"
             "  log 1-1 at 0: 20000 eof\n"
             "> 1000 ms\n"
             "  hb 1-1/done\n"
             "  log 1-1 at 0: 20000 eof\n"
             "> log_ok\n"
             "  result 1-1 passed log 0 of 20000, items 0 from 0\n");
    close_world(w);
}

static void drains(void **fixture)
{
    world *w = ready_world(1);
    rec_held kept = { .task = 1, .att = 1 };

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    pass(w, 300);
    step(w, (agent_event){ .kind = AGENT_DRAIN });
    hear(w, welcome(1, (rec_held_list){ &kept, 1 }, (rec_held_list){ 0 }));
    hear(w, assign(2, 1, TASK_SCRIPT));
    exec_says(w, 1, result(1, 1, 0));
    hear(w, result_ok(1, 1));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> 300 ms\n"
             "  \"draining: finishing what is held\"\n"
             "  hello(drain) 1-1/accepted\n"
             "> welcome\n"
             "> assign\n"
             "  nack 2-1 DRAIN\n"
             "> slot 1: result\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n"
             "> result_ok\n"
             "  delete 1-1\n"
             "  bye\n"
             "  slot 0: bye\n"
             "  slot 1: bye\n"
             "  exit: drained\n");
    close_world(w);
}

static void stops_and_gives_back(void **fixture)
{
    world *w = ready_world(2);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, assign(2, 1, TASK_SCRIPT));
    step(w, (agent_event){ .kind = AGENT_STOP });
    step(w, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = 0 });
    step(w, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = 2 });
    pass(w, AGENT_STOP_MS);
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> assign\n"
             "  slot 2: assign 2-1\n"
             "  slot 0: bye\n"
             "  slot 1: bye\n"
             "  slot 2: bye\n"
             "  delete 2-1\n"
             "> 3000 ms\n"
             "  hb 1-1/accepted\n"
             "  hb 1-1/accepted\n"
             "  hb 1-1/accepted\n"
             "  delete 1-1\n"
             "  bye\n"
             "  exit: stopped\n");
    close_world(w);
}

static void takes_an_end_that_nobody_asked_for_as_lost(void **fixture)
{
    world *w = ready_world(1);
    msg ended = result(1, 1, 0);

    (void)fixture;
    ended.result.verdict = VERDICT_CANCELED;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, ended);
    hear(w, assign(1, 2, TASK_SCRIPT));
    hear(w, (msg){ .type = MSG_cancel, .cancel = { .task = 1, .att = 2 } });
    ended.result.att = 2;
    exec_says(w, 1, ended);
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: result\n"
             "  nack 1-1 LOST\n"
             "  delete 1-1\n"
             "> assign\n"
             "  slot 1: assign 1-2\n"
             "> cancel\n"
             "  slot 1: cancel 1-2\n"
             "> slot 1: result\n"
             "  result 1-2 canceled log 0 of 0, items 0 from 0\n");
    close_world(w);
}

static void replaces_an_earlier_agents_executor_when_it_is_idle(void **fixture)
{
    world *w = open_world(1);

    (void)fixture;
    step(w, (agent_event){ .kind = AGENT_EXEC_UP, .slot = 1 });
    step(w, (agent_event){ .kind = AGENT_BEGIN });
    exec_says(w, 1, idle_hb());
    step(w, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = 1 });
    check(w, "  spawn 0\n"
             "  hello\n"
             "> slot 1: hb\n"
             "  slot 1: bye\n"
             "  spawn 1\n");
    close_world(w);
}

static void heeds_a_refusal(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, (msg){ .type = MSG_refuse, .refuse = { .code = CODE_STALE_DB, .retry_ms = 500 } });
    pass(w, 700);
    hear(w, (msg){ .type = MSG_refuse, .refuse = { .code = CODE_REPLACED } });
    check(w, "> refuse\n"
             "  \"the dispatcher refuses this runner (STALE_DB); trying again\"\n"
             "> 700 ms\n"
             "  hello\n"
             "> refuse\n"
             "  slot 0: bye\n"
             "  slot 1: bye\n"
             "  exit: REPLACED\n");
    close_world(w);
}

static void adopts_what_an_earlier_agent_left(void **fixture)
{
    world *w = open_world(1);
    msg found[4];
    rec_held held = { .task = 1, .att = 1, .state = HELD_RUNNING };
    rec_item item = { .verdict = VERDICT_PASSED };
    msg done = result(2, 1, 0);

    (void)fixture;
    for (uint64_t i = 0; i < 4; i++)
        found[i] = assign(i + 1, 1, TASK_TESTS);
    w->tests[0] =
        (msg){ .type = MSG_tests, .tests = { .task = 1, .att = 1, .items = { &item, 1 } } };
    w->tests_n = 1;
    w->result = &done;
    for (uint64_t i = 0; i < 3; i++)
        step(w, (agent_event){ .kind = AGENT_FOUND,
                               .task = i + 1,
                               .att = 1,
                               .msg = &found[i],
                               .has_result = i == 1 });
    step(w, (agent_event){ .kind = AGENT_FOUND, .task = 9, .att = 1 }); /* not readable */
    step(w, (agent_event){ .kind = AGENT_EXEC_UP, .slot = 3 });
    step(w, (agent_event){ .kind = AGENT_BEGIN });
    exec_says(w, 3, (msg){ .type = MSG_hb, .hb = { .held = { &held, 1 } } });
    hear(w, welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 }));
    exec_says(w, 3, result(1, 1, 0));
    check(w, "  delete 9-1\n"
             "  spawn 0\n"
             "  spawn 1\n"
             "> slot 3: hb\n"
             "  delete 3-1\n"
             "  hello 1-1/running 2-1/done\n"
             "> welcome\n"
             "  save 1 1\n"
             "  \"registered\"\n"
             "  start 1-1\n"
             "  tests 1-1 from 0: 1\n"
             "  result 2-1 passed log 0 of 0, items 1 from 0\n"
             "> slot 3: result\n"
             "  result 1-1 passed log 0 of 0, items 1 from 0\n"
             "  slot 3: bye\n");
    close_world(w);
}

/* ---- the soak: a dispatcher and executors that do anything, in any order ---- */

typedef struct soak {
    world w;
    prng rng;
    uint64_t att[64]; /* newest attempt assigned, by task */
    uint64_t ran[64]; /* greatest attempt handed to an executor, by task */
    uint64_t at[4];   /* task in each slot; 0: none */
    bool up[4];
} soak;

static uint64_t pick(soak *s, uint64_t n)
{
    return prng_below(&s->rng, n);
}

static void soak_step(soak *s, agent_event ev)
{
    agent_effects out = { 0 };

    ev.now_ms = s->w.now;
    agent_step(s->w.a, &ev, &out);
    for (size_t i = 0; i < out.n; i++) {
        const agent_effect *e = &out.v[i];

        if (e->kind == AGENT_EXEC && e->msg->type == MSG_assign) {
            uint64_t task = e->msg->assign.task;

            assert_true(e->slot < 4 && s->up[e->slot]);
            assert_true(e->msg->assign.att > s->ran[task]); /* S3: at most once */
            assert_int_equal(s->at[e->slot], 0);
            for (unsigned n = 0; n < 4; n++)
                assert_int_not_equal(s->at[n], task);
            s->ran[task] = e->msg->assign.att;
            s->at[e->slot] = task;
        }
        if (e->kind == AGENT_READ_LOG) {
            agent_event got = { .kind = AGENT_LOG_READ,
                                .task = e->task,
                                .att = e->att,
                                .off = e->off,
                                .bytes = { s->w.log, pick(s, 4) ? (size_t)e->max : 0 } };
            soak_step(s, got);
        }
        if (e->kind == AGENT_READ)
            soak_step(s,
                      (agent_event){
                          .kind = AGENT_SPOOL, .task = e->task, .att = e->att, .part = e->part });
        assert_true(e->kind != AGENT_EXIT);
    }
    agent_effects_free(&out);
}

static void soak_exec(soak *s)
{
    unsigned n = (unsigned)pick(s, 4);
    uint64_t task = s->at[n], att = task ? s->ran[task] : 0;
    msg m = start(task, att);

    if (!s->up[n]) {
        s->up[n] = true;
        s->at[n] = 0;
        soak_step(s, (agent_event){ .kind = AGENT_EXEC_UP, .slot = n });
        m = idle_hb();
    } else if (pick(s, 20) == 0) {
        s->up[n] = false;
        s->at[n] = 0;
        soak_step(s, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = n });
        return;
    } else if (!task) {
        return;
    } else if (pick(s, 3) == 0) {
        m = result(task, att, pick(s, 2) * pick(s, 40000));
        s->at[n] = 0;
    } else if (pick(s, 8) == 0) {
        m = (msg){ .type = MSG_nack, .nack = { .task = task, .att = att, .code = CODE_DISK } };
        s->at[n] = 0;
    }
    soak_step(s, (agent_event){ .kind = AGENT_EXEC_MSG, .slot = n, .msg = &m });
}

static void soak_dispatcher(soak *s)
{
    uint64_t task = 1 + pick(s, 63), att = s->att[task] ? s->att[task] - pick(s, 2) : 1;
    msg m = { 0 };

    if (att == 0)
        att = 1;
    switch (pick(s, 9)) {
    case 0:
    case 1:
        m = assign(task, att + pick(s, 2), pick(s, 4) ? TASK_SCRIPT : TASK_PLAN);
        if (m.assign.att > s->att[task])
            s->att[task] = m.assign.att;
        break;
    case 2:
        m = result_ok(task, att);
        break;
    case 3:
        m = (msg){ .type = MSG_fenced, .fenced = { .task = task, .att = att, .code = CODE_STALE } };
        break;
    case 4:
        m = (msg){ .type = MSG_cancel, .cancel = { .task = task, .att = att } };
        break;
    case 5:
        m = (msg){ .type = MSG_log_ok,
                   .log_ok = { .task = task,
                               .att = att,
                               .off = pick(s, 40000),
                               .window = pick(s, 3) * 30000 } };
        break;
    case 6:
        m = (msg){ .type = MSG_who };
        break;
    case 7:
        m = (msg){ .type = MSG_hb_ok, .hb_ok = { .n = 1, .ep = 1 } };
        break;
    default:
        m = welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 });
        break;
    }
    soak_step(s, (agent_event){ .kind = AGENT_MSG, .msg = &m });
}

static void survives_whatever_comes(void **fixture)
{
    (void)fixture;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        world *made = open_world(3);
        soak *s = calloc(1, sizeof *s);

        assert_non_null(s);
        s->w.a = made->a;
        s->rng.state = seed;
        soak_step(s, (agent_event){ .kind = AGENT_BEGIN });
        for (int i = 0; i < 3000; i++) {
            int64_t next = agent_next_deadline_ms(s->w.a);

            if (pick(s, 3) == 0)
                soak_exec(s);
            else if (pick(s, 3))
                soak_dispatcher(s);
            else
                s->w.now += (int64_t)pick(s, 700);
            if (next <= s->w.now) {
                soak_step(s, (agent_event){ .kind = AGENT_TICK });
                assert_true(agent_next_deadline_ms(s->w.a) > s->w.now);
            }
            assert_true(agent_held(s->w.a) <= AGENT_HELD_MAX);
        }
        free(s);
        close_world(made);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registers_and_beats),
        cmocka_unit_test(runs_a_task),
        cmocka_unit_test(waits_for_an_executor_that_is_starting),
        cmocka_unit_test(plans_outside_the_slots),
        cmocka_unit_test(reads_a_plan_again_that_the_dispatcher_forgot),
        cmocka_unit_test(answers_duplicates_and_starts_nothing_twice),
        cmocka_unit_test(kills_the_old_attempt_before_a_greater_one),
        cmocka_unit_test(prefers_the_slot_with_a_warm_workspace),
        cmocka_unit_test(goes_on_while_the_dispatcher_is_silent),
        cmocka_unit_test(follows_a_restarted_dispatcher),
        cmocka_unit_test(starts_afresh_in_another_history),
        cmocka_unit_test(ends_what_is_fenced),
        cmocka_unit_test(relays_nacks_and_repeats_them),
        cmocka_unit_test(cancels),
        cmocka_unit_test(gives_back_what_a_lost_executor_had),
        cmocka_unit_test(keeps_outcomes_until_acknowledged),
        cmocka_unit_test(streams_a_log_under_credit),
        cmocka_unit_test(sends_a_lost_piece_again),
        cmocka_unit_test(drains),
        cmocka_unit_test(stops_and_gives_back),
        cmocka_unit_test(takes_an_end_that_nobody_asked_for_as_lost),
        cmocka_unit_test(replaces_an_earlier_agents_executor_when_it_is_idle),
        cmocka_unit_test(heeds_a_refusal),
        cmocka_unit_test(adopts_what_an_earlier_agent_left),
        cmocka_unit_test(survives_whatever_comes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
