#include "wire/codec.h"

#include <assert.h>
#include <inttypes.h>
#include <msgpack.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/text.h"
#include "wire/guard.h"
#include "wire/tables.h"

/* ---- decode ---- */

typedef struct decoder {
    arena *a;
    volt_err *err;
    const wire_table *message;
    const char *list; /* key of the list of records that is being read, or NULL */
    size_t at;        /* index in it */
} decoder;

/* "hello.slots: is missing", "hello.held[2].task: is missing". */
__attribute__((format(printf, 3, 4))) static volt_code fail(const decoder *d, const wire_field *f,
                                                            const char *fmt, ...)
{
    char what[VOLT_ERR_MSG_MAX / 2];
    char where[64] = "";
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (d->list)
        snprintf(where, sizeof where, "%s[%zu].", d->list, d->at);
    return volt_fail(d->err, VOLT_EMSG, "%s.%s%s: %s", d->message->name, where, f->key, what);
}

/* Str, or bin when `bin_too`; false for other types. */
static bool bytes_of(const msgpack_object *o, bool str_too, bool bin_too, slice *ret)
{
    if (str_too && o->type == MSGPACK_OBJECT_STR)
        *ret = (slice){ o->via.str.ptr, o->via.str.size };
    else if (bin_too && o->type == MSGPACK_OBJECT_BIN)
        *ret = (slice){ o->via.bin.ptr, o->via.bin.size };
    else
        return false;
    return true;
}

static void put(const wire_field *f, void *base, const void *value, size_t size)
{
    memcpy((char *)base + f->offset, value, size);
}

static volt_code decode_u64(decoder *d, const wire_field *f, const msgpack_object *o, void *base)
{
    if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return fail(d, f, "is not an integer from %" PRIu64 " to %" PRIu64, f->min, f->max);
    if (o->via.u64 < f->min || o->via.u64 > f->max)
        return fail(d, f, "%" PRIu64 " is not within %" PRIu64 "..%" PRIu64, o->via.u64, f->min,
                    f->max);
    put(f, base, &o->via.u64, sizeof o->via.u64);
    return VOLT_OK;
}

static volt_code decode_bytes(decoder *d, const wire_field *f, const msgpack_object *o, slice *ret)
{
    bool text = f->type == WIRE_TEXT || f->type == WIRE_TEXTS;
    slice s;

    if (!bytes_of(o, text, true, &s))
        return fail(d, f, "is not %s", text ? "str or bin" : "bin");
    if (s.n > f->max)
        return fail(d, f, "has %zu bytes, over its limit of %" PRIu64, s.n, f->max);
    if ((f->required || f->items_max) && s.n == 0)
        return fail(d, f, f->items_max ? "has an empty item" : "is empty");
    *ret = s;
    return VOLT_OK;
}

/* HEX, OID and ENUM: ASCII by definition, so never bin. */
static volt_code decode_word(decoder *d, const wire_field *f, const msgpack_object *o, void *base)
{
    unsigned value;
    slice s;

    if (!bytes_of(o, true, false, &s))
        return fail(d, f, "is not str");
    if (f->type == WIRE_ENUM) {
        value = word_value(f->words, s);
        if (!value)
            return fail(d, f, "'" SLICE_FMT "' is none of its words",
                        SLICE_ARG(((slice){ s.p, s.n < 40 ? s.n : 40 })));
        put(f, base, &value, sizeof value);
        return VOLT_OK;
    }
    if (f->type == WIRE_HEX && !text_is_hex(s, 32))
        return fail(d, f, "is not 32 lower-case hex digits");
    if (f->type == WIRE_OID && !text_is_oid(s))
        return fail(d, f, "is not 40 or 64 lower-case hex digits");
    put(f, base, &s, sizeof s);
    return VOLT_OK;
}

/* TEXTS and BINS. */
static volt_code decode_slices(decoder *d, const wire_field *f, const msgpack_object_array *items,
                               void *base)
{
    slices list = { ARENA_ARRAY(d->a, slice, items->size), items->size };

    for (size_t i = 0; i < list.n; i++) {
        volt_code rc = decode_bytes(d, f, &items->ptr[i], &list.v[i]);

        if (rc != VOLT_OK)
            return rc;
    }
    put(f, base, &list, sizeof list);
    return VOLT_OK;
}

