#include "base/map.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define MAP_KEEP_MAX 1024 /* places of an empty table that are kept */

static uint64_t hash_num(uint64_t x)
{
    x ^= x >> 33; /* the finaliser of MurmurHash3 */
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ (x >> 33);
}

static uint64_t hash_str(slice s)
{
    uint64_t h = 0xcbf29ce484222325ULL; /* FNV-1a, then mixed */

    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3ULL;
    return hash_num(h);
}

static map_entry *at(const map *m, size_t i)
{
    return (map_entry *)(void *)(m->v + i * m->size);
}

static bool has_texts(const map *m)
{
    return m->size == sizeof(map_entry);
}

static uint64_t hash_of(const map *m, const map_entry *e)
{
    return has_texts(m) ? e->num : hash_num(e->num);
}

/* Where the key is, or would go: `num` and, in a table of strings, `str`. */
static size_t find(const map *m, uint64_t hash, uint64_t num, slice str)
{
    size_t i = (size_t)hash & (m->cap - 1);

    for (;; i = (i + 1) & (m->cap - 1)) {
        const map_entry *e = at(m, i);

        if (!e->value || (e->num == num && (!has_texts(m) || slice_eq(e->str, str))))
            return i;
    }
}

static void *get(const map *m, uint64_t hash, uint64_t num, slice str)
{
    return m->cap ? at(m, find(m, hash, num, str))->value : NULL;
}

/* No two keys of the old table are alike, so the first empty place is the right one. */
static void grow(map *m)
{
    map old = *m;

    m->cap = old.cap ? old.cap * 2 : 16;
    m->v = mem_zero(m->cap * m->size);
    for (size_t i = 0; i < old.cap; i++) {
        const map_entry *e = at(&old, i);
        size_t to = (size_t)hash_of(m, e) & (m->cap - 1);

        if (!e->value)
            continue;
        while (at(m, to)->value)
            to = (to + 1) & (m->cap - 1);
        memcpy(at(m, to), e, m->size);
    }
    free(old.v);
}

static void put(map *m, uint64_t hash, uint64_t num, slice str, void *value)
{
    size_t size = str.p ? sizeof(map_entry) : offsetof(map_entry, str);
    map_entry *e;

    assert(!m->cap || m->size == size);
    m->size = size;
    if ((m->n + 1) * 4 > m->cap * 3)
        grow(m);
    e = at(m, find(m, hash, num, str));
    if (!e->value) {
        m->n++;
        e->num = num;
        if (str.p)
            e->str = (slice){ mem_strndup(str.p, str.n), str.n };
    }
    e->value = value;
}

static void *take(map *m, uint64_t hash, uint64_t num, slice str)
{
    size_t i, mask = m->cap - 1;
    void *value;

    if (!m->cap)
        return NULL;
    i = find(m, hash, num, str);
    value = at(m, i)->value;
    if (!value)
        return NULL;
    if (has_texts(m))
        free((char *)(uintptr_t)at(m, i)->str.p);
    m->n--;
    for (size_t j = (i + 1) & mask; at(m, j)->value; j = (j + 1) & mask) {
        size_t home = (size_t)hash_of(m, at(m, j)) & mask;

        if (((j - home) & mask) >= ((j - i) & mask)) { /* may move back over the hole */
            memcpy(at(m, i), at(m, j), m->size);
            i = j;
        }
    }
    memset(at(m, i), 0, m->size);
    if (m->n == 0 && m->cap > MAP_KEEP_MAX) /* what one large build needed is given back */
        map_free(m);
    return value;
}

void *map_get(const map *m, uint64_t key)
{
    return get(m, hash_num(key), key, (slice){ 0 });
}

void map_put(map *m, uint64_t key, void *value)
{
    put(m, hash_num(key), key, (slice){ 0 }, value);
}

void *map_remove(map *m, uint64_t key)
{
    return take(m, hash_num(key), key, (slice){ 0 });
}

void *map_gets(const map *m, slice key)
{
    uint64_t hash = hash_str(key);

    return get(m, hash, hash, key.p ? key : SLICE(""));
}

void map_puts(map *m, slice key, void *value)
{
    uint64_t hash = hash_str(key);

    put(m, hash, hash, key.p ? key : SLICE(""), value);
}

void *map_removes(map *m, slice key)
{
    uint64_t hash = hash_str(key);

    return take(m, hash, hash, key.p ? key : SLICE(""));
}

const map_entry *map_next(const map *m, size_t *from)
{
    while (*from < m->cap) {
        const map_entry *e = at(m, (*from)++);

        if (e->value)
            return e;
    }
    return NULL;
}

void map_free(map *m)
{
    for (size_t i = 0; i < m->cap && has_texts(m); i++)
        if (at(m, i)->value)
            free((char *)(uintptr_t)at(m, i)->str.p);
    free(m->v);
    *m = (map){ 0 };
}
