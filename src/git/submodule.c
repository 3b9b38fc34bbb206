#include "git/submodule.h"

#include <assert.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "git/child.h"
#include "git/lib.h"
#include "git/mirror.h"
#include "git/remote.h"
#include "git/tree.h"

#define MODULES_FILE ".gitmodules"
#define MODULES_MAX  (1 << 20) /* bytes of that file */

DEFINE_CLEANUP(objects *, objects_free);

/* A repository with submodules, perhaps: the one that was asked for, and then each of those. */
typedef struct node {
    const char *path; /* in the workspace, with a slash at the end; "" */
    const char *source;
} node;

/* A submodule of the repository at hand. */
typedef struct gitlink {
    const char *path; /* in that repository */
    commit_id id;
    const char *url;
    bool named, skipped;
} gitlink;

struct submodules {
    const char *work;
    int64_t limit_ms;
    arena mem;
    /* parts[0] is the repository itself; nodes[i] goes with parts[i]. */
    workspace_part parts[SUBMODULES_MAX + 1];
    node nodes[SUBMODULES_MAX + 1];
    size_t n;
    size_t next;    /* the one to look into */
    gitlink *links; /* of the one before that */
    size_t links_n, links_cap;
    size_t link;         /* the one that is fetched, or is to be */
    const char *source;  /* of the link that is fetched */
    child *config;       /* reads .gitmodules */
    mirror_fetch *fetch; /* one of them at most */
    volt_code code;
    volt_err err;
};

/* ---- URLs ---- */

static bool is_relative(const char *url)
{
    return strncmp(url, "./", 2) == 0 || strncmp(url, "../", 3) == 0;
}

/* Takes the last part off; false: there is none.  A host's colon separates as well. */
static bool chop(char *base, bool *colon)
{
    char *at = strrchr(base, '/');

    *colon = !at;
    if (!at)
        at = strrchr(base, ':');
    if (!at)
        return false;
    *at = '\0';
    return true;
}

volt_code submodule_url(const char *base, const char *url, char **ret, volt_err *err)
{
    CLEANUP(free)
    char *left = mem_strdup(base);
    const char *rest = url;
    bool colon = false;
    size_t n = strlen(left);

    if (!is_relative(url)) {
        *ret = mem_strdup(url);
        return VOLT_OK;
    }
    while (n > 1 && left[n - 1] == '/')
        left[--n] = '\0';
    while (is_relative(rest)) {
        if (rest[1] == '.') {
            if (colon || !chop(left, &colon))
                return volt_fail(err, VOLT_EINVALID, "'%s' leads out of '%s'", url, base);
            rest++;
        }
        rest += 2;
    }
    *ret = mem_printf("%s%c%s", left, colon ? ':' : '/', rest);
    n = strlen(*ret);
    if (n > 1 && (*ret)[n - 1] == '/')
        (*ret)[n - 1] = '\0';
    return VOLT_OK;
}

/* Whether a repository that comes from `base` may name this one. */
static volt_code check_source(const char *base, const char *url, volt_err *err)
{
    CLEANUP(free)
    char *shown = remote_show(url);
    CLEANUP(free)
    char *path = remote_local_path(url);
    CLEANUP(free)
    char *around = remote_local_path(base);

    if (!path)
        return remote_check(url, err);
    if (path[0] != '/')
        return volt_fail(err, VOLT_EINVALID, "'%s' is neither a URL nor an absolute path", shown);
    if (!around)
        return volt_fail(err, VOLT_EINVALID,
                         "'%s' is on this machine, which only a repository on it may name", shown);
    return VOLT_OK;
}

/* ---- .gitmodules ---- */

static bool add_link(void *ctx, const tree_blob *file)
{
    submodules *s = ctx;

    if (file->mode != TREE_SUBMODULE)
        return true;
    if (s->links_n == s->links_cap) {
        s->links_cap = s->links_cap ? 2 * s->links_cap : 16;
        s->links = mem_grow(s->links, s->links_cap, sizeof *s->links);
    }
    s->links[s->links_n] = (gitlink){ .path = arena_str(&s->mem, slice_of(file->path)) };
    git_id_to(file->id, &s->links[s->links_n].id);
    s->links_n++;
    return true;
}

