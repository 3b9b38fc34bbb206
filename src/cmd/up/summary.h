/*
 * summary.h - how the builds of `volt up --once` ended.
 */
#ifndef VOLT_CMD_UP_SUMMARY_H
#define VOLT_CMD_UP_SUMMARY_H

#include <stdbool.h>

#include "base/err.h"

typedef struct up_summary up_summary;

/* VOLT_EUNREACHABLE, VOLT_EINVALID: as client_open(). */
volt_code up_summary_new(const char *server, up_summary **ret, volt_err *err);
void up_summary_free(up_summary *s);

/* Every build has its verdict, of those accepted so far.  Asks the dispatcher; false also when it
 * does not answer.  Shows how far the others are (cmd/progress.h). */
bool up_summary_complete(up_summary *s);
/* Prints a line a build and, for each unit that did not pass, the end of its output.  True: there
 * were builds, and all passed. */
bool up_summary_print(up_summary *s);

#endif
