/* The times that runners keep: quick in a small fleet, slow in a large one; and a dispatcher that
 * does not keep up. */
#include "dispatcher_world.h"

#define LARGE 1000
#define LEFT  800

static void connect(world *w, uint64_t first, uint64_t last)
{
    char id[33];

    for (uint64_t i = first; i <= last; i++) {
        snprintf(id, sizeof id, "%032llx", (unsigned long long)i);
        world_forget(w);
        world_hello(w, 100 + i, id, BOOT, 1);
    }
}

static void leave(world *w, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i <= last; i++) {
        world_forget(w);
        world_say(w, 100 + i, &(msg){ .type = MSG_bye });
    }
}

/* What runner i is answered when it says that it beats each hb_ms. */
static const msg_hb_ok *beat(world *w, uint64_t i, uint64_t hb_ms, rec_held *held)
{
    world_forget(w);
    world_say(
        w, 100 + i,
        &(msg){ .type = MSG_hb, .hb = { .n = 1, .hb_ms = hb_ms, .held = { held, held ? 1 : 0 } } });
    assert_non_null(world_last(w, 100 + i, MSG_hb_ok));
    return &world_last(w, 100 + i, MSG_hb_ok)->hb_ok;
}

static const msg_welcome *welcome(const world *w)
{
    assert_non_null(world_last(w, 0, MSG_welcome));
    return &world_last(w, 0, MSG_welcome)->welcome;
}

static void slows_a_fleet_down_when_it_is_large(void **state)
{
    world *w = *state;
    const msg_hb_ok *ok;

    connect(w, 1, LARGE);
    assert_int_equal(welcome(w)->hb_ms, 1000);
    assert_int_equal(beat(w, 1, 1000, NULL)->hb_ms, 0);

    connect(w, LARGE + 1, LARGE + 1);
    ok = beat(w, 1, 1000, NULL);
    assert_int_equal(ok->hb_ms, 5000);
    assert_int_equal(ok->suspect_ms, 20000);
    assert_int_equal(ok->lease_ms, 60000);
    assert_int_equal(beat(w, 1, 5000, NULL)->hb_ms, 0); /* it has taken that over */
    assert_int_equal(beat(w, 1, 0, NULL)->hb_ms, 0);    /* one that cannot */
    connect(w, LARGE + 2, LARGE + 2);
    assert_int_equal(welcome(w)->hb_ms, 5000);
    assert_int_equal(welcome(w)->lease_ms, 60000);
}

static void comes_back_to_the_quick_pace_only_when_clearly_fewer_are_left(void **state)
{
    world *w = *state;

    connect(w, 1, LARGE + 1);
    leave(w, LEFT + 2, LARGE + 1);
    assert_int_equal(beat(w, 1, 5000, NULL)->hb_ms, 0);
    leave(w, LEFT + 1, LEFT + 1);
    assert_int_equal(beat(w, 1, 5000, NULL)->hb_ms, 1000);
    assert_int_equal(beat(w, 1, 5000, NULL)->hb_ms, 1000); /* again, for the first may be lost */
    assert_int_equal(beat(w, 1, 1000, NULL)->hb_ms, 0);
    connect(w, LEFT + 1, LARGE);
    assert_int_equal(beat(w, 1, 1000, NULL)->hb_ms, 0);
}

/* A heartbeat that lists the newest assign of runner i. */
static const msg_hb_ok *beat_running(world *w, uint64_t i, uint64_t hb_ms, uint64_t task)
{
    return beat(w, i, hb_ms, &(rec_held){ .task = task, .att = 1, .state = HELD_RUNNING });
}

static uint64_t start_script(world *w, uint64_t i)
{
    rec_job job = { .name = SLICE("script") };
    uint64_t task;

    world_submit(w, "demo", "refs/heads/main");
    world_plan(w, 100 + i, &job, 1);
    task = world_assign(w, 100 + i)->task;
    world_forget(w);
    return task;
}

/* Waits while the others beat each 4 s, so that only runner 1 is silent. */
static void wait_without_first(world *w, int64_t ms)
{
    for (; ms > 0; ms -= 4000) {
        for (uint64_t i = 2; i <= LARGE + 1; i++) {
            world_say(w, 100 + i, &(msg){ .type = MSG_hb, .hb = { .n = 1, .hb_ms = 5000 } });
            w->heard_n -= world_last(w, 100 + i, MSG_hb_ok) != NULL;
        }
        world_wait(w, ms < 4000 ? ms : 4000);
    }
}

