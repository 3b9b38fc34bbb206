/* What a dispatch makes of messages that are seldom or hostile. */
#include "dispatch_world.h"

#include "core/fleet.h"

static bool fenced(const world *w, uint64_t task)
{
    const msg *m = sent(w, RUNNER, MSG_fenced);

    return m && m->fenced.task == task;
}

/* ---- plans ---- */

static void refuses_a_plan_of_too_many_jobs(void **unused)
{
    world *w = world_planning();
    rec_job jobs[501];
    char names[1002][8];

    (void)unused;
    for (int part = 0; part < 2; part++) {
        for (int i = 0; i < 501; i++) {
            snprintf(names[part * 501 + i], 8, "j%d", part * 501 + i);
            jobs[i] = (rec_job){ .name = slice_of(names[part * 501 + i]) };
        }
        say_plan(w, (uint64_t)part, false, jobs, 501);
    }
    assert_true(fenced(w, 1));
    assert_int_equal(task_row(w)->verdict, VERDICT_ERRORED);
    world_free(w);
}

static void refuses_a_plan_of_too_many_files(void **unused)
{
    world *w = world_planning();
    size_t n = 100001;
    slice *files = calloc(n, sizeof *files);

    (void)unused;
    assert_non_null(files);
    for (size_t i = 0; i < n; i++)
        files[i] = SLICE("f");
    say_plan(w, 0, false, &(rec_job){ .name = SLICE("j"), .tests = true, .files = { files, n } },
             1);
    assert_true(fenced(w, 1));
    assert_int_equal(task_row(w)->verdict, VERDICT_ERRORED);
    free(files);
    world_free(w);
}

static void takes_no_part_behind_the_last(void **unused)
{
    world *w = world_planning();
    rec_job job = { .name = SLICE("a") }, more = { .name = SLICE("b") };

    (void)unused;
    say_plan(w, 0, true, &job, 1);
    say_plan(w, 1, true, &more, 1);
    assert_int_equal(sent(w, RUNNER, MSG_plan_ok)->plan_ok.next, 1);
    say(w, RUNNER, result(1, 1, VERDICT_PASSED));
    assert_string_equal(sent(w, RUNNER, MSG_assign)->assign.job.p, "a");
    say(w, RUNNER, result(2, 1, VERDICT_PASSED));
    assert_null(sent(w, RUNNER, MSG_assign));
    assert_int_equal(dispatch_builds(w->d), 0);
    world_free(w);
}

static void fences_what_does_not_suit_the_task(void **unused)
{
    world *w = world_planning();
    rec_item item = { .verdict = VERDICT_PASSED };

    (void)unused;
    say(w, RUNNER,
        (msg){ .type = MSG_tests, .tests = { .task = 1, .att = 1, .items = { &item, 1 } } });
    assert_true(fenced(w, 1));
    world_free(w);

    w = world_running(false);
    say(w, RUNNER, (msg){ .type = MSG_plan, .plan = { .task = 2, .att = 1, .last = true } });
    assert_true(fenced(w, 2));
    world_free(w);
}

/* ---- outcomes ---- */

static void asks_for_outcomes_that_are_missing(void **unused)
{
    world *w = world_running(true);
    rec_item items[4] = { { .verdict = VERDICT_PASSED },
                          { .verdict = VERDICT_PASSED },
                          { .verdict = VERDICT_PASSED },
                          { .verdict = VERDICT_FAILED } };
    msg late = result(2, 1, VERDICT_PASSED);

    (void)unused;
    say(w, RUNNER,
        (msg){ .type = MSG_tests,
               .tests = { .task = 2, .att = 1, .from = 1, .items = { items, 1 } } });
    assert_int_equal(sent(w, RUNNER, MSG_tests_ok)->tests_ok.next, 0);
    late.result.from = 2;
    late.result.items = (rec_item_list){ items, 1 };
    say(w, RUNNER, late);
    assert_int_equal(sent(w, RUNNER, MSG_tests_ok)->tests_ok.next, 0);
    assert_null(sent(w, RUNNER, MSG_result_ok));
    /* One more than there are files: it belongs to none. */
    late.result.from = 0;
    late.result.items = (rec_item_list){ items, 4 };
    say(w, RUNNER, late);
    assert_non_null(sent(w, RUNNER, MSG_result_ok));
    assert_int_equal(task_row(w)->verdict, VERDICT_PASSED);
    assert_int_equal(task_row(w)->done, 3);
    world_free(w);
}

