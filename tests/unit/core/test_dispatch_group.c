/* Concurrency groups: who goes first, what holds one, and for how long. */
#include "dispatch_world.h"

#define LEASE_MS 15000 /* the dispatcher's default */
#define SID2     "dddddddddddddddddddddddddddddddd"
#define OID2     "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"

static rec_job deploy(const char *name)
{
    return (rec_job){ .name = slice_of(name), .concurrency = SLICE("deploy") };
}

/* RUNNER, with two slots, has task 2 of the first of two jobs of a group; OTHER waits for work. */
static world *world_of_two(void)
{
    rec_job jobs[] = { deploy("a"), deploy("b") };
    world *w = world_new();
    msg one = hello(ID), two = hello(ID2);

    one.hello.slots = 2;
    world_loaded(w);
    say(w, RUNNER, one);
    say(w, CLIENT, submit("https://example.org/demo.git"));
    say(w, OTHER, two);
    say_plan(w, 0, true, jobs, 2);
    say(w, RUNNER, result(1, 1, VERDICT_PASSED));
    assert_int_equal(sent(w, RUNNER, MSG_assign)->assign.task, 2);
    assert_true(sent(w, RUNNER, MSG_assign)->assign.alone);
    assert_null(sent(w, OTHER, MSG_assign));
    return w;
}

/* The task that the last step gave to either of them; 0: none. */
static uint64_t given(const world *w)
{
    const msg *m = sent(w, RUNNER, MSG_assign);

    if (!m)
        m = sent(w, OTHER, MSG_assign);
    return m ? m->assign.task : 0;
}

/* Why task 3 waits. */
static void assert_why(world *w, const char *why)
{
    arena a = { 0 };
    msg_status_is status;
    rec_task_row row = { .task = 3 };
    dispatch_memo memo = { 0 };

    dispatch_explain(w->d, w->now_ms, &row, &memo, &a);
    assert_string_equal(arena_str(&a, row.why), why);
    dispatch_status(w->d, w->now_ms, &status, &a);
    assert_int_equal(status.queued, 1);
    assert_int_equal(status.waiting.n, 1);
    assert_string_equal(arena_str(&a, status.waiting.v[0].why), why);
    arena_free(&a);
}

/* What the last step says of the repository's groups that a lost attempt holds; -1: nothing. */
static int held(const world *w)
{
    int n = -1;

    for (size_t i = 0; i < w->out.n; i++)
        if (w->out.v[i].kind == EFFECT_PUT && w->out.v[i].row->kind == ROW_REPO)
            n = (int)w->out.v[i].row->repo.held.n;
    return n;
}

/* Time passes, with heartbeats of OTHER, until it gets a task: how long that took. */
static int64_t until_other_gets(world *w, uint64_t task)
{
    for (int64_t ms = 100; ms <= 10 * LEASE_MS; ms += 100) {
        w->now_ms += 100;
        world_step(w, (dispatch_event){ .kind = DISPATCH_TICK });
        if (!sent(w, OTHER, MSG_assign))
            say(w, OTHER, (msg){ .type = MSG_hb });
        if (sent(w, OTHER, MSG_assign)) {
            assert_int_equal(sent(w, OTHER, MSG_assign)->assign.task, task);
            return ms;
        }
    }
    return -1;
}

static void gives_the_next_when_the_first_has_ended(void **unused)
{
    world *w = world_of_two();

    (void)unused;
    assert_why(w, "concurrency group 'deploy' is held by build 1 job a (leased)");
    say(w, RUNNER, result(2, 1, VERDICT_FAILED));
    assert_int_equal(given(w), 3);
    world_free(w);
}

static void a_refusal_lets_go_at_once(void **unused)
{
    world *w = world_of_two();

    (void)unused;
    say(w, RUNNER, (msg){ .type = MSG_nack, .nack = { .task = 2, .att = 1, .code = CODE_BUSY } });
    assert_int_equal(sent(w, OTHER, MSG_assign)->assign.task, 2); /* it stands first as before */
    assert_int_equal(held(w), -1);
    world_free(w);
}

static void a_runner_that_leaves_lets_go_at_once(void **unused)
{
    world *w = world_of_two();

    (void)unused;
    say(w, RUNNER, (msg){ .type = MSG_bye });
    assert_int_equal(sent(w, OTHER, MSG_assign)->assign.task, 2);
    world_free(w);
}

