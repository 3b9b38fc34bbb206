/* What every backend of store.h must do.  The same tests run on each. */
#include "contract.h"

static void a_new_store_is_empty(void **state_)
{
    fixture *f = *state_;
    store_head h = head(f);
    row_build b = { .build = 77 };

    assert_string_equal(h.hist, "");
    assert_int_equal(h.ep, 0);
    assert_int_equal(h.last_seq, 0);
    assert_int_equal(h.floor, 0);
    assert_int_equal(h.last_build, 0);
    assert_int_equal(h.last_task, 0);
    assert_int_equal(f->s->ops->load(f->s, collect, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows_n, 0);
    assert_int_equal(f->s->ops->build(f->s, 1, &f->a, &b, &f->err), VOLT_ENOTFOUND);
    assert_int_equal(b.build, 77);
    assert_int_equal(f->s->ops->commit(f->s, &f->err), VOLT_OK);
}

static void each_start_has_a_greater_epoch_of_one_history(void **state_)
{
    fixture *f = *state_;
    uint64_t ep = 0;

    assert_int_equal(f->s->ops->begin_epoch(f->s, HIST, &ep, &f->err), VOLT_OK);
    assert_int_equal(ep, 1);
    fixture_restart(f);
    assert_int_equal(f->s->ops->begin_epoch(f->s, "ffffffffffffffffffffffffffffffff", &ep, &f->err),
                     VOLT_OK);
    assert_int_equal(ep, 2);
    fixture_restart(f);
    assert_int_equal(head(f).ep, 2);
    assert_string_equal(head(f).hist, HIST);
}

#define OTHER "fedcba9876543210fedcba9876543210"

static volt_code is_of_other(void *ctx, uint64_t seq, slice bytes, volt_err *err)
{
    fixture *f = ctx;

    (void)seq, (void)err;
    assert_true(slice_eq(bytes, SLICE("<" OTHER "> why: " HIST)));
    f->rows_n++;
    return VOLT_OK;
}

static void what_is_kept_goes_on_as_another_history(void **state_)
{
    fixture *f = *state_;
    char secret[33], again[33];
    uint64_t ep;

    assert_int_equal(f->s->ops->secret(f->s, HIST, secret, &f->err), VOLT_OK);
    assert_string_equal(secret, HIST);
    assert_int_equal(f->s->ops->begin_epoch(f->s, HIST, &ep, &f->err), VOLT_OK);
    for (uint64_t seq = 1; seq <= 3; seq++) {
        row r = { .kind = ROW_EVENT, .event = { .seq = seq, .kind = EVENT_EPOCH } };

        assert_int_equal(f->s->ops->put(f->s, &r, SLICE("<" HIST "> why: " HIST), &f->err),
                         VOLT_OK);
    }
    commit(f);
    fixture_restart(f);
    assert_int_equal(f->s->ops->new_history(f->s, OTHER, &f->err), VOLT_OK);
    assert_int_equal(f->s->ops->begin_epoch(f->s, HIST, &ep, &f->err), VOLT_OK);
    fixture_restart(f);
    assert_string_equal(head(f).hist, OTHER);
    assert_int_equal(head(f).ep, 2);
    assert_int_equal(head(f).last_seq, 3);
    f->rows_n = 0;
    assert_int_equal(f->s->ops->events(f->s, 1, 9, is_of_other, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows_n, 3);
    assert_int_equal(f->s->ops->secret(f->s, OTHER, again, &f->err), VOLT_OK);
    assert_string_equal(again, HIST); /* the first one stands */
}

static void a_row_is_replaced_by_the_next_with_its_key(void **state_)
{
    fixture *f = *state_;
    row r = task_of(7, 1, STATE_QUEUED);
    row_task t;

    put(f, r);
    r.task.state = STATE_RUNNING;
    r.task.runner = SLICE("somebody");
    put(f, r);
    put(f, attempt_of(7, 1));
    put(f, attempt_of(7, 2));
    r = attempt_of(7, 1);
    r.attempt.verdict = VERDICT_LOST;
    put(f, r);
    commit(f);
    r = task_of(7, 1, STATE_FINAL);
    put(f, r);
    put(f, task_of(5, 1, STATE_QUEUED)); /* a smaller id may come later */
    assert_int_equal(f->s->ops->task(f->s, 7, &f->a, &t, &f->err), VOLT_OK);
    assert_int_equal(t.state, STATE_FINAL);
    assert_int_equal(t.runner.n, 0);
    assert_int_equal(f->s->ops->attempts(f->s, 7, collect, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows[0].attempt.verdict, VERDICT_LOST);
    assert_string_equal(story(f), "attempt 7.1, attempt 7.2");
    assert_int_equal(f->s->ops->tasks(f->s, 1, 9, collect, f, &f->err), VOLT_OK);
    assert_string_equal(story(f), "task 5, task 7");
}

static void what_a_row_is_of_never_changes(void **state_)
{
    fixture *f = *state_;
    row r = task_of(7, 1, STATE_QUEUED);
    row_task t;

    r.task.units = (slice){ "\1\0\0\0", 4 };
    put(f, r);
    put(f, (row){ .kind = ROW_TASK, .task = { .task = 7, .state = STATE_RUNNING } });
    assert_int_equal(f->s->ops->task(f->s, 7, &f->a, &t, &f->err), VOLT_OK);
    assert_int_equal(t.state, STATE_RUNNING);
    assert_int_equal(t.build, 1);
    assert_int_equal(t.kind, TASK_TESTS);
    assert_int_equal(t.units.n, 4);
}

static void a_unit_keeps_its_file_when_the_update_names_none(void **state_)
{
    fixture *f = *state_;
    row r = unit_of(1, 0, 4, SLICE("test_a.py"));

    put(f, r);
    r.unit.file = (slice){ 0 };
    r.unit.verdict = VERDICT_FAILED;
    put(f, r);
    assert_int_equal(f->s->ops->units(f->s, 1, 0, 10, collect, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows_n, 1);
    assert_slice(f->rows[0].unit.file, SLICE("test_a.py"));
    assert_int_equal(f->rows[0].unit.verdict, VERDICT_FAILED);
    r.unit.i = 5;
    assert_int_equal(f->s->ops->put(f->s, &r, (slice){ 0 }, &f->err), VOLT_ECORRUPT);
}

static void histories_come_in_pages_by_their_names(void **state_)
{
    static const char *const keys[][3] = {
        { "a", "unit", "y" }, { "b", "unit", "x" }, { "a", "lint", "z" },
        { "a", "unit", "x" }, { "b", "lint", "x" },
    };
    static const size_t order[] = { 2, 3, 0, 4, 1 };
    fixture *f = *state_;
    row_file after = { 0 };

    for (size_t i = 0; i < 5; i++)
        put(f, (row){ .kind = ROW_FILE,
                      .file = { .repo = slice_of(keys[i][0]),
                                .job = slice_of(keys[i][1]),
                                .file = slice_of(keys[i][2]),
                                .mean_ms = i } });
    assert_int_equal(f->s->ops->files(f->s, &after, 3, collect, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows_n, 3);
    after = f->rows[2].file;
    assert_int_equal(f->s->ops->files(f->s, &after, 3, collect, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows_n, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(f->rows[i].file.mean_ms, order[i]);
    after = (row_file){ .repo = SLICE("b"), .job = SLICE("m") }; /* that is not there */
    assert_int_equal(f->s->ops->files(f->s, &after, 3, collect, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows_n, 6);
    assert_int_equal(f->rows[5].file.mean_ms, 1);
}

static void a_file_of_one_name_has_a_history_in_each_job(void **state_)
{
    fixture *f = *state_;
    row_file got;

    for (uint64_t i = 0; i < 3; i++)
        put(f, (row){ .kind = ROW_FILE,
                      .file = { .repo = SLICE("volt"),
                                .job = i ? SLICE("unit/3.10") : SLICE("unit"),
                                .file = SLICE("tests/test_a.py"),
                                .mean_ms = i } });
    commit(f);
    fixture_restart(f);
    assert_int_equal(f->s->ops->file(f->s, SLICE("volt"), SLICE("unit"), SLICE("tests/test_a.py"),
                                     &f->a, &got, &f->err),
                     VOLT_OK);
    assert_int_equal(got.mean_ms, 0);
    assert_int_equal(f->s->ops->file(f->s, SLICE("volt"), SLICE("unit/3.10"),
                                     SLICE("tests/test_a.py"), &f->a, &got, &f->err),
                     VOLT_OK);
    assert_int_equal(got.mean_ms, 2);
    assert_int_equal(f->s->ops->file(f->s, SLICE("other"), SLICE("unit"), SLICE("tests/test_a.py"),
                                     &f->a, &got, &f->err),
                     VOLT_ENOTFOUND);
}

/* Of the files f000 ... f299 those whose number 3 divides are known, and take as long. */
static uint64_t mean_of(slice file)
{
    uint64_t n = strtoull(file.p + 1, NULL, 10);

    if (slice_is(file, "f\xff") || slice_is(file, "a\xff"))
        return 7;
    return file.n == 4 && n < 300 && n % 3 == 0 ? n : UINT64_MAX;
}

static void means_are_found_in_any_order(void **state_)
{
    static const int steps[] = { 1, 3, 50, -1, -7, 0, 101 };
    fixture *f = *state_;
    slice files[2000];
    uint64_t means[2000];
    size_t n = 0;

    for (int i = 0; i < 300; i += 3)
        put(f, (row){ .kind = ROW_FILE,
                      .file = { .repo = SLICE("volt"),
                                .job = SLICE("unit"),
                                .file = slice_of(arena_printf(&f->a, "f%03d", i)),
                                .mean_ms = (uint64_t)i } });
    put(f, (row){ .kind = ROW_FILE,
                  .file = { SLICE("volt"), SLICE("unit"), SLICE("f\xff"), .mean_ms = 7 } });
    put(f, (row){ .kind = ROW_FILE,
                  .file = { SLICE("volt"), SLICE("unit"), SLICE("a\xff"), .mean_ms = 7 } });
    put(f, (row){ .kind = ROW_FILE, .file = { SLICE("volt"), SLICE("unit2"), SLICE("f001") } });
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++)
        for (int i = 0, at = 0; i < 250; i++, at = (at + steps[s] + 310) % 310) {
            files[n++] = i % 41 == 7   ? SLICE("f\xff")
                         : i % 43 == 8 ? SLICE("a\xff")
                                       : slice_of(arena_printf(&f->a, "f%03d", at));
        }
    assert_int_equal(
        f->s->ops->means(f->s, SLICE("volt"), SLICE("unit"), (slices){ files, n }, means, &f->err),
        VOLT_OK);
    for (size_t i = 0; i < n; i++)
        assert_true(means[i] == mean_of(files[i]));
}

static void only_what_was_committed_survives(void **state_)
{
    fixture *f = *state_;
    row r = task_of(1, 1, STATE_QUEUED);
    row_task t;

    put(f, r);
    put_event(f, 1, 1, 0);
    commit(f);
    r.task.state = STATE_RUNNING;
    put(f, r);
    put(f, task_of(2, 1, STATE_QUEUED));
    put_event(f, 2, 1, 0);
    assert_int_equal(head(f).last_seq, 2); /* seen before it is durable */
    assert_int_equal(head(f).last_task, 2);
    fixture_restart(f);
    assert_int_equal(head(f).last_seq, 1);
    assert_int_equal(head(f).last_task, 1);
    assert_int_equal(f->s->ops->task(f->s, 1, &f->a, &t, &f->err), VOLT_OK);
    assert_int_equal(t.state, STATE_QUEUED);
    assert_int_equal(f->s->ops->task(f->s, 2, &f->a, &t, &f->err), VOLT_ENOTFOUND);
    put_event(f, 2, 1, 0);
    commit(f);
    fixture_restart(f);
    assert_int_equal(head(f).last_seq, 2);
}

static void an_old_copy_stays_one_until_it_is_another_history(void **state_)
{
    static const char hist[] = "0123456789abcdef0123456789abcdef";
    fixture *f = *state_;

    assert_int_equal(f->s->ops->stale(f->s, SLICE("not committed"), &f->err), VOLT_OK);
    fixture_restart(f);
    assert_string_equal(head(f).stale, "");
    assert_int_equal(f->s->ops->stale(f->s, SLICE("epoch 9"), &f->err), VOLT_OK);
    commit(f);
    fixture_restart(f);
    assert_string_equal(head(f).stale, "epoch 9");
    assert_int_equal(f->s->ops->new_history(f->s, hist, &f->err), VOLT_OK);
    commit(f);
    fixture_restart(f);
    assert_string_equal(head(f).stale, "");
    assert_string_equal(head(f).hist, hist);
}

static volt_code collect_event(void *ctx, uint64_t seq, slice bytes, volt_err *err)
{
    fixture *f = ctx;

    (void)err;
    assert_int_equal(bytes.n, seq < 10 ? 8 : 9);
    assert_memory_equal(bytes.p, "event-\0", 7);
    f->rows_n = f->rows_n * 10 + (size_t)seq;
    return VOLT_OK;
}

static volt_code refuse_event(void *ctx, uint64_t seq, slice bytes, volt_err *err)
{
    (void)ctx;
    (void)bytes;
    return volt_fail(err, VOLT_EFULL, "no more than %d", (int)seq);
}

static void events_are_numbered_without_gaps_and_replayed_in_order(void **state_)
{
    fixture *f = *state_;
    row r = { .kind = ROW_EVENT, .event = { .seq = 2, .kind = EVENT_EPOCH } };

    for (uint64_t seq = 1; seq <= 5; seq++)
        put_event(f, seq, 1, 0);
    commit(f);
    assert_int_equal(f->s->ops->events(f->s, 1, 3, collect_event, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows_n, 123);
    f->rows_n = 0;
    assert_int_equal(f->s->ops->events(f->s, 4, 9, collect_event, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows_n, 45);
    f->rows_n = 0;
    assert_int_equal(f->s->ops->events(f->s, 6, 9, collect_event, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows_n, 0);
    assert_int_equal(f->s->ops->events(f->s, 2, 9, refuse_event, f, &f->err), VOLT_EFULL);
    assert_string_equal(f->err.msg, "no more than 2");
    assert_int_equal(head(f).floor, 1);
    assert_int_equal(f->s->ops->put(f->s, &r, SLICE("x"), &f->err), VOLT_ECORRUPT);
}

static void events_of_one_kind_are_found_among_others(void **state_)
{
    fixture *f = *state_;

    for (uint64_t seq = 1; seq <= 6; seq++) {
        row r = { .kind = ROW_EVENT,
                  .event = { .seq = seq, .kind = seq % 2 ? EVENT_TEST_DONE : EVENT_QUEUED } };

        assert_int_equal(f->s->ops->put(f->s, &r,
                                        SLICE("event-\0"
                                              "1"),
                                        &f->err),
                         VOLT_OK);
    }
    assert_int_equal(
        f->s->ops->events_of(f->s, EVENT_TEST_DONE, 2, 5, 9, collect_event, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows_n, 35);
    f->rows_n = 0;
    assert_int_equal(f->s->ops->events_of(f->s, EVENT_QUEUED, 3, 9, 1, collect_event, f, &f->err),
                     VOLT_OK);
    assert_int_equal(f->rows_n, 4);
    f->rows_n = 0;
    assert_int_equal(f->s->ops->events_of(f->s, EVENT_EPOCH, 1, 9, 9, refuse_event, f, &f->err),
                     VOLT_OK);
}

static void a_gap_in_the_events_is_refused(void **state_)
{
    fixture *f = *state_;
    row r = { .kind = ROW_EVENT, .event = { .seq = 2, .kind = EVENT_EPOCH } };

    assert_int_equal(f->s->ops->put(f->s, &r, SLICE("x"), &f->err), VOLT_ECORRUPT);
    assert_string_equal(f->err.msg, "event 2 does not follow event 0");
}

static void a_commit_has_one_build_a_generation(void **state_)
{
    fixture *f = *state_;
    row r;
    row_build b;

    put(f, build_row_of(1, 0, STATE_FINAL, 1));
    put(f, build_row_of(2, 1, STATE_RUNNING, 2));
    r = build_row_of(3, 0, STATE_RUNNING, 3);
    r.build.ref = SLICE("refs/heads/other");
    put(f, r);
    assert_int_equal(f->s->ops->latest_build(f->s, SLICE("volt"), SLICE("refs/heads/main"),
                                             SLICE(OID), &f->a, &b, &f->err),
                     VOLT_OK);
    assert_int_equal(b.build, 2);
    assert_int_equal(f->s->ops->latest_build(f->s, SLICE("volt"), SLICE("refs/heads/none"),
                                             SLICE(OID), &f->a, &b, &f->err),
                     VOLT_ENOTFOUND);
    r = build_row_of(4, 1, STATE_RUNNING, 4);
    assert_int_equal(f->s->ops->put(f->s, &r, (slice){ 0 }, &f->err), VOLT_EEXISTS);
}

static void pages_are_in_order_and_bounded(void **state_)
{
    fixture *f = *state_;

    for (uint64_t b = 1; b <= 5; b++) {
        row r = build_row_of(b, b, STATE_FINAL, 1);

        if (b % 2 == 0)
            r.build.repo = SLICE("other");
        put(f, r);
        put(f, job_of(b, 1));
        put(f, job_of(b, 0));
        for (uint64_t i = 0; i < 3; i++) {
            put(f, unit_of(b, 1, i, SLICE("b")));
            put(f, unit_of(b, 0, i, SLICE("a")));
            put(f, task_of(b + i * 10, b, STATE_FINAL));
        }
    }
    f->s->ops->builds(f->s, (slice){ 0 }, 0, 3, collect, f, &f->err);
    assert_string_equal(story(f), "build 5, build 4, build 3");
    f->s->ops->builds(f->s, (slice){ 0 }, 3, 9, collect, f, &f->err);
    assert_string_equal(story(f), "build 2, build 1");
    f->s->ops->builds(f->s, SLICE("volt"), 5, 1, collect, f, &f->err);
    assert_string_equal(story(f), "build 3");
    f->s->ops->jobs(f->s, 2, collect, f, &f->err);
    assert_string_equal(story(f), "job 2.0, job 2.1");
    f->s->ops->units(f->s, 2, 2, 3, collect, f, &f->err);
    assert_string_equal(story(f), "test 2.0.2, test 2.1.0, test 2.1.1");
    f->s->ops->units(f->s, 2, 6, 3, collect, f, &f->err);
    assert_string_equal(story(f), "");
    f->s->ops->tasks(f->s, 2, 2, collect, f, &f->err);
    assert_string_equal(story(f), "task 12, task 22");
    f->s->ops->tasks(f->s, 2, SIZE_MAX, collect, f, &f->err);
    assert_string_equal(story(f), "task 2, task 12, task 22");
    f->s->ops->tasks(f->s, 6, 2, collect, f, &f->err);
    assert_string_equal(story(f), "");
}

static volt_code stop_at_the_second(void *ctx, const row *r, volt_err *err)
{
    size_t *seen = ctx;

    (void)r;
    return ++*seen == 2 ? volt_fail(err, VOLT_ECANCELED, "enough") : VOLT_OK;
}

static void a_walk_ends_where_its_reader_says(void **state_)
{
    fixture *f = *state_;
    size_t seen = 0;

    for (uint64_t b = 1; b <= 3; b++)
        put(f, build_row_of(b, b, STATE_RUNNING, 1));
    assert_int_equal(f->s->ops->load(f->s, stop_at_the_second, &seen, &f->err), VOLT_ECANCELED);
    assert_int_equal(seen, 2);
    seen = 0;
    assert_int_equal(
        f->s->ops->builds(f->s, (slice){ 0 }, 0, 9, stop_at_the_second, &seen, &f->err),
        VOLT_ECANCELED);
    assert_int_equal(f->s->ops->builds(f->s, (slice){ 0 }, 0, 9, collect, f, &f->err), VOLT_OK);
    assert_string_equal(story(f), "build 3, build 2, build 1");
}

static volt_code fetch_amid(void *ctx, const row *r, volt_err *err)
{
    fixture *f = ctx;
    row_task t;
    volt_code rc = f->s->ops->task(f->s, r->job.idx, &f->a, &t, err);

    if (rc)
        return rc;
    assert_int_equal(t.build, 1);
    assert_slice(r->job.name, SLICE("unit"));
    assert_int_equal(r->job.needs.n, 2);
    assert_slice(r->job.needs.v[1], SLICE("back\\slash"));
    f->rows_n += r->job.idx;
    return VOLT_OK;
}

static void a_reader_may_fetch_single_rows(void **state_)
{
    fixture *f = *state_;
    slice needs[] = { SLICE("a"), SLICE("back\\slash") };

    for (uint64_t i = 1; i <= 3; i++) {
        row r = job_of(1, i);

        r.job.needs = (slices){ needs, 2 };
        put(f, r);
        put(f, task_of(i, 1, STATE_QUEUED));
    }
    assert_int_equal(f->s->ops->jobs(f->s, 1, fetch_amid, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows_n, 6);
    f->rows_n = 0;
}

static void runners_come_by_name(void **state_)
{
    static const char *const names[] = { "b", "a", "\xff", "a" };
    fixture *f = *state_;

    for (size_t i = 0; i < 4; i++)
        put(f, (row){ .kind = ROW_RUNNER,
                      .runner = { .id = { &"4231"[i], 1 }, .name = slice_of(names[i]) } });
    f->s->ops->runners(f->s, collect, f, &f->err);
    assert_string_equal(story(f), "runner 1, runner 2, runner 4, runner 3");
}

static void a_restart_loads_what_is_not_final_in_order(void **state_)
{
    fixture *f = *state_;

    for (uint64_t b = 1; b <= 3; b++) {
        put(f, task_of(b * 10, b, STATE_FINAL));
        put(f, unit_of(b, 0, 1, SLICE("f")));
        put(f, unit_of(b, 0, 0, SLICE("f")));
        put(f, job_of(b, 0));
        put(f, attempt_of(b * 10, 1));
        put(f, build_row_of(b, b, b == 2 ? STATE_FINAL : STATE_RUNNING, 1));
    }
    put(f, (row){ .kind = ROW_RUNNER, .runner = { .id = SLICE("r1"), .name = SLICE("n") } });
    put(f, (row){ .kind = ROW_REPO, .repo = { .name = SLICE("zeta") } });
    put(f, (row){ .kind = ROW_REPO, .repo = { .name = SLICE("alpha") } });
    commit(f);
    fixture_restart(f);
    assert_int_equal(f->s->ops->load(f->s, collect, f, &f->err), VOLT_OK);
    assert_string_equal(story(f), "repo alpha, repo zeta, runner r1, "
                                  "build 1, job 1.0, test 1.0.0, test 1.0.1, task 10, "
                                  "build 3, job 3.0, test 3.0.0, test 3.0.1, task 30");
}

#define CONTRACT(TEST)                                           \
    TEST(a_new_store_is_empty)                                   \
    TEST(each_start_has_a_greater_epoch_of_one_history)          \
    TEST(what_is_kept_goes_on_as_another_history)                \
    TEST(a_row_is_replaced_by_the_next_with_its_key)             \
    TEST(what_a_row_is_of_never_changes)                         \
    TEST(a_unit_keeps_its_file_when_the_update_names_none)       \
    TEST(a_file_of_one_name_has_a_history_in_each_job)           \
    TEST(histories_come_in_pages_by_their_names)                 \
    TEST(means_are_found_in_any_order)                           \
    TEST(only_what_was_committed_survives)                       \
    TEST(an_old_copy_stays_one_until_it_is_another_history)      \
    TEST(events_are_numbered_without_gaps_and_replayed_in_order) \
    TEST(events_of_one_kind_are_found_among_others)              \
    TEST(a_gap_in_the_events_is_refused)                         \
    TEST(a_commit_has_one_build_a_generation)                    \
    TEST(pages_are_in_order_and_bounded)                         \
    TEST(a_walk_ends_where_its_reader_says)                      \
    TEST(a_reader_may_fetch_single_rows)                         \
    TEST(runners_come_by_name)                                   \
    TEST(a_restart_loads_what_is_not_final_in_order)

int main(void)
{
    return RUN_ON_BOTH(CONTRACT);
}
