/*
 * failures.h - what did not pass in a build, each with the end of its output.
 */
#ifndef VOLT_CMD_FAILURES_H
#define VOLT_CMD_FAILURES_H

#include "cmd/client.h"

/* A build's tasks, jobs and units as `build_is` and query_units() have them; they must stand while
 * more questions are asked (client_keep()). */
typedef struct failures_of {
    uint64_t build;
    const rec_task_row_list *tasks;
    const rec_job_row_list *jobs;
    const rec_test_row *units;
    size_t units_n;
} failures_of;

/* Whether a verdict is one of those: what was canceled, or never ran, did not fail. */
bool failures_has(verdict v);

/* Prints scripts and plans that did not pass, then such units in their order, each with the
 * cases of its report that failed and its last lines; of many only the first, and how many more
 * there are.  Returns how many there are in all. Output that the dispatcher no longer has is left
 * out. */
size_t failures_print(client *c, const failures_of *of, bool color);

/* The same of units that passed in a further run, without their output. */
void failures_print_flaky(client *c, const failures_of *of, bool color);

#endif
