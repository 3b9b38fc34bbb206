/*
 * fuzz_step.c - whatever peers say, in whatever order, with whatever failures of the store between:
 * the dispatcher keeps its promises, and what it stored can be loaded again.
 *
 * An input is a script of events: messages that runners and clients would send, messages of any
 * type with any fields, time, lost connections, a store that fails, restarts.
 */
#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"
#include "role/dispatcher.h"
#include "script.h"

#define HIST      "0123456789abcdef0123456789abcdef"
#define RUNNERS   3
#define HELD_MAX  8
#define TASKS_MAX 512
#define TRIES_MAX 3
#define CLIENT    40 /* its connection */
#define STEPS_MAX 600

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

typedef struct holding {
    uint64_t task, att;
    task_kind kind;
    size_t files, from;
} holding;

typedef struct runner_peer {
    uint64_t peer; /* its connection; another one after it was lost */
    bool lost;
    unsigned slots;
    uint64_t maxep;
    holding held[HELD_MAX];
    size_t held_n;
} runner_peer;

/* What is committed, and what the open transaction would add. */
typedef struct kept_task {
    uint64_t att, tries;
    bool final;
    verdict v;
    unsigned runner; /* that was given attempt `att`, from 1 */
} kept_task;

typedef struct world {
    script in;
    arena arena; /* of the frame being made, or heard */
    store *store;
    store_ops ops; /* the store's, with ours before them */
    const store_ops *inner;
    dispatcher *d;
    int64_t now_ms, wall_ms;
    runner_peer runners[RUNNERS];
    uint64_t connections, sids;
    kept_task kept[TASKS_MAX], open[TASKS_MAX];
    uint64_t kept_seq, open_seq, told_seq, ep;
    unsigned fail_after; /* puts and commits; 0: never */
    volt_code log_code;
    bool failed;
} world;

/* ---- the store, watched ---- */

static world *of_store(store *s)
{
    return (world *)(void *)((char *)(uintptr_t)s->ops - offsetof(world, ops));
}

static bool fails_now(world *w)
{
    if (w->fail_after && --w->fail_after == 0)
        w->failed = true;
    return w->failed;
}

static void watch_task(world *w, const row_task *t)
{
    kept_task *k = t->task < TASKS_MAX ? &w->open[t->task] : NULL;

    if (!k)
        return;
    require(t->att >= k->att, "S2: attempts count up");
    require(t->tries <= TRIES_MAX, "S12: no more losses than the maximum");
    require(!k->final || (t->state == STATE_FINAL && t->verdict == k->v && t->att == k->att),
            "S1: a verdict stands");
    if (t->att > k->att)
        k->runner = 0;
    k->att = t->att;
    k->tries = t->tries;
    k->final = t->state == STATE_FINAL;
    k->v = t->verdict;
}

static volt_code watched_put(store *s, const row *r, slice encoded, volt_err *err)
{
    world *w = of_store(s);
    volt_code code;

    if (fails_now(w))
        return volt_fail(err, VOLT_EFULL, "as the script says");
    code = w->inner->put(s, r, encoded, err);
    require(code == VOLT_OK, "the store takes its rows");
    if (r->kind == ROW_TASK)
        watch_task(w, &r->task);
    if (r->kind == ROW_EVENT)
        w->open_seq = r->event.seq;
    return VOLT_OK;
}

static volt_code watched_commit(store *s, volt_err *err)
{
    world *w = of_store(s);

    if (fails_now(w))
        return volt_fail(err, VOLT_EIO, "as the script says");
    memcpy(w->kept, w->open, sizeof w->kept);
    w->kept_seq = w->open_seq;
    return w->inner->commit(s, err);
}

static volt_code log_write(void *ctx, const log_name *name, uint64_t off, slice bytes,
                           volt_err *err)
{
    world *w = ctx;

    (void)name, (void)off, (void)bytes;
    return w->log_code ? volt_fail(err, w->log_code, "as the script says") : VOLT_OK;
}

