#include "git/tree.h"

#include <assert.h>
#include <strings.h>

#include "base/mem.h"
#include "git/lib.h"

typedef struct frame {
    git_tree *tree;
    size_t next;   /* its entry to look at */
    size_t path_n; /* length of the path of this directory, with its slash */
} frame;

typedef struct walk {
    git_repository *repo;
    const char *commit; /* for messages */
    tree_blob_visit *visit;
    void *ctx;
    frame *stack;
    size_t depth;
    size_t cap;
    size_t files;
    buf path;
    bool stopped;
} walk;

static void walk_free(walk *w)
{
    while (w->depth)
        git_tree_free(w->stack[--w->depth].tree);
    free(w->stack);
    buf_free(&w->path);
}

static void cleanup_walk(walk *w)
{
    walk_free(w);
}

static volt_code fail_malformed(const walk *w, const char *why, volt_err *err)
{
    return volt_fail(err, VOLT_ECORRUPT, "commit %s holds '%.256s', which %s", w->commit,
                     buf_str(&w->path), why);
}

/* What git itself refuses to check out (verify_path() in its read-cache.c): such a tree was made by
 * hand, to reach into .git or out of the directory. */
static const char *refused(const char *name, uint32_t mode)
{
    if (!*name || strchr(name, '/'))
        return "is a malformed name";
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcasecmp(name, ".git") == 0)
        return "git does not allow";
    if (mode == TREE_SYMLINK && strcasecmp(name, ".gitmodules") == 0)
        return "must not be a symbolic link";
    return NULL;
}

/* The order of git's trees: a directory as if its name ended in a slash. */
static int entry_cmp(const git_tree_entry *a, const git_tree_entry *b)
{
    const char *an = git_tree_entry_name(a), *bn = git_tree_entry_name(b);
    size_t i = 0;
    int ac, bc;

    while (an[i] && an[i] == bn[i])
        i++;
    ac = an[i] ? (unsigned char)an[i] : git_tree_entry_type(a) == GIT_OBJECT_TREE ? '/' : 0;
    bc = bn[i] ? (unsigned char)bn[i] : git_tree_entry_type(b) == GIT_OBJECT_TREE ? '/' : 0;
    return ac - bc;
}

/* A file with the name of directory `i` stands before it, and between them only names that begin
 * with theirs. */
static bool has_file_twin(const git_tree *tree, size_t i)
{
    const char *name = git_tree_entry_name(git_tree_entry_byindex(tree, i));
    size_t n = strlen(name);

    while (i-- > 0) {
        const char *other = git_tree_entry_name(git_tree_entry_byindex(tree, i));

        if (strncmp(other, name, n) != 0)
            return false;
        if (!other[n])
            return true;
    }
    return false;
}

static volt_code check_entry(const walk *w, const git_tree *tree, size_t i, uint32_t mode,
                             volt_err *err)
{
    const git_tree_entry *e = git_tree_entry_byindex(tree, i);
    const char *why = refused(git_tree_entry_name(e), mode);

    if (why)
        return fail_malformed(w, why, err);
    if (w->path.n >= TREE_PATH_MAX)
        return volt_fail(err, VOLT_ECORRUPT, "commit %s holds a path longer than %d bytes",
                         w->commit, TREE_PATH_MAX);
    if ((i > 0 && entry_cmp(git_tree_entry_byindex(tree, i - 1), e) >= 0) ||
        (mode == GIT_FILEMODE_TREE && has_file_twin(tree, i)))
        return fail_malformed(w, "is there twice or out of order", err);
    return VOLT_OK;
}

static volt_code push(walk *w, git_tree *tree, volt_err *err)
{
    if (w->depth == TREE_DEPTH_MAX) {
        git_tree_free(tree);
        return volt_fail(err, VOLT_ECORRUPT, "commit %s is nested deeper than %d directories",
                         w->commit, TREE_DEPTH_MAX);
    }
    if (w->depth == w->cap) {
        w->cap = w->cap ? 2 * w->cap : 16;
        w->stack = mem_grow(w->stack, w->cap, sizeof *w->stack);
    }
    w->stack[w->depth++] = (frame){ .tree = tree, .path_n = w->path.n };
    return VOLT_OK;
}

static volt_code enter(walk *w, const git_oid *id, volt_err *err)
{
    git_tree *tree;
    int rc = git_tree_lookup(&tree, w->repo, id);

    if (rc == GIT_ENOTFOUND)
        return volt_fail(err, VOLT_ECORRUPT, "commit %s: directory '%s' is missing", w->commit,
                         buf_str(&w->path));
    if (rc < 0)
        return git_fail(err, rc, "read directory", buf_str(&w->path));
    if (w->path.n)
        buf_addc(&w->path, '/');
    return push(w, tree, err);
}

