/* An old copy of the data directory, and those who only say that it is one. */
#include "dispatcher_world.h"

#define KEY_NONE ""

/* What a later start of the same directory tells: made with its secret. */
static const char *key_of(const char *about)
{
    static char keys[4][33];
    static unsigned n;
    char text[100];

    snprintf(text, sizeof text, HIST " %s", about);
    world_prove(SECRET, text, keys[++n % 4]);
    return keys[n % 4];
}

static void hello_with(world *w, uint64_t peer, uint64_t maxep, const char *key,
                       const rec_held *held, const rec_held *last)
{
    rec_held h = held ? *held : (rec_held){ 0 }, l = last ? *last : (rec_held){ 0 };

    world_say(w, peer,
              &(msg){ .type = MSG_hello,
                      .hello = { .vmin = 1,
                                 .vmax = 1,
                                 .id = slice_of(peer == RUNNER ? ID_1 : ID_2),
                                 .name = SLICE("box"),
                                 .boot = SLICE(BOOT),
                                 .hist = SLICE(HIST),
                                 .maxep = maxep,
                                 .key = slice_of(key),
                                 .slots = 1,
                                 .held = { &h, held ? 1 : 0 },
                                 .last = { &l, last ? 1 : 0 } } });
}

static void hello(world *w, uint64_t peer, uint64_t maxep, const char *key, const rec_held *held)
{
    hello_with(w, peer, maxep, key, held, NULL);
}

static slice trouble(world *w)
{
    world_say(w, CLIENT, &(msg){ .type = MSG_status });
    return world_last(w, CLIENT, MSG_status_is)->status_is.trouble;
}

static void tells_each_start_and_each_attempt_its_key(void **state)
{
    world *w = *state;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "demo", "refs/heads/main");
    assert_true(slice_is(world_last(w, RUNNER, MSG_welcome)->welcome.key, key_of("epoch 1")));
    assert_true(slice_is(world_assign(w, RUNNER)->key, key_of("attempt 1 1")));
    world_restart(w);
    world_hello(w, RUNNER, ID_1, BOOT, 1);
    assert_true(slice_is(world_last(w, RUNNER, MSG_welcome)->welcome.key, key_of("epoch 2")));
}

/* Anybody can say a number: that keeps the one who says it out, and nobody else from work. */
static void goes_on_when_a_stranger_claims_a_later_start(void **state)
{
    world *w = *state;
    const char *keys[] = { KEY_NONE, key_of("epoch 1"), key_of("epoch 98"), SECRET };

    for (size_t i = 0; i < 4; i++) {
        world_forget(w);
        hello(w, RUNNER2, 99, keys[i], NULL);
        assert_int_equal(world_last(w, RUNNER2, MSG_refuse)->refuse.code, CODE_STALE_DB);
        assert_true(world_last(w, RUNNER2, MSG_refuse)->refuse.retry_ms > 0);
        assert_null(world_last(w, RUNNER2, MSG_welcome));
    }
    hello(w, RUNNER, 1, key_of("epoch 1"), NULL);
    world_submit(w, "demo", "refs/heads/main");
    assert_non_null(world_assign(w, RUNNER));
    assert_int_equal(trouble(w).n, 0);
}

static void drops_what_a_stranger_claims_to_hold(void **state)
{
    world *w = *state;
    const rec_held held[] = {
        { .task = 77, .att = 1, .key = SLICE(SECRET) },
        { .task = 77, .att = 1 },
        { .task = 1, .att = 9 },
    };

    world_submit(w, "demo", "refs/heads/main");
    for (size_t i = 0; i < 3; i++) {
        world_forget(w);
        hello(w, RUNNER, 1, KEY_NONE, &held[i]);
        assert_int_equal(world_last(w, RUNNER, MSG_welcome)->welcome.drop.v[0].code, CODE_STALE);
    }
    assert_int_equal(trouble(w).n, 0);
}

