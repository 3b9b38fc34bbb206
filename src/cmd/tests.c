#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "cmd/client.h"
#include "cmd/json.h"
#include "cmd/show.h"
#include "net/loop.h"

#define FILES_MAX 1000000

DEFINE_CLEANUP(client *, client_free);
DEFINE_CLEANUP(show_table *, show_table_free);

typedef struct file_list {
    rec_file_row *v;
    size_t n;
} file_list;

static void cleanup_file_list(file_list *list)
{
    free(list->v);
}

/* All of a repository (NULL: of all), in the order of their names.  What the rows point to stands
 * as long as the client. */
static volt_code fetch(client *c, const char *repo, file_list *ret, volt_err *err)
{
    msg question = { .type = MSG_files, .files.repo = slice_of(repo) };
    bool more = true;

    while (more) {
        const msg *answer;
        const rec_file_row *last;
        size_t got;
        volt_code code = client_ask(c, &question, MSG_files_are, &answer, err);

        if (code)
            return code;
        client_keep(c);
        got = answer->files_are.rows.n;
        more = answer->files_are.more && got && ret->n + got < FILES_MAX;
        if (!got)
            break;
        ret->v = mem_grow(ret->v, ret->n + got, sizeof *ret->v);
        memcpy(ret->v + ret->n, answer->files_are.rows.v, got * sizeof *ret->v);
        ret->n += got;
        last = &ret->v[ret->n - 1];
        question.files.after_repo = last->repo;
        question.files.after_job = last->job;
        question.files.after_file = last->file;
    }
    return VOLT_OK;
}

static int greater_first(uint64_t a, uint64_t b)
{
    return (a < b) - (a > b);
}

static int by_name(const rec_file_row *a, const rec_file_row *b)
{
    int order = slice_cmp(a->repo, b->repo);

    if (!order)
        order = slice_cmp(a->job, b->job);
    return order ? order : slice_cmp(a->file, b->file);
}

static int by_duration(const void *a, const void *b)
{
    const rec_file_row *fa = a, *fb = b;
    int order = greater_first(fa->mean_ms, fb->mean_ms);

    return order ? order : by_name(fa, fb);
}

static int by_flakiness(const void *a, const void *b)
{
    const rec_file_row *fa = a, *fb = b;
    int order = greater_first(fa->flaky, fb->flaky);

    return order ? order : by_name(fa, fb);
}

static size_t only_flaky(file_list *list)
{
    size_t n = 0;

    for (size_t i = 0; i < list->n; i++)
        if (list->v[i].flaky)
            list->v[n++] = list->v[i];
    return n;
}

static void add_row(show_table *t, const rec_file_row *f, int64_t now)
{
    show_tone tone;
    const char *outcome = show_outcome(f->verdict, STATE_FINAL, &tone);

    show_cell_ms(t, f->mean_ms);
    show_cell_count(t, f->runs);
    show_cell_count(t, f->failures);
    show_cell_count(t, f->flaky);
    show_cell(t, tone, "%s", outcome);
    show_cell_age(t, f->seen_ms, now);
    show_cell_text(t, TONE_DIM, show_oid(f->flaky_oid), 0);
    show_cell_text(t, TONE_PLAIN, f->repo, 30);
    show_cell_text(t, TONE_PLAIN, f->job, 40);
    show_cell_text(t, TONE_PLAIN, f->file, 0);
}

static void print(const command_line *line, const file_list *list, size_t max)
{
    static const char *const headings[] = { ">MEAN", ">RUNS",    ">FAILED", ">FLAKY", "LAST",
                                            ">AGE",  "FLAKY AT", "REPO",    "JOB",    "FILE" };
    CLEANUP(show_table_free)
    show_table *t = show_table_new(show_color(line), headings, 10);
    int64_t now = loop_wall_ms();
    size_t n = list->n < max ? list->n : max;

    for (size_t i = 0; i < n; i++)
        add_row(t, &list->v[i], now);
    show_table_print(t, stdout);
    if (!list->n)
        puts(command_flag(line, "flaky") ? "no test file is flaky" : "no test file has run");
    if (list->n > n)
        printf("… and %zu more; --max shows them\n", list->n - n);
}

static exit_code run(const command_line *line)
{
    CLEANUP(client_free)
    client *c = NULL;
    CLEANUP(file_list)
    file_list list = { 0 };
    const char *const *args;
    const char *repo = command_args(line, &args) ? args[0] : NULL;
    volt_err err = { 0 };

    if (command_flag(line, "flaky") && command_flag(line, "slow"))
        return command_fail_with(line, EXIT_USAGE, "--flaky and --slow are two orders; give one");
    if (client_new(line, &c, &err) || fetch(c, repo, &list, &err))
        return command_fail(line, &err);
    if (repo && !list.n)
        return command_fail_with(
            line, EXIT_NOT_FOUND,
            "no test file of a repository '%s' has run; 'volt tests' lists all", repo);
    if (command_flag(line, "flaky")) {
        list.n = only_flaky(&list);
        qsort(list.v, list.n, sizeof *list.v, by_flakiness);
    } else if (command_flag(line, "slow")) {
        qsort(list.v, list.n, sizeof *list.v, by_duration);
    }
    if (!command_flag(line, "json")) {
        print(line, &list, (size_t)command_number(line, "max"));
        return EXIT_DONE;
    }
    for (size_t i = 0; i < list.n; i++)
        json_print(json_of(json_list_table(MSG_files_are, "rows"), &list.v[i]));
    return EXIT_DONE;
}

static const option_spec options[] = {
    { .name = "flaky",
      .kind = OPTION_FLAG,
      .help = "only those that both failed and passed at one commit, the most often first" },
    { .name = "slow", .kind = OPTION_FLAG, .help = "the longest first" },
    { .name = "max",
      .letter = 'n',
      .kind = OPTION_NUMBER,
      .arg = "N",
      .def = "50",
      .min = 1,
      .max = FILES_MAX,
      .help = "at most so many; with --json all",
      .no_env = true },
    OPTION_DISPATCHER,
    OPTION_TIMEOUT,
    OPTION_JSON,
    OPTION_COLOR,
};

const command command_tests = {
    .name = "tests",
    .args = "[REPO]",
    .args_max = 1,
    .summary = "list test files by their history: how long, how often failed, how flaky",
    .text =
        "A file's history is kept a job: how long it takes (a mean in which what is older counts "
        "less), how many of its runs failed, and at how many commits it both failed and passed. "
        "It outlives the builds that it comes from, and decides which files go to the slots "
        "first.\nWith --json one object a file.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = run,
};