static volt_code log_sync(void *ctx, const log_name *name, uint64_t bytes, volt_err *err)
{
    world *w = ctx;

    (void)name, (void)bytes;
    if (!w->log_code)
        return VOLT_OK;
    w->failed = true;
    return volt_fail(err, w->log_code, "as the script says");
}

static volt_code log_read(void *ctx, const log_name *name, uint64_t off, size_t max, buf *ret,
                          volt_err *err)
{
    world *w = ctx;

    (void)name, (void)off, (void)max, (void)ret;
    return w->log_code ? volt_fail(err, w->log_code, "as the script says") : VOLT_OK;
}

static void log_remove(void *ctx, const log_name *name)
{
    (void)ctx, (void)name;
}

static uint64_t log_bytes(void *ctx)
{
    (void)ctx;
    return 0;
}

/* ---- what it says ---- */

static holding *held_by(runner_peer *p, uint64_t task)
{
    for (size_t i = 0; i < p->held_n; i++)
        if (p->held[i].task == task)
            return &p->held[i];
    return NULL;
}

static void let_go(runner_peer *p, uint64_t task)
{
    holding *h = held_by(p, task);

    if (h)
        *h = p->held[--p->held_n];
}

static void hear_assign(world *w, unsigned i, const msg_assign *a)
{
    runner_peer *p = &w->runners[i];
    kept_task *k = a->task < TASKS_MAX ? &w->kept[a->task] : NULL;
    holding *h = held_by(p, a->task);

    require(a->ep == w->ep, "an assign has this start's epoch");
    if (k) {
        require(k->att >= a->att, "an attempt is durable before it is given out");
        if (k->att == a->att) { /* else the transaction that gave it out took it back, too */
            require(!k->runner || k->runner == i + 1, "S3: an attempt goes to one runner");
            k->runner = w->open[a->task].runner = i + 1;
        }
    }
    if (!h && p->held_n < HELD_MAX)
        h = &p->held[p->held_n++];
    if (h)
        *h = (holding){ a->task, a->att, a->kind, a->files.n, (size_t)a->from };
}

static bool hear(void *ctx, uint64_t peer, slice frame)
{
    world *w = ctx;
    msg m;

    arena_reset(&w->arena);
    require(wire_decode(frame, &w->arena, &m, NULL) == VOLT_OK, "it speaks as it must");
    if (m.type == MSG_result_ok && m.result_ok.task < TASKS_MAX)
        require(w->kept[m.result_ok.task].final || !w->kept[m.result_ok.task].att,
                "S6: a result is durable before it is acknowledged");
    for (unsigned i = 0; i < RUNNERS; i++) {
        runner_peer *p = &w->runners[i];

        if (p->peer != peer)
            continue;
        if (p->lost)
            return false;
        if (m.type == MSG_assign)
            hear_assign(w, i, &m.assign);
        else if (m.type == MSG_result_ok)
            let_go(p, m.result_ok.task);
        else if (m.type == MSG_fenced)
            let_go(p, m.fenced.task);
        else if (m.type == MSG_welcome)
            p->maxep = m.welcome.ep;
    }
    return true;
}

static void hear_published(void *ctx, slice topic, slice frame)
{
    world *w = ctx;
    msg m;

    (void)topic;
    arena_reset(&w->arena);
    require(wire_decode(frame, &w->arena, &m, NULL) == VOLT_OK, "it speaks as it must");
    if (m.type != MSG_event)
        return;
    require(m.event.seq <= w->kept_seq, "S9: what is published is committed");
    require(m.event.seq > w->told_seq, "S9: in order, and once");
    w->told_seq = m.event.seq;
}

/* ---- start and failure ---- */

