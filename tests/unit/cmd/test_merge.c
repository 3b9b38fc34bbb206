#include "cmd/merge.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/rmtree.h"

/* Everything happens in a directory of its own: what is unpacked in "from", what is there in "to".
 */
static int set_up(void **state)
{
    char *dir = strdup("/tmp/volt-merge-XXXXXX");

    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(mkdir("from", 0700), 0);
    assert_int_equal(mkdir("to", 0700), 0);
    *state = dir;
    return 0;
}

static int tear_down(void **state)
{
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(rmtree(AT_FDCWD, *state, NULL), 0);
    free(*state);
    return 0;
}

static void make(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void assert_text(const char *path, const char *expected)
{
    char text[64] = "";
    FILE *f = fopen(path, "r");

    if (!f)
        fail_msg("there is no '%s'", path);
    assert_true(fgets(text, sizeof text, f) || !*expected);
    fclose(f);
    assert_string_equal(text, expected);
}

static merge_sum merge(void)
{
    merge_sum sum = { 0 };
    volt_err err;

    if (merge_tree("from", "to", &sum, &err))
        fail_msg("%s", err.msg);
    return sum;
}

static void fills_directories_and_replaces_files(void **state)
{
    struct stat st;

    (void)state;
    mkdir("from/a", 0700);
    make("from/a/new", "new");
    make("from/a/both", "from");
    chmod("from/a/both", 0755);
    chmod("from/a", 0500); /* what is in it can be moved all the same */
    mkdir("to/a", 0700);
    make("to/a/both", "to");
    make("to/a/own", "own");
    assert_int_equal(merge().files, 2);
    assert_text("to/a/new", "new");
    assert_text("to/a/both", "from");
    assert_text("to/a/own", "own");
    assert_int_equal(stat("to/a/both", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0755);
}

static void follows_no_link_that_stands_in_its_way(void **state)
{
    (void)state;
    mkdir("elsewhere", 0700);
    make("elsewhere/file", "untouched");
    assert_int_equal(symlink("../elsewhere", "to/dir"), 0);
    assert_int_equal(symlink("../elsewhere/file", "to/link"), 0);
    mkdir("from/dir", 0700);
    make("from/dir/file", "in");
    make("from/link", "in");
    merge();
    assert_text("elsewhere/file", "untouched");
    assert_text("to/dir/file", "in");
    assert_text("to/link", "in");
}

static void leaves_out_links_that_lead_out(void **state)
{
    static const struct {
        const char *target;
        bool stays;
    } links[] = {
        { "sibling", true },  { "../a/x", true }, { "./././x", true },
        { "../../x", false }, { "/etc", false },  { "../b/../c", true },
        { "..", true },       { "../..", false }, { "b/../../..", false },
    };
    size_t left_out = 0;

    (void)state;
    mkdir("from/a", 0700);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        char name[32];

        snprintf(name, sizeof name, "from/a/%zu", i);
        assert_int_equal(symlink(links[i].target, name), 0);
        left_out += !links[i].stays;
    }
    assert_int_equal(merge().left_out, left_out);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        struct stat st;
        char name[32];

        snprintf(name, sizeof name, "to/a/%zu", i);
        if ((lstat(name, &st) == 0) != links[i].stays)
            fail_msg("'%s' is %s", links[i].target, links[i].stays ? "missing" : "there");
    }
}

static void says_what_cannot_be_written(void **state)
{
    merge_sum sum;
    volt_err err;

    (void)state;
    make("from/name", "a file");
    mkdir("to/name", 0700);
    make("to/name/in", "the way");
    assert_int_equal(merge_tree("from", "to", &sum, &err), VOLT_EIO);
    assert_non_null(strstr(err.msg, "to/name"));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(fills_directories_and_replaces_files),
        TEST(follows_no_link_that_stands_in_its_way),
        TEST(leaves_out_links_that_lead_out),
        TEST(says_what_cannot_be_written),
    };

    return cmocka_run_group_tests_name("merge", tests, NULL, NULL);
}