static void shortens_no_lease_of_a_runner_that_still_beats_slowly(void **state)
{
    world *w = *state;
    uint64_t task;

    connect(w, 1, 1);
    task = start_script(w, 1);
    connect(w, 2, LARGE + 1);
    beat_running(w, 1, 1000, task); /* is told to slow down, and its lease is long at once */
    world_forget(w);
    wait_without_first(w, 19000);
    assert_null(world_event(w, EVENT_SUSPECT));
    beat_running(w, 1, 5000, task);
    world_forget(w);
    wait_without_first(w, 55000);
    assert_null(world_event(w, EVENT_REQUEUED));

    leave(w, LEFT + 1, LARGE + 1);
    beat_running(w, 1, 5000, task); /* is told to be quick, which may get lost */
    world_forget(w);
    world_wait(w, 19000);
    assert_null(world_event(w, EVENT_REQUEUED));
    world_wait(w, 41001);
    assert_non_null(world_event(w, EVENT_REQUEUED));
}

static void measures_by_the_quick_pace_once_a_runner_keeps_it(void **state)
{
    world *w = *state;
    uint64_t task;

    connect(w, 1, LARGE + 1);
    leave(w, LEFT + 1, LARGE + 1);
    beat(w, 1, 5000, NULL);
    beat(w, 1, 1000, NULL);
    leave(w, 2, LEFT);
    task = start_script(w, 1);
    beat_running(w, 1, 1000, task);
    world_forget(w);
    world_wait(w, 4000);
    assert_non_null(world_event(w, EVENT_SUSPECT));
    world_wait(w, 11001);
    assert_non_null(world_event(w, EVENT_REQUEUED));
}

static void gives_a_large_fleet_its_time_after_a_restart(void **state)
{
    world *w = *state;
    uint64_t task;

    connect(w, 1, 1);
    task = start_script(w, 1);
    connect(w, 2, LARGE + 1);
    world_restart(w);
    world_forget(w);
    world_wait(w, 2 * 60000 - 1);
    assert_null(world_event(w, EVENT_REQUEUED));
    world_wait(w, 1);
    assert_non_null(world_event(w, EVENT_REQUEUED));
    assert_int_equal(world_event(w, EVENT_REQUEUED)->task, task);
}

/* ---- a dispatcher that is behind ---- */

static void turn(world *w, int64_t ms, bool left)
{
    int64_t gap_ms;
    volt_err err;

    w->now_ms += ms;
    gap_ms = dispatcher_behind(w->d, w->now_ms, left);
    if (gap_ms > 0 || w->now_ms >= dispatcher_next_deadline_ms(w->d))
        assert_int_equal(dispatcher_tick(w->d, w->now_ms, w->wall_ms, gap_ms, &err), VOLT_OK);
    assert_int_equal(dispatcher_commit(w->d, &err), VOLT_OK);
}

/* Its heartbeats wait in the socket behind those of ten thousand others. */
static void hears_a_runner_before_its_lease_lapses(void **state)
{
    world *w = *state;
    rec_job jobs[] = { { .name = SLICE("script") } };
    rec_held held;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "demo", "refs/heads/main");
    world_plan(w, RUNNER, jobs, 1);
    held = (rec_held){ .task = world_assign(w, RUNNER)->task, .att = 1, .state = HELD_RUNNING };
    for (int i = 0; i < 140; i++)
        turn(w, 120, true);
    assert_null(world_event(w, EVENT_SUSPECT));
    world_say(w, RUNNER, &(msg){ .type = MSG_hb, .hb = { .n = 1, .held = { &held, 1 } } });
    turn(w, 120, false);
    world_wait(w, 14000);
    assert_null(world_event(w, EVENT_REQUEUED));
    world_wait(w, 1000);
    assert_non_null(world_event(w, EVENT_REQUEUED));
}

/* L5: no lease outlives lease + grace, whoever floods the dispatcher. */
static void lets_a_lease_lapse_in_a_flood(void **state)
{
    world *w = *state;
    rec_job jobs[] = { { .name = SLICE("script") } };
    int64_t from;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "demo", "refs/heads/main");
    world_plan(w, RUNNER, jobs, 1);
    from = w->now_ms;
    while (!world_event(w, EVENT_REQUEUED) && w->now_ms < from + 100000)
        turn(w, 7, true);
    assert_in_range(w->now_ms - from, 29000, 30200);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(slows_a_fleet_down_when_it_is_large),
        TEST(comes_back_to_the_quick_pace_only_when_clearly_fewer_are_left),
        TEST(shortens_no_lease_of_a_runner_that_still_beats_slowly),
        TEST(measures_by_the_quick_pace_once_a_runner_keeps_it),
        TEST(gives_a_large_fleet_its_time_after_a_restart),
        TEST(hears_a_runner_before_its_lease_lapses),
        TEST(lets_a_lease_lapse_in_a_flood),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
