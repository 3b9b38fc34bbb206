/*
 * cases.h - what the fuzzers of report readers check: each case keeps to the limits, and how the
 * report is cut into pieces makes no difference.
 */
#ifndef VOLT_TESTS_FUZZ_CASES_H
#define VOLT_TESTS_FUZZ_CASES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "report/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void require(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

static void add_case(void *ctx, const rec_test_case *c)
{
    buf *b = ctx;

    require(c->name.n > 0 && c->name.n <= REPORT_NAME_MAX, "a case has a name, not too long");
    require(c->message.n <= REPORT_MESSAGE_MAX, "its message is not too long");
    require(c->duration_ms <= MSG_TIME_MAX, "nor its duration");
    require(c->verdict == VERDICT_PASSED || c->verdict == VERDICT_FLAKY ||
                c->verdict == VERDICT_SKIPPED || c->verdict == VERDICT_FAILED ||
                c->verdict == VERDICT_ERRORED,
            "its verdict is one of a case");
    buf_add(b, &c->verdict, sizeof c->verdict);
    buf_add(b, &c->duration_ms, sizeof c->duration_ms);
    buf_add_slice(b, c->name);
    buf_addc(b, 0);
    buf_add_slice(b, c->message);
    buf_addc(b, 0);
}

/* Reads all of it in pieces of `step` bytes, and appends what is told. */
typedef void read_report(slice report, size_t step, buf *told);

/* The first byte says how it is cut. */
static void check_report(const uint8_t *bytes, size_t n, read_report *read_it)
{
    slice report = { (const char *)bytes, n };
    size_t step = 1;
    buf whole = { 0 }, pieces = { 0 };

    if (n > 0) {
        step += bytes[0];
        report = (slice){ report.p + 1, n - 1 };
    }
    read_it(report, n ? n : 1, &whole);
    read_it(report, step, &pieces);
    require(slice_eq(buf_slice(&whole), buf_slice(&pieces)), "pieces tell what the whole tells");
    buf_free(&whole);
    buf_free(&pieces);
}

#endif
