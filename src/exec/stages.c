/* The stages of a batch, one after the other: each starts where the last one ended. */
#include <inttypes.h>

#include "base/cleanup.h"
#include "base/kill.h"
#include "base/log.h"
#include "base/mem.h"
#include "exec/attempt_parts.h"
#include "pipeline/command.h"
#include "pipeline/detect.h"
#include "unittest_one.h" /* made from unittest_one.py: static const char unittest_one[] */

#define ARGS_MAX 5 /* with the NULL */

static void give_to_shell(attempt *a, slice commands, process_command *run, const char **argv)
{
    run->path = "/bin/sh";
    argv[0] = "sh";
    argv[1] = "-e";
    argv[2] = "-c";
    argv[3] = arena_str(&a->unit_mem, commands);
}

/* Without one, which is half of what a small test costs, if it takes none: it does to say what is
 * not there or cannot be executed, and a sandbox shows other files. */
static void spare_shell(attempt *a, slice command, process_command *run)
{
    const char **words = a->bwrap ? NULL : command_words(command, &a->unit_mem);
    const char *path = words ? environ_program(a->env, a->dir, words[0], &a->unit_mem) : NULL;

    if (!path)
        return;
    run->sh_argv = run->argv;
    run->path = path;
    run->argv = words;
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

    if (attempt_is_script(a)) {
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

            command_of_file(a->spec.run, file, &run);
            give_to_shell(a, buf_slice(&run), &order.run, argv);
            spare_shell(a, buf_slice(&run), &order.run);
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

/* It was canceled before all of it had run, or before all that it leaves was packed. */
static bool is_cut_short(const attempt *a)
{
    bool whole = a->next == attempt_units_n(a) && a->worst != VERDICT_CANCELED && !a->not_kept;

    return a->canceled && !whole;
}

/* What is not kept of what the attempt left, for the result; nothing when all is. */
static void say_what_went(const attempt *a, buf *text)
{
    bool cut = output_lost(a->out) > 0;

    if (a->not_kept)
        buf_addf(text, "its artifacts were not kept%s",
                 cut ? ", and " : ": the end of the log says why");
    if (cut)
        buf_addf(text, "%s; %" PRIu64 " bytes were thrown away", output_why(a->out),
                 output_lost(a->out));
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
        judge_flush(a);
        attempt_refuse(a, CODE_LOST, a->broken);
        return;
    }
    if (a->failure)
        buf_adds(&text, a->failure);
    else if (canceled)
        buf_adds(&text, a->why);
    else
        say_what_went(a, &text);
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
                          .from = attempt_is_script(a) ? 0 : a->order.from + a->flushed,
                          .items = { .v = a->items, .n = attempt_is_script(a) ? 0 : a->items_n },
                          .cases_from = a->cases_from,
                          .cases = { .v = a->cases, .n = a->cases_n },
                      });
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
    if (a->spec.setup.n && !attempt_is_script(a) && !site_has_setup(a->site))
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
    rec_item item = judge_unit(a, unit_result(a->unit));

    batch_count(a, unit_result(a->unit));
    take_off(a);
    if (judge_again(a, &item)) {
        begin_unit(a, now_ms);
        return true;
    }
    judge_record(a, item, now_ms);
    a->next++;
    if (a->next == attempt_units_n(a) || a->canceled || a->broken)
        return go_out(a, STAGE_WORK, now_ms);
    if (a->items_n == ATTEMPT_FLUSH_ITEMS || now_ms >= a->flush_ms)
        judge_flush(a);
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

void stages_on(attempt *a, int64_t now_ms)
{
    while ((unit_ended(a->unit) || unit_kept(a->unit)) && stage_on(a, now_ms))
        continue;
}

void stages_begin(attempt *a, int64_t now_ms)
{
    go_in(a, STAGE_NONE, now_ms);
    stages_on(a, now_ms);
}
