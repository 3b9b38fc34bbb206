/*
 * list.h - an intrusive doubly linked list with a sentinel.
 */
#ifndef VOLT_BASE_LIST_H
#define VOLT_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct list {
    struct list *next;
    struct list *prev;
} list;

#define LIST_OWNER(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

static inline void list_init(list *l)
{
    l->next = l->prev = l;
}

/* False also for a node that was never linked (all zero). */
static inline bool list_linked(const list *node)
{
    return node->next && node->next != node;
}

static inline bool list_empty(const list *l)
{
    return l->next == l;
}

static inline void list_insert_before(list *at, list *node)
{
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}

static inline void list_push(list *l, list *node)
{
    list_insert_before(l, node);
}

/* Harmless on a node that is not linked. */
static inline void list_remove(list *node)
{
    if (!node->next)
        return;
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = NULL;
}

#define LIST_FOR(pos, l) for (list *pos = (l)->next; pos != (l); pos = pos->next)
/* The body may remove `pos`. */
#define LIST_FOR_SAFE(pos, l)                                        \
    for (list *pos = (l)->next, *pos##_next = pos->next; pos != (l); \
         pos = pos##_next, pos##_next = pos->next)

#endif
