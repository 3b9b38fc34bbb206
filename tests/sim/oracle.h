/*
 * oracle.h - what the oracle remembers, shared by oracle.c (what is said and done), oracle_rows.c
 * (what becomes durable), oracle_work.c (both, against what was really done) and oracle_rest.c (how
 * it ends).
 */
#ifndef VOLT_TESTS_SIM_ORACLE_H
#define VOLT_TESTS_SIM_ORACLE_H

#include "sim.h"

#define BUILDS_MAX 4096
#define JOBS_LIMIT 8
#define UNITS_MAX  32
#define HELD_LIMIT 64

/* Rows as they were committed. */
typedef struct known_job {
    bool there, tests, allow_failure, special; /* special: wants the label */
    slice name;
    slices needs;
    state state;
    verdict verdict;
    uint64_t units;
    verdict unit[UNITS_MAX];
} known_job;

typedef struct known_build {
    uint64_t id;
    slice repo, ref, oid;
    uint64_t gen;
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
    uint64_t att, tries, done, log_bytes;
    char runner[33];
    int64_t requeued_ms;
    int64_t leased_ms, heard_ms; /* the newest attempt was given, was heard of */
    uint64_t tries_told;
    code back; /* how and when it came back to the queue last, and from whom */
    int64_t back_ms;
    char back_runner[33];
} known_task;

typedef struct known_runner {
    char id[33];
    runner_mode mode;
    uint64_t slots;
    size_t busy, plans;
    bool special; /* has the label */
    bool left;    /* said bye */
    uint64_t hb;  /* its newest heartbeat, and what it listed */
    rec_held held[HELD_LIMIT];
    size_t held_n;
} known_runner;

typedef struct known_submission {
    slice sid;
    uint64_t build;
} known_submission;

/* What really happened to an attempt. */
typedef struct truth {
    uint64_t task, att;
    char runner[33];
    unsigned starts;
    uint64_t log_bytes;
    uint64_t credit; /* how far it may send its log, as it was told */
    verdict ended;
    verdict unit[UNITS_MAX]; /* by their place in the job */
} truth;

typedef struct saw {
    slice sid, repo, ref, oid;
} saw;

typedef struct pending {
    row row;
    uint64_t hash; /* of an event */
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
    map runners;      /* id -> known_runner */
    map submissions;  /* sid -> known_submission */
    map identities;   /* repo, ref, oid, gen -> known_build */
    map truths;       /* task << 20 | att */
    uint64_t *events; /* hash by seq */
    uint64_t events_n, events_cap;
    uint64_t published; /* newest number published by this dispatcher process */
    uint64_t ep;
    saw *saws;
    size_t saws_n, saws_cap;
    uint64_t heard_task, heard_att; /* of the message that is handled; 0: it is of the newest */
    size_t heard_pend;
    size_t turn_frames;   /* since the last commit */
    uint64_t window;      /* log credit as a welcome told it */
    int64_t repo_nack_ms; /* newest complaint about an unreachable repository */
};

known_task *oracle_task(const oracle *o, uint64_t task);
truth *oracle_truth(oracle *o, uint64_t task, uint64_t att);
bool is_leased(state s);
bool is_good(verdict v);
/* For messages. */
#define ULL(x) ((unsigned long long)(x))

/* One committed row. */
void oracle_apply(oracle *o, const pending *p);

/* ---- oracle_work.c ---- */

void work_hears(oracle *o, uint64_t peer, const msg *m);
void work_says(oracle *o, uint64_t peer, const msg *m);
void work_starts(oracle *o);
void work_task(oracle *o, const known_task *old, known_task *t, slice why);
void work_event(oracle *o, const msg_event *e);
void work_unit(oracle *o, const row_unit *r);
void work_runner(oracle *o, known_runner *k, const row_runner *r);

#endif
