#include "git/git.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <git2/sys/alloc.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/files.h"
#include "base/mem.h"
#include "base/text.h"
#include "git/lib.h"

static_assert(GIT_OID_HEXSZ + 1 <= COMMIT_ID_SIZE, "commit_id holds an id and its NUL");

/* A process that reads many repositories must not keep every object it ever saw: libgit2's default
 * is 256 MB. */
#define CACHE_BYTES (16 << 20)
/* Pack files open at once; an observer of thousands of repositories would run out of them. */
#define PACKS_OPEN_MAX 256
#define LINE_BYTES     4096
#define ALLOC_SURE_MAX (64 << 20)

/* ---- memory ---- */

/* libgit2 1.5 crashes, or frees twice, at some places where it gets no memory (tests/fault), so it
 * always does: the process ends instead, as everywhere (mem.h).  Not for a size that a broken or
 * hostile repository asked for: that is an error of the repository. */
static void *git_mem(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return n > ALLOC_SURE_MAX ? malloc(n) : mem_grow(NULL, n, 1);
}

static void *git_mem_array(size_t n, size_t size, const char *file, int line)
{
    size_t bytes;

    (void)file, (void)line;
    return __builtin_mul_overflow(n, size, &bytes) || bytes > ALLOC_SURE_MAX ? calloc(n, size)
                                                                             : mem_zero(bytes);
}

static char *git_mem_strndup(const char *s, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return mem_strndup(s, strnlen(s, n));
}

static char *git_mem_strdup(const char *s, const char *file, int line)
{
    (void)file, (void)line;
    return mem_strdup(s);
}

static char *git_mem_substrdup(const char *s, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return mem_strndup(s, n);
}

static void *git_mem_regrow(void *p, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return n > ALLOC_SURE_MAX ? realloc(p, n) : mem_grow(p, n, 1);
}

static void *git_mem_regrow_array(void *p, size_t n, size_t size, const char *file, int line)
{
    size_t bytes;

    if (__builtin_mul_overflow(n, size, &bytes))
        return NULL;
    return git_mem_regrow(p, bytes, file, line);
}

static void *git_mem_new_array(size_t n, size_t size, const char *file, int line)
{
    return git_mem_regrow_array(NULL, n, size, file, line);
}

static git_allocator memory = {
    .gmalloc = git_mem,
    .gcalloc = git_mem_array,
    .gstrdup = git_mem_strdup,
    .gstrndup = git_mem_strndup,
    .gsubstrdup = git_mem_substrdup,
    .grealloc = git_mem_regrow,
    .greallocarray = git_mem_regrow_array,
    .gmallocarray = git_mem_new_array,
    .gfree = free,
};

/* ---- set-up ---- */

volt_code git_setup(volt_err *err)
{
    static const int levels[] = { GIT_CONFIG_LEVEL_PROGRAMDATA, GIT_CONFIG_LEVEL_SYSTEM,
                                  GIT_CONFIG_LEVEL_XDG, GIT_CONFIG_LEVEL_GLOBAL };

    /* Nothing that matters to one who only reads refs and objects. */
    static const char *extensions[] = { "worktreeconfig", "partialclone", "preciousobjects" };

    git_libgit2_opts(GIT_OPT_SET_ALLOCATOR, &memory);
    if (git_libgit2_init() < 0)
        return git_fail(err, -1, "start", "libgit2");
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, levels[i], "");
    /* A repository of somebody else is what an observer watches, and is only read: nothing in it
     * is run, which is what the check guards against. */
    git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
    git_libgit2_opts(GIT_OPT_SET_EXTENSIONS, extensions, sizeof extensions / sizeof *extensions);
    git_libgit2_opts(GIT_OPT_SET_CACHE_MAX_SIZE, (ssize_t)CACHE_BYTES);
    git_libgit2_opts(GIT_OPT_SET_MWINDOW_FILE_LIMIT, (size_t)PACKS_OPEN_MAX);
    return VOLT_OK;
}

void git_teardown(void)
{
    git_libgit2_shutdown();
}

volt_code git_fail(volt_err *err, int rc, const char *what, const char *name)
{
    const git_error *e = git_error_last();
    volt_code code = VOLT_EIO;

    if (rc == GIT_ENOTFOUND)
        code = VOLT_ENOTFOUND;
    else if (rc == GIT_EAMBIGUOUS || rc == GIT_EINVALIDSPEC || rc == GIT_EINVALID)
        code = VOLT_EINVALID;
    else if (rc == GIT_EMISMATCH ||
             (e && (e->klass == GIT_ERROR_OBJECT || e->klass == GIT_ERROR_TREE ||
                    e->klass == GIT_ERROR_ZLIB)))
        code = VOLT_ECORRUPT;
    return volt_fail(err, code, "%s '%s': %s", what, name,
                     e ? e->message : "unknown libgit2 error");
}

volt_code commit_id_parse(slice text, commit_id *ret, volt_err *err)
{
    if (!text_is_oid(text))
        return volt_fail(err, VOLT_EINVALID, "'" SLICE_FMT "' is not a commit id",
                         (int)(text.n < 100 ? text.n : 100), text.p ? text.p : "");
    memcpy(ret->hex, text.p, text.n);
    ret->hex[text.n] = '\0';
    return VOLT_OK;
}

