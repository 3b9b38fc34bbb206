/* test_glob.c - a table of what is known, and git itself asked about random patterns. */
#include "pipeline/glob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/prng.h"

#define SEED        20250607
#define PATHS       400
#define PATTERNS    700
#define MUST_MATCH  (PATTERNS / 10) /* patterns that name some paths, but not all */
#define COMMAND_MAX 4096

static void matches_as_the_table_says(void **state)
{
    static const struct {
        const char *pattern;
        const char *path;
        bool want;
    } cases[] = {
        { "tests/test_*.py", "tests/test_a.py", true },
        { "tests/test_*.py", "tests/sub/test_a.py", false },
        { "tests/**/test_*.py", "tests/test_a.py", true },
        { "tests/**/test_*.py", "tests/a/b/test_a.py", true },
        { "tests/**/test_*.py", "other/tests/test_a.py", false },
        { "**/*.py", "a.py", true },
        { "**/*.py", "x/y/a.py", true },
        { "**", "x/y/a.py", true },
        { "a/**", "a/b", true },
        { "a/**", "a/b/c", true },
        { "a/**", "a", false },
        { "a/**/**/b", "a/b", true },
        { "a/**/b/**/c", "a/b/b/c/c", true },
        { "a/**/b/**/c", "a/c/b", false },
        { "*.c", "src/a.c", false },
        { "*.c", ".c", true },
        { "*", ".hidden", true },
        { "a?c", "abc", true },
        { "a?c", "a/c", false },
        { "a[/]c", "a/c", false },
        { "a[!b]c", "a/c", false },
        { "a[!b]c", "axc", true },
        { "a[^b]c", "abc", false },
        { "a[]-]c", "a]c", true },
        { "a[]-]c", "a-c", true },
        { "[[:digit:][:upper:]_]x", "_x", true },
        { "[[:digit:][:upper:]_]x", "7x", true },
        { "[[:digit:][:upper:]_]x", "ax", false },
        { "[a-cx-z]", "y", true },
        { "[a-cx-z]", "d", false },
        { "[\\]]", "]", true },
        { "[[:x]", ":", true },
        { "\\*", "*", true },
        { "\\*", "a", false },
        { "a\\", "a\\", true }, /* as plain text */
        { "a\\", "a", false },
        { "[", "[", true },
        { "[[:no:]]", "n", false },
        { "tests", "tests/a/b.py", true },
        { "tests/", "tests/a/b.py", true },
        { "tests/", "tests", false },
        { "test", "tests/a", false },
        { "test*", "tests/a", false },
        { "a*", "a*/x", true }, /* the directory of that very name */
        { ".", "any/thing", true },
        { "./tests//a*", "tests/ab", true },
        { "ab**/c", "abc/d/c", true },
        { "a?**/c", "abc/d/c", false },
        { "x/a**b", "x/aqqb", true },
        { "x/a**b", "x/aq/qb", false },
        { "**\\/b", "b", false },
        { "**\\/b", "a/c/b", true },
        { "Makefile", "makefile", false },
        { "\xc3\xa4*", "\xc3\xa4x", true },
        { "?", "\xc3\xa4", false }, /* two bytes */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (glob_match(slice_of(cases[i].pattern), slice_of(cases[i].path)) != cases[i].want)
            fail_msg("%s %s", cases[i].pattern, cases[i].path);
}

static void refuses_patterns_that_cannot_be_meant(void **state)
{
    static const struct {
        const char *pattern;
        const char *says; /* NULL: fine */
    } cases[] = {
        { "tests/**/*_test.[ch]", NULL },
        { "a\\[b", NULL },
        { "[]]", NULL },
        { "[a-]", NULL },
        { "..a/b..", NULL },
        { "tests/", NULL },
        { "./a", NULL },
        { "", "empty" },
        { "/a", "column 1: it starts at the top" },
        { "a/../b", "column 3: '..'" },
        { "..", "column 1: '..'" },
        { "a/..", "column 3: '..'" },
        { "ab[cd", "column 3: the set is never closed" },
        { "ab[", "column 3: the set is never closed" },
        { "[a-\\", "never closed" },
        { "[a\\", "never closed" },
        { "a[[:alpa:]]", "column 2: no class has this name" },
        { "[z-a]", "backwards" },
        { "a\\", "column 2: nothing is behind the backslash" },
        { "a*/", "column 3: no file's path ends in '/'" },
        { "a*/.", "no file's path ends in '/'" },
    };
    char big[GLOB_MAX + 1];
    volt_err err;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err.msg[0] = '\0';
        if ((glob_check(slice_of(cases[i].pattern), &err) == VOLT_OK) != !cases[i].says ||
            (cases[i].says && !strstr(err.msg, cases[i].says)))
            fail_msg("%s: %s", cases[i].pattern, err.msg);
    }
    memset(big, 'a', sizeof big);
    assert_int_equal(glob_check((slice){ big, GLOB_MAX }, &err), VOLT_OK);
    assert_int_equal(glob_check((slice){ big, sizeof big }, &err), VOLT_EINVALID);
    assert_false(glob_match((slice){ big, sizeof big }, (slice){ big, sizeof big }));
    assert_int_equal(glob_check((slice){ "a\0b", 3 }, &err), VOLT_EINVALID);
}

