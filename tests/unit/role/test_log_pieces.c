/* What runners send of their logs, and a disk that has no room for it or loses it. */
#include "dispatcher_world.h"

/* A runner streams `n` bytes of the newest assign's log, in pieces of 64 KiB. */
static void stream(world *w, uint64_t peer, uint64_t from, uint64_t n)
{
    static char piece[65536];
    const msg_assign *a = world_assign(w, peer);
    uint64_t task = a->task, att = a->att;

    for (uint64_t off = from; off < from + n; off += sizeof piece) {
        uint64_t left = from + n - off;

        world_say(w, peer,
                  &(msg){ .type = MSG_log,
                          .log = { .task = task,
                                   .att = att,
                                   .off = off,
                                   .d = { piece, left < sizeof piece ? left : sizeof piece } } });
        w->heard_n = w->heard_n > HEARD_MAX / 2 ? 64 : w->heard_n; /* the assign came first */
    }
}

static void say_end(world *w, uint64_t peer, uint64_t log_bytes)
{
    const msg_assign *a = world_assign(w, peer);
    rec_item item = { .verdict = VERDICT_PASSED };

    world_say(w, peer,
              &(msg){ .type = MSG_result,
                      .result = { .task = a->task,
                                  .att = a->att,
                                  .verdict = VERDICT_PASSED,
                                  .log_bytes = log_bytes,
                                  .items = { &item, 1 } } });
}

static void run_one_unit(world *w)
{
    slice files[] = { SLICE("tests/a") };
    rec_job jobs[] = { { .name = SLICE("tests"), .tests = true, .files = { files, 1 } } };

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_submit(w, "demo", "refs/heads/main");
    world_plan(w, RUNNER, jobs, 1);
    world_forget_but_assign(w, RUNNER);
}

static void takes_the_line_that_says_that_the_cap_was_reached(void **state)
{
    world *w = *state;
    const uint64_t cap = 64 << 20;

    run_one_unit(w);
    assert_int_equal(world_assign(w, RUNNER)->log_max, cap);
    stream(w, RUNNER, 0, cap);
    stream(w, RUNNER, cap, 70);
    say_end(w, RUNNER, cap + 70);

    assert_non_null(world_last(w, RUNNER, MSG_result_ok));
    assert_int_equal(world_event(w, EVENT_BUILD_DONE)->verdict, VERDICT_PASSED);
}

static void ends_a_build_whose_log_could_never_be_taken(void **state)
{
    world *w = *state;

    run_one_unit(w);
    say_end(w, RUNNER, 1 << 30);

    assert_non_null(world_last(w, RUNNER, MSG_result_ok));
    assert_int_equal(world_event(w, EVENT_BUILD_DONE)->verdict, VERDICT_ERRORED);
}

static void pauses_logs_while_the_disk_is_nearly_full(void **state)
{
    world *w = *state;

    run_one_unit(w);
    dispatcher_set_disk_low(w->d, true);
    stream(w, RUNNER, 0, 1000);
    assert_int_equal(world_last(w, RUNNER, MSG_log_ok)->log_ok.off, 0);
    assert_int_equal(world_last(w, RUNNER, MSG_log_ok)->log_ok.window, 0);

    dispatcher_set_disk_low(w->d, false);
    stream(w, RUNNER, 0, 1000);
    assert_int_equal(world_last(w, RUNNER, MSG_log_ok)->log_ok.off, 1000);
    assert_true(world_last(w, RUNNER, MSG_log_ok)->log_ok.window > 0);
}

static void a_log_without_room_goes_on_from_where_it_is(void **state)
{
    world *w = *state;

    run_one_unit(w);
    stream(w, RUNNER, 0, 1000);
    w->log_code = VOLT_EFULL;
    world_forget_but_assign(w, RUNNER);
    stream(w, RUNNER, 1000, 500);
    assert_int_equal(world_last(w, RUNNER, MSG_log_ok)->log_ok.off, 1000);
    assert_int_equal(world_last(w, RUNNER, MSG_log_ok)->log_ok.window, 0);
    assert_int_equal(world_count(w, 0, MSG_log), 0); /* nobody was shown what is not there */
    assert_int_equal(w->logs_removed, 0);

    world_submit(w, "other", "refs/heads/main");
    assert_int_equal(world_last(w, CLIENT, MSG_rejected)->rejected.code, CODE_DISK);

    w->log_code = VOLT_OK;
    dispatcher_set_disk_low(w->d, false);
    stream(w, RUNNER, 1000, 500);
    say_end(w, RUNNER, 1500);
    assert_int_equal(world_event(w, EVENT_BUILD_DONE)->verdict, VERDICT_PASSED);
}

