#include "exec/site.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rmtree.h"
#include "exec/environ.h"

static char work[64];
static const char *repos[] = { "lib=/src/lib", "a=b=/x=y", "lib2=relative" };

static site *open_site(uint64_t slot)
{
    site_config config = { .work = work,
                           .slot = slot,
                           .runner = "box-1",
                           .host = "box",
                           .path = "/usr/bin:/bin",
                           .repos = repos,
                           .repos_n = 3,
                           .fetch_ms = 1000 };
    site *s;

    assert_int_equal(site_new(&config, &s, NULL), VOLT_OK);
    return s;
}

static int make_work(void **state)
{
    (void)state;
    strcpy(work, "/tmp/volt-site-XXXXXX");
    return mkdtemp(work) ? 0 : -1;
}

static int remove_work(void **state)
{
    (void)state;
    return rmtree(AT_FDCWD, work, NULL) ? -1 : 0;
}

static void assert_source(const site *s, const char *repo, const char *url, const char *want)
{
    char *got = NULL;

    assert_int_equal(site_source(s, slice_of(repo), slice_of(url), &got, NULL), VOLT_OK);
    assert_string_equal(got, want);
    free(got);
}

static void knows_where_objects_come_from(void **state)
{
    site *s = open_site(1);
    char *got = NULL;
    volt_err err;

    (void)state;
    assert_source(s, "x", "https://host/x.git", "https://host/x.git");
    assert_source(s, "x", "git@host:x.git", "git@host:x.git");
    assert_source(s, "x", "local:box:/srv/x", "/srv/x");
    assert_source(s, "x", "local:box:/srv/a:b", "/srv/a:b");
    assert_source(s, "lib", "https://host/lib.git", "/src/lib");
    assert_source(s, "lib", "local:other:/lib", "/src/lib");
    assert_source(s, "a=b", "local:other:/lib", "/x=y");
    assert_source(s, "li", "https://host/li", "https://host/li");
    assert_int_equal(site_source(s, SLICE("x"), SLICE("local:other:/x"), &got, &err),
                     VOLT_EUNREACHABLE);
    assert_string_equal(err.msg, "repository 'x' is on other, this runner on box; start it with "
                                 "--repo x=PATH");
    assert_int_equal(site_source(s, SLICE("x"), SLICE("local:nothing"), &got, &err), VOLT_EINVALID);
    site_free(s);
}

static void a_workspace_has_one_name_below_the_pool(void **state)
{
    site *s = open_site(7);
    char *dir = mem_printf("%s/pool/7/%%2e.%%2fx%%20y", work);
    const workspace *ws = site_workspace(s, SLICE("../x y"));

    (void)state;
    assert_string_equal(workspace_dir(ws), dir);
    assert_ptr_equal(site_workspace(s, SLICE("../x y")), ws);
    for (int i = 0; i < 20; i++) { /* more than are kept open */
        char name[16];

        snprintf(name, sizeof name, "r%d", i);
        assert_non_null(site_workspace(s, slice_of(name)));
    }
    free(dir);
    site_free(s);
}

static void a_workspace_belongs_to_the_job_it_was_prepared_for(void **state)
{
    site *s = open_site(1);

    (void)state;
    assert_false(site_kept(s, ""));
    site_keep(s, "job 1");
    assert_true(site_kept(s, "job 1"));
    assert_false(site_kept(s, "job 2"));
    site_keep(s, "");
    assert_false(site_kept(s, "job 1"));
    site_free(s);
}

static ino_t inode_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_ino : 0;
}

static void touch(const char *dir, const char *name)
{
    char *path = mem_printf("%s/%s", dir, name);

    fclose(fopen(path, "w"));
    free(path);
}

