#include "core/history.h"

#include <assert.h>

static bool failed(verdict v)
{
    return v == VERDICT_FAILED || v == VERDICT_TIMEOUT;
}

bool history_counts(verdict v)
{
    return v == VERDICT_PASSED || v == VERDICT_FLAKY || failed(v);
}

/* The mean moves by its share of the difference, rounded to the nearest. */
static uint64_t moved(uint64_t mean, uint64_t to, uint64_t share)
{
    uint64_t by = ((to > mean ? to - mean : mean - to) + share / 2) / share;

    return to > mean ? mean + by : mean - by;
}

void history_count(row_file *r, const file_run *run)
{
    bool differs =
        r->runs > 0 && slice_eq(r->oid, run->oid) && failed(r->verdict) != failed(run->verdict);

    assert(history_counts(run->verdict));
    r->runs++;
    r->failures += failed(run->verdict);
    if ((differs || run->verdict == VERDICT_FLAKY) && !slice_eq(r->flaky_oid, run->oid)) {
        r->flaky++;
        r->flaky_oid = run->oid;
    }
    r->mean_ms =
        moved(r->mean_ms, run->duration_ms, r->runs < HISTORY_WEIGHT ? r->runs : HISTORY_WEIGHT);
    r->oid = run->oid;
    r->verdict = run->verdict;
    r->seen_ms = run->wall_ms;
}

int64_t history_keep_ms(int64_t keep_ms)
{
    return keep_ms > HISTORY_KEEP_MS / HISTORY_KEEP_TIMES ? keep_ms * HISTORY_KEEP_TIMES
                                                          : HISTORY_KEEP_MS;
}
