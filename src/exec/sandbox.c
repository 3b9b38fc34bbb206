#include "exec/sandbox.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "exec/environ.h"

#define OWN_MAX   64 /* words that are not of the command */
#define PROBE_MS  10000
#define WORDS_MAX 400 /* bytes of what bwrap says */

typedef struct words {
    const char **v;
    size_t n;
} words;

static void add(words *w, const char *a, const char *b, const char *c)
{
    w->v[w->n++] = a;
    if (b)
        w->v[w->n++] = b;
    if (c)
        w->v[w->n++] = c;
}

static void hide(words *w, const char *path)
{
    struct stat st;

    if (stat(path, &st))
        return;
    if (S_ISDIR(st.st_mode))
        add(w, "--tmpfs", path, NULL);
    else
        add(w, "--ro-bind", "/dev/null", path);
}

/* In this order: what comes later covers what was there before.  Without --die-with-parent: bwrap
 * itself ends by the TERM that all get, and the others have their grace. */
static void add_closed(words *w, const sandbox *s)
{
    add(w, "--unshare-pid", "--unshare-ipc", NULL);
    add(w, "--cap-drop", "ALL", NULL); /* root's */
    add(w, "--ro-bind", "/", "/");
    add(w, "--dev", "/dev", NULL);
    add(w, "--proc", "/proc", NULL);
    add(w, "--bind", s->tmp, "/tmp");
    if (s->hidden)
        hide(w, s->hidden);
    add(w, "--tmpfs", s->work, NULL);
    add(w, "--ro-bind", s->objects, s->objects);
    add(w, "--bind", s->workspace, s->workspace);
    add(w, "--bind", s->home, s->home);
    add(w, "--bind", s->tmp, s->tmp);
    add(w, "--bind", s->output, s->output);
    if (s->secrets)
        add(w, "--ro-bind", s->secrets, s->secrets);
    add(w, "--chdir", s->workspace, NULL);
}

const char *const *sandbox_wrap(const sandbox *s, const char *path, const char *const *argv,
                                arena *a)
{
    words w = { 0 };
    size_t n = 0;

    while (argv[n])
        n++;
    w.v = ARENA_ARRAY(a, const char *, OWN_MAX + n + 1);
    add(&w, "bwrap", NULL, NULL);
    if (s->closed)
        add_closed(&w, s);
    else /* all as it is, also root's rights */
        add(&w, "--dev-bind", "/", "/");
    if (!s->closed && geteuid() == 0)
        add(&w, "--cap-add", "ALL", NULL);
    if (s->network_off)
        add(&w, "--unshare-net", NULL, NULL);
    add(&w, "--", path, NULL);
    assert(w.n <= OWN_MAX);
    for (size_t i = 1; i < n; i++)
        w.v[w.n++] = argv[i];
    return w.v;
}

/* ---- does it work? ---- */

static volt_code start(const char *bwrap, const char *const *argv, int out, pid_t *ret,
                       volt_err *err)
{
    const char *const env[] = { "PATH=/usr/bin:/bin", NULL };
    posix_spawn_file_actions_t files;
    int rc;

    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, out, 1);
    posix_spawn_file_actions_adddup2(&files, out, 2);
    /* posix_spawn takes both as not const, and does not change them (POSIX). */
    rc = posix_spawn(ret, bwrap, &files, NULL, (char **)(uintptr_t)argv, (char **)(uintptr_t)env);
    posix_spawn_file_actions_destroy(&files);
    return rc ? volt_fail(err, VOLT_EIO, "start '%s': %s", bwrap, strerror(rc)) : VOLT_OK;
}

/* Reads the beginning of what it says, until it ends or hangs. */
static void listen_to(int from, pid_t pid, char said[WORDS_MAX])
{
    struct pollfd p = { .fd = from, .events = POLLIN };
    char rest[512];
    size_t n = 0;
    ssize_t did;

    do {
        if (poll(&p, 1, PROBE_MS) == 0) {
            kill(pid, SIGKILL);
            break;
        }
        did = n < WORDS_MAX - 1 ? read(from, said + n, WORDS_MAX - 1 - n)
                                : read(from, rest, sizeof rest);
        n += n < WORDS_MAX - 1 && did > 0 ? (size_t)did : 0;
    } while (did > 0 || (did < 0 && errno == EINTR));
    said[n] = '\0';
    said[strcspn(said, "\n")] = '\0';
}

static volt_code probe(const sandbox *s, arena *a, volt_err *err)
{
    const char *const command[] = { "sh", "-c", ":", NULL };
    CLEANUP(close)
    int from = -1;
    char said[WORDS_MAX];
    int ends[2], status = -1;
    pid_t pid;
    volt_code code;

    if (pipe2(ends, O_CLOEXEC))
        return volt_fail(err, VOLT_EIO, "make a pipe: %s", strerror(errno));
    from = ends[0];
    code = start(s->bwrap, sandbox_wrap(s, "/bin/sh", command, a), ends[1], &pid, err);
    close(ends[1]);
    if (code)
        return code;
    listen_to(from, pid, said);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return VOLT_OK;
    return volt_fail(err, VOLT_EREFUSED, "bwrap does not work here: %s",
                     *said ? said : "it does not come back");
}

volt_code sandbox_find(const char *path, const char *work, arena *a, const char **ret,
                       volt_err *err)
{
    sandbox s = { .bwrap = environ_find(path, "bwrap", a),
                  .closed = true,
                  .network_off = true,
                  .work = work,
                  .workspace = work,
                  .home = work,
                  .tmp = work,
                  .output = work,
                  .objects = work };
    volt_code code;

    if (!s.bwrap)
        return volt_fail(err, VOLT_ENOTFOUND, "bubblewrap (bwrap) is not installed there");
    code = probe(&s, a, err);
    if (!code)
        *ret = s.bwrap;
    return code;
}
