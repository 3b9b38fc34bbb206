#include <stdio.h>

#include "base/cleanup.h"
#include "cmd/client.h"
#include "cmd/json.h"
#include "cmd/query.h"

DEFINE_CLEANUP(client *, client_free);

static exit_code run(const command_line *line)
{
    CLEANUP(client_free)
    client *c = NULL;
    const char *const *args;
    msg question = { .type = MSG_cancel_build,
                     .cancel_build = { .why = slice_of(command_text(line, "why")) } };
    const msg *answer;
    slice words;
    volt_err err = { 0 };

    command_args(line, &args);
    if (query_id(args[0], "build", &question.cancel_build.build, &err) ||
        client_new(line, &c, &err) || client_ask(c, &question, MSG_ok, &answer, &err))
        return command_fail(line, &err);
    words = answer->ok.msg.n ? answer->ok.msg : SLICE("canceled");
    if (command_flag(line, "json")) {
        json_t *j = json_object();

        json_object_set_new(j, "build", json_integer((json_int_t)question.cancel_build.build));
        json_add_bytes(j, "msg", words);
        json_print(j);
    } else {
        printf("build %llu: " SLICE_FMT "\n", (unsigned long long)question.cancel_build.build,
               SLICE_ARG(words));
    }
    return EXIT_DONE;
}

static const option_spec options[] = {
    { .name = "why",
      .kind = OPTION_TEXT,
      .arg = "TEXT",
      .help = "the reason, kept with the build",
      .no_env = true },
    OPTION_DISPATCHER,
    OPTION_TIMEOUT,
    OPTION_JSON,
};

const command command_cancel = {
    .name = "cancel",
    .args = "ID",
    .args_min = 1,
    .args_max = 1,
    .summary = "end a build",
    .text = "What waits is dropped at once, what runs is told to end.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = run,
};
