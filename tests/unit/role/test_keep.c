/* test_keep.c - what retention keeps of builds that have ended, and what is said of the rest. */
#include "dispatcher_world.h"

#define DAY (INT64_C(24) * 3600 * 1000)

/* A build of one script, of a commit of its own, that ends with this verdict. */
static void run_build(world *w, const char *repo, const char *ref, verdict v)
{
    rec_job job = { .name = SLICE("make") };

    world_submit(w, repo, ref);
    world_plan(w, RUNNER, &job, 1);
    world_result(w, RUNNER, v);
    world_forget(w);
}

static void run_builds(world *w, const char *repo, int n)
{
    char ref[32];

    for (int i = 0; i < n; i++) {
        snprintf(ref, sizeof ref, "refs/heads/%llu", (unsigned long long)w->sids);
        w->wall_ms++;
        run_build(w, repo, ref, VERDICT_FAILED);
    }
}

/* One slice, committed. */
static bool prune(world *w, dispatcher_keep keep)
{
    bool more;

    assert_int_equal(dispatcher_prune(w->d, w->wall_ms, &keep, 100, &more, NULL), VOLT_OK);
    world_commit(w);
    return more;
}

static void prune_all(world *w, dispatcher_keep keep)
{
    for (int i = 0; prune(w, keep); i++)
        assert_in_range(i, 0, 100);
}

/* "3 2 -1": what `builds` lists; forgotten ones with a minus. */
static const char *lines(world *w)
{
    const rec_build_row_list *rows;
    buf b = { 0 };
    const char *told;

    world_say(w, CLIENT, &(msg){ .type = MSG_builds });
    rows = &world_last(w, CLIENT, MSG_builds_are)->builds_are.rows;
    for (size_t i = 0; i < rows->n; i++)
        buf_addf(&b, "%s%s%llu", i ? " " : "", rows->v[i].forgotten ? "-" : "",
                 (unsigned long long)rows->v[i].build);
    told = arena_str(&w->arena, buf_slice(&b));
    buf_free(&b);
    return told;
}

static void rebuild(world *w, uint64_t build, bool failed)
{
    char sid[33];

    snprintf(sid, sizeof sid, "%032llx", (unsigned long long)++w->sids);
    world_say(w, CLIENT,
              &(msg){ .type = MSG_rebuild,
                      .rebuild = { .sid = slice_of(sid), .build = build, .failed = failed } });
}

static uint64_t floor_of(world *w)
{
    world_say(w, CLIENT, &(msg){ .type = MSG_status });
    return world_last(w, CLIENT, MSG_status_is)->status_is.floor;
}

static void keeps_the_newest_builds_of_each_repository(void **state)
{
    world *w = *state;
    const dispatcher_keep keep = { .builds = 2 };

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    run_builds(w, "a", 3);
    run_builds(w, "b", 4);
    prune_all(w, keep);
    assert_string_equal(lines(w), "7 6 -5 -4 3 2 -1");
    assert_false(prune(w, keep));
    run_builds(w, "a", 1);
    prune_all(w, keep);
    assert_string_equal(lines(w), "8 7 6 -5 -4 3 -2 -1");
}

static void counts_the_builds_anew_after_a_restart(void **state)
{
    world *w = *state;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    run_builds(w, "a", 2);
    run_builds(w, "b", 2);
    world_restart(w);
    prune_all(w, (dispatcher_keep){ .builds = 1 });
    assert_string_equal(lines(w), "4 -3 2 -1");
}

/* Each of its builds has left files of 1,000 bytes. */
static void forgets_for_room_until_it_is_enough(void **state)
{
    world *w = *state;
    const dispatcher_keep keep = { .bytes = 1000000 };

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    run_builds(w, "a", 4);
    w->logs_bytes = 900000;
    assert_false(prune(w, keep));
    assert_string_equal(lines(w), "4 3 2 1");
    w->logs_bytes = 1000000;
    assert_true(prune(w, keep));
    assert_string_equal(lines(w), "4 3 2 -1");
    assert_true(w->logs_removed > 0); /* by the commit, so that they can be counted anew */
    assert_true(prune(w, keep));
    assert_string_equal(lines(w), "4 3 -2 -1");
    w->logs_bytes = 900000;
    assert_false(prune(w, keep));
    assert_string_equal(lines(w), "4 3 -2 -1");
    assert_false(dispatcher_is_crammed(w->d));
    w->logs_bytes = 1000000;
    prune_all(w, keep);
    assert_string_equal(lines(w), "-4 -3 -2 -1");
    assert_true(dispatcher_is_crammed(w->d));
}

