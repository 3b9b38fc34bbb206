/* volt carry: artifacts into a checkout and out of it; run by executors, so that they need not wait
 * for a disk or for the dispatcher.  What it prints goes into the log of the task. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/files.h"
#include "base/mem.h"
#include "cmd/command.h"
#include "cmd/download.h"
#include "cmd/query.h"
#include "exec/archive.h"
#include "exec/attempt.h"
#include "net/loop.h"

#define PART_SUFFIX ".part"
#define ENTRIES_MAX 1000000
#define UNPACK_MAX  ((uint64_t)64 << 30) /* of what one job left: a dispatcher may allow much */
#define KEEP_BYTES  ((int64_t)4 << 30)   /* of archives that were fetched, for other slots ... */
#define KEEP_S      (24 * 3600)          /* ... and attempts */
#define IN_USE_S    3600                 /* somebody may be fetching or unpacking it */
#define FETCHED_MAX 10000                /* archives that are looked at for that */

DEFINE_CLEANUP(client *, client_free);
DEFINE_CLEANUP(DIR *, closedir);

static_assert(CARRY_EXIT_AWAY == EXIT_UNREACHABLE, "what the executor looks for");

/* ---- out ---- */

static void __attribute__((format(printf, 1, 2))) say(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("volt: ", stdout);
    vprintf(fmt, ap);
    puts("");
    va_end(ap);
}

static exit_code out(const char *file, const archive_place *place, slices globs, uint64_t bytes_max)
{
    const archive_limits max = { .bytes = bytes_max, .entries = ENTRIES_MAX };
    archive_sum sum;
    volt_err err;
    volt_code code = archive_pack(file, place, globs, &max, &sum, &err);

    if (!code && sum.packed > bytes_max)
        code = volt_fail(&err, VOLT_EREFUSED, "%" PRIu64 " bytes, packed; at most %" PRIu64,
                         sum.packed, bytes_max);
    if (code) {
        unlink(file);
        say("artifacts are not kept: %s", err.msg);
        return code == VOLT_EFULL ? (exit_code)CARRY_EXIT_FULL : EXIT_RED;
    }
    if (sum.entries) {
        say("kept artifacts: %" PRIu64 " entr%s, %" PRIu64 " bytes", sum.entries,
            sum.entries == 1 ? "y" : "ies", sum.bytes);
        return EXIT_DONE;
    }
    unlink(file);
    if (!place->since_ns) /* a batch need not leave any */
        say("no artifacts: no file matches");
    return EXIT_DONE;
}

/* ---- what was fetched before ---- */

typedef struct fetched {
    char *name;
    int64_t bytes, used_s;
} fetched;

static int newest_first(const void *a, const void *b)
{
    int64_t x = ((const fetched *)a)->used_s, y = ((const fetched *)b)->used_s;

    return (x < y) - (x > y);
}

/* Removes what was not used for long, and the least recently used beyond KEEP_BYTES. */
static void clean(const char *dir)
{
    CLEANUP(closedir)
    DIR *d = files_open_dir(dir);
    int64_t now_s = loop_wall_ms() / 1000, sum = 0;
    fetched *v = NEW_ARRAY(fetched, FETCHED_MAX);
    const struct dirent *e;
    struct stat st;
    size_t n = 0;

    while (d && n < FETCHED_MAX && (e = readdir(d)))
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            v[n++] = (fetched){ mem_strdup(e->d_name), st.st_size, st.st_mtim.tv_sec };
    qsort(v, n, sizeof *v, newest_first);
    for (size_t i = 0; i < n; i++) {
        sum += v[i].bytes;
        if (v[i].used_s < now_s - KEEP_S || (sum > KEEP_BYTES && v[i].used_s < now_s - IN_USE_S))
            unlinkat(dirfd(d), v[i].name, 0);
        free(v[i].name);
    }
    free(v);
}

/* ---- in ---- */

static volt_code fail_errno(volt_err *err, const char *what, const char *path)
{
    return volt_fail(err, errno == ENOSPC || errno == EDQUOT ? VOLT_EFULL : VOLT_EIO, "%s '%s': %s",
                     what, path, strerror(errno));
}

/* Opens the file to fetch into, ours alone: another slot that fetches the same waits, and finds it
 * there.  It may be removed under our hands by who was before us. */
static volt_code open_part(const char *part, int *ret, volt_err *err)
{
    struct stat ours, there;

    for (;;) {
        int fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        if (fd < 0)
            return fail_errno(err, "make", part);
        errno = 0; /* stays when another file has that name now */
        if (flock(fd, LOCK_EX) == 0 && fstat(fd, &ours) == 0 && stat(part, &there) == 0 &&
            ours.st_ino == there.st_ino) {
            *ret = fd;
            return VOLT_OK;
        }
        close(fd);
        if (errno && errno != ENOENT && errno != EINTR)
            return fail_errno(err, "lock", part);
    }
}

