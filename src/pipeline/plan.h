/*
 * plan.h - what a commit has to run: the records of a `plan` message.
 *
 *   plan_make()     from a pipeline file: which jobs are for this ref, and how each is run
 *   plan_detect()   without one: what detect.h finds
 *   plan_offer()    for each file below plan_root(): it becomes a unit of the jobs that want it
 *   plan_end()
 *
 * What the file asks and this version of Volt cannot do is a problem, never passed over.
 * `volt lint`, `volt plan` and the runner's plan task all go this way.  Pure.
 */
#ifndef VOLT_PIPELINE_PLAN_H
#define VOLT_PIPELINE_PLAN_H

#include "base/err.h"
#include "pipeline/pipeline.h"

/* The most that a runner has to know for specs; see spec in proto/messages.def. */
#define PLAN_SPEC_LEVEL 2
#define PLAN_SPEC_MAX   32768 /* bytes, as in proto/messages.def */
/* Of all jobs together, as core/build.h has them. */
#define PLAN_FILES_MAX 100000
#define PLAN_BYTES_MAX ((size_t)32 << 20)

typedef struct plan_settings {
    slice ref;            /* full name ("refs/heads/main"); empty: all jobs */
    slice default_branch; /* full or short name; empty: not known */
    uint64_t timeout_ms;  /* where a job names none; 0: none */
    uint64_t batch;       /* of plan_detect() */
} plan_settings;

/* The files that one `tests` of the file names, shared by the expansions of its job. */
typedef struct plan_files {
    const job_text *text; /* NULL: detected */
    slices paths;
    size_t cap;
    size_t jobs; /* that have them */
} plan_files;

typedef struct plan {
    arena *mem;
    const pipeline *pipeline; /* NULL: detected */
    rec_job *jobs;            /* in the file's order; `files` by plan_end() */
    const pipeline_job **of;  /* each: what it was made from; NULL: detected */
    size_t n;
    bool supersede;       /* older builds of the branch end; not on the default branch */
    const char *why_none; /* n is 0: why */
    slices left_out;      /* names of the jobs that are not for this ref, or need one that is not */
    plan_files *files;
    size_t files_n;
    size_t units; /* files of all jobs so far */
    size_t bytes; /* of their names */
} plan;

/* NULL: the problems say why.  In `mem`, and as long as the pipeline. */
plan *plan_make(const pipeline *p, const plan_settings *settings, arena *mem, problems *problems);
plan *plan_detect(const plan_settings *settings, arena *mem);

/* The directory whose files are to be offered ("" for all of the commit); NULL: no job wants any.
 */
const char *plan_root(const plan *p);
/* A file with its mode in git's tree.  False: no more are wanted, for there are too many. */
bool plan_offer(plan *p, slice path, uint32_t mode);
/* Fills in the files; a detected job without any goes.  VOLT_EFULL: more than PLAN_FILES_MAX or
 * PLAN_BYTES_MAX. */
volt_code plan_end(plan *p, volt_err *err);

/* Checks and takes apart a spec; texts and lists as wire_decode() has them.
 * VOLT_EVERSION: it asks for more than this version knows.  VOLT_EINVALID, VOLT_EMSG: malformed. */
volt_code plan_spec_read(slice spec, arena *mem, msg_spec *ret, volt_err *err);
/* Appends a spec, of the least level that has its fields. */
void plan_spec_write(const msg_spec *spec, buf *out);

#endif
