#include "exec/site.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rmtree.h"
#include "exec/sandbox.h"
#include "exec/secrets.h"

/* Handles kept open, of each kind: a workspace's remembers what it wrote, so that the next commit
 * need not be compared byte by byte.  The one used longest ago goes. */
#define KEPT_MAX 8

typedef struct kept {
    char *name; /* NULL: free place */
    void *handle;
    uint64_t used;
} kept;

typedef struct keeper {
    kept v[KEPT_MAX];
    uint64_t uses;
} keeper;

/* One of the scratch directories, as it was when made: when nothing of this changed and it is
 * empty, no task touched it. */
typedef struct fresh {
    char *path; /* absolute */
    bool made;
    dev_t dev;
    ino_t ino;
    mode_t mode;
    struct timespec changed;
} fresh;

enum { HOME, TMP, OUTPUT, SCRATCH_N };

struct site {
    site_config config;
    int null;
    char *pool;  /* WORK/pool/<slot> */
    char *key;   /* the job that a workspace was last prepared for */
    unit *setup; /* what ran its setup; NULL: none did */
    keeper stores;
    keeper workspaces;
    char *source, *source_path; /* site_learn()'s; NULL: nothing was learnt */
    char *scratch;              /* WORK/home/<slot> */
    char *caches;               /* WORK/cache */
    fresh fresh[SCRATCH_N];
    char *secrets;
    char *bwrap;  /* NULL: not known to work */
    bool cleared; /* after the last attempt: nobody has been there since */
};

DEFINE_CLEANUP(DIR *, closedir);
DEFINE_CLEANUP(site *, site_free);

/* The place of `name`, or the one to put it at. */
static kept *keeper_find(keeper *k, const char *name)
{
    kept *ret = &k->v[0];

    for (size_t i = 0; i < KEPT_MAX; i++) {
        kept *it = &k->v[i];

        if (it->name && strcmp(it->name, name) == 0) {
            it->used = ++k->uses;
            return it;
        }
        if (ret->name && (!it->name || it->used < ret->used))
            ret = it;
    }
    return ret;
}

static void keeper_put(keeper *k, kept *at, const char *name, void *handle)
{
    *at = (kept){ .name = mem_strdup(name), .handle = handle, .used = ++k->uses };
}

static void store_forget(kept *k)
{
    if (k->name)
        objects_free(k->handle);
    free(k->name);
    *k = (kept){ 0 };
}

static void workspace_forget(kept *k)
{
    if (k->name)
        workspace_free(k->handle);
    free(k->name);
    *k = (kept){ 0 };
}

static volt_code make_dir(const char *path, volt_err *err)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return VOLT_OK;
    return volt_fail(err, errno == ENOSPC || errno == EDQUOT ? VOLT_EFULL : VOLT_EIO,
                     "make directory '%s': %s", path, strerror(errno));
}

volt_code site_new(const site_config *config, site **ret, volt_err *err)
{
    CLEANUP(site_free)
    site *s = NEW(site);
    CLEANUP(free)
    char *pools = mem_printf("%s/pool", config->work);
    CLEANUP(free)
    char *home = mem_printf("%s/home", config->work);
    CLEANUP(free)
    char *secrets = NULL;
    volt_code rc;

    assert(config->work[0] == '/' && config->fetch_ms >= 1);
    s->config = *config;
    s->pool = mem_printf("%s/%" PRIu64, pools, config->slot);
    s->scratch = mem_printf("%s/%" PRIu64, home, config->slot);
    s->caches = mem_printf("%s/cache", config->work);
    s->fresh[HOME].path = mem_printf("%s/home", s->scratch);
    s->fresh[TMP].path = mem_printf("%s/tmp", s->scratch);
    s->fresh[OUTPUT].path = mem_printf("%s/output", s->scratch);
    s->key = mem_strdup("");
    secrets = mem_printf("%s/secrets", s->scratch);
    s->secrets = secrets_place(config->work, config->slot, secrets);
    s->null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (s->null < 0)
        return volt_fail(err, VOLT_EIO, "open /dev/null: %s", strerror(errno));
    if ((rc = make_dir(home, err)) || (rc = make_dir(pools, err)) || (rc = make_dir(s->pool, err)))
        return rc;
    rc = rmtree(AT_FDCWD, s->scratch, err); /* of an executor that was killed */
    secrets_remove(s->secrets);
    if (!rc)
        rc = make_dir(s->scratch, err);
    if (!rc)
        *ret = TAKE(s);
    return rc;
}

void site_free(site *s)
{
    if (!s)
        return;
    site_let_setup_go(s);
    for (size_t i = 0; i < KEPT_MAX; i++) {
        store_forget(&s->stores.v[i]);
        workspace_forget(&s->workspaces.v[i]);
    }
    if (s->null >= 0)
        close(s->null);
    for (size_t i = 0; i < SCRATCH_N; i++)
        free(s->fresh[i].path);
    free(s->source);
    free(s->source_path);
    free(s->scratch);
    free(s->secrets);
    free(s->bwrap);
    free(s->caches);
    free(s->pool);
    free(s->key);
    free(s);
}

