/*
 * command.h - the command of a test file, and whether it takes a shell to run it.
 *
 * Pure.
 */
#ifndef VOLT_PIPELINE_COMMAND_H
#define VOLT_PIPELINE_COMMAND_H

#include "base/arena.h"
#include "base/buf.h"

/* Appends the commands for one test file:
 * `run` with the name for each `{}`, quoted where a shell needs that. */
void command_of_file(slice run, slice file, buf *out);

/* The words of one plain command, as execve() takes them, in `a`: a program of that name does what
 * a shell would do with it.  NULL: it takes a shell. */
const char **command_words(slice command, arena *a);

#endif
