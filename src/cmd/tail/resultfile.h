/*
 * resultfile.h - the file that tells of one commit: DIR/<repo>/<commit>, and DIR/<commit>, a
 * relative link to it.
 *
 *   verdict: failed
 *   repo: seed
 *   ref: refs/heads/main
 *   commit: 1a2b…
 *   …
 *
 *   --- failed      345 bytes  1203 ms  exit 1  job tests  attempt 4/1  runner box-1
 * tests/test_a.py <exactly 345 bytes>
 *   --- passed       12 bytes  …
 *
 * A header, an empty line, then for each unit a line that begins with "--- " and says how many
 * bytes follow, those bytes as the unit wrote them, and one newline.  Whoever counts bytes can read
 * any output back.  A unit whose build ended before its turn is "not-run".  "--- note: " begins a
 * line for people, which nothing follows: of a unit whose report names cases that failed, one for
 * each of the first of them stands before it.
 *
 * A file appears whole or not at all: written under a temporary name, synced, renamed.  One commit
 * on two branches, or tested again, is several builds: the file is of the newest.
 */
#ifndef VOLT_CMD_TAIL_RESULTFILE_H
#define VOLT_CMD_TAIL_RESULTFILE_H

#include "base/buf.h"
#include "base/err.h"
#include "core/msg.h"

typedef struct resultfile resultfile;

/* One unit: a test file, a script, or the plan (which `name` then says). */
typedef struct result_unit {
    verdict verdict;
    uint64_t duration_ms, exit, signal, task, att;
    uint64_t off, len; /* its output in the attempt's log */
    slice job, runner, name, why;
    uint64_t i, bad; /* a test file: its place in the job; cases of its report that failed */
} result_unit;

/* Opens DIR, made with its parents when missing.  VOLT_EIO: says what failed. */
volt_code resultfile_dir(const char *dir, int *ret, volt_err *err);

/* A file for the commit of a build_done event, which is borrowed as long as the file.
 * VOLT_EINVALID: the repository's name makes no file name.  VOLT_EIO. */
volt_code resultfile_new(int dir, const msg_event *build, resultfile **ret, volt_err *err);
/* True when the commit's file is there already, from a later build of the same history, or, if
 * `or_same`, from this one. */
bool resultfile_is_newer(const resultfile *f, bool or_same);
/* Abandons what is not committed. */
void resultfile_free(resultfile *f);

/* Writing.  A write that fails is remembered and said by resultfile_commit(). */
void resultfile_head(resultfile *f, const char *key, slice value); /* "key: value" */
void resultfile_note(resultfile *f, const char *text);
void resultfile_unit(resultfile *f, const result_unit *unit);
void resultfile_bytes(resultfile *f, slice bytes);
/* Closes a unit of which fewer bytes than announced may have been written: then its line is
 * corrected and a note says how many are missing. */
void resultfile_unit_end(resultfile *f);

/* Makes the file durable and visible.  VOLT_EIO: nothing changed, or the flat link did not. */
volt_code resultfile_commit(resultfile *f, volt_err *err);
/* "<repo>/<commit>", relative to DIR; stands as long as f. */
const char *resultfile_path(const resultfile *f);

#endif