/* Exponential matchers do not end here; ctest's limit tells. */
static void no_pattern_takes_long(void **state)
{
    static const char *const parts[] = { "*a", "**/a*", "a*/**/", "[!b]*", "**/*", "?*" };
    buf pattern = { 0 }, path = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        buf_clear(&pattern);
        while (pattern.n + 8 < GLOB_MAX)
            buf_adds(&pattern, parts[i]);
        buf_adds(&pattern, "b");
        for (size_t every = 2; every <= 4096; every *= 8) {
            buf_clear(&path);
            for (size_t k = 1; k < 4096; k++)
                buf_addc(&path, k % every ? 'a' : '/');
            assert_false(glob_match(buf_slice(&pattern), buf_slice(&path)));
        }
    }
    buf_free(&pattern);
    buf_free(&path);
}

/* Names and wildcards of few letters, so that chance makes them meet. */
static char *random_of(prng *p, const char *const *parts, size_t n, uint64_t most)
{
    buf b = { 0 };

    for (uint64_t k = 1 + prng_below(p, most); k > 0; k--)
        buf_adds(&b, parts[prng_below(p, n)]);
    return b.p;
}

/* As git's index takes it: no empty, '.' or '..' component. */
static bool is_path(const char *s)
{
    for (;;) {
        size_t n = strcspn(s, "/");

        if (n == 0 || (n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
            return false;
        if (!s[n])
            return true;
        s += n + 1;
    }
}

static bool is_below(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static size_t random_paths(prng *p, char *paths[PATHS])
{
    static const char *const parts[] = {
        "a", "b", "c", "ab", "/", "/", "/", "a/", ".",        "-",
        "]", "[", "*", "\\", "^", "A", "0", " ",  "\xc3\xa4", ":"
    };
    size_t n = 0;

    for (int tries = 0; tries < 40 * PATHS && n < PATHS; tries++) {
        char *path = random_of(p, parts, sizeof parts / sizeof *parts, tries % 2 ? 12 : 5);
        bool fits = is_path(path);

        for (size_t i = 0; i < n && fits; i++)
            fits = !is_below(path, paths[i]) && !is_below(paths[i], path);
        if (fits)
            paths[n++] = path;
        else
            free(path);
    }
    return n;
}

static char *random_pattern(prng *p)
{
    static const char *const parts[] = {
        "a",       "a",           "b",
        "c",       "/",           "/",
        "*",       "*",           "?",
        "**",      "**/",         "/**",
        "/**/",    "[ab]",        "[!a]",
        "[^b]",    "[a-c]",       "[]a]",
        "[-a",     "\\*",         "\\",
        "\\a",     "\\/",         "[",
        "]",       "[[:alpha:]]", "[[:alnum:][:punct:]]",
        "***",     "[b-",         "[a-\\]",
        "[\\]]",   "[[:x]",       ".",
        "./",      "//",          "[[:no:]]",
        "*a",      "*/",          "[*]",
        "[+--]",   "[[:space:]]", "ab",
        "[a-a-c]", "[:",          "[[:upper:]-c]",
    };

    return random_of(p, parts, sizeof parts / sizeof *parts, 7);
}

static void run(const char *command)
{
    if (system(command) != 0)
        fail_msg("failed: %s", command);
}

/* An index with just these paths; no file of theirs exists. */
static void make_index(const char *dir, char *const *paths, size_t n)
{
    char command[COMMAND_MAX];
    FILE *f;

    snprintf(command, sizeof command, "git init -q '%s'", dir);
    run(command);
    snprintf(command, sizeof command, "git -C '%s' update-index -z --index-info", dir);
    f = popen(command, "w");
    assert_non_null(f);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "100644 e69de29bb2d1d6434b8b29ae775ad8c2e48c5391 0\t%s%c", paths[i], 0);
    assert_int_equal(pclose(f), 0);
}

static size_t index_of(char *const *paths, size_t n, const char *path)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(paths[i], path) == 0)
            return i;
    fail_msg("git names '%s', which is not there", path);
    return n;
}

