#include "cmd/show.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/text.h"

#define OID_SHOWN 10
#define GAP       2 /* columns between cells */

typedef struct cell {
    char *text;
    size_t width; /* columns */
    show_tone tone;
} cell;

struct show_table {
    const char *const *headings;
    size_t columns;
    bool color;
    cell *cells;
    size_t n, cap;
};

bool show_color(const command_line *line)
{
    const char *when = command_text(line, "color");
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");

    if (strcmp(when, "always") == 0)
        return true;
    if (strcmp(when, "never") == 0 || (no_color && *no_color))
        return false;
    return isatty(STDOUT_FILENO) && !(term && strcmp(term, "dumb") == 0);
}

const char *show_begin(bool color, show_tone tone)
{
    static const char *const begin[] = {
        [TONE_PLAIN] = "",        [TONE_GOOD] = "\033[32m", [TONE_BAD] = "\033[1;31m",
        [TONE_WARN] = "\033[33m", [TONE_BUSY] = "\033[36m", [TONE_DIM] = "\033[2m"
    };

    return color ? begin[tone] : "";
}

const char *show_end(bool color, show_tone tone)
{
    return color && tone != TONE_PLAIN ? "\033[0m" : "";
}

show_tone show_verdict_tone(verdict v)
{
    switch (v) {
    case VERDICT_PASSED:
        return TONE_GOOD;
    case VERDICT_FLAKY:
    case VERDICT_NO_TESTS:
    case VERDICT_CANCELED:
        return TONE_WARN;
    case VERDICT_FAILED:
    case VERDICT_TIMEOUT:
    case VERDICT_ERRORED:
    case VERDICT_LOST:
        return TONE_BAD;
    default:
        return TONE_DIM;
    }
}

const char *show_outcome(verdict v, state s, show_tone *tone)
{
    if (v) {
        *tone = show_verdict_tone(v);
        return verdict_text(v);
    }
    *tone = s == STATE_RUNNING || s == STATE_LEASED ? TONE_BUSY
            : s == STATE_CANCELING                  ? TONE_WARN
                                                    : TONE_DIM;
    return state_text(s);
}

/* Columns of UTF-8 text, one a character: wide and combining ones are not worth a library. */
static size_t columns_of(const char *s)
{
    size_t n = 0;

    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void show_text(buf *out, slice s, size_t width)
{
    size_t columns = 0;

    while (s.n) {
        const unsigned char *p = (const unsigned char *)s.p;
        size_t len = 1;

        if (width && columns + 1 == width && s.n > 1) {
            size_t rest = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

            if (rest < s.n) {
                buf_adds(out, "…");
                return;
            }
        }
        if (p[0] >= 0x80)
            len = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
        if (len == 0 || len > s.n || text_utf8_prefix((slice){ s.p, len }) != len || p[0] < 0x20 ||
            p[0] == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0)) {
            buf_addc(out, '?');
            len = 1;
        } else {
            buf_add(out, s.p, len);
        }
        columns++;
        s = (slice){ s.p + len, s.n - len };
    }
}

slice show_ref(slice ref)
{
    static const char *const prefixes[] = { "refs/heads/", "refs/tags/" };

    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        slice p = slice_of(prefixes[i]);

        if (slice_starts(ref, p) && ref.n > p.n)
            return (slice){ ref.p + p.n, ref.n - p.n };
    }
    return ref;
}

slice show_oid(slice oid)
{
    return (slice){ oid.p, oid.n < OID_SHOWN ? oid.n : OID_SHOWN };
}

void show_age(buf *out, uint64_t wall_ms, int64_t now_wall_ms)
{
    char text[TEXT_DURATION_MAX];
    int64_t age = now_wall_ms - (int64_t)wall_ms;

    if (wall_ms)
        buf_adds(out, text_show_ms(age > 0 ? age : 0, text));
}

