#include "base/prng.h"

#include <assert.h>

__extension__ typedef unsigned __int128 uint128; /* gcc and clang have it; ISO C does not */

uint64_t prng_next(prng *p)
{
    uint64_t z = (p->state += 0x9e3779b97f4a7c15ULL);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

uint64_t prng_below(prng *p, uint64_t n)
{
    assert(n > 0);
    return (uint64_t)(((uint128)prng_next(p) * n) >> 64);
}

int64_t prng_jitter_ms(prng *p, int64_t ms, unsigned percent)
{
    int64_t span = ms * (int64_t)percent / 100;

    assert(ms >= 0 && percent <= 100);
    return ms - span + (int64_t)prng_below(p, (uint64_t)(2 * span + 1));
}

void prng_hex32(prng *p, char ret[33])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < 32; i += 16) {
        uint64_t x = prng_next(p);

        for (int k = 0; k < 16; k++, x >>= 4)
            ret[i + k] = digits[x & 15];
    }
    ret[32] = '\0';
}
