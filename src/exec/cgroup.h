/*
 * cgroup.h - a control group of the executor's own, where one is to be had.
 *
 * Only a cgroup v2 directory that was handed to us is touched: one that an ordinary user may write
 * to, one that systemd marked as delegated, or the root of a container's cgroup namespace; and only
 * a kernel with cgroup.kill (Linux 5.14) is of use.  The executor lives in the group itself, so
 * that what it starts is born there at no cost; it steps out for the moment of the kill.
 */
#ifndef VOLT_EXEC_CGROUP_H
#define VOLT_EXEC_CGROUP_H

#include <stdbool.h>

/* Makes the group `name` beside where this process is, ends what an earlier executor left in it,
 * and moves in.  Does nothing where that is not possible. */
void cgroup_enter(const char *name);
bool cgroup_entered(void);
/* Ends everything in the group but this process, where there is one. */
void cgroup_kill(void);
/* Moves out and removes the group. */
void cgroup_leave(void);

#endif
