/*
 * The observer's machine among repositories that move, a network that loses, doubles and reorders,
 * and crashes at every effect: no commit is lost, and of a branch the order is kept.
 */
#include "core/watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/prng.h"

#define COMMITS_MAX 4096
#define BRANCHES    5 /* the first, main, is only ever moved forward */
#define WIRE_MAX    8192
#define SPOOL_MAX   4096
#define RUN_MS      (180 * 1000)
#define CALM_MS     (300 * 1000) /* after the faults: time enough for the longest backoff */
#define ORDER_MAX   8192
#define OID_SIZE    41
#define SEEDS       40

typedef struct packet {
    int64_t at_ms;
    bool down; /* from the dispatcher */
    msg_type type;
    uint64_t r;
    char sid[33];
    unsigned branch, commit;
    uint64_t ep;
    code why;
    bool permanent;
} packet;

typedef struct entry {
    uint64_t n;
    char sid[33];
    unsigned branch, commit;
} entry;

typedef struct world {
    prng rng;
    int64_t now_ms;
    bool calm;
    watch_policy policy;

    unsigned parent[COMMITS_MAX]; /* of a commit; 0: none */
    unsigned commits;
    unsigned tip[BRANCHES]; /* 0: no such branch */

    unsigned cursor[BRANCHES]; /* the observer's disk */
    bool known;
    entry spool[SPOOL_MAX];
    size_t spool_n;

    watch *w;
    int64_t restart_ms;
    int64_t look_ms;
    bool crashed;
    unsigned first_main; /* main's tip at the first sight */

    packet wire[WIRE_MAX];
    size_t wire_n;

    bool up; /* the dispatcher */
    uint64_t ep;
    int64_t beat_ms;
    int64_t flip_ms;
    entry answered[ORDER_MAX]; /* first answers for good, in order */
    size_t answered_n;
    entry spooled[ORDER_MAX]; /* everything that was ever durable */
    size_t spooled_n;
    size_t crashes;
} world;

static const char *const branch_names[BRANCHES] = { "refs/heads/main", "refs/heads/a",
                                                    "refs/heads/b", "refs/heads/c", "refs/tags/t" };

static bool chance(world *x, unsigned percent)
{
    return prng_below(&x->rng, 100) < percent;
}

static void oid_text(unsigned commit, char ret[OID_SIZE])
{
    snprintf(ret, OID_SIZE, "%040x", commit);
}

static unsigned commit_of(slice oid)
{
    char text[OID_SIZE] = "";

    if (oid.n == 40)
        memcpy(text, oid.p, 40);
    return (unsigned)strtoul(text, NULL, 16);
}

static unsigned branch_of(slice ref)
{
    for (unsigned b = 0; b < BRANCHES; b++)
        if (slice_is(ref, branch_names[b]))
            return b;
    fail();
    return 0;
}

static bool reaches(const world *x, unsigned from, unsigned commit)
{
    while (from && from != commit)
        from = x->parent[from];
    return from != 0;
}

static unsigned commit_on(world *x, unsigned parent)
{
    assert_true(x->commits + 1 < COMMITS_MAX);
    x->parent[++x->commits] = parent;
    return x->commits;
}

/* Somebody pushes. */
static void move_repository(world *x)
{
    unsigned b = (unsigned)prng_below(&x->rng, BRANCHES);
    uint64_t times = 1 + prng_below(&x->rng, 4);

    if (b > 0 && x->tip[b] && chance(x, 20)) {
        x->tip[b] = 0;
        return;
    }
    if (!x->tip[b])
        x->tip[b] = x->tip[prng_below(&x->rng, BRANCHES)];
    if (!x->tip[b])
        x->tip[b] = x->tip[0];
    if (b > 0 && chance(x, 20)) /* force push, maybe only backwards */
        for (uint64_t i = 0; i < times && x->parent[x->tip[b]]; i++)
            x->tip[b] = x->parent[x->tip[b]];
    for (uint64_t i = chance(x, 80) ? 0 : times; i < times; i++)
        x->tip[b] = commit_on(x, x->tip[b]);
    if (b == 0 && times == 4)
        x->tip[0] = commit_on(x, x->tip[0]);
}

