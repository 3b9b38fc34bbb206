/* Workspaces against `git checkout` of the same commit in a fresh clone. */
#include "scratch.h"

#include "git/workspace.h"

/* Each script makes the next commit of one repository, from what is there. */
static const char *const commits[] = {
    /* names of every kind */
    "echo hello > README; mkdir -p src/deep/er; echo 'int main;' > src/a.c; : > src/empty;"
    "printf '#!/bin/sh\\n' > run.sh; chmod +x run.sh; ln -s src/a.c link; ln -s nowhere dangling;"
    "echo x > 'with space'; echo x > \"quo'te\\\"s\"; echo x > $'new\\nline'; echo x > "
    "$'\\xff\\xfe';"
    "echo x > -dash; mkdir -- '--dir'; echo y > --dir/-f; echo x > 'back\\slash'; echo x > "
    "$'ta\\tb';"
    "echo x > '*'; echo x > 'ünï'; echo x > a-b; mkdir a; echo x > a/b; echo x > a.c;"
    "head -c 1000000 /dev/urandom > random.bin; echo 1 > src/deep/er/f",
    /* attributes */
    "printf 'one\\ntwo\\n' > unix.txt; printf 'one\\r\\ntwo\\r\\n' > dos.txt; printf '$Id$\\n' > "
    "id.c;"
    "printf 'a\\0b\\n' > bin.txt; printf 'mixed\\r\\nends\\n' > mixed.dat; mkdir -p sub/er;"
    "cp unix.txt sub/unix.txt; cp unix.txt sub/er/unix.txt; cp id.c sub/er/id.c; cp unix.txt "
    "un.raw;"
    "git add .; printf '[attr]win text eol=crlf\\n* text=auto\\n*.txt win\\n*.c ident\\n*.raw "
    "-text\\n"
    "random.bin binary\\n' > .gitattributes; printf '*.txt eol=lf\\n' > sub/.gitattributes;"
    "printf '*.c -ident\\nunix.txt -eol\\n' > sub/er/.gitattributes",
    /* only the attributes change */
    "printf '*.txt text eol=lf\\nun.raw text eol=crlf\\n' > .gitattributes; rm "
    "sub/er/.gitattributes",
    /* one kind of thing becomes another */
    "rm -r src link README a; mkdir link README a; echo 1 > link/inside; echo 2 > README/x;"
    "echo file > src; ln -s README a/b; chmod -x run.sh; chmod +x 'with space'; rm dangling;"
    "mkdir dangling; echo z > dangling/z",
    /* and back */
    "rm -r link README src a dangling; ln -s /etc link; ln -s link README; mkdir src; ln -s .. "
    "src/a;"
    "echo a > a; printf '' > dangling",
    /* a submodule's place, case, a link for attributes, tracked though ignored */
    "git update-index --add --cacheinfo 160000,1234567890123456789012345678901234567890,module;"
    "mkdir module; printf '[submodule \"m\"]\\n\\tpath = module\\n\\turl = ../m\\n' > .gitmodules;"
    "rm .gitattributes; echo 'unix.txt eol=crlf' > attrs; ln -s attrs .gitattributes;"
    "echo A > NAME; echo b > name; echo c > Name; echo '*.o' > .gitignore; echo o > kept.o;"
    "git add -f kept.o; mkdir .git2; echo 1 > .git2/f; echo 1 > .gitx",
    /* the submodule becomes a directory; a deep one */
    "git rm -q --cached module; mkdir -p module; echo in > module/in; rm .gitattributes;"
    "d=.; for i in $(seq 60); do d=$d/d$i; done; mkdir -p $d; echo deep > $d/f",
    /* encodings; the last is one that cannot be said in its encoding */
    "for e in UTF-16 UTF-16LE ISO-8859-1 UTF-32BE; do printf 'h\xc3\xa9\nx\n' |"
    " iconv -f UTF-8 -t $e > e.$e; echo \"e.$e text working-tree-encoding=$e\"; done > "
    ".gitattributes;"
    "(printf '\xff\xfe'; printf 'h\xc3\xa9\n' | iconv -f UTF-8 -t UTF-16LE) > bom;"
    "printf 'h\xc3\xa9\n' > plain; printf 'bom working-tree-encoding=UTF-16LE-BOM eol=crlf\n"
    "plain working-tree-encoding=UTF-8\nnull -working-tree-encoding\n' >> .gitattributes;"
    "git add .; printf '\xe2\x82\xac\n' > euro; git add euro;"
    "echo 'euro working-tree-encoding=ISO-8859-1' >> .gitattributes; git add .gitattributes;"
    "git commit -qm almost",
    /* nothing at all */
    "git rm -rqf --cached .; shopt -s dotglob; for f in *; do [ \"$f\" = .git ] || rm -r -- \"$f\";"
    "done",
    /* legacy attributes, and eol settings that git reads in its own way */
    "printf 'l1\\nl2\\n' | tee a1 a2 a3 a4 a5 a6 > a7; printf 'c\\r\\n' | tee c1 c2 > c3; git add "
    ".;"
    "printf 'a1 crlf\\na2 -crlf\\na3 crlf=input\\na4 text=auto eol=crlf\\na5 eol=crlf\\na6 !text\\n"
    "c1 text\\nc2 text=auto eol=crlf\\nc3 eol=lf\\na7 filter=lfs diff=lfs merge=lfs -text\\n'"
    "> .gitattributes",
};

