/*
 * history.h - what earlier builds say of a test file: how long it takes, how often it fails, and
 * whether it does both at one commit.
 *
 * Only runs that tell something of the file count: it passed, was flaky, failed, or took too long.
 * What a file shares with a batch that broke is no run.
 *
 * Pure.
 */
#ifndef VOLT_CORE_HISTORY_H
#define VOLT_CORE_HISTORY_H

#include "core/row.h"

/* A run counts for a quarter of the mean: a change shows after two builds, an outlier is forgotten
 * after a few. */
#define HISTORY_WEIGHT 4

#define HISTORY_KEEP_MS    (INT64_C(180) * 24 * 3600 * 1000)
#define HISTORY_KEEP_TIMES 10

/* One run of a file.  Texts are borrowed. */
typedef struct file_run {
    slice repo, job, file, oid;
    verdict verdict;
    uint64_t duration_ms;
    int64_t wall_ms;
} file_run;

/* Whether a unit's verdict is one of a run that counts. */
bool history_counts(verdict v);

/* Counts a run (history_counts()) of r's file.  *r is as it was kept, or has nothing but its key;
 * its texts borrow from the run from now on.
 * Flaky: the tries of this run differed, or it differs from the run before at the same commit.  A
 * commit that is flaky again and again is one. */
void history_count(row_file *r, const file_run *run);

/* How long the history of a file that runs no more is kept where builds are kept for keep_ms: it is
 * small and slow to gather, so ten times as long, and half a year at least. */
int64_t history_keep_ms(int64_t keep_ms);

#endif
