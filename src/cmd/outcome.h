/*
 * outcome.h - the common end of submit and rebuild: ask for a build, say which, wait for it.
 */
#ifndef VOLT_CMD_OUTCOME_H
#define VOLT_CMD_OUTCOME_H

#include "cmd/client.h"

#define OPTION_WAIT                                                                              \
    {                                                                                            \
        "wait", 'w', OPTION_FLAG, NULL, NULL, 0, 0, "wait for the verdict and exit with 0 or 1", \
            false                                                                                \
    }

/* Sends a question that is answered with `accepted`, prints the build and, with --wait, its
 * verdict.  The command has OPTION_WAIT, OPTION_JSON and OPTION_COLOR.  What went wrong is said. */
exit_code outcome_of(const command_line *line, client *c, const msg *question);

#endif
