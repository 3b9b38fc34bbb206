/*
 * codec.h - VOLT/1 messages as bytes: one interpreter over the tables of proto/messages.def.
 *
 * A frame is one msgpack map with `v`, `t`, optionally `r`, and the message's fields.  Whatever a
 * peer sends is either decoded and valid (types, ranges, lengths, required keys, nothing trailing)
 * or refused with VOLT_EMSG; it never reaches an assert and never makes a large allocation.
 */
#ifndef VOLT_WIRE_CODEC_H
#define VOLT_WIRE_CODEC_H

#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "core/msg.h"

/* Largest frames accepted, by socket (bytes). */
#define WIRE_INTAKE_MAX (16 * 1024)
#define WIRE_WORK_MAX   (256 * 1024)
#define WIRE_DEPTH_MAX  8

/* Decodes `frame` into *ret.  Texts borrow from `frame`, lists are made in `a`; both must outlive
 * *ret.  Unknown keys are ignored; a required text and an item of a list are
 * not empty.
 * VOLT_EMSG: malformed, says what and where ("hello.held[2].att: 0 is not within 1..4294967295").
 * VOLT_EVERSION: `v` is not 1.  O(frame.n); allocates at most 25 bytes for
 * each of the frame, and items_max structs a list. */
volt_code wire_decode(slice frame, arena *a, msg *ret, volt_err *err);

/* Appends m's encoding to `out`: v, t, r, then the fields in the order of messages.def, each number
 * in its shortest form.  Asserts that m is valid: what Volt sends is its own doing; texts longer
 * than their limit are cut at a character, other violations are our mistakes. */
void wire_encode(const msg *m, buf *out);

/* Appends a one-line form for people, logs and golden traces, without what is absent:
 * `hello#7{id: 0a1b2c3d…, name: "box\n", slots: 2, held: [{task: 4, att: 1}]}` (7 is `r`).
 * Ids are cut to 8 digits, texts to 80 bytes, lists to 8 items; what is not printable is escaped.
 */
void wire_print(const msg *m, buf *out);

/* A field of a record or message, for those who walk them (JSON output, documentation). */
typedef enum wire_type {
    WIRE_U64,
    WIRE_BOOL,
    WIRE_TEXT,
    WIRE_HEX,
    WIRE_OID,
    WIRE_BIN,
    WIRE_ENUM,
    WIRE_TEXTS,
    WIRE_RECS,
    WIRE_BINS,
} wire_type;

typedef struct wire_table wire_table;

typedef struct wire_field {
    const char *key;
    size_t key_n; /* its length */
    wire_type type;
    bool required;
    size_t offset;         /* in the C struct */
    uint64_t min, max;     /* U64: range; TEXT, BIN: max bytes; TEXTS, BINS: max bytes an item */
    size_t items_max;      /* lists */
    const word_set *words; /* ENUM */
    const wire_table *rec; /* RECS */
    const char *unit;
    const char *doc;
} wire_field;

struct wire_table {
    const char *name;
    size_t name_n;   /* its length */
    const char *dir; /* messages only */
    const char *doc;
    size_t size; /* of the C struct */
    const wire_field *fields;
    size_t n;
};

/* A list of records seen without its type: what RECS fields are in memory. */
typedef struct wire_list {
    void *v; /* n structs of field->rec->size bytes */
    size_t n;
} wire_list;

/* Reads a field out of the struct at `base`; the field is of that type (TEXT, HEX, OID and BIN are
 * slices; TEXTS and BINS are `slices`). */
static inline uint64_t wire_get_u64(const wire_field *f, const void *base)
{
    uint64_t x;

    memcpy(&x, (const char *)base + f->offset, sizeof x);
    return x;
}

static inline bool wire_get_bool(const wire_field *f, const void *base)
{
    bool x;

    memcpy(&x, (const char *)base + f->offset, sizeof x);
    return x;
}

static inline unsigned wire_get_enum(const wire_field *f, const void *base)
{
    unsigned x;

    memcpy(&x, (const char *)base + f->offset, sizeof x);
    return x;
}

static inline slice wire_get_slice(const wire_field *f, const void *base)
{
    slice x;

    memcpy(&x, (const char *)base + f->offset, sizeof x);
    return x;
}

static inline slices wire_get_slices(const wire_field *f, const void *base)
{
    slices x;

    memcpy(&x, (const char *)base + f->offset, sizeof x);
    return x;
}

static inline wire_list wire_get_list(const wire_field *f, const void *base)
{
    wire_list x;

    memcpy(&x, (const char *)base + f->offset, sizeof x);
    return x;
}

/* True: 0, false or empty, which is how the C types say "absent". */
bool wire_is_absent(const wire_field *f, const void *base);

/* The table of a message; NULL for MSG_NONE and outside.  &m->submit etc. is the struct it
 * describes (all members of the union begin at the same address). */
const wire_table *wire_message(msg_type type);
/* The struct of a message's fields, which wire_message(m->type) describes. */
const void *wire_fields(const msg *m);

#endif
