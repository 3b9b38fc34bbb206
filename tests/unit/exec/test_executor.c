#include "stage.h"

/* ---- plans ---- */

static msg_assign plan_order(stage *s, uint64_t task, slice oid)
{
    msg_assign a = order(s, task, oid, NULL);

    a.kind = TASK_PLAN;
    a.job = (slice){ 0 };
    return a;
}

static void plans_the_units_of_a_commit(void **state)
{
    stage *s = *state;
    msg_assign a;
    const rec_job *job;

    add_file(s, "tests/test_b.py", 0644, "");
    add_file(s, "tests/a/run", 0755, "");
    add_file(s, "tests/a/helper.py", 0644, "");
    add_file(s, "src/test_c.py", 0644, "");
    a = plan_order(s, 1, commit(s));
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    assert_int_equal(s->said_n, 3);
    assert_int_equal(s->said[0].type, MSG_start);
    assert_int_equal(s->said[1].type, MSG_plan);
    assert_true(s->said[1].plan.last);
    assert_int_equal(s->said[1].plan.jobs.n, 1);
    job = &s->said[1].plan.jobs.v[0];
    assert_true(slice_is(job->name, "tests"));
    assert_true(job->tests);
    assert_int_equal(job->timeout_ms, 600000);
    assert_int_equal(job->files.n, 2);
    assert_true(slice_is(job->files.v[0], "tests/a/run"));
    assert_true(slice_is(job->files.v[1], "tests/test_b.py"));
    assert_spooled(s, SPOOL_PLAN, &s->frames[1], 1);
}

static void a_commit_without_tests_has_a_plan_without_jobs(void **state)
{
    stage *s = *state;
    msg_assign a;

    add_file(s, "README", 0644, "");
    a = plan_order(s, 1, commit(s));
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    assert_int_equal(s->said_n, 3);
    assert_true(s->said[1].plan.last);
    assert_int_equal(s->said[1].plan.jobs.n, 0);
}

static void a_large_plan_comes_in_parts(void **state)
{
    enum { FILES = 6000 };
    stage *s = *state;
    msg_assign a;
    size_t n = 0;
    char want[256];

    shell("cd '%s' && (echo 'commit refs/heads/main'; echo 'committer t <t@t> 0 +0000'; "
          "echo 'data 0'; i=0; while [ $i -lt %d ]; do "
          "printf 'M 755 inline tests/%%0100d\\ndata 0\\n\\n' $i; i=$((i+1)); done) | "
          "git fast-import --quiet && git reset -q --soft main && git checkout -qf",
          s->repo, FILES);
    a = plan_order(s, 1, commit(s));
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    assert_true(s->said_n > 4);
    for (size_t i = 1; i + 1 < s->said_n; i++) {
        const msg_plan *p = &s->said[i].plan;

        assert_int_equal(s->said[i].type, MSG_plan);
        assert_int_equal(p->part, i - 1);
        assert_int_equal(p->last, i + 2 == s->said_n);
        assert_true(s->frames[i].n <= 200 * 1024);
        for (size_t k = 0; k < p->jobs.v[0].files.n; k++) {
            snprintf(want, sizeof want, "tests/%0100d", (int)n++);
            assert_true(slice_is(p->jobs.v[0].files.v[k], want));
        }
    }
    assert_int_equal(n, FILES);
    assert_spooled(s, SPOOL_PLAN, &s->frames[1], s->said_n - 2);
}

/* ---- remote repositories ---- */

/* An ssh that runs what it is told here, after `first`. */
static void set_ssh(const stage *s, const char *first)
{
    char *path = mem_printf("%s/ssh", s->dir);
    FILE *f = fopen(path, "w");

    fprintf(f, "#!/bin/sh\n%s\nshift\nexec sh -c \"$*\"\n", first);
    fclose(f);
    chmod(path, 0755);
    setenv("GIT_SSH", path, 1);
    setenv("GIT_SSH_VARIANT", "simple", 1);
    free(path);
}

static msg_assign remote_order(stage *s, uint64_t task, slice oid)
{
    msg_assign a = order(s, task, oid, "tests/true");

    a.url = slice_of(arena_printf(&s->mem, "ssh://there%s", s->repo));
    return a;
}

static void a_remote_repository_is_fetched_and_then_followed(void **state)
{
    stage *s = *state;
    msg_assign a;

    set_ssh(s, ":");
    add_file(s, "tests/true", 0755, "#!/bin/true\n");
    a = remote_order(s, 1, commit(s));
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    add_file(s, "tests/true", 0755, "#!/bin/false\n");
    a = remote_order(s, 2, commit(s));
    a.build = 2;
    assert_int_equal(run(s, &a)->verdict, VERDICT_FAILED);
    a = remote_order(s, 3, SLICE("0123456789012345678901234567890123456789"));
    begin(s, &a);
    assert_int_equal(finish(s)->nack.code, CODE_NOT_FOUND);
}

static void a_fetch_can_be_canceled(void **state)
{
    stage *s = *state;
    msg_assign a;

    set_ssh(s, "sleep 1000");
    a = remote_order(s, 1, commit(s));
    begin(s, &a);
    assert_true(executor_busy(s->ex));
    executor_report(s->ex);
    assert_int_equal(last(s)->hb.held.v[0].state, HELD_ACCEPTED);
    wait_some(s, 50);
    assert_true(executor_busy(s->ex));
    give(s, &(msg){ .type = MSG_cancel, .cancel = { .task = 1, .att = 1 } });
    assert_int_equal(finish(s)->result.verdict, VERDICT_CANCELED);
    while (process_reap(&(process_exit){ 0 }) != PROCESS_NONE) /* what its kill left to us */
        process_kill_all();
}

