#include "exec/report_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "pipeline/glob.h"

#define DEPTH_ANY SIZE_MAX
#define AGE_S     2 /* some file systems count time in such steps */

DEFINE_CLEANUP(DIR *, closedir);

typedef struct search {
    const char *dir;
    slice pattern;
    size_t files_max, entries_max;
    size_t entries;
    char **todo; /* directories below dir, "" is itself */
    size_t todo_n, todo_cap;
    size_t depth_max; /* slashes in the path of a file that can match */
    report_files *found;
} search;

static void add_todo(search *s, char *path)
{
    if (s->todo_n == s->todo_cap) {
        s->todo_cap = s->todo_cap ? 2 * s->todo_cap : 16;
        s->todo = mem_grow(s->todo, s->todo_cap, sizeof *s->todo);
    }
    s->todo[s->todo_n++] = path;
}

/* The directories that the pattern names without a wildcard: only what is below them can match. */
static char *fixed_part(slice pattern)
{
    size_t end = 0;

    for (size_t i = 0; i < pattern.n && !strchr("*?[\\", pattern.p[i]); i++)
        if (pattern.p[i] == '/')
            end = i;
    return mem_strndup(pattern.p, end);
}

static size_t slashes(slice path)
{
    size_t n = 0;

    for (size_t i = 0; i < path.n; i++)
        n += path.p[i] == '/';
    return n;
}

static void add_file(search *s, char *path, const struct stat *st)
{
    report_files *f = s->found;

    if (f->n == f->cap) {
        f->cap = f->cap ? 2 * f->cap : 8;
        f->v = mem_grow(f->v, f->cap, sizeof *f->v);
    }
    f->v[f->n++] = (report_file){ path, *st };
}

static void look_at(search *s, int fd, const char *dir, const struct dirent *e)
{
    CLEANUP(free)
    char *path = mem_printf("%s%s%s", dir, *dir ? "/" : "", e->d_name);
    slice at = slice_of(path);
    struct stat st;

    if (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN && !glob_match(s->pattern, at))
        return;
    if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
        return;
    if (S_ISDIR(st.st_mode) && slashes(at) < s->depth_max && !slice_is(at, ".git"))
        add_todo(s, TAKE(path));
    else if (S_ISREG(st.st_mode) && glob_match(s->pattern, at))
        add_file(s, TAKE(path), &st);
}

static volt_code look_into(search *s, const char *dir, volt_err *err)
{
    CLEANUP(free)
    char *full = mem_printf("%s/%s", s->dir, dir);
    CLEANUP(closedir)
    DIR *d = opendir(full);
    const struct dirent *e;

    while (d && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (++s->entries > s->entries_max)
            return volt_fail(err, VOLT_EFULL, "more than %zu files to look through",
                             s->entries_max);
        look_at(s, dirfd(d), dir, e);
        if (s->found->n > s->files_max)
            return volt_fail(err, VOLT_EFULL, "more than %zu files match", s->files_max);
    }
    return VOLT_OK;
}

static int by_path(const void *a, const void *b)
{
    const report_file *fa = a, *fb = b;

    return strcmp(fa->path, fb->path);
}

volt_code report_files_find(const char *dir, slice pattern, size_t files_max, size_t entries_max,
                            report_files *ret, volt_err *err)
{
    search s = { .dir = dir,
                 .pattern = pattern,
                 .files_max = files_max,
                 .entries_max = entries_max,
                 .depth_max = memmem(pattern.p, pattern.n, "**", 2) ? DEPTH_ANY : slashes(pattern),
                 .found = ret };
    volt_code rc = VOLT_OK;

    add_todo(&s, fixed_part(pattern));
    while (s.todo_n > 0) {
        char *next = s.todo[--s.todo_n];

        if (!rc)
            rc = look_into(&s, next, err);
        free(next);
    }
    free(s.todo);
    if (ret->n)
        qsort(ret->v, ret->n, sizeof *ret->v, by_path);
    return rc;
}

void report_files_free(report_files *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->v[i].path);
    free(f->v);
    *f = (report_files){ 0 };
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool report_files_has(const report_files *before, const report_file *now)
{
    const report_file *was =
        before->n ? bsearch(now, before->v, before->n, sizeof *before->v, by_path) : NULL;

    return was && was->st.st_dev == now->st.st_dev && was->st.st_ino == now->st.st_ino &&
           was->st.st_size == now->st.st_size && same_time(was->st.st_mtim, now->st.st_mtim) &&
           same_time(was->st.st_ctim, now->st.st_ctim);
}

void report_files_age(const char *dir, report_file *f)
{
    CLEANUP(free)
    char *full = mem_printf("%s/%s", dir, f->path);
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, f->st.st_mtim };

    times[1].tv_sec -= AGE_S;
    utimensat(AT_FDCWD, full, times, AT_SYMLINK_NOFOLLOW);
    lstat(full, &f->st);
}
