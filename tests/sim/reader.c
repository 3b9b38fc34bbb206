#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define PENDING_MAX 64
#define RETRY_MS    2000

/* ---- subscribers ---- */

typedef struct sim_follower {
    process p;
    world *w;
    net_link work, events;
    follow *f;
    follow_acts acts;
    bool live;
    uint64_t next;    /* durable: the number it wants next; 0: not known yet */
    char hist[33];    /* durable with it */
    uint64_t applied; /* events in all */
} sim_follower;

/* Only when there is one: numbers begin anew. */
static void new_history(sim_follower *f, const follow_act *a)
{
    bool other = !slice_is(a->hist, f->hist);

    if (!other && !oracle_stale(f->w->oracle))
        broken(f->w, RULE_S10, "%s begins its history anew at %" PRIu64, f->p.name, a->from);
    snprintf(f->hist, sizeof f->hist, SLICE_FMT, SLICE_ARG(a->hist));
    f->next = a->from;
}

static void act(sim_follower *f)
{
    for (size_t i = 0; i < f->acts.n && !process_dies(&f->p); i++) {
        const follow_act *a = &f->acts.v[i];
        buf frame = { 0 };
        msg m = { .type = MSG_replay, .r = a->r, .replay = a->replay };

        switch (a->kind) {
        case FOLLOW_APPLY:
            cover("follow act", "apply");
            oracle_applied(f->w->oracle, f->p.name, f->next, a->event);
            snprintf(f->hist, sizeof f->hist, SLICE_FMT, SLICE_ARG(a->event->hist));
            f->next = a->event->seq + 1;
            f->applied++;
            break;
        case FOLLOW_ASK:
            cover("follow act", "ask");
            wire_encode(&m, &frame);
            link_send(&f->work, buf_slice(&frame));
            buf_free(&frame);
            break;
        case FOLLOW_FLOOR:
            cover("follow act", "floor");
            oracle_floor(f->w->oracle, f->p.name, a->to);
            f->next = a->to + 1;
            break;
        case FOLLOW_NEW_HIST:
            cover("follow act", "new history");
            new_history(f, a);
            break;
        case FOLLOW_SKIP:
            broken(f->w, RULE_S10, "%s skips events %" PRIu64 "..%" PRIu64, f->p.name, a->from,
                   a->to);
        }
    }
}

static void follower_start(process *p)
{
    sim_follower *f = (sim_follower *)p;
    follow_config config = { .from = f->next   ? f->next
                                     : f->live ? FOLLOW_LIVE
                                               : FOLLOW_START,
                             .hist = slice_of(f->hist),
                             .seed = prng_next(&f->w->rng) };

    config.early_max = chance(f->w, 300) ? 1 + (size_t)pick(f->w, 20) : 0;
    config.page = chance(f->w, 300) ? 1 + pick(f->w, 20) : 0;
    f->f = follow_new(&config, process_now(&f->p));
    link_open(&f->events);
    link_open(&f->work);
}

static void follower_crash(process *p)
{
    sim_follower *f = (sim_follower *)p;

    follow_free(f->f);
    f->f = NULL;
    f->acts.n = 0;
    link_close(&f->events);
    link_close(&f->work);
}

static void take_page(sim_follower *f, const msg *m, arena *a)
{
    msg_event *items = ARENA_ARRAY(a, msg_event, m->events.items.n + 1);

    for (size_t i = 0; i < m->events.items.n; i++) {
        msg e;

        if (wire_decode(m->events.items.v[i], a, &e, NULL) != VOLT_OK || e.type != MSG_event)
            broken(f->w, RULE_S9, "a kept event cannot be read");
        items[i] = e.event;
    }
    follow_page(f->f, process_now(&f->p), m->r, &m->events, items, &f->acts);
}

