#include "exec/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/files.h"
#include "base/mem.h"
#include "base/rmtree.h"
#include "exec/seal.h"

#define NAME "box.tar.zst"

static const archive_limits plenty = { .bytes = 1 << 30, .entries = 1000 };

static bool disk_is_full;

/* libc's, also for libarchive. */
ssize_t write(int fd, const void *bytes, size_t n)
{
    if (disk_is_full) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_write, fd, bytes, n);
}

/* A directory of its own, which is the working directory: in/, out/, home/, back/. */
static int set_up(void **state)
{
    char *dir = mem_strdup("/tmp/volt-archive-XXXXXX");

    *state = dir;
    return mkdtemp(dir) && chdir(dir) == 0 && mkdir("in", 0755) == 0 && mkdir("out", 0755) == 0 &&
                   mkdir("home", 0755) == 0 && mkdir("back", 0755) == 0
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    volt_code code = chdir("/") ? VOLT_EIO : rmtree(AT_FDCWD, *state, NULL);

    free(*state);
    return code ? -1 : 0;
}

static void shell(const char *script)
{
    if (system(script))
        fail_msg("%s", script);
}

/* Patterns are separated by blanks. */
static volt_code pack_with(const char *home, const char *patterns, const archive_limits *max,
                           archive_sum *ret, volt_err *err)
{
    const archive_place place = { .dir = "in", .home = home };
    slice v[8];
    size_t n = 0;

    while (*patterns) {
        size_t len = strcspn(patterns, " ");

        v[n++] = (slice){ patterns, len };
        patterns += len + (patterns[len] == ' ');
    }
    return archive_pack(NAME, &place, (slices){ v, n }, max, ret, err);
}

static archive_sum pack(const char *home, const char *patterns)
{
    archive_sum sum = { 0 };
    volt_err err;

    if (pack_with(home, patterns, &plenty, &sum, &err))
        fail_msg("%s", err.msg);
    return sum;
}

static volt_code unpack_with(const char *home, const archive_limits *max, volt_err *err)
{
    const archive_place place = { .dir = "out", .home = home };
    archive_sum sum;

    return archive_unpack(NAME, &place, max, &sum, err);
}

static void unpack(const char *home)
{
    volt_err err;

    if (unpack_with(home, &plenty, &err))
        fail_msg("%s", err.msg);
}

static void add_name(void *ctx, const archive_file *f)
{
    buf_addf(ctx, SLICE_FMT " ", SLICE_ARG(f->path));
}

