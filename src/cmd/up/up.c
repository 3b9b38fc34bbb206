#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/files.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rmtree.h"
#include "cmd/up/children.h"
#include "cmd/command.h"
#include "cmd/observer/names.h"
#include "cmd/up/summary.h"
#include "git/refs.h"
#include "git/remote.h"
#include "net/addr.h"
#include "net/loop.h"

#define READY_MS     15000 /* for the dispatcher to listen */
#define STOP_MS      5000
#define LOOK_MS      60000 /* for asking a remote */
#define TICK_MS      100
#define ARGS_BEFORE  16
#define ENDPOINT_MAX 1024

DEFINE_CLEANUP(refs *, refs_free);

/* Everything on one machine: processes, and what the user asked for. */
typedef struct up {
    const command_line *line;
    bool once;
    char *data;
    char *server; /* "localhost:8888" */
    children *children;
    loop *loop;
    int interrupts;
    int ended_status; /* of a child that ended and was not started again */
    const char *ended_name;
    bool observer_done;
    int observer_status;
} up;

static char *in_data(const up *u, const char *name)
{
    return mem_printf("%s/%s", u->data, name);
}

static void on_signal(void *ctx, int signal)
{
    up *u = ctx;

    if (signal == SIGINT || signal == SIGTERM)
        u->interrupts++;
}

static void say_again(const child_end *end)
{
    if (WIFSIGNALED(end->status))
        log_warn("%s was ended by signal %d and was started again", end->name,
                 WTERMSIG(end->status));
    else
        log_warn("%s ended with exit code %d and was started again", end->name,
                 WEXITSTATUS(end->status));
}

/* Collects children that ended; notes those that should not have. */
static void reap(up *u)
{
    child_end end;

    while (children_reap(u->children, loop_now_ms(), &end)) {
        if (end.again) {
            say_again(&end);
        } else if (strcmp(end.name, "observer") == 0 && u->once) {
            u->observer_done = true;
            u->observer_status = end.status;
        } else if (!u->ended_name) {
            u->ended_name = end.name;
            u->ended_status = end.status;
        }
    }
}

static void wait_a_little(up *u, int64_t ms)
{
    volt_err err;

    if (loop_wait(u->loop, loop_now_ms() + ms, NULL, &err) != VOLT_OK)
        usleep((useconds_t)ms * 1000);
    reap(u);
}

/* ---- start ---- */

/* Free ports are chosen here: a dispatcher that is started again has to come back on the same ones.
 */
static volt_code choose_port(const up *u, char ret[16], volt_err *err)
{
    addr at = { .host = "localhost", .port = (int)command_number(u->line, "port") };
    volt_code code = VOLT_OK;

    if (at.port == 0 || (u->once && !command_given(u->line, "port")))
        code = addr_free_triple(&at, err);
    snprintf(ret, 16, "%d", at.port);
    return code;
}

static bool ended_with(const up *u, exit_code code)
{
    return WIFEXITED(u->ended_status) && WEXITSTATUS(u->ended_status) == (int)code;
}

static volt_code start_dispatcher(up *u, volt_err *err)
{
    CLEANUP(free)
    char *dir = in_data(u, "dispatcher");
    CLEANUP(free)
    char *endpoint = in_data(u, "dispatcher/endpoint");
    char port[16];
    const char *const args[] = { "dispatcher", "--data", dir, "--port", port, NULL };
    int64_t until = loop_now_ms() + READY_MS;
    CLEANUP(buf)
    buf text = { 0 };
    volt_code code = choose_port(u, port, err);

    if (code != VOLT_OK)
        return code;
    unlink(endpoint); /* what an earlier run left says nothing */
    /* Not started again until it was ready once: what keeps it from starting has been said. */
    code = children_start(u->children, "dispatcher", args, false, err);
    while (code == VOLT_OK && access(endpoint, R_OK) != 0) {
        wait_a_little(u, 5);
        if (u->ended_name)
            return volt_fail(err, ended_with(u, EXIT_USAGE) ? VOLT_EIO : VOLT_EREFUSED,
                             "the dispatcher did not start");
        if (u->interrupts)
            return volt_fail(err, VOLT_ECANCELED, "interrupted");
        if (loop_now_ms() > until)
            return volt_fail(err, VOLT_ETIMEOUT, "the dispatcher is not ready after %d s",
                             READY_MS / 1000);
    }
    if (code == VOLT_OK)
        code = files_read(endpoint, ENDPOINT_MAX, &text, err);
    if (code == VOLT_OK)
        u->server = mem_strndup(text.p, strcspn(text.p, "\n"));
    if (code == VOLT_OK && !u->once)
        children_keep(u->children, "dispatcher");
    return code;
}

