#include "dispatcher_world.h"

static void ask_status(world *w)
{
    world_forget(w);
    world_say(w, CLIENT, &(msg){ .type = MSG_status, .r = 1 });
    assert_non_null(world_last(w, CLIENT, MSG_status_is));
}

/* ---- plans that say odd things ---- */

static void ends_a_job_without_files_as_no_tests(void **state)
{
    world *w = *state;
    rec_job jobs[] = { { .name = SLICE("empty"), .tests = true } };

    world_hello(w, RUNNER, ID_1, BOOT, 2);
    world_submit(w, "demo", "refs/heads/main");
    world_plan(w, RUNNER, jobs, 1);

    assert_non_null(world_event(w, EVENT_BUILD_DONE));
    assert_int_equal(world_event(w, EVENT_BUILD_DONE)->verdict, VERDICT_NO_TESTS);
}

static void refuses_files_of_a_script_job(void **state)
{
    world *w = *state;
    slice files[] = { SLICE("a") };
    rec_job jobs[] = { { .name = SLICE("odd"), .files = { files, 1 } } };

    world_hello(w, RUNNER, ID_1, BOOT, 2);
    world_submit(w, "demo", "refs/heads/main");
    world_plan(w, RUNNER, jobs, 1);

    assert_int_equal(world_event(w, EVENT_BUILD_DONE)->verdict, VERDICT_ERRORED);
    world_restart(w);
}

static void refuses_a_script_job_that_goes_on_with_files(void **state)
{
    world *w = *state;
    slice files[] = { SLICE("a") };
    rec_job jobs[] = { { .name = SLICE("odd") },
                       { .name = SLICE("odd"), .tests = true, .files = { files, 1 } } };

    world_hello(w, RUNNER, ID_1, BOOT, 2);
    world_submit(w, "demo", "refs/heads/main");
    world_plan(w, RUNNER, jobs, 2);

    assert_int_equal(world_event(w, EVENT_BUILD_DONE)->verdict, VERDICT_ERRORED);
    world_restart(w);
}

/* The dispatcher has one thread: what a commit may ask of it has to stay quick.  Each of 1,000 jobs
 * needs the 64 behind it; looked up by name at each end this took minutes. */
static void orders_jobs_with_many_needs(void **state)
{
    enum { JOBS = 1000, NEEDS = 64, PART = 100 };
    world *w = *state;
    static char names[JOBS][8];
    slice needs[JOBS];
    rec_job jobs[PART];
    uint64_t task, att;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "demo", "refs/heads/main");
    task = world_assign(w, RUNNER)->task, att = world_assign(w, RUNNER)->att;
    for (size_t i = 0; i < JOBS; i++) {
        snprintf(names[i], sizeof names[i], "%zu", i);
        needs[i] = slice_of(names[i]);
    }
    for (size_t part = 0; part < JOBS / PART; part++) {
        for (size_t k = 0; k < PART; k++) {
            size_t i = part * PART + k;

            jobs[k] = (rec_job){ .name = needs[i],
                                 .needs = { needs + i + 1,
                                            JOBS - 1 - i < NEEDS ? JOBS - 1 - i : NEEDS } };
        }
        world_say(w, RUNNER,
                  &(msg){ .type = MSG_plan,
                          .plan = { .task = task,
                                    .att = att,
                                    .part = part,
                                    .last = part == JOBS / PART - 1,
                                    .jobs = { jobs, PART } } });
    }
    world_say(w, RUNNER,
              &(msg){ .type = MSG_result,
                      .result = { .task = task, .att = att, .verdict = VERDICT_PASSED } });
    world_forget(w);
    world_restart(w);
    world_hello(w, RUNNER, ID_1, BOOT, 1); /* the first script's assign comes again */
    for (size_t i = JOBS; i-- > 0;) {
        assert_true(slice_eq(world_assign(w, RUNNER)->job, needs[i]));
        world_forget_but_assign(w, RUNNER);
        world_result(w, RUNNER, VERDICT_PASSED);
    }
    assert_int_equal(world_event(w, EVENT_BUILD_DONE)->verdict, VERDICT_PASSED);
}

