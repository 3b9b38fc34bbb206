/* volt artifacts: the files that a build's jobs left, listed or fetched. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/files.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rmtree.h"
#include "cmd/client.h"
#include "cmd/download.h"
#include "cmd/json.h"
#include "cmd/merge.h"
#include "cmd/query.h"
#include "cmd/show.h"
#include "exec/archive.h"

#define BYTES_MAX   ((uint64_t)64 << 30)
#define ENTRIES_MAX 1000000

static const archive_limits limits = { .bytes = BYTES_MAX, .entries = ENTRIES_MAX };

DEFINE_CLEANUP(client *, client_free);
DEFINE_CLEANUP(show_table *, show_table_free);

/* One archive's files, as they are listed. */
typedef struct listing {
    const rec_artifact_row *row;
    show_table *table; /* NULL: as JSON */
} listing;

static void list_file(void *ctx, const archive_file *f)
{
    const listing *l = ctx;

    if (l->table) {
        show_cell_text(l->table, TONE_PLAIN, l->row->job, 60);
        show_cell(l->table, TONE_PLAIN, "%" PRIu64, f->bytes);
        show_cell_text(l->table, TONE_PLAIN, f->path, 0);
        return;
    }
    json_t *j = json_object();

    json_add_bytes(j, "job", l->row->job);
    json_add_bytes(j, "path", f->path);
    json_object_set_new(j, "bytes", json_integer((json_int_t)f->bytes));
    json_object_set_new(j, "mode", json_integer((json_int_t)(f->mode & 07777)));
    json_object_set_new(j, "build", json_integer((json_int_t)l->row->build));
    json_object_set_new(j, "task", json_integer((json_int_t)l->row->task));
    json_print(j);
}

/* ---- fetching ---- */

/* A file without a name, so that nothing of it is left; `path` is where to open it again. */
static volt_code fetch(client *c, const rec_artifact_row *row, int *ret, char path[64],
                       volt_err *err)
{
    const char *dir = getenv("TMPDIR");
    CLEANUP(free)
    char *name = mem_printf("%s/volt-XXXXXX", dir && *dir ? dir : "/tmp");
    int fd = mkostemp(name, O_CLOEXEC);

    if (fd < 0)
        return volt_fail(err, VOLT_EIO, "make '%s': %s", name, strerror(errno));
    unlink(name);
    *ret = fd;
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return download(c, row, fd, err);
}

/* What archive.h says of a damaged one names our own file. */
static volt_code fail_damaged(const rec_artifact_row *row, volt_err *err)
{
    return volt_fail(err, VOLT_ECORRUPT,
                     "the artifacts of job '" SLICE_FMT "' (task %" PRIu64 ") are damaged",
                     SLICE_ARG(row->job), row->task);
}

/* A job's name as a path below DIR: "test/3.12" is a directory in a directory. */
static bool is_path(slice job)
{
    size_t from = 0;

    for (size_t i = 0; i <= job.n; i++) {
        slice part = { job.p + from, i - from };

        if (i < job.n && job.p[i] != '/')
            continue;
        if (!part.n || slice_is(part, ".") || slice_is(part, ".."))
            return false;
        from = i + 1;
    }
    return true;
}

/* Unpacks one archive into DIR/<job> by way of a directory beside it. */
static volt_code put(const rec_artifact_row *row, const char *archive, const char *dir,
                     merge_sum *sum, volt_err *err)
{
    CLEANUP(free)
    char *beside = mem_printf("%s/.volt-XXXXXX", dir);
    CLEANUP(free)
    char *to = mem_printf("%s/" SLICE_FMT, dir, SLICE_ARG(row->job));
    const archive_place place = { .dir = beside };
    merge_sum one = { 0 };
    archive_sum unpacked;
    volt_code code;

    if (!is_path(row->job))
        return volt_fail(err, VOLT_EINVALID, "job '" SLICE_FMT "' has no name for a directory",
                         SLICE_ARG(row->job));
    code = files_make_dir(to, err);
    if (!code && !mkdtemp(beside))
        return volt_fail(err, VOLT_EIO, "make '%s': %s", beside, strerror(errno));
    if (!code) {
        code = archive_unpack(archive, &place, &limits, &unpacked, err);
        if (code == VOLT_ECORRUPT)
            fail_damaged(row, err);
        if (!code)
            code = merge_tree(beside, to, &one, err);
        rmtree(AT_FDCWD, beside, NULL);
    }
    sum->files += one.files;
    sum->left_out += one.left_out;
    return code;
}

