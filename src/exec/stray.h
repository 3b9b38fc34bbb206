/*
 * stray.h - ends what tasks left running when their executor died and nobody inherited them.
 *
 * What a killed executor leaves falls to its agent, and when that was killed too, to init.  Such
 * processes are known by their environment: VOLT_WORKSPACE names a workspace of this work
 * directory.  One that emptied its environment is only found below one that did not.
 */
#ifndef VOLT_EXEC_STRAY_H
#define VOLT_EXEC_STRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether what belongs to a slot is a stray: its executor is gone. */
typedef bool stray_wanted(void *ctx, uint64_t slot);

/* Kills the processes of this user whose workspaces are those of wanted slots of WORK (absolute),
 * and what they started.  Returns how many it found; call again until it finds none, for they may
 * fork meanwhile.  O(processes on this machine). */
size_t stray_kill(const char *work, stray_wanted *wanted, void *ctx);

#endif