/* ---- the network and the dispatcher ---- */

static void put(world *x, packet p)
{
    int copies = x->calm ? 1 : chance(x, 25) ? 0 : chance(x, 15) ? 2 : 1;

    while (copies-- > 0) {
        assert_true(x->wire_n < WIRE_MAX);
        p.at_ms = x->now_ms + 1 + (int64_t)prng_below(&x->rng, chance(x, 10) ? 3000 : 20);
        x->wire[x->wire_n++] = p;
    }
}

static const entry *find_answer(const world *x, const char *sid, unsigned branch, unsigned commit)
{
    for (size_t i = 0; i < x->answered_n; i++) {
        const entry *e = &x->answered[i];

        if (sid ? strcmp(e->sid, sid) == 0 : e->branch == branch && e->commit == commit)
            return e;
    }
    return NULL;
}

static void dispatcher_takes(world *x, const packet *p)
{
    packet answer = { .down = true, .type = MSG_accepted };

    if (!x->up)
        return;
    memcpy(answer.sid, p->sid, sizeof answer.sid);
    if (p->type == MSG_submission && !find_answer(x, p->sid, 0, 0)) {
        answer.type = MSG_err;
        answer.r = p->r;
    } else if (p->type == MSG_submit && !x->calm && chance(x, 5)) {
        answer.type = MSG_rejected;
    } else if (p->type == MSG_submit && !find_answer(x, p->sid, 0, 0)) {
        entry *e = &x->answered[x->answered_n++];

        assert_true(x->answered_n < ORDER_MAX);
        memcpy(e->sid, p->sid, sizeof e->sid);
        e->branch = p->branch;
        e->commit = p->commit;
        answer.permanent = chance(x, 2);
        if (answer.permanent)
            answer.type = MSG_rejected;
    }
    put(x, answer);
}

static void dispatcher_time(world *x)
{
    if (!x->calm && x->now_ms >= x->flip_ms) {
        x->up = !x->up;
        x->ep += x->up;
        x->flip_ms = x->now_ms + (int64_t)prng_below(&x->rng, x->up ? 20000 : 8000);
    }
    if (x->up && x->now_ms >= x->beat_ms) {
        put(x, (packet){ .down = true, .type = MSG_head, .ep = x->ep });
        x->beat_ms = x->now_ms + 1000;
    }
}

/* ---- the observer's shell ---- */

static void effect_done(world *x, const watch_effect *e);

/* Carries out effects in order; between any two the process may die. */
static void step(world *x, watch_event ev)
{
    watch_effects out = { 0 };

    ev.now_ms = x->now_ms;
    watch_step(x->w, &ev, &out);
    for (size_t i = 0; i < out.n && !x->crashed; i++) {
        if (!x->calm && prng_below(&x->rng, 1000) < 8)
            x->crashed = true;
        else
            effect_done(x, &out.v[i]);
    }
    watch_effects_free(&out);
}

static void list_commits(world *x, const watch_effect *e)
{
    unsigned chain[COMMITS_MAX];
    char(*oids)[OID_SIZE] = NULL;
    watch_commit *commits;
    size_t n = 0, from, count;

    if (!x->calm && chance(x, 10)) {
        step(x, (watch_event){ .kind = WATCH_LIST_FAILED, .ref = e->ref });
        return;
    }
    for (unsigned c = commit_of(e->oid); c; c = x->parent[c]) {
        bool old = e->old.n && reaches(x, commit_of(e->old), c);

        for (size_t i = 0; i < e->known.n && !old && !e->old.n; i++)
            old = reaches(x, commit_of(e->known.v[i]), c);
        if (old || (e->tip_only && n == 1) || (!e->old.n && !e->known.n && n == 1))
            break;
        chain[n++] = c;
    }
    count = n > 3 && chance(x, 30) ? 3 : n; /* a page: the oldest */
    oids = mem_array(count + 1, sizeof *oids);
    commits = NEW_ARRAY(watch_commit, count + 1);
    for (from = 0; from < count; from++) {
        oid_text(chain[n - 1 - from], oids[from]);
        commits[from].oid = slice_of(oids[from]);
    }
    step(x, (watch_event){
                .kind = WATCH_LISTED, .ref = e->ref, .commits = commits, .commits_n = count });
    free(commits);
    free(oids);
}