static void refuses_jobs_that_need_each_other(void **state)
{
    world *w = *state;
    slice a = SLICE("a"), b = SLICE("b"), c = SLICE("c");
    rec_job jobs[] = { { .name = a },
                       { .name = b, .needs = { (slice[]){ a, c }, 2 } },
                       { .name = c, .needs = { &b, 1 } } };

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "demo", "refs/heads/main");
    world_plan(w, RUNNER, jobs, 3);
    assert_int_equal(world_event(w, EVENT_BUILD_DONE)->verdict, VERDICT_ERRORED);
    assert_true(
        slice_is(world_event(w, EVENT_BUILD_DONE)->why, "job 'b' needs itself in a circle"));
}

static void refuses_a_plan_of_too_many_bytes(void **state)
{
    enum { FILES = 60, NAME = 4096 };
    world *w = *state;
    char *name = mem_zero(NAME);
    slice files[FILES];
    rec_job j = { .name = SLICE("tests"), .tests = true, .files = { files, FILES } };
    uint64_t task, att;

    memset(name, 'x', NAME);
    for (size_t i = 0; i < FILES; i++)
        files[i] = (slice){ name, NAME };
    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "demo", "refs/heads/main");
    task = world_assign(w, RUNNER)->task, att = world_assign(w, RUNNER)->att;
    for (uint64_t part = 0; part < 200 && !world_event(w, EVENT_BUILD_DONE); part++)
        world_say(w, RUNNER,
                  &(msg){ .type = MSG_plan,
                          .plan = { .task = task, .att = att, .part = part, .jobs = { &j, 1 } } });
    assert_int_equal(world_event(w, EVENT_BUILD_DONE)->verdict, VERDICT_ERRORED);
    free(name);
}

/* ---- clocks ---- */

static void survives_a_clock_that_was_set_in_the_middle_of_a_build(void **state)
{
    world *w = *state;
    rec_job jobs[] = { { .name = SLICE("script") } };

    w->wall_ms = 5000; /* no battery: 1970 until the network says better */
    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "demo", "refs/heads/main");
    world_plan(w, RUNNER, jobs, 1);
    w->wall_ms = 1800000000000;
    world_result(w, RUNNER, VERDICT_PASSED);

    assert_int_equal(world_event(w, EVENT_BUILD_DONE)->verdict, VERDICT_PASSED);
}

/* ---- runners ---- */

/* A machine with many slots that goes down once has not failed many times. */
static void counts_the_end_of_a_runner_as_one_loss(void **state)
{
    world *w = *state;
    rec_job jobs[8];
    const msg *m;

    for (size_t i = 0; i < 8; i++)
        jobs[i] = (rec_job){ .name = { "abcdefgh" + i, 1 } };
    world_hello(w, RUNNER, ID_1, BOOT, 8);
    world_submit(w, "demo", "refs/heads/main");
    world_plan(w, RUNNER, jobs, 8);
    assert_int_equal(world_count(w, RUNNER, MSG_assign), 9);

    world_forget(w);
    world_hello(w, RUNNER, ID_1, BOOT2, 8);
    assert_null(world_event(w, EVENT_RUNNER_MODE));
    assert_int_equal(world_count(w, RUNNER, MSG_assign), 8);
    world_say(w, CLIENT, &(msg){ .type = MSG_runners });
    m = world_last(w, CLIENT, MSG_runners_are);
    assert_int_equal(m->runners_are.rows.v[0].losses, 1);
}

static void survives_one_connection_that_says_hello_for_two_runners(void **state)
{
    world *w = *state;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_hello(w, RUNNER, ID_2, BOOT, 1);
    for (uint64_t n = 1; n <= 20; n++) { /* the first falls silent and is given up */
        world_wait(w, 1000);
        world_say(w, RUNNER, &(msg){ .type = MSG_hb, .hb.n = n });
    }
    world_hello(w, RUNNER, ID_2, BOOT, 1);
    world_forget(w);
    world_say(w, RUNNER, &(msg){ .type = MSG_hb, .hb.n = 1 });
    assert_null(world_last(w, RUNNER, MSG_who));
    assert_non_null(world_last(w, RUNNER, MSG_hb_ok));
}

