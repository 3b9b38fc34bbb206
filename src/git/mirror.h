/*
 * mirror.h - bringing the objects of a commit to this machine.
 *
 * A repository on this machine (a path, file://) is used where it is and never copied.  Any other
 * is fetched into WORK/mirrors/<name>-<hash of its url>.git, bare, then incrementally; a lock lets
 * one process at a time fetch, the others find the commit there when their turn comes.  A mirror is
 * never repacked or pruned: workspaces borrow its objects.
 *
 * A fetch can take minutes, so it is a handle with a descriptor, as in child.h.
 */
#ifndef VOLT_GIT_MIRROR_H
#define VOLT_GIT_MIRROR_H

#include <stdint.h>

#include "git/git.h"

typedef struct mirror_fetch mirror_fetch;

/* Texts are copied. */
typedef struct mirror_request {
    const char *work;    /* the runner's work directory */
    const char *name;    /* the repository's, for the directory's name */
    const char *source;  /* URL, or path of a repository on this machine */
    const char *ref;     /* "refs/heads/main", fetched first; NULL or "": unknown */
    const commit_id *id; /* the commit that must be there */
    int64_t limit_ms;    /* >= 1, for everything */
} mirror_request;

/* VOLT_EINVALID: not a repository, or not a URL git may be given.  VOLT_EIO. */
volt_code mirror_start(const mirror_request *request, mirror_fetch **ret, volt_err *err);
/* Readable when mirror_step() has work. */
int mirror_fd(const mirror_fetch *f);
/* VOLT_EAGAIN: not finished.  VOLT_OK: the commit is in mirror_path().
 * VOLT_EUNREACHABLE: host, network, credentials, or a path that is gone.  VOLT_ENOTFOUND: the
 * repository has no such commit.  VOLT_EINVALID: it is not a repository.  VOLT_ETIMEOUT.
 * VOLT_EIO: this machine's disk. */
volt_code mirror_step(mirror_fetch *f, volt_err *err);
/* The repository to read objects from (objects_open(), workspace_move()); stands as long as f. */
const char *mirror_path(const mirror_fetch *f);
void mirror_free(mirror_fetch *f); /* ends a fetch that still runs */

/* All of it, blocking; *ret is owned by the caller. */
volt_code mirror_get(const mirror_request *request, char **ret, volt_err *err);

#endif
