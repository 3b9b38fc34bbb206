#include "pipeline/yaml.h"

#include <libfyaml.h>

#include "base/cleanup.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"

#define MERGE_KEY "<<"

DEFINE_CLEANUP(struct fy_diag *, fy_diag_destroy);
DEFINE_CLEANUP(struct fy_parser *, fy_parser_destroy);

typedef struct frame {
    yaml_node *node;
    size_t from; /* its children are builder.done[from..] */
} frame;

typedef struct builder {
    arena *mem;
    problems *problems;
    struct fy_parser *parser;
    map anchors; /* of yaml_node */
    frame stack[YAML_DEPTH_MAX];
    size_t depth;
    const yaml_node **done; /* nodes that are complete, but not their parents */
    size_t done_n, done_cap;
    size_t merged; /* entries looked at for merging */
    place last;    /* of the event before */
    bool documents;
    bool stop; /* after a problem behind which nothing makes sense */
} builder;

static place place_of_mark(const struct fy_mark *mark)
{
    if (!mark)
        return (place){ 0 };
    return (place){ (uint32_t)mark->line + 1, (uint32_t)mark->column + 1 };
}

#define STOP(b, at, ...)                                \
    do {                                                \
        problems_add((b)->problems, (at), __VA_ARGS__); \
        (b)->stop = true;                               \
    } while (0)

/* Stands as long as the token.  libfyaml 0.7 leaks some 50 bytes an escape here for a text with a
 * dozen or more of them in a line; its other ways to a text read such ones wrongly. */
static slice token_text(struct fy_token *token)
{
    size_t n = 0;
    const char *p = token ? fy_token_get_text(token, &n) : NULL;

    return (slice){ p, p ? n : 0 };
}

/* ---- nodes ---- */

static yaml_node *node_new(builder *b, yaml_kind kind, place at, struct fy_token *anchor,
                           struct fy_token *tag)
{
    yaml_node *node = ARENA_NEW(b->mem, yaml_node);

    node->kind = kind;
    node->at = at;
    node->weight = 1;
    if (tag)
        problems_add(b->problems, place_of_mark(fy_token_start_mark(tag)),
                     "tags have no meaning here; every value is what its key asks for");
    if (anchor)
        map_puts(&b->anchors, token_text(anchor), node);
    return node;
}

static void push_done(builder *b, const yaml_node *node)
{
    if (b->done_n == b->done_cap) {
        b->done_cap = b->done_cap ? 2 * b->done_cap : 64;
        b->done = mem_grow(b->done, b->done_cap, sizeof *b->done);
    }
    b->done[b->done_n++] = node;
}

static void begin(builder *b, yaml_node *node)
{
    if (b->depth == YAML_DEPTH_MAX) {
        STOP(b, node->at, "nested more than %d deep", YAML_DEPTH_MAX);
        return;
    }
    node->open = true;
    b->stack[b->depth++] = (frame){ node, b->done_n };
}

static void end_sequence(builder *b, yaml_node *node, size_t from)
{
    const yaml_node **items;

    node->n = b->done_n - from;
    items = ARENA_ARRAY(b->mem, const yaml_node *, node->n);
    for (size_t i = 0; i < node->n; i++) {
        items[i] = b->done[from + i];
        node->weight += items[i]->weight;
    }
    node->items = items;
}

/* ---- mappings ---- */

typedef struct gathering {
    yaml_node *node;
    yaml_entry *entries;
    size_t cap;
    map seen; /* of the keys' nodes */
} gathering;

static void gather(gathering *g, const yaml_entry *entry)
{
    if (g->node->n == g->cap) {
        g->cap = g->cap ? 2 * g->cap : 16;
        g->entries = mem_grow(g->entries, g->cap, sizeof *g->entries);
    }
    g->entries[g->node->n++] = *entry;
    g->node->weight += 1 + entry->value->weight;
    map_puts(&g->seen, entry->key->text, (void *)entry->key);
}

static void gather_own(builder *b, gathering *g, const yaml_entry *entry)
{
    const yaml_node *first;

    if (entry->key->kind != YAML_SCALAR) {
        problems_add(b->problems, entry->key->at, "a key has to be a text");
        return;
    }
    first = map_gets(&g->seen, entry->key->text);
    if (first)
        problems_add(b->problems, entry->key->at,
                     "key '" SLICE_FMT "' stands here twice, first in line %u",
                     SLICE_ARG(entry->key->text), first->at.line);
    else
        gather(g, entry);
}

