#include "report/junit.h"

#include <expat.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"

#define TEXT_KEPT_MAX (4 * REPORT_MESSAGE_MAX) /* of a failure's text, before it is trimmed */

typedef struct suite {
    buf name;
    size_t depth;
    uint64_t claimed; /* failures and errors, by its attributes */
    uint64_t bad;     /* cases of that kind in it */
} suite;

struct junit {
    XML_Parser xml;
    report_take *take;
    void *ctx;
    size_t bytes;
    size_t depth;
    volt_code failed;
    volt_err err;

    suite suites[JUNIT_DEPTH_MAX];
    size_t suites_n;

    size_t case_depth; /* of the open testcase; 0: none */
    buf name;
    rec_test_case now; /* texts are set when it ends */
    buf message;

    size_t detail_depth; /* of the open failure, error, skipped...; 0: none */
    buf type, said, text;
};

static void __attribute__((format(printf, 3, 4)))
stop(junit *j, volt_code code, const char *fmt, ...)
{
    char what[160];
    va_list ap;

    if (j->failed)
        return;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    j->failed = volt_fail(&j->err, code, "line %lu, column %lu: %s",
                          (unsigned long)XML_GetCurrentLineNumber(j->xml),
                          (unsigned long)XML_GetCurrentColumnNumber(j->xml) + 1, what);
    XML_StopParser(j->xml, XML_FALSE);
}

/* ---- attributes ---- */

static slice attribute(const XML_Char **atts, const char *name)
{
    for (; *atts; atts += 2)
        if (strcmp(atts[0], name) == 0)
            return slice_of(atts[1]);
    return (slice){ 0 };
}

static uint64_t count(const XML_Char **atts, const char *name)
{
    slice text = attribute(atts, name);
    uint64_t n = 0;

    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9' || n > UINT32_MAX)
            return 0;
        n = 10 * n + (uint64_t)(text.p[i] - '0');
    }
    return n;
}

static void set(buf *b, slice text)
{
    buf_clear(b);
    buf_add_slice(b, text);
}

/* ---- cases ---- */

static bool is_bad(verdict v)
{
    return v == VERDICT_FAILED || v == VERDICT_ERRORED;
}

static void emit(junit *j)
{
    slice name = report_cut(buf_slice(&j->name), REPORT_NAME_MAX);

    j->now.name = name.n ? name : SLICE("(without a name)");
    j->now.message = report_cut(buf_slice(&j->message), REPORT_MESSAGE_MAX);
    if (is_bad(j->now.verdict) && j->suites_n)
        j->suites[j->suites_n - 1].bad++;
    j->take(j->ctx, &j->now);
}

/* "class.name", but what stands in the name already is not said twice, as jest-junit, ctest and
 * node (whose class is always "test") would have it. */
static void set_name(junit *j, slice of, slice name)
{
    buf_clear(&j->name);
    if ((of.n == 0 || slice_is(of, "test")) && j->suites_n)
        of = buf_slice(&j->suites[j->suites_n - 1].name);
    if (!slice_starts(name, of)) {
        buf_add_slice(&j->name, of);
        buf_adds(&j->name, name.n ? "." : "");
    }
    buf_add_slice(&j->name, name);
}

static verdict by_status(slice status)
{
    if (slice_is(status, "fail") || slice_is(status, "failed") || slice_is(status, "failure"))
        return VERDICT_FAILED;
    if (slice_is(status, "error"))
        return VERDICT_ERRORED;
    if (slice_is(status, "notrun") || slice_is(status, "disabled") || slice_is(status, "skipped") ||
        slice_is(status, "ignored"))
        return VERDICT_SKIPPED;
    return VERDICT_PASSED;
}

static void begin_case(junit *j, const XML_Char **atts)
{
    j->case_depth = j->depth;
    j->now = (rec_test_case){ .verdict = by_status(attribute(atts, "status")),
                              .duration_ms = report_time_ms(attribute(atts, "time"), 1000) };
    buf_clear(&j->message);
    set_name(j, attribute(atts, "classname"), attribute(atts, "name"));
}

