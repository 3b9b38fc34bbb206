/* fuzz_junit.c - whatever is given for a JUnit report, it is read or refused. */
#include "report/junit.h"

#include "cases.h"

static void read_junit(slice report, size_t step, buf *told)
{
    junit *j = junit_new(add_case, told);
    volt_err err = { 0 };
    volt_code rc = VOLT_OK;

    for (size_t at = 0; !rc && at < report.n; at += step)
        rc = junit_feed(j, (slice){ report.p + at, report.n - at < step ? report.n - at : step },
                        &err);
    if (!rc)
        rc = junit_end(j, &err);
    require(!rc || err.msg[0], "a refusal has a reason");
    buf_addf(told, "%d", rc);
    junit_free(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    check_report(bytes, n, read_junit);
    return 0;
}
