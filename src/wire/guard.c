#include "wire/guard.h"

#include <stdint.h>

#include "base/text.h"
#include "wire/codec.h"

/* A map or array whose end has not come. */
typedef struct level {
    size_t left; /* objects still to come; in a map a key is next when it is even */
    bool map;
    uint64_t bits; /* one bit a key seen, by key_bit() */
    size_t keys_n;
    slice keys[GUARD_KEYS_MAX];
} level;

typedef struct walk {
    const unsigned char *start, *p, *end;
    size_t owed; /* objects that all levels together still expect */
    size_t depth;
    level levels[WIRE_DEPTH_MAX];
    volt_err *err;
} walk;

typedef enum head_kind {
    HEAD_SCALAR,
    HEAD_STR,
    HEAD_BIN,
    HEAD_ARRAY,
    HEAD_MAP,
    HEAD_BAD
} head_kind;

/* What a first byte says (msgpack specification, "Formats"). */
typedef struct head {
    head_kind kind;
    unsigned size_n; /* bytes of the big-endian length that follows */
    size_t size;     /* length or count, when size_n is 0 */
} head;

static head head_of(unsigned char b)
{
    static const head rest[32] = {
        /* 0xc0 to 0xdf */
        { HEAD_SCALAR, 0, 0 },                        /* nil */
        { HEAD_BAD, 0, 0 },                           /* never used */
        { HEAD_SCALAR, 0, 0 }, { HEAD_SCALAR, 0, 0 }, /* false, true */
        { HEAD_BIN, 1, 0 },    { HEAD_BIN, 2, 0 },    { HEAD_BIN, 4, 0 },
        { HEAD_BAD, 0, 0 },    { HEAD_BAD, 0, 0 },    { HEAD_BAD, 0, 0 }, /* ext */
        { HEAD_SCALAR, 0, 4 }, { HEAD_SCALAR, 0, 8 },                     /* float */
        { HEAD_SCALAR, 0, 1 }, { HEAD_SCALAR, 0, 2 }, { HEAD_SCALAR, 0, 4 },
        { HEAD_SCALAR, 0, 8 }, /* uint */
        { HEAD_SCALAR, 0, 1 }, { HEAD_SCALAR, 0, 2 }, { HEAD_SCALAR, 0, 4 },
        { HEAD_SCALAR, 0, 8 }, /* int */
        { HEAD_BAD, 0, 0 },    { HEAD_BAD, 0, 0 },    { HEAD_BAD, 0, 0 },
        { HEAD_BAD, 0, 0 },    { HEAD_BAD, 0, 0 }, /* fixext */
        { HEAD_STR, 1, 0 },    { HEAD_STR, 2, 0 },    { HEAD_STR, 4, 0 },
        { HEAD_ARRAY, 2, 0 },  { HEAD_ARRAY, 4, 0 },  { HEAD_MAP, 2, 0 },
        { HEAD_MAP, 4, 0 },
    };

    if (b < 0x80 || b >= 0xe0)
        return (head){ HEAD_SCALAR, 0, 0 };
    if (b < 0x90)
        return (head){ HEAD_MAP, 0, b & 0x0f };
    if (b < 0xa0)
        return (head){ HEAD_ARRAY, 0, b & 0x0f };
    if (b < 0xc0)
        return (head){ HEAD_STR, 0, b & 0x1f };
    return rest[b - 0xc0];
}

static volt_code fail(const walk *w, const char *what)
{
    return volt_fail(w->err, VOLT_EMSG, "byte %zu: %s", (size_t)(w->p - w->start), what);
}

static size_t left(const walk *w)
{
    return (size_t)(w->end - w->p);
}

/* Spreads the keys of one map over 64 bits, so that nearly always a clear bit proves a new key. */
static uint64_t key_bit(slice key)
{
    unsigned h = (unsigned)key.n;

    if (key.n)
        h += (unsigned char)key.p[0] * 7u + (unsigned char)key.p[key.n - 1] * 29u +
             (unsigned char)key.p[key.n / 2] * 3u;
    return UINT64_C(1) << (h & 63);
}

static volt_code add_key(walk *w, level *map, slice key)
{
    uint64_t bit = key_bit(key);

    if (map->bits & bit)
        for (size_t i = 0; i < map->keys_n; i++)
            if (slice_eq(map->keys[i], key))
                return volt_fail(w->err, VOLT_EMSG, "byte %zu: key '" SLICE_FMT "' comes twice",
                                 (size_t)(w->p - w->start),
                                 SLICE_ARG(((slice){ key.p, key.n < 40 ? key.n : 40 })));
    map->bits |= bit;
    map->keys[map->keys_n++] = key; /* open_level() has checked the number */
    return VOLT_OK;
}

static volt_code open_level(walk *w, bool map, size_t count)
{
    level *l;

    if (w->depth == WIRE_DEPTH_MAX)
        return fail(w, "nested too deeply");
    if (map && count > GUARD_KEYS_MAX)
        return fail(w, "a map of too many keys");
    /* Each object owed takes a byte at least.  Counts are below 2^32, so this does not wrap. */
    w->owed += map ? 2 * count : count;
    if (w->owed > left(w))
        return fail(w, "claims more items than bytes follow");
    l = &w->levels[w->depth++];
    l->left = map ? 2 * count : count;
    l->map = map;
    l->bits = 0;
    l->keys_n = 0;
    return VOLT_OK;
}

/* Steps over the bytes of a scalar, str or bin; `key`: it is the key of the map `l`. */
static volt_code step_over(walk *w, head h, level *l, bool key)
{
    slice bytes = { (const char *)w->p, h.size };

    if (h.size > left(w))
        return fail(w, "ends within a value");
    if (key && h.kind != HEAD_STR)
        return fail(w, "a key that is not str");
    if (h.kind == HEAD_STR && text_utf8_prefix(bytes) != bytes.n)
        return fail(w, "a str that is not UTF-8 (use bin)");
    if (key) {
        volt_code rc = add_key(w, l, bytes);

        if (rc != VOLT_OK)
            return rc;
    }
    w->p += h.size;
    return VOLT_OK;
}

static volt_code step(walk *w)
{
    level *l = w->depth ? &w->levels[w->depth - 1] : NULL;
    bool key = l && l->map && l->left % 2 == 0;
    head h;

    if (w->p == w->end)
        return fail(w, "ends where a value should come");
    h = head_of(*w->p++);
    if (h.kind == HEAD_BAD)
        return fail(w, "a byte that begins no value, or an ext type");
    if (h.size_n > left(w))
        return fail(w, "ends within a length");
    for (unsigned i = 0; i < h.size_n; i++)
        h.size = h.size << 8 | *w->p++;
    if (l)
        l->left--;
    w->owed--;
    if (h.kind != HEAD_ARRAY && h.kind != HEAD_MAP)
        return step_over(w, h, l, key);
    if (key)
        return fail(w, "a key that is not str");
    return open_level(w, h.kind == HEAD_MAP, h.size);
}

volt_code guard_check(slice frame, volt_err *err)
{
    walk w;

    /* Not zeroed as a whole: the keys are 16 KiB. */
    w.start = w.p = (const unsigned char *)frame.p;
    w.end = w.start + frame.n;
    w.owed = 1;
    w.depth = 0;
    w.err = err;
    do {
        volt_code rc = step(&w);

        if (rc != VOLT_OK)
            return rc;
        while (w.depth && w.levels[w.depth - 1].left == 0)
            w.depth--;
    } while (w.depth);
    if (w.p != w.end)
        return fail(&w, "bytes behind the end");
    return VOLT_OK;
}
