#include "scratch.h"

#include <signal.h>

#include "git/refs.h"

/* libgit2 1.5 loses memory when it opens a repository with extensions; seen once a handle. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libpcre2";
}

static refs *must_open(const char *path)
{
    refs *r;
    volt_err err;

    if (refs_open(path, &r, &err))
        fail_msg("%s", err.msg);
    return r;
}

/* The names, with a space behind each. */
static char *names(refs *r, const char *const *globs, size_t n)
{
    ref_list list = { 0 };
    buf text = { 0 };

    assert_int_equal(refs_list(r, globs, n, &list, NULL), VOLT_OK);
    for (size_t i = 0; i < list.n; i++)
        buf_addf(&text, "%s ", list.v[i].name);
    ref_list_free(&list);
    return text.p ? text.p : mem_strdup("");
}

static void assert_names(refs *r, const char *const *globs, size_t n, const char *expected)
{
    CLEANUP(free)
    char *is = names(r, globs, n);

    assert_string_equal(is, expected);
}

static commit_id tip(refs *r, const char *name)
{
    ref_list list = { 0 };
    commit_id id;

    assert_int_equal(refs_list(r, (const char *const[]){ "refs/**" }, 1, &list, NULL), VOLT_OK);
    assert_non_null(ref_list_find(&list, name));
    id = ref_list_find(&list, name)->id;
    ref_list_free(&list);
    return id;
}

static void make_repo(void)
{
    run("git init -q -b main r; cd r; echo 1 > f; git add f; git commit -qm 'first of all'");
}

static void lists_branches_that_fit(void **state)
{
    refs *r;

    (void)state;
    make_repo();
    run("cd r; git branch b; git branch a/b; git branch release/1; git branch release/2/x;"
        "git tag light; git tag -a -m x heavy; git update-ref refs/pull/1/head HEAD;"
        "git symbolic-ref refs/heads/alias refs/heads/b; echo garbage > .git/refs/heads/broken;"
        "git symbolic-ref refs/heads/dangling refs/heads/none; touch .git/refs/heads/x.lock");
    r = must_open("r");
    assert_names(r, NULL, 0,
                 "refs/heads/a/b refs/heads/alias refs/heads/b refs/heads/main "
                 "refs/heads/release/1 refs/heads/release/2/x ");
    assert_names(r, (const char *const[]){ "release/*", "main" }, 2,
                 "refs/heads/main refs/heads/release/1 ");
    assert_names(r, (const char *const[]){ "**/x", "refs/tags/*" }, 2,
                 "refs/heads/release/2/x refs/tags/heavy refs/tags/light ");
    assert_names(r, (const char *const[]){ "refs/pull/**" }, 1, "refs/pull/1/head ");
    assert_names(r, (const char *const[]){ "none" }, 1, "");
    refs_free(r);
}

static void sees_what_other_processes_move(void **state)
{
    commit_id first, second;
    refs *r;

    (void)state;
    make_repo();
    r = must_open("r");
    first = tip(r, "refs/heads/main");
    run("cd r; git commit -q --allow-empty -m two; git branch topic");
    second = commit_at("r", "main");
    assert_false(commit_id_eq(&first, &second));
    for (int i = 0; i < 3; i++) {
        commit_id is = tip(r, "refs/heads/main");

        assert_string_equal(is.hex, second.hex);
        assert_names(r, NULL, 0, "refs/heads/main refs/heads/topic ");
        run(i == 0 ? "cd r; git pack-refs --all" : "cd r; git gc -q --prune=now");
    }
    run("cd r; git update-ref refs/heads/main HEAD~1; git branch -qD topic");
    assert_names(r, NULL, 0, "refs/heads/main ");
    second = tip(r, "refs/heads/main");
    assert_string_equal(second.hex, first.hex);
    refs_free(r);
}

static void misses_no_ref_while_they_are_packed(void **state)
{
    CLEANUP(free)
    char *pid = NULL;
    refs *r;

    (void)state;
    make_repo();
    run("cd r; for i in 1 2 3 4 5; do git branch b$i; done");
    r = must_open("r");
    pid = sh("(cd r; i=0; while [ $((i += 1)) -lt 60 ] && [ -d .git ]; do for b in 1 2 3 4 5; do"
             " git branch -f b$b main; done; git pack-refs --all; done) >/dev/null 2>&1 & echo $!");
    while (kill((pid_t)strtol(pid, NULL, 10), 0) == 0) {
        CLEANUP(free)
        char *is = names(r, NULL, 0);

        assert_string_equal(is, "refs/heads/b1 refs/heads/b2 refs/heads/b3 refs/heads/b4 "
                                "refs/heads/b5 refs/heads/main ");
    }
    refs_free(r);
}

