#include "core/verdict.h"

#include "base/mutant.h"

verdict verdict_worse(verdict a, verdict b)
{
    static const unsigned char rank[verdict_count] = {
        [VERDICT_SKIPPED] = 0,  [VERDICT_PASSED] = 1,   [VERDICT_FLAKY] = 2,
        [VERDICT_NO_TESTS] = 3, [VERDICT_CANCELED] = 4, [VERDICT_FAILED] = 5,
        [VERDICT_TIMEOUT] = 6,  [VERDICT_LOST] = 7,     [VERDICT_ERRORED] = 8,
    };

    if (a == verdict_none)
        return b;
    if (b == verdict_none)
        return a;
    return rank[b] > rank[a] || MUTANT(rollup_last) ? b : a;
}

bool verdict_is_bad(verdict v)
{
    return v != VERDICT_PASSED && v != VERDICT_FLAKY && v != VERDICT_SKIPPED;
}
