/*
 * sqlite_store.h - what the files of the SQLite backend share; nobody else includes it but tests.
 *
 * Every statement is prepared once, at the open, and kept; a statement is reset before the call
 * that stepped it returns.
 */
#ifndef VOLT_STORE_SQLITE_STORE_H
#define VOLT_STORE_SQLITE_STORE_H

#include <sqlite3.h>

#include "base/buf.h"
#include "store/schema.h"
#include "store/store.h"
#include "store/table.h"

/* Memory for pages.  The dispatcher's private memory is to stay below 8 MB in all; half of it is
 * as fast for the rows of running tasks, the rest is for what reads and look-ups touch. */
#define SQLITE_STORE_CACHE_KIB 2048
/* Pages in the write-ahead log before it is copied into the file.  2,000 to 8,000 were no faster
 * (tests/bench/bench_store.c), and make longer pauses. */
#define SQLITE_STORE_WAL_PAGES 1000
/* Files up to this size are read through at the open (0.3 s); larger ones show damage when the
 * damaged part is read. */
#define SQLITE_STORE_CHECK_MAX (256 * 1024 * 1024)

typedef enum sql_id {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_META_PUT,
    SQL_HEAD,
    SQL_UNIT_UPDATE,
    /* reads of whole rows */
    SQL_REPOS,
    SQL_RUNNERS,
    SQL_BUILDS_OPEN,
    SQL_SUBMISSION,
    SQL_BUILD,
    SQL_BUILD_LATEST,
    SQL_BUILDS,
    SQL_BUILDS_OF,
    SQL_JOBS,
    SQL_UNITS,
    SQL_CASES,
    SQL_TASK,
    SQL_TASKS,
    SQL_ATTEMPTS,
    SQL_LOG,
    SQL_FILE,
    SQL_FILES,
    SQL_MEANS,
    SQL_EVENTS,
    SQL_EVENTS_OF,
    SQL_CUT_CASES,
    /* retention */
    SQL_BYTES,
    SQL_FIRST_ENDED,
    SQL_BEYOND,
    SQL_FORGETTING,
    SQL_FORGOTTEN,
    SQL_OLD_LINE,
    SQL_OLD_EVENTS,
    SQL_OLDEST_OPEN,
    SQL_TASK_OF,
    SQL_DROP_ATTEMPTS,
    SQL_DROP_LOGS,
    SQL_DROP_TASK,
    SQL_DROP_CASES,
    SQL_DROP_UNITS,
    SQL_DROP_JOBS,
    SQL_DROP_BUILD,
    SQL_DROP_EVENTS,
    SQL_NEXT_SUBMISSION,
    SQL_SWEEP_SUBMISSIONS,
    SQL_SWEEP_NEXT,
    SQL_SWEEP,
    SQL_IDS
} sql_id;

typedef struct sqlite_store {
    store base;
    sqlite3 *db;
    char *path;
    int lock_fd; /* the directory, locked */
    bool open_tx;
    bool failed; /* a write failed: nothing more may be committed */
    uint64_t last_seq;
    sqlite3_stmt *put[ROW_KINDS];
    sqlite3_stmt *sql[SQL_IDS];
    buf text;    /* a list on its way in */
    arena lists; /* of the row that is handed out */
    /* What retention looks at next: a submission's rowid, the key of the history of a file. */
    uint64_t sweep_submission;
    slice sweep[3];
    arena swept; /* the key is in here */
} sqlite_store;

/* Describes the last failure of `db`; `what` is the verb of "VERB 'PATH'".
 * VOLT_ELOCKED, VOLT_EFULL, VOLT_ECORRUPT, VOLT_EEXISTS, VOLT_ENOMEM or VOLT_EIO. */
volt_code sqlite_fail(sqlite3 *db, const char *path, const char *what, volt_err *err);

/* ---- sqlite_history.c: what a store is ---- */

volt_code sqlite_stale(store *base, slice what, volt_err *err);
volt_code sqlite_secret(store *base, const char if_new[33], char ret[33], volt_err *err);
volt_code sqlite_new_history(store *base, const char hist[33], volt_err *err);

/* ---- sqlite_sql.c: the statements ---- */

/* Prepares all.  VOLT_ECORRUPT: the file's tables are not ours. */
volt_code sqlite_prepare_all(sqlite_store *s, volt_err *err);
void sqlite_finalize_all(sqlite_store *s);

