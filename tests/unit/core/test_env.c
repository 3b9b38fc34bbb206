#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/env.h"

static void assert_check(const char *first, const char *second, const char *why)
{
    slice v[] = { slice_of(first), slice_of(second ? second : "") };
    arena a = { 0 };
    const char *wrong = env_check((slices){ v, second ? 2 : 1 }, &a);

    if (why) {
        assert_non_null(wrong);
        assert_string_equal(wrong, why);
    } else {
        assert_null(wrong);
    }
    arena_free(&a);
}

static void takes_names_and_values(void **unused)
{
    slice v = SLICE("A_1=b=c");

    (void)unused;
    assert_true(slice_is(env_name(v), "A_1"));
    assert_true(slice_is(env_value(v), "b=c"));
    assert_int_equal(env_value(SLICE("A=")).n, 0);
    assert_check("A_1=b=c", "_=", NULL);
    assert_check("CIRCLE=1", "volt=2", NULL);
}

static void says_what_is_wrong(void **unused)
{
    (void)unused;
    assert_check("A", NULL, "'A' is no NAME=VALUE");
    assert_check("=1", NULL, "'' is no variable's name (letters, digits and '_')");
    assert_check("1A=1", NULL, "'1A' is no variable's name (letters, digits and '_')");
    assert_check("A-B=1", NULL, "'A-B' is no variable's name (letters, digits and '_')");
    assert_check("VOLT=1", NULL, "variable 'VOLT' is Volt's own");
    assert_check("A=1", "CI=", "variable 'CI' is Volt's own");
    assert_check("A=1", "A=2", "variable 'A' is given twice");
}

static void bounds_number_and_size(void **unused)
{
    slice many[ENV_VARIABLES_MAX + 1] = { { 0 } };
    char *large = calloc(1, ENV_BYTES_MAX + 2);
    arena a = { 0 };

    (void)unused;
    assert_non_null(large);
    assert_string_equal(env_check((slices){ many, ENV_VARIABLES_MAX + 1 }, &a),
                        "101 variables; at most 100");
    memset(large, 'x', ENV_BYTES_MAX + 1);
    large[1] = '=';
    assert_check(large, NULL, "the variables take 8193 bytes; at most 8192");
    large[ENV_BYTES_MAX] = '\0';
    assert_check(large, NULL, NULL);
    assert_string_equal(env_check((slices){ (slice[]){ { "A=\0x", 4 } }, 1 }, &a),
                        "the value of 'A' holds a NUL byte");
    arena_free(&a);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_names_and_values),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(bounds_number_and_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
