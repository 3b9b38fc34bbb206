#include "base/cleanup.h"
#include "base/mem.h"
#include "base/text.h"
#include "exec/attempt_parts.h"
#include "exec/keeper.h"

/* The keeper itself is ours, so that it runs outside the sandbox and ends like any process. */
static const char **keeper_argv(attempt *a, process_command *commands)
{
    static const char *const keeper[] = { "volt", KEEPER_COMMAND, "--" };
    const size_t own = sizeof keeper / sizeof *keeper;
    const char **argv;
    size_t n = 0;

    means_confine(a, commands, &a->unit_mem);
    while (commands->argv[n])
        n++;
    argv = ARENA_ARRAY(&a->unit_mem, const char *, own + n + 1);
    memcpy(argv, keeper, sizeof keeper);
    memcpy(argv + own, commands->argv, n * sizeof *argv);
    argv[own] = commands->path;
    return argv;
}

void setup_begin(attempt *a, int64_t now_ms)
{
    const char *shell[] = { "/bin/sh", "-e", "-c", arena_str(&a->unit_mem, a->spec.setup), NULL };
    process_command commands = { .path = shell[0], .argv = shell };
    const char **argv = keeper_argv(a, &commands);
    const unit_order order = {
        .name = "setup",
        .timeout_ms = (int64_t)a->order.timeout_ms,
        .grace_ms = batch_grace_ms(a),
        .run = { .path = "/proc/self/exe", .argv = argv, .env = a->env, .dir = a->dir },
        .keep = true,
    };

    batch_say(a, "volt: setup begins");
    a->stage = STAGE_SETUP;
    a->unit = unit_start(&order, a->out, now_ms);
}

/* The verdict of a setup that did not succeed, which is the batch's. */
static verdict judge_setup(attempt *a, const unit_outcome *o)
{
    char limit[TEXT_DURATION_MAX];

    switch (o->end) {
    case UNIT_CANCELED:
        return VERDICT_CANCELED;
    case UNIT_TIMEOUT:
        a->failure = mem_printf("the setup was stopped at its time limit of %s",
                                text_show_ms((int64_t)a->order.timeout_ms, limit));
        return VERDICT_TIMEOUT;
    case UNIT_NOT_STARTED:
        a->broken = mem_strdup("the setup could not be started here"); /* no more processes */
        return VERDICT_ERRORED;
    case UNIT_EXITED:
        break;
    }
    a->failure = o->signal ? mem_printf("the setup was ended by signal %d", o->signal)
                           : mem_printf("the setup failed with status %d", o->exit);
    return VERDICT_FAILED;
}

bool setup_end(attempt *a)
{
    const unit_outcome *o = unit_result(a->unit);
    char took[TEXT_DURATION_MAX];

    batch_count(a, o);
    arena_reset(&a->unit_mem);
    if (o->end == UNIT_EXITED && !o->exit && !o->signal) {
        batch_say(a, "volt: setup ended after %s", text_show_ms(o->duration_ms, took));
        site_set_up(a->site, TAKE(a->unit));
        return !a->canceled && !a->broken;
    }
    a->worst = judge_setup(a, o);
    a->worst_item = (rec_item){ .exit = (uint64_t)o->exit, .signal = (uint64_t)o->signal };
    if (a->failure)
        batch_say(a, "volt: %s", a->failure);
    unit_free(TAKE(a->unit));
    site_keep(a->site, ""); /* what it did half is in the workspace */
    return false;
}
