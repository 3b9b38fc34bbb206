/*
 * Random fleets and random work: after each step no ready task stands beside a free slot that suits
 * it, and the reason that each waiting one is given is true.  Both are looked up here by brute
 * force, over all tasks and all runners, without the queue and the lists that the core keeps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/prng.h"
#include "core/dispatch_internal.h"

#define HIST      "0123456789abcdef0123456789abcdef"
#define SEEDS     30
#define STEPS     400
#define RUNNERS   6
#define REPOS     4
#define HELD_MAX  64
#define ITEMS_MAX 4096

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

static uint64_t below(world *w, uint64_t n)
{
    return prng_below(&w->rng, n);
}

/* ---- what happens ---- */

static void drop_held(peer *p, uint64_t task, uint64_t att)
{
    for (size_t i = 0; i < p->held_n; i++)
        if (p->held[i].task == task && p->held[i].att == att)
            p->held[i] = p->held[--p->held_n];
}

static void hear(world *w, const effect *e)
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

static void step(world *w, dispatch_event ev)
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

static void say(world *w, uint64_t conn, const msg *m)
{
    step(w, (dispatch_event){ .kind = DISPATCH_MSG, .peer = conn, .msg = m });
}

static void wait_ms(world *w, int64_t ms)
{
    int64_t end = w->now_ms + ms;

    while (dispatch_next_deadline_ms(w->d) <= end) {
        int64_t at = dispatch_next_deadline_ms(w->d);

        w->now_ms = at > w->now_ms ? at : w->now_ms;
        step(w, (dispatch_event){ .kind = DISPATCH_TICK });
    }
    w->now_ms = end;
}

static void hello(world *w, peer *p, bool same_boot)
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

static void submit(world *w)
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

static void plan(world *w, const peer *p, const rec_held *h)
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

static void result(world *w, const peer *p, rec_held h)
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

static void nack(world *w, peer *p, rec_held h)
{
    static const code codes[] = { CODE_BUSY, CODE_REPO, CODE_REPO, CODE_NOT_FOUND,
                                  CODE_DISK, CODE_LOST, CODE_SPEC };

    drop_held(p, h.task, h.att);
    say(w, p->conn,
        &(msg){ .type = MSG_nack,
                .nack = { .task = h.task,
                          .att = h.att,
                          .code = codes[below(w, 7)],
                          .msg = SLICE("because") } });
}

static void about_attempt(world *w, peer *p)
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

static void about_runner(world *w, peer *p)
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

static void something(world *w)
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

/* ---- brute force ---- */

/* Something that is ready and has no slot. */
typedef struct ready {
    const build *b;
    const job *j;  /* NULL: the plan */
    const task *t; /* NULL: the next batch of j */
} ready;

typedef struct look {
    world *w; /* its owner */
    ready v[ITEMS_MAX];
    size_t n;
} look;

static look *look_at(world *w)
{
    look *k = w->look;

    k->n = 0;
    LIST_FOR(l, &w->d->build_list)
    {
        const build *b = LIST_OWNER(l, build, in_dispatch);

        LIST_FOR(i, &b->tasks)
        {
            const task *t = LIST_OWNER(i, task, in_build);

            assert_true(k->n < ITEMS_MAX);
            if (t->state == STATE_QUEUED)
                k->v[k->n++] = (ready){ b, t->job, t };
        }
        for (size_t i = 0; i < b->jobs_n; i++) {
            const job *j = b->jobs[i];

            assert_true(k->n < ITEMS_MAX);
            if ((j->state == STATE_QUEUED || j->state == STATE_RUNNING) && !b->canceled &&
                j->units_out < j->units_n)
                k->v[k->n++] = (ready){ b, j, NULL };
        }
    }
    return k;
}

static bool has_label(const runner *r, slice label)
{
    for (size_t i = 0; i < r->labels.n; i++)
        if (slice_eq(r->labels.v[i], label))
            return true;
    return false;
}

static bool has_labels(const runner *r, const ready *x)
{
    for (size_t i = 0; x->j && i < x->j->labels.n; i++)
        if (!has_label(r, x->j->labels.v[i]))
            return false;
    return true;
}

