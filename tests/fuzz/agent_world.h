/*
 * agent_world.h - what is around an agent that is fuzzed, and what must hold there whatever it is
 * told: its dispatcher's connection, its executors, its spool, its disk.
 */
#ifndef VOLT_TESTS_FUZZ_AGENT_WORLD_H
#define VOLT_TESTS_FUZZ_AGENT_WORLD_H

#include "core/agent_parts.h"
#include "script.h"

#define SLOTS_MOST   4
#define ATTEMPTS_MAX 96
#define WANTS_MAX    ((size_t)AGENT_HELD_MAX * PARTS_N)
#define PARTS_MAX    4
#define UNITS_MAX    8

/* What the world knows of an attempt in this history. */
typedef struct known {
    uint64_t task, att;
    task_kind kind;
    bool old;      /* of a history that is gone */
    bool ordered;  /* an executor was given it */
    bool released; /* the runner may forget it: the dispatcher said so, or nothing came of it */
    bool nacked;   /* by the runner, in this life of the agent */
    bool spooled;  /* an executor has made a spool */
    bool damaged;
    size_t plan_parts, units;                /* spooled */
    bool has_result, told_result, told_more; /* told: since the last answer */
    verdict verdict;
    uint64_t log_bytes;                          /* written */
    uint64_t arrived[PARTS_N], most[PARTS_N];    /* said to have; the end of all credit given */
    uint64_t end[PARTS_N], items_end, parts_end; /* told to the dispatcher */
    bool turn; /* whose credit comes next: the log's or the artifacts' */
} known;

typedef struct executor {
    bool coming, connected, dying; /* one of them; or there is none */
    bool deaf, asked, leaving, started;
    known *works, *last;
} executor;

typedef struct want {
    uint64_t task, att, off, max;
    msg_part stream;
} want;

typedef struct world {
    script in;
    arena arena; /* of the event */
    agent *a;
    agent_effects out;
    int64_t now_ms;
    known known[ATTEMPTS_MAX];
    size_t known_n;
    executor exec[SLOTS_MOST + 1];
    unsigned slots;
    want wants[WANTS_MAX];
    size_t wants_n;
    uint64_t ep, tasks; /* the dispatcher's */
    unsigned hist;
    char durable_hist[33], durable_key[33];
    uint64_t durable_ep;
    bool silent; /* the dispatcher answers nothing by itself */
    bool disk_full;
    bool no_start;    /* executors fail at once */
    bool hello, beat; /* waits for an answer */
    bool exited, unsaved;
    agent_exit why;
} world;

/* The attempt of this history; NULL: never heard of. */
/* Bytes of the artifacts that an attempt leaves. */
uint64_t world_artifacts(const known *k);
known *world_find(world *w, uint64_t task, uint64_t att);
/* One event, its effects, and what must hold after it. */
void world_step(world *w, agent_event ev);
/* A message from the dispatcher. */
void world_tell(world *w, const msg *m);
/* Answers what was asked last of a log. */
void world_answer_log(world *w);
void world_executor_dies(world *w, unsigned slot);
/* Outcomes from..to-1 of an attempt, in `a`. */
rec_item_list world_units(size_t from, size_t to, arena *a);

#endif