#define COMMITS_N (sizeof commits / sizeof *commits)

typedef struct story {
    commit_id id[COMMITS_N];
    char *expected[COMMITS_N];
} story;

static char *reference(const char *repo, const commit_id *id)
{
    free(shf("rm -rf ref; git clone -q --no-checkout '%s' ref 2>&1;"
             "git -C ref checkout -q --detach %s 2>&1",
             repo, id->hex));
    return picture("ref");
}

static void tell_story(story *s)
{
    run("git init -q -b main src");
    for (size_t i = 0; i < COMMITS_N; i++) {
        free(shf("cd src; %s; git add -A 2>/dev/null; git commit -q --allow-empty -m c%zu;"
                 "git tag t%zu",
                 commits[i], i, i));
        s->id[i] = commit_at("src", "HEAD");
    }
    for (size_t i = 0; i < COMMITS_N; i++)
        s->expected[i] = reference("src", &s->id[i]);
}

static void story_free(story *s)
{
    for (size_t i = 0; i < COMMITS_N; i++)
        free(s->expected[i]);
}

static workspace_report move(workspace *ws, const char *source, const commit_id *id)
{
    workspace_report report;
    volt_err err;

    if (workspace_move(ws, source, id, &report, &err))
        fail_msg("%s", err.msg);
    return report;
}

static void assert_picture(const char *dir, const char *expected)
{
    CLEANUP(free)
    char *is = picture(dir);

    assert_string_equal(is, expected);
}

/* What a task's own git says. */
static void assert_clean(const char *dir, const commit_id *id)
{
    CLEANUP(free)
    char *status = shf("git -C '%s' status --porcelain --ignored --untracked-files=all", dir);
    CLEANUP(free)
    char *head = shf("git -C '%s' rev-parse HEAD", dir);

    assert_string_equal(status, "");
    assert_string_equal(head, id->hex);
}

/* The same for commits whose blobs are not as their attributes have them (CRLF in a text file): git
 * calls such a file modified whenever it looks into it, and it looks when file and index were
 * written in one tick of the clock.  So what git says of its own checkout, made to look, may be
 * said here. */
static void assert_clean_as_git(const char *dir, const commit_id *id)
{
    CLEANUP(free)
    char *more = shf("rm -rf looked; git clone -q --no-checkout src looked 2>&1;"
                     "git -C looked checkout -q --detach %s 2>&1;"
                     "git -C looked ls-files -z | (cd looked; xargs -0 touch -ch -- || :);"
                     "git -C looked status --porcelain | sort > may;"
                     "git -C '%s' status --porcelain --ignored --untracked-files=all | sort > is;"
                     "comm -13 may is",
                     id->hex, dir);

    assert_string_equal(more, "");
}

