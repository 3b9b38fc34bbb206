#include "pipeline/problems.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/mem.h"

#define SHOWN_MAX 160 /* bytes of a source line */
#define INDENT    "    "

static bool is_before(place a, place b)
{
    return a.line < b.line || (a.line == b.line && a.column < b.column);
}

void problems_add(problems *p, place at, const char *fmt, ...)
{
    CLEANUP(free)
    char *text = NULL;
    va_list ap;
    size_t i;

    va_start(ap, fmt);
    text = mem_vprintf(fmt, ap);
    va_end(ap);
    for (i = p->n; i > 0 && is_before(at, p->v[i - 1].at); i--)
        ;
    for (size_t k = i; k > 0 && !is_before(p->v[k - 1].at, at); k--)
        if (strcmp(p->v[k - 1].text, text) == 0)
            return;
    if (p->n == PROBLEMS_MAX) { /* the first ones of the file are kept */
        p->more++;
        if (i == p->n)
            return;
        p->n--;
    }
    memmove(p->v + i + 1, p->v + i, (p->n - i) * sizeof *p->v);
    p->v[i] = (problem){ at, arena_str(p->mem, slice_of(text)) };
    p->n++;
}

static slice line_of(slice source, uint32_t line)
{
    const char *p = source.p, *end = source.p + source.n, *next;

    for (uint32_t i = 1; p && i < line; i++) {
        p = memchr(p, '\n', (size_t)(end - p));
        p = p ? p + 1 : NULL;
    }
    if (!p || p == end)
        return (slice){ 0 };
    next = memchr(p, '\n', (size_t)(end - p));
    end = next ? next : end;
    if (end > p && end[-1] == '\r')
        end--;
    return (slice){ p, (size_t)(end - p) };
}

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* The line as far as it is shown, and a caret below its `column`. */
static void show_line(slice line, uint32_t column, buf *out)
{
    size_t column_at = 0, from = 0;

    for (uint32_t seen = 1; column_at < line.n && seen < column; seen++)
        for (column_at++; column_at < line.n && is_continuation(line.p[column_at]);)
            column_at++;
    if (column_at > SHOWN_MAX / 2) /* a long line: what stands around the column */
        from = column_at - SHOWN_MAX / 2;
    while (from < line.n && is_continuation(line.p[from]))
        from++;
    line = (slice){ line.p + from, line.n - from };
    if (line.n > SHOWN_MAX)
        line.n = SHOWN_MAX;
    while (line.n > 0 && line.n == SHOWN_MAX && is_continuation(line.p[line.n - 1]))
        line.n--;
    buf_adds(out, INDENT);
    for (size_t i = 0; i < line.n; i++) {
        unsigned char c = (unsigned char)line.p[i];

        buf_addc(out, (c < ' ' && c != '\t') || c == 0x7f ? '?' : line.p[i]);
    }
    buf_adds(out, "\n" INDENT);
    for (size_t i = 0; i + from < column_at; i++) /* a tab stays one: the caret is below */
        if (line.p[i] == '\t')
            buf_addc(out, '\t');
        else if (!is_continuation(line.p[i]))
            buf_addc(out, ' ');
    buf_adds(out, "^\n");
}

static void show_place(const problem *p, const char *file, buf *out)
{
    if (p->at.line)
        buf_addf(out, "%s:%u:%u: ", file, p->at.line, p->at.column);
    else
        buf_addf(out, "%s: ", file);
    buf_adds(out, p->text);
}

void problems_print(const problems *p, const char *file, slice source, buf *out)
{
    for (size_t i = 0; i < p->n; i++) {
        slice line = line_of(source, p->v[i].at.line);

        show_place(&p->v[i], file, out);
        buf_addc(out, '\n');
        if (p->v[i].at.line && line.n)
            show_line(line, p->v[i].at.column, out);
    }
    if (p->more)
        buf_addf(out, "%s: and %zu more\n", file, p->more);
}

void problems_brief(const problems *p, const char *file, buf *out)
{
    assert(p->n > 0);
    show_place(&p->v[0], file, out);
    if (p->n + p->more > 1)
        buf_addf(out, " (and %zu more)", p->n + p->more - 1);
}
