/*
 * fuzz_agent.c - whatever a dispatcher says, in whatever order, whatever executors, disk and
 * connection do: a runner's agent keeps its promises.
 *
 * An input is a script of events around one agent: messages that a dispatcher would send, messages
 * of any type with any fields, the words of executors, which die, hang and do not start, answers of
 * a spool that may be damaged, time, a connection that falls silent, saves that fail, an agent that
 * is killed and started again over what is left.
 */
#include <stdlib.h>

#include "agent_world.h"
#include "base/mem.h"

#define STEPS_MAX   500
#define CALM_ROUNDS 30
#define LONG_MS     20000
#define TICKS_MAX   500 /* in one stretch of time */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static known *some_known(world *w)
{
    return w->known_n ? &w->known[script_below(&w->in, (unsigned)w->known_n)] : NULL;
}

/* ---- executors ---- */

static void exec_gone(world *w, unsigned slot)
{
    const executor x = w->exec[slot];

    world_executor_dies(w, slot);
    if (x.coming || x.connected || x.dying)
        world_step(w, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = slot });
}

/* What its word, told or only spooled, makes of its work. */
static void note_said(executor *x, const msg *m)
{
    known *k = x->works;

    /* task and att come first in all of these */
    if (m->type == MSG_hb || !k || m->start.task != k->task || m->start.att != k->att)
        return;
    x->started |= m->type == MSG_start;
    if (m->type == MSG_plan && k->kind == TASK_PLAN && m->plan.part == k->plan_parts)
        k->plan_parts++;
    else if (m->type == MSG_tests && k->kind != TASK_PLAN && m->tests.from == k->units)
        k->units += m->tests.items.n;
    else if (m->type == MSG_plan || m->type == MSG_tests)
        k->damaged = true; /* what is not its work is not read again */
    if (m->type == MSG_nack)
        k->released = true;
    if (m->type == MSG_result) {
        k->has_result = true;
        k->verdict = m->result.verdict;
        /* a result that tells of more than there is */
        k->damaged |= m->result.log_bytes > k->log_bytes;
        k->damaged |= m->result.artifact_bytes > world_artifacts(k);
        k->released |= k->verdict == VERDICT_CANCELED; /* nobody asked: it is given back */
        x->last = k;
    }
    if (m->type == MSG_nack || m->type == MSG_result)
        x->works = NULL;
}

static void exec_says(world *w, unsigned slot, const msg *m)
{
    executor *x = &w->exec[slot];

    if (w->exited || !x->connected)
        return;
    note_said(x, m);
    world_step(w, (agent_event){ .kind = AGENT_EXEC_MSG, .slot = slot, .msg = m });
    if (x->connected && x->leaving && !x->works)
        exec_gone(w, slot);
}

/* It connects, and says what it works at. */
static void exec_up(world *w, unsigned slot)
{
    executor *x = &w->exec[slot];
    const known *k = x->works ? x->works : x->last;
    rec_held held = { 0 };
    msg m = { .type = MSG_hb };

    x->coming = false;
    x->connected = true;
    world_step(w, (agent_event){ .kind = AGENT_EXEC_UP, .slot = slot });
    if (k) {
        held = (rec_held){ .task = k->task, .att = k->att };
        held.state = !x->works ? HELD_DONE : x->started ? HELD_RUNNING : HELD_ACCEPTED;
        m.hb.held = (rec_held_list){ &held, 1 };
    }
    if (!x->deaf)
        exec_says(w, slot, &m);
}

static msg some_result(world *w, const known *k)
{
    unsigned b = script_byte(&w->in);
    msg m = { .type = MSG_result };

    m.result.task = k->task;
    m.result.att = k->att;
    m.result.verdict = b & 0x80 ? VERDICT_PASSED : 1 + b % VERDICT_NO_TESTS;
    m.result.log_bytes = k->log_bytes;
    m.result.artifact_bytes = world_artifacts(k);
    return m;
}

