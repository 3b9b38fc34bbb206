/* Artifacts of attempts: pieces, results, and who is told to fetch them. */
#include "dispatch_world.h"

static msg piece(uint64_t task, uint64_t off, slice d)
{
    return (msg){
        .type = MSG_log,
        .log = { .task = task, .att = 1, .off = off, .d = d, .part = PART_ARTIFACTS },
    };
}

static msg left(uint64_t task, uint64_t bytes, verdict v)
{
    msg m = result(task, 1, v);

    m.result.artifact_bytes = bytes;
    return m;
}

/* RUNNER has task 2, the job `make`; `use` needs it. */
static world *world_making(bool artifacts)
{
    slice needs[] = { SLICE("make") };
    rec_job jobs[] = {
        { .name = SLICE("make"), .artifacts = artifacts },
        { .name = SLICE("use"), .needs = { needs, 1 }, .always = true },
    };
    world *w = world_planning();

    say_plan(w, 0, true, jobs, 2);
    say(w, RUNNER, result(1, 1, VERDICT_PASSED));
    assert_int_equal(sent(w, RUNNER, MSG_assign)->assign.task, 2);
    return w;
}

static const effect *effect_of(const world *w, effect_kind kind)
{
    for (size_t i = 0; i < w->out.n; i++)
        if (w->out.v[i].kind == kind)
            return &w->out.v[i];
    fail_msg("no such effect");
    return NULL;
}

static void takes_pieces_in_order_and_shows_them_to_nobody(void **unused)
{
    world *w = world_making(true);

    (void)unused;
    assert_true(sent(w, RUNNER, MSG_assign)->assign.artifact_max > 0);
    say(w, RUNNER, piece(2, 0, SLICE("1234")));
    assert_int_equal(effect_of(w, EFFECT_LOG_WRITE)->part, PART_ARTIFACTS);
    assert_null(sent(w, 0, MSG_log));
    assert_int_equal(sent(w, RUNNER, MSG_log_ok)->log_ok.part, PART_ARTIFACTS);
    assert_int_equal(sent(w, RUNNER, MSG_log_ok)->log_ok.off, 4);
    say(w, RUNNER, piece(2, 8, SLICE("9")));
    assert_int_equal(count(w, EFFECT_LOG_WRITE), 0);
    assert_int_equal(sent(w, RUNNER, MSG_log_ok)->log_ok.off, 4);
    world_free(w);
}

static void takes_a_result_once_they_are_whole(void **unused)
{
    world *w = world_making(true);

    (void)unused;
    say(w, RUNNER, piece(2, 0, SLICE("1234")));
    say(w, RUNNER, left(2, 8, VERDICT_FAILED));
    assert_null(sent(w, RUNNER, MSG_result_ok));
    assert_int_equal(sent(w, RUNNER, MSG_log_ok)->log_ok.off, 4);
    assert_int_equal(sent(w, RUNNER, MSG_log_ok)->log_ok.part, PART_ARTIFACTS);
    say(w, RUNNER, piece(2, 4, SLICE("5678")));
    say(w, RUNNER, left(2, 8, VERDICT_FAILED));
    assert_non_null(sent(w, RUNNER, MSG_result_ok));
    assert_int_equal(effect_of(w, EFFECT_LOG_SYNC)->off, 8);
    assert_int_equal(effect_of(w, EFFECT_LOG_SYNC)->part, PART_ARTIFACTS);
    assert_int_equal(count(w, EFFECT_LOG_DROP), 0);
    world_free(w);
}

static void tells_who_needs_the_job_to_fetch_them(void **unused)
{
    world *w = world_making(true);

    (void)unused;
    say(w, RUNNER, piece(2, 0, SLICE("1234")));
    say(w, RUNNER, left(2, 4, VERDICT_PASSED));
    assert_non_null(sent(w, RUNNER, MSG_assign)); /* of the job that needs it, at once */
    assert_int_equal(sent(w, RUNNER, MSG_assign)->assign.inputs.n, 1);
    assert_true(slice_is(sent(w, RUNNER, MSG_assign)->assign.inputs.v[0], "make"));
    world_free(w);
}

static void asks_nobody_to_fetch_what_is_not_there(void **unused)
{
    world *w = world_making(true);

    (void)unused;
    say(w, RUNNER, left(2, 0, VERDICT_PASSED));
    assert_non_null(sent(w, RUNNER, MSG_assign));
    assert_int_equal(sent(w, RUNNER, MSG_assign)->assign.inputs.n, 0);
    world_free(w);
}

