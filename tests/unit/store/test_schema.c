/* How an older file becomes today's: with steps of the test's own, for there is only one release.
 */
#include "fixture.h"

#include "store/schema.h"

typedef struct file {
    sqlite3 *db;
    volt_err err;
} file;

static int set_up(void **state_)
{
    file *f = NEW(file);

    *state_ = f;
    return sqlite3_open(":memory:", &f->db);
}

static int tear_down(void **state_)
{
    file *f = *state_;

    sqlite3_close(f->db);
    free(f);
    return 0;
}

static int count(file *f, const char *sql)
{
    sqlite3_stmt *st = NULL;
    int n = -1;

    if (sqlite3_prepare_v2(f->db, sql, -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW)
        n = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    return n;
}

static const char *const steps[] = {
    "CREATE TABLE a(x); INSERT INTO a VALUES(1), (2)",
    "ALTER TABLE a ADD COLUMN y; UPDATE a SET y=x*10",
    "CREATE TABLE b AS SELECT sum(y) AS total FROM a; DROP TABLE a",
};

static const schema first = { steps, 1 }, second = { steps, 2 }, third = { steps, 3 };

static size_t version(file *f, const schema *target)
{
    size_t ret = 99;

    assert_int_equal(schema_check(f->db, target, "x", &ret, &f->err), VOLT_OK);
    return ret;
}

static void a_new_file_takes_every_step(void **state_)
{
    file *f = *state_;

    assert_int_equal(version(f, &third), 0);
    assert_int_equal(schema_migrate(f->db, &third, "x", 0, &f->err), VOLT_OK);
    assert_int_equal(version(f, &third), 3);
    assert_int_equal(count(f, "SELECT total FROM b"), 30);
    assert_int_equal(count(f, "PRAGMA application_id"), SCHEMA_APPLICATION_ID);
}

static void an_older_file_takes_the_steps_that_are_missing(void **state_)
{
    file *f = *state_;

    assert_int_equal(schema_migrate(f->db, &first, "x", 0, &f->err), VOLT_OK);
    sqlite3_exec(f->db, "INSERT INTO a VALUES(5)", NULL, NULL, NULL);
    assert_int_equal(version(f, &third), 1);
    assert_int_equal(schema_migrate(f->db, &third, "x", 1, &f->err), VOLT_OK);
    assert_int_equal(count(f, "SELECT total FROM b"), 80);
    assert_int_equal(version(f, &third), 3);
}

static void a_current_file_is_not_written(void **state_)
{
    file *f = *state_;
    int changes;

    assert_int_equal(schema_migrate(f->db, &second, "x", 0, &f->err), VOLT_OK);
    changes = sqlite3_total_changes(f->db);
    assert_int_equal(schema_migrate(f->db, &second, "x", 2, &f->err), VOLT_OK);
    assert_int_equal(sqlite3_total_changes(f->db), changes);
}

static void a_step_that_fails_undoes_all(void **state_)
{
    static const char *const broken[] = {
        "CREATE TABLE a(x); INSERT INTO a VALUES(1), (2)",
        "ALTER TABLE a ADD COLUMN y",
        "DROP TABLE a; INSERT INTO nowhere VALUES(1)",
    };
    file *f = *state_;
    schema target = { broken, 3 };

    assert_int_equal(schema_migrate(f->db, &first, "x", 0, &f->err), VOLT_OK);
    assert_int_not_equal(schema_migrate(f->db, &target, "x", 1, &f->err), VOLT_OK);
    assert_non_null(strstr(f->err.msg, "nowhere"));
    assert_int_equal(version(f, &target), 1);
    assert_int_equal(count(f, "SELECT count(*) FROM a"), 2);
    assert_int_equal(count(f, "SELECT count(y) FROM a"), -1);
}

static void a_newer_file_is_refused(void **state_)
{
    file *f = *state_;
    size_t ret = 99;

    assert_int_equal(schema_migrate(f->db, &third, "x", 0, &f->err), VOLT_OK);
    assert_int_equal(schema_check(f->db, &second, "x", &ret, &f->err), VOLT_EVERSION);
    assert_int_equal(ret, 99);
}

static void todays_schema_has_every_table_of_the_rows(void **state_)
{
    file *f = *state_;

    assert_int_equal(schema_migrate(f->db, &schema_current, "x", 0, &f->err), VOLT_OK);
    for (row_kind kind = 0; kind < ROW_KINDS; kind++) {
        const table *t = table_of(kind);

        for (size_t i = 0; i < t->n; i++) {
            char sql[160];

            snprintf(sql, sizeof sql, "SELECT count(%s) FROM %s", t->columns[i].name, t->name);
            if (count(f, sql) != 0)
                fail_msg("no column %s.%s", t->name, t->columns[i].name);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
        TEST(a_new_file_takes_every_step),   TEST(an_older_file_takes_the_steps_that_are_missing),
        TEST(a_current_file_is_not_written), TEST(a_step_that_fails_undoes_all),
        TEST(a_newer_file_is_refused),       TEST(todays_schema_has_every_table_of_the_rows),
    };

    return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
