#include "stage.h"

#define PYTHON(body) \
    "import unittest\nclass T(unittest.TestCase):\n    def test_it(self): " body "\n"

static void every_unit_has_its_verdict_and_its_part_of_the_log(void **state)
{
    static const verdict want[] = { VERDICT_PASSED, VERDICT_FAILED, VERDICT_NO_TESTS,
                                    VERDICT_FAILED, VERDICT_PASSED, VERDICT_FAILED,
                                    VERDICT_FAILED, VERDICT_ERRORED };
    stage *s = *state;
    rec_item got[8];
    msg_assign a;

    add_file(s, "tests/test_ok.py", 0644, PYTHON("pass"));
    add_file(s, "tests/test_bad.py", 0644, PYTHON("self.fail()"));
    add_file(s, "tests/test_none.py", 0644, "");
    add_file(s, "tests/test_leaves.py", 0644, "import os; os._exit(0)\n");
    add_file(s, "tests/ok", 0755, "#!/bin/sh\necho out; echo err >&2; printf '\\377'\n");
    add_file(s, "tests/bad", 0755, "#!/bin/sh\necho bad; exit 3\n");
    add_file(s, "tests/dies", 0755, "#!/bin/sh\nkill -ABRT $$\n");
    a = order(s, 1, commit(s),
              "tests/test_ok.py tests/test_bad.py tests/test_none.py tests/test_leaves.py "
              "tests/ok tests/bad tests/dies tests/absent");
    assert_int_equal(run(s, &a)->verdict, VERDICT_ERRORED);
    assert_int_equal(s->said[0].type, MSG_start);
    assert_int_equal(outcomes(s, got), 8);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(got[i].verdict, want[i]);
    assert_int_equal(got[0].exit, 0);
    assert_int_equal(got[5].exit, 3);
    assert_int_equal(got[6].signal, SIGABRT);
    assert_output(s, &got[3], "volt: the process ended with status 0 before its tests were done\n");
    assert_output(s, &got[4], "out\nerr\n\377");
    assert_output(s, &got[5], "bad\n");
    assert_output(s, &got[7], "volt: tests/absent: cannot be started: No such file or directory\n");
    for (size_t i = 1; i < 8; i++)
        assert_int_equal(got[i].log_off, got[i - 1].log_off + got[i - 1].log_len);
    assert_int_equal(last(s)->result.log_bytes, got[7].log_off + got[7].log_len);
}

static void outcomes_travel_together(void **state)
{
    enum { UNITS = 150 };
    stage *s = *state;
    rec_item got[UNITS];
    slice tests[UNITS];
    size_t tests_n = 0;
    msg_assign a;

    add_file(s, "tests/true", 0755, "#!/bin/true\n");
    a = order(s, 1, commit(s), "");
    a.kind = TASK_TESTS;
    for (a.files.n = 0; a.files.n < UNITS; a.files.n++)
        a.files.v[a.files.n] = SLICE("tests/true");
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    assert_int_equal(outcomes(s, got), UNITS);
    assert_true(s->said_n < UNITS);
    for (size_t i = 0; i < s->said_n; i++)
        if (s->said[i].type == MSG_tests)
            tests[tests_n++] = s->frames[i];
    assert_spooled(s, SPOOL_TESTS, tests, tests_n);
}

static void an_outcome_is_told_while_the_next_unit_runs(void **state)
{
    stage *s = *state;
    rec_item got[2];
    int64_t hang_ms = now_ms() + HANG_MS;
    msg_assign a;

    add_file(s, "tests/quick", 0755, "#!/bin/true\n");
    add_file(s, "tests/slow", 0755, "#!/bin/sh\nsleep 100\n");
    a = order(s, 1, commit(s), "tests/quick tests/slow");
    begin(s, &a);
    while (outcomes(s, got) == 0) {
        assert_true(now_ms() < hang_ms);
        wait_some(s, 1000);
    }
    assert_true(executor_busy(s->ex));
    executor_leave(s->ex, "enough", now_ms());
    assert_int_equal(finish(s)->result.verdict, VERDICT_CANCELED);
    assert_int_equal(outcomes(s, got), 2);
    assert_int_equal(got[1].verdict, VERDICT_CANCELED);
    assert_true(executor_finished(s->ex));
}

