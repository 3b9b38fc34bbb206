#include "cmd/runner/work.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/prng.h"
#include "base/text.h"
#include "cmd/command.h"

#define RUNNERS_MAX 1000 /* default directories tried */
#define FILE_MAX    256  /* bytes of id and state */

void runner_work_random(char ret[33])
{
    prng p;

    if (getrandom(&p.state, sizeof p.state, 0) != sizeof p.state)
        p.state = (uint64_t)getpid(); /* never for 8 bytes, getrandom(2) */
    prng_hex32(&p, ret);
}

static volt_code make_dirs(const char *path, volt_err *err)
{
    CLEANUP(free)
    char *copy = mem_strdup(path);

    for (char *slash = strchr(copy + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash)
            *slash = 0;
        if (mkdir(copy, 0700) < 0 && errno != EEXIST)
            return volt_fail(err, VOLT_EIO, "make directory '%s': %s", copy, strerror(errno));
        if (!slash)
            return VOLT_OK;
        *slash = '/';
    }
}

/* The first line of a small file; VOLT_ENOTFOUND: there is no file. */
static volt_code read_line(const char *path, char ret[FILE_MAX], volt_err *err)
{
    CLEANUP(close)
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return volt_fail(err, errno == ENOENT ? VOLT_ENOTFOUND : VOLT_EIO, "open '%s': %s", path,
                         strerror(errno));
    n = read(fd, ret, FILE_MAX - 1);
    if (n < 0)
        return volt_fail(err, VOLT_EIO, "read '%s': %s", path, strerror(errno));
    ret[n] = 0;
    ret[strcspn(ret, "\n")] = 0;
    return VOLT_OK;
}

static volt_code sync_dir(const char *dir, volt_err *err)
{
    CLEANUP(close)
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) < 0)
        return volt_fail(err, VOLT_EIO, "sync directory '%s': %s", dir, strerror(errno));
    return VOLT_OK;
}

/* All of it or nothing, durably: WORK/name. */
static volt_code write_line(const char *dir, const char *name, const char *line, volt_err *err)
{
    CLEANUP(free)
    char *path = mem_printf("%s/%s", dir, name);
    CLEANUP(free)
    char *fresh = mem_printf("%s.new", path);
    CLEANUP(close)
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t n = strlen(line);

    if (fd < 0 || write(fd, line, n) != (ssize_t)n || fsync(fd) < 0 || rename(fresh, path) < 0)
        return volt_fail(err, VOLT_EIO, "write '%s': %s", path, strerror(errno));
    return sync_dir(dir, err);
}

/* A lock of the process, not of the open file as flock()'s: a child between its start and its
 * program has the file, too, and would hold the directory of a runner that was killed meanwhile. */
static volt_code lock(runner_work *w, volt_err *err)
{
    CLEANUP(free)
    char *path = mem_printf("%s/lock", w->dir);
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    w->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (w->lock < 0)
        return volt_fail(err, VOLT_EIO, "open '%s': %s", path, strerror(errno));
    if (fcntl(w->lock, F_SETLK, &whole) == 0)
        return VOLT_OK;
    if (errno == EAGAIN || errno == EACCES)
        return volt_fail(err, VOLT_ELOCKED,
                         "another 'volt runner' uses the directory '%s'; give --work DIR", w->dir);
    return volt_fail(err, VOLT_EIO, "lock '%s': %s", path, strerror(errno));
}

static volt_code read_id(runner_work *w, volt_err *err)
{
    CLEANUP(free)
    char *path = mem_printf("%s/id", w->dir);
    char line[FILE_MAX];
    volt_code code = read_line(path, line, err);

    if (code && code != VOLT_ENOTFOUND)
        return code;
    if (!code && text_is_hex(slice_of(line), 32)) {
        memcpy(w->id, line, sizeof w->id);
        return VOLT_OK;
    }
    if (!code)
        log_warn("'%s' is damaged; this runner gets a new id", path);
    runner_work_random(w->id);
    snprintf(line, sizeof line, "%s\n", w->id);
    return write_line(w->dir, "id", line, err);
}

static volt_code read_state(runner_work *w, volt_err *err)
{
    CLEANUP(free)
    char *path = mem_printf("%s/state", w->dir);
    char line[FILE_MAX];
    volt_code code = read_line(path, line, err);
    const char *key;
    char *space;
    int64_t ep;

    if (code)
        return code == VOLT_ENOTFOUND ? VOLT_OK : code;
    space = strlen(line) > 33 ? strchr(line + 33, ' ') : NULL;
    key = space ? space + 1 : "";
    if (space)
        *space = 0;
    if (strlen(line) > 33 && line[32] == ' ' && text_is_hex((slice){ line, 32 }, 32) &&
        text_number(line + 33, 0, INT64_MAX, &ep, NULL) == VOLT_OK) {
        memcpy(w->hist, line, 32);
        w->hist[32] = 0;
        w->maxep = (uint64_t)ep;
        if (text_is_hex(slice_of(key), 32))
            memcpy(w->key, key, sizeof w->key);
    } else { /* as after a new start: the dispatcher says what this runner may keep */
        log_warn("'%s' is damaged; it is made anew", path);
    }
    return VOLT_OK;
}

