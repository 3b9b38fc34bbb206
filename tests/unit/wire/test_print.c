#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wire/codec.h"

static void assert_prints(const msg *m, const char *want)
{
    buf out = { 0 };

    wire_print(m, &out);
    assert_string_equal(buf_str(&out), want);
    buf_free(&out);
}

static void prints_one_line_without_what_is_absent(void **unused)
{
    rec_held held[] = { { .task = 4, .att = 1, .state = HELD_RUNNING }, { .task = 5, .att = 2 } };
    slice labels[] = { SLICE("linux"), SLICE("big") };
    msg m = { .type = MSG_hello, .r = 7 };

    (void)unused;
    m.hello.vmin = m.hello.vmax = 1;
    m.hello.id = SLICE("0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d");
    m.hello.name = SLICE("box\n");
    m.hello.slots = 2;
    m.hello.labels = (slices){ labels, 2 };
    m.hello.held = (rec_held_list){ held, 2 };
    assert_prints(&m,
                  "hello#7{vmin: 1, vmax: 1, id: 0a1b2c3d…, name: \"box\\n\", boot: , slots: 2, "
                  "labels: [\"linux\", \"big\"], held: [{task: 4, att: 1, state: running}, "
                  "{task: 5, att: 2}]}");
}

static void prints_messages_without_fields(void **unused)
{
    (void)unused;
    assert_prints(&(msg){ .type = MSG_who }, "who{}");
    assert_prints(&(msg){ .type = MSG_status, .r = 3 }, "status#3{}");
    assert_prints(&(msg){ .type = MSG_NONE }, "none");
}

static void shows_required_fields_although_zero(void **unused)
{
    (void)unused;
    assert_prints(&(msg){ .type = MSG_hb }, "hb{n: 0}");
    assert_prints(&(msg){ .type = MSG_err }, "err{code: ?}");
}

static void escapes_what_a_terminal_would_obey(void **unused)
{
    msg m = { .type = MSG_bye };

    (void)unused;
    m.bye.why = SLICE("a\"b\\ \x1b[31m \xc2\x9b é\xff\t…");
    assert_prints(&m, "bye{why: \"a\\\"b\\\\ \\x1b[31m \\xc2\\x9b é\\xff\\t…\"}");
}

static void cuts_what_is_long(void **unused)
{
    slice files[10];
    msg m = { .type = MSG_bye }, a = { .type = MSG_assign };
    char text[100];
    buf out = { 0 };

    (void)unused;
    memset(text, 'x', sizeof text);
    memcpy(text + 79, "é", 2); /* lies across the 80th byte, so it goes too */
    m.bye.why = (slice){ text, sizeof text };
    wire_print(&m, &out);
    assert_int_equal(out.n, strlen("bye{why: \"") + 79 + strlen("\"…}"));
    buf_clear(&out);
    for (size_t i = 0; i < 10; i++)
        files[i] = SLICE("t");
    a.assign.files = (slices){ files, 10 };
    wire_print(&a, &out);
    assert_non_null(strstr(buf_str(&out), "\"t\", \"t\", … 2 more]"));
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_one_line_without_what_is_absent),
        cmocka_unit_test(prints_messages_without_fields),
        cmocka_unit_test(shows_required_fields_although_zero),
        cmocka_unit_test(escapes_what_a_terminal_would_obey),
        cmocka_unit_test(cuts_what_is_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
