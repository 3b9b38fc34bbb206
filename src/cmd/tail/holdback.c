#include "cmd/tail/holdback.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void holdback_free(holdback *h)
{
    buf_free(&h->text);
    free(h->holds);
    *h = (holdback){ 0 };
}

void holdback_hold(holdback *h)
{
    if (h->n == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 16;
        h->holds = mem_grow(h->holds, h->cap, sizeof *h->holds);
    }
    h->holds[h->n++] = h->text.n;
}

void holdback_release(holdback *h)
{
    if (h->n)
        memmove(h->holds, h->holds + 1, --h->n * sizeof *h->holds);
}

void holdback_release_all(holdback *h)
{
    h->n = 0;
}

void holdback_take(holdback *h, buf *ret)
{
    size_t n = h->n ? h->holds[0] : h->text.n;

    assert(n <= h->text.n);
    if (n == 0)
        return;
    buf_add(ret, h->text.p, n);
    buf_drop(&h->text, n);
    for (size_t i = 0; i < h->n; i++)
        h->holds[i] -= n;
}
