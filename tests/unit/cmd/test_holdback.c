#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cmd/tail/holdback.h"

static void assert_taken(holdback *h, const char *text)
{
    buf b = { 0 };

    holdback_take(h, &b);
    assert_string_equal(buf_str(&b), text);
    buf_free(&b);
}

static void gives_everything_when_nothing_is_held(void **state)
{
    holdback h = { 0 };

    (void)state;
    assert_taken(&h, "");
    buf_adds(&h.text, "one ");
    buf_adds(&h.text, "two");
    assert_taken(&h, "one two");
    assert_taken(&h, "");
    holdback_release(&h); /* there is none */
    holdback_free(&h);
}

static void holds_back_what_comes_after_the_oldest_hold(void **state)
{
    holdback h = { 0 };

    (void)state;
    buf_adds(&h.text, "before ");
    holdback_hold(&h);
    buf_adds(&h.text, "first ");
    holdback_hold(&h);
    buf_adds(&h.text, "second ");
    assert_taken(&h, "before ");
    assert_taken(&h, "");
    holdback_release(&h);
    assert_taken(&h, "first ");
    buf_adds(&h.text, "more");
    assert_taken(&h, "");
    holdback_release(&h);
    assert_taken(&h, "second more");
    holdback_free(&h);
}

static void gives_all_when_all_holds_are_released(void **state)
{
    holdback h = { 0 };

    (void)state;
    for (int i = 0; i < 40; i++) {
        holdback_hold(&h);
        buf_adds(&h.text, "x");
    }
    assert_taken(&h, "");
    holdback_release_all(&h);
    assert_taken(&h, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    holdback_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_everything_when_nothing_is_held),
        cmocka_unit_test(holds_back_what_comes_after_the_oldest_hold),
        cmocka_unit_test(gives_all_when_all_holds_are_released),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
