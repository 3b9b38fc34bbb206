/*
 * effect.h - what a pure core asks its shell to do, in order.
 *
 * An effects list owns an arena: everything its entries point to lives there until
 * effects_clear().  A shell carries out PUT, CUT, LOG_WRITE and LOG_SYNC at once inside an open
 * transaction, and SEND, PUBLISH and LOG_DROP only after it is committed.
 */
#ifndef VOLT_CORE_EFFECT_H
#define VOLT_CORE_EFFECT_H

#include "base/arena.h"
#include "base/err.h"
#include "core/row.h"

typedef enum effect_kind {
    EFFECT_PUT,       /* row: persist */
    EFFECT_CUT,       /* row: forget this case and those of its unit behind it */
    EFFECT_LOG_WRITE, /* task, att, part, off, bytes: write this piece of an attempt's log file, or
                         of its artifacts' */
    EFFECT_LOG_SYNC,  /* task, att, part, off: the file is `off` bytes long and must be durable
                         before the commit */
    EFFECT_LOG_DROP,  /* task, att, part: what came of it is of no use */
    EFFECT_STALE,     /* bytes: persist that the data is an old copy, and what showed it */
    EFFECT_SEND,      /* peer, msg: send to one peer of the ROUTER */
    EFFECT_PUBLISH,   /* topic, msg: publish */
} effect_kind;

typedef struct effect {
    effect_kind kind;
    uint64_t peer;
    const char *topic;
    const row *row;
    const msg *msg;
    uint64_t task, att, off;
    msg_part part;
    slice bytes;
} effect;

typedef struct effects {
    effect *v;
    size_t n;
    size_t cap;
    arena arena;
} effects; /* zero-initialise */

/* A fresh entry, zeroed but for its kind; stands until the next one is added. */
effect *effects_add(effects *e, effect_kind kind);
/* Adds a row to persist and returns it to be filled; texts must outlive the list or be in its
 * arena. */
row *effects_put(effects *e, row_kind kind);
/* Adds a message to `peer` and returns it to be filled. */
msg *effects_send(effects *e, uint64_t peer, msg_type type);
/* Adds a message on `topic` (copied) and returns it to be filled. */
msg *effects_publish(effects *e, const char *topic, msg_type type);
void effects_clear(effects *e);
void effects_free(effects *e);

#endif
