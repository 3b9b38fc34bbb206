/* volt executor: one slot's executor, started by `volt runner`. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/command.h"
#include "exec/channel.h"
#include "exec/executor.h"
#include "exec/process.h"
#include "git/git.h"

#define FETCH_MS   (30 * 60 * 1000)     /* for the objects of one commit */
#define LOG_MAX    ((uint64_t)64 << 20) /* of an attempt, where the dispatcher names none */
#define FRAMES_MAX 64                   /* of the agent's, before other things have their turn */
#define RENEWS_MAX 64  /* so many times as many are read before an attempt expires */
#define AWAKE_MS   200 /* a machine that slept is noticed within, where it matters */
#define FDS_MAX    (3 + ATTEMPT_FDS_MAX)

typedef struct shell {
    executor *executor;
    channel *agent; /* NULL: none is connected */
    int listener;
    int signals;
    int64_t lease_ms;
    int64_t alone_ms; /* since when there is no agent */
    bool met;         /* there was one */
} shell;

DEFINE_CLEANUP(site *, site_free);
DEFINE_CLEANUP(executor *, executor_free);
DEFINE_CLEANUP(channel *, channel_free);

static int64_t clock_of(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

static int64_t now_ms(void)
{
    return clock_of(CLOCK_MONOTONIC);
}

static void drop_agent(shell *sh)
{
    channel_free(TAKE(sh->agent));
    sh->alone_ms = now_ms();
}

static void say(void *ctx, slice frame)
{
    shell *sh = ctx;

    if (sh->agent && channel_put(sh->agent, frame, NULL))
        drop_agent(sh); /* it does not read; the next one reads the spool */
}

/* The newest agent counts: an older one has crashed, or was replaced. */
static void accept_agent(shell *sh)
{
    channel *c;

    if (channel_accept(sh->listener, &c, NULL))
        return;
    channel_free(sh->agent);
    sh->agent = c;
    sh->met = true;
    executor_report(sh->executor);
}

static void hear_agent(shell *sh)
{
    for (int i = 0; sh->agent && i < FRAMES_MAX; i++) {
        slice frame;
        volt_err err;
        volt_code rc = channel_recv(sh->agent, &frame, &err);

        if (rc == VOLT_EAGAIN)
            return;
        if (!rc)
            rc = executor_take(sh->executor, frame, now_ms(), &err);
        if (rc && rc != VOLT_EUNREACHABLE)
            log_error("from the agent: %s", err.msg);
        if (rc && sh->agent)
            drop_agent(sh);
    }
}

/* An attempt that must not run beside another ends in time, whatever became of the agent; but what
 * that has said meanwhile is heard first.  Its limit is the agent's clock, which counts sleep. */
static void expire(shell *sh)
{
    for (int i = 0; i < RENEWS_MAX && sh->agent; i++) {
        if (clock_of(CLOCK_BOOTTIME) < executor_until_ms(sh->executor))
            return;
        hear_agent(sh);
    }
    if (clock_of(CLOCK_BOOTTIME) >= executor_until_ms(sh->executor))
        executor_expire(sh->executor, now_ms());
}

/* True when a signal came; a request to end is passed on. */
static bool take_signals(shell *sh)
{
    struct signalfd_siginfo s[8];
    ssize_t n = read(sh->signals, s, sizeof s);
    bool any = false;

    for (; n >= (ssize_t)sizeof *s; n = read(sh->signals, s, sizeof s)) {
        any = true;
        for (size_t i = 0; i < (size_t)n / sizeof *s; i++)
            if (s[i].ssi_signo != SIGCHLD)
                executor_leave(sh->executor, "the executor was told to end", now_ms());
    }
    return any;
}

static int open_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* When to wake for want of an agent; ends what runs when that is reached. */
static int64_t alone_until(shell *sh)
{
    int64_t until = sh->alone_ms + sh->lease_ms;

    if (sh->agent || executor_finished(sh->executor))
        return INT64_MAX;
    if (now_ms() >= until || (sh->met && !executor_busy(sh->executor))) {
        executor_leave(sh->executor, "the runner's agent is gone", now_ms());
        return INT64_MAX;
    }
    return until;
}

static int timeout_of(int64_t deadline_ms)
{
    int64_t left = deadline_ms - now_ms();

    return deadline_ms == INT64_MAX ? -1 : left < 0 ? 0 : left > 3600000 ? 3600000 : (int)left;
}

/* When to wake at the latest: poll's clock stands still while the machine sleeps. */
static int64_t deadline_of(const shell *sh, int64_t alone_ms)
{
    int64_t until = executor_until_ms(sh->executor), now = now_ms(), left;
    int64_t deadline = executor_deadline_ms(sh->executor);

    deadline = alone_ms < deadline ? alone_ms : deadline;
    if (until == ATTEMPT_NEVER)
        return deadline;
    left = until - clock_of(CLOCK_BOOTTIME);
    left = left < 0 ? 0 : left < AWAKE_MS ? left : AWAKE_MS;
    return now + left < deadline ? now + left : deadline;
}

static volt_code turn(shell *sh, int64_t alone_ms, volt_err *err)
{
    struct pollfd fds[FDS_MAX] = {
        { .fd = sh->listener, .events = POLLIN },
        { .fd = sh->signals, .events = POLLIN },
        { .fd = sh->agent ? channel_fd(sh->agent) : -1,
          .events = sh->agent && channel_pending(sh->agent) ? POLLIN | POLLOUT : POLLIN },
    };
    size_t n = 3 + executor_fds(sh->executor, fds + 3);
    bool due;

    if (poll(fds, n, timeout_of(deadline_of(sh, alone_ms))) < 0 && errno != EINTR)
        return volt_fail(err, VOLT_EIO, "poll: %s", strerror(errno));
    due = fds[1].revents && take_signals(sh);
    for (size_t i = 3; i < n; i++)
        due = due || fds[i].revents;
    if (fds[2].revents & POLLOUT)
        channel_flush(sh->agent);
    if (fds[2].revents & ~POLLOUT)
        hear_agent(sh);
    if (fds[0].revents)
        accept_agent(sh);
    expire(sh);
    if (due || now_ms() >= executor_deadline_ms(sh->executor))
        executor_step(sh->executor, now_ms());
    if (sh->agent && channel_pending(sh->agent))
        channel_flush(sh->agent); /* all that this turn said */
    return VOLT_OK;
}

static volt_code serve(shell *sh, volt_err *err)
{
    volt_code rc = VOLT_OK;

    sh->alone_ms = now_ms();
    while (!rc && !executor_finished(sh->executor)) {
        int64_t alone_ms = alone_until(sh);

        if (!executor_finished(sh->executor))
            rc = turn(sh, alone_ms, err);
    }
    return rc;
}

/* There is one executor a slot, from its start to its end.  To ask for a listener by connecting
 * would not do: two that start at once find none, and one that listens would take the question for
 * its new agent.  The lock is the process's, as that of the work directory (cmd/runner/work.c). */
static volt_code lock_slot(const char *dir, uint64_t slot, int *ret, volt_err *err)
{
    CLEANUP(free)
    char *path = mem_printf("%s/%d.lock", dir, (int)slot);
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    *ret = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*ret < 0)
        return volt_fail(err, VOLT_EIO, "open '%s': %s", path, strerror(errno));
    if (fcntl(*ret, F_SETLK, &whole) == 0)
        return VOLT_OK;
    if (errno == EAGAIN || errno == EACCES)
        return volt_fail(err, VOLT_EEXISTS, "slot %d of '%s' has another executor", (int)slot, dir);
    return volt_fail(err, VOLT_EIO, "lock '%s': %s", path, strerror(errno));
}

