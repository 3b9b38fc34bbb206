#include <assert.h>
#include <string.h>

#include "store/sqlite_store.h"

/* One slice of retention. */
typedef struct pruning {
    sqlite_store *s;
    const store_old *old;
    size_t left; /* things that may still be forgotten in this slice */
    store_log_fn log_gone;
    void *ctx;
} pruning;

static volt_code fail_read(pruning *p, volt_err *err)
{
    return sqlite_fail(p->s->db, p->s->path, "read", err);
}

/* The first column of the bound statement's first row; 0 when it is NULL or there is none. */
static volt_code first_number(pruning *p, sqlite3_stmt *st, uint64_t *ret, volt_err *err)
{
    volt_code rc = VOLT_OK;
    int step = sqlite3_step(st);

    *ret = 0;
    if (step == SQLITE_ROW)
        *ret = (uint64_t)sqlite3_column_int64(st, 0);
    else if (step != SQLITE_DONE)
        rc = fail_read(p, err);
    sqlite3_reset(st);
    return rc;
}

/* Runs a deletion that takes (build, how many) and counts what it took. */
static volt_code drop_some(pruning *p, sql_id id, uint64_t build, volt_err *err)
{
    sqlite3_stmt *st = p->s->sql[id];
    volt_code rc;

    if (p->left == 0)
        return VOLT_OK;
    sqlite_bind_limit(st, 1, build);
    sqlite_bind_limit(st, 2, p->left);
    rc = sqlite_run(p->s, st, err);
    if (!rc)
        p->left -= (size_t)sqlite3_changes(p->s->db);
    return rc;
}

static volt_code drop_one(pruning *p, sql_id id, uint64_t key, volt_err *err)
{
    sqlite_bind_limit(p->s->sql[id], 1, key);
    return sqlite_run(p->s, p->s->sql[id], err);
}

static volt_code drop_task(pruning *p, uint64_t task, volt_err *err)
{
    sqlite3_stmt *st = p->s->sql[SQL_DROP_ATTEMPTS];
    volt_code rc;
    int step;

    sqlite_bind_limit(st, 1, task);
    while ((step = sqlite3_step(st)) == SQLITE_ROW)
        if (p->log_gone)
            p->log_gone(p->ctx, task, (uint64_t)sqlite3_column_int64(st, 0));
    rc = step == SQLITE_DONE ? VOLT_OK : sqlite_fail(p->s->db, p->s->path, "write", err);
    sqlite3_reset(st);
    if (rc || (rc = drop_one(p, SQL_DROP_LOGS, task, err)) ||
        (rc = drop_one(p, SQL_DROP_TASK, task, err)))
        return rc;
    p->left--;
    return VOLT_OK;
}

/* The row of the build goes last, so that a later slice finds what this one leaves. */
static volt_code drop_build(pruning *p, uint64_t build, volt_err *err)
{
    volt_code rc = VOLT_OK;

    while (!rc && p->left > 0) {
        uint64_t task;

        sqlite_bind_limit(p->s->sql[SQL_TASK_OF], 1, build);
        rc = first_number(p, p->s->sql[SQL_TASK_OF], &task, err);
        if (rc || task == 0)
            break;
        rc = drop_task(p, task, err);
    }
    if (rc || (rc = drop_some(p, SQL_DROP_CASES, build, err)) ||
        (rc = drop_some(p, SQL_DROP_UNITS, build, err)) ||
        (rc = drop_some(p, SQL_DROP_JOBS, build, err)))
        return rc;
    if (p->left == 0)
        return VOLT_OK;
    p->left--;
    return drop_one(p, SQL_DROP_BUILD, build, err);
}

/* Builds are made in the order of their ids, so the walk ends at the first that was made too late
 * to have ended in time: it costs nothing when there is nothing to forget. */
static volt_code next_old_build(pruning *p, uint64_t *ret, volt_err *err)
{
    sqlite3_stmt *st = p->s->sql[SQL_OLD_BUILDS];
    volt_code rc = VOLT_OK;
    int step;

    *ret = 0;
    sqlite3_bind_int64(st, 1, p->old->ended_ms);
    while ((step = sqlite3_step(st)) == SQLITE_ROW && sqlite3_column_int(st, 2)) {
        if (sqlite3_column_int(st, 1)) {
            *ret = (uint64_t)sqlite3_column_int64(st, 0);
            break;
        }
    }
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        rc = fail_read(p, err);
    sqlite3_reset(st);
    return rc;
}

/* The greatest ids outlive their rows. */
static volt_code keep_ids(pruning *p, volt_err *err)
{
    store_head head;
    volt_code rc = sqlite_head(&p->s->base, &head, err);

    if (rc || (rc = sqlite_put_meta(p->s, "last_build", (slice){ 0 }, &head.last_build, err)))
        return rc;
    return sqlite_put_meta(p->s, "last_task", (slice){ 0 }, &head.last_task, err);
}

