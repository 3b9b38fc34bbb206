/*
 * hook.h - the user's command at each finished build.
 *
 * Commands run one after the other through `sh -c`, each in its own process group with the build's
 * fields in the environment, while the stream goes on.  One that exceeds its time limit is ended
 * with all of its group; a failure is said on standard error and is otherwise without consequence.
 */
#ifndef VOLT_CMD_TAIL_HOOK_H
#define VOLT_CMD_TAIL_HOOK_H

#include "core/msg.h"

#define HOOK_QUEUE_MAX 1000 /* beyond, hook_is_full(): the caller holds back what it reads */
#define HOOK_GRACE_MS  2000 /* between TERM and KILL */

typedef struct hook hook;

/* `command` is copied; limit_ms >= 1. */
hook *hook_new(const char *command, int64_t limit_ms);
/* Ends the running command with TERM; what waits is forgotten. */
void hook_free(hook *h);

/* Queues the command for a build_done event; `result` (may be NULL) is the path of its file. */
void hook_add(hook *h, int64_t now_ms, const msg_event *event, const char *result);
bool hook_is_full(const hook *h);
/* Commands that run or wait. */
size_t hook_pending(const hook *h);

/* Looks after the running command: on SIGCHLD, and when hook_deadline_ms() is reached. */
void hook_tick(hook *h, int64_t now_ms);
int64_t hook_deadline_ms(const hook *h);

#endif
