#include "pipeline/glob.h"

#include <stddef.h>

/* What reading a set in brackets gives. */
typedef struct set {
    const char *end; /* behind its ']'; NULL: the pattern is wrong */
    bool has;        /* the byte that was asked for */
    const char *why; /* end is NULL, or the set has a range without bytes */
} set;

/* POSIX classes as git has them, for ASCII only, each by the first and last byte of its ranges. */
static const struct {
    const char *name;
    const char *ranges;
} classes[] = {
    { "alnum", "09AZaz" },   { "alpha", "AZaz" },
    { "blank", "\t\t  " },   { "cntrl", "\1\37\177\177" },
    { "digit", "09" },       { "graph", "!~" },
    { "lower", "az" },       { "print", " ~" },
    { "punct", "!/:@[`{~" }, { "space", "\t\n\r\r  " },
    { "upper", "AZ" },       { "xdigit", "09AFaf" },
};

static const char *class_ranges(slice name)
{
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (slice_is(name, classes[i].name))
            return classes[i].ranges;
    return NULL;
}

/* `p` is at the ":]" or what else follows "[:"; *ret is the name when it ends in ":]". */
static bool class_name(const char *p, const char *end, slice *ret)
{
    const char *close = memchr(p, ']', (size_t)(end - p));

    if (!close || close == p || close[-1] != ':')
        return false;
    *ret = (slice){ p, (size_t)(close - 1 - p) };
    return true;
}

static bool in_ranges(const char *ranges, unsigned char c)
{
    for (; *ranges; ranges += 2)
        if (c >= (unsigned char)ranges[0] && c <= (unsigned char)ranges[1])
            return true;
    return false;
}

/* Reads the set behind a '[', and whether it has `c`.  As wildmatch.c of git does: a ']' in front
 * is a member, a '-' is one where it cannot mean a range, and a backslash works here, too. */
static set read_set(const char *p, const char *end, unsigned char c)
{
    set r = { 0 };
    bool negated = p < end && (*p == '!' || *p == '^');
    unsigned char from = 0; /* what a '-' would count from; 0: nothing */
    slice name;

    p += negated;
    for (bool first = true; p < end && (first || *p != ']'); first = false, p++) {
        const char *ranges;

        if (*p == '[' && p + 1 < end && p[1] == ':' && class_name(p + 2, end, &name)) {
            ranges = class_ranges(name);
            if (!ranges)
                return (set){ .why = "no class has this name" };
            r.has |= in_ranges(ranges, c);
            p = name.p + name.n + 1;
            from = 0;
        } else if (*p == '-' && from && p + 1 < end && p[1] != ']') {
            p += p[1] == '\\' ? 2 : 1;
            if (p >= end)
                break;
            r.has |= c >= from && c <= (unsigned char)*p;
            if ((unsigned char)*p < from)
                r.why = "a range runs backwards";
            from = 0;
        } else {
            p += *p == '\\';
            if (p >= end)
                break;
            from = (unsigned char)*p;
            r.has |= c == from;
        }
    }
    if (p >= end)
        return (set){ .why = "the set is never closed; a plain '[' is written '\\['" };
    r.has = r.has != negated;
    r.end = p + 1;
    return r;
}

/* Does what is at `p`, no star, match the byte `c`?  Returns what is behind it, or NULL. */
static const char *match_one(const char *p, const char *end, char c)
{
    set s;

    switch (*p) {
    case '?':
        return c == '/' ? NULL : p + 1;
    case '[':
        s = read_set(p + 1, end, (unsigned char)c);
        return s.end && s.has && c != '/' ? s.end : NULL;
    case '\\':
        if (++p == end)
            return NULL;
    }
    return *p == c ? p + 1 : NULL;
}

/* Are the stars in [p, q) a `**` that matches whole components?  *slash: what is behind the '/'
 * that follows, or NULL at the pattern's end. */
static bool is_deep(slice pattern, const char *p, const char *q, const char **slash)
{
    const char *end = pattern.p + pattern.n;
    bool escaped = end - q >= 2 && q[0] == '\\' && q[1] == '/';

    if (q - p < 2 || (p > pattern.p && p[-1] != '/'))
        return false;
    *slash = q == end ? NULL : q + (escaped ? 2 : 1);
    return q == end || *q == '/' || escaped;
}

/* Two places to come back to suffice.  The last `*`: what it takes more ends at the next '/', and
 * is settled once that matched.  The last `**`: it can take whatever an earlier one could have.
 * Each component of the pattern so meets each component of the path at most once behind the same
 * `**`. */
