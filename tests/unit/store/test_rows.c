/* What every backend of store.h must do: rows come back as they were put.  The same tests run on
 * each. */
#include "contract.h"

static const char oid64[] = OID "bbbbbbbbbbbbbbbbbbbbbbbb";

/* Puts `r`, ends the process, and hands out what `read` then finds: one row. */
static const row *after_restart(fixture *f, row r, volt_code (*read)(fixture *f))
{
    put(f, r);
    commit(f);
    fixture_restart(f);
    forget_rows(f);
    assert_int_equal(read(f), VOLT_OK);
    assert_int_equal(f->rows_n, 1);
    return &f->rows[0];
}

static volt_code read_load(fixture *f)
{
    return f->s->ops->load(f->s, collect, f, &f->err);
}

static volt_code read_builds(fixture *f)
{
    return f->s->ops->builds(f->s, (slice){ 0 }, 0, 9, collect, f, &f->err);
}

static volt_code read_jobs(fixture *f)
{
    return f->s->ops->jobs(f->s, 3, collect, f, &f->err);
}

static volt_code read_units(fixture *f)
{
    return f->s->ops->units(f->s, 3, 0, 9, collect, f, &f->err);
}

static volt_code read_tasks(fixture *f)
{
    return f->s->ops->tasks(f->s, 3, 9, collect, f, &f->err);
}

static volt_code read_attempts(fixture *f)
{
    return f->s->ops->attempts(f->s, 9, collect, f, &f->err);
}

static void a_repo_comes_back_whole(void **state_)
{
    fixture *f = *state_;
    slice held[] = { SLICE("deploy") };
    row_repo r = { SLICE("volt"), SLICE("local:host:/srv/x"), SLICE("main"), { held, 1 } };
    const row_repo *got = &after_restart(f, (row){ .kind = ROW_REPO, .repo = r }, read_load)->repo;

    assert_slice(got->name, r.name);
    assert_slice(got->url, r.url);
    assert_slice(got->default_branch, r.default_branch);
    assert_int_equal(got->held.n, 1);
    assert_slice(got->held.v[0], held[0]);
}

static void a_runner_comes_back_whole(void **state_)
{
    fixture *f = *state_;
    slice labels[] = { SLICE("linux") }, reach[] = { SLICE("volt"), SLICE("other") };
    row_runner r = { SLICE(HIST), SLICE("host-1"), SLICE("host"),
                     SLICE(HIST), { labels, 1 },   { reach, 2 },
                     16,          MODE_CORDON,     RUNNER_SUSPECT,
                     5,           1700000000124 };
    const row_runner *got =
        &after_restart(f, (row){ .kind = ROW_RUNNER, .runner = r }, read_load)->runner;

    assert_slice(got->id, r.id);
    assert_slice(got->name, r.name);
    assert_slice(got->host, r.host);
    assert_slice(got->boot, r.boot);
    assert_int_equal(got->labels.n, 1);
    assert_slice(got->labels.v[0], labels[0]);
    assert_int_equal(got->reach.n, 2);
    assert_slice(got->reach.v[1], reach[1]);
    assert_int_equal(got->slots, 16);
    assert_int_equal(got->mode, MODE_CORDON);
    assert_int_equal(got->state, RUNNER_SUSPECT);
    assert_int_equal(got->losses, 5);
    assert_int_equal(got->seen_ms, 1700000000124);
}

static void a_build_comes_back_whole(void **state_)
{
    fixture *f = *state_;
    slice passed[] = { SLICE("lint"), SLICE("unit/3.10") };
    slice env[] = { SLICE("A=1\n2"), SLICE("B=") };
    row_build r = { 3,
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
                    15,
                    16,
                    2,
                    { passed, 2 },
                    { env, 2 },
                    true };
    const row_build *got =
        &after_restart(f, (row){ .kind = ROW_BUILD, .build = r }, read_builds)->build;

    assert_int_equal(got->build, 3);
    assert_slice(got->repo, r.repo);
    assert_slice(got->ref, r.ref);
    assert_slice(got->oid, r.oid);
    assert_int_equal(got->gen, 2);
    assert_slice(got->subject, r.subject);
    assert_slice(got->author, r.author);
    assert_int_equal(got->priority, 7);
    assert_int_equal(got->state, STATE_CANCELING);
    assert_int_equal(got->verdict, VERDICT_NO_TESTS);
    assert_slice(got->why, r.why);
    assert_memory_equal(&got->created_ms, &r.created_ms, 7 * sizeof(uint64_t));
    assert_int_equal(got->passed.n, 2);
    assert_slice(got->passed.v[1], passed[1]);
    assert_int_equal(got->env.n, 2);
    assert_slice(got->env.v[0], env[0]);
    assert_slice(got->env.v[1], env[1]);
    assert_true(got->forgotten);
}

