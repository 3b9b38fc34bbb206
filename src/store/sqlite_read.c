#include <assert.h>

#include "store/sqlite_store.h"

#define FILE_STEPS_MAX 8

/* Reads borrow from SQLite, whose texts end with the reset: so hand out first, reset then. */
static volt_code walk(sqlite_store *s, sqlite3_stmt *st, row_kind kind, store_row_fn fn, void *ctx,
                      volt_err *err)
{
    const table *t = table_of(kind);
    row r = { .kind = kind };
    volt_code rc = VOLT_OK;
    int step = SQLITE_DONE;

    while (!rc && (step = sqlite3_step(st)) == SQLITE_ROW) {
        arena_reset(&s->lists); /* here only: what fn fetches has no lists, and keeps this row's */
        rc = sqlite_read_row(s, st, t, table_fields_mut(&r), err);
        if (!rc)
            rc = fn(ctx, &r, err);
    }
    if (!rc && step != SQLITE_DONE)
        rc = sqlite_fail(s->db, s->path, "read", err);
    sqlite3_reset(st);
    return rc;
}

/* The single row of a bound statement, owned by `a`. */
static volt_code fetch(sqlite_store *s, sqlite3_stmt *st, row_kind kind, arena *a, row *ret,
                       const char *what, volt_err *err)
{
    const table *t = table_of(kind);
    volt_code rc;
    int step = sqlite3_step(st);

    if (step == SQLITE_ROW) {
        ret->kind = kind;
        rc = sqlite_read_row(s, st, t, table_fields_mut(ret), err);
        if (!rc)
            table_own(t, table_fields_mut(ret), a);
    } else if (step == SQLITE_DONE) {
        rc = volt_fail(err, VOLT_ENOTFOUND, "no such %s", what);
    } else {
        rc = sqlite_fail(s->db, s->path, "read", err);
    }
    sqlite3_reset(st);
    return rc;
}

volt_code sqlite_submission(store *base, slice sid, arena *a, row_submission *ret, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    row r;
    volt_code rc;

    sqlite_bind_slice(s->sql[SQL_SUBMISSION], 1, sid);
    rc = fetch(s, s->sql[SQL_SUBMISSION], ROW_SUBMISSION, a, &r, "submission", err);
    if (!rc)
        *ret = r.submission;
    return rc;
}

volt_code sqlite_build(store *base, uint64_t build, arena *a, row_build *ret, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    row r;
    volt_code rc;

    sqlite_bind_limit(s->sql[SQL_BUILD], 1, build);
    rc = fetch(s, s->sql[SQL_BUILD], ROW_BUILD, a, &r, "build", err);
    if (!rc)
        *ret = r.build;
    return rc;
}

volt_code sqlite_latest_build(store *base, slice repo, slice ref, slice oid, arena *a,
                              row_build *ret, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    sqlite3_stmt *st = s->sql[SQL_BUILD_LATEST];
    row r;
    volt_code rc;

    sqlite_bind_slice(st, 1, repo);
    sqlite_bind_slice(st, 2, ref);
    sqlite_bind_slice(st, 3, oid);
    rc = fetch(s, st, ROW_BUILD, a, &r, "build", err);
    if (!rc)
        *ret = r.build;
    return rc;
}

volt_code sqlite_task(store *base, uint64_t task, arena *a, row_task *ret, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    row r;
    volt_code rc;

    sqlite_bind_limit(s->sql[SQL_TASK], 1, task);
    rc = fetch(s, s->sql[SQL_TASK], ROW_TASK, a, &r, "task", err);
    if (!rc)
        *ret = r.task;
    return rc;
}

volt_code sqlite_short_log(store *base, uint64_t task, uint64_t att, arena *a, slice *ret,
                           volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    row r;
    volt_code rc;

    sqlite_bind_limit(s->sql[SQL_LOG], 1, task);
    sqlite_bind_limit(s->sql[SQL_LOG], 2, att);
    rc = fetch(s, s->sql[SQL_LOG], ROW_LOG, a, &r, "log", err);
    if (!rc)
        *ret = r.log.bytes;
    return rc;
}

