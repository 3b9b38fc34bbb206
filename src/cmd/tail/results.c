#include "cmd/tail/results.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "cmd/tail/question.h"
#include "cmd/tail/resultfile.h"
#include "wire/codec.h"

/* Units of one batch lie next to one another in its log, those of several batches alternate: logs
 * are fetched and remembered in windows. */
#define WINDOW_BYTES 131072 /* most that `get` gives */
#define CASES_MAX    20     /* told of a unit */
#define CASE_BYTES   512
#define WINDOWS      32 /* so 4 MiB; batches that run at once rarely are more */

typedef struct window {
    uint64_t task, att, at; /* task 0: empty */
    bool end;               /* no more will come */
    buf bytes;
} window;

typedef struct build_wait {
    list node;
    buf frame; /* its event, which `event` borrows from */
    arena arena;
    msg event;
} build_wait;

typedef enum phase { ASK_BUILD, ASK_UNITS, ASK_CASES, ASK_OUTPUT } phase;

struct results {
    int dir;
    char *dir_path;
    results_fn done;
    void *ctx;
    question question;
    list queue;
    size_t queued;

    build_wait *now; /* the build under way */
    phase phase;
    arena arena; /* texts of what follows */
    rec_build_row row;
    bool found; /* the dispatcher knows the build */
    rec_job_row_list jobs;
    result_unit *units;
    size_t n, cap, scripts; /* the first `scripts` are plans and scripts, the others test files */
    uint64_t test_rows;     /* rows of `units` taken so far */
    resultfile *file;
    size_t at;       /* unit that is written */
    uint64_t at_off; /* bytes of its output that are written */
    bool unit_open;
    bool cases_told; /* of the unit that is next */
    window windows[WINDOWS];
    window *asked; /* the window that the open question fills */
};

volt_code results_new(const char *dir, sock *s, unsigned tag, results_fn done, void *ctx,
                      results **ret, volt_err *err)
{
    results *r;
    int fd;
    volt_code rc = resultfile_dir(dir, &fd, err);

    if (rc)
        return rc;
    r = NEW(results);
    r->dir = fd;
    r->dir_path = mem_strdup(dir);
    r->done = done;
    r->ctx = ctx;
    r->question.sock = s;
    r->question.tag = tag;
    list_init(&r->queue);
    *ret = r;
    return VOLT_OK;
}

static void build_wait_free(build_wait *b)
{
    if (!b)
        return;
    buf_free(&b->frame);
    arena_free(&b->arena);
    free(b);
}

/* Nothing is under way any more. */
static void clear(results *r)
{
    build_wait_free(r->now);
    r->now = NULL;
    resultfile_free(r->file);
    r->file = NULL;
    r->question.open = false;
    r->found = false;
    r->row = (rec_build_row){ .build = 0 };
    r->jobs = (rec_job_row_list){ 0 };
    r->n = r->scripts = r->at = 0;
    r->test_rows = r->at_off = 0;
    r->unit_open = r->cases_told = false;
    arena_reset(&r->arena);
    for (size_t i = 0; i < WINDOWS; i++)
        r->windows[i].task = 0;
}

void results_forget(results *r)
{
    clear(r);
    LIST_FOR_SAFE(node, &r->queue)
    build_wait_free(LIST_OWNER(node, build_wait, node));
    list_init(&r->queue);
    r->queued = 0;
}

void results_free(results *r)
{
    if (!r)
        return;
    results_forget(r);
    for (size_t i = 0; i < WINDOWS; i++)
        buf_free(&r->windows[i].bytes);
    arena_free(&r->arena);
    free(r->units);
    close(r->dir);
    free(r->dir_path);
    free(r);
}

static void ask_build(results *r, int64_t now_ms)
{
    msg m = { .type = MSG_build };

    m.build.build = r->now->event.event.build;
    r->phase = ASK_BUILD;
    question_ask(&r->question, now_ms, &m);
}

static void ask_units(results *r, int64_t now_ms)
{
    msg m = { .type = MSG_units };

    m.units.build = r->now->event.event.build;
    m.units.from = r->test_rows;
    r->phase = ASK_UNITS;
    question_ask(&r->question, now_ms, &m);
}

static void start_next(results *r, int64_t now_ms);

/* The build under way is done with, well or not. */
static void finish(results *r, int64_t now_ms, const char *path)
{
    build_wait *b = TAKE(r->now);

    r->done(r->ctx, &b->event.event, path, NULL);
    build_wait_free(b);
    clear(r);
    start_next(r, now_ms);
}

/* No file can be written: neither this one nor those that wait. */
static void fail(results *r, const volt_err *err)
{
    build_wait *b = TAKE(r->now);

    r->done(r->ctx, &b->event.event, NULL, err);
    build_wait_free(b);
    results_forget(r);
}

