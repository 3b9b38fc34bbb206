#include "base/heap.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

static bool before(const heap_node *a, const heap_node *b)
{
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

static void place(heap *h, size_t i, heap_node *node)
{
    h->v[i] = node;
    node->at = i + 1;
}

static void sift_up(heap *h, size_t i)
{
    heap_node *node = h->v[i];

    while (i > 0 && before(node, h->v[(i - 1) / 2])) {
        place(h, i, h->v[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(h, i, node);
}

static void sift_down(heap *h, size_t i)
{
    heap_node *node = h->v[i];

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= h->n)
            break;
        if (child + 1 < h->n && before(h->v[child + 1], h->v[child]))
            child++;
        if (!before(h->v[child], node))
            break;
        place(h, i, h->v[child]);
        i = child;
    }
    place(h, i, node);
}

void heap_set(heap *h, heap_node *node, int64_t key)
{
    if (node->at == 0) {
        if (h->n == h->cap) {
            h->cap = h->cap ? h->cap * 2 : 16;
            h->v = mem_grow(h->v, h->cap, sizeof(heap_node *));
        }
        node->order = ++h->added;
        place(h, h->n++, node);
    }
    assert(node->at <= h->n && h->v[node->at - 1] == node);
    node->key = key;
    sift_up(h, node->at - 1);
    sift_down(h, node->at - 1);
}

void heap_remove(heap *h, heap_node *node)
{
    size_t i = node->at;
    heap_node *last;

    if (i == 0)
        return;
    i--;
    assert(i < h->n && h->v[i] == node);
    last = h->v[--h->n];
    node->at = 0;
    if (last == node)
        return;
    place(h, i, last);
    sift_up(h, i);
    sift_down(h, last->at - 1);
}

heap_node *heap_top(const heap *h)
{
    return h->n ? h->v[0] : NULL;
}

int64_t heap_top_key(const heap *h)
{
    return h->n ? h->v[0]->key : HEAP_NEVER;
}

void heap_free(heap *h)
{
    free(h->v);
    *h = (heap){ 0 };
}
