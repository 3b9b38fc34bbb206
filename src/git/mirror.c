#include "git/mirror.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

#include "base/mem.h"
#include "base/rmtree.h"
#include "git/child.h"
#include "git/lib.h"
#include "git/remote.h"

#define LOCK_RETRY_MS  50
#define HASH_DIGITS    12
#define NAME_MAX_SHOWN 64
#define OUTPUT_MAX     (1 << 20)

/* What is tried in turn until the commit is there: its ref alone, which is quick; all branches and
 * tags, for the ref may have moved on or be gone; the commit by its id, which servers may refuse.
 */
typedef enum stage { STAGE_LOCK, STAGE_REF, STAGE_ALL, STAGE_ID, STAGE_END } stage;

struct mirror_fetch {
    char *path; /* the mirror, or the local repository */
    char *url;
    char *shown; /* without credentials */
    char *ref;   /* NULL: unknown */
    commit_id id;
    int64_t limit_ms;
    stage stage;
    child *child;
    int lock;
    int poll;  /* epoll of the child or of `tick` */
    int tick;  /* timerfd: look at the lock again; or readable for good once it has ended */
    int clock; /* timerfd: the limit */
    volt_code code;
    volt_err err;
};

static volt_code end(mirror_fetch *f, volt_code code)
{
    struct itimerspec now = { .it_value = { .tv_nsec = 1 } };

    timerfd_settime(f->tick, 0, &now, NULL);
    f->stage = STAGE_END;
    f->code = code;
    return code;
}

static int watch(const mirror_fetch *f, int fd)
{
    struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

    return epoll_ctl(f->poll, EPOLL_CTL_ADD, fd, &e);
}

static void set_timer(int fd, int64_t ms)
{
    struct itimerspec at = { .it_value = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 } };

    timerfd_settime(fd, 0, &at, NULL);
}

static bool has_commit(const mirror_fetch *f)
{
    objects *o;
    bool found;

    if (objects_open(f->path, &o, NULL))
        return false;
    found = objects_have(o, &f->id);
    objects_free(o);
    return found;
}

static volt_code look_local(mirror_fetch *f)
{
    objects *o;
    volt_code code = objects_open(f->path, &o, &f->err);

    if (code)
        return code == VOLT_ENOTFOUND ? f->err.code = VOLT_EUNREACHABLE : code;
    if (!objects_have(o, &f->id))
        code = volt_fail(&f->err, VOLT_ENOTFOUND, "no commit %s in '%s'", f->id.hex, f->path);
    objects_free(o);
    return code;
}

/* "<name>-<hash>.git"; the hash is of the URL without credentials, which may change. */
static char *mirror_dir(const char *dir, const char *name, const char *shown)
{
    char safe[NAME_MAX_SHOWN + 1];
    char hex[GIT_OID_HEXSZ + 1];
    size_t n = strlen(name) < NAME_MAX_SHOWN ? strlen(name) : NAME_MAX_SHOWN;
    git_oid id;

    for (size_t i = 0; i < n; i++)
        safe[i] = strchr("/\n\"\\", name[i]) || name[i] == '.' ? '_' : name[i];
    safe[n] = '\0';
    git_odb_hash(&id, shown, strlen(shown), GIT_OBJECT_BLOB);
    git_oid_tostr(hex, sizeof hex, &id);
    return mem_printf("%s/%s-%.*s.git", dir, safe, HASH_DIGITS, hex);
}

/* A ref that can stand in a refspec as it is. */
static bool is_plain_ref(const char *ref)
{
    return ref && strncmp(ref, "refs/", 5) == 0 && !strpbrk(ref, ":*?[\\^~ \t\n");
}

/* Names the mirror, with a path that the git command understands as well, which runs elsewhere. */
static volt_code open_lock(mirror_fetch *f, const mirror_request *request, volt_err *err)
{
    CLEANUP(free)
    char *work = realpath(request->work, NULL);
    CLEANUP(free)
    char *dir = mem_printf("%s/mirrors", work ? work : request->work);
    CLEANUP(free)
    char *path = NULL;

    f->path = mirror_dir(dir, request->name, f->shown);
    path = mem_printf("%s.lock", f->path);

    if (mkdir(dir, 0755) < 0 && errno != EEXIST)
        return volt_fail(err, VOLT_EIO, "make directory '%s': %s", dir, strerror(errno));
    f->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (f->lock < 0)
        return volt_fail(err, VOLT_EIO, "open lock '%s': %s", path, strerror(errno));
    return VOLT_OK;
}