static void stands_still(world *w)
{
    uint64_t last;

    assert_int_equal(world_last(w, 0, MSG_refuse)->refuse.code, CODE_STALE_DB);
    assert_non_null(strstr(arena_str(&w->arena, trouble(w)), "--accept-rollback"));
    last = dispatch_last_seq(dispatcher_core(w->d));
    world_forget(w);
    world_submit(w, "demo", "refs/heads/next"); /* comes again by itself */
    assert_int_equal(world_last(w, CLIENT, MSG_rejected)->rejected.code, CODE_STALE_DB);
    assert_false(world_last(w, CLIENT, MSG_rejected)->rejected.permanent);
    hello(w, RUNNER2, 1, KEY_NONE, NULL);
    assert_null(world_last(w, RUNNER2, MSG_welcome));
    world_say(w, RUNNER, &(msg){ .type = MSG_hb, .hb.n = 1 });
    assert_int_equal(world_last(w, RUNNER, MSG_refuse)->refuse.code, CODE_STALE_DB);
    world_say(
        w, RUNNER,
        &(msg){ .type = MSG_result, .result = { .task = 1, .att = 1, .verdict = VERDICT_PASSED } });
    assert_null(world_last(w, RUNNER, MSG_fenced)); /* which would delete what only it has */
    assert_null(world_last(w, RUNNER, MSG_result_ok));
    world_say(w, CLIENT, &(msg){ .type = MSG_cancel_build, .cancel_build.build = 1 });
    assert_int_equal(world_last(w, CLIENT, MSG_err)->err.code, CODE_STALE_DB);
    world_wait(w, 120000); /* leases do not lapse, and heads go on */
    assert_true(world_count(w, 0, MSG_head) >= 119);
    assert_true(slice_is(world_last(w, 0, MSG_head)->head.boot, BOOT2));
    assert_null(world_last(w, 0, MSG_assign));
    assert_int_equal(dispatch_last_seq(dispatcher_core(w->d)), last);
}

static void stands_still_when_a_runner_shows_a_later_start(void **state)
{
    world *w = *state;

    hello(w, RUNNER, 1, KEY_NONE, NULL);
    world_submit(w, "demo", "refs/heads/main");
    hello(w, RUNNER2, 99, key_of("epoch 99"), NULL);
    stands_still(w);
}

static void stands_still_when_a_runner_shows_an_attempt_that_is_not_there(void **state)
{
    world *w = *state;
    const rec_held held = { .task = 1, .att = 2, .key = slice_of(key_of("attempt 1 2")) };

    hello(w, RUNNER, 1, KEY_NONE, NULL);
    world_submit(w, "demo", "refs/heads/main");
    hello(w, RUNNER2, 1, KEY_NONE, &held);
    stands_still(w);
}

static void stands_still_when_a_runner_shows_a_task_that_is_not_there(void **state)
{
    world *w = *state;
    const rec_held held = { .task = 77, .att = 1, .key = slice_of(key_of("attempt 77 1")) };

    hello(w, RUNNER, 1, KEY_NONE, NULL);
    world_submit(w, "demo", "refs/heads/main");
    hello(w, RUNNER2, 1, KEY_NONE, &held);
    stands_still(w);
}

/* The copy was started once, as the newest was: the same epoch, and nobody holds anything. */
static void stands_still_when_an_idle_runner_had_an_attempt_that_is_not_there(void **state)
{
    world *w = *state;
    const rec_held last = { .task = 77, .att = 1, .key = slice_of(key_of("attempt 77 1")) };

    hello(w, RUNNER, 1, KEY_NONE, NULL);
    world_submit(w, "demo", "refs/heads/main");
    hello_with(w, RUNNER2, 1, key_of("epoch 1"), NULL, &last);
    stands_still(w);
}

static void goes_on_when_the_last_attempt_is_known_or_has_no_key(void **state)
{
    world *w = *state;
    const rec_held last[] = {
        { .task = 1, .att = 1, .key = slice_of(key_of("attempt 1 1")) },
        { .task = 77, .att = 1, .key = SLICE(SECRET) },
    };

    hello(w, RUNNER, 1, KEY_NONE, NULL);
    world_submit(w, "demo", "refs/heads/main");
    assert_int_equal(world_assign(w, RUNNER)->task, 1);
    for (size_t i = 0; i < 2; i++) {
        hello_with(w, RUNNER2, 1, key_of("epoch 1"), NULL, &last[i]);
        assert_non_null(world_last(w, RUNNER2, MSG_welcome));
    }
    assert_int_equal(trouble(w).n, 0);
}

