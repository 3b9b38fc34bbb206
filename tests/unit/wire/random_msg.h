/*
 * random_msg.h - random valid messages of every type, and their comparison, by the wire tables.
 */
#ifndef VOLT_TESTS_RANDOM_MSG_H
#define VOLT_TESTS_RANDOM_MSG_H

#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/prng.h"
#include "base/text.h"
#include "wire/codec.h"

typedef struct random_msg {
    prng *rng;
    arena *a;
    unsigned fill;    /* percent of the optional fields that are there */
    size_t items_max; /* of a list; 0: the list's own limit */
    size_t text_max;  /* likewise */
} random_msg;

static slice random_bytes(random_msg *g, size_t n, bool text)
{
    static const char *const pieces[] = { "a", "Z", "/", "é", "…", "😀", "\n", "'", ":", "0" };
    char *p = arena_zero(g->a, n + 8);
    bool utf8 = text && prng_below(g->rng, 4) != 0;
    size_t at = 0;

    while (at < n) {
        const char *piece = pieces[prng_below(g->rng, sizeof pieces / sizeof *pieces)];

        if (!utf8)
            p[at++] = (char)prng_next(g->rng);
        else if (at + strlen(piece) <= n)
            at += (size_t)snprintf(p + at, 8, "%s", piece);
        else
            p[at++] = 'x';
    }
    return (slice){ p, n };
}

static slice random_sized(random_msg *g, uint64_t most, bool text, size_t least)
{
    size_t limit = g->text_max && g->text_max < most ? g->text_max : (size_t)most;
    size_t n = prng_below(g->rng, 8) == 0 ? limit : (size_t)prng_below(g->rng, limit + 1);

    return random_bytes(g, n < least ? least : n, text);
}

static slice random_hex(random_msg *g, size_t n)
{
    char *p = arena_zero(g->a, 97);

    for (size_t i = 0; i < 64; i += 32)
        prng_hex32(g->rng, p + i);
    return (slice){ p, n };
}

static uint64_t random_u64(random_msg *g, uint64_t min, uint64_t max)
{
    uint64_t x;

    switch (prng_below(g->rng, 4)) {
    case 0:
        return min;
    case 1:
        return max;
    case 2:
        return min + prng_below(g->rng, max - min + 1);
    default: /* near the boundaries of msgpack's integer forms */
        x = (UINT64_C(1) << prng_below(g->rng, 53)) - prng_below(g->rng, 2);
        return x < min ? min : x > max ? max : x;
    }
}

static void random_fields(random_msg *g, const wire_table *table, void *base);

static void random_field(random_msg *g, const wire_field *f, char *at)
{
    size_t most = g->items_max && g->items_max < f->items_max ? g->items_max : f->items_max;
    size_t n = f->items_max ? 1 + prng_below(g->rng, most) : 0;
    slices list;
    wire_list recs;

    switch (f->type) {
    case WIRE_U64:
        memcpy(at, &(uint64_t){ random_u64(g, f->min, f->max) }, sizeof(uint64_t));
        return;
    case WIRE_BOOL:
        memcpy(at, &(bool){ true }, sizeof(bool));
        return;
    case WIRE_ENUM:
        memcpy(at, &(unsigned){ 1 + (unsigned)prng_below(g->rng, f->words->n - 1) },
               sizeof(unsigned));
        return;
    case WIRE_HEX:
        memcpy(at, &(slice[]){ random_hex(g, 32) }, sizeof(slice));
        return;
    case WIRE_OID:
        memcpy(at, &(slice[]){ random_hex(g, prng_below(g->rng, 2) ? 40 : 64) }, sizeof(slice));
        return;
    case WIRE_TEXT:
    case WIRE_BIN:
        memcpy(at, &(slice[]){ random_sized(g, f->max, f->type == WIRE_TEXT, 1) }, sizeof(slice));
        return;
    case WIRE_TEXTS:
    case WIRE_BINS:
        list = (slices){ ARENA_ARRAY(g->a, slice, n), n };
        for (size_t i = 0; i < n; i++)
            list.v[i] = random_sized(g, f->max, f->type == WIRE_TEXTS, 1);
        memcpy(at, &list, sizeof list);
        return;
    case WIRE_RECS:
        recs = (wire_list){ arena_zero(g->a, n * f->rec->size), n };
        for (size_t i = 0; i < n; i++)
            random_fields(g, f->rec, (char *)recs.v + i * f->rec->size);
        memcpy(at, &recs, sizeof recs);
        return;
    }
}

static void random_fields(random_msg *g, const wire_table *table, void *base)
{
    for (size_t i = 0; i < table->n; i++)
        if (table->fields[i].required || prng_below(g->rng, 100) < g->fill)
            random_field(g, &table->fields[i], (char *)base + table->fields[i].offset);
}

static inline msg random_make(random_msg *g, msg_type type)
{
    msg m = { .type = type };

    if (prng_below(g->rng, 2))
        m.r = random_u64(g, 1, MSG_ID_MAX);
    random_fields(g, wire_message(type), &m.submit);
    return m;
}

static bool same_fields(const wire_table *table, const void *a, const void *b);

static bool same_field(const wire_field *f, const void *a, const void *b)
{
    slices la, lb;
    wire_list ra, rb;

    switch (f->type) {
    case WIRE_U64:
        return wire_get_u64(f, a) == wire_get_u64(f, b);
    case WIRE_BOOL:
        return wire_get_bool(f, a) == wire_get_bool(f, b);
    case WIRE_ENUM:
        return wire_get_enum(f, a) == wire_get_enum(f, b);
    case WIRE_HEX:
    case WIRE_OID:
    case WIRE_TEXT:
    case WIRE_BIN:
        return slice_eq(wire_get_slice(f, a), wire_get_slice(f, b));
    case WIRE_TEXTS:
    case WIRE_BINS:
        la = wire_get_slices(f, a);
        lb = wire_get_slices(f, b);
        if (la.n != lb.n)
            return false;
        for (size_t i = 0; i < la.n; i++)
            if (!slice_eq(la.v[i], lb.v[i]))
                return false;
        return true;
    case WIRE_RECS:
        ra = wire_get_list(f, a);
        rb = wire_get_list(f, b);
        if (ra.n != rb.n)
            return false;
        for (size_t i = 0; i < ra.n; i++)
            if (!same_fields(f->rec, (char *)ra.v + i * f->rec->size,
                             (char *)rb.v + i * f->rec->size))
                return false;
        return true;
    }
    return false;
}

static bool same_fields(const wire_table *table, const void *a, const void *b)
{
    for (size_t i = 0; i < table->n; i++)
        if (!same_field(&table->fields[i], a, b))
            return false;
    return true;
}

static inline bool same_msg(const msg *a, const msg *b)
{
    return a->type == b->type && a->r == b->r &&
           same_fields(wire_message(a->type), &a->submit, &b->submit);
}

#endif
