/*
 * dispatcher_world.h - a dispatcher over a store in memory, and peers that are lines of a test.
 *
 * Everything goes in and out as frames, so what a test sends is what a peer could send, and what
 * the dispatcher answers has passed the codec in both directions.
 */
#ifndef DISPATCHER_WORLD_H
#define DISPATCHER_WORLD_H

#include "role/dispatcher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/mem.h"
#include "wire/codec.h"

#define HIST   "0123456789abcdef0123456789abcdef"
#define HIST2  "fedcba9876543210fedcba9876543210"
#define SECRET "5ec5ec5ec5ec5ec5ec5ec5ec5ec5ec55"
#define OID    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_1   "11111111111111111111111111111111"
#define ID_2   "22222222222222222222222222222222"
#define BOOT   "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define BOOT2  "cccccccccccccccccccccccccccccccc"

#define CLIENT    9 /* connections */
#define RUNNER    1
#define RUNNER2   2
#define HEARD_MAX 4096

typedef struct heard {
    uint64_t peer; /* 0: published */
    msg m;
} heard;

typedef struct world {
    store *store;
    dispatcher *d;
    int64_t now_ms, wall_ms;
    uint64_t sids;
    bool new_history;   /* of the next start */
    volt_code log_code; /* what writing to a log comes to */
    size_t logs_removed;
    uint64_t logs_bytes;
    const char *log_file;   /* what each log file holds */
    heard heard[HEARD_MAX]; /* since the last world_forget() */
    size_t heard_n;
    arena arena;   /* what they borrow from */
    uint64_t deaf; /* a peer that does not read; 0: none */
} world;

static inline void world_hear(world *w, uint64_t peer, slice frame)
{
    volt_err err;

    assert_true(w->heard_n < HEARD_MAX);
    w->heard[w->heard_n].peer = peer;
    if (wire_decode(arena_slice(&w->arena, frame), &w->arena, &w->heard[w->heard_n].m, &err))
        fail_msg("the dispatcher sent a bad frame: %s", err.msg);
    w->heard_n++;
}

static inline bool world_send(void *ctx, uint64_t peer, slice frame)
{
    world_hear(ctx, peer, frame);
    return true;
}

static inline void world_publish(void *ctx, slice topic, slice frame)
{
    (void)topic;
    world_hear(ctx, 0, frame);
}

static inline size_t world_unread(void *ctx, uint64_t peer)
{
    const world *w = ctx;

    return peer == w->deaf ? SIZE_MAX : 0;
}

static inline volt_code world_log_write(void *ctx, const log_name *name, uint64_t off, slice bytes,
                                        volt_err *err)
{
    (void)name, (void)off, (void)bytes, (void)err;
    return ((world *)ctx)->log_code;
}

static inline volt_code world_log_sync(void *ctx, const log_name *name, uint64_t bytes,
                                       volt_err *err)
{
    (void)ctx, (void)name, (void)bytes, (void)err;
    return VOLT_OK;
}

static inline volt_code world_log_read(void *ctx, const log_name *name, uint64_t off, size_t max,
                                       buf *ret, volt_err *err)
{
    slice file = slice_of(((world *)ctx)->log_file);
    size_t n = off < file.n ? file.n - (size_t)off : 0;

    (void)name, (void)err;
    buf_add(ret, n ? file.p + off : "", n < max ? n : max);
    return VOLT_OK;
}

static inline void world_log_remove(void *ctx, const log_name *name)
{
    (void)name;
    ((world *)ctx)->logs_removed++;
}

static inline uint64_t world_logs_bytes(void *ctx)
{
    return ((world *)ctx)->logs_bytes;
}

/* A hash that is good enough between friends. */
static inline void world_prove(const char *secret, const char *about, char ret[33])
{
    uint64_t h = UINT64_C(14695981039346656037);

    for (const char *p = secret; *p; p++)
        h = (h ^ (unsigned char)*p) * UINT64_C(1099511628211);
    for (const char *p = about; *p; p++)
        h = (h ^ (unsigned char)*p) * UINT64_C(1099511628211);
    snprintf(ret, 33, "%016llx%016llx", (unsigned long long)h, (unsigned long long)~h);
}

static inline void world_open(world *w)
{
    const log_files logs = {
        w, world_log_write, world_log_sync, world_log_read, world_log_remove, world_logs_bytes
    };
    const dispatcher_out out = {
        .ctx = w, .send = world_send, .publish = world_publish, .unread = world_unread
    };
    const dispatcher_config config = { .hist_if_new = w->new_history ? HIST2 : HIST,
                                       .new_history = w->new_history,
                                       .secret_if_new = SECRET,
                                       .boot = BOOT2,
                                       .prove = world_prove };
    volt_err err;

    if (dispatcher_new(w->store, &logs, &out, &config, w->now_ms, w->wall_ms, &w->d, &err))
        fail_msg("the dispatcher does not start: %s", err.msg);
}

static inline void world_forget(world *w)
{
    w->heard_n = 0;
    arena_reset(&w->arena);
}

static inline int world_set_up(void **state)
{
    world *w = NEW(world);

    w->now_ms = 1000;
    w->wall_ms = 1700000000000;
    w->log_file = "";
    assert_int_equal(store_open_memory(&w->store), VOLT_OK);
    world_open(w);
    *state = w;
    return 0;
}