static void takes_none_from_a_job_that_names_none(void **unused)
{
    world *w = world_making(false);

    (void)unused;
    assert_int_equal(sent(w, RUNNER, MSG_assign)->assign.artifact_max, 0);
    say(w, RUNNER, piece(2, 0, SLICE("1234")));
    assert_int_equal(count(w, EFFECT_LOG_WRITE), 0);
    say(w, RUNNER, left(2, 4, VERDICT_PASSED));
    for (size_t i = 0; i < w->out.n; i++)
        if (w->out.v[i].kind == EFFECT_PUT && w->out.v[i].row->kind == ROW_JOB &&
            w->out.v[i].row->job.idx == 0)
            assert_int_equal(w->out.v[i].row->job.verdict, VERDICT_ERRORED);
    world_free(w);
}

/* A torn archive is nothing, whatever ends the attempt. */
static void drops_what_came_of_an_attempt_that_is_lost(void **unused)
{
    world *w = world_making(true);

    (void)unused;
    say(w, RUNNER, piece(2, 0, SLICE("1234")));
    say(w, RUNNER, (msg){ .type = MSG_nack, .nack = { .task = 2, .att = 1, .code = CODE_LOST } });
    assert_int_equal(count(w, EFFECT_LOG_DROP), 1);
    assert_int_equal(effect_of(w, EFFECT_LOG_DROP)->part, PART_ARTIFACTS);
    assert_int_equal(task_row(w)->artifact_bytes, 0);
    world_free(w);
}

static msg outcomes(uint64_t att, rec_item *items, size_t n)
{
    return (msg){
        .type = MSG_tests,
        .tests = { .task = 2, .att = att, .items = { items, n } },
    };
}

/* What a file left went with its attempt, so it runs again; what was told of it stands. */
static void runs_all_of_a_batch_again_when_it_leaves_some(void **unused)
{
    slice files[] = { SLICE("a"), SLICE("b") };
    rec_job jobs[] = {
        { .name = SLICE("t"), .tests = true, .files = { files, 2 }, .batch = 2, .artifacts = true }
    };
    rec_item first[] = { { .verdict = VERDICT_PASSED }, { .verdict = VERDICT_PASSED } };
    rec_item second[] = { { .verdict = VERDICT_FAILED }, { .verdict = VERDICT_PASSED } };
    world *w = world_planning();

    (void)unused;
    say_plan(w, 0, true, jobs, 1);
    say(w, RUNNER, result(1, 1, VERDICT_PASSED));
    for (uint64_t att = 1; att <= 2; att++) {
        say(w, RUNNER, outcomes(att, first, att)); /* the second one tells of all files */
        assert_int_equal(sent(w, RUNNER, MSG_tests_ok)->tests_ok.next, att);
        say(w, RUNNER,
            (msg){ .type = MSG_nack, .nack = { .task = 2, .att = att, .code = CODE_LOST } });
        if (!sent(w, RUNNER, MSG_assign))
            assert_true(until_assigned(w, 5000) > 0);
        assert_int_equal(sent(w, RUNNER, MSG_assign)->assign.from, 0);
        assert_int_equal(sent(w, RUNNER, MSG_assign)->assign.files.n, 2);
    }
    say(w, RUNNER, (msg){ .type = MSG_start, .start = { .task = 2, .att = 3 } });
    say(w, RUNNER, outcomes(3, second, 2));
    assert_int_equal(sent(w, RUNNER, MSG_tests_ok)->tests_ok.next, 2);
    assert_int_equal(count(w, EFFECT_PUT), 0); /* nothing new */
    say(w, RUNNER, result(2, 3, VERDICT_PASSED));
    assert_int_equal(task_row(w)->state, STATE_FINAL);
    assert_int_equal(task_row(w)->verdict, VERDICT_PASSED);
    world_free(w);
}

static void waits_while_the_disk_is_nearly_full(void **unused)
{
    world *w = world_making(true);
    const msg m = piece(2, 0, SLICE("1234"));

    (void)unused;
    world_step(
        w, (dispatch_event){ .kind = DISPATCH_MSG, .peer = RUNNER, .msg = &m, .disk_low = true });
    assert_int_equal(count(w, EFFECT_LOG_WRITE), 0);
    assert_int_equal(sent(w, RUNNER, MSG_log_ok)->log_ok.window, 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_pieces_in_order_and_shows_them_to_nobody),
        cmocka_unit_test(takes_a_result_once_they_are_whole),
        cmocka_unit_test(tells_who_needs_the_job_to_fetch_them),
        cmocka_unit_test(asks_nobody_to_fetch_what_is_not_there),
        cmocka_unit_test(takes_none_from_a_job_that_names_none),
        cmocka_unit_test(drops_what_came_of_an_attempt_that_is_lost),
        cmocka_unit_test(runs_all_of_a_batch_again_when_it_leaves_some),
        cmocka_unit_test(waits_while_the_disk_is_nearly_full),
    };

    return cmocka_run_group_tests_name("dispatch parts", tests, NULL, NULL);
}
