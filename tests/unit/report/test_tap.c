#include "report/tap.h"

#include "told.h"

DEFINE_CLEANUP(tap *, tap_free);

/* Cases, and at the end what is wrong. */
static void tells(const char *text, const char *want)
{
    size_t n = strlen(text);

    for (size_t step = 1; step < 5000; step = step * 7 + 1) {
        CLEANUP(buf)
        buf told = { 0 };
        CLEANUP(tap_free)
        tap *t = tap_new(told_take, &told);
        const char *why;

        for (size_t at = 0; at < n; at += step)
            tap_feed(t, (slice){ text + at, n - at < step ? n - at : step });
        why = tap_end(t);
        buf_adds(&told, why ? why : "");
        assert_string_equal(buf_str(&told), want);
    }
}

static void reads_test_lines(void **state)
{
    (void)state;
    tells("TAP version 13\n1..6\nok 1 - first\nnot ok 2 second thing\nok\nok 4\r\n"
          "not ok - without a number\nok 6 3d view \\# 1",
          "passed 0 first\nfailed 0 second thing\npassed 0 test 3\npassed 0 test 4\n"
          "failed 0 without a number\npassed 0 3d view # 1\n");
    tells("1..1\nok 3d view\n", "passed 0 3d view\n");
}

static void reads_directives(void **state)
{
    (void)state;
    tells("1..8\nok 1 - a # SKIP no disk\nok 2 # skip: x\nok 3 - c # Skipped\n"
          "not ok 4 - d # TODO later\nok 5 - e # TODO\nnot ok 6 - f # SKIP why\n"
          "ok 7 - g \\# SKIP h\nok 8 - i # SKIPPING is a word too\n",
          "skipped 0 a | no disk\nskipped 0 test 2 | x\nskipped 0 c\nskipped 0 d | TODO later\n"
          "passed 0 e\nfailed 0 f\npassed 0 g # SKIP h\n"
          "skipped 0 i | is a word too\n");
}

static void passes_over_other_text(void **state)
{
    (void)state;
    tells(
        "compiling...\n1..2 things to do\n# a comment\nok 1 - a\nokay\nnot okay\n ok 5 - indented\n"
        "\tok 6 - too\npragma +strict\nnote: ok 7\n\n\xff\xfe\nok 2 - b\n1..2\n",
        "passed 0 a\npassed 0 b\n");
    tells("nothing at all\n", "");
    tells("", "");
}

static void a_plan_must_be_kept(void **state)
{
    (void)state;
    tells("ok 1\nok 2\n", "passed 0 test 1\npassed 0 test 2\nit has no plan (1..2)");
    tells("1..3\nok 1\nok 2\n",
          "passed 0 test 1\npassed 0 test 2\nits plan is 1..3, and 2 tests came");
    tells("1..1\nok 1\nok 2\n",
          "passed 0 test 1\npassed 0 test 2\nits plan is 1..1, and 2 tests came");
    tells("1..2\n", "its plan is 1..2, and 0 tests came");
    tells("1..1\nok 1\n1..1\n", "passed 0 test 1\nit has two plans");
    tells("1..0\n", "");
    tells("1..0 # SKIP no compiler here\n", "skipped 0 (all) | no compiler here\n");
    tells("1..99999999999999999999\nok\n", "passed 0 test 1\nit has no plan (1..1)");
}

static void bail_out_is_the_end(void **state)
{
    (void)state;
    tells("1..2\nok 1\nBail out! no database\n", "passed 0 test 1\nBail out! no database");
    tells("1..1\n    1..1\n    Bail out!\nok 1\n", "passed 0 test 1\nBail out!");
}

/* As node's `--test-reporter tap` writes it. */
static void reads_yaml_blocks(void **state)
{
    (void)state;
    tells("TAP version 13\n"
          "# Subtest: adds\n"
          "ok 1 - adds\n"
          "  ---\n"
          "  duration_ms: 1.6\n"
          "  type: 'test'\n"
          "  ...\n"
          "# Subtest: breaks\n"
          "not ok 2 - breaks\n"
          "  ---\n"
          "  duration_ms: 12\n"
          "  location: '/x/t.mjs:3:1'\n"
          "  failureType: 'testCodeFailure'\n"
          "  error: |-\n"
          "    Expected values to be strictly equal:\n"
          "    \n"
          "    1 !== 2\n"
          "    \n"
          "  code: 'ERR_ASSERTION'\n"
          "  stack: |-\n"
          "    ok 9 - not a test\n"
          "  ...\n"
          "1..2\n",
          "passed 2 adds\n"
          "failed 12 breaks | Expected values to be strictly equal:\\n\\n1 !== 2\n");
    tells("1..3\nnot ok 1 - a\n  ---\n  message: 'it''s'\n  at:\n    message: deeper\n  ...\n"
          "not ok 2 - b\n---\n  message: no block\nok 3 - c\n  ---\n  message: unended\n",
          "failed 0 a | it''s\nfailed 0 b\npassed 0 c | unended\n");
    /* A block that does not end hides no test. */
    tells("1..2\nok 1\n  ---\n  message: x\nnot ok 2\n", "passed 0 test 1 | x\nfailed 0 test 2\n");
}

static void parents_sum_up_their_subtests(void **state)
{
    (void)state;
    tells(
        "TAP version 14\n1..2\n# Subtest: a\n    ok 1 - inner\n      ---\n      message: of inner\n"
        "      ...\n    not ok 2 - inner\n        1..1\n        not ok 1 - deep\n    1..2\n"
        "not ok 1 - a\nok 2 - b\n    1..1\n      ---\n      message: no\n      ...\n    ok 1\n",
        "failed 0 a\npassed 0 b\n");
}

static void a_long_line_is_cut(void **state)
{
    CLEANUP(buf)
    buf text = { 0 }, want = { 0 };

    (void)state;
    buf_adds(&text, "ok 1 - ");
    for (size_t i = 0; i < 5000; i++)
        buf_addc(&text, 'x');
    buf_adds(&text, "\n1..1\n");
    buf_adds(&want, "passed 0 ");
    for (size_t i = 0; i < REPORT_NAME_MAX; i++)
        buf_addc(&want, 'x');
    buf_adds(&want, "\n");
    tells(buf_str(&text), buf_str(&want));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_test_lines),
        cmocka_unit_test(reads_directives),
        cmocka_unit_test(passes_over_other_text),
        cmocka_unit_test(a_plan_must_be_kept),
        cmocka_unit_test(bail_out_is_the_end),
        cmocka_unit_test(reads_yaml_blocks),
        cmocka_unit_test(parents_sum_up_their_subtests),
        cmocka_unit_test(a_long_line_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
