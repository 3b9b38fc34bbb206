/*
 * queue.h - what is ready to run, and whose turn it is.
 *
 * Items with the same requirements (labels; for a local repository the host that has it; plan or
 * not) form a class, so that a runner is compared with a few classes and not with each item.
 * Inside a class: greater priority first, then fair between repositories, then by place: the older
 * build first.  So what comes back after a lost attempt, or after a restart, stands where it stood.
 * Fair: each repository has a virtual time that one hand-out moves on by one; the smallest goes
 * next, and one that was idle starts at the present (start-time fair queueing: Goyal, Vin & Cheng,
 * SIGCOMM 1996, with equal weights).
 *
 * Delayed items wait in a heap until their time and are then queued as others are.
 * Intrusive and pure; the caller owns the items.
 */
#ifndef VOLT_CORE_QUEUE_H
#define VOLT_CORE_QUEUE_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "core/msg.h"

struct repo;

typedef struct fair_share {
    uint64_t time;  /* virtual */
    uint64_t order; /* of the repository; breaks ties */
} fair_share;

typedef enum item_kind { ITEM_TASK, ITEM_JOB } item_kind; /* what the item is part of */

typedef struct queue_class queue_class;
typedef struct queue_line queue_line;

/* The order inside a line: by build, then by job, then by task. */
typedef struct queue_place {
    uint64_t build, job;
    uint64_t task; /* UINT64_MAX: the job itself, behind its batches that came back */
} queue_place;

typedef struct queue_item {
    list node;
    queue_place place;
    queue_line *line; /* NULL: not in a line */
    item_kind kind;
    uint32_t stands_for; /* tasks; may only shrink while it is queued, by queue_shrink() */
    heap_node delay;     /* in the heap while it is delayed */
    list in_group;       /* linked while it waits in a concurrency group; see dispatch_group.c */
} queue_item;

/* One repository's items of one priority in one class, in order. */
struct queue_line {
    queue_class *in;
    struct repo *repo;
    fair_share *share;
    uint64_t priority;
    list items;
    size_t n;
    list node;               /* in class->lines, which is in no order */
    size_t place;            /* in class->heap, from 1 */
    uint64_t time;           /* of its share, when it was put there: not greater than now */
    queue_line *passed_over; /* during queue_next() */
};

struct queue_class {
    slices labels;
    slice host; /* of a local repository; else empty */
    slice repo; /* its name, for runners that have it by --repo; else empty */
    bool plan;
    list lines;        /* those that are not empty */
    queue_line **heap; /* the same: whose turn is next */
    size_t heap_n, heap_cap;
    size_t n;   /* items in all */
    slice key;  /* its name in by_key */
    bool fresh; /* got items (or a hindrance ended) since the last match over all free runners */
    list node;  /* in queue->classes, in order of creation */
};

typedef struct queue {
    list classes;
    map by_key; /* label list, host, repo -> class */
    map lines;  /* (class, repo, priority) -> line that is not empty */
    heap delayed;
    uint64_t now; /* virtual time of the last hand-out */
    size_t n;     /* items in lines */
    size_t tasks; /* that they stand for */
} queue;

void queue_init(queue *q);
void queue_free(queue *q);

/* The class with these requirements, made when new; stands as long as the queue.  Labels are
 * compared as a set. */
queue_class *queue_class_for(queue *q, slices labels, slice host, slice repo, bool plan);

/* Puts an item at its place in its line.  It must not be queued.  O(1) for what is older or newer
 * than nearly all of the line. */
void queue_push(queue *q, queue_class *c, queue_item *item, struct repo *repo, fair_share *share,
                uint64_t priority, queue_place place);
/* Keeps it until until_ms, when queue_due() gives it back to be queued. */
void queue_delay(queue *q, queue_item *item, int64_t until_ms);
/* The first delayed item that is due, taken out of the delay; NULL: none. */
queue_item *queue_due(queue *q, int64_t now_ms);
/* Forgets classes without items when there are many: requirements come from plans, and nothing
 * bounds how many different ones there will be.  Not while a class is held. */
void queue_tidy(queue *q);
/* A queued item stands for `by` tasks fewer. */
void queue_shrink(queue *q, queue_item *item, uint32_t by);
/* Whether a comes before b in a line. */
bool queue_place_before(const queue_place *a, const queue_place *b);
/* Takes it out wherever it is; harmless when it is nowhere. */
void queue_remove(queue *q, queue_item *item);
bool queue_has(const queue_item *item);

/* Who asks for an item, and takes some lines and items only. */
typedef struct queue_asker {
    bool (*takes_line)(void *ctx, const queue_line *line);
    bool (*takes_item)(void *ctx, const queue_item *item);
    void *ctx;
} queue_asker;

/* The next item of a class that `asker` takes; NULL: none.  It stays queued.
 * O((1 + lines refused) log lines + items refused): a line is asked about once, not each of its
 * items, and those whose turn is later are not looked at. */
queue_item *queue_next(queue_class *c, const queue_asker *asker);
/* Whether a's line comes before b's: by priority, then by share. */
bool queue_before(const queue_item *a, const queue_item *b);
/* Counts a hand-out of the item's repository.  Call it while the item is still queued. */
void queue_charge(queue *q, queue_item *item);

#endif
