#include "git/objects.h"

#include <assert.h>
#include <git2/sys/repository.h>

#include "base/mem.h"
#include "git/lib.h"

struct objects {
    char *common_dir;
    char *dir;
    git_odb *odb;
    git_repository *repo; /* wraps odb */
};

volt_code objects_open(const char *path, objects **ret, volt_err *err)
{
    CLEANUP(free)
    char *git_dir = NULL;
    objects *o;
    char *common_dir;
    volt_code code;
    int rc;

    assert(path && ret);
    code = git_locate(path, &git_dir, &common_dir, err);
    if (code)
        return code;
    o = NEW(objects);
    o->common_dir = common_dir;
    o->dir = mem_printf("%s/objects", common_dir);
    rc = git_odb_open(&o->odb, o->dir);
    if (rc == 0)
        rc = git_repository_wrap_odb(&o->repo, o->odb);
    if (rc < 0) {
        code = git_fail(err, rc, "open objects", o->dir);
        objects_free(o);
        return code;
    }
    *ret = o;
    return VOLT_OK;
}

void objects_free(objects *o)
{
    if (!o)
        return;
    git_repository_free(o->repo);
    git_odb_free(o->odb);
    free(o->dir);
    free(o->common_dir);
    free(o);
}

bool objects_have(objects *o, const commit_id *id)
{
    CLEANUP(git_commit_free)
    git_commit *commit = NULL;
    git_oid oid;

    return git_id_from(id, &oid, NULL) == VOLT_OK && git_commit_lookup(&commit, o->repo, &oid) == 0;
}

const char *objects_dir(const objects *o)
{
    return o->dir;
}

git_repository *objects_git(const objects *o)
{
    return o->repo;
}

volt_code objects_tree(objects *o, const commit_id *id, git_tree **ret, volt_err *err)
{
    CLEANUP(git_commit_free)
    git_commit *commit = NULL;
    git_oid oid;
    volt_code code = git_id_from(id, &oid, err);
    int rc;

    if (code)
        return code;
    rc = git_commit_lookup(&commit, o->repo, &oid);
    if (rc == GIT_ENOTFOUND)
        return volt_fail(err, VOLT_ENOTFOUND, "no commit %s in '%s'", id->hex, o->common_dir);
    if (rc < 0)
        return git_fail(err, rc, "read commit", id->hex);
    rc = git_commit_tree(ret, commit);
    if (rc == GIT_ENOTFOUND)
        return volt_fail(err, VOLT_ECORRUPT, "the tree of commit %s is missing in '%s'", id->hex,
                         o->common_dir);
    return rc < 0 ? git_fail(err, rc, "read tree of commit", id->hex) : VOLT_OK;
}