volt_code mirror_start(const mirror_request *request, mirror_fetch **ret, volt_err *err)
{
    CLEANUP(free)
    char *local = remote_local_path(request->source);
    mirror_fetch *f = NEW(mirror_fetch);
    volt_code code = VOLT_OK;

    assert(request->limit_ms >= 1 && request->id && ret);
    f->lock = -1;
    f->code = VOLT_EAGAIN;
    f->id = *request->id;
    f->limit_ms = request->limit_ms;
    f->poll = epoll_create1(EPOLL_CLOEXEC);
    f->tick = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    f->clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (f->poll < 0 || f->tick < 0 || f->clock < 0 || watch(f, f->tick) < 0 ||
        watch(f, f->clock) < 0) {
        code = volt_fail(err, VOLT_EIO, "watch a fetch: %s", strerror(errno));
    } else if (local) {
        f->path = TAKE(local);
        end(f, look_local(f));
    } else {
        code = remote_check(request->source, err);
        if (code == VOLT_OK) {
            f->url = mem_strdup(request->source);
            f->shown = remote_show(f->url);
            f->ref = is_plain_ref(request->ref) ? mem_strdup(request->ref) : NULL;
            code = open_lock(f, request, err);
        }
        set_timer(f->clock, f->limit_ms);
        set_timer(f->tick, 1);
    }
    if (code) {
        mirror_free(f);
        return code;
    }
    *ret = f;
    return VOLT_OK;
}

int mirror_fd(const mirror_fetch *f)
{
    return f->poll;
}

const char *mirror_path(const mirror_fetch *f)
{
    return f->path;
}

/* Removes lock files and half-written packs of a fetch that was killed.  The lock is ours and a
 * fetch holds it to its own end, so none is at work. */
static void clear_stale(const char *dir, const char *prefix, const char *suffix)
{
    DIR *d = opendir(dir);
    const struct dirent *e;

    while (d && (e = readdir(d))) {
        slice name = slice_of(e->d_name);

        if (slice_starts(name, slice_of(prefix)) && slice_ends(name, slice_of(suffix)))
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d)
        closedir(d);
}

static void clear_killed(const mirror_fetch *f)
{
    CLEANUP(free)
    char *pack = mem_printf("%s/objects/pack", f->path);
    refs *r;
    char **dirs;

    clear_stale(pack, "tmp_", "");
    if (refs_open(f->path, &r, NULL))
        return;
    if (refs_watch_dirs(r, &dirs, NULL) == VOLT_OK) {
        for (char **p = dirs; *p; p++)
            clear_stale(*p, "", ".lock");
        refs_watch_dirs_free(dirs);
    }
    refs_free(r);
}

/* Makes the mirror when there is none, or none that can be opened. */
static volt_code prepare(mirror_fetch *f)
{
    CLEANUP(git_repository_free)
    git_repository *made = NULL;
    git_repository_init_options options = { .version = GIT_REPOSITORY_INIT_OPTIONS_VERSION };
    char *git_dir, *common_dir;
    int rc;

    if (git_locate(f->path, &git_dir, &common_dir, NULL) == VOLT_OK) {
        free(git_dir);
        free(common_dir);
        clear_killed(f);
        return VOLT_OK;
    }
    if (rmtree(AT_FDCWD, f->path, &f->err))
        return VOLT_EIO;
    options.flags =
        GIT_REPOSITORY_INIT_BARE | GIT_REPOSITORY_INIT_MKDIR | GIT_REPOSITORY_INIT_NO_REINIT;
    rc = git_repository_init_ext(&made, f->path, &options);
    return rc < 0 ? git_fail(&f->err, rc, "make mirror", f->path) : VOLT_OK;
}

static volt_code fetch(mirror_fetch *f, stage at)
{
    CLEANUP(free)
    char *spec = NULL;
    const char *args[12] = { "fetch", "--quiet", "--force", "--no-write-fetch-head",
                             "--no-recurse-submodules" };
    child_options options = {
        .git_dir = f->path, .limit_ms = f->limit_ms, .output_max = OUTPUT_MAX, .lock_fd = f->lock
    };
    volt_code code;
    size_t n = 5;

    if (at == STAGE_ALL)
        args[n++] = "--prune"; /* or a branch "a" that is gone stands in the way of "a/b" */
    args[n++] = "--end-of-options";
    args[n++] = f->url;
    if (at == STAGE_REF)
        spec = mem_printf("+%s:%s", f->ref, f->ref);
    else if (at == STAGE_ID)
        spec = mem_printf("+%s:refs/volt/%s", f->id.hex, f->id.hex);
    args[n++] = spec ? spec : "+refs/heads/*:refs/heads/*";
    if (at == STAGE_ALL)
        args[n++] = "+refs/tags/*:refs/tags/*";
    f->stage = at;
    code = child_start(args, &options, &f->child, &f->err);
    if (code)
        return end(f, code);
    if (watch(f, child_fd(f->child)) < 0)
        return end(f, volt_fail(&f->err, VOLT_EIO, "watch a fetch: %s", strerror(errno)));
    return VOLT_EAGAIN;
}

