/*
 * dispatcher.h - the dispatcher without its sockets: frames in, frames out, a store between.
 *
 * Frames and ticks are given one by one; their rows go into the store's open transaction at once.
 * dispatcher_commit() makes the transaction durable and only then hands out what was to be sent and
 * published, in order.  The same code runs behind `volt dispatcher` and in the simulator.
 *
 * After any error other than VOLT_EMSG it is of no further use, since memory is ahead of the store:
 * free it, close the store, and after VOLT_EFULL or VOLT_EIO open both again, as after a restart.
 * Nothing of the failed transaction was sent.
 */
#ifndef VOLT_ROLE_DISPATCHER_H
#define VOLT_ROLE_DISPATCHER_H

#include "base/buf.h"
#include "core/dispatch.h"
#include "store/store.h"

typedef struct dispatcher dispatcher;

/* Where logs of attempts are kept that are too long for the store, and artifacts. */
typedef struct log_files {
    void *ctx;
    /* VOLT_EFULL, VOLT_EIO: the runner is told to wait, and sends it again later; after VOLT_EIO
     * the file is removed, and the log begins anew. */
    volt_code (*write)(void *ctx, const log_name *name, uint64_t off, slice bytes, volt_err *err);
    /* The first `bytes` bytes are durable after this; what lies behind them is cut off.  After a
     * failure nothing of the file counts any more. */
    volt_code (*sync)(void *ctx, const log_name *name, uint64_t bytes, volt_err *err);
    /* Appends at most max bytes from `off`; nothing when there are none. */
    volt_code (*read)(void *ctx, const log_name *name, uint64_t off, size_t max, buf *ret,
                      volt_err *err);
    void (*remove)(void *ctx, const log_name *name);
    /* That all of them take. */
    uint64_t (*bytes)(void *ctx);
} log_files;

/* Where frames go, called by dispatcher_commit() only. */
typedef struct dispatcher_out {
    void *ctx;
    /* False: the peer's connection is gone, and the frame with it. */
    bool (*send)(void *ctx, uint64_t peer, slice frame);
    void (*publish)(void *ctx, slice topic, slice frame);
    /* Optional: bytes that were sent to the peer and that it has not taken yet. */
    size_t (*unread)(void *ctx, uint64_t peer);
} dispatcher_out;

typedef struct dispatcher_config {
    const char *hist_if_new;             /* 32 hex digits, for a new store */
    bool new_history;                    /* the store goes on as that one, too */
    const char *boot;                    /* 32 random hex digits, of this start; NULL: none */
    const char *secret_if_new;           /* 32 hex digits; NULL: nothing is proven */
    dispatch_prove *prove;               /* with the store's secret */
    int64_t hb_ms, suspect_ms, lease_ms; /* 0: the core's defaults, by the size of the fleet */
    size_t large;                        /* 0: the core's */
    uint64_t tries_max, log_max, log_window, artifact_max;
} dispatcher_config;

/* How much is kept of builds that have ended (store_old): all, or each bound that is not 0.  Events
 * are kept for `ms`, or a month, and as much of it, a day at least, as there is room for; lines of
 * builds as long as the histories of files (history_keep_ms()). */
typedef struct dispatcher_keep {
    int64_t ms;      /* details of builds that ended less long ago */
    uint64_t builds; /* of so many of each repository, the newest */
    uint64_t bytes;  /* of as many as leave the store and the files at so much, the newest */
} dispatcher_keep;

/* Raises the epoch, rebuilds the core from `s` and commits.  `s` and what `logs` and `out` point to
 * are borrowed until dispatcher_free(). */
volt_code dispatcher_new(store *s, const log_files *logs, const dispatcher_out *out,
                         const dispatcher_config *config, int64_t now_ms, int64_t wall_ms,
                         dispatcher **ret, volt_err *err);
void dispatcher_free(dispatcher *d);

/* A frame from a peer of the ROUTER, or from the intake (peer 0).  VOLT_EMSG: it is malformed; it
 * was counted and, at most once a second a peer, answered.  Any other error: see above. */
volt_code dispatcher_frame(dispatcher *d, int64_t now_ms, int64_t wall_ms, uint64_t peer,
                           slice frame, volt_err *err);
/* Reading ends for this turn; `left`: frames of the ROUTER wait still.  Returns by how much leases
 * are to be longer, to be given to dispatcher_tick() as a gap: who waits to be heard is not silent.
 * At most one lease in a stretch, so that a flood of frames keeps no lease for ever. */
int64_t dispatcher_behind(dispatcher *d, int64_t now_ms, bool left);
/* Time has passed.  gap_ms > 0: the process did not run for so long. */
volt_code dispatcher_tick(dispatcher *d, int64_t now_ms, int64_t wall_ms, int64_t gap_ms,
                          volt_err *err);
/* Answers some of the questions that wait, counts some of what happened in the histories of files,
 * commits, then speaks.  Does nothing when nothing happened. */
volt_code dispatcher_commit(dispatcher *d, volt_err *err);

/* Bytes that wait for the commit to be sent: who gives frames stops and commits when they are many.
 */
size_t dispatcher_unsent(const dispatcher *d);
int64_t dispatcher_next_deadline_ms(const dispatcher *d);
/* Refuse new submissions while the disk is nearly full. */
void dispatcher_set_disk_low(dispatcher *d, bool low);
static inline bool dispatcher_forgets(const dispatcher_keep *keep)
{
    return keep->ms || keep->builds || keep->bytes;
}

/* Forgets a slice of at most `max` things beyond `keep`, in the open transaction.  *more: call it
 * again, after the commit, with which files go, so that it measures anew. */
volt_code dispatcher_prune(dispatcher *d, int64_t wall_ms, const dispatcher_keep *keep, size_t max,
                           bool *more, volt_err *err);
/* The last call found that nothing more may go, and that it is more than keep->bytes still. */
bool dispatcher_is_crammed(const dispatcher *d);

const dispatch *dispatcher_core(const dispatcher *d);
const char *dispatcher_hist(const dispatcher *d);
uint64_t dispatcher_epoch(const dispatcher *d);

#endif
