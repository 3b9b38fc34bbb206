/* What every backend of store.h must do.  The same tests run on each. */
#include "fixture.h"

static int set_up_memory(void **state_)
{
    *state_ = fixture_new(false);
    return 0;
}

static int set_up_sqlite(void **state_)
{
    *state_ = fixture_new(true);
    return 0;
}

static int tear_down(void **state_)
{
    fixture *f = *state_;

    forget_rows(f);
    fixture_free(f);
    return 0;
}

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

static void every_field_comes_back(void **state_)
{
    static const char oid64[] = OID "bbbbbbbbbbbbbbbbbbbbbbbb";
    fixture *f = *state_;
    slice needs[] = { SLICE("build"), SLICE("lint/3.10") };
    slice labels[] = { SLICE("linux") };
    row rows[] = {
        { .kind = ROW_REPO, .repo = { SLICE("volt"), SLICE("local:host:/srv/x"), SLICE("main") } },
        { .kind = ROW_SUBMISSION,
          .submission = { SLICE(HIST), 0, CODE_NAME_TAKEN, 1700000000123 } },
        { .kind = ROW_RUNNER,
          .runner = { SLICE(HIST),
                      SLICE("host-1"),
                      SLICE("host"),
                      SLICE(HIST),
                      { labels, 1 },
                      { needs, 2 },
                      16,
                      MODE_CORDON,
                      RUNNER_SUSPECT,
                      5,
                      1700000000124 } },
        { .kind = ROW_BUILD,
          .build = { 3,
                     SLICE("volt"),
                     SLICE("refs/heads/x"),
                     { oid64, 64 },
                     2,
                     SLICE("subject"),
                     SLICE("author"),
                     7,
                     STATE_CANCELING,
                     VERDICT_NO_TESTS,
                     SLICE("why"),
                     11,
                     12,
                     13,
                     14,
                     15 } },
        { .kind = ROW_JOB,
          .job = { 3,
                   0,
                   SLICE("job"),
                   { needs, 2 },
                   { labels, 1 },
                   SLICE("\x81\xa3run"),
                   1,
                   2,
                   3,
                   4,
                   true,
                   false,
                   STATE_FINAL,
                   VERDICT_FLAKY,
                   SLICE("because"),
                   5,
                   6,
                   7 } },
        { .kind = ROW_UNIT,
          .unit = { 3, 0, 0, SLICE("tests/test_a.py"), VERDICT_TIMEOUT, 1, 9, 3, 4, 5, 6, 7 } },
        { .kind = ROW_TASK,
          .task = { 9,
                    3,
                    ROW_JOB_PLAN,
                    TASK_PLAN,
                    STATE_LEASED,
                    VERDICT_LOST,
                    1,
                    2,
                    SLICE("r"),
                    { "\1\0\0\0\2\0\0\0", 8 },
                    1,
                    SLICE("w"),
                    4,
                    5,
                    6,
                    7,
                    MSG_ID_MAX,
                    9,
                    10 } },
        { .kind = ROW_ATTEMPT,
          .attempt = { 9, 1, SLICE("id"), SLICE("name"), STATE_RUNNING, VERDICT_ERRORED, CODE_DISK,
                       1, 2, 3 } },
        { .kind = ROW_LOG, .log = { 9, 1, { "a\0b\xff", 4 } } },
    };
    row_submission sub;
    row_build build;
    row_task task;
    slice log;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        put(f, rows[i]);
    commit(f);
    fixture_restart(f);
    assert_int_equal(f->s->ops->load(f->s, collect, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows_n, 6);
    assert_slice(f->rows[0].repo.url, rows[0].repo.url);
    assert_slice(f->rows[0].repo.default_branch, rows[0].repo.default_branch);
    assert_slice(f->rows[1].runner.name, rows[2].runner.name);
    assert_slice(f->rows[1].runner.host, rows[2].runner.host);
    assert_slice(f->rows[1].runner.boot, rows[2].runner.boot);
    assert_int_equal(f->rows[1].runner.labels.n, 1);
    assert_slice(f->rows[1].runner.labels.v[0], labels[0]);
    assert_int_equal(f->rows[1].runner.reach.n, 2);
    assert_slice(f->rows[1].runner.reach.v[1], needs[1]);
    assert_int_equal(f->rows[1].runner.slots, 16);
    assert_int_equal(f->rows[1].runner.mode, MODE_CORDON);
    assert_int_equal(f->rows[1].runner.state, RUNNER_SUSPECT);
    assert_int_equal(f->rows[1].runner.losses, 5);
    assert_int_equal(f->rows[1].runner.seen_ms, 1700000000124);
    build = f->rows[2].build;
    assert_slice(build.oid, rows[3].build.oid);
    assert_slice(build.ref, rows[3].build.ref);
    assert_slice(build.subject, rows[3].build.subject);
    assert_slice(build.author, rows[3].build.author);
    assert_slice(build.why, rows[3].build.why);
    assert_memory_equal(&build.priority, &rows[3].build.priority, sizeof build.priority);
    assert_int_equal(build.gen, 2);
    assert_int_equal(build.state, STATE_CANCELING);
    assert_int_equal(build.verdict, VERDICT_NO_TESTS);
    assert_memory_equal(&build.created_ms, &rows[3].build.created_ms, 5 * sizeof(uint64_t));
    assert_slice(f->rows[3].job.name, SLICE("job"));
    assert_slice(f->rows[3].job.spec, rows[4].job.spec);
    assert_slice(f->rows[3].job.needs.v[1], needs[1]);
    assert_memory_equal(&f->rows[3].job.priority, &rows[4].job.priority, 4 * sizeof(uint64_t));
    assert_true(f->rows[3].job.allow_failure && !f->rows[3].job.tests);
    assert_int_equal(f->rows[3].job.verdict, VERDICT_FLAKY);
    assert_memory_equal(&f->rows[3].job.units, &rows[4].job.units, 3 * sizeof(uint64_t));
    assert_slice(f->rows[4].unit.file, rows[5].unit.file);
    assert_int_equal(f->rows[4].unit.verdict, VERDICT_TIMEOUT);
    assert_memory_equal(&f->rows[4].unit.duration_ms, &rows[5].unit.duration_ms,
                        7 * sizeof(uint64_t));
    assert_int_equal(f->s->ops->task(f->s, 9, &f->a, &task, &f->err), VOLT_OK);
    assert_true(task.job == ROW_JOB_PLAN);
    assert_int_equal(task.kind, TASK_PLAN);
    assert_int_equal(task.state, STATE_LEASED);
    assert_int_equal(task.verdict, VERDICT_LOST);
    assert_slice(task.units, rows[6].task.units);
    assert_slice(task.why, SLICE("w"));
    assert_slice(task.runner, SLICE("r"));
    assert_memory_equal(&task.since_ms, &rows[6].task.since_ms, 7 * sizeof(uint64_t));
    forget_rows(f);
    assert_int_equal(f->s->ops->attempts(f->s, 9, collect, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows_n, 1);
    assert_slice(f->rows[0].attempt.runner_name, SLICE("name"));
    assert_int_equal(f->rows[0].attempt.code, CODE_DISK);
    assert_memory_equal(&f->rows[0].attempt.leased_ms, &rows[7].attempt.leased_ms,
                        3 * sizeof(uint64_t));
    assert_int_equal(f->s->ops->short_log(f->s, 9, 1, &f->a, &log, &f->err), VOLT_OK);
    assert_slice(log, rows[8].log.bytes);
    assert_int_equal(f->s->ops->short_log(f->s, 9, 2, &f->a, &log, &f->err), VOLT_ENOTFOUND);
    assert_int_equal(f->s->ops->submission(f->s, SLICE(HIST), &f->a, &sub, &f->err), VOLT_OK);
    assert_int_equal(sub.refused, CODE_NAME_TAKEN);
    assert_int_equal(sub.wall_ms, 1700000000123);
    assert_int_equal(f->s->ops->submission(f->s, SLICE("x"), &f->a, &sub, &f->err), VOLT_ENOTFOUND);
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

static void odd_bytes_come_back_as_they_were(void **state_)
{
    static const char all[] = "\xff\xfe\n\\ '\"\x01\xc3";
    fixture *f = *state_;
    slice odd = { all, sizeof all - 1 }, nul = { "a\0b", 3 };
    slice items[] = { odd, { 0 }, SLICE("line\nbreak"), SLICE("back\\n"), nul, SLICE("\\") };
    slice one_empty[] = { { "", 0 } };
    row b = build_row_of(1, 0, STATE_RUNNING, 1);
    row_build latest;
    row j = job_of(1, 0);

    b.build.repo = odd;
    b.build.ref = nul;
    b.build.subject = odd;
    put(f, b);
    j.job.name = odd;
    j.job.needs = (slices){ items, 6 };
    j.job.labels = (slices){ one_empty, 1 };
    put(f, j);
    j.job.idx = 1;
    j.job.needs = (slices){ items + 2, 2 };
    j.job.labels = (slices){ 0 };
    put(f, j);
    put(f, unit_of(1, 0, 0, odd));
    put(f, unit_of(1, 0, 1, nul));
    commit(f);
    fixture_restart(f);
    assert_int_equal(f->s->ops->latest_build(f->s, odd, nul, SLICE(OID), &f->a, &latest, &f->err),
                     VOLT_OK);
    assert_slice(latest.repo, odd);
    assert_slice(latest.ref, nul);
    assert_slice(latest.subject, odd);
    assert_int_equal(f->s->ops->builds(f->s, odd, 0, 9, collect, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows_n, 1);
    assert_int_equal(f->s->ops->jobs(f->s, 1, collect, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows_n, 3);
    assert_slice(f->rows[1].job.name, odd);
    assert_int_equal(f->rows[1].job.needs.n, 6);
    for (size_t i = 0; i < 6; i++)
        assert_slice(f->rows[1].job.needs.v[i], items[i]);
    assert_int_equal(f->rows[1].job.labels.n, 1);
    assert_int_equal(f->rows[1].job.labels.v[0].n, 0);
    assert_int_equal(f->rows[2].job.needs.n, 2);
    assert_slice(f->rows[2].job.needs.v[1], items[3]);
    assert_int_equal(f->rows[2].job.labels.n, 0);
    forget_rows(f);
    assert_int_equal(f->s->ops->units(f->s, 1, 0, 9, collect, f, &f->err), VOLT_OK);
    assert_slice(f->rows[0].unit.file, odd);
    assert_slice(f->rows[1].unit.file, nul);
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

static void log_gone(void *ctx, uint64_t task, uint64_t att)
{
    fixture *f = ctx;
    row r = attempt_of(task, att);

    collect(f, &r, NULL);
}

static size_t prune_all(fixture *f, int64_t before_ms, size_t max)
{
    bool more = true;
    size_t slices_n = 0;

    while (more) {
        if (f->s->ops->prune(f->s, before_ms, max, log_gone, f, &more, &f->err) != VOLT_OK)
            fail_msg("%s", f->err.msg);
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

static void retention_works_in_slices(void **state_)
{
    fixture *f = *state_;
    bool more = false;

    put_four_days(f);
    /* build 1: 3 tasks, 3 units, a job and the build; its submission; 2 events */
    assert_int_equal(f->s->ops->prune(f->s, 2 * DAY, 2, log_gone, f, &more, &f->err), VOLT_OK);
    assert_true(more);
    assert_string_equal(story(f), "attempt 10.1, attempt 11.1");
    fixture_restart(f); /* not committed: as if it had not been */
    assert_int_equal(prune_all(f, 2 * DAY, 2), 6);
    assert_string_equal(story(f), "attempt 10.1, attempt 11.1, attempt 12.1");
    f->s->ops->builds(f->s, (slice){ 0 }, 0, 9, collect, f, &f->err);
    assert_string_equal(story(f), "build 4, build 3, build 2");
    assert_int_equal(head(f).floor, 3);
}

#define CONTRACT(TEST)                                             \
    TEST(a_new_store_is_empty)                                     \
    TEST(each_start_has_a_greater_epoch_of_one_history)            \
    TEST(every_field_comes_back)                                   \
    TEST(a_row_is_replaced_by_the_next_with_its_key)               \
    TEST(what_a_row_is_of_never_changes)                           \
    TEST(a_unit_keeps_its_file_when_the_update_names_none)         \
    TEST(odd_bytes_come_back_as_they_were)                         \
    TEST(only_what_was_committed_survives)                         \
    TEST(events_are_numbered_without_gaps_and_replayed_in_order)   \
    TEST(a_gap_in_the_events_is_refused)                           \
    TEST(a_commit_has_one_build_a_generation)                      \
    TEST(pages_are_in_order_and_bounded)                           \
    TEST(a_walk_ends_where_its_reader_says)                        \
    TEST(a_reader_may_fetch_single_rows)                           \
    TEST(runners_come_by_name)                                     \
    TEST(a_restart_loads_what_is_not_final_in_order)               \
    TEST(retention_forgets_old_builds_with_all_that_hangs_on_them) \
    TEST(retention_keeps_what_is_not_final_and_its_events)         \
    TEST(retention_keeps_the_greatest_numbers)                     \
    TEST(retention_never_takes_events_newer_than_the_bound)        \
    TEST(retention_works_in_slices)

#define ON_MEMORY(fn) cmocka_unit_test_setup_teardown(fn, set_up_memory, tear_down),
#define ON_SQLITE(fn) cmocka_unit_test_setup_teardown(fn, set_up_sqlite, tear_down),

int main(void)
{
    const struct CMUnitTest on_memory[] = { CONTRACT(ON_MEMORY) };
    const struct CMUnitTest on_sqlite[] = { CONTRACT(ON_SQLITE) };
    int failed = cmocka_run_group_tests_name("memory", on_memory, NULL, NULL);

    return failed + cmocka_run_group_tests_name("sqlite", on_sqlite, NULL, NULL);
}