static void follower_frame(process *p, const packet *k)
{
    sim_follower *f = (sim_follower *)p;
    arena a = { 0 };
    msg m;

    if (wire_decode((slice){ k->bytes, k->n }, &a, &m, NULL) != VOLT_OK) {
        if (!k->hostile)
            broken(f->w, RULE_WIRE, "a subscriber does not understand the dispatcher");
        checked(f->w, RULE_HOSTILE);
        arena_free(&a);
        return;
    }
    cover("dispatcher to subscriber", msg_type_text(m.type));
    f->acts.n = 0;
    if (m.type == MSG_event)
        follow_event(f->f, process_now(&f->p), &m.event, &f->acts);
    else if (m.type == MSG_head)
        follow_head(f->f, process_now(&f->p), &m.head, &f->acts);
    else if (m.type == MSG_events)
        take_page(f, &m, &a);
    act(f);
    arena_free(&a);
}

static void follower_time(process *p, int64_t gap_ms)
{
    sim_follower *f = (sim_follower *)p;

    (void)gap_ms;
    follow_tick(f->f, process_now(&f->p), &f->acts);
    act(f);
}

static int64_t follower_deadline(const process *p)
{
    return process_when(p, follow_next_deadline_ms(((const sim_follower *)p)->f));
}

static const process_ops follower_ops = { follower_start, follower_crash, follower_frame,
                                          follower_time, follower_deadline };

void follower_make(world *w, size_t number)
{
    sim_follower *f = NEW(sim_follower);

    f->w = w;
    w->followers[number] = f;
    process_init(&f->p, w, &follower_ops, "subscriber", number);
    f->live = number % 2 == 1;
    link_init(&f->events, &f->p, LINK_EVENTS);
    link_init(&f->work, &f->p, LINK_WORK);
    f->events.topics[0] = "e.";
    f->events.topics[1] = "h.";
    f->p.up_at = w->now_ms + some_ms(w, 0, chance(w, 700) ? 10000 : 60000);
    process_arm(&f->p);
}

void follower_end(sim_follower *f)
{
    follow_free(f->f);
    follow_acts_free(&f->acts);
    link_close(&f->events);
    link_close(&f->work);
    free(f);
}

process *follower_process(sim_follower *f)
{
    return &f->p;
}

/* Its next number is at most this one: all before are applied, or it has just come. */
bool follower_has(const sim_follower *f, uint64_t events)
{
    if (!f->p.up || (f->live && f->next == 0)) /* nothing happened since it came */
        return f->p.up;
    return f->next > events && strcmp(f->hist, dispatcher_history(f->w)) == 0;
}

bool follower_at_rest(const sim_follower *f, rest *ret)
{
    uint64_t all = oracle_events(f->w->oracle);

    *ret = (rest){ RULE_L4, "a subscriber has not all events" };
    return follower_has(f, all) && f->next <= all + 1;
}

/* ---- clients ---- */

typedef struct question {
    uint64_t r; /* 0: free */
    msg m;      /* its texts are in `sid` and constants */
    char sid[33];
    int64_t again_ms; /* HEAP_NEVER: asked once */
} question;

typedef struct sim_client {
    process p;
    world *w;
    net_link work;
    uint64_t r;
    question v[PENDING_MAX];
} sim_client;

static void send_question(sim_client *c, const question *q)
{
    buf frame = { 0 };

    cover("client to dispatcher", msg_type_text(q->m.type));
    wire_encode(&q->m, &frame);
    link_send(&c->work, buf_slice(&frame));
    buf_free(&frame);
}

/* A command is repeated until it is answered; a query is not. */
static question *ask(sim_client *c, msg_type type, bool command)
{
    for (size_t i = 0; i < PENDING_MAX; i++) {
        question *q = &c->v[i];

        if (q->r && (q->again_ms != HEAP_NEVER || command))
            continue;
        *q = (question){ .r = ++c->r, .m = { .type = type } };
        q->m.r = q->r;
        q->again_ms = command ? c->w->now_ms + RETRY_MS : HEAP_NEVER;
        return q;
    }
    return NULL;
}

