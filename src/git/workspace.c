#include "git/workspace.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/rmtree.h"
#include "git/checkout.h"

#define TRASH          ".trash-"
#define TRASH_TRIES    100000
#define GIT_INDEX_FILE ".git/index"

struct workspace {
    char *dir;
    workspace **parts; /* submodules, of the last move that had any */
    size_t parts_n;
    bool is_part; /* in a workspace: nothing may be set aside beside it */
    char *source; /* of the handles below; NULL: none are open */
    objects *objects;
    refs *refs;
    manifest last;
    bool trusted; /* `last` is what we left in the directory `dev`, `ino` */
    dev_t dev;
    ino_t ino;
};

workspace *workspace_open(const char *dir)
{
    workspace *ws = NEW(workspace);

    ws->dir = mem_strdup(dir);
    return ws;
}

static void close_source(workspace *ws)
{
    refs_free(TAKE(ws->refs));
    objects_free(TAKE(ws->objects));
    free(TAKE(ws->source));
}

static void forget(workspace *ws)
{
    manifest_free(&ws->last);
    ws->trusted = false;
}

void workspace_free(workspace *ws)
{
    if (!ws)
        return;
    for (size_t i = 0; i < ws->parts_n; i++)
        workspace_free(ws->parts[i]);
    free(ws->parts);
    close_source(ws);
    forget(ws);
    free(ws->dir);
    free(ws);
}

const char *workspace_dir(const workspace *ws)
{
    return ws->dir;
}

/* The handles are kept, for opening takes longer than a move by a commit. */
static volt_code open_source(workspace *ws, const char *source, const commit_id *id, volt_err *err)
{
    volt_code code;

    if (ws->source && strcmp(ws->source, source) == 0 && objects_have(ws->objects, id))
        return VOLT_OK;
    close_source(ws);
    code = objects_open(source, &ws->objects, err);
    if (code == VOLT_OK)
        code = refs_open(source, &ws->refs, err);
    if (code)
        close_source(ws);
    else
        ws->source = mem_strdup(source);
    return code;
}

volt_code workspace_discard(workspace *ws, volt_err *err)
{
    forget(ws);
    if (ws->is_part)
        return rmtree(AT_FDCWD, ws->dir, err);
    for (int i = 1; i < TRASH_TRIES; i++) {
        CLEANUP(free)
        char *aside = mem_printf("%s" TRASH "%d", ws->dir, i);

        if (renameat2(AT_FDCWD, ws->dir, AT_FDCWD, aside, RENAME_NOREPLACE) == 0 || errno == ENOENT)
            return VOLT_OK;
        if (errno != EEXIST)
            break;
    }
    return volt_fail(err, VOLT_EIO, "set aside workspace '%s': %s", ws->dir, strerror(errno));
}

