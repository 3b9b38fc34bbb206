#include <stdio.h>

#include "base/cleanup.h"
#include "cmd/outcome.h"
#include "cmd/query.h"

DEFINE_CLEANUP(client *, client_free);

static exit_code ask(const command_line *line, bool failed)
{
    CLEANUP(client_free)
    client *c = NULL;
    const char *const *args;
    char sid[33];
    msg question = { .type = MSG_rebuild, .rebuild = { .sid = { sid, 32 }, .failed = failed } };
    volt_err err = { 0 };

    command_args(line, &args);
    client_new_sid(sid);
    if (query_id(args[0], "build", &question.rebuild.build, &err) || client_new(line, &c, &err))
        return command_fail(line, &err);
    return outcome_of(line, c, &question);
}

static exit_code rebuild(const command_line *line)
{
    return ask(line, false);
}

static exit_code retry(const command_line *line)
{
    return ask(line, true);
}

static const option_spec options[] = {
    OPTION_WAIT, OPTION_DISPATCHER, OPTION_TIMEOUT, OPTION_JSON, OPTION_COLOR,
};

const command command_rebuild = {
    .name = "rebuild",
    .args = "ID",
    .args_min = 1,
    .args_max = 1,
    .summary = "test the commit of a build once more",
    .text = "Makes a new build of the same commit and prints its number.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = rebuild,
};

const command command_retry = {
    .name = "retry",
    .args = "ID",
    .args_min = 1,
    .args_max = 1,
    .summary = "run once more what did not pass in a build",
    .text = "Makes a new build of the same commit and prints its number.  Jobs that passed in "
            "build ID\n"
            "are taken over; only the others run.  It must have ended.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = retry,
};
