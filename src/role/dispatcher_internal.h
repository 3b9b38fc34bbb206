/*
 * dispatcher_internal.h - shared by dispatcher.c (frames, transactions), facts.c (what the store
 * knows about a message), tally.c (the histories of test files), keep.c (retention), query.c and
 * artifacts.c (answers to readers).
 */
#ifndef VOLT_ROLE_DISPATCHER_INTERNAL_H
#define VOLT_ROLE_DISPATCHER_INTERNAL_H

#include "base/map.h"
#include "core/history.h"
#include "role/dispatcher.h"
#include "role/readers.h"

struct dispatcher {
    store *store;
    log_files logs;
    dispatcher_out out;
    dispatch *core;
    effects effects;    /* of the step under way */
    arena arena;        /* of the frame under way */
    dispatch_memo memo; /* in it */
    buf outbox;         /* entries that wait for the commit */
    buf event_frame;    /* the event being put */
    readers readers;
    buf question;    /* the one being answered */
    int64_t read_ms; /* when the next question is due, if any waits */
    bool dirty;      /* something was put since the last commit */
    bool disk_low;
    uint64_t bad_frames;
    map bad_peers;    /* peer -> when it may be told again */
    buf gone_peers;   /* peers whose connections were gone at the last delivery */
    buf gone_logs;    /* log_names of files that go after the commit */
    map grown;        /* repositories where builds ended, and are to be counted for keep->builds */
    bool crammed;     /* keep->bytes is exceeded, and nothing may go */
    uint64_t floor;   /* oldest event kept */
    uint64_t counted; /* newest event that is in the histories of files */
    int64_t tallied_ms, worked_ms; /* the last turns that counted some, that had other work */
    uint64_t ep;
    char hist[33];
    int64_t now_ms, wall_ms;
    int64_t behind_at_ms; /* frames wait since before the end of that turn; 0: none do */
    int64_t behind_ms;    /* by so much leases were made longer in this stretch */
};

/* Puts a message into the outbox. */
void outbox_send(dispatcher *d, uint64_t peer, const msg *m);

/* Looks up what `m` needs; rows live in d->arena. */
volt_code facts_find(dispatcher *d, const msg *m, dispatch_facts *ret, volt_err *err);

/* When some of the events shall be counted; INT64_MAX: all are. */
int64_t tally_due_ms(const dispatcher *d);
/* Counts some of them in the histories of files, in the open transaction (it begins one), if it is
 * time for that; `busy`: this turn has other work.  Uses d->arena. */
volt_code tally_some(dispatcher *d, bool busy, volt_err *err);

bool query_is(msg_type type);
/* VOLT_ENOTFOUND: there is no such build, or it has no details any more. */
volt_code answer_artifacts(dispatcher *d, uint64_t peer, const msg *m, volt_err *err);
volt_code query_answer(dispatcher *d, uint64_t peer, const msg *m, volt_err *err);
/* One of them: query_cases.c. */
volt_code query_cases(dispatcher *d, uint64_t peer, const msg *m, volt_err *err);

#endif
