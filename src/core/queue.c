#include "core/queue.h"

#include <assert.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/mutant.h"

#define QUEUE_CLASSES_KEPT 64 /* so many are kept although they are empty */

void queue_init(queue *q)
{
    *q = (queue){ 0 };
    list_init(&q->classes);
}

static void class_free(queue_class *c)
{
    for (size_t i = 0; i < c->labels.n; i++)
        free((char *)(uintptr_t)c->labels.v[i].p);
    free(c->labels.v);
    free((char *)(uintptr_t)c->host.p);
    free((char *)(uintptr_t)c->repo.p);
    free((char *)(uintptr_t)c->key.p);
    free(c->heap);
    free(c);
}

void queue_free(queue *q)
{
    const map_entry *e;
    size_t at = 0;

    while ((e = map_next(&q->lines, &at)))
        free(e->value);
    at = 0;
    while ((e = map_next(&q->by_key, &at)))
        class_free(e->value);
    map_free(&q->lines);
    map_free(&q->by_key);
    heap_free(&q->delayed);
}

static int compare_slices(const void *a, const void *b)
{
    return slice_cmp(*(const slice *)a, *(const slice *)b);
}

static slice keep(slice s)
{
    return (slice){ mem_strndup(s.p, s.n), s.n };
}

queue_class *queue_class_for(queue *q, slices labels, slice host, slice repo, bool plan)
{
    CLEANUP(buf)
    buf key = { 0 };
    slice *sorted = NEW_ARRAY(slice, labels.n);
    queue_class *c;

    if (labels.n) {
        memcpy(sorted, labels.v, labels.n * sizeof *sorted);
        qsort(sorted, labels.n, sizeof *sorted, compare_slices);
    }
    buf_addc(&key, plan ? 'p' : 't');
    buf_addf(&key, "%zu:", host.n);
    buf_add_slice(&key, host);
    if (host.n) {
        buf_addf(&key, "%zu:", repo.n);
        buf_add_slice(&key, repo);
    }
    for (size_t i = 0; i < labels.n; i++) {
        buf_addf(&key, "%zu:", sorted[i].n);
        buf_add_slice(&key, sorted[i]);
    }
    c = map_gets(&q->by_key, buf_slice(&key));
    if (!c) {
        c = NEW(queue_class);
        c->labels.v = NEW_ARRAY(slice, labels.n);
        c->labels.n = labels.n;
        for (size_t i = 0; i < labels.n; i++)
            c->labels.v[i] = keep(sorted[i]);
        c->host = keep(host);
        c->repo = keep(host.n ? repo : (slice){ 0 });
        c->key = keep(buf_slice(&key));
        c->plan = plan;
        list_init(&c->lines);
        list_push(&q->classes, &c->node);
        map_puts(&q->by_key, buf_slice(&key), c);
    }
    free(sorted);
    return c;
}

/* Three words without padding; used for equality only. */
typedef struct line_key {
    const queue_class *c;
    const struct repo *repo;
    uint64_t priority;
} line_key;

static_assert(sizeof(line_key) == 3 * sizeof(uint64_t), "a line's key has no padding");

static queue_line *line_for(queue *q, queue_class *c, struct repo *repo, fair_share *share,
                            uint64_t priority)
{
    const line_key key = { c, repo, priority };
    slice bytes = { (const char *)&key, sizeof key };
    queue_line *line = map_gets(&q->lines, bytes);

    if (!line) {
        line = NEW(queue_line);
        line->in = c;
        line->repo = repo;
        line->share = share;
        line->priority = priority;
        list_init(&line->items);
        map_puts(&q->lines, bytes, line);
    }
    return line;
}

/* ---- whose turn is next ---- */

/* A class keeps its lines in a heap by priority and by the time of their shares.  Hand-outs, also
 * those of other classes, move a share's time on and never back: so a line is put right when it
 * comes to the top, and a hand-out costs nothing in the classes that it does not concern. */

static bool turn_before(const queue_line *a, const queue_line *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    if (a->time != b->time)
        return a->time < b->time;
    return a->share->order < b->share->order;
}

static void place_line(queue_class *c, size_t i, queue_line *line)
{
    c->heap[i] = line;
    line->place = i + 1;
}

static void sift_up(queue_class *c, size_t i)
{
    queue_line *line = c->heap[i];

    for (; i > 0 && turn_before(line, c->heap[(i - 1) / 2]); i = (i - 1) / 2)
        place_line(c, i, c->heap[(i - 1) / 2]);
    place_line(c, i, line);
}

static void sift_down(queue_class *c, size_t i)
{
    queue_line *line = c->heap[i];

    for (;;) {
        size_t child = 2 * i + 1;

        if (child + 1 < c->heap_n && turn_before(c->heap[child + 1], c->heap[child]))
            child++;
        if (child >= c->heap_n || !turn_before(c->heap[child], line))
            break;
        place_line(c, i, c->heap[child]);
        i = child;
    }
    place_line(c, i, line);
}

static void add_line(queue_class *c, queue_line *line)
{
    if (c->heap_n == c->heap_cap) {
        c->heap_cap = c->heap_cap ? 2 * c->heap_cap : 4;
        c->heap = mem_grow(c->heap, c->heap_cap, sizeof(queue_line *));
    }
    line->time = line->share->time;
    c->heap[c->heap_n] = line;
    sift_up(c, c->heap_n++);
}