static void believes_no_pass_without_all_outcomes(void **unused)
{
    const verdict claimed[] = { VERDICT_PASSED, VERDICT_FLAKY, VERDICT_FAILED };
    const verdict taken[] = { VERDICT_ERRORED, VERDICT_ERRORED, VERDICT_FAILED };

    (void)unused;
    for (size_t i = 0; i < 3; i++) {
        world *w = world_running(true);

        say(w, RUNNER, result(2, 1, claimed[i]));
        assert_int_equal(task_row(w)->verdict, taken[i]);
        world_free(w);
    }
}

static void believes_no_pass_after_a_failed_setup(void **unused)
{
    rec_item items[3] = { { .verdict = VERDICT_PASSED },
                          { .verdict = VERDICT_PASSED },
                          { .verdict = VERDICT_PASSED } };
    const verdict claimed[] = { VERDICT_PASSED, VERDICT_FLAKY, VERDICT_SKIPPED, VERDICT_TIMEOUT };
    const verdict taken[] = { VERDICT_ERRORED, VERDICT_ERRORED, VERDICT_ERRORED, VERDICT_TIMEOUT };

    (void)unused;
    for (size_t i = 0; i < 4; i++) {
        world *w = world_running(true);
        msg m = result(2, 1, claimed[i]);

        m.result.setup_failed = true;
        m.result.items = (rec_item_list){ items, 3 };
        say(w, RUNNER, m);
        assert_int_equal(task_row(w)->verdict, taken[i]);
        world_free(w);
    }
}

static void a_script_has_no_setup(void **unused)
{
    world *w = world_running(false);
    msg m = result(2, 1, VERDICT_PASSED);

    (void)unused;
    m.result.setup_failed = true;
    say(w, RUNNER, m);
    assert_int_equal(task_row(w)->verdict, VERDICT_PASSED);
    world_free(w);
}

/* ---- logs ---- */

static msg log_piece(uint64_t task, uint64_t off, slice d)
{
    return (msg){ .type = MSG_log, .log = { .task = task, .att = 1, .off = off, .d = d } };
}

static void writes_no_log_of_no_bytes(void **unused)
{
    world *w = world_running(false);

    (void)unused;
    say(w, RUNNER, log_piece(2, 0, (slice){ 0 }));
    assert_int_equal(count(w, EFFECT_LOG_WRITE), 0);
    assert_int_equal(sent(w, RUNNER, MSG_log_ok)->log_ok.off, 0);
    world_free(w);
}

static void takes_the_log_of_a_plan(void **unused)
{
    world *w = world_planning();

    (void)unused;
    say(w, RUNNER, log_piece(1, 0, SLICE("fetching")));
    assert_int_equal(count(w, EFFECT_LOG_WRITE), 1);
    assert_int_equal(sent(w, 0, MSG_log)->log.job.n, 0);
    world_free(w);
}

static void cuts_only_the_log_of_an_attempt_under_way(void **unused)
{
    world *w = world_running(false);

    (void)unused;
    say(w, RUNNER, log_piece(2, 0, SLICE("12345678")));
    assert_int_equal(sent(w, RUNNER, MSG_log_ok)->log_ok.off, 8);
    dispatch_log_is(w->d, 7, 1, PART_LOG, 1); /* no such task */
    dispatch_log_is(w->d, 2, 2, PART_LOG, 2); /* no such attempt */
    dispatch_log_is(w->d, 1, 1, PART_LOG, 3); /* the plan has ended */
    say(w, RUNNER, log_piece(2, 99, SLICE("x")));
    assert_int_equal(sent(w, RUNNER, MSG_log_ok)->log_ok.off, 8);
    dispatch_log_is(w->d, 2, 1, PART_LOG, 4);
    say(w, RUNNER, log_piece(2, 99, SLICE("x")));
    assert_int_equal(sent(w, RUNNER, MSG_log_ok)->log_ok.off, 4);
    world_free(w);
}

/* A log inside a result is the whole log, or it is not taken. */
static void takes_a_log_in_a_result_only_whole(void **unused)
{
    world *w = world_running(false);
    msg end = result(2, 1, VERDICT_PASSED);

    (void)unused;
    end.result.log = SLICE("123");
    end.result.log_bytes = 8;
    say(w, RUNNER, end);
    assert_null(sent(w, RUNNER, MSG_result_ok));
    say(w, RUNNER, log_piece(2, 0, SLICE("123")));
    end.result.log_bytes = 3; /* it is here already */
    say(w, RUNNER, end);
    assert_non_null(sent(w, RUNNER, MSG_result_ok));
    assert_int_equal(task_row(w)->log_bytes, 3);
    assert_int_equal(count(w, EFFECT_LOG_SYNC), 1);
    world_free(w);
}

