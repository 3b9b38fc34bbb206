/* Each kind of event as the line that people see. */
#include "cmd/tail/lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#define OID "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"

static msg_event of_build(event_kind kind)
{
    return (msg_event){ .kind = kind,
                        .seq = 9,
                        .time_ms = 43424000, /* 12:03:44 */
                        .build = 12,
                        .repo = SLICE("volt"),
                        .ref = SLICE("refs/heads/main"),
                        .oid = SLICE(OID) };
}

static void check(const msg_event *e, bool color, const char *want)
{
    buf out = { 0 };

    line_of_event(e, color, &out);
    assert_string_equal(buf_str(&out), want);
    buf_free(&out);
}

#define ABOUT "12:03:44  #12 volt main 1a2b3c4d5e  "

static void tells_of_builds(void **unused)
{
    msg_event e = of_build(EVENT_SUBMITTED);

    (void)unused;
    e.subject = SLICE("Mend it");
    e.author = SLICE("ann");
    check(&e, false, ABOUT "submitted: Mend it (ann)\n");
    e.gen = 1;
    check(&e, false, ABOUT "submitted again: Mend it (ann)\n");

    e = of_build(EVENT_BUILD_DONE);
    e.verdict = VERDICT_ERRORED;
    e.duration_ms = 1200;
    e.why = SLICE("no such commit");
    check(&e, false, ABOUT "build errored (1.2 s): no such commit\n");
}

static void tells_of_units_and_tasks(void **unused)
{
    msg_event e = of_build(EVENT_TEST_DONE);

    (void)unused;
    e.verdict = VERDICT_FAILED;
    e.file = SLICE("tests/test_a.py");
    e.exit = 1;
    e.duration_ms = 250;
    e.runner = SLICE("box-1");
    check(&e, false, ABOUT "failed  tests/test_a.py, exit 1 (250 ms) on box-1\n");
    check(&e, true,
          "\033[2m12:03:44\033[0m  #12 volt main 1a2b3c4d5e  \033[1;31mfailed\033[0m  "
          "tests/test_a.py, exit 1 (250 ms) on box-1\n");

    e = of_build(EVENT_REQUEUED);
    e.task = 4;
    e.att = 2;
    e.job = SLICE("tests");
    e.runner = SLICE("box-1");
    e.code = CODE_LOST;
    check(&e, false, ABOUT "task 4 (tests), attempt 2 waits again, it was with box-1 (LOST)\n");
}

static void tells_of_runners(void **unused)
{
    msg_event e = { .kind = EVENT_RUNNER_UP, .runner = SLICE("box-1"), .n = 2 };

    (void)unused;
    check(&e, false, "runner box-1 is here, slots: 2\n");
    e = (msg_event){ .kind = EVENT_RUNNER_DOWN, .runner = SLICE("box-1"), .why = SLICE("bye") };
    check(&e, false, "runner box-1 is gone: bye\n");
}

static void does_not_let_a_name_command_the_terminal(void **unused)
{
    msg_event e = of_build(EVENT_BUILD_DONE);

    (void)unused;
    e.verdict = VERDICT_PASSED;
    e.subject = SLICE("\033[2J\nfake");
    check(&e, false, ABOUT "build passed: ?[2J?fake\n");
}

static void leaves_out_what_only_explains(void **unused)
{
    msg_event e = of_build(EVENT_LEASED);

    (void)unused;
    assert_false(line_is_news(&e));
    e = of_build(EVENT_RUNNING);
    e.task_kind = TASK_TESTS;
    e.att = 1;
    assert_false(line_is_news(&e));
    e.att = 2;
    assert_true(line_is_news(&e));
    e = of_build(EVENT_TASK_DONE);
    e.verdict = VERDICT_FLAKY;
    assert_false(line_is_news(&e));
    e.verdict = VERDICT_LOST;
    assert_true(line_is_news(&e));
    e = of_build(EVENT_BUILD_DONE);
    assert_true(line_is_news(&e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_of_builds),
        cmocka_unit_test(tells_of_units_and_tasks),
        cmocka_unit_test(tells_of_runners),
        cmocka_unit_test(does_not_let_a_name_command_the_terminal),
        cmocka_unit_test(leaves_out_what_only_explains),
    };

    setenv("TZ", "UTC", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
