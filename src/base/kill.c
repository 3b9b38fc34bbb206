#include "base/kill.h"

#ifdef VOLT_KILL_POINTS

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/slice.h"
#include "base/text.h"

/* Where a process dies is its own property. */
static kill_at die_at = KILL_POINTS_N;
static int64_t passes_left;
static const char *mark;

static bool find_point(slice name, kill_at *ret)
{
    static const char *const names[] = {
#define KILL(name, role, what) #name,
#include "base/kill.def"
#undef KILL
    };

    for (size_t i = 0; i < KILL_POINTS_N; i++)
        if (slice_is(name, names[i])) {
            *ret = (kill_at)i;
            return true;
        }
    return false;
}

volt_code kill_setup(const char *text, volt_err *err)
{
    const char *colon = text ? strchr(text, ':') : NULL, *second;
    char number[16];
    size_t n;

    if (!text)
        return VOLT_OK;
    if (!colon || !find_point((slice){ text, (size_t)(colon - text) }, &die_at))
        return volt_fail(err, VOLT_EINVALID, "VOLT_KILL_AT: no point '%s' (see kill.def)", text);
    second = strchr(colon + 1, ':');
    n = second ? (size_t)(second - colon - 1) : strlen(colon + 1);
    if (n < sizeof number) {
        memcpy(number, colon + 1, n);
        number[n] = '\0';
    }
    if (n >= sizeof number || text_number(number, 1, INT32_MAX, &passes_left, NULL))
        return volt_fail(err, VOLT_EINVALID, "VOLT_KILL_AT: no number in '%s'", text);
    mark = second ? second + 1 : NULL;
    return VOLT_OK;
}

void kill_point(kill_at at)
{
    if (at != die_at || --passes_left > 0)
        return;
    die_at = KILL_POINTS_N;
    if (mark && open(mark, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) < 0)
        return;
    kill(getpid(), SIGKILL);
}

#else

/* ISO C asks for something in a file. */
typedef int kill_points_are_left_out;

#endif
