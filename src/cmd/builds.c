#include <stdio.h>

#include "base/cleanup.h"
#include "cmd/client.h"
#include "cmd/json.h"
#include "cmd/show.h"
#include "net/loop.h"

#define PAGE_MAX    500
#define BUILDS_MAX  1000000
#define SUBJECT_MAX 50 /* columns */

DEFINE_CLEANUP(client *, client_free);
DEFINE_CLEANUP(show_table *, show_table_free);

typedef struct listing {
    uint64_t before; /* of the next page */
    size_t left;
    bool more;      /* there is another page */
    bool forgotten; /* a build had no details any more */
} listing;

static void cell_units(show_table *t, const rec_build_row *row)
{
    if (!row->units)
        show_cell(t, TONE_PLAIN, "%s", "");
    else if (row->units_bad)
        show_cell(t, TONE_BAD, "%llu bad of %llu", (unsigned long long)row->units_bad,
                  (unsigned long long)row->units);
    else
        show_cell(t, TONE_PLAIN, "%llu/%llu", (unsigned long long)row->units_done,
                  (unsigned long long)row->units);
}

static void add_row(show_table *t, const rec_build_row *row)
{
    int64_t now = loop_wall_ms();
    show_tone tone;
    const char *outcome = show_outcome(row->verdict, row->state, &tone);
    uint64_t end = row->finished_ms ? row->finished_ms : (uint64_t)now;

    show_cell_count(t, row->build);
    show_cell(t, tone, "%s%s", outcome, row->forgotten ? "*" : "");
    show_cell_text(t, TONE_PLAIN, row->repo, 30);
    show_cell_text(t, TONE_PLAIN, show_ref(row->ref), 30);
    if (row->gen)
        show_cell(t, TONE_DIM, SLICE_FMT " again %llu", SLICE_ARG(show_oid(row->oid)),
                  (unsigned long long)row->gen);
    else
        show_cell_text(t, TONE_DIM, show_oid(row->oid), 0);
    cell_units(t, row);
    show_cell_ms(t, end > row->created_ms ? end - row->created_ms : 0);
    show_cell_age(t, row->created_ms, now);
    show_cell_text(t, TONE_PLAIN, row->subject, SUBJECT_MAX);
}

static volt_code page(const command_line *line, client *c, show_table *t, listing *l, volt_err *err)
{
    const char *repo = command_text(line, "repo");
    const msg question = { .type = MSG_builds,
                           .builds = { .repo = slice_of(repo),
                                       .before = l->before,
                                       .max = l->left < PAGE_MAX ? l->left : PAGE_MAX } };
    const msg *answer;
    volt_code code = client_ask(c, &question, MSG_builds_are, &answer, err);

    if (code)
        return code;
    for (size_t i = 0; i < answer->builds_are.rows.n; i++) {
        const rec_build_row *row = &answer->builds_are.rows.v[i];

        if (command_flag(line, "json"))
            json_print(json_of(json_list_table(MSG_builds_are, "rows"), row));
        else
            add_row(t, row);
        l->forgotten |= row->forgotten;
        l->before = row->build;
        l->left--;
    }
    l->more = answer->builds_are.more && answer->builds_are.rows.n && l->left;
    return VOLT_OK;
}

static exit_code run(const command_line *line)
{
    static const char *const headings[] = { ">BUILD", "STATE", "REPO", "REF",    "COMMIT",
                                            ">UNITS", ">TIME", ">AGE", "SUBJECT" };
    CLEANUP(show_table_free)
    show_table *t = NULL;
    CLEANUP(client_free)
    client *c = NULL;
    const char *repo = command_text(line, "repo");
    size_t max = (size_t)command_number(line, "max");
    listing l = { .before = (uint64_t)command_number(line, "before"), .left = max, .more = true };
    volt_err err = { 0 };

    if (client_new(line, &c, &err))
        return command_fail(line, &err);
    t = show_table_new(show_color(line), headings, 9);
    while (l.more)
        if (page(line, c, t, &l, &err))
            return command_fail(line, &err);
    if (l.left == max && repo && !command_given(line, "before"))
        return command_fail_with(line, EXIT_NOT_FOUND,
                                 "no build of a repository '%s'; 'volt builds' lists all", repo);
    show_table_print(t, stdout);
    if (l.forgotten && !command_flag(line, "json"))
        puts("* its details are no longer kept");
    if (l.left == max && !command_flag(line, "json"))
        puts("no build");
    return EXIT_DONE;
}

static const option_spec options[] = {
    { .name = "repo",
      .kind = OPTION_TEXT,
      .arg = "NAME",
      .help = "only builds of this repository",
      .no_env = true },
    { .name = "max",
      .letter = 'n',
      .kind = OPTION_NUMBER,
      .arg = "N",
      .def = "20",
      .min = 1,
      .max = BUILDS_MAX,
      .help = "at most so many",
      .no_env = true },
    { .name = "before",
      .kind = OPTION_NUMBER,
      .arg = "BUILD",
      .def = "0",
      .max = (int64_t)MSG_ID_MAX,
      .help = "only builds older than this one; 0: from the newest",
      .no_env = true },
    OPTION_DISPATCHER,
    OPTION_TIMEOUT,
    OPTION_JSON,
    OPTION_COLOR,
};

const command command_builds = {
    .name = "builds",
    .args = "",
    .summary = "list builds, the newest first",
    .text = "A star is behind the state of a build whose details are no longer kept. With --json "
            "one object a build.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = run,
};