static void start(world *w)
{
    const log_files logs = { w, log_write, log_sync, log_read, log_remove, log_bytes };
    const dispatcher_out out = { .ctx = w, .send = hear, .publish = hear_published };
    const dispatcher_config config = { .hist_if_new = HIST, .tries_max = TRIES_MAX };
    store_head head;
    volt_err err;

    w->failed = false;
    w->fail_after = 0;
    w->log_code = VOLT_OK;
    memcpy(w->open, w->kept, sizeof w->open);
    w->open_seq = w->kept_seq;
    require(w->inner->head(w->store, &head, &err) == VOLT_OK, "the store has a head");
    w->ep = head.ep + 1;
    if (dispatcher_new(w->store, &logs, &out, &config, w->now_ms, w->wall_ms, &w->d, &err))
        require(false, err.msg);
    require(dispatcher_epoch(w->d) == w->ep, "epochs count up");
}

static void restart(world *w)
{
    dispatcher_free(w->d);
    store_memory_crash(w->store);
    start(w);
}

static void commit(world *w)
{
    volt_err err;
    volt_code code = dispatcher_commit(w->d, &err);

    require(code == VOLT_OK || w->failed, "a commit that may succeed does");
    if (code != VOLT_OK)
        restart(w);
}

static void say(world *w, uint64_t peer, const msg *m)
{
    buf frame = { 0 };
    volt_err err = { 0 };
    volt_code code;

    wire_encode(m, &frame);
    code = dispatcher_frame(w->d, w->now_ms, w->wall_ms, peer, buf_slice(&frame), &err);
    require(code == VOLT_OK || code == VOLT_EMSG || w->failed, err.msg);
    if (code != VOLT_OK && code != VOLT_EMSG)
        restart(w);
    buf_free(&frame);
}

static void wait_for_ms(world *w, int64_t ms)
{
    volt_err err;
    volt_code code;

    w->now_ms += ms;
    w->wall_ms += ms;
    code = dispatcher_tick(w->d, w->now_ms, w->wall_ms, ms > 20000 ? ms : 0, &err);
    require(code == VOLT_OK || w->failed, "time passes");
    if (code != VOLT_OK)
        restart(w);
    else
        commit(w);
}

/* ---- what peers do ---- */

static void say_hello(world *w, unsigned i)
{
    runner_peer *p = &w->runners[i];
    unsigned bits = script_byte(&w->in);
    rec_held held[HELD_MAX];
    size_t n = 0;

    for (size_t k = 0; k < p->held_n; k++)
        if (!(bits & 1u << k)) /* else it was forgotten */
            held[n++] = (rec_held){ .task = p->held[k].task, .att = p->held[k].att };
    if (bits & 0x80 || p->lost || !p->peer)
        p->peer = CLIENT + ++w->connections;
    p->lost = false;
    p->slots = 1 + bits % 3;
    say(w, p->peer,
        &(msg){ .type = MSG_hello,
                .hello = { .vmin = 1,
                           .vmax = 1,
                           .id = script_id(i),
                           .name = SLICE("box"),
                           .host = SLICE("h"),
                           .boot = script_id(bits & 0x40 ? i + 1 : i),
                           .hist = SLICE(HIST),
                           .maxep = p->maxep,
                           .slots = p->slots,
                           .held = { held, n } } });
}