/* What the mapping does not say itself. */
static void gather_merged(builder *b, gathering *g, const yaml_node *from)
{
    if (from->kind != YAML_MAPPING) {
        problems_add(b->problems, from->at, "'<<' takes a mapping, or a list of mappings");
        return;
    }
    b->merged += from->n;
    if (b->merged > YAML_NODES_MAX) {
        STOP(b, from->at, "merge keys expand to more than %d entries", YAML_NODES_MAX);
        return;
    }
    for (size_t i = 0; i < from->n; i++)
        if (!map_gets(&g->seen, from->entries[i].key->text))
            gather(g, &from->entries[i]);
}

static bool is_merge(const yaml_node *key)
{
    return key->kind == YAML_SCALAR && key->plain && slice_is(key->text, MERGE_KEY);
}

static void end_mapping(builder *b, yaml_node *node, size_t from)
{
    gathering g = { .node = node };
    const yaml_node *merge = NULL;
    yaml_entry *kept;

    for (size_t i = from; i + 1 < b->done_n; i += 2) {
        yaml_entry entry = { b->done[i], b->done[i + 1] };

        if (!is_merge(entry.key))
            gather_own(b, &g, &entry);
        else if (merge)
            problems_add(b->problems, entry.key->at, "'<<' stands here twice; give it a list");
        else
            merge = entry.value;
    }
    if (merge && merge->kind == YAML_SEQUENCE)
        for (size_t i = 0; i < merge->n && !b->stop; i++)
            gather_merged(b, &g, merge->items[i]);
    else if (merge)
        gather_merged(b, &g, merge);
    kept = ARENA_ARRAY(b->mem, yaml_entry, node->n);
    if (node->n)
        memcpy(kept, g.entries, node->n * sizeof *kept);
    node->entries = kept;
    free(g.entries);
    map_free(&g.seen);
}

static void end(builder *b)
{
    frame f = b->stack[--b->depth];

    if (f.node->kind == YAML_SEQUENCE)
        end_sequence(b, f.node, f.from);
    else
        end_mapping(b, f.node, f.from);
    f.node->open = false;
    if (f.node->weight > YAML_NODES_MAX) {
        STOP(b, f.node->at, "this expands to more than %d values", YAML_NODES_MAX);
        return;
    }
    b->done_n = f.from;
    push_done(b, f.node);
}

/* ---- events ---- */

static void on_scalar(builder *b, const struct fy_event *e, place at)
{
    enum fy_scalar_style style = fy_token_scalar_style(e->scalar.value);
    yaml_node *node;
    slice text;

    if (style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED)
        at.column--; /* libfyaml's mark is behind the quote */
    node = node_new(b, YAML_SCALAR, at, e->scalar.anchor, e->scalar.tag);
    text = token_text(e->scalar.value);
    if (text.n && memchr(text.p, '\0', text.n))
        problems_add(b->problems, at, "a text cannot hold a NUL byte");
    node->text = arena_slice(b->mem, text);
    node->plain = style == FYSS_PLAIN;
    push_done(b, node);
}

static void on_alias(builder *b, const struct fy_event *e, place at)
{
    slice name = token_text(e->alias.anchor);
    const yaml_node *node = map_gets(&b->anchors, name);

    at.column--; /* libfyaml's mark is behind the '*' */
    if (!node)
        STOP(b, at, "no anchor '&" SLICE_FMT "' stands before this", SLICE_ARG(name));
    else if (node->open)
        STOP(b, at, "'*" SLICE_FMT "' stands inside of what it names", SLICE_ARG(name));
    else
        push_done(b, node);
}

static void on_document(builder *b, place at)
{
    if (b->documents)
        STOP(b, at, "only one document is read");
    b->documents = true;
}

static void take(builder *b, struct fy_event *e)
{
    place at = place_of_mark(fy_event_start_mark(e));

    if (at.line)
        b->last = at;
    else
        at = b->last; /* "a:", and nothing: the value is where its key is */
    switch (e->type) {
    case FYET_DOCUMENT_START:
        on_document(b, at);
        break;
    case FYET_SCALAR:
        on_scalar(b, e, at);
        break;
    case FYET_ALIAS:
        on_alias(b, e, at);
        break;
    case FYET_SEQUENCE_START:
        begin(b, node_new(b, YAML_SEQUENCE, at, e->sequence_start.anchor, e->sequence_start.tag));
        break;
    case FYET_MAPPING_START:
        begin(b, node_new(b, YAML_MAPPING, at, e->mapping_start.anchor, e->mapping_start.tag));
        break;
    case FYET_SEQUENCE_END:
    case FYET_MAPPING_END:
        end(b);
        break;
    case FYET_NONE:
    case FYET_STREAM_START:
    case FYET_STREAM_END:
    case FYET_DOCUMENT_END:
        break;
    }
}

