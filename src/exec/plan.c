#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "exec/attempt_parts.h"
#include "git/tree.h"
#include "pipeline/plan.h"
#include "pipeline/yaml.h"
#include "wire/codec.h"

/* Bytes of jobs in one part: a frame of them stays well below WIRE_WORK_MAX. */
#define PART_BYTES_MAX ((size_t)160 << 10)
#define TEXT_COST      8  /* at most: a text's length on the wire */
#define JOB_COST       96 /* at most: a job's keys and numbers */
#define JOB_BYTES_MAX                                                                        \
    (JOB_COST + PLAN_SPEC_MAX + (PIPELINE_NEEDS_MAX + 1) * (PIPELINE_NAME_MAX + TEXT_COST) + \
     PIPELINE_LABELS_MAX * (PIPELINE_LABEL_MAX + TEXT_COST))

static_assert(PART_BYTES_MAX + TREE_PATH_MAX + TEXT_COST < WIRE_WORK_MAX - 8192, "a part fits");
static_assert(JOB_BYTES_MAX + TREE_PATH_MAX + TEXT_COST < PART_BYTES_MAX, "a job fits into a part");

typedef struct planner {
    attempt *a;
    arena mem; /* of the plan */
    buf text;  /* of the pipeline file */
    problems problems;
    /* The part that is being filled. */
    rec_job *jobs;
    size_t n, bytes;
    uint64_t part;
    bool supersede;
    volt_code rc; /* of telling */
    volt_err err;
} planner;

/* ---- telling ---- */

static void tell_part(planner *p, bool last)
{
    attempt *a = p->a;
    msg m = { .type = MSG_plan,
              .plan = { .task = a->order.task,
                        .att = a->order.att,
                        .part = p->part++,
                        .last = last,
                        .supersede = p->supersede,
                        .jobs = { .v = p->jobs, .n = p->n } } };

    attempt_tell_start(a);
    if (!p->rc)
        p->rc = attempt_tell(a, SPOOL_PLAN, &m, &p->err);
    p->n = 0;
    p->bytes = 0;
}

static size_t cost_of(slices texts)
{
    size_t n = 0;

    for (size_t i = 0; i < texts.n; i++)
        n += texts.v[i].n + TEXT_COST;
    return n;
}

/* Begins a job, or goes on with one, whose files are added behind. */
static rec_job *add_job(planner *p, const rec_job *job)
{
    size_t cost = JOB_COST + job->name.n + cost_of(job->needs) + cost_of(job->labels) + job->spec.n;
    rec_job *added;

    if (p->bytes + cost > PART_BYTES_MAX)
        tell_part(p, false);
    added = &p->jobs[p->n++];
    *added = *job;
    added->files.n = 0;
    p->bytes += cost;
    return added;
}

static void tell(planner *p, const plan *made)
{
    p->jobs = ARENA_ARRAY(&p->mem, rec_job, made->n);
    p->supersede = made->supersede;
    for (size_t i = 0; i < made->n; i++) {
        const rec_job *job = &made->jobs[i];
        rec_job *added = add_job(p, job);

        for (size_t k = 0; k < job->files.n; k++) {
            size_t cost = job->files.v[k].n + TEXT_COST;

            if (p->bytes + cost > PART_BYTES_MAX) {
                tell_part(p, false);
                added = add_job(
                    p, &(rec_job){ .name = job->name, .tests = true, .files.v = job->files.v + k });
            }
            added->files.n++;
            p->bytes += cost;
        }
    }
    tell_part(p, true);
}

/* ---- planning ---- */

static bool visit(void *ctx, const tree_file *file)
{
    return plan_offer(ctx, slice_of(file->path), file->mode);
}

/* Writes the problems to the log, line by line. */
static void log_problems(planner *p)
{
    CLEANUP(buf)
    buf text = { 0 };
    char *line, *rest;

    problems_print(&p->problems, PIPELINE_FILE, buf_slice(&p->text), &text);
    rest = text.p;
    while ((line = strsep(&rest, "\n")) && (*line || rest))
        output_line(p->a->out, line);
}

/* What the commit's author has to mend. */
static void refuse_file(planner *p)
{
    CLEANUP(buf)
    buf brief = { 0 };
    attempt *a = p->a;

    a->out = output_new(attempt_open_log, a,
                        a->order.log_max ? a->order.log_max : site_settings(a->site)->log_max);
    log_problems(p);
    problems_brief(&p->problems, PIPELINE_FILE, &brief);
    attempt_tell_start(a);
    attempt_finish(a, &(msg_result){ .verdict = VERDICT_ERRORED,
                                     .msg = buf_slice(&brief),
                                     .log_bytes = output_bytes(a->out) });
}

/* Fills in *ret from the commit; NULL: the file is broken, and the problems say how. */
static volt_code make(planner *p, objects *store, plan **ret, volt_err *err)
{
    const attempt *a = p->a;
    const site_config *config = site_settings(a->site);
    const plan_settings settings = { .ref = a->order.ref,
                                     .default_branch = a->order.default_branch,
                                     .timeout_ms = (uint64_t)config->timeout_ms,
                                     .batch = config->batch };
    const pipeline *file;
    volt_code rc = tree_read(store, &a->commit, PIPELINE_FILE, YAML_BYTES_MAX, &p->text, err);

    *ret = NULL;
    if (rc == VOLT_EFULL || rc == VOLT_EINVALID) {
        problems_add(&p->problems, (place){ 0 }, "%s", err->msg);
        return VOLT_OK;
    }
    if (rc == VOLT_ENOTFOUND) {
        *ret = plan_detect(&settings, &p->mem);
        rc = VOLT_OK;
    } else if (!rc) {
        file = pipeline_read(buf_slice(&p->text), &p->mem, &p->problems);
        *ret = file ? plan_make(file, &settings, &p->mem, &p->problems) : NULL;
    }
    if (!rc && *ret && plan_root(*ret))
        rc = tree_walk(store, &a->commit, plan_root(*ret), visit, *ret, err);
    if (!rc && *ret && plan_end(*ret, err)) {
        problems_add(&p->problems, (place){ 0 }, "%s", err->msg);
        *ret = NULL;
    }
    return rc;
}

void plan_run(attempt *a, const char *path)
{
    planner p = { .a = a, .problems = { .mem = &p.mem } };
    objects *store;
    plan *made = NULL;
    volt_err err;
    volt_code rc = site_objects(a->site, path, &store, &err);

    if (!rc)
        rc = make(&p, store, &made, &err);
    if (rc) {
        site_objects_drop(a->site, path);
        attempt_refuse(a, attempt_blame(rc), err.msg);
    } else if (!made) {
        refuse_file(&p);
    } else if (made->why_none) {
        attempt_tell_start(a);
        attempt_finish(
            a, &(msg_result){ .verdict = VERDICT_SKIPPED, .msg = slice_of(made->why_none) });
    } else {
        tell(&p, made);
        if (p.rc)
            attempt_refuse(a, CODE_LOST, p.err.msg);
        else
            attempt_finish(a, &(msg_result){ .verdict = VERDICT_PASSED });
    }
    buf_free(&p.text);
    arena_free(&p.mem);
}
