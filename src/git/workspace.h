/*
 * workspace.h - a directory that is exactly one commit, whatever was in it before.
 *
 * A workspace borrows its objects (objects/info/alternates) and moves from commit to commit by
 * writing only what differs.  What the last task left there is not trusted: a file counts as
 * unchanged only when its inode, change time and all else are as we left it (a task can set mtime
 * and size, but not ctime); any other is compared byte by byte.  Everything that is not in the
 * commit goes: untracked and ignored files, nested repositories, empty directories; .git is made
 * good by the same rule.  Nothing is read from or written through a symbolic link, and no mount is
 * entered.  A directory that cannot be made good is renamed aside and built afresh.
 *
 * Attributes (text, eol, ident, working-tree-encoding) are those of the commit.  Filters of other
 * programs (LFS) do not run: configuration would have to name them.  Modes are 0755 and 0644
 * whatever the umask.
 *
 * The task sees a repository with a detached HEAD, the history, and the tags and branches of the
 * source as of the move (branches as origin/...), so that git log, status and describe work.
 *
 * No task may run in it during a call.  One owner, one thread; the memory of what was written
 * is in the handle: after workspace_open() the first move compares all content.
 */
#ifndef VOLT_GIT_WORKSPACE_H
#define VOLT_GIT_WORKSPACE_H

#include <stddef.h>
#include <stdint.h>

#include "git/git.h"

typedef struct workspace workspace;

typedef struct workspace_report {
    size_t files;    /* of the commit */
    size_t written;  /* made or made again */
    size_t compared; /* looked at byte by byte and found good */
    size_t removed;  /* names that were not the commit's; a whole directory counts once */
    bool fresh;      /* the old directory was set aside, or there was none */
    char reason[VOLT_ERR_MSG_MAX]; /* why it was set aside; empty when it was not */
} workspace_report;

/* A submodule, checked out in a workspace as a repository of its own. */
typedef struct workspace_part {
    const char *path;   /* from the top of the workspace */
    const char *source; /* as of workspace_move() */
    commit_id id;
} workspace_part;

/* A handle for the workspace at `dir` (made at the first move; its parent must exist).
 * Never fails. */
workspace *workspace_open(const char *dir);
void workspace_free(workspace *ws);
const char *workspace_dir(const workspace *ws);

/* Makes the directory the commit `id` of the repository at `source` (a path, see mirror.h) and
 * proves that HEAD names it.  *report may be NULL.
 * VOLT_ENOTFOUND: no such commit in `source`.  VOLT_EINVALID: `source` is not a repository.
 * VOLT_ECORRUPT: objects are missing or damaged, or the commit holds paths that git refuses.
 * VOLT_EFULL: no space on the disk.  VOLT_EIO: the directory cannot be written. */
volt_code workspace_move(workspace *ws, const char *source, const commit_id *id,
                         workspace_report *report, volt_err *err);

/* The same with submodules, an outer one before those in it.  The places of others are left empty,
 * as workspace_move() leaves them all.  The report does not count what is in them. */
volt_code workspace_move_all(workspace *ws, const char *source, const commit_id *id,
                             const workspace_part *parts, size_t n, workspace_report *report,
                             volt_err *err);

/* Renames the directory aside ("DIR.trash-N"); the next move starts afresh. */
volt_code workspace_discard(workspace *ws, volt_err *err);
/* Removes what was set aside in a directory of workspaces, at most `max` of them; *ret, which may
 * be NULL, is how many went.  Slow: for idle moments.  VOLT_EIO: some did not go; the others did.
 */
volt_code workspace_sweep(const char *parent, size_t max, size_t *ret, volt_err *err);

#endif
