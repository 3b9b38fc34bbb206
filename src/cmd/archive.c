/* volt archive: archives of files; run by executors, so that they need not wait for a disk. */
#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "cmd/command.h"
#include "exec/archive.h"

static void say(const archive_sum *sum)
{
    printf("%" PRIu64 " entries, %" PRIu64 " bytes, %" PRIu64 " packed\n", sum->entries, sum->bytes,
           sum->packed);
}

static void show(void *ctx, const archive_file *f)
{
    (void)ctx;
    printf("%06o %12" PRIu64 " " SLICE_FMT "\n", (unsigned)f->mode, f->bytes, SLICE_ARG(f->path));
}

static volt_code pack(const char *file, const archive_place *place, const char *const *patterns,
                      size_t n, const archive_limits *max, archive_sum *ret, volt_err *err)
{
    CLEANUP(free)
    slice *v = NEW_ARRAY(slice, n + 1);

    for (size_t i = 0; i < n; i++)
        v[i] = slice_of(patterns[i]);
    return archive_pack(file, place, (slices){ v, n }, max, ret, err);
}

static exit_code run(const command_line *line)
{
    const char *const *args;
    size_t n = command_args(line, &args);
    slice what = slice_of(args[0]);
    const archive_place place = { .dir = n > 2 ? args[2] : NULL,
                                  .home = command_text(line, "home") };
    const archive_limits max = { .bytes = (uint64_t)command_number(line, "max-bytes"),
                                 .entries = (uint64_t)command_number(line, "max-entries") };
    archive_sum sum;
    volt_err err;
    volt_code code;

    if (slice_is(what, "list") && n == 2)
        code = archive_list(args[1], &max, show, NULL, &sum, &err);
    else if (slice_is(what, "unpack") && n == 3)
        code = archive_unpack(args[1], &place, &max, &sum, &err);
    else if (slice_is(what, "pack") && n > 3)
        code = pack(args[1], &place, args + 3, n - 3, &max, &sum, &err);
    else
        return command_fail_with(line, EXIT_USAGE,
                                 "expected 'pack FILE DIR PATTERN...', 'unpack FILE DIR' or "
                                 "'list FILE'");
    if (code)
        return command_fail(line, &err);
    say(&sum);
    return EXIT_DONE;
}

static const option_spec options[] = {
    { "home", 0, OPTION_TEXT, "DIR", NULL, 0, 0,
      "the directory that patterns and names with '~/' mean", true },
    { "max-bytes", 0, OPTION_NUMBER, "N", "10737418240", 0, INT64_MAX,
      "content of all files; more is an error", true },
    { "max-entries", 0, OPTION_NUMBER, "N", "1000000", 0, INT64_MAX,
      "files, links and directories; more is an error", true },
};

const command command_archive = {
    .name = "archive",
    .args = "pack|unpack|list FILE [DIR [PATTERN...]]",
    .args_min = 2,
    .args_max = -1,
    .summary = "keep files of a directory in one; started by 'volt executor'",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .hidden = true,
    .run = run,
};