/* What an element of a testcase says of it; none: nothing. */
static verdict by_element(const char *element)
{
    static const struct {
        const char *element;
        verdict verdict;
    } known[] = {
        { "failure", VERDICT_FAILED },   { "error", VERDICT_ERRORED },
        { "skipped", VERDICT_SKIPPED },  { "flakyFailure", VERDICT_FLAKY },
        { "flakyError", VERDICT_FLAKY }, { "rerunFailure", VERDICT_FLAKY },
        { "rerunError", VERDICT_FLAKY },
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(element, known[i].element) == 0)
            return known[i].verdict;
    return verdict_none;
}

/* What decides when there are several; the first of the greatest. */
static int weight(verdict v)
{
    switch (v) {
    case VERDICT_FAILED:
    case VERDICT_ERRORED:
        return 3;
    case VERDICT_FLAKY:
        return 2;
    case VERDICT_SKIPPED:
        return 1;
    default:
        return 0;
    }
}

static void begin_detail(junit *j, verdict v, const XML_Char **atts)
{
    int more = weight(v) - weight(j->now.verdict);

    if (more < 0 || (more == 0 && j->message.n)) /* the status may have said as much, but not why */
        return;
    j->now.verdict = v;
    j->detail_depth = j->depth;
    set(&j->type, report_trim(attribute(atts, "type")));
    set(&j->said, report_trim(attribute(atts, "message")));
    buf_clear(&j->text);
}

static bool holds(slice text, slice part)
{
    return part.n == 0 || (text.n && memmem(text.p, text.n, part.p, part.n));
}

/* Type, message and text often repeat each other: each is told once. */
static void end_detail(junit *j)
{
    slice type = buf_slice(&j->type), said = buf_slice(&j->said);
    slice text = report_trim(buf_slice(&j->text));

    j->detail_depth = 0;
    buf_clear(&j->message);
    if (!slice_starts(text, said) && !holds(text, said)) {
        if (!holds(said, type) && !holds(text, type)) {
            buf_add_slice(&j->message, type);
            buf_adds(&j->message, said.n ? ": " : "");
        }
        buf_add_slice(&j->message, said);
        buf_adds(&j->message, text.n ? "\n" : "");
    } else if (!holds(text, type)) {
        buf_add_slice(&j->message, type);
        buf_adds(&j->message, text.n ? ": " : "");
    }
    buf_add_slice(&j->message, text);
}

/* ---- suites ---- */

static void begin_suite(junit *j, const XML_Char **atts)
{
    suite *s = &j->suites[j->suites_n++]; /* no more than the depth */

    set(&s->name, report_cut(attribute(atts, "name"), REPORT_NAME_MAX));
    s->depth = j->depth;
    s->claimed = count(atts, "failures") + count(atts, "errors");
    s->bad = 0;
}

static void end_suite(junit *j)
{
    suite *s = &j->suites[j->suites_n - 1];

    if (s->claimed && !s->bad) {
        set(&j->name, buf_slice(&s->name));
        buf_clear(&j->message);
        buf_addf(&j->message, "the report counts %llu that did not pass here, and names none",
                 (unsigned long long)s->claimed);
        j->now = (rec_test_case){ .verdict = VERDICT_ERRORED };
        emit(j);
    }
    j->suites_n--;
    if (j->suites_n)
        j->suites[j->suites_n - 1].bad += s->bad;
}

/* ---- elements ---- */

