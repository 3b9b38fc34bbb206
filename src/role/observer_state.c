#include "role/observer_state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/kill.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "wire/codec.h"

#define CURSOR_HEAD     "volt observer cursor 1"
#define CURSOR_FILE_MAX (256u << 20) /* bytes; a hundred thousand refs of a kilobyte and more */
#define ENTRY_FILE_MAX  WIRE_INTAKE_MAX
#define HASH_BEGIN      0xcbf29ce484222325ULL

DEFINE_CLEANUP(DIR *, closedir);

typedef struct kept {
    int64_t wall_ms;
    char oid[65];
} kept;

typedef struct cursor {
    list in_order;
    char *ref;
    char oid[65];
    kept *kept; /* what was accepted, oldest first */
    size_t kept_n;
} cursor;

struct observer_state {
    char *path; /* of the repository's directory */
    char *url;
    char *filter;
    char *old_filter; /* as the file had it; NULL: there was no file */
    int dir_fd, spool_fd, lock_fd;
    bool known;
    bool dirty;
    map cursors;
    list order;
    uint64_t *removals; /* spool entries to remove at the next flush */
    size_t removals_n;
};

static volt_code fail_io(volt_err *err, const char *what, const char *path)
{
    return volt_fail(err, VOLT_EIO, "%s '%s': %s", what, path, strerror(errno));
}

static volt_code make_dirs(const char *path, volt_err *err)
{
    CLEANUP(free)
    char *copy = mem_strdup(path);

    for (char *p = copy + 1; *p; p++)
        if (*p == '/') {
            *p = '\0';
            if (mkdir(copy, 0777) < 0 && errno != EEXIST)
                return fail_io(err, "make directory", copy);
            *p = '/';
        }
    if (mkdir(copy, 0777) < 0 && errno != EEXIST)
        return fail_io(err, "make directory", copy);
    return VOLT_OK;
}

/* FNV-1a, 64 bits (draft-eastlake-fnv): tells directories apart, keeps no secret. */
static uint64_t hash_on(uint64_t h, const char *s)
{
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3ULL;
    return h;
}

