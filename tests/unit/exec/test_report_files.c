#include "exec/report_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"

static char dir[] = "/tmp/volt-reports-XXXXXX";

static void shell(const char *script)
{
    CLEANUP(free)
    char *all = mem_printf("cd '%s' && %s", dir, script);

    assert_int_equal(system(all), 0);
}

static report_files find(const char *pattern)
{
    report_files f = { 0 };
    volt_err err;

    if (report_files_find(dir, slice_of(pattern), 100, 100, &f, &err))
        fail_msg("%s", err.msg);
    return f;
}

static void finds(const char *pattern, const char *want)
{
    CLEANUP(report_files)
    report_files f = find(pattern);
    CLEANUP(buf)
    buf got = { 0 };

    for (size_t i = 0; i < f.n; i++)
        buf_addf(&got, "%s%s", i ? " " : "", f.v[i].path);
    assert_string_equal(buf_str(&got), want);
}

static void finds_what_git_would_match(void **state)
{
    (void)state;
    shell("mkdir -p a/b/c .git d.xml && touch 1.xml a/2.xml a/b/3.xml a/b/c/4.xml a/x.txt "
          ".git/g.xml d.xml/5.xml && ln -s a link && ln -s 1.xml l.xml && mkfifo f.xml");
    finds("*.xml", "1.xml");
    finds("**/*.xml", "1.xml a/2.xml a/b/3.xml a/b/c/4.xml d.xml/5.xml");
    finds("a/*.xml", "a/2.xml");
    finds("a/**/*.xml", "a/2.xml a/b/3.xml a/b/c/4.xml");
    finds("*/b/*.xml", "a/b/3.xml");
    finds("a/b/3.xml", "a/b/3.xml");
    finds("a/[a-c]/?.xml", "a/b/3.xml");
    finds("none/*.xml", "");
    finds("1.xml/*", "");
}

static void tells_what_was_written_since(void **state)
{
    CLEANUP(report_files)
    report_files before = { 0 };
    CLEANUP(report_files)
    report_files now = { 0 };

    (void)state;
    shell(
        "rm -rf * && echo a >a && echo b >b && echo c >c && echo d >d && touch -d '2001-01-01' d");
    before = find("*");
    for (size_t i = 0; i < before.n; i++)
        report_files_age(dir, &before.v[i]);
    now = find("*");
    for (size_t i = 0; i < now.n; i++)
        assert_true(report_files_has(&before, &now.v[i]));
    report_files_free(&now);
    /* In the same tick, of the same length; replaced; put back in time; new. */
    shell("echo A >a && echo B >t && mv t b && touch -d '2001-01-01' c && echo e >e");
    now = find("*");
    assert_int_equal(now.n, 5);
    for (size_t i = 0; i < now.n; i++)
        assert_int_equal(report_files_has(&before, &now.v[i]), now.v[i].path[0] == 'd');
}

static void too_much_is_refused(void **state)
{
    CLEANUP(report_files)
    report_files f = { 0 };
    volt_err err;

    (void)state;
    shell("rm -rf * && mkdir -p many && cd many && touch 1 2 3 4 5 6 7 8 9");
    assert_int_equal(report_files_find(dir, SLICE("many/*"), 8, 100, &f, &err), VOLT_EFULL);
    assert_string_equal(err.msg, "more than 8 files match");
    report_files_free(&f);
    assert_int_equal(report_files_find(dir, SLICE("**/0"), 8, 9, &f, &err), VOLT_EFULL);
    assert_string_equal(err.msg, "more than 9 files to look through");
    report_files_free(&f);
    assert_int_equal(report_files_find(dir, SLICE("many/*"), 9, 9, &f, &err), VOLT_OK);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    shell("chmod -R u+rwX . && rm -rf * .git");
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_git_would_match),
        cmocka_unit_test(tells_what_was_written_since),
        cmocka_unit_test(too_much_is_refused),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