/* Arguments of a runner that are those of `volt up`; returns how many. */
static size_t hand_on(const up *u, const char **args, const char *const *rules, size_t rules_n)
{
    size_t k = 0;

    if (command_text(u->line, "secrets")) {
        args[k++] = "--secrets";
        args[k++] = command_text(u->line, "secrets");
    }
    for (size_t i = 0; i < rules_n; i++) {
        args[k++] = "--secrets-for";
        args[k++] = rules[i];
    }
    return k;
}

static volt_code start_runners(up *u, volt_err *err)
{
    int64_t n = command_number(u->line, "runners");
    const char *const *rules;
    size_t rules_n = command_list(u->line, "secrets-for", &rules);
    CLEANUP(free)
    const char **args = NEW_ARRAY(const char *, ARGS_BEFORE + 2 * rules_n);
    char host[200] = "localhost";
    volt_code code = VOLT_OK;

    gethostname(host, sizeof host - 1);
    if (n == 0)
        n = sysconf(_SC_NPROCESSORS_ONLN);
    for (int64_t i = 1; i <= n && code == VOLT_OK; i++) {
        CLEANUP(free)
        char *name = mem_printf("%s-up-%lld", host, (long long)i); /* `volt runner` has HOST-1 */
        CLEANUP(free)
        char *child = mem_printf("runner-%lld", (long long)i);
        CLEANUP(free)
        char *work = in_data(u, child);
        CLEANUP(free)
        char *limit = mem_printf("%lldms", (long long)command_ms(u->line, "unit-timeout"));
        const char *const own[] = {
            "runner", "--dispatcher-server", u->server, "--name", name, "--work",
            work,     "--timeout",           limit
        };
        size_t own_n = sizeof own / sizeof *own;

        memcpy(args, own, sizeof own);
        args[own_n + hand_on(u, args + own_n, rules, rules_n)] = NULL;
        code = children_start(u->children, child, args, true, err);
    }
    return code;
}

/* The repositories that are named, or else the one here; 0: there is none. */
static size_t find_repos(const command_line *line, const char *const **ret)
{
    static const char *const here = ".";
    size_t n = command_args(line, ret);
    CLEANUP(free)
    char *top = n ? NULL : git_top();

    if (n)
        return n;
    *ret = &here;
    return top ? 1 : 0;
}

static volt_code start_observer(up *u, volt_err *err)
{
    CLEANUP(free)
    char *state = in_data(u, "observer");
    const char *const *repos;
    size_t n = find_repos(u->line, &repos), k = 0;
    const char **args;
    char *interval;
    volt_code code;

    if (n == 0) {
        log_note("no repository is named and this directory is in none: waiting for 'volt submit'");
        return VOLT_OK;
    }
    args = NEW_ARRAY(const char *, n + ARGS_BEFORE);
    interval = mem_printf("%lldms", (long long)command_ms(u->line, "interval"));
    args[k++] = "observer";
    args[k++] = "--dispatcher-server";
    args[k++] = u->server;
    args[k++] = "--state";
    args[k++] = state;
    if (u->once)
        args[k++] = "--once";
    if (command_given(u->line, "interval")) {
        args[k++] = "--interval";
        args[k++] = interval;
    }
    args[k++] = "--"; /* a path may begin with a dash */
    for (size_t i = 0; i < n; i++)
        args[k++] = repos[i];
    code = children_start(u->children, "observer", args, !u->once, err);
    free(interval);
    free(args);
    return code;
}

static volt_code start_tail(up *u, volt_err *err)
{
    const char *const once[] = {
        "tail", "--dispatcher-server", u->server, "--from", "start", NULL
    };
    const char *const live[] = { "tail", "--dispatcher-server", u->server, NULL };

    return children_start(u->children, "tail", u->once ? once : live, !u->once, err);
}

