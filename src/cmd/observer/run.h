/*
 * run.h - an observer at work: the machine of core/watch.h, its repositories, their state
 * on disk and the link to the dispatcher, in one loop.
 *
 * observer.c sets it up from the command line and tears it down.
 */
#ifndef VOLT_CMD_OBSERVER_RUN_H
#define VOLT_CMD_OBSERVER_RUN_H

#include "base/buf.h"
#include "base/log.h"
#include "cmd/observer/hint.h"
#include "cmd/observer/link.h"
#include "cmd/observer/names.h"
#include "cmd/observer/repo.h"
#include "net/loop.h"
#include "role/observer_state.h"

/* What goes with one repository besides looking at it. */
typedef struct watched {
    observer_source source;
    observer_state *state;
    observer_repo *repo;
    bool spool_failed; /* in the batch under way */
    bool spooled;      /* likewise: something was written */
} watched;

typedef struct observer {
    watched *v;
    size_t n;
    watch *w;
    watch_effects out;
    bool busy;        /* effects are being carried out: new ones wait their turn in `out` */
    bool in_batch;    /* SPOOL effects in a row, synced together */
    uint64_t *batch;  /* ids of submissions written, not yet durable */
    size_t *batch_of; /* their repositories */
    size_t batch_n, batch_cap;
    buf frame;
    loop *loop;
    observer_link *link;
    observer_hint *hint;
    const char *server;
    int64_t flush_ms; /* INT64_MAX: nothing to flush */
    int64_t look_ms;  /* when the states' directories are looked at */
    log_limit spool_trouble, flush_trouble;
    int signal; /* that ends us; 0: none */
} observer;

/* What repositories, link, hints and signals call; `ctx` is the observer. */
observer_repo_calls observer_run_calls(observer *o);
void observer_run_message(void *ctx, const msg *m);
void observer_run_hints(void *ctx);
void observer_run_signal(void *ctx, int number);

/* Watches until a signal comes, with `once` until everything that is seen now has been answered.
 * What was to be persisted is, at the end.  VOLT_EIO: the loop itself failed,
 * or the state was deleted and cannot be made again. */
volt_code observer_run(observer *o, bool once, volt_err *err);

#endif
