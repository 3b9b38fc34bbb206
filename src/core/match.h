/*
 * match.h - brings waiting work and free runners together.
 *
 * Runs after every step: over runners that gained room against all classes, and over classes that
 * gained items against all free runners.  What neither touches was found not to fit before, so no
 * ready task ever stands beside a free runner that suits it.
 */
#ifndef VOLT_CORE_MATCH_H
#define VOLT_CORE_MATCH_H

#include "core/fleet.h"
#include "core/queue.h"

/* Gives one item to a runner; the item has been charged and stays queued until this takes it out.
 */
typedef void (*match_give)(void *ctx, runner *r, queue_item *item);

typedef struct match {
    queue *queue;
    fleet *fleet;
    int64_t now_ms;
    match_give give;
    void *ctx;
} match;

/* Gives this runner the best item of those that it suits; false: there is none, or it has no room.
 */
bool match_runner(const match *m, runner *r);
/* Until nothing more fits. */
void match_all(const match *m);

#endif
