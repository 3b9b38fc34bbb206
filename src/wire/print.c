#include <inttypes.h>

#include "base/text.h"
#include "wire/codec.h"

#define PRINT_ID_MAX    8  /* digits of a HEX or OID */
#define PRINT_TEXT_MAX  80 /* bytes of a text */
#define PRINT_ITEMS_MAX 8  /* of a list */

static void print_char(buf *out, unsigned char c)
{
    if (c == '\n')
        buf_adds(out, "\\n");
    else if (c == '\t')
        buf_adds(out, "\\t");
    else if (c == '"' || c == '\\')
        buf_addf(out, "\\%c", c);
    else if (c < 0x20 || c >= 0x7f)
        buf_addf(out, "\\x%02x", c);
    else
        buf_addc(out, (char)c);
}

/* Bytes of the multi-byte character at s that may be shown as it is, or 0.  U+0080 to U+009F are
 * control characters that terminals obey. */
static size_t shown_len(slice s)
{
    unsigned char c = (unsigned char)s.p[0];
    size_t len = c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

    if (len == 0 || len > s.n || text_utf8_prefix((slice){ s.p, len }) != len)
        return 0;
    return c == 0xc2 && (unsigned char)s.p[1] < 0xa0 ? 0 : len;
}

static void print_bytes(buf *out, slice s)
{
    bool cut = s.n > PRINT_TEXT_MAX;

    if (cut) {
        s.n = PRINT_TEXT_MAX;
        if (s.n - text_utf8_prefix(s) < 4)
            s.n = text_utf8_prefix(s);
    }
    buf_addc(out, '"');
    while (s.n) {
        size_t len = shown_len(s);

        if (len)
            buf_add(out, s.p, len);
        else
            print_char(out, (unsigned char)*s.p);
        len = len ? len : 1;
        s = (slice){ s.p + len, s.n - len };
    }
    buf_adds(out, cut ? "\"…" : "\"");
}

static void print_id(buf *out, slice s)
{
    buf_add(out, s.p, s.n < PRINT_ID_MAX ? s.n : PRINT_ID_MAX);
    buf_adds(out, s.n > PRINT_ID_MAX ? "…" : "");
}

static void print_fields(buf *out, const wire_table *table, const void *base);

/* Items are records of `rec`; without one they are slices. */
static void print_items(buf *out, const wire_table *rec, const void *v, size_t n)
{
    buf_addc(out, '[');
    for (size_t i = 0; i < n && i < PRINT_ITEMS_MAX; i++) {
        buf_adds(out, i ? ", " : "");
        if (rec)
            print_fields(out, rec, (const char *)v + i * rec->size);
        else
            print_bytes(out, ((const slice *)v)[i]);
    }
    if (n > PRINT_ITEMS_MAX)
        buf_addf(out, ", … %zu more", n - PRINT_ITEMS_MAX);
    buf_addc(out, ']');
}

static void print_field(buf *out, const wire_field *f, const void *base)
{
    slices list;
    wire_list recs;
    unsigned word;

    switch (f->type) {
    case WIRE_U64:
        buf_addf(out, "%" PRIu64, wire_get_u64(f, base));
        return;
    case WIRE_BOOL:
        buf_adds(out, wire_get_bool(f, base) ? "true" : "false");
        return;
    case WIRE_ENUM:
        word = wire_get_enum(f, base);
        buf_adds(out, word > 0 && word < f->words->n ? f->words->text[word] : "?");
        return;
    case WIRE_HEX:
    case WIRE_OID:
        print_id(out, wire_get_slice(f, base));
        return;
    case WIRE_TEXT:
    case WIRE_BIN:
        print_bytes(out, wire_get_slice(f, base));
        return;
    case WIRE_TEXTS:
    case WIRE_BINS:
        list = wire_get_slices(f, base);
        print_items(out, NULL, list.v, list.n);
        return;
    case WIRE_RECS:
        recs = wire_get_list(f, base);
        print_items(out, f->rec, recs.v, recs.n);
        return;
    }
}

static void print_fields(buf *out, const wire_table *table, const void *base)
{
    const char *comma = "";

    buf_addc(out, '{');
    for (size_t i = 0; i < table->n; i++) {
        const wire_field *f = &table->fields[i];

        if (!f->required && wire_is_absent(f, base))
            continue;
        buf_addf(out, "%s%s: ", comma, f->key);
        print_field(out, f, base);
        comma = ", ";
    }
    buf_addc(out, '}');
}

void wire_print(const msg *m, buf *out)
{
    const wire_table *table = wire_message(m->type);

    buf_adds(out, msg_type_text(m->type));
    if (m->r)
        buf_addf(out, "#%" PRIu64, m->r);
    if (table)
        print_fields(out, table, wire_fields(m));
}
