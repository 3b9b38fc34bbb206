/*
 * observer_state.h - what an observer remembers of one repository, on disk.
 *
 *   DIR/id                            the observer's id, for the topic of its answers
 *   DIR/<name>-<hash>/lock            held while somebody watches it
 *                    /cursor          text: how far each ref is done with, and what was accepted
 *                                     lately; replaced atomically
 *                    /spool/<n>       a `submit` message, encoded; n counts up
 *
 * The hash is of url and dispatcher: another dispatcher is told everything anew.
 * A spool entry is durable once observer_state_sync() returned.  Cursors and removals are gathered
 * and written by observer_state_flush(): a crash before it means that some submissions are sent
 * twice, which the dispatcher answers with the build they have.
 * Blocks on the disk.
 */
#ifndef VOLT_ROLE_OBSERVER_STATE_H
#define VOLT_ROLE_OBSERVER_STATE_H

#include "base/err.h"
#include "core/watch.h"

typedef struct observer_state observer_state;

typedef struct observer_state_config {
    const char *dir; /* made when it is not there */
    const char *name;
    const char *url;
    const char *dispatcher; /* "host:port" */
    const char *filter;     /* which refs are watched, as one line */
} observer_state_config;

/* VOLT_ELOCKED: somebody watches this repository with this state.  VOLT_EIO.  VOLT_ECORRUPT: the
 * cursor cannot be read; says which file and what to do. */
volt_code observer_state_open(const observer_state_config *config, observer_state **ret,
                              volt_err *err);
/* Does not flush. */
void observer_state_free(observer_state *s);

/* Gives all of it back to `w` (watch_restore_*).  When the filter is another than the last time the
 * repository is not given as known, so that refs watched for the first time do not all count as
 * new. A spool entry that cannot be read was never sent (a crash while it was written): it is
 * removed, its commit is found again behind the cursor.  VOLT_EIO. */
volt_code observer_state_restore(observer_state *s, watch *w, size_t repo, volt_err *err);

/* Writes entry n; after a failure nothing of it is left.  VOLT_EIO: no space, disk failure. */
volt_code observer_state_spool(observer_state *s, uint64_t n, slice frame, volt_err *err);
/* Makes all entries written so far durable.  VOLT_EIO. */
volt_code observer_state_sync(observer_state *s, volt_err *err);

/* Noted for the next flush; an empty oid removes the ref's cursor and what was accepted of it. */
void observer_state_cursor(observer_state *s, slice ref, slice oid);
/* Of a ref with a cursor: oid was accepted at wall_ms.  With it the `n` newest are remembered. */
void observer_state_kept(observer_state *s, slice ref, slice oid, int64_t wall_ms, size_t n);
void observer_state_known(observer_state *s);
void observer_state_unspool(observer_state *s, uint64_t n);
/* True when there is something to flush. */
bool observer_state_dirty(const observer_state *s);
/* Writes the cursor durably, then removes spool entries.  VOLT_EIO: try again later. */
volt_code observer_state_flush(observer_state *s, volt_err *err);

/* True when its directory was deleted. */
bool observer_state_is_gone(const observer_state *s);
/* Makes the directory again, for the next flush.  Entries that were spooled are not made again:
 * their commits are found behind the cursor.  VOLT_EIO.  VOLT_ELOCKED. */
volt_code observer_state_mend(observer_state *s, volt_err *err);

/* Reads DIR/id into ret, or makes it of `fresh` (32 hex digits) at the first start.
 * VOLT_EIO.  VOLT_ECORRUPT. */
volt_code observer_state_id(const char *dir, const char fresh[33], char ret[33], volt_err *err);

#endif
