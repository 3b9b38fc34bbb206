/* What tasks leave behind, and trees made by hand to reach out of a workspace. */
#include "scratch.h"

#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include "git/workspace.h"

typedef struct fixture {
    workspace *ws;
    commit_id one, two;
    char *one_is, *two_is;
} fixture;

static void setup(fixture *f)
{
    run("git init -q -b main src; cd src; mkdir -p dir/sub; echo aaaa > file; echo bbbb > dir/f;"
        "echo cccc > dir/sub/f; echo run > run; chmod +x run; ln -s file link;"
        "echo '*.o' > .gitignore; printf 'x\\n' > win.txt; echo '*.txt eol=crlf' > .gitattributes;"
        "git add .; git commit -qm one;"
        "echo 2 > dir/f; echo new > dir/new; git add .; git commit -qm two;"
        "mkdir ../out; echo precious > ../out/f; echo precious > ../out/file; mkdir ../out/sub;"
        "echo precious > ../out/sub/f");
    f->one = commit_at("src", "HEAD~1");
    f->two = commit_at("src", "HEAD");
    f->ws = workspace_open("ws");
    assert_int_equal(workspace_move(f->ws, "src", &f->two, NULL, NULL), VOLT_OK);
    f->two_is = picture("ws");
    assert_int_equal(workspace_move(f->ws, "src", &f->one, NULL, NULL), VOLT_OK);
    f->one_is = picture("ws");
    free(
        shf("git clone -q --no-checkout src ref 2>&1; git -C ref checkout -q %s 2>&1", f->one.hex));
    {
        CLEANUP(free)
        char *ref = picture("ref");

        assert_string_equal(ref, f->one_is);
    }
}

static void teardown(fixture *f)
{
    workspace_free(f->ws);
    free(f->one_is);
    free(f->two_is);
}

static void assert_good(const fixture *f, const commit_id *id, const char *expected)
{
    CLEANUP(free)
    char *is = picture("ws");
    CLEANUP(free)
    char *said =
        sh("cat out/f out/file out/sub/f; ls out | wc -l; git -C ws log -1 --format=%H HEAD;"
           "git -C ws status --porcelain --ignored; find ws/.git | sort; cat ws/.git/config");
    CLEANUP(free)
    char *clean = NULL;
    static const char git_dir[] =
        "ws/.git\nws/.git/HEAD\nws/.git/config\nws/.git/index\nws/.git/objects\n"
        "ws/.git/objects/info\nws/.git/objects/info/alternates\nws/.git/packed-refs\nws/.git/refs\n"
        "[core]\n\trepositoryformatversion = 0\n";

    (void)f;
    assert_string_equal(is, expected);
    clean = mem_printf("precious\nprecious\nprecious\n3\n%s\n%s", id->hex, git_dir);
    if (strncmp(said, clean, strlen(clean)) != 0)
        assert_string_equal(said, clean);
}

static void must_move(const fixture *f, const commit_id *id, workspace_report *report)
{
    volt_err err;

    if (workspace_move(f->ws, "src", id, report, &err))
        fail_msg("%s", err.msg);
}

/* Lets a task do something, then goes to the same commit and to another. */
static void task_does(const fixture *f, const char *script)
{
    run(script);
    must_move(f, &f->one, NULL);
    assert_good(f, &f->one, f->one_is);
    must_move(f, &f->two, NULL);
    run(script);
    must_move(f, &f->one, NULL);
    assert_good(f, &f->one, f->one_is);
}