/* ---- the command ---- */

typedef struct wanted {
    const char *dir;   /* --get; NULL: a list */
    show_table *table; /* the list's; NULL: JSON */
} wanted;

static volt_code take(client *c, const rec_artifact_row *row, const wanted *w, merge_sum *sum,
                      volt_err *err)
{
    listing l = { row, w->table };
    CLEANUP(close)
    int fd = -1;
    char path[64];
    archive_sum listed;
    volt_code code = fetch(c, row, &fd, path, err);

    if (!code && w->dir)
        return put(row, path, w->dir, sum, err);
    if (!code)
        code = archive_list(path, &limits, list_file, &l, &listed, err);
    return code == VOLT_ECORRUPT ? fail_damaged(row, err) : code;
}

/* "12" or "12/job". */
static volt_code read_target(const char *text, uint64_t *build, slice *job, volt_err *err)
{
    const char *slash = strchr(text, '/');
    CLEANUP(free)
    char *id = slash ? mem_strndup(text, (size_t)(slash - text)) : mem_strdup(text);

    *job = slice_of(slash ? slash + 1 : "");
    return query_id(id, "build", build, err);
}

/* All that can be had; the first that cannot is told at the end. */
static volt_code take_all(client *c, const rec_artifact_row *rows, size_t n, const wanted *w,
                          merge_sum *sum, volt_err *err)
{
    volt_code first = VOLT_OK;

    for (size_t i = 0; i < n; i++) {
        volt_err why;
        volt_code code = take(c, &rows[i], w, sum, &why);

        if (code && !first) {
            first = code;
            *err = why;
        }
        if (code && code != VOLT_ENOTFOUND)
            break;
    }
    return first;
}

static exit_code run(const command_line *line)
{
    static const char *const headings[] = { "JOB", ">BYTES", "FILE" };
    const wanted w = { .dir = command_text(line, "get"),
                       .table = command_flag(line, "json")
                                    ? NULL
                                    : show_table_new(show_color(line), headings, 3) };
    CLEANUP(show_table_free)
    show_table *table = w.table;
    CLEANUP(client_free)
    client *c = NULL;
    CLEANUP(free)
    rec_artifact_row *rows = NULL;
    const char *const *args;
    merge_sum sum = { 0 };
    volt_err err = { 0 };
    uint64_t build;
    char hist[33];
    slice job;
    volt_code code;
    size_t n;

    command_args(line, &args);
    if (read_target(args[0], &build, &job, &err) || client_new(line, &c, &err) ||
        download_list(c, build, (slices){ &job, job.n > 0 }, &rows, &n, hist, &err))
        return command_fail(line, &err);
    if (n == 0 && job.n)
        return command_fail_with(line, EXIT_NOT_FOUND,
                                 "build %" PRIu64 " has no artifacts of a job '" SLICE_FMT "'",
                                 build, SLICE_ARG(job));
    if (n == 0)
        return command_fail_with(line, EXIT_NOT_FOUND, "build %" PRIu64 " has no artifacts", build);
    code = take_all(c, rows, n, &w, &sum, &err);
    if (table && !w.dir)
        show_table_print(table, stdout);
    if (w.dir && sum.files)
        printf("%zu file%s in %s\n", sum.files, sum.files == 1 ? "" : "s", w.dir);
    if (sum.left_out)
        log_warn("%zu symbolic link%s out of the tree left out", sum.left_out,
                 sum.left_out == 1 ? " that leads" : "s that lead");
    return code ? command_fail(line, &err) : EXIT_DONE;
}

static const option_spec options[] = {
    { .name = "get",
      .kind = OPTION_TEXT,
      .arg = "DIR",
      .help = "write each file to DIR/JOB/FILE instead of listing it",
      .no_env = true },
    OPTION_DISPATCHER,
    OPTION_TIMEOUT,
    OPTION_JSON,
    OPTION_COLOR,
};

const command command_artifacts = {
    .name = "artifacts",
    .args = "ID[/JOB]",
    .args_min = 1,
    .args_max = 1,
    .summary = "list or fetch the files that a build's jobs left",
    .text = "What 'artifacts' of the pipeline file names is kept when a job has ended, passed or "
            "not; of a script that was tried again the newest try counts. With --json one object a "
            "line: job, path, bytes, mode, build, task. With --get files that are there already "
            "are replaced.\n"
            "Exit status 3: there are none, or they are no longer kept.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = run,
};
