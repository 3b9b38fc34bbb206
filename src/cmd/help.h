/*
 * help.h - what the option tables say, as help, as a man page and as shell completion.
 */
#ifndef VOLT_CMD_HELP_H
#define VOLT_CMD_HELP_H

#include <stdio.h>

#include "cmd/command.h"

/* `volt --help`: every command that is not hidden. */
void help_all(FILE *out);
/* `volt NAME --help`. */
void help_command(const command *c, FILE *out);
/* volt(1) in roff, for man(1). */
void help_man(FILE *out);
/* A script for bash to source. */
void help_bash(FILE *out);

#endif