static volt_code start(up *u, volt_err *err)
{
    volt_code code = start_dispatcher(u, err);

    if (code == VOLT_OK)
        code = start_tail(u, err);
    if (code == VOLT_OK)
        code = start_runners(u, err);
    if (code == VOLT_OK)
        code = start_observer(u, err);
    return code;
}

/* ---- stop ---- */

/* A second Ctrl-C ends every waiting. */
static void wait_for_end(up *u, const char *prefix, int64_t until_ms)
{
    while (children_running(u->children, prefix) && loop_now_ms() < until_ms && u->interrupts < 2)
        wait_a_little(u, 20);
}

/* Watching first; then the runners, whose tasks are queued again durably; the dispatcher last. */
static void stop(up *u)
{
    int64_t until = loop_now_ms() + STOP_MS;

    children_signal(u->children, "observer", SIGTERM);
    children_signal(u->children, "runner", SIGINT);
    wait_for_end(u, "runner", until - 1000);
    wait_for_end(u, "observer", until - 1000);
    children_signal(u->children, "runner", SIGKILL);
    children_signal(u->children, "tail", SIGTERM);
    children_signal(u->children, "dispatcher", SIGTERM);
    wait_for_end(u, "", until);
    children_signal(u->children, "", SIGKILL);
    u->interrupts = 0; /* what was killed is collected in any case */
    wait_for_end(u, "", loop_now_ms() + 500);
}

/* ---- run ---- */

static exit_code run_until_stopped(up *u)
{
    up_summary *summary = NULL;

    log_note("watching; dispatcher at %s; Ctrl-C stops", u->server);
    if (isatty(STDERR_FILENO) && up_summary_new(u->server, &summary, NULL) != VOLT_OK)
        summary = NULL; /* then without a line of progress */
    while (!u->interrupts && !u->ended_name) {
        wait_a_little(u, TICK_MS * (summary ? 2 : 10));
        if (summary)
            up_summary_complete(summary);
    }
    up_summary_free(summary);
    if (!u->interrupts && u->ended_name)
        return command_fail_with(u->line, EXIT_RED, "%s ended and does not start again",
                                 u->ended_name);
    return EXIT_DONE;
}

/* Until every build of the observer's submissions has a verdict. */
static exit_code run_once(up *u)
{
    up_summary *summary = NULL;
    exit_code code;
    volt_err err;

    while (!u->observer_done && !u->interrupts && !u->ended_name)
        wait_a_little(u, 10);
    if (u->observer_done && u->observer_status != 0) /* it has said why */
        return WIFEXITED(u->observer_status) ? (exit_code)WEXITSTATUS(u->observer_status)
                                             : EXIT_USAGE;
    if (up_summary_new(u->server, &summary, &err) != VOLT_OK)
        return command_fail(u->line, &err);
    while (!u->interrupts && !u->ended_name && !up_summary_complete(summary))
        wait_a_little(u, 20);
    if (u->interrupts) {
        code = EXIT_INTERRUPTED;
    } else if (u->ended_name) {
        code = command_fail_with(u->line, EXIT_RED, "%s ended", u->ended_name);
    } else {
        wait_a_little(u, TICK_MS); /* the lines of the last events */
        children_signal(u->children, "tail", SIGTERM);
        wait_for_end(u, "tail", loop_now_ms() + STOP_MS);
        code = up_summary_print(summary) ? EXIT_DONE : EXIT_RED;
    }
    up_summary_free(summary);
    return code;
}

static volt_code look_at(const observer_source *s, volt_err *err)
{
    CLEANUP(refs_free)
    refs *r = NULL;
    remote_answer answer = { 0 };
    commit_id head;
    volt_code code;

    if (s->path) {
        code = refs_open(s->path, &r, err);
        return code ? code : refs_head(r, &head, err);
    }
    code = remote_list(s->text, NULL, 0, true, LOOK_MS, &answer, err);
    if (!code && !*answer.head.hex)
        code = volt_fail(err, VOLT_ENOTFOUND, "HEAD of '%s' names no commit", s->url);
    remote_answer_free(&answer);
    return code;
}