/* Starts reading .gitmodules by the git command: libgit2 would follow what the file includes. */
static volt_code read_modules(submodules *s, const workspace_part *part, volt_err *err)
{
    CLEANUP(free)
    char *git_dir = NULL;
    CLEANUP(free)
    char *common_dir = NULL;
    CLEANUP(free)
    char *blob = mem_printf("--blob=%s:" MODULES_FILE, part->id.hex);
    const char *const args[] = {
        "config", blob, "--null", "--get-regexp", "^submodule\\..*\\.(path|url|update)$", NULL
    };
    volt_code code = git_locate(part->source, &git_dir, &common_dir, err);
    const child_options options = { .git_dir = git_dir,
                                    .limit_ms = s->limit_ms,
                                    .output_max = 4 * MODULES_MAX };

    return code ? code : child_start(args, &options, &s->config, err);
}

static volt_code look_into(submodules *s, const workspace_part *part, volt_err *err)
{
    CLEANUP(objects_free)
    objects *o = NULL;
    CLEANUP(buf)
    buf modules = { 0 };
    volt_code code = objects_open(part->source, &o, err);

    s->links_n = s->link = 0;
    if (!code)
        code = tree_walk_blobs(o, &part->id, "", add_link, s, err);
    if (code || s->links_n == 0)
        return code;
    code = tree_read(o, &part->id, MODULES_FILE, MODULES_MAX, &modules, err);
    if (code == VOLT_ENOTFOUND) /* each link will say that it is not there */
        return VOLT_OK;
    return code ? code : read_modules(s, part, err);
}

/* One variable of a submodule: "submodule.NAME.KEY". */
typedef struct variable {
    slice name, key, value;
} variable;

static bool next_variable(slice *rest, variable *ret)
{
    const size_t head = strlen("submodule.");
    slice line;
    size_t n = 0, dot;

    if (rest->n == 0)
        return false;
    line = (slice){ rest->p, strnlen(rest->p, rest->n) };
    *rest = (slice){ rest->p + line.n, rest->n - line.n };
    if (rest->n)
        *rest = (slice){ rest->p + 1, rest->n - 1 };
    while (n < line.n && line.p[n] != '\n')
        n++;
    for (dot = n; dot > 0 && line.p[dot - 1] != '.';)
        dot--;
    *ret = (variable){ .key = { line.p + dot, n - dot } };
    if (dot > head)
        ret->name = (slice){ line.p + head, dot - 1 - head };
    if (n < line.n)
        ret->value = (slice){ line.p + n + 1, line.n - n - 1 };
    return true;
}

/* The last value counts, as with git. */
static slice variable_of(slice all, slice name, const char *key)
{
    slice found = { 0 };
    variable v;

    while (next_variable(&all, &v))
        if (slice_is(v.key, key) && slice_eq(v.name, name))
            found = v.value;
    return found;
}

static gitlink *find_link(submodules *s, slice path)
{
    for (size_t i = 0; i < s->links_n; i++)
        if (slice_is(path, s->links[i].path))
            return &s->links[i];
    return NULL;
}

static void take_modules(submodules *s, slice all)
{
    slice rest = all;
    variable v;

    while (next_variable(&rest, &v)) {
        gitlink *l = slice_is(v.key, "path") ? find_link(s, v.value) : NULL;

        if (!l)
            continue;
        l->named = true;
        l->url = arena_str(&s->mem, variable_of(all, v.name, "url"));
        l->skipped = slice_is(variable_of(all, v.name, "update"), "none");
    }
}

static volt_code modules_step(submodules *s, volt_err *err)
{
    volt_code code = child_step(s->config, err);

    if (code == VOLT_OK)
        take_modules(s, child_output(s->config));
    else if (code == VOLT_EGIT && child_errors(s->config)[0] == '\0')
        code = VOLT_OK; /* exit status 1: there is nothing of that kind in it */
    else if (code != VOLT_EAGAIN)
        code = volt_wrap(err, code, "read '" MODULES_FILE "'");
    if (code != VOLT_EAGAIN)
        child_free(TAKE(s->config));
    return code;
}

/* ---- fetching ---- */

static volt_code fail_link(const submodules *s, const gitlink *l, volt_code code, volt_err *err)
{
    return volt_wrap(err, code, "submodule '%s%s'", s->nodes[s->next - 1].path, l->path);
}

