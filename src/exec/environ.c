#include "exec/environ.h"

#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/env.h"

#define VARIABLES_MAX 32 /* of Volt's */

typedef struct environ_list {
    const char **v;
    size_t n, cap;
    arena *a;
} environ_list;

static void add(environ_list *e, const char *name, slice value)
{
    if (e->n + 1 < e->cap && !memchr(value.p ? value.p : "", '\0', value.n))
        e->v[e->n++] = arena_printf(e->a, "%s=" SLICE_FMT, name, SLICE_ARG(value));
}

static void adds(environ_list *e, const char *name, const char *value)
{
    add(e, name, slice_of(value));
}

/* Where the variable of that name is, or where a new one goes. */
static size_t place_of(const environ_list *e, slice name)
{
    size_t i = 0;

    while (i < e->n && (strncmp(e->v[i], name.p, name.n) != 0 || e->v[i][name.n] != '='))
        i++;
    return i;
}

static void add_own(environ_list *e, const rec_var *var)
{
    size_t at = place_of(e, var->name);
    bool fits = at + 1 < e->cap && !slice_starts(var->name, SLICE("VOLT")) &&
                !memchr(var->name.p, '\0', var->name.n) &&
                !(var->value.n && memchr(var->value.p, '\0', var->value.n));

    if (!fits)
        return;
    e->v[at] =
        arena_printf(e->a, SLICE_FMT "=" SLICE_FMT, SLICE_ARG(var->name), SLICE_ARG(var->value));
    e->n += at == e->n;
}

static void add_number(environ_list *e, const char *name, uint64_t value)
{
    e->v[e->n++] = arena_printf(e->a, "%s=%" PRIu64, name, value);
}

const char **environ_make(const site_config *config, const msg_assign *assign,
                          const environ_place *place, arena *a, const char ***ret_files)
{
    const slice heads = SLICE("refs/heads/");
    size_t cap = VARIABLES_MAX + place->own.n + assign->env.n + place->secrets_n;
    environ_list e = { .v = ARENA_ARRAY(a, const char *, cap), .cap = cap, .a = a };

    adds(&e, "CI", "true");
    adds(&e, "VOLT", "true");
    add(&e, "VOLT_REPO", assign->repo);
    add(&e, "VOLT_COMMIT", assign->oid);
    add(&e, "VOLT_REF", assign->ref);
    if (slice_starts(assign->ref, heads))
        add(&e, "VOLT_BRANCH", (slice){ assign->ref.p + heads.n, assign->ref.n - heads.n });
    add_number(&e, "VOLT_BUILD", assign->build);
    add(&e, "VOLT_JOB", assign->job);
    add_number(&e, "VOLT_TASK", assign->task);
    add_number(&e, "VOLT_ATTEMPT", assign->att);
    adds(&e, "VOLT_RUNNER", config->runner);
    adds(&e, "VOLT_WORKSPACE", place->workspace);
    adds(&e, "PWD", place->workspace); /* as a shell would tell its commands */
    adds(&e, "VOLT_OUTPUT", place->scratch->output);
    adds(&e, "PATH", config->path);
    adds(&e, "HOME", place->home ? place->home : place->scratch->home);
    adds(&e, "TMPDIR", place->scratch->tmp);
    adds(&e, "LANG", config->lang ? config->lang : "C.UTF-8");
    if (config->tz)
        adds(&e, "TZ", config->tz);
    for (size_t i = 0; i < place->own.n; i++)
        add_own(&e, &place->own.v[i]);
    for (size_t i = 0; i < assign->env.n; i++)
        add_own(&e, &(rec_var){ env_name(assign->env.v[i]), env_value(assign->env.v[i]) });
    for (size_t i = 0; i < place->secrets_n; i++)
        add_own(&e, &(rec_var){ place->secrets[i].name, place->secrets[i].value });
    if (place->secrets_n)
        adds(&e, "VOLT_SECRETS_DIR", place->secrets_dir);
    *ret_files = &e.v[e.n]; /* the last one, absent until set; a NULL stands behind it */
    return e.v;
}

void environ_set_files(const char **files, slice file, arena *a)
{
    *files = arena_printf(a, "VOLT_TEST_FILES=" SLICE_FMT, SLICE_ARG(file));
}

static bool is_program(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

const char *environ_find(const char *path, const char *program, arena *a)
{
    while (*path) {
        size_t n = strcspn(path, ":");
        const char *found = arena_printf(a, "%.*s/%s", (int)n, path, program);

        /* A relative entry would mean the task's own directory: not looked at. */
        if (n > 0 && path[0] == '/' && is_program(found))
            return found;
        path += n + (path[n] == ':');
    }
    return NULL;
}

/* Every entry is absolute, so that who looks from elsewhere finds the same. */
static bool is_absolute(const char *path)
{
    bool begins = true;

    for (; *path; path++) {
        if (begins && *path != '/')
            return false;
        begins = *path == ':';
    }
    return !begins;
}

const char *environ_program(const char *const *env, const char *dir, const char *name, arena *a)
{
    if (strchr(name, '/'))
        return is_program(*name == '/' ? name : arena_printf(a, "%s/%s", dir, name)) ? name : NULL;
    for (; *env; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            return is_absolute(*env + 5) ? environ_find(*env + 5, name, a) : NULL;
    return NULL;
}
