/* What units report beside their exit status, through a whole executor. */
#include "core/outcome.h"
#include "stage.h"

typedef struct told {
    rec_item items[16];
    size_t n;
    buf cases; /* "file/verdict name" a line */
    size_t cases_n, messages;
} told;

static void cleanup_told(told *t)
{
    buf_free(&t->cases);
}

/* All that was said, put together as a dispatcher does. */
static void listen(const stage *s, told *t)
{
    outcome_place at = { 0 };

    for (size_t i = 0; i < s->said_n; i++) {
        const msg *m = &s->said[i];
        outcome_run run = m->type == MSG_tests    ? OUTCOME_RUN(&m->tests)
                          : m->type == MSG_result ? OUTCOME_RUN(&m->result)
                                                  : (outcome_run){ .at.file = MSG_ID_MAX };
        outcome o;

        t->messages += m->type == MSG_tests;
        assert_true(s->frames[i].n < 120 * 1024);
        while (outcome_next(&run, at, &o)) {
            if (o.item) {
                assert_int_equal(o.item->cases, at.cases);
                t->items[t->n++] = *o.item;
                at = (outcome_place){ at.file + 1, 0 };
                continue;
            }
            buf_addf(&t->cases, "%d/%s " SLICE_FMT "\n", (int)at.file,
                     verdict_text(o.test_case->verdict), SLICE_ARG(o.test_case->name));
            t->cases_n++;
            at.cases++;
        }
    }
}

static msg_result run_with(stage *s, report_kind kind, const char *files, const char *run_by,
                           uint64_t log_max, told *t)
{
    CLEANUP(buf)
    buf spec = { 0 };
    msg_assign a = order(s, 1, commit(s), files);

    plan_spec_write(
        &(msg_spec){ .run = slice_of(run_by),
                     .report = kind,
                     .report_files = kind == REPORT_JUNIT ? SLICE("out/**/*.xml") : (slice){ 0 } },
        &spec);
    a.spec = buf_slice(&spec);
    a.log_max = log_max;
    run(s, &a);
    listen(s, t);
    return last(s)->result;
}

static void assert_verdicts(const told *t, size_t n, const verdict *want)
{
    assert_int_equal(t->n, n);
    for (size_t i = 0; i < n; i++)
        if (t->items[i].verdict != want[i])
            fail_msg("file %zu is %s", i, verdict_text(t->items[i].verdict));
}

static void a_verdict_is_the_worst_of_status_and_cases(void **state)
{
    static const verdict want[] = { VERDICT_PASSED,   VERDICT_FAILED, VERDICT_FAILED,
                                    VERDICT_FAILED,   VERDICT_FLAKY,  VERDICT_PASSED,
                                    VERDICT_NO_TESTS, VERDICT_ERRORED };
    stage *s = *state;
    CLEANUP(told)
    told t = { 0 };

    add_file(s, "t/0", 0644, "<testcase name='a'/>");
    add_file(s, "t/1", 0644, "<testcase name='a'><failure/></testcase>");
    add_file(s, "t/2", 0644, "<testcase name='a'><error/></testcase>");
    add_file(s, "t/3", 0644, "<testcase name='fail'/>");
    add_file(s, "t/4", 0644, "<testcase name='a'/><testcase name='b'><flakyError/></testcase>");
    add_file(s, "t/5", 0644, "<testcase name='a'><skipped/></testcase>");
    add_file(s, "t/6", 0644, "");
    add_file(s, "t/7", 0644, "<testcase name='a'/><");
    run_with(s, REPORT_JUNIT, "t/0 t/1 t/2 t/3 t/4 t/5 t/6 t/7",
             "mkdir -p out/x; (echo '<testsuite>'; cat {}; echo '</testsuite>') >out/x/r.xml\n"
             "! grep -q fail\\' {}",
             0, &t);
    assert_verdicts(&t, 8, want);
    assert_string_equal(buf_str(&t.cases), "0/passed a\n1/failed a\n2/errored a\n3/passed fail\n"
                                           "4/passed a\n4/flaky b\n5/skipped a\n7/passed a\n");
    assert_int_equal(t.items[1].bad, 1);
    assert_int_equal(t.items[2].bad, 1);
    assert_int_equal(t.items[3].bad, 0);
    assert_output(s, &t.items[3], "volt: t/3: no case failed, but it ended with status 1\n");
    assert_output(s, &t.items[6], "volt: t/6: its report has no cases\n");
    assert_output(s, &t.items[7],
                  "volt: t/7: out/x/r.xml: line 2, column 22: not well-formed "
                  "(invalid token)\n");
}

