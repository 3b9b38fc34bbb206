/*
 * build.h - builds, their jobs, units and tasks: the things that get verdicts.
 *
 * A build has one plan task, then jobs.  A script job has one task at a time; a tests job has units
 * (files), which are handed out in batches: a batch is a task that lists units.  Units are handed
 * out in order (split.h puts them in it), so "not handed out yet" is one index.
 *
 * These are plain types with the rules that concern only themselves (roll-up, readiness); who runs
 * what and when is decided in match.c and by the handlers behind dispatch.c.
 * Memory: a build owns an arena with all its texts, jobs and units; tasks are allocated one by one.
 */
#ifndef VOLT_CORE_BUILD_H
#define VOLT_CORE_BUILD_H

#include "base/arena.h"
#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "core/lease.h"
#include "core/queue.h"
#include "core/row.h"
#include "core/verdict.h"

#define BUILD_JOBS_MAX  1000
#define BUILD_UNITS_MAX 100000
#define BUILD_PLAN_MAX  (32 << 20) /* bytes of its texts */

struct runner;

typedef struct repo {
    slice name;
    slice url;
    slice default_branch;
    slice local_host; /* of a `local:HOST:PATH` url: only that host or --repo reaches it; else empty
                       */
    fair_share share;
    map groups; /* name -> group */
} repo;

/* The jobs of a repository with one `concurrency`: at most one attempt of theirs runs at a time.
 * It is held while an attempt is leased, and longer when that is given up while it may still run:
 * until its runner has ended it for want of our word.  Kept while a job names it or it is held. */
typedef struct group {
    repo *repo;
    slice name;
    size_t jobs;         /* of builds in memory */
    list waiting;        /* of queue_item.in_group, in order */
    queue_item *offered; /* the first of these, in the queue while nothing holds the group */
    struct task *holder; /* its newest attempt is leased; NULL: none */
    heap_node until;     /* in the heap while a lost attempt holds it */
    bool restored;       /* that was so before this start */
    uint64_t lost_build; /* that attempt; 0: it is not known any more */
    uint64_t lost_task, lost_att;
    char lost_runner[33]; /* id */
    char *lost_job;
    list in_dispatch;
} group;

typedef struct unit {
    slice file;
    verdict verdict;      /* verdict_none: not done */
    uint32_t expected_ms; /* by its history, > 0; 0: nothing is known */
} unit;

typedef struct build build;

typedef struct job {
    build *build;
    uint64_t idx;
    slice name;
    slices needs;
    struct job **needed; /* the jobs that `needs` names, by build_resolve() */
    struct job **needed_by;
    size_t needed_by_n;
    struct job *next_ended; /* while what follows from its end is looked at */
    slices labels;
    slice spec;
    uint64_t priority, timeout_ms, retry, batch;
    bool allow_failure, always, tests;
    bool artifacts;    /* its tasks may leave some */
    slice concurrency; /* empty: none */
    group *group;      /* of that name, while the build is open */
    bool taken_over;   /* it passed in the build that is retried */
    state state;       /* CANCELING: its setup failed, and batches are still told to end */
    verdict verdict;
    slice why;
    unit *units; /* of a script job: NULL */
    size_t units_n;
    size_t units_expected; /* while loading */
    size_t units_out;      /* [0, units_out) are in a batch or done */
    uint64_t units_left;   /* weight of the others, by split.h */
    size_t units_done, units_bad;
    verdict rolled;                                        /* roll-up of what is done so far */
    uint64_t retried;                                      /* script: failed tries so far */
    size_t tasks_open;                                     /* not final */
    size_t busy;                                           /* of these, leased */
    int64_t ready_wall_ms, started_wall_ms, ended_wall_ms; /* 0: not yet */
    uint64_t work_ms, longest_ms; /* of units that are done, or of a script's tries */
    uint64_t artifact_bytes;      /* that its tasks left */
    queue_item item; /* queued while units wait to be cut into batches; a script's job ends before
                        it, for there may be a million of them */
} job;

/* The jobs of a plan whose parts have not all come, or were not accepted yet. */
typedef struct plan_draft {
    job **jobs;
    size_t n, cap;
    size_t units;
    size_t bytes; /* of its texts */
    uint64_t next_part;
    bool whole;
    bool supersede; /* older builds of the branch are canceled */
    arena arena;    /* with all of it but the arrays that grow */
} plan_draft;

