#include "story_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/prng.h"
#include "disk.h"
#include "store/sqlite_store.h"
#include "wire/codec.h"

#define HIST         "0123456789abcdef0123456789abcdef"
#define OID          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define TURN_MS      250
#define CLIENT       9 /* its connection; a runner's is its index + 1 */
#define PIECE        16384
#define CKPT_PAGES   20 /* so that the short story has many checkpoints */
#define RESTART_TURN 24
#define PRUNE_TURN   48
#define SILENCE_MS   2000

_Noreturn void story_broken(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fprintf(stderr, "broken: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(1);
}

static spoken *spoken_of(story *s, uint64_t task)
{
    for (size_t i = 0; i < s->tasks_n; i++)
        if (s->tasks[i].task == task)
            return &s->tasks[i];
    NEED(s->tasks_n < TASKS_MAX, "more tasks than the story has");
    s->tasks[s->tasks_n] = (spoken){ .task = task };
    return &s->tasks[s->tasks_n++];
}

/* ---- what leaves the dispatcher ---- */

static bool take_frame(void *ctx, uint64_t peer, slice frame)
{
    story *s = ctx;

    NEED(s->inbox_n < sizeof s->inbox / sizeof *s->inbox, "more messages at once than expected");
    disk_quiet++;
    s->inbox[s->inbox_n].peer = peer;
    buf_clear(&s->inbox[s->inbox_n].frame);
    buf_add_slice(&s->inbox[s->inbox_n++].frame, frame);
    disk_quiet--;
    return true;
}

static void take_event(story *s, slice frame)
{
    msg m;
    volt_err err;

    arena_reset(&s->arena);
    NEED(wire_decode(frame, &s->arena, &m, &err) == VOLT_OK, "a bad frame: %s", err.msg);
    if (m.type != MSG_event)
        return;
    NEED(m.event.seq < EVENTS_MAX, "more events than the story has");
    NEED(s->events[m.event.seq].n == 0, "S9: event %llu is published twice", ull(m.event.seq));
    NEED(m.event.seq > s->last_event, "S9: event %llu after %llu", ull(m.event.seq),
         ull(s->last_event));
    buf_add_slice(&s->events[m.event.seq], frame);
    s->last_event = m.event.seq;
}

static void take_published(void *ctx, slice topic, slice frame)
{
    (void)topic;
    disk_quiet++;
    take_event(ctx, frame);
    disk_quiet--;
}

/* ---- opening ---- */

story *story_new(const char *dir, uint64_t seed)
{
    story *s = NEW(story);
    prng rng = { seed };

    s->dir = mem_strdup(dir);
    s->now_ms = 1000;
    s->wall_ms = 1700000000000;
    for (size_t i = 0; i < RUNNERS; i++) {
        prng_hex32(&rng, s->runners[i].id);
        s->runners[i].slots = i + 1;
    }
    for (size_t i = 0; i < WANTS; i++)
        prng_hex32(&rng, s->wants[i].sid);
    return s;
}

void story_free(story *s)
{
    story_close(s);
    for (size_t i = 0; i < EVENTS_MAX; i++)
        buf_free(&s->events[i]);
    for (size_t i = 0; i < s->logs_n; i++)
        buf_free(&s->logs[i].bytes);
    for (size_t i = 0; i < sizeof s->inbox / sizeof *s->inbox; i++)
        buf_free(&s->inbox[i].frame);
    arena_free(&s->arena);
    free(s->dir);
    free(s);
}

volt_code story_open(story *s, volt_err *err)
{
    const log_files logs = story_log_files(s);
    const dispatcher_out out = { .ctx = s, .send = take_frame, .publish = take_published };
    const dispatcher_config config = { .hist_if_new = HIST };
    volt_code code = store_open_sqlite(s->dir, &s->store, err);

    if (code == VOLT_OK) {
        sqlite3_wal_autocheckpoint(((sqlite_store *)s->store)->db, CKPT_PAGES);
        code = dispatcher_new(s->store, &logs, &out, &config, s->now_ms, s->wall_ms, &s->d, err);
    }
    if (code != VOLT_OK) {
        story_close(s);
        return code;
    }
    NEED(dispatcher_epoch(s->d) > s->epoch, "epoch %llu after epoch %llu",
         ull(dispatcher_epoch(s->d)), ull(s->epoch));
    s->epoch = dispatcher_epoch(s->d);
    return VOLT_OK;
}

void story_abandon(story *s)
{
    s->d = NULL;
    s->store = NULL;
    s->inbox_n = 0;
}

void story_close(story *s)
{
    dispatcher_free(s->d);
    store_close(s->store);
    s->d = NULL;
    s->store = NULL;
}

/* ---- saying ---- */

static volt_code say(story *s, uint64_t peer, const msg *m, volt_err *err)
{
    CLEANUP(buf)
    buf frame = { 0 };
    volt_code code;

    disk_quiet++;
    wire_encode(m, &frame);
    disk_quiet--;
    code = dispatcher_frame(s->d, s->now_ms, s->wall_ms, peer, buf_slice(&frame), err);
    NEED(code != VOLT_EMSG, "refuses a '%s': %s", msg_type_text(m->type), err->msg);
    return code;
}

static rec_held_list held_list(const runner_peer *p, rec_held *to)
{
    for (size_t i = 0; i < p->held_n; i++)
        to[i] = (rec_held){ .task = p->held[i].task,
                            .att = p->held[i].att,
                            .state = p->held[i].started ? HELD_RUNNING : HELD_ACCEPTED };
    return (rec_held_list){ to, p->held_n };
}

static volt_code say_hello(story *s, size_t i, volt_err *err)
{
    runner_peer *p = &s->runners[i];
    rec_held held[HELD_MAX];

    p->hello_ms = s->now_ms;
    return say(s, i + 1,
               &(msg){ .type = MSG_hello,
                       .hello = { .vmin = 1,
                                  .vmax = 1,
                                  .id = slice_of(p->id),
                                  .name = SLICE("box"),
                                  .host = SLICE("h"),
                                  .boot = slice_of(p->id),
                                  .hist = p->maxep ? SLICE(HIST) : (slice){ 0 },
                                  .maxep = p->maxep,
                                  .slots = p->slots,
                                  .held = held_list(p, held) } },
               err);
}

static volt_code say_plan(story *s, size_t i, const holding *h, volt_err *err)
{
    slice needs[] = { SLICE("build") };
    slice files[] = { SLICE("a"), SLICE("b"), SLICE("c"), SLICE("d"), SLICE("e"), SLICE("f") };
    rec_job dev[] = { { .name = SLICE("long"), .spec = SLICE("long") } };
    rec_job rest[] = { { .name = SLICE("build"), .spec = SLICE("make") },
                       { .name = SLICE("tests"),
                         .needs = { needs, 1 },
                         .tests = true,
                         .batch = 3,
                         .files = { files, 6 } } };
    bool is_dev = h->build == s->wants[WANT_DEV].build;

    return say(s, i + 1,
               &(msg){ .type = MSG_plan,
                       .plan = { .task = h->task,
                                 .att = h->att,
                                 .last = true,
                                 .jobs = { is_dev ? dev : rest, is_dev ? 1 : 2 } } },
               err);
}

static rec_item_list outcomes(const holding *h, size_t from, size_t to, rec_item *items)
{
    for (size_t i = from; i < to; i++)
        items[i - from] = (rec_item){ .verdict = i == 2 ? VERDICT_FAILED : VERDICT_PASSED,
                                      .duration_ms = 5 + h->task % 7 };
    return (rec_item_list){ items, to - from };
}

static volt_code say_result(story *s, size_t i, const holding *h, volt_err *err)
{
    rec_item items[HELD_MAX];
    char text[300];
    msg m = { .type = MSG_result,
              .result = { .task = h->task,
                          .att = h->att,
                          .verdict = h->canceled ? VERDICT_CANCELED : VERDICT_PASSED } };

    if (h->kind == TASK_TESTS && !h->canceled) {
        m.result.verdict = h->from + h->files > 2 ? VERDICT_FAILED : VERDICT_PASSED;
        m.result.from = h->told;
        m.result.items = outcomes(h, h->told, h->from + h->files, items);
    }
    if (h->is_long) {
        m.result.log_bytes = LONG_LOG;
    } else if (h->kind == TASK_SCRIPT) {
        for (size_t k = 0; k < sizeof text; k++)
            text[k] = story_log_byte(h->task, k);
        m.result.log = (slice){ text, sizeof text };
        m.result.log_bytes = sizeof text;
    }
    return say(s, i + 1, &m, err);
}

static volt_code say_log(story *s, size_t i, const holding *h, volt_err *err)
{
    static char piece[PIECE];
    size_t n = LONG_LOG - h->log_at < PIECE ? LONG_LOG - h->log_at : PIECE;

    for (size_t k = 0; k < n; k++)
        piece[k] = story_log_byte(h->task, h->log_at + k);
    return say(s, i + 1,
               &(msg){ .type = MSG_log,
                       .log = { .task = h->task,
                                .att = h->att,
                                .off = h->log_at,
                                .d = { piece, n },
                                .eof = h->log_at + n == LONG_LOG } },
               err);
}

/* The next thing to tell of an attempt. */
static volt_code say_next(story *s, size_t i, holding *h, volt_err *err)
{
    rec_item items[HELD_MAX];

    if (!h->started) {
        h->started = true;
        return say(s, i + 1,
                   &(msg){ .type = MSG_start, .start = { .task = h->task, .att = h->att } }, err);
    }
    if (h->canceled)
        return say_result(s, i, h, err);
    if (h->kind == TASK_PLAN && !h->plan_ok)
        return say_plan(s, i, h, err);
    if (h->is_long && h->log_at < LONG_LOG)
        return say_log(s, i, h, err);
    if (h->kind == TASK_TESTS && h->told == h->from && h->files > 1)
        return say(s, i + 1,
                   &(msg){ .type = MSG_tests,
                           .tests = { .task = h->task,
                                      .att = h->att,
                                      .from = h->from,
                                      .items = outcomes(h, h->from, h->from + 1, items) } },
                   err);
    return say_result(s, i, h, err);
}

static volt_code act_runner(story *s, size_t i, volt_err *err)
{
    runner_peer *p = &s->runners[i];
    rec_held held[HELD_MAX];
    volt_code code;

    if (p->up && s->now_ms - p->heard_ms > SILENCE_MS)
        p->up = false;
    if (!p->up)
        return s->now_ms - p->hello_ms >= 500 ? say_hello(s, i, err) : VOLT_OK;
    code = say(s, i + 1,
               &(msg){ .type = MSG_hb, .hb = { .n = ++p->hb_n, .held = held_list(p, held) } }, err);
    for (size_t k = 0; k < p->held_n && code == VOLT_OK; k++)
        code = say_next(s, i, &p->held[k], err);
    return code;
}

static volt_code act_want(story *s, want which, volt_err *err)
{
    static const char *const refs[] = { "refs/heads/main", "refs/heads/dev" };
    uint64_t build = s->wants[which].build;

    if (!build && which != WANT_AGAIN)
        return say(s, CLIENT,
                   &(msg){ .type = MSG_submit,
                           .r = ++s->r,
                           .submit = { .sid = slice_of(s->wants[which].sid),
                                       .repo = SLICE("demo"),
                                       .url = SLICE("https://example.org/demo.git"),
                                       .oid = SLICE(OID),
                                       .ref = slice_of(refs[which]) } },
                   err);
    if (!build && s->wants[WANT_MAIN].final)
        return say(s, CLIENT,
                   &(msg){ .type = MSG_rebuild,
                           .r = ++s->r,
                           .rebuild = { .sid = slice_of(s->wants[which].sid),
                                        .build = s->wants[WANT_MAIN].build } },
                   err);
    if (build && which == WANT_AGAIN && !s->wants[which].cancel_done && s->turn > PRUNE_TURN - 20)
        return say(
            s, CLIENT,
            &(msg){ .type = MSG_cancel_build, .r = ++s->r, .cancel_build = { .build = build } },
            err);
    return VOLT_OK;
}

static volt_code act_client(story *s, volt_err *err)
{
    volt_code code = VOLT_OK;

    for (want i = 0; i < WANTS && code == VOLT_OK; i++)
        code = act_want(s, i, err);
    if (code == VOLT_OK)
        code = say(s, CLIENT, &(msg){ .type = MSG_builds, .r = ++s->r }, err);
    return code;
}

/* ---- hearing ---- */

static holding *held_by(runner_peer *p, uint64_t task, uint64_t att)
{
    for (size_t i = 0; i < p->held_n; i++)
        if (p->held[i].task == task && (!att || p->held[i].att == att))
            return &p->held[i];
    return NULL;
}

static void let_go(runner_peer *p, uint64_t task, uint64_t att)
{
    holding *h = held_by(p, task, att);

    if (h)
        *h = p->held[--p->held_n];
}

static void on_assign(story *s, size_t i, const msg_assign *a)
{
    runner_peer *p = &s->runners[i];
    spoken *t = spoken_of(s, a->task);
    holding *h = held_by(p, a->task, 0);

    NEED(a->ep == s->epoch, "an assign of epoch %llu in epoch %llu", ull(a->ep), ull(s->epoch));
    NEED(a->att >= t->att, "attempt %llu of task %llu after %llu", ull(a->att), ull(a->task),
         ull(t->att));
    NEED(a->att > t->att || (t->runner == i && !t->ended),
         "S3: attempt %llu of task %llu is given out twice", ull(a->att), ull(a->task));
    t->build = a->build;
    t->att = a->att;
    t->runner = i;
    t->is_long = slice_is(a->spec, "long");
    if (h && h->att == a->att)
        return;
    if (h)
        let_go(p, a->task, 0);
    NEED(p->held_n < p->slots + 1, "S11: runner %zu has %zu attempts", i, p->held_n + 1);
    p->held[p->held_n++] = (holding){ .task = a->task,
                                      .att = a->att,
                                      .build = a->build,
                                      .kind = a->kind,
                                      .files = a->files.n,
                                      .from = a->from,
                                      .told = a->from,
                                      .is_long = t->is_long };
}

static void on_result_ok(story *s, size_t i, const msg_result_ok *m)
{
    spoken *t = spoken_of(s, m->task);
    const holding *h = held_by(&s->runners[i], m->task, m->att);

    if (!h)
        return;
    t->ended = true;
    t->v = h->canceled                                       ? VERDICT_CANCELED
           : h->kind == TASK_TESTS && h->from + h->files > 2 ? VERDICT_FAILED
                                                             : VERDICT_PASSED;
    let_go(&s->runners[i], m->task, m->att);
}

static void on_welcome(story *s, size_t i, const msg_welcome *m)
{
    runner_peer *p = &s->runners[i];

    NEED(m->ep >= p->maxep, "epoch %llu after %llu", ull(m->ep), ull(p->maxep));
    NEED(slice_is(m->hist, HIST), "another history");
    p->up = true;
    p->maxep = m->ep;
    for (size_t k = 0; k < m->drop.n; k++) {
        NEED(m->drop.v[k].code != CODE_STALE_DB, "it takes its own store for an old copy");
        let_go(p, m->drop.v[k].task, m->drop.v[k].att);
    }
    for (size_t k = 0; k < m->keep.n; k++) {
        holding *h = held_by(p, m->keep.v[k].task, m->keep.v[k].att);

        if (h) {
            h->log_at = m->keep.v[k].log_bytes;
            h->plan_ok = false;
        }
    }
}

static void hear_runner(story *s, size_t i, const msg *m)
{
    runner_peer *p = &s->runners[i];
    holding *h = NULL;

    p->heard_ms = s->now_ms;
    switch (m->type) {
    case MSG_welcome:
        on_welcome(s, i, &m->welcome);
        break;
    case MSG_who:
        p->up = false;
        break;
    case MSG_assign:
        on_assign(s, i, &m->assign);
        break;
    case MSG_result_ok:
        on_result_ok(s, i, &m->result_ok);
        break;
    case MSG_fenced:
        let_go(p, m->fenced.task, m->fenced.att);
        break;
    case MSG_hb_ok:
        for (size_t k = 0; k < m->hb_ok.drop.n; k++)
            let_go(p, m->hb_ok.drop.v[k].task, m->hb_ok.drop.v[k].att);
        break;
    case MSG_cancel:
        h = held_by(p, m->cancel.task, m->cancel.att);
        if (h)
            h->canceled = true;
        break;
    case MSG_plan_ok:
        h = held_by(p, m->plan_ok.task, m->plan_ok.att);
        if (h)
            h->plan_ok = m->plan_ok.next == 1;
        break;
    case MSG_log_ok:
        h = held_by(p, m->log_ok.task, m->log_ok.att);
        if (h && h->is_long)
            h->log_at = m->log_ok.off;
        break;
    case MSG_tests_ok:
        spoken_of(s, m->tests_ok.task)->told = m->tests_ok.next;
        h = held_by(p, m->tests_ok.task, m->tests_ok.att);
        if (h && m->tests_ok.next > h->told)
            h->told = m->tests_ok.next;
        break;
    default:
        break;
    }
}

static void hear_client(story *s, const msg *m)
{
    for (size_t i = 0; i < WANTS; i++) {
        uint64_t build = s->wants[i].build;

        if (m->type == MSG_accepted && slice_is(m->accepted.sid, s->wants[i].sid)) {
            NEED(!build || build == m->accepted.build, "S5: submission %zu is build %llu and %llu",
                 i, ull(build), ull(m->accepted.build));
            s->wants[i].build = m->accepted.build;
        }
        for (size_t k = 0; m->type == MSG_builds_are && k < m->builds_are.rows.n; k++) {
            const rec_build_row *row = &m->builds_are.rows.v[k];

            if (row->build != build || row->state != STATE_FINAL)
                continue;
            NEED(!s->wants[i].final || s->wants[i].v == row->verdict,
                 "S1: the verdict of build %llu changes", ull(build));
            s->wants[i].final = true;
            s->wants[i].v = row->verdict;
        }
    }
    if (m->type == MSG_ok || (m->type == MSG_err && m->err.code == CODE_STATE))
        s->wants[WANT_AGAIN].cancel_done = true;
}

static void hear(story *s)
{
    for (size_t i = 0; i < s->inbox_n; i++) {
        uint64_t peer = s->inbox[i].peer;
        msg m;
        volt_err err;

        arena_reset(&s->arena);
        NEED(wire_decode(buf_slice(&s->inbox[i].frame), &s->arena, &m, &err) == VOLT_OK,
             "a bad frame: %s", err.msg);
        if (peer == CLIENT)
            hear_client(s, &m);
        else
            hear_runner(s, peer - 1, &m);
    }
    s->inbox_n = 0;
}

static volt_code commit(story *s, volt_err *err)
{
    volt_code code = dispatcher_commit(s->d, err);

    disk_quiet++;
    hear(s); /* what was sent was sent, whatever came then */
    disk_quiet--;
    return code;
}

/* ---- turns ---- */

static volt_code prune(story *s, volt_err *err)
{
    static const dispatcher_keep keep = { .ms = 1, .builds = 1, .bytes = 1 };
    bool more;

    s->pruning = true;
    return dispatcher_prune(s->d, s->wall_ms, &keep, 2, &more, err);
}

bool story_ended(const story *s)
{
    for (size_t i = 0; i < WANTS; i++)
        if (!s->wants[i].final)
            return false;
    return s->turn > PRUNE_TURN + 12;
}

volt_code story_turn(story *s, volt_err *err)
{
    volt_code code = VOLT_OK;

    s->turn++;
    s->now_ms += TURN_MS;
    s->wall_ms += TURN_MS;
    if (s->turn >= RESTART_TURN && !s->restarted) {
        s->restarted = true;
        story_close(s);
        code = story_open(s, err);
    }
    for (size_t i = 0; i < RUNNERS && code == VOLT_OK; i++) {
        code = act_runner(s, i, err);
        if (code == VOLT_OK)
            code = commit(s, err);
    }
    if (code == VOLT_OK)
        code = act_client(s, err);
    if (code == VOLT_OK && s->now_ms >= dispatcher_next_deadline_ms(s->d))
        code = dispatcher_tick(s->d, s->now_ms, s->wall_ms, 0, err);
    if (code == VOLT_OK && s->turn > PRUNE_TURN)
        code = prune(s, err);
    return code == VOLT_OK ? commit(s, err) : code;
}
