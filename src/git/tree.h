/*
 * tree.h - the files of a commit without a checkout: what the planner reads.
 */
#ifndef VOLT_GIT_TREE_H
#define VOLT_GIT_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "git/objects.h"

#define TREE_PATH_MAX  4096 /* bytes, with the NUL; longer paths are refused */
#define TREE_DEPTH_MAX 256  /* a checkout has as many directories open */
#define TREE_FILES_MAX 4000000

#define TREE_FILE       0100644u
#define TREE_EXECUTABLE 0100755u
#define TREE_SYMLINK    0120000u
#define TREE_SUBMODULE  0160000u

typedef struct tree_file {
    const char *path; /* from the top of the tree, '/' between; any bytes but NUL */
    uint32_t mode;    /* one of TREE_* above */
    slice id;         /* of its content (of a submodule: its commit), raw bytes */
} tree_file;

/* Return false to stop the walk. */
typedef bool tree_visit(void *ctx, const tree_file *file);

/* Visits the files of a commit at and below `below` ("tests"; "" for all) in byte order of their
 * paths; none when there is no such path.  The visitor must not keep the pointers.
 * VOLT_ENOTFOUND: no such commit.  VOLT_ECORRUPT: the tree is malformed, or holds what git refuses
 * to check out (a path with "..", ".git" or an empty part, one name twice), or is beyond the limits
 * above. */
volt_code tree_walk(objects *o, const commit_id *id, const char *below, tree_visit *visit,
                    void *ctx, volt_err *err);

/* Appends the content of one file as it is in the commit (no filters) to *ret.
 * VOLT_ENOTFOUND: no such commit or file.  VOLT_EINVALID: not a regular file.
 * VOLT_EFULL: longer than `max` bytes. */
volt_code tree_read(objects *o, const commit_id *id, const char *path, size_t max, buf *ret,
                    volt_err *err);

#endif
