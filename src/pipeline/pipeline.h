/*
 * pipeline.h - a pipeline file (.volt.yml): what a commit's jobs are, as its author wrote them.
 *
 * Reading checks everything that the file alone can tell: keys, types, ranges, that needs name jobs
 * and form no circle, and what matrices expand to.  A key that begins with `x-` is the author's own
 * and ignored.  What this version of Volt cannot do yet is read all the same; plan.h refuses it.
 *
 * Pure.  Memory: everything is in the caller's arena, texts are copies with a NUL behind them.
 */
#ifndef VOLT_PIPELINE_PIPELINE_H
#define VOLT_PIPELINE_PIPELINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/msg.h"
#include "pipeline/problems.h"

#define PIPELINE_FILE     ".volt.yml"
#define PIPELINE_JOBS_MAX 1000 /* after the matrices are expanded, as in a build */
/* Those of proto/messages.def's `job` and `spec`. */
#define PIPELINE_NEEDS_MAX     64
#define PIPELINE_LABELS_MAX    32
#define PIPELINE_LABEL_MAX     64
#define PIPELINE_NAME_MAX      256
#define PIPELINE_PRIORITY_MAX  1000
#define PIPELINE_RETRY_MAX     10
#define PIPELINE_BATCH_MAX     10000
#define PIPELINE_VARIABLES_MAX 256
#define PIPELINE_SECRETS_MAX   32
#define PIPELINE_SECRET_MAX    128 /* bytes of its name */

/* Keys, as they stand in the file. */
#define PIPELINE_KEYS(X) \
    X(env)               \
    X(branches)          \
    X(supersede)         \
    X(jobs)
#define PIPELINE_JOB_KEYS(X) \
    X(script)                \
    X(tests)                 \
    X(needs)                 \
    X(labels)                \
    X(matrix)                \
    X(env)                   \
    X(branches)              \
    X(timeout)               \
    X(retry)                 \
    X(allow_failure)         \
    X(priority)              \
    X(concurrency)           \
    X(always)                \
    X(submodules)            \
    X(home)                  \
    X(artifacts)             \
    X(cache)                 \
    X(secrets)               \
    X(sandbox)               \
    X(image)                 \
    X(network)
#define PIPELINE_TESTS_KEYS(X) \
    X(files)                   \
    X(run)                     \
    X(setup)                   \
    X(report)                  \
    X(batch)                   \
    X(retry)
#define PIPELINE_CACHE_KEYS(X) \
    X(key)                     \
    X(paths)

/* Where each key stands in the file; line 0: it does not. */
#define PIPELINE_PLACE(key) place key;
typedef struct pipeline_job_places {
    PIPELINE_JOB_KEYS(PIPELINE_PLACE)
} pipeline_job_places;
typedef struct pipeline_tests_places {
    PIPELINE_TESTS_KEYS(PIPELINE_PLACE)
} pipeline_tests_places;
typedef struct pipeline_cache_places {
    PIPELINE_CACHE_KEYS(PIPELINE_PLACE)
} pipeline_cache_places;
typedef struct pipeline_places {
    PIPELINE_KEYS(PIPELINE_PLACE)
} pipeline_places;

typedef struct variable {
    slice name, value;
} variable;

typedef struct variables {
    variable *v;
    size_t n;
    place at;
} variables;

typedef struct matrix_axis {
    slice name;
    slices values;
} matrix_axis;

typedef struct matrix {
    matrix_axis *axes;
    size_t axes_n;
    variables *include, *exclude;
    size_t include_n, exclude_n;
} matrix;

typedef struct named {
    slice name;
    place at;
} named;

typedef enum pipeline_home { HOME_SCRATCH, HOME_KEPT } pipeline_home;
typedef enum pipeline_sandbox {
    SANDBOX_DEFAULT,
    SANDBOX_HOST,
    SANDBOX_BWRAP,
    SANDBOX_CONTAINER
} pipeline_sandbox;

typedef struct pipeline_tests {
    pipeline_tests_places at;
    slices files; /* patterns */
    slice run;
    slice setup;
    report_kind report; /* none: the exit status alone */
    slice report_files; /* JUNIT: the pattern */
    uint64_t batch;     /* 0: auto */
    uint64_t retry;
} pipeline_tests;

typedef struct pipeline_cache {
    pipeline_cache_places at;
    slices key, paths;
} pipeline_cache;

/* A job as the file has it, before its matrix is expanded. */
typedef struct job_text {
    slice name;
    place where;
    pipeline_job_places at;
    slice script; /* its lines; empty: tests */
    pipeline_tests tests;
    named *needs;
    size_t needs_n;
    slices labels, branches, artifacts, secrets;
    matrix matrix;
    variables env;
    uint64_t timeout_ms; /* 0: the runner's */
    uint64_t retry, priority;
    slice concurrency, image;
    bool allow_failure, always, submodules, network;
    pipeline_home home;
    pipeline_sandbox sandbox;
    pipeline_cache cache;
    /* Its expansions: pipeline.jobs[first..first + n). */
    size_t first, n;
} job_text;

/* A job of the build. */
typedef struct pipeline_job {
    const job_text *text;
    slice name;     /* "test", or "test/3.10/arm": matrix values behind slashes */
    variables axes; /* its matrix values */
    slices needs;   /* names of such jobs */
} pipeline_job;

typedef struct pipeline {
    pipeline_places at;
    variables env;
    slices branches;
    bool supersede;
    job_text *texts;
    size_t texts_n;
    pipeline_job *jobs;
    size_t jobs_n;
} pipeline;

/* Errors as glob_check(), also for a path that begins with "~/". */
volt_code pipeline_cache_path_check(slice path, volt_err *err);
/* Reads a file.  NULL: the problems say why. */
const pipeline *pipeline_read(slice text, arena *mem, problems *p);

#endif