/* Starts raise the epoch past the one that gave it away, and who had shown it may be gone. */
static void stands_still_after_any_number_of_starts(void **state)
{
    world *w = *state;
    slice said;

    hello(w, RUNNER, 1, KEY_NONE, NULL);
    world_submit(w, "demo", "refs/heads/main");
    hello(w, RUNNER2, 2, key_of("epoch 2"), NULL);
    said = arena_slice(&w->arena, trouble(w));
    for (int i = 0; i < 3; i++)
        world_restart(w);
    assert_true(slice_eq(trouble(w), said));
    hello(w, RUNNER, 1, KEY_NONE, NULL);
    stands_still(w);
}

static void goes_on_as_a_new_history_when_it_is_told_to(void **state)
{
    world *w = *state;
    rec_held held = { .task = 1, .att = 1, .state = HELD_RUNNING };
    const msg_events *page;
    uint64_t last;

    hello(w, RUNNER, 1, KEY_NONE, NULL);
    world_submit(w, "demo", "refs/heads/main");
    hello(w, RUNNER2, 99, key_of("epoch 99"), NULL);
    last = dispatch_last_seq(dispatcher_core(w->d));
    w->new_history = true;
    world_restart(w);
    w->new_history = false;
    world_restart(w); /* from now on it is so */
    world_forget(w);
    assert_string_equal(dispatcher_hist(w->d), HIST2);
    assert_int_equal(trouble(w).n, 0);

    hello(w, RUNNER2, 99, key_of("epoch 99"), NULL);
    assert_true(slice_is(world_last(w, RUNNER2, MSG_welcome)->welcome.hist, HIST2));
    hello(w, RUNNER, 1, KEY_NONE, &held); /* gives up what it holds, and it runs again */
    assert_int_equal(world_last(w, RUNNER, MSG_welcome)->welcome.keep.n, 0);
    assert_int_equal(world_assign(w, 0)->task, 1);
    assert_int_equal(world_assign(w, 0)->att, 2);

    world_say(w, CLIENT,
              &(msg){ .type = MSG_replay, .replay = { .hist = SLICE(HIST), .from = last } });
    page = &world_last(w, CLIENT, MSG_events)->events;
    assert_true(slice_is(page->hist, HIST2));
    assert_true(page->items.n > last);
    for (size_t i = 0; i < page->items.n; i++) {
        msg m;

        assert_int_equal(wire_decode(page->items.v[i], &w->arena, &m, NULL), VOLT_OK);
        assert_true(slice_is(m.event.hist, HIST2));
        assert_int_equal(m.event.seq, i + 1);
    }
}

/* The files of the newest data are there still, and it may be put back to them. */
static void forgets_nothing_while_it_stands_still(void **state)
{
    world *w = *state;
    const dispatcher_keep keep = { .ms = 1, .builds = 1 };
    rec_job job = { .name = SLICE("make") };
    bool more;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    for (int i = 0; i < 2; i++) {
        world_submit(w, "demo", i ? "refs/heads/main" : "refs/heads/old");
        world_plan(w, RUNNER, &job, 1);
        world_result(w, RUNNER, VERDICT_PASSED);
        w->wall_ms += 10;
    }
    hello(w, RUNNER2, 99, key_of("epoch 99"), NULL);
    assert_true(trouble(w).n > 0);
    assert_int_equal(dispatcher_prune(w->d, w->wall_ms, &keep, 100, &more, NULL), VOLT_OK);
    assert_false(more);
    world_commit(w);
    world_say(w, CLIENT, &(msg){ .type = MSG_builds });
    assert_false(world_last(w, CLIENT, MSG_builds_are)->builds_are.rows.v[0].forgotten);
    assert_false(world_last(w, CLIENT, MSG_builds_are)->builds_are.rows.v[1].forgotten);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(tells_each_start_and_each_attempt_its_key),
        TEST(goes_on_when_a_stranger_claims_a_later_start),
        TEST(drops_what_a_stranger_claims_to_hold),
        TEST(stands_still_when_a_runner_shows_a_later_start),
        TEST(stands_still_when_a_runner_shows_an_attempt_that_is_not_there),
        TEST(stands_still_when_a_runner_shows_a_task_that_is_not_there),
        TEST(stands_still_when_an_idle_runner_had_an_attempt_that_is_not_there),
        TEST(goes_on_when_the_last_attempt_is_known_or_has_no_key),
        TEST(stands_still_after_any_number_of_starts),
        TEST(forgets_nothing_while_it_stands_still),
        TEST(goes_on_as_a_new_history_when_it_is_told_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
