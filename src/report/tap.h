/*
 * tap.h - TAP, the Test Anything Protocol, versions 12 to 14, in a program's output.
 *
 * Each test line at the left margin is a case.  What is indented belongs to a subtest, which its
 * parent's line sums up; other text between is not TAP's and is passed over.  `# SKIP` makes a
 * case skipped, and so does `# TODO` of one that is not ok (one that is expected to fail).  Of a
 * YAML block behind a test line only message and duration_ms are read.  testanything.org has the
 * specification.
 */
#ifndef VOLT_REPORT_TAP_H
#define VOLT_REPORT_TAP_H

#include "report/report.h"

#define TAP_LINE_MAX 4096 /* bytes of a line that are looked at */

typedef struct tap tap;

tap *tap_new(report_take *take, void *ctx);
void tap_free(tap *t);
void tap_feed(tap *t, slice piece);
/* Nothing follows.  What is wrong with it as a whole, for people: no plan, another number of tests
 * than planned, "Bail out!"; NULL: nothing, or there is no TAP in it.  Stands as long as the
 * reader. */
const char *tap_end(tap *t);

#endif
