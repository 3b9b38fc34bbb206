/*
 * children.h - the processes that `volt up` runs: each another `volt COMMAND` of this program.
 *
 * Each has its own process group, so that Ctrl-C reaches only `volt up`, which ends them in order;
 * and each ends by itself when `volt up` is killed (see children_watch_parent()).
 */
#ifndef VOLT_CMD_UP_CHILDREN_H
#define VOLT_CMD_UP_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define CHILDREN_MAX      300
#define CHILDREN_ARGS_MAX 600

typedef struct children children;

typedef struct child_end {
    const char *name; /* as given to children_start() */
    int status;       /* of waitpid() */
    bool again;       /* it was started again */
} child_end;

children *children_new(void);
/* Kills what still runs. */
void children_free(children *c);

/* Starts `volt args...` (NULL-terminated; args[0] is the command).  `name` is for messages; `keep`:
 * start it again when it ends although nobody asked it to, unless it keeps ending at once.
 * VOLT_EIO, VOLT_EFULL. */
volt_code children_start(children *c, const char *name, const char *const *args, bool keep,
                         volt_err *err);
/* From now on the child of that name is started again when it ends. */
void children_keep(children *c, const char *name);
/* Signals every child whose name begins with `prefix` and counts on its end from now on. */
void children_signal(children *c, const char *prefix, int signal);
/* How many children whose name begins with `prefix` run. */
size_t children_running(const children *c, const char *prefix);
/* Collects one child that ended; false: none has.  One that was kept is started again. */
bool children_reap(children *c, int64_t now_ms, child_end *ret);

/* In a child, at the start of main: when the environment says that `volt up` started this process,
 * it is killed at its parent's end.  Nothing is lost by that: the next `volt up` goes on, with the
 * tests that still run, too. */
void children_watch_parent(void);

#endif
