/*
 * git.h - what every part of the git layer shares: starting libgit2, its errors, commit ids.
 *
 * Volt reads what it tests from objects only: no user's or system's git configuration, no global
 * attributes, no hooks.  The same commit therefore comes out the same on every runner.  The git
 * command (fetch, ls-remote) does read the user's configuration, for credentials and proxies live
 * there.
 */
#ifndef VOLT_GIT_GIT_H
#define VOLT_GIT_GIT_H

#include <stdbool.h>

#include "base/err.h"
#include "base/slice.h"

#define COMMIT_ID_SIZE 65 /* SHA-256 in hex, and the NUL */

/* 40 or 64 lower-case hex digits and a NUL; empty: absent.  libgit2 1.5 reads SHA-1 repositories
 * only, so 64 digits come from remotes at most and are refused where objects are read. */
typedef struct commit_id {
    char hex[COMMIT_ID_SIZE];
} commit_id;

/* Starts libgit2 for this process; once, before anything else of this layer.
 * VOLT_EGIT: it does not start. */
volt_code git_setup(volt_err *err);
void git_teardown(void);

/* Copies `text` when it is a commit id.  VOLT_EINVALID. */
volt_code commit_id_parse(slice text, commit_id *ret, volt_err *err);

static inline bool commit_id_eq(const commit_id *a, const commit_id *b)
{
    return strcmp(a->hex, b->hex) == 0;
}

/* Where the git directory of a repository is, links of worktrees and submodules followed: of the
 * repository itself (HEAD) and of what worktrees share (objects, refs); both owned by the caller
 * and without a slash at the end.
 * VOLT_ENOTFOUND: no such path.  VOLT_EINVALID: not a repository, or one of an unsupported format
 * (SHA-256).  VOLT_EIO. */
volt_code git_locate(const char *path, char **ret_git_dir, char **ret_common_dir, volt_err *err);

/* The top of the repository that the working directory is in, as git looks for it: ".", or "..",
 * "../..", ...; owned by the caller.  NULL: it is in none. */
char *git_top(void);

#endif