static void a_unit_without_a_report_of_its_own_is_errored(void **state)
{
    static const verdict want[] = { VERDICT_PASSED, VERDICT_ERRORED, VERDICT_ERRORED,
                                    VERDICT_PASSED };
    stage *s = *state;
    CLEANUP(told)
    told t = { 0 };

    add_file(s, "out/kept.xml", 0644, "<testsuite><testcase name='of the commit'/></testsuite>");
    add_file(s, "t/a", 0644, "");
    add_file(s, "t/b", 0644, "");
    run_with(s, REPORT_JUNIT, "t/a t/b t/x t/a",
             "test {} != t/a || echo \"<testsuite><testcase name='{}'/></testsuite>\" >out/a.xml\n"
             "test {} != t/x || exit 9",
             0, &t);
    assert_verdicts(&t, 4, want);
    assert_string_equal(buf_str(&t.cases), "0/passed t/a\n3/passed t/a\n");
    assert_output(s, &t.items[1],
                  "volt: t/b: no report: it wrote nothing that 'out/**/*.xml' names\n");
    assert_int_equal(t.items[2].exit, 9);
}

static void what_a_stopped_unit_wrote_is_not_the_next_ones(void **state)
{
    stage *s = *state;
    CLEANUP(buf)
    buf spec = { 0 };
    CLEANUP(told)
    told t = { 0 };
    msg_assign a = order(s, 1, commit(s), "hang next");

    plan_spec_write(&(msg_spec){ .run = SLICE("test {} = next || { mkdir out; echo '<testsuite/>' "
                                              ">out/a.xml; sleep 100; }"),
                                 .report = REPORT_JUNIT,
                                 .report_files = SLICE("out/*.xml") },
                    &spec);
    a.spec = buf_slice(&spec);
    a.timeout_ms = 1000;
    a.grace_ms = 1000;
    run(s, &a);
    listen(s, &t);
    assert_verdicts(&t, 2, (const verdict[]){ VERDICT_TIMEOUT, VERDICT_ERRORED });
}

static void links_and_other_things_are_no_reports(void **state)
{
    stage *s = *state;
    CLEANUP(told)
    told t = { 0 };

    add_file(s, "good", 0644, "<testsuite><testcase name='a'/></testsuite>");
    run_with(s, REPORT_JUNIT, "good",
             "mkdir -p out/d.xml; mkfifo out/f.xml; ln -s ../good out/l.xml", 0, &t);
    assert_verdicts(&t, 1, (const verdict[]){ VERDICT_ERRORED });
}

static void many_cases_go_in_parts(void **state)
{
    stage *s = *state;
    CLEANUP(told)
    told t = { 0 };

    add_file(s, "t/a", 0644, "");
    run_with(s, REPORT_TAP, "t/a t/a",
             "seq 3000 | sed 's/.*/ok & - case & of a file that has very many of them/'; "
             "echo 1..3000",
             0, &t);
    assert_verdicts(&t, 2, (const verdict[]){ VERDICT_PASSED, VERDICT_PASSED });
    assert_int_equal(t.cases_n, 6000);
    assert_int_equal(t.items[1].cases, 3000);
    assert_true(t.messages > 2);
    assert_non_null(strstr(buf_str(&t.cases), "1/passed case 3000 of a file"));
}

static void too_many_cases_are_counted_and_said(void **state)
{
    stage *s = *state;
    CLEANUP(told)
    told t = { 0 };

    run_with(s, REPORT_TAP, "x",
             "seq 10000 | sed 's/.*/ok &/'; echo not ok a; echo ok b; echo 1..10002 \"#\"", 0, &t);
    assert_verdicts(&t, 1, (const verdict[]){ VERDICT_FAILED });
    assert_int_equal(t.items[0].cases, 10000);
    assert_int_equal(t.items[0].bad, 1);
    assert_non_null(strstr(s->log, "volt: x: 2 of its cases are not kept: at most 10000 and"));
}

static void tap_that_was_cut_tells_nothing(void **state)
{
    stage *s = *state;
    CLEANUP(told)
    told t = { 0 };

    run_with(s, REPORT_TAP, "x", "echo 1..1; seq 1000; echo ok", 100, &t);
    assert_verdicts(&t, 1, (const verdict[]){ VERDICT_ERRORED });
    assert_non_null(strstr(s->log, "volt: x: its output was not kept whole"));
}

static void a_crash_behind_the_last_case_is_a_failure(void **state)
{
    stage *s = *state;
    CLEANUP(told)
    told t = { 0 };
    msg_result r = run_with(s, REPORT_TAP, "x", "echo 1..1; echo ok 1; kill -SEGV $$", 0, &t);

    assert_verdicts(&t, 1, (const verdict[]){ VERDICT_FAILED });
    assert_int_equal(r.verdict, VERDICT_FAILED);
    assert_non_null(strstr(s->log, "volt: x: no case failed, but signal 11 ended it"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_verdict_is_the_worst_of_status_and_cases),
        TEST(a_unit_without_a_report_of_its_own_is_errored),
        TEST(what_a_stopped_unit_wrote_is_not_the_next_ones),
        TEST(links_and_other_things_are_no_reports),
        TEST(many_cases_go_in_parts),
        TEST(too_many_cases_are_counted_and_said),
        TEST(tap_that_was_cut_tells_nothing),
        TEST(a_crash_behind_the_last_case_is_a_failure),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
