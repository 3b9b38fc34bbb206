/*
 * disk.h - a disk in memory under SQLite, which loses whatever a real one may lose.
 *
 * A VFS whose files have two faces: what reads see, and what a loss of power leaves.  A write is
 * seen at once and pending until its file is synced; at a power loss each pending write is there,
 * torn at a sector's edge, or not, in any order.  A file's name is durable once the file is synced,
 * its removal once some new file is.  A sync that fails takes the pending writes with it: they are
 * still seen, and never written, as Linux has it (fsync(2)).
 *
 * There is no shared memory and no locking: the store is its file's only user, and says so.
 */
#ifndef VOLT_TESTS_FAULT_DISK_H
#define VOLT_TESTS_FAULT_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum disk_op {
    DISK_OPEN,
    DISK_READ,
    DISK_WRITE,
    DISK_TRUNCATE,
    DISK_SYNC,
    DISK_DELETE
} disk_op;

/* What becomes of an operation. */
typedef enum disk_fate {
    DISK_FINE,
    DISK_EIO,
    DISK_ENOSPC, /* of writes that make a file longer, and of syncs; others are fine */
    DISK_SHORT,  /* half of a write, then ENOSPC */
    DISK_CUT,    /* the power goes in the middle of it: disk_power_back() */
} disk_fate;

/* What is left of what was pending. */
typedef enum disk_left { DISK_NOTHING, DISK_ALL, DISK_PREFIX, DISK_SUBSET, DISK_LEFTS } disk_left;

/* Asked before each operation. */
typedef disk_fate (*disk_judge)(void *ctx, disk_op op);

/* Not 0 while in the disk, or in another part of a test, whose own memory is not to run out. */
extern unsigned disk_quiet;

/* Makes it SQLite's default; once. */
void disk_install(void);
/* No files, power, and this judge (NULL: all is fine). */
void disk_reset(void);
void disk_set_judge(disk_judge judge, void *ctx);
/* As DISK_CUT, between two operations. */
void disk_cut(void);
bool disk_is_cut(void);
void disk_power_back(disk_left left, uint64_t seed);

#endif
