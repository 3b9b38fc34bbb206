#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "cmd/command.h"
#include "cmd/observer/run.h"
#include "net/sock.h"

#define INTERVAL_MIN_MS 50

static uint64_t seed(void)
{
    uint64_t x;

    randombytes_buf(&x, sizeof x);
    return x;
}

static volt_code make_obs(const char *dir, const char *name, char **ret, volt_err *err)
{
    unsigned char bytes[16];
    char fresh[33], id[33];
    volt_code code;

    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2hex(fresh, sizeof fresh, bytes, sizeof bytes);
    code = observer_state_id(dir, fresh, id, err);
    if (code)
        return code;
    /* The id stays in it: two observers of one name would hear each other's answers. */
    *ret = name ? mem_printf("%s-%.16s", name, id) : mem_strdup(id);
    return VOLT_OK;
}

typedef struct plan { /* what the options say, for all repositories */
    const char *dir;
    const char *server;
    const char *const *globs;
    size_t globs_n;
    const char *filter;
    bool every, all_parents, from_now, once;
    int64_t interval_ms;
} plan;

/* Full names, as "refs/heads/x" of the branch glob "x". */
static size_t add_globs(const command_line *line, const char *option, const char *prefix, arena *a,
                        const char **ret)
{
    const char *const *given;
    size_t n = command_list(line, option, &given);

    for (size_t i = 0; i < n; i++)
        ret[i] = strncmp(given[i], "refs/", 5) == 0 ? given[i]
                                                    : arena_printf(a, "%s%s", prefix, given[i]);
    return n;
}

static void read_globs(const command_line *line, plan *p, arena *a)
{
    CLEANUP(buf)
    buf filter = { 0 };
    const char *const *given;
    size_t most = command_list(line, "branch", &given) + command_list(line, "ref", &given);
    const char **globs = ARENA_ARRAY(a, const char *, most + 1);

    p->globs = globs;
    p->globs_n = add_globs(line, "branch", "refs/heads/", a, globs);
    p->globs_n += add_globs(line, "ref", "refs/", a, globs + p->globs_n);
    for (size_t i = 0; i < p->globs_n; i++)
        buf_addf(&filter, "%s%s", i ? " " : "", globs[i]);
    p->filter = arena_str(a, buf_slice(&filter));
}

static volt_code add_repo(observer *o, size_t i, const plan *p, volt_err *err)
{
    watched *r = &o->v[i];
    const observer_state_config config = { .dir = p->dir,
                                           .name = r->source.name,
                                           .url = r->source.url,
                                           .dispatcher = p->server,
                                           .filter = p->filter };
    volt_code code = observer_state_open(&config, &r->state, err);

    if (code)
        return code;
    watch_add(o->w, &(watch_repo_config){ .name = slice_of(r->source.name),
                                          .url = slice_of(r->source.url),
                                          .policy = p->every ? WATCH_EVERY : WATCH_LATEST,
                                          .from_now = p->from_now });
    code = observer_state_restore(r->state, o->w, i, err);
    if (code)
        return code;
    r->repo = observer_repo_new(&(observer_repo_config){
        .number = i,
        .name = r->source.name,
        .source = r->source.text,
        .path = r->source.path,
        .url = r->source.url,
        .globs = p->globs,
        .globs_n = p->globs_n,
        .every = p->every,
        .all_parents = p->all_parents,
        .from_now = p->from_now,
        .once = p->once,
        .work = p->dir,
        .interval_ms = p->interval_ms,
        .loop = o->loop,
        .hint = o->hint,
        .calls = observer_run_calls(o),
    });
    if (watch_known(o->w, i))
        observer_repo_set_known(r->repo);
    return VOLT_OK;
}

static volt_code set_up(observer *o, const plan *p, const addr *dispatcher, const char *name,
                        volt_err *err)
{
    CLEANUP(free)
    char *obs = NULL;
    volt_err why;
    volt_code code = make_obs(p->dir, name, &obs, err);

    if (code)
        return code;
    o->server = p->server;
    o->loop = loop_new();
    code = loop_signals(o->loop, observer_run_signal, o,
                        err); /* before the first socket makes threads */
    if (code)
        return code;
    if (observer_hint_new(&o->hint, &why))
        log_warn("%s; repositories are looked at each interval only", why.msg);
    else
        code = loop_add_fd(o->loop, observer_hint_fd(o->hint), observer_run_hints, o, err);
    o->w = watch_new(slice_of(obs), seed());
    o->flush_ms = INT64_MAX;
    for (size_t i = 0; i < o->n && !code; i++)
        code = add_repo(o, i, p, err);
    if (!code)
        code = observer_link_new(o->loop, dispatcher, obs, observer_run_message, o, &o->link, err);
    return code;
}

static void tear_down(observer *o)
{
    for (size_t i = 0; i < o->n; i++) {
        observer_repo_free(o->v[i].repo);
        observer_state_free(o->v[i].state);
        observer_source_free(&o->v[i].source);
    }
    observer_link_free(o->link);
    if (o->hint)
        loop_remove_fd(o->loop, observer_hint_fd(o->hint));
    observer_hint_free(o->hint);
    loop_free(o->loop);
    watch_free(o->w);
    watch_effects_free(&o->out);
    buf_free(&o->frame);
    free(o->batch);
    free(o->batch_of);
    free(o->v);
}