static void a_rest_of_a_batch_counts_from_its_place(void **state)
{
    stage *s = *state;
    msg_assign a;

    add_file(s, "tests/true", 0755, "#!/bin/true\n");
    a = order(s, 1, commit(s), "tests/true tests/true");
    a.from = 40;
    run(s, &a);
    assert_int_equal(last(s)->result.from + last(s)->result.items.n, 42);
}

static void a_hanging_test_is_stopped_and_named(void **state)
{
    stage *s = *state;
    rec_item got[2];
    msg_assign a;

    add_file(s, "tests/test_hang.py", 0644, "import time\nwhile True: time.sleep(1)\n");
    add_file(s, "tests/true", 0755, "#!/bin/true\n");
    a = order(s, 1, commit(s), "tests/test_hang.py tests/true");
    a.timeout_ms = 1000;
    a.grace_ms = 1000;
    assert_int_equal(run(s, &a)->verdict, VERDICT_TIMEOUT);
    outcomes(s, got);
    assert_int_equal(got[0].verdict, VERDICT_TIMEOUT);
    assert_int_equal(got[1].verdict, VERDICT_PASSED);
    assert_non_null(strstr(s->log, "volt: tests/test_hang.py: stopped at its time limit of 1.0 s"));
}

static void a_log_beyond_its_cap_is_cut_and_the_result_says_so(void **state)
{
    stage *s = *state;
    msg_assign a = order(s, 1, commit(s), NULL);
    const msg_result *r;

    a.spec = spec_of("head -c 300000 /dev/zero; echo; echo end");
    a.log_max = 1000;
    r = run(s, &a);
    assert_int_equal(r->verdict, VERDICT_PASSED);
    assert_true(r->log_bytes < 1100);
    assert_true(slice_is(r->msg, "the log was cut at its limit; 299005 bytes were thrown away"));
}

static void nothing_leaks_into_a_task(void **state)
{
    stage *s = *state;
    slice oid = commit(s);
    int leak = open("/dev/null", O_RDONLY);

    setenv("SECRET", "of the runner", 1);
    run_script(s, 1, oid,
               "ls /proc/self/fd | tr '\\n' ' '; env | cut -d= -f1 | sort | tr '\\n' ' '");
    unsetenv("SECRET");
    close(leak);
    /* 3 is ls reading the directory */
    assert_string_equal(s->log, "0 1 2 3 CI HOME LANG PATH PWD TMPDIR VOLT VOLT_ATTEMPT "
                                "VOLT_BRANCH VOLT_BUILD VOLT_COMMIT VOLT_JOB VOLT_OUTPUT VOLT_REF "
                                "VOLT_REPO VOLT_RUNNER VOLT_TASK VOLT_WORKSPACE ");
}

static void variables_of_the_pipeline_file_replace_all_but_volts_own(void **state)
{
    rec_var own[] = { { SLICE("LANG"), SLICE("x y") },       { SLICE("MINE"), { 0 } },
                      { SLICE("VOLT_JOB"), SLICE("other") }, { SLICE("VOLT"), SLICE("no") },
                      { SLICE("HOM"), SLICE("e") },          { SLICE("CUT"), SLICE("a\0b") } };
    stage *s = *state;
    msg_assign a = order(s, 1, commit(s), NULL);
    CLEANUP(buf)
    buf spec = { 0 };

    plan_spec_write(&(msg_spec){ .script = SLICE("env | sort | grep -E '^(LANG|MINE|VOLT|VOLT_JOB|"
                                                 "HOM|CUT|CI)=' | tr '\\n' ';'; test -d $HOME"),
                                 .env = { own, sizeof own / sizeof *own } },
                    &spec);
    a.spec = buf_slice(&spec);
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    assert_string_equal(s->log, "CI=true;HOM=e;LANG=x y;MINE=;VOLT=true;VOLT_JOB=tests;");
}