static void keeps_what_has_not_ended(void **state)
{
    world *w = *state;
    rec_job job = { .name = SLICE("make") };

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    run_builds(w, "a", 3);
    rebuild(w, 2, true); /* inherits */
    world_plan(w, RUNNER, &job, 1);
    prune_all(w, (dispatcher_keep){ .bytes = 1, .builds = 1 });
    assert_string_equal(lines(w), "4 -3 2 -1");
    world_result(w, RUNNER, VERDICT_PASSED);
    prune_all(w, (dispatcher_keep){ .bytes = 1 });
    assert_string_equal(lines(w), "-4 -3 -2 -1");
}

static void keeps_events_for_a_month_and_for_room_a_day(void **state)
{
    world *w = *state;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    run_builds(w, "a", 2);
    world_wait(w, 1000); /* all are counted */
    prune_all(w, (dispatcher_keep){ .builds = 1 });
    w->wall_ms += DAY - 5000;
    prune_all(w, (dispatcher_keep){ .bytes = 1 });
    assert_int_equal(floor_of(w), 1);
    w->wall_ms += 29 * DAY;
    prune_all(w, (dispatcher_keep){ .builds = 1 });
    assert_int_equal(floor_of(w), 1);
    prune_all(w, (dispatcher_keep){ .bytes = 1 });
    assert_true(floor_of(w) > 1);
}

static void forgets_lines_with_the_histories(void **state)
{
    world *w = *state;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    run_builds(w, "a", 2);
    w->wall_ms += 179 * DAY;
    prune_all(w, (dispatcher_keep){ .builds = 1 });
    assert_string_equal(lines(w), "2 -1");
    w->wall_ms += 2 * DAY;
    prune_all(w, (dispatcher_keep){ .builds = 1 });
    assert_string_equal(lines(w), "2");
    prune_all(w, (dispatcher_keep){ .ms = 30 * DAY });
    assert_string_equal(lines(w), "-2");
}

static void assert_refused(world *w, const msg *m, code code, const char *why)
{
    const msg_err *e;

    world_forget(w);
    world_say(w, CLIENT, m);
    assert_non_null(world_last(w, CLIENT, MSG_err));
    e = &world_last(w, CLIENT, MSG_err)->err;
    assert_int_equal(e->code, code);
    assert_string_equal(arena_str(&w->arena, e->msg), why);
}

static void says_what_is_no_longer_kept(void **state)
{
    world *w = *state;
    const msg_build_is *is;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    run_builds(w, "a", 2);
    prune_all(w, (dispatcher_keep){ .builds = 1 });
    world_say(w, CLIENT, &(msg){ .type = MSG_build, .build.build = 1 });
    is = &world_last(w, CLIENT, MSG_build_is)->build_is;
    assert_true(is->rows.v[0].forgotten && is->rows.v[0].verdict == VERDICT_FAILED);
    assert_int_equal(is->jobs.n + is->tasks.n, 0);
    assert_refused(w, &(msg){ .type = MSG_units, .units.build = 1 }, CODE_NOT_FOUND,
                   "the details of build 1 are no longer kept");
    assert_refused(w, &(msg){ .type = MSG_artifacts, .artifacts.build = 1 }, CODE_NOT_FOUND,
                   "the details of build 1 are no longer kept");
    assert_refused(w, &(msg){ .type = MSG_artifacts, .artifacts.build = 3 }, CODE_NOT_FOUND,
                   "there is no build 3");
    assert_refused(w, &(msg){ .type = MSG_task, .task.task = 2 }, CODE_NOT_FOUND,
                   "task 2 is no longer kept");
    assert_refused(w, &(msg){ .type = MSG_get, .get.task = 2 }, CODE_NOT_FOUND,
                   "task 2 is no longer kept");
    assert_refused(w, &(msg){ .type = MSG_get, .get.task = 9 }, CODE_NOT_FOUND,
                   "there is no task 9");
}

static void says_of_a_line_that_went_that_it_was_there(void **state)
{
    world *w = *state;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    run_builds(w, "a", 2);
    w->wall_ms += 300 * DAY;
    prune_all(w, (dispatcher_keep){ .builds = 1 });
    assert_refused(w, &(msg){ .type = MSG_build, .build.build = 1 }, CODE_NOT_FOUND,
                   "build 1 is no longer kept");
    assert_refused(w, &(msg){ .type = MSG_build, .build.build = 3 }, CODE_NOT_FOUND,
                   "there is no build 3");
}