/* ---- results that come late ---- */

static void acknowledges_a_late_result_to_its_own_runner_only(void **unused)
{
    slice labels[] = { SLICE("none") };
    rec_job jobs[] = { { .name = SLICE("a") }, { .name = SLICE("b"), .labels = { labels, 1 } } };
    world *w = world_planning();

    (void)unused;
    say_plan(w, 0, true, jobs, 2); /* b keeps the build open: nobody has its label */
    say(w, RUNNER, result(1, 1, VERDICT_PASSED));
    say(w, RUNNER, result(2, 1, VERDICT_PASSED));
    say(w, OTHER, hello(ID2));
    say(w, RUNNER, result(2, 1, VERDICT_PASSED));
    assert_non_null(sent(w, RUNNER, MSG_result_ok));
    say(w, RUNNER, result(2, 2, VERDICT_PASSED));
    assert_null(sent(w, RUNNER, MSG_result_ok));
    assert_true(fenced(w, 2));
    say(w, OTHER, result(2, 1, VERDICT_PASSED));
    assert_null(sent(w, OTHER, MSG_result_ok));
    assert_non_null(sent(w, OTHER, MSG_fenced));
    world_free(w);
}

/* The same for a task of a build that has ended: its row tells. */
static void asks_the_store_about_a_task_that_it_has_forgotten(void **unused)
{
    world *w = world_planning();
    row_task row = {
        .task = 50, .att = 2, .state = STATE_FINAL, .runner = SLICE(ID), .verdict = VERDICT_PASSED
    };
    const row_task good = row;

    (void)unused;
    say(w, RUNNER, result(50, 2, VERDICT_PASSED));
    assert_true(fenced(w, 50)); /* no row */
    w->facts.tasks = &row;
    w->facts.tasks_n = 1;
    say(w, RUNNER, result(50, 2, VERDICT_PASSED));
    assert_non_null(sent(w, RUNNER, MSG_result_ok));
    say(w, RUNNER, result(50, 1, VERDICT_PASSED));
    assert_true(fenced(w, 50));
    row.task = 51;
    say(w, RUNNER, result(50, 2, VERDICT_PASSED));
    assert_true(fenced(w, 50));
    row = good;
    row.state = STATE_RUNNING;
    say(w, RUNNER, result(50, 2, VERDICT_PASSED));
    assert_true(fenced(w, 50));
    row = good;
    row.runner = SLICE(ID2);
    say(w, RUNNER, result(50, 2, VERDICT_PASSED));
    assert_true(fenced(w, 50));
    world_free(w);
}

/* ---- runners ---- */

static void stays_away_from_a_bad_repository_a_minute_at_most(void **unused)
{
    const int64_t waits_ms[] = { 5000, 10000, 20000, 40000, 60000, 60000 };
    const code why[] = { CODE_REPO, CODE_DISK };

    (void)unused;
    for (size_t k = 0; k < 2; k++) {
        world *w = world_planning();
        msg no = { .type = MSG_nack,
                   .nack = { .task = 1, .att = 1, .code = why[k], .msg = SLICE("no way") } };

        for (size_t i = 0; i < sizeof waits_ms / sizeof *waits_ms; i++) {
            say(w, RUNNER, no);
            assert_in_range(until_assigned(w, 100000), waits_ms[i], waits_ms[i] + 1000);
            no.nack.att = sent(w, RUNNER, MSG_assign)->assign.att;
        }
        world_free(w);
    }
}

static void forgets_a_bad_repository_that_went_well_for_a_minute(void **unused)
{
    world *w = world_planning();
    msg no = { .type = MSG_nack, .nack = { .task = 1, .att = 1, .code = CODE_DISK } };

    (void)unused;
    for (int i = 0; i < 3; i++) {
        say(w, RUNNER, no);
        assert_in_range(until_assigned(w, 100000), 5000, 6000);
        no.nack.att = sent(w, RUNNER, MSG_assign)->assign.att;
        for (int second = 0; second < 61; second++) {
            rec_held held = { .task = 1, .att = no.nack.att, .state = HELD_RUNNING };

            w->now_ms += 1000;
            say(w, RUNNER, (msg){ .type = MSG_hb, .hb.held = { &held, 1 } });
        }
    }
    world_free(w);
}