static void a_lost_attempt_holds_its_group_for_one_more_lease(void **unused)
{
    world *w = world_of_two();
    int64_t ms = 0;

    (void)unused;
    say(w, OTHER, (msg){ .type = MSG_hb });
    while (held(w) != 1) {
        assert_true((ms += 100) <= LEASE_MS);
        w->now_ms += 100;
        world_step(w, (dispatch_event){ .kind = DISPATCH_TICK });
        if (held(w) != 1)
            say(w, OTHER, (msg){ .type = MSG_hb });
    }
    assert_int_equal(ms, LEASE_MS);
    w->now_ms += 1001;
    {
        arena a = { 0 };
        rec_task_row row = { .task = 3 };
        dispatch_memo memo = { 0 };

        dispatch_explain(w->d, w->now_ms, &row, &memo, &a);
        assert_string_equal(arena_str(&a, row.why), "concurrency group 'deploy' is held by a lost "
                                                    "attempt of build 1 job a, for at most 14 s");
        arena_free(&a);
    }
    assert_int_equal(until_other_gets(w, 2), LEASE_MS - 1000);
    world_free(w);
}

static void a_lost_connection_holds_the_group_for_the_whole_lease(void **unused)
{
    world *w = world_of_two();

    (void)unused;
    world_step(w, (dispatch_event){ .kind = DISPATCH_UNREACHABLE, .peer = RUNNER });
    assert_int_equal(held(w), 1);
    assert_int_equal(until_other_gets(w, 2), 2 * LEASE_MS);
    assert_int_equal(held(w), 0);
    world_free(w);
}

static void a_canceled_attempt_that_was_not_confirmed_holds_its_group(void **unused)
{
    world *w = world_of_two();
    rec_job job = deploy("c");
    msg again = submit("https://example.org/demo.git");

    (void)unused;
    say(w, CLIENT, (msg){ .type = MSG_cancel_build, .cancel_build = { .build = 1 } });
    again.submit.sid = SLICE(SID2);
    again.submit.oid = SLICE(OID2);
    say(w, CLIENT, again);
    assert_int_equal(sent(w, OTHER, MSG_assign)->assign.task, 4);
    say(w, OTHER,
        (msg){ .type = MSG_plan,
               .plan = { .task = 4, .att = 1, .last = true, .jobs = { &job, 1 } } });
    say(w, OTHER, result(4, 1, VERDICT_PASSED));
    assert_null(sent(w, OTHER, MSG_assign));
    assert_int_equal(until_other_gets(w, 5), 2 * LEASE_MS);
    world_free(w);
}

static void the_word_of_the_lost_runner_ends_the_waiting(void **unused)
{
    static const msg words[] = {
        { .type = MSG_nack, .nack = { .task = 2, .att = 1, .code = CODE_LOST } },
        { .type = MSG_result, .result = { .task = 2, .att = 1, .verdict = VERDICT_PASSED } },
        { .type = MSG_bye },
    };
    msg other_boot = hello(ID), holds = other_boot;
    rec_held has = { .task = 2, .att = 1, .state = HELD_RUNNING };

    (void)unused;
    other_boot.hello.boot = holds.hello.boot = SLICE(SID2);
    holds.hello.held = (rec_held_list){ &has, 1 };
    for (size_t i = 0; i < 5; i++) {
        world *w = world_of_two();

        world_step(w, (dispatch_event){ .kind = DISPATCH_UNREACHABLE, .peer = RUNNER });
        if (i < 3)
            say(w, RUNNER, hello(ID)); /* the same process: it may be ending it just now */
        assert_null(sent(w, OTHER, MSG_assign));
        say(w, RUNNER, i < 3 ? words[i] : i == 3 ? other_boot : holds);
        assert_int_equal(held(w), i < 4 ? 0 : -1);
        assert_int_equal(sent(w, OTHER, MSG_assign) != NULL, i < 4);
        world_free(w);
    }
}

static void a_restart_remembers_what_was_held(void **unused)
{
    slice name = SLICE("deploy");
    row rows[] = {
        { .kind = ROW_REPO,
          .repo = { .name = SLICE("demo"),
                    .url = SLICE("https://example.org/demo.git"),
                    .held = { &name, 1 } } },
        { .kind = ROW_BUILD,
          .build = { .build = 1,
                     .repo = SLICE("demo"),
                     .ref = SLICE("refs/heads/main"),
                     .oid = SLICE(OID),
                     .state = STATE_RUNNING } },
        { .kind = ROW_JOB,
          .job = { .build = 1, .name = SLICE("a"), .concurrency = name, .state = STATE_QUEUED } },
        { .kind = ROW_TASK,
          .task = { .task = 3, .build = 1, .kind = TASK_SCRIPT, .state = STATE_QUEUED, .att = 1 } },
    };
    world *w = world_new();

    (void)unused;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(dispatch_load(w->d, &rows[i], NULL), VOLT_OK);
    world_loaded(w);
    say(w, OTHER, hello(ID2));
    assert_why(w, "concurrency group 'deploy' is held by an attempt lost before the dispatcher's "
                  "start, for at most 30 s");
    assert_int_equal(until_other_gets(w, 3), 2 * LEASE_MS);
    world_free(w);
}

