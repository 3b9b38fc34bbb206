#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/map.h"
#include "base/mem.h"
#include "cmd/client.h"
#include "cmd/json.h"
#include "cmd/query.h"

#define CHUNK_MAX     131072
#define POLL_FIRST_MS 50
#define POLL_LAST_MS  1000
#define TASKS_MAX     1000 /* of a build that one answer has */
#define SHOWN_MAX     4    /* of several units that may be meant */

DEFINE_CLEANUP(client *, client_free);

/* What is asked for: a build, a job of it, or one unit.  Its texts are the command line's. */
typedef struct target {
    uint64_t build;
    slice rest; /* behind the build's number: "", "JOB", "JOB/N", "FILE" */
    slice job;  /* found; empty: all of the build */
    bool unit;  /* one unit, which is number `place` of the build and `i` of its job */
    size_t place;
    slice unit_job;
    uint64_t i;
} target;

/* The attempt that runs a unit, and where what was not printed of its log goes on. */
typedef struct live {
    uint64_t task, att, off; /* task 0: none is known */
} live;

/* What is left of a build's answer when the next question is asked. */
typedef struct piece {
    uint64_t task, att, log_bytes;
    bool plan, final;
    char job[64]; /* for the heading: cut when longer */
} piece;

typedef struct reader {
    client *c;
    bool follow;
    bool json;
    size_t pieces; /* printed so far */
    map seen;      /* task -> the attempt whose log was printed, + 1 */
} reader;

static volt_code parse_target(const char *text, target *ret, volt_err *err)
{
    size_t n = strcspn(text, "/");
    CLEANUP(free)
    char *number = mem_strndup(text, n);

    *ret = (target){ .rest = slice_of(text[n] ? text + n + 1 : "") };
    return query_id(number, "build", &ret->build, err);
}

/* Pieces are told apart on standard error: standard output has the logs' bytes and nothing else. */
static void say_piece(reader *r, const piece *p)
{
    if (r->json)
        return;
    fprintf(stderr, "%s==> task %llu (%s), try %llu <==\n", r->pieces++ ? "\n" : "",
            (unsigned long long)p->task, p->job, (unsigned long long)p->att);
}

static void print_bytes(const reader *r, const msg *chunk)
{
    if (r->json)
        json_print(json_of_msg(chunk));
    else
        fwrite(chunk->chunk.d.p, 1, chunk->chunk.d.n, stdout);
    fflush(stdout);
}

static int longer(int pause)
{
    return pause < POLL_LAST_MS ? 2 * pause : pause;
}

/* Prints bytes *off..end of an attempt's log, as far as they are there now, and moves *off behind
 * them.  *eof: no more will come. */
static volt_code print_some(reader *r, uint64_t task, uint64_t att, uint64_t *off, uint64_t end,
                            bool *eof, volt_err *err)
{
    *eof = false;
    while (*off < end && !*eof && !ferror(stdout)) {
        const uint64_t max = end - *off < CHUNK_MAX ? end - *off : CHUNK_MAX;
        const msg question = { .type = MSG_get,
                               .get = { .task = task, .att = att, .off = *off, .max = max } };
        const msg *answer;
        volt_code code = client_ask(r->c, &question, MSG_chunk, &answer, err);

        if (code)
            return code;
        *eof = answer->chunk.eof;
        if (answer->chunk.d.n == 0)
            break;
        print_bytes(r, answer);
        *off += answer->chunk.d.n;
    }
    return VOLT_OK;
}

/* Prints bytes off..end of an attempt's log; end UINT64_MAX: to its end, with --follow also what is
 * still to come. */
static volt_code print_log(reader *r, uint64_t task, uint64_t att, uint64_t off, uint64_t end,
                           volt_err *err)
{
    int pause = POLL_FIRST_MS;
    bool eof = false;

    while (off < end && !eof && !ferror(stdout)) {
        uint64_t before = off;
        volt_code code = print_some(r, task, att, &off, end, &eof, err);

        if (code || !r->follow)
            return code;
        pause = off > before ? POLL_FIRST_MS : longer(pause);
        if (off < end && !eof)
            poll(NULL, 0, pause);
    }
    return VOLT_OK;
}

