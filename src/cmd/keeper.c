/* volt keeper: what a job's setup leaves running lives below it; started by 'volt executor'. */
#include "exec/keeper.h"

#include "cmd/command.h"

static exit_code run(const command_line *line)
{
    const char *const *args;

    command_args(line, &args);
    return (exit_code)keeper_run(args);
}

const command command_keeper = {
    .name = KEEPER_COMMAND,
    .args = "COMMAND [ARG]...",
    .args_min = 1,
    .args_max = -1,
    .summary = "run a job's setup; started by 'volt executor'",
    .hidden = true,
    .run = run,
};