static void start_next(results *r, int64_t now_ms)
{
    build_wait *b;

    if (r->now || list_empty(&r->queue))
        return;
    b = LIST_OWNER(r->queue.next, build_wait, node);
    list_remove(&b->node);
    r->queued--;
    r->now = b;
    ask_build(r, now_ms);
}

void results_add(results *r, int64_t now_ms, const msg_event *event)
{
    build_wait *b = NEW(build_wait);
    msg m = { .type = MSG_event };
    volt_code rc;

    m.event = *event;
    wire_encode(&m, &b->frame);
    rc = wire_decode(buf_slice(&b->frame), &b->arena, &b->event, NULL);
    assert(rc == VOLT_OK);
    list_push(&r->queue, &b->node);
    r->queued++;
    start_next(r, now_ms);
}

/* ---- the file's text ---- */

static void head_number(results *r, const char *key, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    resultfile_head(r->file, key, slice_of(text));
}

static void head_time(results *r, const char *key, uint64_t time_ms)
{
    time_t at = (time_t)(time_ms / 1000);
    struct tm tm;
    char text[64];

    if (time_ms && gmtime_r(&at, &tm) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm))
        resultfile_head(r->file, key, slice_of(text));
}

static void write_head(results *r)
{
    const msg_event *e = &r->now->event.event;
    const rec_build_row *row = &r->row;
    verdict verdict = r->found && row->verdict ? row->verdict : e->verdict;

    resultfile_head(r->file, "verdict", slice_of(verdict_text(verdict)));
    resultfile_head(r->file, "repo", e->repo);
    resultfile_head(r->file, "ref", e->ref);
    resultfile_head(r->file, "commit", e->oid);
    resultfile_head(r->file, "subject", row->subject.n ? row->subject : e->subject);
    resultfile_head(r->file, "author", row->author.n ? row->author : e->author);
    resultfile_head(r->file, "why", row->why.n ? row->why : e->why);
    head_number(r, "build", e->build);
    head_number(r, "generation", e->gen);
    resultfile_head(r->file, "history", e->hist);
    head_time(r, "submitted", row->created_ms);
    head_time(r, "finished", row->finished_ms ? row->finished_ms : e->time_ms);
    head_number(r, "units", row->units);
    head_number(r, "units not passed", row->units_bad);
    for (size_t i = 0; i < r->jobs.n; i++) {
        const rec_job_row *job = &r->jobs.v[i];
        char *line =
            arena_printf(&r->arena, "%s %.*s%s%.*s", verdict_text(job->verdict),
                         SLICE_ARG(job->name), job->why.n ? ": " : "", SLICE_ARG(job->why));

        resultfile_head(r->file, "job", slice_of(line));
    }
    if (!r->found || row->forgotten)
        resultfile_note(r->file, "the dispatcher no longer keeps this build; its units and their "
                                 "output are gone");
}

static const char *path_of(results *r)
{
    return arena_printf(&r->arena, "%s/%s", r->dir_path, resultfile_path(r->file));
}

static void close_file(results *r, int64_t now_ms)
{
    volt_err err;

    if (resultfile_commit(r->file, &err))
        fail(r, &err);
    else
        finish(r, now_ms, path_of(r));
}

/* ---- output ---- */

/* The window of the log's byte `off`, emptied when it was another's. */
static window *window_of(results *r, uint64_t task, uint64_t att, uint64_t off)
{
    uint64_t at = off / WINDOW_BYTES * WINDOW_BYTES;
    window *w = &r->windows[(task * 7 + att + off / WINDOW_BYTES) % WINDOWS];

    if (w->task != task || w->att != att || w->at != at) {
        buf_clear(&w->bytes);
        *w = (window){ .task = task, .att = att, .at = at, .bytes = w->bytes };
    }
    return w;
}

static void ask_window(results *r, int64_t now_ms, window *w)
{
    msg m = { .type = MSG_get };

    m.get.task = w->task;
    m.get.att = w->att;
    m.get.off = w->at + w->bytes.n;
    m.get.max = WINDOW_BYTES - w->bytes.n;
    r->asked = w;
    r->phase = ASK_OUTPUT;
    question_ask(&r->question, now_ms, &m);
}

/* ---- cases ---- */

static void ask_cases(results *r, int64_t now_ms, const result_unit *u)
{
    const msg m = { .type = MSG_cases,
                    .cases = { .build = r->now->event.event.build,
                               .job = u->job,
                               .i = u->i,
                               .bad = true,
                               .max = CASES_MAX } };

    r->phase = ASK_CASES;
    question_ask(&r->question, now_ms, &m);
}