/* The answer stands until the next question. */
static volt_code ask_build(reader *r, uint64_t build, const msg_build_is **ret, volt_err *err)
{
    const msg question = { .type = MSG_build, .build = { .build = build } };
    const msg *answer;
    volt_code code = client_ask(r->c, &question, MSG_build_is, &answer, err);

    if (code == VOLT_OK && answer->build_is.rows.n == 0)
        code = volt_fail(err, VOLT_ENOTFOUND, "there is no build %llu", (unsigned long long)build);
    if (code == VOLT_OK && answer->build_is.rows.v[0].forgotten)
        code = volt_fail(err, VOLT_ENOTFOUND, "the logs of build %llu are no longer kept",
                         (unsigned long long)build);
    if (code == VOLT_OK)
        *ret = &answer->build_is;
    return code;
}

/* How well `spec` means a unit: 2 as its place in its job or its file, 1 as the end of its file's
 * path, 0 not. */
static int fits(const rec_test_row *row, slice spec)
{
    char number[24];

    snprintf(number, sizeof number, "%llu", (unsigned long long)row->i);
    if (slice_is(spec, number) || slice_eq(row->file, spec))
        return 2;
    return spec.n && slice_ends(row->file, spec) && row->file.n > spec.n &&
           row->file.p[row->file.n - spec.n - 1] == '/';
}

/* The units of `job` (empty: of any) that `spec` means as well as any other. */
typedef struct match {
    size_t n;
    size_t at[SHOWN_MAX]; /* places of the first ones */
} match;

static match find_unit(const rec_test_row *v, size_t n, slice job, slice spec)
{
    match m = { 0 };
    int best = 1;

    for (size_t i = 0; i < n; i++) {
        int how = !job.n || slice_eq(v[i].job, job) ? fits(&v[i], spec) : 0;

        if (how < best)
            continue;
        if (how > best)
            m.n = 0;
        best = how;
        if (m.n < SHOWN_MAX)
            m.at[m.n] = i;
        m.n++;
    }
    return m;
}

static volt_code fail_several(const target *t, const rec_test_row *v, const match *m, volt_err *err)
{
    CLEANUP(buf)
    buf names = { 0 };

    for (size_t i = 0; i < m->n && i < SHOWN_MAX; i++)
        buf_addf(&names, "%s%llu/" SLICE_FMT "/%llu", i ? ", " : "", (unsigned long long)t->build,
                 SLICE_ARG(v[m->at[i]].job), (unsigned long long)v[m->at[i]].i);
    return volt_fail(err, VOLT_EINVALID, "'" SLICE_FMT "' fits %zu units; say which: %s%s",
                     SLICE_ARG(t->rest), m->n, buf_str(&names), m->n > SHOWN_MAX ? ", ..." : "");
}

/* The longest job name that `rest` is or begins with; names may have slashes ("test/gcc/4"). */
static size_t find_job(const msg_build_is *m, slice rest)
{
    size_t best = 0;

    for (size_t i = 0; i < m->jobs.n; i++) {
        slice name = m->jobs.v[i].name;

        if (slice_starts(rest, name) && (rest.n == name.n || rest.p[name.n] == '/') &&
            name.n > best)
            best = name.n;
    }
    return best;
}

/* Finds what t->rest means.  *ended: the build is final.  VOLT_ENOTFOUND: not there (yet). */
static volt_code find_target(reader *r, target *t, bool *ended, volt_err *err)
{
    CLEANUP(free)
    rec_test_row *units = NULL;
    const msg_build_is *m;
    slice spec = t->rest;
    size_t n = 0;
    match found;
    volt_code code = ask_build(r, t->build, &m, err);

    *ended = true;
    if (code)
        return code;
    *ended = m->rows.v[0].verdict != verdict_none;
    t->job = (slice){ t->rest.p, find_job(m, t->rest) };
    if (t->job.n == t->rest.n) /* also when nothing is asked for but the build */
        return VOLT_OK;
    if (t->job.n)
        spec = (slice){ t->rest.p + t->job.n + 1, t->rest.n - t->job.n - 1 };
    code = query_units(r->c, t->build, &units, &n, err);
    if (code)
        return code;
    found = find_unit(units, n, t->job, spec);
    if (!found.n) /* a path may begin like a job: "tests/a.py" */
        found = find_unit(units, n, (slice){ 0 }, t->rest);
    if (found.n > 1)
        return fail_several(t, units, &found, err);
    if (!found.n)
        return volt_fail(err, VOLT_ENOTFOUND, "build %llu has no job or unit '" SLICE_FMT "'",
                         (unsigned long long)t->build, SLICE_ARG(t->rest));
    t->unit = true;
    t->place = found.at[0];
    t->unit_job = units[t->place].job;
    t->i = units[t->place].i;
    return VOLT_OK;
}

