#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "cmd/jobs.h"

#define LIST(v) ((rec_job_row_list){ v, sizeof(v) / sizeof *(v) })

static slices needs(slice *v, size_t n)
{
    return (slices){ v, n };
}

static void assert_printed(const rec_job_row_list *jobs, const char *want)
{
    char text[4096] = "";
    FILE *f = fmemopen(text, sizeof text, "w");

    jobs_print(jobs, 50000, false, f);
    fclose(f);
    assert_string_equal(text, want);
}

static void jobs_stand_below_the_deepest_that_they_need(void **state)
{
    slice of_unit[] = { SLICE("build") }, of_report[] = { SLICE("build"), SLICE("unit") };
    rec_job_row v[] = {
        { .name = SLICE("report"),
          .state = STATE_WAITING,
          .units = 1,
          .needs = needs(of_report, 2),
          .why = SLICE("needs unit") },
        { .name = SLICE("unit"),
          .state = STATE_RUNNING,
          .units = 9,
          .units_done = 4,
          .needs = needs(of_unit, 1),
          .busy = 3,
          .tests = true,
          .ready_ms = 20000,
          .started_ms = 21000,
          .work_ms = 60000 },
        { .name = SLICE("build"),
          .state = STATE_FINAL,
          .verdict = VERDICT_PASSED,
          .units = 1,
          .units_done = 1,
          .ready_ms = 1000,
          .started_ms = 1000,
          .ended_ms = 20000,
          .work_ms = 19000 },
        { .name = SLICE("lint"),
          .state = STATE_FINAL,
          .verdict = VERDICT_FAILED,
          .units = 1,
          .units_done = 1,
          .allow_failure = true },
    };

    (void)state;
    assert_printed(&LIST(v),
                   "\n"
                   "JOB         STATE    UNITS  WAITED     RAN      WORK  SLOTS  WHY\n"
                   "build       passed     1/1          19.0 s    19.0 s\n"
                   "  unit      running    4/9   1.0 s  29.0 s  1 m 00 s      3\n"
                   "    report  waiting    0/1                                   needs unit\n"
                   "lint        failed     1/1                                   it may fail\n");
}

static void a_lone_job_that_says_no_more_than_its_units_is_not_shown(void **state)
{
    rec_job_row v[] = { { .name = SLICE("tests"), .tests = true, .units = 3 } };

    (void)state;
    assert_printed(&LIST(v), "");
}

static void needs_that_are_not_there_or_form_a_circle_end(void **state)
{
    slice a[] = { SLICE("b") }, b[] = { SLICE("a"), SLICE("nowhere") };
    rec_job_row v[] = { { .name = SLICE("a"), .needs = needs(a, 1) },
                        { .name = SLICE("b"), .needs = needs(b, 2) },
                        { .name = SLICE("c") } };
    char text[4096] = "";
    FILE *f = fmemopen(text, sizeof text, "w");

    (void)state;
    jobs_print(&LIST(v), 1, false, f); /* a circle never comes out of a plan */
    fclose(f);
    assert_non_null(strstr(text, "\nc "));
}

static void the_least_time_is_the_work_over_the_slots_or_the_longest_unit(void **state)
{
    rec_job_row v[] = {
        { .ready_ms = 1000,
          .started_ms = 2000,
          .ended_ms = 9000,
          .work_ms = 8000,
          .longest_ms = 900 },
        { .ready_ms = 3000,
          .started_ms = 3000,
          .ended_ms = 11000,
          .work_ms = 12000,
          .longest_ms = 4000 },
        { .verdict = VERDICT_SKIPPED, .ended_ms = 90000 }, /* it never ran */
    };
    rec_task_row_list none = { 0 };
    jobs_sums s = jobs_sum(&(rec_build_row){ .slots = 4 }, &LIST(v), &none);

    (void)state;
    assert_int_equal(s.work_ms, 20000);
    assert_int_equal(s.wall_ms, 10000);
    assert_int_equal(s.least_ms, 5000);
    assert_int_equal(s.besides_ms, 0);
    s = jobs_sum(&(rec_build_row){ .slots = 10 }, &LIST(v), &none);
    assert_int_equal(s.least_ms, 4000);
    assert_int_equal(jobs_sum(&(rec_build_row){ 0 }, &LIST(v), &none).least_ms, 0);
    s = jobs_sum(&(rec_build_row){ .slots = 1 }, &(rec_job_row_list){ 0 }, &none);
    assert_int_equal(s.wall_ms, 0);
}

static void what_batches_took_besides_their_units_is_setup(void **state)
{
    rec_job_row jobs[] = { { .work_ms = 500 }, { .tests = true, .work_ms = 3000 } };
    rec_task_row tasks[] = { { .kind = TASK_SCRIPT, .duration_ms = 500 },
                             { .kind = TASK_TESTS, .duration_ms = 6000 },
                             { .kind = TASK_TESTS, .duration_ms = 2000 } };

    (void)state;
    assert_int_equal(
        jobs_sum(&(rec_build_row){ 0 }, &LIST(jobs), &(rec_task_row_list){ tasks, 3 }).besides_ms,
        5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_stand_below_the_deepest_that_they_need),
        cmocka_unit_test(what_batches_took_besides_their_units_is_setup),
        cmocka_unit_test(a_lone_job_that_says_no_more_than_its_units_is_not_shown),
        cmocka_unit_test(needs_that_are_not_there_or_form_a_circle_end),
        cmocka_unit_test(the_least_time_is_the_work_over_the_slots_or_the_longest_unit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