/* Opens the directory, or -1 with *why when it is not to be worked on. */
static int open_dir(const workspace *ws, const char **why)
{
    int fd = open(ws->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        *why = errno == ENOTDIR || errno == ELOOP ? "it is not a directory" : strerror(errno);
    else if (st.st_uid != geteuid())
        *why = "it belongs to another user";
    else if (ws->trusted && (st.st_dev != ws->dev || st.st_ino != ws->ino))
        *why = "it was replaced by another directory";
    else
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static volt_code set_aside(workspace *ws, const char *why, workspace_report *report, volt_err *err)
{
    snprintf(report->reason, sizeof report->reason, "%s", why);
    return workspace_discard(ws, err);
}

/* A descriptor of a directory to work in: the one that is there, or a new one. */
static volt_code get_dir(workspace *ws, int *ret, workspace_report *report, volt_err *err)
{
    const char *why = NULL;
    struct stat st;
    volt_code code;

    if (lstat(ws->dir, &st) == 0) {
        *ret = open_dir(ws, &why);
        if (*ret >= 0)
            return VOLT_OK;
        code = set_aside(ws, why, report, err);
        if (code)
            return code;
    }
    forget(ws);
    report->fresh = true;
    if (mkdir(ws->dir, 0755) < 0)
        return volt_fail(err, VOLT_EIO, "make workspace '%s': %s", ws->dir, strerror(errno));
    *ret = open_dir(ws, &why);
    return *ret < 0 ? volt_fail(err, VOLT_EIO, "open workspace '%s': %s", ws->dir, why) : VOLT_OK;
}

static void index_entry(const item *it, const struct stat *owner, git_index_entry *ret)
{
    *ret = (git_index_entry){
        .ctime = { (int32_t)it->at.ctime.tv_sec, (uint32_t)it->at.ctime.tv_nsec },
        .mtime = { (int32_t)it->at.mtime.tv_sec, (uint32_t)it->at.mtime.tv_nsec },
        .dev = (uint32_t)it->at.dev,
        .ino = (uint32_t)it->at.ino,
        .mode = it->mode,
        .uid = owner->st_uid,
        .gid = owner->st_gid,
        .file_size = it->mode == TREE_SUBMODULE ? 0 : (uint32_t)it->at.size,
        .id = it->id,
        .path = it->path,
    };
}

/* The index is for the task's git only, so that `git status` need not read every file.  It is
 * always written, and its time tells ours (manifest.written) in the file system's own clock. */
static volt_code write_index(const workspace *ws, manifest *m, volt_err *err)
{
    CLEANUP(free)
    char *path = mem_printf("%s/" GIT_INDEX_FILE, ws->dir);
    CLEANUP(git_index_free)
    git_index *index = NULL;
    struct stat st;
    int rc;

    if (lstat(ws->dir, &st) < 0)
        return volt_fail(err, VOLT_EIO, "look at '%s': %s", ws->dir, strerror(errno));
    unlink(path); /* or libgit2 would read it */
    rc = git_index_open(&index, path);
    for (size_t i = m->own_n; rc == 0 && i < m->n; i++) {
        git_index_entry e;

        index_entry(&m->v[i], &st, &e);
        rc = git_index_add(index, &e);
    }
    if (rc == 0)
        rc = git_index_write(index);
    if (rc < 0)
        return git_fail(err, rc, "write", path);
    if (lstat(path, &st) < 0)
        return volt_fail(err, VOLT_EIO, "look at '%s': %s", path, strerror(errno));
    m->written = st.st_ctim;
    return VOLT_OK;
}

static volt_code prove_head(const workspace *ws, const commit_id *id, volt_err *err)
{
    CLEANUP(free)
    char *path = mem_printf("%s/.git/HEAD", ws->dir);
    CLEANUP(close)
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    char text[COMMIT_ID_SIZE + 1] = "";
    size_t n = strlen(id->hex);

    if (fd < 0 || read(fd, text, sizeof text) != (ssize_t)n + 1 || memcmp(text, id->hex, n) != 0)
        return volt_fail(err, VOLT_ECORRUPT, "workspace '%s' is not at commit %s", ws->dir,
                         id->hex);
    return VOLT_OK;
}

static void trust(workspace *ws, manifest *m)
{
    struct stat st;

    forget(ws);
    ws->last = *m;
    *m = (manifest){ 0 };
    ws->trusted = lstat(ws->dir, &st) == 0;
    ws->dev = st.st_dev;
    ws->ino = st.st_ino;
}

/* What a directory is to be. */
typedef struct wanted {
    manifest_git git;
    const workspace_part *parts;
    size_t parts_n;
} wanted;

/* One try.  *spoiled: what is in the directory stood in the way. */
static volt_code fill(workspace *ws, const wanted *want, workspace_report *report, bool *spoiled,
                      volt_err *err)
{
    const manifest_git *git = &want->git;
    manifest m;
    int root = -1;
    volt_code code = get_dir(ws, &root, report, err);

    if (code)
        return code;
    code = manifest_build(ws->objects, git, &m, err);
    if (code) {
        close(root);
        return code;
    }
    if (ws->trusted)
        manifest_learn(&m, &ws->last);
    forget(ws);
    report->files = m.n - m.own_n;
    checkout c = { .objects = ws->objects,
                   .m = &m,
                   .report = report,
                   .parts = want->parts,
                   .parts_n = want->parts_n };
    code = checkout_run(&c, root, err);
    *spoiled = c.spoiled;
    if (code == VOLT_OK)
        code = write_index(ws, &m, err);
    if (code == VOLT_OK)
        code = prove_head(ws, git->head, err);
    if (code == VOLT_OK)
        trust(ws, &m);
    manifest_free(&m);
    return code;
}

/* The directory itself, without what is in the parts. */
static volt_code move_one(workspace *ws, const char *source, wanted *want, workspace_report *report,
                          volt_err *err)
{
    CLEANUP(buf)
    buf packed = { 0 };
    volt_err first = { 0 };
    bool spoiled = false;
    volt_code code = open_source(ws, source, want->git.head, err);

    *report = (workspace_report){ 0 };
    if (code == VOLT_OK)
        code = refs_pack(ws->refs, &packed, err);
    if (code)
        return code;
    want->git.objects = objects_dir(ws->objects);
    want->git.packed_refs = buf_slice(&packed);
    code = fill(ws, want, report, &spoiled, &first);
    if (code && spoiled) {
        char why[VOLT_ERR_MSG_MAX];

        snprintf(why, sizeof why, "%s", first.msg);
        *report = (workspace_report){ 0 };
        code = set_aside(ws, why, report, &first);
        if (code == VOLT_OK)
            code = fill(ws, want, report, &spoiled, &first);
    }
    if (code && err)
        *err = first;
    return code;
}

/* The handle of the part in that directory, which it takes, out of the old ones or a new one. */
static workspace *take_part(workspace **old, size_t n, char *dir)
{
    workspace *part;

    for (size_t i = 0; i < n; i++)
        if (old[i] && strcmp(old[i]->dir, dir) == 0) {
            free(dir);
            return TAKE(old[i]);
        }
    part = NEW(workspace);
    part->dir = dir;
    part->is_part = true;
    return part;
}

/* Those of `parts` that are below the directory `path`, with their paths from there. */
static size_t parts_below(const char *path, const workspace_part *parts, size_t n,
                          workspace_part *ret)
{
    size_t path_n = strlen(path), found = 0;

    for (size_t i = 0; i < n; i++)
        if (strncmp(parts[i].path, path, path_n) == 0 && parts[i].path[path_n] == '/') {
            ret[found] = parts[i];
            ret[found++].path += path_n + 1;
        }
    return found;
}

static bool is_inner(const workspace_part *parts, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        size_t n = strlen(parts[i].path);

        if (strncmp(parts[at].path, parts[i].path, n) == 0 && parts[at].path[n] == '/')
            return true;
    }
    return false;
}

static volt_code move_parts(workspace *ws, const workspace_part *parts, size_t n, volt_err *err)
{
    CLEANUP(free)
    workspace_part *inner = NEW_ARRAY(workspace_part, n + 1);
    workspace **old = ws->parts;
    size_t old_n = ws->parts_n;
    volt_code code = VOLT_OK;

    ws->parts = NEW_ARRAY(workspace *, n + 1);
    ws->parts_n = 0;
    for (size_t i = 0; i < n && code == VOLT_OK; i++) {
        workspace *part;

        if (is_inner(parts, i))
            continue;
        part = take_part(old, old_n, mem_printf("%s/%s", ws->dir, parts[i].path));
        ws->parts[ws->parts_n++] = part;
        code = workspace_move_all(part, parts[i].source, &parts[i].id, inner,
                                  parts_below(parts[i].path, parts, n, inner), NULL, err);
        if (code)
            volt_wrap(err, code, "submodule '%s'", parts[i].path);
    }
    for (size_t i = 0; i < old_n; i++)
        workspace_free(old[i]);
    free(old);
    return code;
}

volt_code workspace_move_all(workspace *ws, const char *source, const commit_id *id,
                             const workspace_part *parts, size_t n, workspace_report *report,
                             volt_err *err)
{
    wanted want = { .git = { .head = id, .submodules = n > 0 }, .parts = parts, .parts_n = n };
    workspace_report local;
    volt_code code;

    assert(ws && source && id);
    code = move_one(ws, source, &want, report ? report : &local, err);
    return code ? code : move_parts(ws, parts, n, err);
}

volt_code workspace_move(workspace *ws, const char *source, const commit_id *id,
                         workspace_report *report, volt_err *err)
{
    return workspace_move_all(ws, source, id, NULL, 0, report, err);
}

static bool is_trash(const char *name)
{
    const char *p = name, *found = NULL;

    while ((p = strstr(p, TRASH)))
        found = p++;
    if (!found || found == name)
        return false;
    found += strlen(TRASH);
    return *found && strspn(found, "0123456789") == strlen(found);
}

volt_code workspace_sweep(const char *parent, size_t max, size_t *ret, volt_err *err)
{
    DIR *dir = opendir(parent);
    volt_code first = VOLT_OK;
    const struct dirent *e;
    size_t gone = 0;

    if (!dir)
        return volt_fail(err, VOLT_EIO, "read directory '%s': %s", parent, strerror(errno));
    while (gone < max && (e = readdir(dir))) {
        volt_code code;

        if (!is_trash(e->d_name))
            continue;
        code = rmtree(dirfd(dir), e->d_name, first ? NULL : err);
        if (code)
            first = code;
        else
            gone++;
    }
    closedir(dir);
    if (ret)
        *ret = gone;
    return first;
}