/* With --follow, for as long as the plan is not there. */
static volt_code await_target(reader *r, target *t, volt_err *err)
{
    int pause = POLL_FIRST_MS;

    for (;;) {
        bool ended;
        volt_code code = find_target(r, t, &ended, err);

        if (code != VOLT_ENOTFOUND || ended || !r->follow)
            return code;
        poll(NULL, 0, pause);
        pause = longer(pause);
    }
}

/* The attempts of the job (or of all) that have a log and were not printed. */
static volt_code list_pieces(reader *r, const target *t, piece **ret, size_t *ret_n, bool *ended,
                             volt_err *err)
{
    const msg_build_is *m;
    volt_code code = ask_build(r, t->build, &m, err);

    if (code)
        return code;
    *ended = m->rows.v[0].verdict != verdict_none;
    *ret = NEW_ARRAY(piece, m->tasks.n + 1);
    *ret_n = 0;
    for (size_t i = 0; i < m->tasks.n; i++) {
        const rec_task_row *row = &m->tasks.v[i];
        piece p = { .task = row->task,
                    .att = row->att,
                    .log_bytes = row->log_bytes,
                    .plan = row->kind == TASK_PLAN,
                    .final = row->verdict != verdict_none };

        /* A plan, and what has ended without a word, is worth no heading. */
        if ((t->job.n && !slice_eq(row->job, t->job)) || !p.att ||
            (uintptr_t)map_get(&r->seen, p.task) > p.att ||
            (!p.log_bytes && (p.final || p.plan || !r->follow)))
            continue;
        snprintf(p.job, sizeof p.job, SLICE_FMT, SLICE_ARG(p.plan ? SLICE("plan") : row->job));
        (*ret)[(*ret_n)++] = p;
    }
    return VOLT_OK;
}

static volt_code print_pieces(reader *r, const piece *v, size_t n, volt_err *err)
{
    for (size_t i = 0; i < n; i++) {
        volt_code code;

        if (n > 1 || r->follow)
            say_piece(r, &v[i]);
        code = print_log(r, v[i].task, v[i].att, 0, UINT64_MAX, err);
        if (code)
            return code;
        map_put(&r->seen, v[i].task, (void *)(uintptr_t)(v[i].att + 1));
    }
    return VOLT_OK;
}

static volt_code print_tasks(reader *r, const target *t, volt_err *err)
{
    int pause = POLL_FIRST_MS;

    while (!ferror(stdout)) {
        CLEANUP(free)
        piece *v = NULL;
        bool ended = false;
        size_t n = 0;
        volt_code code = list_pieces(r, t, &v, &n, &ended, err);

        if (!code)
            code = print_pieces(r, v, n, err);
        if (code || !r->follow || (ended && n == 0))
            return code;
        pause = n ? POLL_FIRST_MS : longer(pause);
        poll(NULL, 0, pause);
    }
    return VOLT_OK;
}

/* The batch that a job's unit belongs to: its batches have its units one after the other.  NULL
 * when that cannot be told.  *last: it is the last unit of it. */
static const rec_task_row *find_batch(const msg_build_is *m, const target *t, bool *first,
                                      bool *last)
{
    uint64_t begin = 0;

    if (m->tasks.n == TASKS_MAX) /* older ones may be left out */
        return NULL;
    for (size_t i = 0; i < m->tasks.n; i++) {
        const rec_task_row *row = &m->tasks.v[i];

        if (row->kind != TASK_TESTS || !slice_eq(row->job, t->unit_job))
            continue;
        if (t->i < begin + row->units) {
            *first = t->i == begin;
            *last = t->i + 1 == begin + row->units;
            return row;
        }
        begin += row->units;
    }
    return NULL;
}

/* The unit's output is at `found`.  Another try of it is printed from its beginning. */
static void move_to(reader *r, const live *found, live *at)
{
    if (found->task == at->task && found->att == at->att)
        return;
    if (at->task)
        say_piece(r, &(piece){ .task = found->task, .att = found->att, .job = "again" });
    *at = *found;
}

/* Finds where a unit's output is while it runs, which is known of the last one of a batch: it goes
 * on to the end of the log.  Where that of another unit ends is known when it has ended, and what
 * is not its own must not be printed.  `before` is the unit before it in its job, if any. */
