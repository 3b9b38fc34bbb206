#include "git/refs.h"

#include <assert.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/text.h"
#include "git/lib.h"

#define HEADS      "refs/heads/"
#define LIST_TRIES 5

struct refs {
    char *path; /* for messages */
    char *packed;
    git_repository *repo;
    ref_list last; /* what refs_list() told last time */
};

volt_code refs_open(const char *path, refs **ret, volt_err *err)
{
    CLEANUP(free)
    char *git_dir = NULL;
    CLEANUP(free)
    char *common_dir = NULL;
    git_repository *repo;
    volt_code code;
    int rc;

    assert(path && ret);
    code = git_locate(path, &git_dir, &common_dir, err); /* for its clear errors */
    if (code)
        return code;
    rc = git_repository_open_ext(&repo, path, GIT_REPOSITORY_OPEN_NO_SEARCH, NULL);
    if (rc < 0)
        return git_fail(err, rc, "open repository", path);
    *ret = NEW(refs);
    (*ret)->path = mem_strdup(path);
    (*ret)->packed = mem_printf("%spacked-refs", git_repository_commondir(repo));
    (*ret)->repo = repo;
    return VOLT_OK;
}

void refs_free(refs *r)
{
    if (!r)
        return;
    ref_list_free(&r->last);
    git_repository_free(r->repo);
    free(r->path);
    free(r->packed);
    free(r);
}

git_repository *refs_git(const refs *r)
{
    return r->repo;
}

void ref_list_free(ref_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->v[i].name);
    free(list->v);
    *list = (ref_list){ 0 };
}

void ref_list_add(ref_list *list, slice name, const commit_id *id)
{
    if (list->n == list->cap) {
        list->cap = list->cap ? 2 * list->cap : 16;
        list->v = mem_grow(list->v, list->cap, sizeof *list->v);
    }
    list->v[list->n++] = (ref_item){ .name = mem_strndup(name.p, name.n), .id = *id };
}

static int item_cmp(const void *a, const void *b)
{
    return strcmp(((const ref_item *)a)->name, ((const ref_item *)b)->name);
}

void ref_list_sort(ref_list *list)
{
    if (list->n)
        qsort(list->v, list->n, sizeof *list->v, item_cmp);
}