static size_t repo_of(const ready *x)
{
    size_t i = 0;

    while (!slice_is(x->b->repo->name, repo_names[i]))
        i++;
    return i;
}

static bool is_local(const ready *x)
{
    return repo_of(x) < 2;
}

static bool reaches(const runner *r, const ready *x)
{
    const char *name = repo_names[repo_of(x)];

    if (!is_local(x))
        return true;
    for (size_t i = 0; i < r->reach.n; i++)
        if (slice_is(r->reach.v[i], name))
            return true;
    return slice_is(r->host, strcmp(name, "near") == 0 ? "h0" : "h1");
}

static bool works(const runner *r)
{
    return r->state == RUNNER_UP && r->mode == MODE_RUN && r->own_mode == MODE_RUN;
}

static int64_t kept_away_until(const runner *r, const ready *x)
{
    const bad_repo *bad = map_gets(&r->bad_repos, x->b->repo->name);

    return bad ? bad->until_ms : 0;
}

static int64_t avoided_until(const runner *r, const ready *x)
{
    return x->t && x->t->avoid == r->serial ? x->t->avoid_until_ms : 0;
}

/* Its leases, counted over all tasks. */
static bool has_room(const world *w, const runner *r, bool for_plan)
{
    size_t plans = 0, others = 0;

    LIST_FOR(l, &w->d->build_list)
    {
        LIST_FOR(i, &LIST_OWNER(l, build, in_dispatch)->tasks)
        {
            const task *t = LIST_OWNER(i, task, in_build);

            if (t->lease.runner == r && t->kind == TASK_PLAN)
                plans++;
            else if (t->lease.runner == r)
                others++;
        }
    }
    return for_plan ? plans == 0 : others < r->slots;
}

static bool is_delayed(const ready *x)
{
    return x->t && x->t->item.delay.at;
}

static void no_free_slot_suits(const look *k, const ready *x)
{
    LIST_FOR(l, &k->w->d->fleet.all)
    {
        const runner *r = LIST_OWNER(l, runner, in_fleet);

        if (works(r) && has_labels(r, x) && reaches(r, x) && has_room(k->w, r, !x->j) &&
            kept_away_until(r, x) <= k->w->now_ms && avoided_until(r, x) <= k->w->now_ms &&
            !is_delayed(x))
            fail_msg("seed %llu: build %llu waits beside " SLICE_FMT,
                     (unsigned long long)k->w->seed, (unsigned long long)x->b->id,
                     SLICE_ARG(r->name));
    }
}

/* Of the same class: whatever takes the one could take the other. */
static bool same_class(const ready *x, const ready *y)
{
    if (!x->j != !y->j || is_local(x) != is_local(y) || (is_local(x) && repo_of(x) != repo_of(y)))
        return false;
    if (!x->j)
        return true;
    if (x->j->labels.n != y->j->labels.n)
        return false;
    for (size_t i = 0; i < x->j->labels.n; i++) { /* as multisets of at most two */
        size_t a = 0, b = 0;

        for (size_t n = 0; n < x->j->labels.n; n++) {
            a += slice_eq(x->j->labels.v[n], x->j->labels.v[i]);
            b += slice_eq(y->j->labels.v[n], x->j->labels.v[i]);
        }
        if (a != b)
            return false;
    }
    return true;
}

static uint64_t priority(const ready *x)
{
    return x->b->priority + (x->j ? x->j->priority : 0);
}

static uint64_t rank(const ready *x, int field)
{
    return field == 0   ? x->b->id
           : field == 1 ? (x->j ? x->j->idx : 0)
                        : (x->t ? x->t->id : UINT64_MAX);
}

/* Whose turn it is: priority, then the repository that had least, then the older one. */
static bool goes_first(const ready *x, const ready *y, const uint64_t had[REPOS])
{
    uint64_t a = had[repo_of(x)], b = had[repo_of(y)];

    if (priority(x) != priority(y))
        return priority(x) > priority(y);
    if (repo_of(x) != repo_of(y))
        return a != b ? a < b : x->b->repo->share.order < y->b->repo->share.order;
    for (int field = 0; field < 3; field++)
        if (rank(x, field) != rank(y, field))
            return rank(x, field) < rank(y, field);
    return false;
}

