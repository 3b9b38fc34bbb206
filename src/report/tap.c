#include "report/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/buf.h"
#include "base/mem.h"

#define BAIL_OUT "Bail out!"
#define PLAN_MAX UINT64_C(1000000000)
#define WHOLE    "(all)" /* the case of a plan that skips everything */

typedef enum block { BLOCK_NONE, BLOCK_YAML, BLOCK_SCALAR /* of its message */ } block;

struct tap {
    report_take *take;
    void *ctx;
    buf line; /* begun */

    bool planned;
    uint64_t plan, tests;
    char why[256];

    bool open;         /* a test line, whose YAML block may follow */
    bool follows;      /* it was the line before */
    rec_test_case now; /* texts are set when it is told */
    buf name, message;
    block block;
    size_t indent; /* of the block's `---` */
};

static void __attribute__((format(printf, 2, 3))) wrong(tap *t, const char *fmt, ...)
{
    va_list ap;

    if (t->why[0])
        return;
    va_start(ap, fmt);
    vsnprintf(t->why, sizeof t->why, fmt, ap);
    va_end(ap);
}

static void tell(tap *t)
{
    if (!t->open)
        return;
    t->now.name = report_cut(buf_slice(&t->name), REPORT_NAME_MAX);
    t->now.message = report_cut(report_trim(buf_slice(&t->message)), REPORT_MESSAGE_MAX);
    t->open = false;
    t->block = BLOCK_NONE;
    t->take(t->ctx, &t->now);
}

/* ---- lines ---- */

static bool take_word(slice *rest, const char *word)
{
    slice w = slice_of(word);

    if (!slice_starts(*rest, w))
        return false;
    if (rest->n > w.n && rest->p[w.n] != ' ' && rest->p[w.n] != '\t')
        return false;
    *rest = report_trim((slice){ rest->p + w.n, rest->n - w.n });
    return true;
}

/* Digits at the start; false: none, or too many. */
static bool take_number(slice *rest, uint64_t *ret)
{
    size_t n = 0;

    *ret = 0;
    while (n < rest->n && rest->p[n] >= '0' && rest->p[n] <= '9' && *ret < PLAN_MAX)
        *ret = 10 * *ret + (uint64_t)(rest->p[n++] - '0');
    *rest = (slice){ rest->p + n, rest->n - n };
    return n > 0;
}

/* What stands behind a `#`: "SKIP why", "TODO: why", "skipped".  *why: the rest. */
static bool is_directive(slice text, const char *word, slice *why)
{
    size_t n = strlen(word);

    if (text.n < n || strncasecmp(text.p, word, n) != 0)
        return false;
    while (n < text.n && text.p[n] >= 'A' && (text.p[n] | 0x20) <= 'z') /* "SKIPPED" */
        n++;
    if (n < text.n && text.p[n] == ':')
        n++;
    *why = report_trim((slice){ text.p + n, text.n - n });
    return true;
}

/* Cuts the description at its directive's `#`, which is not escaped; *ret: what stands behind. */
static void take_directive(slice *text, slice *ret)
{
    slice why;

    for (size_t i = 0; i < text->n; i++) {
        slice rest = report_trim((slice){ text->p + i + 1, text->n - i - 1 });

        if (text->p[i] == '\\')
            i++;
        else if (text->p[i] == '#' &&
                 (is_directive(rest, "skip", &why) || is_directive(rest, "todo", &why))) {
            *ret = rest;
            *text = report_trim((slice){ text->p, i });
            return;
        }
    }
}

static void add_unescaped(buf *b, slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\\' && i + 1 < text.n && (text.p[i + 1] == '#' || text.p[i + 1] == '\\'))
            i++;
        buf_addc(b, text.p[i]);
    }
}

static void begin_case(tap *t, verdict v, slice name)
{
    tell(t);
    t->open = t->follows = true;
    t->now = (rec_test_case){ .verdict = v };
    buf_clear(&t->name);
    buf_clear(&t->message);
    add_unescaped(&t->name, name);
}

static bool on_test(tap *t, slice line)
{
    slice directive = { 0 }, why = { 0 }, after;
    bool failed = take_word(&line, "not");
    verdict v = failed ? VERDICT_FAILED : VERDICT_PASSED;
    uint64_t number;

    if (!take_word(&line, "ok"))
        return false;
    t->tests++;
    after = line;
    if (take_number(&after, &number) && (!after.n || after.p[0] == ' ' || after.p[0] == '\t'))
        line = report_trim(after);
    if (line.n && line.p[0] == '-')
        line = report_trim((slice){ line.p + 1, line.n - 1 });
    take_directive(&line, &directive);
    if (is_directive(directive, "skip", &why) && !failed)
        v = VERDICT_SKIPPED;
    else if (is_directive(directive, "todo", &why) && failed)
        v = VERDICT_SKIPPED;
    begin_case(t, v, line);
    if (!line.n)
        buf_addf(&t->name, "test %llu", (unsigned long long)t->tests);
    if (v == VERDICT_SKIPPED)
        buf_add_slice(&t->message, failed ? directive : why);
    return true;
}

