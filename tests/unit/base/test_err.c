#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/err.h"

static void says_what_failed_and_what_asked_for_it(void **unused)
{
    volt_err err = { 0 };

    (void)unused;
    assert_int_equal(volt_fail(&err, VOLT_EIO, "open '%s'", "x"), VOLT_EIO);
    assert_int_equal(volt_wrap(&err, VOLT_EIO, "task %d", 42), VOLT_EIO);
    assert_string_equal(err.msg, "task 42: open 'x'");
    assert_int_equal(err.code, VOLT_EIO);
}

static void needs_no_place_for_the_text(void **unused)
{
    (void)unused;
    assert_int_equal(volt_fail(NULL, VOLT_EFULL, "x"), VOLT_EFULL);
    assert_int_equal(volt_wrap(NULL, VOLT_EFULL, "x"), VOLT_EFULL);
}

static void cuts_long_messages(void **unused)
{
    char text[2000];
    volt_err err = { 0 };

    (void)unused;
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    volt_fail(&err, VOLT_EIO, "%s", text);
    assert_true(strlen(err.msg) < VOLT_ERR_MSG_MAX);
    volt_wrap(&err, VOLT_EIO, "%s", text);
    assert_true(strlen(err.msg) < VOLT_ERR_MSG_MAX);
}

static void codes_are_negative_and_have_texts(void **unused)
{
    (void)unused;
    assert_int_equal(VOLT_OK, 0);
    assert_string_equal(volt_code_text(VOLT_ENOTFOUND), "not found");
#define ERROR(name, text)         \
    assert_true(VOLT_##name < 0); \
    assert_string_equal(volt_code_text(VOLT_##name), text);
#include "base/errors.def"
#undef ERROR
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_failed_and_what_asked_for_it),
        cmocka_unit_test(needs_no_place_for_the_text),
        cmocka_unit_test(cuts_long_messages),
        cmocka_unit_test(codes_are_negative_and_have_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
