#include "cmd/failures.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/show.h"
#include "core/verdict.h"

#define FAILURES_MAX 20 /* shown of a build */
#define CASES_MAX    10 /* shown of a unit */
#define CASE_WIDTH   300
#define OUTPUT_BYTES 4000
#define OUTPUT_LINES 20

bool failures_has(verdict v)
{
    return v && v != VERDICT_CANCELED && verdict_is_bad(v);
}

/* Where the last lines of a text begin. */
static size_t last_lines(slice text)
{
    size_t lines = 0, from = text.n;

    for (; from > 0; from--)
        if (text.p[from - 1] == '\n' && ++lines == OUTPUT_LINES)
            break;
    return from;
}

static void print_output(client *c, const rec_test_row *unit)
{
    uint64_t skip = unit->log_len > OUTPUT_BYTES ? unit->log_len - OUTPUT_BYTES : 0;
    const msg ask = { .type = MSG_get,
                      .get = { .task = unit->task,
                               .att = unit->att,
                               .off = unit->log_off + skip,
                               .max = unit->log_len - skip } };
    const msg *m;
    slice text;
    size_t from;

    if (unit->log_len == 0 || client_ask(c, &ask, MSG_chunk, &m, NULL) != VOLT_OK)
        return;
    text = m->chunk.d;
    while (text.n && text.p[text.n - 1] == '\n')
        text.n--;
    from = last_lines(text);
    while (from < text.n) {
        const char *end = memchr(text.p + from, '\n', text.n - from);
        size_t n = end ? (size_t)(end - text.p) - from : text.n - from;
        CLEANUP(buf)
        buf line = { 0 };

        show_text(&line, (slice){ text.p + from, n }, 0);
        printf("      | %s\n", buf_str(&line));
        from += n + 1;
    }
}

static slice first_line(slice text)
{
    const char *end = text.n ? memchr(text.p, '\n', text.n) : NULL;

    return (slice){ text.p, end ? (size_t)(end - text.p) : text.n };
}

/* "      failed test_x.TestA.test_b: 1 != 2" */
static void print_case(const rec_test_case *row, bool color)
{
    show_tone tone = show_verdict_tone(row->verdict);
    CLEANUP(buf)
    buf text = { 0 };

    show_text(&text, row->name, 0);
    if (row->message.n)
        buf_adds(&text, ": ");
    show_text(&text, first_line(row->message), CASE_WIDTH);
    printf("      %s%s%s %s\n", show_begin(color, tone), verdict_text(row->verdict),
           show_end(color, tone), buf_str(&text));
}

static void print_cases(client *c, uint64_t build, const rec_test_row *unit, bool color)
{
    const msg ask = {
        .type = MSG_cases,
        .cases = { .build = build, .job = unit->job, .i = unit->i, .bad = true, .max = CASES_MAX }
    };
    const msg *m;

    if (unit->bad == 0 || client_ask(c, &ask, MSG_cases_are, &m, NULL) != VOLT_OK)
        return;
    for (size_t i = 0; i < m->cases_are.rows.n; i++)
        print_case(&m->cases_are.rows.v[i], color);
    if (unit->bad > m->cases_are.rows.n)
        printf("      … and %" PRIu64 " more of its %" PRIu64 " cases\n",
               unit->bad - m->cases_are.rows.n, unit->cases);
}

static bool may_fail(const failures_of *of, slice job)
{
    for (size_t i = 0; i < of->jobs->n; i++)
        if (slice_eq(of->jobs->v[i].name, job))
            return of->jobs->v[i].allow_failure;
    return false;
}

