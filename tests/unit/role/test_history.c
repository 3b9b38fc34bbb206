/* test_history.c - what earlier builds say of test files, and what the next one makes of it. */
#include "dispatcher_world.h"

#define DAY (INT64_C(24) * 3600 * 1000)

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

/* Whether there is a history, as far as it has been counted. */
static bool is_counted(world *w, const char *file)
{
    row_file r;

    return w->store->ops->file(w->store, SLICE("demo"), SLICE("unit"), slice_of(file), &w->arena,
                               &r, NULL) == VOLT_OK;
}

/* Nothing else happens, so all is counted. */
static row_file history(world *w, const char *file)
{
    row_file r;

    world_wait(w, 500);

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
    assert_int_equal(history(w, "d9").runs, 1);
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
    world_restart(w);
    assert_int_equal(history(w, "a5").runs, 1);
    world_hello(w, RUNNER, ID_1, BOOT, 1);
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
    assert_false(is_counted(w, "b7"));
}

/* Another turn, so much later. */
static void turn_after(world *w, int64_t ms)
{
    volt_err err;

    w->now_ms += ms;
    assert_int_equal(dispatcher_tick(w->d, w->now_ms, w->wall_ms, 0, &err), VOLT_OK);
    world_commit(w);
}

static void counting_waits_for_a_quiet_moment(void **state)
{
    world *w = *state;
    slice files[] = { SLICE("a5") };

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    begin(w, "refs/heads/main", files, 1, 9);
    run_batch(w, VERDICT_PASSED);
    assert_false(is_counted(w, "a5"));
    turn_after(w, 19);
    assert_false(is_counted(w, "a5"));
    w->now_ms++;
    world_say(w, CLIENT, &(msg){ .type = MSG_status, .r = 1 });
    assert_false(is_counted(w, "a5"));
    turn_after(w, 20);
    assert_true(is_counted(w, "a5"));
}

static void counting_does_not_wait_for_ever(void **state)
{
    world *w = *state;
    slice files[] = { SLICE("a5") };
    int turns = 0;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    begin(w, "refs/heads/main", files, 1, 9);
    run_batch(w, VERDICT_PASSED);
    for (; !is_counted(w, "a5"); turns++) {
        w->now_ms += 10;
        world_submit(w, "demo", "refs/heads/next");
    }
    assert_int_equal(turns, 10);
}

static void what_is_not_counted_outlives_the_dispatcher(void **state)
{
    world *w = *state;
    slice files[] = { SLICE("a5") };

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    begin(w, "refs/heads/main", files, 1, 9);
    run_batch(w, VERDICT_PASSED);
    assert_false(is_counted(w, "a5"));
    world_restart(w);
    assert_int_equal(history(w, "a5").runs, 1);
}

static void what_is_not_counted_is_not_forgotten(void **state)
{
    world *w = *state;
    slice files[] = { SLICE("a5") };
    bool more;

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    begin(w, "refs/heads/main", files, 1, 9);
    run_batch(w, VERDICT_PASSED);
    assert_false(is_counted(w, "a5"));
    w->wall_ms += 1000;
    assert_int_equal(
        dispatcher_prune(w->d, w->wall_ms, &(dispatcher_keep){ .ms = 500 }, 100, &more, NULL),
        VOLT_OK);
    assert_int_equal(history(w, "a5").runs, 1);
}

static void prune(world *w, int64_t after_days, int64_t keep_ms)
{
    const dispatcher_keep keep = { .ms = keep_ms };
    bool more;

    assert_int_equal(dispatcher_prune(w->d, w->wall_ms + after_days * DAY, &keep, 100, &more, NULL),
                     VOLT_OK);
}

static void a_history_is_kept_for_half_a_year(void **state)
{
    world *w = *state;
    slice files[] = { SLICE("a5") };

    world_hello(w, RUNNER, ID_1, BOOT, 1);
    begin(w, "refs/heads/main", files, 1, 9);
    run_batch(w, VERDICT_PASSED);
    assert_int_equal(history(w, "a5").runs, 1);
    prune(w, 179, DAY);
    assert_true(is_counted(w, "a5"));
    prune(w, 299, 30 * DAY);
    assert_true(is_counted(w, "a5"));
    prune(w, 181, DAY);
    assert_false(is_counted(w, "a5"));
}

