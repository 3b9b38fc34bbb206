#include "core/match.h"

typedef struct candidate {
    const runner *r;
    int64_t now_ms;
} candidate;

bool match_suits(const runner *r, const queue_item *item, int64_t now_ms)
{
    if (item->kind == ITEM_TASK) {
        const task *t = HEAP_OWNER(item, task, item);

        if (t->avoid == r->serial && t->avoid_until_ms > now_ms)
            return false;
    }
    return !runner_bad_repo(r, item->line->repo, now_ms);
}

static bool suits(void *ctx, const queue_item *item)
{
    const candidate *c = ctx;

    return match_suits(c->r, item, c->now_ms);
}

static void give(const match *m, runner *r, queue_item *item)
{
    queue_charge(m->queue, item);
    m->give(m->ctx, r, item);
    if (list_linked(&r->in_free)) { /* who got something stands last */
        list_remove(&r->in_free);
        list_push(&m->fleet->free, &r->in_free);
    }
}

bool match_runner(const match *m, runner *r)
{
    candidate c = { r, m->now_ms };
    queue_item *best = NULL;

    if (!runner_takes(r))
        return false;
    LIST_FOR(l, &m->queue->classes)
    {
        const queue_class *class = LIST_OWNER(l, queue_class, node);
        queue_item *item;

        if (class->n == 0 || !runner_has_room(r, class->plan) || !runner_suits(r, class))
            continue;
        item = queue_next(class, suits, &c);
        if (!item)
            continue;
        if (class->plan) { /* planning goes before all else */
            best = item;
            break;
        }
        if (!best || queue_before(item, best))
            best = item;
    }
    if (best)
        give(m, r, best);
    return best != NULL;
}

static void match_class(const match *m, queue_class *class)
{
    bool moved = true;

    while (class->n && moved) { /* rounds, one item a runner, so that work spreads */
        size_t left = m->fleet->n;

        moved = false;
        LIST_FOR_SAFE(l, &m->fleet->free)
        {
            runner *r = LIST_OWNER(l, runner, in_free);
            candidate c = { r, m->now_ms };
            queue_item *item;

            if (left-- == 0 || class->n == 0) /* those behind have had their turn in this round */
                break;
            if (!runner_has_room(r, class->plan) || !runner_suits(r, class))
                continue;
            item = queue_next(class, suits, &c);
            if (item) {
                give(m, r, item);
                moved = true;
            }
        }
    }
}

void match_all(const match *m)
{
    while (!list_empty(&m->fleet->fresh)) {
        runner *r = LIST_OWNER(m->fleet->fresh.next, runner, in_fresh);

        list_remove(&r->in_fresh);
        while (match_runner(m, r))
            ;
    }
    LIST_FOR(l, &m->queue->classes)
    {
        queue_class *class = LIST_OWNER(l, queue_class, node);

        if (class->fresh && class->n)
            match_class(m, class);
        class->fresh = false;
    }
}
