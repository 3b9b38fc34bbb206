#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "exec/attempt_parts.h"
#include "git/tree.h"
#include "pipeline/detect.h"
#include "wire/codec.h"

/* Bytes of file names in one part: a frame of them stays well below WIRE_WORK_MAX. */
#define PART_BYTES_MAX ((size_t)160 << 10)
#define NAME_COST      8 /* at most: a file's length on the wire */

static_assert(PART_BYTES_MAX + TREE_PATH_MAX + NAME_COST < WIRE_WORK_MAX - 8192, "a part fits");

/* The units found so far that no part has told yet. */
typedef struct planner {
    attempt *a;
    arena mem;
    slices files;
    size_t cap;
    size_t bytes;
    uint64_t part;
    volt_code rc; /* of telling */
    volt_err err;
} planner;

static void tell_part(planner *p, bool last)
{
    attempt *a = p->a;
    rec_job job = { .name = SLICE(DETECT_JOB),
                    .tests = true,
                    .timeout_ms = (uint64_t)site_settings(a->site)->timeout_ms,
                    .files = p->files,
                    .batch = site_settings(a->site)->batch };
    msg m = { .type = MSG_plan,
              .plan = { .task = a->order.task,
                        .att = a->order.att,
                        .part = p->part++,
                        .last = last,
                        .jobs = { .v = &job, .n = p->files.n > 0 } } };

    attempt_tell_start(a);
    if (!p->rc)
        p->rc = attempt_tell(a, SPOOL_PLAN, &m, &p->err);
    p->files.n = 0;
    p->bytes = 0;
    arena_reset(&p->mem);
}

static bool visit(void *ctx, const tree_file *file)
{
    planner *p = ctx;
    slice path = slice_of(file->path);

    if (detect_file(path, file->mode) == DETECT_NONE)
        return true;
    if (p->bytes + path.n + NAME_COST > PART_BYTES_MAX)
        tell_part(p, false);
    if (p->files.n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 256;
        p->files.v = mem_grow(p->files.v, p->cap, sizeof *p->files.v);
    }
    p->files.v[p->files.n++] = arena_slice(&p->mem, path);
    p->bytes += path.n + NAME_COST;
    return p->rc == VOLT_OK;
}

void plan_run(attempt *a, const char *path)
{
    planner p = { .a = a };
    objects *store;
    volt_err err;
    volt_code rc;

    rc = site_objects(a->site, path, &store, &err);
    if (!rc)
        rc = tree_walk(store, &a->commit, DETECT_DIR, visit, &p, &err);
    if (!rc)
        tell_part(&p, true);
    if (rc)
        site_objects_drop(a->site, path);
    if (rc && a->started)
        attempt_finish(a, &(msg_result){ .verdict = VERDICT_ERRORED, .msg = slice_of(err.msg) });
    else if (rc)
        attempt_refuse(a, attempt_blame(rc), err.msg);
    else if (p.rc)
        attempt_refuse(a, CODE_LOST, p.err.msg);
    else
        attempt_finish(a, &(msg_result){ .verdict = VERDICT_PASSED });
    free(p.files.v);
    arena_free(&p.mem);
}
