#include "exec/secrets.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/files.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rmtree.h"
#include "base/text.h"
#include "exec/mask.h"

#define FILE_MAX   ((size_t)4 << 20) /* bytes */
#define IN_MEMORY  "/dev/shm"
#define HEADS      "refs/heads/"
#define NAMES_GROW 64

DEFINE_CLEANUP(DIR *, closedir);

/* ---- reading ---- */

/* Opens a file or directory that is this user's alone. */
static volt_code open_private(int at, const char *name, struct stat *st, int *ret, volt_err *err)
{
    CLEANUP(close)
    int fd = openat(at, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || fstat(fd, st))
        return volt_fail(err, errno == ENOENT ? VOLT_ENOTFOUND : VOLT_EIO, "open secrets '%s': %s",
                         name, strerror(errno));
    if (st->st_uid != geteuid())
        return volt_fail(err, VOLT_EREFUSED, "secrets '%s' belong to user %u, not to this one, %u",
                         name, st->st_uid, geteuid());
    if (st->st_mode & 077)
        return volt_fail(err, VOLT_EREFUSED,
                         "secrets '%s' are open to other users (mode %03o): chmod go= '%s'", name,
                         st->st_mode & 0777u, name);
    *ret = fd;
    fd = -1;
    return VOLT_OK;
}

