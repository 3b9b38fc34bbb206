/* A batch from its order to its end: where it runs, and what becomes of it when time passes. */
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "exec/attempt_parts.h"
#include "pipeline/plan.h"

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
    if (attempt_is_script(a) ? !a->spec.script.n : a->spec.level && !a->spec.run.n)
        return volt_fail(err, VOLT_EINVALID, "the order does not say what to run");
    if (attempt_is_script(a))
        return VOLT_OK;
    if (order->files.n == 0)
        return volt_fail(err, VOLT_EINVALID, "a batch without files");
    for (size_t i = 0; i < order->files.n; i++)
        if (!text_is_inside(order->files.v[i]))
            return volt_fail(err, VOLT_EINVALID, "not a path in the checkout: '" SLICE_FMT "'",
                             SLICE_ARG(order->files.v[i]));
    return VOLT_OK;
}

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

void batch_give_up(attempt *a, const char *why)
{
    if (a->broken)
        return;
    a->broken = mem_strdup(why);
}

void batch_count(attempt *a, const unit_outcome *o)
{
    a->cpu_us += o->cpu_us;
    if (o->max_rss_bytes > a->max_rss_bytes)
        a->max_rss_bytes = o->max_rss_bytes;
    if (o->left)
        batch_give_up(a, "processes of the task could not be ended");
}

const char *attempt_home(const attempt *a)
{
    return a->kept_home ? a->kept_home : a->scratch.home;
}

int64_t batch_grace_ms(const attempt *a)
{
    return a->order.grace_ms ? (int64_t)a->order.grace_ms : ATTEMPT_GRACE_MS;
}

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
    if (rc == VOLT_EFULL) /* half of it is of no use, and all that runs here needs the room */
        site_drop_workspace(a->site, a->order.repo);
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
    if (a->spec.report && !attempt_is_script(a))
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
    stages_begin(a, now_ms);
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
        stages_on(a, now_ms);
        return;
    }
    if (now_ms >= a->start_ms)
        attempt_tell_start(a);
    if (now_ms >= a->flush_ms)
        judge_flush(a);
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