/* Listens at WORK/slots/N.sock. */
static volt_code listen_at(const char *work, uint64_t slot, int *lock, int *ret, volt_err *err)
{
    CLEANUP(free)
    char *dir = mem_printf("%s/slots", work);
    CLEANUP(free)
    char *name = mem_printf("%d.sock", (int)slot);
    volt_code rc;

    if (mkdir(dir, 0700) && errno != EEXIST)
        return volt_fail(err, VOLT_EIO, "make directory '%s': %s", dir, strerror(errno));
    rc = lock_slot(dir, slot, lock, err);
    return rc ? rc : channel_listen(dir, name, ret, err);
}

/* One name a slot of a work directory, on this machine. */
static void enter_cgroup(const char *work, uint64_t slot)
{
    struct stat st;
    CLEANUP(free)
    char *name = NULL;

    if (stat(work, &st))
        return;
    name = mem_printf("volt-%llx-%llx-%d", (unsigned long long)st.st_dev,
                      (unsigned long long)st.st_ino, (int)slot);
    process_enter_cgroup(name);
}

static volt_code run_executor(const site_config *config, int64_t lease_ms, volt_err *err)
{
    CLEANUP(site_free)
    site *s = NULL;
    CLEANUP(executor_free)
    executor *e = NULL;
    CLEANUP(close)
    int lock = -1;
    CLEANUP(close)
    int listener = -1;
    CLEANUP(close)
    int signals = -1;
    shell sh = { .lease_ms = lease_ms };
    volt_code rc;

    rc = process_setup(err);
    if (!rc)
        rc = listen_at(config->work, config->slot, &lock, &listener, err);
    if (!rc)
        rc = git_setup(err);
    if (!rc)
        rc = site_new(config, &s, err);
    if (rc)
        return rc;
    enter_cgroup(config->work, config->slot);
    signals = open_signals();
    if (signals < 0)
        return volt_fail(err, VOLT_EIO, "signalfd: %s", strerror(errno));
    e = executor_new(s, say, &sh);
    sh.executor = e;
    sh.listener = listener;
    sh.signals = signals;
    rc = serve(&sh, err);
    channel_free(sh.agent);
    process_teardown();
    return rc;
}