static void assert_names(const char *want)
{
    CLEANUP(buf)
    buf got = { 0 };
    archive_sum sum;
    volt_err err;

    if (archive_list(NAME, &plenty, add_name, &got, &sum, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(buf_str(&got), want);
}

static bool is_there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

/* Nothing but the archive and what the test made: no temporary file, nothing beside out/. */
static void assert_top(const char *want)
{
    struct dirent **names;
    CLEANUP(buf)
    buf got = { 0 };
    int n = scandir(".", &names, NULL, alphasort);

    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        if (names[i]->d_name[0] != '.')
            buf_addf(&got, "%s ", names[i]->d_name);
        free(names[i]);
    }
    free(names);
    assert_string_equal(buf_str(&got), want);
}

/* ---- what archives are for ---- */

static void brings_back_files_with_modes_times_and_links(void **state)
{
    (void)state;
    shell("cd in && mkdir -p a/empty a/locked && echo one >a/one && chmod 755 a/one &&"
          " touch -d '2001-02-03 04:05:06.789' a/one && ln -s ../nowhere a/link &&"
          " printf '\\351' >\"$(printf 'a/\\351')\" && echo two >a/locked/two &&"
          " truncate -s 3000000 a/large && chmod 4755 a/large && chmod 500 a/locked &&"
          " ln a/one a/same");
    assert_int_equal(pack(NULL, "a").entries, 9);
    unpack(NULL);
    shell("diff -r --no-dereference in out && test \"$(readlink out/a/link)\" = ../nowhere &&"
          " test \"$(stat -c '%a %y' out/a/one)\" = \"$(stat -c '%a %y' in/a/one)\" &&"
          " test \"$(stat -c %a out/a/locked)\" = 500 &&"
          " test \"$(stat -c %a out/a/large)\" = 755 && chmod 700 in/a/locked out/a/locked");
}

static void is_a_file_that_tar_reads(void **state)
{
    (void)state;
    shell("echo one >in/one");
    pack(NULL, "one");
    shell("if command -v zstd >/dev/null; then test \"$(tar --zstd -xOf " NAME " one)\" = one; fi");
}

static void packs_what_the_patterns_name_in_the_order_of_names(void **state)
{
    (void)state;
    shell("cd in && mkdir -p z/deep b/c .git x/.git && touch z/deep/2 z/deep/1 z/no b/c/3 b/c/no "
          ".git/config x/.git/y x/4 top");
    pack(NULL, "./z//deep b/*/[0-9] **/.git/* x/4 nothing");
    assert_names("b/c/3 x/.git/y x/4 z/deep z/deep/1 z/deep/2 ");
}

static void keeps_the_home_and_the_checkout_apart(void **state)
{
    (void)state;
    shell("mkdir -p in/dep in/~/dep home/.cache && echo w >in/dep/f && echo x >in/~/dep/f &&"
          " echo h >home/.cache/f && echo n >home/dep");
    pack("home", "dep ~/.cache/** ~/.git **");
    assert_names("dep dep/f ~/.cache/f ");
    unpack("back");
    shell("test \"$(cat out/dep/f back/.cache/f)\" = \"$(printf 'w\\nh')\" && ! test -e out/~");
    pack(NULL, "~/dep/f");
    assert_names("~/dep/f ");
}

static void makes_the_same_bytes_of_the_same_files(void **state)
{
    (void)state;
    shell("cd in && for i in 9 1 5 3; do echo $i >$i; done; touch -d @1 *");
    pack(NULL, "*");
    shell("mv " NAME " first && mkdir new && cd in && for i in 1 3 5 9; do mv $i ../new; done &&"
          " mv ../new/* .");
    pack(NULL, "*");
    shell("cmp first " NAME);
}

static void makes_an_empty_archive_of_nothing(void **state)
{
    (void)state;
    assert_int_equal(pack(NULL, "none").entries, 0);
    assert_names("");
    unpack(NULL);
}

static void passes_over_what_is_neither_file_nor_directory_nor_link(void **state)
{
    (void)state;
    shell("mkfifo in/pipe && echo one >in/one");
    pack(NULL, "*");
    assert_names("one ");
}

static void reads_nothing_through_a_link(void **state)
{
    (void)state;
    shell("echo secret >home/key && ln -s ../home in/dir && ln -s ../home/key in/key");
    assert_int_equal(pack(NULL, "dir/key dir/* key").bytes, 0);
    assert_names("key ");
}

static void replaces_an_archive_only_by_a_whole_one(void **state)
{
    archive_sum sum;
    volt_err err;

    (void)state;
    shell("echo old >in/old && echo larger >in/zlarger");
    pack(NULL, "old");
    assert_int_equal(pack_with(NULL, "*", &(archive_limits){ 10, 100 }, &sum, &err), VOLT_EREFUSED);
    assert_string_equal(err.msg, "more than 10 bytes, with 'zlarger'");
    assert_int_equal(pack_with(NULL, "*", &(archive_limits){ 100, 1 }, &sum, &err), VOLT_EREFUSED);
    assert_string_equal(err.msg, "more than 1 files");
    disk_is_full = true;
    assert_int_equal(pack_with(NULL, "*", &plenty, &sum, &err), VOLT_EFULL);
    disk_is_full = false;
    assert_non_null(strstr(err.msg, strerror(ENOSPC)));
    assert_names("old ");
    assert_top("back box.tar.zst home in out ");
}

static void overwrites_what_is_there_but_not_what_it_points_to(void **state)
{
    (void)state;
    shell("mkdir in/d && echo new >in/f && echo new >in/g && echo new >in/d/x &&"
          " echo keep >home/kept && echo keep >home/linked && ln -s ../home/kept out/f &&"
          " ln home/linked out/g && mkdir out/d && echo old >out/d/x && echo stays >out/d/y");
    pack(NULL, "**");
    unpack(NULL);
    shell("cat home/kept home/linked out/f out/g out/d/x out/d/y >got &&"
          " printf 'keep\\nkeep\\nnew\\nnew\\nnew\\nstays\\n' | cmp - got && ! test -L out/f");
}

static void does_not_go_through_a_link_that_is_there(void **state)
{
    volt_err err;

    (void)state;
    shell("mkdir in/d && echo new >in/d/x && ln -s ../home out/d");
    pack(NULL, "d/x");
    assert_int_equal(unpack_with(NULL, &plenty, &err), VOLT_EIO);
    assert_false(is_there("home/x"));
}

static void comes_back_to_the_working_directory(void **state)
{
    (void)state;
    shell("echo one >in/one");
    pack(NULL, "one");
    unpack("back");
    assert_true(is_there(NAME));
}

/* ---- archives that somebody else made ---- */

typedef struct forged {
    const char *path;
    mode_t type;
    const char *target; /* symbolic link */
    const char *hard;   /* hard link */
    int64_t size;
    const char *text;
} forged;

static void put(const char *name, slice bytes)
{
    FILE *f = fopen(name, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes.p, 1, bytes.n, f), bytes.n);
    fclose(f);
}

