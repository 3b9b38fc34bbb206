#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/cleanup.h"
#include "base/kill.h"
#include "base/mem.h"
#include "core/verdict.h"
#include "exec/attempt_parts.h"
#include "pipeline/detect.h"
#include "pipeline/plan.h"
#include "unittest_one.h" /* made from unittest_one.py: static const char unittest_one[] */

#define ARGS_MAX 5 /* with the NULL */

/* ---- what is asked ---- */

/* A path from the top of the checkout that stays in it. */
static bool is_inside(slice path)
{
    size_t from = 0;

    if (path.n == 0 || memchr(path.p, '\0', path.n))
        return false;
    for (size_t i = 0; i <= path.n; i++) {
        slice part = { path.p + from, i - from };

        if (i < path.n && path.p[i] != '/')
            continue;
        if (part.n == 0 || slice_is(part, ".") || slice_is(part, ".."))
            return false;
        from = i + 1;
    }
    return true;
}

static bool is_script(const attempt *a)
{
    return a->order.kind == TASK_SCRIPT;
}

static size_t units_n(const attempt *a)
{
    return is_script(a) ? 1 : a->order.files.n;
}

volt_code batch_check(attempt *a, volt_err *err)
{
    const msg_assign *order = &a->order;

    volt_code rc;

    if (order->spec.n > 0) {
        rc = plan_spec_read(order->spec, &a->mem, &a->spec, err);
        if (rc)
            return rc;
    }
    if (a->spec.alone && !order->alone)
        return volt_fail(err, VOLT_EVERSION, "the dispatcher is too old for 'concurrency'");
    if (is_script(a) ? !a->spec.script.n : a->spec.level && !a->spec.run.n)
        return volt_fail(err, VOLT_EINVALID, "the order does not say what to run");
    if (is_script(a))
        return VOLT_OK;
    if (order->files.n == 0)
        return volt_fail(err, VOLT_EINVALID, "a batch without files");
    for (size_t i = 0; i < order->files.n; i++)
        if (!is_inside(order->files.v[i]))
            return volt_fail(err, VOLT_EINVALID, "not a path in the checkout: '" SLICE_FMT "'",
                             SLICE_ARG(order->files.v[i]));
    return VOLT_OK;
}

/* ---- outcomes ---- */

/* What a Python file's exit status says; see unittest_one.py. */
static verdict python_verdict(attempt *a, const unit_outcome *o, rec_item *item)
{
    if (o->signal)
        return VERDICT_FAILED;
    switch (o->exit) {
    case ATTEMPT_UNITTEST_PASSED:
        item->exit = 0;
        return VERDICT_PASSED;
    case ATTEMPT_UNITTEST_NO_TESTS:
        return VERDICT_NO_TESTS;
    case 0:
        output_line(a->out, "volt: the process ended with status 0 before its tests were done");
        return VERDICT_FAILED;
    default:
        return VERDICT_FAILED;
    }
}

static rec_item judge(attempt *a, const unit_outcome *o)
{
    rec_item item = { .duration_ms = (uint64_t)o->duration_ms,
                      .log_off = a->runs ? a->first_off : o->log_off,
                      .exit = (uint64_t)o->exit,
                      .signal = (uint64_t)o->signal };

    switch (o->end) {
    case UNIT_EXITED:
        if (!a->spec.level && detect_unit(a->order.files.v[a->next]) == DETECT_PYTHON)
            item.verdict = python_verdict(a, o, &item);
        else
            item.verdict = o->exit == 0 && o->signal == 0 ? VERDICT_PASSED : VERDICT_FAILED;
        if (a->report)
            outcomes_judge(a, o, &item);
        break;
    case UNIT_TIMEOUT:
        item.verdict = VERDICT_TIMEOUT;
        break;
    case UNIT_CANCELED:
        item.verdict = VERDICT_CANCELED;
        break;
    case UNIT_NOT_STARTED:
        item.verdict = VERDICT_ERRORED;
        break;
    }
    item.log_len = output_bytes(a->out) - item.log_off;
    return item;
}