static exit_code run(const command_line *line)
{
    char host[256] = "localhost";
    CLEANUP(free)
    char *work = realpath(command_text(line, "work"), NULL);
    volt_err err;

    if (!work)
        return command_fail_with(line, EXIT_USAGE, "work directory '%s': %s",
                                 command_text(line, "work"), strerror(errno));
    log_setup("executor", LOG_NOTE);
    gethostname(host, sizeof host - 1);
    site_config config = {
        .clock_ms = now_ms,
        .work = work,
        .slot = (uint64_t)command_number(line, "slot"),
        .runner = command_text(line, "name") ? command_text(line, "name") : host,
        .host = host,
        .path = getenv("PATH") ? getenv("PATH") : SITE_PATH,
        .lang = getenv("LANG"),
        .tz = getenv("TZ"),
        .timeout_ms = command_ms(line, "timeout"),
        .batch = (uint64_t)command_number(line, "batch"),
        .fetch_ms = FETCH_MS,
        .dispatcher = command_text(line, "dispatcher-server"),
        .log_max = LOG_MAX,
        .secrets = command_text(line, "secrets"),
        .sandbox = strcmp(command_text(line, "sandbox"), "bwrap") == 0 ? SANDBOX_KIND_BWRAP
                                                                       : SANDBOX_KIND_HOST,
        .cache_bytes = (uint64_t)command_bytes(line, "cache-bytes"),
    };
    config.repos_n = command_list(line, "repo", &config.repos);
    config.secrets_for_n = command_list(line, "secrets-for", &config.secrets_for);
    if (run_executor(&config, command_ms(line, "lease"), &err))
        return command_fail(line, &err);
    return EXIT_DONE;
}

static const option_spec options[] = {
    { "slot", 0, OPTION_NUMBER, "N", "1", 0, 1024, "the slot it serves; 0: plans", true },
    { "work", 0, OPTION_TEXT, "DIR", ".", 0, 0, "the runner's work directory", true },
    { "name", 0, OPTION_TEXT, "NAME", NULL, 0, 0, "the runner's name, for VOLT_RUNNER", true },
    { "dispatcher-server", 0, OPTION_TEXT, "HOST:PORT", "localhost:8888", 0, 0,
      "where artifacts of other jobs are", true },
    { "repo", 0, OPTION_LIST, "NAME=PATH", NULL, 0, 0,
      "take the objects of a repository from a clone on this machine", true },
    { "timeout", 0, OPTION_DURATION, "DURATION", "10m", 0, 0,
      "time limit of each test where no pipeline file says one", true },
    { "batch", 0, OPTION_NUMBER, "N", "0", 0, 10000,
      "files a batch where no pipeline file says it; 0: the dispatcher chooses", true },
    { "cache-bytes", 0, OPTION_SIZE, "SIZE", "5G", 0, INT64_MAX,
      "of all caches of the runner; 0: none are kept", true },
    { "lease", 0, OPTION_DURATION, "DURATION", "30s", 0, 0,
      "how long a task goes on without the runner's agent", true },
    { "secrets", 0, OPTION_TEXT, "PATH", NULL, 0, 0, "where secrets are", true },
    { "secrets-for", 0, OPTION_LIST, "RULE", NULL, 0, 0, "who may have them", true },
    { "sandbox", 0, OPTION_WORD, "host|bwrap", "host", 0, 0, "of jobs that name none", true },
};

const command command_executor = {
    .name = "executor",
    .args = "",
    .summary = "run the tasks of one slot; started by 'volt runner'",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .hidden = true,
    .run = run,
};
