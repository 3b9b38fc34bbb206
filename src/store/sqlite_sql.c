#include <assert.h>

#include "store/sqlite_store.h"

/* SQL of one statement: whole, or the end of "SELECT the columns of `rows` FROM its table". */
typedef struct sql_text {
    const char *sql;
    bool selects;
    row_kind rows;
} sql_text;

/* What builds that are not final inherit from, directly or by way of others. */
#define NEEDED                                                                               \
    "WITH RECURSIVE needed(id) AS (SELECT retry_of FROM build INDEXED BY build_retry WHERE " \
    "state<>'final' AND retry_of<>0 UNION SELECT retry_of FROM needed, build "               \
    "WHERE build=id AND retry_of<>0) "
/* Builds that have ended and have their details. */
#define ENDED "state='final' AND forgotten=0"

#define SELECT(kind, tail) \
    {                      \
        tail, true, kind   \
    }

static const sql_text texts[SQL_IDS] = {
    [SQL_BEGIN] = { .sql = "BEGIN IMMEDIATE" },
    [SQL_COMMIT] = { .sql = "COMMIT" },
    [SQL_META_PUT] = { .sql = "INSERT OR REPLACE INTO meta(name, value) VALUES(?1, ?2)" },
    [SQL_HEAD] = { .sql = "SELECT (SELECT value FROM meta WHERE name='hist'),"
                          " (SELECT value FROM meta WHERE name='ep'),"
                          " (SELECT max(seq) FROM event), (SELECT min(seq) FROM event),"
                          " (SELECT max(build) FROM build), (SELECT max(task) FROM task),"
                          " (SELECT value FROM meta WHERE name='last_build'),"
                          " (SELECT value FROM meta WHERE name='last_task'),"
                          " (SELECT value FROM meta WHERE name='stale'),"
                          " (SELECT seq FROM cursor WHERE name='files')" },

    [SQL_REPOS] = SELECT(ROW_REPO, "ORDER BY CAST(name AS BLOB)"),
    [SQL_RUNNERS] = SELECT(ROW_RUNNER, "ORDER BY CAST(name AS BLOB), CAST(id AS BLOB)"),
    [SQL_BUILDS_OPEN] =
        SELECT(ROW_BUILD, "INDEXED BY build_open WHERE state<>'final' ORDER BY build"),
    [SQL_SUBMISSION] = SELECT(ROW_SUBMISSION, "WHERE sid=?1"),
    [SQL_BUILD] = SELECT(ROW_BUILD, "WHERE build=?1"),
    [SQL_BUILD_LATEST] = SELECT(ROW_BUILD, "INDEXED BY build_commit WHERE repo=?1 AND ref=?2 AND "
                                           "oid=?3 ORDER BY gen DESC LIMIT 1"),
    [SQL_BUILDS] = SELECT(ROW_BUILD, "WHERE build<?1 ORDER BY build DESC LIMIT ?2"),
    [SQL_BUILDS_OF] = SELECT(ROW_BUILD, "INDEXED BY build_repo WHERE build<?1 AND repo=?3 ORDER BY "
                                        "build DESC LIMIT ?2"),
    [SQL_JOBS] = SELECT(ROW_JOB, "WHERE build=?1 ORDER BY idx"),
    [SQL_UNITS] = SELECT(ROW_UNIT, "WHERE build=?1 ORDER BY job, i LIMIT ?2 OFFSET ?3"),
    [SQL_CASES] = SELECT(ROW_CASE, "WHERE build=?1 AND job=?2 AND i=?3 AND "
                                   "(NOT ?4 OR verdict IN ('failed', 'errored')) "
                                   "ORDER BY n LIMIT ?5 OFFSET ?6"),
    [SQL_TASK] = SELECT(ROW_TASK, "WHERE task=?1"),
    [SQL_TASKS] = SELECT(ROW_TASK, "WHERE task IN (SELECT task FROM task WHERE build=?1 ORDER BY "
                                   "task DESC LIMIT ?2) ORDER BY task"),
    [SQL_ATTEMPTS] = SELECT(ROW_ATTEMPT, "WHERE task=?1 ORDER BY att"),
    [SQL_LOG] = SELECT(ROW_LOG, "WHERE task=?1 AND att=?2"),
    [SQL_FILE] = SELECT(ROW_FILE, "WHERE repo=?1 AND job=?2 AND file=?3"),
    [SQL_FILES] = SELECT(ROW_FILE, "WHERE (repo, job, file)>(?1, ?2, ?3) ORDER BY repo, job, file "
                                   "LIMIT ?4"),
    [SQL_MEANS] = { .sql = "SELECT file, mean_ms FROM file WHERE repo=?1 AND job=?2 AND file>=?3 "
                           "ORDER BY file" },
    [SQL_EVENTS] = { .sql = "SELECT seq, bytes FROM event WHERE seq>=?1 ORDER BY seq LIMIT ?2" },
    [SQL_EVENTS_OF] = { .sql = "SELECT seq, bytes FROM event WHERE seq BETWEEN ?1 AND ?2 AND "
                               "kind=?3 ORDER BY seq LIMIT ?4" },

    [SQL_BYTES] = { .sql = "SELECT (page_count - freelist_count) * page_size FROM "
                           "pragma_page_count(), pragma_freelist_count(), pragma_page_size()" },
    [SQL_FIRST_ENDED] = { .sql = NEEDED "SELECT build, finished_ms FROM build "
                                        "INDEXED BY build_ended WHERE " ENDED
                                        " AND build NOT IN (SELECT id FROM needed) "
                                        "ORDER BY finished_ms, build LIMIT 1" },
    [SQL_BEYOND] = { .sql = NEEDED "SELECT build FROM (SELECT build FROM build "
                                   "INDEXED BY build_kept WHERE repo=?1 AND " ENDED
                                   " ORDER BY finished_ms DESC, build DESC LIMIT -1 OFFSET ?2) "
                                   "WHERE build NOT IN (SELECT id FROM needed) LIMIT 1" },
    [SQL_FORGETTING] = { .sql = "SELECT value FROM meta WHERE name='forgetting'" },
    [SQL_FORGOTTEN] = { .sql = "UPDATE build SET forgotten=1 WHERE build=?1" },
    [SQL_OLD_LINE] = { .sql = "SELECT build FROM build INDEXED BY build_line WHERE forgotten<>0 "
                              "AND finished_ms<?1 ORDER BY finished_ms, build LIMIT 1" },
    [SQL_OLD_EVENTS] = { .sql = "SELECT seq, time_ms, build FROM event ORDER BY seq LIMIT ?1" },
    [SQL_OLDEST_OPEN] = { .sql = "SELECT min(build) FROM build INDEXED BY build_open "
                                 "WHERE state<>'final'" },
    [SQL_TASK_OF] = { .sql = "SELECT min(task) FROM task WHERE build=?1" },
    [SQL_DROP_ATTEMPTS] = { .sql = "DELETE FROM attempt WHERE task=?1 RETURNING att" },
    [SQL_DROP_LOGS] = { .sql = "DELETE FROM log WHERE task=?1" },
    [SQL_DROP_TASK] = { .sql = "DELETE FROM task WHERE task=?1" },
    [SQL_CUT_CASES] = { .sql =
                            "DELETE FROM test_case WHERE build=?1 AND job=?2 AND i=?3 AND n>=?4" },
    [SQL_DROP_CASES] = { .sql = "DELETE FROM test_case WHERE (build, job, i, n) IN "
                                "(SELECT build, job, i, n FROM test_case WHERE build=?1 LIMIT "
                                "?2)" },
    [SQL_DROP_UNITS] = { .sql = "DELETE FROM test WHERE (build, job, i) IN "
                                "(SELECT build, job, i FROM test WHERE build=?1 LIMIT ?2)" },
    [SQL_DROP_JOBS] = { .sql = "DELETE FROM job WHERE (build, idx) IN "
                               "(SELECT build, idx FROM job WHERE build=?1 LIMIT ?2)" },
    [SQL_DROP_BUILD] = { .sql = "DELETE FROM build WHERE build=?1" },
    [SQL_DROP_EVENTS] = { .sql = "DELETE FROM event WHERE seq<?1" },
    [SQL_NEXT_SUBMISSION] = { .sql = "SELECT rowid FROM submission WHERE rowid>=?1 "
                                     "ORDER BY rowid LIMIT 1 OFFSET ?2" },
    [SQL_SWEEP_SUBMISSIONS] = { .sql = "DELETE FROM submission WHERE rowid IN "
                                       "(SELECT rowid FROM submission WHERE rowid>=?1 "
                                       "ORDER BY rowid LIMIT ?2) AND wall_ms<?3 AND NOT EXISTS "
                                       "(SELECT 1 FROM build WHERE build.build=submission.build "
                                       "AND forgotten=0)" },
    [SQL_SWEEP_NEXT] = { .sql = "SELECT repo, job, file FROM file "
                                "WHERE (repo, job, file) >= (?1, ?2, ?3) "
                                "ORDER BY repo, job, file LIMIT 1 OFFSET ?4" },
    [SQL_SWEEP] = { .sql = "DELETE FROM file WHERE seen_ms<?5 AND (repo, job, file) IN "
                           "(SELECT repo, job, file FROM file "
                           "WHERE (repo, job, file) >= (?1, ?2, ?3) "
                           "ORDER BY repo, job, file LIMIT ?4)" },
};

