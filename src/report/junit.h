/*
 * junit.h - reports in JUnit's XML, as pytest, surefire, Gradle, jest-junit, gotestsum, ctest, node
 * and many others write it.
 *
 * There is no one format: each tool has its own.  What they share is read: `testcase` elements in
 * any nesting of `testsuite`, in them `failure`, `error` and `skipped`, and surefire's
 * `flakyFailure` and `flakyError` (it passed when it was run again).  ctest's and googletest's
 * `status` counts where there is no such element.  An `error` or `failure` of a suite is a case in
 * its name; so is a suite that counts failures and names none, for that must not look green.
 *
 * A DOCTYPE is refused, and with it all entities but XML's own five: reports need none, and
 * attacks do.
 */
#ifndef VOLT_REPORT_JUNIT_H
#define VOLT_REPORT_JUNIT_H

#include "report/report.h"

#define JUNIT_BYTES_MAX ((size_t)16 << 20)
#define JUNIT_DEPTH_MAX 64

typedef struct junit junit;

junit *junit_new(report_take *take, void *ctx);
void junit_free(junit *j);
/* The next piece.  VOLT_EINVALID: it is no such report; says the line and what is wrong there.
 * VOLT_EFULL: it is longer than JUNIT_BYTES_MAX.  After an error nothing more is read. */
volt_code junit_feed(junit *j, slice piece, volt_err *err);
/* Nothing follows.  VOLT_EINVALID: it is not whole. */
volt_code junit_end(junit *j, volt_err *err);

#endif
