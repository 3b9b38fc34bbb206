#include "core/outcome.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/* Files 4, 5 and 6 with 2, 0 and 3 cases, and of file 7 two so far. */
static rec_item items[] = { { .cases = 2 }, { .cases = 0 }, { .cases = 3 } };
static rec_test_case cases[] = { { .duration_ms = 40 }, { .duration_ms = 41 },
                                 { .duration_ms = 60 }, { .duration_ms = 61 },
                                 { .duration_ms = 62 }, { .duration_ms = 70 },
                                 { .duration_ms = 71 } };

static outcome_run whole(void)
{
    return (outcome_run){ { 4, 0 }, { items, 3 }, { cases, 7 } };
}

/* What a receiver at `place` takes: cases by their mark, an item as "[file]"; then its place. */
static const char *taken(outcome_run run, outcome_place place)
{
    static char text[256];
    size_t n = 0;
    outcome o;

    text[0] = '\0';
    while (outcome_next(&run, place, &o)) {
        if (o.item) {
            n += (size_t)snprintf(text + n, sizeof text - n, "[%d] ", (int)place.file);
            place = (outcome_place){ place.file + 1, 0 };
        } else {
            n += (size_t)snprintf(text + n, sizeof text - n, "%d ", (int)o.test_case->duration_ms);
            place.cases++;
        }
    }
    snprintf(text + n, sizeof text - n, "at %d.%d", (int)place.file, (int)place.cases);
    return text;
}

static void a_receiver_takes_what_is_new_to_it(void **state)
{
    (void)state;
    assert_string_equal(taken(whole(), (outcome_place){ 4, 0 }),
                        "40 41 [4] [5] 60 61 62 [6] 70 71 at 7.2");
    assert_string_equal(taken(whole(), (outcome_place){ 4, 1 }),
                        "41 [4] [5] 60 61 62 [6] 70 71 at 7.2");
    assert_string_equal(taken(whole(), (outcome_place){ 4, 2 }),
                        "[4] [5] 60 61 62 [6] 70 71 at 7.2");
    assert_string_equal(taken(whole(), (outcome_place){ 6, 2 }), "62 [6] 70 71 at 7.2");
    assert_string_equal(taken(whole(), (outcome_place){ 7, 1 }), "71 at 7.2");
    assert_string_equal(taken(whole(), (outcome_place){ 7, 2 }), "at 7.2");
    assert_string_equal(taken(whole(), (outcome_place){ 9, 0 }), "at 9.0");
}

static void what_comes_too_early_waits(void **state)
{
    outcome_run late = { { 6, 1 }, { items + 2, 1 }, { cases + 3, 2 } };

    (void)state;
    assert_string_equal(taken(late, (outcome_place){ 6, 0 }), "at 6.0");
    assert_true(outcome_is_ahead(&late, (outcome_place){ 6, 0 }));
    assert_true(outcome_is_ahead(&late, (outcome_place){ 5, 9 }));
    assert_false(outcome_is_ahead(&late, (outcome_place){ 6, 1 }));
    assert_string_equal(taken(late, (outcome_place){ 6, 1 }), "61 62 [6] at 7.0");
    assert_string_equal(taken(late, (outcome_place){ 6, 3 }), "[6] at 7.0");
}

/* A peer may contradict itself: it goes on all the same. */
static void an_item_waits_for_its_cases_but_not_for_fewer(void **state)
{
    outcome_run short_of = { { 4, 0 }, { items, 3 }, { cases, 1 } };
    outcome_run behind = { { 4, 5 }, { items, 1 }, { cases, 0 } };

    (void)state;
    assert_string_equal(taken(short_of, (outcome_place){ 4, 0 }), "40 at 4.1");
    assert_string_equal(taken(whole(), (outcome_place){ 4, 3 }),
                        "[4] [5] 60 61 62 [6] 70 71 at 7.2");
    assert_string_equal(taken(behind, (outcome_place){ 4, 5 }), "[4] at 5.0");
    assert_string_equal(taken((outcome_run){ 0 }, (outcome_place){ 0, 0 }), "at 0.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_receiver_takes_what_is_new_to_it),
        cmocka_unit_test(what_comes_too_early_waits),
        cmocka_unit_test(an_item_waits_for_its_cases_but_not_for_fewer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
