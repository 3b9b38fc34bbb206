/*
 * prng.h - seeded pseudo-random numbers for jitter and simulation; not for secrets.
 * After: Steele, Lea & Flood, "Fast splittable pseudorandom number generators", 2014 (SplitMix64).
 */
#ifndef VOLT_BASE_PRNG_H
#define VOLT_BASE_PRNG_H

#include <stdint.h>

typedef struct prng {
    uint64_t state;
} prng;

uint64_t prng_next(prng *p);
/* Uniform in [0, n), n >= 1. */
uint64_t prng_below(prng *p, uint64_t n);
/* `ms` times a factor in [1 - percent/100, 1 + percent/100]. */
int64_t prng_jitter_ms(prng *p, int64_t ms, unsigned percent);
/* Writes 32 lower-case hex digits and a NUL. */
void prng_hex32(prng *p, char ret[33]);

#endif
