/*
 * waiting_world.h - a dispatcher's core and a fleet that does whatever runners, clients and time
 * may do, at random: the work whose waiting test_waiting.c looks at.
 */
#ifndef WAITING_WORLD_H
#define WAITING_WORLD_H

#include <stdio.h>
#include <string.h>

#include "base/prng.h"
#include "core/dispatch_internal.h"

#define HIST     "0123456789abcdef0123456789abcdef"
#define RUNNERS  6
#define REPOS    4
#define HELD_MAX 64

/* A runner, as far as the dispatcher sees one. */
typedef struct peer {
    char id[33], boot[33], name[8];
    uint64_t conn; /* 0: none */
    slice labels[3], reach[1];
    size_t labels_n, reach_n;
    uint64_t slots;
    rec_held held[HELD_MAX];
    size_t held_n;
} peer;

typedef struct world {
    dispatch *d;
    prng rng;
    uint64_t seed;
    int64_t now_ms;
    bool disk_low;
    uint64_t conns, sids, oids;
    peer peers[RUNNERS];
    uint64_t seen[8]; /* reasons met, by kind */
    struct look *look;
} world;

static const char *const repo_names[REPOS] = { "near", "far", "web", "net" };
static const char *const repo_urls[REPOS] = { "local:h0:/near", "local:h1:/far",
                                              "https://e.org/web", "https://e.org/net" };
static const char *const label_names[] = { "a", "b", "c" };

static inline uint64_t below(world *w, uint64_t n)
{
    return prng_below(&w->rng, n);
}

/* ---- what happens ---- */

static inline void drop_held(peer *p, uint64_t task, uint64_t att)
{
    for (size_t i = 0; i < p->held_n; i++)
        if (p->held[i].task == task && p->held[i].att == att)
            p->held[i] = p->held[--p->held_n];
}

static inline void hear(world *w, const effect *e)
{
    const msg *m = e->msg;
    peer *p = NULL;

    for (size_t i = 0; i < RUNNERS; i++)
        if (w->peers[i].conn == e->peer)
            p = &w->peers[i];
    if (e->kind != EFFECT_SEND || !p)
        return;
    if (m->type == MSG_assign && p->held_n < HELD_MAX)
        p->held[p->held_n++] = (rec_held){ .task = m->assign.task,
                                           .att = m->assign.att,
                                           .state = HELD_ACCEPTED,
                                           .log_bytes = m->assign.kind };
    if (m->type == MSG_fenced || m->type == MSG_result_ok)
        drop_held(p, m->fenced.task, m->fenced.att);
    for (size_t i = 0; m->type == MSG_welcome && i < m->welcome.drop.n; i++)
        drop_held(p, m->welcome.drop.v[i].task, m->welcome.drop.v[i].att);
}

static inline void step(world *w, dispatch_event ev)
{
    effects out = { 0 };

    ev.now_ms = w->now_ms;
    ev.wall_ms = w->now_ms;
    ev.disk_low = w->disk_low;
    dispatch_step(w->d, &ev, &out);
    for (size_t i = 0; i < out.n; i++)
        hear(w, &out.v[i]);
    effects_free(&out);
}

static inline void say(world *w, uint64_t conn, const msg *m)
{
    step(w, (dispatch_event){ .kind = DISPATCH_MSG, .peer = conn, .msg = m });
}

static inline void wait_ms(world *w, int64_t ms)
{
    int64_t end = w->now_ms + ms;

    while (dispatch_next_deadline_ms(w->d) <= end) {
        int64_t at = dispatch_next_deadline_ms(w->d);

        w->now_ms = at > w->now_ms ? at : w->now_ms;
        step(w, (dispatch_event){ .kind = DISPATCH_TICK });
    }
    w->now_ms = end;
}

