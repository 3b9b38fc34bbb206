#include "store/schema.h"

#include "store/sqlite_store.h"

/* Columns are those of core/row.h.  Words are stored as words, times are milliseconds since 1970,
 * lists have an item a line (a newline in an item is \n, a backslash \\), a task's job is -1 when
 * it is the plan.  Texts that are not UTF-8 are blobs.
 *
 * Indexes cost at every insert, so there are only those that a read needs: WITHOUT ROWID keeps a
 * build's jobs and tests, and a task's attempts, together; a submission keeps its rowid, which
 * counts up with time and so tells retention where the old ones are. */
static const char version_1[] =
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE repo(name TEXT PRIMARY KEY, url TEXT, default_branch TEXT) WITHOUT ROWID;"
    "CREATE TABLE submission(sid TEXT PRIMARY KEY, build INTEGER, refused TEXT, wall_ms INTEGER);"
    "CREATE TABLE build(build INTEGER PRIMARY KEY, repo TEXT, ref TEXT, oid TEXT, gen INTEGER,"
    " state TEXT, verdict TEXT, subject TEXT, author TEXT, priority INTEGER, why TEXT,"
    " created_ms INTEGER, finished_ms INTEGER,"
    " units INTEGER, units_done INTEGER, units_bad INTEGER);"
    "CREATE UNIQUE INDEX build_commit ON build(repo, ref, oid, gen);"
    "CREATE INDEX build_repo ON build(repo);"
    "CREATE TABLE job(build INTEGER, idx INTEGER, name TEXT, state TEXT, verdict TEXT,"
    " needs TEXT, labels TEXT, priority INTEGER, timeout_ms INTEGER, retry INTEGER, batch INTEGER,"
    " allow_failure INTEGER, tests INTEGER, why TEXT,"
    " units INTEGER, units_done INTEGER, units_bad INTEGER, spec TEXT,"
    " PRIMARY KEY(build, idx)) WITHOUT ROWID;"
    "CREATE TABLE test(build INTEGER, job INTEGER, i INTEGER, file TEXT, verdict TEXT,"
    " duration_ms INTEGER, task INTEGER, att INTEGER, log_off INTEGER, log_len INTEGER,"
    " exit INTEGER, signal INTEGER,"
    " PRIMARY KEY(build, job, i)) WITHOUT ROWID;"
    "CREATE TABLE task(task INTEGER PRIMARY KEY, build INTEGER, job INTEGER, kind TEXT,"
    " state TEXT, verdict TEXT, att INTEGER, tries INTEGER, runner TEXT, units BLOB, done INTEGER,"
    " why TEXT, since_ms INTEGER, duration_ms INTEGER, exit INTEGER, signal INTEGER,"
    " log_bytes INTEGER, cpu_ms INTEGER, max_rss_bytes INTEGER);"
    "CREATE INDEX task_build ON task(build);"
    "CREATE TABLE attempt(task INTEGER, att INTEGER, runner TEXT, runner_name TEXT, state TEXT,"
    " verdict TEXT, code TEXT, leased_ms INTEGER, ended_ms INTEGER, log_bytes INTEGER,"
    " PRIMARY KEY(task, att)) WITHOUT ROWID;"
    "CREATE TABLE log(task INTEGER, att INTEGER, bytes TEXT, PRIMARY KEY(task, att)) WITHOUT ROWID;"
    "CREATE TABLE runner(id TEXT PRIMARY KEY, name TEXT, host TEXT, boot TEXT, labels TEXT,"
    " reach TEXT, slots INTEGER, mode TEXT, state TEXT, losses INTEGER, seen_ms INTEGER)"
    " WITHOUT ROWID;"
    "CREATE TABLE event(seq INTEGER PRIMARY KEY, time_ms INTEGER, kind TEXT, build INTEGER,"
    " task INTEGER, att INTEGER, verdict TEXT, bytes BLOB);";

/* Histories outlive the builds they come from. */
static const char version_2[] =
    "ALTER TABLE job ADD COLUMN always INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE build ADD COLUMN retry_of INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE build ADD COLUMN passed TEXT;"
    "ALTER TABLE test ADD COLUMN expected_ms INTEGER;"
    "CREATE TABLE file(repo TEXT, job TEXT, file TEXT, mean_ms INTEGER, runs INTEGER,"
    " failures INTEGER, flaky INTEGER, flaky_oid TEXT, oid TEXT, verdict TEXT, seen_ms INTEGER,"
    " PRIMARY KEY(repo, job, file)) WITHOUT ROWID;";

