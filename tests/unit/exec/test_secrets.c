#include "exec/secrets.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/rmtree.h"

typedef struct place {
    char dir[64];
    char *path; /* of the secrets */
    arena mem;
    secret *found;
    volt_err err;
} place;

static int set_up(void **state)
{
    place *p = NEW(place);

    strcpy(p->dir, "/tmp/volt-secrets-XXXXXX");
    if (!mkdtemp(p->dir))
        return -1;
    p->path = mem_printf("%s/secrets", p->dir);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    place *p = *state;

    rmtree(AT_FDCWD, p->dir, NULL);
    arena_free(&p->mem);
    free(p->path);
    free(p);
    return 0;
}

/* Below the place's directory. */
static void put_file(const place *p, const char *name, const char *text, mode_t mode)
{
    CLEANUP(free)
    char *path = mem_printf("%s/%s", p->dir, name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    chmod(path, mode);
}

static volt_code look_up(place *p, const char *name)
{
    slice one = slice_of(name);

    return secrets_read(p->path, (slices){ &one, 1 }, &p->mem, &p->found, &p->err);
}

static void assert_found(place *p, const char *name, const char *text, const char *value)
{
    if (look_up(p, name))
        fail_msg("%s", p->err.msg);
    assert_true(slice_is(p->found->name, name));
    assert_true(slice_is(p->found->text, text));
    assert_true(slice_is(p->found->value, value));
}

static void assert_refused(place *p, const char *name, volt_code code, const char *says)
{
    assert_int_equal(look_up(p, name), code);
    if (!strstr(p->err.msg, says))
        fail_msg("'%s' does not say '%s'", p->err.msg, says);
}

static void reads_a_directory(void **state)
{
    place *p = *state;

    mkdir(p->path, 0700);
    put_file(p, "secrets/TOKEN", "hunter2\n", 0600);
    put_file(p, "secrets/KEY", "one\ntwo\r\n\n", 0400);
    put_file(p, "secrets/not a name", "x", 0644);
    assert_found(p, "TOKEN", "hunter2\n", "hunter2");
    assert_found(p, "KEY", "one\ntwo\r\n\n", "one\ntwo");
    assert_refused(p, "OTHER", VOLT_ENOTFOUND, "this runner has no secret 'OTHER'");
    assert_refused(p, "../secrets/TOKEN", VOLT_ENOTFOUND, "no secret");
    assert_int_equal(secrets_check(p->path, NULL), VOLT_OK);
}

static void reads_lines(void **state)
{
    place *p = *state;

    put_file(p, "secrets",
             "# ours\n\nTOKEN=hunter2\r\nKEY= a=b \"c\"\nTOKEN=newer one\nEND=no newline", 0600);
    assert_found(p, "TOKEN", "newer one", "newer one");
    assert_found(p, "KEY", " a=b \"c\"", " a=b \"c\"");
    assert_found(p, "END", "no newline", "no newline");
    assert_refused(p, "OTHER", VOLT_ENOTFOUND, "no secret 'OTHER'");
    assert_int_equal(secrets_check(p->path, NULL), VOLT_OK);

    put_file(p, "secrets", "TOKEN=hunter2\nmy token\n", 0600);
    assert_refused(p, "TOKEN", VOLT_EINVALID, "line 2: expected NAME=VALUE");
    assert_null(strstr(p->err.msg, "my token"));
    put_file(p, "secrets", "VOLT_X=hunter2\n", 0600);
    assert_int_equal(secrets_check(p->path, NULL), VOLT_EINVALID);
}

static void reads_what_is_there_now(void **state)
{
    place *p = *state;

    put_file(p, "secrets", "TOKEN=first-one\n", 0600);
    assert_found(p, "TOKEN", "first-one", "first-one");
    put_file(p, "secrets", "TOKEN=second-one\n", 0600);
    assert_found(p, "TOKEN", "second-one", "second-one");
}

static void refuses_what_others_may_read(void **state)
{
    place *p = *state;

    assert_refused(p, "TOKEN", VOLT_ENOTFOUND, "No such file");
    put_file(p, "secrets", "TOKEN=hunter2\n", 0640);
    assert_refused(p, "TOKEN", VOLT_EREFUSED, "(mode 640)");
    assert_int_equal(secrets_check(p->path, NULL), VOLT_EREFUSED);
    unlink(p->path);
    mkdir(p->path, 0700);
    put_file(p, "secrets/TOKEN", "hunter2\n", 0604);
    assert_refused(p, "TOKEN", VOLT_EREFUSED, "(mode 604)");
    assert_int_equal(secrets_check(p->path, NULL), VOLT_EREFUSED);
    put_file(p, "secrets/TOKEN", "hunter2\n", 0600);
    chmod(p->path, 0701);
    assert_refused(p, "TOKEN", VOLT_EREFUSED, "(mode 701)");
    chmod(p->path, 0700);
    if (geteuid() == 0) {
        assert_int_equal(chown(p->path, 4242, 0), 0);
        assert_refused(p, "TOKEN", VOLT_EREFUSED, "belong to user 4242");
    }
}

static void refuses_what_cannot_be_masked(void **state)
{
    place *p = *state;

    put_file(p, "secrets", "SHORT=12345\nSPACE=  12345  \nLEAST=123456\nEMPTY=\n", 0600);
    assert_found(p, "LEAST", "123456", "123456");
    assert_refused(p, "SHORT", VOLT_EINVALID, "'SHORT' is shorter than 6 characters");
    assert_refused(p, "SPACE", VOLT_EINVALID, "'SPACE' is shorter");
    assert_refused(p, "EMPTY", VOLT_EINVALID, "'EMPTY' is shorter");
    assert_int_equal(secrets_check(p->path, NULL), VOLT_EINVALID);
}

static bool allowed(const char *rule, const char *repo, const char *ref)
{
    return secrets_allowed(&rule, rule != NULL, slice_of(repo), slice_of(ref), SLICE("main"));
}

static void rules_name_repositories_and_branches(void **state)
{
    (void)state;
    assert_true(allowed(NULL, "any", "refs/heads/main"));
    assert_false(allowed(NULL, "any", "refs/heads/topic"));
    assert_false(allowed(NULL, "any", "refs/pull/7/head"));
    assert_false(allowed(NULL, "any", "refs/tags/main"));
    assert_false(secrets_allowed(NULL, 0, SLICE("any"), SLICE("refs/heads/"), (slice){ 0 }));
    assert_true(
        secrets_allowed(NULL, 0, SLICE("any"), SLICE("refs/heads/x"), SLICE("refs/heads/x")));

    assert_true(allowed("site", "site", "refs/heads/main"));
    assert_false(allowed("site", "site", "refs/heads/topic"));
    assert_false(allowed("site", "sites", "refs/heads/main"));
    assert_true(allowed("si*", "sites", "refs/heads/main"));

    assert_true(allowed("site:release/*", "site", "refs/heads/release/1"));
    assert_false(allowed("site:release/*", "site", "refs/heads/main"));
    assert_false(allowed("site:release/*", "other", "refs/heads/release/1"));
    assert_false(allowed("site:**", "site", "refs/pull/7/head"));
    assert_true(allowed("site:refs/pull/**", "site", "refs/pull/7/head"));
    assert_false(allowed("site:refs/pull/**", "site", "refs/heads/main"));
    assert_false(secrets_allowed((const char *[]){ "site:main" }, 1, SLICE("site"),
                                 SLICE("refs/heads/main\0x"), SLICE("main")));

    assert_int_equal(secrets_rule_check("site", NULL), VOLT_OK);
    assert_int_equal(secrets_rule_check("a:b", NULL), VOLT_OK);
    assert_int_equal(secrets_rule_check("", NULL), VOLT_EINVALID);
    assert_int_equal(secrets_rule_check(":b", NULL), VOLT_EINVALID);
    assert_int_equal(secrets_rule_check("a:", NULL), VOLT_EINVALID);
}

static void puts_files_that_only_this_user_reads(void **state)
{
    place *p = *state;
    const secret v[] = { { SLICE("A"), SLICE("one two\n"), SLICE("one two") },
                         { SLICE("B"), SLICE("three four"), SLICE("three four") } };
    CLEANUP(free)
    char *dir = mem_printf("%s/files", p->dir);
    CLEANUP(free)
    char *path = mem_printf("%s/B", dir);
    struct stat st;
    char text[32] = "";
    int fd;

    assert_int_equal(secrets_put(dir, v, 2, NULL), VOLT_OK);
    assert_int_equal(secrets_put(dir, v, 1, NULL), VOLT_OK); /* what was there is gone */
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(access(path, F_OK), -1);
    path[strlen(path) - 1] = 'A';
    fd = open(path, O_RDONLY);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(read(fd, text, sizeof text - 1), 8);
    assert_string_equal(text, "one two\n");
    close(fd);
    secrets_remove(dir);
    assert_int_equal(access(dir, F_OK), -1);
    secrets_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_a_directory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_what_is_there_now, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_what_others_may_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_what_cannot_be_masked, set_up, tear_down),
        cmocka_unit_test(rules_name_repositories_and_branches),
        cmocka_unit_test_setup_teardown(puts_files_that_only_this_user_reads, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
