#include "disk.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/prng.h"

#define FILES_MAX 8
#define SECTOR    512

/* A write, or (no bytes) a cut of the file to `off`. */
typedef struct change {
    size_t off;
    buf bytes;
    bool cuts;
} change;

typedef struct image {
    char name[256];
    bool seen, durable; /* the name */
    buf now, kept;      /* the two faces */
    change *pending;
    size_t pending_n, pending_cap;
    buf ghost; /* what the name stands for until its removal is durable */
    bool haunted;
} image;

typedef struct handle {
    sqlite3_file base;
    image *image;
    int last_errno;
} handle;

static struct {
    image files[FILES_MAX];
    disk_judge judge;
    void *ctx;
    bool cut;
} the;

unsigned disk_quiet;

/* ---- the two faces ---- */

static void set_size(buf *b, size_t n)
{
    if (n > b->n)
        memset(buf_room(b, n - b->n), 0, n - b->n);
    b->n = n;
}

static void put(buf *b, size_t off, const char *p, size_t n)
{
    if (off + n > b->n)
        set_size(b, off + n);
    memcpy(b->p + off, p, n);
}

static void apply(buf *b, const change *c)
{
    if (c->cuts)
        set_size(b, c->off < b->n ? c->off : b->n);
    else
        put(b, c->off, c->bytes.p, c->bytes.n);
}

static void pend(image *f, size_t off, const void *p, size_t n)
{
    change *c;

    disk_quiet++;
    if (f->pending_n == f->pending_cap) {
        f->pending_cap = f->pending_cap ? 2 * f->pending_cap : 64;
        f->pending = mem_grow(f->pending, f->pending_cap, sizeof *f->pending);
    }
    c = &f->pending[f->pending_n++];
    *c = (change){ .off = off, .cuts = p == NULL };
    if (p)
        buf_add(&c->bytes, p, n);
    apply(&f->now, c);
    disk_quiet--;
}

static void forget_pending(image *f)
{
    while (f->pending_n)
        buf_free(&f->pending[--f->pending_n].bytes);
}

static void lay_ghost(image *f)
{
    buf_free(&f->ghost);
    f->haunted = false;
}

static void copy(buf *to, const buf *from)
{
    buf_clear(to);
    buf_add_slice(to, buf_slice(from));
}

/* ---- power ---- */

void disk_cut(void)
{
    the.cut = true;
}

bool disk_is_cut(void)
{
    return the.cut;
}

static void keep_some_sectors(image *f, const change *c, prng *rng)
{
    for (size_t at = 0; at < c->bytes.n;) {
        size_t n = SECTOR - (c->off + at) % SECTOR;

        n = n < c->bytes.n - at ? n : c->bytes.n - at;
        if (prng_below(rng, 2))
            put(&f->kept, c->off + at, c->bytes.p + at, n);
        at += n;
    }
}

static void keep(image *f, disk_left left, prng *rng)
{
    size_t prefix = left == DISK_ALL       ? f->pending_n
                    : left == DISK_NOTHING ? 0
                                           : (size_t)prng_below(rng, f->pending_n + 1);

    if (left == DISK_SUBSET)
        prefix = 0;
    for (size_t i = 0; i < f->pending_n; i++) {
        const change *c = &f->pending[i];

        if (i < prefix)
            apply(&f->kept, c);
        else if ((i == prefix && left == DISK_PREFIX && !c->cuts) ||
                 (left == DISK_SUBSET && !c->cuts))
            keep_some_sectors(f, c, rng);
        else if (left == DISK_SUBSET && prng_below(rng, 2))
            apply(&f->kept, c);
        if (i == prefix && left == DISK_PREFIX)
            break;
    }
}

void disk_power_back(disk_left left, uint64_t seed)
{
    prng rng = { seed };

    for (size_t i = 0; i < FILES_MAX; i++) {
        image *f = &the.files[i];

        if (!f->name[0])
            continue;
        if (f->haunted && (!f->seen || !f->durable) &&
            (left == DISK_NOTHING || (left != DISK_ALL && prng_below(&rng, 2)))) {
            copy(&f->kept, &f->ghost); /* the removal did not happen, nor what followed */
            f->seen = true;
        } else if (f->seen && (f->durable || left == DISK_ALL ||
                               (left != DISK_NOTHING && prng_below(&rng, 2)))) {
            keep(f, left, &rng);
        } else {
            f->seen = false;
            buf_clear(&f->kept);
        }
        f->durable = f->seen;
        forget_pending(f);
        lay_ghost(f);
        copy(&f->now, &f->kept);
    }
    the.cut = false;
}

