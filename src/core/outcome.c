#include "core/outcome.h"

bool outcome_before(outcome_place a, outcome_place b)
{
    return a.file < b.file || (a.file == b.file && a.cases < b.cases);
}

bool outcome_is_ahead(const outcome_run *run, outcome_place place)
{
    return outcome_before(place, run->at);
}

/* The first thing of the run, whatever its place; false: the run has ended. */
static bool take_off(outcome_run *run, outcome *ret)
{
    *ret = (outcome){ .at = run->at };
    if (run->items.n && run->items.v->cases <= run->at.cases) {
        ret->item = run->items.v++;
        run->items.n--;
        run->at = (outcome_place){ run->at.file + 1, 0 };
        return true;
    }
    if (run->cases.n == 0)
        return false;
    ret->test_case = run->cases.v++;
    run->cases.n--;
    run->at.cases++;
    return true;
}

bool outcome_next(outcome_run *run, outcome_place place, outcome *ret)
{
    while (!outcome_is_ahead(run, place)) {
        if (!take_off(run, ret))
            return false;
        if (ret->at.file != place.file)
            continue;
        /* More cases than the item counts were told by a peer that contradicts itself. */
        if (ret->item || ret->at.cases == place.cases)
            return true;
    }
    return false;
}
