#include "base/map.h"

#include <stdlib.h>

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

static size_t find(const map *m, uint64_t hash, uint64_t num, slice str)
{
    size_t i = (size_t)hash & (m->cap - 1);

    while (m->v[i].value) {
        const map_entry *e = &m->v[i];

        if (e->hash == hash && e->num == num && slice_eq(e->str, str))
            return i;
        i = (i + 1) & (m->cap - 1);
    }
    return i;
}

static void *get(const map *m, uint64_t hash, uint64_t num, slice str)
{
    return m->cap ? m->v[find(m, hash, num, str)].value : NULL;
}

static void grow(map *m)
{
    map old = *m;

    m->cap = old.cap ? old.cap * 2 : 16;
    m->v = NEW_ARRAY(map_entry, m->cap);
    for (size_t i = 0; i < old.cap; i++)
        if (old.v[i].value)
            m->v[find(m, old.v[i].hash, old.v[i].num, old.v[i].str)] = old.v[i];
    free(old.v);
}

static void put(map *m, uint64_t hash, uint64_t num, slice str, void *value)
{
    size_t i;

    if ((m->n + 1) * 4 > m->cap * 3)
        grow(m);
    i = find(m, hash, num, str);
    if (!m->v[i].value) {
        m->n++;
        m->v[i].hash = hash;
        m->v[i].num = num;
        m->v[i].str = str.p ? (slice){ mem_strndup(str.p, str.n), str.n } : (slice){ 0 };
    }
    m->v[i].value = value;
}

static void *take(map *m, uint64_t hash, uint64_t num, slice str)
{
    size_t i, j, mask = m->cap - 1;
    void *value;

    if (!m->cap)
        return NULL;
    i = find(m, hash, num, str);
    value = m->v[i].value;
    if (!value)
        return NULL;
    free((char *)(uintptr_t)m->v[i].str.p);
    m->n--;
    for (j = (i + 1) & mask; m->v[j].value; j = (j + 1) & mask) {
        size_t home = (size_t)m->v[j].hash & mask;

        if (((j - home) & mask) >= ((j - i) & mask)) { /* may move back over the hole */
            m->v[i] = m->v[j];
            i = j;
        }
    }
    m->v[i] = (map_entry){ 0 };
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
    return get(m, hash_str(key), 0, key.p ? key : SLICE(""));
}

void map_puts(map *m, slice key, void *value)
{
    put(m, hash_str(key), 0, key.p ? key : SLICE(""), value);
}

void *map_removes(map *m, slice key)
{
    return take(m, hash_str(key), 0, key.p ? key : SLICE(""));
}

const map_entry *map_next(const map *m, size_t *at)
{
    while (*at < m->cap) {
        const map_entry *e = &m->v[(*at)++];

        if (e->value)
            return e;
    }
    return NULL;
}

void map_free(map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        if (m->v[i].value)
            free((char *)(uintptr_t)m->v[i].str.p);
    free(m->v);
    *m = (map){ 0 };
}
