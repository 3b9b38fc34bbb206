#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "cmd/progress.h"

static void assert_text(const rec_build_row *rows, size_t n, int64_t elapsed_ms, const char *want)
{
    buf b = { 0 };

    progress_text(rows, n, elapsed_ms, &b);
    assert_string_equal(buf_str(&b), want);
    buf_free(&b);
}

static void before_its_plan_a_build_has_only_a_state(void **state)
{
    const rec_build_row row = { .build = 7, .state = STATE_WAITING };

    (void)state;
    assert_text(&row, 1, 1500, "build 7: waiting, 1.5 s");
}

static void what_is_left_follows_from_the_history_of_the_files(void **state)
{
    const rec_build_row row = { .build = 7,
                                .state = STATE_RUNNING,
                                .units = 50,
                                .units_done = 12,
                                .units_bad = 1,
                                .busy = 8,
                                .left_ms = 160000 };

    (void)state;
    assert_text(&row, 1, 14000,
                "build 7: 12 of 50 on 8 slots, 1 not passed, 14.0 s, about 20.0 s left");
}

static void without_a_history_it_goes_on_as_fast_as_until_now(void **state)
{
    const rec_build_row row = {
        .build = 7, .state = STATE_RUNNING, .units = 40, .units_done = 10, .busy = 1
    };

    (void)state;
    assert_text(&row, 1, 10000, "build 7: 10 of 40 on 1 slot, 10.0 s, about 30.0 s left");
}

static void several_builds_are_added_up(void **state)
{
    const rec_build_row rows[] = {
        { .build = 7, .units = 40, .units_done = 10, .busy = 1, .left_ms = 3000 },
        { .build = 8, .units = 2, .busy = 2, .left_ms = 3000 },
    };

    (void)state;
    assert_text(rows, 2, 10000, "2 builds: 10 of 42 on 3 slots, 10.0 s, about 2.0 s left");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_its_plan_a_build_has_only_a_state),
        cmocka_unit_test(what_is_left_follows_from_the_history_of_the_files),
        cmocka_unit_test(without_a_history_it_goes_on_as_fast_as_until_now),
        cmocka_unit_test(several_builds_are_added_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