static void a_log_that_the_disk_lost_begins_anew(void **state)
{
    world *w = *state;

    run_one_unit(w);
    stream(w, RUNNER, 0, 1000);
    w->log_code = VOLT_EIO;
    stream(w, RUNNER, 1000, 500);
    assert_int_equal(world_last(w, RUNNER, MSG_log_ok)->log_ok.off, 0);
    assert_int_equal(w->logs_removed, 1);

    w->log_code = VOLT_OK;
    say_end(w, RUNNER, 1500);
    assert_null(world_last(w, RUNNER, MSG_result_ok));
    stream(w, RUNNER, 0, 1500);
    say_end(w, RUNNER, 1500);
    assert_non_null(world_last(w, RUNNER, MSG_result_ok));
}

static const msg_chunk *get(world *w, uint64_t task, uint64_t att, uint64_t off, uint64_t max)
{
    world_say(w, CLIENT,
              &(msg){ .type = MSG_get,
                      .r = 1,
                      .get = { .task = task, .att = att, .off = off, .max = max } });
    return &world_last(w, CLIENT, MSG_chunk)->chunk;
}

/* After a loss of power the file may be torn behind what its runner has sent again. */
static void shows_no_more_of_a_log_under_way_than_came_since_the_start(void **state)
{
    world *w = *state;
    uint64_t task;

    w->log_file = "0123456789";
    run_one_unit(w);
    task = world_assign(w, RUNNER)->task;
    stream(w, RUNNER, 0, 10);
    assert_true(slice_is(get(w, task, 1, 0, 0)->d, "0123456789"));

    world_restart(w);
    world_hello(w, RUNNER, ID_1, BOOT, 1); /* its assign comes again */
    assert_int_equal(get(w, task, 1, 0, 0)->d.n, 0);
    assert_int_equal(get(w, task, 1, 7, 0)->d.n, 0);
    assert_false(get(w, task, 1, 0, 0)->eof);

    stream(w, RUNNER, 0, 4);
    assert_true(slice_is(get(w, task, 1, 0, 0)->d, "0123"));
    assert_true(slice_is(get(w, task, 1, 0, 2)->d, "01"));
    assert_true(slice_is(get(w, task, 1, 3, 0)->d, "3"));
    assert_int_equal(get(w, task, 1, 4, 0)->d.n, 0);

    stream(w, RUNNER, 4, 6);
    say_end(w, RUNNER, 10);
    assert_true(slice_is(get(w, task, 1, 2, 0)->d, "23456789"));
    assert_true(get(w, task, 1, 2, 0)->eof);
}

/* Of one that was lost all is shown that is kept: nobody sends it again. */
static void shows_all_that_is_kept_of_a_lost_attempt(void **state)
{
    world *w = *state;
    uint64_t task;

    w->log_file = "0123456789";
    run_one_unit(w);
    task = world_assign(w, RUNNER)->task;
    stream(w, RUNNER, 0, 10);
    world_restart(w);
    world_hello(w, RUNNER, ID_1, BOOT2, 1); /* another process, which has nothing */
    assert_int_equal(world_assign(w, RUNNER)->att, 2);

    assert_true(slice_is(get(w, task, 1, 0, 0)->d, "0123456789"));
    assert_true(get(w, task, 1, 0, 0)->eof);
    assert_int_equal(get(w, task, 2, 0, 0)->d.n, 0);
}

int main(int argc, char **argv)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(takes_the_line_that_says_that_the_cap_was_reached),
        TEST(ends_a_build_whose_log_could_never_be_taken),
        TEST(pauses_logs_while_the_disk_is_nearly_full),
        TEST(a_log_without_room_goes_on_from_where_it_is),
        TEST(a_log_that_the_disk_lost_begins_anew),
        TEST(shows_no_more_of_a_log_under_way_than_came_since_the_start),
        TEST(shows_all_that_is_kept_of_a_lost_attempt),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
