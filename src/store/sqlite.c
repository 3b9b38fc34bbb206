#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/sqlite_store.h"

#define DAMAGED                                                                                 \
    "it is left as it is; restore a copy of it, or try `sqlite3 volt.db .recover`, or move it " \
    "away to start anew"

#define SETTLE_BYTES 65536

/* quick_check's words for a page that the system did not give. */
#define UNREAD "unable to get the page"

/* The errno behind the last failure, or 0.  sqlite3_system_errno() knows it of an open, the files
 * themselves know it of a read or write. */
static int last_errno(sqlite3 *db)
{
    static const int pointers[] = { SQLITE_FCNTL_JOURNAL_POINTER, SQLITE_FCNTL_FILE_POINTER };
    int e = sqlite3_system_errno(db);

    for (size_t i = 0; !e && i < sizeof pointers / sizeof *pointers; i++) {
        sqlite3_file *file = NULL;

        if (sqlite3_file_control(db, "main", pointers[i], &file) == SQLITE_OK && file &&
            file->pMethods)
            file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &e);
    }
    return e;
}

volt_code sqlite_fail(sqlite3 *db, const char *path, const char *what, volt_err *err)
{
    const char *why = sqlite3_errmsg(db);
    int e = 0;

    switch (sqlite3_errcode(db) & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return volt_fail(err, VOLT_ELOCKED,
                         "%s '%s': another program, as sqlite3, has it open; end it first", what,
                         path);
    case SQLITE_FULL:
        return volt_fail(err, VOLT_EFULL, "%s '%s': no space left on the device", what, path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return volt_fail(err, VOLT_ECORRUPT, "%s '%s': it is damaged (%s): " DAMAGED, what, path,
                         why);
    case SQLITE_CONSTRAINT:
        return volt_fail(err, VOLT_EEXISTS, "%s '%s': %s", what, path, why);
    case SQLITE_NOMEM:
        return volt_fail(err, VOLT_ENOMEM, "%s '%s': %s", what, path, why);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
        e = last_errno(db);
        if (e == ENOSPC || e == EDQUOT || e == EFBIG)
            return volt_fail(err, VOLT_EFULL, "%s '%s': %s", what, path, strerror(e));
        break;
    default:
        break;
    }
    return volt_fail(err, VOLT_EIO, "%s '%s': %s%s%s", what, path, why, e ? ": " : "",
                     e ? strerror(e) : "");
}

/* After a failed write memory and file differ, so nothing of this transaction may become durable.
 */
static volt_code fail_write(sqlite_store *s, volt_err *err)
{
    s->failed = true;
    return sqlite_fail(s->db, s->path, "write", err);
}

volt_code sqlite_run(sqlite_store *s, sqlite3_stmt *st, volt_err *err)
{
    int step = sqlite3_step(st);
    volt_code rc = step == SQLITE_DONE ? VOLT_OK : fail_write(s, err);

    sqlite3_reset(st);
    return rc;
}

volt_code sqlite_begin(sqlite_store *s, volt_err *err)
{
    volt_code rc;

    /* SQLite rolls back by itself after some failed reads, too; what is put then would be durable
     * at once, without the rest of its transaction. */
    s->failed |= s->open_tx && sqlite3_get_autocommit(s->db);
    if (s->failed)
        return volt_fail(err, VOLT_EIO, "write '%s': an earlier access failed; start again",
                         s->path);
    if (s->open_tx)
        return VOLT_OK;
    rc = sqlite_run(s, s->sql[SQL_BEGIN], err);
    s->open_tx = !rc;
    return rc;
}

/* A file that was deleted takes all that is written, and is gone with the process. */
static volt_code check_place(sqlite_store *s, volt_err *err)
{
    int moved = 0;

    sqlite3_file_control(s->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (!moved)
        return VOLT_OK;
    s->failed = true;
    return volt_fail(err, VOLT_ENOTFOUND,
                     "'%s' was deleted, moved or replaced while it was in use, so nothing more can "
                     "be kept; put it or a copy of it back, or start anew",
                     s->path);
}

static volt_code commit(store *base, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    volt_code rc = check_place(s, err);

    if (rc || (!s->open_tx && !s->failed))
        return rc;
    rc = sqlite_begin(s, err);
    if (!rc)
        rc = sqlite_run(s, s->sql[SQL_COMMIT], err);
    if (!rc)
        s->open_tx = false;
    return rc;
}

static volt_code update_unit(sqlite_store *s, const row_unit *unit, volt_err *err)
{
    sqlite3_stmt *st = s->sql[SQL_UNIT_UPDATE];
    volt_code rc;

    if (sqlite_bind_row(s, st, table_of(ROW_UNIT), unit) != SQLITE_OK)
        return fail_write(s, err);
    rc = sqlite_run(s, st, err);
    if (!rc && sqlite3_changes(s->db) == 0) {
        s->failed = true;
        return volt_fail(err, VOLT_ECORRUPT, "unit %llu of job %llu in build %llu has no row",
                         (unsigned long long)unit->i, (unsigned long long)unit->job,
                         (unsigned long long)unit->build);
    }
    return rc;
}

static volt_code put_event(sqlite_store *s, const msg_event *event, slice encoded, volt_err *err)
{
    sqlite3_stmt *st = s->put[ROW_EVENT];
    const table *t = table_of(ROW_EVENT);
    volt_code rc;

    if (event->seq != s->last_seq + 1) {
        s->failed = true;
        return volt_fail(err, VOLT_ECORRUPT, "event %llu does not follow event %llu",
                         (unsigned long long)event->seq, (unsigned long long)s->last_seq);
    }
    if (sqlite_bind_row(s, st, t, event) != SQLITE_OK ||
        sqlite3_bind_blob64(st, (int)t->n + 1, encoded.p ? encoded.p : "", encoded.n,
                            SQLITE_STATIC) != SQLITE_OK)
        return fail_write(s, err);
    rc = sqlite_run(s, st, err);
    if (!rc)
        s->last_seq = event->seq;
    return rc;
}

static volt_code put(store *base, const row *r, slice encoded, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    volt_code rc = sqlite_begin(s, err);

    if (rc)
        return rc;
    if (r->kind == ROW_EVENT)
        return put_event(s, &r->event, encoded, err);
    if (r->kind == ROW_UNIT && r->unit.file.n == 0)
        return update_unit(s, &r->unit, err);
    if (sqlite_bind_row(s, s->put[r->kind], table_of(r->kind), table_fields(r)) != SQLITE_OK)
        return fail_write(s, err);
    return sqlite_run(s, s->put[r->kind], err);
}

static volt_code cut_cases(store *base, const row_case *from, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    sqlite3_stmt *st = s->sql[SQL_CUT_CASES];
    volt_code rc = sqlite_begin(s, err);

    if (rc)
        return rc;
    sqlite_bind_limit(st, 1, from->build);
    sqlite_bind_limit(st, 2, from->job);
    sqlite_bind_limit(st, 3, from->i);
    sqlite_bind_limit(st, 4, from->n);
    return sqlite_run(s, st, err);
}

volt_code sqlite_put_meta(sqlite_store *s, const char *name, slice text, const uint64_t *number,
                          volt_err *err)
{
    sqlite3_stmt *st = s->sql[SQL_META_PUT];

    sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
    if (number)
        sqlite_bind_limit(st, 2, *number);
    else
        sqlite_bind_slice(st, 2, text);
    return sqlite_run(s, st, err);
}

static uint64_t greater(sqlite3_stmt *st, int a, int b)
{
    uint64_t x = (uint64_t)sqlite3_column_int64(st, a), y = (uint64_t)sqlite3_column_int64(st, b);

    return x > y ? x : y;
}

volt_code sqlite_head(store *base, store_head *ret, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    sqlite3_stmt *st = s->sql[SQL_HEAD];
    volt_code rc = VOLT_OK;
    store_head head = { 0 };
    slice hist;

    if (sqlite3_step(st) != SQLITE_ROW) {
        rc = sqlite_fail(s->db, s->path, "read", err);
    } else {
        hist = sqlite_read_slice(st, 0);
        if (hist.n && !text_is_hex(hist, sizeof head.hist - 1))
            rc = volt_fail(err, VOLT_ECORRUPT, "'%s': its history '" SLICE_FMT "' is no such id",
                           s->path, SLICE_ARG(hist));
        else if (hist.n)
            memcpy(head.hist, hist.p, hist.n);
        head.ep = (uint64_t)sqlite3_column_int64(st, 1);
        head.last_seq = (uint64_t)sqlite3_column_int64(st, 2);
        head.floor = (uint64_t)sqlite3_column_int64(st, 3);
        head.last_build = greater(st, 4, 6);
        head.last_task = greater(st, 5, 7);
        head.counted = (uint64_t)sqlite3_column_int64(st, 9);
        snprintf(head.stale, sizeof head.stale, SLICE_FMT, SLICE_ARG(sqlite_read_slice(st, 8)));
    }
    sqlite3_reset(st);
    if (!rc)
        *ret = head;
    return rc;
}

static volt_code begin_epoch(store *base, const char hist_if_new[33], uint64_t *ret, volt_err *err)
{
    sqlite_store *s = (sqlite_store *)base;
    store_head head;
    volt_code rc;

    assert(text_is_hex(slice_of(hist_if_new), sizeof head.hist - 1));
    if ((rc = sqlite_begin(s, err)) || (rc = sqlite_head(base, &head, err)))
        return rc;
    if (!head.hist[0] && (rc = sqlite_put_meta(s, "hist", slice_of(hist_if_new), NULL, err)))
        return rc;
    head.ep++;
    if ((rc = sqlite_put_meta(s, "ep", (slice){ 0 }, &head.ep, err)) || (rc = commit(base, err)))
        return rc;
    *ret = head.ep;
    return VOLT_OK;
}

static void close_store(store *base)
{
    sqlite_store *s = (sqlite_store *)base;

    sqlite_finalize_all(s);
    sqlite3_close(s->db); /* rolls back what was not committed */
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    buf_free(&s->text);
    arena_free(&s->lists);
    arena_free(&s->swept);
    free(s->path);
    free(s);
}

static void relax(store *base)
{
    sqlite3_db_release_memory(((sqlite_store *)base)->db);
}

static const store_ops ops = {
    .close = close_store,
    .head = sqlite_head,
    .secret = sqlite_secret,
    .stale = sqlite_stale,
    .new_history = sqlite_new_history,
    .begin_epoch = begin_epoch,
    .put = put,
    .cut_cases = cut_cases,
    .commit = commit,
    .load = sqlite_load,
    .submission = sqlite_submission,
    .build = sqlite_build,
    .latest_build = sqlite_latest_build,
    .task = sqlite_task,
    .short_log = sqlite_short_log,
    .file = sqlite_file,
    .means = sqlite_means,
    .builds = sqlite_builds,
    .jobs = sqlite_jobs,
    .tasks = sqlite_tasks,
    .units = sqlite_units,
    .files = sqlite_files,
    .cases = sqlite_cases,
    .attempts = sqlite_attempts,
    .runners = sqlite_runners,
    .events = sqlite_events,
    .events_of = sqlite_events_of,
    .bytes = sqlite_bytes,
    .prune = sqlite_prune,
    .relax = relax,
};

/* Locks the directory before the file is touched, so that of two that start at once one wins. Where
 * directories cannot be locked (some network file systems) SQLite's own lock on the file remains.
 */
static volt_code lock_directory(const char *dir, int *ret, volt_err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return volt_fail(err, VOLT_EIO, "open data directory '%s': %s", dir, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
        close(fd);
        return volt_fail(err, VOLT_ELOCKED,
                         "another dispatcher uses '%s'; stop it, or choose another data directory",
                         dir);
    }
    *ret = fd;
    return VOLT_OK;
}

/* Looks for damage in a file that is small enough to be read through. */
static volt_code check_pages(sqlite_store *s, volt_err *err)
{
    sqlite3_stmt *st = NULL;
    volt_code rc = VOLT_OK;
    slice found;

    if (sqlite3_prepare_v2(s->db,
                           "SELECT quick_check FROM pragma_page_count(), pragma_page_size(),"
                           " pragma_quick_check(1) WHERE page_count * page_size <= ?1",
                           -1, &st, NULL) != SQLITE_OK)
        return sqlite_fail(s->db, s->path, "check", err);
    sqlite3_bind_int64(st, 1, SQLITE_STORE_CHECK_MAX);
    switch (sqlite3_step(st)) {
    case SQLITE_ROW:
        found = sqlite_read_slice(st, 0);
        if (memmem(found.p, found.n, UNREAD, strlen(UNREAD)))
            rc = volt_fail(err, VOLT_EIO, "read '%s': " SLICE_FMT, s->path, SLICE_ARG(found));
        else if (!slice_is(found, "ok"))
            rc = volt_fail(err, VOLT_ECORRUPT, "'%s' is damaged (" SLICE_FMT "): " DAMAGED, s->path,
                           SLICE_ARG(found));
        break;
    case SQLITE_DONE:
        break;
    default:
        rc = sqlite_fail(s->db, s->path, "check", err);
    }
    sqlite3_finalize(st);
    return rc;
}

/* Makes sure that the log is on the disk as it is read: when an earlier sync failed, what it was to
 * write is still seen, counts as clean, and would be lost with the power, together with all that
 * was committed behind it (fsync(2)). */
static volt_code settle_log(sqlite_store *s, volt_err *err)
{
    sqlite3_file *f = NULL;
    sqlite3_int64 size = 0;
    char *piece;
    int rc;

    sqlite3_file_control(s->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &f);
    if (!f || !f->pMethods)
        return VOLT_OK; /* there is none yet */
    piece = mem_zero(SETTLE_BYTES);
    rc = f->pMethods->xFileSize(f, &size);
    for (sqlite3_int64 at = 0; rc == SQLITE_OK && at < size; at += SETTLE_BYTES) {
        int n = size - at < SETTLE_BYTES ? (int)(size - at) : SETTLE_BYTES;

        rc = f->pMethods->xRead(f, piece, n, at);
        if (rc == SQLITE_OK)
            rc = f->pMethods->xWrite(f, piece, n, at);
    }
    if (rc == SQLITE_OK && size)
        rc = f->pMethods->xSync(f, SQLITE_SYNC_FULL);
    free(piece);
    if (rc == SQLITE_OK)
        return VOLT_OK;
    return volt_fail(err, rc == SQLITE_FULL ? VOLT_EFULL : VOLT_EIO, "write the log of '%s': %s",
                     s->path, sqlite3_errstr(rc));
}

static volt_code set_up(sqlite_store *s, volt_err *err)
{
    char pragmas[256];

    sqlite3_snprintf((int)sizeof pragmas, pragmas,
                     "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-%d;"
                     "PRAGMA wal_autocheckpoint=%d; PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY;"
                     "PRAGMA trusted_schema=OFF",
                     SQLITE_STORE_CACHE_KIB, SQLITE_STORE_WAL_PAGES);
    if (sqlite3_exec(s->db, pragmas, NULL, NULL, NULL) != SQLITE_OK)
        return sqlite_fail(s->db, s->path, "open", err);
    return VOLT_OK;
}

static volt_code open_database(sqlite_store *s, volt_err *err)
{
    const int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    store_head head;
    size_t version = 0;
    volt_code rc;

    if (sqlite3_open_v2(s->path, &s->db, flags, NULL) != SQLITE_OK)
        return s->db ? sqlite_fail(s->db, s->path, "open", err)
                     : volt_fail(err, VOLT_ENOMEM, "open '%s': out of memory", s->path);
    /* A file that is refused must not be touched, not even by the copying of its log at the close.
     */
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (sqlite3_exec(s->db, "PRAGMA locking_mode=EXCLUSIVE", NULL, NULL, NULL) != SQLITE_OK)
        return sqlite_fail(s->db, s->path, "lock", err);
    if ((rc = schema_check(s->db, &schema_current, s->path, &version, err)) ||
        (rc = check_pages(s, err)))
        return rc;
    if (sqlite3_db_readonly(s->db, "main") == 1)
        return volt_fail(err, VOLT_EIO, "open '%s': it may be read but not written", s->path);
    if ((rc = settle_log(s, err)) || (rc = set_up(s, err)) ||
        (rc = schema_migrate(s->db, &schema_current, s->path, version, err)) ||
        (rc = sqlite_prepare_all(s, err)) || (rc = sqlite_head(&s->base, &head, err)))
        return rc;
    s->last_seq = head.last_seq;
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    return VOLT_OK;
}

volt_code store_open_sqlite(const char *dir, store **ret, volt_err *err)
{
    sqlite_store *s;
    volt_code rc;

    assert(dir && ret);
    s = NEW(sqlite_store);
    s->base.ops = &ops;
    s->path = mem_printf("%s/volt.db", dir);
    s->lock_fd = -1;
    if ((rc = lock_directory(dir, &s->lock_fd, err)) || (rc = open_database(s, err))) {
        close_store(&s->base);
        return rc;
    }
    *ret = &s->base;
    return VOLT_OK;
}
