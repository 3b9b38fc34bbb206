#include "sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define REST_LIMIT_MS 1200000 /* after the last fault everything must have come to rest within */
#define REST_LOOK_MS  500
#define REST_KEEP_MS  20000  /* and then stay so, while nothing but heartbeats goes around */
#define STUCK_STEPS   100000 /* so many in one millisecond are a loop without an end */

/* ---- chance ---- */

uint64_t pick(world *w, uint64_t n)
{
    return prng_below(&w->rng, n);
}

bool chance(world *w, unsigned per_mille)
{
    return prng_below(&w->rng, 1000) < per_mille;
}

int64_t some_ms(world *w, int64_t lo, int64_t hi)
{
    return lo + (int64_t)pick(w, (uint64_t)(hi - lo) + 1);
}

void mix(world *w, uint64_t x)
{
    w->hash = (w->hash ^ x) * UINT64_C(0x9e3779b97f4a7c15);
    w->hash ^= w->hash >> 29;
}

uint64_t mix_bytes(uint64_t h, slice s)
{
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * UINT64_C(1099511628211);
    return h;
}

/* ---- telling ---- */

static void tell_head(const world *w, const process *who)
{
    printf("%9.3f %-12s ", (double)w->now_ms / 1000, who ? who->name : "");
}

void tell(world *w, const process *who, const char *fmt, ...)
{
    va_list ap;

    if (!w->trace)
        return;
    tell_head(w, who);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

void tell_frame(world *w, const process *who, const char *what, slice frame)
{
    buf line = { 0 };
    arena a = { 0 };
    msg m;

    if (!w->trace)
        return;
    tell_head(w, who);
    if (wire_decode(frame, &a, &m, NULL) == VOLT_OK)
        wire_print(&m, &line);
    printf("%s %s\n", what, buf_str(&line));
    buf_free(&line);
    arena_free(&a);
}

void broken(world *w, const char *invariant, const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    fprintf(stderr, "seed %" PRIu64 ", at %.3f s, step %" PRIu64 ": %s: ", w->seed,
            (double)w->now_ms / 1000, w->steps, invariant);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nthe story: volt_sim --seed %" PRIu64 " --trace\n", w->seed);
    exit(1);
}

/* ---- calls ---- */

void call_at(world *w, int64_t at_ms, void (*fn)(void *ctx, uint64_t arg), void *ctx, uint64_t arg)
{
    event_call *c = NEW(event_call);

    c->fn = fn;
    c->ctx = ctx;
    c->arg = arg;
    heap_set(&w->calls, &c->at, at_ms > w->now_ms ? at_ms : w->now_ms);
}

/* ---- processes ---- */

void process_init(process *p, world *w, const process_ops *ops, const char *name, size_t number)
{
    p->w = w;
    p->ops = ops;
    snprintf(p->name, sizeof p->name, "%s-%zu", name, number);
    list_init(&p->inbox);
    p->up_at = HEAP_NEVER;
}

void process_arm(process *p)
{
    int64_t at;

    if (p->paused_ms)
        at = p->paused_ms;
    else if (!p->up)
        at = p->up_at;
    else
        at = p->ops->deadline_ms(p);
    if (at == HEAP_NEVER)
        heap_remove(&p->w->timers, &p->timer);
    else
        heap_set(&p->w->timers, &p->timer, at > p->w->now_ms ? at : p->w->now_ms);
}

static void empty_inbox(process *p)
{
    LIST_FOR_SAFE(l, &p->inbox)
    {
        list_remove(l);
        free(LIST_OWNER(l, packet, node));
    }
}

void process_start(process *p)
{
    if (p->up)
        return;
    p->up = true;
    p->dying = false;
    p->die_in = 0;
    p->up_at = HEAP_NEVER;
    p->life++;
    tell(p->w, p, "starts");
    p->ops->start(p);
    if (p->dying)
        process_kill(p, some_ms(p->w, 0, 3000));
    process_arm(p);
}

void process_kill(process *p, int64_t after_ms)
{
    if (p->up) {
        tell(p->w, p, "is killed");
        cover("fault", "kill");
        p->up = false;
        p->ops->crash(p);
    }
    p->dying = false;
    p->die_in = 0;
    p->paused_ms = 0;
    empty_inbox(p);
    p->up_at = after_ms < 0 ? HEAP_NEVER : p->w->now_ms + after_ms;
    process_arm(p);
}

bool process_dies(process *p)
{
    if (p->dying)
        return true;
    if (p->die_in && --p->die_in == 0)
        p->dying = true;
    return p->dying;
}

/* What the last call made of it. */
void process_settle(process *p)
{
    if (p->dying)
        process_kill(p, p->w->calm ? 300 : some_ms(p->w, 0, 4000));
    process_arm(p);
}

void process_deliver(process *p, net_link *l, packet *k)
{
    if (p->paused_ms) {
        k->link = l;
        list_push(&p->inbox, &k->node);
        return;
    }
    if (p->up) {
        p->ops->frame(p, l, k->peer, (slice){ k->bytes, k->n });
        process_settle(p);
    }
    free(k);
}

static void resume(process *p)
{
    int64_t gap = p->w->now_ms - p->paused_since;

    tell(p->w, p, "goes on after %" PRId64 " ms", gap);
    p->paused_ms = 0;
    while (p->up && !list_empty(&p->inbox)) {
        packet *k = LIST_OWNER(p->inbox.next, packet, node);

        list_remove(&k->node);
        if (k->link->gen == k->gen || p == dispatcher_process(p->w))
            process_deliver(p, k->link, k);
        else
            free(k);
    }
    if (p->up)
        p->ops->time(p, gap);
    process_settle(p);
}

static void process_time(process *p)
{
    if (p->paused_ms) {
        resume(p);
    } else if (!p->up) {
        process_start(p);
    } else {
        p->ops->time(p, 0);
        process_settle(p);
    }
}

static void process_pause(process *p, int64_t for_ms)
{
    if (!p->up || p->paused_ms)
        return;
    tell(p->w, p, "is stopped for %" PRId64 " ms", for_ms);
    cover("fault", "pause");
    p->paused_since = p->w->now_ms;
    p->paused_ms = p->w->now_ms + for_ms;
    process_arm(p);
}

/* ---- faults ---- */

static process *some_process(world *w)
{
    switch (pick(w, 8)) {
    case 0:
    case 1:
    case 2:
        return dispatcher_process(w);
    case 3:
    case 4:
        return runner_process(w->runners[pick(w, w->runners_n)]);
    case 5:
        return observer_process(w->observers[pick(w, w->observers_n)]);
    case 6:
        return follower_process(w->followers[pick(w, w->followers_n)]);
    default:
        return client_process(w->clients[pick(w, w->clients_n)]);
    }
}

static void fault(void *ctx, uint64_t arg)
{
    world *w = ctx;
    process *p = some_process(w);
    uint64_t kind = pick(w, 10);

    (void)arg;
    if (w->calm)
        return;
    if (kind < w->k.kill) {
        if (p->up && !p->paused_ms) { /* at one of its next effects */
            p->die_in = 1 + (unsigned)pick(w, chance(w, 300) ? 400 : 12);
            tell(w, p, "will be killed at effect %u", p->die_in);
        } else if (p->up) {
            process_kill(p, some_ms(w, 0, 4000));
        }
    } else if (kind == 6) {
        process_pause(p, some_ms(w, 1, chance(w, 300) ? 25000 : 2500));
    } else if (kind == 7 && chance(w, 150)) {
        dispatcher_fault(w);
    } else if (kind == 7) {
        runner_fault(w->runners[pick(w, w->runners_n)]);
    } else {
        net_fault(w);
    }
    call_at(w, w->now_ms + some_ms(w, 1, 2 * (int64_t)w->k.fault_gap_ms), fault, w, 0);
}

static void work(void *ctx, uint64_t arg)
{
    world *w = ctx;

    (void)arg;
    if (w->calm)
        return;
    if (chance(w, 600))
        observer_push(w->observers[pick(w, w->observers_n)]);
    else
        client_act(w->clients[pick(w, w->clients_n)]);
    call_at(w, w->now_ms + some_ms(w, 1, 4000), work, w, 0);
}

static void choose_knobs(world *w)
{
    knobs *k = &w->k;

    k->lossy = chance(w, 400);
    k->drop = k->lossy ? (unsigned)pick(w, 120) : (unsigned)pick(w, 60);
    k->dup = k->lossy ? (unsigned)pick(w, 80) : 0;
    k->delay_max = chance(w, 800) ? 1 + (unsigned)pick(w, 20) : 1 + (unsigned)pick(w, 800);
    k->kill = (unsigned)pick(w, 6);
    k->fault_gap_ms = chance(w, 100)   ? 60000
                      : chance(w, 500) ? 2500
                                       : 300 + (unsigned)pick(w, 1500);
    k->nack = chance(w, 500) ? 0 : (unsigned)pick(w, 200);
    k->slow = chance(w, 400) ? 20 : (unsigned)pick(w, 500);
    k->power = chance(w, 500) ? 0 : 50;
    k->lease_ms = chance(w, 500) ? 0 : some_ms(w, 2000, 6000);
    k->faults_until_ms = some_ms(w, 10000, 60000);
}

static void make_all(world *w)
{
    w->runners_n = 1 + pick(w, RUNNERS_MAX);
    w->observers_n = 1 + pick(w, OBSERVERS_MAX);
    w->followers_n = 1 + pick(w, FOLLOWERS_MAX);
    w->clients_n = 1 + pick(w, CLIENTS_MAX);
    dispatcher_make(w);
    for (size_t i = 0; i < w->runners_n; i++)
        runner_make(w, i);
    for (size_t i = 0; i < w->observers_n; i++)
        observer_make(w, i);
    for (size_t i = 0; i < w->followers_n; i++)
        follower_make(w, i);
    for (size_t i = 0; i < w->clients_n; i++)
        client_make(w, i);
}

/* ---- time ---- */

static void wake(process *p)
{
    if (p->paused_ms) {
        p->paused_ms = p->w->now_ms;
        process_arm(p);
    } else if (!p->up) {
        p->up_at = p->w->now_ms;
        process_arm(p);
    }
}

/* No more faults: all processes run, and whoever was told to rest is put back to work. */
static void calm_down(world *w)
{
    tell(w, NULL, "---- no more faults ----");
    w->calm = true;
    dispatcher_process(w)->die_in = 0;
    wake(dispatcher_process(w));
    for (size_t i = 0; i < w->runners_n; i++) {
        runner_process(w->runners[i])->die_in = 0;
        wake(runner_process(w->runners[i]));
        runner_calm(w->runners[i]);
    }
    for (size_t i = 0; i < w->observers_n; i++) {
        observer_process(w->observers[i])->die_in = 0;
        wake(observer_process(w->observers[i]));
    }
    for (size_t i = 0; i < w->followers_n; i++) {
        follower_process(w->followers[i])->die_in = 0;
        wake(follower_process(w->followers[i]));
    }
    for (size_t i = 0; i < w->clients_n; i++) {
        client_process(w->clients[i])->die_in = 0;
        wake(client_process(w->clients[i]));
    }
    client_calm(w->clients[0]);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t next_ms(const world *w)
{
    return least(heap_top_key(&w->calls),
                 least(heap_top_key(&w->packets), heap_top_key(&w->timers)));
}

static void one_step(world *w)
{
    w->steps++;
    mix(w, (uint64_t)w->now_ms);
    if (heap_top_key(&w->calls) <= w->now_ms) {
        event_call *c = HEAP_OWNER(heap_top(&w->calls), event_call, at);

        heap_remove(&w->calls, &c->at);
        c->fn(c->ctx, c->arg);
        free(c);
    } else if (heap_top_key(&w->packets) <= w->now_ms) {
        packet *k = HEAP_OWNER(heap_top(&w->packets), packet, at);

        heap_remove(&w->packets, &k->at);
        net_arrive(w, k);
    } else {
        process *p = HEAP_OWNER(heap_top(&w->timers), process, timer);

        heap_remove(&w->timers, &p->timer);
        process_time(p);
    }
    arena_reset(&w->scratch);
}

static void run_until(world *w, int64_t end_ms)
{
    uint64_t here = 0;

    while (next_ms(w) <= end_ms) {
        int64_t at = next_ms(w);

        here = at > w->now_ms ? 0 : here + 1;
        if (here > STUCK_STEPS)
            broken(w, "progress", "time stands still");
        w->now_ms = at > w->now_ms ? at : w->now_ms;
        one_step(w);
    }
    w->now_ms = end_ms;
}

static bool at_rest(world *w, const char **why)
{
    for (size_t i = 0; i < w->observers_n; i++)
        if (!observer_at_rest(w->observers[i], why))
            return false;
    for (size_t i = 0; i < w->clients_n; i++)
        if (!client_at_rest(w->clients[i], why))
            return false;
    if (!oracle_at_rest(w->oracle, why))
        return false;
    for (size_t i = 0; i < w->runners_n; i++)
        if (!runner_at_rest(w->runners[i], why))
            return false;
    for (size_t i = 0; i < w->followers_n; i++)
        if (!follower_at_rest(w->followers[i], why))
            return false;
    return true;
}

static void come_to_rest(world *w)
{
    int64_t limit = w->now_ms + REST_LIMIT_MS, since = HEAP_NEVER;
    const char *why = "";

    for (;;) {
        run_until(w, w->now_ms + REST_LOOK_MS);
        if (!at_rest(w, &why)) {
            since = HEAP_NEVER;
            if (w->now_ms <= limit)
                continue;
            oracle_explain(w->oracle);
            broken(w, "L", "no rest after %d s without a fault: %s", REST_LIMIT_MS / 1000, why);
        } else if (since == HEAP_NEVER) {
            since = w->now_ms;
        } else if (w->now_ms - since >= REST_KEEP_MS) {
            return;
        }
    }
}

/* ---- a run ---- */

static void free_calls(world *w)
{
    while (w->calls.n) {
        event_call *c = HEAP_OWNER(heap_top(&w->calls), event_call, at);

        heap_remove(&w->calls, &c->at);
        free(c);
    }
    heap_free(&w->calls);
}

static void free_all(world *w)
{
    dispatcher_end(w);
    for (size_t i = 0; i < w->runners_n; i++)
        runner_end(w->runners[i]);
    for (size_t i = 0; i < w->observers_n; i++)
        observer_end(w->observers[i]);
    for (size_t i = 0; i < w->followers_n; i++)
        follower_end(w->followers[i]);
    for (size_t i = 0; i < w->clients_n; i++)
        client_end(w->clients[i]);
    net_free(w);
    free_calls(w);
    heap_free(&w->timers);
    oracle_free(w->oracle);
    arena_free(&w->scratch);
}

void sim_run(uint64_t seed, bool trace, sim_report *ret)
{
    world *w = NEW(world);

    w->seed = seed;
    w->trace = trace;
    w->rng.state = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
    w->hash = seed;
    w->now_ms = 1000;
    list_init(&w->links);
    choose_knobs(w);
    tell(w, NULL,
         "%s network, drop %u, dup %u, delay %u ms, kill %u, a fault each %u ms, for %" PRId64
         " ms",
         w->k.lossy ? "lossy" : "orderly", w->k.drop, w->k.dup, w->k.delay_max, w->k.kill,
         w->k.fault_gap_ms, w->k.faults_until_ms);
    w->oracle = oracle_new(w);
    make_all(w);
    call_at(w, w->now_ms + some_ms(w, 1, 3000), fault, w, 0);
    call_at(w, w->now_ms + some_ms(w, 1, 1000), work, w, 0);
    run_until(w, w->k.faults_until_ms);
    calm_down(w);
    come_to_rest(w);
    dispatcher_check_store(w);
    for (size_t i = 0; i < w->observers_n; i++)
        observer_check(w->observers[i]);
    *ret = (sim_report){ .hash = w->hash,
                         .steps = w->steps,
                         .virtual_ms = (uint64_t)w->now_ms,
                         .builds = oracle_builds(w->oracle),
                         .events = oracle_events(w->oracle),
                         .tasks = oracle_tasks(w->oracle),
                         .restarts = dispatcher_process(w)->life };
    free_all(w);
    free(w);
}
