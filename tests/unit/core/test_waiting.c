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
#include "waiting_world.h"

#define SEEDS     30
#define STEPS     400
#define ITEMS_MAX 4096

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
        snprintf(ret, 200, "each runner gave work of its repository back, tried again in %lld s: ",
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