static void scratch_is_fresh_and_what_is_left_in_it_goes(void **state)
{
    site *s = open_site(1);
    scratch sc;
    char *locked;

    (void)state;
    assert_int_equal(scratch_make(s, &sc, NULL), VOLT_OK);
    locked = mem_printf("%s/locked", sc.home);
    assert_int_equal(mkdir(locked, 0700), 0);
    assert_int_equal(chmod(locked, 0), 0);
    touch(sc.tmp, "x");
    assert_int_equal(access(sc.output, W_OK), 0);
    assert_int_equal(scratch_clear(s, NULL), VOLT_OK);
    assert_int_equal(access(locked, F_OK), -1);
    assert_int_equal(scratch_make(s, &sc, NULL), VOLT_OK);
    assert_int_equal(rmdir(sc.home), 0);
    assert_int_equal(rmdir(sc.tmp), 0);
    assert_int_equal(rmdir(sc.output), 0);
    free(locked);
    site_free(s);
}

static void scratch_that_was_touched_is_made_anew(void **state)
{
    site *s = open_site(1);
    char *gone = mem_printf("%s/home/1", work);
    scratch sc;
    ino_t home, tmp;

    (void)state;
    assert_int_equal(scratch_make(s, &sc, NULL), VOLT_OK);
    home = inode_of(sc.home);
    tmp = inode_of(sc.tmp);
    assert_int_equal(scratch_clear(s, NULL), VOLT_OK);
    assert_int_equal(scratch_make(s, &sc, NULL), VOLT_OK);
    assert_int_equal(inode_of(sc.home), home); /* untouched */
    assert_int_equal(inode_of(sc.tmp), tmp);

    chmod(sc.home, 0755);
    assert_int_equal(rmdir(sc.tmp), 0);
    assert_int_equal(symlink("/etc", sc.tmp), 0);
    assert_int_equal(scratch_clear(s, NULL), VOLT_OK);
    assert_int_equal(access(sc.home, F_OK), -1);
    assert_int_equal(access(sc.tmp, F_OK), -1);
    assert_int_equal(access("/etc/passwd", F_OK), 0);
    assert_int_equal(scratch_make(s, &sc, NULL), VOLT_OK);
    assert_int_equal(rmtree(AT_FDCWD, gone, NULL), VOLT_OK);
    assert_int_equal(scratch_make(s, &sc, NULL), VOLT_OK);
    assert_int_equal(access(sc.home, W_OK), 0);
    free(gone);
    site_free(s);
}

static void scratch_of_a_killed_executor_goes_with_its_successor(void **state)
{
    site *s = open_site(1), *other = open_site(11);
    scratch mine, others;
    char *path;

    (void)state;
    assert_int_equal(scratch_make(s, &mine, NULL), VOLT_OK);
    assert_int_equal(scratch_make(other, &others, NULL), VOLT_OK);
    touch(mine.tmp, "x");
    path = mem_strdup(mine.tmp);
    site_free(s);
    s = open_site(1);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(others.home, F_OK), 0);
    free(path);
    site_free(s);
    site_free(other);
}

static void the_environment_is_the_documented_one(void **state)
{
    static const char *want[] = {
        "CI=true",
        "VOLT=true",
        "VOLT_REPO=r",
        "VOLT_COMMIT=0a1b",
        "VOLT_REF=refs/heads/a/b",
        "VOLT_BRANCH=a/b",
        "VOLT_BUILD=9",
        "VOLT_JOB=tests",
        "VOLT_TASK=5",
        "VOLT_ATTEMPT=2",
        "VOLT_RUNNER=box-1",
        "VOLT_WORKSPACE=/w",
        "PWD=/w",
        "VOLT_OUTPUT=/o",
        "PATH=/usr/bin:/bin",
        "HOME=/h",
        "TMPDIR=/t",
        "LANG=C.UTF-8",
        "TZ=UTC",
        "VOLT_TEST_FILES=tests/test_b.py",
    };
    const msg_assign order = { .task = 5,
                               .att = 2,
                               .build = 9,
                               .job = SLICE("tests"),
                               .repo = SLICE("r"),
                               .oid = SLICE("0a1b"),
                               .ref = SLICE("refs/heads/a/b") };
    scratch sc = { .home = "/h", .tmp = "/t", .output = "/o" };
    environ_place place = { .workspace = "/w", .scratch = &sc };
    site_config config = { .runner = "box-1", .path = "/usr/bin:/bin", .tz = "UTC" };
    arena a = { 0 };
    const char **files, **env = environ_make(&config, &order, &place, &a, &files);
    size_t n = 0;

    (void)state;
    environ_set_files(files, SLICE("tests/test_a.py"), &a);
    environ_set_files(files, SLICE("tests/test_b.py"), &a);
    while (env[n])
        n++;
    assert_int_equal(n, sizeof want / sizeof *want);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(env[i], want[i]);
    arena_free(&a);
}