static void sets_a_runner_aside_that_loses_everything(void **unused)
{
    world *w = world_planning();
    uint64_t task = 1, att = 1;

    (void)unused;
    for (int i = 0; i < FLEET_LOSSES_MAX; i++) {
        char sid[33];
        msg again = submit("https://example.org/demo.git");
        char ref[32];

        snprintf(sid, sizeof sid, "%032d", i);
        snprintf(ref, sizeof ref, "refs/heads/b%d", i);
        again.submit.sid = slice_of(sid);
        again.submit.ref = slice_of(ref);
        say(w, CLIENT, again);
        say(w, RUNNER,
            (msg){ .type = MSG_nack, .nack = { .task = task, .att = att, .code = CODE_LOST } });
        if (i < FLEET_LOSSES_MAX - 1) {
            assert_non_null(sent(w, RUNNER, MSG_assign));
            task = sent(w, RUNNER, MSG_assign)->assign.task;
            att = sent(w, RUNNER, MSG_assign)->assign.att;
        }
    }
    assert_null(sent(w, RUNNER, MSG_assign));
    assert_int_equal(sent(w, RUNNER, MSG_mode)->mode.mode, MODE_CORDON);
    world_free(w);
}

static void speaks_one_version(void **unused)
{
    world *w = world_new();
    msg old = hello(ID), young = hello(ID);

    (void)unused;
    world_loaded(w);
    old.hello.vmin = old.hello.vmax = 0;
    young.hello.vmin = young.hello.vmax = 2;
    say(w, RUNNER, old);
    assert_int_equal(sent(w, RUNNER, MSG_refuse)->refuse.code, CODE_VERSION);
    say(w, RUNNER, young);
    assert_int_equal(sent(w, RUNNER, MSG_refuse)->refuse.code, CODE_VERSION);
    young.hello.vmin = 1;
    say(w, RUNNER, young);
    assert_non_null(sent(w, RUNNER, MSG_welcome));
    world_free(w);
}

static void load_runners(world *w, size_t n, runner_state state)
{
    volt_err err;

    for (size_t i = 0; i < n; i++) {
        char id[33];

        snprintf(id, sizeof id, "%032zx", i);
        assert_int_equal(dispatch_load(w->d,
                                       &(row){ .kind = ROW_RUNNER,
                                               .runner = { .id = slice_of(id),
                                                           .state = i ? state : RUNNER_UP } },
                                       &err),
                         VOLT_OK);
    }
}

static void forgets_runners_that_are_gone_for_a_new_one(void **unused)
{
    world *w = world_new();

    (void)unused;
    load_runners(w, FLEET_RUNNERS_MAX, RUNNER_UP);
    world_loaded(w);
    say(w, RUNNER, hello(ID));
    assert_int_equal(sent(w, RUNNER, MSG_refuse)->refuse.code, CODE_TOO_BIG);
    assert_true(sent(w, RUNNER, MSG_refuse)->refuse.retry_ms > 0);
    world_free(w);

    w = world_new();
    load_runners(w, FLEET_RUNNERS_MAX, RUNNER_GONE);
    world_loaded(w);
    say(w, RUNNER, hello(ID));
    assert_non_null(sent(w, RUNNER, MSG_welcome));
    say(w, OTHER, hello(ID2));
    assert_non_null(sent(w, OTHER, MSG_welcome));
    world_free(w);
}

/* Without a history it cannot tell whose attempts it holds. */
static void drops_what_a_runner_without_history_holds(void **unused)
{
    world *w = world_planning();
    rec_held held = { .task = 1, .att = 1, .state = HELD_RUNNING };
    msg m = hello(ID);

    (void)unused;
    m.hello.hist = (slice){ 0 };
    m.hello.held = (rec_held_list){ &held, 1 };
    say(w, RUNNER, m);
    assert_int_equal(sent(w, RUNNER, MSG_welcome)->welcome.drop.n, 1);
    assert_int_equal(sent(w, RUNNER, MSG_welcome)->welcome.keep.n, 0);
    world_free(w);
}

/* ---- clients ---- */

