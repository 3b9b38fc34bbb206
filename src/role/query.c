#include <stdio.h>

#include "base/cleanup.h"
#include "base/mutant.h"
#include "role/dispatcher_internal.h"

#define PAGE_BYTES_MAX (192 * 1024) /* an answer stays below what its reader takes in one frame */
#define ROW_BYTES      128          /* a row's own cost on the wire, about */
#define GET_BYTES      (64 * 1024)
#define ROWS_MAX       1000
#define ATTEMPTS_MAX   100
#define BUILDS_DEFAULT 50

bool query_is(msg_type type)
{
    switch (type) {
    case MSG_status:
    case MSG_builds:
    case MSG_build:
    case MSG_units:
    case MSG_files:
    case MSG_cases:
    case MSG_task:
    case MSG_runners:
    case MSG_get:
    case MSG_artifacts:
    case MSG_replay:
        return true;
    default:
        return false;
    }
}

/* Collects the rows of one walk as records. */
typedef struct page page;
struct page {
    dispatcher *d;
    size_t n, max, bytes;
    bool more;
    uint64_t build;
    const page *names; /* of the build's jobs, by index */
    rec_build_row *builds;
    rec_job_row *jobs;
    rec_task_row *tasks;
    rec_test_row *tests;
    rec_file_row *files;
    slice repo; /* files: only those of this one; empty: of all */
    rec_attempt_row *attempts;
    slice *items;
    uint64_t next; /* number behind the last event */
    /* The runner of the unit before: the units of a batch stand together. */
    uint64_t task;
    slice task_runner;
};

static slice keep(page *p, slice s)
{
    p->bytes += s.n;
    return arena_slice(&p->d->arena, s);
}

static slices keep_list(page *p, slices list)
{
    slices ret = { ARENA_ARRAY(&p->d->arena, slice, list.n), list.n };

    for (size_t i = 0; i < list.n; i++)
        ret.v[i] = keep(p, list.v[i]);
    return ret;
}

static slice name_of(const page *names, uint64_t idx)
{
    return idx < names->n ? names->jobs[idx].name : (slice){ 0 };
}

static void describe_build(dispatcher *d, const row_build *r, rec_build_row *ret)
{
    arena *a = &d->arena;

    *ret = (rec_build_row){ .build = r->build,
                            .repo = arena_slice(a, r->repo),
                            .ref = arena_slice(a, r->ref),
                            .oid = arena_slice(a, r->oid),
                            .gen = r->gen,
                            .state = r->state,
                            .verdict = r->verdict,
                            .subject = arena_slice(a, r->subject),
                            .author = arena_slice(a, r->author),
                            .why = arena_slice(a, r->why),
                            .created_ms = (uint64_t)r->created_ms,
                            .finished_ms = (uint64_t)r->finished_ms,
                            .units = r->units,
                            .units_done = r->units_done,
                            .units_bad = r->units_bad,
                            .slots = r->slots,
                            .forgotten = r->forgotten };
    dispatch_progress(d->core, ret);
}

static void describe_task(dispatcher *d, const row_task *r, slice job, rec_task_row *ret)
{
    arena *a = &d->arena;

    *ret = (rec_task_row){ .task = r->task,
                           .build = r->build,
                           .job = job,
                           .kind = r->kind,
                           .state = r->state,
                           .verdict = r->verdict,
                           .att = r->att,
                           .tries = r->tries,
                           .runner = arena_slice(a, dispatch_runner_name(d->core, r->runner)),
                           .why = arena_slice(a, r->why),
                           .since_ms = (uint64_t)r->since_ms,
                           .duration_ms = r->duration_ms,
                           .exit = r->exit,
                           .signal = r->signal,
                           .log_bytes = r->log_bytes,
                           .artifact_bytes = r->artifact_bytes,
                           .units = r->units.n / 4 };
    dispatch_explain(d->core, d->now_ms, ret, &d->memo, a);
}

/* ---- rows of a walk ---- */

static volt_code add_build(void *ctx, const row *r, volt_err *err)
{
    page *p = ctx;

    (void)err;
    if (p->n == p->max)
        p->more = true;
    else
        describe_build(p->d, &r->build, &p->builds[p->n++]);
    return VOLT_OK;
}