static void add_names(buf *sql, const table *t)
{
    for (size_t i = 0; i < t->n; i++)
        buf_addf(sql, "%s%s", i ? ", " : "", t->columns[i].name);
}

static void add_select(buf *sql, const sql_text *text)
{
    const table *t = table_of(text->rows);

    buf_adds(sql, "SELECT ");
    add_names(sql, t);
    buf_addf(sql, " FROM %s %s", t->name, text->sql);
}

/* "column=parameter" of each that an update changes. */
static void add_values(buf *sql, const table *t)
{
    const char *comma = "";

    for (size_t i = 0; i < t->n; i++) {
        if (t->columns[i].role != COLUMN_VALUE)
            continue;
        buf_addf(sql, "%s%s=?%zu", comma, t->columns[i].name, i + 1);
        comma = ", ";
    }
}

/* Parameter i + 1 is column i; an event's bytes come last. */
static void add_upsert(buf *sql, row_kind kind)
{
    const table *t = table_of(kind);

    buf_addf(sql, "INSERT INTO %s(", t->name);
    add_names(sql, t);
    buf_adds(sql, kind == ROW_EVENT ? ", bytes) VALUES(" : ") VALUES(");
    for (size_t i = 0; i < t->n; i++)
        buf_addf(sql, "%s?%zu", i ? ", " : "", i + 1);
    if (kind == ROW_EVENT) { /* never put twice */
        buf_addf(sql, ", ?%zu)", t->n + 1);
        return;
    }
    buf_adds(sql, ") ON CONFLICT(");
    for (size_t i = 0; i < t->keys; i++)
        buf_addf(sql, "%s%s", i ? ", " : "", t->columns[i].name);
    buf_adds(sql, ") DO UPDATE SET ");
    add_values(sql, t);
}

