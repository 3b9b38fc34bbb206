/* What every backend of store.h must do: forgetting what is old.  The same tests run on each. */
#include "contract.h"

static void log_gone(void *ctx, uint64_t task, uint64_t att)
{
    fixture *f = ctx;
    row r = attempt_of(task, att);

    collect(f, &r, NULL);
}

/* One slice; true: there is more. */
static bool prune(fixture *f, store_old old, size_t max)
{
    bool more = false;

    if (f->s->ops->prune(f->s, &old, max, log_gone, f, &more, &f->err) != VOLT_OK)
        fail_msg("%s", f->err.msg);
    return more;
}

static size_t prune_all(fixture *f, int64_t before_ms, size_t max)
{
    bool more = true;
    size_t slices_n = 0;

    while (more) {
        more = prune(f, (store_old){ before_ms, UINT64_MAX, 0 }, max);
        commit(f);
        assert_in_range(++slices_n, 1, 100);
    }
    return slices_n;
}

/* Four builds, a day apart: 2 is still running. */
static void put_four_days(fixture *f)
{
    for (uint64_t b = 1; b <= 4; b++) {
        int64_t ms = (int64_t)b * DAY;

        put(f, build_row_of(b, b, b == 2 ? STATE_RUNNING : STATE_FINAL, ms));
        put(f, (row){ .kind = ROW_SUBMISSION,
                      .submission = { .sid = { &"1234"[b - 1], 1 }, .build = b, .wall_ms = ms } });
        put(f, job_of(b, 0));
        for (uint64_t i = 0; i < 3; i++) {
            put(f, unit_of(b, 0, i, SLICE("f")));
            put(f, task_of(b * 10 + i, b, STATE_FINAL));
            put(f, attempt_of(b * 10 + i, 1));
            put(f, (row){ .kind = ROW_LOG, .log = { b * 10 + i, 1, SLICE("log") } });
        }
        put_event(f, b * 2 - 1, ms, b);
        put_event(f, b * 2, ms + 10, b);
    }
    put(f,
        (row){ .kind = ROW_SUBMISSION, .submission = { SLICE("5"), 0, CODE_NAME_TAKEN, 4 * DAY } });
    commit(f);
}

static void retention_forgets_old_builds_with_all_that_hangs_on_them(void **state_)
{
    fixture *f = *state_;
    row_submission sub;
    row_task task;
    slice log;

    put_four_days(f);
    assert_int_equal(prune_all(f, 2 * DAY, 100), 1);
    assert_string_equal(story(f), "attempt 10.1, attempt 11.1, attempt 12.1");
    fixture_restart(f);
    f->s->ops->builds(f->s, (slice){ 0 }, 0, 9, collect, f, &f->err);
    assert_string_equal(story(f), "build 4, build 3, build 2");
    f->s->ops->jobs(f->s, 1, collect, f, &f->err);
    f->s->ops->units(f->s, 1, 0, 9, collect, f, &f->err);
    f->s->ops->tasks(f->s, 1, 9, collect, f, &f->err);
    f->s->ops->attempts(f->s, 10, collect, f, &f->err);
    assert_string_equal(story(f), "");
    assert_int_equal(f->s->ops->task(f->s, 10, &f->a, &task, &f->err), VOLT_ENOTFOUND);
    assert_int_equal(f->s->ops->short_log(f->s, 10, 1, &f->a, &log, &f->err), VOLT_ENOTFOUND);
    assert_int_equal(f->s->ops->short_log(f->s, 20, 1, &f->a, &log, &f->err), VOLT_OK);
    assert_int_equal(f->s->ops->submission(f->s, SLICE("1"), &f->a, &sub, &f->err), VOLT_ENOTFOUND);
    assert_int_equal(f->s->ops->submission(f->s, SLICE("2"), &f->a, &sub, &f->err), VOLT_OK);
    assert_int_equal(head(f).floor, 3);
    assert_int_equal(prune_all(f, 2 * DAY, 100), 1);
    assert_int_equal(head(f).floor, 3);
}

static void retention_keeps_what_is_not_final_and_its_events(void **state_)
{
    fixture *f = *state_;
    row_submission sub;

    put_four_days(f);
    prune_all(f, 10 * DAY, 100);
    forget_rows(f);
    f->s->ops->builds(f->s, (slice){ 0 }, 0, 9, collect, f, &f->err);
    assert_string_equal(story(f), "build 2");
    f->s->ops->units(f->s, 2, 0, 9, collect, f, &f->err);
    assert_string_equal(story(f), "test 2.0.0, test 2.0.1, test 2.0.2");
    assert_int_equal(f->s->ops->submission(f->s, SLICE("2"), &f->a, &sub, &f->err), VOLT_OK);
    assert_int_equal(f->s->ops->submission(f->s, SLICE("5"), &f->a, &sub, &f->err), VOLT_ENOTFOUND);
    assert_int_equal(head(f).floor, 3);
    assert_int_equal(head(f).last_seq, 8);
}