static void move_and_compare(workspace *ws, const story *s, size_t to)
{
    move(ws, "src", &s->id[to]);
    assert_picture("ws", s->expected[to]);
}

static void every_move_comes_out_as_git_makes_it(void **state)
{
    workspace *ws = workspace_open("ws");
    story s;

    (void)state;
    tell_story(&s);
    for (size_t i = 0; i < COMMITS_N; i++) {
        move_and_compare(ws, &s, i);
        move_and_compare(ws, &s, i);
        for (size_t j = i + 1; j < COMMITS_N; j++) {
            move_and_compare(ws, &s, j);
            move_and_compare(ws, &s, i);
        }
    }
    for (size_t i = 0; i < COMMITS_N; i++) {
        move(ws, "src", &s.id[i]);
        assert_clean_as_git("ws", &s.id[i]);
    }
    workspace_free(ws);
    story_free(&s);
}

static void a_workspace_of_an_earlier_process_is_verified_not_rebuilt(void **state)
{
    workspace *ws = workspace_open("ws");
    workspace_report report;
    story s;

    (void)state;
    tell_story(&s);
    move(ws, "src", &s.id[1]);
    workspace_free(ws);
    run("printf X | dd of=ws/random.bin bs=1 seek=500000 conv=notrunc status=none");
    ws = workspace_open("ws");
    report = move(ws, "src", &s.id[1]);
    assert_false(report.fresh);
    assert_int_equal(report.written, 1);
    assert_true(report.compared > 20);
    assert_picture("ws", s.expected[1]);
    workspace_free(ws);
    story_free(&s);
}

static void unchanged_files_are_not_written_again(void **state)
{
    workspace *ws = workspace_open("ws");
    workspace_report report;
    commit_id first, second;

    (void)state;
    run("git init -q -b main src; cd src; for i in $(seq 50); do echo $i > f$i; done; git add .;"
        "git commit -qm one; echo x > f7; git commit -qam two");
    first = commit_at("src", "HEAD~1");
    second = commit_at("src", "HEAD");
    report = move(ws, "src", &first);
    assert_true(report.fresh);
    assert_int_equal(report.files, 50);
    report = move(ws, "src", &second);
    assert_false(report.fresh);
    assert_int_equal(report.written, 2); /* f7 and HEAD */
    report = move(ws, "src", &second);
    assert_int_equal(report.written, 0);
    workspace_free(ws);
}

static void a_large_file_comes_out_whole(void **state)
{
    workspace *ws = workspace_open("ws");
    CLEANUP(free)
    char *expected = NULL;
    commit_id id;

    (void)state;
    run("git init -q -b main src; cd src; truncate -s 50M big;"
        "printf end | dd of=big bs=1 seek=52428800 status=none; git add big; git commit -qm big");
    id = commit_at("src", "HEAD");
    move(ws, "src", &id);
    expected = reference("src", &id);
    assert_picture("ws", expected);
    move(ws, "src", &id);
    assert_picture("ws", expected);
    workspace_free(ws);
}

static void the_task_sees_history_tags_and_branches(void **state)
{
    workspace *ws = workspace_open("ws");
    CLEANUP(free)
    char *text = NULL;
    commit_id id;

    (void)state;
    run("git init -q -b main src; cd src; echo 1 > f; git add f; git commit -qm one;"
        "git tag -a -m first v1.0; echo 2 > f; git commit -qam two; git branch other;"
        "echo 3 > f; git commit -qam three");
    id = commit_at("src", "main~1");
    move(ws, "src", &id);
    text = sh("cd ws; git describe; git log --format=%s; git rev-parse --abbrev-ref HEAD;"
              "git log --format=%s HEAD..origin/main; git log -1 --format=%s origin/other;"
              "git fsck 2>&1 | grep -v '^notice' || true");
    assert_true(strncmp(text, "v1.0-1-g", 8) == 0);
    assert_non_null(strstr(text, "\ntwo\none\nHEAD\nthree\ntwo"));
    workspace_free(ws);
}

