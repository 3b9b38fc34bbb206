/*
 * Concurrency groups: of the jobs of a repository with one name at most one attempt runs at a time.
 *
 * What waits for its group stands in the group's list.  Only the first of it is in the queue, and
 * only while nothing holds the group, so a runner never sees what it must not have.
 *
 * An attempt that ends by its runner's word leaves the group at once.  One that is given up for
 * silence may still run, and holds the group until it cannot: its runner ends it when a whole lease
 * has passed since the heartbeat that was answered last (agent_alone.c), which is not later than
 * the lease here; one more lease is left for the ending and for clocks that do not agree on what a
 * second is.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "core/dispatch_internal.h"

/* ---- groups ---- */

group *group_of(dispatch *d, repo *p, slice name)
{
    group *g = map_gets(&p->groups, name);

    if (g)
        return g;
    g = NEW(group);
    g->repo = p;
    g->name = (slice){ mem_strndup(name.p, name.n), name.n };
    list_init(&g->waiting);
    list_push(&d->groups, &g->in_dispatch);
    map_puts(&p->groups, g->name, g);
    return g;
}

void group_free(group *g)
{
    list_remove(&g->in_dispatch);
    free((char *)(uintptr_t)g->name.p);
    free(g->lost_job);
    free(g);
}

static void forget_unused(group *g)
{
    if (g->jobs || g->until.at)
        return;
    map_removes(&g->repo->groups, g->name);
    group_free(g);
}

void group_join(dispatch *d, build *b)
{
    for (size_t i = 0; i < b->jobs_n; i++) {
        job *j = b->jobs[i];

        if (!j->concurrency.n || MUTANT(group_ignored))
            continue;
        j->group = group_of(d, b->repo, j->concurrency);
        j->group->jobs++;
    }
}

void group_quit(build *b)
{
    for (size_t i = 0; i < b->jobs_n; i++) {
        group *g = b->jobs[i]->group;

        if (!g)
            continue;
        b->jobs[i]->group = NULL;
        g->jobs--;
        forget_unused(g);
    }
}

/* ---- waiting ---- */

void group_offer(dispatch *d, group *g)
{
    bool free_now = !g->holder && !g->until.at;
    queue_item *first = free_now && !list_empty(&g->waiting)
                            ? LIST_OWNER(g->waiting.next, queue_item, in_group)
                            : NULL;

    if (first == g->offered)
        return;
    if (g->offered)
        queue_remove(&d->queue, g->offered);
    g->offered = first;
    if (first)
        life_push(d, first);
}

static bool goes_before(const queue_item *a, const queue_item *b)
{
    uint64_t x = life_priority(a), y = life_priority(b);

    return x != y ? x > y : queue_place_before(&a->place, &b->place);
}

void group_wait(dispatch *d, group *g, queue_item *item)
{
    list *at = &g->waiting;

    while (at->prev != &g->waiting && goes_before(item, LIST_OWNER(at->prev, queue_item, in_group)))
        at = at->prev;
    list_insert_before(at, &item->in_group);
    group_offer(d, g);
}

void group_unwait(dispatch *d, group *g, queue_item *item)
{
    list_remove(&item->in_group);
    if (g->offered != item)
        return;
    g->offered = NULL;
    queue_remove(&d->queue, item);
}

/* ---- holding ---- */

static void put_repo(dispatch *d, const repo *p)
{
    slice *names = ARENA_ARRAY(&d->out->arena, slice, p->groups.n);
    size_t n = 0;

    LIST_FOR(l, &d->groups)
    { /* the order of the list, for that of a map is nobody's business */
        const group *g = LIST_OWNER(l, group, in_dispatch);

        if (g->repo == p && g->until.at)
            names[n++] = arena_slice(&d->out->arena, g->name);
    }
    effects_put(d->out, ROW_REPO)->repo = (row_repo){
        .name = p->name, .url = p->url, .default_branch = p->default_branch, .held = { names, n }
    };
}

void group_take(dispatch *d, group *g, task *t)
{
    g->holder = t;
    group_offer(d, g);
}

