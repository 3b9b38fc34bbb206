/*
 * merge.h - moves a tree that was unpacked into a directory that has files already.
 */
#ifndef VOLT_CMD_MERGE_H
#define VOLT_CMD_MERGE_H

#include <stddef.h>

#include "base/err.h"

typedef struct merge_sum {
    size_t files;
    size_t left_out; /* symbolic links that lead out of the tree */
} merge_sum;

/* Moves all that is in `from` to the same place below `to`, on the same file system; each file is
 * there whole or not at all.  What stands there with that name is replaced, but for directories,
 * which are filled, and no symbolic link is followed.  VOLT_EIO: what is left is still in `from`.
 */
volt_code merge_tree(const char *from, const char *to, merge_sum *ret, volt_err *err);

#endif
