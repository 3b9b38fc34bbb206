/*
 * watch.h - the observer's decisions: what repositories have comes in, what to submit goes out.
 *
 * A repository's branches are compared with cursors: the commit up to which everything of a branch
 * was accepted, or refused for good.  What lies behind the cursor becomes submissions, in order,
 * each durable (SPOOL) before its first PUSH, repeated until it is answered, and forgotten
 * (UNSPOOL) once the cursor stands on it.  Of one branch only one submission is under way at a
 * time, so its builds are made in the order of its commits whatever gets lost.
 *
 * What was accepted lately is remembered, durably: a dispatcher's data directory may be put back to
 * an earlier state, and another one take its place, at any time.  Whenever a dispatcher shows
 * itself anew it is offered again; who has it answers with the build it knows.
 *
 * Pure: no I/O, no clock, no logging.  The caller steps it with events that carry the time and
 * carries out the effects of each step in order.  After a crash it gives back what the effects made
 * durable (watch_restore_*); any prefix of the effects is a good place to crash, a submission may
 * then be pushed again under its old sid or, with the same (repo, ref, oid), under a new one.
 * Memory: grows with branches and queued submissions, both bounded as said below.
 */
#ifndef VOLT_CORE_WATCH_H
#define VOLT_CORE_WATCH_H

#include "base/arena.h"
#include "core/msg.h"

#define WATCH_QUERY_MS      100   /* a push unanswered so long is asked about */
#define WATCH_RESEND_MS     1000  /* first re-send; doubles ... */
#define WATCH_RESEND_MAX_MS 60000 /* ... up to this, each with 20 % jitter */
#define WATCH_JITTER        20    /* per cent */
#define WATCH_SILENT_MS     4000  /* no head beat so long: the dispatcher is not there */
#define WATCH_BLOCKED_MS    50    /* a push that would block is tried again after */
#define WATCH_FLIGHT_MAX    256   /* submissions under way at once; further ones wait spooled */
#define WATCH_LIST_MAX      256   /* commits taken of one LIST; the rest is asked for later */
#define WATCH_QUEUE_MAX     1024  /* queued submissions of a branch; when full it is not listed: */
                                  /* the repository itself keeps what comes after the last one */
#define WATCH_KEPT_MS 86400000    /* what was accepted is offered again so long: a day, as the */
                                  /* dispatcher forgets no build that ended since */
#define WATCH_KEPT_MAX 1024       /* and so many of a branch, the newest */
#define WATCH_REF_MAX  1024       /* bytes of a ref's name; longer ones are ignored */

typedef struct watch watch;

typedef enum watch_policy {
    WATCH_LATEST, /* the newest commit of each branch that moved since the last sight */
    WATCH_EVERY,  /* every commit since the last one submitted, oldest first */
} watch_policy;

typedef struct watch_tip {
    slice ref; /* full name */
    slice oid;
} watch_tip;

typedef struct watch_commit {
    slice oid, subject, author; /* the texts may be empty */
} watch_commit;

typedef enum watch_event_kind {
    WATCH_REFS,         /* repo, tips, head: all watched refs that the repository has now */
    WATCH_LISTED,       /* repo, ref, commits (oldest first): answer to LIST */
    WATCH_LIST_FAILED,  /* repo, ref: it will be asked again, with backoff */
    WATCH_SPOOLED,      /* id: its spool entry is durable */
    WATCH_SPOOL_FAILED, /* id: it is not, nor is any later one of that ref; asked again later */
    WATCH_MSG,          /* msg: accepted, rejected, err or head; others are ignored */
    WATCH_BLOCKED,      /* id: its PUSH would have blocked and was not sent */
    WATCH_TICK,         /* time passed: at the latest when watch_next_deadline_ms() says */
} watch_event_kind;

typedef struct watch_event {
    watch_event_kind kind;
    int64_t now_ms;  /* monotonic */
    int64_t wall_ms; /* of this machine: how long ago something was accepted */
    size_t repo;     /* as watch_add() numbered it */
    const watch_tip *tips;
    size_t tips_n;
    slice head; /* the ref that HEAD names, empty when it names none */
    slice ref;
    const watch_commit *commits;
    size_t commits_n;
    uint64_t id; /* of a submission, as the effect had it */
    const msg *msg;
} watch_event;

