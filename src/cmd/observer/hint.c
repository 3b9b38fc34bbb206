#include "cmd/observer/hint.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/slice.h"

#define WATCH_MASK                                                                           \
    (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE | IN_DELETE_SELF | \
     IN_MOVE_SELF | IN_ONLYDIR)

/* A directory, which linked worktrees or one repository under two names may share. */
typedef struct watched {
    size_t *repos;
    size_t n;
} watched;

struct observer_hint {
    int fd;
    map by_wd;
};

volt_code observer_hint_new(observer_hint **ret, volt_err *err)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    observer_hint *h;

    if (fd < 0)
        return volt_fail(err, errno == EMFILE ? VOLT_EFULL : VOLT_EIO, "inotify: %s",
                         strerror(errno));
    h = NEW(observer_hint);
    h->fd = fd;
    *ret = h;
    return VOLT_OK;
}

static void watched_free(watched *w)
{
    if (!w)
        return;
    free(w->repos);
    free(w);
}

void observer_hint_free(observer_hint *h)
{
    const map_entry *e;
    size_t at = 0;

    if (!h)
        return;
    while ((e = map_next(&h->by_wd, &at)))
        watched_free(e->value);
    map_free(&h->by_wd);
    close(h->fd);
    free(h);
}

int observer_hint_fd(const observer_hint *h)
{
    return h->fd;
}

/* True when `repo` did not watch it yet. */
static bool note(observer_hint *h, int wd, size_t repo)
{
    watched *w = map_get(&h->by_wd, (uint64_t)wd);

    if (!w) {
        w = NEW(watched);
        map_put(&h->by_wd, (uint64_t)wd, w);
    }
    for (size_t i = 0; i < w->n; i++)
        if (w->repos[i] == repo)
            return false;
    w->repos = mem_grow(w->repos, w->n + 1, sizeof *w->repos);
    w->repos[w->n++] = repo;
    return true;
}

volt_code observer_hint_watch(observer_hint *h, size_t repo, char *const *dirs, bool *more,
                              volt_err *err)
{
    *more = false;
    for (; *dirs; dirs++) {
        int wd = inotify_add_watch(h->fd, *dirs, WATCH_MASK);

        if (wd < 0 && errno == ENOSPC)
            return volt_fail(err, VOLT_EFULL,
                             "the limit of inotify watches is reached (sysctl "
                             "fs.inotify.max_user_watches)");
        if (wd >= 0 && note(h, wd, repo)) /* else: gone since it was listed, or not readable */
            *more = true;
    }
    return VOLT_OK;
}

/* git writes X.lock and renames it to X: the first half says nothing yet. */
static bool matters(const struct inotify_event *e)
{
    slice name = slice_of(e->len ? e->name : "");

    return !slice_ends(name, SLICE(".lock")) && !slice_starts(name, SLICE("index"));
}

static void handle(observer_hint *h, const struct inotify_event *e,
                   void (*fn)(void *ctx, size_t repo, bool dirs), void *ctx)
{
    watched *w;
    bool dirs = (e->mask & (IN_ISDIR | IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF)) != 0;

    if (e->mask & IN_Q_OVERFLOW) {
        fn(ctx, HINT_ALL, true);
        return;
    }
    w = map_get(&h->by_wd, (uint64_t)e->wd);
    if (!w)
        return;
    if (dirs || matters(e))
        for (size_t i = 0; i < w->n; i++)
            fn(ctx, w->repos[i], dirs);
    if (e->mask & IN_MOVE_SELF) /* it goes on under a name that is no longer ours */
        inotify_rm_watch(h->fd, e->wd);
    if (e->mask & IN_IGNORED)
        watched_free(map_remove(&h->by_wd, (uint64_t)e->wd));
}

void observer_hint_read(observer_hint *h, void (*fn)(void *ctx, size_t repo, bool dirs), void *ctx)
{
    _Alignas(struct inotify_event) char events[16384];
    ssize_t n;

    while ((n = read(h->fd, events, sizeof events)) > 0)
        for (const char *p = events; p < events + n;) {
            const struct inotify_event *e = (const void *)p;

            handle(h, e, fn, ctx);
            p += sizeof *e + e->len;
        }
}
