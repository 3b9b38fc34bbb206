/*
 * output.h - what a task's processes write, from their pipe to the spool's log.
 *
 * Both streams of a process are one pipe, so their order is kept; bytes go to the log as they are,
 * but for the secrets among them.  A process gets a pipe of its own, so that nothing an earlier one
 * left behind writes into its part. Beyond the cap, or when the disk is full, a line says so, the
 * rest is read and thrown away, and the task goes on.
 */
#ifndef VOLT_EXEC_OUTPUT_H
#define VOLT_EXEC_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "exec/mask.h"

typedef struct output output;

/* The log: called when there is something to write, once if it succeeds.  A descriptor that stays
 * its owner's, best not O_APPEND (splice() refuses that), or -1 with errno. */
typedef int output_log(void *ctx);

/* Appends to that log at most `max` bytes. */
output *output_new(output_log *log, void *ctx, uint64_t max);
void output_free(output *o);
/* From now on what processes write goes through this mask, which is borrowed.  Only while no pipe
 * is open. */
void output_mask(output *o, mask *m);

/* A fresh pipe: *ret is the end to write to, close-on-exec, the caller's to close.
 * VOLT_EIO: no more descriptors. */
volt_code output_open(output *o, int *ret, volt_err *err);
/* The end to read from, for poll(); -1: none is open, or all who could write are gone. */
int output_fd(const output *o);
/* Moves what is there, at most some MiB.  False: nothing more is there for now. */
bool output_pump(output *o);
/* Moves all that is there and closes the pipe. */
void output_close(output *o);

/* Appends a line of Volt's own, on a line of its own, also beyond the cap.  `text` without newline;
 * what it quotes of a process's words is masked, unless a pipe is open. */
void output_line(output *o, const char *text);

/* Bytes in the log. */
uint64_t output_bytes(const output *o);
/* Bytes thrown away. */
uint64_t output_lost(const output *o);
/* Why the log is not whole ("no space left ..."); empty when it is. */
const char *output_why(const output *o);

#endif
