#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "cmd/json.h"

static void assert_json(json_t *j, const char *text)
{
    char *got = json_dumps(j, JSON_COMPACT);

    assert_string_equal(got, text);
    free(got);
    json_decref(j);
}

static void enums_are_words_and_absent_fields_are_left_out(void **state)
{
    const msg m = { .type = MSG_accepted,
                    .r = 7,
                    .accepted = { .sid = SLICE("0123456789abcdef0123456789abcdef"),
                                  .build = (UINT64_C(1) << 53) - 1,
                                  .verdict = VERDICT_NO_TESTS } };

    (void)state;
    assert_json(json_of_msg(&m), "{\"sid\":\"0123456789abcdef0123456789abcdef\","
                                 "\"build\":9007199254740991,\"verdict\":\"no-tests\"}");
}

static void required_numbers_are_there_when_zero(void **state)
{
    const msg m = { .type = MSG_hb_ok, .hb_ok = { .n = 0, .ep = 1 } };

    (void)state;
    assert_json(json_of_msg(&m), "{\"n\":0,\"ep\":1}");
}

static void records_nest(void **state)
{
    rec_held held[] = { { .task = 1, .att = 2, .state = HELD_RUNNING }, { .task = 3, .att = 1 } };
    const msg m = { .type = MSG_hb, .hb = { .n = 5, .free = 1, .held = { held, 2 } } };

    (void)state;
    assert_json(json_of_msg(&m), "{\"n\":5,\"free\":1,\"held\":[{\"task\":1,\"att\":2,"
                                 "\"state\":\"running\"},{\"task\":3,\"att\":1}]}");
}

static void bytes_that_are_not_utf8_come_twice(void **state)
{
    const msg m = { .type = MSG_chunk, .chunk = { .task = 1, .d = SLICE("a\xff\xc3\xa9\xc3") } };

    (void)state;
    assert_json(json_of_msg(&m), "{\"task\":1,\"d\":\"a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\","
                                 "\"d_base64\":\"Yf/DqcM=\"}");
}

static void control_characters_are_escaped(void **state)
{
    const msg m = { .type = MSG_ok, .ok = { .msg = SLICE("a\0\"\n\x1b[31m") } };

    (void)state;
    assert_json(json_of_msg(&m), "{\"msg\":\"a\\u0000\\\"\\n\\u001B[31m\"}");
}

static void one_odd_text_gives_all_of_the_list_exactly(void **state)
{
    slice files[] = { SLICE("a.py"), SLICE("\xe9.py") };
    rec_job jobs[] = { { .name = SLICE("tests"), .tests = true, .files = { files, 2 } } };
    const msg m = { .type = MSG_plan,
                    .plan = { .task = 1, .att = 1, .last = true, .jobs = { jobs, 1 } } };

    (void)state;
    assert_json(json_of_msg(&m),
                "{\"task\":1,\"att\":1,\"last\":true,\"jobs\":[{\"name\":\"tests\",\"tests\":true,"
                "\"files\":[\"a.py\",\"\xef\xbf\xbd.py\"],"
                "\"files_base64\":[\"YS5weQ==\",\"6S5weQ==\"]}]}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(enums_are_words_and_absent_fields_are_left_out),
        cmocka_unit_test(required_numbers_are_there_when_zero),
        cmocka_unit_test(records_nest),
        cmocka_unit_test(bytes_that_are_not_utf8_come_twice),
        cmocka_unit_test(control_characters_are_escaped),
        cmocka_unit_test(one_odd_text_gives_all_of_the_list_exactly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