/* Hands the class out in thought until it is x's turn. */
static size_t count_ahead(const look *k, const ready *x)
{
    bool *gone = NEW_ARRAY(bool, k->n);
    uint64_t had[REPOS] = { 0 };
    size_t n = 0;

    for (size_t i = 0; i < k->n; i++)
        had[repo_of(&k->v[i])] = k->v[i].b->repo->share.time;
    for (;; n++) {
        const ready *best = NULL;

        for (size_t i = 0; i < k->n; i++) {
            const ready *y = &k->v[i];

            if (!gone[i] && !is_delayed(y) && same_class(x, y) &&
                (!best || goes_first(y, best, had)))
                best = y;
        }
        assert_non_null(best);
        if (best == x)
            break;
        gone[best - k->v] = true;
        had[repo_of(best)]++;
    }
    free(gone);
    return n;
}

/* ---- are reasons true? ---- */

typedef struct counts {
    size_t present, labelled, suiting, taking, near; /* near: taking, and nothing keeps it away */
    size_t kept_away;
    int64_t bad_until, avoid_until;
} counts;

static counts count(const look *k, const ready *x)
{
    counts c = { .bad_until = INT64_MAX };

    LIST_FOR(l, &k->w->d->fleet.all)
    {
        const runner *r = LIST_OWNER(l, runner, in_fleet);
        int64_t bad = kept_away_until(r, x), avoid = avoided_until(r, x);

        if (r->state == RUNNER_GONE)
            continue;
        c.present++;
        c.labelled += has_labels(r, x);
        if (!has_labels(r, x) || !reaches(r, x))
            continue;
        c.suiting++;
        if (!works(r))
            continue;
        c.taking++;
        if (bad > k->w->now_ms) {
            c.kept_away++;
            c.bad_until = bad < c.bad_until ? bad : c.bad_until;
        } else if (avoid > k->w->now_ms) {
            c.avoid_until = avoid;
        } else {
            c.near++;
        }
    }
    return c;
}

static bool somebody_has(const look *k, slice label)
{
    LIST_FOR(l, &k->w->d->fleet.all)
    {
        const runner *r = LIST_OWNER(l, runner, in_fleet);

        if (r->state != RUNNER_GONE && has_label(r, label))
            return true;
    }
    return false;
}

static long long in_seconds(const look *k, int64_t until_ms)
{
    return (long long)((until_ms - k->w->now_ms + 999) / 1000);
}

/* What should be said, but for who it is about. */
static void true_reason(const look *k, const ready *x, char ret[200])
{
    counts c = count(k, x);
    const char *disk =
        k->w->disk_low ? "; logs stand still, for the dispatcher's disk is nearly full" : "";
    size_t ahead;

    if (is_delayed(x)) {
        k->w->seen[0]++;
        snprintf(ret, 200, "tried again in %lld s: ", in_seconds(k, x->t->item.delay.key));
    } else if (c.present == 0) {
        k->w->seen[1]++;
        snprintf(ret, 200, "no runner is connected");
    } else if (c.labelled == 0) {
        k->w->seen[2]++;
        snprintf(ret, 200, "no runner has all its labels");
        for (size_t i = x->j->labels.n; i-- > 0;)
            if (!somebody_has(k, x->j->labels.v[i]))
                snprintf(ret, 200, "no runner has label ");
    } else if (c.suiting == 0) {
        k->w->seen[3]++;
        snprintf(ret, 200, "no runner can reach the repository; start one on ");
    } else if (c.taking == 0) {
        k->w->seen[4]++;
        snprintf(ret, 200, "its runners take nothing new: ");
    } else if (c.kept_away == c.taking) {
        k->w->seen[5]++;
        snprintf(ret, 200, "no runner can reach the repository, tried again in %lld s: ",
                 in_seconds(k, c.bad_until));
    } else if (c.near == 0) {
        k->w->seen[6]++;
        snprintf(ret, 200,
                 " gave it back and gets it again in %lld s: ", in_seconds(k, c.avoid_until));
    } else {
        k->w->seen[7]++;
        ahead = count_ahead(k, x);
        if (ahead)
            snprintf(ret, 200, "%zu ahead for a free slot%s", ahead, disk);
        else
            snprintf(ret, 200, "next for a free slot%s", disk);
    }
}

