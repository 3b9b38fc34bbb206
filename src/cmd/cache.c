/* volt cache: keeps and brings back what a job caches; run by executors, so that they need not wait
 * for a disk.  What it prints is for the job's log; the exit status is for nobody. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/kill.h"
#include "base/mem.h"
#include "base/text.h"
#include "cmd/command.h"
#include "exec/cache.h"

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

static exit_code restore(const char *file, const archive_place *place, int64_t since_ms)
{
    char took[TEXT_DURATION_MAX];
    archive_sum sum;
    volt_err err;
    volt_code code = cache_restore(file, place, &sum, &err);

    if (code == VOLT_OK)
        printf("volt: cache: hit, %" PRIu64 " files, %" PRIu64 " bytes, restored in %s\n",
               sum.entries, sum.bytes, text_show_ms(now_ms() - since_ms, took));
    else if (code == VOLT_ECORRUPT)
        printf("volt: cache: thrown away, for %s\n", err.msg);
    else
        printf("volt: cache: not restored: %s\n", err.msg);
    return code ? EXIT_RED : EXIT_DONE;
}

static exit_code save(const command_line *line, const char *file, const archive_place *place,
                      slices patterns, int64_t since_ms)
{
    char took[TEXT_DURATION_MAX];
    archive_sum sum;
    volt_err err;
    volt_code code = cache_save(command_text(line, "root"), file, place, patterns,
                                (uint64_t)command_number(line, "max-bytes"), &sum, &err);

    if (code == VOLT_OK)
        printf("volt: cache: saved, %" PRIu64 " files, %" PRIu64 " bytes packed into %" PRIu64
               ", in %s\n",
               sum.entries, sum.bytes, sum.packed, text_show_ms(now_ms() - since_ms, took));
    else
        printf("volt: cache: not saved: %s\n", err.msg);
    return code ? EXIT_RED : EXIT_DONE;
}

static exit_code run(const command_line *line)
{
    const char *const *args;
    size_t n = command_args(line, &args) - 3;
    slice what = slice_of(args[0]);
    const archive_place place = { .dir = args[2], .home = command_text(line, "home") };
    CLEANUP(free)
    slice *v = NEW_ARRAY(slice, n + 1);

    for (size_t i = 0; i < n; i++)
        v[i] = slice_of(args[i + 3]);
    if (slice_is(what, "restore") && n == 0)
        return restore(args[1], &place, now_ms());
    if (slice_is(what, "save") && n > 0 && command_text(line, "root"))
        return save(line, args[1], &place, (slices){ v, n }, now_ms());
    return command_fail_with(line, EXIT_USAGE,
                             "expected 'restore FILE DIR' or 'save --root ROOT FILE DIR "
                             "PATTERN...'");
}

static const option_spec options[] = {
    { "home", 0, OPTION_TEXT, "DIR", NULL, 0, 0,
      "the directory that patterns and names with '~/' mean", true },
    { "root", 0, OPTION_TEXT, "DIR", NULL, 0, 0, "where all caches of the runner are", true },
    { "max-bytes", 0, OPTION_NUMBER, "N", "5368709120", 0, INT64_MAX,
      "of all caches; those used longest ago go first", true },
};

const command command_cache = {
    .name = "cache",
    .args = "restore|save FILE DIR [PATTERN...]",
    .args_min = 3,
    .args_max = -1,
    .summary = "keep directories of a job for the next one; started by 'volt executor'",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .hidden = true,
    .run = run,
};
