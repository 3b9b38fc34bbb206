#include <string.h>

#include "cmd/help.h"

static exit_code run(const command_line *line)
{
    const char *const *args;

    command_args(line, &args);
    if (strcmp(args[0], "bash") != 0)
        return command_fail_with(line, EXIT_USAGE, "no completion for '%s'; only for bash",
                                 args[0]);
    help_bash(stdout);
    return EXIT_DONE;
}

const command command_completion = {
    .name = "completion",
    .args = "bash",
    .args_min = 1,
    .args_max = 1,
    .summary = "print a completion script for the shell",
    .text = "In bash: source <(volt completion bash)",
    .run = run,
};
