#include "git/child.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "git/remote.h"

#define READ_BYTES (64 << 10)
#define READS_MAX  16 /* a step ends then: other descriptors of the loop have work as well */
#define LOCK_FD    3
#define ENV_MAX    64

struct child {
    pid_t pid; /* 0: none, or reaped */
    int poll;  /* epoll of the others */
    int out;
    int errors;
    int end;   /* pidfd */
    int clock; /* timerfd: the limit */
    size_t output_max;
    buf output;
    buf words; /* standard error */
    int64_t limit_ms;
    volt_code code; /* VOLT_EAGAIN until it has ended */
    volt_err err;
};

/* What git, ssh and curl need to reach what the user reaches; nothing else of Volt's environment
 * (GIT_DIR and its kin above all). */
static const char *const kept[] = {
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_ASKPASS",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_CERT",
    "GIT_SSL_KEY",
    "GIT_SSL_NO_VERIFY",
    "GIT_PROXY_COMMAND",
    "GIT_PROXY_SSL_CAINFO",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "DBUS_SESSION_BUS_ADDRESS",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "GNUPGHOME",
    "KRB5CCNAME",
};

/* GIT_ALLOW_PROTOCOL leaves out remote helpers such as ext::, which run what the URL says. */
static char *const fixed[] = {
    "LC_ALL=C",
    "GIT_TERMINAL_PROMPT=0",
    "SSH_ASKPASS_REQUIRE=never",
    "GIT_ALLOW_PROTOCOL=file:git:http:https:ssh",
    "GIT_OPTIONAL_LOCKS=0",
};

static const char *const options_first[] = {
    "git",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=false",
    "-c",
    "fetch.writeCommitGraph=false",
    /* a peer that went away without a word */
    "-c",
    "http.lowSpeedLimit=1",
    "-c",
    "http.lowSpeedTime=60",
};

#define FIRST_N (sizeof options_first / sizeof *options_first)
static_assert(sizeof kept / sizeof *kept + sizeof fixed / sizeof *fixed + 2 <= ENV_MAX,
              "the environment has room");

/* The one place of this layer that reads the environment, and only to hand it on. */
static void make_environment(const child_options *options, char **env, char **git_dir)
{
    size_t n = 0;

    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        for (char **p = environ; *p; p++) {
            size_t len = strlen(kept[i]);

            if (strncmp(*p, kept[i], len) == 0 && (*p)[len] == '=') {
                env[n++] = *p;
                break;
            }
        }
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        env[n++] = fixed[i];
    /* A git directory that is none keeps git from looking for one around. */
    *git_dir = mem_printf("GIT_DIR=%s", options->git_dir ? options->git_dir : "/dev/null");
    env[n++] = *git_dir;
    env[n] = NULL;
}

static int spawn_in(child *c, const child_options *options, char *const *argv, char *const *env,
                    int out, int errors)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int rc;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, errors, STDERR_FILENO);
    if (options->lock_fd > 0)
        posix_spawn_file_actions_adddup2(&files, options->lock_fd, LOCK_FD);
    posix_spawn_file_actions_addchdir_np(&files, "/");
    rc = posix_spawnp(&c->pid, "git", &files, &attributes, argv, env);
    if (rc)
        c->pid = 0;
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    return rc;
}

static int spawn_git(child *c, const char *const *args, const child_options *options, int out,
                     int errors)
{
    const char *argv[FIRST_N + CHILD_ARGS_MAX + 1];
    char *env[ENV_MAX];
    CLEANUP(free)
    char *git_dir = NULL;
    size_t n = FIRST_N;

    memcpy(argv, options_first, sizeof options_first);
    for (; *args; args++) {
        assert(n < FIRST_N + CHILD_ARGS_MAX);
        argv[n++] = *args;
    }
    argv[n] = NULL;
    make_environment(options, env, &git_dir);
    /* posix_spawn promises not to write to the strings. */
    return spawn_in(c, options, (char *const *)(uintptr_t)argv, env, out, errors);
}