static const char *const deeds[] = {
    "echo changed > ws/file",
    "touch -r ws/file t; echo AAAA > ws/file; touch -r t ws/file", /* same size and mtime */
    "touch -r ws/dir/sub/f t; printf CCCC | dd of=ws/dir/sub/f conv=notrunc status=none;"
    "touch -r t ws/dir/sub/f",
    "touch -r ws/file t; cp -p ws/file c; echo AAAA > c; touch -r t c; mv c ws/file",
    "sed -i 's/\\r//' ws/win.txt",
    "rm -r ws/dir ws/link ws/run",
    "find ws -mindepth 1 -delete",
    "rm ws/file; mkdir -p ws/file/a/b; echo > ws/file/a/b/c",
    "rm ws/file; ln -s ../out/file ws/file",
    "rm ws/link; echo > ws/link",
    "ln -sfn run ws/link",
    "rm -r ws/dir; ln -s ../out ws/dir",
    "rm -r ws/dir/sub; ln -s ../../out/sub ws/dir/sub",
    "ln -s ../out ws/untracked",
    "rm -r ws/dir; echo > ws/dir",
    "rm ws/file; mkfifo ws/file ws/pipe",
    "echo > ws/untracked; echo > ws/x.o; mkdir -p ws/empty/er ws/dir/e; echo > ws/dir/sub/y.o",
    "touch ws/$'\\n' ws/-rf ws/$'\\xff' ws/' '",
    "mkdir ws/nested; cd ws/nested; git init -q; echo 1 > f; git add f; git commit -qm n",
    "cd ws/dir; git init -q; git add .; git commit -qm n",
    "chmod 777 ws/file; chmod 600 ws/dir/f; chmod -x ws/run; chmod 700 ws/dir",
    "chmod 000 ws/file; mkdir -p ws/closed/a; echo > ws/closed/a/b; chmod 000 ws/closed/a "
    "ws/closed",
    "chmod 555 ws/dir/sub ws/dir; chmod 000 ws/dir/sub",
    "chmod 000 ws",
    "chmod u+s,g+s ws/run; chmod +t ws/dir",
    "cd ws; git checkout -qb mine; echo 1 > m; git add m; git commit -qm m; git tag mine",
    "cd ws; git stash list; echo 1 > m; git add m; git stash -q; git reset -q --soft HEAD; git gc "
    "-q",
    "cd ws; git config core.autocrlf true; git config core.fsmonitor 'touch ../out/evil';"
    "git config core.hooksPath ../out; git config include.path /dev/null",
    "cd ws; mkdir -p .git/hooks; printf '#!/bin/sh\\ntouch ../out/evil\\n' > "
    ".git/hooks/post-checkout;"
    "chmod +x .git/hooks/post-checkout; cp .git/hooks/post-checkout "
    ".git/hooks/reference-transaction",
    "cd ws/.git; mkdir -p info; echo '*' > info/exclude; echo '* eol=crlf' > info/attributes",
    "cd ws; git update-index --assume-unchanged file; echo x > file",
    "cd ws; git update-index --skip-worktree file; rm file",
    "cd ws; git sparse-checkout set nothing 2>/dev/null",
    "echo garbage > ws/.git/index; touch ws/.git/index.lock ws/.git/HEAD.lock",
    "rm ws/.git/index; mkdir ws/.git/index; echo > ws/.git/index/x",
    "rm ws/.git/index; ln -s ../../out/file ws/.git/index",
    "ln -s ../../out/file ws/.git/index.lock",
    "echo 'ref: refs/heads/evil' > ws/.git/HEAD",
    "rm ws/.git/HEAD; ln -s ../../out/file ws/.git/HEAD",
    "echo /nowhere > ws/.git/objects/info/alternates",
    "rm -r ws/.git/objects; ln -s ../../out ws/.git/objects",
    "rm -r ws/.git; ln -s ../src/.git ws/.git",
    "rm -r ws/.git; echo 'gitdir: ../src/.git' > ws/.git",
    "rm -r ws/.git; mkdir ws/.git; cd ws; git init -q 2>/dev/null",
    "rm -r ws/.git/refs; echo > ws/.git/refs",
    "cd ws; git worktree add -q ../wt$RANDOM HEAD 2>/dev/null",
    "rm -r ws; mkdir ws",
    "rm -r ws",
    "rm -r ws; echo > ws",
    "rm -r ws; ln -s out ws",
    "mv ws ws2; ln -s ws2 ws",
    "mv ws old; cp -a old ws",
};

static void nothing_a_task_leaves_behind_stays(void **state)
{
    fixture f;

    (void)state;
    setup(&f);
    for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++) {
        print_message("%s\n", deeds[i]);
        task_does(&f, deeds[i]);
        run("rm -rf t c ws2 old* wt*; chmod -R u+rwx ws.trash* 2>/dev/null || true");
    }
    teardown(&f);
}

static void a_hard_link_kept_elsewhere_does_not_reach_in(void **state)
{
    fixture f;

    (void)state;
    setup(&f);
    run("ln ws/file kept");
    must_move(&f, &f.one, NULL);
    run("echo evil > kept");
    assert_good(&f, &f.one, f.one_is);
    teardown(&f);
}

