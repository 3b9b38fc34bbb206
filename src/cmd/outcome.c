#include "cmd/outcome.h"

#include <stdio.h>

#include "cmd/json.h"
#include "cmd/query.h"
#include "cmd/show.h"

static void print_verdict(uint64_t build, const char *note, verdict v, bool color)
{
    show_tone tone = show_verdict_tone(v);

    printf("build %llu: %s%s%s%s\n", (unsigned long long)build, note, show_begin(color, tone),
           verdict_text(v), show_end(color, tone));
}

static exit_code wait_for(const command_line *line, client *c, uint64_t build)
{
    const rec_build_row *row;
    volt_err err = { 0 };

    fflush(stdout); /* the build's number is known at once, also in a pipe */
    if (query_wait(c, build, &row, &err))
        return command_fail(line, &err);
    if (command_flag(line, "json"))
        json_print(json_of(json_list_table(MSG_builds_are, "rows"), row));
    else
        print_verdict(build, "", row->verdict, show_color(line));
    return row->verdict == VERDICT_PASSED || row->verdict == VERDICT_FLAKY ? EXIT_DONE : EXIT_RED;
}

exit_code outcome_of(const command_line *line, client *c, const msg *question)
{
    bool wait = command_flag(line, "wait"), json = command_flag(line, "json");
    const msg *answer;
    msg_accepted got;
    volt_err err = { 0 };

    if (client_ask(c, question, MSG_accepted, &answer, &err))
        return command_fail(line, &err);
    got = answer->accepted;
    if (json && !wait)
        json_print(json_of_msg(answer));
    else if (!json && got.verdict && !wait)
        print_verdict(got.build, "known, ", got.verdict, show_color(line));
    else if (!json)
        printf("build %llu: %s\n", (unsigned long long)got.build, got.dup ? "known" : "accepted");
    return wait ? wait_for(line, c, got.build) : EXIT_DONE;
}