static volt_code read_sources(const command_line *line, observer *o, volt_err *err)
{
    const char *const *args;
    size_t n = command_args(line, &args);
    observer_source *sources;
    volt_code code = observer_sources_read(args, n, &sources, err);

    if (code)
        return code;
    o->v = NEW_ARRAY(watched, n);
    o->n = n;
    for (size_t i = 0; i < n; i++)
        o->v[i].source = sources[i];
    free(sources);
    return VOLT_OK;
}

static exit_code check(const command_line *line, plan *p, addr *dispatcher)
{
    const char *policy = command_text(line, "policy");
    volt_err err;

    if (addr_parse(command_text(line, "dispatcher-server"), dispatcher, &err))
        return command_fail_with(line, EXIT_USAGE, "%s", err.msg);
    p->every = strcmp(policy, "every") == 0;
    if (!p->every && strcmp(policy, "latest") != 0)
        return command_fail_with(line, EXIT_USAGE, "--policy is '%s'; use latest or every", policy);
    p->all_parents = command_flag(line, "all-parents");
    if (p->all_parents && command_flag(line, "first-parent"))
        return command_fail_with(line, EXIT_USAGE,
                                 "--first-parent and --all-parents exclude each "
                                 "other");
    p->from_now = command_flag(line, "from-now");
    p->once = command_flag(line, "once");
    p->interval_ms = command_ms(line, "interval");
    if (p->interval_ms < INTERVAL_MIN_MS)
        return command_fail_with(line, EXIT_USAGE, "--interval is shorter than %d ms",
                                 INTERVAL_MIN_MS);
    if (command_text(line, "name") && !observer_name_ok(command_text(line, "name")))
        return command_fail_with(line, EXIT_USAGE,
                                 "--name takes at most 40 letters, digits, '-' and '_'");
    return EXIT_DONE;
}

static exit_code watch_them(const command_line *line, observer *o)
{
    bool once = command_flag(line, "once");
    volt_err err;

    if (observer_run(o, once, &err))
        return command_fail(line, &err);
    if (!once)
        return EXIT_DONE;
    if (o->signal)
        return EXIT_INTERRUPTED;
    for (size_t i = 0; i < o->n; i++)
        if (!observer_repo_seen(o->v[i].repo) || observer_repo_empty(o->v[i].repo))
            return EXIT_NOT_FOUND;
    return watch_refused(o->w) ? EXIT_REFUSED : EXIT_DONE;
}

static exit_code observer_command(const command_line *line)
{
    CLEANUP(free)
    char *default_dir = command_state_dir("observer");
    CLEANUP(arena)
    arena texts = { 0 };
    char server[300];
    addr dispatcher;
    observer o = { 0 };
    plan p = { 0 };
    volt_err err;
    exit_code code = check(line, &p, &dispatcher);

    if (code)
        return code;
    sock_more_fds(); /* three a repository */
    if (sodium_init() < 0 || git_setup(&err))
        return command_fail_with(line, EXIT_USAGE, "cannot start libsodium or libgit2");
    addr_print(&dispatcher, server, sizeof server);
    p.server = server;
    p.dir = command_text(line, "state") ? command_text(line, "state") : default_dir;
    read_globs(line, &p, &texts);
    if (read_sources(line, &o, &err) ||
        set_up(&o, &p, &dispatcher, command_text(line, "name"), &err))
        code = command_fail(line, &err);
    else
        code = watch_them(line, &o);
    tear_down(&o);
    git_teardown();
    return code;
}

static const option_spec options[] = {
    OPTION_DISPATCHER,
    { "interval", 0, OPTION_DURATION, "TIME", "5s", 0, 0,
      "how often to look; pushes to repositories on this machine are seen at once", false },
    { "branch", 0, OPTION_LIST, "GLOB", NULL, 0, 0, "watch these branches only", true },
    { "ref", 0, OPTION_LIST, "GLOB", NULL, 0, 0,
      "watch these refs, as tags/v* or refs/pull/*/head; without --branch nothing else", true },
    { "policy", 0, OPTION_TEXT, "latest|every", "latest", 0, 0,
      "submit the newest commit of a branch that moved, or each one on the way", false },
    { "first-parent", 0, OPTION_FLAG, NULL, NULL, 0, 0,
      "with every: of a merge only the merge itself (the default)", false },
    { "all-parents", 0, OPTION_FLAG, NULL, NULL, 0, 0,
      "with every: also the commits that a merge brought in", false },
    { "from-now", 0, OPTION_FLAG, NULL, NULL, 0, 0,
      "at the first sight of a repository submit nothing; else its HEAD, once", false },
    { "once", 0, OPTION_FLAG, NULL, NULL, 0, 0,
      "look once, and exit when all that is seen now has been accepted", false },
    { "state", 0, OPTION_TEXT, "DIR", NULL, 0, 0,
      "where to remember what was submitted (default $XDG_STATE_HOME/volt/observer)", false },
    { "name", 0, OPTION_TEXT, "NAME", NULL, 0, 0, "how this observer is called (default: its id)",
      false },
};

const command command_observer = {
    .name = "observer",
    .args = "REPO...",
    .args_min = 1,
    .args_max = -1,
    .summary = "watch git repositories and submit their commits",
    .text = "REPO is a path (. is the repository that the current directory is in), a URL, or "
            "NAME=path or NAME=url; without a name it is called by its last component, without "
            ".git.\n\n"
            "Nothing is lost while the dispatcher or the observer is down: a submission is kept "
            "on disk until the dispatcher has it, and what moved meanwhile is seen at the next "
            "start.  A repository that cannot be read is said once and looked at again and "
            "again.\n\n"
            "SIGHUP makes it look at once.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = observer_command,
};