static void a_restart_knows_what_runs(void **unused)
{
    slice name = SLICE("deploy");
    row rows[] = {
        { .kind = ROW_REPO,
          .repo = { .name = SLICE("demo"), .url = SLICE("https://example.org/demo.git") } },
        { .kind = ROW_BUILD,
          .build = { .build = 1,
                     .repo = SLICE("demo"),
                     .ref = SLICE("refs/heads/main"),
                     .oid = SLICE(OID),
                     .state = STATE_RUNNING } },
        { .kind = ROW_JOB,
          .job = { .build = 1, .name = SLICE("a"), .concurrency = name, .state = STATE_QUEUED } },
        { .kind = ROW_JOB,
          .job = { .build = 1,
                   .idx = 1,
                   .name = SLICE("b"),
                   .concurrency = name,
                   .state = STATE_RUNNING } },
        { .kind = ROW_TASK,
          .task = { .task = 3, .build = 1, .kind = TASK_SCRIPT, .state = STATE_QUEUED } },
        { .kind = ROW_TASK,
          .task = { .task = 4,
                    .build = 1,
                    .job = 1,
                    .kind = TASK_SCRIPT,
                    .state = STATE_RUNNING,
                    .att = 1,
                    .runner = SLICE(ID) } },
    };
    world *w = world_new();

    (void)unused;
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(dispatch_load(w->d, &rows[i], NULL), VOLT_OK);
    world_loaded(w);
    say(w, OTHER, hello(ID2));
    assert_null(sent(w, OTHER, MSG_assign));
    assert_why(w, "concurrency group 'deploy' is held by build 1 job b (running)");
    world_free(w);
}

static void batches_of_a_group_are_cut_one_at_a_time(void **unused)
{
    slice files[] = { SLICE("a"), SLICE("b"), SLICE("c") };
    rec_job job = deploy("t");
    rec_item items[2] = { { .verdict = VERDICT_PASSED }, { .verdict = VERDICT_PASSED } };
    msg ended = result(2, 1, VERDICT_PASSED);
    world *w = world_planning();

    (void)unused;
    say(w, OTHER, hello(ID2));
    job.tests = true;
    job.batch = 2;
    job.files = (slices){ files, 3 };
    say_plan(w, 0, true, &job, 1);
    say(w, RUNNER, result(1, 1, VERDICT_PASSED));
    assert_int_equal(sent(w, RUNNER, MSG_assign)->assign.files.n, 2);
    assert_null(sent(w, OTHER, MSG_assign));
    ended.result.items = (rec_item_list){ items, 2 };
    say(w, RUNNER, ended);
    assert_int_equal(given(w), 3);
    world_free(w);
}

static void the_older_build_goes_first_and_a_greater_priority_before_it(void **unused)
{
    rec_job jobs[] = { deploy("a"), deploy("b"), deploy("c") };
    world *w = world_planning();

    (void)unused;
    jobs[2].priority = 1;
    say_plan(w, 0, true, jobs, 3);
    say(w, RUNNER, result(1, 1, VERDICT_PASSED)); /* a is ready before c is looked at */
    assert_string_equal(sent(w, RUNNER, MSG_assign)->assign.job.p, "c");
    say(w, RUNNER, result(4, 1, VERDICT_PASSED));
    assert_string_equal(sent(w, RUNNER, MSG_assign)->assign.job.p, "a");
    say(w, RUNNER, result(2, 1, VERDICT_PASSED));
    assert_string_equal(sent(w, RUNNER, MSG_assign)->assign.job.p, "b");
    world_free(w);
}

