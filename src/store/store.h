/*
 * store.h - what survives: a table of functions that each backend fills.
 *
 * One transaction is open at a time: the first store_put() begins it, store_commit() makes it
 * durable.  Reads see what was put before them, committed or not.  After any failed put or commit
 * the store is of no further use and is closed (memory has moved on); what was committed is there
 * at the next open.
 *
 * What says what a row is of never changes and is taken from its first put: a build's repo, ref,
 * oid and gen, a task's build, job, kind and units, a unit's file.
 *
 * Backends: sqlite.c (files), memory.c (simulation and tests).  One contract test suite
 * (tests/unit/store) runs against each.  Threads: one owner.
 */
#ifndef VOLT_STORE_STORE_H
#define VOLT_STORE_STORE_H

#include "base/arena.h"
#include "base/err.h"
#include "core/row.h"

#define STORE_STALE_MAX 256

typedef struct store store;

/* A file beside the store. */
typedef struct log_name {
    uint64_t task, att;
    msg_part part;
} log_name;

/* What retention may take.  Of a build that is the *details*: its tasks with their attempts and
 * logs, its jobs, units and cases.  The *line*, its own row, stays behind, with `forgotten` set. */
typedef struct store_old {
    int64_t ended_ms; /* details of builds that ended before, ... */
    slice repo;       /* ... of those of this repository (empty: of none) ... */
    uint64_t newest;  /* ... beyond so many that ended last and have theirs, ... */
    bool for_room;    /* ... and of the one that ended first */
    int64_t event_ms; /* events before, and submissions of what went */
    int64_t room_ms;  /* for_room: events before, up to the end of the first that has its details */
    uint64_t counted; /* events only as far as this one, which are in the histories of files */
    int64_t line_ms;  /* lines of what ended, histories of files that ran last, before */
} store_old;

/* What a store knows of itself. */
typedef struct store_head {
    char hist[33];
    uint64_t ep;                    /* newest epoch committed; 0: never started */
    uint64_t last_seq;              /* newest event */
    uint64_t floor;                 /* oldest event kept; 0: none */
    uint64_t last_build, last_task; /* greatest ids ever used, also by what is no longer kept */
    uint64_t counted;               /* ROW_CURSOR "files": newest event in the histories of files */
    char stale[STORE_STALE_MAX];    /* what showed that this is an old copy; empty: nothing did */
} store_head;

/* Rows are handed to `fn` one by one, borrowed for the call; what it returns other than VOLT_OK
 * ends the walk and is returned.  Of the store it may call the reads of one row, and nothing else.
 */
typedef volt_code (*store_row_fn)(void *ctx, const row *r, volt_err *err);
/* An event as it was put, encoded. */
typedef volt_code (*store_event_fn)(void *ctx, uint64_t seq, slice bytes, volt_err *err);
/* An attempt is forgotten, so its files can go: after the commit. */
typedef void (*store_log_fn)(void *ctx, uint64_t task, uint64_t att);

