/* What waits: in the queue, or before it for its turn in a concurrency group. */
#include "core/dispatch_internal.h"
#include "core/split.h"

static queue_class *class_of(dispatch *d, const build *b, const job *j)
{
    return queue_class_for(&d->queue, j ? j->labels : (slices){ 0 }, b->repo->local_host,
                           b->repo->name, j == NULL);
}

static const build *build_of(const queue_item *item, const job **j)
{
    const task *t = item->kind == ITEM_TASK ? HEAP_OWNER(item, task, item) : NULL;

    *j = t ? t->job : HEAP_OWNER(item, job, item);
    return t ? t->build : (*j)->build;
}

uint64_t life_priority(const queue_item *item)
{
    const job *j;
    const build *b = build_of(item, &j);

    return b->priority + (j ? j->priority : 0);
}

void life_push(dispatch *d, queue_item *item)
{
    const job *j;
    const build *b = build_of(item, &j);

    queue_push(&d->queue, class_of(d, b, j), item, b->repo, &b->repo->share, life_priority(item),
               item->place);
}

static void push_or_wait(dispatch *d, job *j, queue_item *item, queue_place place)
{
    item->place = place;
    if (j && j->group)
        group_wait(d, j->group, item);
    else
        life_push(d, item);
}

void life_take_out(dispatch *d, job *j, queue_item *item)
{
    if (j && j->group)
        group_unwait(d, j->group, item);
    queue_remove(&d->queue, item);
}

void life_unqueue(dispatch *d, job *j, queue_item *item)
{
    life_take_out(d, j, item);
    if (j && j->group)
        group_offer(d, j->group);
}

void life_queue_task(dispatch *d, task *t)
{
    push_or_wait(d, t->job, &t->item,
                 (queue_place){ t->build->id, t->job ? t->job->idx : 0, t->id });
}

void life_queue_job(dispatch *d, job *j)
{
    j->item.stands_for = (uint32_t)(j->units_n - j->units_out);
    j->units_left = 0;
    for (size_t i = j->units_out; i < j->units_n; i++)
        j->units_left += split_weight(&j->units[i]);
    push_or_wait(d, j, &j->item, (queue_place){ j->build->id, j->idx, UINT64_MAX });
}