static slice first_line(slice text, size_t max)
{
    const char *end = text.n ? memchr(text.p, '\n', text.n) : NULL;
    size_t n = end ? (size_t)(end - text.p) : text.n;

    return (slice){ text.p, n < max ? n : text_utf8_prefix((slice){ text.p, max }) };
}

static void write_units(results *r, int64_t now_ms);

static void take_cases(results *r, int64_t now_ms, const msg *answer)
{
    const result_unit *u = &r->units[r->at];
    const rec_test_case_list *rows = &answer->cases_are.rows;

    for (size_t i = 0; answer->type == MSG_cases_are && i < rows->n; i++) {
        const slice name = first_line(rows->v[i].name, CASE_BYTES);
        const slice message = first_line(rows->v[i].message, CASE_BYTES);
        CLEANUP(free)
        char *note = mem_printf(SLICE_FMT ": %s " SLICE_FMT "%s" SLICE_FMT, SLICE_ARG(u->name),
                                verdict_text(rows->v[i].verdict), SLICE_ARG(name),
                                message.n ? ": " : "", SLICE_ARG(message));

        resultfile_note(r->file, note);
    }
    r->cases_told = true;
    write_units(r, now_ms);
}

/* Writes units until output is missing that must be asked for, or all are written. */
static void write_units(results *r, int64_t now_ms)
{
    for (; r->at < r->n; r->at++, r->at_off = 0, r->unit_open = r->cases_told = false) {
        const result_unit *u = &r->units[r->at];

        if (u->bad && !r->cases_told) {
            ask_cases(r, now_ms, u);
            return;
        }
        if (!r->unit_open)
            resultfile_unit(r->file, u);
        r->unit_open = true;
        while (r->at_off < u->len) {
            uint64_t off = u->off + r->at_off, left = u->len - r->at_off;
            window *w = window_of(r, u->task, u->att, off);
            uint64_t have = w->at + w->bytes.n;

            if (off >= have && (w->end || w->bytes.n == WINDOW_BYTES))
                break; /* the log is shorter than it was said to be, or gone */
            if (off >= have) {
                ask_window(r, now_ms, w);
                return;
            }
            if (left > have - off)
                left = have - off;
            resultfile_bytes(r->file, (slice){ w->bytes.p + (off - w->at), (size_t)left });
            r->at_off += left;
        }
        resultfile_unit_end(r->file);
    }
    close_file(r, now_ms);
}

static void take_chunk(results *r, int64_t now_ms, const msg *answer)
{
    window *w = r->asked;
    const msg_chunk *c = &answer->chunk;

    if (answer->type != MSG_chunk || c->off != w->at + w->bytes.n || c->task != w->task ||
        c->d.n > WINDOW_BYTES - w->bytes.n || c->d.n == 0)
        w->end = true;
    else
        buf_add_slice(&w->bytes, c->d);
    if (answer->type == MSG_chunk && c->eof)
        w->end = true;
    write_units(r, now_ms);
}

/* ---- what the build was ---- */

static result_unit *add_unit(results *r)
{
    if (r->n == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 64;
        r->units = mem_grow(r->units, r->cap, sizeof *r->units);
    }
    r->units[r->n] = (result_unit){ 0 };
    return &r->units[r->n++];
}

/* What a batch says of itself: why it was lost, or that its log was cut. */
static void note_batch(results *r, const rec_task_row *t)
{
    if (t->why.n && t->verdict != VERDICT_CANCELED) /* of that the head says why */
        resultfile_note(r->file,
                        arena_printf(&r->arena, "attempt %llu/%llu on %.*s: %.*s",
                                     (unsigned long long)t->task, (unsigned long long)t->att,
                                     SLICE_ARG(t->runner), SLICE_ARG(t->why)));
}

/* The plan, when it has something to say, and scripts: what `units` may not list. */
static void add_tasks(results *r, const rec_task_row_list *tasks)
{
    for (size_t i = 0; i < tasks->n; i++) {
        const rec_task_row *t = &tasks->v[i];
        result_unit *u;

        if (t->kind == TASK_TESTS)
            note_batch(r, t);
        if (t->kind == TASK_TESTS ||
            (t->kind == TASK_PLAN && t->verdict == VERDICT_PASSED && !t->log_bytes))
            continue;
        u = add_unit(r);
        u->verdict = t->verdict;
        u->duration_ms = t->duration_ms;
        u->exit = t->exit;
        u->signal = t->signal;
        u->task = t->task;
        u->att = t->att;
        u->len = t->log_bytes;
        u->job = arena_slice(&r->arena, t->job);
        u->runner = arena_slice(&r->arena, t->runner);
        u->why = arena_slice(&r->arena, t->why);
        u->name = slice_of(task_kind_text(t->kind));
    }
    r->scripts = r->n;
}