static void query(sim_client *c)
{
    static const msg_type types[] = {
        MSG_status,  MSG_builds, MSG_build,  MSG_units,      MSG_task,
        MSG_runners, MSG_get,    MSG_replay, MSG_submission, MSG_files
    };
    world *w = c->w;
    question *q = ask(c, types[pick(w, sizeof types / sizeof *types)], false);
    uint64_t build = oracle_some_build(w->oracle);

    if (!q || !build)
        return;
    prng_hex32(&w->rng, q->sid);
    switch (q->m.type) {
    case MSG_builds:
        q->m.builds.max = 1 + pick(w, 20);
        break;
    case MSG_build:
        q->m.build.build = build;
        break;
    case MSG_units:
        q->m.units.build = build;
        break;
    case MSG_task:
        q->m.task.task = 1 + pick(w, 50);
        break;
    case MSG_runners:
        q->m.runners.all = chance(w, 500);
        q->m.runners.from = pick(w, 3);
        break;
    case MSG_get:
        q->m.get.task = 1 + pick(w, 50);
        if (q->m.get.task % 2) /* a log is most interesting while it grows */
            q->m.get.task = oracle_leased_task(w->oracle, q->m.get.task);
        break;
    case MSG_replay:
        q->m.replay.from = 1 + pick(w, 100);
        q->m.replay.max = 5;
        break;
    case MSG_files:
        q->m.files.max = 1 + pick(w, 5);
        break;
    case MSG_submission:
        q->m.submission.sid = slice_of(q->sid);
        break;
    default:
        break;
    }
    send_question(c, q);
}

/* By its id, or by its name, which two may have. */
static slice some_runner(world *w)
{
    const struct sim_runner *r = w->runners[pick(w, w->runners_n)];

    return chance(w, 300) ? runner_id(r) : runner_name(r);
}

static void command(sim_client *c)
{
    static const msg_type types[] = { MSG_cancel_build, MSG_cancel_build, MSG_rebuild, MSG_rebuild,
                                      MSG_set_mode };
    world *w = c->w;
    msg_type type = types[pick(w, 5)];
    uint64_t build = oracle_some_build(w->oracle);
    question *q = build ? ask(c, type, true) : NULL;

    if (!q)
        return;
    if (type == MSG_cancel_build) {
        q->m.cancel_build.build = build;
        if (chance(w, 500))
            q->m.cancel_build.why = SLICE("canceled: somebody changed his mind");
    } else if (type == MSG_rebuild) {
        prng_hex32(&w->rng, q->sid);
        q->m.rebuild.sid = slice_of(q->sid);
        q->m.rebuild.build = build;
        build = chance(w, 500) ? oracle_bad_build(w->oracle) : 0;
        if (build)
            q->m.rebuild = (msg_rebuild){ .sid = slice_of(q->sid), .build = build, .failed = true };
    } else {
        q->m.set_mode.runner = some_runner(w);
        q->m.set_mode.mode = chance(w, 500) ? MODE_RUN : chance(w, 300) ? MODE_DRAIN : MODE_CORDON;
    }
    send_question(c, q);
}

void client_act(sim_client *c)
{
    if (!c->p.up || c->p.paused_ms)
        return;
    for (int i = 0; i < 3; i++)
        query(c);
    if (chance(c->w, 600))
        command(c);
    process_arm(&c->p);
}

void client_calm(sim_client *c)
{
    for (size_t i = 0; i < c->w->runners_n; i++) {
        question *q = runner_is_retired(c->w->runners[i]) ? NULL : ask(c, MSG_set_mode, true);

        if (runner_is_retired(c->w->runners[i]))
            continue;
        if (!q)
            broken(c->w, RULE_SIMULATOR, "no room for a question");
        q->m.set_mode.runner = runner_id(c->w->runners[i]);
        q->m.set_mode.mode = MODE_RUN;
        q->again_ms = c->w->now_ms + 60000 + (int64_t)i; /* behind what is still on its way */
    }
    process_arm(&c->p);
}