void disk_reset(void)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        image *f = &the.files[i];

        forget_pending(f);
        free(f->pending);
        buf_free(&f->now);
        buf_free(&f->kept);
        buf_free(&f->ghost);
        *f = (image){ 0 };
    }
    the.judge = NULL;
    the.cut = false;
}

void disk_set_judge(disk_judge judge, void *ctx)
{
    the.judge = judge;
    the.ctx = ctx;
}

static disk_fate fate_of(disk_op op)
{
    disk_fate fate = DISK_FINE;

    if (!the.cut && the.judge)
        fate = the.judge(the.ctx, op);
    if (fate == DISK_CUT)
        the.cut = true;
    return the.cut ? DISK_CUT : fate;
}

/* ---- a file ---- */

static handle *of(sqlite3_file *base)
{
    return (handle *)(void *)base;
}

static int fail(handle *h, disk_fate fate, int code)
{
    h->last_errno = fate == DISK_ENOSPC || fate == DISK_SHORT ? ENOSPC : EIO;
    return h->last_errno == ENOSPC && code == SQLITE_IOERR_WRITE ? SQLITE_FULL : code;
}

static int file_close(sqlite3_file *base)
{
    (void)base;
    return SQLITE_OK;
}

static int file_read(sqlite3_file *base, void *to, int n, sqlite3_int64 off)
{
    handle *h = of(base);
    const buf *b = &h->image->now;
    size_t have = (size_t)off < b->n ? b->n - (size_t)off : 0;
    disk_fate fate = fate_of(DISK_READ);

    if (fate == DISK_EIO || fate == DISK_CUT)
        return fail(h, fate, SQLITE_IOERR_READ);
    if (have >= (size_t)n) {
        memcpy(to, b->p + off, (size_t)n);
        return SQLITE_OK;
    }
    memset(to, 0, (size_t)n);
    if (have)
        memcpy(to, b->p + off, have);
    return SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *base, const void *p, int n, sqlite3_int64 off)
{
    handle *h = of(base);
    disk_fate fate = fate_of(DISK_WRITE);
    bool grows = (size_t)off + (size_t)n > h->image->now.n;

    if (fate == DISK_CUT) /* it was on its way */
        pend(h->image, (size_t)off, p, (size_t)n);
    if (fate == DISK_SHORT)
        pend(h->image, (size_t)off, p, (size_t)n / 2);
    if (fate == DISK_FINE || (fate == DISK_ENOSPC && !grows)) {
        pend(h->image, (size_t)off, p, (size_t)n);
        return SQLITE_OK;
    }
    return fail(h, fate, SQLITE_IOERR_WRITE);
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    handle *h = of(base);
    disk_fate fate = fate_of(DISK_TRUNCATE);

    if (fate == DISK_EIO || fate == DISK_CUT)
        return fail(h, fate, SQLITE_IOERR_TRUNCATE);
    pend(h->image, (size_t)size, NULL, 0);
    return SQLITE_OK;
}

static int file_sync(sqlite3_file *base, int flags)
{
    handle *h = of(base);
    image *f = h->image;
    disk_fate fate = fate_of(DISK_SYNC);

    (void)flags;
    if (fate == DISK_CUT)
        return fail(h, fate, SQLITE_IOERR_FSYNC);
    if (fate == DISK_FINE) {
        disk_quiet++;
        for (size_t i = 0; i < f->pending_n; i++)
            apply(&f->kept, &f->pending[i]);
        disk_quiet--;
        if (f->seen && !f->durable) { /* SQLite syncs the directory then */
            f->durable = true;
            for (size_t i = 0; i < FILES_MAX; i++)
                lay_ghost(&the.files[i]);
        }
    }
    forget_pending(f);
    return fate == DISK_FINE ? SQLITE_OK : fail(h, fate, SQLITE_IOERR_FSYNC);
}