static void rebuilds_what_is_forgotten_but_retries_it_not(void **state)
{
    world *w = *state;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    run_builds(w, "a", 2);
    prune_all(w, (dispatcher_keep){ .builds = 1 });
    rebuild(w, 1, true);
    assert_int_equal(world_last(w, CLIENT, MSG_err)->err.code, CODE_STATE);
    rebuild(w, 1, false);
    assert_int_equal(world_last(w, CLIENT, MSG_accepted)->accepted.build, 3);
    assert_string_equal(lines(w), "3 2 -1");
}

/* Build 2 retries 1, and took `make` over, and its artifacts: these are gone, so it runs again. */
static void a_retry_runs_again_what_left_artifacts_that_are_gone(void **state)
{
    world *w = *state;
    slice needs[] = { SLICE("make") };
    rec_job jobs[] = { { .name = SLICE("lint") },
                       { .name = SLICE("make"), .artifacts = true },
                       { .name = SLICE("use"), .needs = { needs, 1 } } };

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "a", "refs/heads/main");
    world_plan(w, RUNNER, jobs, 3);
    world_result(w, RUNNER, VERDICT_PASSED);
    world_result(w, RUNNER, VERDICT_PASSED);
    world_result(w, RUNNER, VERDICT_FAILED);
    for (uint64_t build = 1; build <= 2; build++) {
        w->wall_ms += DAY;
        rebuild(w, build, true);
        world_plan(w, RUNNER, jobs, 3);
        assert_true(slice_is(world_assign(w, RUNNER)->job, build == 1 ? "use" : "make"));
        world_result(w, RUNNER, VERDICT_FAILED);
        prune_all(w, (dispatcher_keep){ .builds = 1 });
    }
    assert_string_equal(lines(w), "3 -2 -1");
}

/* Build 2 took `make` over from what is forgotten, but 3 ran it again, and has its artifacts. */
static void a_retry_takes_over_what_ran_again_since(void **state)
{
    world *w = *state;
    slice needs[] = { SLICE("make") };
    rec_job jobs[] = { { .name = SLICE("make"), .artifacts = true },
                       { .name = SLICE("use"), .needs = { needs, 1 } } };

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "a", "refs/heads/main");
    for (uint64_t build = 1; build <= 4; build++) {
        world_plan(w, RUNNER, jobs, 2);
        if (build % 2 == 1 && build < 4) {
            assert_true(slice_is(world_assign(w, RUNNER)->job, "make"));
            world_result(w, RUNNER, VERDICT_PASSED);
        }
        assert_true(slice_is(world_assign(w, RUNNER)->job, "use"));
        world_result(w, RUNNER, VERDICT_FAILED);
        w->wall_ms += DAY;
        if (build == 2)
            prune_all(w, (dispatcher_keep){ .builds = 1 });
        rebuild(w, build, true);
    }
    assert_string_equal(lines(w), "5 4 3 2 -1");
}

/* A day and more later its submission is gone, too. */
static void answers_a_commit_of_a_forgotten_build_as_ended(void **state)
{
    world *w = *state;
    const msg_accepted *m;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    run_build(w, "a", "refs/heads/main", VERDICT_FAILED);
    w->wall_ms += 2 * DAY;
    prune_all(w, (dispatcher_keep){ .ms = DAY });
    for (int i = 0; i < 2; i++) {
        w->sids = 0; /* the first time with the name that it had */
        world_submit(w, "a", "refs/heads/main");
        m = &world_last(w, CLIENT, MSG_accepted)->accepted;
        assert_true(m->build == 1 && m->dup);
        assert_int_equal(m->verdict, i ? verdict_none : VERDICT_FAILED);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(keeps_the_newest_builds_of_each_repository),
        TEST(counts_the_builds_anew_after_a_restart),
        TEST(forgets_for_room_until_it_is_enough),
        TEST(keeps_what_has_not_ended),
        TEST(keeps_events_for_a_month_and_for_room_a_day),
        TEST(forgets_lines_with_the_histories),
        TEST(says_what_is_no_longer_kept),
        TEST(says_of_a_line_that_went_that_it_was_there),
        TEST(rebuilds_what_is_forgotten_but_retries_it_not),
        TEST(a_retry_runs_again_what_left_artifacts_that_are_gone),
        TEST(a_retry_takes_over_what_ran_again_since),
        TEST(answers_a_commit_of_a_forgotten_build_as_ended),
    };

    return cmocka_run_group_tests_name("keep", tests, NULL, NULL);
}