static volt_code decode_fields(decoder *d, const wire_table *table, const msgpack_object_map *map,
                               void *base);

static volt_code decode_recs(decoder *d, const wire_field *f, const msgpack_object_array *items,
                             void *base)
{
    wire_list list = { arena_zero(d->a, items->size * f->rec->size), items->size };
    volt_code rc = VOLT_OK;

    assert(!d->list); /* records hold no records */
    for (size_t i = 0; rc == VOLT_OK && i < list.n; i++) {
        if (items->ptr[i].type != MSGPACK_OBJECT_MAP)
            return fail(d, f, "item %zu is not a map", i);
        d->list = f->key;
        d->at = i;
        rc = decode_fields(d, f->rec, &items->ptr[i].via.map, (char *)list.v + i * f->rec->size);
        d->list = NULL;
    }
    if (rc == VOLT_OK)
        put(f, base, &list, sizeof list);
    return rc;
}

static volt_code decode_list(decoder *d, const wire_field *f, const msgpack_object *o, void *base)
{
    if (o->type != MSGPACK_OBJECT_ARRAY)
        return fail(d, f, "is not an array");
    if (o->via.array.size > f->items_max)
        return fail(d, f, "has %" PRIu32 " items, over its limit of %zu", o->via.array.size,
                    f->items_max);
    if (o->via.array.size == 0)
        return VOLT_OK; /* absent */
    return f->type == WIRE_RECS ? decode_recs(d, f, &o->via.array, base)
                                : decode_slices(d, f, &o->via.array, base);
}

static volt_code decode_field(decoder *d, const wire_field *f, const msgpack_object *o, void *base)
{
    volt_code rc;
    slice s;

    switch (f->type) {
    case WIRE_U64:
        return decode_u64(d, f, o, base);
    case WIRE_BOOL:
        if (o->type != MSGPACK_OBJECT_BOOLEAN)
            return fail(d, f, "is not a boolean");
        put(f, base, &o->via.boolean, sizeof o->via.boolean);
        return VOLT_OK;
    case WIRE_TEXT:
    case WIRE_BIN:
        rc = decode_bytes(d, f, o, &s);
        if (rc == VOLT_OK)
            put(f, base, &s, sizeof s);
        return rc;
    case WIRE_HEX:
    case WIRE_OID:
    case WIRE_ENUM:
        return decode_word(d, f, o, base);
    case WIRE_TEXTS:
    case WIRE_BINS:
    case WIRE_RECS:
        return decode_list(d, f, o, base);
    }
    return VOLT_OK;
}

/* The field of that key at or behind `hint`, then from the start; table->n when there is none.
 * Senders write fields in the order of the table, so the first look nearly always finds it. */
static size_t find_field(const wire_table *table, slice key, size_t hint)
{
    for (size_t k = 0; k < table->n; k++) {
        size_t i = hint + k < table->n ? hint + k : hint + k - table->n;

        if (table->fields[i].key_n == key.n && memcmp(table->fields[i].key, key.p, key.n) == 0)
            return i;
    }
    return table->n;
}

/* Calls itself through decode_recs() for a list of records: as deep as the tables nest, which
 * is one level, whatever the input. */
static volt_code decode_fields(decoder *d, const wire_table *table, const msgpack_object_map *map,
                               void *base)
{
    uint64_t seen = 0;
    size_t hint = 0;

    for (size_t k = 0; k < map->size; k++) {
        const msgpack_object_kv *kv = &map->ptr[k];
        size_t i = find_field(table, (slice){ kv->key.via.str.ptr, kv->key.via.str.size }, hint);
        volt_code rc;

        if (i == table->n)
            continue; /* of a later version, or v, t and r */
        rc = decode_field(d, &table->fields[i], &kv->val, base);
        if (rc != VOLT_OK)
            return rc;
        seen |= UINT64_C(1) << i;
        hint = i + 1;
    }
    for (size_t i = 0; i < table->n; i++)
        if (table->fields[i].required && !(seen >> i & 1))
            return fail(d, &table->fields[i], "is missing");
    return VOLT_OK;
}

static const msgpack_object *find_key(const msgpack_object_map *map, slice key)
{
    for (size_t k = 0; k < map->size; k++)
        if (slice_eq((slice){ map->ptr[k].key.via.str.ptr, map->ptr[k].key.via.str.size }, key))
            return &map->ptr[k].val;
    return NULL;
}

