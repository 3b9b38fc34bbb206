#include "pipeline/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"

static void a_file_stands_quoted_where_a_shell_needs_that(void **state)
{
    static const struct {
        const char *run, *file, *want;
    } cases[] = {
        { "python3 {}", "tests/test_a.py", "python3 tests/test_a.py" },
        { "a {} {} {", "b", "a b b {" },
        { "x '{}'", "a/b+c", "x 'a/b+c'" },
        { "x {}", "a b", "x 'a b'" },
        { "x {}", "it's;$(rm)", "x 'it'\\''s;$(rm)'" },
        { "x {}", "-rf", "x './-rf'" },
        { "x {}", "\xc3\xa4", "x '\xc3\xa4'" },
        { "{}", "a=b", "'a=b'" },
        { "x", "a", "x" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(buf)
        buf out = { 0 };

        command_of_file(slice_of(cases[i].run), slice_of(cases[i].file), &out);
        assert_string_equal(buf_str(&out), cases[i].want);
    }
}

static void a_plain_command_needs_no_shell(void **state)
{
    static const char *const cases[][5] = {
        { "./a/b.t", "./a/b.t" },
        { "python3 -m pytest  tests/test_a.py\n", "python3", "-m", "pytest", "tests/test_a.py" },
        { " make CC=clang check ", "make", "CC=clang", "check" },
        { "echo -n", "echo", "-n" },
    };
    arena a = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char **words = command_words(slice_of(cases[i][0]), &a);
        size_t n = 0;

        assert_non_null(words);
        for (; words[n]; n++)
            assert_string_equal(words[n], cases[i][n + 1]);
        assert_true(n == 4 || !cases[i][n + 1]);
    }
    arena_free(&a);
}

static void anything_else_does(void **state)
{
    static const char *const cases[] = {
        "",         " \n",   "a; b",   "a\nb",  "a && b", "a | b", "a > b",      "a $b",
        "a \"b\"",  "a 'b'", "a `b`",  "a ~/b", "a *",    "a ?",   "a [b]",      "a {b,c}",
        "a # b",    "A=b c", "! a",    "( a )", "a\\ b",  "a\tb",  "a \xc3\xa4", "cd a",
        "exec ./a", ". ./a", "exit 3", "if a",  "a^b",    "a &",
    };
    arena a = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_null(command_words(slice_of(cases[i]), &a));
    assert_null(command_words(SLICE("a\0b"), &a));
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_stands_quoted_where_a_shell_needs_that),
        cmocka_unit_test(a_plain_command_needs_no_shell),
        cmocka_unit_test(anything_else_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
