#include <assert.h>

#include "base/text.h"
#include "store/sqlite_store.h"

/* SQLite's functions, and its shell, end a text at a NUL. */
bool sqlite_is_text(slice s)
{
    return (s.n == 0 || !memchr(s.p, '\0', s.n)) && text_utf8_prefix(s) == s.n;
}

int sqlite_bind_slice(sqlite3_stmt *st, int at, slice text)
{
    const char *p = text.p ? text.p : "";

    if (!sqlite_is_text(text))
        return sqlite3_bind_blob64(st, at, p, text.n, SQLITE_STATIC);
    return sqlite3_bind_text64(st, at, p, text.n, SQLITE_STATIC, SQLITE_UTF8);
}

int sqlite_bind_limit(sqlite3_stmt *st, int at, uint64_t n)
{
    return sqlite3_bind_int64(st, at, n > INT64_MAX ? INT64_MAX : (sqlite3_int64)n);
}

/* One item a line, NULL for no item, so that one empty item differs from none. */
static int bind_list(sqlite_store *s, sqlite3_stmt *st, int at, const slices *list)
{
    slice text;

    if (list->n == 0)
        return sqlite3_bind_null(st, at);
    buf_clear(&s->text);
    for (size_t k = 0; k < list->n; k++) {
        slice item = list->v[k];

        if (k)
            buf_addc(&s->text, '\n');
        for (size_t i = 0; i < item.n; i++) {
            if (item.p[i] == '\n')
                buf_adds(&s->text, "\\n");
            else if (item.p[i] == '\\')
                buf_adds(&s->text, "\\\\");
            else
                buf_addc(&s->text, item.p[i]);
        }
    }
    text = buf_slice(&s->text);
    if (text.n == 0)
        return sqlite3_bind_text(st, at, "", 0, SQLITE_STATIC);
    if (!sqlite_is_text(text))
        return sqlite3_bind_blob64(st, at, text.p, text.n, SQLITE_TRANSIENT);
    return sqlite3_bind_text64(st, at, text.p, text.n, SQLITE_TRANSIENT, SQLITE_UTF8);
}

static int bind_column(sqlite_store *s, sqlite3_stmt *st, int at, const column *c, const void *p)
{
    const slice *bytes = p;
    const char *word;

    switch (c->type) {
    case COLUMN_NUMBER: /* two's complement: ROW_JOB_PLAN becomes -1, and comes back */
        return sqlite3_bind_int64(st, at, *(const sqlite3_int64 *)p);
    case COLUMN_BOOL:
        return sqlite3_bind_int(st, at, *(const bool *)p);
    case COLUMN_TEXT:
        return sqlite_bind_slice(st, at, *bytes);
    case COLUMN_BYTES:
        return sqlite3_bind_blob64(st, at, bytes->p ? bytes->p : "", bytes->n, SQLITE_STATIC);
    case COLUMN_LIST:
        return bind_list(s, st, at, p);
    case COLUMN_WORD:
        assert(*(const unsigned *)p < c->words->n);
        word = c->words->text[*(const unsigned *)p];
        return sqlite3_bind_text(st, at, word, (int)strlen(word), SQLITE_STATIC);
    }
    return SQLITE_MISUSE;
}

int sqlite_bind_row(sqlite_store *s, sqlite3_stmt *st, const table *t, const void *fields)
{
    for (size_t i = 0; i < t->n; i++) {
        const column *c = &t->columns[i];
        int step = bind_column(s, st, (int)i + 1, c, (const char *)fields + c->offset);

        if (step != SQLITE_OK)
            return step;
    }
    return SQLITE_OK;
}

slice sqlite_read_slice(sqlite3_stmt *st, int at)
{
    const char *p = sqlite3_column_blob(st, at); /* first: it settles the length */
    int n = sqlite3_column_bytes(st, at);

    return (slice){ p, n > 0 ? (size_t)n : 0 };
}

/* Items without a backslash stay where they are. */
static slice read_item(arena *a, slice item)
{
    char *to;
    slice ret;

    if (item.n == 0 || !memchr(item.p, '\\', item.n))
        return item;
    to = arena_zero(a, item.n);
    ret = (slice){ to, 0 };
    for (size_t i = 0; i < item.n; i++) {
        char c = item.p[i];

        if (c == '\\' && i + 1 < item.n)
            c = item.p[++i] == 'n' ? '\n' : item.p[i];
        to[ret.n++] = c;
    }
    return ret;
}

static void read_list(arena *a, sqlite3_stmt *st, int at, slices *ret)
{
    slice text;
    size_t n = 1;

    *ret = (slices){ 0 };
    if (sqlite3_column_type(st, at) == SQLITE_NULL)
        return;
    text = sqlite_read_slice(st, at);
    for (size_t i = 0; i < text.n; i++)
        n += text.p[i] == '\n';
    ret->v = ARENA_ARRAY(a, slice, n);
    for (size_t from = 0; ret->n < n;) {
        const char *end = text.n > from ? memchr(text.p + from, '\n', text.n - from) : NULL;
        size_t to = end ? (size_t)(end - text.p) : text.n;
        slice item = { text.n ? text.p + from : "", to - from };

        ret->v[ret->n++] = read_item(a, item);
        from = to + 1;
    }
}

volt_code sqlite_read_row(sqlite_store *s, sqlite3_stmt *st, const table *t, void *fields,
                          volt_err *err)
{
    for (size_t i = 0; i < t->n; i++) {
        const column *c = &t->columns[i];
        void *p = (char *)fields + c->offset;
        int at = (int)i;
        slice word;

        switch (c->type) {
        case COLUMN_NUMBER:
            *(sqlite3_int64 *)p = sqlite3_column_int64(st, at);
            break;
        case COLUMN_BOOL:
            *(bool *)p = sqlite3_column_int(st, at) != 0;
            break;
        case COLUMN_TEXT:
        case COLUMN_BYTES:
            *(slice *)p = sqlite_read_slice(st, at);
            break;
        case COLUMN_LIST:
            read_list(&s->lists, st, at, p);
            break;
        case COLUMN_WORD:
            word = sqlite_read_slice(st, at);
            *(unsigned *)p = word_value(c->words, word);
            if (word.n && !*(unsigned *)p)
                return volt_fail(err, VOLT_ECORRUPT,
                                 "'%s': table %s has '" SLICE_FMT "' as %s, which is no such word",
                                 s->path, t->name, SLICE_ARG(word), c->name);
            break;
        }
    }
    return VOLT_OK;
}