static bool on_plan(tap *t, slice line)
{
    slice why = { 0 };
    uint64_t n;

    if (!slice_starts(line, SLICE("1..")))
        return false;
    line = (slice){ line.p + 3, line.n - 3 };
    if (!take_number(&line, &n))
        return false;
    line = report_trim(line);
    if (line.n && line.p[0] != '#')
        return false;
    if (t->planned)
        wrong(t, "it has two plans");
    t->planned = true;
    t->plan = n;
    if (n == 0 && line.n &&
        is_directive(report_trim((slice){ line.p + 1, line.n - 1 }), "skip", &why)) {
        begin_case(t, VERDICT_SKIPPED, SLICE(WHOLE));
        buf_add_slice(&t->message, why);
    }
    return true;
}

/* ---- YAML blocks ---- */

static void add_line(buf *b, slice line)
{
    if (b->n >= 2 * REPORT_MESSAGE_MAX)
        return;
    if (b->n)
        buf_addc(b, '\n');
    buf_add_slice(b, line);
}

static bool take_key(slice *line, const char *key)
{
    size_t n = strlen(key);

    if (!slice_starts(*line, slice_of(key)) || line->n <= n || line->p[n] != ':')
        return false;
    *line = report_trim((slice){ line->p + n + 1, line->n - n - 1 });
    return true;
}

static slice unquoted(slice text)
{
    if (text.n >= 2 && (text.p[0] == '\'' || text.p[0] == '"') && text.p[text.n - 1] == text.p[0])
        return (slice){ text.p + 1, text.n - 2 };
    return text;
}

static void on_key(tap *t, slice line)
{
    if (take_key(&line, "duration_ms")) {
        t->now.duration_ms = report_time_ms(line, 1);
        return;
    }
    /* node's word for a message is `error` */
    if (t->message.n || (!take_key(&line, "message") && !take_key(&line, "error")))
        return;
    if (line.n && (line.p[0] == '|' || line.p[0] == '>'))
        t->block = BLOCK_SCALAR;
    else
        buf_add_slice(&t->message, unquoted(line));
}

/* False: the block has ended before this line. */
static bool on_block(tap *t, slice line, size_t indent)
{
    slice text = report_trim(line);

    if (text.n && indent < t->indent) {
        t->block = BLOCK_NONE;
        return false;
    }
    if (indent == t->indent && slice_is(text, "...")) {
        t->block = BLOCK_NONE;
        return true;
    }
    if (t->block == BLOCK_SCALAR && (indent > t->indent || !text.n)) {
        add_line(&t->message, text);
        return true;
    }
    t->block = BLOCK_YAML;
    if (indent == t->indent)
        on_key(t, text);
    return true;
}

/* ---- reading ---- */

static void on_line(tap *t, slice line)
{
    bool follows = t->follows;
    size_t indent = 0;
    slice text;

    t->follows = false;
    while (indent < line.n && line.p[indent] == ' ')
        indent++;
    if (t->block && on_block(t, line, indent))
        return;
    text = report_trim(line);
    if (t->open && follows && indent && slice_is(text, "---")) {
        t->block = BLOCK_YAML;
        t->indent = indent;
        return;
    }
    tell(t);
    if (slice_starts(text, SLICE(BAIL_OUT)) && indent % 4 == 0) /* a subtest's ends all, too */
        wrong(t, SLICE_FMT, SLICE_ARG(report_cut(text, sizeof t->why - 1)));
    else if (indent == 0 && line.n && line.p[0] != '\t' && !on_test(t, text))
        on_plan(t, text);
}

tap *tap_new(report_take *take, void *ctx)
{
    tap *t = NEW(tap);

    t->take = take;
    t->ctx = ctx;
    return t;
}

void tap_free(tap *t)
{
    if (!t)
        return;
    buf_free(&t->line);
    buf_free(&t->name);
    buf_free(&t->message);
    free(t);
}

static void add_to_line(tap *t, slice part)
{
    size_t room = TAP_LINE_MAX - t->line.n;

    buf_add(&t->line, part.p, part.n < room ? part.n : room);
}

void tap_feed(tap *t, slice piece)
{
    const char *end;

    while (piece.n && (end = memchr(piece.p, '\n', piece.n))) {
        size_t n = (size_t)(end - piece.p);

        add_to_line(t, (slice){ piece.p, n });
        on_line(t, buf_slice(&t->line));
        buf_clear(&t->line);
        piece = (slice){ end + 1, piece.n - n - 1 };
    }
    if (piece.n)
        add_to_line(t, piece);
}

const char *tap_end(tap *t)
{
    if (t->line.n)
        on_line(t, buf_slice(&t->line));
    buf_clear(&t->line);
    tell(t);
    if (t->planned && t->plan != t->tests)
        wrong(t, "its plan is 1..%llu, and %llu tests came", (unsigned long long)t->plan,
              (unsigned long long)t->tests);
    else if (!t->planned && t->tests)
        wrong(t, "it has no plan (1..%llu)", (unsigned long long)t->tests);
    return t->why[0] ? t->why : NULL;
}