static void drop_line(queue_class *c, queue_line *line)
{
    size_t i = line->place - 1;
    queue_line *last = c->heap[--c->heap_n];

    assert(i <= c->heap_n && c->heap[i] == line);
    if (last == line)
        return;
    place_line(c, i, last);
    sift_up(c, i);
    sift_down(c, last->place - 1);
}

static queue_line *top_line(queue_class *c)
{
    while (c->heap_n && c->heap[0]->time != c->heap[0]->share->time) {
        c->heap[0]->time = c->heap[0]->share->time;
        sift_down(c, 0);
    }
    return c->heap_n ? c->heap[0] : NULL;
}

/* ---- items ---- */

bool queue_place_before(const queue_place *a, const queue_place *b)
{
    if (a->build != b->build)
        return a->build < b->build;
    return a->job != b->job ? a->job < b->job : a->task < b->task;
}

static bool goes_before(const queue_item *a, const list *node)
{
    return queue_place_before(&a->place, &LIST_OWNER(node, queue_item, node)->place);
}

/* From both ends at once: new work belongs near the end, and what comes back near the front. */
static void insert(list *items, queue_item *item)
{
    list *front = items->next, *back = items->prev;

    while (back != items && goes_before(item, back)) {
        if (goes_before(item, front)) {
            list_insert_before(front, &item->node);
            return;
        }
        front = front->next;
        back = back->prev;
    }
    list_insert_before(back->next, &item->node);
}

void queue_push(queue *q, queue_class *c, queue_item *item, struct repo *repo, fair_share *share,
                uint64_t priority, queue_place place)
{
    queue_line *line = line_for(q, c, repo, share, priority);

    assert(!queue_has(item));
    if (line->n == 0) {
        list_push(&c->lines, &line->node);
        if (share->time < q->now) /* it was idle: no credit for that */
            share->time = q->now;
        add_line(c, line);
    }
    item->place = place;
    insert(&line->items, item);
    item->line = line;
    line->n++;
    c->n++;
    c->fresh = !MUTANT(enqueue_not_matched);
    q->n++;
    q->tasks += item->stands_for;
}

void queue_delay(queue *q, queue_item *item, int64_t until_ms)
{
    assert(!queue_has(item));
    heap_set(&q->delayed, &item->delay, until_ms);
}

void queue_tidy(queue *q)
{
    if (q->by_key.n <= QUEUE_CLASSES_KEPT)
        return;
    LIST_FOR_SAFE(l, &q->classes)
    {
        queue_class *c = LIST_OWNER(l, queue_class, node);

        if (c->n)
            continue;
        list_remove(&c->node);
        map_removes(&q->by_key, c->key);
        class_free(c);
    }
}

queue_item *queue_due(queue *q, int64_t now_ms)
{
    heap_node *top = heap_top(&q->delayed);

    if (!top || top->key > now_ms)
        return NULL;
    heap_remove(&q->delayed, top);
    return HEAP_OWNER(top, queue_item, delay);
}

void queue_shrink(queue *q, queue_item *item, uint32_t by)
{
    assert(item->line && by <= item->stands_for);
    item->stands_for -= by;
    q->tasks -= by;
}

void queue_remove(queue *q, queue_item *item)
{
    queue_line *line = item->line;

    heap_remove(&q->delayed, &item->delay);
    if (!line)
        return;
    list_remove(&item->node);
    item->line = NULL;
    line->in->n--;
    q->n--;
    q->tasks -= item->stands_for;
    if (--line->n == 0) {
        const line_key key = { line->in, line->repo, line->priority };

        list_remove(&line->node);
        drop_line(line->in, line);
        map_removes(&q->lines, (slice){ (const char *)&key, sizeof key });
        free(line);
    }
}

bool queue_has(const queue_item *item)
{
    return item->line || item->delay.at;
}

static bool line_before(const queue_line *a, const queue_line *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    if (a->share->time != b->share->time)
        return a->share->time < b->share->time;
    return a->share->order < b->share->order;
}

bool queue_before(const queue_item *a, const queue_item *b)
{
    return line_before(a->line, b->line);
}

static queue_item *first_taken(const queue_line *line, const queue_asker *asker)
{
    if (!asker->takes_line(asker->ctx, line))
        return NULL;
    LIST_FOR(i, &line->items)
    {
        queue_item *item = LIST_OWNER(i, queue_item, node);

        if (asker->takes_item(asker->ctx, item))
            return item;
    }
    return NULL;
}

queue_item *queue_next(queue_class *c, const queue_asker *asker)
{
    queue_line *refused = NULL, *line;
    queue_item *item = NULL;

    while (!item && (line = top_line(c))) {
        item = first_taken(line, asker);
        if (!item) {
            drop_line(c, line);
            line->passed_over = refused;
            refused = line;
        }
    }
    for (; refused; refused = refused->passed_over)
        add_line(c, refused);
    return item;
}

void queue_charge(queue *q, queue_item *item)
{
    fair_share *share = item->line->share;

    if (share->time > q->now)
        q->now = share->time;
    share->time++;
}
