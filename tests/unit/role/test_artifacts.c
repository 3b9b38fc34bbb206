/* The query that says which archives count for the jobs of a build. */
#include "dispatcher_world.h"

/* The runner answers its newest assign, and leaves an archive of so many bytes. */
static uint64_t leave(world *w, verdict v, slice bytes)
{
    const msg_assign *a = world_assign(w, RUNNER);
    uint64_t task = a->task;
    rec_item items[8] = { { .verdict = v }, { .verdict = v }, { .verdict = v } };
    msg m = { .type = MSG_result,
              .result = { .task = task,
                          .att = a->att,
                          .verdict = v,
                          .from = a->from,
                          .items = { items, a->files.n },
                          .artifact_bytes = bytes.n } };
    msg piece = { .type = MSG_log,
                  .log = { .task = task, .att = a->att, .d = bytes, .part = PART_ARTIFACTS } };

    assert_true(a->files.n <= 3);
    if (bytes.n)
        world_say(w, RUNNER, &piece);
    world_say(w, RUNNER, &m);
    return task;
}

static rec_job named(const char *name)
{
    return (rec_job){ .name = slice_of(name), .artifacts = true };
}

static void begin(world *w, rec_job *jobs, size_t n)
{
    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "demo", "refs/heads/main");
    world_plan(w, RUNNER, jobs, n);
}

static const rec_artifact_row_list *ask(world *w, uint64_t build, slices jobs, uint64_t from)
{
    world_say(w, CLIENT,
              &(msg){ .type = MSG_artifacts,
                      .r = 7,
                      .artifacts = { .build = build, .jobs = jobs, .from = from } });
    assert_non_null(world_last(w, CLIENT, MSG_artifacts_are));
    return &world_last(w, CLIENT, MSG_artifacts_are)->artifacts_are.rows;
}

static void knows_no_build_that_is_not_there(void **state)
{
    world *w = *state;

    world_say(w, CLIENT, &(msg){ .type = MSG_artifacts, .artifacts.build = 9 });
    assert_int_equal(world_last(w, CLIENT, MSG_err)->err.code, CODE_NOT_FOUND);
}

static void names_the_newest_try_of_a_script(void **state)
{
    world *w = *state;
    rec_job job = named("job");
    uint64_t task;

    job.retry = 1;
    begin(w, &job, 1);
    leave(w, VERDICT_FAILED, SLICE("first"));
    assert_int_equal(ask(w, 1, (slices){ 0 }, 0)->n, 1);
    task = leave(w, VERDICT_PASSED, SLICE("second"));
    assert_int_equal(ask(w, 1, (slices){ 0 }, 0)->n, 1);
    assert_int_equal(ask(w, 1, (slices){ 0 }, 0)->v[0].task, task);
    assert_int_equal(ask(w, 1, (slices){ 0 }, 0)->v[0].bytes, 6);
    assert_int_equal(ask(w, 1, (slices){ 0 }, 1)->n, 0);
}

static void names_nothing_when_the_newest_try_left_nothing(void **state)
{
    world *w = *state;
    rec_job job = named("job");

    job.retry = 1;
    begin(w, &job, 1);
    leave(w, VERDICT_FAILED, SLICE("first"));
    leave(w, VERDICT_PASSED, SLICE(""));
    assert_int_equal(ask(w, 1, (slices){ 0 }, 0)->n, 0);
}

static void names_each_batch_and_only_the_jobs_asked_for(void **state)
{
    world *w = *state;
    slice files[] = { SLICE("a"), SLICE("b"), SLICE("c") }, only[] = { SLICE("suite") };
    rec_job jobs[] = { named("suite"), named("other") };
    const rec_artifact_row_list *rows;
    uint64_t first;

    jobs[0].tests = true;
    jobs[0].batch = 1;
    jobs[0].priority = 9;
    jobs[0].files = (slices){ files, 3 };
    begin(w, jobs, 2);
    first = leave(w, VERDICT_PASSED, SLICE("1"));
    leave(w, VERDICT_PASSED, SLICE(""));
    leave(w, VERDICT_FAILED, SLICE("333"));
    leave(w, VERDICT_PASSED, SLICE("4444"));
    rows = ask(w, 1, (slices){ only, 1 }, 0);
    assert_int_equal(rows->n, 2);
    assert_int_equal(rows->v[0].task, first);
    assert_int_equal(rows->v[1].bytes, 3);
    assert_int_equal(ask(w, 1, (slices){ 0 }, 0)->n, 3);
    assert_int_equal(ask(w, 1, (slices){ 0 }, 2)->n, 1);
}