static volt_code drop_builds(pruning *p, volt_err *err)
{
    uint64_t build;
    volt_code rc = next_old_build(p, &build, err);

    if (!rc && build)
        rc = keep_ids(p, err);
    while (!rc && build && p->left > 0) {
        rc = drop_build(p, build, err);
        if (!rc)
            rc = next_old_build(p, &build, err);
    }
    return rc;
}

/* One whose build is kept is kept too: the observer may still ask for it. */
static volt_code drop_submissions(pruning *p, volt_err *err)
{
    sqlite3_stmt *st = p->s->sql[SQL_OLD_SUBMISSIONS];
    volt_code rc = VOLT_OK;
    sqlite3_int64 at = 0;

    while (!rc && p->left > 0) {
        bool kept;
        int step;

        sqlite3_bind_int64(st, 1, at);
        step = sqlite3_step(st);
        if (step != SQLITE_ROW || sqlite3_column_int64(st, 1) >= p->old->ended_ms) {
            if (step != SQLITE_ROW && step != SQLITE_DONE)
                rc = fail_read(p, err);
            sqlite3_reset(st);
            break;
        }
        at = sqlite3_column_int64(st, 0);
        kept = sqlite3_column_int(st, 2);
        sqlite3_reset(st);
        if (kept)
            continue;
        rc = drop_one(p, SQL_DROP_SUBMISSION, (uint64_t)at, err);
        p->left--;
    }
    return rc;
}

/* The oldest kept build's events begin with the first that names it or a later build.  The newest
 * event always stays: it is what the numbers go on from. */
static volt_code drop_events(pruning *p, volt_err *err)
{
    sqlite3_stmt *st = p->s->sql[SQL_OLD_EVENTS];
    uint64_t oldest, keep_from = 0;
    size_t n = 0;
    volt_code rc;
    int step;

    if (p->left == 0)
        return VOLT_OK;
    rc = first_number(p, p->s->sql[SQL_OLDEST_BUILD], &oldest, err);
    if (rc)
        return rc;
    sqlite_bind_limit(st, 1, p->left);
    while ((step = sqlite3_step(st)) == SQLITE_ROW) {
        uint64_t seq = (uint64_t)sqlite3_column_int64(st, 0);
        uint64_t build = (uint64_t)sqlite3_column_int64(st, 2);

        if (seq == p->s->last_seq || seq > p->old->counted ||
            sqlite3_column_int64(st, 1) >= p->old->ended_ms || (oldest && build >= oldest))
            break;
        keep_from = seq + 1;
        n++;
    }
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        rc = fail_read(p, err);
    sqlite3_reset(st);
    if (rc || n == 0)
        return rc;
    p->left -= n;
    return drop_one(p, SQL_DROP_EVENTS, keep_from, err);
}

/* Looks at `max` histories of files, from where the last call ended. */
static volt_code drop_files(pruning *p, size_t max, volt_err *err)
{
    sqlite3_stmt *next = p->s->sql[SQL_SWEEP_NEXT], *drop = p->s->sql[SQL_SWEEP];
    arena keys = { 0 };
    slice key[3] = { 0 };
    volt_code rc = VOLT_OK;
    int step;

    for (int i = 0; i < 3; i++) {
        sqlite_bind_slice(next, i + 1, p->s->sweep[i]);
        sqlite_bind_slice(drop, i + 1, p->s->sweep[i]);
    }
    sqlite_bind_limit(next, 4, max);
    sqlite_bind_limit(drop, 4, max);
    sqlite3_bind_int64(drop, 5, p->old->seen_ms);
    step = sqlite3_step(next);
    for (int i = 0; step == SQLITE_ROW && i < 3; i++)
        key[i] = arena_slice(&keys, sqlite_read_slice(next, i));
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        rc = fail_read(p, err);
    sqlite3_reset(next);
    if (!rc)
        rc = sqlite_run(p->s, drop, err);
    arena_free(&p->s->swept);
    p->s->swept = keys;
    memcpy(p->s->sweep, key, sizeof key);
    return rc;
}

volt_code sqlite_prune(store *base, const store_old *old, size_t max, store_log_fn log_gone,
                       void *ctx, bool *more, volt_err *err)
{
    pruning p = { (sqlite_store *)base, old, max, log_gone, ctx };
    volt_code rc;

    assert(max > 0 && more);
    if ((rc = sqlite_begin(p.s, err)) || (rc = drop_builds(&p, err)) ||
        (rc = drop_submissions(&p, err)) || (rc = drop_events(&p, err)) ||
        (rc = drop_files(&p, max, err)))
        return rc;
    *more = p.left == 0;
    return VOLT_OK;
}