static void a_tag_leads_to_its_commit(void **state)
{
    commit_id main_id, tag_id;
    refs *r;

    (void)state;
    make_repo();
    run("cd r; git tag -a -m x heavy; git tag -a -m y heavier heavy; git tag tree HEAD^{tree}");
    r = must_open("r");
    main_id = commit_at("r", "main");
    tag_id = tip(r, "refs/tags/heavier");
    assert_string_equal(tag_id.hex, main_id.hex);
    assert_names(r, (const char *const[]){ "refs/tags/*" }, 1,
                 "refs/tags/heavier refs/tags/heavy ");
    run("cd r; git pack-refs --all");
    tag_id = tip(r, "refs/tags/heavier");
    assert_string_equal(tag_id.hex, main_id.hex);
    refs_free(r);
}

static void repositories_are_of_every_kind(void **state)
{
    static const char *const paths[] = { "r",        "r/",     "r/.git",      "symlinked",
                                         "bare.git", "linked", "super/module" };
    commit_id id;

    (void)state;
    make_repo();
    run("git clone -q --bare r bare.git; git -C bare.git config core.repositoryformatversion 1;"
        "git -C bare.git config extensions.worktreeConfig true; ln -s r/.git symlinked; git -C r "
        "worktree add -q -b wt ../linked 2>/dev/null;"
        "git init -q super; cd super; git -c protocol.file.allow=always submodule --quiet add"
        " ../r module 2>/dev/null");
    id = commit_at("r", "HEAD");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        refs *r = must_open(paths[i]);
        commit_id is;

        is = tip(r, "refs/heads/main");
        assert_string_equal(is.hex, id.hex);
        assert_int_equal(refs_head(r, &is, NULL), VOLT_OK);
        assert_string_equal(is.hex, id.hex);
        refs_free(r);
    }
}

static void the_default_branch_is_what_head_names(void **state)
{
    char *name;
    commit_id id;
    volt_err err;
    refs *r;

    (void)state;
    run("git init -q -b trunk r");
    r = must_open("r");
    assert_int_equal(refs_default_branch(r, &name, NULL), VOLT_OK);
    assert_string_equal(name, "refs/heads/trunk");
    free(name);
    assert_int_equal(refs_head(r, &id, &err), VOLT_ENOTFOUND);
    assert_non_null(strstr(err.msg, "names no commit"));
    assert_names(r, NULL, 0, "");
    run("cd r; git commit -q --allow-empty -m one; git checkout -q --detach");
    assert_int_equal(refs_default_branch(r, &name, NULL), VOLT_ENOTFOUND);
    assert_int_equal(refs_head(r, &id, NULL), VOLT_OK);
    refs_free(r);
}

static void what_is_no_repository_is_named(void **state)
{
    volt_err err;
    ref_list list = { 0 };
    refs *r;

    (void)state;
    run("mkdir plain; echo > file; git init -q --object-format=sha256 new; mkdir -p r/in");
    assert_int_equal(refs_open("none", &r, &err), VOLT_ENOTFOUND);
    assert_string_equal(err.msg, "repository 'none': No such file or directory");
    assert_int_equal(refs_open("plain", &r, &err), VOLT_EINVALID);
    assert_string_equal(err.msg, "'plain' is not a git repository");
    assert_int_equal(refs_open("file", &r, &err), VOLT_EINVALID);
    assert_int_equal(refs_open("new", &r, &err), VOLT_EINVALID);
    assert_non_null(strstr(err.msg, "objectformat = sha256, which is not supported"));
    make_repo();
    assert_int_equal(refs_open("r/in", &r, &err), VOLT_EINVALID); /* no search upwards */
    r = must_open("r");
    run("mv r gone");
    assert_int_equal(refs_list(r, NULL, 0, &list, &err), VOLT_ENOTFOUND);
    assert_string_equal(err.msg, "repository 'r' is gone");
    run("mv gone r");
    assert_names(r, NULL, 0, "refs/heads/main ");
    refs_free(r);
}

