/*
 * split.h - how many of a job's waiting units go to a slot at once.
 */
#ifndef VOLT_CORE_SPLIT_H
#define VOLT_CORE_SPLIT_H

#include <stddef.h>
#include <stdint.h>

#define SPLIT_BATCH_MAX \
    64 /* a lost batch repeats no more than this; hand-over costs are long amortised */

/* A part of what waits that shrinks as it runs out, so that all slots finish together: waiting
 * units / (2 x slots), at least 1 and at most SPLIT_BATCH_MAX; `asked` > 0 overrides.  slots >= 1.
 * After: Polychronopoulos & Kuck, "Guided self-scheduling", 1987, with half its share because
 * durations differ. */
size_t split_batch(size_t waiting, size_t slots, uint64_t asked);

#endif