static void seal(const char *name)
{
    CLEANUP(buf)
    buf all = { 0 };
    unsigned char digest[SEAL_DIGEST], frame[SEAL_SIZE];

    assert_int_equal(files_read(name, 1 << 20, &all, NULL), VOLT_OK);
    crypto_generichash(digest, sizeof digest, (const unsigned char *)all.p, all.n, NULL, 0);
    seal_make(digest, frame);
    buf_add(&all, frame, sizeof frame);
    put(name, buf_slice(&all));
}

static void forge(const forged *v, size_t n)
{
    struct archive *a = archive_write_new();
    struct archive_entry *e = archive_entry_new();

    archive_write_add_filter_zstd(a);
    archive_write_set_format_gnutar(a);
    assert_int_equal(archive_write_open_filename(a, NAME), ARCHIVE_OK);
    for (size_t i = 0; i < n; i++) {
        archive_entry_clear(e);
        archive_entry_set_pathname(e, v[i].path);
        archive_entry_set_mode(e, v[i].type | 0755);
        archive_entry_set_size(e, v[i].text ? (int64_t)strlen(v[i].text) : v[i].size);
        if (v[i].target)
            archive_entry_set_symlink(e, v[i].target);
        if (v[i].hard)
            archive_entry_set_hardlink(e, v[i].hard);
        assert_true(archive_write_header(a, e) >= ARCHIVE_WARN);
        if (v[i].text)
            archive_write_data(a, v[i].text, strlen(v[i].text));
    }
    archive_write_free(a);
    archive_entry_free(e);
    seal(NAME);
}

static void refuses_paths_that_lead_out_of_the_place(void **state)
{
    static const char *const paths[] = { "../evil",     "a/../../evil", "/tmp/volt-evil",
                                         "..",          "a//../b",      "./../evil",
                                         ".git/config", ".git",         "~/../out",
                                         "~",           "~//etc" };
    volt_err err;

    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        forge(&(forged){ .path = paths[i], .type = S_IFREG, .text = "evil" }, 1);
        if (unpack_with("back", &plenty, &err) != VOLT_ECORRUPT)
            fail_msg("'%s' was let in", paths[i]);
        if (!strstr(err.msg, "holds '"))
            fail_msg("%s", err.msg);
    }
    assert_top("back box.tar.zst home in out ");
    shell("test -z \"$(ls -A out)\" && test -z \"$(ls -A back)\"");
}

static void refuses_a_file_through_a_link_of_its_own(void **state)
{
    static const forged v[] = { { .path = "d", .type = S_IFLNK, .target = "../home" },
                                { .path = "d/evil", .type = S_IFREG, .text = "evil" } };
    volt_err err;

    (void)state;
    forge(v, 2);
    assert_int_equal(unpack_with(NULL, &plenty, &err), VOLT_EIO);
    assert_non_null(strstr(err.msg, "through symlink"));
    assert_false(is_there("home/evil"));
}

static void makes_no_directory_of_a_link_to_one(void **state)
{
    static const forged v[] = { { .path = "d", .type = S_IFLNK, .target = "../home" },
                                { .path = "d", .type = S_IFDIR },
                                { .path = "d/f", .type = S_IFREG, .text = "inside" } };

    (void)state;
    forge(v, 3);
    unpack_with(NULL, &plenty, NULL);
    assert_false(is_there("home/f"));
}

static void refuses_what_a_task_cannot_have_packed(void **state)
{
    static const forged v[] = { { .path = "dev", .type = S_IFBLK },
                                { .path = "dev", .type = S_IFCHR },
                                { .path = "pipe", .type = S_IFIFO },
                                { .path = "hard", .type = S_IFREG, .hard = "../home/x" } };
    volt_err err;

    (void)state;
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        forge(&v[i], 1);
        assert_int_equal(unpack_with(NULL, &plenty, &err), VOLT_ECORRUPT);
        assert_false(is_there("out/dev") || is_there("out/pipe") || is_there("out/hard"));
    }
}

static void refuses_what_would_fill_the_disk(void **state)
{
    static const forged bomb[] = { { .path = "a", .type = S_IFREG, .text = "0123456789" },
                                   { .path = "b", .type = S_IFREG, .size = 30 << 20 } };
    static const forged many[] = { { .path = "1", .type = S_IFDIR },
                                   { .path = "2", .type = S_IFDIR },
                                   { .path = "3", .type = S_IFDIR } };
    volt_err err;

    (void)state;
    forge(bomb, 2);
    assert_int_equal(unpack_with(NULL, &(archive_limits){ 1 << 20, 10 }, &err), VOLT_EREFUSED);
    assert_false(is_there("out/b"));
    forge(many, 3);
    assert_int_equal(unpack_with(NULL, &(archive_limits){ 1 << 20, 2 }, &err), VOLT_EREFUSED);
    assert_false(is_there("out/3"));
}

