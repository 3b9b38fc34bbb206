/*
 * oracle.h - what the oracle remembers, shared by oracle.c (what is heard and done), oracle_said.c
 * (what the dispatcher says), oracle_rows.c (what becomes durable), oracle_verdict.c (what it
 * amounts to), oracle_core.c (what the machines keep), oracle_work.c (what is told of the work,
 * against what was really done), oracle_keep.c (what retention takes) and oracle_rest.c (how it
 * ends).
 */
#ifndef VOLT_TESTS_SIM_ORACLE_H
#define VOLT_TESTS_SIM_ORACLE_H

#include "sim.h"

#define AVOID_MS    66000 /* an unsuitable runner is avoided for at most so long */
#define BUILDS_MAX  16384
#define JOBS_LIMIT  8
#define UNITS_MAX   32
#define HELD_LIMIT  64
#define QUIET_LOOKS 20 /* half a second each: L4 allows 10 s */

/* Rows as they were committed. */
typedef struct known_job {
    bool there, tests, allow_failure, always, artifacts, special; /* special: wants the label */
    slice name;
    slices needs;
    slice concurrency;
    state state;
    verdict verdict;
    uint64_t units;
    verdict unit[UNITS_MAX];
    slice file[UNITS_MAX];
    uint64_t scripts; /* tasks that its script had */
    verdict script;   /* of the newest of them */
    verdict setup;    /* of the batch whose setup failed; verdict_none: none did */
    verdict given;    /* the worst of batches that ended without a process's word */
} known_job;

typedef struct known_build {
    uint64_t id;
    slice repo, ref, oid;
    uint64_t gen;
    uint64_t retry_of;
    slices passed; /* jobs that it takes over from there */
    state state;
    verdict verdict;
    bool canceled;
    uint64_t plan; /* its plan task */
    size_t jobs_n;
    known_job jobs[JOBS_LIMIT];
} known_build;

typedef struct known_task {
    uint64_t id, build, job;
    task_kind kind;
    state state;
    verdict verdict;
    uint64_t att, tries, done, log_bytes, artifact_bytes;
    char runner[33];
    int64_t requeued_ms;
    int64_t leased_ms, heard_ms; /* the newest attempt was given, was heard of; by oracle_now() */
    uint64_t tries_told;
    code back; /* how and when it came back to the queue last, and from whom */
    int64_t back_ms;
    char back_runner[33];
    unsigned unfit;     /* came back for want of what it takes, since the dispatcher's start */
    int64_t renewed_ms; /* its lease, by the dispatcher's clock less the gaps */
    size_t units_n;     /* a batch: places of its files in the job */
    uint32_t units[UNITS_MAX];
} known_task;

typedef struct known_runner {
    char id[33];
    bool there;            /* it has a row */
    runner_mode mode;      /* committed */
    runner_mode mode_put;  /* in the open transaction, too */
    runner_mode said_mode; /* as its newest hello said, ... */
    runner_mode own_mode;  /* ... which counts once it is welcome: it may be an older process's */
    int64_t hello_ms;      /* its newest, as known_task.renewed_ms */
    uint64_t slots;
    size_t busy, plans;
    bool special; /* has the label */
    bool left;    /* said bye */
    uint64_t hb;  /* its newest heartbeat, and what it listed */
    rec_held held[HELD_LIMIT];
    size_t held_n;
} known_runner;

typedef struct known_file {
    uint64_t told, told_failed; /* by outcomes */
    uint64_t runs, failures;    /* of them, in its history */
} known_file;

typedef struct known_submission {
    slice sid;
    uint64_t build;
} known_submission;

/* What really happened to an attempt. */
typedef struct truth {
    uint64_t task, att;
    unsigned starts;
    uint64_t bytes[PARTS_N];
    uint64_t credit[PARTS_N]; /* how far it may send them, as it was told */
    verdict verdict;
    verdict unit[UNITS_MAX]; /* of a batch, by place in it */
    bool setup_failed;
} truth;

typedef struct saw {
    slice sid, repo, ref, oid;
} saw;

/* An event's hashes: as it was encoded, and of its fields. */
typedef struct known_event {
    uint64_t frame, fields;
} known_event;