/* Makes DIR/<hist>-<task>-<att> the archive, unless it is. */
static volt_code fetch(client *c, const rec_artifact_row *row, const char *file, volt_err *err)
{
    CLEANUP(free)
    char *part = mem_printf("%s" PART_SUFFIX, file);
    CLEANUP(close)
    int fd = -1;
    volt_code code;

    if (access(file, F_OK) == 0)
        return VOLT_OK;
    code = open_part(part, &fd, err);
    if (code)
        return code;
    if (access(file, F_OK) == 0) { /* fetched while we waited */
        unlink(part);
        return VOLT_OK;
    }
    code = download(c, row, fd, err);
    if (!code && rename(part, file) < 0)
        code = fail_errno(err, "make", file);
    if (code == VOLT_ENOTFOUND || code == VOLT_EFULL) /* all that runs here needs the room */
        unlink(part);
    return code;
}

static volt_code restore(client *c, const rec_artifact_row *row, const char *file,
                         const archive_place *place, volt_err *err)
{
    const archive_limits max = { .bytes = UNPACK_MAX, .entries = ENTRIES_MAX };
    archive_sum sum;
    volt_code code = VOLT_ECORRUPT;

    /* What is here may be damaged, or have been cleaned away just now: once more, from afar. */
    for (int tries = 0; tries < 2 && (code == VOLT_ECORRUPT || code == VOLT_ENOTFOUND); tries++) {
        code = fetch(c, row, file, err);
        if (code)
            return code;
        utimensat(AT_FDCWD, file, NULL, 0); /* it was used */
        code = archive_unpack(file, place, &max, &sum, err);
        if (code == VOLT_ECORRUPT)
            unlink(file);
    }
    if (!code)
        say("restored artifacts of job '" SLICE_FMT "': %" PRIu64 " entr%s, %" PRIu64 " bytes",
            SLICE_ARG(row->job), sum.entries, sum.entries == 1 ? "y" : "ies", sum.bytes);
    return code;
}

static volt_code in(const command_line *line, uint64_t build, slices jobs,
                    const archive_place *place, volt_err *err)
{
    const char *dir = command_text(line, "inputs");
    CLEANUP(client_free)
    client *c = NULL;
    CLEANUP(free)
    rec_artifact_row *rows = NULL;
    size_t n = 0;
    char hist[33];
    volt_code code = files_make_dir(dir, err);

    if (!code)
        code = client_new(line, &c, err);
    if (!code)
        code = download_list(c, build, jobs, &rows, &n, hist, err);
    if (!code)
        clean(dir);
    for (size_t i = 0; !code && i < n; i++) {
        CLEANUP(free)
        char *file = mem_printf("%s/%s-%" PRIu64 "-%" PRIu64, dir, hist, rows[i].task, rows[i].att);

        code = restore(c, &rows[i], file, place, err);
    }
    return code;
}

/* ---- the command ---- */

static exit_code run(const command_line *line)
{
    const char *const *args;
    size_t n = command_args(line, &args);
    const archive_place place = { .dir = args[2], .since_ns = command_number(line, "since") };
    CLEANUP(free)
    slice *rest = NEW_ARRAY(slice, n);
    const slices list = { rest, n - 3 };
    uint64_t build;
    volt_err err;
    volt_code code;

    for (size_t i = 3; i < n; i++)
        rest[i - 3] = slice_of(args[i]);
    if (strcmp(args[0], "out") == 0)
        return out(args[1], &place, list, (uint64_t)command_number(line, "max-bytes"));
    if (strcmp(args[0], "in") != 0)
        return command_fail_with(line, EXIT_USAGE, "expected 'out' or 'in', not '%s'", args[0]);
    code = query_id(args[1], "build", &build, &err);
    if (!code)
        code = in(line, build, list, &place, &err);
    if (!code)
        return EXIT_DONE;
    say("%s", err.msg);
    if (code == VOLT_EFULL)
        return (exit_code)CARRY_EXIT_FULL;
    /* Away, or with a full disk: not an end. */
    return code == VOLT_EUNREACHABLE || code == VOLT_EAGAIN ? EXIT_UNREACHABLE : EXIT_RED;
}

static const option_spec options[] = {
    { "dispatcher-server", 0, OPTION_TEXT, "HOST:PORT", "localhost:8888", 0, 0,
      "where the dispatcher is", true },
    /* The executor gives the attempt back after this, for another runner may reach it. */
    { "timeout", 0, OPTION_DURATION, "TIME", "60s", 0, 0, "how long to wait for an answer", true },
    { "inputs", 0, OPTION_TEXT, "DIR", "inputs", 0, 0, "where fetched archives are kept", true },
    { "max-bytes", 0, OPTION_NUMBER, "N", "1073741824", 0, INT64_MAX,
      "of all files; more are not kept at all", true },
    { "since", 0, OPTION_NUMBER, "NS", "0", 0, INT64_MAX,
      "leave out what did not change after this time (nanoseconds since 1970)", true },
};

const command command_carry = {
    .name = "carry",
    .args = "out FILE DIR GLOB... | in BUILD DIR JOB...",
    .args_min = 4,
    .args_max = -1,
    .summary = "artifacts of a checkout; started by 'volt executor'",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .hidden = true,
    .run = run,
};
