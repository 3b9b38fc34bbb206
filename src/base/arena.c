#include "base/arena.h"

#include <assert.h>
#include <stdarg.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define ARENA_BLOCK 512 /* the first; each later one is twice as large */

struct arena_block {
    arena_block *next;
    size_t size;
    alignas(max_align_t) char bytes[];
};

void *arena_zero(arena *a, size_t size)
{
    const size_t align = alignof(max_align_t);
    void *p;

    assert(size < SIZE_MAX / 4);
    size = (size + align - 1) / align * align;
    if (!a->head || a->head->size - a->used < size) {
        size_t want = a->head ? a->head->size * 2 : ARENA_BLOCK;
        arena_block *block;

        if (want > (size_t)1 << 20)
            want = (size_t)1 << 20;
        if (want < size)
            want = size;
        block = mem_grow(NULL, sizeof *block + want, 1);
        block->next = a->head;
        block->size = want;
        a->head = block;
        a->used = 0;
    }
    p = a->head->bytes + a->used;
    a->used += size;
    return size ? memset(p, 0, size) : p;
}

slice arena_slice(arena *a, slice s)
{
    char *p = arena_zero(a, s.n + 1);

    if (s.n)
        memcpy(p, s.p, s.n);
    return (slice){ p, s.n };
}

char *arena_str(arena *a, slice s)
{
    char *p = arena_zero(a, s.n + 1);

    if (s.n)
        memcpy(p, s.p, s.n);
    return p;
}

char *arena_printf(arena *a, const char *fmt, ...)
{
    va_list ap;
    int n;
    char *p;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    p = arena_zero(a, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

void arena_reset(arena *a)
{
    arena_block *rest;

    if (!a->head)
        return;
    rest = a->head->next; /* the newest block is the largest */
    while (rest) {
        arena_block *next = rest->next;

        free(rest);
        rest = next;
    }
    a->head->next = NULL;
    a->used = 0;
}

void arena_free(arena *a)
{
    arena_reset(a);
    free(a->head);
    *a = (arena){ 0 };
}
