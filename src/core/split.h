/*
 * split.h - in which order a job's units go to the slots, and how many at once.
 *
 * The longest first, so that what is left for the end is short: no list schedule by that rule takes
 * more than 4/3 of the shortest (Graham, "Bounds on multiprocessing timing anomalies", 1969).  Of
 * many files the middle ones are short enough for the end, and the shortest go between the longest:
 * all at the end they would start faster than the machines under the slots start processes.
 * A batch is a part of the work that waits, which shrinks as it runs out, so that all slots finish
 * together: Polychronopoulos & Kuck, "Guided self-scheduling", 1987, with half its share because
 * durations differ.
 */
#ifndef VOLT_CORE_SPLIT_H
#define VOLT_CORE_SPLIT_H

#include <stddef.h>
#include <stdint.h>

#include "core/build.h"

#define SPLIT_BATCH_MAX \
    64 /* a lost batch repeats no more than this; hand-over costs are long amortised */

/* So many times the middle one's duration must fit in what each slot gets for the short ones to go
 * between the long ones: the end is uneven by no more than 2 %. */
#define SPLIT_MIDDLE_SHARE 50

/* Gives the units whose duration is not known the mean of the others, and puts the longest first;
 * those that are alike stay in their order.  With many for each of `slots` (>= 1) the shortest
 * follows the longest, then the next of both, to the middle ones.  When none is known all stay as
 * they are.  O(n log n). */
void split_order(unit *units, size_t n, uint64_t slots);

/* What a unit counts in a share of the work: its duration in ms, or 1 when none is known. */
uint64_t split_weight(const unit *u);

/* How many of the n waiting units, in the order of split_order(), make the next batch for one of
 * `slots` (>= 1): those that fit in 1 / (2 x slots) of `left`, the weight of all n, at least 1 and
 * at most SPLIT_BATCH_MAX; `asked` > 0 overrides.  n >= 1. */
size_t split_batch(const unit *units, size_t n, uint64_t left, size_t slots, uint64_t asked);

#endif
