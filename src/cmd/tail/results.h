/*
 * results.h - keeps a directory of result files up to date: one finished build after the other.
 *
 * For each build_done it asks the dispatcher for the build, its units and their output, without
 * blocking, and writes the commit's file (resultfile.h).  A question without an answer is repeated
 * for ever; what the dispatcher no longer has is said in the file.
 */
#ifndef VOLT_CMD_TAIL_RESULTS_H
#define VOLT_CMD_TAIL_RESULTS_H

#include "base/err.h"
#include "core/msg.h"
#include "net/sock.h"

#define RESULTS_QUEUE_MAX 256 /* beyond, results_is_full(): the caller holds back what it reads */

typedef struct results results;

/* The build of the event is dealt with; `path` is its file, NULL when its repository's name makes
 * none.  With `err` (else NULL) its file could not be written, and nothing more will be: the caller
 * ends. */
typedef void (*results_fn)(void *ctx, const msg_event *event, const char *path,
                           const volt_err *err);

/* Writes to DIR, made when missing; asks through `s` (borrowed) with query tag `tag`.
 * VOLT_EIO: DIR cannot be had. */
volt_code results_new(const char *dir, sock *s, unsigned tag, results_fn done, void *ctx,
                      results **ret, volt_err *err);
/* What is not written yet is forgotten. */
void results_free(results *r);

/* Queues the build of a build_done event. */
void results_add(results *r, int64_t now_ms, const msg_event *event);
/* True when `answer` was for one of our questions. */
bool results_take(results *r, int64_t now_ms, const msg *answer);
/* The dispatcher has another history: what waits is of builds that nobody can tell of. */
void results_forget(results *r);
bool results_is_full(const results *r);
/* Builds that wait or are under way. */
size_t results_pending(const results *r);

void results_tick(results *r, int64_t now_ms);
int64_t results_deadline_ms(const results *r);

#endif