static volt_code find_live(reader *r, const target *t, const rec_test_row *before, live *ret,
                           volt_err *err)
{
    const msg_build_is *m;
    const rec_task_row *batch;
    volt_code code = ask_build(r, t->build, &m, err);
    bool first, last;
    live found;

    if (code)
        return code;
    batch = find_batch(m, t, &first, &last);
    if (!batch || !last || batch->state != STATE_RUNNING || (!first && !before->verdict))
        return VOLT_OK;
    found = (live){ .task = batch->task, .att = batch->att };
    if (!first && before->task == found.task && before->att == found.att)
        found.off = before->log_off + before->log_len;
    move_to(r, &found, ret);
    return VOLT_OK;
}

/* The unit's row, and that of the one before it in its job (else zero).  Their texts stand until
 * the next question. */
static volt_code ask_unit(reader *r, const target *t, rec_test_row *before, rec_test_row *ret,
                          volt_err *err)
{
    const size_t back = t->i > 0;
    const msg question = {
        .type = MSG_units, .units = { .build = t->build, .from = t->place - back, .max = 1 + back }
    };
    const msg *answer;
    volt_code code = client_ask(r->c, &question, MSG_units_are, &answer, err);

    *before = *ret = (rec_test_row){ 0 };
    if (code)
        return code;
    if (answer->units_are.rows.n > back)
        *ret = answer->units_are.rows.v[back];
    if (back && answer->units_are.rows.n)
        *before = answer->units_are.rows.v[0];
    return VOLT_OK;
}

/* With --follow also what it writes until it has its verdict, as far as that can be told. */
static volt_code print_unit(reader *r, const target *t, volt_err *err)
{
    int pause = POLL_FIRST_MS;
    bool ended = false, eof;
    live at = { 0 };

    while (!ferror(stdout)) {
        const rec_build_row *build;
        rec_test_row row, before;
        uint64_t off;
        volt_code code = ask_unit(r, t, &before, &row, err);

        if (!code && row.verdict) {
            move_to(r, &(live){ row.task, row.att, row.log_off }, &at);
            return print_log(r, row.task, row.att, at.off, row.log_off + row.log_len, err);
        }
        if (!code && (!r->follow || ended))
            code = volt_fail(err, VOLT_ENOTFOUND, "unit '" SLICE_FMT "' of build %llu %s",
                             SLICE_ARG(t->rest), (unsigned long long)t->build,
                             ended ? "was not run" : "has no result yet; --follow waits for it");
        if (!code)
            code = find_live(r, t, &before, &at, err);
        off = at.off;
        if (!code && at.task)
            code = print_some(r, at.task, at.att, &at.off, UINT64_MAX, &eof, err);
        if (!code)
            code = query_build(r->c, t->build, &build, err);
        if (code)
            return code;
        ended = build->verdict != verdict_none;
        pause = at.off > off ? POLL_FIRST_MS : longer(pause);
        poll(NULL, 0, ended ? 0 : pause);
    }
    return VOLT_OK;
}

static exit_code run(const command_line *line)
{
    CLEANUP(client_free)
    client *c = NULL;
    const char *const *args;
    reader r = { .follow = command_flag(line, "follow"), .json = command_flag(line, "json") };
    volt_err err = { 0 };
    target t;
    volt_code code;

    command_args(line, &args);
    code = parse_target(args[0], &t, &err);
    if (!code)
        code = client_new(line, &c, &err);
    r.c = c;
    if (!code)
        code = await_target(&r, &t, &err);
    if (!code)
        code = t.unit ? print_unit(&r, &t, &err) : print_tasks(&r, &t, &err);
    map_free(&r.seen);
    return code ? command_fail(line, &err) : EXIT_DONE;
}

static const option_spec options[] = {
    { .name = "follow",
      .letter = 'f',
      .kind = OPTION_FLAG,
      .help = "go on until the build has ended" },
    OPTION_DISPATCHER,
    OPTION_TIMEOUT,
    OPTION_JSON,
};

const command command_log = {
    .name = "log",
    .args = "BUILD[/JOB[/UNIT]]",
    .args_min = 1,
    .args_max = 1,
    .summary = "print output of a build, a job or one unit, byte for byte",
    .text = "UNIT is the unit's number in its job (N in 'volt build ID'), its file, or the end of "
            "its file's path. Where several tasks have output, a heading before each goes to "
            "standard error. With --json one object a piece.\n"
            "With --follow the output of a build or job comes as it is written. That of one unit "
            "does when it is alone in its batch or the last one, else when the unit has ended: "
            "only then is it known where its output ends.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = run,
};