static volt_code write_state(const runner_work *w, const char *hist, uint64_t maxep,
                             const char *key, volt_err *err)
{
    char line[FILE_MAX];

    snprintf(line, sizeof line, "%s %" PRIu64 "%s%s\n", hist, maxep, *key ? " " : "", key);
    return write_line(w->dir, "state", line, err);
}

volt_code runner_work_save(runner_work *w, const char *hist, uint64_t maxep, const char *key,
                           volt_err *err)
{
    volt_code code = write_state(w, hist, maxep, key, err);

    if (code)
        return code;
    snprintf(w->hist, sizeof w->hist, "%s", hist);
    w->maxep = maxep;
    snprintf(w->key, sizeof w->key, "%s", key);
    return VOLT_OK;
}

static const char *const parts[] = { "slots", "spool", "pool", "mirrors", "home" };
#define PARTS_N (sizeof parts / sizeof *parts)

static volt_code make_parts(const runner_work *w, volt_err *err)
{
    volt_code code = VOLT_OK;

    for (size_t i = 0; !code && i < PARTS_N; i++) {
        CLEANUP(free)
        char *path = mem_printf("%s/%s", w->dir, parts[i]);

        code = make_dirs(path, err);
    }
    return code;
}

static volt_code open_at(const char *dir, runner_work *w, volt_err *err)
{
    volt_code code = make_dirs(dir, err);

    if (code)
        return code;
    w->dir = realpath(dir, NULL);
    if (!w->dir)
        return volt_fail(err, VOLT_EIO, "find '%s': %s", dir, strerror(errno));
    code = lock(w, err);
    if (!code)
        code = make_parts(w, err);
    if (!code)
        code = read_id(w, err);
    return code ? code : read_state(w, err);
}

/* The lock that we hold is not the one that another agent would look at. */
static bool lock_is_gone(const runner_work *w)
{
    CLEANUP(free)
    char *path = mem_printf("%s/lock", w->dir);
    struct stat ours, there;

    if (fstat(w->lock, &ours) < 0)
        return false;
    if (stat(path, &there) < 0)
        return errno == ENOENT || errno == ENOTDIR;
    return ours.st_dev != there.st_dev || ours.st_ino != there.st_ino;
}

bool runner_work_is_whole(const runner_work *w)
{
    bool whole = !lock_is_gone(w);

    for (size_t i = 0; whole && i < PARTS_N; i++) {
        CLEANUP(free)
        char *path = mem_printf("%s/%s", w->dir, parts[i]);

        whole = access(path, F_OK) == 0 || errno != ENOENT;
    }
    return whole;
}

volt_code runner_work_mend(runner_work *w, volt_err *err)
{
    char line[FILE_MAX];
    volt_code code = make_dirs(w->dir, err);

    if (!code && lock_is_gone(w)) {
        close(w->lock);
        code = lock(w, err);
    }
    if (!code)
        code = make_parts(w, err);
    snprintf(line, sizeof line, "%s\n", w->id);
    if (!code)
        code = write_line(w->dir, "id", line, err);
    return code || !*w->hist ? code : write_state(w, w->hist, w->maxep, w->key, err);
}

static char *ordinal_of(const char *dir)
{
    const char *base = strrchr(dir, '/');

    base = base ? base + 1 : dir;
    return mem_strdup(strncmp(base, "runner-", 7) == 0 && base[7] ? base + 7 : base);
}

volt_code runner_work_open(const char *dir, runner_work *ret, volt_err *err)
{
    volt_code code = VOLT_ELOCKED;

    if (dir) {
        runner_work w = { .lock = -1 };

        code = open_at(dir, &w, err);
        w.ordinal = w.dir ? ordinal_of(w.dir) : NULL;
        *ret = w;
    }
    for (int i = 1; !dir && code == VOLT_ELOCKED && i <= RUNNERS_MAX; i++) {
        runner_work w = { .lock = -1, .ordinal = mem_printf("%d", i) };
        CLEANUP(free)
        char *name = mem_printf("runner-%d", i);
        CLEANUP(free)
        char *path = command_state_dir(name);

        code = open_at(path, &w, err);
        if (code == VOLT_ELOCKED)
            runner_work_close(&w);
        else
            *ret = w;
    }
    if (code)
        runner_work_close(ret);
    return code;
}

void runner_work_close(runner_work *w)
{
    if (w->lock >= 0)
        close(w->lock);
    free(w->dir);
    free(w->ordinal);
    *w = (runner_work){ .lock = -1 };
}