static void take_build(results *r, int64_t now_ms, const msg *answer)
{
    const msg_event *e = &r->now->event.event;
    const msg_build_is *is = &answer->build_is;
    bool gone;
    volt_err err;

    switch (resultfile_new(r->dir, e, &r->file, &err)) {
    case VOLT_OK:
        break;
    case VOLT_EINVALID:
        log_warn("results of build %llu: %s", (unsigned long long)e->build, err.msg);
        finish(r, now_ms, NULL);
        return;
    default:
        fail(r, &err);
        return;
    }
    r->found = answer->type == MSG_build_is && is->rows.n && slice_eq(is->rows.v[0].oid, e->oid) &&
               slice_eq(is->rows.v[0].repo, e->repo);
    gone = !r->found || is->rows.v[0].forgotten;
    if (resultfile_is_newer(r->file, gone)) { /* what was written in time is all there is */
        finish(r, now_ms, path_of(r));
        return;
    }
    if (!r->found) {
        write_head(r);
        close_file(r, now_ms);
        return;
    }
    r->row = is->rows.v[0];
    r->row.subject = arena_slice(&r->arena, r->row.subject);
    r->row.author = arena_slice(&r->arena, r->row.author);
    r->row.why = arena_slice(&r->arena, r->row.why);
    r->jobs = (rec_job_row_list){ ARENA_ARRAY(&r->arena, rec_job_row, is->jobs.n), is->jobs.n };
    for (size_t i = 0; i < is->jobs.n; i++) {
        r->jobs.v[i] = is->jobs.v[i];
        r->jobs.v[i].name = arena_slice(&r->arena, is->jobs.v[i].name);
        r->jobs.v[i].why = arena_slice(&r->arena, is->jobs.v[i].why);
    }
    write_head(r);
    if (r->row.forgotten) {
        close_file(r, now_ms);
        return;
    }
    add_tasks(r, &is->tasks);
    ask_units(r, now_ms);
}

/* A script that `units` lists too is told once. */
static bool is_listed(const results *r, uint64_t task)
{
    for (size_t i = 0; task && i < r->scripts; i++)
        if (r->units[i].task == task)
            return true;
    return false;
}

static void take_units(results *r, int64_t now_ms, const msg *answer)
{
    const msg_units_are *are = &answer->units_are;

    if (answer->type != MSG_units_are) { /* forgotten just now */
        if (resultfile_is_newer(r->file, true)) {
            finish(r, now_ms, path_of(r));
            return;
        }
        resultfile_note(r->file, "the dispatcher no longer keeps this build's units");
        write_units(r, now_ms);
        return;
    }
    for (size_t i = 0; i < are->rows.n; i++) {
        const rec_test_row *t = &are->rows.v[i];
        result_unit *u;

        if (is_listed(r, t->task))
            continue;
        u = add_unit(r);
        u->verdict = t->verdict;
        u->duration_ms = t->duration_ms;
        u->exit = t->exit;
        u->signal = t->signal;
        u->task = t->task;
        u->att = t->att;
        u->off = t->log_off;
        u->len = t->log_len;
        u->job = arena_slice(&r->arena, t->job);
        u->runner = arena_slice(&r->arena, t->runner);
        u->name = arena_slice(&r->arena, t->file);
        u->i = t->i;
        u->bad = t->bad;
    }
    r->test_rows += are->rows.n;
    if (are->more && are->rows.n) {
        ask_units(r, now_ms);
        return;
    }
    write_units(r, now_ms);
}

bool results_take(results *r, int64_t now_ms, const msg *answer)
{
    if (question_tag(answer->r) != r->question.tag)
        return false;
    /* Anything but "there is no such thing" may be otherwise later: left open, so repeated. */
    if (answer->type == MSG_err && answer->err.code != CODE_NOT_FOUND)
        return true;
    if (!question_answered(&r->question, answer->r))
        return true;
    switch (r->phase) {
    case ASK_BUILD:
        take_build(r, now_ms, answer);
        break;
    case ASK_UNITS:
        take_units(r, now_ms, answer);
        break;
    case ASK_CASES:
        take_cases(r, now_ms, answer);
        break;
    case ASK_OUTPUT:
        take_chunk(r, now_ms, answer);
        break;
    }
    return true;
}

bool results_is_full(const results *r)
{
    return r->queued >= RESULTS_QUEUE_MAX;
}

size_t results_pending(const results *r)
{
    return r->queued + (r->now != NULL);
}

void results_tick(results *r, int64_t now_ms)
{
    question_tick(&r->question, now_ms);
}

int64_t results_deadline_ms(const results *r)
{
    return question_deadline_ms(&r->question);
}
