#include "git/remote.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/text.h"
#include "git/child.h"

struct remote_query {
    child *child;
    char *shown; /* the URL without credentials */
    char **globs;
    size_t globs_n;
    bool head;
};

static const char *after_scheme(const char *text)
{
    const char *p = text;

    while (isalnum((unsigned char)*p) || *p == '+' || *p == '-' || *p == '.')
        p++;
    return p > text && strncmp(p, "://", 3) == 0 ? p + 3 : NULL;
}

bool remote_is_url(const char *text)
{
    const char *colon = strchr(text, ':');
    const char *slash = strchr(text, '/');

    /* "host:path" of scp, unless a slash comes before the colon: git's rule */
    return after_scheme(text) || (colon && colon > text && (!slash || colon < slash));
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

char *remote_local_path(const char *text)
{
    char *path, *to;

    if (strncmp(text, "file://", 7) != 0)
        return remote_is_url(text) ? NULL : mem_strdup(text);
    text += 7;
    if (strncmp(text, "localhost/", 10) == 0)
        text += 9;
    if (*text != '/')
        return NULL; /* on another machine */
    path = to = mem_strdup(text);
    for (const char *p = text; *p; p++) {
        int hi = p[0] == '%' ? hex_value(p[1]) : -1;
        int lo = hi >= 0 ? hex_value(p[2]) : -1;

        *to++ = lo >= 0 ? (char)(hi * 16 + lo) : *p;
        if (lo >= 0)
            p += 2;
    }
    *to = '\0';
    return path;
}

char *remote_name(const char *url_or_path)
{
    size_t n = strlen(url_or_path);
    size_t from;

    while (n > 1 && url_or_path[n - 1] == '/')
        n--;
    if (n > 5 && strncmp(url_or_path + n - 5, "/.git", 5) == 0)
        n -= 5;
    else if (n > 4 && strncmp(url_or_path + n - 4, ".git", 4) == 0)
        n -= 4;
    for (from = n; from > 0 && url_or_path[from - 1] != '/' && url_or_path[from - 1] != ':';)
        from--;
    return mem_strndup(url_or_path + from, n - from);
}

/* Bytes of the user information at `p`, the "@" included; 0: there is none, or only the login of
 * an ssh URL, which is no secret. */
static size_t secret_n(const char *p, bool ssh)
{
    size_t end = strcspn(p, "/ \t\r\n'\"<>?#");
    size_t at = 0;

    for (size_t i = 0; i < end; i++)
        if (p[i] == '@')
            at = i + 1;
    return ssh && !memchr(p, ':', at) ? 0 : at;
}

void remote_scrub(buf *text)
{
    buf out = { 0 };
    const char *p = buf_str(text);
    const char *found;

    if (!strstr(p, "://"))
        return;
    while ((found = strstr(p, "://"))) {
        bool ssh = found - buf_str(text) >= 3 && strncmp(found - 3, "ssh", 3) == 0;
        const char *rest = found + 3;

        buf_add(&out, p, (size_t)(rest - p));
        p = rest + secret_n(rest, ssh);
    }
    buf_adds(&out, p);
    buf_free(text);
    *text = out;
}

char *remote_show(const char *url)
{
    buf text = { 0 };

    buf_adds(&text, url);
    remote_scrub(&text);
    return text.p;
}

static volt_code check_url(const char *url, const char *shown, volt_err *err)
{
    if (strlen(url) >= REMOTE_URL_MAX)
        return volt_fail(err, VOLT_EINVALID, "a repository's URL is longer than %d bytes",
                         REMOTE_URL_MAX - 1);
    if (!remote_is_url(url) || url[0] == '-' || strpbrk(url, "\n\r"))
        return volt_fail(err, VOLT_EINVALID, "'%s' is not the URL of a repository", shown);
    if (!after_scheme(url) && strstr(url, "::"))
        return volt_fail(err, VOLT_EINVALID,
                         "'%s' names a remote helper; use https, ssh, git or file", shown);
    return VOLT_OK;
}

volt_code remote_check(const char *url, volt_err *err)
{
    CLEANUP(free)
    char *shown = remote_show(url);

    return check_url(url, shown, err);
}

/* Without `head`, and as long as only branches are asked for, the server need not list its other
 * refs. */
static bool heads_only(const char *const *globs, size_t n, bool head)
{
    for (size_t i = 0; i < n; i++)
        if (strncmp(globs[i], "refs/", 5) == 0 && strncmp(globs[i], "refs/heads/", 11) != 0)
            return false;
    return !head;
}

volt_code remote_start(const char *url, const char *const *globs, size_t n, bool head,
                       int64_t limit_ms, remote_query **ret, volt_err *err)
{
    const char *args[6] = { "ls-remote" };
    child_options options = { .limit_ms = limit_ms, .output_max = REMOTE_OUTPUT_MAX };
    remote_query *q;
    volt_code code;
    size_t i = 1;

    assert(url && ret && (n == 0 || globs));
    code = remote_check(url, err);
    if (code)
        return code;
    if (heads_only(globs, n, head))
        args[i++] = "--heads";
    else
        args[i++] = "--symref";
    args[i++] = "--end-of-options";
    args[i] = url;
    q = NEW(remote_query);
    code = child_start(args, &options, &q->child, err);
    if (code) {
        free(q);
        return code;
    }
    q->shown = remote_show(url);
    q->head = head;
    q->globs = NEW_ARRAY(char *, n + 1);
    for (q->globs_n = 0; q->globs_n < n; q->globs_n++)
        q->globs[q->globs_n] = mem_strdup(globs[q->globs_n]);
    *ret = q;
    return VOLT_OK;
}

int remote_fd(const remote_query *q)
{
    return child_fd(q->child);
}

/* "<id>\t<name>", "ref: <name>\tHEAD"; "<id>\t<name>^{}" gives the commit of an annotated tag and
 * comes right behind it. */
static bool take_line(const remote_query *q, slice line, remote_answer *ret)
{
    const char *tab = line.n ? memchr(line.p, '\t', line.n) : NULL;
    CLEANUP(free)
    char *name = NULL;
    slice left, right;
    commit_id id;

    if (!tab)
        return false;
    left = (slice){ line.p, (size_t)(tab - line.p) };
    right = (slice){ tab + 1, line.n - left.n - 1 };
    if (slice_starts(left, SLICE("ref: "))) {
        if (q->head && slice_is(right, "HEAD") && !ret->default_branch)
            ret->default_branch = mem_strndup(left.p + 5, left.n - 5);
        return true;
    }
    if (commit_id_parse(left, &id, NULL))
        return false;
    if (slice_is(right, "HEAD")) {
        if (q->head)
            ret->head = id;
        return true;
    }
    name = mem_strndup(right.p, right.n);
    if (slice_ends(right, SLICE("^{}"))) {
        name[right.n - 3] = '\0';
        if (ret->refs.n && strcmp(ret->refs.v[ret->refs.n - 1].name, name) == 0)
            ret->refs.v[ret->refs.n - 1].id = id;
    } else if (refs_match(name, (const char *const *)q->globs, q->globs_n)) {
        ref_list_add(&ret->refs, right, &id);
    }
    return true;
}

static volt_code take_answer(const remote_query *q, remote_answer *ret, volt_err *err)
{
    slice rest = child_output(q->child);
    remote_answer answer = { 0 };

    while (rest.n) {
        const char *end = memchr(rest.p, '\n', rest.n);
        slice line = { rest.p, end ? (size_t)(end - rest.p) : rest.n };

        if (!take_line(q, line, &answer)) {
            remote_answer_free(&answer);
            return volt_fail(err, VOLT_ECORRUPT, "'%s' answers with '%.80s', which is no ref",
                             q->shown, line.p);
        }
        rest.p += line.n + (end ? 1 : 0);
        rest.n -= line.n + (end ? 1 : 0);
    }
    ref_list_sort(&answer.refs);
    *ret = answer;
    return VOLT_OK;
}

volt_code remote_code(const char *errors)
{
    static const char *const no_repository[] = {
        "does not appear to be a git repository",   "not a git repository",
        "not valid: is this a git repository",      "repository not found",
        "access denied or repository not exported", "Repository not found",
    };
    static const char *const disk[] = { "No space left", "unable to create", "Read-only file" };

    for (size_t i = 0; i < sizeof disk / sizeof *disk; i++)
        if (strstr(errors, disk[i]))
            return VOLT_EIO;
    for (size_t i = 0; i < sizeof no_repository / sizeof *no_repository; i++)
        if (strstr(errors, no_repository[i]))
            return VOLT_EINVALID;
    /* "fatal: repository 'https://…/' not found": HTTP 404 */
    if (strstr(errors, "fatal: repository '") && strstr(errors, "' not found"))
        return VOLT_EINVALID;
    return VOLT_EUNREACHABLE;
}

volt_code remote_step(remote_query *q, remote_answer *ret, volt_err *err)
{
    volt_code code = child_step(q->child, err);

    if (code == VOLT_OK)
        return take_answer(q, ret, err);
    if (code == VOLT_EAGAIN)
        return code;
    if (code == VOLT_EGIT)
        code = remote_code(child_errors(q->child));
    return volt_wrap(err, code, "repository '%s'", q->shown);
}

void remote_free(remote_query *q)
{
    if (!q)
        return;
    child_free(q->child);
    for (size_t i = 0; i < q->globs_n; i++)
        free(q->globs[i]);
    free(q->globs);
    free(q->shown);
    free(q);
}

void remote_answer_free(remote_answer *answer)
{
    ref_list_free(&answer->refs);
    free(answer->default_branch);
    *answer = (remote_answer){ 0 };
}

volt_code remote_list(const char *url, const char *const *globs, size_t n, bool head,
                      int64_t limit_ms, remote_answer *ret, volt_err *err)
{
    remote_query *q;
    volt_code code = remote_start(url, globs, n, head, limit_ms, &q, err);

    if (code)
        return code;
    child_wait(q->child, NULL);
    code = remote_step(q, ret, err);
    remote_free(q);
    return code;
}
