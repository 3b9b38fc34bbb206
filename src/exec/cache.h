/*
 * cache.h - directories that jobs keep between builds, on one runner.
 *
 *   WORK/cache/<repo>/<key>.tar.zst     archive.h's; its time of change is that of its last use
 *
 * A cache is never changed: another content has another key.  All executors of a runner use them at
 * once, without locks: an archive appears by a rename, whole, and one that is read while it is
 * removed stays readable.  What is lost, damaged or too large is only a miss.
 *
 * All branches of a repository share its caches, and a task can write what it likes into one: they
 * are for repositories whose branches trust each other.
 */
#ifndef VOLT_EXEC_CACHE_H
#define VOLT_EXEC_CACHE_H

#include "exec/archive.h"
#include "git/objects.h"

/* Of one cache, unpacked. */
#define CACHE_CONTENT_MAX ((uint64_t)64 << 30)
#define CACHE_ENTRIES_MAX 5000000
/* Files of saves that were killed go when they are so old; none takes as long. */
#define CACHE_STALE_S 3600

#define CACHE_KEY_SIZE 33 /* hex digits and the NUL */

typedef struct cache_key {
    char hex[CACHE_KEY_SIZE];
    size_t files; /* that its patterns name in the commit */
} cache_key;

/* Of what a job keeps: its name, its paths, and the names and contents, in the commit, of the files
 * that its patterns name.  Errors as tree_walk(). */
volt_code cache_key_of(objects *o, const commit_id *id, slice job, slices patterns, slices paths,
                       cache_key *ret, volt_err *err);

/* Unpacks the cache and notes its use.  A damaged one is removed.  Errors as archive_unpack(). */
volt_code cache_restore(const char *file, const archive_place *place, archive_sum *ret,
                        volt_err *err);

/* Packs what the patterns name; then removes those used longest ago in all directories of `root`
 * until they have at most bytes_max.  Makes the directory of `file`, which is one of those.
 * VOLT_EREFUSED: larger than bytes_max, or over an archive's limits, and then it is not kept.
 * VOLT_EFULL: no space.  VOLT_EIO. */
volt_code cache_save(const char *root, const char *file, const archive_place *place,
                     slices patterns, uint64_t bytes_max, archive_sum *ret, volt_err *err);

#endif