static void programs_are_found_as_absolute_paths_only(void **state)
{
    arena a = { 0 };

    (void)state;
    assert_string_equal(environ_find("/nowhere::/bin", "sh", &a), "/bin/sh");
    assert_null(environ_find("/nowhere:/bin", "no-such-program", &a));
    assert_null(environ_find("bin:.:", "sh", &a));
    assert_null(environ_find("/", "bin", &a)); /* a directory */
    assert_null(environ_find("", "sh", &a));
    arena_free(&a);
}

static void a_command_is_looked_for_as_a_shell_would(void **state)
{
    static const char *const env[] = { "HOME=/nowhere", "PATH=/nowhere:/bin", NULL };
    static const char *const relative[] = { "PATH=/bin:.", NULL };
    static const char *const own[] = { "PATH=", NULL };
    arena a = { 0 };

    (void)state;
    assert_string_equal(environ_program(env, "/", "sh", &a), "/bin/sh");
    assert_string_equal(environ_program(env, "/bin", "./sh", &a), "./sh");
    assert_string_equal(environ_program(env, "/nowhere", "/bin/sh", &a), "/bin/sh");
    assert_null(environ_program(env, "/nowhere", "./sh", &a));
    assert_null(environ_program(env, "/", "./etc/passwd", &a));
    assert_null(environ_program(env, "/", "no-such-program", &a));
    assert_null(environ_program(relative, "/", "sh", &a)); /* what is in the checkout may count */
    assert_null(environ_program(own, "/", "sh", &a));
    assert_null(environ_program(own + 1, "/", "sh", &a));
    arena_free(&a);
}

static void a_kept_home_belongs_to_a_slot_and_a_repository(void **state)
{
    site *one = open_site(1), *two = open_site(2);
    char *home, *again, *other, *next, *want;
    struct stat st;

    (void)state;
    assert_int_equal(site_kept_home(one, SLICE("a/b"), &home, NULL), VOLT_OK);
    assert_int_equal(site_kept_home(one, SLICE("a/b"), &again, NULL), VOLT_OK);
    assert_int_equal(site_kept_home(one, SLICE("c"), &other, NULL), VOLT_OK);
    assert_int_equal(site_kept_home(two, SLICE("a/b"), &next, NULL), VOLT_OK);
    want = mem_printf("%s/kept/1/a%%2fb", work);
    assert_string_equal(home, want);
    assert_string_equal(home, again);
    assert_string_not_equal(home, other);
    assert_string_not_equal(home, next);
    assert_true(stat(home, &st) == 0 && (st.st_mode & 0777) == 0700);
    free(home);
    free(again);
    free(other);
    free(next);
    free(want);
    site_free(one);
    site_free(two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(knows_where_objects_come_from, make_work, remove_work),
        cmocka_unit_test_setup_teardown(a_workspace_has_one_name_below_the_pool, make_work,
                                        remove_work),
        cmocka_unit_test_setup_teardown(a_workspace_belongs_to_the_job_it_was_prepared_for,
                                        make_work, remove_work),
        cmocka_unit_test_setup_teardown(a_kept_home_belongs_to_a_slot_and_a_repository, make_work,
                                        remove_work),
        cmocka_unit_test_setup_teardown(scratch_is_fresh_and_what_is_left_in_it_goes, make_work,
                                        remove_work),
        cmocka_unit_test_setup_teardown(scratch_that_was_touched_is_made_anew, make_work,
                                        remove_work),
        cmocka_unit_test_setup_teardown(scratch_of_a_killed_executor_goes_with_its_successor,
                                        make_work, remove_work),
        cmocka_unit_test(the_environment_is_the_documented_one),
        cmocka_unit_test(programs_are_found_as_absolute_paths_only),
        cmocka_unit_test(a_command_is_looked_for_as_a_shell_would),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
