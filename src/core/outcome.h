/*
 * outcome.h - how the outcomes of a batch travel: as runs of one sequence.
 *
 * An attempt's sequence has, file by file, the cases of the file's report and then its item, which
 * says how many cases that were.  A message (`tests`, `result`) carries a run of it that may begin
 * and end anywhere.  Who receives keeps the place it has come to: what stands before it is known,
 * what stands behind it waits until the gap is closed.  So a message that is lost, doubled or late
 * loses and doubles nothing, and a file's item is taken only when its cases are complete.
 *
 * Pure.
 */
#ifndef VOLT_CORE_OUTCOME_H
#define VOLT_CORE_OUTCOME_H

#include "core/msg.h"

#define OUTCOME_CASES_MAX 10000 /* of a file: proto/messages.def, item.cases */

typedef struct outcome_place {
    uint64_t file;  /* index in the batch */
    uint64_t cases; /* of that file that stand before it */
} outcome_place;

typedef struct outcome_run {
    outcome_place at;
    rec_item_list items;
    rec_test_case_list cases;
} outcome_run;

typedef struct outcome {
    outcome_place at;
    const rec_item *item;           /* or ... */
    const rec_test_case *test_case; /* ... this one; both point into the run's lists */
} outcome;

/* The run in a message's fields. */
#define OUTCOME_RUN(m) \
    ((outcome_run){    \
        .at = { (m)->from, (m)->cases_from }, .items = (m)->items, .cases = (m)->cases })

/* Takes what stands at `place` off the run, and what stands before it; false: it does not reach
 * that far, or begins behind it. */
bool outcome_next(outcome_run *run, outcome_place place, outcome *ret);
/* The run begins behind `place`, so something is missing. */
bool outcome_is_ahead(const outcome_run *run, outcome_place place);
bool outcome_before(outcome_place a, outcome_place b);

#endif
