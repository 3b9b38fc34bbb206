#include "base/nearest.h"

#include <string.h>

#define WORD_MAX 32 /* longer words are compared by their beginnings */

static size_t min2(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Changes that make a of b: insert, delete, replace, swap neighbours (optimal string alignment). */
static size_t distance(const char *a, size_t an, const char *b, size_t bn)
{
    size_t d[WORD_MAX + 1][WORD_MAX + 1];

    for (size_t i = 0; i <= an; i++)
        d[i][0] = i;
    for (size_t k = 0; k <= bn; k++)
        d[0][k] = k;
    for (size_t i = 1; i <= an; i++)
        for (size_t k = 1; k <= bn; k++) {
            size_t cost = a[i - 1] != b[k - 1];

            d[i][k] = min2(min2(d[i - 1][k] + 1, d[i][k - 1] + 1), d[i - 1][k - 1] + cost);
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                d[i][k] = min2(d[i][k], d[i - 2][k - 2] + 1);
        }
    return d[an][bn];
}

void nearest_try(nearest *n, const char *word)
{
    size_t typed = min2(strlen(n->typed), WORD_MAX), len = min2(strlen(word), WORD_MAX);
    size_t far = distance(n->typed, typed, word, len);

    if (typed >= 3 && typed < len) /* "--dispacher" begins "--dispatcher-server", nearly */
        far = min2(far, 1 + min2(distance(n->typed, typed, word, typed),
                                 distance(n->typed, typed, word, typed + 1)));
    if (!n->best || far < n->distance) {
        n->best = word;
        n->distance = far;
    }
}

const char *nearest_found(const nearest *n)
{
    size_t typed = strlen(n->typed);
    size_t most = typed < 3 ? 1 : typed < 6 ? 2 : 3;

    return n->best && n->distance <= most && n->distance < typed ? n->best : NULL;
}
