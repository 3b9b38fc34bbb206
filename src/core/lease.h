/*
 * lease.h - who may run a task, and until when.
 *
 * A lease is the dispatcher's promise to give an attempt to nobody else before its deadline.
 * Heartbeats renew it; a lease that lapses returns its task to the ready queue.  Each grant goes
 * with an attempt number greater than all before it for that task (the task keeps it), so that a
 * result from a runner presumed dead is recognised and refused.
 *
 * Intrusive: a lease is part of its task and owns no memory.  Pure; one owner.
 * After: Gray & Cheriton, "Leases", SOSP 1989.
 */
#ifndef VOLT_CORE_LEASE_H
#define VOLT_CORE_LEASE_H

#include "base/heap.h"
#include "base/list.h"

struct runner;

typedef struct lease {
    heap_node deadline;    /* key: the dispatcher's monotonic clock, ms */
    int64_t least_ms;      /* no renewal ends before, 0: none; the grace of a restart */
    struct runner *runner; /* NULL: not leased */
    list on_runner;
} lease;

typedef struct lease_table {
    heap deadlines;
} lease_table; /* zero-initialise */

/* Gives the lease to `runner` until until_ms, in its list `leases`.  It must be free. */
void lease_grant(lease_table *table, lease *l, struct runner *runner, list *leases,
                 int64_t until_ms);
/* Moves the deadline, also back: what a pause had added ends with the runner's next word, or the
 * work of one that dies then would wait for as long as the pause was. */
void lease_renew(lease_table *table, lease *l, int64_t until_ms);
/* Harmless when it is free. */
void lease_release(lease_table *table, lease *l);
/* The lease whose deadline is the earliest and <= now_ms, still granted; NULL: none is due. */
lease *lease_due(const lease_table *table, int64_t now_ms);
/* Adds to every deadline.  O(n). */
void lease_shift(lease_table *table, int64_t by_ms);
int64_t lease_next_deadline_ms(const lease_table *table);
void lease_table_free(lease_table *table);

#endif
