#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define YEAR_MS (365LL * 24 * 3600 * 1000)

/* A number and its unit at *s, which is moved behind them; -1: there is none. */
static int64_t duration_part_ms(const char **s, int64_t *unit_ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };
    size_t digits = strspn(*s, "0123456789");
    const char *unit = *s + digits;
    size_t n = strcspn(unit, "0123456789");
    long long count;

    errno = 0;
    count = strtoll(*s, NULL, 10);
    if (digits == 0 || errno)
        return -1;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (slice_is((slice){ unit, n }, units[i].unit) && count <= 10 * YEAR_MS / units[i].ms) {
            *s = unit + n;
            *unit_ms = units[i].ms;
            return count * units[i].ms;
        }
    return -1;
}

volt_code text_duration_ms(const char *s, int64_t *ret, volt_err *err)
{
    const char *p = s;
    int64_t sum = 0, part, unit, last_unit = INT64_MAX;
    int64_t seconds;

    if (text_number(s, 0, 10 * YEAR_MS / 1000, &seconds, NULL) == VOLT_OK && *s >= '0' &&
        *s <= '9') {
        *ret = seconds * 1000;
        return VOLT_OK;
    }
    do {
        part = duration_part_ms(&p, &unit);
        sum += part;
        if (part < 0 || unit >= last_unit || sum > 10 * YEAR_MS)
            return volt_fail(err, VOLT_EINVALID,
                             "'%s' is not a duration (try 500ms, 5s, 10m, 1h30m, 7d)", s);
        last_unit = unit;
    } while (*p);
    *ret = sum;
    return VOLT_OK;
}

volt_code text_number(const char *s, int64_t min, int64_t max, int64_t *ret, volt_err *err)
{
    char *end;
    long long n;

    errno = 0;
    n = strtoll(s, &end, 10);
    if (end == s || *end || errno || n < min || n > max)
        return volt_fail(err, VOLT_EINVALID, "'%s' is not a number from %lld to %lld", s,
                         (long long)min, (long long)max);
    *ret = n;
    return VOLT_OK;
}

volt_code text_size(const char *s, int64_t min, int64_t max, int64_t *ret, volt_err *err)
{
    static const char letters[] = "KMGT";
    size_t digits = strspn(s, "0123456789");
    const char *letter = s[digits] ? strchr(letters, s[digits]) : NULL;
    int bits = letter ? 10 * (int)(letter - letters + 1) : 0;
    long long n;

    errno = 0;
    n = strtoll(s, NULL, 10);
    if (!digits || errno || (s[digits] && !letter) || (letter && s[digits + 1]) ||
        n > INT64_MAX >> bits)
        return volt_fail(err, VOLT_EINVALID, "'%s' is not a size (try 500M, 20G)", s);
    if (n << bits < min || n << bits > max)
        return volt_fail(err, VOLT_EINVALID, "'%s' is not from %lld to %lld bytes", s,
                         (long long)min, (long long)max);
    *ret = n << bits;
    return VOLT_OK;
}

const char *text_show_ms(int64_t ms, char ret[TEXT_DURATION_MAX])
{
    if (ms < 1000)
        snprintf(ret, TEXT_DURATION_MAX, "%lld ms", (long long)ms);
    else if (ms < 60000)
        snprintf(ret, TEXT_DURATION_MAX, "%lld.%lld s", (long long)(ms / 1000),
                 (long long)(ms % 1000 / 100));
    else if (ms < 3600000)
        snprintf(ret, TEXT_DURATION_MAX, "%lld m %02lld s", (long long)(ms / 60000),
                 (long long)(ms / 1000 % 60));
    else
        snprintf(ret, TEXT_DURATION_MAX, "%lld h %02lld m", (long long)(ms / 3600000),
                 (long long)(ms / 60000 % 60));
    return ret;
}

bool text_is_hex(slice s, size_t n)
{
    if (s.n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
            return false;
    return true;
}

bool text_is_oid(slice s)
{
    return text_is_hex(s, 40) || text_is_hex(s, 64);
}

/* Bytes of the UTF-8 sequence at s, or 0: overlong forms, surrogates and values above U+10FFFF are
 * refused, as in RFC 3629 section 4. */
static size_t utf8_len(const unsigned char *s, size_t n)
{
    size_t len = s[0] < 0x80   ? 1
                 : s[0] < 0xc2 ? 0
                 : s[0] < 0xe0 ? 2
                 : s[0] < 0xf0 ? 3
                 : s[0] < 0xf5 ? 4
                               : 0;

    if (len == 0 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return len;
}

/* Nearly every text is ASCII, and each is looked at when it comes, is kept and goes. */
static size_t ascii_words(slice s)
{
    size_t i = 0;

    for (uint64_t word; s.n - i >= sizeof word; i += sizeof word) {
        memcpy(&word, s.p + i, sizeof word);
        if (word & UINT64_C(0x8080808080808080))
            break;
    }
    return i;
}

bool text_is_inside(slice path)
{
    size_t from = 0;

    if (path.n == 0 || memchr(path.p, '\0', path.n))
        return false;
    for (size_t i = 0; i <= path.n; i++) {
        slice part = { path.p + from, i - from };

        if (i < path.n && path.p[i] != '/')
            continue;
        if (part.n == 0 || slice_is(part, ".") || slice_is(part, ".."))
            return false;
        from = i + 1;
    }
    return true;
}

size_t text_utf8_prefix(slice s)
{
    size_t i = ascii_words(s);

    while (i < s.n) {
        size_t len = utf8_len((const unsigned char *)s.p + i, s.n - i);

        if (!len)
            break;
        i += len;
    }
    return i;
}

bool text_is_variable(slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';

        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return s.n > 0;
}

bool text_glob(const char *pattern, const char *s)
{
    /* Where to go on when a literal does not fit: behind the last `*`, which may take one more byte
     * of its component, or behind the last `**`, which may take any byte. */
    const char *star = NULL, *star_s = NULL, *deep = NULL, *deep_s = NULL;

    for (;;) {
        if (pattern[0] == '*' && pattern[1] == '*') {
            pattern += 2;
            deep = pattern;
            deep_s = s;
            star = NULL; /* what a `*` before the last `**` took no longer matters */
        } else if (pattern[0] == '*') {
            star = ++pattern;
            star_s = s;
        } else if (*s && (*pattern == *s || (*pattern == '?' && *s != '/'))) {
            pattern++;
            s++;
        } else if (!*s && !*pattern) {
            return true;
        } else if (star && *star_s && *star_s != '/') {
            pattern = star;
            s = ++star_s;
        } else if (deep && *deep_s) {
            pattern = deep;
            s = ++deep_s;
            star = NULL;
        } else {
            return false;
        }
    }
}