static void XMLCALL on_start(void *ctx, const XML_Char *element, const XML_Char **atts)
{
    junit *j = ctx;
    verdict v = by_element(element);
    bool is_suite = strcmp(element, "testsuite") == 0 || strcmp(element, "testsuites") == 0;

    if (++j->depth > JUNIT_DEPTH_MAX) {
        stop(j, VOLT_EINVALID, "elements are nested more than %d deep", JUNIT_DEPTH_MAX);
    } else if (j->depth == 1 && !is_suite) {
        stop(j, VOLT_EINVALID, "a report begins with <testsuites> or <testsuite>, not <%.40s>",
             element);
    } else if (j->case_depth) {
        if (v && !j->detail_depth && j->depth == j->case_depth + 1)
            begin_detail(j, v, atts);
    } else if (is_suite) {
        begin_suite(j, atts);
    } else if (strcmp(element, "testcase") == 0) {
        begin_case(j, atts);
    } else if (is_bad(v)) { /* of the suite as a whole */
        j->case_depth = j->depth;
        j->now = (rec_test_case){ .verdict = VERDICT_PASSED };
        set(&j->name, buf_slice(&j->suites[j->suites_n - 1].name));
        begin_detail(j, v, atts);
    }
}

static void XMLCALL on_end(void *ctx, const XML_Char *element)
{
    junit *j = ctx;

    (void)element;
    if (j->failed)
        return;
    if (j->detail_depth == j->depth)
        end_detail(j);
    if (j->case_depth == j->depth) {
        j->case_depth = 0;
        emit(j);
    } else if (j->suites_n && j->suites[j->suites_n - 1].depth == j->depth) {
        end_suite(j);
    }
    j->depth--;
}

static void XMLCALL on_text(void *ctx, const XML_Char *text, int n)
{
    junit *j = ctx;
    size_t room = TEXT_KEPT_MAX - j->text.n;

    if (j->detail_depth)
        buf_add(&j->text, text, (size_t)n < room ? (size_t)n : room);
}

static void XMLCALL on_doctype(void *ctx, const XML_Char *name, const XML_Char *system,
                               const XML_Char *public, int internal)
{
    (void)name, (void)system, (void)public, (void)internal;
    stop(ctx, VOLT_EINVALID, "it has a DOCTYPE, which is refused");
}

/* ---- life ---- */

junit *junit_new(report_take *take, void *ctx)
{
    junit *j = NEW(junit);

    j->take = take;
    j->ctx = ctx;
    j->xml = XML_ParserCreate(NULL);
    if (!j->xml)
        mem_end();
    XML_SetUserData(j->xml, j);
    XML_SetElementHandler(j->xml, on_start, on_end);
    XML_SetCharacterDataHandler(j->xml, on_text);
    XML_SetStartDoctypeDeclHandler(j->xml, on_doctype);
    return j;
}

void junit_free(junit *j)
{
    if (!j)
        return;
    XML_ParserFree(j->xml);
    for (size_t i = 0; i < JUNIT_DEPTH_MAX; i++)
        buf_free(&j->suites[i].name);
    buf_free(&j->name);
    buf_free(&j->message);
    buf_free(&j->type);
    buf_free(&j->said);
    buf_free(&j->text);
    free(j);
}

static volt_code parse(junit *j, slice piece, bool last, volt_err *err)
{
    if (!j->failed && XML_Parse(j->xml, piece.p, (int)piece.n, last) == XML_STATUS_ERROR) {
        if (XML_GetErrorCode(j->xml) == XML_ERROR_NO_MEMORY)
            mem_end();
        stop(j, VOLT_EINVALID, "%s", XML_ErrorString(XML_GetErrorCode(j->xml)));
    }
    if (j->failed && err)
        *err = j->err;
    return j->failed;
}

volt_code junit_feed(junit *j, slice piece, volt_err *err)
{
    if (!j->failed && piece.n > JUNIT_BYTES_MAX - j->bytes)
        stop(j, VOLT_EFULL, "it is larger than %zu MiB", JUNIT_BYTES_MAX >> 20);
    j->bytes += j->failed ? 0 : piece.n;
    return parse(j, piece, false, err);
}

volt_code junit_end(junit *j, volt_err *err)
{
    return parse(j, (slice){ 0 }, true, err);
}
