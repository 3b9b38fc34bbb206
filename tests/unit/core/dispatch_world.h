/*
 * dispatch_world.h - a bare dispatch for its tests: rows and messages go in as they are, also such
 * as no store gives and no codec lets through, and its effects stand until the next step.
 */
#ifndef VOLT_TESTS_DISPATCH_WORLD_H
#define VOLT_TESTS_DISPATCH_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/dispatch.h"

#define HIST   "0123456789abcdef0123456789abcdef"
#define OID    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID     "11111111111111111111111111111111"
#define ID2    "22222222222222222222222222222222"
#define BOOT   "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define SID    "cccccccccccccccccccccccccccccccc"
#define RUNNER 1 /* connections */
#define OTHER  2
#define CLIENT 9

typedef struct world {
    dispatch *d;
    effects out;
    int64_t now_ms;
    dispatch_facts facts; /* of the next steps */
} world;

static inline world *world_new(void)
{
    const dispatch_config config = { .hist = HIST, .ep = 1, .log_max = 1000 };
    world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    w->d = dispatch_new(&config);
    w->now_ms = 1000;
    return w;
}

static inline void world_free(world *w)
{
    dispatch_free(w->d);
    effects_free(&w->out);
    free(w);
}

static inline void world_loaded(world *w)
{
    effects_clear(&w->out);
    dispatch_loaded(w->d, w->now_ms, 1, &w->out);
}

static inline void world_step(world *w, dispatch_event ev)
{
    ev.now_ms = w->now_ms;
    ev.wall_ms = 1;
    ev.facts = w->facts;
    effects_clear(&w->out);
    dispatch_step(w->d, &ev, &w->out);
}

static inline void say(world *w, uint64_t peer, msg m)
{
    world_step(w, (dispatch_event){ .kind = DISPATCH_MSG, .peer = peer, .msg = &m });
}

/* The message of a type that the last step sent (peer > 0) or published (0); NULL: none. */
static inline const msg *sent(const world *w, uint64_t peer, msg_type type)
{
    for (size_t i = 0; i < w->out.n; i++) {
        const effect *e = &w->out.v[i];

        if (e->kind == (peer ? EFFECT_SEND : EFFECT_PUBLISH) && e->peer == peer &&
            e->msg->type == type)
            return e->msg;
    }
    return NULL;
}

/* How many effects of a kind the last step had. */
static inline size_t count(const world *w, effect_kind kind)
{
    size_t n = 0;

    for (size_t i = 0; i < w->out.n; i++)
        n += w->out.v[i].kind == kind;
    return n;
}

/* The newest row of a task that the last step put. */
static inline const row_task *task_row(const world *w)
{
    const row_task *found = NULL;

    for (size_t i = 0; i < w->out.n; i++)
        if (w->out.v[i].kind == EFFECT_PUT && w->out.v[i].row->kind == ROW_TASK)
            found = &w->out.v[i].row->task;
    assert_non_null(found);
    return found;
}

/* Time passes, with heartbeats of RUNNER, until it is given something: how long that took; -1: it
 * got nothing within `ms`. */
static inline int64_t until_assigned(world *w, int64_t ms)
{
    for (int64_t waited_ms = 100; waited_ms <= ms; waited_ms += 100) {
        w->now_ms += 100;
        world_step(w, (dispatch_event){ .kind = DISPATCH_TICK });
        if (sent(w, RUNNER, MSG_assign))
            return waited_ms;
        say(w, RUNNER, (msg){ .type = MSG_hb });
        if (sent(w, RUNNER, MSG_assign))
            return waited_ms;
    }
    return -1;
}

static inline msg hello(const char *id)
{
    return (msg){ .type = MSG_hello,
                  .hello = { .vmin = 1,
                             .vmax = 1,
                             .id = slice_of(id),
                             .name = SLICE("box"),
                             .boot = SLICE(BOOT),
                             .hist = SLICE(HIST),
                             .slots = 1 } };
}

static inline msg submit(const char *url)
{
    return (msg){ .type = MSG_submit,
                  .submit = { .sid = SLICE(SID),
                              .obs = SLICE("obs"),
                              .repo = SLICE("demo"),
                              .url = slice_of(url),
                              .oid = SLICE(OID),
                              .ref = SLICE("refs/heads/main") } };
}

/* A part of the plan of build 1, whose task is 1; its runner is RUNNER. */
static inline void say_plan(world *w, uint64_t part, bool last, rec_job *jobs, size_t n)
{
    say(w, RUNNER,
        (msg){ .type = MSG_plan,
               .plan = { .task = 1, .att = 1, .part = part, .last = last, .jobs = { jobs, n } } });
}

static inline msg result(uint64_t task, uint64_t att, verdict v)
{
    return (msg){ .type = MSG_result, .result = { .task = task, .att = att, .verdict = v } };
}

/* A world whose RUNNER has the plan of build 1 (task 1, attempt 1). */
static inline world *world_planning(void)
{
    world *w = world_new();

    world_loaded(w);
    say(w, RUNNER, hello(ID));
    say(w, CLIENT, submit("https://example.org/demo.git"));
    assert_non_null(sent(w, RUNNER, MSG_assign));
    return w;
}

/* A world whose RUNNER has the only task (2, attempt 1) of a build of one job: a script, or the
 * test files a, b and c. */
static inline world *world_running(bool tests)
{
    slice files[] = { SLICE("a"), SLICE("b"), SLICE("c") };
    rec_job job = { .name = SLICE("job"), .tests = tests, .files = { files, tests ? 3 : 0 } };
    world *w = world_planning();

    if (tests)
        job.batch = 3;
    say_plan(w, 0, true, &job, 1);
    say(w, RUNNER, result(1, 1, VERDICT_PASSED));
    assert_int_equal(sent(w, RUNNER, MSG_assign)->assign.task, 2);
    return w;
}

#endif
