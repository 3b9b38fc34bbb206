/*
 * archive.h - files of a directory as one .tar.zst, and back.
 *
 * What an archive holds was made by a task, and may have been changed since: unpacking trusts
 * nothing in it.  A digest at its end (a frame that zstd skips, so that `tar --zstd -x` reads the
 * file as well) is checked before anything is written: tar and zstd as they are let flipped bits
 * through.  It tells damage, not forgery.
 *
 * Regular files, directories and symbolic links; modes without setuid and its kin, modification
 * times, no owners; a hard link becomes a copy.  .git at the top never goes in or out.  All calls
 * block for as long as the disk takes: an executor runs them as `volt archive`.
 */
#ifndef VOLT_EXEC_ARCHIVE_H
#define VOLT_EXEC_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "core/msg.h"

/* What comes behind an archive's name while it is being written, with six letters: a process that
 * was killed leaves such a file. */
#define ARCHIVE_TEMPORARY ".new-"

typedef struct archive_place {
    const char *dir;
    const char *home; /* where names and patterns that begin with "~/" are, and then `dir` has no
                         name "~"; NULL: that is a name like any other */
    int64_t since_ns; /* pack only what changed at this time (nanoseconds since 1970) or later; 0:
                         all */
} archive_place;

/* What one archive may hold. */
typedef struct archive_limits {
    uint64_t bytes;   /* of all files' content */
    uint64_t entries; /* files, links and directories */
} archive_limits;

typedef struct archive_sum {
    uint64_t entries;
    uint64_t bytes;  /* of all files' content */
    uint64_t packed; /* of the archive itself */
} archive_sum;

typedef struct archive_file {
    slice path;
    mode_t mode;
    uint64_t bytes;
} archive_file;

/* Packs what the patterns (glob.h) name into `file`, which is replaced at once and durably, or not
 * at all.  The same files make the same bytes.  What vanishes meanwhile is passed over, a file that
 * shrinks meanwhile is filled up with zeros; nothing is read through a symbolic link.  That no
 * pattern names anything makes an empty archive.
 * VOLT_EREFUSED: over a limit.  VOLT_EFULL: no space.  VOLT_EIO. */
volt_code archive_pack(const char *file, const archive_place *place, slices patterns,
                       const archive_limits *max, archive_sum *ret, volt_err *err);

/* Unpacks all of it, over what is there; nothing outside of the place is touched, whatever the
 * archive and the place hold.  When it fails, a part of it may be there.
 * VOLT_ENOTFOUND: no such file.  VOLT_ECORRUPT: damaged, or it holds what archive_pack() never
 * puts there.  VOLT_EREFUSED: over a limit.  VOLT_EFULL: no space.  VOLT_EIO. */
volt_code archive_unpack(const char *file, const archive_place *place, const archive_limits *max,
                         archive_sum *ret, volt_err *err);

/* Borrowed for the call. */
typedef void archive_visit(void *ctx, const archive_file *f);
/* Visits what it holds, in its order.  Errors as archive_unpack(). */
volt_code archive_list(const char *file, const archive_limits *max, archive_visit *visit, void *ctx,
                       archive_sum *ret, volt_err *err);

#endif
