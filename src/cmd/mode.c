/* drain, resume and cordon: three commands that set a runner's mode. */

#include <stdio.h>

#include "base/cleanup.h"
#include "cmd/client.h"
#include "cmd/json.h"

#define WHICH_RUNNER \
    "RUNNER is its name, or its id, as 'volt runners' shows it, where several have that name."

DEFINE_CLEANUP(client *, client_free);

static exit_code set_mode(const command_line *line, runner_mode mode, const char *done)
{
    CLEANUP(client_free)
    client *c = NULL;
    const char *const *args;
    volt_err err = { 0 };
    const msg *answer;
    slice words;
    msg question = { .type = MSG_set_mode,
                     .set_mode = { .mode = mode, .why = slice_of(command_text(line, "why")) } };

    command_args(line, &args);
    if (!*args[0])
        return command_fail_with(line, EXIT_USAGE, "the name of a runner is not empty");
    question.set_mode.runner = slice_of(args[0]);
    if (client_new(line, &c, &err) || client_ask(c, &question, MSG_ok, &answer, &err))
        return command_fail(line, &err);
    words = answer->ok.msg.n ? answer->ok.msg : slice_of(done);
    if (command_flag(line, "json")) {
        json_t *j = json_object();

        json_add_bytes(j, "runner", slice_of(args[0]));
        json_add_bytes(j, "mode", slice_of(runner_mode_text(mode)));
        json_add_bytes(j, "msg", words);
        json_print(j);
    } else {
        printf("runner %s " SLICE_FMT "\n", args[0], SLICE_ARG(words));
    }
    return EXIT_DONE;
}

static exit_code drain(const command_line *line)
{
    return set_mode(line, MODE_DRAIN, "finishes what it has, then leaves");
}

static exit_code resume(const command_line *line)
{
    return set_mode(line, MODE_RUN, "takes tasks again");
}

static exit_code cordon(const command_line *line)
{
    return set_mode(line, MODE_CORDON, "stays and gets nothing new");
}

static const option_spec options[] = {
    { .name = "why",
      .kind = OPTION_TEXT,
      .arg = "TEXT",
      .help = "the reason, told to the runner",
      .no_env = true },
    OPTION_DISPATCHER,
    OPTION_TIMEOUT,
    OPTION_JSON,
};

const command command_drain = {
    .name = "drain",
    .args = "RUNNER",
    .args_min = 1,
    .args_max = 1,
    .summary = "let a runner finish what it has, then leave",
    .text = WHICH_RUNNER,
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = drain,
};

const command command_resume = {
    .name = "resume",
    .args = "RUNNER",
    .args_min = 1,
    .args_max = 1,
    .summary = "let a drained or cordoned runner take tasks again",
    .text = WHICH_RUNNER,
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = resume,
};

const command command_cordon = {
    .name = "cordon",
    .args = "RUNNER",
    .args_min = 1,
    .args_max = 1,
    .summary = "give a runner nothing new",
    .text = WHICH_RUNNER,
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = cordon,
};
