/* volt runner: takes tasks from the dispatcher and has executors run them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/prng.h"
#include "base/text.h"
#include "cmd/command.h"
#include "cmd/runner/shell.h"
#include "exec/sandbox.h"
#include "exec/secrets.h"
#include "exec/site.h"

#define LABELS_MAX    32 /* as hello has them */
#define LABEL_MAX     64
#define REPOS_MAX     500 /* two arguments of an executor each */
#define RULES_MAX     64
#define REPO_NAME_MAX 128
#define NAME_MAX_     256
#define HUNG_MIN_MS   1000

static const option_spec options[] = {
    OPTION_DISPATCHER,
    { "name", 'n', OPTION_TEXT, "NAME", NULL, 0, 0, "its name (default HOST-N)", false },
    { "slots", 's', OPTION_NUMBER, "N", "1", 1, 1024, "tasks at a time", false },
    { "labels", 'l', OPTION_TEXT, "A,B", NULL, 0, 0, "what jobs may ask of a runner", false },
    { "work", 'w', OPTION_TEXT, "DIR", NULL, 0, 0,
      "its directory (default: the first free of runner-1, runner-2, ... in the state directory)",
      false },
    { "repo", 'r', OPTION_LIST, "NAME=PATH", NULL, 0, 0,
      "take the objects of repository NAME from this clone", true },
    { "timeout", 0, OPTION_DURATION, "TIME", "10m", 0, 0,
      "limit of a test where the pipeline has none; 0: none", false },
    { "batch", 0, OPTION_NUMBER, "N", "0", 0, 10000,
      "files handed over at once where there is no pipeline file; 0: the dispatcher chooses",
      false },
    { "cache-bytes", 0, OPTION_SIZE, "SIZE", "5G", 0, INT64_MAX,
      "what caches of jobs may take; those used longest ago go; 0: none are kept", false },
    { "hung", 0, OPTION_DURATION, "TIME", "2m", 0, 0,
      "end an executor that is asked and says nothing for so long (15 times that while it makes a "
      "workspace)",
      false },
    { "secrets", 0, OPTION_TEXT, "PATH", NULL, 0, 0,
      "where its secrets are: a directory with a file each, or a file of lines NAME=VALUE; of this "
      "user alone (mode 700, 600)",
      false },
    { "secrets-for", 0, OPTION_LIST, "REPO[:BRANCH]", NULL, 0, 0,
      "who may have them, instead of the default branch of any repository; without BRANCH: the "
      "default one; both are patterns, a BRANCH that begins with refs/ one of whole refs "
      "(repeatable)",
      false },
    { "sandbox", 0, OPTION_WORD, "host|bwrap", "host", 0, 0,
      "where jobs run that do not say it; bwrap: bubblewrap", false },
    { "grace", 0, OPTION_DURATION, "TIME", "10s", 0, 0,
      "between TERM and KILL where nothing else is said", false },
};

/* Splits "a,b" into `a`.  VOLT_EINVALID: too many, or one is empty or too long. */
static volt_code split_labels(const char *text, arena *a, slices *ret, volt_err *err)
{
    slices l = { ARENA_ARRAY(a, slice, LABELS_MAX), 0 };

    while (text && *text) {
        size_t n = strcspn(text, ",");

        if (n == 0 || n > LABEL_MAX)
            return volt_fail(err, VOLT_EINVALID, "a label has 1 to %d bytes, separated by commas",
                             LABEL_MAX);
        if (l.n == LABELS_MAX)
            return volt_fail(err, VOLT_EINVALID, "at most %d labels", LABELS_MAX);
        l.v[l.n++] = arena_slice(a, (slice){ text, n });
        text += n + (text[n] == ',');
    }
    *ret = l;
    return VOLT_OK;
}

/* "name=path" with the path made absolute, in `a`; *name is its first part. */
static volt_code check_repo(const char *text, arena *a, const char **ret, slice *name,
                            volt_err *err)
{
    const char *eq = strchr(text, '=');
    CLEANUP(free)
    char *path = NULL;

    if (!eq || eq == text || (size_t)(eq - text) > REPO_NAME_MAX || !eq[1])
        return volt_fail(err, VOLT_EINVALID, "--repo '%s': give NAME=PATH", text);
    path = realpath(eq + 1, NULL);
    if (!path || access(path, R_OK | X_OK) < 0)
        return volt_fail(err, VOLT_EINVALID, "--repo '%s': '%s' is not a readable directory", text,
                         eq + 1);
    *name = arena_slice(a, (slice){ text, (size_t)(eq - text) });
    *ret = arena_printf(a, SLICE_FMT "=%s", SLICE_ARG(*name), path);
    return VOLT_OK;
}

/* Adds to `args` what jobs may ask for and not every runner has: secrets, a sandbox. */
static volt_code add_means(const command_line *line, const char *work, arena *a, const char **args,
                           size_t *k, volt_err *err)
{
    const char *secrets = command_text(line, "secrets"), *sandbox = command_text(line, "sandbox");
    const char *path = getenv("PATH"), *bwrap;
    const char *const *rules;
    size_t n = command_list(line, "secrets-for", &rules);
    CLEANUP(free)
    char *real = secrets ? realpath(secrets, NULL) : NULL;
    volt_err why;

    if (secrets && secrets_check(real ? real : secrets, &why))
        return volt_fail(err, VOLT_EINVALID, "--secrets: %s", why.msg);
    if (n > RULES_MAX)
        return volt_fail(err, VOLT_EINVALID, "--secrets-for: at most %d", RULES_MAX);
    if (secrets) {
        args[(*k)++] = "--secrets";
        args[(*k)++] = arena_str(a, slice_of(real));
    }
    for (size_t i = 0; i < n; i++) {
        if (secrets_rule_check(rules[i], err))
            return VOLT_EINVALID;
        args[(*k)++] = "--secrets-for";
        args[(*k)++] = rules[i];
    }
    if (strcmp(sandbox, "bwrap") == 0 &&
        sandbox_find(path ? path : SITE_PATH, work, a, &bwrap, &why))
        return volt_fail(err, VOLT_EINVALID, "--sandbox bwrap: %s", why.msg);
    args[(*k)++] = "--sandbox";
    args[(*k)++] = sandbox;
    return VOLT_OK;
}