/* Whether a file that failed gets another run, and if so, notes the one it had. */
static bool runs_again(attempt *a, const rec_item *item)
{
    bool failed = item->verdict == VERDICT_FAILED || item->verdict == VERDICT_TIMEOUT;

    if (!failed || a->runs >= a->spec.retry || is_script(a) || a->canceled || a->broken)
        return false;
    a->first_off = item->log_off;
    a->runs++;
    return true;
}

void batch_give_up(attempt *a, const char *why)
{
    if (a->broken)
        return;
    a->broken = mem_strdup(why);
}

void batch_flush(attempt *a)
{
    msg m = { .type = MSG_tests,
              .tests = { .task = a->order.task,
                         .att = a->order.att,
                         .from = a->order.from + a->flushed,
                         .items = { .v = a->items, .n = a->items_n },
                         .cases_from = a->cases_from,
                         .cases = { .v = a->cases, .n = a->cases_n } } };
    volt_err err;

    a->flush_ms = ATTEMPT_NEVER;
    if ((a->items_n == 0 && a->cases_n == 0) || is_script(a))
        return;
    attempt_tell_start(a);
    if (attempt_tell(a, SPOOL_TESTS, &m, &err)) {
        batch_give_up(a, err.msg);
        return;
    }
    a->flushed += a->items_n;
    a->items_n = 0;
    outcomes_flushed(a);
}

void batch_count(attempt *a, const unit_outcome *o)
{
    a->cpu_us += o->cpu_us;
    if (o->max_rss_bytes > a->max_rss_bytes)
        a->max_rss_bytes = o->max_rss_bytes;
    if (o->left)
        batch_give_up(a, "processes of the task could not be ended");
}

/* The last run of a file decides. */
static void record(attempt *a, rec_item item, int64_t now_ms)
{
    outcomes_tell(a, &item);
    assert(a->items_n < ATTEMPT_FLUSH_ITEMS);
    if (a->runs) {
        item.tries = a->runs + 1;
        if (item.verdict == VERDICT_PASSED)
            item.verdict = VERDICT_FLAKY;
    }
    a->runs = 0;
    if (verdict_worse(a->worst, item.verdict) != a->worst) {
        a->worst = item.verdict;
        a->worst_item = item;
    }
    if (a->items_n == 0)
        a->flush_ms = now_ms + ATTEMPT_FLUSH_MS;
    a->items[a->items_n++] = item;
    a->cases_open = 0;
}

/* ---- running ---- */

void batch_say(attempt *a, const char *fmt, ...)
{
    CLEANUP(free)
    char *line = NULL;
    va_list ap;

    va_start(ap, fmt);
    line = mem_vprintf(fmt, ap);
    va_end(ap);
    output_line(a->out, line);
}

const char *attempt_home(const attempt *a)
{
    return a->kept_home ? a->kept_home : a->scratch.home;
}

int64_t batch_grace_ms(const attempt *a)
{
    return a->order.grace_ms ? (int64_t)a->order.grace_ms : ATTEMPT_GRACE_MS;
}

static void give_to_shell(attempt *a, slice commands, process_command *run, const char **argv)
{
    run->path = "/bin/sh";
    argv[0] = "sh";
    argv[1] = "-e";
    argv[2] = "-c";
    argv[3] = arena_str(&a->unit_mem, commands);
}

static void begin_unit(attempt *a, int64_t now_ms)
{
    const site_config *config = site_settings(a->site);
    const char **argv = ARENA_ARRAY(&a->unit_mem, const char *, ARGS_MAX);
    unit_order order = {
        .timeout_ms = (int64_t)a->order.timeout_ms,
        .grace_ms = batch_grace_ms(a),
        .run = { .argv = argv, .env = a->env, .dir = a->dir, .in = site_null(a->site) }
    };

    if (is_script(a)) {
        order.name = arena_str(&a->unit_mem, a->order.job);
        give_to_shell(a, a->spec.script, &order.run, argv);
    } else {
        slice file = a->order.files.v[a->next];

        environ_set_files(a->env_files, file, &a->unit_mem);
        order.name = arena_str(&a->unit_mem, file);
        if (a->runs)
            batch_say(a, "volt: %s: run %" PRIu64 " of %" PRIu64, order.name, a->runs + 1,
                      a->spec.retry + 1);
        if (a->spec.level) {
            CLEANUP(buf)
            buf run = { 0 };

            plan_command(a->spec.run, file, &run);
            give_to_shell(a, buf_slice(&run), &order.run, argv);
        } else if (detect_unit(file) == DETECT_PYTHON) {
            order.run.path = environ_find(config->path, "python3", &a->unit_mem);
            argv[0] = "python3";
            argv[1] = "-c";
            argv[2] = unittest_one;
            argv[3] = order.name;
        } else {
            order.run.path = argv[0] = arena_printf(&a->unit_mem, "./%s", order.name);
        }
    }
    means_confine(a, &order.run, &a->unit_mem);
    outcomes_begin(a);
    a->stage = STAGE_WORK;
    a->unit = unit_start(&order, a->out, now_ms);
    KILL_POINT(after_start);
}