static void tells_about_a_commit(void **state)
{
    commit_note note;
    commit_id id = { "1234567890123456789012345678901234567890" };
    volt_err err;
    refs *r;

    (void)state;
    make_repo();
    run("cd r; git update-ref HEAD $(printf 'tree %s\\nparent %s\\nauthor Ada <a@b> 1 +0000\\n"
        "committer Bob <b@c> 1700000000 +0200\\n\\nÜnï\\xff broken\\n\\nbody\\n'"
        " $(git rev-parse HEAD^{tree} HEAD) | git hash-object -t commit -w --stdin)");
    r = must_open("r");
    assert_int_equal(refs_commit(r, &id, &note, &err), VOLT_ENOTFOUND);
    id = commit_at("r", "HEAD");
    assert_int_equal(refs_commit(r, &id, &note, &err), VOLT_OK);
    assert_string_equal(note.subject, "Ünï? broken");
    assert_string_equal(note.author, "Ada");
    assert_int_equal(note.time_ms, 1700000000000);
    assert_int_equal(note.parents, 1);
    run("cd r; git commit -q --allow-empty -m \"$(printf 'ü%.0s' {1..200})\"");
    id = commit_at("r", "HEAD");
    assert_int_equal(refs_commit(r, &id, &note, &err), VOLT_OK);
    assert_int_equal(strlen(note.subject), REFS_SUBJECT_MAX - 2);
    memset(id.hex, 'a', 64);
    id.hex[64] = '\0';
    assert_int_equal(refs_commit(r, &id, &note, &err), VOLT_EINVALID);
    assert_non_null(strstr(err.msg, "SHA-256"));
    refs_free(r);
}

static void resolves_what_people_type(void **state)
{
    commit_id id, is;
    volt_err err;
    refs *r;

    (void)state;
    make_repo();
    run("cd r; git tag -a -m x v1; git commit -q --allow-empty -m two");
    r = must_open("r");
    id = commit_at("r", "HEAD~1");
    assert_int_equal(refs_resolve(r, "v1", &is, NULL), VOLT_OK);
    assert_string_equal(is.hex, id.hex);
    assert_int_equal(refs_resolve(r, "main~1", &is, NULL), VOLT_OK);
    assert_string_equal(is.hex, id.hex);
    id.hex[8] = '\0';
    assert_int_equal(refs_resolve(r, id.hex, &is, NULL), VOLT_OK);
    assert_int_equal(refs_resolve(r, "nothing", &is, &err), VOLT_ENOTFOUND);
    assert_int_equal(refs_resolve(r, "HEAD^{tree}", &is, &err), VOLT_EINVALID);
    refs_free(r);
}

/* Subjects of the commits between two revisions; "+" in front when there were more. */
static char *between(refs *r, const char *from, const char *base, const char *to, size_t max,
                     bool first_parent)
{
    commit_id ids[3];
    const char *revs[3] = { from, base, to };
    commit_range range = { .max = max, .first_parent = first_parent };
    commit_list list;
    buf text = { 0 };
    volt_err err;

    for (int i = 0; i < 3; i++)
        if (revs[i])
            ids[i] = strlen(revs[i]) == 40 ? *(commit_id *)memcpy(ids[i].hex, revs[i], 41)
                                           : commit_at("r", revs[i]);
    range.from = from ? &ids[0] : NULL;
    range.base = base ? &ids[1] : NULL;
    range.to = &ids[2];
    if (refs_between(r, &range, &list, &err))
        fail_msg("%s", err.msg);
    buf_adds(&text, list.cut ? "+" : "");
    for (size_t i = 0; i < list.n; i++) {
        commit_note note;

        assert_int_equal(refs_commit(r, &list.v[i], &note, NULL), VOLT_OK);
        buf_addf(&text, "%s ", note.subject);
    }
    free(list.v);
    return text.p;
}

static void assert_between(refs *r, const char *from, const char *base, const char *to,
                           const char *expected)
{
    CLEANUP(free)
    char *is = between(r, from, base, to, 100, false);

    assert_string_equal(is, expected);
}