/* Ctrl-C of 'volt up' is neither a fault of the task nor of the runner, however often. */
static void counts_no_loss_when_a_runner_says_bye(void **state)
{
    world *w = *state;
    rec_job jobs[] = { { .name = SLICE("script") } };

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "demo", "refs/heads/main");
    world_plan(w, RUNNER, jobs, 1);
    for (int i = 0; i < 6; i++) {
        world_say(w, RUNNER, &(msg){ .type = MSG_bye, .bye.why = SLICE("stopped") });
        world_forget(w);
        world_hello(w, RUNNER, ID_1, i % 2 ? BOOT : BOOT2, 1);
        assert_int_equal(world_assign(w, RUNNER)->att, i + 2);
    }
    world_result(w, RUNNER, VERDICT_PASSED);
    assert_int_equal(world_event(w, EVENT_BUILD_DONE)->verdict, VERDICT_PASSED);
}

/* A late hello of before the runner heard of this history lists numbers that stand for other work
 * now: it must not be told to drop what it was just given. */
static void drops_nothing_by_the_numbers_of_another_history(void **state)
{
    world *w = *state;
    rec_held held = { .task = 1, .att = 1, .state = HELD_RUNNING };

    world_submit(w, "demo", "refs/heads/main");
    world_hello(w, RUNNER, ID_1, BOOT, 1);
    assert_int_equal(world_assign(w, RUNNER)->task, 1);
    world_say(w, RUNNER,
              &(msg){ .type = MSG_hello,
                      .hello = { .vmin = 1,
                                 .vmax = 1,
                                 .id = SLICE(ID_1),
                                 .name = SLICE("box"),
                                 .boot = SLICE(BOOT),
                                 .hist = SLICE("ffffffffffffffffffffffffffffffff"),
                                 .maxep = 3,
                                 .slots = 1,
                                 .held = { &held, 1 } } });
    assert_int_equal(world_last(w, RUNNER, MSG_welcome)->welcome.drop.n, 0);
}

/* ---- the order of a story ---- */

static void tells_that_a_batch_runs_before_its_outcomes(void **state)
{
    world *w = *state;
    slice files[] = { SLICE("a"), SLICE("b") };
    rec_job jobs[] = { { .name = SLICE("tests"), .tests = true, .files = { files, 2 } } };

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "demo", "refs/heads/main");
    world_plan(w, RUNNER, jobs, 1);
    world_result(w, RUNNER, VERDICT_PASSED); /* its start was lost */
    assert_true(world_event(w, EVENT_RUNNING)->seq < world_event(w, EVENT_TEST_DONE)->seq);
}

/* ---- verdicts ---- */

static void cancels_a_build_of_jobs_that_may_fail(void **state)
{
    world *w = *state;
    rec_job jobs[] = { { .name = SLICE("script"), .allow_failure = true } };

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "demo", "refs/heads/main");
    world_plan(w, RUNNER, jobs, 1);
    world_say(w, CLIENT, &(msg){ .type = MSG_cancel_build, .cancel_build.build = 1 });
    world_result(w, RUNNER, VERDICT_CANCELED);
    assert_int_equal(world_event(w, EVENT_BUILD_DONE)->verdict, VERDICT_CANCELED);
}

/* Refuses the newest assign and waits for the next. */
static void nack(world *w, uint64_t peer, code c)
{
    uint64_t task = world_assign(w, peer)->task, att = world_assign(w, peer)->att;

    world_say(w, peer, &(msg){ .type = MSG_nack, .nack = { .task = task, .att = att, .code = c } });
    for (uint64_t n = 1; n < 20 && world_assign(w, peer)->att == att; n++) {
        world_wait(w, 1000);
        world_say(w, peer, &(msg){ .type = MSG_hb, .hb.n = n });
    }
}

static void counts_only_the_runners_without_what_it_takes(void **state)
{
    world *w = *state;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "demo", "refs/heads/main");
    nack(w, RUNNER, CODE_BUSY);
    nack(w, RUNNER, CODE_BUSY);
    nack(w, RUNNER, CODE_NOT_FOUND);
    assert_null(world_event(w, EVENT_BUILD_DONE));
    nack(w, RUNNER, CODE_UNABLE);
    nack(w, RUNNER, CODE_NOT_FOUND);
    assert_int_equal(world_event(w, EVENT_BUILD_DONE)->verdict, VERDICT_ERRORED);
}

