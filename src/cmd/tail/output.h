/*
 * output.h - standard output whose reader may be slow, or gone.
 *
 * For programs whose signals are blocked and read by the loop (loop_signals()): waiting for a
 * reader ends when one of them asks the program to end.
 */
#ifndef VOLT_CMD_TAIL_OUTPUT_H
#define VOLT_CMD_TAIL_OUTPUT_H

#include "base/buf.h"
#include "base/err.h"

/* Writes all of `b` and empties it.  `wait`: blocks until it is taken, or until SIGINT, SIGTERM or
 * SIGHUP is pending (VOLT_ECANCELED); else what is not taken at once is dropped.
 * VOLT_EUNREACHABLE: nobody reads any more.  VOLT_EIO. */
volt_code output_write(buf *b, bool wait, volt_err *err);

/* True when nobody reads any more: for when there is nothing to write. */
bool output_is_closed(void);

#endif
