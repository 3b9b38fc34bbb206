/*
 * commits.h - what a commit holds: decided by its id, so that every attempt at it finds the same.
 */
#ifndef VOLT_TESTS_SIM_COMMITS_H
#define VOLT_TESTS_SIM_COMMITS_H

#include "base/arena.h"
#include "base/prng.h"
#include "core/msg.h"

#define SPEC_SETUP  "setup"       /* of a job of tests that has one */
#define SPEC_SECRET "make deploy" /* wants a secret, which not every runner has */

/* Draws that are the commit's own; `salt` tells them apart. */
prng commit_prng(slice oid, uint64_t salt);
/* Its pipeline file says `supersede`. */
bool commit_supersedes(slice oid);
/* Its jobs, in `a`.  *ret: the verdict of its plan; not PASSED: planning itself fails. */
rec_job_list commit_plan(slice oid, arena *a, verdict *ret);

#endif