static int file_size(sqlite3_file *base, sqlite3_int64 *ret)
{
    *ret = (sqlite3_int64)of(base)->image->now.n;
    return SQLITE_OK;
}

static int file_lock(sqlite3_file *base, int level)
{
    (void)base, (void)level;
    return SQLITE_OK;
}

static int file_reserved(sqlite3_file *base, int *ret)
{
    (void)base;
    *ret = 0;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *base, int what, void *arg)
{
    if (what != SQLITE_FCNTL_LAST_ERRNO)
        return SQLITE_NOTFOUND;
    *(int *)arg = of(base)->last_errno;
    return SQLITE_OK;
}

static int file_sector(sqlite3_file *base)
{
    (void)base;
    return 4096; /* as the unix VFS has it */
}

static int file_traits(sqlite3_file *base)
{
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE; /* so, too */
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_lock,
    .xCheckReservedLock = file_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_traits,
};

/* ---- the directory ---- */

static image *find(const char *name)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        if (strcmp(the.files[i].name, name) == 0)
            return &the.files[i];
    return NULL;
}

static image *make(const char *name)
{
    image *f = find(name);

    if (!f)
        f = find("");
    if (!f || strlen(name) >= sizeof f->name)
        abort();
    strcpy(f->name, name);
    f->seen = true;
    f->durable = false;
    return f;
}

static int disk_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *ret)
{
    handle *h = of(base);
    image *f = find(name ? name : "");
    disk_fate fate = fate_of(DISK_OPEN);

    (void)vfs;
    base->pMethods = NULL;
    if (!name || fate == DISK_EIO || fate == DISK_CUT)
        return SQLITE_CANTOPEN;
    if (!f || !f->seen) {
        if (!(flags & SQLITE_OPEN_CREATE))
            return SQLITE_CANTOPEN;
        f = make(name);
    }
    *h = (handle){ .base.pMethods = &methods, .image = f };
    if (ret)
        *ret = flags;
    return SQLITE_OK;
}

static int disk_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    image *f = find(name);
    disk_fate fate = fate_of(DISK_DELETE);

    (void)vfs, (void)sync; /* SQLite asks for it with rollback journals only */
    if (fate == DISK_EIO || fate == DISK_CUT)
        return SQLITE_IOERR_DELETE;
    if (!f || !f->seen)
        return SQLITE_IOERR_DELETE_NOENT;
    if (f->durable) {
        disk_quiet++;
        copy(&f->ghost, &f->kept);
        disk_quiet--;
        f->haunted = true;
    }
    f->seen = f->durable = false;
    forget_pending(f);
    buf_clear(&f->now);
    buf_clear(&f->kept);
    return SQLITE_OK;
}

static int disk_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret)
{
    image *f = find(name);

    (void)vfs, (void)flags;
    *ret = f && f->seen;
    return SQLITE_OK;
}

static int disk_full_path(sqlite3_vfs *vfs, const char *name, int n, char *ret)
{
    (void)vfs;
    sqlite3_snprintf(n, ret, "%s", name);
    return SQLITE_OK;
}

static int disk_randomness(sqlite3_vfs *vfs, int n, char *ret)
{
    (void)vfs;
    memset(ret, 7, (size_t)n); /* the same story each time */
    return n;
}

static int disk_sleep(sqlite3_vfs *vfs, int us)
{
    (void)vfs;
    return us;
}

static int disk_time(sqlite3_vfs *vfs, double *ret)
{
    (void)vfs;
    *ret = 2460000.5;
    return SQLITE_OK;
}

static int disk_last_error(sqlite3_vfs *vfs, int n, char *ret)
{
    (void)vfs, (void)n, (void)ret;
    return the.cut ? EIO : 0;
}

void disk_install(void)
{
    static sqlite3_vfs vfs = {
        .iVersion = 1,
        .szOsFile = sizeof(handle),
        .mxPathname = 255,
        .zName = "disk",
        .xOpen = disk_open,
        .xDelete = disk_delete,
        .xAccess = disk_access,
        .xFullPathname = disk_full_path,
        .xRandomness = disk_randomness,
        .xSleep = disk_sleep,
        .xCurrentTime = disk_time,
        .xGetLastError = disk_last_error,
    };

    sqlite3_vfs_register(&vfs, 1);
}