/* What every executor is told, and the names of the repositories. */
static volt_code executor_args(const command_line *line, const runner_config *config, arena *a,
                               const char *const **ret, slices *reach, volt_err *err)
{
    const char *const *repos;
    size_t n = command_list(line, "repo", &repos), k = 0;
    const char **args = ARENA_ARRAY(a, const char *, 2 * (n + RULES_MAX) + 20);

    if (n > REPOS_MAX)
        return volt_fail(err, VOLT_EINVALID, "at most %d repositories", REPOS_MAX);
    reach->v = ARENA_ARRAY(a, slice, n);
    args[k++] = "--name";
    args[k++] = config->agent.name;
    args[k++] = "--dispatcher-server";
    args[k++] = arena_str(a, slice_of(command_text(line, "dispatcher-server")));
    args[k++] = "--timeout";
    args[k++] = arena_printf(a, "%" PRId64 "ms", command_ms(line, "timeout"));
    args[k++] = "--batch";
    args[k++] = arena_printf(a, "%" PRId64, command_number(line, "batch"));
    args[k++] = "--cache-bytes";
    args[k++] = arena_printf(a, "%" PRId64, command_bytes(line, "cache-bytes"));
    for (size_t i = 0; i < n; i++) {
        volt_code code;

        args[k++] = "--repo";
        code = check_repo(repos[i], a, &args[k++], &reach->v[reach->n++], err);
        if (code)
            return code;
    }
    *ret = args;
    return add_means(line, config->work->dir, a, args, &k, err);
}

static volt_code start(const command_line *line, runner_work *work, arena *a, exit_code *ret,
                       volt_err *err)
{
    runner_config config = { .work = work };
    char host[256] = "", boot[33];
    uint64_t seed;
    volt_code code = addr_parse(command_text(line, "dispatcher-server"), &config.dispatcher, err);

    if (!code)
        code = split_labels(command_text(line, "labels"), a, &config.agent.labels, err);
    if (!code)
        code = runner_work_open(command_text(line, "work"), work, err);
    if (code)
        return code;
    gethostname(host, sizeof host - 1);
    runner_work_random(boot);
    memcpy(&seed, boot, sizeof seed);
    config.grace_ms = command_given(line, "grace") ? command_ms(line, "grace") : 0;
    config.agent.hung_ms = command_ms(line, "hung");
    if (config.agent.hung_ms < HUNG_MIN_MS)
        return volt_fail(err, VOLT_EINVALID, "--hung: at least %d ms", HUNG_MIN_MS);
    config.agent.host = host;
    config.agent.boot = boot;
    config.agent.seed = seed;
    config.agent.slots = (unsigned)command_number(line, "slots");
    config.agent.name = command_text(line, "name");
    if (!config.agent.name)
        config.agent.name = arena_printf(a, "%.200s-%.50s", host, work->ordinal);
    if (!*config.agent.name || strlen(config.agent.name) > NAME_MAX_)
        return volt_fail(err, VOLT_EINVALID, "a name has 1 to %d bytes", NAME_MAX_);
    code = executor_args(line, &config, a, &config.args, &config.agent.reach, err);
    if (code)
        return code;
    log_note("%s: %u %s, dispatcher %s:%d, work directory %s", config.agent.name,
             config.agent.slots, config.agent.slots == 1 ? "slot" : "slots", config.dispatcher.host,
             config.dispatcher.port, work->dir);
    return runner_run(&config, ret, err);
}

static exit_code runner_main(const command_line *line)
{
    CLEANUP(arena)
    arena a = { 0 };
    runner_work work = { .lock = -1 };
    exit_code ret = EXIT_DONE;
    volt_err err;
    volt_code code = start(line, &work, &a, &ret, &err);

    runner_work_close(&work);
    return code ? command_fail(line, &err) : ret;
}

extern const command command_runner;
const command command_runner = {
    .name = "runner",
    .args = "",
    .summary = "run tasks",
    .text =
        "Takes tasks from the dispatcher and runs them, one a slot.  It waits for a dispatcher\n"
        "that is not there, goes on with what runs when it goes away, and comes back by\n"
        "itself.  Any number of runners may be started, on any machines.\n"
        "\n"
        "SIGTERM drains it: what runs is finished, then it leaves.  A second SIGTERM, or\n"
        "Ctrl-C, ends what runs and gives it back, to be run elsewhere.\n"
        "\n"
        "A job that names secrets gets each as a variable and as a file of that name in\n"
        "$VOLT_SECRETS_DIR; what it prints of them shows as ***.  They are read when a job\n"
        "needs them, so they can be changed while the runner runs.  Jobs on the host run as\n"
        "this user, and can read what this user can: give secrets to a runner only where all\n"
        "that it runs is trusted, or have the rest run with --sandbox bwrap.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = runner_main,
};
