#include "cmd/observer/hint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"

typedef struct seen {
    int of[3];
    int dirs;
} seen;

typedef struct place {
    char dir[64];
    observer_hint *h;
} place;

static void count(void *ctx, size_t repo, bool dirs)
{
    seen *s = ctx;

    assert_true(repo < 3);
    s->of[repo]++;
    s->dirs += dirs;
}

static seen take(observer_hint *h)
{
    seen s = { 0 };

    observer_hint_read(h, count, &s);
    return s;
}

static int set_up(void **ctx)
{
    place *p = NEW(place);

    snprintf(p->dir, sizeof p->dir, "/tmp/volt-hint-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    assert_int_equal(observer_hint_new(&p->h, NULL), VOLT_OK);
    *ctx = p;
    return 0;
}

static int tear_down(void **ctx)
{
    place *p = *ctx;
    char *command = mem_printf("rm -rf '%s'", p->dir);

    assert_int_equal(system(command), 0);
    free(command);
    observer_hint_free(p->h);
    free(p);
    return 0;
}

static bool add(place *p, size_t repo, const char *below)
{
    char *path = mem_printf("%s%s", p->dir, below);
    char *dirs[] = { path, NULL };
    bool more = false;

    assert_int_equal(observer_hint_watch(p->h, repo, dirs, &more, NULL), VOLT_OK);
    free(path);
    return more;
}

static void run(place *p, const char *what)
{
    char *command = mem_printf("cd '%s' && %s", p->dir, what);

    assert_int_equal(system(command), 0);
    free(command);
}

static void tells_of_a_renamed_ref_and_not_of_its_lock(void **ctx)
{
    place *p = *ctx;

    assert_true(add(p, 1, ""));
    assert_false(add(p, 1, ""));
    run(p, ": > main.lock");
    assert_int_equal(take(p->h).of[1], 0);
    run(p, "mv main.lock main");
    assert_int_equal(take(p->h).of[1], 1);
    assert_int_equal(take(p->h).of[1], 0);
    run(p, "rm main");
    assert_int_equal(take(p->h).of[1], 1);
}

static void tells_when_directories_come_and_go(void **ctx)
{
    place *p = *ctx;

    add(p, 0, "");
    run(p, "mkdir feature");
    assert_int_equal(take(p->h).dirs, 1);
    assert_true(add(p, 0, "/feature"));
    run(p, ": > feature/x");
    assert_int_equal(take(p->h).dirs, 0);
    run(p, "rm -r feature");
    assert_true(take(p->h).dirs >= 1);
    run(p, "mkdir feature");
    assert_true(take(p->h).dirs >= 1);
    assert_true(add(p, 0, "/feature")); /* another one of that name */
    run(p, ": > feature/x");
    assert_true(take(p->h).of[0] > 0);
}

static void a_directory_may_belong_to_two(void **ctx)
{
    place *p = *ctx;

    add(p, 0, "");
    assert_true(add(p, 2, ""));
    run(p, "ln -s x packed-refs");
    assert_int_equal(take(p->h).of[0], 0 + 1);
    run(p, "rm packed-refs");
    assert_int_equal(take(p->h).of[2], 1);
}

static void a_missing_directory_is_passed_over(void **ctx)
{
    place *p = *ctx;

    assert_false(add(p, 0, "/none"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tells_of_a_renamed_ref_and_not_of_its_lock),
        TEST(tells_when_directories_come_and_go),
        TEST(a_directory_may_belong_to_two),
        TEST(a_missing_directory_is_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