/* One of the things that an executor says of what it works at. */
static msg some_word(world *w, const known *k)
{
    msg m = { .type = MSG_start, .start = { .task = k->task, .att = k->att } };

    switch (script_below(&w->in, 8)) {
    case 0:
        return m;
    case 1:
        m = (msg){ .type = MSG_nack, .nack = { .task = k->task, .att = k->att } };
        m.nack.code = 1 + script_below(&w->in, CODE_CANCELED);
        return m;
    case 2:
        m = script_msg(&w->in, MSG_NONE);
        if (m.type >= MSG_start && m.type <= MSG_result) {
            m.start.task = k->task;
            m.start.att = k->att;
        }
        return m;
    case 3:
    case 4:
        if (k->kind == TASK_PLAN) {
            m = (msg){ .type = MSG_plan, .plan = { .task = k->task, .att = k->att } };
            m.plan.part = k->plan_parts;
            m.plan.jobs = script_jobs(&w->in);
            return k->plan_parts < PARTS_MAX ? m : some_result(w, k);
        }
        m = (msg){ .type = MSG_tests, .tests = { .task = k->task, .att = k->att } };
        m.tests.from = k->units;
        m.tests.items = world_units(k->units, k->units + 1 + script_below(&w->in, 2), &w->arena);
        return k->units < UNITS_MAX ? m : some_result(w, k);
    default:
        return some_result(w, k);
    }
}

static void act_executor(world *w)
{
    unsigned slot = script_below(&w->in, SLOTS_MOST + 1), b = script_byte(&w->in);
    executor *x = &w->exec[slot];

    if (x->dying || (x->coming && b >= 0xe0) || (x->connected && b >= 0xf8)) {
        exec_gone(w, slot);
    } else if (x->coming) {
        exec_up(w, slot);
    } else if (x->connected && x->works && b < 0x30) {
        x->works->log_bytes += b * 1000;
    } else if (x->connected && x->works) {
        const msg m = some_word(w, x->works);

        if (b < 0xf0) {
            exec_says(w, slot, &m);
        } else { /* it is spooled, and not said any more */
            note_said(x, &m);
            exec_gone(w, slot);
        }
    }
}

/* ---- the dispatcher ---- */

static void welcome(world *w, unsigned b)
{
    static const uint64_t windows[] = { 262144, 262144, 0, 1000 };
    rec_held keep[ATTEMPTS_MAX], drop[ATTEMPTS_MAX];
    msg m = { .type = MSG_welcome };
    msg_welcome *x = &m.welcome;

    *x = (msg_welcome){ .ver = 1,
                        .ep = w->ep,
                        .hist = script_id(w->hist),
                        .hb_ms = 1000,
                        .suspect_ms = 4000,
                        .lease_ms = 15000,
                        .window = windows[b % 4],
                        .keep = { keep, 0 },
                        .drop = { drop, 0 } };
    for (size_t i = 0; i < w->known_n; i++) {
        const known *k = &w->known[i];
        rec_held h = { .task = k->task,
                       .att = k->att,
                       .log_bytes = b & 4 ? k->end[PART_LOG] : 0,
                       .artifact_bytes = b & 4 ? k->end[PART_ARTIFACTS] : 0 };

        if (!agent_find(w->a, k->task, k->att))
            continue;
        if (b & 8 && i % 3 == 0)
            drop[x->drop.n++] = h;
        else if (!k->released)
            keep[x->keep.n++] = h;
    }
    w->hello = false;
    world_tell(w, &m);
}

