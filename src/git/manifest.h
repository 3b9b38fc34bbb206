/*
 * manifest.h - every file a workspace must hold, and how each one looked when it was last good.
 * For workspace.c and checkout.c only.
 */
#ifndef VOLT_GIT_MANIFEST_H
#define VOLT_GIT_MANIFEST_H

#include <stdint.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "git/lib.h"
#include "git/tree.h"

/* Beside TREE_*: a file whose content another part writes. */
#define ITEM_ANY 0u

/* What the kernel says of a file; a task can set all of it but ctime. */
typedef struct stamp {
    dev_t dev;
    ino_t ino;
    off_t size;
    mode_t mode;
    struct timespec mtime;
    struct timespec ctime;
} stamp;

typedef struct item {
    const char *path; /* from the top of the workspace, with its NUL */
    size_t path_n;
    uint32_t mode;    /* TREE_* or ITEM_ANY; of TREE_SUBMODULE only an empty directory is made */
    git_oid id;       /* of the content before filters */
    const char *text; /* the content itself, of .git's own files; NULL: the blob `id` */
    size_t text_n;
    stamp at;   /* when it was last good */
    bool known; /* `at` counts: the same stamp now means the same content */
} item;

typedef struct manifest {
    item *v; /* .git's own first, then sorted by path */
    size_t n;
    size_t cap;
    size_t own_n; /* how many are .git's */
    arena mem;
    git_oid attributes; /* of all .gitattributes together */
    bool has_attributes;
    struct timespec written; /* the file system's time when all of it was good */
} manifest;

/* What .git must say. */
typedef struct manifest_git {
    const commit_id *head;
    const char *objects; /* directory to borrow from */
    slice packed_refs;
    bool submodules; /* git is to know that there are some */
} manifest_git;

/* Errors as tree_walk(). */
volt_code manifest_build(objects *o, const manifest_git *git, manifest *ret, volt_err *err);
/* Takes over what `old` knows of files that must not change. */
void manifest_learn(manifest *m, const manifest *old);
void manifest_free(manifest *m);

void stamp_take(stamp *ret, const struct stat *st);
bool stamp_fits(const stamp *at, const struct stat *st);

#endif
