#include "cmd/json.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/text.h"

static bool is_utf8(slice s)
{
    return text_utf8_prefix(s) == s.n;
}

void json_setup(void)
{
    json_set_alloc_funcs(mem_zero, free);
}

static json_t *text_of(slice s)
{
    CLEANUP(buf)
    buf b = { 0 };

    if (is_utf8(s))
        return json_stringn_nocheck(s.p ? s.p : "", s.n);
    while (s.n) {
        size_t n = text_utf8_prefix(s);

        buf_add(&b, s.p, n);
        if (n < s.n) {
            buf_adds(&b, "\xef\xbf\xbd"); /* U+FFFD */
            n++;
        }
        s = (slice){ s.p + n, s.n - n };
    }
    return json_stringn_nocheck(b.p, b.n);
}

static json_t *base64_of(slice s)
{
    size_t size = sodium_base64_encoded_len(s.n, sodium_base64_VARIANT_ORIGINAL);
    CLEANUP(free)
    char *text = mem_zero(size);

    sodium_bin2base64(text, size, (const unsigned char *)s.p, s.n, sodium_base64_VARIANT_ORIGINAL);
    return json_string_nocheck(text);
}

static void add_base64(json_t *object, const char *key, json_t *value)
{
    CLEANUP(free)
    char *name = mem_printf("%s_base64", key);

    json_object_set_new_nocheck(object, name, value);
}

void json_add_bytes(json_t *object, const char *key, slice bytes)
{
    json_object_set_new_nocheck(object, key, text_of(bytes));
    if (!is_utf8(bytes))
        add_base64(object, key, base64_of(bytes));
}

/* When one of the texts is not UTF-8, all are in `<key>_base64` too, in the same order. */
static void add_texts(json_t *object, const char *key, slices texts)
{
    json_t *array = json_array(), *exact;
    bool plain = true;

    for (size_t i = 0; i < texts.n; i++) {
        json_array_append_new(array, text_of(texts.v[i]));
        plain = plain && is_utf8(texts.v[i]);
    }
    json_object_set_new_nocheck(object, key, array);
    if (plain)
        return;
    exact = json_array();
    for (size_t i = 0; i < texts.n; i++)
        json_array_append_new(exact, base64_of(texts.v[i]));
    add_base64(object, key, exact);
}

static void add_field(json_t *object, const wire_field *f, const void *base)
{
    json_t *value = NULL;
    wire_list list;
    unsigned word;

    switch (f->type) {
    case WIRE_U64:
        value = json_integer((json_int_t)wire_get_u64(f, base));
        break;
    case WIRE_BOOL:
        value = json_boolean(wire_get_bool(f, base));
        break;
    case WIRE_ENUM:
        word = wire_get_enum(f, base);
        value = json_string_nocheck(word < f->words->n ? f->words->text[word] : "");
        break;
    case WIRE_TEXT:
    case WIRE_HEX:
    case WIRE_OID:
    case WIRE_BIN:
        json_add_bytes(object, f->key, wire_get_slice(f, base));
        return;
    case WIRE_TEXTS:
    case WIRE_BINS:
        add_texts(object, f->key, wire_get_slices(f, base));
        return;
    case WIRE_RECS:
        list = wire_get_list(f, base);
        value = json_of_list(f->rec, list.v, list.n);
        break;
    }
    json_object_set_new_nocheck(object, f->key, value);
}

json_t *json_of(const wire_table *t, const void *base)
{
    json_t *object = json_object();

    for (size_t i = 0; i < t->n; i++)
        if (t->fields[i].required || !wire_is_absent(&t->fields[i], base))
            add_field(object, &t->fields[i], base);
    return object;
}

/* Records nest two deep at most (messages.def), so the recursion is bounded. */
json_t *json_of_msg_whole(const msg *m)
{
    const wire_table *t = wire_message(m->type);
    json_t *object = json_object();

    for (size_t i = 0; i < t->n; i++)
        if (t->fields[i].type == WIRE_U64 || t->fields[i].type == WIRE_RECS ||
            !wire_is_absent(&t->fields[i], wire_fields(m)))
            add_field(object, &t->fields[i], wire_fields(m));
    return object;
}

json_t *json_of_list(const wire_table *rec, const void *v, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, json_of(rec, (const char *)v + i * rec->size));
    return array;
}

json_t *json_of_msg(const msg *m)
{
    return json_of(wire_message(m->type), wire_fields(m));
}

const wire_table *json_list_table(msg_type type, const char *key)
{
    const wire_table *t = wire_message(type);

    for (size_t i = 0; i < t->n; i++)
        if (t->fields[i].type == WIRE_RECS && strcmp(t->fields[i].key, key) == 0)
            return t->fields[i].rec;
    assert(false && "no such list in that message");
    return NULL;
}

static int add_text(const char *text, size_t n, void *ctx)
{
    buf_add(ctx, text, n);
    return 0;
}

void json_add_line(json_t *object, buf *out)
{
    json_dump_callback(object, add_text, out, JSON_COMPACT);
    buf_addc(out, '\n');
    json_decref(object);
}

void json_print(json_t *object)
{
    /* The keys of a line keep the order of the protocol's tables. */
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}
