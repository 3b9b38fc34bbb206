#include "fake_ssh.h"

#include <poll.h>

#include "git/child.h"
#include "git/remote.h"

static void tells_urls_from_paths(void **state)
{
    static const struct {
        const char *text, *name, *local;
        bool url;
    } cases[] = {
        { "https://host/x/y.git", "y", NULL, true },
        { "https://host/x/y.git/", "y", NULL, true },
        { "git@host:y.git", "y", NULL, true },
        { "host:dir/y", "y", NULL, true },
        { "ssh://git@host:22/y", "y", NULL, true },
        { "file:///srv/a%20b.git", "a%20b", "/srv/a b.git", true },
        { "file://localhost/srv/y", "y", "/srv/y", true },
        { "file://other/srv/y", "y", NULL, true },
        { "/srv/y.git", "y", "/srv/y.git", false },
        { "../y", "y", "../y", false },
        { "./a:b", "b", "./a:b", false },
        { "/home/me/y/.git", "y", "/home/me/y/.git", false },
        { "y/", "y", "y/", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(free)
        char *name = remote_name(cases[i].text);
        CLEANUP(free)
        char *local = remote_local_path(cases[i].text);

        assert_int_equal(remote_is_url(cases[i].text), cases[i].url);
        assert_string_equal(name, cases[i].name);
        assert_string_equal(local ? local : "-", cases[i].local ? cases[i].local : "-");
    }
}

static void shows_no_credentials(void **state)
{
    static const char *const cases[][2] = {
        { "https://me:secret@host/x", "https://host/x" },
        { "https://token@host/x", "https://host/x" },
        { "https://me:se@cret@host/x", "https://host/x" },
        { "ssh://git@host/x", "ssh://git@host/x" },
        { "ssh://git:secret@host/x", "ssh://host/x" },
        { "fatal: 'https://a:b@h/x' and http://c:d@e", "fatal: 'https://h/x' and http://e" },
        { "https://host/a@b", "https://host/a@b" },
        { "git@host:x", "git@host:x" },
        { "", "" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(free)
        char *shown = remote_show(cases[i][0]);

        assert_string_equal(shown, cases[i][1]);
    }
}

static void refuses_what_is_no_url(void **state)
{
    static const char *const bad[] = { "/path",         "-x:y",   "--upload-pack=touch x:y",
                                       "ext::sh -c id", "a\nb:c", "" };
    char longest[REMOTE_URL_MAX + 1];
    volt_err err;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(remote_check(bad[i], &err), VOLT_EINVALID);
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "https://", 8);
    longest[REMOTE_URL_MAX] = '\0';
    assert_int_equal(remote_check(longest, &err), VOLT_EINVALID);
    assert_int_equal(remote_check("https://host/x", NULL), VOLT_OK);
}

static void make_repo(void)
{
    run("git init -q -b trunk r; cd r; git commit -q --allow-empty -m one; git branch a/b;"
        "git tag -a -m x heavy; git tag light; git update-ref refs/pull/1/head HEAD");
}

static volt_code ask(const char *host, const char *const *globs, size_t n, bool head,
                     remote_answer *ret, volt_err *err)
{
    CLEANUP(free)
    char *url = fake_url(host, "r");

    return remote_list(url, globs, n, head, 60000, ret, err);
}

static void assert_answer(const char *const *globs, size_t n, bool head, const char *expected)
{
    commit_id id = commit_at("r", "HEAD");
    CLEANUP(buf)
    buf text = { 0 };
    remote_answer answer;
    volt_err err;

    if (ask("host", globs, n, head, &answer, &err))
        fail_msg("%s", err.msg);
    if (head)
        assert_string_equal(answer.head.hex, id.hex);
    buf_addf(&text, "%s:", answer.default_branch ? answer.default_branch : "");
    for (size_t i = 0; i < answer.refs.n; i++) {
        buf_addf(&text, " %s", answer.refs.v[i].name);
        assert_string_equal(answer.refs.v[i].id.hex, id.hex);
    }
    assert_string_equal(text.p, expected);
    remote_answer_free(&answer);
}

static void lists_a_remote(void **state)
{
    (void)state;
    make_repo();
    assert_answer(NULL, 0, false, ": refs/heads/a/b refs/heads/trunk");
    assert_answer(NULL, 0, true, "refs/heads/trunk: refs/heads/a/b refs/heads/trunk");
    assert_answer((const char *const[]){ "t*" }, 1, false, ": refs/heads/trunk");
    assert_answer((const char *const[]){ "refs/tags/*" }, 1, false,
                  ": refs/tags/heavy refs/tags/light");
    assert_answer((const char *const[]){ "refs/pull/**" }, 1, true,
                  "refs/heads/trunk: refs/pull/1/head");
    run("cd r; git checkout -q --detach");
    assert_answer(NULL, 0, true, ": refs/heads/a/b refs/heads/trunk");
}

static void says_what_is_wrong(void **state)
{
    CLEANUP(free)
    char *text = NULL;
    remote_answer answer;
    volt_err err;

    (void)state;
    assert_int_equal(ask("host", NULL, 0, false, &answer, &err), VOLT_EINVALID);
    assert_non_null(strstr(err.msg, "does not appear to be a git repository"));
    assert_non_null(strstr(err.msg, "repository 'ssh://host/tmp/"));
    run("touch refuse");
    assert_int_equal(ask("host", NULL, 0, false, &answer, &err), VOLT_EUNREACHABLE);
    assert_non_null(strstr(err.msg, "Could not resolve hostname"));
    assert_int_equal(
        remote_list("https://me:secret@127.0.0.1:1/x", NULL, 0, false, 60000, &answer, &err),
        VOLT_EUNREACHABLE);
    assert_null(strstr(err.msg, "secret"));
    assert_null(strstr(err.msg, " ms")); /* how long it took differs each time */
    assert_non_null(strstr(err.msg, "https://127.0.0.1:1/x"));
}

static void one_that_hangs_holds_up_no_other(void **state)
{
    CLEANUP(free)
    char *slow_url = fake_url("slow", "r");
    CLEANUP(free)
    char *quick_url = fake_url("quick", "r");
    remote_query *slow, *quick;
    remote_answer answer;
    struct pollfd p = { .events = POLLIN };
    volt_code code;
    volt_err err;

    (void)state;
    make_repo();
    run("touch hang");
    assert_int_equal(remote_start(slow_url, NULL, 0, false, 600000, &slow, NULL), VOLT_OK);
    assert_int_equal(remote_start(quick_url, NULL, 0, false, 600000, &quick, NULL), VOLT_OK);
    p.fd = remote_fd(quick);
    while ((code = remote_step(quick, &answer, &err)) == VOLT_EAGAIN)
        poll(&p, 1, -1);
    assert_int_equal(code, VOLT_OK);
    assert_int_equal(answer.refs.n, 2);
    remote_answer_free(&answer);
    assert_int_equal(remote_step(slow, &answer, &err), VOLT_EAGAIN);
    remote_free(quick);
    run("while ! [ -s pid ]; do sleep 0.05; done");
    remote_free(slow);
    assert_process_gone();
}

static void a_time_limit_ends_all_of_it(void **state)
{
    CLEANUP(free)
    char *url = fake_url("slow", "r");
    remote_answer answer;
    volt_err err;

    (void)state;
    run("touch hang");
    assert_int_equal(remote_list(url, NULL, 0, false, 1500, &answer, &err), VOLT_ETIMEOUT);
    assert_non_null(strstr(err.msg, "no answer within 2 s"));
    assert_process_gone();
}

static void a_process_left_with_the_streams_is_not_waited_for(void **state)
{
    (void)state;
    make_repo();
    run("touch master");
    assert_answer(NULL, 0, false, ": refs/heads/a/b refs/heads/trunk");
    run("kill $(cat pid) 2>/dev/null || true");
}

static void the_environment_is_scrubbed(void **state)
{
    CLEANUP(free)
    char *env = NULL;

    (void)state;
    make_repo();
    setenv("SECRET_THING", "x", 1);
    setenv("GIT_INDEX_FILE", "x", 1);
    setenv("SSH_AUTH_SOCK", "/agent", 1);
    setenv("https_proxy", "http://proxy", 1);
    assert_answer(NULL, 0, false, ": refs/heads/a/b refs/heads/trunk");
    unsetenv("SECRET_THING");
    unsetenv("GIT_INDEX_FILE");
    env = sh("cat env");
    assert_null(strstr(env, "SECRET_THING"));
    assert_null(strstr(env, "GIT_INDEX_FILE"));
    assert_non_null(strstr(env, "SSH_AUTH_SOCK=/agent"));
    assert_non_null(strstr(env, "https_proxy=http://proxy"));
    assert_non_null(strstr(env, "GIT_TERMINAL_PROMPT=0"));
    assert_non_null(strstr(env, "HOME=/tmp/volt-git-test"));
}

static void a_command_is_bounded_in_what_it_writes(void **state)
{
    child_options options = { .limit_ms = 60000, .output_max = 100000 };
    child *c;
    volt_err err;

    (void)state;
    run("git init -q r; cd r; head -c 300000 /dev/zero > f; git add f; git commit -qm one");
    options.git_dir = "r/.git";
    {
        CLEANUP(free)
        char *git_dir = sh("echo $PWD/r/.git");
        const char *args[] = { "cat-file", "blob", "HEAD:f", NULL };

        options.git_dir = git_dir;
        assert_int_equal(child_start(args, &options, &c, &err), VOLT_OK);
        assert_int_equal(child_wait(c, &err), VOLT_EFULL);
        child_free(c);
        options.output_max = 400000;
        assert_int_equal(child_start(args, &options, &c, &err), VOLT_OK);
        assert_int_equal(child_wait(c, &err), VOLT_OK);
        assert_int_equal(child_output(c).n, 300000);
        child_free(c);
    }
}

static void a_missing_git_is_said(void **state)
{
    child_options options = { .limit_ms = 60000 };
    char *path = mem_strdup(getenv("PATH"));
    volt_err err;
    child *c;

    (void)state;
    setenv("PATH", "/nowhere", 1);
    assert_int_equal(child_start((const char *const[]){ "version", NULL }, &options, &c, &err),
                     VOLT_ENOTFOUND);
    assert_non_null(strstr(err.msg, "no git command"));
    setenv("PATH", path, 1);
    free(path);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fake_ssh_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        TEST(tells_urls_from_paths),       TEST(shows_no_credentials),
        TEST(refuses_what_is_no_url),      TEST(lists_a_remote),
        TEST(says_what_is_wrong),          TEST(one_that_hangs_holds_up_no_other),
        TEST(a_time_limit_ends_all_of_it), TEST(a_process_left_with_the_streams_is_not_waited_for),
        TEST(the_environment_is_scrubbed), TEST(a_command_is_bounded_in_what_it_writes),
        TEST(a_missing_git_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
