#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "store/sqlite_store.h"

#define HIST_LEN 32

/* Prepared for the one time that it is used. */
static volt_code prepare(sqlite_store *s, const char *sql, sqlite3_stmt **ret, volt_err *err)
{
    if (sqlite3_prepare_v2(s->db, sql, -1, ret, NULL) == SQLITE_OK)
        return VOLT_OK;
    return sqlite_fail(s->db, s->path, "read", err);
}

volt_code sqlite_secret(store *base, const char if_new[33], char ret[33], volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    sqlite3_stmt *st = NULL;
    volt_code rc = prepare(s, "SELECT value FROM meta WHERE name='secret'", &st, err);
    slice secret = { 0 };
    int step = SQLITE_DONE;

    if (!rc && (step = sqlite3_step(st)) == SQLITE_ROW)
        secret = sqlite_read_slice(st, 0);
    if (!rc && step != SQLITE_ROW && step != SQLITE_DONE)
        rc = sqlite_fail(s->db, s->path, "read", err);
    if (text_is_hex(secret, HIST_LEN)) {
        memcpy(ret, secret.p, HIST_LEN);
        ret[HIST_LEN] = '\0';
    } else if (!rc && (rc = sqlite_begin(s, err)) == VOLT_OK) { /* a damaged one proves nothing */
        memcpy(ret, if_new, HIST_LEN + 1);
        sqlite3_reset(st);
        rc = sqlite_put_meta(s, "secret", slice_of(ret), NULL, err);
    }
    sqlite3_finalize(st);
    return rc;
}

/* The name stands in each event once, as it is sent; another of the same length takes its place. */
static volt_code rename_events(sqlite_store *s, const char *from, const char *to, volt_err *err)
{
    sqlite3_stmt *read = NULL, *write = NULL;
    CLEANUP(buf)
    buf bytes = { 0 };
    volt_code rc = prepare(s, "SELECT seq, bytes FROM event", &read, err);
    int step = SQLITE_DONE;

    if (!rc)
        rc = prepare(s, "UPDATE event SET bytes=?2 WHERE seq=?1", &write, err);
    while (!rc && (step = sqlite3_step(read)) == SQLITE_ROW) {
        char *at;

        buf_clear(&bytes);
        buf_add_slice(&bytes, sqlite_read_slice(read, 1));
        at = memmem(bytes.p, bytes.n, from, HIST_LEN);
        if (!at)
            continue;
        memcpy(at, to, HIST_LEN);
        sqlite3_bind_int64(write, 1, sqlite3_column_int64(read, 0));
        sqlite3_bind_blob64(write, 2, bytes.p, bytes.n, SQLITE_STATIC);
        if (sqlite3_step(write) != SQLITE_DONE)
            rc = sqlite_fail(s->db, s->path, "write", err);
        sqlite3_reset(write);
    }
    if (!rc && step != SQLITE_DONE)
        rc = sqlite_fail(s->db, s->path, "read", err);
    sqlite3_finalize(read);
    sqlite3_finalize(write);
    return rc;
}

volt_code sqlite_stale(store *base, slice what, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    volt_code rc = sqlite_begin(s, err);

    return rc ? rc : sqlite_put_meta(s, "stale", what, NULL, err);
}

volt_code sqlite_new_history(store *base, const char hist[33], volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    store_head head;
    volt_code rc = sqlite_begin(s, err);

    if (!rc)
        rc = sqlite_head(base, &head, err);
    if (!rc && head.hist[0])
        rc = rename_events(s, head.hist, hist, err);
    if (!rc)
        rc = sqlite_put_meta(s, "stale", (slice){ 0 }, NULL, err);
    return rc ? rc : sqlite_put_meta(s, "hist", slice_of(hist), NULL, err);
}