const ref_item *ref_list_find(const ref_list *list, const char *name)
{
    size_t lo = 0, hi = list->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(name, list->v[mid].name);

        if (c == 0)
            return &list->v[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

bool refs_match(const char *name, const char *const *globs, size_t n)
{
    bool branch = strncmp(name, HEADS, strlen(HEADS)) == 0;

    if (n == 0)
        return branch;
    for (size_t i = 0; i < n; i++) {
        bool full = strncmp(globs[i], "refs/", 5) == 0;

        if (full ? text_glob(globs[i], name) : branch && text_glob(globs[i], name + strlen(HEADS)))
            return true;
    }
    return false;
}

/* The commit a ref leads to.  Branches name commits, which git enforces, so those are not read. */
static bool commit_of(git_reference *ref, commit_id *ret)
{
    CLEANUP(git_reference_free)
    git_reference *direct = NULL;
    CLEANUP(git_object_free)
    git_object *commit = NULL;
    const git_oid *id = git_reference_target(ref);

    if (!id) { /* symbolic */
        if (git_reference_resolve(&direct, ref) < 0)
            return false;
        ref = direct;
        id = git_reference_target(ref);
    }
    if (!id)
        return false;
    if (!git_reference_is_branch(ref)) {
        if (git_reference_peel(&commit, ref, GIT_OBJECT_COMMIT) < 0)
            return false;
        id = git_object_id(commit);
    }
    git_id_to(id, ret);
    return true;
}

static const char *scope_of(const char *const *globs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strncmp(globs[i], "refs/", 5) == 0 && strncmp(globs[i], HEADS, strlen(HEADS)) != 0)
            return "refs/*";
    return HEADS "*";
}

/* A ref that `git pack-refs` moves while they are listed can be missed: its loose file was seen,
 * and is gone when it is to be read.  So a ref that was there last time and is not now is looked up
 * by its name. */
static void add_missed(refs *r, const char *const *globs, size_t n, ref_list *list)
{
    size_t listed = list->n;

    for (size_t i = 0; i < r->last.n; i++) {
        CLEANUP(git_reference_free)
        git_reference *ref = NULL;
        const char *name = r->last.v[i].name;
        ref_list sorted = { .v = list->v, .n = listed };
        commit_id id;

        if (!ref_list_find(&sorted, name) && refs_match(name, globs, n) &&
            git_reference_lookup(&ref, r->repo, name) == 0 && commit_of(ref, &id))
            ref_list_add(list, slice_of(name), &id);
    }
    if (list->n > listed)
        ref_list_sort(list);
}

static void copy_list(const ref_list *from, ref_list *to)
{
    ref_list_free(to);
    for (size_t i = 0; i < from->n; i++)
        ref_list_add(to, slice_of(from->v[i].name), &from->v[i].id);
}

static int list_once(refs *r, const char *const *globs, size_t n, ref_list *list)
{
    CLEANUP(git_reference_iterator_free)
    git_reference_iterator *it = NULL;
    int rc = git_reference_iterator_glob_new(&it, r->repo, scope_of(globs, n));

    while (rc == 0) {
        CLEANUP(git_reference_free)
        git_reference *ref = NULL;
        commit_id id;

        rc = git_reference_next(&ref, it);
        if (rc == 0 && refs_match(git_reference_name(ref), globs, n) && commit_of(ref, &id))
            ref_list_add(list, slice_of(git_reference_name(ref)), &id);
    }
    return rc == GIT_ITEROVER ? 0 : rc;
}

/* What changes whenever packed-refs does: it is always renamed into place. */
static ino_t packed_inode(const refs *r)
{
    struct stat st;

    return stat(r->packed, &st) < 0 ? 0 : st.st_ino;
}

volt_code refs_list(refs *r, const char *const *globs, size_t n, ref_list *ret, volt_err *err)
{
    ref_list list = { 0 };
    int tries = 0;
    ino_t before;
    int rc;

    assert(r && ret);
    do { /* libgit2 reads packed-refs first: packing meanwhile would show the refs as they were */
        ref_list_free(&list);
        before = packed_inode(r);
        rc = list_once(r, globs, n, &list);
    } while (rc == 0 && before != packed_inode(r) && ++tries < LIST_TRIES);
    if (rc < 0) {
        ref_list_free(&list);
        return git_fail(err, rc, "list refs of", r->path);
    }
    /* libgit2 lists nothing, and no error, where there is no directory any more. */
    if (list.n == 0 && access(git_repository_commondir(r->repo), F_OK) < 0)
        return volt_fail(err, VOLT_ENOTFOUND, "repository '%s' is gone", r->path);
    ref_list_sort(&list);
    add_missed(r, globs, n, &list);
    copy_list(&list, &r->last);
    ref_list_free(ret);
    *ret = list;
    return VOLT_OK;
}

volt_code refs_default_branch(refs *r, char **ret, volt_err *err)
{
    CLEANUP(git_reference_free)
    git_reference *head = NULL;
    const char *name;
    int rc = git_reference_lookup(&head, r->repo, "HEAD");

    if (rc < 0)
        return git_fail(err, rc, "read HEAD of", r->path);
    name = git_reference_symbolic_target(head);
    if (!name)
        return volt_fail(err, VOLT_ENOTFOUND, "HEAD of '%s' is detached", r->path);
    *ret = mem_strdup(name);
    return VOLT_OK;
}

volt_code refs_head(refs *r, commit_id *ret, volt_err *err)
{
    git_oid id;
    int rc = git_reference_name_to_id(&id, r->repo, "HEAD");

    if (rc == GIT_ENOTFOUND)
        return volt_fail(err, VOLT_ENOTFOUND, "HEAD of '%s' names no commit", r->path);
    if (rc < 0)
        return git_fail(err, rc, "read HEAD of", r->path);
    git_id_to(&id, ret);
    return VOLT_OK;
}

/* An id, a ref's name or its end, an id's beginning.  Only then git's full notation, for libgit2
 * 1.5 loses memory each time it finds that a text is no `git describe` output. */
static int resolve(git_repository *repo, const char *text, git_object **ret)
{
    CLEANUP(git_reference_free)
    git_reference *ref = NULL;
    size_t n = strlen(text);
    git_oid id;
    bool hex = n >= GIT_OID_MINPREFIXLEN && n <= GIT_OID_HEXSZ &&
               text_is_hex((slice){ text, n }, n) && git_oid_fromstrn(&id, text, n) == 0;

    if (hex && n == GIT_OID_HEXSZ)
        return git_object_lookup(ret, repo, &id, GIT_OBJECT_ANY);
    if (git_reference_dwim(&ref, repo, text) == 0)
        return git_reference_peel(ret, ref, GIT_OBJECT_ANY);
    if (hex)
        return git_object_lookup_prefix(ret, repo, &id, n, GIT_OBJECT_ANY);
    return strpbrk(text, "~^@:{") ? git_revparse_single(ret, repo, text) : GIT_ENOTFOUND;
}

volt_code refs_resolve(refs *r, const char *text, commit_id *ret, volt_err *err)
{
    CLEANUP(git_object_free)
    git_object *found = NULL;
    CLEANUP(git_object_free)
    git_object *commit = NULL;
    int rc = resolve(r->repo, text, &found);

    if (rc == GIT_EAMBIGUOUS)
        return volt_fail(err, VOLT_EINVALID, "'%s' fits several objects in '%s'", text, r->path);
    if (rc == GIT_ENOTFOUND || rc == GIT_EINVALIDSPEC)
        return volt_fail(err, VOLT_ENOTFOUND, "no commit '%s' in '%s'", text, r->path);
    if (rc < 0)
        return git_fail(err, rc, "look up", text);
    if (git_object_peel(&commit, found, GIT_OBJECT_COMMIT) < 0)
        return volt_fail(err, VOLT_EINVALID, "'%s' in '%s' is not a commit", text, r->path);
    git_id_to(git_object_id(commit), ret);
    return VOLT_OK;
}

/* As much of `text` as fits, whole characters only; a byte that is not UTF-8 becomes a "?". */
static void copy_text(char *to, size_t size, const char *text)
{
    slice rest = { text, strnlen(text ? text : "", 2 * size) };
    size_t n = 0;

    while (rest.n && n < size - 1) {
        size_t room = size - 1 - n;
        size_t good = text_utf8_prefix((slice){ rest.p, rest.n < room ? rest.n : room });
        bool cut = good < room && text_utf8_prefix(rest) > good; /* a character beyond the end */

        if (good)
            memcpy(to + n, rest.p, good);
        n += good;
        rest.p += good;
        rest.n -= good;
        if (cut)
            break;
        if (rest.n && n < size - 1) {
            to[n++] = '?';
            rest.p++;
            rest.n--;
        }
    }
    to[n] = '\0';
}

volt_code refs_commit(refs *r, const commit_id *id, commit_note *ret, volt_err *err)
{
    CLEANUP(git_commit_free)
    git_commit *commit = NULL;
    git_oid oid;
    volt_code code = git_id_from(id, &oid, err);
    int rc;

    if (code)
        return code;
    rc = git_commit_lookup(&commit, r->repo, &oid);
    if (rc == GIT_ENOTFOUND)
        return volt_fail(err, VOLT_ENOTFOUND, "no commit %s in '%s'", id->hex, r->path);
    if (rc < 0)
        return git_fail(err, rc, "read commit", id->hex);
    ret->id = *id;
    copy_text(ret->subject, sizeof ret->subject, git_commit_summary(commit));
    copy_text(ret->author, sizeof ret->author, git_commit_author(commit)->name);
    ret->time_ms = git_commit_time(commit) * 1000;
    ret->parents = git_commit_parentcount(commit);
    return VOLT_OK;
}
