/*
 * runner.h - shared by runner.c (agent, spool), runner_fault.c, executor.c
 * and executor_life.c.
 */
#ifndef VOLT_TESTS_SIM_RUNNER_H
#define VOLT_TESTS_SIM_RUNNER_H

#include "sim.h"

#define ITEMS_MAX 64

/* WORK/spool/<task>-<att>.  The bytes of the log and the artifacts are known from their length. */
typedef struct spool {
    list node;
    struct sim_runner *r;
    uint64_t task, att;
    unsigned timeline; /* the world's when it began; 0: that of an older history */
    bool torn;         /* the assign cannot be read */
    buf assign;
    buf plan, tests; /* frames, each behind its length (8 bytes) */
    uint64_t bytes[PARTS_N];
    buf result;
} spool;

typedef enum exec_phase { EXEC_IDLE, EXEC_FETCH, EXEC_UNITS, EXEC_DONE, EXEC_REFUSED } exec_phase;

typedef struct executor {
    struct sim_runner *r;
    unsigned slot;
    bool up;
    bool connected;
    uint64_t conn;        /* raised when the connection to the agent is made or lost */
    uint64_t serial;      /* raised when what was planned is off */
    int64_t last_out;     /* arrival of the newest frame at the agent */
    uint64_t said, heard; /* frames to the agent, and those of them that arrived: in order */
    bool leaving;
    int64_t hangs_ms; /* stopped until */
    list held_back;   /* what came meanwhile */
    exec_phase phase;
    bool started, canceled;
    int64_t until_ms; /* one that is alone is ended then, by the world's clock */
    arena mem;        /* of `order` */
    msg order;
    spool *spool;
    int64_t began_ms, left_ms; /* of the unit */
    bool in_setup;
    uint64_t set_up;        /* the job whose setup ran here; 0: none */
    uint64_t next, flushed; /* units ended; told by `tests` */
    rec_item items[ITEMS_MAX];
    size_t items_n;
    verdict worst;
} executor;

typedef struct sim_runner {
    process p;
    world *w;
    size_t number;
    char id[33], name[16], host[16];
    char hist[33]; /* durable, with ep */
    uint64_t ep;
    char key[33];
    unsigned slots;
    slice labels[1], reach[1];
    size_t labels_n, reach_n;
    agent *a;
    agent_effects out;
    net_link work;
    int64_t broken_ms;  /* no executor starts before */
    uint64_t assigns;   /* that came */
    map given_back;     /* task << 20 | att, by this process in this history */
    int64_t retired_ms; /* taken away since; 0: not */
    bool drained;       /* and told to drain before */
    bool cursed;        /* what it starts dies */
    executor exec[SLOTS_MAX + 1];
    list spools;
    list whispers; /* on their way between executors and agent */
    buf frame;
} sim_runner;

/* ---- executor.c: what it runs ---- */

void executor_take(executor *x, slice frame);
bool executor_busy(const executor *x);
/* Tells the agent what it has. */
void executor_report(executor *x);
/* Ends what runs, and then itself. */
void executor_leave(executor *x);

/* ---- executor_life.c: its process ---- */

void executor_start(executor *x);
/* Killed, with its task. */
void executor_die(executor *x);
/* It is stopped for a while. */
void executor_hang(executor *x);
/* It is stopped: the frame waits until it goes on. */
void executor_hold_back(executor *x, slice frame);
/* The agent's socket is there (told: the agent knows), or gone. */
void executor_connect(executor *x, bool told);
void executor_disconnect(executor *x);
void executor_free(executor *x);

/* ---- cases.c ---- */

typedef void cases_say(void *ctx, const msg *m);

/* Fills in an item's counts. */
void cases_count(const msg_assign *order, uint64_t place, rec_item *item);
/* The cases of the items of a batch from place `from` on. */
rec_test_case_list cases_of(const msg_assign *order, uint64_t from, const rec_item_list *items,
                            arena *a);
/* Tells them all, by `tests`. */
void cases_tell(const msg_assign *order, uint64_t from, const rec_item_list *items, cases_say *say,
                void *ctx);

/* ---- runner.c ---- */

/* Of what runs somewhere nothing is of the group of what starts at x. */
void runner_check_alone(const executor *x);
/* Steps the agent and carries out what it asks for. */
void runner_steps(sim_runner *r, agent_event ev);
void runner_spool_free(spool *s);

/* An executor speaks, or (NULL frame) is gone. */
void runner_hears(executor *x, slice frame, bool gone);
/* What is still on its way. */
void runner_forget_whispers(sim_runner *r);
spool *runner_spool(sim_runner *r, uint64_t task, uint64_t att);
spool *runner_spool_new(sim_runner *r, uint64_t task, uint64_t att, slice assign);

#endif