/* Build 2 retries 1, and 3 retries 2: the archive is the first one's. */
static void finds_what_an_earlier_build_left(void **state)
{
    world *w = *state;
    slice needs[] = { SLICE("make") };
    rec_job jobs[] = { named("make"), { .name = SLICE("use"), .needs = { needs, 1 } } };
    const rec_artifact_row_list *rows;
    uint64_t task;
    bool more;
    volt_err err;

    begin(w, jobs, 2);
    task = leave(w, VERDICT_PASSED, SLICE("made"));
    leave(w, VERDICT_FAILED, SLICE(""));
    for (uint64_t build = 1; build <= 2; build++) {
        char sid[33];

        snprintf(sid, sizeof sid, "%032d", 90 + (int)build);
        world_say(w, CLIENT,
                  &(msg){ .type = MSG_rebuild,
                          .rebuild = { .sid = slice_of(sid), .build = build, .failed = true } });
        world_plan(w, RUNNER, jobs, 2);
        assert_int_equal(world_assign(w, RUNNER)->inputs.n, 1);
        leave(w, VERDICT_FAILED, SLICE(""));
    }
    rows = ask(w, 3, (slices){ needs, 1 }, 0);
    assert_int_equal(rows->n, 1);
    assert_int_equal(rows->v[0].task, task);
    assert_int_equal(rows->v[0].build, 1);

    /* The first is forgotten, so it cannot be had any more, and that is said. */
    if (dispatcher_prune(w->d, w->wall_ms + 2, &(dispatcher_keep){ .ms = 1 }, 6, &more, &err))
        fail_msg("%s", err.msg);
    world_commit(w);
    world_say(w, CLIENT, &(msg){ .type = MSG_task, .task.task = task });
    assert_int_equal(world_last(w, CLIENT, MSG_err)->err.code, CODE_NOT_FOUND);
    rows = ask(w, 3, (slices){ needs, 1 }, 0);
    assert_int_equal(rows->n, 1);
    assert_int_equal(rows->v[0].task, 0);
}

/* The one that is taken over is found last, and yet unpacked first. */
static void keeps_the_order_of_jobs_when_one_is_taken_over(void **state)
{
    world *w = *state;
    rec_job jobs[] = { named("early"), named("late") };
    const rec_artifact_row_list *rows;

    begin(w, jobs, 2);
    leave(w, VERDICT_PASSED, SLICE("1"));
    leave(w, VERDICT_FAILED, SLICE("22"));
    world_say(w, CLIENT,
              &(msg){ .type = MSG_rebuild,
                      .rebuild = { .sid = SLICE("00000000000000000000000000000091"),
                                   .build = 1,
                                   .failed = true } });
    world_plan(w, RUNNER, jobs, 2);
    leave(w, VERDICT_PASSED, SLICE("333"));
    rows = ask(w, 2, (slices){ 0 }, 0);
    assert_int_equal(rows->n, 2);
    assert_true(slice_is(rows->v[0].job, "early"));
    assert_int_equal(rows->v[0].bytes, 1);
    assert_int_equal(rows->v[1].bytes, 3);
}

static void shows_them_once_they_are_whole(void **state)
{
    world *w = *state;
    rec_job job = named("job");
    msg get = { .type = MSG_get, .get = { .part = PART_ARTIFACTS } };

    begin(w, &job, 1);
    w->log_file = "made";
    get.get.task = world_assign(w, RUNNER)->task;
    world_say(w, CLIENT, &get);
    assert_int_equal(world_last(w, CLIENT, MSG_chunk)->chunk.d.n, 0);
    leave(w, VERDICT_PASSED, SLICE("made"));
    world_say(w, CLIENT, &get);
    assert_true(slice_is(world_last(w, CLIENT, MSG_chunk)->chunk.d, "made"));
    assert_true(world_last(w, CLIENT, MSG_chunk)->chunk.eof);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(knows_no_build_that_is_not_there),
        TEST(names_the_newest_try_of_a_script),
        TEST(names_nothing_when_the_newest_try_left_nothing),
        TEST(names_each_batch_and_only_the_jobs_asked_for),
        TEST(finds_what_an_earlier_build_left),
        TEST(keeps_the_order_of_jobs_when_one_is_taken_over),
        TEST(shows_them_once_they_are_whole),
    };

    return cmocka_run_group_tests_name("artifacts", tests, NULL, NULL);
}
