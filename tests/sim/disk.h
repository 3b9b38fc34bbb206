/*
 * disk.h - the dispatcher's data directory: a store that is watched, and log files.
 *
 * What was not committed is forgotten in a crash; what was not synced of a log is lost or torn when
 * the machine loses its power.  At the n-th call from now, or while the disk is full, calls fail. A
 * commit that fails with EIO may be durable all the same: the write-ahead log was written, and only
 * the word that it was got lost.
 *
 * A journal of all commits makes old copies of the directory: an earlier state is played anew.
 */
#ifndef VOLT_TESTS_SIM_DISK_H
#define VOLT_TESTS_SIM_DISK_H

#include "sim.h"

typedef struct log_file {
    log_name name;
    buf bytes;
    size_t synced;             /* what a loss of power leaves */
    size_t torn_from, torn_to; /* what one left as zeros, and was not written again */
} log_file;

struct journal;

typedef struct disk {
    world *w;
    process *p; /* the dispatcher */
    store *store;
    store_ops ops; /* the store's, with ours before them */
    const store_ops *inner;
    map logs;         /* log_key -> log_file */
    char hist[33];    /* of the directory */
    uint64_t ep;      /* newest that was committed */
    unsigned fail_in; /* the n-th call from now fails with EIO; 0: none */
    bool failed;      /* some call failed: memory is ahead of the store */
    int64_t full_ms;  /* full until */
    int64_t low_ms;   /* nearly full until */
    bool renames;     /* the next start goes on as the history `hist` */
    struct journal *journal;
} disk;

void disk_open(disk *d, world *w, process *p);
void disk_close(disk *d);
log_files disk_logs(disk *d);
log_file *disk_log(const disk *d, const log_name *name);
/* What was not committed is gone; `power`: nor is what was not synced there. */
void disk_crash(disk *d, bool power);
void disk_fault(disk *d);

/* An empty directory in its place.  The dispatcher is down. */
void disk_renew(disk *d);
/* What is there shall go on as another history.  The dispatcher is down. */
void disk_rename(disk *d);
/* An old copy in its place, of which at least one runner will know that it is old.  False: there is
 * none. */
bool disk_restore(disk *d);

#endif
