/*
 * show.h - what commands print for people: aligned tables, colours, verdicts, ages.
 *
 * Texts that came from somewhere else (subjects, file names) lose their control characters here, so
 * that none of them commands the terminal.
 */
#ifndef VOLT_CMD_SHOW_H
#define VOLT_CMD_SHOW_H

#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "cmd/command.h"
#include "core/msg.h"

/* What --color, NO_COLOR (no-color.org) and the terminal say about colours on standard output; the
 * command has OPTION_COLOR. */
bool show_color(const command_line *line);

typedef enum show_tone {
    TONE_PLAIN,
    TONE_GOOD,
    TONE_BAD,
    TONE_WARN,
    TONE_BUSY,
    TONE_DIM
} show_tone;

/* Escape sequences that begin and end a tone; "" without colour. */
const char *show_begin(bool color, show_tone tone);
const char *show_end(bool color, show_tone tone);

show_tone show_verdict_tone(verdict v);
/* "failed", or "running" when there is no verdict; the tone that fits. */
const char *show_outcome(verdict v, state s, show_tone *tone);

/* Appends `s` without control characters, cut to `width` columns (0: whole) with "…". */
void show_text(buf *out, slice s, size_t width);
/* "main" of "refs/heads/main", "v1" of "refs/tags/v1", else the ref. */
slice show_ref(slice ref);
/* The first 10 digits of a commit id. */
slice show_oid(slice oid);
/* Time since `wall_ms` as text_show_ms() has it; "" for 0.  Clocks of two machines may differ: what
 * would be negative is 0. */
void show_age(buf *out, uint64_t wall_ms, int64_t now_wall_ms);

/* A table: fill cells row by row, then print.  A heading that begins with '>' aligns its column to
 * the right.  The last column is not padded. */
typedef struct show_table show_table;

show_table *show_table_new(bool color, const char *const *headings, size_t columns);
void show_table_free(show_table *t);
void show_cell(show_table *t, show_tone tone, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void show_cell_text(show_table *t, show_tone tone, slice s, size_t width);
/* A duration; empty for 0. */
void show_cell_ms(show_table *t, uint64_t ms);
/* A number; empty for 0. */
void show_cell_count(show_table *t, uint64_t n);
void show_cell_age(show_table *t, uint64_t wall_ms, int64_t now_wall_ms);
/* Nothing at all when it has no rows.  Whole rows only. */
void show_table_print(const show_table *t, FILE *out);

#endif