static inline void hello(world *w, peer *p, bool same_boot)
{
    msg m = { .type = MSG_hello };
    rec_held held[HELD_MAX];

    if (!same_boot) {
        prng_hex32(&w->rng, p->boot);
        p->labels_n = below(w, 3);
        for (size_t i = 0; i < p->labels_n; i++)
            p->labels[i] = slice_of(label_names[below(w, 3)]);
        p->reach_n = below(w, 4) == 0;
        p->reach[0] = slice_of(repo_names[below(w, REPOS)]);
        p->slots = 1 + below(w, 3);
        if (below(w, 2))
            p->held_n = 0;
    }
    memcpy(held, p->held, sizeof held);
    p->conn = ++w->conns;
    m.hello = (msg_hello){ .vmin = 1,
                           .vmax = 1,
                           .id = slice_of(p->id),
                           .name = slice_of(p->name),
                           .host = slice_of(below(w, 2) ? "h0" : "h1"),
                           .boot = slice_of(p->boot),
                           .hist = SLICE(HIST),
                           .slots = p->slots,
                           .labels = { p->labels, p->labels_n },
                           .reach = { p->reach, p->reach_n },
                           .mode = below(w, 8) ? MODE_RUN : MODE_DRAIN,
                           .held = { held, p->held_n } };
    say(w, p->conn, &m);
}

static inline void submit(world *w)
{
    size_t repo = below(w, REPOS);
    char sid[33], oid[41];

    snprintf(sid, sizeof sid, "%032llx", (unsigned long long)++w->sids);
    snprintf(oid, sizeof oid, "%040llx", (unsigned long long)++w->oids);
    say(w, 999999,
        &(msg){ .type = MSG_submit,
                .submit = { .sid = slice_of(sid),
                            .repo = slice_of(repo_names[repo]),
                            .url = slice_of(repo_urls[repo]),
                            .oid = slice_of(oid),
                            .ref = SLICE("refs/heads/main"),
                            .priority = below(w, 2) } });
}

static inline void plan(world *w, const peer *p, const rec_held *h)
{
    static const char *const names[] = { "j0", "j1", "j2", "j3" };
    slice files[8], labels[4][2], needs[4];
    rec_job jobs[4] = { { .name = { 0 } } };
    size_t n = below(w, 5);

    for (size_t i = 0; i < 8; i++)
        files[i] = SLICE("file");
    for (size_t i = 0; i < n; i++) {
        jobs[i] = (rec_job){ .name = slice_of(names[i]), .priority = below(w, 2) };
        labels[i][0] = slice_of(label_names[below(w, 3)]);
        labels[i][1] = slice_of(label_names[below(w, 3)]);
        jobs[i].labels = (slices){ labels[i], below(w, 3) };
        jobs[i].tests = below(w, 2);
        jobs[i].files = (slices){ files, jobs[i].tests ? 1 + below(w, 8) : 0 };
        jobs[i].retry = below(w, 2);
        if (i && below(w, 3) == 0) {
            needs[i] = slice_of(names[i - 1]);
            jobs[i].needs = (slices){ &needs[i], 1 };
        }
    }
    say(w, p->conn,
        &(msg){ .type = MSG_plan,
                .plan = { .task = h->task, .att = h->att, .last = true, .jobs = { jobs, n } } });
}

static inline void result(world *w, const peer *p, rec_held h)
{
    const task *t = map_get(&w->d->tasks, h.task);
    rec_item items[64] = { { .verdict = verdict_none } };
    size_t n = t && t->units_n <= 64 ? t->units_n : 0;
    verdict v = below(w, 4) ? VERDICT_PASSED : VERDICT_FAILED;

    if (h.log_bytes == TASK_PLAN) {
        v = VERDICT_PASSED;
        plan(w, p, &h);
    }
    for (size_t i = 0; i < n; i++)
        items[i].verdict = v;
    say(w, p->conn,
        &(msg){ .type = MSG_result,
                .result = { .task = h.task, .att = h.att, .verdict = v, .items = { items, n } } });
}

static inline void nack(world *w, peer *p, rec_held h)
{
    static const code codes[] = { CODE_BUSY, CODE_REPO, CODE_REPO, CODE_NOT_FOUND,
                                  CODE_DISK, CODE_LOST, CODE_SPEC, CODE_UNABLE };

    drop_held(p, h.task, h.att);
    say(w, p->conn,
        &(msg){ .type = MSG_nack,
                .nack = { .task = h.task,
                          .att = h.att,
                          .code = codes[below(w, sizeof codes / sizeof *codes)],
                          .msg = SLICE("because") } });
}

