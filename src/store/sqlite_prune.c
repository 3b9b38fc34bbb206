#include <assert.h>
#include <string.h>

#include "store/sqlite_store.h"

/* One slice of retention. */
typedef struct pruning {
    sqlite_store *s;
    const store_old *old;
    size_t max;
    size_t left; /* of them, things that may still be forgotten in this slice */
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

/* The greatest ids outlive their rows. */
static volt_code keep_ids(pruning *p, volt_err *err)
{
    store_head head;
    volt_code rc = sqlite_head(&p->s->base, &head, err);

    if (rc || (rc = sqlite_put_meta(p->s, "last_build", (slice){ 0 }, &head.last_build, err)))
        return rc;
    return sqlite_put_meta(p->s, "last_task", (slice){ 0 }, &head.last_task, err);
}

/* The build is marked first and comes to its end in this slice or a later one. */
static volt_code begin_forgetting(pruning *p, uint64_t build, volt_err *err)
{
    volt_code rc = drop_one(p, SQL_FORGOTTEN, build, err);

    if (rc)
        return rc;
    p->left--;
    return sqlite_put_meta(p->s, "forgetting", (slice){ 0 }, &build, err);
}

static volt_code drop_details(pruning *p, uint64_t build, volt_err *err)
{
    const uint64_t none = 0;
    volt_code rc = keep_ids(p, err);

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
    return p->left ? sqlite_put_meta(p->s, "forgetting", (slice){ 0 }, &none, err) : VOLT_OK;
}

/* The build that ended first, of those with details that nothing needs; INT64_MAX: there is none.
 */
static volt_code first_ended(pruning *p, uint64_t *ret, int64_t *ended_ms, volt_err *err)
{
    sqlite3_stmt *st = p->s->sql[SQL_FIRST_ENDED];
    volt_code rc = VOLT_OK;
    int step = sqlite3_step(st);

    *ret = 0;
    *ended_ms = INT64_MAX;
    if (step == SQLITE_ROW) {
        *ret = (uint64_t)sqlite3_column_int64(st, 0);
        *ended_ms = sqlite3_column_int64(st, 1);
    } else if (step != SQLITE_DONE) {
        rc = fail_read(p, err);
    }
    sqlite3_reset(st);
    return rc;
}

static volt_code next_victim(pruning *p, uint64_t *ret, volt_err *err)
{
    sqlite3_stmt *st = p->s->sql[SQL_BEYOND];
    int64_t ended_ms;
    volt_code rc = first_ended(p, ret, &ended_ms, err);

    if (rc || ended_ms < p->old->ended_ms)
        return rc;
    if (*ret && p->old->for_room && p->left == p->max)
        return VOLT_OK;
    *ret = 0;
    if (!p->old->repo.n)
        return VOLT_OK;
    sqlite_bind_slice(st, 1, p->old->repo);
    sqlite_bind_limit(st, 2, p->old->newest);
    return first_number(p, st, ret, err);
}

static volt_code drop_builds(pruning *p, volt_err *err)
{
    uint64_t build;
    volt_code rc = first_number(p, p->s->sql[SQL_FORGETTING], &build, err);

    while (!rc && p->left > 0) {
        if (!build && ((rc = next_victim(p, &build, err)) || !build ||
                       (rc = begin_forgetting(p, build, err))))
            return rc;
        rc = drop_details(p, build, err);
        build = 0;
    }
    return rc;
}

static volt_code drop_lines(pruning *p, volt_err *err)
{
    volt_code rc = VOLT_OK;

    while (!rc && p->left > 0) {
        uint64_t build;

        sqlite3_bind_int64(p->s->sql[SQL_OLD_LINE], 1, p->old->line_ms);
        rc = first_number(p, p->s->sql[SQL_OLD_LINE], &build, err);
        if (rc || !build)
            break;
        rc = drop_one(p, SQL_DROP_BUILD, build, err);
        p->left--;
    }
    return rc;
}

/* Events from before this go. */
static volt_code event_bound(pruning *p, int64_t *ret, volt_err *err)
{
    const store_old *old = p->old;
    uint64_t first;
    int64_t room_ms;
    volt_code rc;

    *ret = old->event_ms;
    if (!old->for_room)
        return VOLT_OK;
    rc = first_ended(p, &first, &room_ms, err);
    if (old->room_ms < room_ms)
        room_ms = old->room_ms;
    if (room_ms > *ret)
        *ret = room_ms;
    return rc;
}

/* What an open build needs begins with the first event that names it or a later one.  The newest
 * event always stays: it is what the numbers go on from. */
static volt_code drop_events(pruning *p, volt_err *err)
{
    sqlite3_stmt *st = p->s->sql[SQL_OLD_EVENTS];
    uint64_t oldest, keep_from = 0;
    int64_t bound_ms;
    size_t n = 0;
    volt_code rc;
    int step;

    if (p->left == 0)
        return VOLT_OK;
    if ((rc = first_number(p, p->s->sql[SQL_OLDEST_OPEN], &oldest, err)) ||
        (rc = event_bound(p, &bound_ms, err)))
        return rc;
    sqlite_bind_limit(st, 1, p->left);
    while ((step = sqlite3_step(st)) == SQLITE_ROW) {
        uint64_t seq = (uint64_t)sqlite3_column_int64(st, 0);
        uint64_t build = (uint64_t)sqlite3_column_int64(st, 2);

        if (seq == p->s->last_seq || seq > p->old->counted ||
            sqlite3_column_int64(st, 1) >= bound_ms || (oldest && build >= oldest))
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

/* Looks at `max` of them, from where the last call ended. */
static volt_code drop_submissions(pruning *p, volt_err *err)
{
    sqlite3_stmt *next = p->s->sql[SQL_NEXT_SUBMISSION], *drop = p->s->sql[SQL_SWEEP_SUBMISSIONS];
    uint64_t from = p->s->sweep_submission;
    volt_code rc;

    sqlite_bind_limit(next, 1, from);
    sqlite_bind_limit(next, 2, p->max);
    sqlite_bind_limit(drop, 1, from);
    sqlite_bind_limit(drop, 2, p->max);
    sqlite3_bind_int64(drop, 3, p->old->event_ms);
    rc = first_number(p, next, &p->s->sweep_submission, err);
    return rc ? rc : sqlite_run(p->s, drop, err);
}

/* The same of the histories of files. */
static volt_code drop_files(pruning *p, volt_err *err)
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
    sqlite_bind_limit(next, 4, p->max);
    sqlite_bind_limit(drop, 4, p->max);
    sqlite3_bind_int64(drop, 5, p->old->line_ms);
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
    pruning p = { (sqlite_store *)base, old, max, max, log_gone, ctx };
    volt_code rc;

    assert(max > 0 && more);
    if ((rc = sqlite_begin(p.s, err)) || (rc = drop_builds(&p, err)) ||
        (rc = drop_lines(&p, err)) || (rc = drop_events(&p, err)) ||
        (rc = drop_submissions(&p, err)) || (rc = drop_files(&p, err)))
        return rc;
    *more = p.left == 0 || (old->for_room && p.left < max);
    return VOLT_OK;
}

volt_code sqlite_bytes(store *base, uint64_t *ret, volt_err *err)
{
    pruning p = { .s = (sqlite_store *)base };

    return first_number(&p, p.s->sql[SQL_BYTES], ret, err);
}