/* Returns how many paths git names; *says[i]: is paths[i] one of them? */
static size_t ask_git(const char *dir, const char *pattern, char *const *paths, size_t n,
                      bool says[PATHS])
{
    char command[COMMAND_MAX];
    char *line = NULL;
    size_t cap = 0, found = 0;
    FILE *f;

    snprintf(command, sizeof command, "git -C '%s' ls-files -z -- ':(glob)%s'", dir, pattern);
    f = popen(command, "r");
    assert_non_null(f);
    memset(says, 0, PATHS * sizeof *says);
    for (; getdelim(&line, &cap, '\0', f) > 0; found++)
        says[index_of(paths, n, line)] = true;
    free(line);
    assert_int_equal(pclose(f), 0);
    return found;
}

/* With the patterns that glob_check() lets pass and, where git takes them, those it refuses. */
static void says_what_git_says(void **state)
{
    char dir[] = "/tmp/volt-glob-XXXXXX";
    char command[COMMAND_MAX];
    char *paths[PATHS];
    bool says[PATHS];
    prng p = { SEED };
    size_t n, telling = 0;

    (void)state;
    unsetenv("GIT_DIR");
    assert_non_null(mkdtemp(dir));
    n = random_paths(&p, paths);
    make_index(dir, paths, n);
    for (int k = 0; k < PATTERNS; k++) {
        char *pattern = random_pattern(&p);
        size_t found;

        while (pattern[0] == '/' || strstr(pattern, "..")) { /* git ends, or goes up */
            free(pattern);
            pattern = random_pattern(&p);
        }
        found = ask_git(dir, pattern, paths, n, says);
        telling += found > 0 && found < n;
        for (size_t i = 0; i < n; i++)
            if (glob_match(slice_of(pattern), slice_of(paths[i])) != says[i])
                fail_msg("git says %d: '%s' '%s' (seed %d, pattern %d)", says[i], pattern, paths[i],
                         SEED, k);
        free(pattern);
    }
    printf("%d patterns, %zu paths; %zu patterns name some of them\n", PATTERNS, n, telling);
    assert_true(telling >= MUST_MATCH);
    for (size_t i = 0; i < n; i++)
        free(paths[i]);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    run(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_as_the_table_says),
        cmocka_unit_test(refuses_patterns_that_cannot_be_meant),
        cmocka_unit_test(no_pattern_takes_long),
        cmocka_unit_test(says_what_git_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
