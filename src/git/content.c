#include "git/content.h"

#include <git2/sys/repository.h>

#include "base/mem.h"

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
    if (code)
        content_free(ret);
    return code;
}

void content_free(content *c)
{
    git_blob_free(c->blob);
    git_buf_dispose(&c->filtered);
    *c = (content){ 0 };
}
