/*
 * readers.h - questions that wait for their turn, fairly by peer.
 *
 * An answer to a reader may be a thousand rows, a runner's heartbeat is nothing beside it.  So
 * questions are put aside when they come and answered a few at a time, one a peer by turns: however
 * many subscribers replay a long history, runners wait for a page or two, and no subscriber for
 * more than one page of each other one.
 *
 * Zero-initialise; free with readers_free().
 */
#ifndef VOLT_ROLE_READERS_H
#define VOLT_ROLE_READERS_H

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "core/msg.h"

#define READERS_MAX           16384 /* peers whose questions wait */
#define READERS_QUESTIONS_MAX 16    /* that wait of one peer */

typedef struct readers {
    map of;     /* peer -> reader */
    list round; /* the reader whose turn it is first */
} readers;

void readers_free(readers *r);

/* Keeps a question (one without lists), encoded anew; one that waits already, by its number, is
 * kept once.  False: too many wait. */
bool readers_add(readers *r, uint64_t peer, const msg *m);
/* How many peers wait. */
size_t readers_count(const readers *r);
/* Whose turn it is; somebody waits. */
uint64_t readers_next(const readers *r);
/* The turn of readers_next() passes without an answer. */
void readers_pass(readers *r);
/* Appends the oldest question of readers_next(), an encoded message, to `ret`, and passes its turn.
 */
void readers_take(readers *r, buf *ret);

#endif
