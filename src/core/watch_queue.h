/*
 * watch_queue.h - inside the observer's machine: refs with their queues, and how they are sent.
 *
 * watch.c decides which commits become submissions; watch_queue.c has them spooled, pushed, asked
 * about and repeated until they are answered, and moves the cursor.  Nobody else includes this.
 */
#ifndef VOLT_CORE_WATCH_QUEUE_H
#define VOLT_CORE_WATCH_QUEUE_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/prng.h"
#include "core/watch.h"

#define OID_MAX 64

/* Commit ids come from our own lookup or from a peer's repository; either way an id is copied only
 * when it has a legal length. */
typedef struct watch_oid {
    char hex[OID_MAX + 1];
} watch_oid;

typedef struct watch_repo watch_repo;

/* A commit that was accepted. */
typedef struct watch_kept {
    watch_oid oid;
    int64_t wall_ms;
} watch_kept;

/* A ref.  It is kept while the repository has it, or while submissions of it are queued. */
typedef struct watch_ref {
    list in_repo;
    heap_node relist; /* a failed LIST is asked again */
    watch_repo *repo;
    char *name;
    watch_oid cursor; /* everything up to here is answered for good; empty: nothing yet */
    watch_kept *kept; /* oldest first, each after the one before; the newest stays */
    size_t kept_n, kept_cap;
    watch_oid mark;  /* everything up to here is queued or behind the cursor; empty: a new branch */
    watch_oid tip;   /* where the repository has it */
    watch_oid asked; /* tip of the LIST under way */
    bool listing;
    bool tip_only; /* first sight: one submission, whatever the policy */
    bool gone;     /* the repository no longer has it */
    unsigned list_tries;
    uint64_t sight; /* number of the last snapshot that had it */
    list queue;     /* submissions, oldest first; the first one is under way or waits for a place */
    size_t queued;
    size_t unspooled;  /* of these, not yet durable */
    bool spool_failed; /* they wait for the next try */
} watch_ref;

struct watch_repo {
    size_t number;
    char *name;
    char *url;
    char *default_branch;
    watch_policy policy;
    bool from_now;
    int64_t kept_ms;
    bool sighted;  /* a snapshot came */
    bool known;    /* its first sight is durable */
    bool new_refs; /* some wait to be compared with the others */
    watch_ref *head;
    map refs;
    list ref_order; /* in order of appearance, so that a run does not depend on hashes */
    uint64_t sight;
    uint64_t last_n;
};

typedef enum stage {
    STAGE_NEW,     /* its spool entry is not yet durable */
    STAGE_SPOOLED, /* waits for the one before it */
    STAGE_READY,   /* may be pushed, waits for the dispatcher or a place */
    STAGE_FLIGHT,  /* pushed, unanswered */
} stage;

typedef struct submission {
    list in_ref;
    list in_ready;
    heap_node due; /* NEW: spool again; FLIGHT: query or re-send */
    watch_ref *ref;
    uint64_t id;
    uint64_t n;
    char sid[33];
    watch_oid oid;
    char *subject;
    char *author;
    stage stage;
    bool again;    /* of one that was accepted: neither spooled nor of concern to the cursor */
    bool answered; /* for good, but one before it is not */
    bool accepted; /* answered so */
    bool query;    /* the next due is the query, not the re-send */
    unsigned tries;
    int64_t resend_ms;
    code refused; /* last refusal that was not for good, so that it is told once */
} submission;

struct watch {
    char obs[65];
    prng rng;
    watch_repo **repos;
    size_t repos_n;
    map by_id;
    map by_sid;
    uint64_t last_id;
    size_t submissions;
    size_t listings;
    list ready;
    size_t flight;
    heap due;
    heap relist;
    int64_t blocked_until_ms; /* 0: not blocked */
    bool heard;
    bool told_silent;
    int64_t wall_ms; /* of the step under way */
    char hist[33];   /* of the last head beat; "": none yet */
    char boot[33];   /* the same */
    uint64_t ep;
    int64_t silent_at_ms; /* HEAP_NEVER: already silent */
    bool started;
    uint64_t refused; /* for good, so far */
};

/* A fresh entry, zeroed but for its kind; stands until the next one is added. */
watch_effect *watch_effect_add(watch_effects *e, watch_effect_kind kind);
/* A copy that stands as long as the effects. */
slice watch_effect_text(watch_effects *e, const char *s);
void watch_emit_cursor(const watch_ref *ref, const char *oid, watch_effects *out);

/* False, and nothing written, when oid has not the length of a commit id. */
bool watch_set_id(watch_oid *id, slice oid);

/* A new submission at the end of its ref's queue; moves the ref's mark.  It has no sid yet. */
submission *watch_submission_new(watch *w, watch_ref *ref, const watch_oid *oid, slice subject,
                                 slice author);
void watch_submission_free(watch *w, submission *s);
/* The oldest of a ref, or NULL. */
submission *watch_first(const watch_ref *ref);
/* Puts a commit at the end of its ref's queue and asks for its spooling. */
void watch_enqueue(watch *w, watch_ref *ref, const watch_oid *oid, slice subject, slice author,
                   watch_effects *out);
/* The first submission of a ref gets in line when it is durable. */
void watch_make_ready(watch *w, watch_ref *ref);

/* In watch_kept.c.  A commit of the ref was accepted now: it is the newest that is remembered. */
void watch_keep(const watch *w, watch_ref *ref, const watch_oid *oid);
void watch_keep_nothing(watch_ref *ref);
/* A dispatcher shows itself anew: what was accepted lately gets in line once more; when it goes on
 * as another history (`other`), so does the newest of each branch, however old. */
void watch_offer_again(watch *w, bool other, watch_effects *out);

void watch_on_msg(watch *w, const msg *m, int64_t now_ms, watch_effects *out);
void watch_on_spooled(watch *w, submission *s, watch_effects *out);
void watch_on_spool_failed(watch *w, submission *s, int64_t now_ms);
void watch_on_blocked(watch *w, submission *s, int64_t now_ms);
/* Pushes, queries and re-sends what is due. */
void watch_on_queue_time(watch *w, int64_t now_ms, watch_effects *out);
/* 1, 2, 4 ... 60 s with jitter, for the n-th try (from 1). */
int64_t watch_backoff_ms(watch *w, unsigned tries);

/* In watch.c: has more commits of a ref listed when there is room. */
void watch_ask(watch *w, watch_ref *ref, watch_effects *out);
/* In watch.c: forgets a ref that neither the repository nor the queue knows any more. */
void watch_settle_ref(watch *w, watch_ref *ref);
/* In watch.c: the first sight is over once HEAD's submission is durable: a crash before that starts
 * it anew. */
void watch_settle_first_sight(watch_repo *repo, watch_effects *out);

#endif
