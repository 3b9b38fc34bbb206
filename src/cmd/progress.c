#include "cmd/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/text.h"

#define SAY_MS  10000 /* between two lines in a pipe */
#define DRAW_MS 100   /* between two looks of the line on a terminal */

/* By the history of the files, spread over the slots at work; without a history as fast as until
 * now, which says nothing before a quarter is done: setup took its part.  0: it cannot be told. */
static int64_t left_ms(const rec_build_row *sum, int64_t elapsed_ms)
{
    uint64_t left = sum->units - sum->units_done;

    if (sum->left_ms && sum->busy)
        return (int64_t)(sum->left_ms / sum->busy);
    if (!left || 4 * sum->units_done < sum->units)
        return 0;
    return (int64_t)((double)elapsed_ms * (double)left / (double)sum->units_done);
}

void progress_text(const rec_build_row *rows, size_t n, int64_t elapsed_ms, buf *out)
{
    char took[TEXT_DURATION_MAX];
    rec_build_row sum = rows[0];
    int64_t left;

    for (size_t i = 1; i < n; i++) {
        sum.units += rows[i].units;
        sum.units_done += rows[i].units_done;
        sum.units_bad += rows[i].units_bad;
        sum.busy += rows[i].busy;
        sum.left_ms += rows[i].left_ms;
    }
    if (n == 1)
        buf_addf(out, "build %" PRIu64 ": ", sum.build);
    else
        buf_addf(out, "%zu builds: ", n);
    if (sum.units)
        buf_addf(out, "%" PRIu64 " of %" PRIu64, sum.units_done, sum.units);
    else
        buf_adds(out, state_text(sum.state));
    if (sum.busy)
        buf_addf(out, " on %" PRIu64 " slot%s", sum.busy, sum.busy == 1 ? "" : "s");
    if (sum.units_bad)
        buf_addf(out, ", %" PRIu64 " not passed", sum.units_bad);
    buf_addf(out, ", %s", text_show_ms(elapsed_ms, took));
    left = left_ms(&sum, elapsed_ms);
    if (left)
        buf_addf(out, ", about %s left", text_show_ms(left, took));
}

/* The counts without the times: whether there is something new to say. */
static char *news_of(const rec_build_row *rows, size_t n)
{
    uint64_t done = 0, units = 0;

    for (size_t i = 0; i < n; i++) {
        done += rows[i].units_done;
        units += rows[i].units;
    }
    return mem_printf("%zu %" PRIu64 " %" PRIu64, n, done, units);
}

void progress_show(progress *p, const rec_build_row *rows, size_t n, int64_t now_ms)
{
    bool terminal = isatty(STDERR_FILENO);
    CLEANUP(buf)
    buf text = { 0 };
    CLEANUP(free)
    char *news = NULL;

    if (!p->begun_ms || !n) {
        p->begun_ms = now_ms;
        p->said_ms = now_ms - (terminal ? DRAW_MS : 0);
    }
    if (n)
        progress_text(rows, n, now_ms - p->begun_ms, &text);
    if (terminal && p->said_ms > now_ms - DRAW_MS && n)
        return;
    if (terminal) {
        p->said_ms = now_ms;
        fprintf(stderr, "\r\033[K%s", buf_str(&text));
        fflush(stderr);
        return;
    }
    if (!n || now_ms - p->said_ms < SAY_MS)
        return;
    news = news_of(rows, n);
    if (p->said && strcmp(p->said, news) == 0)
        return;
    fprintf(stderr, "%s\n", buf_str(&text));
    p->said_ms = now_ms;
    free(p->said);
    p->said = TAKE(news);
}

void progress_end(progress *p)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    free(p->said);
    *p = (progress){ 0 };
}
