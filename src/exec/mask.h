/*
 * mask.h - hides secrets in a stream of bytes, however it is cut into pieces.
 *
 * Every byte that lies in an occurrence of a hidden text goes, and each unbroken run of such bytes
 * becomes MASK_SHOWN.  What may still become an occurrence is held back, which is at most one byte
 * less than the longest text, and never what cannot be the beginning of one: a prompt is not held.
 *
 * A net for mistakes, not a wall: a task that wants to can always show a secret in a form that is
 * not looked for.
 *
 * Pure.  Memory: about 24 bytes for each byte of the hidden texts.  Time: linear in the stream.
 * After: Aho & Corasick, "Efficient string matching", CACM 18(6), 1975.
 */
#ifndef VOLT_EXEC_MASK_H
#define VOLT_EXEC_MASK_H

#include "base/buf.h"

#define MASK_SHOWN "***"
/* Shorter ones would hide what only looks like them. */
#define MASK_TEXT_MIN 6

typedef struct mask mask;

mask *mask_new(void);
void mask_free(mask *m);

/* Before the first mask_feed(). */
void mask_add(mask *m, slice text);
/* Adds the value and the other forms that output may have it in: its lines, base64 (also in the
 * middle of other bytes, or wrapped), and as part of a URL.  Each of MASK_TEXT_MIN bytes or more.
 */
void mask_add_secret(mask *m, slice value);

/* Appends to `out` what the next piece of the stream settles. */
void mask_feed(mask *m, slice piece, buf *out);
/* The stream ends: appends what was held back.  What comes next is another stream. */
void mask_end(mask *m, buf *out);
/* Appends a whole text; only between streams. */
void mask_text(mask *m, slice text, buf *out);

#endif
