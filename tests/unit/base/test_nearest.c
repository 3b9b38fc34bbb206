#include "base/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const char *meant(const char *typed)
{
    nearest n = { .typed = typed };

    nearest_try(&n, "status");
    nearest_try(&n, "build");
    nearest_try(&n, "builds");
    nearest_try(&n, "dispatcher-server");
    return nearest_found(&n);
}

static void mistyped_words_are_guessed_only_when_close(void **state)
{
    (void)state;
    assert_string_equal(meant("statsu"), "status");
    assert_string_equal(meant("stat"), "status");
    assert_string_equal(meant("bulid"), "build");
    assert_string_equal(meant("dispatcher"), "dispatcher-server");
    assert_string_equal(meant("dispather-servr"), "dispatcher-server");
    assert_null(meant("frobnicate"));
    assert_null(meant("x"));
    assert_null(meant(""));
    assert_null(meant("a-word-that-is-longer-than-the-longest-word-that-is-compared"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistyped_words_are_guessed_only_when_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
