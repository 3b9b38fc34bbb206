#include "git/git.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/text.h"
#include "git/lib.h"

static_assert(GIT_OID_HEXSZ + 1 <= COMMIT_ID_SIZE, "commit_id holds an id and its NUL");

/* A process that reads many repositories must not keep every object it ever saw: libgit2's default
 * is 256 MB. */
#define CACHE_BYTES (16 << 20)
/* Pack files open at once; an observer of thousands of repositories would run out of them. */
#define PACKS_OPEN_MAX 256

volt_code git_setup(volt_err *err)
{
    static const int levels[] = { GIT_CONFIG_LEVEL_PROGRAMDATA, GIT_CONFIG_LEVEL_SYSTEM,
                                  GIT_CONFIG_LEVEL_XDG, GIT_CONFIG_LEVEL_GLOBAL };

    if (git_libgit2_init() < 0)
        return git_fail(err, -1, "start", "libgit2");
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, levels[i], "");
    /* A repository of somebody else is what an observer watches, and is only read: nothing in it
     * is run, which is what the check guards against. */
    git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
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

static char *without_slash(const char *path)
{
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/')
        n--;
    return mem_strndup(path, n);
}

static volt_code fail_open(volt_err *err, int rc, const char *path)
{
    const git_error *e = git_error_last();
    struct stat st;

    if (stat(path, &st) < 0)
        return volt_fail(err, errno == ENOENT ? VOLT_ENOTFOUND : VOLT_EIO, "repository '%s': %s",
                         path, strerror(errno));
    if (e && (strstr(e->message, "objectformat") || strstr(e->message, "extension")))
        return volt_fail(err, VOLT_EINVALID,
                         "repository '%s' has a format that is not supported (%s); SHA-1 is", path,
                         e->message);
    if (rc == GIT_ENOTFOUND)
        return volt_fail(err, VOLT_EINVALID, "'%s' is not a git repository", path);
    return git_fail(err, rc, "open repository", path);
}

volt_code git_locate(const char *path, char **ret_git_dir, char **ret_common_dir, volt_err *err)
{
    CLEANUP(git_repository_free)
    git_repository *repo = NULL;
    int rc;

    assert(path && ret_git_dir && ret_common_dir);
    rc = git_repository_open_ext(&repo, path, GIT_REPOSITORY_OPEN_NO_SEARCH, NULL);
    if (rc < 0)
        return fail_open(err, rc, path);
    *ret_git_dir = without_slash(git_repository_path(repo));
    *ret_common_dir = without_slash(git_repository_commondir(repo));
    return VOLT_OK;
}
