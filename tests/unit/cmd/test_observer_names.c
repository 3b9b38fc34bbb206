#include "cmd/observer/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"

static void reads(const char *arg, const char *name, const char *path, const char *url)
{
    observer_source s;
    volt_err err;

    if (observer_source_read(arg, &s, &err))
        fail_msg("%s: %s", arg, err.msg);
    assert_string_equal(s.name, name);
    if (path)
        assert_string_equal(s.path, path);
    else
        assert_null(s.path);
    if (url)
        assert_string_equal(s.url, url);
    observer_source_free(&s);
}

static void refuses(const char *arg)
{
    observer_source s;
    volt_err err;

    assert_int_equal(observer_source_read(arg, &s, &err), VOLT_EINVALID);
}

static void a_name_is_the_last_component_without_git(void **unused)
{
    (void)unused;
    reads("/no/such/x.git", "x", "/no/such/x.git", NULL);
    reads("/no/such/x/", "x", "/no/such/x", NULL);
    reads("/no/such/x/.git", "x", "/no/such/x", NULL);
    reads("https://example.org/a/b.git", "b", NULL, "https://example.org/a/b.git");
    reads("git@example.org:a/b.git", "b", NULL, "git@example.org:a/b.git");
    reads("file:///no/such/x%20y", "x y", "/no/such/x y", NULL);
}

static void a_name_may_be_given(void **unused)
{
    (void)unused;
    reads("n=/no/such/x", "n", "/no/such/x", NULL);
    reads("n=https://example.org/b?q=1", "n", NULL, "https://example.org/b?q=1");
    reads("https://example.org/b?q=1", "b?q=1", NULL, NULL);
    reads("/no/such=path", "such=path", "/no/such=path", NULL);
}

static void a_url_for_runners_has_no_password(void **unused)
{
    (void)unused;
    reads("https://user:secret@example.org/b.git", "b", NULL, "https://example.org/b.git");
}

static void a_path_has_no_links_and_need_not_exist(void **unused)
{
    char dir[] = "/tmp/volt-names-XXXXXX", host[256] = "";
    char *link_path, *deep, *expected, *url;

    (void)unused;
    assert_non_null(mkdtemp(dir));
    link_path = mem_printf("%s/link", dir);
    deep = mem_printf("%s/a/b", link_path);
    expected = mem_printf("%s/a/b", dir);
    gethostname(host, sizeof host - 1);
    url = mem_printf("local:%s:%s", host, expected);
    assert_int_equal(symlink(dir, link_path), 0);
    reads(deep, "b", expected, url);
    unlink(link_path);
    rmdir(dir);
    free(link_path);
    free(deep);
    free(expected);
    free(url);
}

static void refuses_what_cannot_be_called(void **unused)
{
    (void)unused;
    refuses("");
    refuses("n=");
    refuses("/");
    refuses("..=/no/such/x");
}

static void a_name_of_an_observer_fits_a_topic(void **unused)
{
    (void)unused;
    assert_true(observer_name_ok("build-box_1"));
    assert_false(observer_name_ok(""));
    assert_false(observer_name_ok("a.b"));
    assert_false(observer_name_ok("0123456789012345678901234567890123456789x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_the_last_component_without_git),
        cmocka_unit_test(a_name_may_be_given),
        cmocka_unit_test(a_url_for_runners_has_no_password),
        cmocka_unit_test(a_path_has_no_links_and_need_not_exist),
        cmocka_unit_test(refuses_what_cannot_be_called),
        cmocka_unit_test(a_name_of_an_observer_fits_a_topic),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
