/*
 * map.h - a hash table from a number or a string to a pointer.
 *
 * Open addressing with linear probing and backward-shift deletion.  The hash has no seed from
 * outside, so iteration order depends only on what was put in: code whose order must not depend on
 * it still keeps a list.  Keys that come from peers are bounded in number by the caller's limits.
 * Zero-initialise; map_free() frees the table and the copies of string keys, not the values.
 */
#ifndef VOLT_BASE_MAP_H
#define VOLT_BASE_MAP_H

#include <stdint.h>

#include "base/slice.h"

typedef struct map_entry {
    void *value;  /* NULL: empty place */
    uint64_t num; /* number key; of a string key, its hash */
    slice str;    /* string key, owned by the map; a table of numbers has no room for it */
} map_entry;

typedef struct map {
    char *v; /* cap entries; in a table of numbers they end before `str` */
    size_t n;
    size_t cap;  /* a power of two, or 0 */
    size_t size; /* of an entry */
} map;

/* A table is used with numbers or with strings, never both.  `value` is not NULL. */
void *map_get(const map *m, uint64_t key);
void map_put(map *m, uint64_t key, void *value); /* replaces */
void *map_remove(map *m, uint64_t key);          /* what was there, or NULL */
void *map_gets(const map *m, slice key);
void map_puts(map *m, slice key, void *value); /* copies the key */
void *map_removes(map *m, slice key);
/* For iteration: the next filled entry at or behind *from, or NULL; start with *from = 0.
 * The table must not change meanwhile. */
const map_entry *map_next(const map *m, size_t *from);
void map_free(map *m);

#endif
