/*
 * heap.h - an intrusive binary heap of deadlines: "what is due first?".
 * Ties go to the one that was added first, so that a run is the same each time.
 */
#ifndef VOLT_BASE_HEAP_H
#define VOLT_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAP_NEVER INT64_MAX

typedef struct heap_node {
    int64_t key;
    uint64_t order; /* set by the heap */
    size_t at;      /* 1-based place; 0: in no heap */
} heap_node;

typedef struct heap {
    heap_node **v;
    size_t n;
    size_t cap;
    uint64_t added;
} heap;

#define HEAP_OWNER(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

/* Adds the node, or moves it when it is there already.  O(log n). */
void heap_set(heap *h, heap_node *node, int64_t key);
/* Harmless when it is in no heap.  O(log n). */
void heap_remove(heap *h, heap_node *node);
/* The smallest, or NULL. */
heap_node *heap_top(const heap *h);
/* Its key, or HEAP_NEVER. */
int64_t heap_top_key(const heap *h);
/* Frees the table, not the nodes. */
void heap_free(heap *h);

#endif