static int watch(const child *c, int fd)
{
    struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

    return epoll_ctl(c->poll, EPOLL_CTL_ADD, fd, &e);
}

static int start(child *c, const char *const *args, const child_options *options)
{
    int out[2] = { -1, -1 }, errors[2] = { -1, -1 };
    struct itimerspec limit = { .it_value = { .tv_sec = options->limit_ms / 1000,
                                              .tv_nsec = options->limit_ms % 1000 * 1000000 } };
    int rc = 0;

    c->poll = epoll_create1(EPOLL_CLOEXEC);
    c->clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (c->poll < 0 || c->clock < 0 || timerfd_settime(c->clock, 0, &limit, NULL) < 0 ||
        pipe2(out, O_CLOEXEC) < 0 || pipe2(errors, O_CLOEXEC) < 0)
        rc = errno;
    c->out = out[0];
    c->errors = errors[0];
    if (rc == 0)
        rc = spawn_git(c, args, options, out[1], errors[1]);
    if (out[1] >= 0)
        close(out[1]);
    if (errors[1] >= 0)
        close(errors[1]);
    if (rc)
        return rc;
    c->end = (int)syscall(SYS_pidfd_open, c->pid, 0);
    if (c->end < 0 || fcntl(c->out, F_SETFL, O_NONBLOCK) < 0 ||
        fcntl(c->errors, F_SETFL, O_NONBLOCK) < 0 || watch(c, c->out) < 0 ||
        watch(c, c->errors) < 0 || watch(c, c->end) < 0 || watch(c, c->clock) < 0)
        return errno;
    return 0;
}

volt_code child_start(const char *const *args, const child_options *options, child **ret,
                      volt_err *err)
{
    child *c = NEW(child);
    int rc;

    assert(options->limit_ms >= 1);
    *c = (child){ .poll = -1, .out = -1, .errors = -1, .end = -1, .clock = -1 };
    c->code = VOLT_EAGAIN;
    c->limit_ms = options->limit_ms;
    c->output_max = options->output_max;
    rc = start(c, args, options);
    if (rc) {
        child_free(c);
        if (rc == ENOENT)
            return volt_fail(err, VOLT_ENOTFOUND, "there is no git command in PATH; install git");
        return volt_fail(err, VOLT_EIO, "start git: %s", strerror(rc));
    }
    *ret = c;
    return VOLT_OK;
}

int child_fd(const child *c)
{
    return c->poll;
}

/* True at the end of the stream. */
static bool take_some(int fd, buf *to)
{
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t n = read(fd, buf_room(to, READ_BYTES), READ_BYTES);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 || errno != EAGAIN;
        to->n += (size_t)n;
        to->p[to->n] = '\0';
    }
    return false;
}

static void drain(child *c, int *fd, buf *to)
{
    if (*fd >= 0 && take_some(*fd, to)) {
        close(*fd); /* which takes it out of the epoll too */
        *fd = -1;
    }
    if (to == &c->words && to->n > CHILD_STDERR_MAX)
        buf_drop(to, to->n - CHILD_STDERR_MAX);
}

/* The whole session: ssh, remote helpers. */
static void kill_all(child *c)
{
    if (!c->pid)
        return;
    kill(-c->pid, SIGKILL);
    while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    c->pid = 0;
}

static volt_code finish(child *c, volt_code code, const char *text)
{
    kill_all(c);
    c->code = volt_fail(&c->err, code, "%s", text);
    return c->code;
}

/* Skips what git puts before its own messages. */
static const char *message_of(const char *line)
{
    if (strncmp(line, "fatal: ", 7) == 0 || strncmp(line, "error: ", 7) == 0)
        return line + 7;
    return strncmp(line, "ssh: ", 5) == 0 ? line : NULL;
}

