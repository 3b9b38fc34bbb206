#include "core/split.h"

#include <assert.h>

size_t split_batch(size_t waiting, size_t slots, uint64_t asked)
{
    size_t n;

    assert(slots > 0);
    n = asked ? (size_t)asked : (waiting + 2 * slots - 1) / (2 * slots);
    if (!asked && n > SPLIT_BATCH_MAX)
        n = SPLIT_BATCH_MAX;
    if (n > waiting)
        n = waiting;
    return n ? n : 1;
}
