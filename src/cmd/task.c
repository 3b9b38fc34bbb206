#include <stdio.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/client.h"
#include "cmd/json.h"
#include "cmd/query.h"
#include "cmd/show.h"
#include "net/loop.h"

DEFINE_CLEANUP(client *, client_free);
DEFINE_CLEANUP(show_table *, show_table_free);

static void print_attempts(const rec_attempt_row_list *rows, bool color)
{
    static const char *const headings[] = { ">TRY", "STATE", ">TIME", ">LOG", "RUNNER", "WHY" };
    CLEANUP(show_table_free)
    show_table *t = show_table_new(color, headings, 6);

    for (size_t i = 0; i < rows->n; i++) {
        const rec_attempt_row *row = &rows->v[i];
        uint64_t end = row->ended_ms ? row->ended_ms : (uint64_t)loop_wall_ms();
        show_tone tone;
        const char *outcome = show_outcome(row->verdict, row->state, &tone);

        show_cell_count(t, row->att);
        show_cell(t, tone, "%s", outcome);
        show_cell_ms(t, end > row->leased_ms ? end - row->leased_ms : 0);
        show_cell_count(t, row->log_bytes);
        show_cell_text(t, TONE_PLAIN, row->runner, 40);
        show_cell(t, TONE_PLAIN, "%s", code_text(row->code));
    }
    if (rows->n)
        puts("");
    show_table_print(t, stdout);
}

static void print_task(const msg_task_is *m, bool color)
{
    const rec_task_row *row = &m->rows.v[0];
    char took[TEXT_DURATION_MAX];
    show_tone tone;
    const char *outcome = show_outcome(row->verdict, row->state, &tone);
    buf b = { 0 };

    buf_addf(&b, "task %llu of build %llu: %s", (unsigned long long)row->task,
             (unsigned long long)row->build, task_kind_text(row->kind));
    if (row->job.n) {
        buf_adds(&b, " of job ");
        show_text(&b, row->job, 0);
    }
    printf("%s, %s%s%s", buf_str(&b), show_begin(color, tone), outcome, show_end(color, tone));
    if (row->duration_ms)
        printf(" after %s", text_show_ms((int64_t)row->duration_ms, took));
    if (row->signal)
        printf(", ended by signal %llu", (unsigned long long)row->signal);
    else if (row->exit)
        printf(", exit %llu", (unsigned long long)row->exit);
    puts("");
    if (row->units)
        printf("  %llu unit%s\n", (unsigned long long)row->units, row->units == 1 ? "" : "s");
    if (row->why.n) {
        buf_clear(&b);
        show_text(&b, row->why, 0);
        printf("  %s\n", buf_str(&b));
    }
    buf_free(&b);
    print_attempts(&m->attempts, color);
}

static exit_code run(const command_line *line)
{
    CLEANUP(client_free)
    client *c = NULL;
    const char *const *args;
    msg question = { .type = MSG_task };
    const msg *answer;
    volt_err err = { 0 };

    command_args(line, &args);
    if (query_id(args[0], "task", &question.task.task, &err) || client_new(line, &c, &err) ||
        client_ask(c, &question, MSG_task_is, &answer, &err))
        return command_fail(line, &err);
    if (answer->task_is.rows.n == 0)
        return command_fail_with(line, EXIT_NOT_FOUND, "there is no task %s", args[0]);
    if (command_flag(line, "json")) {
        json_t *j = json_of(json_list_table(MSG_task_is, "rows"), &answer->task_is.rows.v[0]);

        json_object_set_new(j, "attempts",
                            json_of_list(json_list_table(MSG_task_is, "attempts"),
                                         answer->task_is.attempts.v, answer->task_is.attempts.n));
        json_print(j);
    } else {
        print_task(&answer->task_is, show_color(line));
    }
    return EXIT_DONE;
}

static const option_spec options[] = { OPTION_DISPATCHER, OPTION_TIMEOUT, OPTION_JSON,
                                       OPTION_COLOR };

const command command_task = {
    .name = "task",
    .args = "ID",
    .args_min = 1,
    .args_max = 1,
    .summary = "show a task and its attempts",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = run,
};
