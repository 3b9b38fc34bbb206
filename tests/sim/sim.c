#include "sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define REST_LIMIT_MS 1200000 /* after the last fault everything must have come to rest within */
#define REST_LOOK_MS  500
#define REST_KEEP_MS  12000  /* and then stay so, while nothing but heartbeats goes around */
#define LOOK_EVERY    8      /* steps of a long haul: most change nothing that counts */
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

/* Eight bytes at a time: most of what a run sends is hashed, some of it more than once. */
uint64_t mix_bytes(uint64_t h, slice s)
{
    uint64_t x = s.n;
    size_t i = 0;

    for (; s.n - i >= sizeof x; i += sizeof x) {
        h = mix_word(h, x);
        memcpy(&x, s.p + i, sizeof x);
    }
    h = mix_word(h, x);
    x = 0;
    if (s.n > i)
        memcpy(&x, s.p + i, s.n - i);
    return mix_word(h, x);
}

void mix(world *w, uint64_t x)
{
    w->hash = mix_word(w->hash, x);
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

typedef struct rule_words {
    const char *name, *sentence, *where;
} rule_words;

static const rule_words rules[] = {
#define RULE_WORDS(name, sentence, where) { #name, sentence, where },
    RULES(RULE_WORDS)
#undef RULE_WORDS
};

const char *rule_text(rule r)
{
    return rules[r].name;
}

const char *rule_sentence(rule r)
{
    return rules[r].sentence;
}

const char *rule_where(rule r)
{
    return rules[r].where;
}

void broken(world *w, rule which, const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    fprintf(stderr, "seed %" PRIu64 ", at %.3f s, step %" PRIu64 ": %s: ", w->seed,
            (double)w->now_ms / 1000, w->steps, rules[which].name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n%s: %s\nthe story: volt-sim --seed %" PRIu64 "%s --trace\n",
            rules[which].name, rules[which].sentence, w->seed, w->days);
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

/* ---- time ---- */

static void make_all(world *w)
{
    /* Over months a small system meets as much as a large one does, and time goes by faster. */
    w->runners_n = 1 + pick(w, w->long_haul ? 2 : RUNNERS_FIRST);
    w->observers_n = 1 + pick(w, w->long_haul ? 1 : OBSERVERS_MAX);
    w->followers_n = 1 + pick(w, w->long_haul ? 2 : FOLLOWERS_MAX);
    w->clients_n = 1 + pick(w, w->long_haul ? 1 : CLIENTS_MAX);
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

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t next_ms(const world *w)
{
    return least(heap_top_key(&w->calls),
                 least(heap_top_key(&w->packets), heap_top_key(&w->timers)));
}

/* The state as far as it is not numbers that grow: which processes run, what they are doing, and
 * the multiset of all open tasks with kind, state, attempts and tries. */
static uint64_t abstract(const world *w)
{
    uint64_t h = mix_word(w->task_states, w->calm);

    h = mix_word(h, dispatcher_class(w));
    for (size_t i = 0; i < w->runners_n; i++)
        h = mix_word(h, runner_class(w->runners[i]));
    for (size_t i = 0; i < w->observers_n; i++)
        h = mix_word(h, process_class(observer_process(w->observers[i])));
    for (size_t i = 0; i < w->followers_n; i++)
        h = mix_word(h, process_class(follower_process(w->followers[i])));
    return h;
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
    if (!w->long_haul || w->steps % LOOK_EVERY == 0)
        states_add(abstract(w));
    arena_reset(&w->scratch);
}

static void run_until(world *w, int64_t end_ms)
{
    uint64_t here = 0;

    while (next_ms(w) <= end_ms) {
        int64_t at = next_ms(w);

        here = at > w->now_ms ? 0 : here + 1;
        checked(w, RULE_PROGRESS);
        if (here > STUCK_STEPS)
            broken(w, RULE_PROGRESS, "time stands still");
        w->now_ms = at > w->now_ms ? at : w->now_ms;
        one_step(w);
    }
    w->now_ms = end_ms;
}

static bool at_rest(world *w, rest *ret)
{
    for (size_t i = 0; i < w->observers_n; i++)
        if (!observer_at_rest(w->observers[i], ret))
            return false;
    for (size_t i = 0; i < w->clients_n; i++)
        if (!client_at_rest(w->clients[i], ret))
            return false;
    if (!oracle_at_rest(w->oracle, ret))
        return false;
    for (size_t i = 0; i < w->runners_n; i++)
        if (!runner_at_rest(w->runners[i], ret))
            return false;
    for (size_t i = 0; i < w->followers_n; i++)
        if (!follower_at_rest(w->followers[i], ret))
            return false;
    return true;
}

static void come_to_rest(world *w)
{
    int64_t limit = w->now_ms + REST_LIMIT_MS, since = HEAP_NEVER;
    rest left;

    for (;;) {
        run_until(w, w->now_ms + REST_LOOK_MS);
        oracle_quiet(w->oracle);
        if (!at_rest(w, &left)) {
            since = HEAP_NEVER;
            if (w->now_ms <= limit)
                continue;
            oracle_explain(w->oracle);
            broken(w, left.rule, "no rest after %d s without a fault: %s", REST_LIMIT_MS / 1000,
                   left.why);
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
    hostile_free(w);
    free_calls(w);
    heap_free(&w->timers);
    oracle_free(w->oracle);
    arena_free(&w->scratch);
}

void sim_run(const sim_options *options, sim_report *ret)
{
    world *w = NEW(world);

    w->seed = options->seed;
    w->trace = options->trace;
    w->rng.state = w->seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
    w->hash = w->seed;
    w->now_ms = 1000;
    w->timeline = 1;
    list_init(&w->links);
    if (options->days > 0)
        snprintf(w->days, sizeof w->days, " --days %g", options->days);
    chaos_choose(w, options);
    w->oracle = oracle_new(w, NULL);
    make_all(w);
    chaos_begin(w);
    run_until(w, w->k.faults_until_ms);
    chaos_end(w);
    come_to_rest(w);
    dispatcher_check_store(w);
    for (size_t i = 0; i < w->observers_n; i++)
        observer_check(w->observers[i]);
    *ret = (sim_report){ .hash = w->hash,
                         .steps = w->steps,
                         .virtual_ms = (uint64_t)w->now_ms,
                         .restarts = dispatcher_process(w)->life };
    oracle_sum(w->oracle, ret);
    memcpy(ret->checks, w->checks, sizeof ret->checks);
    free_all(w);
    free(w);
}
