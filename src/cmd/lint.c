#include <stdio.h>

#include "base/cleanup.h"
#include "cmd/command.h"
#include "cmd/json.h"
#include "cmd/pipefile.h"

static json_t *to_json(const problems *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < p->n; i++) {
        json_t *one = json_object();

        if (p->v[i].at.line) {
            json_object_set_new(one, "line", json_integer(p->v[i].at.line));
            json_object_set_new(one, "column", json_integer(p->v[i].at.column));
        }
        json_add_bytes(one, "text", slice_of(p->v[i].text));
        json_array_append_new(list, one);
    }
    return list;
}

static exit_code run(const command_line *line)
{
    CLEANUP(pipefile)
    pipefile f = { 0 };
    const char *const *args;
    size_t n = command_args(line, &args);
    volt_err err;
    bool good;

    if (pipefile_open(&f, pipefile_top(&f, n ? args[0] : "."), &err))
        return command_fail(line, &err);
    good = pipefile_plan(&f, &(plan_settings){ 0 });
    if (command_flag(line, "json")) {
        json_t *all = json_object();

        json_add_bytes(all, "file", slice_of(f.name));
        json_object_set_new(all, "problems", to_json(&f.problems));
        json_object_set_new(all, "more", json_integer((json_int_t)f.problems.more));
        json_print(all);
    } else if (good) {
        printf("%s: %zu job%s\n", f.name, f.plan->n, f.plan->n == 1 ? "" : "s");
    } else {
        pipefile_say(&f, stderr);
    }
    return good ? EXIT_DONE : EXIT_USAGE;
}

static const option_spec options[] = { OPTION_JSON };

const command command_lint = {
    .name = "lint",
    .args = "[FILE]",
    .args_max = 1,
    .summary = "check a pipeline file",
    .text = "Without FILE it is the .volt.yml at the top of the repository that the current "
            "directory is in; a directory stands for the one it has, - for standard input. What is "
            "wrong is written with its line, and the exit status is 2. So is what this version of "
            "Volt cannot do.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = run,
};
