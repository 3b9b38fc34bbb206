/*
 * test_protodoc.c - the tables of proto/README.md are those of proto/messages.def.
 *
 * As a test it compares; `wire_test_protodoc --write` rewrites the part of the file between the
 * markers (scripts/protodoc calls it).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "wire/codec.h"

#define README VOLT_SOURCE_DIR "/proto/README.md"
#define BEGIN  "<!-- tables: made from messages.def by scripts/protodoc -->\n"
#define END    "<!-- end of tables -->\n"

/* ---- the text ---- */

static void doc_words(buf *out)
{
    buf_adds(out, "### Words\n");
#define WORDS(name, text) \
    buf_adds(out, "\n#### " #name "\n" text "\n\n| word | meaning |\n|---|---|\n");
#define WORD(name, constant, word, text) buf_adds(out, "| `" word "` | " text " |\n");
#include "messages.def"
}

static void doc_number(buf *out, uint64_t n)
{
    if (n == MSG_ID_MAX)
        buf_adds(out, "2^53-1");
    else if (n == MSG_U32_MAX)
        buf_adds(out, "2^32-1");
    else
        buf_addf(out, "%llu", (unsigned long long)n);
}

static const char *word_set_name(const word_set *set)
{
#define WORDS(name, doc)      \
    if (set == &words_##name) \
        return #name;
#include "messages.def"
    return "?";
}

static void doc_type(buf *out, const wire_field *f)
{
    switch (f->type) {
    case WIRE_U64:
        buf_adds(out, "integer");
        return;
    case WIRE_BOOL:
        buf_adds(out, "boolean");
        return;
    case WIRE_TEXT:
        buf_adds(out, "text");
        return;
    case WIRE_HEX:
        buf_adds(out, "hex");
        return;
    case WIRE_OID:
        buf_adds(out, "oid");
        return;
    case WIRE_BIN:
        buf_adds(out, "bytes");
        return;
    case WIRE_ENUM:
        buf_addf(out, "word of [%s](#%s)", word_set_name(f->words), word_set_name(f->words));
        return;
    case WIRE_TEXTS:
        buf_adds(out, "list of text");
        return;
    case WIRE_BINS:
        buf_adds(out, "list of bytes");
        return;
    case WIRE_RECS:
        buf_addf(out, "list of [%s](#%s)", f->rec->name, f->rec->name);
        return;
    }
}

static void doc_limit(buf *out, const wire_field *f)
{
    if (f->items_max)
        buf_addf(out, "%zu items%s", f->items_max, f->max ? " of " : "");
    if (f->type == WIRE_U64) {
        doc_number(out, f->min);
        buf_adds(out, "..");
        doc_number(out, f->max);
        buf_addf(out, "%s%s", f->unit[0] ? " " : "", f->unit);
    } else if (f->max) {
        buf_addf(out, "%llu bytes", (unsigned long long)f->max);
    }
}

static void doc_fields(buf *out, const wire_table *table)
{
    if (!table->n) {
        buf_adds(out, "\nNo fields.\n");
        return;
    }
    buf_adds(out, "\n| key | type | | limit | meaning |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < table->n; i++) {
        const wire_field *f = &table->fields[i];

        buf_addf(out, "| `%s` | ", f->key);
        doc_type(out, f);
        buf_adds(out, f->required ? " | required | " : " | | ");
        doc_limit(out, f);
        buf_addf(out, "%s| %s%s|\n", f->items_max || f->max ? " " : "", f->doc,
                 f->doc[0] ? " " : "");
    }
}

/* The table of a record, found through a message that has a list of it. */
static const wire_table *rec_table(const char *name)
{
    for (msg_type type = MSG_NONE + 1; type < MSG_TYPES; type++)
        for (size_t i = 0; i < wire_message(type)->n; i++) {
            const wire_table *rec = wire_message(type)->fields[i].rec;

            if (rec && strcmp(rec->name, name) == 0)
                return rec;
        }
    fail_msg("no message has a list of '%s'", name);
    return NULL;
}

static void doc_tables(buf *out)
{
    doc_words(out);
    buf_adds(out, "\n### Records\n");
#define REC(name, text)                            \
    buf_adds(out, "\n#### " #name "\n" text "\n"); \
    doc_fields(out, rec_table(#name));
#include "messages.def"
    buf_adds(out, "\n### Messages\n");
#define MSG(name, dir, text)                                  \
    buf_adds(out, "\n#### " #name "\n*" dir "*: " text "\n"); \
    doc_fields(out, wire_message(MSG_##name));
#include "messages.def"
}

/* ---- the file ---- */

static void read_file(buf *out)
{
    FILE *f = fopen(README, "rb");
    size_t n;

    if (!f)
        fail_msg("%s cannot be read", README);
    while ((n = fread(buf_room(out, 65536), 1, 65536, f)) > 0) {
        out->n += n;
        out->p[out->n] = '\0';
    }
    fclose(f);
}

/* The part between the markers. */
static slice marked(const buf *file)
{
    const char *begin = strstr(buf_str(file), BEGIN);
    const char *end = begin ? strstr(begin, END) : NULL;

    if (!end)
        fail_msg("%s has not the two marker lines", README);
    begin += strlen(BEGIN);
    return (slice){ begin, (size_t)(end - begin) };
}

static void the_tables_are_those_of_messages_def(void **unused)
{
    buf file = { 0 }, want = { 0 };

    (void)unused;
    read_file(&file);
    doc_tables(&want);
    if (!slice_eq(marked(&file), buf_slice(&want)))
        fail_msg("proto/README.md is behind messages.def: run scripts/protodoc");
    buf_free(&file);
    buf_free(&want);
}

static int write_tables(void)
{
    buf file = { 0 }, out = { 0 };
    slice old;
    FILE *f;
    bool ok;

    read_file(&file);
    old = marked(&file);
    buf_add(&out, file.p, (size_t)(old.p - file.p));
    doc_tables(&out);
    buf_adds(&out, old.p + old.n);
    f = fopen(README, "wb");
    ok = f && fwrite(out.p, 1, out.n, f) == out.n;
    ok = f && fclose(f) == 0 && ok;
    buf_free(&file);
    buf_free(&out);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tables_are_those_of_messages_def),
    };

    if (argc == 2 && strcmp(argv[1], "--write") == 0)
        return write_tables();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