/* ---- sqlite_row.c: rows to and from statements ---- */

/* Binds columns of t in their order from parameter 1 on; texts must stand until the reset.
 * Returns how many, or 0 when memory or a limit failed. */
int sqlite_bind_row(sqlite_store *s, sqlite3_stmt *st, const table *t, const void *fields);
/* Whether it is kept as a text; else as a blob. */
bool sqlite_is_text(slice s);
int sqlite_bind_slice(sqlite3_stmt *st, int at, slice text);
/* A number of any size; limits above what SQLite knows are cut to that. */
int sqlite_bind_limit(sqlite3_stmt *st, int at, uint64_t n);
/* Fills the struct from the statement's current row.  Texts are SQLite's and stand until the next
 * step; lists are made in s->lists.  VOLT_ECORRUPT: a word that this version does not have. */
volt_code sqlite_read_row(sqlite_store *s, sqlite3_stmt *st, const table *t, void *fields,
                          volt_err *err);
slice sqlite_read_slice(sqlite3_stmt *st, int at);

/* ---- sqlite.c ---- */

volt_code sqlite_begin(sqlite_store *s, volt_err *err);
/* Steps a statement that returns no row, and resets it. */
volt_code sqlite_run(sqlite_store *s, sqlite3_stmt *st, volt_err *err);
volt_code sqlite_put_meta(sqlite_store *s, const char *name, slice text, const uint64_t *number,
                          volt_err *err);
volt_code sqlite_head(store *base, store_head *ret, volt_err *err);

/* ---- sqlite_read.c, sqlite_prune.c: slots of store_ops ---- */

volt_code sqlite_load(store *base, store_row_fn fn, void *ctx, volt_err *err);
volt_code sqlite_submission(store *base, slice sid, arena *a, row_submission *ret, volt_err *err);
volt_code sqlite_build(store *base, uint64_t build, arena *a, row_build *ret, volt_err *err);
volt_code sqlite_latest_build(store *base, slice repo, slice ref, slice oid, arena *a,
                              row_build *ret, volt_err *err);
volt_code sqlite_task(store *base, uint64_t task, arena *a, row_task *ret, volt_err *err);
volt_code sqlite_short_log(store *base, uint64_t task, uint64_t att, arena *a, slice *ret,
                           volt_err *err);
volt_code sqlite_file(store *base, slice repo, slice job, slice file, arena *a, row_file *ret,
                      volt_err *err);
volt_code sqlite_means(store *base, slice repo, slice job, slices files, uint64_t *ret,
                       volt_err *err);
volt_code sqlite_builds(store *base, slice repo, uint64_t before, size_t max, store_row_fn fn,
                        void *ctx, volt_err *err);
volt_code sqlite_jobs(store *base, uint64_t build, store_row_fn fn, void *ctx, volt_err *err);
volt_code sqlite_tasks(store *base, uint64_t build, size_t max, store_row_fn fn, void *ctx,
                       volt_err *err);
volt_code sqlite_units(store *base, uint64_t build, uint64_t from, size_t max, store_row_fn fn,
                       void *ctx, volt_err *err);
volt_code sqlite_files(store *base, const row_file *after, size_t max, store_row_fn fn, void *ctx,
                       volt_err *err);
volt_code sqlite_cases(store *base, uint64_t build, uint64_t job, uint64_t i, bool bad,
                       uint64_t from, size_t max, store_row_fn fn, void *ctx, volt_err *err);
volt_code sqlite_attempts(store *base, uint64_t task, store_row_fn fn, void *ctx, volt_err *err);
volt_code sqlite_runners(store *base, store_row_fn fn, void *ctx, volt_err *err);
volt_code sqlite_events(store *base, uint64_t from, size_t max, store_event_fn fn, void *ctx,
                        volt_err *err);
volt_code sqlite_events_of(store *base, event_kind kind, uint64_t from, uint64_t to, size_t max,
                           store_event_fn fn, void *ctx, volt_err *err);
volt_code sqlite_bytes(store *base, uint64_t *ret, volt_err *err);
volt_code sqlite_prune(store *base, const store_old *old, size_t max, store_log_fn log_gone,
                       void *ctx, bool *more, volt_err *err);

#endif
