#include "core/split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

static void shares_what_waits_over_the_slots(void **state)
{
    (void)state;
    assert_int_equal(split_batch(80, 4, 0), 10);
    assert_int_equal(split_batch(81, 4, 0), 11);
    assert_int_equal(split_batch(8, 4, 0), 1);
}

static void batches_shrink_to_single_units(void **state)
{
    size_t waiting = 1000, before = SPLIT_BATCH_MAX, n = 0;

    (void)state;
    while (waiting) {
        n = split_batch(waiting, 3, 0);
        assert_true(n >= 1 && n <= before && n <= waiting);
        before = n;
        waiting -= n;
    }
    assert_int_equal(n, 1);
}

static void keeps_a_lost_batch_small(void **state)
{
    (void)state;
    assert_int_equal(split_batch(100000, 1, 0), SPLIT_BATCH_MAX);
}

static void takes_what_the_job_asks_for(void **state)
{
    (void)state;
    assert_int_equal(split_batch(100, 4, 7), 7);
    assert_int_equal(split_batch(3, 4, 7), 3);
    assert_int_equal(split_batch(1000, 1, 500), 500);
    assert_int_equal(split_batch(5, 100, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_what_waits_over_the_slots),
        cmocka_unit_test(batches_shrink_to_single_units),
        cmocka_unit_test(keeps_a_lost_batch_small),
        cmocka_unit_test(takes_what_the_job_asks_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
