/*
 * test_vectors.c - every conformance message of proto/vectors/ is taken or refused as it says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/buf.h"
#include "base/text.h"
#include "wire/codec.h"

#define VECTORS VOLT_SOURCE_DIR "/proto/vectors/vectors.jsonl"

static const char *text_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s ? s : "";
}

static void from_hex(const char *hex, buf *out)
{
    for (; hex[0] && hex[1]; hex += 2) {
        char byte[] = { hex[0], hex[1], 0 };

        buf_addc(out, (char)strtoul(byte, NULL, 16));
    }
}

/* ---- a decoded message as the vectors write it ---- */

static json_t *bytes_json(slice s)
{
    buf hex = { 0 };
    json_t *ret;

    for (size_t i = 0; i < s.n; i++)
        buf_addf(&hex, "%02x", (unsigned char)s.p[i]);
    ret = json_pack("{s:s}", "hex", buf_str(&hex));
    buf_free(&hex);
    return ret;
}

static json_t *text_json(slice s)
{
    return text_utf8_prefix(s) == s.n ? json_stringn(s.p ? s.p : "", s.n) : bytes_json(s);
}

static json_t *fields_json(const wire_table *table, const void *base);

static json_t *list_json(const wire_field *f, const void *base)
{
    json_t *ret = json_array();

    if (f->type == WIRE_RECS) {
        wire_list list = wire_get_list(f, base);

        for (size_t i = 0; i < list.n; i++)
            json_array_append_new(ret,
                                  fields_json(f->rec, (const char *)list.v + i * f->rec->size));
    } else {
        slices list = wire_get_slices(f, base);

        for (size_t i = 0; i < list.n; i++)
            json_array_append_new(ret, f->type == WIRE_BINS ? bytes_json(list.v[i])
                                                            : text_json(list.v[i]));
    }
    return ret;
}

static json_t *field_json(const wire_field *f, const void *base)
{
    switch (f->type) {
    case WIRE_U64:
        return json_integer((json_int_t)wire_get_u64(f, base));
    case WIRE_BOOL:
        return json_boolean(wire_get_bool(f, base));
    case WIRE_ENUM:
        return json_string(f->words->text[wire_get_enum(f, base)]);
    case WIRE_TEXT:
    case WIRE_HEX:
    case WIRE_OID:
        return text_json(wire_get_slice(f, base));
    case WIRE_BIN:
        return bytes_json(wire_get_slice(f, base));
    case WIRE_TEXTS:
    case WIRE_BINS:
    case WIRE_RECS:
        return list_json(f, base);
    }
    return NULL;
}

static json_t *fields_json(const wire_table *table, const void *base)
{
    json_t *ret = json_object();

    for (size_t i = 0; i < table->n; i++)
        if (table->fields[i].required || !wire_is_absent(&table->fields[i], base))
            json_object_set_new(ret, table->fields[i].key, field_json(&table->fields[i], base));
    return ret;
}

/* ---- the check of one vector ---- */

static void check_message(const json_t *vector, const msg *m)
{
    json_t *fields = fields_json(wire_message(m->type), wire_fields(m));

    if (strcmp(text_of(vector, "type"), msg_type_text(m->type)) != 0 ||
        json_integer_value(json_object_get(vector, "r")) != (json_int_t)m->r ||
        !json_equal(json_object_get(vector, "fields"), fields)) {
        char *got = json_dumps(fields, JSON_COMPACT);

        fail_msg("%s: reads as %s %s", text_of(vector, "name"), msg_type_text(m->type), got);
        free(got);
    }
    json_decref(fields);
}

/* Taken messages are encoded and decoded once more, and must say the same. */
static void check_valid(const json_t *vector, slice frame)
{
    arena a = { 0 };
    buf again = { 0 };
    volt_err err = { 0 };
    msg m;

    if (wire_decode(frame, &a, &m, &err) != VOLT_OK)
        fail_msg("%s: %s", text_of(vector, "name"), err.msg);
    check_message(vector, &m);
    wire_encode(&m, &again);
    assert_int_equal(wire_decode(buf_slice(&again), &a, &m, NULL), VOLT_OK);
    check_message(vector, &m);
    buf_free(&again);
    arena_free(&a);
}

static void check_invalid(const json_t *vector, slice frame)
{
    const char *name = text_of(vector, "name");
    arena a = { 0 };
    volt_err err = { 0 };
    msg m;
    volt_code rc = wire_decode(frame, &a, &m, &err);
    volt_code want = strcmp(text_of(vector, "rule"), "version") == 0 ? VOLT_EVERSION : VOLT_EMSG;

    if (rc != want)
        fail_msg("%s: %s, not %s", name, volt_code_text(rc), volt_code_text(want));
    if (!strstr(err.msg, text_of(vector, "key")))
        fail_msg("%s: '%s' does not name %s", name, err.msg, text_of(vector, "key"));
    arena_free(&a);
}

static void every_vector_is_taken_or_refused_as_it_says(void **unused)
{
    bool taken[MSG_TYPES] = { 0 };
    char *line = NULL;
    size_t cap = 0;
    FILE *file = fopen(VECTORS, "r");

    (void)unused;
    assert_non_null(file);
    while (getline(&line, &cap, file) > 0) {
        json_t *vector = json_loads(line, JSON_ALLOW_NUL, NULL);
        buf frame = { 0 };

        assert_non_null(vector);
        from_hex(text_of(vector, "hex"), &frame);
        if (json_is_true(json_object_get(vector, "valid"))) {
            check_valid(vector, buf_slice(&frame));
            for (msg_type type = MSG_NONE + 1; type < MSG_TYPES; type++)
                taken[type] |= strcmp(text_of(vector, "type"), msg_type_text(type)) == 0;
        } else {
            check_invalid(vector, buf_slice(&frame));
        }
        buf_free(&frame);
        json_decref(vector);
    }
    free(line);
    fclose(file);
    for (msg_type type = MSG_NONE + 1; type < MSG_TYPES; type++)
        if (!taken[type])
            fail_msg("no vector of type %s: run scripts/protodoc", msg_type_text(type));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_is_taken_or_refused_as_it_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