/* ---- the whole ---- */

static place place_of_offset(slice text, size_t offset)
{
    place at = { 1, 1 };

    for (size_t i = 0; i < offset; i++)
        if (text.p[i] == '\n')
            at = (place){ at.line + 1, 1 };
        else if (((unsigned char)text.p[i] & 0xc0) != 0x80)
            at.column++;
    return at;
}

/* What YAML does not allow and libfyaml tells less well. */
static bool check_bytes(slice text, problems *p)
{
    size_t good;

    if (text.n > YAML_BYTES_MAX) {
        problems_add(p, (place){ 0 }, "longer than %zu bytes", YAML_BYTES_MAX);
        return false;
    }
    good = text_utf8_prefix(text);
    for (size_t i = 0; i < good; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool line_end = c == '\r' && i + 1 < good && text.p[i + 1] == '\n';

        if ((c >= ' ' && c != 0x7f) || c == '\t' || c == '\n' || line_end)
            continue;
        problems_add(p, place_of_offset(text, i), "a control character (0x%02x)", c);
        return false;
    }
    if (good < text.n)
        problems_add(p, place_of_offset(text, good), "this is not UTF-8");
    return good == text.n;
}

/* libfyaml 0.7 takes quadratic time over them: 11 s for 50,000. */
static bool check_blank_lines(slice text, problems *p)
{
    size_t blank = 0, line = 0;
    bool empty = true;

    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] != '\n') {
            empty = empty && (text.p[i] == ' ' || text.p[i] == '\t' || text.p[i] == '\r');
            continue;
        }
        blank = empty ? blank + 1 : 0;
        if (blank > YAML_BLANK_LINES_MAX) {
            problems_add(p, place_of_offset(text, line), "more than %d blank lines in a row",
                         YAML_BLANK_LINES_MAX);
            return false;
        }
        line = i + 1;
        empty = true;
    }
    return true;
}

/* libfyaml's first error; it says one or more when it stops. */
static void tell_error(builder *b, struct fy_diag *diag)
{
    void *at = NULL;
    const struct fy_diag_error *e = fy_diag_errors_iterate(diag, &at);

    if (e)
        problems_add(b->problems, (place){ (uint32_t)e->line, (uint32_t)e->column }, "%s", e->msg);
    else
        problems_add(b->problems, (place){ 0 }, "this is not YAML");
}

static void build(builder *b, struct fy_diag *diag)
{
    struct fy_event *e;

    while (!b->stop && (e = fy_parser_parse(b->parser))) {
        take(b, e);
        fy_parser_event_free(b->parser, e);
    }
    if (!b->stop && fy_parser_get_stream_error(b->parser))
        tell_error(b, diag);
    else if (!b->stop && !b->done_n)
        problems_add(b->problems, (place){ 0 }, "the file is empty");
}

const yaml_node *yaml_parse(slice text, arena *mem, problems *p)
{
    CLEANUP(fy_diag_destroy)
    struct fy_diag *diag = NULL;
    CLEANUP(fy_parser_destroy)
    struct fy_parser *parser = NULL;
    struct fy_parse_cfg config = { .search_path = "",
                                   .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_JSON_NONE |
                                            FYPCF_DEFAULT_VERSION_1_2 };
    builder b = { .mem = mem, .problems = p };
    size_t before = p->n + p->more;
    const yaml_node *root;

    if (!check_bytes(text, p) || !check_blank_lines(text, p))
        return NULL;
    diag = fy_diag_create(NULL);
    if (diag)
        fy_diag_set_collect_errors(diag, true);
    config.diag = diag;
    parser = diag ? fy_parser_create(&config) : NULL;
    if (!parser || fy_parser_set_string(parser, text.n ? text.p : "", text.n)) {
        problems_add(p, (place){ 0 }, "out of memory");
        return NULL;
    }
    b.parser = parser;
    build(&b, diag);
    root = b.done_n ? b.done[0] : NULL;
    free(b.done);
    map_free(&b.anchors);
    return p->n + p->more > before ? NULL : root;
}

const yaml_node *yaml_get(const yaml_node *mapping, const char *key)
{
    for (size_t i = 0; i < mapping->n; i++)
        if (slice_is(mapping->entries[i].key->text, key))
            return mapping->entries[i].value;
    return NULL;
}
