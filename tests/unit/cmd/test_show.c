#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "cmd/show.h"

static void assert_shown(slice s, size_t width, const char *want)
{
    buf b = { 0 };

    show_text(&b, s, width);
    assert_string_equal(buf_str(&b), want);
    buf_free(&b);
}

static void texts_are_cut_to_columns_with_a_mark(void **state)
{
    (void)state;
    assert_shown(SLICE("abcdef"), 6, "abcdef");
    assert_shown(SLICE("abcdefg"), 6, "abcde…");
    assert_shown(SLICE("äöüäöü"), 6, "äöüäöü");
    assert_shown(SLICE("äöüäöüx"), 6, "äöüäö…");
    assert_shown(SLICE("abcdefg"), 0, "abcdefg");
    assert_shown(SLICE(""), 3, "");
}

static void control_characters_do_not_reach_the_terminal(void **state)
{
    (void)state;
    assert_shown(SLICE("a\x1b[31mb\n\x7f"), 0, "a?[31mb??");
    assert_shown(SLICE("\xc2\x9b"
                       "31m"),
                 0, "??31m"); /* U+009B begins a sequence too */
    assert_shown(SLICE("\xff\xc3"), 0, "??");
}

static void refs_are_shown_short(void **state)
{
    (void)state;
    assert_true(slice_is(show_ref(SLICE("refs/heads/a/b")), "a/b"));
    assert_true(slice_is(show_ref(SLICE("refs/tags/v1")), "v1"));
    assert_true(slice_is(show_ref(SLICE("refs/pull/1/head")), "refs/pull/1/head"));
    assert_true(slice_is(show_ref(SLICE("refs/heads/")), "refs/heads/"));
}

static void columns_line_up(void **state)
{
    static const char *const headings[] = { "NAME", ">N", "WHY" };
    show_table *t = show_table_new(false, headings, 3);
    char text[256] = "";
    FILE *f = fmemopen(text, sizeof text, "w");

    (void)state;
    show_table_print(t, f);
    fflush(f);
    assert_string_equal(text, ""); /* no rows, no headings */
    show_cell(t, TONE_GOOD, "%s", "ä");
    show_cell_count(t, 7);
    show_cell_text(t, TONE_PLAIN, SLICE("why not"), 4);
    show_cell(t, TONE_PLAIN, "%s", "longer");
    show_cell_count(t, 12345);
    show_cell_text(t, TONE_PLAIN, SLICE(""), 0);
    show_table_print(t, f);
    fclose(f);
    assert_string_equal(text, "NAME        N  WHY\n"
                              "ä           7  why…\n"
                              "longer  12345\n");
    show_table_free(t);
}

static void colour_is_only_where_it_is_wanted(void **state)
{
    show_tone tone;

    (void)state;
    assert_string_equal(show_outcome(VERDICT_FAILED, STATE_FINAL, &tone), "failed");
    assert_string_equal(show_begin(false, tone), "");
    assert_string_not_equal(show_begin(true, tone), "");
    assert_string_equal(show_outcome(verdict_none, STATE_RUNNING, &tone), "running");
    assert_int_equal(tone, TONE_BUSY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_cut_to_columns_with_a_mark),
        cmocka_unit_test(control_characters_do_not_reach_the_terminal),
        cmocka_unit_test(refs_are_shown_short),
        cmocka_unit_test(columns_line_up),
        cmocka_unit_test(colour_is_only_where_it_is_wanted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