/* ---- what the agent may say ---- */

static void assert_refused(stage *s, const msg_assign *a, code want)
{
    const msg *m;

    begin(s, a);
    m = finish(s);
    assert_int_equal(m->type, MSG_nack);
    assert_int_equal(m->nack.code, want);
    assert_true(m->nack.msg.n > 0);
    s->said_n = 0;
    executor_report(s->ex);
    assert_int_equal(last(s)->hb.held.n, 0);
}

static void what_cannot_be_run_is_refused_with_a_reason(void **state)
{
    stage *s = *state;
    slice oid = commit(s);
    msg_assign a = order(s, 1, SLICE("0123456789012345678901234567890123456789"), "tests/x");

    assert_refused(s, &a, CODE_NOT_FOUND);
    a = order(s, 2, oid, "tests/x");
    a.url = SLICE("local:elsewhere:/srv/x");
    assert_refused(s, &a, CODE_REPO);
    a = order(s, 3, oid, "tests/x");
    a.url = SLICE("local:box:/nowhere/at/all");
    assert_refused(s, &a, CODE_REPO);
    a = order(s, 4, oid, "tests/x tests/../../x");
    assert_refused(s, &a, CODE_SPEC);
    a = order(s, 5, oid, "/etc/passwd");
    assert_refused(s, &a, CODE_SPEC);
    a = order(s, 6, oid, NULL);
    assert_refused(s, &a, CODE_SPEC);
    a = order(s, 7, oid, "tests/x");
    a.spec = SLICE("of a later version");
    assert_refused(s, &a, CODE_SPEC);
}

static void no_attempt_starts_twice(void **state)
{
    stage *s = *state;
    slice oid = commit(s);
    msg_assign a = order(s, 1, oid, NULL);

    run_script(s, 1, oid, "true");
    close_executor(s); /* killed, say, and another came */
    open_executor(s, 1);
    a.spec = spec_of("true");
    assert_refused(s, &a, CODE_LOST);
}

static void an_assign_that_comes_again_repeats_what_was_said(void **state)
{
    stage *s = *state;
    msg_assign a = order(s, 1, commit(s), NULL), other;

    a.spec = spec_of("echo up; sleep 100");
    begin(s, &a);
    await_output(s);
    begin(s, &a);
    assert_int_equal(s->said_n, 1);
    assert_int_equal(last(s)->type, MSG_start);
    other = a;
    other.task = 2;
    begin(s, &other);
    assert_int_equal(s->said_n, 1);
    assert_int_equal(last(s)->nack.code, CODE_BUSY);
    assert_int_equal(last(s)->nack.task, 2);

    give(s, &(msg){ .type = MSG_cancel,
                    .cancel = { .task = 1, .att = 2, .grace_ms = 1 } }); /* of another attempt */
    assert_true(executor_busy(s->ex));
    give(s, &(msg){ .type = MSG_cancel,
                    .cancel = { .task = 1, .att = 1, .grace_ms = 5000, .why = SLICE("tired") } });
    assert_int_equal(finish(s)->result.verdict, VERDICT_CANCELED);
    assert_true(slice_is(last(s)->result.msg, "tired"));
    begin(s, &a);
    assert_int_equal(s->said_n, 1);
    assert_int_equal(last(s)->type, MSG_result);
    give(s, &(msg){ .type = MSG_cancel, .cancel = { .task = 1, .att = 1 } });
    assert_int_equal(s->said_n, 2);
    assert_int_equal(last(s)->type, MSG_result);
}

static void reports_what_it_holds(void **state)
{
    stage *s = *state;
    msg_assign a = order(s, 1, commit(s), NULL);

    executor_report(s->ex);
    assert_int_equal(last(s)->type, MSG_hb);
    assert_int_equal(last(s)->hb.held.n, 0);
    assert_int_equal(last(s)->hb.free, 1);
    a.spec = spec_of("echo up; sleep 100");
    begin(s, &a);
    await_output(s);
    give(s, &(msg){ .type = MSG_hb, .hb = { .n = 1 } });
    assert_int_equal(last(s)->hb.held.v[0].state, HELD_RUNNING);
    assert_int_equal(last(s)->hb.held.v[0].log_bytes, 3);
    assert_int_equal(last(s)->hb.free, 0);
    give(s, &(msg){ .type = MSG_bye });
    finish(s);
    executor_report(s->ex);
    assert_int_equal(last(s)->hb.held.v[0].state, HELD_DONE);
    assert_true(executor_finished(s->ex));
}

static void what_a_task_leaves_is_gone_before_its_result(void **state)
{
    stage *s = *state;

    run_script(s, 1, commit(s), "(setsid sh -c 'trap \"\" TERM; sleep 1000' >/dev/null 2>&1 &)");
    assert_int_equal(process_reap(&(process_exit){ 0 }), PROCESS_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(plans_the_units_of_a_commit), TEST(a_commit_without_tests_has_a_plan_without_jobs),
        TEST(a_large_plan_comes_in_parts), TEST(a_remote_repository_is_fetched_and_then_followed),
        TEST(a_fetch_can_be_canceled),     TEST(what_cannot_be_run_is_refused_with_a_reason),
        TEST(no_attempt_starts_twice),     TEST(an_assign_that_comes_again_repeats_what_was_said),
        TEST(reports_what_it_holds),       TEST(what_a_task_leaves_is_gone_before_its_result),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
