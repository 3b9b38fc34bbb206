#include <stdio.h>

#include "base/cleanup.h"
#include "cmd/client.h"
#include "cmd/json.h"
#include "cmd/show.h"
#include "net/loop.h"

DEFINE_CLEANUP(client *, client_free);
DEFINE_CLEANUP(show_table *, show_table_free);

static void cell_job(show_table *t, const rec_task_row *row)
{
    if (row->kind == TASK_PLAN)
        show_cell(t, TONE_DIM, "%s", "(plan)");
    else
        show_cell_text(t, TONE_PLAIN, row->job, 40);
}

static void print_running(const msg_status_is *m, bool color)
{
    static const char *const headings[] = { ">TASK", ">BUILD", "REPO",   "JOB", ">TRY",
                                            "STATE", ">FOR",   "RUNNER", "WHY" };
    CLEANUP(show_table_free)
    show_table *t = NULL;
    int64_t now = loop_wall_ms();
    bool some_why = false;

    for (size_t i = 0; i < m->running.n; i++)
        some_why |= m->running.v[i].why.n > 0;
    t = show_table_new(color, headings, some_why ? 9 : 8);
    for (size_t i = 0; i < m->running.n; i++) {
        const rec_task_row *row = &m->running.v[i];
        show_tone tone;
        const char *state = show_outcome(row->verdict, row->state, &tone);

        show_cell_count(t, row->task);
        show_cell_count(t, row->build);
        show_cell_text(t, TONE_PLAIN, row->repo, 30);
        cell_job(t, row);
        show_cell_count(t, row->att);
        show_cell(t, tone, "%s", state);
        show_cell_age(t, row->since_ms, now);
        show_cell_text(t, TONE_PLAIN, row->runner, 0);
        if (some_why)
            show_cell_text(t, TONE_WARN, row->why, 0);
    }
    if (m->running.n)
        puts("\nUnder way:");
    show_table_print(t, stdout);
}

static void print_waiting(const msg_status_is *m, bool color)
{
    static const char *const headings[] = { ">BUILD", "REPO", "JOB", ">UNITS", ">FOR", "WHY" };
    CLEANUP(show_table_free)
    show_table *t = show_table_new(color, headings, 6);
    int64_t now = loop_wall_ms();

    for (size_t i = 0; i < m->waiting.n; i++) {
        const rec_task_row *row = &m->waiting.v[i];

        show_cell_count(t, row->build);
        show_cell_text(t, TONE_PLAIN, row->repo, 30);
        cell_job(t, row);
        show_cell_count(t, row->units);
        show_cell_age(t, row->since_ms, now);
        show_cell_text(t, TONE_WARN, row->why, 0);
    }
    if (m->waiting.n)
        puts("\nWaiting:");
    show_table_print(t, stdout);
}

static void print_status(const msg_status_is *m, const char *server, bool color)
{
    printf("dispatcher at %s: %llu runner%s, %llu of %llu slots busy; %llu build%s under way, "
           "%llu waiting\n",
           server, (unsigned long long)m->runners, m->runners == 1 ? "" : "s",
           (unsigned long long)m->busy, (unsigned long long)m->slots, (unsigned long long)m->builds,
           m->builds == 1 ? "" : "s", (unsigned long long)m->queued);
    if (m->bad_msgs)
        printf("%llu malformed message%s since its start\n", (unsigned long long)m->bad_msgs,
               m->bad_msgs == 1 ? "" : "s");
    if (m->trouble.n) {
        buf b = { 0 };

        show_text(&b, m->trouble, 0);
        printf("%strouble: %s%s\n", show_begin(color, TONE_BAD), buf_str(&b),
               show_end(color, TONE_BAD));
        buf_free(&b);
    }
    print_running(m, color);
    print_waiting(m, color);
}

static exit_code run(const command_line *line)
{
    CLEANUP(client_free)
    client *c = NULL;
    const msg question = { .type = MSG_status };
    const msg *answer;
    volt_err err = { 0 };

    if (client_new(line, &c, &err) || client_ask(c, &question, MSG_status_is, &answer, &err))
        return command_fail(line, &err);
    if (command_flag(line, "json"))
        json_print(json_of_msg_whole(answer)); /* scripts count on each key */
    else
        print_status(&answer->status_is, client_server(c), show_color(line));
    return EXIT_DONE;
}

static const option_spec options[] = { OPTION_DISPATCHER, OPTION_TIMEOUT, OPTION_JSON,
                                       OPTION_COLOR };

const command command_status = {
    .name = "status",
    .args = "",
    .summary = "show what runs and what waits, and why",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = run,
};