/* What an event before the cursor tells was counted when it was made, or was before histories. */
static const char version_3[] =
    "ALTER TABLE build ADD COLUMN slots INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE job ADD COLUMN ready_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE job ADD COLUMN started_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE job ADD COLUMN ended_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE job ADD COLUMN work_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE job ADD COLUMN longest_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE test ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE test ADD COLUMN cases INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE test ADD COLUMN bad INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE test_case(build INTEGER, job INTEGER, i INTEGER, n INTEGER, name TEXT,"
    " verdict TEXT, duration_ms INTEGER, message TEXT,"
    " PRIMARY KEY(build, job, i, n)) WITHOUT ROWID;"
    "ALTER TABLE repo ADD COLUMN held TEXT;"
    "ALTER TABLE job ADD COLUMN concurrency TEXT;"
    "ALTER TABLE build ADD COLUMN env TEXT;"
    "ALTER TABLE job ADD COLUMN artifacts INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE job ADD COLUMN artifact_bytes INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN artifact_bytes INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE attempt ADD COLUMN artifact_bytes INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE cursor(name TEXT PRIMARY KEY, seq INTEGER) WITHOUT ROWID;"
    "INSERT INTO cursor SELECT 'files', seq FROM event ORDER BY seq DESC LIMIT 1;";

/* Retention: which build's details go next, and which line.  A build is inserted once, so these
 * cost little beside its units. */
static const char version_4[] =
    "ALTER TABLE build ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX build_open ON build(build) WHERE state<>'final';"
    "CREATE INDEX build_retry ON build(retry_of) WHERE state<>'final' AND retry_of<>0;"
    "CREATE INDEX build_ended ON build(finished_ms) WHERE state='final' AND forgotten=0;"
    "CREATE INDEX build_kept ON build(repo, finished_ms) WHERE state='final' AND forgotten=0;"
    "CREATE INDEX build_line ON build(finished_ms) WHERE forgotten<>0;";

static const char *const steps[] = { version_1, version_2, version_3, version_4 };

const schema schema_current = { steps, sizeof steps / sizeof *steps };

static volt_code read_number(sqlite3 *db, const char *path, const char *sql, sqlite3_int64 *ret,
                             volt_err *err)
{
    sqlite3_stmt *st = NULL;
    volt_code rc = VOLT_OK;
    int step = sqlite3_prepare_v2(db, sql, -1, &st, NULL);

    if (step == SQLITE_OK)
        step = sqlite3_step(st);
    if (step == SQLITE_ROW)
        *ret = sqlite3_column_int64(st, 0);
    else
        rc = sqlite_fail(db, path, "read", err);
    sqlite3_finalize(st);
    return rc;
}

volt_code schema_check(sqlite3 *db, const schema *target, const char *path, size_t *ret,
                       volt_err *err)
{
    sqlite3_int64 id = 0, version = 0, tables = 0;
    volt_code rc;

    if ((rc = read_number(db, path, "SELECT count(*) FROM sqlite_schema", &tables, err)) ||
        (rc = read_number(db, path, "PRAGMA application_id", &id, err)) ||
        (rc = read_number(db, path, "PRAGMA user_version", &version, err)))
        return rc;
    if (tables == 0 && version == 0) {
        *ret = 0; /* new, or made by a process that ended before its first step */
        return VOLT_OK;
    }
    if (id != SCHEMA_APPLICATION_ID || version < 1)
        return volt_fail(err, VOLT_ECORRUPT,
                         "'%s' is another program's database: it is left as it is; move it away or "
                         "choose another data directory",
                         path);
    if ((size_t)version > target->n)
        return volt_fail(
            err, VOLT_EVERSION,
            "'%s' has schema version %lld, this volt knows up to %zu: it is left as it "
            "is; start the newer volt that made it",
            path, (long long)version, target->n);
    *ret = (size_t)version;
    return VOLT_OK;
}

volt_code schema_migrate(sqlite3 *db, const schema *target, const char *path, size_t from,
                         volt_err *err)
{
    char stamp[96];
    volt_code rc;
    int step;

    if (from == target->n)
        return VOLT_OK;
    step = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    for (size_t i = from; step == SQLITE_OK && i < target->n; i++)
        step = sqlite3_exec(db, target->steps[i], NULL, NULL, NULL);
    sqlite3_snprintf((int)sizeof stamp, stamp, "PRAGMA application_id=%d; PRAGMA user_version=%d",
                     SCHEMA_APPLICATION_ID, (int)target->n);
    if (step == SQLITE_OK)
        step = sqlite3_exec(db, stamp, NULL, NULL, NULL);
    if (step == SQLITE_OK)
        step = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    if (step == SQLITE_OK)
        return VOLT_OK;
    rc = sqlite_fail(db, path, "bring up to date", err);
    sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}
