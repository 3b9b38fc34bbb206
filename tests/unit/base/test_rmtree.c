#include "base/rmtree.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char top[64];

static int enter_scratch(void **state)
{
    (void)state;
    strcpy(top, "/tmp/volt-rmtree-XXXXXX");
    return mkdtemp(top) && chdir(top) == 0 ? 0 : -1;
}

static int leave_scratch(void **state)
{
    (void)state;
    return chdir("/") == 0 && rmtree(AT_FDCWD, top, NULL) == VOLT_OK ? 0 : -1;
}

static void touch(const char *path)
{
    int fd = open(path, O_CREAT | O_WRONLY, 0644);

    assert_true(fd >= 0);
    close(fd);
}

static bool is_there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

static void removes_files_and_directories_and_nothing(void **state)
{
    (void)state;
    touch("file");
    assert_int_equal(mkdir("dir", 0755), 0);
    assert_int_equal(mkdir("dir/sub", 0755), 0);
    touch("dir/sub/file");
    assert_int_equal(rmtree(AT_FDCWD, "file", NULL), VOLT_OK);
    assert_int_equal(rmtree(AT_FDCWD, "dir", NULL), VOLT_OK);
    assert_int_equal(rmtree(AT_FDCWD, "dir", NULL), VOLT_OK);
    assert_int_equal(rmtree(AT_FDCWD, "none/none", NULL), VOLT_OK);
    assert_false(is_there("file") || is_there("dir"));
}

static void does_not_follow_links(void **state)
{
    (void)state;
    assert_int_equal(mkdir("kept", 0755), 0);
    touch("kept/file");
    assert_int_equal(mkdir("dir", 0755), 0);
    assert_int_equal(symlink("../kept", "dir/link"), 0);
    assert_int_equal(symlink("kept", "link"), 0);
    assert_int_equal(rmtree(AT_FDCWD, "link", NULL), VOLT_OK);
    assert_int_equal(rmtree(AT_FDCWD, "dir", NULL), VOLT_OK);
    assert_true(is_there("kept/file"));
    assert_false(is_there("link") || is_there("dir"));
}

static void opens_up_what_is_closed(void **state)
{
    (void)state;
    assert_int_equal(mkdir("dir", 0755), 0);
    assert_int_equal(mkdir("dir/sub", 0755), 0);
    touch("dir/sub/file");
    assert_int_equal(chmod("dir/sub", 0), 0);
    assert_int_equal(chmod("dir", 0500), 0);
    assert_int_equal(rmtree(AT_FDCWD, "dir", NULL), VOLT_OK);
    assert_false(is_there("dir"));
}

static void depth_does_not_matter(void **state)
{
    int at = open(".", O_RDONLY | O_DIRECTORY);

    (void)state;
    for (int i = 0; i < 1000; i++) { /* closed directories must open to be moved up */
        int below;

        assert_int_equal(mkdirat(at, "d", 0755), 0);
        below = openat(at, "d", O_RDONLY | O_DIRECTORY);
        assert_true(below >= 0);
        assert_int_equal(mkdirat(at, "volt-deep-1", 0500), 0); /* a name rmtree() itself uses */
        if (i % 100 == 99)
            assert_int_equal(fchmod(at, 0500), 0);
        close(at);
        at = below;
    }
    close(at);
    assert_int_equal(rmtree(AT_FDCWD, "d", NULL), VOLT_OK);
    assert_false(is_there("d"));
}

static void what_stays_is_named(void **state)
{
    volt_err err;

    (void)state;
    assert_int_equal(rmtree(AT_FDCWD, "/proc/self/status", &err), VOLT_EIO);
    assert_non_null(strstr(err.msg, "status"));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, enter_scratch, leave_scratch)
    const struct CMUnitTest tests[] = {
        TEST(removes_files_and_directories_and_nothing),
        TEST(does_not_follow_links),
        TEST(opens_up_what_is_closed),
        TEST(depth_does_not_matter),
        TEST(what_stays_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