void group_leave(dispatch *d, group *g, const task *t, int64_t until_ms)
{
    g->holder = NULL;
    if (until_ms && !MUTANT(group_not_held_after_lapse)) {
        g->lost_build = t->build->id;
        g->lost_task = t->id;
        g->lost_att = t->att;
        memcpy(g->lost_runner, t->runner_id, sizeof g->lost_runner);
        free(g->lost_job);
        g->lost_job = mem_strndup(t->job->name.p, t->job->name.n);
        heap_set(&d->group_ends, &g->until, until_ms);
        put_repo(d, g->repo);
    }
    group_offer(d, g);
}

/* Nothing of the lost attempt can run any more. */
static void let_go(dispatch *d, group *g)
{
    heap_remove(&d->group_ends, &g->until);
    g->lost_task = 0;
    put_repo(d, g->repo);
    group_offer(d, g);
    forget_unused(g);
}

void group_due(dispatch *d)
{
    heap_node *top;

    while ((top = heap_top(&d->group_ends)) && top->key <= d->now_ms)
        let_go(d, HEAP_OWNER(top, group, until));
}

/* An attempt of this runner holds the group beyond its loss. */
static bool lost_at(const group *g, const runner *r)
{
    return g->until.at && g->lost_task && memcmp(g->lost_runner, r->id, 32) == 0;
}

void group_ended(dispatch *d, const runner *r, uint64_t task, uint64_t att)
{
    LIST_FOR_SAFE(l, &d->groups)
    {
        group *g = LIST_OWNER(l, group, in_dispatch);

        if (lost_at(g, r) && (task == 0 || (g->lost_task == task && g->lost_att == att)))
            let_go(d, g);
    }
}

void group_returned(dispatch *d, const runner *r, const rec_held_list *held)
{
    LIST_FOR_SAFE(l, &d->groups)
    {
        group *g = LIST_OWNER(l, group, in_dispatch);
        bool has = false;

        for (size_t i = 0; i < held->n; i++)
            has |= held->v[i].task == g->lost_task && held->v[i].att == g->lost_att;
        if (lost_at(g, r) && !has)
            let_go(d, g);
    }
}

/* ---- a start ---- */

void group_restored(dispatch *d, repo *p, slice name)
{
    group_of(d, p, name)->restored = true;
}

void group_start(dispatch *d)
{
    /* When it was given up is not stored: at the latest now, with a lease still to go. */
    int64_t until_ms = d->now_ms + 2 * dispatch_lease_ms(d);

    LIST_FOR(l, &d->groups)
    {
        group *g = LIST_OWNER(l, group, in_dispatch);

        if (g->restored)
            heap_set(&d->group_ends, &g->until, until_ms);
    }
}

/* ---- reasons ---- */

bool group_parks(const group *g, const queue_item *item)
{
    return g && list_linked(&item->in_group) && g->offered != item;
}

const char *group_why(const dispatch *d, int64_t now_ms, const group *g, arena *a)
{
    const char *name = arena_printf(a, "concurrency group '" SLICE_FMT "'", SLICE_ARG(g->name));
    const task *t = g->holder;
    long long left_s = g->until.at ? (long long)(g->until.key - now_ms + 999) / 1000 : 0;
    const queue_item *first;
    const job *j;

    if (t)
        return arena_printf(a, "%s is held by build %llu job " SLICE_FMT " (%s)", name,
                            (unsigned long long)t->build->id, SLICE_ARG(t->job->name),
                            state_text(t->state));
    if (d->stale_db)
        return d->trouble;
    if (g->until.at && g->lost_task)
        return arena_printf(
            a, "%s is held by a lost attempt of build %llu job %s, for at most %lld s", name,
            (unsigned long long)g->lost_build, g->lost_job, left_s > 0 ? left_s : 0);
    if (g->until.at)
        return arena_printf(
            a, "%s is held by an attempt lost before the dispatcher's start, for at most %lld s",
            name, left_s > 0 ? left_s : 0);
    first = LIST_OWNER(g->waiting.next, queue_item, in_group);
    j = first->kind == ITEM_JOB ? HEAP_OWNER(first, job, item) : HEAP_OWNER(first, task, item)->job;
    return arena_printf(a, "%s: build %llu job " SLICE_FMT " goes first", name,
                        (unsigned long long)j->build->id, SLICE_ARG(j->name));
}
