#include "core/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void run(row_file *r, const char *oid, verdict v, uint64_t ms)
{
    history_count(
        r, &(file_run){ .oid = slice_of(oid), .verdict = v, .duration_ms = ms, .wall_ms = 7 });
}

static void only_what_tells_of_the_file_counts(void **state)
{
    static const bool want[verdict_count] = { [VERDICT_PASSED] = true,
                                              [VERDICT_FLAKY] = true,
                                              [VERDICT_FAILED] = true,
                                              [VERDICT_TIMEOUT] = true };

    (void)state;
    for (verdict v = verdict_none; v < verdict_count; v++)
        assert_int_equal(history_counts(v), want[v]);
}

static void counts_runs_and_failures(void **state)
{
    row_file r = { .file = SLICE("a") };

    (void)state;
    run(&r, "1", VERDICT_PASSED, 1);
    run(&r, "2", VERDICT_FAILED, 1);
    run(&r, "3", VERDICT_TIMEOUT, 1);
    run(&r, "4", VERDICT_FLAKY, 1);
    assert_int_equal(r.runs, 4);
    assert_int_equal(r.failures, 2);
    assert_int_equal(r.flaky, 1);
    assert_int_equal(r.verdict, VERDICT_FLAKY);
    assert_true(slice_is(r.oid, "4") && slice_is(r.flaky_oid, "4"));
    assert_int_equal(r.seen_ms, 7);
    assert_true(slice_is(r.file, "a"));
}

static void the_mean_follows_what_is_new(void **state)
{
    row_file r = { 0 };
    static const uint64_t means[][2] = {
        { 100, 100 }, { 200, 150 }, { 0, 100 }, /* the plain mean at first */
        { 500, 200 }, { 200, 200 }, { 202, 201 }, { 201, 201 }, { 0, 151 }, { 0, 113 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof means / sizeof *means; i++) {
        run(&r, "1", VERDICT_PASSED, means[i][0]);
        assert_int_equal(r.mean_ms, means[i][1]);
    }
    for (int i = 0; i < 40; i++)
        run(&r, "1", VERDICT_PASSED, 10000);
    assert_true(r.mean_ms >= 9998 && r.mean_ms <= 10000);
}

static void both_outcomes_at_one_commit_are_flaky(void **state)
{
    row_file r = { 0 };

    (void)state;
    run(&r, "1", VERDICT_FAILED, 1);
    run(&r, "2", VERDICT_PASSED, 1); /* mended */
    run(&r, "3", VERDICT_FAILED, 1); /* broken */
    assert_int_equal(r.flaky, 0);
    run(&r, "3", VERDICT_PASSED, 1);
    assert_int_equal(r.flaky, 1);
    assert_true(slice_is(r.flaky_oid, "3"));
    run(&r, "3", VERDICT_TIMEOUT, 1);
    run(&r, "3", VERDICT_FLAKY, 1);
    assert_int_equal(r.flaky, 1); /* the same commit */
    run(&r, "4", VERDICT_PASSED, 1);
    run(&r, "4", VERDICT_FLAKY, 1);
    assert_int_equal(r.flaky, 2);
    run(&r, "5", VERDICT_FAILED, 1);
    run(&r, "5", VERDICT_TIMEOUT, 1);
    assert_int_equal(r.flaky, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_tells_of_the_file_counts),
        cmocka_unit_test(counts_runs_and_failures),
        cmocka_unit_test(the_mean_follows_what_is_new),
        cmocka_unit_test(both_outcomes_at_one_commit_are_flaky),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
