/* Submodules against `git submodule update --init --recursive` in a fresh clone. */
#include "fake_ssh.h"

#include <poll.h>

#include "git/submodule.h"
#include "git/workspace.h"

/* Repositories lib (with a commit more than top names at first), deep, which is in lib, and top. */
static void make_story(void)
{
    run("mkdir work; export GIT_ALLOW_PROTOCOL=file;"
        "for r in deep lib top; do git init -q -b main $r; done;"
        "cd deep; echo deep > d; git add d; git commit -qm d; cd ../lib;"
        "git submodule -q add ../deep inner/deep; echo 1 > f; git add f; git commit -qm 1;"
        "cd ../top; git submodule -q add ../lib modules/lib; git submodule -q add ../deep second;"
        "echo top > t; git add t; git commit -qm 1; git tag first;"
        "cd ../lib; echo 2 > f; git mv inner moved; git commit -qam 2; cd ../top/modules/lib;"
        "git pull -q; cd ../..; git rm -q second; git add modules/lib; git commit -qm 2");
}

static volt_code bring(const char *store, const char *source, const commit_id *id, submodules **ret,
                       volt_err *err)
{
    const submodules_request request = {
        .work = "work", .store = store, .source = source, .id = id, .limit_ms = 60000
    };
    submodules *s = submodules_start(&request);
    volt_code code;

    while ((code = submodules_step(s, err)) == VOLT_EAGAIN) {
        struct pollfd p = { .fd = submodules_fd(s), .events = POLLIN };

        assert_true(p.fd >= 0);
        assert_int_equal(poll(&p, 1, 60000), 1);
    }
    if (code)
        submodules_free(s);
    else
        *ret = s;
    return code;
}

/* The error of a commit of "top" that comes from there; the caller frees it. */
static char *bring_in_vain(const char *source, const char *rev)
{
    commit_id id = commit_at("top", rev);
    submodules *s;
    volt_err err;

    if (bring("top", source, &id, &s, &err) == VOLT_OK)
        fail_msg("it came");
    return mem_strdup(err.msg);
}

static void move_with(workspace *ws, const char *rev, workspace_report *report)
{
    commit_id id = commit_at("top", rev);
    char here[PATH_SIZE];
    volt_err err;
    submodules *s;
    size_t n;

    assert_non_null(getcwd(here, sizeof here));
    strcat(here, "/top");
    if (bring("top", here, &id, &s, &err))
        fail_msg("%s", err.msg);
    {
        const workspace_part *parts = submodules_found(s, &n);

        if (workspace_move_all(ws, "top", &id, parts, n, report, &err))
            fail_msg("%s", err.msg);
    }
    submodules_free(s);
}

/* The same files, nothing beside them, and git has nothing to say against it. */
static void assert_same(const char *rev)
{
    free(shf("r=ref-%s; test -d $r || { git clone -q --no-checkout top $r; cd $r;"
             "git checkout -q %s 2>&1;"
             "git -c protocol.file.allow=always submodule -q update --init --recursive; cd ..; };"
             "diff -r -x .git ws $r; test -z \"$(git -C ws status --porcelain --ignored)\"",
             rev, rev));
}

static void they_are_checked_out_at_all_depths_and_move_with_the_commit(void **state)
{
    workspace *ws = workspace_open("ws");

    (void)state;
    make_story();
    move_with(ws, "first", NULL);
    assert_same("first");
    run("test $(cat ws/modules/lib/inner/deep/d) = deep; cd ws/modules/lib; git log -1 "
        "--format=%s");
    move_with(ws, "main", NULL);
    assert_same("main");
    run("test ! -e ws/second; test ! -e ws/modules/lib/inner");
    move_with(ws, "first", NULL);
    assert_same("first");
    workspace_free(ws);
}

