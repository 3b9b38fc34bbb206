#include "pipeline/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/cleanup.h"

/* Of libfyaml itself; see token_text() in yaml.c. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml.so";
}

/* Quoted as in JSON, nearly; what is plain and empty is `~`. */
static void dump(const yaml_node *node, buf *out)
{
    switch (node->kind) {
    case YAML_SCALAR:
        buf_addf(out, node->plain && !node->text.n ? "~" : "'%s'", node->text.p);
        break;
    case YAML_SEQUENCE:
        buf_adds(out, "[");
        for (size_t i = 0; i < node->n; i++) {
            buf_adds(out, i ? ", " : "");
            dump(node->items[i], out);
        }
        buf_adds(out, "]");
        break;
    case YAML_MAPPING:
        buf_adds(out, "{");
        for (size_t i = 0; i < node->n; i++) {
            buf_addf(out, "%s%s: ", i ? ", " : "", node->entries[i].key->text.p);
            dump(node->entries[i].value, out);
        }
        buf_adds(out, "}");
        break;
    }
}

/* The tree, or the problems, as text. */
static void read_text(slice text, buf *out)
{
    CLEANUP(arena)
    arena mem = { 0 };
    problems p = { .mem = &mem };
    const yaml_node *root = yaml_parse(text, &mem, &p);

    assert_true((root == NULL) == (p.n > 0));
    if (root)
        dump(root, out);
    else
        problems_print(&p, "f", text, out);
}

static void check(const char *text, const char *want)
{
    CLEANUP(buf)
    buf out = { 0 };

    read_text(slice_of(text), &out);
    assert_string_equal(buf_str(&out), want);
}

static void scalars_stay_texts(void **state)
{
    (void)state;
    check("a: no\nb: 3.10\nc: ~\nd: 0x1f\ne: \"x\\ty\"\nf: 'it''s'\n",
          "{a: 'no', b: '3.10', c: '~', d: '0x1f', e: 'x\ty', f: 'it's'}");
    check("a:\nb: ''\n", "{a: ~, b: ''}");
    check("a: |\n  one\n  two\nb: >\n  three\n  four\n", "{a: 'one\ntwo\n', b: 'three four\n'}");
    check("%YAML 1.1\n---\na: [yes, 1_000]\n", "{a: ['yes', '1_000']}");
    check("\xef\xbb\xbf"
          "a: \xc3\xa4\r\nb: [x]\r\n",
          "{a: '\xc3\xa4', b: ['x']}");
    check("[]", "[]");
    check("{}", "{}");
}

static void anchors_and_merge_keys_work(void **state)
{
    (void)state;
    check("a: &x [1, 2]\nb: *x\nc: &x 3\nd: *x\n",
          "{a: ['1', '2'], b: ['1', '2'], c: '3', d: '3'}");
    check("a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  k: 3\n",
          "{a: {k: '1', l: '2'}, b: {k: '3', l: '2'}}");
    check("a: &x {k: 1}\nb: &y {k: 2, m: 3}\nc: {<<: [*x, *y], n: 4}\n",
          "{a: {k: '1'}, b: {k: '2', m: '3'}, c: {n: '4', k: '1', m: '3'}}");
    check("a: {'<<': 1}\n", "{a: {<<: '1'}}");
}

static void says_what_is_wrong_and_where(void **state)
{
    (void)state;
    check("", "f: the file is empty\n");
    check("# nothing\n", "f: the file is empty\n");
    check("a: 1\n\xc3\xa4: 2\na: 3\n", "f:3:1: key 'a' stands here twice, first in line 1\n"
                                       "    a: 3\n    ^\n");
    check("a: *x\n", "f:1:4: no anchor '&x' stands before this\n    a: *x\n       ^\n");
    check("a: &x [*x]\n",
          "f:1:8: '*x' stands inside of what it names\n    a: &x [*x]\n           ^\n");
    check("\xc3\xa4: !!int 3\n",
          "f:1:4: tags have no meaning here; every value is what its key asks for\n"
          "    \xc3\xa4: !!int 3\n       ^\n");
    check("[a]: b\n", "f:1:1: a key has to be a text\n    [a]: b\n    ^\n");
    check("a: 1\n---\nb: 2\n", "f:2:1: only one document is read\n    ---\n    ^\n");
    check(
        "a: {<<: 1, <<: 2}\n",
        "f:1:9: '<<' takes a mapping, or a list of mappings\n    a: {<<: 1, <<: 2}\n            ^\n"
        "f:1:12: '<<' stands here twice; give it a list\n    a: {<<: 1, <<: 2}\n               "
        "^\n");
    check("a: b\n\x1b[31m: c\n", "f:2:1: a control character (0x1b)\n    ?[31m: c\n    ^\n");
    check("a: b\n  c: \xff\n", "f:2:6: this is not UTF-8\n      c: \xff\n         ^\n");
    check("a: \"x\\0y\"\n", "f:1:4: a text cannot hold a NUL byte\n    a: \"x\\0y\"\n       ^\n");
}