static volt_code add_job(void *ctx, const row *r, volt_err *err)
{
    page *p = ctx;
    rec_job_row *j;

    (void)err;
    if (p->n == p->max)
        return VOLT_OK;
    j = &p->jobs[p->n++];
    *j = (rec_job_row){ .name = keep(p, r->job.name),
                        .state = r->job.state,
                        .verdict = r->job.verdict,
                        .why = keep(p, r->job.why),
                        .units = r->job.units,
                        .units_done = r->job.units_done,
                        .units_bad = r->job.units_bad,
                        .tests = r->job.tests,
                        .allow_failure = r->job.allow_failure,
                        .ready_ms = (uint64_t)r->job.ready_ms,
                        .started_ms = (uint64_t)r->job.started_ms,
                        .ended_ms = (uint64_t)r->job.ended_ms,
                        .work_ms = r->job.work_ms,
                        .longest_ms = r->job.longest_ms,
                        .artifact_bytes = r->job.artifact_bytes };
    if (p->bytes <= PAGE_BYTES_MAX)
        j->needs = keep_list(p, r->job.needs);
    dispatch_job_progress(p->d->core, p->d->now_ms, p->build, j, &p->d->memo, &p->d->arena);
    return VOLT_OK;
}

static volt_code add_task(void *ctx, const row *r, volt_err *err)
{
    page *p = ctx;

    (void)err;
    if (p->n < p->max)
        describe_task(p->d, &r->task, name_of(p->names, r->task.job), &p->tasks[p->n++]);
    return VOLT_OK;
}

static volt_code add_attempt(void *ctx, const row *r, volt_err *err)
{
    page *p = ctx;
    const row_attempt *a = &r->attempt;

    (void)err;
    if (p->n < p->max)
        p->attempts[p->n++] = (rec_attempt_row){ .att = a->att,
                                                 .runner = keep(p, a->runner_name),
                                                 .state = a->state,
                                                 .verdict = a->verdict,
                                                 .code = a->code,
                                                 .leased_ms = (uint64_t)a->leased_ms,
                                                 .ended_ms = (uint64_t)a->ended_ms,
                                                 .log_bytes = a->log_bytes,
                                                 .artifact_bytes = a->artifact_bytes };
    return VOLT_OK;
}

static slice unit_runner(page *p, const row_unit *u)
{
    store *s = p->d->store;
    row_task t;

    if (u->task && u->task != p->task) {
        p->task = u->task;
        p->task_runner = (slice){ 0 };
        if (s->ops->task(s, u->task, &p->d->arena, &t, NULL) == VOLT_OK)
            p->task_runner = dispatch_runner_name(p->d->core, t.runner);
    }
    return u->task ? p->task_runner : (slice){ 0 };
}

static volt_code add_unit(void *ctx, const row *r, volt_err *err)
{
    page *p = ctx;
    const row_unit *u = &r->unit;

    (void)err;
    if (p->more || p->n == p->max || p->bytes > PAGE_BYTES_MAX) {
        p->more = true;
        return VOLT_OK;
    }
    p->bytes += ROW_BYTES;
    p->tests[p->n++] = (rec_test_row){ .job = name_of(p->names, u->job),
                                       .i = u->i,
                                       .file = keep(p, u->file),
                                       .verdict = u->verdict,
                                       .duration_ms = u->duration_ms,
                                       .task = u->task,
                                       .att = u->att,
                                       .log_off = u->log_off,
                                       .log_len = u->log_len,
                                       .tries = u->tries,
                                       .exit = u->exit,
                                       .signal = u->signal,
                                       .cases = u->cases,
                                       .bad = u->bad,
                                       .runner = unit_runner(p, u) };
    return VOLT_OK;
}

static volt_code add_file(void *ctx, const row *r, volt_err *err)
{
    page *p = ctx;
    const row_file *f = &r->file;

    (void)err;
    if (p->more || (p->repo.n && !slice_eq(f->repo, p->repo)))
        return VOLT_OK;
    if (p->n == p->max || p->bytes > PAGE_BYTES_MAX) {
        p->more = true;
        return VOLT_OK;
    }
    p->bytes += ROW_BYTES;
    p->files[p->n++] = (rec_file_row){ .repo = keep(p, f->repo),
                                       .job = keep(p, f->job),
                                       .file = keep(p, f->file),
                                       .mean_ms = f->mean_ms,
                                       .runs = f->runs,
                                       .failures = f->failures,
                                       .flaky = f->flaky,
                                       .flaky_oid = keep(p, f->flaky_oid),
                                       .oid = keep(p, f->oid),
                                       .verdict = f->verdict,
                                       .seen_ms = (uint64_t)f->seen_ms };
    return VOLT_OK;
}

static volt_code add_event(void *ctx, uint64_t seq, slice bytes, volt_err *err)
{
    page *p = ctx;

    (void)err;
    if (p->more || p->n == p->max || p->bytes > PAGE_BYTES_MAX) {
        p->more = true;
        return VOLT_OK;
    }
    p->items[p->n++] = keep(p, bytes);
    p->next = seq + 1;
    return VOLT_OK;
}