/* What cannot be tested once: the observer would say it too, but among the lines of all the others,
 * which are started for nothing. */
static volt_code look_at_repos(const command_line *line, volt_err *err)
{
    const char *const *repos;
    size_t n = find_repos(line, &repos);
    observer_source *v;
    volt_code code;

    if (n == 0)
        return volt_fail(err, VOLT_EINVALID,
                         "no repository is named and this directory is in none");
    code = git_setup(err);
    if (!code)
        code = observer_sources_read(repos, n, &v, err);
    if (code)
        return code;
    for (size_t i = 0; i < n && !code; i++)
        code = look_at(&v[i], err);
    observer_sources_free(v, n);
    return code;
}

static volt_code choose_data(up *u, volt_err *err)
{
    const char *given = command_text(u->line, "data");
    const char *tmp = getenv("TMPDIR");

    if (given) {
        u->data = mem_strdup(given);
    } else if (u->once) {
        u->data = mem_printf("%s/volt-once-XXXXXX", tmp && *tmp ? tmp : "/tmp");
        if (!mkdtemp(u->data))
            return volt_fail(err, VOLT_EIO, "make directory '%s': %s", u->data, strerror(errno));
        return VOLT_OK;
    } else {
        u->data = command_state_dir("up");
    }
    return files_make_dir(u->data, err);
}

static exit_code run(const command_line *line)
{
    up u = { .line = line, .once = command_flag(line, "once") };
    bool temporary = u.once && !command_text(line, "data");
    exit_code result;
    volt_err err;
    volt_code code;

    if (u.once && look_at_repos(line, &err))
        return command_fail(line, &err);
    u.loop = loop_new();
    u.children = children_new();
    code = loop_signals(u.loop, on_signal, &u, &err);
    if (code == VOLT_OK)
        code = choose_data(&u, &err);
    if (code == VOLT_OK)
        code = start(&u, &err);
    if (code == VOLT_OK)
        result = u.once ? run_once(&u) : run_until_stopped(&u);
    else
        result = u.interrupts ? EXIT_INTERRUPTED : command_fail(line, &err);
    stop(&u);
    children_free(u.children);
    loop_free(u.loop);
    if (temporary && u.data && rmtree(AT_FDCWD, u.data, &err) != VOLT_OK)
        log_warn("%s", err.msg);
    free(u.data);
    free(u.server);
    return result;
}

static const option_spec options[] = {
    { .name = "runners",
      .kind = OPTION_NUMBER,
      .arg = "N",
      .def = "0",
      .max = 256,
      .help = "how many; 0: one a processor" },
    { .name = "data",
      .kind = OPTION_TEXT,
      .arg = "DIR",
      .help = "where everything is kept; default: ~/.local/state/volt/up, with --once a temporary "
              "directory" },
    { .name = "port",
      .kind = OPTION_NUMBER,
      .arg = "N",
      .def = "8888",
      .max = ADDR_PORT_MAX,
      .help = "first of the dispatcher's three ports; with --once: free ones" },
    { .name = "interval",
      .kind = OPTION_DURATION,
      .arg = "TIME",
      .def = "5s",
      .help = "how often repositories are looked at" },
    { .name = "unit-timeout",
      .kind = OPTION_DURATION,
      .arg = "TIME",
      .def = "10m",
      .help = "limit of one test" },
    { .name = "secrets",
      .kind = OPTION_TEXT,
      .arg = "PATH",
      .help = "where the runners' secrets are; see 'volt runner --help'" },
    { .name = "secrets-for",
      .kind = OPTION_LIST,
      .arg = "REPO[:BRANCH]",
      .help = "who may have them; see there" },
    { .name = "once",
      .kind = OPTION_FLAG,
      .help = "test the HEAD of each REPO now, print a summary and exit with 0 or 1" },
};

const command command_up = {
    .name = "up",
    .args = "[REPO]...",
    .args_max = -1,
    .summary = "run everything on this machine: dispatcher, observer and runners",
    .text =
        "Watches each REPO (a path or a URL; without one: the repository that the current "
        "directory is in) and prints what happens.\nCtrl-C stops: running tests are queued again, "
        "and the next 'volt up' goes on with them.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = run,
};