show_table *show_table_new(bool color, const char *const *headings, size_t columns)
{
    show_table *t = NEW(show_table);

    t->color = color;
    t->headings = headings;
    t->columns = columns;
    return t;
}

void show_table_free(show_table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        free(t->cells[i].text);
    free(t->cells);
    free(t);
}

/* Takes `text` over. */
static void add_cell(show_table *t, show_tone tone, char *text)
{
    if (t->n == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        t->cells = mem_grow(t->cells, t->cap, sizeof *t->cells);
    }
    t->cells[t->n++] = (cell){ .text = text, .width = columns_of(text), .tone = tone };
}

void show_cell(show_table *t, show_tone tone, const char *fmt, ...)
{
    CLEANUP(free)
    char *raw = NULL;
    buf b = { 0 };
    va_list ap;

    va_start(ap, fmt);
    raw = mem_vprintf(fmt, ap);
    va_end(ap);
    show_text(&b, slice_of(raw), 0);
    add_cell(t, tone, b.p ? b.p : mem_strdup(""));
}

void show_cell_text(show_table *t, show_tone tone, slice s, size_t width)
{
    buf b = { 0 };

    show_text(&b, s, width);
    add_cell(t, tone, b.p ? b.p : mem_strdup(""));
}

void show_cell_ms(show_table *t, uint64_t ms)
{
    char text[TEXT_DURATION_MAX];

    show_cell(t, TONE_PLAIN, "%s", ms ? text_show_ms((int64_t)ms, text) : "");
}

void show_cell_count(show_table *t, uint64_t n)
{
    if (n)
        show_cell(t, TONE_PLAIN, "%llu", (unsigned long long)n);
    else
        show_cell(t, TONE_PLAIN, "%s", "");
}

void show_cell_age(show_table *t, uint64_t wall_ms, int64_t now_wall_ms)
{
    buf b = { 0 };

    show_age(&b, wall_ms, now_wall_ms);
    add_cell(t, TONE_PLAIN, b.p ? b.p : mem_strdup(""));
}

static void add_padded(const show_table *t, const cell *c, size_t column, size_t width, buf *line)
{
    bool right = t->headings[column][0] == '>';
    bool color = t->color && c->width > 0;
    int pad = (int)(width - c->width);

    if (column > 0)
        buf_addf(line, "%*s", GAP, "");
    if (right)
        buf_addf(line, "%*s", pad, "");
    buf_addf(line, "%s%s%s", show_begin(color, c->tone), c->text, show_end(color, c->tone));
    if (!right)
        buf_addf(line, "%*s", pad, "");
}

static void print_line(buf *line, FILE *out)
{
    while (line->n && line->p[line->n - 1] == ' ')
        line->n--;
    fwrite(line->p, 1, line->n, out);
    fputc('\n', out);
    buf_clear(line);
}

void show_table_print(const show_table *t, FILE *out)
{
    CLEANUP(free)
    size_t *width = NEW_ARRAY(size_t, t->columns);
    CLEANUP(buf)
    buf line = { 0 };

    assert(t->n % t->columns == 0);
    if (t->n == 0)
        return;
    for (size_t i = 0; i < t->columns; i++)
        width[i] = columns_of(t->headings[i]) - (t->headings[i][0] == '>');
    for (size_t i = 0; i < t->n; i++)
        if (t->cells[i].width > width[i % t->columns])
            width[i % t->columns] = t->cells[i].width;
    for (size_t i = 0; i < t->columns; i++) {
        const char *text = t->headings[i] + (t->headings[i][0] == '>');
        const cell c = { (char *)(uintptr_t)text, columns_of(text), TONE_DIM };

        add_padded(t, &c, i, width[i], &line);
    }
    print_line(&line, out);
    for (size_t i = 0; i < t->n; i++) {
        add_padded(t, &t->cells[i], i % t->columns, width[i % t->columns], &line);
        if ((i + 1) % t->columns == 0)
            print_line(&line, out);
    }
}