static volt_code find_jobs(dispatcher *d, uint64_t build, page *ret, volt_err *err)
{
    *ret = (page){ .d = d, .max = ROWS_MAX, .build = build };
    ret->jobs = ARENA_ARRAY(&d->arena, rec_job_row, ret->max);
    return d->store->ops->jobs(d->store, build, add_job, ret, err);
}

/* ---- answers ---- */

static volt_code not_found(dispatcher *d, uint64_t peer, const msg *m, const char *why)
{
    const msg a = { .type = MSG_err,
                    .r = m->r,
                    .err = { .code = CODE_NOT_FOUND, .msg = slice_of(why) } };

    outbox_send(d, peer, &a);
    return VOLT_OK;
}

static volt_code no_build(dispatcher *d, uint64_t peer, const msg *m, uint64_t build)
{
    const bool had = dispatch_had_build(d->core, build);

    return not_found(d, peer, m,
                     arena_printf(&d->arena, "%s %llu%s", had ? "build" : "there is no build",
                                  (unsigned long long)build, had ? " is no longer kept" : ""));
}

static volt_code no_task(dispatcher *d, uint64_t peer, const msg *m, uint64_t task)
{
    const bool had = dispatch_had_task(d->core, task);

    return not_found(d, peer, m,
                     arena_printf(&d->arena, "%s %llu%s", had ? "task" : "there is no task",
                                  (unsigned long long)task, had ? " is no longer kept" : ""));
}

/* Only its line is left. */
static volt_code no_details(dispatcher *d, uint64_t peer, const msg *m, uint64_t build)
{
    return not_found(d, peer, m,
                     arena_printf(&d->arena, "the details of build %llu are no longer kept",
                                  (unsigned long long)build));
}

static volt_code answer_status(dispatcher *d, uint64_t peer, const msg *m)
{
    msg a = { .type = MSG_status_is, .r = m->r };

    dispatch_status(d->core, d->now_ms, &a.status_is, &d->arena);
    a.status_is.floor = d->floor;
    a.status_is.bad_msgs += d->bad_frames;
    if (!a.status_is.trouble.n && d->disk_low)
        a.status_is.trouble =
            SLICE("the disk of the data directory is nearly full: new commits are refused");
    outbox_send(d, peer, &a);
    return VOLT_OK;
}

static volt_code answer_builds(dispatcher *d, uint64_t peer, const msg *m, volt_err *err)
{
    msg a = { .type = MSG_builds_are, .r = m->r };
    page p = { .d = d, .max = m->builds.max ? (size_t)m->builds.max : BUILDS_DEFAULT };
    volt_code code;

    p.builds = ARENA_ARRAY(&d->arena, rec_build_row, p.max);
    code = d->store->ops->builds(d->store, m->builds.repo, m->builds.before, p.max + 1, add_build,
                                 &p, err);
    a.builds_are.rows = (rec_build_row_list){ p.builds, p.n };
    a.builds_are.more = p.more;
    if (code == VOLT_OK)
        outbox_send(d, peer, &a);
    return code;
}

static volt_code answer_build(dispatcher *d, uint64_t peer, const msg *m, volt_err *err)
{
    msg a = { .type = MSG_build_is, .r = m->r };
    page jobs, tasks = { .d = d, .max = ROWS_MAX, .names = &jobs };
    row_build row;
    volt_code code = d->store->ops->build(d->store, m->build.build, &d->arena, &row, err);

    if (code == VOLT_ENOTFOUND)
        return no_build(d, peer, m, m->build.build);
    if (code == VOLT_OK)
        code = find_jobs(d, row.build, &jobs, err);
    tasks.tasks = ARENA_ARRAY(&d->arena, rec_task_row, tasks.max);
    if (code == VOLT_OK)
        code = d->store->ops->tasks(d->store, row.build, tasks.max, add_task, &tasks, err);
    if (code != VOLT_OK)
        return code;
    a.build_is.rows = (rec_build_row_list){ ARENA_NEW(&d->arena, rec_build_row), 1 };
    describe_build(d, &row, a.build_is.rows.v);
    a.build_is.rows.v->env = row.env; /* here only: a page of builds has no room for it */
    a.build_is.jobs = (rec_job_row_list){ jobs.jobs, jobs.n };
    a.build_is.tasks = (rec_task_row_list){ tasks.tasks, tasks.n };
    outbox_send(d, peer, &a);
    return VOLT_OK;
}

