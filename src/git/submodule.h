/*
 * submodule.h - bringing the objects of a commit's submodules to this machine, at all depths.
 *
 * Where each one comes from is said by .gitmodules of the commit that names it, and never by a
 * configuration.  A relative URL is relative to that of the repository around, as with
 * `git submodule`.  A path of this machine is only taken from a repository that is on it too: else
 * whoever writes a .gitmodules could have any repository here read.  `update = none` is heeded.
 *
 * Fetches go the way of mirror.h.  A handle with a descriptor, as there.
 */
#ifndef VOLT_GIT_SUBMODULE_H
#define VOLT_GIT_SUBMODULE_H

#include <stddef.h>
#include <stdint.h>

#include "git/git.h"
#include "git/workspace.h"

#define SUBMODULES_MAX 1000 /* of one commit, at all depths */

typedef struct submodules submodules;

/* Texts are copied. */
typedef struct submodules_request {
    const char *work;    /* the runner's work directory */
    const char *store;   /* where the commit's objects are: mirror_path() */
    const char *source;  /* the repository's URL or path, to which URLs are relative */
    const commit_id *id; /* the commit */
    int64_t limit_ms;    /* >= 1, for each fetch */
} submodules_request;

submodules *submodules_start(const submodules_request *request);
/* Readable when submodules_step() has work; may be another one after each step. */
int submodules_fd(const submodules *s);
/* VOLT_EAGAIN: not finished.  VOLT_OK: all of them are here.  Else the message names the submodule
 * and its URL; codes as mirror_step(), and VOLT_EINVALID or VOLT_ENOTFOUND for a submodule of which
 * .gitmodules says nothing of use. */
volt_code submodules_step(submodules *s, volt_err *err);
/* Those that are to be checked out, an outer one before those in it; they stand as long as s. */
const workspace_part *submodules_found(const submodules *s, size_t *n);
void submodules_free(submodules *s); /* ends a fetch that still runs */

/* The URL that `url` of .gitmodules means in a repository of that URL or path, owned by the caller.
 * VOLT_EINVALID: it leads above the host. */
volt_code submodule_url(const char *base, const char *url, char **ret, volt_err *err);

#endif
