#include "cmd/source.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "git/remote.h"

#define NAME_MAX_BYTES 128 /* submit.repo */

void source_free(source *s)
{
    free(s->name);
    free(s->path);
    free(s->url);
    *s = (source){ 0 };
}

/* Length of the name in "name=path", 0 when there is none: a path with '=' in it has a slash before
 * that, or is written ./a=b. */
static size_t given_name(const char *text)
{
    size_t n = strcspn(text, "=/:");

    return text[n] == '=' ? n : 0;
}

/* Names become directories of results and parts of topics. */
static volt_code check_name(const char *name, const char *text, volt_err *err)
{
    bool good = *name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;

    for (const char *p = name; *p; p++)
        good = good && *p != '/' && !iscntrl((unsigned char)*p);
    if (!good)
        return volt_fail(err, VOLT_EINVALID, "'%s' gives no name for a repository; use NAME=%s",
                         text, text);
    if (strlen(name) > NAME_MAX_BYTES)
        return volt_fail(err, VOLT_EINVALID, "the repository's name '%s' is longer than %d bytes",
                         name, NAME_MAX_BYTES);
    return VOLT_OK;
}

/* The path by which a repository is known everywhere. */
static volt_code canonical_path(const char *path, char **ret, volt_err *err)
{
    CLEANUP(free)
    char *git_dir = NULL;
    CLEANUP(free)
    char *common = NULL;
    char *real;
    size_t n;
    volt_code code;

    if (access(path, F_OK) < 0)
        return volt_fail(err, errno == ENOENT ? VOLT_ENOTFOUND : VOLT_EIO, "'%s': %s", path,
                         strerror(errno));
    code = git_locate(path, &git_dir, &common, err);
    if (code)
        return code;
    real = realpath(common, NULL);
    if (!real)
        return volt_fail(err, VOLT_EIO, "'%s': %s", common, strerror(errno));
    n = strlen(real);
    if (n > 5 && strcmp(real + n - 5, "/.git") == 0)
        real[n - 5] = '\0';
    *ret = real;
    return VOLT_OK;
}

volt_code source_parse(const char *text, source *ret, volt_err *err)
{
    size_t n = given_name(text);
    const char *where = n ? text + n + 1 : text;
    CLEANUP(free)
    char *path = remote_local_path(where);
    CLEANUP(source)
    source s = { 0 };
    char host[HOST_NAME_MAX + 1] = "";
    volt_code code = VOLT_OK;

    if (!*where)
        return volt_fail(err, VOLT_EINVALID, "'%s' is not a repository", text);
    if (path)
        code = canonical_path(path, &s.path, err);
    if (code)
        return code;
    gethostname(host, sizeof host - 1);
    s.url = s.path ? mem_printf("local:%s:%s", host, s.path) : mem_strdup(where);
    s.name = n ? mem_strndup(text, n) : remote_name(s.path ? s.path : where);
    code = check_name(s.name, text, err);
    if (code)
        return code;
    *ret = s;
    s = (source){ 0 };
    return VOLT_OK;
}