static void spool(world *x, const watch_effect *e)
{
    entry s = { .n = e->n,
                .branch = branch_of(e->msg->submit.ref),
                .commit = commit_of(e->msg->submit.oid) };

    memcpy(s.sid, e->msg->submit.sid.p, 32);
    for (size_t i = 0; i < x->spool_n; i++)
        assert_true(x->spool[i].n < e->n);
    assert_true(x->spool_n < SPOOL_MAX && x->spooled_n < ORDER_MAX);
    x->spool[x->spool_n++] = s;
    x->spooled[x->spooled_n++] = s;
    step(x, (watch_event){ .kind = WATCH_SPOOLED, .id = e->id });
}

static void unspool(world *x, uint64_t n)
{
    for (size_t i = 0; i < x->spool_n; i++)
        if (x->spool[i].n == n) {
            memmove(&x->spool[i], &x->spool[i + 1], (x->spool_n - i - 1) * sizeof x->spool[0]);
            x->spool_n--;
            return;
        }
    fail();
}

static void effect_done(world *x, const watch_effect *e)
{
    packet p = { .type = e->msg ? e->msg->type : MSG_NONE };

    switch (e->kind) {
    case WATCH_DO_LIST:
        list_commits(x, e);
        break;
    case WATCH_DO_SPOOL:
        spool(x, e);
        break;
    case WATCH_DO_PUSH:
        if (!x->calm && chance(x, 10)) {
            step(x, (watch_event){ .kind = WATCH_BLOCKED, .id = e->id });
            break;
        }
        memcpy(p.sid, e->msg->submit.sid.p, 32);
        p.branch = branch_of(e->msg->submit.ref);
        p.commit = commit_of(e->msg->submit.oid);
        put(x, p);
        break;
    case WATCH_DO_QUERY:
        memcpy(p.sid, e->msg->submission.sid.p, 32);
        p.r = e->msg->r;
        put(x, p);
        break;
    case WATCH_DO_CURSOR:
        x->cursor[branch_of(e->ref)] = commit_of(e->oid);
        break;
    case WATCH_DO_KNOWN:
        x->known = true;
        break;
    case WATCH_DO_UNSPOOL:
        unspool(x, e->n);
        break;
    case WATCH_DO_TELL:
    case WATCH_DO_SILENT:
    case WATCH_DO_HEARD:
        break;
    }
}

static void observer_starts(world *x)
{
    char oid[OID_SIZE];

    x->w = watch_new(SLICE("obs"), prng_next(&x->rng));
    x->crashed = false;
    watch_add(x->w, &(watch_repo_config){
                        .name = SLICE("demo"), .url = SLICE("u"), .policy = x->policy });
    for (unsigned b = 0; b < BRANCHES; b++)
        if (x->cursor[b]) {
            oid_text(x->cursor[b], oid);
            watch_restore_cursor(x->w, 0, slice_of(branch_names[b]), slice_of(oid));
        }
    if (x->known)
        watch_restore_known(x->w, 0);
    for (size_t i = 0; i < x->spool_n; i++) {
        oid_text(x->spool[i].commit, oid);
        watch_restore_spooled(x->w, 0, x->spool[i].n,
                              &(msg_submit){ .sid = slice_of(x->spool[i].sid),
                                             .ref = slice_of(branch_names[x->spool[i].branch]),
                                             .oid = slice_of(oid) });
    }
}

static void observer_looks(world *x)
{
    watch_tip tips[BRANCHES];
    char oids[BRANCHES][OID_SIZE];
    size_t n = 0;

    for (unsigned b = 0; b < BRANCHES; b++)
        if (x->tip[b]) {
            oid_text(x->tip[b], oids[b]);
            tips[n].ref = slice_of(branch_names[b]);
            tips[n++].oid = slice_of(oids[b]);
        }
    /* Until its first sight is durable, a crash makes the next one the first. */
    if (!x->known && !x->cursor[0] && x->spooled_n == 0)
        x->first_main = x->tip[0];
    step(x, (watch_event){
                .kind = WATCH_REFS, .tips = tips, .tips_n = n, .head = slice_of(branch_names[0]) });
}

