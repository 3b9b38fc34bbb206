/* What the reports of a batch's units say: their verdicts, and their cases on the way out. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "exec/attempt_parts.h"

static void __attribute__((format(printf, 2, 3))) say(attempt *a, const char *fmt, ...)
{
    char *text, *line;
    va_list ap;

    va_start(ap, fmt);
    text = mem_vprintf(fmt, ap);
    va_end(ap);
    line = mem_printf("volt: " SLICE_FMT ": %s", SLICE_ARG(a->order.files.v[a->next]), text);
    output_line(a->out, line);
    free(line);
    free(text);
}

void outcomes_begin(attempt *a)
{
    a->found = NULL;
    if (a->report)
        unit_report_begin(a->report);
}

/* A process may crash after the last case was told; a report may tell of failures to a process that
 * does not care. */
static verdict combine(attempt *a, const unit_outcome *o, const unit_found *f)
{
    bool failed = o->exit != 0 || o->signal != 0;

    if (!failed || f->verdict == VERDICT_FAILED || f->verdict == VERDICT_ERRORED)
        return f->verdict;
    if (f->n && o->signal)
        say(a, "no case failed, but signal %d ended it", o->signal);
    else if (f->n)
        say(a, "no case failed, but it ended with status %d", o->exit);
    return VERDICT_FAILED;
}

/* How many of the cases go to the dispatcher. */
static size_t room(const attempt *a, const unit_found *f)
{
    size_t bytes = a->cases_told, n = 0;

    while (n < f->n) {
        bytes += UNIT_REPORT_CASE_BYTES + f->v[n].name.n + f->v[n].message.n;
        if (bytes > ATTEMPT_CASES_MAX)
            break;
        n++;
    }
    return n;
}

void outcomes_judge(attempt *a, const unit_outcome *o, rec_item *item)
{
    const unit_found *f = unit_report_read(a->report, a->spool, o->log_off, o->log_len);
    uint64_t left_out = f->left_out + f->n - room(a, f);

    a->found = f;
    if (output_lost(a->out) && a->spec.report == REPORT_TAP) {
        say(a, "its output was not kept whole, so its TAP tells nothing");
        item->verdict = VERDICT_ERRORED;
    } else {
        if (f->why)
            say(a, "%s", f->why);
        item->verdict = combine(a, o, f);
    }
    if (left_out)
        say(a,
            "%" PRIu64 " of its cases are not kept: at most %d and %zu MiB of a file, %zu MiB of "
            "an attempt",
            left_out, OUTCOME_CASES_MAX, UNIT_REPORT_BYTES_MAX >> 20, ATTEMPT_CASES_MAX >> 20);
    item->bad = f->bad < OUTCOME_CASES_MAX ? f->bad : OUTCOME_CASES_MAX;
}

/* A text of a report may quote a secret as the log may.  It gets no longer by that. */
static slice masked(attempt *a, slice text)
{
    CLEANUP(buf)
    buf b = { 0 };

    if (!a->mask)
        return arena_slice(&a->cases_mem, text);
    mask_text(a->mask, text, &b);
    return arena_slice(&a->cases_mem, buf_slice(&b));
}

static void add(attempt *a, const rec_test_case *c)
{
    size_t bytes = UNIT_REPORT_CASE_BYTES + c->name.n + c->message.n;

    if (a->cases_bytes + bytes > ATTEMPT_FLUSH_CASES)
        judge_flush(a);
    if (a->cases_n == a->cases_cap) {
        a->cases_cap = a->cases_cap ? 2 * a->cases_cap : 16;
        a->cases = mem_grow(a->cases, a->cases_cap, sizeof *a->cases);
    }
    a->cases[a->cases_n] = *c;
    a->cases[a->cases_n].name = masked(a, c->name);
    a->cases[a->cases_n++].message = masked(a, c->message);
    a->cases_bytes += bytes;
    a->cases_told += bytes;
    a->cases_open++;
}

void outcomes_tell(attempt *a, rec_item *item)
{
    if (!a->found)
        return;
    item->cases = room(a, a->found);
    for (size_t i = 0; i < item->cases; i++)
        add(a, &a->found->v[i]);
    a->found = NULL;
}

void outcomes_flushed(attempt *a)
{
    a->cases_n = a->cases_bytes = 0;
    a->cases_from = a->cases_open;
    arena_reset(&a->cases_mem);
}

void outcomes_free(attempt *a)
{
    unit_report_free(a->report);
    arena_free(&a->cases_mem);
    free(a->cases);
}
