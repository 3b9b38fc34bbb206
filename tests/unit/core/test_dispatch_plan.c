/* What a plan asks for beyond the order of its jobs: that some always run, that older builds of the
 * branch end, and that a retry takes over what passed. */
#include "dispatch_world.h"

#define SID2 "dddddddddddddddddddddddddddddddd"
#define OID2 "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"

/* The row of a build or of the named job that the last step put last; state 0: none. */
static row_build build_row(const world *w, uint64_t build)
{
    row_build found = { 0 };

    for (size_t i = 0; i < w->out.n; i++)
        if (w->out.v[i].kind == EFFECT_PUT && w->out.v[i].row->kind == ROW_BUILD &&
            w->out.v[i].row->build.build == build)
            found = w->out.v[i].row->build;
    return found;
}

static row_job job_row(const world *w, const char *name)
{
    row_job found = { 0 };

    for (size_t i = 0; i < w->out.n; i++)
        if (w->out.v[i].kind == EFFECT_PUT && w->out.v[i].row->kind == ROW_JOB &&
            slice_is(w->out.v[i].row->job.name, name))
            found = w->out.v[i].row->job;
    return found;
}

static void runs_what_always_runs_after_a_failure(void **unused)
{
    slice needs[] = { SLICE("test") };
    rec_job jobs[] = { { .name = SLICE("test") },
                       { .name = SLICE("deploy"), .needs = { needs, 1 } },
                       { .name = SLICE("report"), .needs = { needs, 1 }, .always = true } };
    world *w = world_planning();

    (void)unused;
    say_plan(w, 0, true, jobs, 3);
    say(w, RUNNER, result(1, 1, VERDICT_PASSED));
    assert_string_equal(sent(w, RUNNER, MSG_assign)->assign.job.p, "test");
    assert_true(job_row(w, "report").always);
    say(w, RUNNER, result(2, 1, VERDICT_FAILED));
    assert_int_equal(job_row(w, "deploy").verdict, VERDICT_SKIPPED);
    assert_string_equal(sent(w, RUNNER, MSG_assign)->assign.job.p, "report");
    say(w, RUNNER, result(3, 1, VERDICT_PASSED));
    assert_int_equal(build_row(w, 1).verdict, VERDICT_FAILED);
    world_free(w);
}

/* Build 2 of the branch is planned while 1 runs and 3, of another branch, waits. */
static world *world_superseding(bool supersede)
{
    world *w = world_running(false);
    msg newer = submit("https://example.org/demo.git"), other = newer;
    rec_job job = { .name = SLICE("job") };

    newer.submit.sid = other.submit.sid = SLICE(SID2);
    newer.submit.oid = SLICE(OID2);
    other.submit.ref = SLICE("refs/heads/other");
    say(w, CLIENT, newer);
    assert_int_equal(sent(w, RUNNER, MSG_assign)->assign.build, 2);
    say(w, CLIENT, other);
    say(w, RUNNER,
        (msg){
            .type = MSG_plan,
            .plan = {
                .task = 3, .att = 1, .last = true, .supersede = supersede, .jobs = { &job, 1 } } });
    say(w, RUNNER, result(3, 1, VERDICT_PASSED));
    return w;
}

static void a_newer_commit_cancels_older_builds_of_its_branch(void **unused)
{
    world *w = world_superseding(true);

    (void)unused;
    assert_int_equal(build_row(w, 1).state, STATE_CANCELING);
    assert_string_equal(build_row(w, 1).why.p, "superseded by build 2");
    assert_int_equal(sent(w, RUNNER, MSG_cancel)->cancel.task, 2);
    assert_int_equal(build_row(w, 2).state, STATE_RUNNING);
    assert_int_equal(build_row(w, 3).state, 0);
    say(w, RUNNER, result(2, 1, VERDICT_CANCELED));
    assert_int_equal(build_row(w, 1).verdict, VERDICT_CANCELED);
    world_free(w);
    w = world_superseding(false);
    assert_int_equal(build_row(w, 1).state, 0);
    assert_null(sent(w, RUNNER, MSG_cancel));
    world_free(w);
}

static msg retry(uint64_t build)
{
    return (msg){ .type = MSG_rebuild,
                  .rebuild = { .build = build, .sid = SLICE(SID2), .failed = true } };
}

static void a_retry_takes_over_what_passed(void **unused)
{
    slice passed[] = { SLICE("make"), SLICE("unit") }, needs[] = { SLICE("make") };
    slice files[] = { SLICE("a"), SLICE("b") };
    row_build old = { .build = 70,
                      .repo = SLICE("demo"),
                      .ref = SLICE("refs/heads/main"),
                      .oid = SLICE(OID),
                      .state = STATE_FINAL,
                      .verdict = VERDICT_FAILED };
    rec_job jobs[] = { { .name = SLICE("make") },
                       { .name = SLICE("unit"), .tests = true, .files = { files, 2 } },
                       { .name = SLICE("check"), .needs = { needs, 1 } } };
    world *w = world_running(false);

    (void)unused;
    w->facts = (dispatch_facts){ .build = &old, .latest = &old, .passed = { passed, 2 } };
    say(w, CLIENT, retry(70));
    assert_int_equal(sent(w, CLIENT, MSG_accepted)->accepted.build, 2);
    assert_int_equal(build_row(w, 2).retry_of, 70);
    assert_int_equal(build_row(w, 2).gen, 1);
    assert_int_equal(build_row(w, 2).passed.n, 2);
    w->facts = (dispatch_facts){ 0 };
    say(w, RUNNER,
        (msg){ .type = MSG_plan,
               .plan = { .task = 3, .att = 1, .last = true, .jobs = { jobs, 3 } } });
    say(w, RUNNER, result(3, 1, VERDICT_PASSED));
    assert_int_equal(job_row(w, "make").verdict, VERDICT_PASSED);
    assert_string_equal(job_row(w, "make").why.p, "it passed in build 70");
    assert_int_equal(job_row(w, "unit").verdict, VERDICT_PASSED);
    assert_int_equal(job_row(w, "unit").units, 0);
    assert_int_equal(job_row(w, "check").state, STATE_QUEUED);
    assert_int_equal(build_row(w, 2).units, 1);
    say(w, RUNNER, result(2, 1, VERDICT_PASSED)); /* build 1's, which had the only slot */
    assert_string_equal(sent(w, RUNNER, MSG_assign)->assign.job.p, "check");
    say(w, RUNNER, result(4, 1, VERDICT_PASSED));
    assert_int_equal(build_row(w, 2).verdict, VERDICT_PASSED);
    world_free(w);
}

static void refuses_to_retry_what_has_not_failed(void **unused)
{
    row_build old = { .build = 70, .repo = SLICE("demo"), .oid = SLICE(OID) };
    world *w = world_running(false);

    (void)unused;
    w->facts = (dispatch_facts){ .build = &old, .latest = &old };
    old.state = STATE_RUNNING;
    say(w, CLIENT, retry(70));
    assert_string_equal(sent(w, CLIENT, MSG_err)->err.msg.p, "build 70 has not ended");
    old.state = STATE_FINAL;
    old.verdict = VERDICT_PASSED;
    say(w, CLIENT, retry(70));
    assert_string_equal(sent(w, CLIENT, MSG_err)->err.msg.p,
                        "build 70 has passed: there is nothing to retry");
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_what_always_runs_after_a_failure),
        cmocka_unit_test(a_newer_commit_cancels_older_builds_of_its_branch),
        cmocka_unit_test(a_retry_takes_over_what_passed),
        cmocka_unit_test(refuses_to_retry_what_has_not_failed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
