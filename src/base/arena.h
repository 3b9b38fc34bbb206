/*
 * arena.h - memory that is freed all at once: what one message, one step or one page of a query
 * needs.  Zero-initialise; arena_reset() keeps the largest block for the next use.
 */
#ifndef VOLT_BASE_ARENA_H
#define VOLT_BASE_ARENA_H

#include "base/slice.h"

typedef struct arena_block arena_block;

typedef struct arena {
    arena_block *head; /* the block in use; older ones behind it */
    size_t used;       /* bytes of head that are taken */
} arena;

/* `size` zeroed bytes, aligned for any type; stands until arena_reset() or arena_free(). */
void *arena_zero(arena *a, size_t size);
/* Copies; the copy is followed by a NUL. */
slice arena_slice(arena *a, slice s);
char *arena_str(arena *a, slice s);
char *arena_printf(arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void arena_reset(arena *a);
void arena_free(arena *a);

#define ARENA_NEW(a, type)      ((type *)arena_zero((a), sizeof(type)))
#define ARENA_ARRAY(a, type, n) ((type *)arena_zero((a), sizeof(type) * (n)))

static inline void cleanup_arena(arena *a)
{
    arena_free(a);
}

#endif