static volt_code take_lock(mirror_fetch *f)
{
    volt_code code;

    if (flock(f->lock, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return end(
                f, volt_fail(&f->err, VOLT_EIO, "lock mirror '%s': %s", f->path, strerror(errno)));
        set_timer(f->tick, LOCK_RETRY_MS);
        return VOLT_EAGAIN;
    }
    set_timer(f->tick, 0);
    if (has_commit(f))
        return end(f, VOLT_OK);
    code = prepare(f);
    if (code)
        return end(f, code);
    return fetch(f, f->ref ? STAGE_REF : STAGE_ALL);
}

/* A failed fetch that the next stage may make up for: the ref is gone, or in the way. */
static bool is_about_ref(const char *errors)
{
    return strstr(errors, "couldn't find remote ref") || strstr(errors, "cannot lock ref") ||
           strstr(errors, "unable to update local ref") || strstr(errors, "some local refs");
}

static volt_code fail_fetch(mirror_fetch *f, volt_code code)
{
    const char *errors = child_errors(f->child);

    if (code == VOLT_EGIT && f->stage == STAGE_ID &&
        (strstr(errors, "not our ref") || strstr(errors, "unadvertised object") ||
         strstr(errors, "couldn't find remote ref")))
        return end(f,
                   volt_fail(&f->err, VOLT_ENOTFOUND, "no commit %s in '%s'", f->id.hex, f->shown));
    if (code == VOLT_EGIT)
        code = remote_code(errors);
    volt_wrap(&f->err, code, "fetch '%s'", f->shown);
    return end(f, code);
}

static volt_code after_fetch(mirror_fetch *f)
{
    volt_code code = child_step(f->child, &f->err);

    if (code == VOLT_EAGAIN)
        return code;
    if (has_commit(f))
        return end(f, VOLT_OK);
    if (code &&
        !(code == VOLT_EGIT && is_about_ref(child_errors(f->child)) && f->stage != STAGE_ID))
        return fail_fetch(f, code);
    if (f->stage == STAGE_ID)
        return end(f,
                   volt_fail(&f->err, VOLT_ENOTFOUND, "no commit %s in '%s'", f->id.hex, f->shown));
    child_free(TAKE(f->child));
    return fetch(f, f->stage == STAGE_REF ? STAGE_ALL : STAGE_ID);
}

static bool has_elapsed(int timer)
{
    uint64_t times;

    return read(timer, &times, sizeof times) == (ssize_t)sizeof times;
}

volt_code mirror_step(mirror_fetch *f, volt_err *err)
{
    if (f->stage == STAGE_LOCK)
        take_lock(f);
    else if (f->stage != STAGE_END)
        after_fetch(f);
    if (f->stage != STAGE_END && has_elapsed(f->clock))
        end(f, volt_fail(&f->err, VOLT_ETIMEOUT, "fetch '%s': not done within %lld s%s", f->shown,
                         (long long)(f->limit_ms + 999) / 1000,
                         f->stage == STAGE_LOCK ? ", for another fetch was at work" : ""));
    if (f->stage == STAGE_END) {
        child_free(TAKE(f->child));
        if (f->lock >= 0)
            close(f->lock);
        f->lock = -1;
    }
    if (f->code != VOLT_OK && f->code != VOLT_EAGAIN && err)
        *err = f->err;
    return f->code;
}

void mirror_free(mirror_fetch *f)
{
    if (!f)
        return;
    child_free(f->child);
    if (f->lock >= 0)
        close(f->lock);
    if (f->tick >= 0)
        close(f->tick);
    if (f->clock >= 0)
        close(f->clock);
    if (f->poll >= 0)
        close(f->poll);
    free(f->path);
    free(f->url);
    free(f->shown);
    free(f->ref);
    free(f);
}

volt_code mirror_get(const mirror_request *request, char **ret, volt_err *err)
{
    mirror_fetch *f;
    volt_code code = mirror_start(request, &f, err);

    if (code)
        return code;
    while ((code = mirror_step(f, err)) == VOLT_EAGAIN) {
        struct epoll_event e;

        epoll_wait(mirror_fd(f), &e, 1, -1);
    }
    if (code == VOLT_OK)
        *ret = mem_strdup(mirror_path(f));
    mirror_free(f);
    return code;
}