volt_code git_id_from(const commit_id *id, git_oid *ret, volt_err *err)
{
    if (!text_is_hex(slice_of(id->hex), GIT_OID_HEXSZ))
        return volt_fail(err, VOLT_EINVALID, "'%s' is not a SHA-1 commit id%s", id->hex,
                         text_is_oid(slice_of(id->hex)) ? ": SHA-256 is not supported yet" : "");
    git_oid_fromstr(ret, id->hex);
    return VOLT_OK;
}

void git_id_to(const git_oid *id, commit_id *ret)
{
    git_oid_tostr(ret->hex, sizeof ret->hex, id);
}

/* The text of a small file, without the newline; NULL when there is none. */
static char *read_line(const char *path)
{
    CLEANUP(close)
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char text[LINE_BYTES];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);

    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    return n > 0 ? mem_strndup(text, (size_t)n) : NULL;
}

/* `to`, seen from the directory `from`, as an absolute path; NULL when there is none. */
static char *resolve_from(const char *from, const char *to)
{
    CLEANUP(free)
    char *joined = to[0] == '/' ? mem_strdup(to) : mem_printf("%s/%s", from, to);

    return files_real_path(joined);
}

static bool is_dir(const char *base, const char *name)
{
    CLEANUP(free)
    char *path = mem_printf("%s/%s", base, name);
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A git directory, or the file that names one, as worktrees and submodules have it. */
static bool locate_at(const char *path, const char *name, char **ret_git_dir, char **ret_common_dir)
{
    CLEANUP(free)
    char *at = resolve_from(path, name);
    CLEANUP(free)
    char *link = at ? read_line(at) : NULL;
    CLEANUP(free)
    char *git_dir = NULL;
    CLEANUP(free)
    char *head = NULL;
    CLEANUP(free)
    char *common_file = NULL;
    CLEANUP(free)
    char *common = NULL;
    CLEANUP(free)
    char *common_dir = NULL;
    struct stat st;

    if (!at)
        return false;
    git_dir =
        link && strncmp(link, "gitdir: ", 8) == 0 ? resolve_from(path, link + 8) : mem_strdup(at);
    if (!git_dir)
        return false;
    head = mem_printf("%s/HEAD", git_dir);
    common_file = mem_printf("%s/commondir", git_dir);
    common = read_line(common_file);
    common_dir = common ? resolve_from(git_dir, common) : mem_strdup(git_dir);
    if (lstat(head, &st) < 0 || !common_dir || !is_dir(common_dir, "objects") ||
        !is_dir(common_dir, "refs"))
        return false;
    *ret_git_dir = TAKE(git_dir);
    *ret_common_dir = TAKE(common_dir);
    return true;
}

static bool locate(const char *path, char **ret_git_dir, char **ret_common_dir)
{
    return locate_at(path, ".git", ret_git_dir, ret_common_dir) ||
           locate_at(path, ".", ret_git_dir, ret_common_dir);
}

/* What libgit2 1.5 cannot read. */
static volt_code check_format(const char *path, const char *common_dir, volt_err *err)
{
    static const struct {
        const char *name, *known;
    } formats[] = { { "extensions.objectformat", "sha1" }, { "extensions.refstorage", "files" } };
    CLEANUP(free)
    char *file = mem_printf("%s/config", common_dir);
    CLEANUP(git_config_free)
    git_config *config = NULL;
    CLEANUP(git_config_free)
    git_config *snapshot = NULL;
    const char *value;

    if (git_config_open_ondisk(&config, file) < 0 || git_config_snapshot(&snapshot, config) < 0)
        return VOLT_OK; /* without one it is of the first format */
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (git_config_get_string(&value, snapshot, formats[i].name) == 0 &&
            strcasecmp(value, formats[i].known) != 0)
            return volt_fail(err, VOLT_EINVALID,
                             "repository '%s' has %s = %s, which is not supported; %s is", path,
                             formats[i].name, value, formats[i].known);
    return VOLT_OK;
}

/* By hand, for opening a repository with libgit2 1.5 loses memory when it has extensions, and takes
 * its configuration in. */
volt_code git_locate(const char *path, char **ret_git_dir, char **ret_common_dir, volt_err *err)
{
    char *git_dir, *common_dir;
    volt_code code;
    struct stat st;

    assert(path && ret_git_dir && ret_common_dir);
    if (stat(path, &st) < 0)
        return volt_fail(err, errno == ENOENT ? VOLT_ENOTFOUND : VOLT_EIO, "repository '%s': %s",
                         path, strerror(errno));
    if (S_ISDIR(st.st_mode) && access(path, R_OK | X_OK) < 0)
        return volt_fail(err, VOLT_EIO, "repository '%s': %s", path, strerror(errno));
    if (!locate(path, &git_dir, &common_dir))
        return volt_fail(err, VOLT_EINVALID, "'%s' is not a git repository", path);
    code = check_format(path, common_dir, err);
    if (code) {
        free(git_dir);
        free(common_dir);
        return code;
    }
    *ret_git_dir = git_dir;
    *ret_common_dir = common_dir;
    return VOLT_OK;
}

char *git_top(void)
{
    CLEANUP(free)
    char *path = mem_strdup(".");

    for (;;) {
        CLEANUP(free)
        char *git_dir = NULL;
        CLEANUP(free)
        char *common_dir = NULL;
        CLEANUP(free)
        char *real = NULL;
        char *above;

        if (locate(path, &git_dir, &common_dir))
            return TAKE(path);
        real = files_real_path(path);
        if (!real || strcmp(real, "/") == 0)
            return NULL;
        above = strcmp(path, ".") == 0 ? mem_strdup("..") : mem_printf("%s/..", path);
        free(path);
        path = above;
    }
}