static volt_code read_all(int fd, const char *name, buf *out, volt_err *err)
{
    ssize_t n = 1;

    while (n != 0) {
        n = read(fd, buf_room(out, 4096), 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return volt_fail(err, VOLT_EIO, "read secrets '%s': %s", name, strerror(errno));
        out->n += (size_t)n;
        if (out->n > FILE_MAX)
            return volt_fail(err, VOLT_EINVALID, "secrets '%s' are longer than %zu bytes", name,
                             FILE_MAX);
    }
    return VOLT_OK;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Fills in the value, and sees whether it can be kept secret. */
static volt_code take_text(secret *s, slice text, arena *mem, volt_err *err)
{
    slice core;

    s->text = s->value = arena_slice(mem, text);
    while (s->value.n && strchr("\r\n", s->value.p[s->value.n - 1]))
        s->value.n--;
    core = s->value;
    for (; core.n && is_space(core.p[0]); core.n--)
        core.p++;
    while (core.n && is_space(core.p[core.n - 1]))
        core.n--;
    if (core.n < MASK_TEXT_MIN)
        return volt_fail(err, VOLT_EINVALID,
                         "secret '" SLICE_FMT "' is shorter than %d characters: masking it would "
                         "hide half of every log",
                         SLICE_ARG(s->name), MASK_TEXT_MIN);
    if (s->text.n > SECRET_MAX)
        return volt_fail(err, VOLT_EINVALID, "secret '" SLICE_FMT "' is longer than %d bytes",
                         SLICE_ARG(s->name), SECRET_MAX);
    return VOLT_OK;
}

static volt_code fail_unknown(slice name, volt_err *err)
{
    return volt_fail(err, VOLT_ENOTFOUND, "this runner has no secret '" SLICE_FMT "'",
                     SLICE_ARG(name));
}

static bool is_name(slice name)
{
    return text_is_variable(name) && !slice_starts(name, SLICE("VOLT"));
}

static volt_code read_file(int dir, secret *s, arena *mem, volt_err *err)
{
    CLEANUP(buf)
    buf text = { 0 };
    CLEANUP(close)
    int fd = -1;
    struct stat st;
    volt_code code;

    if (!is_name(s->name)) /* "../x" is none, either */
        return fail_unknown(s->name, err);
    code = open_private(dir, arena_str(mem, s->name), &st, &fd, err);
    if (code == VOLT_ENOTFOUND)
        return fail_unknown(s->name, err);
    if (!code && !S_ISREG(st.st_mode))
        code =
            volt_fail(err, VOLT_EINVALID, "secret '" SLICE_FMT "' is no file", SLICE_ARG(s->name));
    if (!code)
        code = read_all(fd, arena_str(mem, s->name), &text, err);
    if (!code)
        code = take_text(s, buf_slice(&text), mem, err);
    return code;
}

/* Takes the next NAME=VALUE off *rest.  False: none is left.  VOLT_EINVALID in *code: it is none.
 */
static bool next_line(slice *rest, size_t *number, const char *path, secret *ret, volt_code *code,
                      volt_err *err)
{
    while (rest->n) {
        const char *end = memchr(rest->p, '\n', rest->n), *eq;
        slice line = { rest->p, end ? (size_t)(end - rest->p) : rest->n };
        size_t taken = line.n + (end != NULL);

        ++*number;
        *rest = (slice){ rest->p + taken, rest->n - taken };
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        if (!line.n || line.p[0] == '#')
            continue;
        eq = memchr(line.p, '=', line.n);
        ret->name = (slice){ line.p, eq ? (size_t)(eq - line.p) : 0 };
        if (!is_name(ret->name)) {
            *code =
                volt_fail(err, VOLT_EINVALID,
                          "secrets '%s', line %zu: expected NAME=VALUE, with a name of letters, "
                          "digits and '_' that does not begin with VOLT",
                          path, *number);
            return false;
        }
        ret->text = (slice){ eq + 1, (size_t)(line.p + line.n - eq) - 1 };
        return true;
    }
    return false;
}

static volt_code find_line(slice lines, const char *path, secret *s, arena *mem, volt_err *err)
{
    volt_code code = VOLT_OK;
    size_t number = 0;
    bool found = false;
    secret it;
    slice text = { 0 };

    while (next_line(&lines, &number, path, &it, &code, err))
        if (slice_eq(it.name, s->name)) {
            text = it.text;
            found = true;
        }
    if (code)
        return code;
    return found ? take_text(s, text, mem, err) : fail_unknown(s->name, err);
}

volt_code secrets_read(const char *path, slices names, arena *mem, secret **ret, volt_err *err)
{
    secret *v = ARENA_ARRAY(mem, secret, names.n);
    CLEANUP(buf)
    buf lines = { 0 };
    CLEANUP(close)
    int fd = -1;
    struct stat st;
    volt_code code = open_private(AT_FDCWD, path, &st, &fd, err);

    if (!code && !S_ISDIR(st.st_mode))
        code = read_all(fd, path, &lines, err);
    for (size_t i = 0; i < names.n && !code; i++) {
        v[i].name = arena_slice(mem, names.v[i]);
        code = S_ISDIR(st.st_mode) ? read_file(fd, &v[i], mem, err)
                                   : find_line(buf_slice(&lines), path, &v[i], mem, err);
    }
    if (!code)
        *ret = v;
    return code;
}

/* ---- all there are ---- */

typedef struct names {
    slice *v;
    size_t n, cap;
    arena mem;
} names;

static void add_name(names *to, slice name)
{
    if (to->n == to->cap) {
        to->cap = to->cap ? 2 * to->cap : NAMES_GROW;
        to->v = mem_grow(to->v, to->cap, sizeof *to->v);
    }
    to->v[to->n++] = arena_slice(&to->mem, name);
}

static volt_code list_lines(int fd, const char *path, names *to, volt_err *err)
{
    CLEANUP(buf)
    buf lines = { 0 };
    volt_code code = read_all(fd, path, &lines, err);
    slice rest = buf_slice(&lines);
    size_t number = 0;
    secret it;

    while (!code && next_line(&rest, &number, path, &it, &code, err))
        add_name(to, it.name);
    return code;
}

static void list_dir(int fd, names *to)
{
    CLEANUP(closedir)
    DIR *dir = files_dir_of(dup(fd));
    const struct dirent *e;

    while (dir && (e = readdir(dir)))
        if (is_name(slice_of(e->d_name)))
            add_name(to, slice_of(e->d_name));
}

volt_code secrets_check(const char *path, volt_err *err)
{
    names all = { 0 };
    CLEANUP(close)
    int fd = -1;
    struct stat st;
    secret *v;
    volt_code code = open_private(AT_FDCWD, path, &st, &fd, err);

    if (!code && S_ISDIR(st.st_mode))
        list_dir(fd, &all);
    else if (!code)
        code = list_lines(fd, path, &all, err);
    if (!code)
        code = secrets_read(path, (slices){ all.v, all.n }, &all.mem, &v, err);
    arena_free(&all.mem);
    free(all.v);
    return code;
}

/* ---- who may have them ---- */

volt_code secrets_rule_check(const char *rule, volt_err *err)
{
    const char *colon = strrchr(rule, ':');

    if (!*rule || colon == rule || (colon && !colon[1]))
        return volt_fail(err, VOLT_EINVALID, "--secrets-for '%s': give REPO or REPO:BRANCH", rule);
    return VOLT_OK;
}

static bool is_default(slice ref, slice branch)
{
    const slice heads = SLICE(HEADS);

    if (!branch.n || !slice_starts(ref, heads))
        return false;
    if (slice_starts(branch, heads))
        return slice_eq(ref, branch);
    return slice_eq((slice){ ref.p + heads.n, ref.n - heads.n }, branch);
}

static bool fits_ref(const char *pattern, const char *ref)
{
    const size_t heads = strlen(HEADS);

    if (strncmp(pattern, "refs/", 5) == 0)
        return text_glob(pattern, ref);
    return strncmp(ref, HEADS, heads) == 0 && text_glob(pattern, ref + heads);
}

bool secrets_allowed(const char *const *rules, size_t n, slice repo, slice ref,
                     slice default_branch)
{
    CLEANUP(free)
    char *repo_name = mem_strndup(repo.p, repo.n);
    CLEANUP(free)
    char *ref_name = mem_strndup(ref.p, ref.n);

    if (n == 0)
        return is_default(ref, default_branch);
    if (strlen(repo_name) != repo.n || strlen(ref_name) != ref.n) /* a NUL in it */
        return false;
    for (size_t i = 0; i < n; i++) {
        const char *colon = strrchr(rules[i], ':');
        CLEANUP(free)
        char *pattern =
            mem_strndup(rules[i], colon ? (size_t)(colon - rules[i]) : strlen(rules[i]));

        if (!text_glob(pattern, repo_name))
            continue;
        if (colon ? fits_ref(colon + 1, ref_name) : is_default(ref, default_branch))
            return true;
    }
    return false;
}

/* ---- as files ---- */

char *secrets_place(const char *work, uint64_t slot, const char *disk)
{
    struct statfs fs;
    struct stat st;

    if (stat(work, &st) || statfs(IN_MEMORY, &fs) || fs.f_type != TMPFS_MAGIC ||
        access(IN_MEMORY, W_OK | X_OK))
        return mem_strdup(disk);
    return mem_printf(IN_MEMORY "/volt-%" PRIx64 "-%" PRIx64 "-%" PRIu64, (uint64_t)st.st_dev,
                      (uint64_t)st.st_ino, slot);
}

static volt_code put(int dir, const secret *s, volt_err *err)
{
    CLEANUP(free)
    char *name = mem_strndup(s->name.p, s->name.n);
    CLEANUP(close)
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ssize_t n = fd < 0 ? -1 : write(fd, s->text.p, s->text.n); /* SECRET_MAX bytes: at once */

    if (n == (ssize_t)s->text.n)
        return VOLT_OK;
    return volt_fail(err, n >= 0 || errno == ENOSPC || errno == EDQUOT ? VOLT_EFULL : VOLT_EIO,
                     "write the file of secret '%s': %s", name,
                     n >= 0 ? "no space" : strerror(errno));
}

volt_code secrets_put(const char *dir, const secret *v, size_t n, volt_err *err)
{
    volt_code code = rmtree(AT_FDCWD, dir, err);
    CLEANUP(close)
    int fd = -1;

    if (code)
        return code;
    if (mkdir(dir, 0700) || (fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
        return volt_fail(err, errno == ENOSPC || errno == EDQUOT ? VOLT_EFULL : VOLT_EIO,
                         "make directory '%s': %s", dir, strerror(errno));
    for (size_t i = 0; i < n && !code; i++)
        code = put(fd, &v[i], err);
    return code;
}

void secrets_remove(const char *dir)
{
    volt_err err;

    if (rmtree(AT_FDCWD, dir, &err))
        log_warn("secrets of a task stay behind: %s", err.msg);
}