static void sockets_and_attributes_go(void **state)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "ws/socket" };
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof address), 0);
    close(s);
    if (setxattr("ws/file", "user.evil", "x", 1, 0) < 0)
        assert_int_equal(errno, ENOTSUP);
    must_move(&f, &f.one, NULL);
    assert_true(getxattr("ws/file", "user.evil", NULL, 0) < 0);
    assert_good(&f, &f.one, f.one_is);
    teardown(&f);
}

static void a_bottomless_directory_goes(void **state)
{
    fixture f;
    int at;

    (void)state;
    setup(&f);
    at = open("ws", O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 3000; i++) {
        int below;

        assert_int_equal(mkdirat(at, "a-directory-name", 0755), 0);
        below = openat(at, "a-directory-name", O_RDONLY | O_DIRECTORY);
        close(openat(at, "file", O_CREAT | O_WRONLY, 0644));
        close(at);
        at = below;
        assert_true(at >= 0);
    }
    close(at);
    must_move(&f, &f.one, NULL);
    assert_good(&f, &f.one, f.one_is);
    teardown(&f);
}

static void a_directory_of_very_many_names_goes(void **state)
{
    fixture f;

    (void)state;
    setup(&f);
    run("mkdir ws/many; cd ws/many; for i in $(seq 40); do mkdir $i; touch $i/{1..100}; done;"
        "touch {a..z}{1..100}");
    must_move(&f, &f.one, NULL);
    assert_good(&f, &f.one, f.one_is);
    teardown(&f);
}

/* Needs root and a file system with the attribute. */
static void what_cannot_be_removed_is_set_aside_and_swept_later(void **state)
{
    workspace_report report;
    size_t gone;
    fixture f;

    (void)state;
    setup(&f);
    if (system("mkdir ws/d && echo > ws/d/f && chattr +i ws/d/f 2>/dev/null") != 0) {
        teardown(&f);
        skip();
    }
    must_move(&f, &f.one, &report);
    assert_true(report.fresh);
    assert_non_null(strstr(report.reason, "'f'"));
    assert_good(&f, &f.one, f.one_is);
    assert_int_equal(workspace_sweep(".", 10, &gone, NULL), VOLT_EIO);
    assert_int_equal(gone, 0);
    run("chattr -i ws.trash-1/d/f");
    assert_int_equal(workspace_sweep(".", 10, &gone, NULL), VOLT_OK);
    assert_int_equal(gone, 1);
    assert_int_equal(access("ws.trash-1", F_OK), -1);
    teardown(&f);
}

/* Needs the right to mount. */
static void a_mount_is_not_entered(void **state)
{
    workspace_report report;
    fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(mkdir("ws/m", 0755), 0);
    if (mount("out", "ws/m", NULL, MS_BIND, NULL) < 0) {
        teardown(&f);
        skip();
    }
    must_move(&f, &f.one, &report);
    assert_true(report.fresh);
    assert_non_null(strstr(report.reason, "mounted"));
    assert_good(&f, &f.one, f.one_is);
    assert_int_equal(workspace_sweep(".", 10, NULL, NULL), VOLT_EIO);
    assert_int_equal(access("out/f", F_OK), 0);
    assert_int_equal(umount2("ws.trash-1/m", MNT_DETACH), 0);
    assert_int_equal(workspace_sweep(".", 10, NULL, NULL), VOLT_OK);
    assert_int_equal(access("out/f", F_OK), 0);
    teardown(&f);
}

/* Each makes a tree object on standard output's last line; all must be refused, and nothing may
 * come to be outside. */
