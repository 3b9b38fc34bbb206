/*
 * buf.h - a growing byte buffer.  Always followed by a NUL that does not count, so `p` of a buffer
 * that was written to is also a C string.  Zero-initialise; free with buf_free().
 */
#ifndef VOLT_BASE_BUF_H
#define VOLT_BASE_BUF_H

#include <stdarg.h>
#include <stdint.h>

#include "base/slice.h"

typedef struct buf {
    char *p; /* NULL until first written */
    size_t n;
    size_t cap;
} buf;

void buf_free(buf *b);
/* Empties, keeps the memory. */
void buf_clear(buf *b);
/* Room for `more` bytes behind n; returns where they go. */
char *buf_room(buf *b, size_t more);
void buf_add(buf *b, const void *p, size_t n);
void buf_adds(buf *b, const char *s);
void buf_add_slice(buf *b, slice s);
void buf_addc(buf *b, char c);
void buf_addf(buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Drops the first n bytes (n <= b->n). */
void buf_drop(buf *b, size_t n);
/* The contents as a C string, never NULL; stands until the buffer changes. */
const char *buf_str(const buf *b);

static inline slice buf_slice(const buf *b)
{
    return (slice){ b->p, b->n };
}

static inline void cleanup_buf(buf *b)
{
    buf_free(b);
}

#endif
