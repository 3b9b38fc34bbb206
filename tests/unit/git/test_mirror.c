#include "fake_ssh.h"

#include <poll.h>

#include "git/mirror.h"
#include "git/workspace.h"

static volt_code get(const char *source, const char *ref, const commit_id *id, char **ret,
                     volt_err *err)
{
    mirror_request request = {
        .work = "work", .name = "r", .source = source, .ref = ref, .id = id, .limit_ms = 60000
    };

    return mirror_get(&request, ret, err);
}

static void must_get(const char *source, const char *ref, const char *rev)
{
    commit_id id = commit_at("r", rev);
    volt_err err;
    char *path;

    if (get(source, ref, &id, &path, &err))
        fail_msg("%s", err.msg);
    free(shf("git -C '%s' cat-file -e %s", path, id.hex));
    free(path);
}

/* How often "ssh" was run since the last question. */
static long calls(void)
{
    CLEANUP(free)
    char *n = sh("cat calls 2>/dev/null | wc -l; rm -f calls");

    return strtol(n, NULL, 10);
}

static char *make_repo(void)
{
    run("mkdir work; git init -q -b main r; cd r; for i in 1 2 3; do echo $i > f; git add f;"
        "git commit -qm $i; git tag -a -m x v$i; done");
    return fake_url("host", "r");
}

static void fetches_once_and_then_only_what_is_new(void **state)
{
    CLEANUP(free)
    char *url = make_repo();
    CLEANUP(free)
    char *tags = NULL;

    (void)state;
    must_get(url, "refs/heads/main", "main");
    assert_int_equal(calls(), 1);
    must_get(url, "refs/heads/main", "main");
    must_get(url, "refs/heads/other", "main~2");
    assert_int_equal(calls(), 0);
    run("cd r; echo 4 > f; git commit -qam 4");
    must_get(url, "refs/heads/main", "main");
    assert_int_equal(calls(), 1);
    tags = sh("git -C work/mirrors/*.git tag");
    assert_string_equal(tags, "v1\nv2\nv3");
    tags[0] = '\0';
}

static void a_commit_whose_ref_is_gone_is_still_found(void **state)
{
    CLEANUP(free)
    char *url = make_repo();

    (void)state;
    must_get(url, "refs/heads/gone", "main");
    assert_int_equal(calls(), 2); /* the ref, then all */
    run("cd r; git checkout -qb a; echo a > f; git commit -qam a; git checkout -q main");
    must_get(url, NULL, "a");
    assert_int_equal(calls(), 1);
    /* a branch where the mirror has a directory, or the other way round */
    run("cd r; git branch -qm a b; git checkout -qb a/c main; echo c > f; git commit -qam c");
    must_get(url, "refs/heads/a/c", "a/c");
    must_get(url, "a ref:with \\ odd*bytes", "main");
}

static void a_commit_no_branch_has_is_asked_for_by_its_id(void **state)
{
    CLEANUP(free)
    char *url = make_repo();
    commit_id id;

    (void)state;
    run("cd r; git config uploadpack.allowAnySHA1InWant true; echo f > f; git commit -qam forced;"
        "git update-ref refs/keep/me HEAD; git reset -q --hard HEAD~1");
    id = commit_at("r", "refs/keep/me");
    must_get(url, "refs/heads/main", id.hex);
}

static void what_is_wrong_is_told_apart(void **state)
{
    CLEANUP(free)
    char *url = make_repo();
    CLEANUP(free)
    char *none = fake_url("host", "none");
    commit_id id = { "1234567890123456789012345678901234567890" };
    volt_err err;
    char *path;

    (void)state;
    assert_int_equal(get(url, "refs/heads/main", &id, &path, &err), VOLT_ENOTFOUND);
    assert_non_null(strstr(err.msg, id.hex));
    assert_int_equal(get(none, "refs/heads/main", &id, &path, &err), VOLT_EINVALID);
    assert_int_equal(get("ext::sh -c id", "x", &id, &path, &err), VOLT_EINVALID);
    run("touch refuse");
    assert_int_equal(get(url, "refs/heads/main", &id, &path, &err), VOLT_EUNREACHABLE);
    assert_int_equal(get("https://me:secret@127.0.0.1:1/x", "x", &id, &path, &err),
                     VOLT_EUNREACHABLE);
    assert_null(strstr(err.msg, "secret"));
    assert_int_equal(get("r", NULL, &id, &path, &err), VOLT_ENOTFOUND);
    assert_int_equal(get("nowhere", NULL, &id, &path, &err), VOLT_EUNREACHABLE);
    assert_int_equal(get("work", NULL, &id, &path, &err), VOLT_EINVALID);
}

static void local_repositories_are_used_in_place(void **state)
{
    CLEANUP(free)
    char *url = make_repo();
    CLEANUP(free)
    char *file = shf("echo file://$PWD/r");
    commit_id id = commit_at("r", "HEAD");
    char *path;

    (void)state;
    assert_int_equal(get("r", NULL, &id, &path, NULL), VOLT_OK);
    assert_string_equal(path, "r");
    free(path);
    assert_int_equal(get(file, NULL, &id, &path, NULL), VOLT_OK);
    assert_string_equal(path, file + 7);
    free(path);
    assert_int_equal(access("work/mirrors", F_OK), -1);
}