static void knows_a_repository_by_any_spelling(void **unused)
{
    world *w = world_new();
    msg m = submit("/");

    (void)unused;
    world_loaded(w);
    say(w, 0, m);
    assert_non_null(sent(w, 0, MSG_accepted));
    m.submit.sid = SLICE("dddddddddddddddddddddddddddddddd");
    m.submit.url = SLICE("//");
    m.submit.ref = SLICE("refs/heads/other");
    say(w, 0, m);
    assert_non_null(sent(w, 0, MSG_accepted));
    m.submit.sid = SLICE("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
    m.submit.url = SLICE("local:nopath");
    say(w, 0, m);
    assert_int_equal(sent(w, 0, MSG_rejected)->rejected.code, CODE_NAME_TAKEN);
    world_free(w);
}

/* `local:HOST` without a path names the host alone; only a runner there may take it. */
static void waits_for_the_host_of_a_local_repository(void **unused)
{
    world *w = world_new();
    msg there = hello(ID2);

    (void)unused;
    world_loaded(w);
    say(w, CLIENT, submit("local:far"));
    say(w, RUNNER, hello(ID));
    assert_null(sent(w, RUNNER, MSG_assign));
    there.hello.host = SLICE("far");
    say(w, OTHER, there);
    assert_int_equal(sent(w, OTHER, MSG_assign)->assign.task, 1);
    world_free(w);
}

static msg rebuild(uint64_t build)
{
    return (msg){ .type = MSG_rebuild, .rebuild = { .build = build, .sid = SLICE(SID) } };
}

static void rebuilds_what_the_store_knows(void **unused)
{
    world *w = world_planning();
    row_build old = { .build = 70, .repo = SLICE("other"), .oid = SLICE(OID), .gen = 4 };

    (void)unused;
    w->facts.build = &old;
    say(w, CLIENT, rebuild(70));
    assert_int_equal(sent(w, CLIENT, MSG_err)->err.code, CODE_NOT_FOUND); /* its repository */
    old.repo = SLICE("demo");
    old.ref = SLICE("refs/heads/main");
    say(w, CLIENT, rebuild(70)); /* no newer one of this commit */
    for (size_t i = 0; i < w->out.n; i++)
        if (w->out.v[i].kind == EFFECT_PUT && w->out.v[i].row->kind == ROW_BUILD)
            assert_int_equal(w->out.v[i].row->build.gen, 5);
    assert_int_equal(sent(w, CLIENT, MSG_accepted)->accepted.build, 2);
    world_free(w);
}

static void refuses_builds_beyond_the_maximum(void **unused)
{
    world *w = world_new();
    row_build old = { .build = 1, .repo = SLICE("demo"), .oid = SLICE(OID) };
    msg m = submit("https://example.org/demo.git");
    volt_err err;

    (void)unused;
    dispatch_load(
        w->d, &(row){ .kind = ROW_REPO, .repo = { .name = m.submit.repo, .url = m.submit.url } },
        &err);
    for (uint64_t i = 1; i <= 100000; i++)
        assert_int_equal(
            dispatch_load(
                w->d,
                &(row){ .kind = ROW_BUILD,
                        .build = { .build = i, .repo = m.submit.repo, .state = STATE_WAITING } },
                &err),
            VOLT_OK);
    world_loaded(w);
    say(w, 0, m);
    assert_int_equal(sent(w, 0, MSG_rejected)->rejected.code, CODE_BUSY);
    assert_false(sent(w, 0, MSG_rejected)->rejected.permanent);
    w->facts.build = &old;
    say(w, CLIENT, rebuild(1));
    assert_int_equal(sent(w, CLIENT, MSG_err)->err.code, CODE_BUSY);
    assert_int_equal(dispatch_builds(w->d), 100000);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_a_plan_of_too_many_jobs),
        cmocka_unit_test(refuses_a_plan_of_too_many_files),
        cmocka_unit_test(takes_no_part_behind_the_last),
        cmocka_unit_test(fences_what_does_not_suit_the_task),
        cmocka_unit_test(asks_for_outcomes_that_are_missing),
        cmocka_unit_test(believes_no_pass_without_all_outcomes),
        cmocka_unit_test(believes_no_pass_after_a_failed_setup),
        cmocka_unit_test(a_script_has_no_setup),
        cmocka_unit_test(writes_no_log_of_no_bytes),
        cmocka_unit_test(takes_the_log_of_a_plan),
        cmocka_unit_test(cuts_only_the_log_of_an_attempt_under_way),
        cmocka_unit_test(takes_a_log_in_a_result_only_whole),
        cmocka_unit_test(acknowledges_a_late_result_to_its_own_runner_only),
        cmocka_unit_test(asks_the_store_about_a_task_that_it_has_forgotten),
        cmocka_unit_test(stays_away_from_a_bad_repository_a_minute_at_most),
        cmocka_unit_test(forgets_a_bad_repository_that_went_well_for_a_minute),
        cmocka_unit_test(sets_a_runner_aside_that_loses_everything),
        cmocka_unit_test(speaks_one_version),
        cmocka_unit_test(forgets_runners_that_are_gone_for_a_new_one),
        cmocka_unit_test(drops_what_a_runner_without_history_holds),
        cmocka_unit_test(knows_a_repository_by_any_spelling),
        cmocka_unit_test(waits_for_the_host_of_a_local_repository),
        cmocka_unit_test(rebuilds_what_the_store_knows),
        cmocka_unit_test(refuses_builds_beyond_the_maximum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
