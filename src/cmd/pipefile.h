/*
 * pipefile.h - a pipeline file for `volt lint` and `volt plan`: read, planned, complained about.
 */
#ifndef VOLT_CMD_PIPEFILE_H
#define VOLT_CMD_PIPEFILE_H

#include <stdio.h>

#include "pipeline/plan.h"

/* Zero-initialise; cleanup_pipefile() frees it. */
typedef struct pipefile {
    const char *name; /* as problems call it; the caller's */
    buf text;
    arena mem;
    problems problems;
    plan *plan; /* NULL until pipefile_plan() succeeded */
} pipefile;

void cleanup_pipefile(pipefile *f);

bool pipefile_is_dir(const char *path);

/* Of ".", the top of the repository that the working directory is in, when it is in one; else
 * `path`.  Stands as long as `f`. */
const char *pipefile_top(pipefile *f, const char *path);

/* Reads the file at `path`, that of the directory `path`, or standard input for "-".
 * VOLT_ENOTFOUND: there is none.  VOLT_EFULL: it is too long.  VOLT_EIO. */
volt_code pipefile_open(pipefile *f, const char *path, volt_err *err);
/* Plans what the text says.  False: the problems say why not. */
bool pipefile_plan(pipefile *f, const plan_settings *settings);
/* Prints the problems for people. */
void pipefile_say(const pipefile *f, FILE *out);

#endif
