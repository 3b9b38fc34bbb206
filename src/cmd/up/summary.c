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
#include "cmd/client.h"
#include "cmd/show.h"
#include "core/verdict.h"

#define ASK_MS       2000
#define BUILDS_MAX   500
#define BAD_MAX      20 /* units shown a build */
#define OUTPUT_BYTES 4000
#define OUTPUT_LINES 20

struct up_summary {
    client *client;
    bool color;
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
    client_free(s->client);
    free(s);
}

bool up_summary_complete(up_summary *s)
{
    const msg ask = { .type = MSG_builds, .builds = { .max = BUILDS_MAX } };
    const msg *m;

    if (client_ask(s->client, &ask, MSG_builds_are, &m, NULL) != VOLT_OK)
        return false;
    for (size_t i = 0; i < m->builds_are.rows.n; i++)
        if (m->builds_are.rows.v[i].state != STATE_FINAL)
            return false;
    return true;
}

/* The last lines of a unit's output, indented. */
static void print_output(up_summary *s, const rec_test_row *unit)
{
    uint64_t skip = unit->log_len > OUTPUT_BYTES ? unit->log_len - OUTPUT_BYTES : 0;
    const msg ask = { .type = MSG_get,
                      .get = { .task = unit->task,
                               .att = unit->att,
                               .off = unit->log_off + skip,
                               .max = unit->log_len - skip } };
    const msg *m;
    slice text;
    size_t lines = 0, from;

    if (unit->log_len == 0 || client_ask(s->client, &ask, MSG_chunk, &m, NULL) != VOLT_OK)
        return;
    text = m->chunk.d;
    while (text.n && text.p[text.n - 1] == '\n')
        text.n--;
    for (from = text.n; from > 0; from--)
        if (text.p[from - 1] == '\n' && ++lines == OUTPUT_LINES)
            break;
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

static void print_unit(up_summary *s, const rec_test_row *unit)
{
    CLEANUP(buf)
    buf file = { 0 };
    show_tone tone = show_verdict_tone(unit->verdict);

    show_text(&file, unit->file, 0);
    printf("    %s%s%s %s\n", show_begin(s->color, tone), verdict_text(unit->verdict),
           show_end(s->color, tone), buf_str(&file));
    print_output(s, unit);
}

/* Answers stand until the next question, so what is needed longer is copied. */
static void print_bad_units(up_summary *s, uint64_t build)
{
    msg ask = { .type = MSG_units, .units = { .build = build } };
    bool more = true;
    size_t shown = 0;

    while (more && shown < BAD_MAX) {
        CLEANUP(arena)
        arena a = { 0 };
        rec_test_row *bad;
        size_t n = 0;
        const msg *m;

        if (client_ask(s->client, &ask, MSG_units_are, &m, NULL) != VOLT_OK)
            return;
        ask.units.from += m->units_are.rows.n;
        more = m->units_are.more;
        bad = ARENA_ARRAY(&a, rec_test_row, m->units_are.rows.n);
        for (size_t i = 0; i < m->units_are.rows.n; i++) {
            const rec_test_row *unit = &m->units_are.rows.v[i];

            if (!verdict_is_bad(unit->verdict))
                continue;
            bad[n] = *unit;
            bad[n++].file = arena_slice(&a, unit->file);
        }
        for (size_t i = 0; i < n && shown < BAD_MAX; i++, shown++)
            print_unit(s, &bad[i]);
    }
}

/* A task whose verdict stands for its job: not one that was retried. */
static bool is_last(const rec_task_row_list *tasks, size_t i)
{
    for (size_t k = i + 1; k < tasks->n; k++)
        if (slice_eq(tasks->v[k].job, tasks->v[i].job))
            return false;
    return true;
}

/* Scripts, and a plan that says what is wrong with the pipeline file. */
static void print_bad_tasks(up_summary *s, uint64_t build)
{
    const msg ask = { .type = MSG_build, .build = { .build = build } };
    CLEANUP(arena)
    arena a = { 0 };
    rec_test_row *bad;
    size_t n = 0;
    const msg *m;

    if (client_ask(s->client, &ask, MSG_build_is, &m, NULL) != VOLT_OK)
        return;
    bad = ARENA_ARRAY(&a, rec_test_row, BAD_MAX);
    for (size_t i = 0; i < m->build_is.tasks.n && n < BAD_MAX; i++) {
        const rec_task_row *t = &m->build_is.tasks.v[i];
        slice name = t->kind == TASK_PLAN ? SLICE("plan") : t->job;

        if (t->kind == TASK_TESTS || !verdict_is_bad(t->verdict) || !is_last(&m->build_is.tasks, i))
            continue;
        bad[n++] = (rec_test_row){ .file = arena_slice(&a, name),
                                   .verdict = t->verdict,
                                   .task = t->task,
                                   .att = t->att,
                                   .log_len = t->log_bytes };
    }
    for (size_t i = 0; i < n; i++)
        print_unit(s, &bad[i]);
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
        if (verdict_is_bad(rows[i].verdict)) {
            print_bad_tasks(s, rows[i].build);
            print_bad_units(s, rows[i].build);
        }
        passed &= rows[i].verdict == VERDICT_PASSED;
    }
    return passed;
}