static volt_code visit_entry(walk *w, const git_tree_entry *e, uint32_t mode, volt_err *err)
{
    tree_blob file = { buf_str(&w->path), w->path.n, mode, git_tree_entry_id(e) };

    if (mode == GIT_FILEMODE_TREE)
        return enter(w, git_tree_entry_id(e), err);
    if (mode == GIT_FILEMODE_UNREADABLE)
        return fail_malformed(w, "has a mode that git does not know", err);
    if (++w->files > TREE_FILES_MAX)
        return volt_fail(err, VOLT_ECORRUPT, "commit %s holds more than %d files", w->commit,
                         TREE_FILES_MAX);
    w->stopped = !w->visit(w->ctx, &file);
    return VOLT_OK;
}

static void path_cut(buf *path, size_t n)
{
    path->n = n;
    if (path->p)
        path->p[n] = '\0';
}

static volt_code step(walk *w, volt_err *err)
{
    frame *top = &w->stack[w->depth - 1];
    const git_tree_entry *e;
    uint32_t mode;
    volt_code code;

    if (top->next == git_tree_entrycount(top->tree)) {
        git_tree_free(top->tree);
        w->depth--;
        return VOLT_OK;
    }
    e = git_tree_entry_byindex(top->tree, top->next);
    mode = (uint32_t)git_tree_entry_filemode(e);
    path_cut(&w->path, top->path_n);
    buf_adds(&w->path, git_tree_entry_name(e));
    code = check_entry(w, top->tree, top->next, mode, err);
    top->next++;
    return code ? code : visit_entry(w, e, mode, err);
}

/* Begins at `below`; nothing to walk when there is no such path. */
static volt_code begin(walk *w, git_tree *root, const char *below, volt_err *err)
{
    CLEANUP(git_tree_entry_free)
    git_tree_entry *e = NULL;
    int rc;

    if (!*below)
        return push(w, root, err);
    rc = git_tree_entry_bypath(&e, root, below);
    git_tree_free(root);
    if (rc == GIT_ENOTFOUND)
        return VOLT_OK;
    if (rc < 0)
        return git_fail(err, rc, "read directory", below);
    buf_adds(&w->path, below);
    return visit_entry(w, e, (uint32_t)git_tree_entry_filemode(e), err);
}

volt_code tree_walk_blobs(objects *o, const commit_id *id, const char *below,
                          tree_blob_visit *visit, void *ctx, volt_err *err)
{
    CLEANUP(walk)
    walk w = { .repo = objects_git(o), .commit = id->hex, .visit = visit, .ctx = ctx };
    git_tree *root;
    volt_code code = objects_tree(o, id, &root, err);

    if (code == VOLT_OK)
        code = begin(&w, root, below, err);
    while (code == VOLT_OK && w.depth && !w.stopped)
        code = step(&w, err);
    return code;
}

typedef struct plain {
    tree_visit *visit;
    void *ctx;
} plain;

static bool visit_plain(void *ctx, const tree_blob *file)
{
    const plain *p = ctx;
    tree_file f = { file->path, file->mode, { (const char *)file->id->id, sizeof file->id->id } };

    return p->visit(p->ctx, &f);
}

volt_code tree_walk(objects *o, const commit_id *id, const char *below, tree_visit *visit,
                    void *ctx, volt_err *err)
{
    plain p = { visit, ctx };

    assert(o && id && below && visit);
    return tree_walk_blobs(o, id, below, visit_plain, &p, err);
}

volt_code tree_read(objects *o, const commit_id *id, const char *path, size_t max, buf *ret,
                    volt_err *err)
{
    CLEANUP(git_tree_free)
    git_tree *root = NULL;
    CLEANUP(git_tree_entry_free)
    git_tree_entry *e = NULL;
    CLEANUP(git_odb_free)
    git_odb *odb = NULL;
    CLEANUP(git_blob_free)
    git_blob *blob = NULL;
    volt_code code = objects_tree(o, id, &root, err);
    git_object_t type;
    uint32_t mode;
    size_t n;
    int rc;

    if (code)
        return code;
    rc = git_tree_entry_bypath(&e, root, path);
    if (rc == GIT_ENOTFOUND)
        return volt_fail(err, VOLT_ENOTFOUND, "no '%s' in commit %s", path, id->hex);
    if (rc < 0)
        return git_fail(err, rc, "look up", path);
    mode = (uint32_t)git_tree_entry_filemode(e);
    if (mode != TREE_FILE && mode != TREE_EXECUTABLE)
        return volt_fail(err, VOLT_EINVALID, "'%s' in commit %s is not a regular file", path,
                         id->hex);
    /* The size first: the header of an object says it, so a huge one is never loaded. */
    rc = git_repository_odb(&odb, objects_git(o));
    if (rc == 0)
        rc = git_odb_read_header(&n, &type, odb, git_tree_entry_id(e));
    if (rc < 0)
        return git_fail(err, rc, "read", path);
    if (n > max)
        return volt_fail(err, VOLT_EFULL, "'%s' in commit %s has %zu bytes, more than %zu", path,
                         id->hex, n, max);
    rc = git_blob_lookup(&blob, objects_git(o), git_tree_entry_id(e));
    if (rc < 0)
        return git_fail(err, rc, "read", path);
    buf_add(ret, git_blob_rawcontent(blob), (size_t)git_blob_rawsize(blob));
    return VOLT_OK;
}