static void client_start(process *p)
{
    link_open(&((sim_client *)p)->work);
}

/* Whoever asked is gone, but for the commands that put runners back to work. */
static void client_crash(process *p)
{
    sim_client *c = (sim_client *)p;

    link_close(&c->work);
    for (size_t i = 0; i < PENDING_MAX; i++)
        c->v[i].r = 0;
}

/* A runner of that id or name will be heard of. */
static bool is_to_come(const world *w, slice runner)
{
    for (size_t i = 0; i < w->runners_n; i++) {
        const struct sim_runner *r = w->runners[i];

        if (!runner_is_retired(r) &&
            (slice_eq(runner_id(r), runner) || slice_eq(runner_name(r), runner)))
            return true;
    }
    return false;
}

static void answered(sim_client *c, const msg *m)
{
    for (size_t i = 0; i < PENDING_MAX; i++) {
        question *q = &c->v[i];

        if (!q->r || q->r != m->r)
            continue;
        if (q->m.type == MSG_rebuild && m->type == MSG_accepted &&
            !oracle_sid_done(c->w->oracle, slice_of(q->sid)))
            broken(c->w, RULE_S4, "a rebuild was accepted without being kept");
        /* A runner that never was heard of has no mode; that is known only after a while. */
        if (q->m.type == MSG_set_mode && m->type == MSG_err && m->err.code == CODE_NOT_FOUND &&
            c->w->calm && is_to_come(c->w, q->m.set_mode.runner)) {
            q->again_ms = c->w->now_ms + RETRY_MS;
            return;
        }
        q->r = 0;
    }
}

static void client_frame(process *p, const packet *k)
{
    sim_client *c = (sim_client *)p;
    arena a = { 0 };
    msg m;

    if (wire_decode((slice){ k->bytes, k->n }, &a, &m, NULL) != VOLT_OK) {
        if (!k->hostile)
            broken(c->w, RULE_WIRE, "a client does not understand the dispatcher");
        checked(c->w, RULE_HOSTILE);
        arena_free(&a);
        return;
    }
    cover("dispatcher to client", msg_type_text(m.type));
    answered(c, &m);
    arena_free(&a);
}

static void client_time(process *p, int64_t gap_ms)
{
    sim_client *c = (sim_client *)p;

    (void)gap_ms;
    for (size_t i = 0; i < PENDING_MAX; i++)
        if (c->v[i].r && c->v[i].again_ms <= c->w->now_ms) {
            c->v[i].again_ms = c->w->now_ms + RETRY_MS;
            send_question(c, &c->v[i]);
        }
}

static int64_t client_deadline(const process *p)
{
    const sim_client *c = (const sim_client *)p;
    int64_t at = HEAP_NEVER;

    for (size_t i = 0; i < PENDING_MAX; i++)
        if (c->v[i].r && c->v[i].again_ms < at)
            at = c->v[i].again_ms;
    return at;
}

static const process_ops client_ops = { client_start, client_crash, client_frame, client_time,
                                        client_deadline };

void client_make(world *w, size_t number)
{
    sim_client *c = NEW(sim_client);

    c->w = w;
    w->clients[number] = c;
    process_init(&c->p, w, &client_ops, "client", number);
    link_init(&c->work, &c->p, LINK_WORK);
    c->p.up_at = w->now_ms;
    process_arm(&c->p);
}

void client_end(sim_client *c)
{
    link_close(&c->work);
    free(c);
}

process *client_process(sim_client *c)
{
    return &c->p;
}

bool client_at_rest(const sim_client *c, rest *ret)
{
    for (size_t i = 0; i < PENDING_MAX; i++)
        if (c->v[i].r && c->v[i].again_ms != HEAP_NEVER) {
            *ret = (rest){ RULE_L1, "a command was not answered" };
            return false;
        }
    return true;
}
