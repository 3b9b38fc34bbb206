/* fuzz_tap.c - whatever a program writes, TAP is read from it. */
#include "report/tap.h"

#include "cases.h"

static void read_tap(slice report, size_t step, buf *told)
{
    tap *t = tap_new(add_case, told);
    const char *why;

    for (size_t at = 0; at < report.n; at += step)
        tap_feed(t, (slice){ report.p + at, report.n - at < step ? report.n - at : step });
    why = tap_end(t);
    buf_adds(told, why ? why : "");
    tap_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    check_report(bytes, n, read_tap);
    return 0;
}
