/*
 * script.h - an input as a script: bytes are taken one by one to decide, and messages are made of
 * them by the wire tables, so that most are well-formed and name what is there.
 */
#ifndef VOLT_TESTS_FUZZ_SCRIPT_H
#define VOLT_TESTS_FUZZ_SCRIPT_H

#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "wire/codec.h"

#define SCRIPT_IDS 4

typedef struct script {
    const uint8_t *p;
    size_t n;
    arena *a; /* of what messages borrow */
} script;

static inline void require(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

/* 0 when there is no more. */
static inline unsigned script_byte(script *s)
{
    if (s->n == 0)
        return 0;
    s->n--;
    return *s->p++;
}

static inline unsigned script_below(script *s, unsigned n)
{
    return script_byte(s) % n;
}

/* One of a few ids of 32 hex digits. */
static inline slice script_id(unsigned i)
{
    static const char ids[SCRIPT_IDS][33] = { "11111111111111111111111111111111",
                                              "22222222222222222222222222222222",
                                              "33333333333333333333333333333333",
                                              "0123456789abcdef0123456789abcdef" };

    return (slice){ ids[i % SCRIPT_IDS], 32 };
}

static inline slice script_text(script *s, size_t max)
{
    static const char *const texts[] = {
        "demo", "refs/heads/main", "local:h:/r", "gpu", "a", "b", "https://example.org/r.git", "box"
    };
    unsigned b = script_byte(s);
    slice t = slice_of(texts[b % 8]);
    char *p;

    if (b >= 250) { /* a long one */
        t.n = max < 3000 ? max : 3000;
        p = arena_zero(s->a, t.n + 1);
        memset(p, 'x', t.n);
        t.p = p;
    }
    t.n = t.n < max ? t.n : max;
    return t;
}

static inline uint64_t script_number(script *s, uint64_t min, uint64_t max)
{
    unsigned b = script_byte(s);
    uint64_t x = b < 224 ? min + b % 16 : b < 240 ? (uint64_t)1 << (b % 16 * 4) : max - b % 4;

    return x < min ? min : x > max ? max : x;
}

static void script_fields(script *s, const wire_table *t, void *base);

static inline void script_field(script *s, const wire_field *f, char *at)
{
    size_t n =
        f->items_max ? script_below(s, f->items_max < 3 ? (unsigned)f->items_max + 1 : 4) : 0;
    slices texts = { NULL, n };
    wire_list recs = { NULL, n };

    switch (f->type) {
    case WIRE_U64:
        memcpy(at, &(uint64_t){ script_number(s, f->min, f->max) }, sizeof(uint64_t));
        return;
    case WIRE_BOOL:
        memcpy(at, &(bool){ true }, sizeof(bool));
        return;
    case WIRE_ENUM:
        memcpy(at, &(unsigned){ 1 + script_below(s, (unsigned)f->words->n - 1) }, sizeof(unsigned));
        return;
    case WIRE_HEX:
        memcpy(at, &(slice[]){ script_id(script_byte(s)) }, sizeof(slice));
        return;
    case WIRE_OID:
        memcpy(at, &(slice[]){ SLICE("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") }, sizeof(slice));
        return;
    case WIRE_TEXT:
    case WIRE_BIN:
        memcpy(at, &(slice[]){ script_text(s, f->max) }, sizeof(slice));
        return;
    case WIRE_TEXTS:
    case WIRE_BINS:
        texts.v = ARENA_ARRAY(s->a, slice, n);
        for (size_t i = 0; i < n; i++)
            texts.v[i] = script_text(s, f->max);
        memcpy(at, &texts, sizeof texts);
        return;
    case WIRE_RECS:
        recs.v = arena_zero(s->a, n * f->rec->size);
        for (size_t i = 0; i < n; i++)
            script_fields(s, f->rec, (char *)recs.v + i * f->rec->size);
        memcpy(at, &recs, sizeof recs);
        return;
    }
}

static void script_fields(script *s, const wire_table *t, void *base)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->fields[i].required || script_below(s, 2))
            script_field(s, &t->fields[i], (char *)base + t->fields[i].offset);
}

/* A message of that type, or of any (MSG_NONE). */
static inline msg script_msg(script *s, msg_type type)
{
    msg m = { .type = type ? type : (msg_type)(1 + script_below(s, MSG_TYPES - 1)) };

    m.r = script_below(s, 4);
    script_fields(s, wire_message(m.type), &m.submit);
    return m;
}

/* Some jobs of a plan, not all of them as they must be. */
static inline rec_job_list script_jobs(script *s)
{
    static const char *const names[] = { "a", "b", "c", "d" };
    static slice files[] = { { "1", 1 }, { "2", 1 }, { "3", 1 } };
    unsigned n = script_below(s, 5);
    rec_job_list l = { ARENA_ARRAY(s->a, rec_job, n + 1), n };

    for (unsigned i = 0; i < n; i++) {
        unsigned b = script_byte(s), bits = script_byte(s);
        slice *needs = ARENA_ARRAY(s->a, slice, 4);

        l.v[i] = (rec_job){ .name = slice_of(names[b & 0x80 ? 0 : i]),
                            .tests = b & 1,
                            .allow_failure = b & 2,
                            .retry = b >> 2 & 1,
                            .batch = b >> 3 & 3,
                            .needs.v = needs };
        if (b & 1)
            l.v[i].files = (slices){ files, b >> 5 & 3 };
        for (unsigned k = 0; k < 4; k++)
            if (bits & 0x11u << k && k < i + (bits & 0x80 ? 1 : 0))
                needs[l.v[i].needs.n++] = slice_of(names[k]);
    }
    return l;
}

#endif