static void a_time_limit_ends_a_fetch_and_frees_the_lock(void **state)
{
    CLEANUP(free)
    char *url = make_repo();
    commit_id id = commit_at("r", "HEAD");
    mirror_request request = {
        .work = "work", .name = "r", .source = url, .id = &id, .limit_ms = 1000
    };
    volt_err err;
    char *path;

    (void)state;
    run("touch hang");
    assert_int_equal(mirror_get(&request, &path, &err), VOLT_ETIMEOUT);
    assert_process_gone();
    run("rm hang");
    must_get(url, NULL, "main");
}

static void what_a_killed_fetch_left_is_cleared(void **state)
{
    CLEANUP(free)
    char *url = make_repo();

    (void)state;
    must_get(url, "refs/heads/main", "main");
    run("cd work/mirrors/*.git; touch packed-refs.lock HEAD.lock refs/heads/main.lock"
        " objects/pack/tmp_pack_x; cd ../../../r; echo 9 > f; git commit -qam 9");
    must_get(url, "refs/heads/main", "main");
    run("! ls work/mirrors/*.git/objects/pack/tmp_* 2>/dev/null");
    run("cd work/mirrors/*.git; rm -r objects HEAD; echo garbage > HEAD");
    must_get(url, "refs/heads/main", "main");
}

static void of_two_at_once_one_fetches(void **state)
{
    CLEANUP(free)
    char *url = make_repo();
    commit_id id = commit_at("r", "HEAD");
    mirror_request request = {
        .work = "work", .name = "r", .source = url, .id = &id, .limit_ms = 60000
    };
    volt_code code[2] = { VOLT_EAGAIN, VOLT_EAGAIN };
    mirror_fetch *f[2];
    struct pollfd p[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mirror_start(&request, &f[i], NULL), VOLT_OK);
        p[i] = (struct pollfd){ .fd = mirror_fd(f[i]), .events = POLLIN };
    }
    while (code[0] == VOLT_EAGAIN || code[1] == VOLT_EAGAIN) {
        assert_true(poll(p, 2, 60000) > 0);
        for (int i = 0; i < 2; i++)
            if (p[i].revents && code[i] == VOLT_EAGAIN) {
                code[i] = mirror_step(f[i], NULL);
                p[i].fd = code[i] == VOLT_EAGAIN ? p[i].fd : -1;
            }
    }
    assert_int_equal(code[0], VOLT_OK);
    assert_int_equal(code[1], VOLT_OK);
    assert_string_equal(mirror_path(f[0]), mirror_path(f[1]));
    assert_int_equal(calls(), 1);
    mirror_free(f[0]);
    mirror_free(f[1]);
}

static void a_fetch_can_be_given_up(void **state)
{
    CLEANUP(free)
    char *url = make_repo();
    commit_id id = commit_at("r", "HEAD");
    mirror_request request = {
        .work = "work", .name = "r", .source = url, .id = &id, .limit_ms = 600000
    };
    mirror_fetch *f;

    (void)state;
    run("touch hang");
    assert_int_equal(mirror_start(&request, &f, NULL), VOLT_OK);
    while (access("pid", F_OK) < 0) {
        struct pollfd p = { .fd = mirror_fd(f), .events = POLLIN };

        assert_int_equal(mirror_step(f, NULL), VOLT_EAGAIN);
        poll(&p, 1, 50);
    }
    run("while ! [ -s pid ]; do sleep 0.05; done");
    mirror_free(f);
    assert_process_gone();
}

static void a_workspace_comes_from_a_mirror(void **state)
{
    CLEANUP(free)
    char *url = make_repo();
    commit_id id = commit_at("r", "main~1");
    workspace *ws = workspace_open("ws");
    CLEANUP(free)
    char *text = NULL;
    volt_err err;
    char *path;

    (void)state;
    assert_int_equal(get(url, "refs/heads/main", &id, &path, NULL), VOLT_OK);
    if (workspace_move(ws, path, &id, NULL, &err))
        fail_msg("%s", err.msg);
    text = sh("cat ws/f; git -C ws describe; git -C ws log -1 --format=%s origin/main");
    assert_string_equal(text, "2\nv2\n3");
    free(path);
    workspace_free(ws);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fake_ssh_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        TEST(fetches_once_and_then_only_what_is_new),
        TEST(a_commit_whose_ref_is_gone_is_still_found),
        TEST(a_commit_no_branch_has_is_asked_for_by_its_id),
        TEST(what_is_wrong_is_told_apart),
        TEST(local_repositories_are_used_in_place),
        TEST(a_time_limit_ends_a_fetch_and_frees_the_lock),
        TEST(what_a_killed_fetch_left_is_cleared),
        TEST(of_two_at_once_one_fetches),
        TEST(a_fetch_can_be_given_up),
        TEST(a_workspace_comes_from_a_mirror),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