static void what_a_task_did_in_them_is_made_good(void **state)
{
    workspace *ws = workspace_open("ws");

    (void)state;
    make_story();
    move_with(ws, "first", NULL);
    run("cd ws; echo x > modules/lib/f; touch modules/lib/new modules/lib/inner/deep/new;"
        "rm -r second; mkdir elsewhere; ln -s ../elsewhere second; rm -r modules/lib/.git/objects;"
        "mkdir modules/lib/.git/hooks; echo 'false' > modules/lib/.git/hooks/post-checkout");
    move_with(ws, "first", NULL);
    assert_same("first");
    run("cd ws; rm -r modules; echo x > modules");
    move_with(ws, "first", NULL);
    assert_same("first");
    workspace_free(ws);
    /* a handle that knows nothing, as after a restart */
    run("cd ws; echo y > modules/lib/inner/deep/d");
    ws = workspace_open("ws");
    move_with(ws, "first", NULL);
    assert_same("first");
    workspace_free(ws);
    run("test -z \"$(ls -d *.trash* 2>/dev/null)\"");
}

static void a_move_without_them_empties_their_places(void **state)
{
    workspace *ws = workspace_open("ws");
    commit_id id;
    volt_err err;

    (void)state;
    make_story();
    move_with(ws, "first", NULL);
    id = commit_at("top", "first");
    if (workspace_move(ws, "top", &id, NULL, &err))
        fail_msg("%s", err.msg);
    run("test -d ws/second; test -z \"$(ls -A ws/second)\"; test -z \"$(ls -A ws/modules/lib)\"");
    move_with(ws, "first", NULL);
    assert_same("first");
    workspace_free(ws);
}

/* Files that are good already are not written again. */
static void an_unchanged_one_is_left_as_it_is(void **state)
{
    workspace *ws = workspace_open("ws");

    (void)state;
    make_story();
    move_with(ws, "first", NULL);
    run("stat -c %i ws/second/d ws/modules/lib/inner/deep/d > before");
    move_with(ws, "first", NULL);
    run("stat -c %i ws/second/d ws/modules/lib/inner/deep/d | cmp - before");
    workspace_free(ws);
}

static void remote_ones_are_fetched_into_mirrors_once(void **state)
{
    CLEANUP(free)
    char *url = fake_url("host", "top");
    commit_id id;
    submodules *s;
    volt_err err;
    size_t n;

    (void)state;
    make_story();
    id = commit_at("top", "first");
    if (bring("top", url, &id, &s, &err))
        fail_msg("%s", err.msg);
    submodules_found(s, &n);
    assert_int_equal(n, 3);
    assert_true(strstr(submodules_found(s, &n)[0].source, "/work/mirrors/lib-") != NULL);
    submodules_free(s);
    run("test $(wc -l < calls) = 2; test $(ls -d work/mirrors/*.git | wc -l) = 2; rm calls");
    if (bring("top", url, &id, &s, &err))
        fail_msg("%s", err.msg);
    submodules_free(s);
    run("test ! -e calls");
}

static void one_that_cannot_be_reached_is_named_with_its_url(void **state)
{
    CLEANUP(free)
    char *url = fake_url("user:secret@host", "top");
    CLEANUP(free)
    char *said = NULL, *want = NULL, *gone = NULL;
    char here[PATH_SIZE];

    (void)state;
    make_story();
    run("touch refuse");
    said = bring_in_vain(url, "first");
    assert_non_null(getcwd(here, sizeof here));
    want = mem_printf("submodule 'modules/lib': fetch 'ssh://host%s/lib': "
                      "ssh: Could not resolve hostname x: Unknown",
                      here);
    assert_string_equal(said, want);
    run("rm refuse; rm -r deep");
    gone = bring_in_vain("/nowhere/top", "first");
    assert_string_equal(gone, "submodule 'modules/lib': repository '/nowhere/lib': No such file or "
                              "directory");
}

/* Commits of "top" with a submodule "m" of that URL; the caller frees what is said of it. */
static char *said_of(const char *modules, const char *source)
{
    free(shf("cd top; printf '%s' > .gitmodules; git add .gitmodules;"
             "git update-index --add --cacheinfo 160000,"
             "1234567890123456789012345678901234567890,m; git commit -qm m",
             modules));
    return bring_in_vain(source, "main");
}

static void assert_refused(const char *modules, const char *source, const char *want)
{
    CLEANUP(free)
    char *said = said_of(modules, source);

    assert_string_equal(said, want);
}