static inline int world_tear_down(void **state)
{
    world *w = *state;

    dispatcher_free(w->d);
    store_close(w->store);
    arena_free(&w->arena);
    free(w);
    return 0;
}

/* Killed and started again on what it had committed. */
static inline void world_restart(world *w)
{
    dispatcher_free(w->d);
    store_memory_crash(w->store);
    world_open(w);
}

/* A message from a peer that comes in the same turn as the next one. */
static inline void world_hand_in(world *w, uint64_t peer, const msg *m)
{
    buf frame = { 0 };
    volt_err err;

    wire_encode(m, &frame);
    if (dispatcher_frame(w->d, w->now_ms, w->wall_ms, peer, buf_slice(&frame), &err))
        fail_msg("%s", err.msg);
    buf_free(&frame);
}

static inline void world_commit(world *w)
{
    volt_err err;

    if (dispatcher_commit(w->d, &err))
        fail_msg("%s", err.msg);
}

/* A message from a peer, and whatever the dispatcher makes of it, committed. */
static inline void world_say(world *w, uint64_t peer, const msg *m)
{
    world_hand_in(w, peer, m);
    world_commit(w);
}

/* Time passes, with a tick at each deadline. */
static inline void world_wait(world *w, int64_t ms)
{
    int64_t until = w->now_ms + ms;
    volt_err err;

    while (w->now_ms < until) {
        int64_t at = dispatcher_next_deadline_ms(w->d);

        at = at <= w->now_ms ? w->now_ms + 1 : at;
        at = at < until ? at : until;
        w->wall_ms += at - w->now_ms;
        w->now_ms = at;
        if (dispatcher_tick(w->d, w->now_ms, w->wall_ms, 0, &err) || dispatcher_commit(w->d, &err))
            fail_msg("%s", err.msg);
    }
}

/* The newest message of a type to a peer (0: any, or published); NULL: none came. */
static inline const msg *world_last(const world *w, uint64_t peer, msg_type type)
{
    for (size_t i = w->heard_n; i-- > 0;)
        if (w->heard[i].m.type == type && (!peer || w->heard[i].peer == peer))
            return &w->heard[i].m;
    return NULL;
}

static inline size_t world_count(const world *w, uint64_t peer, msg_type type)
{
    size_t n = 0;

    for (size_t i = 0; i < w->heard_n; i++)
        n += w->heard[i].m.type == type && (!peer || w->heard[i].peer == peer);
    return n;
}

/* The newest published event of a kind, or NULL. */
static inline const msg_event *world_event(const world *w, event_kind kind)
{
    for (size_t i = w->heard_n; i-- > 0;)
        if (w->heard[i].m.type == MSG_event && w->heard[i].m.event.kind == kind)
            return &w->heard[i].m.event;
    return NULL;
}

static inline void world_hello(world *w, uint64_t peer, const char *id, const char *boot,
                               uint64_t slots)
{
    world_say(w, peer,
              &(msg){ .type = MSG_hello,
                      .hello = { .vmin = 1,
                                 .vmax = 1,
                                 .id = slice_of(id),
                                 .name = SLICE("box"),
                                 .host = SLICE("h"),
                                 .boot = slice_of(boot),
                                 .hist = SLICE(HIST),
                                 .slots = slots } });
}

static inline void world_submit(world *w, const char *repo, const char *ref)
{
    char sid[33];

    snprintf(sid, sizeof sid, "%032llx", (unsigned long long)++w->sids);
    world_say(w, CLIENT,
              &(msg){ .type = MSG_submit,
                      .submit = { .sid = slice_of(sid),
                                  .repo = slice_of(repo),
                                  .url = SLICE("https://example.org/demo.git"),
                                  .oid = SLICE(OID),
                                  .ref = slice_of(ref) } });
}

/* The newest assign to that runner, which must be there. */
static inline const msg_assign *world_assign(const world *w, uint64_t peer)
{
    const msg *m = world_last(w, peer, MSG_assign);

    assert_non_null(m);
    return &m->assign;
}

/* Forgets all but that, so that a long story fits. */
static inline void world_forget_but_assign(world *w, uint64_t peer)
{
    const msg *m = world_last(w, peer, MSG_assign);

    w->heard[0] = (heard){ peer, *m };
    w->heard_n = 1;
}

/* The runner answers its newest assign, a plan, with these jobs in one part. */
static inline void world_plan(world *w, uint64_t peer, rec_job *jobs, size_t n)
{
    uint64_t task = world_assign(w, peer)->task, att = world_assign(w, peer)->att;

    world_say(w, peer,
              &(msg){ .type = MSG_plan,
                      .plan = { .task = task, .att = att, .last = true, .jobs = { jobs, n } } });
    world_say(w, peer,
              &(msg){ .type = MSG_result,
                      .result = { .task = task, .att = att, .verdict = VERDICT_PASSED } });
}

/* The runner answers its newest assign with one outcome for each file. */
static inline void world_result(world *w, uint64_t peer, verdict v)
{
    const msg_assign *a = world_assign(w, peer);
    rec_item *items = NEW_ARRAY(rec_item, a->files.n + 1);

    for (size_t i = 0; i < a->files.n; i++)
        items[i].verdict = v;
    world_say(w, peer,
              &(msg){ .type = MSG_result,
                      .result = { .task = a->task,
                                  .att = a->att,
                                  .verdict = v,
                                  .from = a->from,
                                  .items = { items, a->files.n } } });
    free(items);
}

#endif
