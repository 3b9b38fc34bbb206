/* The parts of refs.h that look at history and at the directories of a repository. */
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "git/lib.h"
#include "git/refs.h"

static bool have_commit(git_repository *repo, const commit_id *id, git_oid *ret)
{
    CLEANUP(git_commit_free)
    git_commit *commit = NULL;

    return id && id->hex[0] && git_id_from(id, ret, NULL) == VOLT_OK &&
           git_commit_lookup(&commit, repo, ret) == 0;
}

/* Newest first, at most max of them. */
static int take(git_revwalk *walk, const commit_range *range, commit_list *ret)
{
    size_t cap = 0;
    git_oid id;
    int rc;

    while ((rc = git_revwalk_next(&id, walk)) == 0) {
        if (ret->n == range->max) {
            ret->cut = true;
            return 0;
        }
        if (ret->n == cap) {
            cap = cap ? 2 * cap : 16;
            ret->v = mem_grow(ret->v, cap, sizeof *ret->v);
        }
        git_id_to(&id, &ret->v[ret->n++]);
    }
    return rc == GIT_ITEROVER ? 0 : rc;
}

static void reverse(commit_list *list)
{
    for (size_t i = 0; i < list->n / 2; i++) {
        commit_id swap = list->v[i];

        list->v[i] = list->v[list->n - 1 - i];
        list->v[list->n - 1 - i] = swap;
    }
}

volt_code refs_between(refs *r, const commit_range *range, commit_list *ret, volt_err *err)
{
    CLEANUP(git_revwalk_free)
    git_revwalk *walk = NULL;
    git_repository *repo = refs_git(r);
    commit_list list = { 0 };
    bool known;
    git_oid from, to;
    int rc;

    assert(range->to && range->max >= 1);
    if (!have_commit(repo, range->to, &to))
        return volt_fail(err, VOLT_ENOTFOUND, "no commit %s in '%s'", range->to->hex,
                         git_repository_path(repo));
    known = have_commit(repo, range->from, &from);
    rc = git_revwalk_new(&walk, repo);
    if (rc == 0)
        rc = git_revwalk_sorting(walk, GIT_SORT_TOPOLOGICAL | GIT_SORT_TIME);
    if (rc == 0 && range->first_parent)
        rc = git_revwalk_simplify_first_parent(walk);
    if (rc == 0)
        rc = git_revwalk_push(walk, &to);
    if (rc == 0 && (known || have_commit(repo, range->base, &from)))
        rc = git_revwalk_hide(walk, &from);
    if (rc == 0)
        rc = take(walk, range, &list);
    if (rc < 0) {
        free(list.v);
        return git_fail(err, rc, "walk history from", range->to->hex);
    }
    if (list.n == 0 && !known) { /* a new branch at a commit of the base's: that commit on it */
        list.v = NEW_ARRAY(commit_id, 1);
        list.v[list.n++] = *range->to;
    }
    reverse(&list);
    *ret = list;
    return VOLT_OK;
}

typedef struct dir_list {
    char **v;
    size_t n;
} dir_list;

static void add_dir(dir_list *list, char *path)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->v[i], path) == 0) {
            free(path);
            return;
        }
    list->v[list->n++] = path;
}

static void add_children(dir_list *list, const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *e;

    if (!dir)
        return; /* a hint: what is not there is not watched */
    while (list->n < REFS_WATCH_MAX && (e = readdir(dir))) {
        struct stat st;

        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
            list->v[list->n++] = mem_printf("%s/%s", path, e->d_name);
    }
    closedir(dir);
}

volt_code refs_watch_dirs(refs *r, char ***ret, volt_err *err)
{
    git_repository *repo = refs_git(r);
    dir_list list = { .v = NEW_ARRAY(char *, REFS_WATCH_MAX + 1) };
    size_t next;

    add_dir(&list, mem_strndup(git_repository_path(repo), strlen(git_repository_path(repo)) - 1));
    add_dir(&list, mem_strndup(git_repository_commondir(repo),
                               strlen(git_repository_commondir(repo)) - 1));
    if (access(list.v[list.n - 1], F_OK) < 0) {
        volt_fail(err, VOLT_ENOTFOUND, "repository '%s' is gone", list.v[list.n - 1]);
        refs_watch_dirs_free(list.v);
        return VOLT_ENOTFOUND;
    }
    next = list.n;
    add_dir(&list, mem_printf("%srefs", git_repository_commondir(repo)));
    for (; next < list.n && list.n < REFS_WATCH_MAX; next++)
        add_children(&list, list.v[next]);
    *ret = list.v;
    return VOLT_OK;
}

void refs_watch_dirs_free(char **dirs)
{
    for (char **p = dirs; p && *p; p++)
        free(*p);
    free(dirs);
}

/* refs/heads/x becomes refs/remotes/origin/x, as in a clone. */
static void pack_line(buf *out, const ref_item *ref)
{
    const char *branch = strncmp(ref->name, "refs/heads/", 11) == 0 ? ref->name + 11 : NULL;

    buf_addf(out, "%s %s%s\n", ref->id.hex, branch ? "refs/remotes/origin/" : "",
             branch ? branch : ref->name);
}

static int pack_group(git_repository *repo, const char *glob, ref_list *list)
{
    CLEANUP(git_reference_iterator_free)
    git_reference_iterator *it = NULL;
    int rc = git_reference_iterator_glob_new(&it, repo, glob);

    while (rc == 0) {
        CLEANUP(git_reference_free)
        git_reference *ref = NULL;
        commit_id id; /* of whatever object the ref names: a tag stays a tag */

        rc = git_reference_next(&ref, it);
        if (rc == 0 && git_reference_target(ref)) {
            git_id_to(git_reference_target(ref), &id);
            ref_list_add(list, slice_of(git_reference_name(ref)), &id);
        }
    }
    return rc == GIT_ITEROVER ? 0 : rc;
}

volt_code refs_pack(refs *r, buf *ret, volt_err *err)
{
    git_repository *repo = refs_git(r);
    ref_list list = { 0 };
    int rc = pack_group(repo, "refs/heads/*", &list);

    if (rc == 0)
        rc = pack_group(repo, "refs/tags/*", &list);
    if (rc < 0) {
        ref_list_free(&list);
        return git_fail(err, rc, "list refs of", git_repository_path(repo));
    }
    ref_list_sort(&list); /* heads before tags, as remotes/origin is before tags */
    buf_adds(ret, "# pack-refs with: sorted \n");
    for (size_t i = 0; i < list.n; i++)
        pack_line(ret, &list.v[i]);
    ref_list_free(&list);
    return VOLT_OK;
}