/* All of a small file.  VOLT_ENOTFOUND: there is none. */
static volt_code read_file(int at, const char *name, size_t max, buf *ret, volt_err *err)
{
    CLEANUP(close)
    int fd = openat(at, name, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return errno == ENOENT ? volt_fail(err, VOLT_ENOTFOUND, "no file '%s'", name)
                               : fail_io(err, "open", name);
    while ((n = read(fd, buf_room(ret, 65536), 65536)) > 0) {
        ret->n += (size_t)n;
        if (ret->n > max)
            return volt_fail(err, VOLT_ECORRUPT, "'%s' is larger than %zu bytes", name, max);
    }
    if (n < 0)
        return fail_io(err, "read", name);
    buf_adds(ret, "");
    return VOLT_OK;
}

/* The whole file is durable, its name in the directory not yet. */
static volt_code write_file(int at, const char *name, slice content, volt_err *err)
{
    int fd = openat(at, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    size_t done = 0;

    if (fd < 0)
        return fail_io(err, "create", name);
    while (done < content.n) {
        ssize_t n = write(fd, content.p + done, content.n - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            goto fail;
        done += (size_t)n;
    }
    if (fsync(fd) < 0)
        goto fail;
    close(fd);
    return VOLT_OK;

fail:
    fail_io(err, "write", name);
    close(fd);
    unlinkat(at, name, 0);
    return VOLT_EIO;
}

/* ---- cursors ---- */

static void set_cursor(observer_state *s, slice ref, slice oid)
{
    cursor *c = map_gets(&s->cursors, ref);

    if (oid.n == 0) {
        if (c) {
            map_removes(&s->cursors, ref);
            list_remove(&c->in_order);
            free(c->ref);
            free(c->kept);
            free(c);
        }
        return;
    }
    if (!c) {
        c = NEW(cursor);
        c->ref = mem_strndup(ref.p, ref.n);
        map_puts(&s->cursors, ref, c);
        list_push(&s->order, &c->in_order);
    }
    snprintf(c->oid, sizeof c->oid, SLICE_FMT, SLICE_ARG(oid));
}

/* As the newest of the `most` that stay.  False: the ref has no cursor. */
static bool add_kept(observer_state *s, slice ref, slice oid, int64_t wall_ms, size_t most)
{
    cursor *c = map_gets(&s->cursors, ref);
    size_t gone;

    if (!c)
        return false;
    c->kept = mem_grow(c->kept, c->kept_n + 1, sizeof *c->kept);
    c->kept[c->kept_n].wall_ms = wall_ms;
    snprintf(c->kept[c->kept_n++].oid, sizeof c->oid, SLICE_FMT, SLICE_ARG(oid));
    gone = c->kept_n > most ? c->kept_n - most : 0;
    c->kept_n -= gone;
    memmove(c->kept, c->kept + gone, c->kept_n * sizeof *c->kept);
    return true;
}

/* Cuts one line off; false at the end, or when the last one has no newline. */
static bool next_line(slice *rest, slice *line)
{
    const char *nl = rest->n ? memchr(rest->p, '\n', rest->n) : NULL;

    if (!nl)
        return false;
    *line = (slice){ rest->p, (size_t)(nl - rest->p) };
    rest->n -= line->n + 1;
    rest->p = nl + 1;
    return true;
}

static bool cut_prefix(slice *line, const char *prefix)
{
    slice p = slice_of(prefix);

    if (!slice_starts(*line, p))
        return false;
    line->p += p.n;
    line->n -= p.n;
    return true;
}

static bool cut_word(slice *line, slice *ret)
{
    const char *space = line->n ? memchr(line->p, ' ', line->n) : NULL;

    if (!space)
        return false;
    *ret = (slice){ line->p, (size_t)(space - line->p) };
    line->n -= ret->n + 1;
    line->p = space + 1;
    return true;
}

static bool parse_kept(observer_state *s, slice line)
{
    char *end;
    long long wall_ms;
    slice word, oid;

    if (!cut_word(&line, &word) || !cut_word(&line, &oid) || !text_is_oid(oid))
        return false;
    wall_ms = strtoll(word.p, &end, 10); /* ends at the space */
    return end == word.p + word.n && add_kept(s, line, oid, wall_ms, SIZE_MAX);
}

static bool parse_cursor(observer_state *s, slice rest)
{
    slice line;

    if (!next_line(&rest, &line) || !slice_is(line, CURSOR_HEAD) || !next_line(&rest, &line) ||
        !cut_prefix(&line, "url ") || !next_line(&rest, &line) || !cut_prefix(&line, "filter "))
        return false;
    s->old_filter = mem_strndup(line.p, line.n);
    if (!next_line(&rest, &line) || !cut_prefix(&line, "known "))
        return false;
    s->known = slice_is(line, "yes");
    while (next_line(&rest, &line)) {
        slice oid;

        if (slice_is(line, "end"))
            return rest.n == 0;
        if (cut_prefix(&line, "kept ")) {
            if (!parse_kept(s, line))
                return false;
            continue;
        }
        if (!cut_word(&line, &oid) || !text_is_oid(oid) || line.n == 0)
            return false;
        set_cursor(s, line, oid);
    }
    return false;
}

static volt_code load_cursor(observer_state *s, volt_err *err)
{
    CLEANUP(buf)
    buf content = { 0 };
    volt_code code = read_file(s->dir_fd, "cursor", CURSOR_FILE_MAX, &content, err);

    if (code == VOLT_ENOTFOUND)
        return VOLT_OK;
    if (code == VOLT_EIO)
        return volt_wrap(err, code, "in '%s'", s->path);
    if (code || !parse_cursor(s, buf_slice(&content)))
        return volt_fail(err, VOLT_ECORRUPT,
                         "'%s/cursor' is damaged; move it away to begin anew with the commits "
                         "that come from then on",
                         s->path);
    return VOLT_OK;
}

static volt_code save_cursor(observer_state *s, volt_err *err)
{
    CLEANUP(buf)
    buf content = { 0 };
    volt_code code;

    buf_addf(&content, CURSOR_HEAD "\nurl %s\nfilter %s\nknown %s\n", s->url, s->filter,
             s->known ? "yes" : "no");
    LIST_FOR(pos, &s->order)
    {
        const cursor *c = LIST_OWNER(pos, cursor, in_order);

        buf_addf(&content, "%s %s\n", c->oid, c->ref);
        for (size_t i = 0; i < c->kept_n; i++)
            buf_addf(&content, "kept %" PRId64 " %s %s\n", c->kept[i].wall_ms, c->kept[i].oid,
                     c->ref);
    }
    buf_adds(&content, "end\n");
    code = write_file(s->dir_fd, "cursor.new", buf_slice(&content), err);
    if (code)
        return volt_wrap(err, code, "in '%s'", s->path);
    if (renameat(s->dir_fd, "cursor.new", s->dir_fd, "cursor") < 0 || fsync(s->dir_fd) < 0)
        return fail_io(err, "replace cursor in", s->path);
    return VOLT_OK;
}

/* ---- spool ---- */

static void entry_name(uint64_t n, char ret[24])
{
    snprintf(ret, 24, "%" PRIu64, n);
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Numbers of the entries, ascending; *ret is owned by the caller. */
static volt_code list_spool(const observer_state *s, uint64_t **ret, size_t *ret_n, volt_err *err)
{
    CLEANUP(closedir)
    DIR *dir = NULL;
    int fd = openat(s->spool_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct dirent *e;
    uint64_t *v = NULL;
    size_t n = 0;

    dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return fail_io(err, "read the spool in", s->path);
    }
    while ((e = readdir(dir))) {
        char name[24];
        uint64_t number = strtoull(e->d_name, NULL, 10);

        entry_name(number, name);
        if (number == 0 || strcmp(name, e->d_name) != 0)
            continue;
        v = mem_grow(v, n + 1, sizeof *v);
        v[n++] = number;
    }
    if (n)
        qsort(v, n, sizeof *v, compare_numbers);
    *ret = v;
    *ret_n = n;
    return VOLT_OK;
}

static void restore_entry(observer_state *s, uint64_t n, watch *w, size_t repo)
{
    CLEANUP(buf)
    buf content = { 0 };
    CLEANUP(arena)
    arena a = { 0 };
    msg m;
    char name[24];
    volt_err err = { .msg = "" };
    volt_code code;

    entry_name(n, name);
    code = read_file(s->spool_fd, name, ENTRY_FILE_MAX, &content, &err);
    if (!code)
        code = wire_decode(buf_slice(&content), &a, &m, &err);
    if (!code && m.type == MSG_submit) {
        watch_restore_spooled(w, repo, n, &m.submit);
        return;
    }
    log_warn("spool entry '%s/spool/%s' is not whole, so it was never sent; its commit is looked "
             "for again (%s)",
             s->path, name, err.msg);
    unlinkat(s->spool_fd, name, 0);
}

volt_code observer_state_restore(observer_state *s, watch *w, size_t repo, volt_err *err)
{
    CLEANUP(free)
    uint64_t *numbers = NULL;
    size_t n = 0;
    volt_code code = list_spool(s, &numbers, &n, err);

    if (code)
        return code;
    LIST_FOR(pos, &s->order)
    {
        const cursor *c = LIST_OWNER(pos, cursor, in_order);

        watch_restore_cursor(w, repo, slice_of(c->ref), slice_of(c->oid));
        for (size_t i = 0; i < c->kept_n; i++)
            watch_restore_kept(w, repo, slice_of(c->ref), slice_of(c->kept[i].oid),
                               c->kept[i].wall_ms);
    }
    if (s->known && s->old_filter && strcmp(s->old_filter, s->filter) == 0)
        watch_restore_known(w, repo);
    for (size_t i = 0; i < n; i++)
        restore_entry(s, numbers[i], w, repo);
    return VOLT_OK;
}

volt_code observer_state_spool(observer_state *s, uint64_t n, slice frame, volt_err *err)
{
    char name[24];
    volt_code code;

    entry_name(n, name);
    code = write_file(s->spool_fd, name, frame, err);
    return code ? volt_wrap(err, code, "spool in '%s'", s->path) : VOLT_OK;
}

volt_code observer_state_sync(observer_state *s, volt_err *err)
{
    return fsync(s->spool_fd) < 0 ? fail_io(err, "sync the spool in", s->path) : VOLT_OK;
}

/* ---- changes ---- */

void observer_state_cursor(observer_state *s, slice ref, slice oid)
{
    set_cursor(s, ref, oid);
    s->dirty = true;
}

void observer_state_kept(observer_state *s, slice ref, slice oid, int64_t wall_ms, size_t n)
{
    s->dirty |= add_kept(s, ref, oid, wall_ms, n);
}

void observer_state_known(observer_state *s)
{
    s->known = true;
    s->dirty = true;
}

void observer_state_unspool(observer_state *s, uint64_t n)
{
    s->removals = mem_grow(s->removals, s->removals_n + 1, sizeof *s->removals);
    s->removals[s->removals_n++] = n;
    s->dirty = true;
}

bool observer_state_dirty(const observer_state *s)
{
    return s->dirty;
}

volt_code observer_state_flush(observer_state *s, volt_err *err)
{
    volt_code code;

    if (!s->dirty)
        return VOLT_OK;
    KILL_POINT(before_cursor);
    code = save_cursor(s, err);
    if (code)
        return code;
    KILL_POINT(after_cursor);
    for (size_t i = 0; i < s->removals_n; i++) {
        char name[24];

        entry_name(s->removals[i], name);
        unlinkat(s->spool_fd, name, 0); /* one that stays is sent again at the next start */
    }
    s->removals_n = 0;
    s->dirty = false;
    return VOLT_OK;
}

/* ---- life ---- */

static volt_code lock(observer_state *s, volt_err *err)
{
    s->lock_fd = openat(s->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->lock_fd < 0)
        return fail_io(err, "open the lock in", s->path);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK
                   ? volt_fail(err, VOLT_ELOCKED,
                               "%s is being watched by another observer with the state '%s'; stop "
                               "that one, or give this one another --state",
                               s->url, s->path)
                   : fail_io(err, "lock", s->path);
    return VOLT_OK;
}

static volt_code open_dirs(observer_state *s, volt_err *err)
{
    volt_code code = make_dirs(s->path, err);

    if (code)
        return code;
    s->dir_fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir_fd < 0)
        return fail_io(err, "open", s->path);
    code = lock(s, err);
    if (code)
        return code;
    if (mkdirat(s->dir_fd, "spool", 0777) < 0 && errno != EEXIST)
        return fail_io(err, "make the spool in", s->path);
    s->spool_fd = openat(s->dir_fd, "spool", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->spool_fd < 0)
        return fail_io(err, "open the spool in", s->path);
    if (fsync(s->dir_fd) < 0)
        return fail_io(err, "sync", s->path);
    return VOLT_OK;
}

static void close_dirs(observer_state *s)
{
    if (s->spool_fd >= 0)
        close(s->spool_fd);
    if (s->dir_fd >= 0)
        close(s->dir_fd);
    if (s->lock_fd >= 0)
        close(s->lock_fd); /* the lock goes with it */
    s->dir_fd = s->spool_fd = s->lock_fd = -1;
}

bool observer_state_is_gone(const observer_state *s)
{
    struct stat st;

    return fstat(s->spool_fd, &st) == 0 && st.st_nlink == 0;
}

volt_code observer_state_mend(observer_state *s, volt_err *err)
{
    s->dirty = true;
    close_dirs(s);
    return open_dirs(s, err);
}

volt_code observer_state_open(const observer_state_config *config, observer_state **ret,
                              volt_err *err)
{
    observer_state *s = NEW(observer_state);
    volt_code code;

    s->path =
        mem_printf("%s/%s-%016" PRIx64, config->dir, config->name,
                   hash_on(hash_on(hash_on(HASH_BEGIN, config->url), "\n"), config->dispatcher));
    s->url = mem_strdup(config->url);
    s->filter = mem_strdup(config->filter);
    s->dir_fd = s->spool_fd = s->lock_fd = -1;
    list_init(&s->order);
    code = open_dirs(s, err);
    if (!code)
        code = load_cursor(s, err);
    if (code) {
        observer_state_free(s);
        return code;
    }
    *ret = s;
    return VOLT_OK;
}

void observer_state_free(observer_state *s)
{
    if (!s)
        return;
    while (!list_empty(&s->order))
        set_cursor(s, slice_of(LIST_OWNER(s->order.next, cursor, in_order)->ref), (slice){ 0 });
    map_free(&s->cursors);
    close_dirs(s);
    free(s->removals);
    free(s->old_filter);
    free(s->filter);
    free(s->url);
    free(s->path);
    free(s);
}

volt_code observer_state_id(const char *dir, const char fresh[33], char ret[33], volt_err *err)
{
    CLEANUP(free)
    char *path = mem_printf("%s/id", dir);
    CLEANUP(free)
    char *made = mem_printf("%s/id.%s", dir, fresh);
    CLEANUP(buf)
    buf content = { 0 };
    volt_code code = make_dirs(dir, err);

    if (code)
        return code;
    if (access(path, F_OK) < 0) {
        buf_addf(&content, "%s\n", fresh);
        code = write_file(AT_FDCWD, made, buf_slice(&content), err);
        if (code)
            return code;
        /* Another observer may be starting too: the first one's id stands. */
        if (link(made, path) < 0 && errno != EEXIST)
            code = fail_io(err, "create", path);
        unlink(made);
        if (code)
            return code;
        buf_clear(&content);
    }
    code = read_file(AT_FDCWD, path, 4096, &content, err);
    if (code)
        return code;
    if (content.n < 32 || !text_is_hex((slice){ content.p, 32 }, 32))
        return volt_fail(err, VOLT_ECORRUPT, "'%s' does not hold an id; remove it", path);
    memcpy(ret, content.p, 32);
    ret[32] = '\0';
    return VOLT_OK;
}
