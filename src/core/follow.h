/*
 * follow.h - a subscriber to the event stream that loses nothing.
 *
 * Published events may be lost, doubled or late; the dispatcher's table is the truth.  A follower
 * hands on exactly the next number, once each, in order.  It keeps a bounded number of events that
 * came too early, drops those it has had, and asks for a replay when one is missing: at once when a
 * later number came, after FOLLOW_BEHIND_MS when only a head beat tells of one, and when nothing at
 * all was heard for FOLLOW_SILENCE_MS.  Whether the history changed is believed only of the answer
 * to its newest question, since anything else may be a late message of the old one.
 *
 * Pure: no I/O, no clock, no logging; the caller passes `now_ms` in and carries out what is asked.
 * Memory: at most `early_max` events.  Threads: one owner.
 * After: the Clone pattern of the ZeroMQ Guide, chapter 5.
 */
#ifndef VOLT_CORE_FOLLOW_H
#define VOLT_CORE_FOLLOW_H

#include "core/msg.h"

#define FOLLOW_EARLY_MAX  1024 /* default of early_max */
#define FOLLOW_BEHIND_MS  2000 /* a head beat may overtake the events it tells of by so much */
#define FOLLOW_RETRY_MS   1000 /* a question without an answer is repeated, then twice as late … */
#define FOLLOW_RETRY_MAX  8000 /* … up to this, ± 20 % */
#define FOLLOW_SILENCE_MS 5000 /* heads come each second: something is wrong on the way */
#define FOLLOW_START      1    /* `from`: everything that is kept */
#define FOLLOW_LIVE       0    /* `from`: only what happens from now on */

typedef struct follow follow;

typedef struct follow_config {
    uint64_t from; /* first number wanted; FOLLOW_LIVE: begin with the first one heard of */
    slice hist; /* the history that `from` belongs to; empty, or FOLLOW_LIVE: the first heard of */
    size_t early_max; /* events kept that came too early, 0: FOLLOW_EARLY_MAX */
    uint64_t page;    /* events asked for at once, 0: 1,000 */
    uint64_t seed;    /* of the jitter */
} follow_config;

typedef enum follow_act_kind {
    FOLLOW_APPLY,    /* `event` is the next one */
    FOLLOW_ASK,      /* send `replay` with request number `r`; the answer goes to follow_page() */
    FOLLOW_FLOOR,    /* numbers from..to are no longer kept anywhere; goes on behind them */
    FOLLOW_SKIP,     /* numbers from..to are kept but could not be read; goes on behind them */
    FOLLOW_NEW_HIST, /* the dispatcher has another history `hist`: starts anew at `from` */
} follow_act_kind;

typedef struct follow_act {
    follow_act_kind kind;
    const msg_event *event;
    uint64_t r;
    msg_replay replay;
    uint64_t from, to;
    slice hist;
} follow_act;

/* What one call asks for, in order.  Zero-initialise; each call empties it first.  What its entries
 * point to stands until the next call, events as long as what was passed in as well. */
typedef struct follow_acts {
    follow_act *v;
    size_t n;
    size_t cap;
} follow_acts;

void follow_acts_free(follow_acts *acts);

/* A follower owned by the caller.  It asks nothing before the first tick. */
follow *follow_new(const follow_config *config, int64_t now_ms);
void follow_free(follow *f);

/* A published event. */
void follow_event(follow *f, int64_t now_ms, const msg_event *event, follow_acts *out);
/* A head beat. */
void follow_head(follow *f, int64_t now_ms, const msg_head *head, follow_acts *out);
/* The answer to question `r`: items[i] is page->items.v[i] decoded, with seq 0 when it could not
 * be. */
void follow_page(follow *f, int64_t now_ms, uint64_t r, const msg_events *page,
                 const msg_event *items, follow_acts *out);
/* Time has passed: at the latest when follow_next_deadline_ms() says. */
void follow_tick(follow *f, int64_t now_ms, follow_acts *out);
int64_t follow_next_deadline_ms(const follow *f);

/* The number that is applied next; 0: not known yet. */
uint64_t follow_next(const follow *f);
/* True when all that was heard of is applied and no question is open. */
bool follow_is_current(const follow *f);

#endif