static void a_job_comes_back_whole(void **state_)
{
    fixture *f = *state_;
    slice needs[] = { SLICE("build"), SLICE("lint/3.10") }, labels[] = { SLICE("linux") };
    row_job r = {
        .build = 3,
        .name = SLICE("job"),
        .needs = { needs, 2 },
        .labels = { labels, 1 },
        .spec = SLICE("\x81\xa3run"),
        .priority = 1,
        .timeout_ms = 2,
        .retry = 3,
        .batch = 4,
        .allow_failure = true,
        .always = true,
        .artifacts = true,
        .state = STATE_FINAL,
        .verdict = VERDICT_FLAKY,
        .why = SLICE("because"),
        .units = 5,
        .units_done = 6,
        .units_bad = 7,
        .ready_ms = 8,
        .started_ms = 9,
        .ended_ms = 10,
        .work_ms = 11,
        .longest_ms = 12,
        .artifact_bytes = 13,
        .concurrency = SLICE("deploy"),
    };
    const row_job *got = &after_restart(f, (row){ .kind = ROW_JOB, .job = r }, read_jobs)->job;

    assert_slice(got->name, r.name);
    assert_slice(got->spec, r.spec);
    assert_int_equal(got->needs.n, 2);
    assert_slice(got->needs.v[0], needs[0]);
    assert_slice(got->needs.v[1], needs[1]);
    assert_int_equal(got->labels.n, 1);
    assert_slice(got->labels.v[0], labels[0]);
    assert_memory_equal(&got->priority, &r.priority, 4 * sizeof(uint64_t));
    assert_true(got->allow_failure && got->always && !got->tests && got->artifacts);
    assert_int_equal(got->state, STATE_FINAL);
    assert_int_equal(got->verdict, VERDICT_FLAKY);
    assert_slice(got->why, r.why);
    assert_memory_equal(&got->units, &r.units, 9 * sizeof(uint64_t));
    assert_slice(got->concurrency, r.concurrency);
}

static void a_unit_comes_back_whole(void **state_)
{
    fixture *f = *state_;
    row_unit r = { 3, 2, 1, SLICE("tests/test_a.py"), 50, VERDICT_TIMEOUT, 1, 9, 3, 4, 5, 6, 7,
                   8, 9, 2 };
    const row_unit *got = &after_restart(f, (row){ .kind = ROW_UNIT, .unit = r }, read_units)->unit;

    assert_memory_equal(&got->build, &r.build, 3 * sizeof(uint64_t));
    assert_slice(got->file, r.file);
    assert_int_equal(got->expected_ms, 50);
    assert_int_equal(got->verdict, VERDICT_TIMEOUT);
    assert_memory_equal(&got->duration_ms, &r.duration_ms, 10 * sizeof(uint64_t));
}

static void a_file_comes_back_whole(void **state_)
{
    fixture *f = *state_;
    row_file r = { SLICE("volt"),
                   SLICE("unit"),
                   SLICE("tests/test_\xff.py"),
                   1,
                   2,
                   3,
                   4,
                   SLICE("f"),
                   SLICE("o"),
                   VERDICT_FLAKY,
                   5 };
    row_file got;

    put(f, (row){ .kind = ROW_FILE, .file = r });
    commit(f);
    fixture_restart(f);
    assert_int_equal(f->s->ops->file(f->s, r.repo, r.job, r.file, &f->a, &got, &f->err), VOLT_OK);
    assert_slice(got.repo, r.repo);
    assert_slice(got.job, r.job);
    assert_slice(got.file, r.file);
    assert_memory_equal(&got.mean_ms, &r.mean_ms, 4 * sizeof(uint64_t));
    assert_slice(got.flaky_oid, r.flaky_oid);
    assert_slice(got.oid, r.oid);
    assert_int_equal(got.verdict, VERDICT_FLAKY);
    assert_int_equal(got.seen_ms, 5);
}

static void a_cursor_comes_back(void **state_)
{
    fixture *f = *state_;

    assert_int_equal(head(f).counted, 0);
    put(f, (row){ .kind = ROW_CURSOR, .cursor = { SLICE("files"), 6 } });
    put(f, (row){ .kind = ROW_CURSOR, .cursor = { SLICE("others"), 8 } });
    commit(f);
    put(f, (row){ .kind = ROW_CURSOR, .cursor = { SLICE("files"), 7 } });
    assert_int_equal(head(f).counted, 7);
    fixture_restart(f);
    assert_int_equal(head(f).counted, 6);
}

