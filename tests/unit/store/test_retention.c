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

/* Details and events from before, as long as there are some; lines stay. */
static store_old before(int64_t ms)
{
    return (store_old){ .ended_ms = ms, .event_ms = ms, .counted = UINT64_MAX };
}

/* Slices until there is no more; returns how many it took. */
static size_t prune_all(fixture *f, store_old old, size_t max)
{
    bool more = true;
    size_t slices_n = 0;

    while (more) {
        more = prune(f, old, max);
        commit(f);
        assert_in_range(++slices_n, 1, 100);
    }
    return slices_n;
}

/* "4 3 2 -1": the lines of the builds, newest first; those that are forgotten with a minus. */
static const char *lines(fixture *f)
{
    buf b = { 0 };
    const char *told;

    forget_rows(f);
    f->s->ops->builds(f->s, (slice){ 0 }, 0, 99, collect, f, &f->err);
    for (size_t i = 0; i < f->rows_n; i++)
        buf_addf(&b, "%s%s%llu", i ? " " : "", f->rows[i].build.forgotten ? "-" : "",
                 (unsigned long long)f->rows[i].build.build);
    forget_rows(f);
    told = arena_str(&f->a, buf_slice(&b));
    buf_free(&b);
    return told;
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

static void retention_forgets_the_details_of_old_builds_and_keeps_their_lines(void **state_)
{
    fixture *f = *state_;
    row_submission sub;
    row_build line;
    row_task task;
    slice log;

    put_four_days(f);
    assert_int_equal(prune_all(f, before(2 * DAY), 100), 1);
    assert_string_equal(story(f), "attempt 10.1, attempt 11.1, attempt 12.1");
    fixture_restart(f);
    assert_string_equal(lines(f), "4 3 2 -1");
    assert_int_equal(f->s->ops->build(f->s, 1, &f->a, &line, &f->err), VOLT_OK);
    assert_true(line.verdict == VERDICT_PASSED && line.finished_ms == DAY + 10);
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
    assert_int_equal(prune_all(f, before(2 * DAY), 100), 1);
    assert_int_equal(head(f).floor, 3);
    assert_string_equal(lines(f), "4 3 2 -1");
}

static void retention_keeps_what_is_not_final_and_its_events(void **state_)
{
    fixture *f = *state_;
    row_submission sub;

    put_four_days(f);
    prune_all(f, before(10 * DAY), 100);
    assert_string_equal(lines(f), "-4 -3 2 -1");
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
    prune_all(f,
              (store_old){ .ended_ms = 10 * DAY,
                           .event_ms = 10 * DAY,
                           .counted = UINT64_MAX,
                           .line_ms = 10 * DAY },
              100);
    fixture_restart(f);
    assert_string_equal(lines(f), "");
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
    prune_all(f, before(4 * DAY), 100);
    assert_int_equal(head(f).floor, 4);
}

static void retention_never_takes_events_that_are_not_counted(void **state_)
{
    fixture *f = *state_;

    for (uint64_t seq = 1; seq <= 6; seq++)
        put_event(f, seq, (int64_t)seq * DAY, 0);
    commit(f);
    prune(f, (store_old){ .event_ms = 9 * DAY, .counted = 0 }, 100);
    assert_int_equal(head(f).floor, 1);
    prune(f, (store_old){ .event_ms = 9 * DAY, .counted = 3 }, 100);
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
    const store_old old = { .line_ms = 5 * DAY };

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
    /* build 1: its line, 3 tasks, 3 units, a job; 2 events */
    assert_true(prune(f, before(2 * DAY), 2));
    assert_string_equal(story(f), "attempt 10.1");
    assert_string_equal(lines(f), "4 3 2 -1"); /* from the first of them on */
    fixture_restart(f);                        /* not committed: as if it had not been */
    assert_string_equal(lines(f), "4 3 2 1");
    assert_int_equal(prune_all(f, before(2 * DAY), 2), 6);
    assert_string_equal(story(f), "attempt 10.1, attempt 11.1, attempt 12.1");
    assert_string_equal(lines(f), "4 3 2 -1");
    assert_int_equal(head(f).floor, 3);
}

static void retention_ends_what_it_began_whatever_it_is_told(void **state_)
{
    fixture *f = *state_;

    put_four_days(f);
    assert_true(prune(f, before(2 * DAY), 3));
    commit(f);
    fixture_restart(f);
    forget_rows(f);
    assert_false(prune(f, (store_old){ .ended_ms = INT64_MIN }, 100));
    assert_string_equal(story(f), "attempt 12.1");
    f->s->ops->tasks(f->s, 1, 9, collect, f, &f->err);
    f->s->ops->jobs(f->s, 1, collect, f, &f->err);
    f->s->ops->units(f->s, 1, 0, 9, collect, f, &f->err);
    assert_string_equal(story(f), "");
}

static void retention_forgets_lines_of_what_was_forgotten(void **state_)
{
    fixture *f = *state_;
    store_old old = before(2 * DAY);

    put_four_days(f);
    old.line_ms = 4 * DAY;
    prune_all(f, old, 100); /* 3 is as old, and has its details */
    assert_string_equal(lines(f), "4 3 2");
    assert_int_equal(head(f).last_build, 4);
    assert_int_equal(head(f).last_task, 42);
}

/* Builds 1 ... n have ended in their order, but for `open`, all of one repository. */
static void put_builds(fixture *f, uint64_t n, uint64_t open)
{
    for (uint64_t b = 1; b <= n; b++) {
        put(f, build_row_of(b, b, b == open ? STATE_RUNNING : STATE_FINAL, (int64_t)b * DAY));
        put(f, task_of(b * 10, b, STATE_FINAL));
    }
    commit(f);
}

static void retention_keeps_the_newest_of_a_repository(void **state_)
{
    fixture *f = *state_;
    store_old old = { .ended_ms = INT64_MIN, .repo = SLICE("volt"), .newest = 2 };
    row other = build_row_of(7, 0, STATE_FINAL, DAY);

    put_builds(f, 6, 5); /* which does not count */
    other.build.repo = SLICE("other");
    put(f, other);
    commit(f);
    prune_all(f, (store_old){ .ended_ms = INT64_MIN, .newest = 2 }, 100);
    assert_string_equal(lines(f), "7 6 5 4 3 2 1");
    prune_all(f, old, 1);
    assert_string_equal(lines(f), "7 6 5 4 -3 -2 -1");
    put(f, build_row_of(5, 5, STATE_FINAL, 9 * DAY)); /* ends last */
    prune_all(f, old, 100);
    assert_string_equal(lines(f), "7 6 5 -4 -3 -2 -1");
    old.newest = 1;
    prune_all(f, old, 100);
    assert_string_equal(lines(f), "7 -6 5 -4 -3 -2 -1");
}

static void retention_takes_the_first_that_ended_for_room(void **state_)
{
    fixture *f = *state_;
    const store_old old = { .ended_ms = INT64_MIN, .for_room = true };

    put_builds(f, 4, 1);
    assert_true(prune(f, old, 100));
    assert_string_equal(lines(f), "4 3 -2 1"); /* one a slice */
    assert_true(prune(f, old, 1));
    assert_string_equal(lines(f), "4 -3 -2 1");
    assert_true(prune(f, old, 100)); /* its task */
    assert_string_equal(lines(f), "4 -3 -2 1");
    assert_true(prune(f, old, 100));
    assert_false(prune(f, old, 100));
    assert_string_equal(lines(f), "-4 -3 -2 1");
}

static void retention_takes_for_room_what_is_old_first(void **state_)
{
    fixture *f = *state_;
    const store_old old = { .ended_ms = 3 * DAY, .for_room = true };

    put_builds(f, 5, 0);
    assert_true(prune(f, old, 100));
    assert_string_equal(lines(f), "5 4 3 -2 -1");
}

static void retention_takes_events_for_room(void **state_)
{
    fixture *f = *state_;
    store_old old = { .ended_ms = INT64_MIN, .for_room = true, .counted = UINT64_MAX };

    put_builds(f, 4, 0);
    for (uint64_t seq = 1; seq <= 8; seq++)
        put_event(f, seq, (int64_t)seq * DAY / 2, 0);
    commit(f);
    prune(f, old, 100);
    assert_int_equal(head(f).floor, 1);
    old.room_ms = 4 * DAY;
    prune(f, old, 100); /* 1 and 2 are forgotten, 3 ended after three days */
    assert_int_equal(head(f).floor, 7);
    old.room_ms = 3 * DAY;
    prune_all(f, old, 100); /* there is nothing else any more */
    assert_string_equal(lines(f), "-4 -3 -2 -1");
    assert_int_equal(head(f).floor, 7);
    old.for_room = false;
    old.room_ms = 9 * DAY;
    prune(f, old, 100);
    assert_int_equal(head(f).floor, 7);
}

/* 4 runs, and takes over jobs from 2, as that did from 1. */
static void retention_keeps_what_an_open_build_inherits(void **state_)
{
    fixture *f = *state_;
    const store_old bounds[] = { before(9 * DAY),
                                 { .ended_ms = INT64_MIN, .repo = SLICE("volt") },
                                 { .ended_ms = INT64_MIN, .for_room = true } };
    row r;

    put_builds(f, 4, 4);
    for (uint64_t b = 4; b >= 2; b -= 2) {
        r = build_row_of(b, b, b == 4 ? STATE_RUNNING : STATE_FINAL, (int64_t)b * DAY);
        r.build.retry_of = b / 2;
        put(f, r);
    }
    commit(f);
    for (size_t i = 0; i < 3; i++) {
        prune_all(f, bounds[i], 100);
        assert_string_equal(lines(f), "4 -3 2 1");
    }
    r = build_row_of(4, 4, STATE_FINAL, 4 * DAY);
    r.build.retry_of = 2;
    put(f, r);
    prune_all(f, bounds[0], 100);
    assert_string_equal(lines(f), "-4 -3 -2 -1");
}

static void retention_looks_at_some_submissions_at_a_time(void **state_)
{
    fixture *f = *state_;
    const store_old old = { .ended_ms = INT64_MIN, .event_ms = 3 * DAY };
    row_submission sub;

    put_four_days(f);
    prune(f, before(4 * DAY), 100); /* looks at all of them: begins anew */
    for (uint64_t b = 6; b <= 9; b++)
        put(f, (row){ .kind = ROW_SUBMISSION,
                      .submission = { .sid = { &"6789"[b - 6], 1 }, .build = 1, .wall_ms = DAY } });
    commit(f);
    prune(f, old, 4); /* 2, 4, 5 and 6 */
    assert_int_equal(f->s->ops->submission(f->s, SLICE("6"), &f->a, &sub, &f->err), VOLT_ENOTFOUND);
    assert_int_equal(f->s->ops->submission(f->s, SLICE("7"), &f->a, &sub, &f->err), VOLT_OK);
    prune(f, old, 4);
    assert_int_equal(f->s->ops->submission(f->s, SLICE("9"), &f->a, &sub, &f->err), VOLT_ENOTFOUND);
    assert_int_equal(f->s->ops->submission(f->s, SLICE("4"), &f->a, &sub, &f->err), VOLT_OK);
}

static uint64_t bytes(fixture *f)
{
    uint64_t n = 0;

    assert_int_equal(f->s->ops->bytes(f->s, &n, &f->err), VOLT_OK);
    return n;
}

static void what_is_forgotten_is_room_at_once(void **state_)
{
    fixture *f = *state_;
    uint64_t empty = bytes(f), full;

    for (uint64_t i = 0; i < 2000; i++)
        put(f, unit_of(1, 0, i, SLICE("a-file-with-a-name")));
    full = bytes(f);
    assert_true(full > empty + 2000 * 20);
    put(f, build_row_of(1, 1, STATE_FINAL, DAY));
    prune(f, before(2 * DAY), 10000);
    assert_true(bytes(f) < empty + (full - empty) / 10);
    fixture_restart(f);
    assert_true(bytes(f) < empty + (full - empty) / 10);
}

#define CONTRACT(TEST)                                                      \
    TEST(retention_forgets_the_details_of_old_builds_and_keeps_their_lines) \
    TEST(retention_keeps_what_is_not_final_and_its_events)                  \
    TEST(retention_keeps_the_greatest_numbers)                              \
    TEST(retention_never_takes_events_newer_than_the_bound)                 \
    TEST(retention_never_takes_events_that_are_not_counted)                 \
    TEST(retention_forgets_files_that_did_not_run_for_long)                 \
    TEST(retention_works_in_slices)                                         \
    TEST(retention_ends_what_it_began_whatever_it_is_told)                  \
    TEST(retention_forgets_lines_of_what_was_forgotten)                     \
    TEST(retention_keeps_the_newest_of_a_repository)                        \
    TEST(retention_takes_the_first_that_ended_for_room)                     \
    TEST(retention_takes_for_room_what_is_old_first)                        \
    TEST(retention_takes_events_for_room)                                   \
    TEST(retention_keeps_what_an_open_build_inherits)                       \
    TEST(retention_looks_at_some_submissions_at_a_time)                     \
    TEST(what_is_forgotten_is_room_at_once)

int main(void)
{
    return RUN_ON_BOTH(CONTRACT);
}
