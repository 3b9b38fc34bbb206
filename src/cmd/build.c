#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/client.h"
#include "cmd/failures.h"
#include "cmd/jobs.h"
#include "cmd/json.h"
#include "cmd/query.h"
#include "cmd/show.h"
#include "net/loop.h"

#define QUIET_MAX 20 /* units that passed or wait and are listed without --all */

DEFINE_CLEANUP(client *, client_free);
DEFINE_CLEANUP(show_table *, show_table_free);

/* How early a unit is listed. */
static int rank(const rec_test_row *row)
{
    switch (row->verdict) {
    case VERDICT_FLAKY:
        return 0;
    case verdict_none:
        return 1;
    default:
        return 2;
    }
}

static void print_head(const rec_build_row *row, bool color)
{
    char took[TEXT_DURATION_MAX];
    int64_t now = loop_wall_ms();
    uint64_t end = row->finished_ms ? row->finished_ms : (uint64_t)now;
    show_tone tone;
    const char *outcome = show_outcome(row->verdict, row->state, &tone);
    buf b = { 0 };

    show_text(&b, row->repo, 0);
    buf_addc(&b, ' ');
    show_text(&b, show_ref(row->ref), 0);
    buf_addf(&b, " " SLICE_FMT, SLICE_ARG(show_oid(row->oid)));
    if (row->gen)
        buf_addf(&b, " again %llu", (unsigned long long)row->gen);
    printf("build %llu, %s: %s%s%s %s %s", (unsigned long long)row->build, buf_str(&b),
           show_begin(color, tone), outcome, show_end(color, tone), row->verdict ? "after" : "for",
           text_show_ms(end > row->created_ms ? (int64_t)(end - row->created_ms) : 0, took));
    if (row->finished_ms) {
        buf_clear(&b);
        show_age(&b, row->finished_ms, now);
        printf(", %s ago", buf_str(&b));
    }
    puts("");
    if (row->subject.n) {
        buf_clear(&b);
        show_text(&b, row->subject, 0);
        buf_adds(&b, row->author.n ? " (" : "");
        show_text(&b, row->author, 0);
        printf("  %s%s\n", buf_str(&b), row->author.n ? ")" : "");
    }
    if (row->env.n) {
        buf_clear(&b);
        for (size_t i = 0; i < row->env.n; i++) {
            buf_addc(&b, ' ');
            show_text(&b, row->env.v[i], 200);
        }
        printf("  with%s\n", buf_str(&b));
    }
    if (row->why.n) {
        buf_clear(&b);
        show_text(&b, row->why, 0);
        printf("  %s%s%s\n", show_begin(color, TONE_BAD), buf_str(&b), show_end(color, TONE_BAD));
    }
    if (row->units)
        printf("  %llu unit%s, %llu done, %llu not passed\n", (unsigned long long)row->units,
               row->units == 1 ? "" : "s", (unsigned long long)row->units_done,
               (unsigned long long)row->units_bad);
    buf_free(&b);
}

static void show_how(show_table *t, const rec_test_row *row)
{
    CLEANUP(buf)
    buf how = { 0 };

    if (row->signal)
        buf_addf(&how, "signal %llu", (unsigned long long)row->signal);
    else if (row->exit)
        buf_addf(&how, "exit %llu", (unsigned long long)row->exit);
    if (row->tries)
        buf_addf(&how, "%s%llu runs", how.n ? ", " : "", (unsigned long long)row->tries);
    show_cell(t, TONE_PLAIN, "%s", buf_str(&how));
}

/* What failed is not listed here: failures.h shows it.  Of a build that has ended (`final`) those
 * without a verdict will never run. */
static void print_units(const rec_test_row *v, size_t n, bool final, bool all, bool color)
{
    static const char *const headings[] = {
        "STATE", ">TIME", "JOB", ">N", "UNIT", "RUNNER", "HOW"
    };
    CLEANUP(show_table_free)
    show_table *t = show_table_new(color, headings, 7);
    size_t quiet = 0, left_out = 0;

    for (int r = 0; r <= 2; r++)
        for (size_t i = 0; i < n; i++) {
            const rec_test_row *row = &v[i];
            show_tone tone;
            const char *outcome = show_outcome(row->verdict, STATE_WAITING, &tone);

            if (final && !row->verdict)
                outcome = "not-run";
            if (rank(row) != r || failures_has(row->verdict))
                continue;
            if (r > 0 && ++quiet > QUIET_MAX && !all) {
                left_out++;
                continue;
            }
            show_cell(t, tone, "%s", outcome);
            show_cell_ms(t, row->duration_ms);
            show_cell_text(t, TONE_PLAIN, row->job, 40);
            show_cell(t, TONE_DIM, "%llu", (unsigned long long)row->i);
            show_cell_text(t, TONE_PLAIN, row->file, 0);
            show_cell_text(t, TONE_PLAIN, row->runner, 40);
            show_how(t, row);
        }
    if (n)
        puts("");
    show_table_print(t, stdout);
    if (left_out)
        printf("… and %zu more that passed or wait; --all lists them\n", left_out);
}

