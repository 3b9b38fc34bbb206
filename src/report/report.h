/*
 * report.h - what the readers of test reports share: junit.h, tap.h.
 *
 * A reader is fed pieces of a report, in order, and hands out each case as soon as it is whole.
 * Names and messages are cut to what proto/messages.def lets a `test_case` have, at the end of a
 * character.  Pure; what is fed may be anything.
 */
#ifndef VOLT_REPORT_REPORT_H
#define VOLT_REPORT_REPORT_H

#include "base/err.h"
#include "core/msg.h"

#define REPORT_NAME_MAX    512
#define REPORT_MESSAGE_MAX 1024

/* Takes a case, borrowed for the call: passed, flaky, skipped, failed or errored. */
typedef void report_take(void *ctx, const rec_test_case *c);

/* The first `max` bytes at most, without a broken character at their end. */
slice report_cut(slice text, size_t max);
/* Without white space at both ends. */
slice report_trim(slice text);
/* A decimal number of units of `ms` milliseconds each ("0.25", "1,234.5", "1e-05"), rounded; what
 * is none is 0. */
uint64_t report_time_ms(slice text, double ms);

#endif