static void syntax_errors_have_their_place(void **state)
{
    (void)state;
    check("a: [1, 2\nb: 3\n", "f:3:1: flow sequence without a closing bracket\n");
    check("a:\n\t- b\n", "f:2:1: tab character may not be used as indentation\n    \t- b\n    ^\n");
    check("a: b: c\n",
          "f:1:5: invalid nested block mapping on the same line\n    a: b: c\n        ^\n");
    check("a: 'x\n", "f:1:5: single-quoted scalar without closing quote\n    a: 'x\n        ^\n");
    check("a: {b: c\n", "f:2:1: missing comma in flow mapping\n");
    check("a: @b\n", "f:1:4: plain scalar cannot start with '@'\n    a: @b\n       ^\n");
}

static void repeat(buf *out, const char *s, size_t times)
{
    for (size_t i = 0; i < times; i++)
        buf_adds(out, s);
}

static void escapes_are_read_however_many(void **state)
{
    CLEANUP(buf)
    buf text = { 0 };
    CLEANUP(buf)
    buf want = { 0 };

    (void)state;
    buf_adds(&text, "a: '");
    repeat(&text, "''", 1000);
    buf_adds(&text, "'\nb: \"");
    repeat(&text, "\\x41\\n", 1000);
    buf_adds(&text, "\"\n");
    buf_adds(&want, "{a: '");
    repeat(&want, "'", 1000);
    buf_adds(&want, "', b: '");
    repeat(&want, "A\n", 1000);
    buf_adds(&want, "'}");
    check(buf_str(&text), buf_str(&want));
}

/* ---- limits ---- */

static void expect_first(const buf *text, const char *want)
{
    CLEANUP(buf)
    buf out = { 0 };

    read_text(buf_slice(text), &out);
    if (strncmp(buf_str(&out), want, strlen(want)) != 0)
        fail_msg("%.100s: %s", buf_str(text), buf_str(&out));
}

static void depth_is_bounded(void **state)
{
    static const char *const openings[] = { "[", "[\n", "a: {", "- ", "? " };
    static const char *const wants[] = { "f:1:65: nested", "f:65:1: nested", "f:1:256: nested",
                                         "f:1:129: nested", "f:1:129: nested" };

    (void)state;
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++) {
        CLEANUP(buf)
        buf text = { 0 };

        repeat(&text, openings[i], 20000);
        expect_first(&text, wants[i]);
    }
}

static void aliases_do_not_explode(void **state)
{
    CLEANUP(buf)
    buf text = { 0 }, merges = { 0 };

    (void)state;
    buf_adds(&text, "a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (char c = 'b'; c < 'q'; c++) {
        buf_addf(&text, "%c: &%c [", c, c);
        for (int i = 0; i < 9; i++)
            buf_addf(&text, "*%c,", c - 1);
        buf_adds(&text, "]\n");
    }
    expect_first(&text, "f:6:7: this expands to more than 200000 values");

    buf_adds(&merges, "a: &a {");
    for (int i = 0; i < 1000; i++)
        buf_addf(&merges, "k%d: v, ", i);
    buf_adds(&merges, "}\n");
    for (char c = 'b'; c < 'f'; c++) {
        buf_addf(&merges, "%c: {<<: [", c);
        repeat(&merges, "*a,", 60);
        buf_adds(&merges, "]}\n");
    }
    expect_first(&merges, "f:1:7: merge keys expand to more than 200000 entries");
}

static void size_and_blank_lines_are_bounded(void **state)
{
    CLEANUP(buf)
    buf large = { 0 }, blank = { 0 }, few = { 0 };

    (void)state;
    repeat(&large, "#", YAML_BYTES_MAX + 1);
    expect_first(&large, "f: longer than 1048576 bytes");
    buf_adds(&blank, "a: |\n  x\n");
    buf_add_slice(&few, buf_slice(&blank));
    repeat(&blank, " \n", YAML_BLANK_LINES_MAX + 1);
    expect_first(&blank, "f:203:1: more than 200 blank lines in a row");
    repeat(&few, " \n", YAML_BLANK_LINES_MAX - 1);
    expect_first(&few, "{a: 'x\n'}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_stay_texts),
        cmocka_unit_test(anchors_and_merge_keys_work),
        cmocka_unit_test(says_what_is_wrong_and_where),
        cmocka_unit_test(escapes_are_read_however_many),
        cmocka_unit_test(syntax_errors_have_their_place),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(aliases_do_not_explode),
        cmocka_unit_test(size_and_blank_lines_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
