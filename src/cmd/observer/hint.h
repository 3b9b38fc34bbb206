/*
 * hint.h - inotify says that a repository on this machine may have moved.
 *
 * A hint and no more: it tells when to look, never what is there.  Directories come and go
 * (refs/heads/feature/), packed-refs is replaced, events get lost when there are too many: the
 * owner looks at the refs themselves, and at each interval whatever the hints say.
 */
#ifndef VOLT_CMD_OBSERVER_HINT_H
#define VOLT_CMD_OBSERVER_HINT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define HINT_ALL ((size_t)-1) /* events were lost: look at every repository */

typedef struct observer_hint observer_hint;

/* VOLT_EFULL: the system's limit of inotify instances is reached.  VOLT_EIO. */
volt_code observer_hint_new(observer_hint **ret, volt_err *err);
void observer_hint_free(observer_hint *h);
int observer_hint_fd(const observer_hint *h);

/* Watches `dirs` (NULL-terminated) for `repo`, besides what is watched already.  *more: some of
 * them was not yet, so a directory may have been made in it meanwhile; list them again. VOLT_EFULL:
 * the system's limit of watches is reached. */
volt_code observer_hint_watch(observer_hint *h, size_t repo, char *const *dirs, bool *more,
                              volt_err *err);

/* Takes what there is and calls `fn` for each event that matters; `dirs`: the directories to watch
 * have changed. */
void observer_hint_read(observer_hint *h, void (*fn)(void *ctx, size_t repo, bool dirs), void *ctx);

#endif