/* v, t and r. */
static volt_code decode_envelope(const msgpack_object_map *map, msg *ret, volt_err *err)
{
    const msgpack_object *v = find_key(map, SLICE("v"));
    const msgpack_object *t = find_key(map, SLICE("t"));
    const msgpack_object *r = find_key(map, SLICE("r"));
    slice name;

    if (!v || v->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return volt_fail(err, VOLT_EMSG, "v: %s", v ? "is not an integer" : "is missing");
    if (v->via.u64 != MSG_VERSION)
        return volt_fail(err, VOLT_EVERSION, "v: protocol version %" PRIu64 ", not %d", v->via.u64,
                         MSG_VERSION);
    if (!t || !bytes_of(t, true, false, &name))
        return volt_fail(err, VOLT_EMSG, "t: %s", t ? "is not str" : "is missing");
    ret->type = wire_type_of(name);
    if (ret->type == MSG_NONE)
        return volt_fail(err, VOLT_EMSG, "t: no message '" SLICE_FMT "'",
                         SLICE_ARG(((slice){ name.p, name.n < 40 ? name.n : 40 })));
    if (r) {
        if (r->type != MSGPACK_OBJECT_POSITIVE_INTEGER || r->via.u64 > MSG_ID_MAX)
            return volt_fail(err, VOLT_EMSG, "%s.r: is not an integer from 0 to %" PRIu64,
                             wire_message(ret->type)->name, MSG_ID_MAX);
        ret->r = r->via.u64;
    }
    return VOLT_OK;
}

static volt_code decode_root(const msgpack_object *root, arena *a, msg *ret, volt_err *err)
{
    decoder d = { .a = a, .err = err };
    msg m = { 0 };
    volt_code rc;

    if (root->type != MSGPACK_OBJECT_MAP)
        return volt_fail(err, VOLT_EMSG, "not a map");
    rc = decode_envelope(&root->via.map, &m, err);
    if (rc != VOLT_OK)
        return rc;
    d.message = wire_message(m.type);
    rc = decode_fields(&d, d.message, &root->via.map, &m.submit);
    if (rc == VOLT_OK)
        *ret = m;
    return rc;
}

static size_t zone_chunk(size_t frame_n)
{
    /* A pair takes 48 bytes in memory and about 8 on the wire: one chunk nearly always does.  The
     * upper bound keeps chunks below what malloc maps afresh. */
    size_t want = 512 + frame_n * 8;

    return want < 65536 ? want : 65536;
}

volt_code wire_decode(slice frame, arena *a, msg *ret, volt_err *err)
{
    msgpack_unpack_return unpacked;
    msgpack_object root;
    msgpack_zone zone;
    size_t off = 0;
    volt_code rc;

    rc = guard_check(frame, err);
    if (rc != VOLT_OK)
        return rc;
    if (!msgpack_zone_init(&zone, zone_chunk(frame.n)))
        mem_end();
    unpacked = msgpack_unpack(frame.p, frame.n, &off, &zone, &root);
    if (unpacked == MSGPACK_UNPACK_NOMEM_ERROR)
        mem_end(); /* dropped as a bad one, it would not come again: an executor speaks once */
    if (unpacked == MSGPACK_UNPACK_SUCCESS)
        rc = decode_root(&root, a, ret, err); /* texts lie in `frame`, not in the zone */
    else
        rc = volt_fail(err, VOLT_EMSG, "msgpack refuses the frame");
    msgpack_zone_destroy(&zone);
    return rc;
}

/* ---- encode ---- */

static int write_buf(void *out, const char *p, size_t n)
{
    buf_add(out, p, n);
    return 0; /* buf_add() does not fail, so neither does any msgpack_pack_*() */
}

/* `s` within its limit: cut behind its last whole character, or byte when it is not UTF-8. */
static slice cut_text(const wire_field *f, slice s)
{
    size_t whole;

    if (s.n <= f->max)
        return s;
    s.n = (size_t)f->max;
    whole = text_utf8_prefix(s);
    if (s.n - whole < 4) /* the longest character has 4 bytes */
        s.n = whole;
    return s;
}

static void encode_str(msgpack_packer *pk, slice s)
{
    msgpack_pack_str(pk, s.n);
    msgpack_pack_str_body(pk, s.p, s.n);
}

static void encode_bytes(msgpack_packer *pk, const wire_field *f, slice s)
{
    if (f->type == WIRE_TEXT || f->type == WIRE_TEXTS) {
        s = cut_text(f, s);
        if (text_utf8_prefix(s) == s.n) {
            encode_str(pk, s);
            return;
        }
    }
    assert(s.n <= f->max);
    msgpack_pack_bin(pk, s.n);
    msgpack_pack_bin_body(pk, s.p, s.n);
}

static void encode_fields(msgpack_packer *pk, const wire_table *table, const void *base);

static void encode_list(msgpack_packer *pk, const wire_field *f, const void *base)
{
    if (f->type == WIRE_RECS) {
        wire_list list = wire_get_list(f, base);

        assert(list.n <= f->items_max);
        msgpack_pack_array(pk, list.n);
        for (size_t i = 0; i < list.n; i++) {
            const char *rec = (const char *)list.v + i * f->rec->size;
            size_t n = 0;

            for (size_t k = 0; k < f->rec->n; k++)
                n += f->rec->fields[k].required || !wire_is_absent(&f->rec->fields[k], rec);
            msgpack_pack_map(pk, n);
            encode_fields(pk, f->rec, rec);
        }
    } else {
        slices list = wire_get_slices(f, base);

        assert(list.n <= f->items_max);
        msgpack_pack_array(pk, list.n);
        for (size_t i = 0; i < list.n; i++) {
            assert(list.v[i].n > 0);
            encode_bytes(pk, f, list.v[i]);
        }
    }
}

static void encode_field(msgpack_packer *pk, const wire_field *f, const void *base)
{
    slice s;

    switch (f->type) {
    case WIRE_U64:
        assert(wire_get_u64(f, base) >= f->min);
        assert(wire_get_u64(f, base) <= f->max);
        msgpack_pack_uint64(pk, wire_get_u64(f, base));
        return;
    case WIRE_BOOL:
        msgpack_pack_true(pk); /* false is absent */
        return;
    case WIRE_ENUM:
        assert(wire_get_enum(f, base) > 0);
        assert(wire_get_enum(f, base) < f->words->n);
        encode_str(pk, slice_of(f->words->text[wire_get_enum(f, base)]));
        return;
    case WIRE_HEX:
    case WIRE_OID:
        s = wire_get_slice(f, base);
        assert(f->type == WIRE_HEX ? text_is_hex(s, 32) : text_is_oid(s));
        encode_str(pk, s);
        return;
    case WIRE_TEXT:
    case WIRE_BIN:
        s = wire_get_slice(f, base);
        assert(s.n > 0); /* what is empty is absent, and may be no required field */
        encode_bytes(pk, f, s);
        return;
    case WIRE_TEXTS:
    case WIRE_BINS:
    case WIRE_RECS:
        encode_list(pk, f, base);
        return;
    }
}

/* The pairs of a map whose header has been written. */
static void encode_fields(msgpack_packer *pk, const wire_table *table, const void *base)
{
    for (size_t i = 0; i < table->n; i++) {
        const wire_field *f = &table->fields[i];

        if (!f->required && wire_is_absent(f, base))
            continue;
        encode_str(pk, (slice){ f->key, f->key_n });
        encode_field(pk, f, base);
    }
}

void wire_encode(const msg *m, buf *out)
{
    const wire_table *table = wire_message(m->type);
    const void *base = wire_fields(m);
    msgpack_packer pk;
    size_t n = m->r ? 3 : 2;

    assert(table);
    assert(m->r <= MSG_ID_MAX);
    msgpack_packer_init(&pk, out, write_buf);
    for (size_t i = 0; i < table->n; i++)
        n += table->fields[i].required || !wire_is_absent(&table->fields[i], base);
    msgpack_pack_map(&pk, n);
    encode_str(&pk, SLICE("v"));
    msgpack_pack_uint64(&pk, MSG_VERSION);
    encode_str(&pk, SLICE("t"));
    encode_str(&pk, (slice){ table->name, table->name_n });
    if (m->r) {
        encode_str(&pk, SLICE("r"));
        msgpack_pack_uint64(&pk, m->r);
    }
    encode_fields(&pk, table, base);
}