/* The parameters are the same as the upsert's. */
static void add_update(buf *sql, row_kind kind)
{
    const table *t = table_of(kind);

    buf_addf(sql, "UPDATE %s SET ", t->name);
    add_values(sql, t);
    for (size_t i = 0; i < t->keys; i++)
        buf_addf(sql, "%s%s=?%zu", i ? " AND " : " WHERE ", t->columns[i].name, i + 1);
}

static volt_code prepare(sqlite_store *s, buf *sql, sqlite3_stmt **ret, volt_err *err)
{
    int step = sqlite3_prepare_v3(s->db, buf_str(sql), (int)sql->n + 1, SQLITE_PREPARE_PERSISTENT,
                                  ret, NULL);

    buf_clear(sql);
    if (step == SQLITE_OK)
        return VOLT_OK;
    if (step == SQLITE_ERROR) /* the SQL is right, so the tables are not */
        return volt_fail(err, VOLT_ECORRUPT,
                         "'%s' has been changed by another program (%s): it is left as it is; "
                         "restore a copy of it, or move it away to start anew",
                         s->path, sqlite3_errmsg(s->db));
    return sqlite_fail(s->db, s->path, "open", err);
}

volt_code sqlite_prepare_all(sqlite_store *s, volt_err *err)
{
    __attribute__((cleanup(cleanup_buf))) buf sql = { 0 };
    volt_code rc = VOLT_OK;

    for (row_kind kind = 0; !rc && kind < ROW_KINDS; kind++) {
        add_upsert(&sql, kind);
        rc = prepare(s, &sql, &s->put[kind], err);
    }
    for (sql_id id = 0; !rc && id < SQL_IDS; id++) {
        if (id == SQL_UNIT_UPDATE)
            add_update(&sql, ROW_UNIT);
        else if (texts[id].selects)
            add_select(&sql, &texts[id]);
        else
            buf_adds(&sql, texts[id].sql);
        rc = prepare(s, &sql, &s->sql[id], err);
    }
    return rc;
}

void sqlite_finalize_all(sqlite_store *s)
{
    for (row_kind kind = 0; kind < ROW_KINDS; kind++)
        sqlite3_finalize(s->put[kind]);
    for (sql_id id = 0; id < SQL_IDS; id++)
        sqlite3_finalize(s->sql[id]);
}