#define M "[submodule \"n\"]\\n\\tpath = m\\n\\turl = "

static void hostile_urls_are_refused(void **state)
{
    (void)state;
    run("mkdir work; git init -q -b main top");
    assert_refused(M "/etc\\n", "https://host/top",
                   "submodule 'm': '/etc' is on this machine, which only a repository on it may "
                   "name");
    assert_refused(M "file:///etc\\n", "host:top",
                   "submodule 'm': 'file:///etc' is on this machine, which only a repository on it "
                   "may name");
    assert_refused(
        M "ext::sh -c touch%%20evil\\n", "/top",
        "submodule 'm': 'ext::sh -c touch%20evil' names a remote helper; use https, ssh, "
        "git or file");
    assert_refused(M "-uevil:x\\n", "/top",
                   "submodule 'm': '-uevil:x' is not the URL of a repository");
    assert_refused(M "lib\\n", "/top",
                   "submodule 'm': 'lib' is neither a URL nor an absolute path");
    assert_refused(M "../../../x\\n", "host:a",
                   "submodule 'm': '../../../x' leads out of 'host:a'");
    assert_refused("[submodule \"n\"]\\n\\tpath = other\\n\\turl = ../m\\n", "/top",
                   "submodule 'm': has no URL in .gitmodules");
    assert_refused("", "/top", "submodule 'm': has no URL in .gitmodules");
    run("test ! -e evil");
}

static void a_broken_gitmodules_is_an_error(void **state)
{
    CLEANUP(free)
    char *said = NULL;

    (void)state;
    run("mkdir work; git init -q -b main top");
    said = said_of("[submodule \"n\"\\n", "/top");
    if (!strstr(said, "read '.gitmodules': bad config line 2"))
        fail_msg("%s", said);
}

static void one_that_is_not_to_be_updated_is_left_out(void **state)
{
    commit_id id;
    submodules *s;
    size_t n;

    (void)state;
    run("mkdir work; git init -q -b main top");
    free(said_of(M "../none\\n", "/top"));
    run("cd top; git config -f .gitmodules submodule.n.update none; git commit -qam none");
    id = commit_at("top", "main");
    assert_int_equal(bring("top", "/top", &id, &s, NULL), VOLT_OK);
    submodules_found(s, &n);
    assert_int_equal(n, 0);
    submodules_free(s);
}

static void relative_urls_are_as_git_has_them(void **state)
{
    static const char *const cases[][3] = {
        { "https://h/a/b.git", "../c.git", "https://h/a/c.git" },
        { "https://h/a/b.git/", "../c", "https://h/a/c" },
        { "https://h/a/b", "./c", "https://h/a/b/c" },
        { "https://h/a/b", "../../c/", "https://h/c" },
        { "git@h:a/b.git", "../c", "git@h:a/c" },
        { "git@h:b.git", "../c", "git@h:c" },
        { "git@h:a/b", "../../c", "git@h:c" },
        { "/srv/a", "../c", "/srv/c" },
        { "file:///srv/a", "../c", "file:///srv/c" },
        { "/srv/a", "https://h/x", "https://h/x" },
        { "/srv/a", "/else/c", "/else/c" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *got;
        volt_err err;

        if (submodule_url(cases[i][0], cases[i][1], &got, &err))
            fail_msg("%s", err.msg);
        assert_string_equal(got, cases[i][2]);
        free(got);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fake_ssh_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(they_are_checked_out_at_all_depths_and_move_with_the_commit),
        TEST(what_a_task_did_in_them_is_made_good),
        TEST(a_move_without_them_empties_their_places),
        TEST(an_unchanged_one_is_left_as_it_is),
        TEST(remote_ones_are_fetched_into_mirrors_once),
        TEST(one_that_cannot_be_reached_is_named_with_its_url),
        TEST(hostile_urls_are_refused),
        TEST(a_broken_gitmodules_is_an_error),
        TEST(one_that_is_not_to_be_updated_is_left_out),
        TEST(relative_urls_are_as_git_has_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
