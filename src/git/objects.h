/*
 * objects.h - the objects of a repository, apart from its configuration.
 *
 * The repository that a commit comes from is somebody's: its configuration, attributes and index
 * must not change what is tested.  So only its object store is opened, with its alternates.
 */
#ifndef VOLT_GIT_OBJECTS_H
#define VOLT_GIT_OBJECTS_H

#include "git/git.h"

typedef struct objects objects;

/* Opens the object store of the repository at `path`.  Errors as git_locate(). */
volt_code objects_open(const char *path, objects **ret, volt_err *err);
void objects_free(objects *o);

/* True when the commit is here; looks again when it was not a moment ago. */
bool objects_have(objects *o, const commit_id *id);

/* The store's directory (".../objects"), absolute; it stands as long as `o`. */
const char *objects_dir(const objects *o);

#endif
