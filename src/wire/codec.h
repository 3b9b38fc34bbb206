/*
 * codec.h - VOLT/1 messages as bytes: one interpreter over the tables of proto/messages.def.
 *
 * A frame is one msgpack map with `v`, `t`, optionally `r`, and the message's fields.  Whatever a
 * peer sends is either decoded and valid (types, ranges, lengths, required keys, nothing trailing)
 * or refused with VOLT_EMSG; it never reaches an assert and never makes a large allocation.
 */
#ifndef VOLT_WIRE_CODEC_H
#define VOLT_WIRE_CODEC_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "core/msg.h"

/* Largest frames accepted, by socket (bytes). */
#define WIRE_INTAKE_MAX (16 * 1024)
#define WIRE_WORK_MAX   (256 * 1024)
#define WIRE_DEPTH_MAX  8

/* Decodes `frame` into *ret.  Texts borrow from `frame`, lists are made in `a`; both must outlive
 * *ret.  Unknown keys are ignored.
 * VOLT_EMSG: malformed, says what and where.  VOLT_EVERSION: `v` is not 1. */
volt_code wire_decode(slice frame, arena *a, msg *ret, volt_err *err);

/* Appends m's encoding to `out`.  Asserts that m is valid: what Volt sends is its own doing; texts
 * longer than their limit are cut at a character, other violations are our mistakes. */
void wire_encode(const msg *m, buf *out);

/* Appends a one-line form for people and logs: `hello{id: 0a…, slots: 2, held: [{task: 4, …}]}`.
 * Bytes that are not printable are escaped; long ones are cut. */
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
    const char *dir; /* messages only */
    const char *doc;
    size_t size; /* of the C struct */
    const wire_field *fields;
    size_t n;
};

/* The table of a message; NULL for MSG_NONE and outside.  &m->submit etc. is the struct it
 * describes (all members of the union begin at the same address). */
const wire_table *wire_message(msg_type type);
/* The struct of a message's fields, which wire_message(m->type) describes. */
const void *wire_fields(const msg *m);

#endif
