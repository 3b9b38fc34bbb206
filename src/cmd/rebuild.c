#include <stdio.h>

#include "base/cleanup.h"
#include "cmd/outcome.h"
#include "cmd/query.h"

DEFINE_CLEANUP(client *, client_free);

static exit_code run(const command_line *line)
{
    CLEANUP(client_free)
    client *c = NULL;
    const char *const *args;
    char sid[33];
    msg question = { .type = MSG_rebuild, .rebuild = { .sid = { sid, 32 } } };
    volt_err err = { 0 };

    command_args(line, &args);
    client_new_sid(sid);
    if (query_id(args[0], "build", &question.rebuild.build, &err) || client_new(line, &c, &err))
        return command_fail(line, &err);
    return outcome_of(line, c, &question);
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
    .run = run,
};