static void say_submit(world *w)
{
    static const char *const refs[] = { "refs/heads/main", "refs/heads/a", "refs/heads/b" };
    unsigned b = script_byte(&w->in);
    char sid[33];

    snprintf(sid, sizeof sid, "%032llx",
             (unsigned long long)(b & 0x80 ? w->sids : ++w->sids)); /* or the last one again */
    say(w, b & 0x40 ? 0 : CLIENT,
        &(msg){ .type = MSG_submit,
                .r = 1,
                .submit = { .sid = slice_of(sid),
                            .obs = SLICE("o"),
                            .repo = b & 0x20 ? SLICE("other") : SLICE("demo"),
                            .url = b & 0x10 ? SLICE("local:h:/r") : SLICE("https://e.org/r"),
                            .oid = SLICE("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
                            .ref = slice_of(refs[b % 3]),
                            .priority = b % 5 } });
}

static void say_plan(world *w, uint64_t peer, const holding *h)
{
    arena a = { 0 }; /* not the world's, which what is heard uses */
    msg m = { .type = MSG_plan, .plan = { .task = h->task, .att = h->att, .last = true } };

    w->in.a = &a;
    m.plan.jobs = script_jobs(&w->in);
    say(w, peer, &m);
    arena_free(&a);
}

static size_t outcomes(world *w, const holding *h, rec_item *items)
{
    size_t n = script_below(&w->in, 7);

    n = n < h->files || n > 5 ? n : h->files;
    for (size_t i = 0; i < n; i++)
        items[i] = (rec_item){ .verdict = 1 + script_below(&w->in, VERDICT_NO_TESTS) };
    return n;
}

/* One of the things a runner tells of an attempt; in order or not. */
static void say_of(world *w, uint64_t peer, const holding *h)
{
    static char bytes[2000];
    rec_item items[8];
    unsigned what = script_below(&w->in, 8);
    msg m = { 0 };

    switch (what) {
    case 0:
        m = (msg){ .type = MSG_start, .start = { .task = h->task, .att = h->att } };
        break;
    case 1:
        m = (msg){ .type = MSG_nack,
                   .nack = { .task = h->task,
                             .att = h->att,
                             .code = 1 + script_below(&w->in, CODE_CANCELED) } };
        break;
    case 2:
        m = (msg){ .type = MSG_log,
                   .log = { .task = h->task,
                            .att = h->att,
                            .off = 1000 * (uint64_t)script_below(&w->in, 3),
                            .d = { bytes, 1000 } } };
        break;
    case 3:
        m = (msg){ .type = MSG_tests,
                   .tests = { .task = h->task,
                              .att = h->att,
                              .from = h->from,
                              .items = { items, outcomes(w, h, items) } } };
        break;
    case 4:
        if (h->kind == TASK_PLAN)
            say_plan(w, peer, h);
        return;
    default:
        m = (msg){ .type = MSG_result, .result = { .task = h->task, .att = h->att } };
        m.result.verdict = what == 5 ? VERDICT_PASSED : 1 + script_below(&w->in, VERDICT_NO_TESTS);
        m.result.from = h->from;
        m.result.items = (rec_item_list){ items, outcomes(w, h, items) };
        m.result.log_bytes = what == 7 ? 1000 * (uint64_t)script_below(&w->in, 4) : 0;
        break;
    }
    say(w, peer, &m);
}

static void act_runner(world *w)
{
    runner_peer *p = &w->runners[script_below(&w->in, RUNNERS)];
    rec_held held[HELD_MAX];

    if (script_below(&w->in, 3) && p->held_n) {
        const holding h = p->held[script_below(&w->in, (unsigned)p->held_n)];

        say_of(w, p->peer, &h);
        return;
    }
    for (size_t i = 0; i < p->held_n; i++)
        held[i] = (rec_held){ .task = p->held[i].task,
                              .att = p->held[i].att,
                              .state = 1 + script_below(&w->in, 3) };
    if (p->peer)
        say(w, p->peer, &(msg){ .type = MSG_hb, .hb = { .n = 1, .held = { held, p->held_n } } });
}

static void act_any(world *w)
{
    static const uint64_t peers[] = { 0, CLIENT, 1, 2, 3 };
    unsigned b = script_byte(&w->in);
    uint64_t peer = b & 0x80 ? w->runners[b % RUNNERS].peer : peers[b % 5];
    arena a = { 0 }; /* not the world's, which what is heard uses */
    msg m;

    w->in.a = &a;
    m = script_msg(&w->in, MSG_NONE);
    if (m.type == MSG_hello && b & 0x80)
        peer = 1; /* a runner's own connection stays its own, so that we know whose assign it is */
    say(w, peer, &m);
    arena_free(&a);
}

static void act_operator(world *w)
{
    unsigned b = script_byte(&w->in);
    uint64_t build = 1 + b % 8;
    char sid[33];
    msg m = { .type = MSG_cancel_build, .r = 2, .cancel_build = { .build = build } };

    snprintf(sid, sizeof sid, "%032llx", (unsigned long long)++w->sids);
    if (b & 0x80)
        m = (msg){ .type = MSG_rebuild,
                   .r = 3,
                   .rebuild = { .sid = slice_of(sid), .build = build } };
    else if (b & 0x40)
        m = (msg){ .type = MSG_set_mode,
                   .r = 4,
                   .set_mode = { .runner = script_id(b), .mode = 1 + b % 3 } };
    say(w, CLIENT, &m);
}

static void act_trouble(world *w)
{
    static const dispatcher_keep keep = { .ms = 5000, .builds = 3, .bytes = 100000 };
    unsigned b = script_byte(&w->in);
    bool more;
    volt_err err;

    switch (b % 6) {
    case 0:
        restart(w);
        break;
    case 1:
        w->fail_after = 1 + b / 6;
        break;
    case 2:
        w->log_code = b & 0x80 ? VOLT_EFULL : b & 0x40 ? VOLT_EIO : VOLT_OK;
        break;
    case 3:
        dispatcher_set_disk_low(w->d, b & 0x80);
        break;
    case 4:
        w->runners[b / 6 % RUNNERS].lost = true;
        break;
    default:
        if (!w->failed && dispatcher_prune(w->d, w->wall_ms, &keep, 1 + b / 6, &more, &err))
            require(false, err.msg);
        break;
    }
}

static void act(world *w)
{
    static const int64_t times[] = { 1, 200, 1000, 3000, 8000, 16000, 40000, 100 };

    switch (script_below(&w->in, 12)) {
    case 0:
        act_any(w);
        break;
    case 1:
        say_hello(w, script_below(&w->in, RUNNERS));
        break;
    case 2:
        say_submit(w);
        break;
    case 3:
    case 4:
        wait_for_ms(w, times[script_below(&w->in, 8)]);
        break;
    case 5:
        act_trouble(w);
        break;
    case 6:
        act_operator(w);
        break;
    case 7:
        commit(w);
        break;
    default:
        act_runner(w);
        break;
    }
}

/* ---- at the end ---- */

static volt_code job_is_final(void *ctx, const row *r, volt_err *err)
{
    (void)ctx, (void)err;
    require(r->job.state == STATE_FINAL, "a build with a verdict has no job without one");
    return VOLT_OK;
}

static volt_code check_build(void *ctx, const row *r, volt_err *err)
{
    world *w = ctx;

    require((r->build.state == STATE_FINAL) == (r->build.verdict != verdict_none),
            "a build has a verdict when it has ended");
    if (r->build.state == STATE_FINAL)
        return w->inner->jobs(w->store, r->build.build, job_is_final, w, err);
    return VOLT_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    world *w = NEW(world);
    volt_err err;

    w->in = (script){ .p = bytes, .n = n };
    w->now_ms = 1000;
    w->wall_ms = 1700000000000;
    require(store_open_memory(&w->store) == VOLT_OK, "a store");
    w->inner = w->store->ops;
    w->ops = *w->inner;
    w->ops.put = watched_put;
    w->ops.commit = watched_commit;
    w->store->ops = &w->ops;
    start(w);
    say_hello(w, 0);
    say_submit(w);
    for (unsigned i = 0; i < STEPS_MAX && w->in.n; i++) {
        act(w);
        if (dispatcher_unsent(w->d) > 1 << 20 || script_below(&w->in, 3) == 0)
            commit(w);
    }
    commit(w);
    restart(w); /* what was stored can be loaded */
    require(w->inner->builds(w->store, (slice){ 0 }, 0, 500, check_build, w, &err) == VOLT_OK,
            "builds can be read");
    dispatcher_free(w->d);
    store_close(w->store);
    arena_free(&w->arena);
    free(w);
    return 0;
}