static bool match_wild(slice pattern, slice path)
{
    const char *p = pattern.p, *end = p + pattern.n;
    const char *t = path.p, *tend = t + path.n;
    const char *star = NULL,
               *star_t = NULL; /* the pattern behind it, and the path behind what it took */
    const char *deep = NULL, *deep_t = NULL;

    for (;;) {
        const char *next = p, *slash;

        while (next < end && *next == '*')
            next++;
        if (next > p && is_deep(pattern, p, next, &slash)) {
            if (!slash)
                return true;
            deep = slash;
            deep_t = t;
            star = NULL;
            if (*next == '/') {
                p = deep;
                continue;
            }
        } else if (next > p) {
            star = p = next;
            star_t = t;
            continue;
        } else if (p == end && t == tend) {
            return true;
        } else if (p < end && t < tend && (next = match_one(p, end, *t)) != NULL) {
            p = next;
            if (*t++ == '/')
                star = NULL;
            continue;
        }
        if (star && star_t < tend && *star_t != '/') {
            t = ++star_t;
            p = star;
            continue;
        }
        slash = deep ? memchr(deep_t, '/', (size_t)(tend - deep_t)) : NULL;
        if (!slash)
            return false;
        deep_t = t = slash + 1;
        p = deep;
        star = NULL;
    }
}

/* Without its empty components and those that are '.', in `mem` when there are any. */
static slice normal(slice pattern, char mem[GLOB_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < pattern.n;) {
        const char *p = pattern.p + i;
        const char *slash = memchr(p, '/', pattern.n - i);
        size_t len = slash ? (size_t)(slash - p) : pattern.n - i;

        i += len + (slash != NULL);
        if (len == 0 || (len == 1 && *p == '.'))
            continue;
        memcpy(mem + n, p, len + (slash != NULL));
        n += len + (slash != NULL);
    }
    return (slice){ n == pattern.n ? pattern.p : mem, n };
}

static size_t literal_length(slice pattern)
{
    size_t n = 0;

    while (n < pattern.n && !memchr("*?[\\", pattern.p[n], 4))
        n++;
    return n;
}

bool glob_match(slice pattern, slice path)
{
    char mem[GLOB_MAX];
    size_t n;

    if (pattern.n > GLOB_MAX)
        return false;
    pattern = normal(pattern, mem);
    if (pattern.n == 0)
        return true;
    n = pattern.n;
    if (slice_starts(path, pattern) && (path.n == n || pattern.p[n - 1] == '/' || path.p[n] == '/'))
        return true;
    n = literal_length(pattern);
    if (n == pattern.n || !slice_starts(path, (slice){ pattern.p, n }))
        return false;
    return match_wild((slice){ pattern.p + n, pattern.n - n }, (slice){ path.p + n, path.n - n });
}

static volt_code refuse(slice pattern, size_t at, const char *why, volt_err *err)
{
    return volt_fail(err, VOLT_EINVALID, "pattern '" SLICE_FMT "', column %zu: %s",
                     SLICE_ARG(pattern), at + 1, why);
}

static volt_code check_wildcards(slice pattern, volt_err *err)
{
    const char *end = pattern.p + pattern.n;

    for (size_t i = 0; i < pattern.n; i++) {
        if (pattern.p[i] == '\\') {
            if (++i == pattern.n)
                return refuse(pattern, i - 1, "nothing is behind the backslash", err);
        } else if (pattern.p[i] == '[') {
            set s = read_set(pattern.p + i + 1, end, 0);

            if (s.why)
                return refuse(pattern, i, s.why, err);
            i = (size_t)(s.end - pattern.p) - 1;
        }
    }
    return VOLT_OK;
}

volt_code glob_check(slice pattern, volt_err *err)
{
    char mem[GLOB_MAX];
    slice clean;

    if (pattern.n == 0)
        return volt_fail(err, VOLT_EINVALID, "the pattern is empty; '**' names every file");
    if (pattern.n > GLOB_MAX)
        return volt_fail(err, VOLT_EINVALID,
                         "the pattern that begins '%.32s' has %zu bytes, at most "
                         "%d are allowed",
                         pattern.p, pattern.n, GLOB_MAX);
    if (memchr(pattern.p, '\0', pattern.n))
        return volt_fail(err, VOLT_EINVALID, "the pattern '%.32s...' has a NUL in it", pattern.p);
    if (pattern.p[0] == '/')
        return refuse(pattern, 0, "it starts at the top of the repository, without a '/'", err);
    for (size_t i = 0; i + 2 <= pattern.n; i++)
        if (memcmp(pattern.p + i, "..", 2) == 0 && (i == 0 || pattern.p[i - 1] == '/') &&
            (i + 2 == pattern.n || pattern.p[i + 2] == '/'))
            return refuse(pattern, i, "'..' is not allowed", err);
    clean = normal(pattern, mem);
    if (clean.n > 0 && clean.p[clean.n - 1] == '/' && literal_length(clean) < clean.n)
        return refuse(pattern, pattern.n - 1,
                      "no file's path ends in '/'; write '/**' for all that "
                      "is below",
                      err);
    return check_wildcards(pattern, err);
}