/* A tebibyte in one hole, which tar says in a few hundred bytes. */
static void refuses_a_huge_sparse_file(void **state)
{
    volt_err err;

    (void)state;
    shell("truncate -s 1T in/hole && tar -S -C in -cf " NAME " hole && test $(stat -c %s " NAME
          ") -lt 100000");
    seal(NAME);
    assert_int_equal(unpack_with(NULL, &plenty, &err), VOLT_EREFUSED);
    assert_false(is_there("out/hole"));
}

/* libarchive only warns of a write that failed, and gives the file its size all the same. */
static void tells_of_a_full_disk(void **state)
{
    volt_code code;
    volt_err err;

    (void)state;
    shell("head -c 100 /dev/urandom >in/small");
    pack(NULL, "small");
    disk_is_full = true;
    code = unpack_with(NULL, &plenty, &err);
    disk_is_full = false;
    assert_int_equal(code, VOLT_EFULL);
    assert_non_null(strstr(err.msg, "'small'"));
    assert_non_null(strstr(err.msg, strerror(ENOSPC)));
}

/* ---- damage ---- */

static void finds_each_flipped_bit_and_each_cut(void **state)
{
    CLEANUP(buf)
    buf whole = { 0 };
    volt_err err;

    (void)state;
    shell("seq 2000 >in/f && echo two >in/g");
    pack(NULL, "*");
    assert_int_equal(files_read(NAME, 1 << 20, &whole, NULL), VOLT_OK);
    for (size_t i = 0; i < whole.n; i += whole.n / 97) {
        whole.p[i] ^= (char)(1 << i % 8);
        put(NAME, buf_slice(&whole));
        whole.p[i] ^= (char)(1 << i % 8);
        assert_int_equal(unpack_with(NULL, &plenty, &err), VOLT_ECORRUPT);
        assert_int_equal(truncate(NAME, (off_t)i), 0);
        assert_int_equal(unpack_with(NULL, &plenty, &err), VOLT_ECORRUPT);
    }
    shell("test -z \"$(ls -A out)\"");
}

/* The seal fits, but zstd or tar do not: the errors of libarchive are ours as well. */
static void survives_damage_below_the_seal(void **state)
{
    CLEANUP(buf)
    buf whole = { 0 };

    (void)state;
    shell("seq 2000 >in/f && mkdir in/d && ln -s x in/d/l");
    pack(NULL, "**");
    assert_int_equal(files_read(NAME, 1 << 20, &whole, NULL), VOLT_OK);
    whole.n -= SEAL_SIZE;
    for (size_t i = 0; i < whole.n; i += whole.n / 199) {
        whole.p[i] ^= (char)(1 << i % 8);
        put(NAME, buf_slice(&whole));
        whole.p[i] ^= (char)(1 << i % 8);
        seal(NAME);
        unpack_with(NULL, &plenty, NULL);
        put(NAME, (slice){ whole.p, i });
        seal(NAME);
        if (i < whole.n / 2) /* later, only the end mark is missing */
            assert_int_equal(unpack_with(NULL, &plenty, NULL), VOLT_ECORRUPT);
    }
    assert_top("back box.tar.zst home in out ");
}

static void says_that_there_is_none(void **state)
{
    volt_err err;

    (void)state;
    assert_int_equal(unpack_with(NULL, &plenty, &err), VOLT_ENOTFOUND);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(brings_back_files_with_modes_times_and_links),
        TEST(is_a_file_that_tar_reads),
        TEST(packs_what_the_patterns_name_in_the_order_of_names),
        TEST(keeps_the_home_and_the_checkout_apart),
        TEST(makes_the_same_bytes_of_the_same_files),
        TEST(makes_an_empty_archive_of_nothing),
        TEST(passes_over_what_is_neither_file_nor_directory_nor_link),
        TEST(reads_nothing_through_a_link),
        TEST(replaces_an_archive_only_by_a_whole_one),
        TEST(overwrites_what_is_there_but_not_what_it_points_to),
        TEST(does_not_go_through_a_link_that_is_there),
        TEST(comes_back_to_the_working_directory),
        TEST(refuses_paths_that_lead_out_of_the_place),
        TEST(refuses_a_file_through_a_link_of_its_own),
        TEST(makes_no_directory_of_a_link_to_one),
        TEST(refuses_what_a_task_cannot_have_packed),
        TEST(refuses_what_would_fill_the_disk),
        TEST(refuses_a_huge_sparse_file),
        TEST(tells_of_a_full_disk),
        TEST(finds_each_flipped_bit_and_each_cut),
        TEST(survives_damage_below_the_seal),
        TEST(says_that_there_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