static const msg_result *run_by(stage *s, uint64_t task, slice oid, const char *command)
{
    rec_var path = { SLICE("PATH"), SLICE("bin:/usr/bin:/bin") };
    msg_assign a = order(s, task, oid, "tests/who");
    CLEANUP(buf)
    buf spec = { 0 };

    plan_spec_write(
        &(msg_spec){ .run = slice_of(command), .env = { &path, strncmp(command, "own", 3) == 0 } },
        &spec);
    a.spec = buf_slice(&spec);
    return run(s, &a);
}

/* It tells the test no difference, but costs less. */
static void a_plain_command_runs_without_a_shell(void **state)
{
    stage *s = *state;
    slice oid;

    add_file(
        s, "tests/who", 0755,
        "#!/bin/sh\ntest \"$PWD\" = \"$(pwd -P)\" && env | grep -c ^PWD; cat /proc/$PPID/comm\n");
    add_file(s, "tests/text", 0644, "no program\n");
    add_file(s, "tests/lost", 0755, "#!/nowhere/sh\n");
    add_file(s, "bin/own", 0755, "#!/bin/sh\necho $0 $1\n");
    oid = commit(s);
    assert_int_equal(run_by(s, 1, oid, "./{}")->verdict, VERDICT_PASSED);
    assert_string_equal(s->log, "1\nexec_test_batch\n");
    assert_int_equal(run_by(s, 2, oid, "sh {}")->verdict, VERDICT_PASSED);
    assert_string_equal(s->log, "1\nexec_test_batch\n");
    assert_int_equal(run_by(s, 3, oid, "./{}; true")->verdict, VERDICT_PASSED);
    assert_string_equal(s->log, "1\nsh\n");
    assert_int_equal(run_by(s, 4, oid, "absent {}")->exit, 127);
    assert_non_null(strstr(s->log, "absent: not found\n"));
    assert_int_equal(run_by(s, 5, oid, "./tests/text {}")->exit, 126);
    assert_non_null(strstr(s->log, "./tests/text: Permission denied\n"));
    assert_int_equal(run_by(s, 6, oid, "exit 3")->exit, 3);
    assert_int_equal(run_by(s, 7, oid, "own {}")->verdict, VERDICT_PASSED); /* below the checkout */
    assert_string_equal(s->log, "bin/own tests/who\n");
    assert_int_equal(run_by(s, 8, oid, "./tests/lost {}")->exit, 127);
    assert_int_equal(last(s)->result.verdict, VERDICT_FAILED);
    assert_non_null(strstr(s->log, "./tests/lost: not found\n"));
    assert_int_equal(run_by(s, 9, oid, "setsid false")->exit,
                     1); /* as a leader it would not wait */
}

static void variables_of_the_submission_replace_those_of_the_pipeline_file(void **state)
{
    rec_var own[] = { { SLICE("A"), SLICE("file") }, { SLICE("B"), SLICE("file") } };
    slice given[] = { SLICE("A=given=so"), SLICE("C="), SLICE("VOLT_JOB=other") };
    stage *s = *state;
    msg_assign a = order(s, 1, commit(s), NULL);
    CLEANUP(buf)
    buf spec = { 0 };

    plan_spec_write(
        &(msg_spec){ .script = SLICE("echo $A $B ${C-unset} $VOLT_JOB"), .env = { own, 2 } },
        &spec);
    a.spec = buf_slice(&spec);
    a.env = (slices){ given, 3 };
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    assert_string_equal(s->log, "given=so file tests\n");
}