static void assign(world *w)
{
    unsigned b = script_byte(&w->in);
    const known *k = b >= 0x80 ? some_known(w) : NULL;
    slice files[] = { SLICE("1"), SLICE("2"), SLICE("3") };
    msg m = { .type = MSG_assign };
    msg_assign *x = &m.assign;

    *x = (msg_assign){ .task = k ? k->task : ++w->tasks,
                       /* the same again, or the next */
                       .att = k ? k->att + (k->att < MSG_U32_MAX && b & 0x10) : 1,
                       .ep = b & 0x40 ? w->ep : w->a->maxep,
                       .kind = k            ? k->kind
                               : b % 4 == 0 ? TASK_PLAN
                                            : TASK_TESTS,
                       .build = 1 + b % 3,
                       .repo = SLICE("demo"),
                       .url = SLICE("https://e.org/r"),
                       .oid = SLICE("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
                       .ref = SLICE("refs/heads/main"),
                       .files = { files, 3 } };
    world_tell(w, &m);
}

/* About what it was told: right, less, more. */
static uint64_t about(world *w, uint64_t told)
{
    const uint64_t all[] = { told, told, told, told / 2, 0, told + 1 };

    return all[script_below(&w->in, 6)];
}

static void acknowledge(world *w, known *k)
{
    msg m = { .type = MSG_result_ok, .result_ok = { .task = k->task, .att = k->att } };

    switch (script_below(&w->in, 6)) {
    case 0:
        break;
    case 1:
        m = (msg){ .type = MSG_fenced,
                   .fenced = { .task = k->task, .att = k->att, .code = CODE_STALE } };
        break;
    case 2:
        m = (msg){ .type = MSG_cancel, .cancel = { .task = k->task, .att = k->att } };
        break;
    case 3:
        m = (msg){ .type = MSG_tests_ok, .tests_ok = { .task = k->task, .att = k->att } };
        m.tests_ok.next = about(w, k->items_end);
        break;
    case 4:
        m = (msg){ .type = MSG_plan_ok, .plan_ok = { .task = k->task, .att = k->att } };
        m.plan_ok.next = about(w, k->parts_end);
        break;
    default:
        k->turn = !k->turn && world_artifacts(k);
        m = (msg){ .type = MSG_log_ok, .log_ok = { .task = k->task, .att = k->att } };
        m.log_ok.part = k->turn ? PART_ARTIFACTS : PART_LOG;
        m.log_ok.off = about(w, k->end[m.log_ok.part]);
        m.log_ok.window = 50000 * (uint64_t)script_below(&w->in, 3);
        break;
    }
    world_tell(w, &m);
}

static void answer_beat(world *w)
{
    w->beat = false;
    world_tell(w, &(msg){ .type = MSG_hb_ok, .hb_ok = { .n = 1, .ep = w->ep } });
}

static void act_dispatcher(world *w)
{
    unsigned b = script_byte(&w->in);
    known *k;
    msg m;

    switch (b % 8) {
    case 0:
        m = script_msg(&w->in, MSG_NONE);
        world_tell(w, &m);
        break;
    case 1:
        welcome(w, b >> 3);
        break;
    case 2:
    case 3:
        assign(w);
        break;
    case 4:
        if (b & 0x80)
            answer_beat(w);
        else
            world_tell(
                w, &(msg){ .type = b & 0x40 ? MSG_who : MSG_mode, .mode.mode = 1 + (b >> 3) % 3 });
        break;
    default:
        k = some_known(w);
        if (k)
            acknowledge(w, k);
        break;
    }
}

/* ---- time, and trouble ---- */

static void answer_all(world *w)
{
    for (unsigned i = 0; i <= SLOTS_MOST; i++) {
        executor *x = &w->exec[i];

        if (x->connected && x->asked && !x->deaf) {
            x->asked = false;
            exec_says(w, i, &(msg){ .type = MSG_hb });
        }
        if (x->coming && w->no_start)
            exec_gone(w, i);
    }
    if (w->hello && !w->silent)
        welcome(w, 4);
    if (w->beat && !w->silent)
        answer_beat(w);
    for (size_t n = w->wants_n; n && w->wants_n && !w->exited; n--)
        world_answer_log(w);
}

static void pass(world *w, int64_t ms)
{
    int64_t end = w->now_ms + ms;

    for (unsigned i = 0; i < TICKS_MAX && !w->exited; i++) {
        int64_t at = agent_next_deadline_ms(w->a);

        if (at > end)
            break;
        w->now_ms = at;
        world_step(w, (agent_event){ .kind = AGENT_TICK });
        answer_all(w);
    }
    w->now_ms = end;
    world_step(w, (agent_event){ .kind = AGENT_TICK });
}

static void begin(world *w)
{
    const agent_config config = { .id = script_id(0).p,
                                  .name = "here-1",
                                  .host = "here",
                                  .boot = script_id(1).p,
                                  .hist = w->durable_hist,
                                  .maxep = w->durable_ep,
                                  .key = w->durable_key,
                                  .slots = 1 + script_below(&w->in, SLOTS_MOST),
                                  .seed = 7 };

    w->slots = config.slots;
    w->a = agent_new(&config);
    w->exited = w->hello = w->beat = w->unsaved = false;
    w->wants_n = 0;
    for (size_t i = 0; i < w->known_n; i++) {
        known *k = &w->known[i];
        msg m = { .type = MSG_assign };

        k->nacked = false;
        k->ordered &= k->spooled; /* what it ended is forgotten with it */
        if (!k->spooled || k->old)
            continue;
        m.assign = (msg_assign){ .task = k->task, .att = k->att, .ep = 1, .kind = k->kind };
        world_step(w, (agent_event){ .kind = AGENT_FOUND,
                                     .task = k->task,
                                     .att = k->att,
                                     .msg = k->damaged && !k->has_result ? NULL : &m,
                                     .has_result = k->has_result });
    }
    for (unsigned i = 0; i <= SLOTS_MOST; i++)
        if (w->exec[i].connected && !(w->exec[i].works && w->exec[i].works->old))
            exec_up(w, i);
        else
            world_executor_dies(w, i);
    world_step(w, (agent_event){ .kind = AGENT_BEGIN });
}

/* A new process after a kill, or after it has left: but for a refusal, it ends its executors. */
static void restart(world *w)
{
    for (unsigned i = 0; i <= SLOTS_MOST && w->exited && w->why != AGENT_REFUSED; i++)
        world_executor_dies(w, i);
    agent_free(w->a);
    agent_effects_clear(&w->out);
    begin(w);
}

static void act_trouble(world *w)
{
    unsigned b = script_byte(&w->in);
    known *k;

    switch (b % 8) {
    case 0:
        restart(w);
        break;
    case 1:
        w->silent = b & 0x80;
        break;
    case 2:
        w->disk_full = b & 0x80;
        break;
    case 3:
        w->exec[b / 8 % (SLOTS_MOST + 1)].deaf = b & 0x80;
        w->no_start = (b & 0xc0) == 0xc0;
        break;
    case 4:
        w->ep++;
        if (b & 0x80)
            w->hist = b >> 3;
        break;
    case 5:
        k = some_known(w);
        if (k && b & 0x80)
            k->damaged = true;
        break;
    case 6:
        world_step(w, (agent_event){ .kind = b & 0x80 ? AGENT_STOP : AGENT_DRAIN });
        break;
    default:
        world_tell(w, &(msg){ .type = MSG_refuse,
                              .refuse = { .code = 1 + b / 8 % CODE_CANCELED,
                                          .retry_ms = b & 0x80 ? 0 : 1000 } });
        break;
    }
}

/* ---- at the end ---- */

/* What an executor in good health does next. */
static void work_on(world *w, unsigned slot)
{
    executor *x = &w->exec[slot];

    x->deaf = false;
    if (x->dying)
        exec_gone(w, slot);
    else if (x->coming)
        exec_up(w, slot);
    else if (x->connected && x->works)
        exec_says(w, slot,
                  &(msg){ .type = MSG_result,
                          .result = { .task = x->works->task,
                                      .att = x->works->att,
                                      .verdict = VERDICT_PASSED,
                                      .log_bytes = x->works->log_bytes,
                                      .artifact_bytes = world_artifacts(x->works) } });
    else if (x->connected && x->leaving)
        exec_gone(w, slot);
}

/* An honest dispatcher's answers. */
static void answer_told(world *w, known *k)
{
    if (!k->told_more)
        return;
    k->told_more = false;
    world_tell(w, &(msg){ .type = MSG_tests_ok,
                          .tests_ok = { .task = k->task, .att = k->att, .next = k->items_end } });
    world_tell(w, &(msg){ .type = MSG_plan_ok,
                          .plan_ok = { .task = k->task, .att = k->att, .next = k->parts_end } });
    for (unsigned part = 0; part < PARTS_N; part++)
        world_tell(w, &(msg){ .type = MSG_log_ok,
                              .log_ok = { .task = k->task,
                                          .att = k->att,
                                          .off = k->end[part],
                                          .window = 1 << 18,
                                          .part = part } });
    if (!k->told_result)
        return;
    k->told_result = false;
    world_tell(w, &(msg){ .type = MSG_result_ok, .result_ok = { .task = k->task, .att = k->att } });
}

/* Once all trouble is over, all that was begun comes to its end. */
static void calm(world *w)
{
    bool may, must; /* leave */

    if (w->exited)
        restart(w);
    w->silent = w->disk_full = w->no_start = false;
    if (agent_registered(w->a)) /* with this dispatcher, which stays */
        w->ep = w->a->maxep;
    else if (w->ep <= w->a->maxep)
        w->ep = w->a->maxep + 1;
    may = agent_leaves(w->a);
    must = w->a->draining || w->a->stopping; /* the dispatcher's word ends with the session */
    w->hello = w->beat = false;              /* what is on its way is lost */
    for (size_t k = 0; k < w->known_n; k++)
        w->known[k].told_more = w->known[k].told_result = false;
    if (w->a->hello_at != HEAP_NEVER && w->a->hello_at > w->now_ms + LONG_MS)
        world_tell(w, &(msg){ .type = MSG_who }); /* it was told to wait for years */
    for (unsigned i = 0; i < CALM_ROUNDS && !w->exited; i++) {
        pass(w, 3000);
        for (unsigned s = 0; s <= SLOTS_MOST; s++)
            work_on(w, s);
        for (size_t k = 0; k < w->known_n; k++)
            answer_told(w, &w->known[k]);
    }
    require(w->exited ? may : !must, "it leaves when it was asked to");
    if (w->exited)
        return;
    require(agent_registered(w->a), "it comes back");
    require(agent_held(w->a) == 0, "what it held has ended");
    for (size_t i = 0; i < w->known_n; i++)
        require(!w->known[i].spooled || w->known[i].old, "and left no spool");
}

static void act(world *w)
{
    static const int64_t times[] = { 1, 200, 1000, 3000, 8000, 16000, 130000, 100 };
    unsigned b = script_byte(&w->in);

    if (w->exited)
        restart(w);
    if (b < 0x40)
        pass(w, times[b % 8]);
    else if (b < 0x50)
        act_trouble(w);
    else if (b < 0xa0)
        act_dispatcher(w);
    else if (b < 0xe0)
        act_executor(w);
    else
        answer_all(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    world *w = NEW(world);

    w->in = (script){ .p = bytes, .n = n, .a = &w->arena };
    w->now_ms = 1000;
    w->ep = 1;
    begin(w);
    for (unsigned i = 0; i <= SLOTS_MOST; i++)
        if (w->exec[i].coming)
            exec_up(w, i);
    welcome(w, 0);
    for (unsigned i = 0; i < STEPS_MAX && w->in.n; i++) {
        arena_reset(&w->arena);
        act(w);
    }
    calm(w);
    agent_free(w->a);
    agent_effects_free(&w->out);
    arena_free(&w->arena);
    free(w);
    return 0;
}