volt_code sqlite_file(store *base, slice repo, slice job, slice file, arena *a, row_file *ret,
                      volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    sqlite3_stmt *st = s->sql[SQL_FILE];
    row r;
    volt_code rc;

    sqlite_bind_slice(st, 1, repo);
    sqlite_bind_slice(st, 2, job);
    sqlite_bind_slice(st, 3, file);
    rc = fetch(s, st, ROW_FILE, a, &r, "file", err);
    if (!rc)
        *ret = r.file;
    return rc;
}

/* A walk over the histories of a job's files by name, texts before blobs. */
typedef struct file_walk {
    sqlite3_stmt *st;
    int step; /* SQLITE_ROW: it is at `at` */
    slice at;
} file_walk;

static void next_file(file_walk *w)
{
    w->step = sqlite3_step(w->st);
    if (w->step == SQLITE_ROW)
        w->at = sqlite_read_slice(w->st, 0);
}

static void seek_file(file_walk *w, slice file)
{
    sqlite3_reset(w->st);
    sqlite_bind_slice(w->st, 3, file);
    next_file(w);
}

static bool is_before(const file_walk *w, slice text)
{
    return w->step == SQLITE_ROW && slice_cmp(w->at, text) < 0;
}

/* Files of a plan mostly are in order, and a step costs a tenth of a search. */
static void walk_to(file_walk *w, slice text)
{
    for (int i = 0; i < FILE_STEPS_MAX && is_before(w, text); i++)
        next_file(w);
    if (is_before(w, text))
        seek_file(w, text);
}

volt_code sqlite_means(store *base, slice repo, slice job, slices files, uint64_t *ret,
                       volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    file_walk w = { .st = s->sql[SQL_MEANS], .step = SQLITE_DONE };
    bool was_text = false;
    volt_code rc = VOLT_OK;

    sqlite_bind_slice(w.st, 1, repo);
    sqlite_bind_slice(w.st, 2, job);
    for (size_t i = 0; !rc && i < files.n; i++) {
        slice file = files.v[i];
        bool is_text = sqlite_is_text(file);

        if (is_text && was_text && slice_cmp(files.v[i - 1], file) <= 0)
            walk_to(&w, file);
        else
            seek_file(&w, file);
        was_text = is_text;
        ret[i] = w.step == SQLITE_ROW && slice_eq(w.at, file)
                     ? (uint64_t)sqlite3_column_int64(w.st, 1)
                     : UINT64_MAX;
        if (w.step != SQLITE_ROW && w.step != SQLITE_DONE)
            rc = sqlite_fail(s->db, s->path, "read", err);
    }
    sqlite3_reset(w.st);
    return rc;
}

volt_code sqlite_builds(store *base, slice repo, uint64_t before, size_t max, store_row_fn fn,
                        void *ctx, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    sqlite3_stmt *st = s->sql[repo.n ? SQL_BUILDS_OF : SQL_BUILDS];

    sqlite_bind_limit(st, 1, before ? before : UINT64_MAX);
    sqlite_bind_limit(st, 2, max);
    if (repo.n)
        sqlite_bind_slice(st, 3, repo);
    return walk(s, st, ROW_BUILD, fn, ctx, err);
}

volt_code sqlite_jobs(store *base, uint64_t build, store_row_fn fn, void *ctx, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;

    sqlite_bind_limit(s->sql[SQL_JOBS], 1, build);
    return walk(s, s->sql[SQL_JOBS], ROW_JOB, fn, ctx, err);
}

volt_code sqlite_tasks(store *base, uint64_t build, size_t max, store_row_fn fn, void *ctx,
                       volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;

    sqlite_bind_limit(s->sql[SQL_TASKS], 1, build);
    sqlite_bind_limit(s->sql[SQL_TASKS], 2, max);
    return walk(s, s->sql[SQL_TASKS], ROW_TASK, fn, ctx, err);
}

volt_code sqlite_units(store *base, uint64_t build, uint64_t from, size_t max, store_row_fn fn,
                       void *ctx, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;

    sqlite_bind_limit(s->sql[SQL_UNITS], 1, build);
    sqlite_bind_limit(s->sql[SQL_UNITS], 2, max);
    sqlite_bind_limit(s->sql[SQL_UNITS], 3, from);
    return walk(s, s->sql[SQL_UNITS], ROW_UNIT, fn, ctx, err);
}