static void files_are_run_by_the_command_of_the_spec(void **state)
{
    stage *s = *state;
    msg_assign a = order(s, 1, commit(s), "a/test_x.py gone");
    CLEANUP(buf)
    buf spec = { 0 };
    rec_item got[2];

    plan_spec_write(&(msg_spec){ .run = SLICE("echo {} $VOLT_TEST_FILES\nfalse | true\n"
                                              "test {} != gone\necho end") },
                    &spec);
    a.spec = buf_slice(&spec);
    assert_int_equal(run(s, &a)->verdict, VERDICT_FAILED);
    assert_int_equal(outcomes(s, got), 2);
    assert_int_equal(got[0].verdict, VERDICT_PASSED); /* by exit status 0, though a Python file */
    assert_int_equal(got[1].verdict, VERDICT_FAILED);
    assert_int_equal(got[1].exit, 1);
    assert_string_equal(s->log, "a/test_x.py a/test_x.py\nend\ngone gone\n");
}

static void home_is_empty_each_time_and_goes(void **state)
{
    stage *s = *state;
    slice oid = commit(s);

    for (uint64_t task = 1; task <= 2; task++) {
        run_script(s, task, oid,
                   "ls -A $HOME $TMPDIR $VOLT_OUTPUT | grep -v ^/ | grep . || true; "
                   "touch $HOME/x $TMPDIR/x; mkdir $TMPDIR/d; chmod 0 $TMPDIR/d");
        assert_string_equal(s->log, "");
    }
    shell("test -z \"$(find '%s/home' ! -type d)\"", s->work);
}

static void batches_of_one_job_share_a_workspace_others_get_a_clean_one(void **state)
{
    static const char touch[] = "ls; touch left; mkdir -p a/b; git init -q a/b";
    stage *s = *state;
    slice oid;
    msg_assign a;

    add_file(s, "file", 0644, "");
    oid = commit(s);
    assert_int_equal(run_script(s, 1, oid, touch)->verdict, VERDICT_PASSED);
    assert_string_equal(s->log, "file\n");
    run_script(s, 2, oid, touch);
    assert_string_equal(s->log, "a\nfile\nleft\n");
    a = order(s, 3, oid, NULL);
    a.spec = spec_of(touch);
    a.build = 2;
    run(s, &a);
    assert_string_equal(s->log, "file\n");
    a.task = 4;
    a.job = SLICE("other");
    run(s, &a);
    assert_string_equal(s->log, "file\n");
}

static void a_fixed_commit_after_a_broken_one_is_green(void **state)
{
    stage *s = *state;
    msg_assign a;
    slice broken, fixed;

    add_file(s, ".gitignore", 0644, "__pycache__\n");
    add_file(s, "tests/value.py", 0644, "x = 1\n");
    add_file(s, "tests/test_x.py", 0644, "import value\n" PYTHON("self.assertEqual(value.x, 2)"));
    broken = commit(s);
    add_file(s, "tests/value.py", 0644, "x = 2\n"); /* as long, and as old to the second */
    fixed = commit(s);
    for (uint64_t i = 0; i < 4; i++) {
        a = order(s, 1 + i, i % 2 ? fixed : broken, "tests/test_x.py");
        a.build = 1 + i;
        assert_int_equal(run(s, &a)->verdict, i % 2 ? VERDICT_PASSED : VERDICT_FAILED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_unit_has_its_verdict_and_its_part_of_the_log),
        TEST(outcomes_travel_together),
        TEST(an_outcome_is_told_while_the_next_unit_runs),
        TEST(a_rest_of_a_batch_counts_from_its_place),
        TEST(a_hanging_test_is_stopped_and_named),
        TEST(a_log_beyond_its_cap_is_cut_and_the_result_says_so),
        TEST(nothing_leaks_into_a_task),
        TEST(a_plain_command_runs_without_a_shell),
        TEST(variables_of_the_pipeline_file_replace_all_but_volts_own),
        TEST(variables_of_the_submission_replace_those_of_the_pipeline_file),
        TEST(files_are_run_by_the_command_of_the_spec),
        TEST(home_is_empty_each_time_and_goes),
        TEST(batches_of_one_job_share_a_workspace_others_get_a_clean_one),
        TEST(a_fixed_commit_after_a_broken_one_is_green),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