static volt_code look_at_attempt(void *ctx, const row *r, volt_err *err)
{
    (void)ctx, (void)err;
    assert_true(slice_is(r->attempt.runner, r->attempt.att == 1 ? ID_1 : ID_2));
    return VOLT_OK;
}

/* The row of an attempt that came back once named the runner of the next. */
static void keeps_who_had_an_attempt_that_goes_on_elsewhere(void **state)
{
    world *w = *state;
    volt_err err;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "demo", "refs/heads/main");
    world_hello(w, RUNNER2, ID_2, BOOT, 1);
    world_say(w, RUNNER,
              &(msg){ .type = MSG_nack, .nack = { .task = 1, .att = 1, .code = CODE_BUSY } });
    assert_int_equal(world_assign(w, RUNNER2)->att, 2);
    assert_int_equal(w->store->ops->attempts(w->store, 1, look_at_attempt, NULL, &err), VOLT_OK);
}

/* ---- answers ---- */

static void hello_as(world *w, uint64_t peer, uint64_t n, slices labels)
{
    char id[33];

    snprintf(id, sizeof id, "%032llx", (unsigned long long)n);
    world_say(w, peer,
              &(msg){ .type = MSG_hello,
                      .hello = { .vmin = 1,
                                 .vmax = 1,
                                 .id = slice_of(id),
                                 .name = SLICE("box"),
                                 .boot = SLICE(BOOT),
                                 .slots = 1,
                                 .labels = labels } });
}

/* The whole fleet was looked at for each row: 10,000 runners and 1,000 rows took half a second. */
static void tells_why_a_long_queue_waits(void **state)
{
    enum { RUNNERS = 10000, ROWS = 1000 };
    world *w = *state;
    slice labels[] = { SLICE("linux"), SLICE("x86") };
    slice gpu = SLICE("gpu");
    rec_job *jobs = NEW_ARRAY(rec_job, ROWS);
    char(*names)[8] = (char(*)[8])mem_zero(ROWS * 8);
    const rec_task_row_list *rows;

    for (uint64_t i = 1; i <= RUNNERS; i++) {
        hello_as(w, 100 + i, i, (slices){ labels, 2 });
        world_forget(w);
    }
    world_submit(w, "demo", "refs/heads/main");
    for (size_t i = 0; i < ROWS; i++) {
        snprintf(names[i], sizeof names[i], "%zu", i);
        jobs[i] = (rec_job){ .name = slice_of(names[i]), .labels = { &gpu, 1 } };
    }
    for (size_t i = 0; i < w->heard_n; i++)
        if (w->heard[i].m.type == MSG_assign)
            world_plan(w, w->heard[i].peer, jobs, ROWS);
    for (int i = 0; i < 10; i++)
        ask_status(w);
    rows = &world_last(w, CLIENT, MSG_status_is)->status_is.waiting;
    assert_int_equal(rows->n, ROWS);
    assert_true(slice_is(rows->v[ROWS - 1].why, "no runner has label gpu"));
    free(jobs);
    free(names);
}

