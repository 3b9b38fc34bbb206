/*
 * holdback.h - text that goes out in order, while parts of it wait for something else to be done.
 *
 * Zero-initialise `text` and the rest; free with holdback_free().
 */
#ifndef VOLT_CMD_TAIL_HOLDBACK_H
#define VOLT_CMD_TAIL_HOLDBACK_H

#include "base/buf.h"

typedef struct holdback {
    buf text;      /* added to by anybody */
    size_t *holds; /* where in `text` each hold begins, the oldest first */
    size_t n, cap;
} holdback;

void holdback_free(holdback *h);
/* What is added from now on waits until this hold, and all older ones, are released. */
void holdback_hold(holdback *h);
/* Releases the oldest hold; without one nothing happens. */
void holdback_release(holdback *h);
void holdback_release_all(holdback *h);
/* Moves to the end of `ret` what waits for nothing. */
void holdback_take(holdback *h, buf *ret);

#endif