/* curl tells how long it took, which would make each failure another than the last one. */
static void drop_time(char *text)
{
    static const char before[] = " after ", unit[] = " ms";
    char *at = strstr(text, before);
    char *number = at ? at + strlen(before) : NULL;
    char *end = number ? number + strspn(number, "0123456789") : NULL;

    if (end > number && strncmp(end, unit, strlen(unit)) == 0)
        memmove(at, end + strlen(unit), strlen(end + strlen(unit)) + 1);
}

/* The line that says what went wrong: the first of git's own, unless that only tells that another
 * program failed, which has spoken before. */
static void telling_line(const buf *words, char *to, size_t size)
{
    static const char vague[] = "Could not read from remote repository";
    const char *text = buf_str(words);
    const char *found = NULL;

    for (const char *p = text; p && *p && !found;
         p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
        found = message_of(p);
        if (found && strncmp(found, vague, sizeof vague - 1) == 0)
            found = text;
    }
    if (!found)
        found = text;
    if (found == text && message_of(found))
        found = message_of(found);
    snprintf(to, size, "%.*s", (int)strcspn(found, "\r\n"), found);
    drop_time(to);
}

static volt_code reap(child *c)
{
    char text[VOLT_ERR_MSG_MAX];
    int status;
    pid_t got;

    do {
        got = waitpid(c->pid, &status, WNOHANG);
    } while (got < 0 && errno == EINTR);
    if (got == 0)
        return VOLT_EAGAIN;
    c->pid = 0;
    if (got > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        c->code = VOLT_OK;
        return VOLT_OK;
    }
    telling_line(&c->words, text, sizeof text);
    if (!text[0] && got > 0 && WIFSIGNALED(status))
        snprintf(text, sizeof text, "git was ended by signal %d", WTERMSIG(status));
    else if (!text[0])
        snprintf(text, sizeof text, "git failed without a word");
    return finish(c, VOLT_EGIT, text);
}

static bool is_readable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    return poll(&p, 1, 0) > 0;
}

static volt_code advance(child *c)
{
    char text[64];
    volt_code code;
    bool ended = is_readable(c->end); /* before the last reading, so that nothing is missed */

    drain(c, &c->out, &c->output);
    drain(c, &c->errors, &c->words);
    remote_scrub(&c->words);
    if (c->output.n > c->output_max)
        return finish(c, VOLT_EFULL, "git wrote more than there is room for");
    /* The streams may stay open behind it: ssh leaves a master process with them.  But what git
     * itself wrote is in the pipe by now, and one step may not have read it all. */
    if (ended && !(c->out >= 0 && is_readable(c->out))) {
        code = reap(c);
        if (code != VOLT_EAGAIN)
            return code;
    }
    if (is_readable(c->clock)) {
        snprintf(text, sizeof text, "no answer within %lld s",
                 (long long)(c->limit_ms + 999) / 1000);
        return finish(c, VOLT_ETIMEOUT, text);
    }
    return VOLT_EAGAIN;
}

volt_code child_step(child *c, volt_err *err)
{
    if (c->code == VOLT_EAGAIN)
        advance(c);
    if (c->code != VOLT_OK && c->code != VOLT_EAGAIN && err)
        *err = c->err;
    return c->code;
}

volt_code child_wait(child *c, volt_err *err)
{
    volt_code code;

    while ((code = child_step(c, err)) == VOLT_EAGAIN) {
        struct pollfd p = { .fd = c->poll, .events = POLLIN };

        poll(&p, 1, -1);
    }
    return code;
}

slice child_output(const child *c)
{
    return buf_slice(&c->output);
}

const char *child_errors(const child *c)
{
    return buf_str(&c->words);
}

void child_free(child *c)
{
    if (!c)
        return;
    kill_all(c);
    for (const int *fd = (const int[]){ c->out, c->errors, c->end, c->clock, c->poll, -2 };
         *fd != -2; fd++)
        if (*fd >= 0)
            close(*fd);
    buf_free(&c->output);
    buf_free(&c->words);
    free(c);
}
