/*
 * row.h - what the dispatcher keeps: one C type a table of the store.
 *
 * The core emits rows, the store writes them (each PUT is an upsert of the whole row by its key)
 * and gives them back at the next start.  Texts are borrowed.  *_ms with `wall` semantics are
 * milliseconds since 1970 and for display only; deadlines are never stored.
 */
#ifndef VOLT_CORE_ROW_H
#define VOLT_CORE_ROW_H

#include "core/msg.h"

typedef struct row_repo { /* key: name */
    slice name;
    slice url; /* the first one seen; another under the name is refused */
    slice default_branch;
    slices held; /* concurrency groups that a lost attempt may still run in */
} row_repo;

typedef struct row_submission { /* key: sid */
    slice sid;
    uint64_t build; /* 0: rejected for good */
    code refused;   /* when build is 0 */
    int64_t wall_ms;
} row_submission;

typedef struct row_build { /* key: build; unique (repo, ref, oid, gen) */
    uint64_t build;
    slice repo;
    slice ref;
    slice oid;
    uint64_t gen;
    slice subject;
    slice author;
    uint64_t priority;
    state state; /* WAITING (for its plan), RUNNING, CANCELING, FINAL */
    verdict verdict;
    slice why;
    int64_t created_ms, finished_ms; /* wall */
    uint64_t units, units_done, units_bad;
    uint64_t slots;    /* most that were up when something of it was handed out */
    uint64_t retry_of; /* build of the same commit whose passed jobs count here; 0: none */
    slices passed;     /* their names */
    slices env;        /* NAME=VALUE, as its submission gave it */
    bool forgotten;    /* retention took all but this row */
} row_build;

typedef struct row_job { /* key: (build, idx); name is unique in the build */
    uint64_t build;
    uint64_t idx; /* place in the plan, from 0 */
    slice name;
    slices needs;
    slices labels;
    slice spec;
    uint64_t priority, timeout_ms, retry, batch;
    bool allow_failure, always, tests, artifacts;
    state state;
    verdict verdict;
    slice why;
    uint64_t units, units_done, units_bad;
    int64_t ready_ms, started_ms, ended_ms; /* wall; 0: not yet */
    uint64_t work_ms, longest_ms;           /* durations of units, or of a script's tries */
    uint64_t artifact_bytes;                /* that its tasks left */
    slice concurrency;                      /* group in its repository; empty: none */
} row_job;

typedef struct row_unit { /* key: (build, job, i): one test file of a job */
    uint64_t build;
    uint64_t job; /* idx */
    uint64_t i;
    slice file;           /* empty in an update: leave as it is */
    uint64_t expected_ms; /* its duration by its history; 0: nothing is known */
    verdict verdict;      /* 0: not done */
    uint64_t duration_ms, task, att, log_off, log_len, exit, signal;
    uint64_t tries;      /* runs it took; 0: one */
    uint64_t cases, bad; /* of its report; of these, failed or errored */
} row_unit;

typedef struct row_case { /* key: (build, job, i, n): a case of a unit's report */
    uint64_t build, job, i;
    uint64_t n; /* its place in the report, from 0 */
    slice name;
    verdict verdict;
    uint64_t duration_ms;
    slice message;
} row_case;

#define ROW_JOB_PLAN UINT64_MAX /* row_task.job of the plan task */

typedef struct row_task { /* key: task */
    uint64_t task;
    uint64_t build;
    uint64_t job; /* idx, or ROW_JOB_PLAN */
    task_kind kind;
    state state;
    verdict verdict;
    uint64_t att;   /* newest attempt; 0: none yet */
    uint64_t tries; /* lost attempts */
    slice runner;   /* id of the newest attempt's runner */
    slice units;    /* batch: indexes as little-endian uint32, in order */
    uint64_t done;  /* of these, reported */
    slice why;
    int64_t since_ms; /* wall: last change of state */
    uint64_t duration_ms, exit, signal, log_bytes, cpu_ms, max_rss_bytes, artifact_bytes;
} row_task;

typedef struct row_attempt { /* key: (task, att) */
    uint64_t task, att;
    slice runner;      /* id */
    slice runner_name; /* as it was then */
    state state;
    verdict verdict;
    code code;                   /* why it was given up */
    int64_t leased_ms, ended_ms; /* wall */
    uint64_t log_bytes, artifact_bytes;
} row_attempt;

typedef struct row_log { /* key: (task, att): a short log; long ones are files */
    uint64_t task, att;
    slice bytes;
} row_log;

typedef struct row_file { /* key: (repo, job, file): the history of a test file; core/history.h */
    slice repo;
    slice job; /* name */
    slice file;
    uint64_t mean_ms;  /* duration, what is older counting less */
    uint64_t runs;     /* that told something of the file */
    uint64_t failures; /* of them */
    uint64_t flaky;    /* commits at which it both failed and passed */
    slice flaky_oid;   /* the newest of these; empty: none */
    slice oid;         /* of the newest run */
    verdict verdict;   /* of the newest run */
    int64_t seen_ms;   /* wall: newest run */
} row_file;

typedef struct row_cursor { /* key: name: what the dispatcher itself makes of its events */
    slice name;             /* "files": the histories of test files */
    uint64_t seq;           /* newest event that is in them */
} row_cursor;

typedef struct row_runner { /* key: id */
    slice id;
    slice name;
    slice host;
    slice boot;
    slices labels;
    slices reach;
    uint64_t slots;
    runner_mode mode; /* set by an operator */
    runner_state state;
    uint64_t losses; /* in a row */
    int64_t seen_ms; /* wall: last hello */
} row_runner;

typedef enum row_kind {
    ROW_REPO,
    ROW_SUBMISSION,
    ROW_BUILD,
    ROW_JOB,
    ROW_UNIT,
    ROW_CASE,
    ROW_TASK,
    ROW_ATTEMPT,
    ROW_LOG,
    ROW_FILE,
    ROW_CURSOR,
    ROW_RUNNER,
    ROW_EVENT,
    ROW_KINDS
} row_kind;

typedef struct row {
    row_kind kind;
    union {
        row_repo repo;
        row_submission submission;
        row_build build;
        row_job job;
        row_unit unit;
        row_case test_case;
        row_task task;
        row_attempt attempt;
        row_log log;
        row_file file;
        row_cursor cursor;
        row_runner runner;
        msg_event event; /* key: seq; stored encoded, so that a replay only copies */
    };
} row;

#endif