const site_config *site_settings(const site *s)
{
    return &s->config;
}

int site_null(const site *s)
{
    return s->null;
}

volt_code site_source(const site *s, slice repo, slice url, char **ret, volt_err *err)
{
    slice rest = url;
    size_t host_n = 0;

    for (size_t i = 0; i < s->config.repos_n; i++) {
        const char *given = s->config.repos[i];

        if (strlen(given) > repo.n && given[repo.n] == '=' &&
            slice_eq((slice){ given, repo.n }, repo)) {
            *ret = mem_strdup(given + repo.n + 1);
            return VOLT_OK;
        }
    }
    if (!slice_starts(url, SLICE("local:"))) {
        *ret = mem_strndup(url.p, url.n);
        return VOLT_OK;
    }
    rest.p += strlen("local:");
    rest.n -= strlen("local:");
    while (host_n < rest.n && rest.p[host_n] != ':')
        host_n++;
    if (host_n == rest.n)
        return volt_fail(err, VOLT_EINVALID, "repository '" SLICE_FMT "': malformed address",
                         SLICE_ARG(repo));
    if (!slice_eq((slice){ rest.p, host_n }, slice_of(s->config.host)))
        return volt_fail(err, VOLT_EUNREACHABLE,
                         "repository '" SLICE_FMT "' is on %.*s, this runner on %s; start it with "
                         "--repo " SLICE_FMT "=PATH",
                         SLICE_ARG(repo), (int)host_n, rest.p, s->config.host, SLICE_ARG(repo));
    *ret = mem_strndup(rest.p + host_n + 1, rest.n - host_n - 1);
    return VOLT_OK;
}

volt_code site_objects(site *s, const char *path, objects **ret, volt_err *err)
{
    kept *at = keeper_find(&s->stores, path);

    if (!at->name || strcmp(at->name, path) != 0) {
        objects *o;
        volt_code rc = objects_open(path, &o, err);

        if (rc)
            return rc;
        store_forget(at);
        keeper_put(&s->stores, at, path, o);
    }
    *ret = at->handle;
    return VOLT_OK;
}

void site_objects_drop(site *s, const char *path)
{
    for (size_t i = 0; i < KEPT_MAX; i++)
        if (s->stores.v[i].name && strcmp(s->stores.v[i].name, path) == 0)
            store_forget(&s->stores.v[i]);
}

void site_learn(site *s, const char *source, const char *path)
{
    free(s->source);
    free(s->source_path);
    s->source = mem_strdup(source);
    s->source_path = mem_strdup(path);
}

const char *site_known(site *s, const char *source, const commit_id *id)
{
    objects *store;

    if (!s->source || strcmp(s->source, source) != 0 ||
        site_objects(s, s->source_path, &store, NULL))
        return NULL;
    /* A commit that was read once is known for ever; its repository may be gone since. */
    return access(objects_dir(store), R_OK | X_OK) == 0 && objects_have(store, id) ? s->source_path
                                                                                   : NULL;
}

volt_code site_bwrap(site *s, const char **ret, volt_err *err)
{
    CLEANUP(arena)
    arena mem = { 0 };
    const char *found;
    volt_code rc = VOLT_OK;

    if (!s->bwrap)
        rc = sandbox_find(s->config.path, s->config.work, &mem, &found, err);
    if (!s->bwrap && !rc)
        s->bwrap = mem_strdup(found);
    if (!rc)
        *ret = s->bwrap;
    return rc;
}

/* A repository's name as one name of a file: letters, digits, '_', '-' and inner '.' stay. */
static void add_file_name(buf *b, slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            c == '_' || c == '-' || (c == '.' && i > 0))
            buf_addc(b, c);
        else
            buf_addf(b, "%%%02x", (unsigned char)c);
    }
}

const char *site_caches(const site *s)
{
    return s->caches;
}

char *site_cache(const site *s, slice repo, const char *key)
{
    buf file = { 0 };

    buf_addf(&file, "%s/", s->caches);
    add_file_name(&file, repo);
    buf_addf(&file, "/%s.tar.zst", key);
    return file.p;
}

/* A task may have put anything in its place. */
static volt_code make_own_dir(const char *path, volt_err *err)
{
    struct stat st;
    volt_code rc = VOLT_OK;

    if (lstat(path, &st) == 0 && !S_ISDIR(st.st_mode))
        rc = rmtree(AT_FDCWD, path, err);
    return rc ? rc : make_dir(path, err);
}