volt_code sqlite_files(store *base, const row_file *after, size_t max, store_row_fn fn, void *ctx,
                       volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    sqlite3_stmt *st = s->sql[SQL_FILES];

    sqlite_bind_slice(st, 1, after->repo);
    sqlite_bind_slice(st, 2, after->job);
    sqlite_bind_slice(st, 3, after->file);
    sqlite_bind_limit(st, 4, max);
    return walk(s, st, ROW_FILE, fn, ctx, err);
}

volt_code sqlite_cases(store *base, uint64_t build, uint64_t job, uint64_t i, bool bad,
                       uint64_t from, size_t max, store_row_fn fn, void *ctx, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    sqlite3_stmt *st = s->sql[SQL_CASES];

    sqlite_bind_limit(st, 1, build);
    sqlite_bind_limit(st, 2, job);
    sqlite_bind_limit(st, 3, i);
    sqlite3_bind_int(st, 4, bad);
    sqlite_bind_limit(st, 5, max);
    sqlite_bind_limit(st, 6, from);
    return walk(s, st, ROW_CASE, fn, ctx, err);
}

volt_code sqlite_attempts(store *base, uint64_t task, store_row_fn fn, void *ctx, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;

    sqlite_bind_limit(s->sql[SQL_ATTEMPTS], 1, task);
    return walk(s, s->sql[SQL_ATTEMPTS], ROW_ATTEMPT, fn, ctx, err);
}

volt_code sqlite_runners(store *base, store_row_fn fn, void *ctx, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;

    return walk(s, s->sql[SQL_RUNNERS], ROW_RUNNER, fn, ctx, err);
}

static volt_code walk_events(sqlite_store *s, sqlite3_stmt *st, store_event_fn fn, void *ctx,
                             volt_err *err)
{
    volt_code rc = VOLT_OK;
    int step = SQLITE_DONE;

    while (!rc && (step = sqlite3_step(st)) == SQLITE_ROW)
        rc = fn(ctx, (uint64_t)sqlite3_column_int64(st, 0), sqlite_read_slice(st, 1), err);
    if (!rc && step != SQLITE_DONE)
        rc = sqlite_fail(s->db, s->path, "read", err);
    sqlite3_reset(st);
    return rc;
}

volt_code sqlite_events(store *base, uint64_t from, size_t max, store_event_fn fn, void *ctx,
                        volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    sqlite3_stmt *st = s->sql[SQL_EVENTS];

    sqlite_bind_limit(st, 1, from);
    sqlite_bind_limit(st, 2, max);
    return walk_events(s, st, fn, ctx, err);
}

volt_code sqlite_events_of(store *base, event_kind kind, uint64_t from, uint64_t to, size_t max,
                           store_event_fn fn, void *ctx, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    sqlite3_stmt *st = s->sql[SQL_EVENTS_OF];

    sqlite_bind_limit(st, 1, from);
    sqlite_bind_limit(st, 2, to);
    sqlite_bind_slice(st, 3, slice_of(event_kind_text(kind)));
    sqlite_bind_limit(st, 4, max);
    return walk_events(s, st, fn, ctx, err);
}

typedef struct loading {
    store *base;
    store_row_fn fn;
    void *ctx;
} loading;

static volt_code load_build(void *ctx, const row *r, volt_err *err)
{
    const loading *l = ctx;
    uint64_t build = r->build.build;
    volt_code rc;

    if ((rc = l->fn(l->ctx, r, err)) || (rc = sqlite_jobs(l->base, build, l->fn, l->ctx, err)) ||
        (rc = sqlite_units(l->base, build, 0, SIZE_MAX, l->fn, l->ctx, err)))
        return rc;
    return sqlite_tasks(l->base, build, SIZE_MAX, l->fn, l->ctx, err);
}

volt_code sqlite_load(store *base, store_row_fn fn, void *ctx, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    loading l = { base, fn, ctx };
    volt_code rc;

    if ((rc = walk(s, s->sql[SQL_REPOS], ROW_REPO, fn, ctx, err)) ||
        (rc = sqlite_runners(base, fn, ctx, err)))
        return rc;
    return walk(s, s->sql[SQL_BUILDS_OPEN], ROW_BUILD, load_build, &l, err);
}