/* ---- the end ---- */

/* It was canceled before all of it had run. */
static bool is_cut_short(const attempt *a)
{
    return a->canceled && (a->next < units_n(a) || a->worst == VERDICT_CANCELED);
}

static void end_batch(attempt *a, int64_t now_ms)
{
    CLEANUP(buf)
    buf text = { 0 };
    bool canceled = is_cut_short(a);
    volt_err err;

    if (!a->ended_ms)
        a->ended_ms = now_ms;
    if (a->broken || a->canceled)
        site_end_setup(a->site, now_ms);
    means_end(a);
    if (scratch_clear(a->site, &err))
        log_warn("task %" PRIu64 ": %s", a->order.task, err.msg);
    attempt_tell_start(a);
    if (a->broken) {
        batch_flush(a);
        attempt_refuse(a, CODE_LOST, a->broken);
        return;
    }
    if (a->failure)
        buf_adds(&text, a->failure);
    else if (canceled)
        buf_adds(&text, a->why);
    else if (output_lost(a->out))
        buf_addf(&text, "%s; %" PRIu64 " bytes were thrown away", output_why(a->out),
                 output_lost(a->out));
    else if (a->not_kept)
        buf_adds(&text, "its artifacts were not kept: the end of the log says why");
    attempt_finish(a, &(msg_result){
                          .verdict = canceled && !a->failure ? VERDICT_CANCELED : a->worst,
                          .setup_failed = a->failure,
                          .msg = buf_slice(&text),
                          .exit = a->worst_item.exit,
                          .signal = a->worst_item.signal,
                          .log_bytes = output_bytes(a->out),
                          .artifact_bytes = a->artifact_bytes,
                          .duration_ms = (uint64_t)(a->ended_ms - a->begun_ms),
                          .cpu_ms = (uint64_t)a->cpu_us / 1000,
                          .max_rss_bytes = (uint64_t)a->max_rss_bytes,
                          .from = is_script(a) ? 0 : a->order.from + a->flushed,
                          .items = { .v = a->items, .n = is_script(a) ? 0 : a->items_n },
                          .cases_from = a->cases_from,
                          .cases = { .v = a->cases, .n = a->cases_n },
                      });
}

/* ---- the stages ---- */

void batch_run_own(attempt *a, batch_stage stage, const char *name, const char *const *argv,
                   int64_t timeout_ms, int64_t now_ms)
{
    const site_config *config = site_settings(a->site);
    const char *env[] = { arena_printf(&a->unit_mem, "PATH=%s", config->path), NULL };
    const unit_order order = {
        .name = name,
        .timeout_ms = timeout_ms,
        .grace_ms = 1,
        .run = { .path = "/proc/self/exe", /* whatever has become of its file since */
                 .argv = argv,
                 .env = env,
                 .dir = config->work,
                 .in = site_null(a->site) },
    };

    a->stage = stage;
    a->unit = unit_start(&order, a->out, now_ms);
}

static void take_off(attempt *a)
{
    unit_free(TAKE(a->unit));
    arena_reset(&a->unit_mem);
}