static volt_code answer_units(dispatcher *d, uint64_t peer, const msg *m, volt_err *err)
{
    msg a = { .type = MSG_units_are, .r = m->r };
    page jobs, p = { .d = d, .max = m->units.max ? (size_t)m->units.max : ROWS_MAX };
    row_build row;
    volt_code code = d->store->ops->build(d->store, m->units.build, &d->arena, &row, err);

    if (code == VOLT_ENOTFOUND)
        return no_build(d, peer, m, m->units.build);
    if (code == VOLT_OK && row.forgotten)
        return no_details(d, peer, m, m->units.build);
    if (code == VOLT_OK)
        code = find_jobs(d, row.build, &jobs, err);
    if (code != VOLT_OK)
        return code;
    p.names = &jobs;
    p.tests = ARENA_ARRAY(&d->arena, rec_test_row, p.max);
    code = d->store->ops->units(d->store, row.build, m->units.from, p.max + 1, add_unit, &p, err);
    a.units_are.rows = (rec_test_row_list){ p.tests, p.n };
    a.units_are.more = p.more;
    if (code == VOLT_OK)
        outbox_send(d, peer, &a);
    return code;
}

static volt_code answer_files(dispatcher *d, uint64_t peer, const msg *m, volt_err *err)
{
    const msg_files *q = &m->files;
    msg a = { .type = MSG_files_are, .r = m->r };
    page p = { .d = d, .max = q->max ? (size_t)q->max : ROWS_MAX, .repo = q->repo };
    const row_file after = { .repo = q->after_repo.n ? q->after_repo : q->repo,
                             .job = q->after_job,
                             .file = q->after_file };
    volt_code code;

    p.files = ARENA_ARRAY(&d->arena, rec_file_row, p.max);
    code = d->store->ops->files(d->store, &after, p.max + 1, add_file, &p, err);
    a.files_are.rows = (rec_file_row_list){ p.files, p.n };
    a.files_are.more = p.more;
    if (code == VOLT_OK)
        outbox_send(d, peer, &a);
    return code;
}

static volt_code answer_task(dispatcher *d, uint64_t peer, const msg *m, volt_err *err)
{
    msg a = { .type = MSG_task_is, .r = m->r };
    page jobs, attempts = { .d = d, .max = ATTEMPTS_MAX };
    row_task row;
    volt_code code = d->store->ops->task(d->store, m->task.task, &d->arena, &row, err);

    if (code == VOLT_ENOTFOUND)
        return no_task(d, peer, m, m->task.task);
    if (code == VOLT_OK)
        code = find_jobs(d, row.build, &jobs, err);
    attempts.attempts = ARENA_ARRAY(&d->arena, rec_attempt_row, attempts.max);
    if (code == VOLT_OK)
        code = d->store->ops->attempts(d->store, row.task, add_attempt, &attempts, err);
    if (code != VOLT_OK)
        return code;
    a.task_is.rows = (rec_task_row_list){ ARENA_NEW(&d->arena, rec_task_row), 1 };
    describe_task(d, &row, name_of(&jobs, row.job), a.task_is.rows.v);
    /* Stored is only that it was given away; the task knows whether it has started. */
    if (attempts.n && row.state != STATE_FINAL &&
        attempts.attempts[attempts.n - 1].state == STATE_LEASED)
        attempts.attempts[attempts.n - 1].state = row.state;
    a.task_is.attempts = (rec_attempt_row_list){ attempts.attempts, attempts.n };
    outbox_send(d, peer, &a);
    return VOLT_OK;
}

static volt_code answer_runners(dispatcher *d, uint64_t peer, const msg *m)
{
    msg a = { .type = MSG_runners_are, .r = m->r };

    dispatch_runners(d->core, d->now_ms, &m->runners, &a.runners_are, &d->arena);
    outbox_send(d, peer, &a);
    return VOLT_OK;
}

/* A piece of a log file, or of artifacts.  One byte more than asked tells whether the end was
 * reached. */
static volt_code read_file(dispatcher *d, const row_task *row, const msg_get *get, buf *bytes,
                           msg_chunk *ret, volt_err *err)
{
    size_t max = get->max ? (size_t)get->max : GET_BYTES, most = max + 1;
    const log_name name = { row->task, ret->att, (msg_part)ret->part };
    uint64_t shown = dispatch_log_shown(d->core, row->task, ret->att);
    volt_code code;

    if (get->off >= shown)
        return VOLT_OK;
    if (shown - get->off < most)
        most = (size_t)(shown - get->off);
    code = d->logs.read(d->logs.ctx, &name, get->off, most, bytes, err);
    ret->d = (slice){ bytes->p, bytes->n < max ? bytes->n : max };
    ret->eof = bytes->n <= max && (row->state == STATE_FINAL || ret->att < row->att);
    return code;
}

