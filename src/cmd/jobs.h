/*
 * jobs.h - the jobs of a build, for people: as a tree by what they need, and how well their work
 * was spread over the fleet.
 */
#ifndef VOLT_CMD_JOBS_H
#define VOLT_CMD_JOBS_H

#include <stdio.h>

#include "core/msg.h"

/* A line a job, each below the one it needs that stands deepest.  Nothing for a lone job that says
 * no more than its units.  now_ms: wall clock, for those that still run. */
void jobs_print(const rec_job_row_list *jobs, uint64_t now_ms, bool color, FILE *out);

/* What a build's work was, and how near its time came to the least: all work divided by the slots,
 * or the longest unit. */
typedef struct jobs_sums {
    uint64_t work_ms;
    uint64_t wall_ms;    /* from the first job that was ready to the end of the last */
    uint64_t least_ms;   /* 0: no slots are known, or nothing took time */
    uint64_t besides_ms; /* that batches took, summed, and their units did not */
} jobs_sums;
jobs_sums jobs_sum(const rec_build_row *build, const rec_job_row_list *jobs,
                   const rec_task_row_list *tasks);
/* Prints them, when all jobs have ended and it says something. */
void jobs_print_sums(const rec_build_row *build, const rec_job_row_list *jobs,
                     const rec_task_row_list *tasks);

#endif