/* All required.  Rows and slices that a read returns live in `a`. */
typedef struct store_ops {
    void (*close)(store *s);
    volt_code (*head)(store *s, store_head *ret, volt_err *err);
    /* The store's secret, in the open transaction (it begins one) made of `if_new` when there is
     * none: 32 hex digits that go along with a copy, and are told to nobody. */
    volt_code (*secret)(store *s, const char if_new[33], char ret[33], volt_err *err);
    /* In the open transaction (it begins one): this is an old copy, as `what` showed (cut to
     * STORE_STALE_MAX - 1 bytes).  It stays one until new_history(): each start raises the epoch,
     * past those that runners were told of, so it might not be recognised again. */
    volt_code (*stale)(store *s, slice what, volt_err *err);
    /* In the open transaction (it begins one): what is here goes on as another history, the kept
     * events included, and counts as no old copy any more.  O(events). */
    volt_code (*new_history)(store *s, const char hist[33], volt_err *err);
    /* Raises the epoch by one and commits it; *ret is the new one.  Makes `hist` when there is
     * none. */
    volt_code (*begin_epoch)(store *s, const char hist_if_new[33], uint64_t *ret, volt_err *err);
    /* Upserts by key.  A ROW_UNIT with an empty `file` updates the rest of an existing row.
     * For ROW_EVENT `encoded` is the event as it goes out (else it is ignored).
     * VOLT_ECORRUPT: an event's seq is not last_seq + 1, or a unit to update is not there.
     * VOLT_EEXISTS: a second build of one (repo, ref, oid, gen).  VOLT_EFULL: no room on the disk.
     * VOLT_EIO: it cannot be written, or an earlier write failed. */
    volt_code (*put)(store *s, const row *r, slice encoded, volt_err *err);
    /* In the open transaction (it begins one): forgets the case with the key of `from` and those of
     * its unit behind it.  VOLT_EFULL, VOLT_EIO as put. */
    volt_code (*cut_cases)(store *s, const row_case *from, volt_err *err);
    /* VOLT_ENOTFOUND, with or without an open transaction: its files were deleted or replaced, and
     * nothing is committed.  VOLT_EFULL, VOLT_EIO as put. */
    volt_code (*commit)(store *s, volt_err *err);

    /* For the restart: repos, runners, then each build that is not final with its jobs, its units,
     * its tasks. */
    volt_code (*load)(store *s, store_row_fn fn, void *ctx, volt_err *err);

    /* VOLT_ENOTFOUND when there is none; then *ret is untouched. */
    volt_code (*submission)(store *s, slice sid, arena *a, row_submission *ret, volt_err *err);
    volt_code (*build)(store *s, uint64_t build, arena *a, row_build *ret, volt_err *err);
    volt_code (*latest_build)(store *s, slice repo, slice ref, slice oid, arena *a, row_build *ret,
                              volt_err *err);
    volt_code (*task)(store *s, uint64_t task, arena *a, row_task *ret, volt_err *err);
    volt_code (*short_log)(store *s, uint64_t task, uint64_t att, arena *a, slice *ret,
                           volt_err *err);
    volt_code (*file)(store *s, slice repo, slice job, slice file, arena *a, row_file *ret,
                      volt_err *err);
    /* mean_ms of the history of each of a job's files, UINT64_MAX where there is none. */
    volt_code (*means)(store *s, slice repo, slice job, slices files, uint64_t *ret, volt_err *err);

    /* Pages.  builds: newest first, id < before (0: all), of `repo` when not empty. */
    volt_code (*builds)(store *s, slice repo, uint64_t before, size_t max, store_row_fn fn,
                        void *ctx, volt_err *err);
    volt_code (*jobs)(store *s, uint64_t build, store_row_fn fn, void *ctx,
                      volt_err *err); /* by idx */
    volt_code (*tasks)(store *s, uint64_t build, size_t max, store_row_fn fn, void *ctx,
                       volt_err *err); /* newest max, ascending */
    volt_code (*units)(store *s, uint64_t build, uint64_t from, size_t max, store_row_fn fn,
                       void *ctx, volt_err *err); /* by (job, i) */
    /* by (repo, job, file), those behind `after`'s key; an empty one is before all.  Where names
     * that are not UTF-8 stand is up to the backend. */
    volt_code (*files)(store *s, const row_file *after, size_t max, store_row_fn fn, void *ctx,
                       volt_err *err);
    /* Of a unit, by n; `bad`: only those that failed or errored.  Skips `from` of them. */
    volt_code (*cases)(store *s, uint64_t build, uint64_t job, uint64_t i, bool bad, uint64_t from,
                       size_t max, store_row_fn fn, void *ctx, volt_err *err);
    volt_code (*attempts)(store *s, uint64_t task, store_row_fn fn, void *ctx,
                          volt_err *err);                                      /* by att */
    volt_code (*runners)(store *s, store_row_fn fn, void *ctx, volt_err *err); /* by name, id */
    volt_code (*events)(store *s, uint64_t from, size_t max, store_event_fn fn, void *ctx,
                        volt_err *err);
    /* Of the events from ... to those of one kind, at most max. */
    volt_code (*events_of)(store *s, event_kind kind, uint64_t from, uint64_t to, size_t max,
                           store_event_fn fn, void *ctx, volt_err *err);

    /* Bytes in use, without what deletions left free; what is put counts at once. */
    volt_code (*bytes)(store *s, uint64_t *ret, volt_err *err);
    /* One slice of retention in the open transaction (it begins one): forgets at most `max` things
     * (max >= 1) as `old` says.  Details go of final builds that none which is not final inherits
     * from, by any number of retries.  The build is `forgotten` from the first of them on, and
     * those that one slice leaves go with the next, whatever that one is told.  For room one build
     * is begun, if nothing else was forgotten: its files are to go, and to be counted, before the
     * next.  Events go up to the first that the oldest build needs which is not final; the newest
     * stays.  Submissions go whose build is forgotten, gone, or never was.
     * Calls `log_gone` (may be NULL) for each forgotten attempt.
     * *more: the slice was used up, or took something for room, so call again; false: there is no
     * more to forget.  Of the histories of files it looks at `max`, going on where the last call
     * ended and beginning anew at their end, and forgets those that are old: an index by time would
     * cost at each run. */
    volt_code (*prune)(store *s, const store_old *old, size_t max, store_log_fn log_gone, void *ctx,
                       bool *more, volt_err *err);

    /* Optional: gives back what was kept in memory for speed only.  For quiet times. */
    void (*relax)(store *s);
} store_ops;

struct store {
    const store_ops *ops;
};

/* Opens or makes DIR/volt.db (DIR is there) for this process alone, and brings an older schema up
 * to date.  A file that is refused is not touched. VOLT_ELOCKED: another process has it.
 * VOLT_ECORRUPT: damaged, or not Volt's (says what to do). VOLT_EVERSION: written by a newer Volt.
 * VOLT_EFULL: no room.  VOLT_EIO: cannot be read or written.
 */
volt_code store_open_sqlite(const char *dir, store **ret, volt_err *err);

/* A store in memory that loses at store_memory_crash() what was not committed. */
volt_code store_open_memory(store **ret);
void store_memory_crash(store *s);

static inline void store_close(store *s)
{
    if (s)
        s->ops->close(s);
}

#endif
