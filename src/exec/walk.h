/*
 * walk.h - the processes of this machine, as /proc shows them at one moment.
 *
 * For process.c, which looks for what a task started, and stray.c, which looks for what was left
 * behind.  Linux only.
 */
#ifndef VOLT_EXEC_WALK_H
#define VOLT_EXEC_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct walk_entry {
    pid_t pid, ppid;
    unsigned long long start; /* with the pid, one process for ever */
    char state;               /* as in proc(5) */
    bool ours;                /* for the caller to set; false after a look */
} walk_entry;

typedef struct walk {
    int proc; /* directory */
    walk_entry *v;
    size_t n, cap;
} walk;

/* False: there is no /proc. */
bool walk_open(walk *ret);
void cleanup_walk(walk *w);
/* Looks at all processes; what an earlier look found is forgotten. */
void walk_look(walk *w);
/* Marks the descendants of processes that are marked; never this process. */
void walk_mark_children(walk *w);
/* Signals exactly the process that the look saw: a number given out anew meanwhile is another
 * process, which its start time tells. */
void walk_signal(const walk *w, const walk_entry *e, int signal_number);

#endif
