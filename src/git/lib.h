/*
 * lib.h - libgit2 as the git layer uses it: for the files of this directory only.
 */
#ifndef VOLT_GIT_LIB_H
#define VOLT_GIT_LIB_H

#include <git2.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "git/git.h"
#include "git/objects.h"
#include "git/refs.h"

DEFINE_CLEANUP(git_repository *, git_repository_free);
DEFINE_CLEANUP(git_config *, git_config_free);
DEFINE_CLEANUP(git_reference *, git_reference_free);
DEFINE_CLEANUP(git_reference_iterator *, git_reference_iterator_free);
DEFINE_CLEANUP(git_object *, git_object_free);
DEFINE_CLEANUP(git_commit *, git_commit_free);
DEFINE_CLEANUP(git_tree *, git_tree_free);
DEFINE_CLEANUP(git_tree_entry *, git_tree_entry_free);
DEFINE_CLEANUP(git_blob *, git_blob_free);
DEFINE_CLEANUP(git_odb *, git_odb_free);
DEFINE_CLEANUP(git_revwalk *, git_revwalk_free);
DEFINE_CLEANUP(git_index *, git_index_free);
DEFINE_CLEANUP(git_filter_list *, git_filter_list_free);

/* "what 'name': libgit2's message".  libgit2 keeps that message per thread and overwrites it on the
 * next call, so it is copied at the call that failed.  `rc` tells VOLT_ENOTFOUND and VOLT_ECORRUPT
 * from VOLT_EIO. */
volt_code git_fail(volt_err *err, int rc, const char *what, const char *name);

/* VOLT_EINVALID: no id, or one of SHA-256. */
volt_code git_id_from(const commit_id *id, git_oid *ret, volt_err *err);
void git_id_to(const git_oid *id, commit_id *ret);

/* A repository of these objects and nothing else: no configuration, no work tree. */
git_repository *objects_git(const objects *o);
/* The tree of a commit.  VOLT_ENOTFOUND, VOLT_ECORRUPT. */
volt_code objects_tree(objects *o, const commit_id *id, git_tree **ret, volt_err *err);

/* A file of a tree, with the id of its content. */
typedef struct tree_blob {
    const char *path;
    size_t path_n;
    uint32_t mode; /* TREE_* */
    const git_oid *id;
} tree_blob;

/* As tree_walk(), which see. */
typedef bool tree_blob_visit(void *ctx, const tree_blob *file);
volt_code tree_walk_blobs(objects *o, const commit_id *id, const char *below,
                          tree_blob_visit *visit, void *ctx, volt_err *err);

git_repository *refs_git(const refs *r);
/* What a clone would know of the source: its branches as refs/remotes/origin/..., and its tags, in
 * the format of packed-refs. */
volt_code refs_pack(refs *r, buf *ret, volt_err *err);

#endif
