#include <stdio.h>

#include "base/cleanup.h"
#include "cmd/client.h"
#include "cmd/json.h"
#include "cmd/show.h"
#include "net/loop.h"

DEFINE_CLEANUP(client *, client_free);
DEFINE_CLEANUP(show_table *, show_table_free);

static show_tone state_tone(runner_state s)
{
    return s == RUNNER_UP ? TONE_GOOD : s == RUNNER_SUSPECT ? TONE_WARN : TONE_DIM;
}

static void add_row(show_table *t, const rec_runner_row *row)
{
    int64_t now = loop_wall_ms();
    buf labels = { 0 };

    for (size_t i = 0; i < row->labels.n; i++) {
        buf_adds(&labels, i ? "," : "");
        buf_add_slice(&labels, row->labels.v[i]);
    }
    show_cell_text(t, TONE_PLAIN, row->name, 40);
    show_cell(t, state_tone(row->state), "%s", runner_state_text(row->state));
    show_cell(t, row->mode == MODE_RUN ? TONE_PLAIN : TONE_WARN, "%s", runner_mode_text(row->mode));
    show_cell(t, TONE_PLAIN, "%llu/%llu", (unsigned long long)row->busy,
              (unsigned long long)row->slots);
    show_cell_count(t, row->losses);
    show_cell_age(t, (uint64_t)(now - (int64_t)row->seen_ms), now);
    show_cell_text(t, TONE_PLAIN, row->host, 40);
    show_cell_text(t, TONE_DIM, (slice){ row->id.p, row->id.n < 8 ? row->id.n : 8 }, 0);
    show_cell_text(t, TONE_PLAIN, buf_slice(&labels), 0);
    buf_free(&labels);
}

static exit_code run(const command_line *line)
{
    static const char *const headings[] = { "NAME",  "STATE", "MODE", ">BUSY", ">LOST",
                                            ">SEEN", "HOST",  "ID",   "LABELS" };
    CLEANUP(show_table_free)
    show_table *t = NULL;
    CLEANUP(client_free)
    client *c = NULL;
    volt_err err = { 0 };
    const msg *answer;
    uint64_t from = 0;
    bool more = true;

    if (client_new(line, &c, &err))
        return command_fail(line, &err);
    t = show_table_new(show_color(line), headings, 9);
    while (more) {
        const msg question = { .type = MSG_runners,
                               .runners = { .from = from, .all = command_flag(line, "all") } };

        if (client_ask(c, &question, MSG_runners_are, &answer, &err))
            return command_fail(line, &err);
        for (size_t i = 0; i < answer->runners_are.rows.n; i++)
            if (command_flag(line, "json"))
                json_print(json_of(json_list_table(MSG_runners_are, "rows"),
                                   &answer->runners_are.rows.v[i]));
            else
                add_row(t, &answer->runners_are.rows.v[i]);
        from += answer->runners_are.rows.n;
        more = answer->runners_are.more && answer->runners_are.rows.n;
    }
    if (!from && !command_flag(line, "json"))
        fprintf(stderr,
                "no runner is connected; start one with: volt runner "
                "--dispatcher-server %s\n",
                client_server(c));
    show_table_print(t, stdout);
    return EXIT_DONE;
}

static const option_spec options[] = {
    { .name = "all", .kind = OPTION_FLAG, .help = "also those that are gone" },
    OPTION_DISPATCHER,
    OPTION_TIMEOUT,
    OPTION_JSON,
    OPTION_COLOR,
};

const command command_runners = {
    .name = "runners",
    .args = "",
    .summary = "list the runners",
    .text = "With --json one object a runner; seen_ms is how long ago it was heard of.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = run,
};
