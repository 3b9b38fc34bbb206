#include "cmd/up/summary.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/text.h"
#include "cmd/failures.h"
#include "cmd/progress.h"
#include "cmd/query.h"
#include "cmd/show.h"
#include "core/verdict.h"
#include "net/loop.h"

#define ASK_MS     2000
#define BUILDS_MAX 500

struct up_summary {
    client *client;
    bool color;
    progress progress;
};

volt_code up_summary_new(const char *server, up_summary **ret, volt_err *err)
{
    up_summary *s = NEW(up_summary);
    volt_code code = client_open(server, ASK_MS, &s->client, err);

    if (code != VOLT_OK) {
        free(s);
        return code;
    }
    s->color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    *ret = s;
    return VOLT_OK;
}

void up_summary_free(up_summary *s)
{
    if (!s)
        return;
    progress_end(&s->progress);
    client_free(s->client);
    free(s);
}

bool up_summary_complete(up_summary *s)
{
    const msg ask = { .type = MSG_builds, .builds = { .max = BUILDS_MAX } };
    CLEANUP(arena)
    arena a = { 0 };
    rec_build_row *open;
    const msg *m;
    size_t n = 0;

    if (client_ask(s->client, &ask, MSG_builds_are, &m, NULL) != VOLT_OK)
        return false;
    open = ARENA_ARRAY(&a, rec_build_row, m->builds_are.rows.n);
    for (size_t i = 0; i < m->builds_are.rows.n; i++)
        if (m->builds_are.rows.v[i].state != STATE_FINAL)
            open[n++] = m->builds_are.rows.v[i];
    progress_show(&s->progress, open, n, loop_now_ms());
    return n == 0;
}

/* What did not pass, with its output, and what did in a further run. */
static void print_notable(up_summary *s, uint64_t build)
{
    const msg ask = { .type = MSG_build, .build = { .build = build } };
    CLEANUP(free)
    rec_test_row *units = NULL;
    failures_of of = { .build = build };
    const msg *m;

    if (client_ask(s->client, &ask, MSG_build_is, &m, NULL) != VOLT_OK)
        return;
    client_keep(s->client);
    of.tasks = &m->build_is.tasks;
    of.jobs = &m->build_is.jobs;
    if (query_units(s->client, build, &units, &of.units_n, NULL) != VOLT_OK)
        return;
    of.units = units;
    failures_print(s->client, &of, s->color);
    failures_print_flaky(s->client, &of, s->color);
}

static void print_build(up_summary *s, const rec_build_row *b)
{
    char took[TEXT_DURATION_MAX];
    show_tone tone = show_verdict_tone(b->verdict);
    slice ref = show_ref(b->ref), oid = show_oid(b->oid);

    printf("%s%-8s%s " SLICE_FMT " " SLICE_FMT " " SLICE_FMT ": %" PRIu64 " tests, %" PRIu64
           " not passed, %s\n",
           show_begin(s->color, tone), verdict_text(b->verdict), show_end(s->color, tone),
           SLICE_ARG(b->repo), SLICE_ARG(ref), SLICE_ARG(oid), b->units, b->units_bad,
           text_show_ms((int64_t)(b->finished_ms - b->created_ms), took));
    if (b->why.n) {
        CLEANUP(buf)
        buf why = { 0 };

        show_text(&why, b->why, 0);
        printf("    %s\n", buf_str(&why));
    }
}

/* A newer build of the same branch is among those before it: it was of an earlier run. */
static bool is_superseded(const rec_build_row *rows, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (slice_eq(rows[k].repo, rows[i].repo) && slice_eq(rows[k].ref, rows[i].ref))
            return true;
    return false;
}

bool up_summary_print(up_summary *s)
{
    const msg ask = { .type = MSG_builds, .builds = { .max = BUILDS_MAX } };
    CLEANUP(arena)
    arena a = { 0 };
    rec_build_row *rows;
    const msg *m;
    bool passed = true;
    size_t n;
    volt_err err;

    if (client_ask(s->client, &ask, MSG_builds_are, &m, &err) != VOLT_OK) {
        fprintf(stderr, "volt up: %s\n", err.msg);
        return false;
    }
    n = m->builds_are.rows.n;
    if (!n) {
        fprintf(stderr, "volt up: nothing was tested: HEAD names no commit\n");
        return false;
    }
    rows = ARENA_ARRAY(&a, rec_build_row, n);
    for (size_t i = 0; i < n; i++) {
        rows[i] = m->builds_are.rows.v[i];
        rows[i].repo = arena_slice(&a, rows[i].repo);
        rows[i].ref = arena_slice(&a, rows[i].ref);
        rows[i].oid = arena_slice(&a, rows[i].oid);
        rows[i].why = arena_slice(&a, rows[i].why);
    }
    printf("\n");
    for (size_t i = n; i-- > 0;) { /* newest first came; oldest first is printed */
        if (is_superseded(rows, i))
            continue;
        print_build(s, &rows[i]);
        print_notable(s, rows[i].build);
        passed &= rows[i].verdict == VERDICT_PASSED;
    }
    return passed;
}