static const char *file_name(int i)
{
    static char name[16];

    snprintf(name, sizeof name, "t%05d", i);
    return name;
}

/* How many of the files 0 ... n - 1 are counted. */
static int counted(world *w, int n)
{
    int ret = 0;

    for (int i = 0; i < n; i++)
        ret += is_counted(w, file_name(i));
    return ret;
}

static void a_large_job_is_counted_in_pieces(void **state)
{
    enum { N = 1500 };
    world *w = *state;
    static char names[N][16];
    static slice files[N];
    static rec_item items[N];
    uint64_t beats = 0;
    int turns = 0;

    for (int i = 0; i < N; i++) {
        files[i] = slice_of(strcpy(names[i], file_name(i)));
        items[i] = (rec_item){ .verdict = VERDICT_PASSED, .duration_ms = 1 };
    }
    world_hello(w, RUNNER, ID_1, BOOT, 1);
    begin(w, "refs/heads/main", files, N, N);
    world_say(w, RUNNER,
              &(msg){ .type = MSG_result,
                      .result = { .task = world_assign(w, RUNNER)->task,
                                  .att = 1,
                                  .verdict = VERDICT_PASSED,
                                  .items = { items, N } } });
    assert_int_equal(counted(w, N), 0);
    w->now_ms += 20;
    for (int before = 0, n; before < N; before = n, turns++) {
        assert_true(dispatcher_next_deadline_ms(w->d) <= w->now_ms);
        turn_after(w, 0);
        n = counted(w, N);
        assert_in_range(n - before, 1, 128);
        world_say(w, RUNNER, &(msg){ .type = MSG_hb, .hb = { .n = ++beats, .free = 1 } });
        assert_non_null(world_last(w, RUNNER, MSG_hb_ok));
        world_forget(w);
        assert_int_equal(counted(w, N), n); /* the answer did not wait for more */
    }
    assert_in_range(turns, 12, 13);
    assert_true(dispatcher_next_deadline_ms(w->d) > w->now_ms);
}

static volt_code unreadable(store *s, event_kind kind, uint64_t from, uint64_t to, size_t max,
                            store_event_fn fn, void *ctx, volt_err *err)
{
    (void)s, (void)kind, (void)from, (void)to, (void)max, (void)fn, (void)ctx;
    return volt_fail(err, VOLT_ECORRUPT, "a damaged page");
}

static void what_cannot_be_read_stops_nothing(void **state)
{
    world *w = *state;
    slice files[] = { SLICE("a5") };
    const store_ops *ops = w->store->ops;
    store_ops damaged = *ops;

    damaged.events_of = unreadable;
    w->store->ops = &damaged;
    world_hello(w, RUNNER, ID_1, BOOT, 1);
    begin(w, "refs/heads/main", files, 1, 9);
    run_batch(w, VERDICT_PASSED);
    world_wait(w, 500);
    assert_false(is_counted(w, "a5"));
    w->store->ops = ops;
    begin(w, "refs/heads/next", files, 1, 9);
    run_batch(w, VERDICT_PASSED);
    assert_int_equal(history(w, "a5").runs, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, world_set_up, world_tear_down)
        TEST(the_next_build_puts_the_longest_first),
        TEST(the_order_survives_a_restart),
        TEST(an_outcome_counts_once_and_with_its_commit),
        TEST(what_did_not_run_is_no_history),
        TEST(counting_waits_for_a_quiet_moment),
        TEST(counting_does_not_wait_for_ever),
        TEST(what_is_not_counted_outlives_the_dispatcher),
        TEST(what_is_not_counted_is_not_forgotten),
        TEST(a_history_is_kept_for_half_a_year),
        TEST(a_large_job_is_counted_in_pieces),
        TEST(what_cannot_be_read_stops_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
