#include "cmd/help.h"

static exit_code run(const command_line *line)
{
    (void)line;
    help_man(stdout);
    return EXIT_DONE;
}

const command command_man = {
    .name = "man",
    .args = "",
    .summary = "print the man page",
    .text = "Read it with: volt man | man -l -",
    .run = run,
};
