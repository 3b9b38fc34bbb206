/*
 * nearest.h - "did you mean ...?": the known word closest to a mistyped one.
 */
#ifndef VOLT_BASE_NEAREST_H
#define VOLT_BASE_NEAREST_H

#include <stddef.h>

typedef struct nearest {
    const char *typed; /* set this, zero the rest */
    const char *best;
    size_t distance;
} nearest;

/* Offers a known word, which must stand as long as `n` is used. */
void nearest_try(nearest *n, const char *word);
/* The closest of them, the first of equals; NULL when none is close enough to be meant. */
const char *nearest_found(const nearest *n);

#endif
