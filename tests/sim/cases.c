/* The cases that test files report: decided by task, attempt and place, so that the oracle knows
 * them too. */
#include "runner.h"

#include <stdio.h>

#include "core/outcome.h"

#define MANY       130 /* cases, of which an agent's message takes fewer than a hundred */
#define MANY_BYTES 1000
#define PART_CASES 3 /* in one message of an executor that tells little at a time */

static prng of_unit(uint64_t task, uint64_t att, uint64_t place)
{
    return (prng){ mix_word(mix_word(mix_word(UINT64_C(14695981039346656037), task), att), place) };
}

/* Of a third of all tasks; another attempt may find fewer, or more. */
uint64_t unit_cases(uint64_t task, uint64_t att, uint64_t place)
{
    prng r = of_unit(task, att, place);

    if (task % 3)
        return 0;
    if (prng_below(&r, 40) == 0)
        return MANY;
    return prng_below(&r, 6);
}

rec_test_case unit_case(arena *a, uint64_t task, uint64_t att, uint64_t place, uint64_t n)
{
    static const verdict verdicts[] = { VERDICT_PASSED, VERDICT_FAILED, VERDICT_ERRORED,
                                        VERDICT_SKIPPED, VERDICT_FLAKY };
    prng r = of_unit(task, att, place * 1000 + n + 1);
    rec_test_case c = { .verdict = verdicts[prng_below(&r, sizeof verdicts / sizeof *verdicts)],
                        .duration_ms = prng_below(&r, 100) };
    size_t bytes = unit_cases(task, att, place) == MANY ? MANY_BYTES : prng_below(&r, 20);
    char *message = arena_zero(a, bytes + 1);

    memset(message, 'm', bytes);
    c.message = (slice){ message, bytes };
    c.name = slice_of(arena_printf(a, "case %llu of %llu-%llu", (unsigned long long)n,
                                   (unsigned long long)task, (unsigned long long)att));
    return c;
}

static bool is_bad(verdict v)
{
    return v == VERDICT_FAILED || v == VERDICT_ERRORED;
}

void cases_count(const msg_assign *order, uint64_t place, rec_item *item)
{
    arena a = { 0 };

    item->cases = unit_cases(order->task, order->att, place);
    for (uint64_t n = 0; n < item->cases; n++)
        item->bad += is_bad(unit_case(&a, order->task, order->att, place, n).verdict);
    arena_free(&a);
}

rec_test_case_list cases_of(const msg_assign *order, uint64_t from, const rec_item_list *items,
                            arena *a)
{
    rec_test_case_list l = { 0 };

    for (size_t i = 0; i < items->n; i++)
        l.n += items->v[i].cases;
    l.v = ARENA_ARRAY(a, rec_test_case, l.n + 1);
    l.n = 0;
    for (size_t i = 0; i < items->n; i++)
        for (uint64_t n = 0; n < items->v[i].cases; n++)
            l.v[l.n++] = unit_case(a, order->task, order->att, from + i, n);
    return l;
}

/* Takes so many cases, and the items behind them, off the run. */
static outcome_run next_part(outcome_run *rest, size_t cases)
{
    outcome_run part = { rest->at, { rest->items.v, 0 }, { rest->cases.v, 0 } };

    while (rest->items.n) {
        size_t wanted = (size_t)(rest->items.v->cases - rest->at.cases);
        size_t n = wanted < cases ? wanted : cases;

        part.cases.n += n;
        rest->cases.v += n;
        rest->at.cases += n;
        cases -= n;
        if (n < wanted)
            break;
        part.items.n++;
        rest->items.v++;
        rest->items.n--;
        rest->at = (outcome_place){ rest->at.file + 1, 0 };
    }
    return part;
}

void cases_tell(const msg_assign *order, uint64_t from, const rec_item_list *items, cases_say *say,
                void *ctx)
{
    arena a = { 0 };
    outcome_run rest = { { from, 0 }, *items, cases_of(order, from, items, &a) };

    while (rest.items.n) {
        outcome_run part = next_part(&rest, order->task % 2 ? SIZE_MAX : PART_CASES);

        say(ctx, &(msg){ .type = MSG_tests,
                         .tests = { .task = order->task,
                                    .att = order->att,
                                    .from = part.at.file,
                                    .items = part.items,
                                    .cases_from = part.at.cases,
                                    .cases = part.cases } });
    }
    arena_free(&a);
}