static void sources_are_of_every_kind(void **state)
{
    static const char *const sources[] = { "src", "src/.git", "bare.git", "linked",
                                           "super/module" };
    commit_id id;

    (void)state;
    run("git init -q -b main src; cd src; echo 1 > f; git add f; git commit -qm one; cd ..;"
        "git clone -q --bare src bare.git; git -C src worktree add -q ../linked 2>/dev/null;"
        "git init -q super; cd super; git -c protocol.file.allow=always submodule --quiet add"
        " ../src module 2>/dev/null");
    id = commit_at("src", "HEAD");
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        workspace *ws = workspace_open("ws");

        move(ws, sources[i], &id);
        assert_clean("ws", &id);
        workspace_free(ws);
    }
}

static void a_source_with_alternates_and_an_odd_name_works(void **state)
{
    workspace *ws = workspace_open("ws");
    commit_id id;

    (void)state;
    run("git init -q -b main src; cd src; echo 1 > f; git add f; git commit -qm one; cd ..;"
        "git clone -q --shared src $'\"o dd\\n#'");
    id = commit_at("src", "HEAD");
    move(ws, "\"o dd\n#", &id);
    assert_clean("ws", &id);
    workspace_free(ws);
}

static void commits_that_come_later_are_found(void **state)
{
    workspace *ws = workspace_open("ws");
    commit_id id;

    (void)state;
    run("git init -q -b main src; cd src; echo 1 > f; git add f; git commit -qm one");
    id = commit_at("src", "HEAD");
    move(ws, "src", &id);
    run("cd src; echo 2 > f; git commit -qam two; git gc -q");
    id = commit_at("src", "HEAD");
    move(ws, "src", &id);
    assert_clean("ws", &id);
    workspace_free(ws);
}

static void what_is_missing_is_named(void **state)
{
    workspace *ws = workspace_open("ws");
    commit_id id = { "1234567890123456789012345678901234567890" };
    volt_err err;

    (void)state;
    run("git init -q -b main src; cd src; echo 1 > f; git add f; git commit -qm one; mkdir ../no");
    assert_int_equal(workspace_move(ws, "src", &id, NULL, &err), VOLT_ENOTFOUND);
    assert_non_null(strstr(err.msg, id.hex));
    assert_int_equal(workspace_move(ws, "no", &id, NULL, &err), VOLT_EINVALID);
    assert_non_null(strstr(err.msg, "not a git repository"));
    assert_int_equal(workspace_move(ws, "nowhere", &id, NULL, &err), VOLT_ENOTFOUND);
    id = commit_at("src", "HEAD");
    run("cd src; rm -f .git/objects/$(git rev-parse HEAD:f | sed 's|^..|&/|')");
    assert_int_equal(workspace_move(ws, "src", &id, NULL, &err), VOLT_ECORRUPT);
    assert_non_null(strstr(err.msg, "'f'"));
    workspace_free(ws);
}

static void the_configuration_of_the_source_does_not_count(void **state)
{
    workspace *ws = workspace_open("ws");
    CLEANUP(free)
    char *expected = NULL;
    commit_id id;

    (void)state;
    run("git init -q -b main src; cd src; printf 'a\\n' > f.txt; git add .; git commit -qm one;"
        "git config core.autocrlf true; git config core.filemode false;"
        "echo '*.txt eol=crlf' > .git/info/attributes; git config core.attributesFile $HOME/at;"
        "echo '*.txt eol=crlf' > ../at");
    id = commit_at("src", "HEAD");
    move(ws, "src", &id);
    expected = reference("src", &id);
    assert_picture("ws", expected);
    workspace_free(ws);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_move_comes_out_as_git_makes_it),
        TEST(a_workspace_of_an_earlier_process_is_verified_not_rebuilt),
        TEST(unchanged_files_are_not_written_again),
        TEST(a_large_file_comes_out_whole),
        TEST(the_task_sees_history_tags_and_branches),
        TEST(sources_are_of_every_kind),
        TEST(a_source_with_alternates_and_an_odd_name_works),
        TEST(commits_that_come_later_are_found),
        TEST(what_is_missing_is_named),
        TEST(the_configuration_of_the_source_does_not_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
