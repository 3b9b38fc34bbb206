#include "report/report.h"

#include <stdlib.h>

#include "base/text.h"

#define NUMBER_MAX 32

slice report_cut(slice text, size_t max)
{
    size_t n = text.n < max ? text.n : max;
    size_t whole;

    if (n == text.n)
        return text;
    whole = text_utf8_prefix((slice){ text.p, n });
    /* A character has four bytes at most; what is no UTF-8 before that is no reason to cut. */
    return (slice){ text.p, n - whole < 4 ? whole : n };
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

slice report_trim(slice text)
{
    while (text.n && is_space(text.p[0]))
        text = (slice){ text.p + 1, text.n - 1 };
    while (text.n && is_space(text.p[text.n - 1]))
        text.n--;
    return text;
}

uint64_t report_time_ms(slice text, double ms)
{
    char number[NUMBER_MAX];
    size_t n = 0;
    char *end;
    double value;

    text = report_trim(text);
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == ',') /* of thousands, as surefire writes in some locales */
            continue;
        if (n + 1 == sizeof number || !strchr("0123456789.eE+-", text.p[i]))
            return 0;
        number[n++] = text.p[i];
    }
    number[n] = 0;
    value = strtod(number, &end) * ms;
    if (end == number || *end || !(value > 0))
        return 0;
    return value < (double)MSG_TIME_MAX ? (uint64_t)(value + 0.5) : MSG_TIME_MAX;
}
