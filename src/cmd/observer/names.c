#include "cmd/observer/names.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/files.h"
#include "base/mem.h"
#include "git/git.h"
#include "git/remote.h"

#define URL_MAX           2048 /* bytes, as messages.def has it */
#define OBSERVER_NAME_MAX 40

/* Without links, as far as the path exists: it must be called the same once all of it does. */
static char *absolute(const char *path)
{
    CLEANUP(free)
    char *cwd = *path == '/' ? NULL : files_real_path(".");
    CLEANUP(free)
    char *whole = mem_printf("%s%s%s", cwd ? cwd : "", cwd ? "/" : "", path);
    size_t n = strlen(whole);

    while (n > 1 && whole[n - 1] == '/')
        whole[--n] = '\0';
    for (size_t cut = n; cut > 0; cut--) {
        CLEANUP(free)
        char *head = NULL;
        CLEANUP(free)
        char *real = NULL;

        if (cut < n && whole[cut] != '/')
            continue;
        head = mem_strndup(whole, cut);
        real = files_real_path(head);
        if (real)
            return mem_printf("%s%s", cut < n && !real[1] ? "" : real, whole + cut);
    }
    return TAKE(whole);
}

/* A path's repository: "/srv/x/.git" is that of "/srv/x". */
static char *repository_path(const char *path)
{
    char *whole = absolute(path);
    size_t n = strlen(whole);

    if (n > 5 && strcmp(whole + n - 5, "/.git") == 0)
        whole[n - 5] = '\0';
    return whole;
}

/* "name=path": what stands before the sign cannot be a path or a URL. */
static const char *cut_name(const char *arg, char **name)
{
    const char *eq = strchr(arg, '=');

    if (!eq || eq == arg || memchr(arg, '/', (size_t)(eq - arg)) ||
        memchr(arg, ':', (size_t)(eq - arg)))
        return arg;
    *name = mem_strndup(arg, (size_t)(eq - arg));
    return eq + 1;
}

static bool repo_name_ok(const char *name)
{
    if (!*name || strlen(name) > OBSERVER_REPO_NAME_MAX || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0)
        return false;
    for (const char *p = name; *p; p++)
        if (*p == '/' || iscntrl((unsigned char)*p))
            return false;
    return true;
}

volt_code observer_source_read(const char *arg, observer_source *ret, volt_err *err)
{
    observer_source s = { 0 };
    const char *text = cut_name(arg, &s.name);
    volt_code code = VOLT_OK;
    CLEANUP(free)
    char *local = *text ? remote_local_path(text) : NULL;
    CLEANUP(free)
    char *top = strcmp(text, ".") == 0 ? git_top() : NULL;

    if (!*text)
        code = volt_fail(err, VOLT_EINVALID, "'%s' names no repository", arg);
    s.text = mem_strdup(text);
    if (local) {
        char host[HOST_NAME_MAX + 1] = "";

        gethostname(host, sizeof host - 1);
        s.path = repository_path(top ? top : local);
        s.url = mem_printf("local:%s:%s", host, s.path);
    } else {
        s.url = remote_show(text);
    }
    if (!s.name)
        s.name = remote_name(local ? s.path : text);
    if (!code && !repo_name_ok(s.name))
        code = volt_fail(err, VOLT_EINVALID,
                         "'%s' cannot be the name of a repository (1 to %d bytes, no '/'); give "
                         "one with NAME=%s",
                         s.name, OBSERVER_REPO_NAME_MAX, text);
    if (!code && strlen(s.url) > URL_MAX)
        code = volt_fail(err, VOLT_EINVALID, "the URL of '%s' is longer than %d bytes", s.name,
                         URL_MAX);
    if (code) {
        observer_source_free(&s);
        return code;
    }
    *ret = s;
    return VOLT_OK;
}

void observer_source_free(observer_source *s)
{
    free(s->name);
    free(s->text);
    free(s->path);
    free(s->url);
    *s = (observer_source){ 0 };
}

volt_code observer_sources_read(const char *const *args, size_t n, observer_source **ret,
                                volt_err *err)
{
    observer_source *v = NEW_ARRAY(observer_source, n);
    volt_code code = VOLT_OK;

    for (size_t i = 0; i < n && !code; i++) {
        code = observer_source_read(args[i], &v[i], err);
        for (size_t k = 0; k < i && !code; k++)
            if (strcmp(v[k].name, v[i].name) == 0)
                code = volt_fail(err, VOLT_EINVALID,
                                 "two repositories are called '%s' (%s and %s); give one another "
                                 "name with NAME=%s",
                                 v[i].name, v[k].url, v[i].url, args[i]);
    }
    if (code)
        observer_sources_free(v, n);
    else
        *ret = v;
    return code;
}

void observer_sources_free(observer_source *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        observer_source_free(&v[i]);
    free(v);
}

bool observer_name_ok(const char *name)
{
    size_t n = strlen(name);

    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_')
            return false;
    return n >= 1 && n <= OBSERVER_NAME_MAX;
}
