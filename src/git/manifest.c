#include "git/manifest.h"

#include <assert.h>

#include "base/mem.h"

/* A file changed within a tick of the clock that stamps files would look unchanged.  Linux stamps
 * with the timer's tick, 10 ms at most; some file systems with whole seconds. */
#define TICK_NS    20000000L
#define COARSE_SEC 2

static const char config[] = "[core]\n"
                             "\trepositoryformatversion = 0\n"
                             "\tfilemode = true\n"
                             "\tbare = false\n"
                             "\tlogallrefupdates = true\n"
                             "[gc]\n"
                             "\tauto = 0\n";
static const char config_submodules[] = "[submodule]\n"
                                        "\tactive = .\n";

void stamp_take(stamp *ret, const struct stat *st)
{
    *ret = (stamp){ .dev = st->st_dev,
                    .ino = st->st_ino,
                    .size = st->st_size,
                    .mode = st->st_mode,
                    .mtime = st->st_mtim,
                    .ctime = st->st_ctim };
}

bool stamp_fits(const stamp *at, const struct stat *st)
{
    return at->dev == st->st_dev && at->ino == st->st_ino && at->size == st->st_size &&
           at->mode == st->st_mode && at->mtime.tv_sec == st->st_mtim.tv_sec &&
           at->mtime.tv_nsec == st->st_mtim.tv_nsec && at->ctime.tv_sec == st->st_ctim.tv_sec &&
           at->ctime.tv_nsec == st->st_ctim.tv_nsec;
}

/* True when a change right after `written` could carry the very time `ctime`. */
static bool is_racy(const struct timespec *ctime, const struct timespec *written)
{
    int64_t gap_ns;

    if (written->tv_sec - ctime->tv_sec > COARSE_SEC)
        return false;
    if (ctime->tv_nsec == 0)
        return true;
    gap_ns =
        (int64_t)(written->tv_sec - ctime->tv_sec) * 1000000000 + written->tv_nsec - ctime->tv_nsec;
    return gap_ns < TICK_NS;
}

static item *add(manifest *m, const char *path, size_t path_n, uint32_t mode)
{
    if (m->n == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 256;
        m->v = mem_grow(m->v, m->cap, sizeof *m->v);
    }
    m->v[m->n] = (item){ .path = arena_slice(&m->mem, (slice){ path, path_n }).p,
                         .path_n = path_n,
                         .mode = mode };
    return &m->v[m->n++];
}

static void add_text(manifest *m, const char *path, slice text)
{
    item *it = add(m, path, strlen(path), TREE_FILE);

    it->text = arena_slice(&m->mem, text).p;
    it->text_n = text.n;
    git_odb_hash(&it->id, text.n ? text.p : "", text.n, GIT_OBJECT_BLOB);
}

/* A path that the format of objects/info/alternates would misread is quoted as C. */
static void alternates_line(buf *out, const char *path)
{
    if (path[0] != '"' && path[0] != '#' && !strchr(path, '\n')) {
        buf_addf(out, "%s\n", path);
        return;
    }
    buf_addc(out, '"');
    for (const char *p = path; *p; p++)
        if (*p == '"' || *p == '\\' || (unsigned char)*p < ' ')
            buf_addf(out, "\\%03o", (unsigned)(unsigned char)*p);
        else
            buf_addc(out, *p);
    buf_adds(out, "\"\n");
}

static void add_own(manifest *m, const manifest_git *git)
{
    CLEANUP(buf)
    buf head = { 0 };
    CLEANUP(buf)
    buf alternates = { 0 };
    CLEANUP(buf)
    buf settings = { 0 };

    buf_adds(&settings, config);
    buf_adds(&settings, git->submodules ? config_submodules : "");
    buf_addf(&head, "%s\n", git->head->hex);
    alternates_line(&alternates, git->objects);
    add_text(m, ".git/HEAD", buf_slice(&head));
    add_text(m, ".git/config", buf_slice(&settings));
    add(m, ".git/index", strlen(".git/index"), ITEM_ANY);
    add_text(m, ".git/objects/info/alternates", buf_slice(&alternates));
    add_text(m, ".git/packed-refs", git->packed_refs);
    add(m, ".git/refs", strlen(".git/refs"), TREE_SUBMODULE);
    m->own_n = m->n;
}

typedef struct builder {
    manifest *m;
    buf attributes; /* path and id of each .gitattributes */
} builder;

static bool add_blob(void *ctx, const tree_blob *file)
{
    static const char name[] = ".gitattributes";
    builder *b = ctx;
    item *it = add(b->m, file->path, file->path_n, file->mode);
    size_t n = sizeof name - 1;

    it->id = *file->id;
    if (file->path_n >= n && strcmp(file->path + file->path_n - n, name) == 0 &&
        (file->path_n == n || file->path[file->path_n - n - 1] == '/')) {
        buf_add(&b->attributes, file->path, file->path_n + 1);
        buf_add(&b->attributes, file->id->id, sizeof file->id->id);
        b->m->has_attributes = true;
    }
    return true;
}

volt_code manifest_build(objects *o, const manifest_git *git, manifest *ret, volt_err *err)
{
    builder b = { .m = ret };
    volt_code code;

    *ret = (manifest){ 0 };
    add_own(ret, git);
    code = tree_walk_blobs(o, git->head, "", add_blob, &b, err);
    if (code == VOLT_OK)
        git_odb_hash(&ret->attributes, buf_str(&b.attributes), b.attributes.n, GIT_OBJECT_BLOB);
    else
        manifest_free(ret);
    buf_free(&b.attributes);
    return code;
}

static void learn_item(manifest *m, item *it, const manifest *old, const item *was)
{
    bool filtered = !it->text && (it->mode == TREE_FILE || it->mode == TREE_EXECUTABLE);

    if (!was->known || it->mode != was->mode || !git_oid_equal(&it->id, &was->id) ||
        is_racy(&was->at.ctime, &old->written))
        return;
    if (filtered && !git_oid_equal(&m->attributes, &old->attributes))
        return;
    it->at = was->at;
    it->known = true;
}

void manifest_learn(manifest *m, const manifest *old)
{
    size_t j = old->own_n;

    for (size_t i = 0; i < m->own_n && i < old->own_n; i++)
        learn_item(m, &m->v[i], old, &old->v[i]);
    for (size_t i = m->own_n; i < m->n; i++) {
        int c = -1;

        while (j < old->n && (c = strcmp(old->v[j].path, m->v[i].path)) < 0)
            j++;
        if (j < old->n && c == 0)
            learn_item(m, &m->v[i], old, &old->v[j]);
    }
}

void manifest_free(manifest *m)
{
    free(m->v);
    arena_free(&m->mem);
    *m = (manifest){ 0 };
}
