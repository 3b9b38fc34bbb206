/*
 * kill.h - dying at a named point, for the tests of what survives.
 *
 * VOLT_KILL_AT=after_commit:17 ends the process as kill -9 does when it comes to that point for the
 * 17th time.  With a third field, after_commit:17:MARK, it makes the file MARK first, and lives on
 * where that is there: of many processes that were given the same, or of one that is started again,
 * only the first dies.
 *
 * Only builds with VOLT_KILL_POINTS (the presets debug, asan and tsan) have the points; in others
 * KILL_POINT() is nothing.
 */
#ifndef VOLT_BASE_KILL_H
#define VOLT_BASE_KILL_H

#include "base/err.h"

#ifdef VOLT_KILL_POINTS

typedef enum kill_at {
#define KILL(name, role, what) KILL_##name,
#include "base/kill.def"
#undef KILL
    KILL_POINTS_N
} kill_at;

/* Once at the start of the process; NULL: nowhere.  `text` is kept.  VOLT_EINVALID: it is not as
 * above, or there is no such point. */
volt_code kill_setup(const char *text, volt_err *err);
void kill_point(kill_at at);

#define KILL_POINT(name) kill_point(KILL_##name)

#else

#define KILL_POINT(name) ((void)0)

#endif

#endif
