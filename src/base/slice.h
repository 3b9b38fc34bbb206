/*
 * slice.h - a borrowed run of bytes.  Who lends it says how long it stands.
 */
#ifndef VOLT_BASE_SLICE_H
#define VOLT_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct slice {
    const char *p; /* not NUL-terminated; may be NULL when n is 0 */
    size_t n;
} slice;

#define SLICE(literal) ((slice){ (literal), sizeof(literal) - 1 })
#define SLICE_FMT      "%.*s"
#define SLICE_ARG(s)   ((int)(s).n), ((s).p ? (s).p : "")

static inline slice slice_of(const char *s)
{
    return (slice){ s, s ? strlen(s) : 0 };
}

static inline bool slice_eq(slice a, slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool slice_is(slice a, const char *s)
{
    return slice_eq(a, slice_of(s));
}

/* As memcmp, a shorter prefix first. */
static inline int slice_cmp(slice a, slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;

    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static inline bool slice_starts(slice a, slice prefix)
{
    return a.n >= prefix.n && (prefix.n == 0 || memcmp(a.p, prefix.p, prefix.n) == 0);
}

static inline bool slice_ends(slice a, slice suffix)
{
    return a.n >= suffix.n &&
           (suffix.n == 0 || memcmp(a.p + a.n - suffix.n, suffix.p, suffix.n) == 0);
}

#endif
