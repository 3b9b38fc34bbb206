#include "pipeline/fields.h"

#include "base/cleanup.h"
#include "base/nearest.h"
#include "base/text.h"

#define SHOWN_MAX 40 /* bytes of a text that a problem quotes */

/* What a node is, for "expected ..., not ...". */
static const char *shown(reader *r, const yaml_node *node)
{
    slice text = node->text;

    if (node->kind == YAML_MAPPING)
        return "a mapping";
    if (node->kind == YAML_SEQUENCE)
        return "a list";
    if (!text.n)
        return node->plain ? "nothing" : "an empty text";
    if (memchr(text.p, '\n', text.n))
        return "a text of several lines";
    text.n = text_utf8_prefix((slice){ text.p, text.n < SHOWN_MAX ? text.n : SHOWN_MAX });
    return arena_printf(r->mem, "'" SLICE_FMT "%s'", SLICE_ARG(text),
                        text.n < node->text.n ? "..." : "");
}

static void expected(reader *r, const yaml_node *node, const char *what)
{
    problems_add(r->problems, node->at, "expected %s, not %s", what, shown(r, node));
}

static bool is_text(const yaml_node *node)
{
    return node->kind == YAML_SCALAR && node->text.n > 0;
}

static void unknown_key(reader *r, const yaml_node *key, const char *what, const field *fields,
                        size_t n)
{
    nearest near = { .typed = key->text.p };
    const char *meant;

    for (size_t i = 0; i < n && !problems_full(r->problems); i++)
        nearest_try(&near, fields[i].name);
    meant = nearest_found(&near);
    if (meant)
        problems_add(r->problems, key->at, "unknown key %s of %s; did you mean '%s'?",
                     shown(r, key), what, meant);
    else
        problems_add(r->problems, key->at, "unknown key %s of %s", shown(r, key), what);
}

static const field *find(const field *fields, size_t n, slice name)
{
    for (size_t i = 0; i < n; i++)
        if (slice_is(name, fields[i].name))
            return &fields[i];
    return NULL;
}

void fields_read(reader *r, const yaml_node *node, const char *what, const field *fields, size_t n,
                 void *into)
{
    if (node->kind != YAML_MAPPING) {
        expected(r, node, arena_printf(r->mem, "the keys of %s", what));
        return;
    }
    for (size_t i = 0; i < node->n; i++) {
        const yaml_node *key = node->entries[i].key;
        const field *f = find(fields, n, key->text);

        if (f) {
            memcpy((char *)into + f->place, &key->at, sizeof key->at);
            f->read(r, node->entries[i].value, into);
        } else if (!slice_starts(key->text, SLICE("x-"))) {
            unknown_key(r, key, what, fields, n);
        }
    }
}

void field_text(reader *r, const yaml_node *node, slice *ret)
{
    if (is_text(node))
        *ret = node->text;
    else
        expected(r, node, "a text");
}

void field_texts(reader *r, const yaml_node *node, size_t items, size_t bytes, slices *ret)
{
    const yaml_node *const *v = node->kind == YAML_SEQUENCE ? node->items : &node;
    size_t n = node->kind == YAML_SEQUENCE ? node->n : 1;
    slice *texts = ARENA_ARRAY(r->mem, slice, n);

    if (node->kind == YAML_MAPPING || (node->kind == YAML_SCALAR && !is_text(node))) {
        expected(r, node, "a text or a list of texts");
        return;
    }
    if (n > items) {
        problems_add(r->problems, node->at, "%zu items; at most %zu", n, items);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        field_text(r, v[i], &texts[i]);
        if (texts[i].n > bytes)
            problems_add(r->problems, v[i]->at, "longer than %zu bytes", bytes);
    }
    *ret = (slices){ n ? texts : NULL, n };
}

void field_lines(reader *r, const yaml_node *node, slice *ret)
{
    CLEANUP(buf)
    buf lines = { 0 };
    slices texts = { 0 };

    field_texts(r, node, YAML_NODES_MAX, YAML_BYTES_MAX, &texts);
    for (size_t i = 0; i < texts.n; i++) {
        if (lines.n && lines.p[lines.n - 1] != '\n')
            buf_addc(&lines, '\n');
        buf_add_slice(&lines, texts.v[i]);
    }
    if (lines.n)
        *ret = arena_slice(r->mem, buf_slice(&lines));
    else if (node->kind == YAML_SEQUENCE && !node->n)
        expected(r, node, "commands");
}

void field_bool(reader *r, const yaml_node *node, bool *ret)
{
    if (is_text(node) && (slice_is(node->text, "true") || slice_is(node->text, "false")))
        *ret = slice_is(node->text, "true");
    else
        expected(r, node, "true or false");
}

void field_number(reader *r, const yaml_node *node, uint64_t min, uint64_t max, uint64_t *ret)
{
    int64_t n;

    if (is_text(node) && node->text.p[0] >= '0' && node->text.p[0] <= '9' &&
        text_number(node->text.p, (int64_t)min, (int64_t)max, &n, NULL) == VOLT_OK)
        *ret = (uint64_t)n;
    else
        expected(r, node,
                 arena_printf(r->mem, "a number from %llu to %llu", (unsigned long long)min,
                              (unsigned long long)max));
}

void field_duration(reader *r, const yaml_node *node, uint64_t *ret)
{
    int64_t ms;

    /* Without a unit it might be meant as seconds or as minutes. */
    if (is_text(node) && node->text.p[node->text.n - 1] > '9' &&
        text_duration_ms(node->text.p, &ms, NULL) == VOLT_OK && ms > 0)
        *ret = (uint64_t)ms;
    else
        expected(r, node, "a duration, as 90s, 10m or 1h30m");
}

void field_word(reader *r, const yaml_node *node, const char *const *words, size_t n, unsigned *ret)
{
    CLEANUP(buf)
    buf all = { 0 };

    for (unsigned i = 0; i < n; i++) {
        if (is_text(node) && slice_is(node->text, words[i])) {
            *ret = i;
            return;
        }
        buf_addf(&all, "%s'%s'", i == 0 ? "" : i + 1 < n ? ", " : " or ", words[i]);
    }
    expected(r, node, buf_str(&all));
}

bool field_check_variable(reader *r, const yaml_node *key)
{
    if (!text_is_variable(key->text))
        expected(r, key, "a variable's name (letters, digits and '_')");
    else if (slice_starts(key->text, SLICE("VOLT_")) || slice_is(key->text, "VOLT"))
        problems_add(r->problems, key->at, "variables that begin with VOLT are Volt's own");
    else
        return true;
    return false;
}

void field_variables(reader *r, const yaml_node *node, variables *ret)
{
    variable *v;

    if (node->kind != YAML_MAPPING) {
        expected(r, node, "variables and their values");
        return;
    }
    if (node->n > PIPELINE_VARIABLES_MAX) {
        problems_add(r->problems, node->at, "%zu variables; at most %d", node->n,
                     PIPELINE_VARIABLES_MAX);
        return;
    }
    v = ARENA_ARRAY(r->mem, variable, node->n);
    for (size_t i = 0; i < node->n; i++) {
        const yaml_entry *e = &node->entries[i];

        field_check_variable(r, e->key);
        if (e->value->kind != YAML_SCALAR)
            expected(r, e->value, "a text");
        else
            v[i] = (variable){ e->key->text, e->value->text };
    }
    *ret = (variables){ node->n ? v : NULL, node->n, node->at };
}