/* What is under way, and what ended otherwise than by its units. */
static void print_tasks(const rec_task_row_list *tasks, bool color)
{
    static const char *const headings[] = { ">TASK", "KIND", "JOB",    ">TRY",
                                            "STATE", ">FOR", "RUNNER", "WHY" };
    CLEANUP(show_table_free)
    show_table *t = show_table_new(color, headings, 8);
    int64_t now = loop_wall_ms();
    bool some = false;

    for (size_t i = 0; i < tasks->n; i++) {
        const rec_task_row *row = &tasks->v[i];
        show_tone tone;
        const char *outcome = show_outcome(row->verdict, row->state, &tone);

        if (row->verdict && !row->why.n)
            continue;
        some = true;
        show_cell_count(t, row->task);
        show_cell(t, TONE_PLAIN, "%s", task_kind_text(row->kind));
        show_cell_text(t, TONE_PLAIN, row->job, 40);
        show_cell_count(t, row->att);
        show_cell(t, tone, "%s", outcome);
        show_cell_age(t, row->since_ms, now);
        show_cell_text(t, TONE_PLAIN, row->runner, 40);
        show_cell_text(t, TONE_PLAIN, row->why, 0);
    }
    if (some)
        puts("");
    show_table_print(t, stdout);
}

/* With the cases of each unit that has some. */
static volt_code units_json(client *c, uint64_t build, const rec_test_row *units, size_t n,
                            json_t **ret, volt_err *err)
{
    json_t *list = json_of_list(json_list_table(MSG_units_are, "rows"), units, n);
    volt_code rc = VOLT_OK;

    for (size_t i = 0; !rc && i < n; i++) {
        json_t *cases = NULL;

        if (units[i].cases == 0)
            continue;
        rc = query_cases_json(c, build, &units[i], &cases, err);
        if (!rc)
            json_object_set_new(json_array_get(list, i), "test_cases", cases);
    }
    if (rc)
        json_decref(list);
    else
        *ret = list;
    return rc;
}

static void print_artifacts(const msg_build_is *m)
{
    uint64_t bytes = 0;
    size_t n = 0;

    for (size_t i = 0; i < m->jobs.n; i++) {
        bytes += m->jobs.v[i].artifact_bytes;
        n += m->jobs.v[i].artifact_bytes > 0;
    }
    if (n)
        printf("\n%zu job%s left artifacts, %llu bytes packed: volt artifacts %llu\n", n,
               n == 1 ? "" : "s", (unsigned long long)bytes,
               (unsigned long long)m->rows.v[0].build);
}

static void print_json(const msg_build_is *m, json_t *units)
{
    json_t *j = json_of(json_list_table(MSG_build_is, "rows"), &m->rows.v[0]);

    json_object_set_new(j, "jobs",
                        json_of_list(json_list_table(MSG_build_is, "jobs"), m->jobs.v, m->jobs.n));
    json_object_set_new(
        j, "tasks", json_of_list(json_list_table(MSG_build_is, "tasks"), m->tasks.v, m->tasks.n));
    json_object_set_new(j, "tests", units);
    json_print(j);
}

static exit_code run(const command_line *line)
{
    CLEANUP(client_free)
    client *c = NULL;
    CLEANUP(free)
    rec_test_row *units = NULL;
    const char *const *args;
    msg question = { .type = MSG_build };
    const msg *answer;
    const msg_build_is *m;
    volt_err err = { 0 };
    bool color;
    size_t n;

    command_args(line, &args);
    if (query_id(args[0], "build", &question.build.build, &err) || client_new(line, &c, &err) ||
        client_ask(c, &question, MSG_build_is, &answer, &err))
        return command_fail(line, &err);
    m = &answer->build_is;
    if (m->rows.n == 0)
        return command_fail_with(line, EXIT_NOT_FOUND, "there is no build %s", args[0]);
    client_keep(c);
    n = 0;
    if (!m->rows.v[0].forgotten && query_units(c, question.build.build, &units, &n, &err))
        return command_fail(line, &err);
    if (command_flag(line, "json")) {
        json_t *list;

        if (units_json(c, question.build.build, units, n, &list, &err))
            return command_fail(line, &err);
        print_json(m, list);
        return EXIT_DONE;
    }
    color = show_color(line);
    print_head(&m->rows.v[0], color);
    if (m->rows.v[0].forgotten)
        puts("  its details are no longer kept (--keep-days, --keep-builds, --keep-bytes of the "
             "dispatcher)");
    jobs_print_sums(&m->rows.v[0], &m->jobs, &m->tasks);
    failures_print(c, &(failures_of){ question.build.build, &m->tasks, &m->jobs, units, n }, color);
    jobs_print(&m->jobs, (uint64_t)loop_wall_ms(), color, stdout);
    print_units(units, n, m->rows.v[0].verdict != verdict_none, command_flag(line, "all"), color);
    print_tasks(&m->tasks, color);
    print_artifacts(m);
    return EXIT_DONE;
}

static const option_spec options[] = {
    { .name = "all", .kind = OPTION_FLAG, .help = "list every unit, also when there are many" },
    OPTION_DISPATCHER,
    OPTION_TIMEOUT,
    OPTION_JSON,
    OPTION_COLOR,
};

const command command_build = {
    .name = "build",
    .args = "ID",
    .args_min = 1,
    .args_max = 1,
    .summary = "show a build: what failed first, then its jobs and the rest",
    .text =
        "Of its first 20 failures the last lines of their output; then the jobs, each below what "
        "it needs, with how long it waited for a slot and how long it ran. No way of sharing "
        "the work out can be quicker than the time that is given as the best: all work "
        "divided by the slots, or the longest unit.\nWith --json one object: the build's fields, "
        "and the lists jobs, tasks and tests "
        "(its units; in those whose report named any, test_cases). The output of a unit: volt log "
        "ID/JOB/N.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = run,
};
