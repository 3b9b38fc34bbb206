#include "exec/cache.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/rmtree.h"
#include "git/git.h"

#define PLENTY ((uint64_t)1 << 30)

/* A directory of its own, which is the working directory, with a checkout: ws/. */
static int set_up(void **state)
{
    char *dir = mem_strdup("/tmp/volt-cache-XXXXXX");

    *state = dir;
    setenv("GIT_CONFIG_GLOBAL", "/dev/null", 1);
    return mkdtemp(dir) && chdir(dir) == 0 && mkdir("ws", 0755) == 0 && git_setup(NULL) == 0 ? 0
                                                                                             : -1;
}

static int tear_down(void **state)
{
    volt_code code = chdir("/") ? VOLT_EIO : rmtree(AT_FDCWD, *state, NULL);

    git_teardown();
    free(*state);
    return code ? -1 : 0;
}

static void shell(const char *script)
{
    if (system(script))
        fail_msg("%s", script);
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

static const archive_place place = { .dir = "ws" };

static volt_code save(const char *file, uint64_t bytes_max, volt_err *err)
{
    slice all = SLICE("d");
    archive_sum sum;

    return cache_save("root", file, &place, (slices){ &all, 1 }, bytes_max, &sum, err);
}

static void must_save(const char *file, uint64_t bytes_max)
{
    volt_err err;

    if (save(file, bytes_max, &err))
        fail_msg("%s", err.msg);
}

/* A cache of at least 100,000 bytes, which nothing makes smaller. */
static void save_large(const char *file, uint64_t bytes_max)
{
    shell("mkdir -p ws/d && head -c 100000 /dev/urandom >ws/d/f");
    must_save(file, bytes_max);
}

static void brings_back_what_was_saved(void **state)
{
    archive_sum sum;
    volt_err err;

    (void)state;
    shell("mkdir ws/d && echo one >ws/d/f");
    must_save("root/r/1.tar.zst", PLENTY);
    shell("rm -r ws/d");
    if (cache_restore("root/r/1.tar.zst", &place, &sum, &err))
        fail_msg("%s", err.msg);
    shell("test \"$(cat ws/d/f)\" = one && test $(ls root/r | wc -l) = 1");
    assert_int_equal(sum.entries, 2);
    assert_int_equal(cache_restore("root/r/2.tar.zst", &place, &sum, &err), VOLT_ENOTFOUND);
}

static void removes_a_damaged_one_and_writes_nothing(void **state)
{
    archive_sum sum;
    volt_err err;

    (void)state;
    shell("mkdir ws/d && echo one >ws/d/f");
    must_save("root/r/1.tar.zst", PLENTY);
    shell("rm -r ws/d && printf x | dd of=root/r/1.tar.zst bs=1 seek=30 conv=notrunc 2>/dev/null");
    assert_int_equal(cache_restore("root/r/1.tar.zst", &place, &sum, &err), VOLT_ECORRUPT);
    assert_false(is_there("root/r/1.tar.zst") || is_there("ws/d"));
}

static void removes_those_used_longest_ago_in_all_repositories(void **state)
{
    archive_sum sum;

    (void)state;
    save_large("root/r/1.tar.zst", PLENTY);
    save_large("root/r/2.tar.zst", PLENTY);
    save_large("root/s/3.tar.zst", PLENTY);
    shell("touch -d @1000 root/r/1.tar.zst && touch -d @1001 root/r/2.tar.zst &&"
          " touch -d @1002 root/s/3.tar.zst");
    assert_int_equal(cache_restore("root/r/1.tar.zst", &place, &sum, NULL), VOLT_OK);
    save_large("root/r/4.tar.zst", 250000);
    assert_true(is_there("root/r/1.tar.zst") && is_there("root/r/4.tar.zst"));
    assert_false(is_there("root/r/2.tar.zst") || is_there("root/s/3.tar.zst"));
}

static void keeps_nothing_that_is_larger_than_all_may_be(void **state)
{
    volt_err err;

    (void)state;
    save_large("root/r/1.tar.zst", PLENTY);
    shell("head -c 200000 /dev/urandom >ws/d/f");
    assert_int_equal(save("root/r/2.tar.zst", 150000, &err), VOLT_EREFUSED);
    assert_true(is_there("root/r/1.tar.zst"));
    assert_false(is_there("root/r/2.tar.zst"));
}

static void removes_what_killed_saves_left_when_it_is_old(void **state)
{
    (void)state;
    save_large("root/r/1.tar.zst", PLENTY);
    shell("cp root/r/1.tar.zst root/r/2.tar.zst.new-abcdef && touch root/r/3.tar.zst.new-abcdef &&"
          " touch -d '2 hours ago' root/r/2.tar.zst.new-abcdef");
    save_large("root/r/4.tar.zst", PLENTY);
    assert_false(is_there("root/r/2.tar.zst.new-abcdef"));
    assert_true(is_there("root/r/3.tar.zst.new-abcdef"));
}

/* ---- keys ---- */

static cache_key key_of(const char *job, const char *pattern, const char *path)
{
    char hex[64] = "";
    FILE *f = popen("git -C ws rev-parse HEAD", "r");
    slice patterns = slice_of(pattern), paths = slice_of(path);
    commit_id id;
    cache_key key;
    objects *o;
    volt_err err;

    assert_non_null(f);
    assert_non_null(fgets(hex, sizeof hex, f));
    pclose(f);
    assert_int_equal(commit_id_parse((slice){ hex, 40 }, &id, NULL), VOLT_OK);
    assert_int_equal(objects_open("ws", &o, NULL), VOLT_OK);
    if (cache_key_of(o, &id, slice_of(job), (slices){ &patterns, 1 }, (slices){ &paths, 1 }, &key,
                     &err))
        fail_msg("%s", err.msg);
    objects_free(o);
    return key;
}

static void commit(const char *script)
{
    CLEANUP(free)
    char *all = mem_printf("cd ws && %s && git add -A &&"
                           " git -c user.name=t -c user.email=t@t commit -q --allow-empty -m x",
                           script);

    shell(all);
}

static void a_key_is_that_of_its_files_and_of_the_job(void **state)
{
    cache_key first, other;

    (void)state;
    shell("cd ws && git init -q");
    commit("echo 1 >a.lock && mkdir d && echo 1 >d/b.lock && echo 1 >other");
    first = key_of("j", "**/*.lock", "p");
    assert_int_equal(first.files, 2);
    commit("echo 2 >other");
    other = key_of("j", "**/*.lock", "p");
    assert_string_equal(first.hex, other.hex);

    commit("echo 2 >d/b.lock");
    other = key_of("j", "**/*.lock", "p");
    assert_string_not_equal(first.hex, other.hex);
    commit("git mv d/b.lock d/c.lock && echo 1 >d/c.lock");
    other = key_of("j", "**/*.lock", "p");
    assert_string_not_equal(first.hex, other.hex);

    commit("git mv d/c.lock d/b.lock");
    other = key_of("j", "**/*.lock", "p");
    assert_string_equal(first.hex, other.hex);
    other = key_of("k", "**/*.lock", "p");
    assert_string_not_equal(first.hex, other.hex);
    other = key_of("j", "**/*.lock", "q");
    assert_string_not_equal(first.hex, other.hex);
    other = key_of("j", "**/[ab].lock", "p");
    assert_string_not_equal(first.hex, other.hex);
    assert_int_equal(key_of("j", "none", "p").files, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(brings_back_what_was_saved),
        TEST(removes_a_damaged_one_and_writes_nothing),
        TEST(removes_those_used_longest_ago_in_all_repositories),
        TEST(keeps_nothing_that_is_larger_than_all_may_be),
        TEST(removes_what_killed_saves_left_when_it_is_old),
        TEST(a_key_is_that_of_its_files_and_of_the_job),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
