#include "core/split.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

typedef struct ranked {
    unit unit;
    size_t place; /* for qsort() need not be stable */
} ranked;

static int longer_first(const void *a, const void *b)
{
    const ranked *ra = a, *rb = b;

    if (ra->unit.expected_ms != rb->unit.expected_ms)
        return ra->unit.expected_ms < rb->unit.expected_ms ? 1 : -1;
    return (ra->place > rb->place) - (ra->place < rb->place);
}

void split_order(unit *units, size_t n, uint64_t slots)
{
    uint64_t sum = 0, total = 0;
    size_t known = 0;
    bool mixed; /* what it ends with is short beside what a slot gets all the same */
    ranked *v;

    for (size_t i = 0; i < n; i++) {
        sum += units[i].expected_ms;
        known += units[i].expected_ms > 0;
    }
    if (known == 0)
        return;
    v = NEW_ARRAY(ranked, n);
    for (size_t i = 0; i < n; i++) {
        v[i] = (ranked){ units[i], i };
        if (!v[i].unit.expected_ms)
            v[i].unit.expected_ms = (uint32_t)(sum / known);
        total += v[i].unit.expected_ms;
    }
    qsort(v, n, sizeof *v, longer_first);
    mixed = v[n / 2].unit.expected_ms * slots * SPLIT_MIDDLE_SHARE <= total;
    for (size_t i = 0; i < n; i++)
        units[i] = v[!mixed ? i : i % 2 ? n - 1 - i / 2 : i / 2].unit;
    free(v);
}

uint64_t split_weight(const unit *u)
{
    return u->expected_ms ? u->expected_ms : 1;
}

size_t split_batch(const unit *units, size_t n, uint64_t left, size_t slots, uint64_t asked)
{
    uint64_t share, sum;
    size_t taken = 1;

    assert(n > 0 && slots > 0);
    if (asked)
        return asked < n ? (size_t)asked : n;
    share = (left + 2 * slots - 1) / (2 * slots);
    sum = split_weight(&units[0]);
    while (taken < n && taken < SPLIT_BATCH_MAX && sum + split_weight(&units[taken]) <= share)
        sum += split_weight(&units[taken++]);
    return taken;
}