static void commits_between_tips_come_oldest_first(void **state)
{
    static const char gone[] = "1234567890123456789012345678901234567890";
    CLEANUP(free)
    char *text = NULL;
    CLEANUP(free)
    char *merged = NULL;
    refs *r;

    (void)state;
    run("git init -q -b main r; cd r; c() { GIT_COMMITTER_DATE=\"@$((1700000000 + ${1#?})) +0\""
        " git commit -q --allow-empty -m $1; git tag $1; };"
        "c m1; c m2; c m3; c m4; git checkout -qb topic m2; c t5; c t6; git checkout -q main; c m7;"
        "GIT_COMMITTER_DATE='@1700000008 +0' git merge -q --no-ff -m m8 topic; git tag m8;"
        "git checkout -qb forced m2; c f9; git checkout -q --orphan alone; c o10; c o11");
    r = must_open("r");
    assert_between(r, "m1", NULL, "m4", "m2 m3 m4 ");
    assert_between(r, "m4", NULL, "m4", "");
    assert_between(r, "m4", NULL, "m2", "");          /* set back */
    assert_between(r, "m4", NULL, "f9", "f9 ");       /* force push */
    assert_between(r, "m7", NULL, "m8", "t5 t6 m8 "); /* a merge */
    assert_between(r, NULL, "m4", "t6", "t5 t6 ");    /* a new branch */
    assert_between(r, NULL, "m4", "m2", "m2 ");       /* one at a known commit */
    assert_between(r, NULL, NULL, "m3", "m1 m2 m3 "); /* nothing known */
    assert_between(r, NULL, "m4", "o11", "o10 o11 "); /* another history */
    assert_between(r, gone, "m4", "t6", "t5 t6 ");    /* the last one was collected */
    assert_between(r, "o10", "m4", "m2", "m1 m2 ");
    text = between(r, "m1", NULL, "m4", 2, false);
    assert_string_equal(text, "+m3 m4 ");
    merged = between(r, "m7", NULL, "m8", 100, true);
    assert_string_equal(merged, "m8 ");
    refs_free(r);
}

static void an_unknown_tip_is_named(void **state)
{
    commit_id id = { "1234567890123456789012345678901234567890" };
    commit_range range = { .to = &id, .max = 1 };
    commit_list list;
    volt_err err;
    refs *r;

    (void)state;
    make_repo();
    r = must_open("r");
    assert_int_equal(refs_between(r, &range, &list, &err), VOLT_ENOTFOUND);
    assert_non_null(strstr(err.msg, id.hex));
    refs_free(r);
}

static bool has_dir(char **dirs, const char *end)
{
    for (; *dirs; dirs++)
        if (slice_ends(slice_of(*dirs), slice_of(end)))
            return true;
    return false;
}

static void names_the_directories_to_watch(void **state)
{
    char **dirs;
    refs *r;

    (void)state;
    make_repo();
    run("git -C r branch a/b/c; git -C r worktree add -q -b wt ../linked 2>/dev/null");
    r = must_open("r");
    assert_int_equal(refs_watch_dirs(r, &dirs, NULL), VOLT_OK);
    assert_true(has_dir(dirs, "/r/.git") && has_dir(dirs, "/r/.git/refs") &&
                has_dir(dirs, "/r/.git/refs/heads") && has_dir(dirs, "/r/.git/refs/heads/a/b"));
    refs_watch_dirs_free(dirs);
    refs_free(r);
    r = must_open("linked");
    assert_int_equal(refs_watch_dirs(r, &dirs, NULL), VOLT_OK);
    assert_true(has_dir(dirs, "/r/.git/worktrees/linked") && has_dir(dirs, "/r/.git") &&
                has_dir(dirs, "/r/.git/refs/heads/a/b"));
    refs_watch_dirs_free(dirs);
    refs_free(r);
}

static void a_repository_with_very_many_directories_is_bounded(void **state)
{
    char **dirs;
    size_t n = 0;
    refs *r;

    (void)state;
    make_repo();
    run("cd r/.git/refs/heads; mkdir d{1..1500}");
    r = must_open("r");
    assert_int_equal(refs_watch_dirs(r, &dirs, NULL), VOLT_OK);
    while (dirs[n])
        n++;
    assert_int_equal(n, REFS_WATCH_MAX);
    refs_watch_dirs_free(dirs);
    refs_free(r);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        TEST(lists_branches_that_fit),
        TEST(sees_what_other_processes_move),
        TEST(misses_no_ref_while_they_are_packed),
        TEST(a_tag_leads_to_its_commit),
        TEST(repositories_are_of_every_kind),
        TEST(the_default_branch_is_what_head_names),
        TEST(what_is_no_repository_is_named),
        TEST(tells_about_a_commit),
        TEST(resolves_what_people_type),
        TEST(commits_between_tips_come_oldest_first),
        TEST(an_unknown_tip_is_named),
        TEST(names_the_directories_to_watch),
        TEST(a_repository_with_very_many_directories_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
