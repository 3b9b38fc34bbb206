/*
 * progress.h - how far builds are, for who waits: one line that is kept up to date on a terminal,
 * a line now and then in a pipe.  On standard error.
 */
#ifndef VOLT_CMD_PROGRESS_H
#define VOLT_CMD_PROGRESS_H

#include <stdint.h>

#include "base/buf.h"
#include "core/msg.h"

typedef struct progress {
    int64_t begun_ms, said_ms; /* monotonic; when a line was last printed */
    char *said;                /* that line, or NULL */
} progress;

/* Appends "build 7: 12 of 50 on 8 slots, 1 not passed, 14 s, about 20 s left"; of several builds
 * their sum.  `rows` are builds without a verdict, n >= 1; elapsed_ms since they were first seen.
 */
void progress_text(const rec_build_row *rows, size_t n, int64_t elapsed_ms, buf *out);

/* Shows that; n may be 0: then nothing is left on the terminal. */
void progress_show(progress *p, const rec_build_row *rows, size_t n, int64_t now_ms);
/* Takes the line off the terminal and frees what was kept. */
void progress_end(progress *p);

#endif
