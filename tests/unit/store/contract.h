/* contract.h - runs a list of tests on a fresh store of each kind. */
#ifndef VOLT_TESTS_STORE_CONTRACT_H
#define VOLT_TESTS_STORE_CONTRACT_H

#include "fixture.h"

static int set_up_memory(void **state_)
{
    *state_ = fixture_new(false);
    return 0;
}

static int set_up_sqlite(void **state_)
{
    *state_ = fixture_new(true);
    return 0;
}

static int tear_down(void **state_)
{
    fixture *f = *state_;

    forget_rows(f);
    fixture_free(f);
    return 0;
}

#define ON_MEMORY(fn) cmocka_unit_test_setup_teardown(fn, set_up_memory, tear_down),
#define ON_SQLITE(fn) cmocka_unit_test_setup_teardown(fn, set_up_sqlite, tear_down),

static inline int run_on_both(const struct CMUnitTest *memory, const struct CMUnitTest *sqlite,
                              size_t n)
{
    int failed = _cmocka_run_group_tests("memory", memory, n, NULL, NULL);

    return failed + _cmocka_run_group_tests("sqlite", sqlite, n, NULL, NULL);
}

/* `tests` is a macro that applies its argument to the name of each test. */
#define RUN_ON_BOTH(tests)                                                \
    run_on_both((const struct CMUnitTest[]){ tests(ON_MEMORY) },          \
                (const struct CMUnitTest[]){ tests(ON_SQLITE) },          \
                sizeof((const struct CMUnitTest[]){ tests(ON_MEMORY) }) / \
                    sizeof(struct CMUnitTest))

#endif
