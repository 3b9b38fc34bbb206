/*
 * story.h - a dispatcher over a SQLite store, and peers that never give up.
 *
 * Two runners and a client work through three builds: tests in batches, a script, a long log, a
 * rebuild that is canceled, a clean restart, retention.  They repeat what is not answered and say
 * hello when they are asked, so the story comes to the same end through any number of failures of
 * the store.  A ledger keeps what left the dispatcher; story_check() compares it with the store.
 *
 * A broken promise ends the process with status 1 and a line that says which.
 */
#ifndef VOLT_TESTS_FAULT_STORY_H
#define VOLT_TESTS_FAULT_STORY_H

#include "role/dispatcher.h"

typedef struct story story;

/* Nothing is open yet: story_open(). */
story *story_new(const char *dir, uint64_t seed);
void story_free(story *s);

/* Opens store and dispatcher.  After a failure nothing is open. */
volt_code story_open(story *s, volt_err *err);
/* Closes both; what was not committed is lost, frames that were not sent, too. */
void story_close(story *s);
/* The process ended where it was: both are left as they are, with their memory. */
void story_abandon(story *s);
/* The power was gone: log files lose what was not synced. */
void story_power_back(story *s, uint64_t seed);

/* What happens in a quarter of a second.  An error means that the store failed: close and open. */
volt_code story_turn(story *s, volt_err *err);
bool story_ended(const story *s);

/* S4, S6, S8, S9, attempts and epochs against the store, which must be open, and its own check. */
void story_check(story *s);
/* And that everything came out as it must. */
void story_check_end(story *s);

_Noreturn void story_broken(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
