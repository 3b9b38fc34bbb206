/*
 * unit_report.h - what a unit reported beside its exit status: its cases.
 *
 *   unit_report_begin()   before it starts: notes which report files are there already
 *   unit_report_read()    after it ended: reads those that it wrote, or its output
 *
 * JUnit files are looked for in the checkout by the pattern that the pipeline names.  They are a
 * unit's when they are new since its begin, or their inode, size or times have changed.  A file
 * that was read gets the date of a moment before, so that the next unit's is told from it even when
 * it is written in the same tick of the kernel's clock with the same length.  Nothing is deleted:
 * a pattern may name files of the repository.
 */
#ifndef VOLT_EXEC_UNIT_REPORT_H
#define VOLT_EXEC_UNIT_REPORT_H

#include "core/msg.h"
#include "core/outcome.h"
#include "exec/spool.h"

#define UNIT_REPORT_FILES_MAX   10000             /* that match the pattern */
#define UNIT_REPORT_ENTRIES_MAX 200000            /* of directories that are looked at */
#define UNIT_REPORT_BYTES_MAX   ((size_t)4 << 20) /* of cases that are kept */
#define UNIT_REPORT_CASE_BYTES  64                /* of one, beside its texts */

typedef struct unit_report unit_report;

typedef struct unit_found {
    /* Failed, errored (there is no report, or it cannot be read), no_tests, flaky or passed; by the
     * report alone. */
    verdict verdict;
    const char *why; /* for people; NULL: its cases say it */
    const rec_test_case *v;
    size_t n;
    uint64_t bad;      /* that failed or errored, also of those that are not kept */
    uint64_t left_out; /* beyond OUTCOME_CASES_MAX or UNIT_REPORT_BYTES_MAX */
} unit_found;          /* stands until the next read */

/* Of units that run in the directory `dir`; the texts are borrowed. */
unit_report *unit_report_new(report_kind kind, slice files, const char *dir);
void unit_report_free(unit_report *r);

void unit_report_begin(unit_report *r);
/* `s`: the attempt's spool, in whose log the unit's output is at [off, off + len). */
const unit_found *unit_report_read(unit_report *r, spool *s, uint64_t off, uint64_t len);

#endif