/* Names what is so: a label that nobody has, and each runner that takes nothing as what it is. */
static void names_are_true(const look *k, const ready *x, const char *said)
{
    const char *label = strstr(said, "has label ");

    if (label)
        assert_false(somebody_has(k, slice_of(label + 10)));
    if (!strstr(said, "take nothing new: "))
        return;
    LIST_FOR(l, &k->w->d->fleet.all)
    {
        const runner *r = LIST_OWNER(l, runner, in_fleet);
        char name[20];
        const char *at;

        snprintf(name, sizeof name, " " SLICE_FMT " ", SLICE_ARG(r->name));
        at = strstr(said, name);
        if (!at)
            continue;
        at += r->name.n + 2;
        assert_true(r->state != RUNNER_GONE && has_labels(r, x) && reaches(r, x) && !works(r));
        if (strncmp(at, "is silent", 9) == 0)
            assert_true(r->state == RUNNER_SUSPECT);
        else if (strncmp(at, "has not come back", 17) == 0)
            assert_true(r->state == RUNNER_SUSPECT && r->peer == 0);
        else if (strncmp(at, "drains", 6) == 0)
            assert_true(r->mode == MODE_DRAIN || r->own_mode == MODE_DRAIN);
        else
            assert_int_equal(r->mode, MODE_CORDON);
    }
}

static const rec_task_row *row_of(const msg_status_is *is, const ready *x)
{
    for (size_t i = 0; i < is->waiting.n; i++) {
        const rec_task_row *row = &is->waiting.v[i];

        if (x->t ? row->task == x->t->id
                 : row->task == 0 && row->build == x->b->id && slice_eq(row->job, x->j->name))
            return row;
    }
    return NULL;
}

static void tells_the_truth(const look *k, const ready *x, const msg_status_is *is, arena *a)
{
    const rec_task_row *row = row_of(is, x);
    rec_task_row asked = { .task = x->t ? x->t->id : 0 };
    rec_job_row job = { .name = x->j ? x->j->name : (slice){ 0 } };
    dispatch_memo memo = { 0 };
    char want[200];

    assert_non_null(row);
    true_reason(k, x, want);
    if (!strstr(arena_str(a, row->why), want) ||
        (want[0] != ' ' && !slice_starts(row->why, slice_of(want))))
        fail_msg("seed %llu: '" SLICE_FMT "' is said of build %llu, but '%s' is so",
                 (unsigned long long)k->w->seed, SLICE_ARG(row->why), (unsigned long long)x->b->id,
                 want);
    names_are_true(k, x, arena_str(a, row->why));
    if (x->t)
        dispatch_explain(k->w->d, k->w->now_ms, &asked, &memo, a);
    else
        dispatch_job_progress(k->w->d, k->w->now_ms, x->b->id, &job, &memo, a);
    assert_true(slice_eq(x->t ? asked.why : job.why, row->why));
}

static void check(world *w)
{
    look *k = look_at(w);
    arena a = { 0 };
    msg_status_is is;

    dispatch_status(w->d, w->now_ms, &is, &a);
    assert_int_equal(is.waiting.n, k->n);
    for (size_t i = 0; i < k->n; i++) {
        no_free_slot_suits(k, &k->v[i]);
        tells_the_truth(k, &k->v[i], &is, &a);
    }
    arena_free(&a);
}

/* ---- */

/* Some of the runners are known from an earlier start. */
static void open_world(world *w, uint64_t seed)
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

static void leaves_no_ready_task_beside_a_free_slot_and_says_why(void **state)
{
    world *w = NEW(world);

    (void)state;
    w->look = NEW(look);
    w->look->w = w;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        open_world(w, seed);
        for (int i = 0; i < STEPS; i++) {
            something(w);
            check(w);
        }
        dispatch_free(w->d);
    }
    for (size_t i = 0; i < 8; i++) /* each reason was met, or nothing was shown of it */
        assert_true(w->seen[i] > 0);
    free(w->look);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves_no_ready_task_beside_a_free_slot_and_says_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
