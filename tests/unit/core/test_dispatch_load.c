/* What a dispatch makes of stored rows, damaged ones too. */
#include "dispatch_world.h"

#include "core/build.h"

#define TEXT(literal)               \
    {                               \
        literal, sizeof literal - 1 \
    } /* of a constant */

static const row repo_row = {
    .kind = ROW_REPO, .repo = { .name = TEXT("demo"), .url = TEXT("https://example.org/demo.git") }
};
static const row build_row = { .kind = ROW_BUILD,
                               .build = { .build = 1,
                                          .repo = TEXT("demo"),
                                          .ref = TEXT("refs/heads/main"),
                                          .oid = TEXT(OID),
                                          .state = STATE_RUNNING } };
static const row job_row = {
    .kind = ROW_JOB,
    .job = { .build = 1, .name = TEXT("job"), .tests = true, .units = 1, .state = STATE_RUNNING }
};
static const row unit_row = { .kind = ROW_UNIT, .unit = { .build = 1, .file = TEXT("a") } };
static const row task_row_2 = { .kind = ROW_TASK,
                                .task = { .task = 2,
                                          .build = 1,
                                          .kind = TASK_TESTS,
                                          .state = STATE_LEASED,
                                          .att = 1,
                                          .runner = TEXT(ID),
                                          .units = { "\0\0\0\0", 4 } } };

static void loads(world *w, row r)
{
    volt_err err = { 0 };

    if (dispatch_load(w->d, &r, &err))
        fail_msg("%s", err.msg);
}

static void refuses(world *w, row r, const char *why)
{
    volt_err err = { 0 };

    assert_int_equal(dispatch_load(w->d, &r, &err), VOLT_ECORRUPT);
    assert_string_equal(err.msg, why);
}

static void refuses_rows_that_contradict_each_other(void **unused)
{
    world *w = world_new();
    row r;

    (void)unused;
    refuses(w, build_row, "build 1: its repository is unknown, or it is there twice");
    refuses(w, job_row, "job 0 of build 1 has no build or is out of order");
    refuses(w, unit_row, "unit 0 of job 0 of build 1 is out of order");
    refuses(w, task_row_2, "task 2 has no build or job, or is there twice");
    loads(w, repo_row);
    loads(w, build_row);
    refuses(w, build_row, "build 1: its repository is unknown, or it is there twice");
    refuses(w, unit_row, "unit 0 of job 0 of build 1 is out of order");
    refuses(w, task_row_2, "task 2 has no build or job, or is there twice");
    r = job_row;
    r.job.idx = 1;
    refuses(w, r, "job 1 of build 1 has no build or is out of order");
    r = job_row;
    r.job.units = BUILD_UNITS_MAX + 1;
    refuses(w, r, "job 0 of build 1 has too many units");
    loads(w, job_row);
    refuses(w, task_row_2, "task 2 names a unit that is not there");
    r = unit_row;
    r.unit.i = 1;
    refuses(w, r, "unit 1 of job 0 of build 1 is out of order");
    loads(w, unit_row);
    r.unit.i = 1;
    refuses(w, r, "unit 1 of job 0 of build 1 is out of order");
    r = task_row_2;
    r.task.task = 3;
    r.task.kind = TASK_PLAN;
    r.task.job = ROW_JOB_PLAN;
    refuses(w, r, "task 3 names a unit that is not there");
    r = task_row_2;
    r.task.task = 4;
    loads(w, r);
    refuses(w, r, "task 4 has no build or job, or is there twice");
    world_free(w);
}

static void passes_over_rows_that_it_does_not_need(void **unused)
{
    world *w = world_new();

    (void)unused;
    loads(w, (row){ .kind = ROW_EVENT });
    loads(w, (row){ .kind = ROW_SUBMISSION });
    world_loaded(w);
    assert_int_equal(dispatch_builds(w->d), 0);
    world_free(w);
}

/* Its row is written with its first hello, so the store was damaged: the lease stands until it
 * lapses, and the task goes to a runner that is there. */
static void leases_what_an_unknown_runner_has(void **unused)
{
    world *w = world_new();

    (void)unused;
    loads(w, repo_row);
    loads(w, build_row);
    loads(w, job_row);
    loads(w, unit_row);
    loads(w, task_row_2);
    world_loaded(w);
    say(w, RUNNER, hello(ID2));
    assert_null(sent(w, RUNNER, MSG_assign));
    assert_in_range(until_assigned(w, 60000), 2 * dispatch_lease_ms(w->d),
                    3 * dispatch_lease_ms(w->d));
    assert_int_equal(sent(w, RUNNER, MSG_assign)->assign.task, 2);
    assert_int_equal(sent(w, RUNNER, MSG_assign)->assign.att, 2);
    world_free(w);
}

static void loads_a_runner_of_which_little_is_known(void **unused)
{
    world *w = world_new();
    msg_runners_are are;
    arena a = { 0 };

    (void)unused;
    loads(w, (row){ .kind = ROW_RUNNER,
                    .runner = { .id = SLICE(ID), .name = SLICE("box"), .state = RUNNER_UP } });
    world_loaded(w);
    dispatch_runners(w->d, w->now_ms, &(msg_runners){ .from = 0 }, &are, &a);
    assert_int_equal(are.rows.n, 1);
    assert_int_equal(are.rows.v[0].mode, MODE_RUN);
    assert_int_equal(are.rows.v[0].state, RUNNER_SUSPECT);
    arena_free(&a);
    world_free(w);
}

/* A job whose tests are none, and a canceled build: nothing is handed out. */
static void hands_out_nothing_of_a_canceled_build(void **unused)
{
    world *w = world_new();
    row r = build_row;

    (void)unused;
    loads(w, repo_row);
    r.build.state = STATE_CANCELING;
    loads(w, r);
    loads(w, job_row);
    loads(w, unit_row);
    r = job_row;
    r.job.idx = 1;
    r.job.name = SLICE("none");
    r.job.units = 0;
    r.job.state = STATE_FINAL;
    r.job.verdict = VERDICT_NO_TESTS;
    loads(w, r);
    world_loaded(w);
    say(w, RUNNER, hello(ID));
    assert_null(sent(w, RUNNER, MSG_assign));
    assert_int_equal(dispatch_builds(w->d), 1);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_rows_that_contradict_each_other),
        cmocka_unit_test(passes_over_rows_that_it_does_not_need),
        cmocka_unit_test(leases_what_an_unknown_runner_has),
        cmocka_unit_test(loads_a_runner_of_which_little_is_known),
        cmocka_unit_test(hands_out_nothing_of_a_canceled_build),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