static void observer_gets(world *x, const packet *p)
{
    msg m = { .type = p->type, .r = p->r };

    if (p->type == MSG_head)
        m.head.ep = p->ep;
    else if (p->type == MSG_accepted)
        m.accepted = (msg_accepted){ .sid = slice_of(p->sid), .build = 1 };
    else if (p->type == MSG_rejected)
        m.rejected = (msg_rejected){ .sid = slice_of(p->sid), .permanent = p->permanent };
    else
        m.err.code = CODE_NOT_FOUND;
    step(x, (watch_event){ .kind = WATCH_MSG, .msg = &m });
}

static void deliver(world *x)
{
    for (size_t i = 0; i < x->wire_n;) {
        packet p = x->wire[i];

        if (p.at_ms > x->now_ms) {
            i++;
            continue;
        }
        x->wire[i] = x->wire[--x->wire_n];
        if (!p.down)
            dispatcher_takes(x, &p);
        else if (x->w && !x->crashed)
            observer_gets(x, &p);
    }
}

static void observer_time(world *x)
{
    if (!x->w && x->now_ms >= x->restart_ms)
        observer_starts(x);
    if (x->w && !x->crashed && x->now_ms >= x->look_ms) {
        observer_looks(x);
        x->look_ms = x->now_ms + 300;
    }
    if (x->w && !x->crashed && x->now_ms >= watch_next_deadline_ms(x->w))
        step(x, (watch_event){ .kind = WATCH_TICK });
    if (x->crashed && x->w) {
        watch_free(x->w);
        x->w = NULL;
        x->restart_ms = x->now_ms + (int64_t)prng_below(&x->rng, 5000);
        x->crashes++;
    }
}

/* ---- what must hold ---- */

static void check(world *x)
{
    unsigned last = 0, expected = x->first_main;

    assert_int_equal(watch_pending(x->w), 0);
    assert_int_equal(x->spool_n, 0);
    for (unsigned b = 0; b < BRANCHES; b++)
        assert_int_equal(x->cursor[b], x->tip[b]);
    for (size_t i = 0; i < x->spooled_n; i++)
        assert_non_null(find_answer(x, NULL, x->spooled[i].branch, x->spooled[i].commit));
    for (size_t i = 0; i < x->answered_n; i++) {
        const entry *e = &x->answered[i];

        if (e->branch != 0 || find_answer(x, NULL, 0, e->commit) != e)
            continue; /* another branch, or not the first of this commit */
        assert_true(e->commit > last);
        last = e->commit;
    }
    assert_int_equal(last, x->tip[0]);
    if (x->policy != WATCH_EVERY)
        return;
    for (unsigned c = x->tip[0]; c != expected; c = x->parent[c])
        assert_non_null(find_answer(x, NULL, 0, c));
    assert_non_null(find_answer(x, NULL, 0, expected));
}

static void live(uint64_t seed, watch_policy policy)
{
    world *x = NEW(world);
    int64_t move_ms = 0;

    x->rng.state = seed;
    x->policy = policy;
    x->tip[0] = commit_on(x, 0);
    x->tip[1] = commit_on(x, x->tip[0]);
    while (x->now_ms < RUN_MS + CALM_MS) {
        if (!x->calm && x->now_ms >= RUN_MS) {
            x->calm = true;
            x->up = true;
            x->ep++;
        }
        if (!x->calm && x->now_ms >= move_ms) {
            move_repository(x);
            move_ms = x->now_ms + (int64_t)prng_below(&x->rng, 1500);
        }
        dispatcher_time(x);
        observer_time(x);
        deliver(x);
        x->now_ms += 5;
    }
    assert_true(x->crashes > 3);
    check(x);
    watch_free(x->w);
    free(x);
}

static void latest_loses_nothing_it_has_seen(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        live(seed, WATCH_LATEST);
}

static void every_loses_no_commit(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        live(seed, WATCH_EVERY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latest_loses_nothing_it_has_seen),
        cmocka_unit_test(every_loses_no_commit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