static volt_code fetch_link(submodules *s, const gitlink *l, volt_err *err)
{
    const char *base = s->nodes[s->next - 1].source;
    CLEANUP(free)
    char *url = NULL;
    CLEANUP(free)
    char *name = NULL;
    mirror_request request = { .work = s->work, .id = &l->id, .limit_ms = s->limit_ms };
    volt_code code;

    if (!l->named || !*l->url)
        return volt_fail(err, VOLT_ENOTFOUND, "has no URL in " MODULES_FILE);
    if (s->n == SUBMODULES_MAX + 1)
        return volt_fail(err, VOLT_EINVALID, "is one of more than %d", SUBMODULES_MAX);
    code = submodule_url(base, l->url, &url, err);
    if (!code)
        code = check_source(base, url, err);
    if (code)
        return code;
    name = remote_name(url);
    request.name = name;
    request.source = s->source = arena_str(&s->mem, slice_of(url));
    return mirror_start(&request, &s->fetch, err);
}

static void add_part(submodules *s, const gitlink *l)
{
    const char *above = s->nodes[s->next - 1].path;

    s->parts[s->n] =
        (workspace_part){ .path = arena_printf(&s->mem, "%s%s", above, l->path),
                          .source = arena_str(&s->mem, slice_of(mirror_path(s->fetch))),
                          .id = l->id };
    s->nodes[s->n] =
        (node){ .path = arena_printf(&s->mem, "%s%s/", above, l->path), .source = s->source };
    s->n++;
}

static volt_code fetch_step(submodules *s, volt_err *err)
{
    const gitlink *l = &s->links[s->link];
    volt_code code = mirror_step(s->fetch, err);

    if (code == VOLT_EAGAIN)
        return code;
    if (code == VOLT_OK)
        add_part(s, l);
    mirror_free(TAKE(s->fetch));
    s->link++;
    return code ? fail_link(s, l, code, err) : VOLT_OK;
}

static volt_code next_link(submodules *s, volt_err *err)
{
    const gitlink *l = &s->links[s->link];
    volt_code code;

    if (l->skipped) {
        s->link++;
        return VOLT_OK;
    }
    code = fetch_link(s, l, err);
    return code ? fail_link(s, l, code, err) : VOLT_OK;
}

/* ---- life ---- */

submodules *submodules_start(const submodules_request *request)
{
    submodules *s = NEW(submodules);

    assert(request->limit_ms >= 1);
    s->work = arena_str(&s->mem, slice_of(request->work));
    s->limit_ms = request->limit_ms;
    s->code = VOLT_EAGAIN;
    s->parts[0] = (workspace_part){ .path = "",
                                    .source = arena_str(&s->mem, slice_of(request->store)),
                                    .id = *request->id };
    s->nodes[0] = (node){ .path = "", .source = arena_str(&s->mem, slice_of(request->source)) };
    s->n = 1;
    return s;
}

int submodules_fd(const submodules *s)
{
    return s->config ? child_fd(s->config) : s->fetch ? mirror_fd(s->fetch) : -1;
}

static volt_code advance(submodules *s, bool *done, volt_err *err)
{
    if (s->config)
        return modules_step(s, err);
    if (s->fetch)
        return fetch_step(s, err);
    if (s->link < s->links_n)
        return next_link(s, err);
    *done = s->next == s->n;
    if (*done)
        return VOLT_OK;
    s->next++;
    return look_into(s, &s->parts[s->next - 1], err);
}

volt_code submodules_step(submodules *s, volt_err *err)
{
    bool done = false;
    volt_code code = s->code;

    while (s->code == VOLT_EAGAIN && !done) {
        code = advance(s, &done, &s->err);
        if (code == VOLT_EAGAIN)
            return code;
        if (code || done)
            s->code = code;
    }
    if (s->code && err)
        *err = s->err;
    return s->code;
}

const workspace_part *submodules_found(const submodules *s, size_t *n)
{
    *n = s->n - 1;
    return s->parts + 1;
}

void submodules_free(submodules *s)
{
    if (!s)
        return;
    child_free(s->config);
    mirror_free(s->fetch);
    arena_free(&s->mem);
    free(s->links);
    free(s);
}
