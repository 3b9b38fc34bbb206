#include "git/content.h"

#include <errno.h>
#include <git2/sys/repository.h>
#include <iconv.h>
#include <strings.h>

#include "base/mem.h"

#define ENCODE_BYTES 4096

/* libgit2 looks for attributes in the index of a repository without a work tree, as git does for
 * its own checkout.  So it gets an index of the commit's .gitattributes alone. */
volt_code content_setup(objects *o, const manifest *m, volt_err *err)
{
    CLEANUP(git_index_free)
    git_index *index = NULL;
    int rc = git_index_new(&index);

    for (size_t i = m->own_n; m->has_attributes && rc == 0 && i < m->n; i++) {
        const char *slash = strrchr(m->v[i].path, '/');
        git_index_entry e = { .mode = m->v[i].mode, .id = m->v[i].id, .path = m->v[i].path };

        /* As a link git does not heed it. */
        if (strcmp(slash ? slash + 1 : m->v[i].path, ".gitattributes") == 0 &&
            (e.mode == TREE_FILE || e.mode == TREE_EXECUTABLE))
            rc = git_index_add(index, &e);
    }
    if (rc == 0)
        rc = git_repository_set_index(objects_git(o), index);
    if (rc == 0)
        rc = git_attr_cache_flush(objects_git(o));
    return rc < 0 ? git_fail(err, rc, "read", ".gitattributes") : VOLT_OK;
}

static volt_code filter(objects *o, const item *it, content *c, volt_err *err)
{
    CLEANUP(git_filter_list_free)
    git_filter_list *filters = NULL;
    int rc = git_filter_list_load(&filters, objects_git(o), c->blob, it->path,
                                  GIT_FILTER_TO_WORKTREE, GIT_FILTER_NO_SYSTEM_ATTRIBUTES);

    if (rc == 0 && !filters)
        return VOLT_OK;
    if (rc == 0)
        rc = git_filter_list_apply_to_blob(&c->filtered, filters, c->blob);
    if (rc < 0)
        return git_fail(err, rc, "filter", it->path);
    c->bytes = (slice){ c->filtered.ptr, c->filtered.size };
    return VOLT_OK;
}

/* From UTF-8, as working-tree-encoding asks; false when the text cannot be said in it. */
static bool encode(slice from, const char *encoding, buf *ret)
{
    /* Not known to iconv: git's names for an order of bytes with a mark of it in front. */
    bool little = strcasecmp(encoding, "UTF-16LE-BOM") == 0;
    bool big = strcasecmp(encoding, "UTF-16BE-BOM") == 0;
    iconv_t cd = iconv_open(little ? "UTF-16LE" : big ? "UTF-16BE" : encoding, "UTF-8");
    char *in = (char *)(uintptr_t)from.p; /* iconv() does not write there */
    size_t left = from.n;
    bool good = cd != (iconv_t)-1;

    if (good && (little || big))
        buf_add(ret, little ? "\xff\xfe" : "\xfe\xff", 2);
    while (good && left) {
        char *to = buf_room(ret, ENCODE_BYTES);
        size_t room = ENCODE_BYTES;
        size_t rc = iconv(cd, &in, &left, &to, &room);

        ret->n += ENCODE_BYTES - room;
        good = rc != (size_t)-1 || errno == E2BIG;
    }
    if (cd != (iconv_t)-1)
        iconv_close(cd);
    return good;
}

/* libgit2 does not know this attribute.  What cannot be converted stays as it is, as with git. */
static volt_code apply_encoding(objects *o, const item *it, content *c, volt_err *err)
{
    const char *name;
    int rc =
        git_attr_get(&name, objects_git(o), GIT_ATTR_CHECK_INDEX_ONLY | GIT_ATTR_CHECK_NO_SYSTEM,
                     it->path, "working-tree-encoding");

    if (rc < 0)
        return git_fail(err, rc, "read the attributes of", it->path);
    if (git_attr_value(name) != GIT_ATTR_VALUE_STRING || strcasecmp(name, "UTF-8") == 0 ||
        strcasecmp(name, "UTF8") == 0 || c->bytes.n == 0)
        return VOLT_OK;
    if (encode(c->bytes, name, &c->encoded))
        c->bytes = buf_slice(&c->encoded);
    return VOLT_OK;
}

volt_code content_load(objects *o, const manifest *m, const item *it, content *ret, volt_err *err)
{
    volt_code code = VOLT_OK;
    int rc;

    *ret = (content){ 0 };
    if (it->text) {
        ret->bytes = (slice){ it->text, it->text_n };
        return VOLT_OK;
    }
    rc = git_blob_lookup(&ret->blob, objects_git(o), &it->id);
    if (rc < 0) {
        git_fail(err, rc, "read the content of", it->path);
        if (err)
            err->code = VOLT_ECORRUPT;
        return VOLT_ECORRUPT;
    }
    ret->bytes = (slice){ git_blob_rawcontent(ret->blob), (size_t)git_blob_rawsize(ret->blob) };
    if (m->has_attributes && it->mode != TREE_SYMLINK)
        code = filter(o, it, ret, err);
    if (code == VOLT_OK && m->has_attributes && it->mode != TREE_SYMLINK)
        code = apply_encoding(o, it, ret, err);
    if (code)
        content_free(ret);
    return code;
}

void content_free(content *c)
{
    git_blob_free(c->blob);
    git_buf_dispose(&c->filtered);
    buf_free(&c->encoded);
    *c = (content){ 0 };
}