static void what_goes_first_is_said_of_those_behind(void **unused)
{
    slice label = SLICE("gpu");
    rec_job jobs[] = { deploy("a"), deploy("b") };
    world *w = world_planning();
    arena a = { 0 };
    rec_task_row row = { .task = 3 };
    dispatch_memo memo = { 0 };

    (void)unused;
    jobs[0].labels = (slices){ &label, 1 };
    say_plan(w, 0, true, jobs, 2);
    say(w, RUNNER, result(1, 1, VERDICT_PASSED));
    assert_null(sent(w, RUNNER, MSG_assign));
    dispatch_explain(w->d, w->now_ms, &row, &memo, &a);
    assert_string_equal(arena_str(&a, row.why),
                        "concurrency group 'deploy': build 1 job a goes first");
    row.task = 2;
    dispatch_explain(w->d, w->now_ms, &row, &memo, &a);
    assert_string_equal(arena_str(&a, row.why), "no runner has label gpu");
    say(w, CLIENT, (msg){ .type = MSG_cancel_build, .cancel_build = { .build = 1 } });
    assert_int_equal(dispatch_builds(w->d), 0);
    arena_free(&a);
    world_free(w);
}

/* ---- variables of a submission ---- */

static uint64_t submitted(world *w, slices env, bool *dup)
{
    msg m = submit("https://example.org/demo.git");
    const msg *answer;

    m.submit.sid = SLICE(SID2);
    m.submit.env = env;
    say(w, CLIENT, m);
    answer = sent(w, CLIENT, MSG_accepted);
    assert_non_null(answer);
    *dup = answer->accepted.dup;
    return answer->accepted.build;
}

static void other_variables_make_a_new_generation(void **unused)
{
    slice a[] = { SLICE("A=1") }, b[] = { SLICE("A=2") };
    row_build latest = { .build = 1,
                         .gen = 4,
                         .repo = SLICE("demo"),
                         .ref = SLICE("refs/heads/main"),
                         .oid = SLICE(OID),
                         .env = { a, 1 } };
    world *w = world_planning();
    const row_build *row = NULL;
    bool dup;

    (void)unused;
    w->facts.latest = &latest;
    assert_int_equal(submitted(w, (slices){ a, 1 }, &dup), 1);
    assert_true(dup);
    assert_int_equal(submitted(w, (slices){ 0 }, &dup), 1);
    assert_true(dup);
    assert_int_equal(submitted(w, (slices){ b, 1 }, &dup), 2);
    assert_false(dup);
    for (size_t i = 0; i < w->out.n; i++)
        if (w->out.v[i].kind == EFFECT_PUT && w->out.v[i].row->kind == ROW_BUILD)
            row = &w->out.v[i].row->build;
    assert_non_null(row);
    assert_int_equal(row->gen, 5);
    assert_true(slice_is(row->env.v[0], "A=2"));
    say(w, RUNNER, result(1, 1, VERDICT_ERRORED));
    assert_int_equal(sent(w, RUNNER, MSG_assign)->assign.build, 2);
    assert_true(slice_is(sent(w, RUNNER, MSG_assign)->assign.env.v[0], "A=2"));
    world_free(w);
}

static void variables_that_cannot_be_are_refused_for_good(void **unused)
{
    slice bad[] = { SLICE("VOLT_JOB=x") };
    world *w = world_planning();
    msg m = submit("https://example.org/demo.git");

    (void)unused;
    m.submit.sid = SLICE(SID2);
    m.submit.env = (slices){ bad, 1 };
    say(w, CLIENT, m);
    assert_true(sent(w, CLIENT, MSG_rejected)->rejected.permanent);
    assert_int_equal(dispatch_builds(w->d), 1);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_next_when_the_first_has_ended),
        cmocka_unit_test(a_refusal_lets_go_at_once),
        cmocka_unit_test(a_runner_that_leaves_lets_go_at_once),
        cmocka_unit_test(a_lost_attempt_holds_its_group_for_one_more_lease),
        cmocka_unit_test(a_lost_connection_holds_the_group_for_the_whole_lease),
        cmocka_unit_test(a_canceled_attempt_that_was_not_confirmed_holds_its_group),
        cmocka_unit_test(the_word_of_the_lost_runner_ends_the_waiting),
        cmocka_unit_test(a_restart_remembers_what_was_held),
        cmocka_unit_test(a_restart_knows_what_runs),
        cmocka_unit_test(batches_of_a_group_are_cut_one_at_a_time),
        cmocka_unit_test(the_older_build_goes_first_and_a_greater_priority_before_it),
        cmocka_unit_test(what_goes_first_is_said_of_those_behind),
        cmocka_unit_test(other_variables_make_a_new_generation),
        cmocka_unit_test(variables_that_cannot_be_are_refused_for_good),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