volt_code site_kept_home(const site *s, slice repo, char **ret, volt_err *err)
{
    CLEANUP(buf)
    buf path = { 0 };
    volt_code rc;

    buf_addf(&path, "%s/kept", s->config.work);
    rc = make_own_dir(buf_str(&path), err);
    buf_addf(&path, "/%" PRIu64, s->config.slot);
    if (!rc)
        rc = make_own_dir(buf_str(&path), err);
    buf_addc(&path, '/');
    add_file_name(&path, repo);
    if (!rc)
        rc = make_own_dir(buf_str(&path), err);
    if (!rc)
        *ret = mem_strdup(buf_str(&path));
    return rc;
}

workspace *site_workspace(site *s, slice repo)
{
    CLEANUP(buf)
    buf dir = { 0 };
    kept *at;

    buf_addf(&dir, "%s/", s->pool);
    add_file_name(&dir, repo);
    at = keeper_find(&s->workspaces, buf_str(&dir));
    if (!at->name || strcmp(at->name, buf_str(&dir)) != 0) {
        workspace_forget(at);
        keeper_put(&s->workspaces, at, buf_str(&dir), workspace_open(buf_str(&dir)));
    }
    return at->handle;
}

void site_drop_workspace(site *s, slice repo)
{
    volt_err err;

    site_keep(s, "");
    if (workspace_discard(site_workspace(s, repo), &err))
        log_warn("%s", err.msg);
    while (site_sweep(s))
        ;
}

bool site_kept(const site *s, const char *key)
{
    return *key && strcmp(s->key, key) == 0;
}

void site_keep(site *s, const char *key)
{
    free(s->key);
    s->key = mem_strdup(key);
}

void site_set_up(site *s, unit *u)
{
    assert(!s->setup);
    s->setup = u;
}

bool site_has_setup(const site *s)
{
    return s->setup;
}

void site_end_setup(site *s, int64_t now_ms)
{
    if (!s->setup)
        return;
    unit_stop(s->setup, now_ms, UNIT_LEFT_GRACE_MS);
    site_keep(s, "");
}

void site_let_setup_go(site *s)
{
    if (!s->setup)
        return;
    unit_let_go(s->setup);
    unit_free(TAKE(s->setup));
    site_keep(s, "");
}

bool site_step_setup(site *s, int64_t now_ms)
{
    volt_err err;

    if (!s->setup)
        return true;
    unit_step(s->setup, now_ms);
    if (!unit_ended(s->setup) || *s->key)
        return false;
    unit_free(TAKE(s->setup));
    if (scratch_clear(s, &err))
        log_warn("%s", err.msg);
    return true;
}

int64_t site_setup_deadline_ms(const site *s)
{
    return s->setup ? unit_deadline_ms(s->setup) : UNIT_NEVER;
}

bool site_sweep(site *s)
{
    size_t n = 0;

    return workspace_sweep(s->pool, 1, &n, NULL) == VOLT_OK && n > 0;
}

const char *site_secrets(const site *s)
{
    return s->secrets;
}

static bool is_empty(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP(closedir)
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;

    while (d && (e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            return false;
    return d != NULL;
}

static bool is_untouched(const fresh *f)
{
    struct stat st;

    return f->made && lstat(f->path, &st) == 0 && st.st_dev == f->dev && st.st_ino == f->ino &&
           st.st_mode == f->mode && st.st_ctim.tv_sec == f->changed.tv_sec &&
           st.st_ctim.tv_nsec == f->changed.tv_nsec && is_empty(f->path);
}

volt_code scratch_make(site *s, scratch *ret, volt_err *err)
{
    volt_code rc = s->cleared ? VOLT_OK : scratch_clear(s, err);

    s->cleared = false;
    if (!rc)
        rc = make_dir(s->scratch, err); /* a task may have removed even that */
    for (size_t i = 0; !rc && i < SCRATCH_N; i++) {
        fresh *f = &s->fresh[i];
        struct stat st;

        if (f->made)
            continue;
        rc = make_dir(f->path, err);
        if (rc || lstat(f->path, &st))
            continue;
        *f = (fresh){ .path = f->path,
                      .made = true,
                      .dev = st.st_dev,
                      .ino = st.st_ino,
                      .mode = st.st_mode,
                      .changed = st.st_ctim };
    }
    if (!rc)
        *ret = (scratch){ .home = s->fresh[HOME].path,
                          .tmp = s->fresh[TMP].path,
                          .output = s->fresh[OUTPUT].path };
    return rc;
}

volt_code scratch_clear(site *s, volt_err *err)
{
    volt_code rc = VOLT_OK;

    if (s->setup)
        return VOLT_OK;
    for (size_t i = 0; i < SCRATCH_N; i++) {
        fresh *f = &s->fresh[i];

        if (is_untouched(f))
            continue;
        f->made = false;
        rc = rmtree(AT_FDCWD, f->path, rc ? NULL : err) ? VOLT_EIO : rc;
    }
    s->cleared = rc == VOLT_OK;
    return rc;
}