static void retention_keeps_the_greatest_numbers(void **state_)
{
    fixture *f = *state_;

    put_four_days(f);
    put(f, build_row_of(2, 2, STATE_FINAL, 2 * DAY));
    prune_all(f, 10 * DAY, 100);
    fixture_restart(f);
    f->s->ops->builds(f->s, (slice){ 0 }, 0, 9, collect, f, &f->err);
    forget_rows(f);
    assert_int_equal(head(f).last_build, 4);
    assert_int_equal(head(f).last_task, 42);
    assert_int_equal(head(f).last_seq, 8);
    assert_int_equal(head(f).floor, 8); /* the newest event always stays */
    put_event(f, 9, 11 * DAY, 0);
    commit(f);
}

static void retention_never_takes_events_newer_than_the_bound(void **state_)
{
    fixture *f = *state_;

    for (uint64_t seq = 1; seq <= 6; seq++)
        put_event(f, seq, (int64_t)seq * DAY, 0);
    commit(f);
    prune_all(f, 4 * DAY, 100);
    assert_int_equal(head(f).floor, 4);
}

static void retention_never_takes_events_that_are_not_counted(void **state_)
{
    fixture *f = *state_;

    for (uint64_t seq = 1; seq <= 6; seq++)
        put_event(f, seq, (int64_t)seq * DAY, 0);
    commit(f);
    prune(f, (store_old){ 9 * DAY, 0, 0 }, 100);
    assert_int_equal(head(f).floor, 1);
    prune(f, (store_old){ 9 * DAY, 3, 0 }, 100);
    assert_int_equal(head(f).floor, 4);
}

static void put_file(fixture *f, const char *repo, const char *file, int64_t seen_ms)
{
    put(f, (row){ .kind = ROW_FILE,
                  .file = { .repo = slice_of(repo),
                            .job = SLICE("unit"),
                            .file = slice_of(file),
                            .seen_ms = seen_ms } });
}

/* "a:1 b:1 ...": the files that have a history, in both repositories. */
static const char *files_kept(fixture *f)
{
    slice files[] = { SLICE("a"), SLICE("b"), SLICE("c"), SLICE("\xff") };
    uint64_t means[4];
    buf b = { 0 };
    const char *told;

    for (const char *repo = "12"; *repo; repo++) {
        assert_int_equal(f->s->ops->means(f->s, (slice){ repo, 1 }, SLICE("unit"),
                                          (slices){ files, 4 }, means, &f->err),
                         VOLT_OK);
        for (size_t i = 0; i < 4; i++)
            if (means[i] != UINT64_MAX)
                buf_addf(&b, "%c%c ", *repo, *files[i].p);
    }
    told = arena_str(&f->a, buf_slice(&b));
    buf_free(&b);
    return told;
}

static void retention_forgets_files_that_did_not_run_for_long(void **state_)
{
    fixture *f = *state_;
    const store_old old = { 0, 0, 5 * DAY };

    put_file(f, "1", "a", 4 * DAY);
    put_file(f, "1", "b", 5 * DAY);
    put_file(f, "1", "c", 4 * DAY);
    put_file(f, "2", "a", 6 * DAY);
    put_file(f, "2", "\xff", 4 * DAY);
    commit(f);
    assert_false(prune(f, old, 2));
    assert_string_equal(files_kept(f), "1b 1c 2a 2\xff ");
    prune(f, old, 2);
    assert_string_equal(files_kept(f), "1b 2a 2\xff ");
    fixture_restart(f); /* not committed: as if it had not been */
    assert_string_equal(files_kept(f), "1a 1b 1c 2a 2\xff ");
    for (int i = 0; i < 3; i++)
        prune(f, old, 2);
    commit(f);
    assert_string_equal(files_kept(f), "1b 2a ");
    put_file(f, "1", "a", 4 * DAY); /* behind those that were looked at: in the next round */
    prune(f, old, 1);
    assert_string_equal(files_kept(f), "1b 2a ");
}

static void retention_works_in_slices(void **state_)
{
    fixture *f = *state_;

    put_four_days(f);
    /* build 1: 3 tasks, 3 units, a job and the build; its submission; 2 events */
    assert_true(prune(f, (store_old){ 2 * DAY, UINT64_MAX, 0 }, 2));
    assert_string_equal(story(f), "attempt 10.1, attempt 11.1");
    fixture_restart(f); /* not committed: as if it had not been */
    assert_int_equal(prune_all(f, 2 * DAY, 2), 6);
    assert_string_equal(story(f), "attempt 10.1, attempt 11.1, attempt 12.1");
    f->s->ops->builds(f->s, (slice){ 0 }, 0, 9, collect, f, &f->err);
    assert_string_equal(story(f), "build 4, build 3, build 2");
    assert_int_equal(head(f).floor, 3);
}

#define CONTRACT(TEST)                                             \
    TEST(retention_forgets_old_builds_with_all_that_hangs_on_them) \
    TEST(retention_keeps_what_is_not_final_and_its_events)         \
    TEST(retention_keeps_the_greatest_numbers)                     \
    TEST(retention_never_takes_events_newer_than_the_bound)        \
    TEST(retention_never_takes_events_that_are_not_counted)        \
    TEST(retention_forgets_files_that_did_not_run_for_long)        \
    TEST(retention_works_in_slices)

int main(void)
{
    return RUN_ON_BOTH(CONTRACT);
}
