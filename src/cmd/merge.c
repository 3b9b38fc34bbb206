#include "cmd/merge.h"

#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"

DEFINE_CLEANUP(FTS *, fts_close);

/* Does the link at depth `level` (1: at the top) stay in the tree? */
static bool stays_inside(const char *link, int level)
{
    char target[PATH_MAX];
    ssize_t n = readlink(link, target, sizeof target - 1);
    int depth = level - 1;

    if (n <= 0 || target[0] == '/')
        return false;
    target[n] = '\0';
    for (const char *p = target; *p && depth >= 0;) {
        size_t part = strcspn(p, "/");

        if (part == 2 && memcmp(p, "..", 2) == 0)
            depth--;
        else if (part && !(part == 1 && *p == '.'))
            depth++;
        p += part + strspn(p + part, "/");
    }
    return depth >= 0;
}

static int make_dir(const char *path)
{
    struct stat st;

    if (mkdir(path, 0777) == 0)
        return 0;
    if (errno != EEXIST || lstat(path, &st) < 0)
        return -1;
    if (S_ISDIR(st.st_mode))
        return 0;
    return unlink(path) < 0 ? -1 : mkdir(path, 0777);
}

static int visit(const FTSENT *e, const char *to, merge_sum *sum)
{
    switch (e->fts_info) {
    case FTS_D: /* its entries are to be moved away, whatever its mode */
        return chmod(e->fts_accpath, 0700) < 0 ? -1 : make_dir(to);
    case FTS_DP:
        return 0;
    case FTS_SL:
    case FTS_SLNONE:
        if (!stays_inside(e->fts_accpath, e->fts_level)) {
            sum->left_out++;
            return 0;
        }
        break;
    case FTS_F:
        break;
    default:
        errno = e->fts_errno ? e->fts_errno : EINVAL;
        return -1;
    }
    sum->files++;
    return rename(e->fts_accpath, to);
}

volt_code merge_tree(const char *from, const char *to, merge_sum *ret, volt_err *err)
{
    char *const roots[] = { (char *)(uintptr_t)from, NULL };
    CLEANUP(fts_close)
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    merge_sum sum = { 0 };
    FTSENT *e;

    errno = 0;
    while (tree && (e = fts_read(tree))) {
        CLEANUP(free)
        char *place = mem_printf("%s%s", to, e->fts_path + strlen(from));

        if (visit(e, place, &sum) < 0)
            return volt_fail(err, VOLT_EIO, "write '%s': %s", place, strerror(errno));
        errno = 0;
    }
    if (errno)
        return volt_fail(err, VOLT_EIO, "read '%s': %s", from, strerror(errno));
    *ret = sum;
    return VOLT_OK;
}
