/*
 * disk.h - how much room the data directory has, and a reserve for when it has none.
 *
 * Below a watermark new commits are refused and logs pause, so that the last room is kept for
 * results.  A ballast file is given up when even the start, or the going on after a failed write,
 * finds none; it is made again when there is room.
 */
#ifndef VOLT_CMD_DISPATCHER_DISK_H
#define VOLT_CMD_DISPATCHER_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

typedef struct disk {
    const char *dir; /* borrowed */
    bool low;
    int64_t look_ms;  /* when next looked at */
    int64_t doubt_ms; /* a write found no room: it counts as low until then, whatever it says */
} disk;

/* Makes the directory when it is not there.  VOLT_EIO, VOLT_EFULL: it cannot be made, or not be
 * written by this user. */
volt_code disk_make_dir(const disk *d, volt_err *err);
/* Looks, when it is time for it; logs what has changed.  True: it looked. */
bool disk_check(disk *d, int64_t now_ms);
/* A write found no room, though there may seem to be some (a quota, a limit of the file's size). */
void disk_doubt(disk *d, int64_t now_ms);
/* Gives up the ballast; false: there was none. */
bool disk_drop_ballast(const disk *d);

#endif