static const char *const trees[] = {
    "printf '100644 blob %s\\t.git\\n' $blob | git mktree",
    "printf '100644 blob %s\\t.GiT\\n' $blob | git mktree",
    "printf '040000 tree %s\\t.git\\n' $(printf '040000 tree %s\\thooks\\n' $(printf "
    "'100755 blob %s\\tpost-checkout\\n' $blob | git mktree) | git mktree) | git mktree",
    "printf '040000 tree %s\\t..\\n' $(printf '100644 blob %s\\tescaped\\n' $blob | git mktree) |"
    " git mktree",
    "printf '040000 tree %s\\t.\\n' $(printf '100644 blob %s\\tescaped\\n' $blob | git mktree) |"
    " git mktree",
    "printf '100644 blob %s\\t..\\n' $blob | git mktree",
    /* names with slashes, made byte by byte */
    "(printf '100644 ../escaped\\0'; bytes $blob) |"
    " git hash-object -t tree -w --literally --stdin",
    "(printf '100644 /tmp/escaped\\0'; bytes $blob) |"
    " git hash-object -t tree -w --literally --stdin",
    "(printf '100644 .git/hooks/x\\0'; bytes $blob) |"
    " git hash-object -t tree -w --literally --stdin",
    /* a link and a directory of one name: writing into it would go through the link */
    "(printf '120000 x\\0'; bytes $link; printf '40000 x\\0'; bytes $dir) |"
    " git hash-object -t tree -w --literally --stdin",
    "(printf '120000 x\\0'; bytes $link; printf '100644 x-\\0'; bytes $blob;"
    " printf '40000 x\\0'; bytes $dir) | git hash-object -t tree -w --literally --stdin",
    "(printf '40000 x\\0'; bytes $dir; printf '120000 x\\0'; bytes $link) |"
    " git hash-object -t tree -w --literally --stdin",
    "(printf '100644 a\\0'; bytes $blob; printf '100644 a\\0'; bytes $blob) |"
    " git hash-object -t tree -w --literally --stdin",
    "printf '120000 blob %s\\t.gitmodules\\n' $link | git mktree",
};

static void hostile_trees_are_refused(void **state)
{
    fixture f;

    (void)state;
    setup(&f);
    for (size_t i = 0; i < sizeof trees / sizeof *trees; i++) {
        CLEANUP(free)
        char *hex =
            shf("bytes() { printf \"$(printf %%s $1 | sed 's/../\\\\x&/g')\"; };"
                "cd src; blob=$(git hash-object -w file); link=$(printf ../out | git hash-object"
                " -w --stdin); dir=$(printf '100644 blob %%s\\tescaped\\n' $blob | git mktree); "
                "git commit-tree -m evil $(%s)",
                trees[i]);
        CLEANUP(free)
        char *before = sh("find . -name src -prune -o -name ws -prune -o -print");
        CLEANUP(free)
        char *after = NULL;
        commit_id id;
        volt_err err;

        assert_int_equal(commit_id_parse(slice_of(hex), &id, NULL), VOLT_OK);
        print_message("%s\n", trees[i]);
        assert_int_equal(workspace_move(f.ws, "src", &id, NULL, &err), VOLT_ECORRUPT);
        print_message("  %s\n", err.msg);
        after = sh("find . -name src -prune -o -name ws -prune -o -print");
        assert_string_equal(after, before);
        must_move(&f, &f.one, NULL);
        assert_good(&f, &f.one, f.one_is);
    }
    teardown(&f);
}

/* A link that points out of the workspace is legal, and is made; what comes after it in the same
 * place must not go through it. */
static void a_link_out_of_the_workspace_is_made_and_not_followed(void **state)
{
    commit_id link, dir;
    fixture f;

    (void)state;
    setup(&f);
    run("cd src; git rm -qr dir; ln -s ../out dir; git add .; git commit -qm link;"
        "git rm -q dir; mkdir dir; echo evil > dir/f; mkdir dir/sub; echo evil > dir/sub/f;"
        "git add .; git commit -qm dir");
    link = commit_at("src", "HEAD~1");
    dir = commit_at("src", "HEAD");
    for (int i = 0; i < 3; i++) {
        must_move(&f, &link, NULL);
        must_move(&f, &dir, NULL);
    }
    must_move(&f, &f.one, NULL);
    assert_good(&f, &f.one, f.one_is);
    teardown(&f);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        TEST(nothing_a_task_leaves_behind_stays),
        TEST(a_hard_link_kept_elsewhere_does_not_reach_in),
        TEST(sockets_and_attributes_go),
        TEST(a_bottomless_directory_goes),
        TEST(a_directory_of_very_many_names_goes),
        TEST(what_cannot_be_removed_is_set_aside_and_swept_later),
        TEST(a_mount_is_not_entered),
        TEST(hostile_trees_are_refused),
        TEST(a_link_out_of_the_workspace_is_made_and_not_followed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
