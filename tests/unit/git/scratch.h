/*
 * scratch.h - a temporary directory, shell scripts run in it, and pictures of directories, for the
 * tests of the git layer.
 */
#ifndef VOLT_TESTS_GIT_SCRATCH_H
#define VOLT_TESTS_GIT_SCRATCH_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/rmtree.h"
#include "git/git.h"

typedef struct scratch {
    char dir[64];
} scratch;

#define PATH_SIZE 512

/* Makes the directory current, and git's identity and configuration the test's own. */
static inline int scratch_setup(void **state)
{
    scratch *s = NEW(scratch);
    volt_err err;

    snprintf(s->dir, sizeof s->dir, "/tmp/volt-git-test-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    assert_int_equal(chdir(s->dir), 0);
    umask(022);
    setenv("HOME", s->dir, 1);
    setenv("GIT_CONFIG_NOSYSTEM", "1", 1);
    setenv("GIT_CONFIG_GLOBAL", "/dev/null", 1);
    setenv("GIT_AUTHOR_NAME", "Ada", 1);
    setenv("GIT_AUTHOR_EMAIL", "ada@example.org", 1);
    setenv("GIT_COMMITTER_NAME", "Ada", 1);
    setenv("GIT_COMMITTER_EMAIL", "ada@example.org", 1);
    setenv("GIT_CONFIG_COUNT", "1", 1); /* tests need not survive a crash of the machine */
    setenv("GIT_CONFIG_KEY_0", "core.fsync", 1);
    setenv("GIT_CONFIG_VALUE_0", "none", 1);
    setenv("LC_ALL", "C", 1);
    unsetenv("GIT_DIR");
    assert_int_equal(git_setup(&err), VOLT_OK);
    *state = s;
    return 0;
}

static inline int scratch_teardown(void **state)
{
    scratch *s = *state;
    volt_err err;

    git_teardown();
    assert_int_equal(chdir("/"), 0);
    if (rmtree(AT_FDCWD, s->dir, &err))
        fail_msg("%s", err.msg);
    free(s);
    return 0;
}

/* Runs a script in the current directory; it must succeed.  Returns its output, without the last
 * newline, which the caller frees. */
static inline char *sh(const char *script)
{
    const char *argv[] = { "bash", "-ec", script, NULL };
    posix_spawn_file_actions_t files;
    int out[2], status;
    buf text = { 0 };
    ssize_t n;
    pid_t pid;

    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, out[1], STDOUT_FILENO);
    assert_int_equal(
        posix_spawnp(&pid, "bash", &files, NULL, (char *const *)(uintptr_t)argv, environ), 0);
    posix_spawn_file_actions_destroy(&files);
    close(out[1]);
    while ((n = read(out[0], buf_room(&text, 4096), 4096)) > 0)
        text.n += (size_t)n;
    close(out[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status)
        fail_msg("script failed (%d): %s", status, script);
    while (text.n && text.p[text.n - 1] == '\n')
        text.n--;
    buf_room(&text, 0)[0] = '\0';
    return text.p;
}

static inline char *shf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline char *shf(const char *fmt, ...)
{
    char script[4096];
    va_list ap;

    va_start(ap, fmt);
    assert_true(vsnprintf(script, sizeof script, fmt, ap) < (int)sizeof script);
    va_end(ap);
    return sh(script);
}

/* For scripts without output that counts. */
static inline void run(const char *script)
{
    free(sh(script));
}

static inline commit_id commit_at(const char *repo, const char *rev)
{
    CLEANUP(free)
    char *hex = shf("git -C '%s' rev-parse --verify '%s^{commit}'", repo, rev);
    commit_id id;

    assert_int_equal(commit_id_parse(slice_of(hex), &id, NULL), VOLT_OK);
    return id;
}

static inline uint64_t hash_file(int at, const char *name)
{
    CLEANUP(close)
    int fd = openat(at, name, O_RDONLY | O_NOFOLLOW);
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    char chunk[4096];
    ssize_t n;

    if (fd < 0)
        return 0;
    while ((n = read(fd, chunk, sizeof chunk)) > 0)
        for (ssize_t i = 0; i < n; i++)
            h = (h ^ (unsigned char)chunk[i]) * 1099511628211u;
    return h;
}

static inline int line_cmp(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* One line a name: type, mode, size, content.  A ".git" at the top is left out. */
static inline void picture_lines(int at, const char *prefix, char ***v, size_t *n)
{
    DIR *dir = fdopendir(at);
    const struct dirent *e;

    assert_non_null(dir);
    while ((e = readdir(dir))) {
        char target[PATH_SIZE] = "";
        struct stat st;
        int fd;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            (!*prefix && strcmp(e->d_name, ".git") == 0))
            continue;
        assert_int_equal(fstatat(at, e->d_name, &st, AT_SYMLINK_NOFOLLOW), 0);
        if (S_ISLNK(st.st_mode))
            assert_true(readlinkat(at, e->d_name, target, sizeof target - 1) >= 0);
        *v = mem_grow(*v, *n + 1, sizeof **v);
        (*v)[(*n)++] = mem_printf(
            "%s%s %06o %lld %016llx %s\n", prefix, e->d_name, (unsigned)st.st_mode,
            S_ISDIR(st.st_mode) ? 0LL : (long long)st.st_size,
            S_ISREG(st.st_mode) ? (unsigned long long)hash_file(at, e->d_name) : 0ULL, target);
        if (S_ISDIR(st.st_mode) && (fd = openat(at, e->d_name, O_RDONLY | O_NOFOLLOW)) >= 0) {
            CLEANUP(free)
            char *below = mem_printf("%s%s/", prefix, e->d_name);

            picture_lines(fd, below, v, n);
        }
    }
    closedir(dir);
}

/* The whole directory as text; the caller frees it. */
static inline char *picture(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    buf text = { 0 };
    char **v = NULL;
    size_t n = 0;

    assert_true(fd >= 0);
    picture_lines(fd, "", &v, &n);
    if (n)
        qsort(v, n, sizeof *v, line_cmp);
    for (size_t i = 0; i < n; i++) {
        buf_adds(&text, v[i]);
        free(v[i]);
    }
    free(v);
    return text.p ? text.p : mem_strdup("");
}

#endif