/* Starts what comes before the job's own commands, behind `ended`, or these. */
static void go_in(attempt *a, batch_stage ended, int64_t now_ms)
{
    if (ended < STAGE_CACHE_IN && cache_in(a, now_ms))
        return;
    if (ended < STAGE_CARRY_IN && carry_in(a, now_ms))
        return;
    if (a->fresh)
        site_keep(a->site, a->key);
    a->begun_ms = now_ms;
    if (a->spec.setup.n && !is_script(a) && !site_has_setup(a->site))
        setup_begin(a, now_ms);
    else
        begin_unit(a, now_ms);
}

/* Starts what comes behind `ended`, of which nothing runs any more.  False: the attempt is over. */
static bool go_out(attempt *a, batch_stage ended, int64_t now_ms)
{
    if (ended <= STAGE_WORK)
        a->ended_ms = now_ms;
    if (ended < STAGE_CARRY_OUT && !is_cut_short(a) && carry_out(a, now_ms))
        return true;
    if (ended < STAGE_CACHE_OUT && cache_out(a, now_ms))
        return true;
    end_batch(a, now_ms);
    return false;
}

/* A unit of the job has ended.  False: the attempt is over. */
static bool work_on(attempt *a, int64_t now_ms)
{
    rec_item item = judge(a, unit_result(a->unit));

    batch_count(a, unit_result(a->unit));
    take_off(a);
    if (runs_again(a, &item)) {
        begin_unit(a, now_ms);
        return true;
    }
    record(a, item, now_ms);
    a->next++;
    if (a->next == units_n(a) || a->canceled || a->broken)
        return go_out(a, STAGE_WORK, now_ms);
    if (a->items_n == ATTEMPT_FLUSH_ITEMS || now_ms >= a->flush_ms)
        batch_flush(a);
    begin_unit(a, now_ms);
    return true;
}

/* Takes off what has ended, and starts what comes next.  False: the attempt is over. */
static bool stage_on(attempt *a, int64_t now_ms)
{
    switch (a->stage) {
    case STAGE_NONE:
        break;
    case STAGE_CACHE_IN:
        if (!cached_in(a))
            return go_out(a, STAGE_CACHE_OUT, now_ms);
        go_in(a, STAGE_CACHE_IN, now_ms);
        return true;
    case STAGE_CARRY_IN:
        if (!carried_in(a))
            return false;
        take_off(a);
        go_in(a, STAGE_CARRY_IN, now_ms);
        return true;
    case STAGE_SETUP:
        if (!setup_end(a))
            return go_out(a, STAGE_SETUP, now_ms);
        begin_unit(a, now_ms);
        return true;
    case STAGE_WORK:
        return work_on(a, now_ms);
    case STAGE_CARRY_OUT:
        carried_out(a);
        take_off(a);
        return go_out(a, STAGE_CARRY_OUT, now_ms);
    case STAGE_CACHE_OUT:
        batch_count(a, unit_result(a->unit));
        take_off(a);
        return go_out(a, STAGE_CACHE_OUT, now_ms);
    }
    return false;
}

/* Takes what has ended off and starts the next, until one runs or the batch has ended. */
static void go_on(attempt *a, int64_t now_ms)
{
    while ((unit_ended(a->unit) || unit_kept(a->unit)) && stage_on(a, now_ms))
        continue;
}

void batch_open(attempt *a, const char *path)
{
    a->store = mem_strdup(path);
    a->key = mem_printf("%" PRIu64 " " SLICE_FMT " %s %s", a->order.build, SLICE_ARG(a->order.job),
                        a->commit.hex, path);
}

bool batch_is_prepared(const attempt *a)
{
    return site_kept(a->site, a->key) &&
           access(workspace_dir(site_workspace(a->site, a->order.repo)), X_OK) == 0;
}

volt_code batch_make_workspace(attempt *a, volt_err *err)
{
    const workspace_part *parts = NULL;
    size_t n = 0;
    volt_code rc;

    if (a->submodules)
        parts = submodules_found(a->submodules, &n);
    site_keep(a->site, "");
    rc = workspace_move_all(site_workspace(a->site, a->order.repo), a->store, &a->commit, parts, n,
                            NULL, err);
    a->fresh = rc == VOLT_OK; /* it is the job's once all that belongs into it is there */
    return rc;
}