static void a_task_comes_back_whole(void **state_)
{
    fixture *f = *state_;
    row_task r = { 9,
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
                   10,
                   11 };
    const row_task *got = &after_restart(f, (row){ .kind = ROW_TASK, .task = r }, read_tasks)->task;

    assert_true(got->job == ROW_JOB_PLAN);
    assert_int_equal(got->kind, TASK_PLAN);
    assert_int_equal(got->state, STATE_LEASED);
    assert_int_equal(got->verdict, VERDICT_LOST);
    assert_int_equal(got->att, 1);
    assert_int_equal(got->tries, 2);
    assert_slice(got->runner, r.runner);
    assert_slice(got->units, r.units);
    assert_int_equal(got->done, 1);
    assert_slice(got->why, r.why);
    assert_memory_equal(&got->since_ms, &r.since_ms, 8 * sizeof(uint64_t));
}

static void an_attempt_comes_back_whole(void **state_)
{
    fixture *f = *state_;
    row_attempt r = {
        9, 1, SLICE("id"), SLICE("name"), STATE_RUNNING, VERDICT_ERRORED, CODE_DISK, 1, 2, 3, 4
    };
    const row_attempt *got =
        &after_restart(f, (row){ .kind = ROW_ATTEMPT, .attempt = r }, read_attempts)->attempt;

    assert_slice(got->runner, r.runner);
    assert_slice(got->runner_name, r.runner_name);
    assert_int_equal(got->state, STATE_RUNNING);
    assert_int_equal(got->verdict, VERDICT_ERRORED);
    assert_int_equal(got->code, CODE_DISK);
    assert_memory_equal(&got->leased_ms, &r.leased_ms, 4 * sizeof(uint64_t));
}

static void a_submission_comes_back_whole(void **state_)
{
    fixture *f = *state_;
    row_submission got = { .build = 77 };

    put(f, (row){ .kind = ROW_SUBMISSION,
                  .submission = { SLICE(HIST), 0, CODE_NAME_TAKEN, 1700000000123 } });
    commit(f);
    fixture_restart(f);
    assert_int_equal(f->s->ops->submission(f->s, SLICE("x"), &f->a, &got, &f->err), VOLT_ENOTFOUND);
    assert_int_equal(got.build, 77);
    assert_int_equal(f->s->ops->submission(f->s, SLICE(HIST), &f->a, &got, &f->err), VOLT_OK);
    assert_slice(got.sid, SLICE(HIST));
    assert_int_equal(got.build, 0);
    assert_int_equal(got.refused, CODE_NAME_TAKEN);
    assert_int_equal(got.wall_ms, 1700000000123);
}

static void a_short_log_comes_back_byte_for_byte(void **state_)
{
    fixture *f = *state_;
    slice bytes = { "a\0b\xff\r\n", 6 }, got;

    put(f, (row){ .kind = ROW_LOG, .log = { 9, 1, bytes } });
    put(f, (row){ .kind = ROW_LOG, .log = { 9, 2, { NULL, 0 } } });
    commit(f);
    fixture_restart(f);
    assert_int_equal(f->s->ops->short_log(f->s, 9, 1, &f->a, &got, &f->err), VOLT_OK);
    assert_slice(got, bytes);
    assert_int_equal(f->s->ops->short_log(f->s, 9, 2, &f->a, &got, &f->err), VOLT_OK);
    assert_int_equal(got.n, 0);
    assert_int_equal(f->s->ops->short_log(f->s, 9, 3, &f->a, &got, &f->err), VOLT_ENOTFOUND);
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

#define CONTRACT(TEST)                         \
    TEST(a_repo_comes_back_whole)              \
    TEST(a_runner_comes_back_whole)            \
    TEST(a_build_comes_back_whole)             \
    TEST(a_job_comes_back_whole)               \
    TEST(a_unit_comes_back_whole)              \
    TEST(a_file_comes_back_whole)              \
    TEST(a_cursor_comes_back)                  \
    TEST(a_task_comes_back_whole)              \
    TEST(an_attempt_comes_back_whole)          \
    TEST(a_submission_comes_back_whole)        \
    TEST(a_short_log_comes_back_byte_for_byte) \
    TEST(odd_bytes_come_back_as_they_were)

int main(void)
{
    return RUN_ON_BOTH(CONTRACT);
}
