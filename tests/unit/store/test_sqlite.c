/* What is SQLite's alone: other processes, other files, damage, crashes. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "store/sqlite_store.h"

static int set_up(void **state_)
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

static void close_it(fixture *f)
{
    store_close(f->s);
    f->s = NULL;
}

static volt_code open_it(fixture *f)
{
    return store_open_sqlite(f->dir, &f->s, &f->err);
}

static slice read_file(fixture *f, const char *end)
{
    buf b = { 0 };
    char name[96], piece[4096];
    size_t n;
    slice all;
    FILE *in;

    snprintf(name, sizeof name, "%s%s", f->file, end);
    in = fopen(name, "rb");
    while (in && (n = fread(piece, 1, sizeof piece, in)) > 0)
        buf_add(&b, piece, n);
    if (in)
        fclose(in);
    all = arena_slice(&f->a, buf_slice(&b));
    buf_free(&b);
    return all;
}

static void overwrite(fixture *f, long at, const char *with, size_t n)
{
    FILE *out = fopen(f->file, "r+b");

    assert_non_null(out);
    assert_int_equal(fseek(out, at, SEEK_SET), 0);
    assert_int_equal(fwrite(with, 1, n, out), n);
    assert_int_equal(fclose(out), 0);
}

/* Another program's access to the file. */
static void sql(fixture *f, const char *text)
{
    sqlite3 *db = NULL;
    char *why = NULL;

    assert_int_equal(sqlite3_open(f->file, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s", why);
    sqlite3_close(db);
}

static int first_column(void *ctx, int n, char **values, char **names)
{
    buf *b = ctx;

    (void)n;
    (void)names;
    buf_addf(b, "%s%s", b->n ? " " : "", values[0] ? values[0] : "NULL");
    return 0;
}

static const char *ask(fixture *f, const char *question)
{
    sqlite3 *db = NULL;
    buf b = { 0 };
    char *answer;

    assert_int_equal(sqlite3_open(f->file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, question, first_column, &b, NULL), SQLITE_OK);
    sqlite3_close(db);
    answer = arena_str(&f->a, buf_slice(&b));
    buf_free(&b);
    return answer;
}

/* The open is refused with `code` and a message with `word`, and neither file changes. */
static void assert_refused(fixture *f, volt_code expected, const char *word)
{
    slice before = read_file(f, ""), wal_before = read_file(f, "-wal");
    volt_code rc = open_it(f);

    if (rc != expected)
        fail_msg("%s, not %s: %s", volt_code_text(rc), volt_code_text(expected), f->err.msg);
    if (!strstr(f->err.msg, word))
        fail_msg("no '%s' in: %s", word, f->err.msg);
    assert_non_null(strstr(f->err.msg, f->dir));
    assert_slice(read_file(f, ""), before);
    assert_slice(read_file(f, "-wal"), wal_before);
    assert_null(f->s);
}

static void put_some(fixture *f)
{
    for (uint64_t t = 1; t <= 500; t++)
        put(f, task_of(t, 1, STATE_QUEUED));
    put_event(f, 1, 1, 0);
    commit(f);
}

/* Runs `fn` in a process of its own; its exit code, or minus the signal that ended it. */
static int in_child(fixture *f, int (*fn)(fixture *f))
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fn(f));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int killed_before_its_second_commit(fixture *f)
{
    row r = task_of(1, 1, STATE_QUEUED);

    if (open_it(f) || f->s->ops->put(f->s, &r, (slice){ 0 }, &f->err) ||
        f->s->ops->commit(f->s, &f->err))
        return 1;
    /* more than the page cache holds, so that part of it is in the log without a commit */
    for (r.task.task = 2; r.task.task < 60000; r.task.task++)
        if (f->s->ops->put(f->s, &r, (slice){ 0 }, &f->err))
            return 1;
    raise(SIGKILL);
    return 1;
}

static int killed_after_its_commit(fixture *f)
{
    row r = task_of(2, 1, STATE_RUNNING);

    if (open_it(f) || f->s->ops->put(f->s, &r, (slice){ 0 }, &f->err) ||
        f->s->ops->commit(f->s, &f->err))
        return 1;
    raise(SIGKILL);
    return 1;
}

static void a_killed_process_loses_just_what_it_did_not_commit(void **state_)
{
    fixture *f = *state_;

    close_it(f);
    assert_int_equal(in_child(f, killed_before_its_second_commit), -SIGKILL);
    fixture_open(f);
    assert_int_equal(head(f).last_task, 1);
    close_it(f);
    assert_int_equal(in_child(f, killed_after_its_commit), -SIGKILL);
    fixture_open(f);
    assert_int_equal(head(f).last_task, 2);
    f->s->ops->tasks(f->s, 1, 9, collect, f, &f->err);
    assert_int_equal(f->rows[1].task.state, STATE_RUNNING);
    assert_string_equal(story(f), "task 1, task 2");
}

static int tries_to_open(fixture *f)
{
    volt_code rc = open_it(f);

    if (rc != VOLT_ELOCKED)
        return 1;
    return strstr(f->err.msg, "another dispatcher uses") && strstr(f->err.msg, f->dir) ? 0 : 2;
}

static void a_second_process_is_refused(void **state_)
{
    fixture *f = *state_;

    assert_int_equal(in_child(f, tries_to_open), 0);
    put_some(f); /* the first is not disturbed */
    assert_int_equal(in_child(f, tries_to_open), 0);
    fixture_restart(f);
    assert_int_equal(head(f).last_task, 500);
}

static void a_file_that_is_no_longer_there_commits_nothing(void **state_)
{
    fixture *f = *state_;
    char aside[96];

    put_some(f);
    snprintf(aside, sizeof aside, "%s.aside", f->file);
    assert_int_equal(rename(f->file, aside), 0);
    assert_int_equal(f->s->ops->commit(f->s, &f->err), VOLT_ENOTFOUND); /* with nothing to write */
    assert_non_null(strstr(f->err.msg, f->file));
    assert_int_equal(rename(aside, f->file), 0);
    assert_int_equal(f->s->ops->commit(f->s, &f->err), VOLT_EIO); /* what did not go stays undone */
    fixture_restart(f);
    put(f, task_of(501, 1, STATE_QUEUED));
    assert_int_equal(unlink(f->file), 0);
    assert_int_equal(f->s->ops->commit(f->s, &f->err), VOLT_ENOTFOUND);
}

static void a_file_that_another_program_holds_is_refused(void **state_)
{
    fixture *f = *state_;
    sqlite3 *db = NULL;

    close_it(f);
    assert_int_equal(sqlite3_open(f->file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(open_it(f), VOLT_ELOCKED);
    assert_non_null(strstr(f->err.msg, "another program"));
    sqlite3_close(db);
    fixture_open(f);
}

static void other_programs_are_kept_out(void **state_)
{
    fixture *f = *state_;
    sqlite3 *db = NULL;

    put_some(f);
    assert_int_equal(sqlite3_open(f->file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "SELECT * FROM task", NULL, NULL, NULL), SQLITE_BUSY);
    sqlite3_close(db);
}

static void a_file_that_is_no_database_is_refused_and_kept(void **state_)
{
    static const char text[] = "These are notes of mine, not a database, and I want to keep them.";
    fixture *f = *state_;

    close_it(f);
    overwrite(f, 0, text, sizeof text);
    assert_refused(f, VOLT_ECORRUPT, "restore a copy");
    assert_int_equal(truncate(f->file, 40), 0);
    assert_refused(f, VOLT_ECORRUPT, "restore a copy");
}

static void a_damaged_file_is_refused_and_kept(void **state_)
{
    static const char zeros[4096];
    fixture *f = *state_;
    struct stat st;

    for (uint64_t t = 1; t <= 5000; t++)
        put(f, task_of(t, 1, STATE_QUEUED));
    commit(f);
    close_it(f);
    assert_int_equal(stat(f->file, &st), 0);
    overwrite(f, st.st_size / 2 / 4096 * 4096, zeros, sizeof zeros); /* no start reads it */
    assert_refused(f, VOLT_ECORRUPT, "restore a copy");
}

static void a_truncated_file_is_refused_and_kept(void **state_)
{
    fixture *f = *state_;
    struct stat st;

    put_some(f);
    close_it(f);
    assert_int_equal(stat(f->file, &st), 0);
    assert_int_equal(truncate(f->file, st.st_size / 2), 0);
    assert_refused(f, VOLT_ECORRUPT, "restore a copy");
    assert_int_equal(truncate(f->file, 100), 0);
    assert_refused(f, VOLT_ECORRUPT, "restore a copy");
}

static void another_programs_database_is_refused_and_kept(void **state_)
{
    fixture *f = *state_;

    close_it(f);
    unlink(f->file);
    sql(f, "CREATE TABLE task(id); INSERT INTO task VALUES(1)");
    assert_refused(f, VOLT_ECORRUPT, "another program's");
}

static void changed_tables_are_refused_and_kept(void **state_)
{
    fixture *f = *state_;

    close_it(f);
    sql(f, "ALTER TABLE attempt DROP COLUMN code");
    assert_refused(f, VOLT_ECORRUPT, "no column named code");
}

static void an_unknown_word_is_said(void **state_)
{
    fixture *f = *state_;
    row_task t;

    put_some(f);
    close_it(f);
    sql(f, "UPDATE task SET state='dancing' WHERE task=7");
    fixture_open(f);
    assert_int_equal(f->s->ops->task(f->s, 7, &f->a, &t, &f->err), VOLT_ECORRUPT);
    assert_non_null(strstr(f->err.msg, "'dancing' as state"));
}

/* Version 3 has no lines without details: what it has is kept, and can be forgotten. */
static void a_file_from_before_lines_goes_on(void **state_)
{
    fixture *f = *state_;
    const schema third = { schema_current.steps, 3 };
    const store_old old = { .ended_ms = 2 * DAY, .counted = UINT64_MAX };
    sqlite3 *db = NULL;
    bool more;

    close_it(f);
    assert_int_equal(unlink(f->file), 0);
    assert_int_equal(sqlite3_open(f->file, &db), SQLITE_OK);
    assert_int_equal(schema_migrate(db, &third, f->file, 0, &f->err), VOLT_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "INSERT INTO build(build, repo, gen, state, verdict, finished_ms) VALUES"
                     "(1, 'volt', 0, 'final', 'passed', 1000), (2, 'volt', 1, 'running', '', 0);"
                     "INSERT INTO task(task, build, kind, state) VALUES(7, 1, 'plan', 'final')",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    fixture_open(f);
    f->s->ops->load(f->s, collect, f, &f->err);
    assert_string_equal(story(f), "build 2");
    assert_int_equal(f->s->ops->prune(f->s, &old, 100, NULL, NULL, &more, &f->err), VOLT_OK);
    commit(f);
    f->s->ops->tasks(f->s, 1, 9, collect, f, &f->err);
    f->s->ops->builds(f->s, (slice){ 0 }, 0, 9, collect, f, &f->err);
    assert_int_equal(f->rows_n, 2);
    assert_false(f->rows[0].build.forgotten);
    assert_true(f->rows[1].build.forgotten);
    assert_int_equal(f->rows[1].build.verdict, VERDICT_PASSED);
}

static void a_file_from_before_histories_goes_on(void **state_)
{
    fixture *f = *state_;
    const schema first = { schema_current.steps, 1 };
    sqlite3 *db = NULL;
    row_file got;

    close_it(f);
    assert_int_equal(unlink(f->file), 0);
    assert_int_equal(sqlite3_open(f->file, &db), SQLITE_OK);
    assert_int_equal(schema_migrate(db, &first, f->file, 0, &f->err), VOLT_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "INSERT INTO test(build, job, i, file, verdict) "
                                  "VALUES(1, 0, 0, 'a', 'passed');"
                                  "INSERT INTO event(seq, bytes) VALUES(8, '')",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    fixture_open(f);
    assert_int_equal(f->s->ops->units(f->s, 1, 0, 9, collect, f, &f->err), VOLT_OK);
    assert_int_equal(f->rows_n, 1);
    assert_int_equal(f->rows[0].unit.verdict, VERDICT_PASSED);
    assert_int_equal(f->rows[0].unit.expected_ms, 0);
    assert_int_equal(head(f).counted, 8); /* an event of then does not say whether its file ran */
    put(f, (row){ .kind = ROW_FILE, .file = { .repo = SLICE("volt"), .mean_ms = 3 } });
    commit(f);
    assert_int_equal(
        f->s->ops->file(f->s, SLICE("volt"), (slice){ 0 }, (slice){ 0 }, &f->a, &got, &f->err),
        VOLT_OK);
    assert_int_equal(got.mean_ms, 3);
}

static void a_newer_schema_is_refused_and_kept(void **state_)
{
    fixture *f = *state_;

    close_it(f);
    sql(f, "PRAGMA user_version=99");
    assert_refused(f, VOLT_EVERSION, "newer");
    assert_non_null(strstr(f->err.msg, "99"));
}

static int makes_it_newer_and_dies(fixture *f)
{
    sqlite3 *db = NULL;

    if (sqlite3_open(f->file, &db) || sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL))
        return 1;
    raise(SIGKILL);
    return 1;
}

static void a_refused_file_keeps_its_write_ahead_log(void **state_)
{
    fixture *f = *state_;

    close_it(f);
    assert_int_equal(in_child(f, makes_it_newer_and_dies), -SIGKILL);
    assert_true(read_file(f, "-wal").n > 0);
    assert_refused(f, VOLT_EVERSION, "newer");
}

static void a_directory_that_is_not_there_is_said(void **state_)
{
    fixture *f = *state_;
    store *s = NULL;

    assert_int_equal(store_open_sqlite("/nonexistent/volt", &s, &f->err), VOLT_EIO);
    assert_string_equal(f->err.msg,
                        "open data directory '/nonexistent/volt': No such file or directory");
    assert_null(s);
}

static void what_cannot_be_a_file_is_said(void **state_)
{
    fixture *f = *state_;

    close_it(f);
    unlink(f->file);
    assert_int_equal(mkdir(f->file, 0700), 0);
    assert_int_equal(open_it(f), VOLT_EIO);
    assert_non_null(strstr(f->err.msg, "unable to open database file"));
    assert_int_equal(rmdir(f->file), 0);
}

static int may_not_write(fixture *f)
{
    volt_code rc;

    if (geteuid() == 0 && (setgid(65534) || setuid(65534)))
        return 3;
    rc = open_it(f);
    if (rc != VOLT_EIO)
        return 1;
    return strstr(f->err.msg, f->file) ? 0 : 2;
}

static void a_file_that_may_not_be_written_is_said(void **state_)
{
    fixture *f = *state_;

    close_it(f);
    assert_int_equal(chmod(f->file, 0444), 0);
    assert_int_equal(chmod(f->dir, 0755), 0);
    assert_int_equal(in_child(f, may_not_write), 0);
    unlink(f->file);
    assert_int_equal(chmod(f->dir, 0555), 0);
    assert_int_equal(in_child(f, may_not_write), 0);
    assert_int_equal(chmod(f->dir, 0755), 0);
}

static volt_code put_until_it_fails(fixture *f)
{
    row r = task_of(1000, 1, STATE_QUEUED);
    volt_code rc = VOLT_OK;

    for (; !rc && r.task.task < 200000; r.task.task++) {
        rc = f->s->ops->put(f->s, &r, (slice){ 0 }, &f->err);
        if (!rc && r.task.task % 100 == 0)
            rc = f->s->ops->commit(f->s, &f->err);
    }
    return rc;
}

static int fills_the_disk(fixture *f)
{
    struct rlimit limit = { 1 << 20, 1 << 20 };
    row r = task_of(1, 1, STATE_FINAL);

    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) || open_it(f))
        return 1;
    if (put_until_it_fails(f) != VOLT_EFULL)
        return 2;
    if (f->s->ops->put(f->s, &r, (slice){ 0 }, &f->err) != VOLT_EIO ||
        f->s->ops->commit(f->s, &f->err) != VOLT_EIO)
        return 3;
    close_it(f);
    return 0;
}

static void a_full_disk_is_said_and_nothing_half_done_becomes_durable(void **state_)
{
    fixture *f = *state_;

    put_some(f);
    close_it(f);
    assert_int_equal(in_child(f, fills_the_disk), 0);
    fixture_open(f);
    assert_int_equal(head(f).last_task % 100, 0); /* a commit's end */
    assert_true(head(f).last_task > 1000);
}

static void a_full_database_is_said(void **state_)
{
    fixture *f = *state_;
    sqlite_store *s = (sqlite_store *)f->s;

    put_some(f);
    assert_int_equal(sqlite3_exec(s->db, "PRAGMA max_page_count=60", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(put_until_it_fails(f), VOLT_EFULL);
    fixture_restart(f);
    assert_int_equal(head(f).last_task % 100, 0);
}

static void a_person_can_read_it(void **state_)
{
    fixture *f = *state_;
    slice needs[] = { SLICE("build"), SLICE("lint") };
    row r = job_of(1, 0);

    r.job.needs = (slices){ needs, 2 };
    put(f, build_row_of(1, 0, STATE_FINAL, 5));
    put(f, r);
    put(f, unit_of(1, 0, 0, SLICE("tests/test_a.py")));
    put_event(f, 1, 7, 1);
    commit(f);
    close_it(f);
    assert_string_equal(ask(f, "SELECT state || ' ' || verdict || ' ' || ref FROM build"),
                        "final passed refs/heads/main");
    assert_string_equal(ask(f, "SELECT needs FROM job"), "build\nlint");
    assert_string_equal(ask(f, "SELECT typeof(file) || ' ' || file FROM test"),
                        "text tests/test_a.py");
    assert_string_equal(ask(f, "SELECT kind || ' ' || build FROM event"), "queued 1");
    assert_string_equal(ask(f, "PRAGMA journal_mode"), "wal");
    assert_string_equal(ask(f, "PRAGMA integrity_check"), "ok");
}

static void every_commit_is_synced(void **state_)
{
    fixture *f = *state_;
    sqlite_store *s = (sqlite_store *)f->s;
    buf b = { 0 };

    sqlite3_exec(s->db, "PRAGMA synchronous", first_column, &b, NULL);
    sqlite3_exec(s->db, "PRAGMA locking_mode", first_column, &b, NULL);
    assert_string_equal(buf_str(&b), "2 exclusive");
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
        TEST(a_killed_process_loses_just_what_it_did_not_commit),
        TEST(a_second_process_is_refused),
        TEST(a_file_that_is_no_longer_there_commits_nothing),
        TEST(a_file_that_another_program_holds_is_refused),
        TEST(other_programs_are_kept_out),
        TEST(a_file_that_is_no_database_is_refused_and_kept),
        TEST(a_damaged_file_is_refused_and_kept),
        TEST(a_truncated_file_is_refused_and_kept),
        TEST(another_programs_database_is_refused_and_kept),
        TEST(changed_tables_are_refused_and_kept),
        TEST(an_unknown_word_is_said),
        TEST(a_file_from_before_lines_goes_on),
        TEST(a_file_from_before_histories_goes_on),
        TEST(a_newer_schema_is_refused_and_kept),
        TEST(a_refused_file_keeps_its_write_ahead_log),
        TEST(a_directory_that_is_not_there_is_said),
        TEST(what_cannot_be_a_file_is_said),
        TEST(a_file_that_may_not_be_written_is_said),
        TEST(a_full_disk_is_said_and_nothing_half_done_becomes_durable),
        TEST(a_full_database_is_said),
        TEST(a_person_can_read_it),
        TEST(every_commit_is_synced),
    };

    return cmocka_run_group_tests_name("sqlite", tests, NULL, NULL);
}