static inline void about_attempt(world *w, peer *p)
{
    rec_held *h;

    if (!p->conn || !p->held_n)
        return;
    h = &p->held[below(w, p->held_n)];
    switch (below(w, 5)) {
    case 0:
        h->state = HELD_RUNNING;
        say(w, p->conn, &(msg){ .type = MSG_start, .start = { .task = h->task, .att = h->att } });
        break;
    case 1:
        nack(w, p, *h);
        break;
    default:
        result(w, p, *h);
        break;
    }
}

static inline void about_runner(world *w, peer *p)
{
    static const runner_mode modes[] = { MODE_RUN, MODE_RUN, MODE_CORDON, MODE_DRAIN };
    rec_held held[HELD_MAX];

    switch (below(w, 8)) {
    case 0:
        step(w, (dispatch_event){ .kind = DISPATCH_UNREACHABLE, .peer = p->conn });
        p->conn = 0;
        break;
    case 1:
        if (p->conn)
            say(w, p->conn, &(msg){ .type = MSG_bye });
        p->held_n = 0;
        p->conn = 0;
        break;
    case 2:
        say(w, 999999,
            &(msg){ .type = MSG_set_mode,
                    .set_mode = { .runner = slice_of(p->id), .mode = modes[below(w, 4)] } });
        break;
    case 3:
    case 4:
        hello(w, p, p->conn && below(w, 3));
        break;
    default:
        if (!p->conn)
            break;
        memcpy(held, p->held, sizeof held);
        say(w, p->conn, &(msg){ .type = MSG_hb, .hb = { .held = { held, p->held_n } } });
        break;
    }
}

static inline void something(world *w)
{
    peer *p = &w->peers[below(w, RUNNERS)];

    switch (below(w, 12)) {
    case 0:
    case 1:
        submit(w);
        break;
    case 2:
        say(w, 999999,
            &(msg){ .type = MSG_cancel_build,
                    .cancel_build.build = 1 + below(w, w->d->last_build + 1) });
        break;
    case 3:
        w->disk_low = below(w, 4) == 0;
        step(w, (dispatch_event){ .kind = DISPATCH_TICK });
        wait_ms(w, (int64_t)below(w, 3) == 0 ? (int64_t)below(w, 20000) : (int64_t)below(w, 1500));
        break;
    case 4:
        wait_ms(w, (int64_t)below(w, 2000));
        if (below(w, 10) == 0)
            step(w, (dispatch_event){ .kind = DISPATCH_GAP, .gap_ms = 3000 });
        break;
    case 5:
    case 6:
    case 7:
        about_runner(w, p);
        break;
    default:
        about_attempt(w, p);
        break;
    }
}

/* Some of the runners are known from an earlier start. */
static inline void open_world(world *w, uint64_t seed)
{
    dispatch_config config = { .hist = HIST, .ep = 2, .tries_max = 50 };
    effects out = { 0 };

    w->seed = w->rng.state = seed;
    w->now_ms = 1000;
    w->conns = 0;
    w->d = dispatch_new(&config);
    for (size_t i = 0; i < RUNNERS; i++) {
        peer *p = &w->peers[i];

        *p = (peer){ .slots = 1 };
        prng_hex32(&w->rng, p->id);
        prng_hex32(&w->rng, p->boot);
        snprintf(p->name, sizeof p->name, "r%zu", i);
        if (below(w, 3) == 0)
            dispatch_load(w->d,
                          &(row){ .kind = ROW_RUNNER,
                                  .runner = { .id = slice_of(p->id),
                                              .name = slice_of(p->name),
                                              .host = SLICE("h0"),
                                              .boot = slice_of(p->boot),
                                              .slots = 1,
                                              .mode = MODE_RUN,
                                              .state = RUNNER_UP } },
                          NULL);
    }
    dispatch_loaded(w->d, w->now_ms, w->now_ms, &out);
    effects_free(&out);
}

#endif