static void tells_each_reason_of_waiting(void **state)
{
    world *w = *state;
    slice gpu = SLICE("gpu");
    rec_job jobs[] = { { .name = SLICE("a"), .labels = { &gpu, 1 } } };
    const msg_status_is *is;

    world_submit(w, "demo", "refs/heads/main");
    ask_status(w);
    is = &world_last(w, CLIENT, MSG_status_is)->status_is;
    assert_true(slice_is(is->waiting.v[0].why, "no runner is connected"));

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_plan(w, RUNNER, jobs, 1);
    ask_status(w);
    is = &world_last(w, CLIENT, MSG_status_is)->status_is;
    assert_true(slice_is(is->waiting.v[0].why, "no runner has label gpu"));

    hello_as(w, RUNNER2, 7, (slices){ &gpu, 1 });
    world_submit(w, "demo", "refs/heads/next"); /* a second plan, and a third that waits */
    world_submit(w, "demo", "refs/heads/third");
    world_submit(w, "demo", "refs/heads/fourth");
    ask_status(w);
    is = &world_last(w, CLIENT, MSG_status_is)->status_is;
    assert_int_equal(is->waiting.n, 1);
    assert_true(slice_is(is->waiting.v[0].why, "next for a free slot"));

    world_say(
        w, CLIENT,
        &(msg){ .type = MSG_set_mode, .set_mode = { .runner = SLICE(ID_1), .mode = MODE_CORDON } });
    world_say(w, CLIENT,
              &(msg){ .type = MSG_set_mode,
                      .set_mode = { .runner = SLICE("00000000000000000000000000000007"),
                                    .mode = MODE_DRAIN } });
    ask_status(w);
    is = &world_last(w, CLIENT, MSG_status_is)->status_is;
    assert_true(slice_is(is->waiting.v[0].why,
                         "its runners take nothing new: box is cordoned, box drains"));
}

static slice why_running(world *w)
{
    ask_status(w);
    assert_int_equal(world_last(w, CLIENT, MSG_status_is)->status_is.running.n, 1);
    return world_last(w, CLIENT, MSG_status_is)->status_is.running.v[0].why;
}

static void tells_why_a_running_task_does_not_come_forward(void **state)
{
    world *w = *state;
    rec_job jobs[] = { { .name = SLICE("script") } };

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "demo", "refs/heads/main");
    world_plan(w, RUNNER, jobs, 1);
    assert_int_equal(why_running(w).n, 0);
    world_wait(w, 5000);
    assert_true(slice_is(why_running(w), "its runner is silent for 5 s; it is given up in 10 s"));
    world_restart(w);
    assert_true(slice_is(why_running(w), "its runner has not come back since the dispatcher's "
                                         "start; it is given up in 30 s"));
    world_hello(w, RUNNER, ID_1, BOOT, 1);
    assert_int_equal(why_running(w).n, 0);
    world_say(w, CLIENT,
              &(msg){ .type = MSG_cancel_build,
                      .cancel_build = { .build = 1, .why = SLICE("wrong branch") } });
    assert_true(slice_is(why_running(w), "until all that it started has ended: wrong branch"));
    world_wait(w, 15000);
    assert_int_equal(world_event(w, EVENT_BUILD_DONE)->verdict, VERDICT_CANCELED);
}

static void tells_how_much_waits_to_be_sent(void **state)
{
    world *w = *state;

    assert_int_equal(dispatcher_unsent(w->d), 0);
    world_hand_in(w, RUNNER, &(msg){ .type = MSG_hb, .hb.n = 1 });
    assert_true(dispatcher_unsent(w->d) > 0);
    world_commit(w);
    assert_int_equal(dispatcher_unsent(w->d), 0);
}

int main(int argc, char **argv)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(ends_a_job_without_files_as_no_tests),
        TEST(refuses_files_of_a_script_job),
        TEST(refuses_a_script_job_that_goes_on_with_files),
        TEST(orders_jobs_with_many_needs),
        TEST(refuses_jobs_that_need_each_other),
        TEST(refuses_a_plan_of_too_many_bytes),
        TEST(survives_a_clock_that_was_set_in_the_middle_of_a_build),
        TEST(counts_the_end_of_a_runner_as_one_loss),
        TEST(survives_one_connection_that_says_hello_for_two_runners),
        TEST(counts_no_loss_when_a_runner_says_bye),
        TEST(drops_nothing_by_the_numbers_of_another_history),
        TEST(tells_that_a_batch_runs_before_its_outcomes),
        TEST(cancels_a_build_of_jobs_that_may_fail),
        TEST(counts_only_the_runners_without_what_it_takes),
        TEST(keeps_who_had_an_attempt_that_goes_on_elsewhere),
        TEST(tells_why_a_long_queue_waits),
        TEST(tells_each_reason_of_waiting),
        TEST(tells_why_a_running_task_does_not_come_forward),
        TEST(tells_how_much_waits_to_be_sent),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