typedef struct task {
    uint64_t id;
    build *build;
    job *job; /* NULL: the plan */
    task_kind kind;
    state state;
    verdict verdict;
    uint64_t att;
    uint32_t tries, nacks;
    uint32_t unfit; /* of the nacks, those of runners without the commit or what the job asks for */
    uint32_t *units; /* batch: indexes into job->units */
    size_t units_n;
    size_t done;      /* of these, reported */
    uint64_t cases;   /* of the next one's report that the newest attempt has told */
    bool cases_kept;  /* there may be some in the store, also an older attempt's */
    slice why;        /* in the build's arena */
    lease lease;      /* LEASED, RUNNING, CANCELING */
    queue_item item;  /* QUEUED */
    uint32_t missed;  /* heartbeats of its runner in a row that did not list it */
    uint64_t hb_seen; /* runner's heartbeat count when it was last listed */
    uint64_t avoid;   /* serial of a runner that shall not get it before avoid_until_ms; 0: none */
    int64_t avoid_until_ms;
    uint64_t bytes[PARTS_N]; /* received of the newest attempt's log and artifacts */
    bool log_short;          /* the log came inside the result */
    bool artifacts_whole;    /* and durable: an acknowledged result told of them */
    bool at_large;           /* it is being given up, and may still run */
    int64_t leased_wall_ms, since_wall_ms;
    uint64_t duration_ms, exit, signal, cpu_ms, max_rss_bytes;
    char runner_id[33]; /* of the newest attempt */
    slice runner_name;  /* in the build's arena */
    list in_build;
} task;

struct build {
    uint64_t id;
    repo *repo;
    slice ref, oid, subject, author, why;
    uint64_t gen, priority;
    uint64_t retry_of; /* build whose passed jobs count here; 0: none */
    slices passed;     /* their names */
    slices env;        /* NAME=VALUE */
    state state;
    verdict verdict;
    int64_t created_wall_ms, finished_wall_ms;
    job **jobs;
    size_t jobs_n;
    size_t jobs_open; /* not final */
    uint64_t units, units_done, units_bad;
    uint64_t left_ms; /* expected of the units that are not done */
    size_t busy;      /* its tasks that are leased */
    size_t slots;     /* most that were up when something of it was leased */
    list tasks;       /* of task.in_build */
    bool canceled;
    arena arena;
    plan_draft draft; /* what came of the plan task's newest attempt */
    arena plan;       /* that of the accepted draft */
    list in_dispatch;
};

build *build_new(uint64_t id, repo *repo);
/* With its tasks; none may be queued or leased. */
void build_free(build *b);
task *task_new(build *b, job *j, uint64_t id, task_kind kind);
/* A copy that lives as long as the build. */
slice build_keep(build *b, slice s);
slices build_keep_list(build *b, slices s);

/* A job at the end of the draft, or at that of a loaded build: its texts and lists in `a`. */
job *job_new(build *b, arena *a, const row_job *like);
/* Forgets what came of a plan. */
void draft_clear(plan_draft *draft);
/* The plan is accepted, or all its jobs are loaded: finds the jobs that others need, and those
 * others, and counts the open ones. */
void build_resolve(build *b);
/* Of an accepted plan: marks the jobs that passed in the build that is retried, which have no units
 * here. */
void build_take_over(build *b);

/* Its test files, 1 for a script; what is taken over counts for nothing. */
size_t job_size(const job *j);
/* A unit of it, or a try of its script, took so long. */
void job_add_work(job *j, uint64_t duration_ms);
/* The job of that name, or NULL. */
job *build_job(const build *b, slice name);

typedef enum job_need { NEED_MET, NEED_OPEN, NEED_FAILED } job_need;
/* Whether j's needs have all passed, some are open, or one can no longer pass (*which).  What
 * always runs only waits until they have ended. */
job_need job_needs(const job *j, const job **which);

/* Checks what the draft's jobs say, also of each other: files of tests jobs only, unique names,
 * known needs, no cycle.  VOLT_EINVALID with a sentence for the build's author. */
volt_code draft_check(const plan_draft *draft, volt_err *err);

/* The task is final: adds what it left to what its job did.  Of a script's tries the newest counts.
 */
void task_counts_artifacts(const task *t);

/* As rows; texts are borrowed from the build. */
void build_to_row(const build *b, row_build *ret);
void job_to_row(const job *j, row_job *ret);
/* `a` holds the packed unit list. */
void task_to_row(const task *t, arena *a, row_task *ret);

#endif