typedef enum watch_effect_kind {
    WATCH_DO_LIST,    /* repo, ref, old, oid, known, tip_only: say which commits to submit */
    WATCH_DO_SPOOL,   /* repo, id, n, msg (submit): make it durable as entry n, then SPOOLED */
    WATCH_DO_PUSH,    /* repo, id, msg (submit): send it, BLOCKED when that is not possible now */
    WATCH_DO_QUERY,   /* msg (submission): ask what became of it; may be dropped */
    WATCH_DO_CURSOR,  /* repo, ref, oid: persist; an empty oid removes it, and what was accepted;
                         kept > 0: oid was accepted at wall_ms, with it so many of the ref's newest
                         are to be remembered */
    WATCH_DO_KNOWN,   /* repo: persist that its first sight is over */
    WATCH_DO_UNSPOOL, /* repo, n: remove, not before the cursors so far are durable */
    WATCH_DO_TELL,    /* text, warn: one line for people */
    WATCH_DO_SILENT,  /* the dispatcher has not been heard of for WATCH_SILENT_MS (said once) */
    WATCH_DO_HEARD,   /* it is there, at first or again */
} watch_effect_kind;

typedef struct watch_effect {
    watch_effect_kind kind;
    bool tip_only; /* LIST: only the commit `oid` itself is wanted */
    bool warn;     /* TELL */
    size_t repo;
    uint64_t id, n;
    size_t kept;
    int64_t wall_ms;
    slice ref, oid;
    slice old;    /* LIST: commits not reachable from here are wanted; when it is empty (a new */
    slices known; /* branch) or no longer there, those not reachable from any of these (HEAD's is
                     the first when it is there); when there are none, `oid` alone */
    const msg *msg;
    slice text;
} watch_effect;

/* What to do, in order.  Everything the entries point to is in the arena. Zero-initialise. */
typedef struct watch_effects {
    watch_effect *v;
    size_t n;
    size_t cap;
    arena arena;
} watch_effects;

void watch_effects_clear(watch_effects *e);
void watch_effects_free(watch_effects *e);

/* `obs` (at most 64 bytes, copied) is the topic of answers; `seed` makes sids and jitter, so it has
 * to be another one at each start. */
watch *watch_new(slice obs, uint64_t seed);
void watch_free(watch *w);

typedef struct watch_repo_config {
    slice name; /* copied, as is url */
    slice url;
    watch_policy policy;
    bool from_now;   /* its first sight submits nothing */
    int64_t kept_ms; /* 0: WATCH_KEPT_MS */
} watch_repo_config;

/* Adds a repository and returns its number: 0, 1, 2 ... */
size_t watch_add(watch *w, const watch_repo_config *config);

/* Gives back what was persisted, after watch_add() and before the first step: cursors, what was
 * accepted of their refs (oldest first), then whether its first sight is over (without that, refs
 * that have no cursor are taken as seen at their tips), then spool entries in the order of n.  Of
 * an entry sid, ref, oid and texts are used. */
void watch_restore_cursor(watch *w, size_t repo, slice ref, slice oid);
void watch_restore_kept(watch *w, size_t repo, slice ref, slice oid, int64_t wall_ms);
void watch_restore_known(watch *w, size_t repo);
void watch_restore_spooled(watch *w, size_t repo, uint64_t n, const msg_submit *entry);

/* One event; effects are appended.  Answers about what is not queued are ignored. */
void watch_step(watch *w, const watch_event *ev, watch_effects *out);
/* Monotonic time at which a WATCH_TICK is due; INT64_MAX: none. */
int64_t watch_next_deadline_ms(const watch *w);

/* Submissions not yet answered for good, and LISTs not yet answered well. */
size_t watch_pending(const watch *w);
/* Submissions refused for good so far. */
uint64_t watch_refused(const watch *w);
/* True when the first sight of the repository is over. */
bool watch_known(const watch *w, size_t repo);
/* True once a head beat came, until WATCH_SILENT_MS without one. */
bool watch_heard(const watch *w);

#endif
