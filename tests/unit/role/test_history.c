/* test_history.c - what earlier builds say of test files, and what the next one makes of it. */
#include "dispatcher_world.h"

/* The runner answers its newest assign: each file takes as long as the number in its name, and
 * those that begin with '!' fail. */
static void run_batch(world *w, verdict v)
{
    const msg_assign *a = world_assign(w, RUNNER);
    rec_item items[16] = { 0 };

    for (size_t i = 0; i < a->files.n; i++) {
        items[i].verdict = *a->files.v[i].p == '!' ? VERDICT_FAILED : VERDICT_PASSED;
        items[i].duration_ms = strtoull(a->files.v[i].p + 1, NULL, 10);
    }
    world_say(w, RUNNER,
              &(msg){ .type = MSG_result,
                      .result = { .task = a->task,
                                  .att = a->att,
                                  .verdict = v,
                                  .items = { items, a->files.n } } });
}

/* A build of a job with these files begins; its first batch is assigned. */
static void begin(world *w, const char *ref, slice *files, size_t n, uint64_t batch)
{
    rec_job job = { .name = SLICE("unit"), .tests = true, .batch = batch, .files = { files, n } };

    world_submit(w, "demo", ref);
    world_plan(w, RUNNER, &job, 1);
}

static row_file history(world *w, const char *file)
{
    row_file r;

    if (w->store->ops->file(w->store, SLICE("demo"), SLICE("unit"), slice_of(file), &w->arena, &r,
                            NULL))
        fail_msg("%s has no history", file);
    return r;
}

static void assert_files(const world *w, const char *want)
{
    const msg_assign *a = world_assign(w, RUNNER);
    buf got = { 0 };

    for (size_t i = 0; i < a->files.n; i++)
        buf_addf(&got, "%s" SLICE_FMT, i ? " " : "", SLICE_ARG(a->files.v[i]));
    assert_string_equal(buf_str(&got), want);
    buf_free(&got);
}

static void the_next_build_puts_the_longest_first(void **state)
{
    world *w = *state;
    slice files[] = { SLICE("a5"), SLICE("b100"), SLICE("!40"), SLICE("d0") };
    slice more[] = { SLICE("new"), SLICE("d0"), SLICE("a5"), SLICE("!40"), SLICE("b100") };

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    begin(w, "refs/heads/main", files, 4, 9);
    assert_files(w, "a5 b100 !40 d0");
    run_batch(w, VERDICT_FAILED);
    assert_int_equal(history(w, "b100").mean_ms, 100);
    assert_int_equal(history(w, "d0").runs, 1);
    assert_int_equal(history(w, "!40").failures, 1);
    begin(w, "refs/heads/next", more, 5, 9);
    assert_files(w, "b100 !40 new a5 d0"); /* new: the mean of the others, 36 */
}

static void the_order_survives_a_restart(void **state)
{
    world *w = *state;
    slice files[] = { SLICE("a5"), SLICE("b100"), SLICE("c40"), SLICE("d9") };

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    begin(w, "refs/heads/main", files, 4, 9);
    run_batch(w, VERDICT_PASSED);
    begin(w, "refs/heads/next", files, 4, 0); /* shares are cut by time: 154 / 2 */
    assert_files(w, "b100");
    world_forget_but_assign(w, RUNNER);
    world_restart(w);
    world_hello(w, RUNNER, ID_1, BOOT, 1);
    assert_files(w, "b100");
    run_batch(w, VERDICT_PASSED);
    assert_files(w, "c40"); /* of 54, 27 make a share */
    run_batch(w, VERDICT_PASSED);
    assert_files(w, "d9");
    run_batch(w, VERDICT_PASSED);
    assert_files(w, "a5");
}

static void an_outcome_counts_once_and_with_its_commit(void **state)
{
    world *w = *state;
    slice files[] = { SLICE("a5") };
    const msg_assign *a;
    rec_item item = { .verdict = VERDICT_PASSED, .duration_ms = 5 };
    msg tests;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    begin(w, "refs/heads/main", files, 1, 9);
    a = world_assign(w, RUNNER);
    tests = (msg){ .type = MSG_tests,
                   .tests = { .task = a->task, .att = a->att, .items = { &item, 1 } } };
    world_hand_in(w, RUNNER, &tests);
    world_restart(w); /* before it was committed */
    world_hello(w, RUNNER, ID_1, BOOT, 1);
    world_say(w, RUNNER, &tests);
    world_say(w, RUNNER, &tests);
    run_batch(w, VERDICT_PASSED);
    assert_int_equal(history(w, "a5").runs, 1);
    assert_true(slice_is(history(w, "a5").oid, OID));
    begin(w, "refs/heads/next", files, 1, 9); /* the same commit */
    a = world_assign(w, RUNNER);
    item.verdict = VERDICT_FAILED;
    world_say(w, RUNNER,
              &(msg){ .type = MSG_result,
                      .result = { .task = a->task,
                                  .att = a->att,
                                  .verdict = VERDICT_FAILED,
                                  .items = { &item, 1 } } });
    assert_int_equal(history(w, "a5").runs, 2);
    assert_int_equal(history(w, "a5").flaky, 1);
    assert_true(slice_is(history(w, "a5").flaky_oid, OID));
}

static void what_did_not_run_is_no_history(void **state)
{
    world *w = *state;
    slice files[] = { SLICE("a5"), SLICE("b7") };
    const msg_assign *a;
    rec_item item = { .verdict = VERDICT_PASSED, .duration_ms = 5 };
    row_file r;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    begin(w, "refs/heads/main", files, 2, 9);
    a = world_assign(w, RUNNER);
    world_say(w, RUNNER,
              &(msg){ .type = MSG_result,
                      .result = { .task = a->task,
                                  .att = a->att,
                                  .verdict = VERDICT_FAILED, /* its setup, for one */
                                  .items = { &item, 1 } } });
    assert_non_null(world_event(w, EVENT_BUILD_DONE));
    assert_int_equal(history(w, "a5").runs, 1);
    assert_int_equal(w->store->ops->file(w->store, SLICE("demo"), SLICE("unit"), SLICE("b7"),
                                         &w->arena, &r, NULL),
                     VOLT_ENOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, world_set_up, world_tear_down)
        TEST(the_next_build_puts_the_longest_first),
        TEST(the_order_survives_a_restart),
        TEST(an_outcome_counts_once_and_with_its_commit),
        TEST(what_did_not_run_is_no_history),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