typedef struct pending {
    row row;
    known_event event;
    bool canceled; /* a build: somebody asked for its end */
} pending;

struct oracle {
    world *w;
    arena mem;  /* what is committed */
    arena open; /* of the open transaction */
    pending *pend;
    size_t pend_n, pend_cap;
    known_build *builds[BUILDS_MAX]; /* by id */
    uint64_t builds_n;
    known_task **tasks; /* by id */
    uint64_t tasks_n, tasks_cap;
    map runners;         /* id -> known_runner */
    map peers;           /* connection -> known_runner, by its newest hello */
    map repos;           /* name -> url it is bound to */
    map superseding;     /* repo|ref -> newest known_build that superseded others */
    map submissions;     /* sid -> known_submission */
    map identities;      /* repo, ref, oid, gen -> known_build */
    map files;           /* repo, job, file -> known_file */
    map truths;          /* task << 20 | att */
    known_event *events; /* by seq */
    uint64_t events_n, events_cap;
    uint64_t published; /* newest number published by this dispatcher process */
    uint64_t ep;
    saw *saws;
    size_t saws_n, saws_cap;
    uint64_t heard_task, heard_att; /* of the message that is handled; 0: it is of the newest */
    size_t heard_pend;
    bool heard_hostile;
    bool stale, must_notice, noticed; /* an old copy of the data; a runner said so; it is known */
    int64_t turn_gap_ms;              /* the pause that this turn of the dispatcher tells of */
    int64_t started_ms, gaps_ms;      /* the dispatcher's clock: its start, and its pauses since */
    uint64_t open_builds, open_tasks; /* that have no verdict */
    uint64_t turns;
    int64_t quiet_ms; /* no more faults since */
    size_t looks;
    uint64_t events_at[QUIET_LOOKS];  /* how many there were at the last looks */
    int64_t ended_ms;                 /* all builds had ended by then; 0: not yet */
    uint64_t assigns[RUNNERS_MAX];    /* L3: what came to each runner ... */
    unsigned idle_looks[RUNNERS_MAX]; /* ... while it was idle beside work, so often */
    struct oracle *past;              /* of the directory that was replaced */
    size_t turn_frames;               /* since the last commit */
    uint64_t window;                  /* log credit as a welcome told it */
    int64_t repo_nack_ms;             /* newest complaint about a repository or a disk */
    row_build *lines; /* of the builds as they are before a slice of retention, newest first */
    size_t lines_n, lines_cap;
};

known_task *oracle_task(const oracle *o, uint64_t task);
truth *oracle_truth(oracle *o, uint64_t task, uint64_t att);
bool is_leased(state s);
bool is_good(verdict v);
/* For messages. */
#define ULL(x) ((unsigned long long)(x))

/* The dispatcher's clock, less the pauses that it knows of. */
int64_t oracle_now(const oracle *o);
/* By its id, made when it is new. */
known_runner *oracle_runner(oracle *o, slice id);

/* One committed row; and what can be said of one at once. */
void oracle_apply(oracle *o, const pending *p);
/* A task has ended: if its setup failed, its job knows from now on. */
void oracle_note_setup(oracle *o, const known_task *t);
void oracle_put_now(oracle *o, const row *r);
/* Retention took all but its line, or all of it. */
bool oracle_is_forgotten(oracle *o, uint64_t build);
bool oracle_is_gone(oracle *o, uint64_t build);

/* ---- oracle_verdict.c ---- */

int badness(verdict v);
void oracle_check_task(oracle *o, const known_task *t);
void oracle_check_unit(oracle *o, const row_unit *r);
void oracle_check_job(oracle *o, const known_build *b, const known_job *j);
void oracle_check_build(oracle *o, const known_build *b);

/* ---- oracle_work.c ---- */

void work_hears(oracle *o, uint64_t peer, const msg *m);
void work_says(oracle *o, uint64_t peer, const msg *m);
void work_starts(oracle *o);
void work_task(oracle *o, const known_task *old, known_task *t, slice why);
void work_event(oracle *o, const msg_event *e);
void work_runner(oracle *o, known_runner *k, const row_runner *r);

/* ---- oracle_core.c ---- */

/* All has ended: nothing is left in memory. */
void oracle_check_empty(oracle *o);

#endif