static volt_code prepare(attempt *a, volt_err *err)
{
    const msg_assign *order = &a->order;
    environ_place place = { .workspace = workspace_dir(site_workspace(a->site, order->repo)),
                            .scratch = &a->scratch,
                            .own = a->spec.env,
                            .secrets = a->secrets,
                            .secrets_n = a->spec.secrets.n,
                            .secrets_dir = site_secrets(a->site) };
    uint64_t log_max = order->log_max ? order->log_max : site_settings(a->site)->log_max;
    volt_code rc = batch_is_prepared(a) ? VOLT_OK : batch_make_workspace(a, err);

    a->since_ns = spool_changed_ns(a->spool);
    if (!rc && a->spec.home_kept)
        rc = site_kept_home(a->site, order->repo, &a->kept_home, err);
    if (!rc)
        rc = scratch_make(a->site, &a->scratch, err);
    if (rc)
        return rc;
    place.home = a->kept_home;
    a->out = output_new(attempt_open_log, a, log_max);
    a->dir = place.workspace;
    if (a->spec.report && !is_script(a))
        a->report = unit_report_new(a->spec.report, a->spec.report_files, a->dir);
    a->env = environ_make(site_settings(a->site), order, &place, &a->mem, &a->env_files);
    return means_begin(a, err);
}

static void start(attempt *a, int64_t now_ms)
{
    int64_t (*clock_ms)(void) = site_settings(a->site)->clock_ms;
    volt_err err;
    volt_code rc = prepare(a, &err);

    if (clock_ms)
        now_ms = clock_ms();
    if (rc) {
        means_end(a);
        attempt_refuse(a, attempt_blame(rc), err.msg);
        return;
    }
    if (a->order.alone)
        a->phase = PHASE_READY;
    else
        batch_start(a, now_ms);
}

void batch_start(attempt *a, int64_t now_ms)
{
    a->phase = PHASE_UNITS;
    a->flush_ms = ATTEMPT_NEVER;
    a->begun_ms = a->ended_ms = now_ms;
    a->start_ms = now_ms + ATTEMPT_START_MS;
    a->started = true;
    go_in(a, STAGE_NONE, now_ms);
    go_on(a, now_ms);
}

void batch_drop(attempt *a)
{
    volt_err err;

    if (scratch_clear(a->site, &err))
        log_warn("task %" PRIu64 ": %s", a->order.task, err.msg);
}

void batch_begin(attempt *a, int64_t now_ms)
{
    if (site_has_setup(a->site) && !batch_is_prepared(a)) {
        a->phase = PHASE_LEAVE;
        site_end_setup(a->site, now_ms);
        batch_leave(a, now_ms);
    } else {
        start(a, now_ms);
    }
}

void batch_leave(attempt *a, int64_t now_ms)
{
    if (site_step_setup(a->site, now_ms))
        start(a, now_ms);
}

/* Ends the unit, and with it what the setup left. */
static void stop(attempt *a, int64_t now_ms, int64_t grace_ms)
{
    site_let_setup_go(a->site);
    unit_stop(a->unit, now_ms, grace_ms);
}

void batch_step(attempt *a, int64_t now_ms)
{
    if (unit_step(a->unit, now_ms)) {
        go_on(a, now_ms);
        return;
    }
    if (now_ms >= a->start_ms)
        attempt_tell_start(a);
    if (now_ms >= a->flush_ms)
        batch_flush(a);
    if (a->broken)
        stop(a, now_ms, 0);
}

void batch_cancel(attempt *a, int64_t grace_ms, int64_t now_ms)
{
    stop(a, now_ms, grace_ms ? grace_ms : batch_grace_ms(a));
}

int64_t batch_deadline_ms(const attempt *a)
{
    int64_t unit_ms = unit_deadline_ms(a->unit);
    int64_t say_ms = a->start_ms < a->flush_ms ? a->start_ms : a->flush_ms;

    return unit_ms < say_ms ? unit_ms : say_ms;
}

void batch_free(attempt *a)
{
    output_free(a->out);
    unit_free(a->unit);
    outcomes_free(a);
    arena_free(&a->unit_mem);
    mask_free(a->mask);
    free(a->store);
    free(a->key);
    free(a->kept_home);
    free(a->cache_file);
    free(a->broken);
    free(a->failure);
}