/* A log is in the store when it is short, else a file; of an attempt under way, what has come. */
static volt_code read_log(dispatcher *d, const row_task *row, const msg_get *get, buf *bytes,
                          msg_chunk *ret, volt_err *err)
{
    size_t max = get->max ? (size_t)get->max : GET_BYTES, off, n;
    slice whole;
    volt_code code =
        d->store->ops->short_log(d->store, row->task, ret->att, &d->arena, &whole, err);

    if (code == VOLT_ENOTFOUND)
        return read_file(d, row, get, bytes, ret, err);
    if (code != VOLT_OK)
        return code;
    off = get->off < whole.n ? (size_t)get->off : whole.n;
    n = whole.n - off < max ? whole.n - off : max;
    ret->d = (slice){ whole.p + off, n };
    ret->eof = off + n == whole.n;
    return VOLT_OK;
}

/* Artifacts are of use, and shown, once they are whole. */
static volt_code read_artifacts(dispatcher *d, const row_task *row, const msg_get *get, buf *bytes,
                                msg_chunk *ret, volt_err *err)
{
    if (row->state == STATE_FINAL && ret->att == row->att)
        return read_file(d, row, get, bytes, ret, err);
    ret->eof = ret->att < row->att;
    return VOLT_OK;
}

static volt_code answer_get(dispatcher *d, uint64_t peer, const msg *m, volt_err *err)
{
    const msg_get *get = &m->get;
    msg a = { .type = MSG_chunk, .r = m->r };
    CLEANUP(buf)
    buf bytes = { 0 };
    row_task row;
    volt_code code = d->store->ops->task(d->store, get->task, &d->arena, &row, err);

    if (code == VOLT_ENOTFOUND)
        return no_task(d, peer, m, get->task);
    if (code != VOLT_OK)
        return code;
    a.chunk = (msg_chunk){
        .task = row.task, .att = get->att ? get->att : row.att, .off = get->off, .part = get->part
    };
    code = get->part == PART_ARTIFACTS ? read_artifacts(d, &row, get, &bytes, &a.chunk, err)
                                       : read_log(d, &row, get, &bytes, &a.chunk, err);
    if (code == VOLT_OK)
        outbox_send(d, peer, &a);
    return code;
}

static volt_code answer_replay(dispatcher *d, uint64_t peer, const msg *m, volt_err *err)
{
    msg a = { .type = MSG_events, .r = m->r };
    page p = { .d = d, .max = m->replay.max ? (size_t)m->replay.max : ROWS_MAX };
    bool other = m->replay.hist.n && !slice_is(m->replay.hist, d->hist);
    volt_code code;

    p.next = other || m->replay.from < d->floor ? d->floor : m->replay.from;
    p.items = ARENA_ARRAY(&d->arena, slice, p.max);
    code = d->store->ops->events(d->store, p.next, p.max, add_event, &p, err);
    if (code != VOLT_OK)
        return code;
    a.events = (msg_events){ .hist = slice_of(d->hist),
                             .floor = d->floor,
                             .last = dispatch_last_seq(d->core),
                             .next = p.next,
                             .items = { p.items, p.n } };
    if (MUTANT(page_skips_last) && p.n)
        a.events.items.n--;
    outbox_send(d, peer, &a);
    return VOLT_OK;
}

volt_code query_answer(dispatcher *d, uint64_t peer, const msg *m, volt_err *err)
{
    volt_code code;

    switch (m->type) {
    case MSG_status:
        return answer_status(d, peer, m);
    case MSG_builds:
        return answer_builds(d, peer, m, err);
    case MSG_build:
        return answer_build(d, peer, m, err);
    case MSG_units:
        return answer_units(d, peer, m, err);
    case MSG_files:
        return answer_files(d, peer, m, err);
    case MSG_cases:
        return query_cases(d, peer, m, err);
    case MSG_task:
        return answer_task(d, peer, m, err);
    case MSG_runners:
        return answer_runners(d, peer, m);
    case MSG_get:
        return answer_get(d, peer, m, err);
    case MSG_artifacts:
        code = answer_artifacts(d, peer, m, err);
        if (code == VOLT_ENOTFOUND)
            return dispatch_had_build(d->core, m->artifacts.build)
                       ? no_details(d, peer, m, m->artifacts.build)
                       : no_build(d, peer, m, m->artifacts.build);
        return code;
    case MSG_replay:
        return answer_replay(d, peer, m, err);
    default:
        return volt_fail(err, VOLT_EINVALID, "'%s' is no query", msg_type_text(m->type));
    }
}