/* "    failed tests/test_x.py  (unit/7, exit 1, 1.2 s, on build-2)" */
static void print_one(client *c, const failures_of *of, const rec_test_row *unit, bool color)
{
    char took[TEXT_DURATION_MAX];
    show_tone tone = show_verdict_tone(unit->verdict);
    CLEANUP(buf)
    buf name = { 0 };
    CLEANUP(buf)
    buf how = { 0 };

    show_text(&name, unit->file, 0);
    if (unit->job.n) {
        show_text(&how, unit->job, 0);
        buf_addf(&how, "/%" PRIu64, unit->i);
    }
    if (unit->signal)
        buf_addf(&how, "%ssignal %" PRIu64, how.n ? ", " : "", unit->signal);
    else if (unit->exit)
        buf_addf(&how, "%sexit %" PRIu64, how.n ? ", " : "", unit->exit);
    if (unit->tries)
        buf_addf(&how, "%s%" PRIu64 " runs", how.n ? ", " : "", unit->tries);
    if (unit->duration_ms)
        buf_addf(&how, "%s%s", how.n ? ", " : "", text_show_ms((int64_t)unit->duration_ms, took));
    if (unit->runner.n) {
        buf_adds(&how, how.n ? ", on " : "on ");
        show_text(&how, unit->runner, 40);
    }
    if (may_fail(of, unit->job.n ? unit->job : unit->file)) /* a script has its job's name */
        buf_addf(&how, "%sit may fail", how.n ? ", " : "");
    printf("    %s%s%s %s%s%s%s\n", show_begin(color, tone), verdict_text(unit->verdict),
           show_end(color, tone), buf_str(&name), how.n ? "  (" : "", buf_str(&how),
           how.n ? ")" : "");
    print_cases(c, of->build, unit, color);
    if (failures_has(unit->verdict))
        print_output(c, unit);
}

/* A task whose verdict stands for its job: not one that was tried again. */
static bool is_last(const rec_task_row_list *tasks, size_t i)
{
    for (size_t k = i + 1; k < tasks->n; k++)
        if (slice_eq(tasks->v[k].job, tasks->v[i].job))
            return false;
    return true;
}

/* It did not run: it shares the end of a batch whose setup failed. */
static bool has_no_run(const rec_test_row *unit)
{
    return !unit->duration_ms && !unit->log_len && !unit->exit && !unit->signal;
}

/* Of a script, of a plan that says what is wrong with the pipeline file, or of a batch that failed
 * before its files. */
static bool is_bad_task(const failures_of *of, size_t i)
{
    const rec_task_row *t = &of->tasks->v[i];

    if (!failures_has(t->verdict) || t->kind != TASK_TESTS)
        return failures_has(t->verdict) && is_last(of->tasks, i);
    if (t->verdict == VERDICT_LOST)
        return false;
    for (size_t k = 0; t->why.n && k < of->units_n; k++)
        if (of->units[k].task == t->task && !has_no_run(&of->units[k]))
            return false;
    return t->why.n;
}

/* A unit whose failure is not told by its task. */
static bool is_bad_unit(const failures_of *of, const rec_test_row *unit)
{
    if (!failures_has(unit->verdict) || !has_no_run(unit))
        return failures_has(unit->verdict);
    for (size_t i = 0; i < of->tasks->n; i++)
        if (of->tasks->v[i].task == unit->task)
            return !is_bad_task(of, i);
    return true;
}

static rec_test_row as_unit(const rec_task_row *t)
{
    return (rec_test_row){ .file = t->kind == TASK_PLAN ? SLICE("plan") : t->job,
                           .verdict = t->verdict,
                           .duration_ms = t->duration_ms,
                           .task = t->task,
                           .att = t->att,
                           .log_len = t->log_bytes,
                           .exit = t->exit,
                           .signal = t->signal,
                           .runner = t->runner };
}

size_t failures_print(client *c, const failures_of *of, bool color)
{
    size_t n = 0;

    for (size_t i = 0; i < of->tasks->n; i++)
        if (is_bad_task(of, i) && n++ < FAILURES_MAX) {
            rec_test_row unit = as_unit(&of->tasks->v[i]);

            print_one(c, of, &unit, color);
        }
    for (size_t i = 0; i < of->units_n; i++)
        if (is_bad_unit(of, &of->units[i]) && n++ < FAILURES_MAX)
            print_one(c, of, &of->units[i], color);
    if (n > FAILURES_MAX)
        printf("    … and %zu more that did not pass\n", n - FAILURES_MAX);
    return n;
}

void failures_print_flaky(client *c, const failures_of *of, bool color)
{
    size_t n = 0;

    for (size_t i = 0; i < of->units_n; i++)
        if (of->units[i].verdict == VERDICT_FLAKY && n++ < FAILURES_MAX)
            print_one(c, of, &of->units[i], color);
    if (n > FAILURES_MAX)
        printf("    … and %zu more that are flaky\n", n - FAILURES_MAX);
}
