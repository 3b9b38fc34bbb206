#include "core/match.h"

typedef struct candidate {
    const runner *r;
    int64_t now_ms;
} candidate;

static bool takes_line(void *ctx, const queue_line *line)
{
    const candidate *c = ctx;

    return !runner_bad_repo(c->r, line->repo, c->now_ms);
}

static bool takes_item(void *ctx, const queue_item *item)
{
    const candidate *c = ctx;
    const task *t;

    if (item->kind != ITEM_TASK)
        return true;
    t = HEAP_OWNER(item, task, item);
    return t->avoid != c->r->serial || t->avoid_until_ms <= c->now_ms;
}

static queue_item *next_for(const match *m, const runner *r, queue_class *class)
{
    candidate c = { r, m->now_ms };

    return queue_next(class, &(queue_asker){ takes_line, takes_item, &c });
}

/* Who got something stands last. */
static void to_the_end(list *free, list *node)
{
    if (list_linked(node)) {
        list_remove(node);
        list_push(free, node);
    }
}

static void give(const match *m, runner *r, queue_item *item)
{
    queue_charge(m->queue, item);
    m->give(m->ctx, r, item);
    to_the_end(&m->fleet->free, &r->in_free);
    to_the_end(&m->fleet->free_plans, &r->in_free_plans);
}

bool match_runner(const match *m, runner *r)
{
    queue_item *best = NULL;

    if (!runner_takes(r))
        return false;
    LIST_FOR(l, &m->queue->classes)
    {
        queue_class *class = LIST_OWNER(l, queue_class, node);
        queue_item *item;

        if (class->n == 0 || !runner_has_room(r, class->plan) || !runner_suits(r, class))
            continue;
        item = next_for(m, r, class);
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

/* One round: an item for each runner that has room for one and suits, so that work spreads. */
static bool match_round(const match *m, queue_class *class)
{
    list *free = class->plan ? &m->fleet->free_plans : &m->fleet->free;
    list *last = free->prev; /* those behind have had their turn */
    bool moved = false, more = !list_empty(free);

    for (list *l = free->next, *next; more && class->n; l = next) {
        runner *r =
            class->plan ? LIST_OWNER(l, runner, in_free_plans) : LIST_OWNER(l, runner, in_free);
        queue_item *item = runner_suits(r, class) ? next_for(m, r, class) : NULL;

        next = l->next;
        more = l != last;
        if (item) {
            give(m, r, item);
            moved = true;
        }
    }
    return moved;
}

/* O(runners with room), whatever the size of the fleet. */
static void match_class(const match *m, queue_class *class)
{
    while (class->n && match_round(m, class))
        ;
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
