#include "scratch.h"

#include "git/tree.h"

static bool collect(void *ctx, const tree_file *file)
{
    buf_addf(ctx, "%06o %s|", file->mode, file->path);
    return true;
}

static bool collect_two(void *ctx, const tree_file *file)
{
    buf *text = ctx;
    bool first = text->n == 0;

    collect(ctx, file);
    return first;
}

static objects *make_repo(commit_id *id)
{
    objects *o;

    run("git init -q -b main r; cd r; mkdir -p tests/sub; echo 1 > tests/test_b.py;"
        "echo 1 > tests/sub/test_a.py; echo 1 > tests/run; chmod +x tests/run; ln -s run "
        "tests/link;"
        "echo 1 > tests.py; echo 1 > tests-x; echo 1 > top; echo 1 > $'tests/o\\ndd';"
        "git update-index --add --cacheinfo 160000,1234567890123456789012345678901234567890,"
        "tests/module; git add -A 2>/dev/null; git update-index --add --cacheinfo 160000,"
        "1234567890123456789012345678901234567890,tests/module; git commit -qm one");
    *id = commit_at("r", "HEAD");
    assert_int_equal(objects_open("r", &o, NULL), VOLT_OK);
    return o;
}

static void walks_what_is_below_a_path(void **state)
{
    CLEANUP(buf)
    buf text = { 0 };
    commit_id id;
    objects *o = make_repo(&id);

    (void)state;
    assert_int_equal(tree_walk(o, &id, "tests", collect, &text, NULL), VOLT_OK);
    assert_string_equal(text.p, "120000 tests/link|160000 tests/module|100644 tests/o\ndd|"
                                "100755 tests/run|100644 tests/sub/test_a.py|"
                                "100644 tests/test_b.py|");
    buf_clear(&text);
    assert_int_equal(tree_walk(o, &id, "tests/sub", collect, &text, NULL), VOLT_OK);
    assert_string_equal(text.p, "100644 tests/sub/test_a.py|");
    buf_clear(&text);
    assert_int_equal(tree_walk(o, &id, "top", collect, &text, NULL), VOLT_OK);
    assert_string_equal(text.p, "100644 top|");
    buf_clear(&text);
    assert_int_equal(tree_walk(o, &id, "none/here", collect, &text, NULL), VOLT_OK);
    assert_string_equal(text.p, "");
    assert_int_equal(tree_walk(o, &id, "top/below", collect, &text, NULL), VOLT_OK);
    assert_string_equal(text.p, "");
    assert_int_equal(tree_walk(o, &id, "", collect_two, &text, NULL), VOLT_OK);
    assert_string_equal(text.p, "100644 tests-x|100644 tests.py|");
    objects_free(o);
}

static void the_order_is_that_of_the_bytes(void **state)
{
    CLEANUP(buf)
    buf text = { 0 };
    commit_id id;
    objects *o = make_repo(&id);

    (void)state;
    assert_int_equal(tree_walk(o, &id, "", collect, &text, NULL), VOLT_OK);
    assert_non_null(strstr(text.p, "tests-x|100644 tests.py|120000 tests/link|"));
    objects_free(o);
}

static void reads_a_file_up_to_a_limit(void **state)
{
    CLEANUP(buf)
    buf text = { 0 };
    commit_id id, none = { "1234567890123456789012345678901234567890" };
    objects *o = make_repo(&id);
    volt_err err;

    (void)state;
    assert_int_equal(tree_read(o, &id, "tests/run", 2, &text, NULL), VOLT_OK);
    assert_string_equal(text.p, "1\n");
    assert_int_equal(tree_read(o, &id, "tests/run", 1, &text, &err), VOLT_EFULL);
    assert_int_equal(tree_read(o, &id, "tests/link", 9, &text, &err), VOLT_EINVALID);
    assert_int_equal(tree_read(o, &id, "tests", 9, &text, &err), VOLT_EINVALID);
    assert_int_equal(tree_read(o, &id, "tests/none", 9, &text, &err), VOLT_ENOTFOUND);
    assert_int_equal(tree_read(o, &none, "tests/run", 9, &text, &err), VOLT_ENOTFOUND);
    assert_non_null(strstr(err.msg, none.hex));
    assert_string_equal(text.p, "1\n");
    objects_free(o);
}

static void new_commits_are_seen(void **state)
{
    CLEANUP(buf)
    buf text = { 0 };
    commit_id id;
    objects *o = make_repo(&id);

    (void)state;
    run("cd r; echo 2 > two; git add two; git commit -qm two; git repack -qad; git prune-packed");
    id = commit_at("r", "HEAD");
    assert_true(objects_have(o, &id));
    assert_int_equal(tree_read(o, &id, "two", 9, &text, NULL), VOLT_OK);
    assert_string_equal(text.p, "2\n");
    objects_free(o);
}

static void too_deep_a_tree_is_refused(void **state)
{
    CLEANUP(buf)
    buf text = { 0 };
    commit_id id;
    objects *o;
    volt_err err;

    (void)state;
    run("git init -q -b main r; cd r; t=$(printf '100644 blob %s\\tf\\n' $(echo 1 |"
        "git hash-object -w --stdin) | git mktree); for i in $(seq 300); do"
        " t=$(printf '040000 tree %s\\td\\n' $t | git mktree); done;"
        "git update-ref refs/heads/main $(git commit-tree -m deep $t)");
    id = commit_at("r", "main");
    assert_int_equal(objects_open("r", &o, NULL), VOLT_OK);
    assert_int_equal(tree_walk(o, &id, "", collect, &text, &err), VOLT_ECORRUPT);
    assert_non_null(strstr(err.msg, "deeper"));
    assert_int_equal(text.n, 0);
    objects_free(o);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        TEST(walks_what_is_below_a_path), TEST(the_order_is_that_of_the_bytes),
        TEST(reads_a_file_up_to_a_limit), TEST(new_commits_are_seen),
        TEST(too_deep_a_tree_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
