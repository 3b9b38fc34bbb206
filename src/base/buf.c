#include "base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

void buf_free(buf *b)
{
    free(b->p);
    *b = (buf){ 0 };
}

void buf_clear(buf *b)
{
    b->n = 0;
    if (b->p)
        b->p[0] = '\0';
}

char *buf_room(buf *b, size_t more)
{
    size_t need = b->n + more + 1;

    assert(need > more);
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap : 64;

        while (cap < need)
            cap *= 2;
        b->p = mem_grow(b->p, cap, 1);
        b->p[b->n] = '\0';
        b->cap = cap;
    }
    return b->p + b->n;
}

void buf_add(buf *b, const void *p, size_t n)
{
    char *to = buf_room(b, n);

    if (n)
        memcpy(to, p, n);
    b->n += n;
    b->p[b->n] = '\0';
}

void buf_adds(buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_add_slice(buf *b, slice s)
{
    buf_add(b, s.p, s.n);
}

void buf_addc(buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_addf(buf *b, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    buf_room(b, (size_t)n);
    va_start(ap, fmt);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)n;
}

void buf_drop(buf *b, size_t n)
{
    assert(n <= b->n);
    if (n == 0)
        return;
    b->n -= n;
    memmove(b->p, b->p + n, b->n);
    b->p[b->n] = '\0';
}

const char *buf_str(const buf *b)
{
    return b->p ? b->p : "";
}
