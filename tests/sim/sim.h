/*
 * sim.h - the whole system in one process: real cores, virtual time, a network and disks that fail.
 *
 * A run is decided by its seed alone.  For its first part faults happen: processes are killed at
 * any effect, paused and restarted, connections break, messages are dropped, doubled and delayed.
 * Then faults stop, and within a bounded time everything has to come to rest.  The oracle looks at
 * all that becomes durable, is sent, or is done, and ends the program at the first thing that must
 * not be (protocol, section 6).
 *
 * sim.c         time, processes, the plan of a run
 * net.c         connections: PUSH, DEALER-ROUTER and PUB-SUB as far as they can fail
 * dispatcher.c  the dispatcher, its store and log files
 * runner.c      agents with their spools
 * executor.c    simulated executors
 * observer.c    observers with simulated repositories
 * reader.c      subscribers and clients
 * oracle.c      what must hold; oracle_rest.c: what must have come about at the end;
 *               oracle_work.c: what is told of the work, against what was really done
 */
#ifndef VOLT_TESTS_SIM_H
#define VOLT_TESTS_SIM_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/prng.h"
#include "core/agent.h"
#include "core/follow.h"
#include "core/watch.h"
#include "role/dispatcher.h"
#include "wire/codec.h"

#define RUNNERS_MAX   5
#define SLOTS_MAX     4
#define OBSERVERS_MAX 3
#define REPOS_MAX     3
#define FOLLOWERS_MAX 4
#define CLIENTS_MAX   3
#define LABEL_SPECIAL "gpu" /* only the first runner is sure to have it */

typedef struct world world;
typedef struct process process;
typedef struct net_link net_link;
typedef struct oracle oracle;

/* ---- processes ---- */

typedef struct process_ops {
    void (*start)(process *p);
    /* Its memory is gone; what is durable stays. */
    void (*crash)(process *p);
    /* A frame came in over `l`. */
    void (*frame)(process *p, net_link *l, uint64_t peer, slice frame);
    /* Its core's deadline, or the end of a pause (gap_ms > 0). */
    void (*time)(process *p, int64_t gap_ms);
    int64_t (*deadline_ms)(const process *p);
} process_ops;

/* A frame that waits: on its way, or before a stopped process. */
typedef struct packet {
    heap_node at; /* in world.packets */
    list node;
    net_link *link;
    uint64_t gen; /* the link's when it was sent */
    bool up;      /* towards the dispatcher */
    uint64_t peer;
    size_t n;
    char bytes[];
} packet;

struct process {
    world *w;
    const process_ops *ops;
    char name[16];
    bool up;
    uint64_t life;        /* counts starts */
    int64_t paused_ms;    /* stopped until; 0: runs */
    int64_t paused_since; /* when that began */
    int64_t up_at;        /* down: started again then; HEAP_NEVER: by somebody else */
    heap_node timer;      /* in world.timers: the core's deadline, the end of a pause, the start */
    list inbox;           /* of packets, while stopped */
    unsigned die_in;      /* killed before the n-th effect from now; 0: no */
    bool dying;           /* killed: nothing it does counts any more */
};

/* ---- the network ---- */

typedef enum link_kind { LINK_INTAKE, LINK_WORK, LINK_EVENTS } link_kind;

struct net_link {
    world *w;
    process *client;
    link_kind kind;
    bool runners;          /* the client is a runner */
    const char *topics[3]; /* EVENTS */
    bool open;             /* the client has its socket */
    bool connected;
    uint64_t peer;                /* the dispatcher's name for the connection, while connected */
    uint64_t gen;                 /* raised when what is on its way is lost */
    uint64_t tries;               /* invalidates connection attempts */
    int64_t last_up, last_down;   /* arrival of the newest frame each way: order is kept */
    int64_t stall_up, stall_down; /* nothing arrives before */
    list outbox;                  /* waits for the connection */
    size_t outbox_n;
    list in_world;
};

/* ---- the whole ---- */

typedef struct knobs {
    bool lossy;            /* any message may be lost, doubled, overtaken; else links only break */
    unsigned drop, dup;    /* per mille of messages, when lossy; of published ones, always */
    unsigned delay_max;    /* ms */
    unsigned kill;         /* weight of kills among faults */
    unsigned fault_gap_ms; /* mean time between faults */
    unsigned nack;         /* per mille of attempts that executors refuse */
    unsigned slow;         /* per mille of long units */
    unsigned power;        /* per cent of dispatcher kills that lose what was not synced */
    int64_t lease_ms;      /* 0: the dispatcher's default */
    int64_t faults_until_ms;
} knobs;

typedef struct event_call {
    heap_node at;
    void (*fn)(void *ctx, uint64_t arg);
    void *ctx;
    uint64_t arg;
} event_call;

struct sim_dispatcher;
struct sim_runner;
struct sim_observer;
struct sim_follower;
struct sim_client;

struct world {
    uint64_t seed;
    prng rng;
    knobs k;
    int64_t now_ms;
    bool calm;  /* no more faults */
    bool trace; /* tell the story */
    uint64_t hash;
    uint64_t steps;
    heap calls, packets, timers;
    list links;
    map peers; /* peer -> link, or &world.ghost: broken, not yet noticed */
    net_link ghost;
    uint64_t peers_n;
    uint64_t sids; /* sids and ids handed out */
    struct sim_dispatcher *dispatcher;
    struct sim_runner *runners[RUNNERS_MAX];
    size_t runners_n;
    struct sim_observer *observers[OBSERVERS_MAX];
    size_t observers_n;
    struct sim_follower *followers[FOLLOWERS_MAX];
    size_t followers_n;
    struct sim_client *clients[CLIENTS_MAX];
    size_t clients_n;
    oracle *oracle;
    arena scratch; /* of one step */
};

/* What a command line asks for beyond the seed. */
typedef struct sim_report {
    uint64_t hash, steps, virtual_ms, builds, events, tasks, restarts;
} sim_report;

void sim_run(uint64_t seed, bool trace, sim_report *ret);

/* ---- sim.c ---- */

uint64_t pick(world *w, uint64_t n); /* uniform in [0, n) */
bool chance(world *w, unsigned per_mille);
/* Between lo and hi ms, both included. */
int64_t some_ms(world *w, int64_t lo, int64_t hi);
void call_at(world *w, int64_t at_ms, void (*fn)(void *ctx, uint64_t arg), void *ctx, uint64_t arg);
/* One line of the story; who may be NULL. */
void tell(world *w, const process *who, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void tell_frame(world *w, const process *who, const char *what, slice frame);
/* Something that must not be: says it with seed and command line, and ends the program. */
void broken(world *w, const char *invariant, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), noreturn));
/* What must be the same in every run of the seed. */
void mix(world *w, uint64_t x);

void process_init(process *p, world *w, const process_ops *ops, const char *name, size_t number);
void process_start(process *p);
/* Its crash handler runs; it starts again after after_ms (negative: not by itself). */
void process_kill(process *p, int64_t after_ms);
/* Sets its timer anew. */
void process_arm(process *p);
/* Counts an effect; true: the process was killed before it (the caller ends what it does, then
 * calls process_kill()). */
bool process_dies(process *p);
/* After anything it did outside its handlers: its death, or its next deadline. */
void process_settle(process *p);
void process_deliver(process *p, net_link *l, packet *k);

/* Counted for the summary: what was exercised. */
void cover(const char *what, const char *kind);

/* ---- net.c ---- */

void link_init(net_link *l, process *client, link_kind kind);
void link_open(net_link *l);  /* connects by and by */
void link_close(net_link *l); /* with all that is on its way */
void link_break(net_link *l, bool noticed);
/* Towards the dispatcher.  False: no room. */
bool link_send(net_link *l, slice frame);
bool net_send(world *w, uint64_t peer, slice frame);
void net_publish(world *w, slice topic, slice frame);
void net_dispatcher_gone(world *w);
void net_fault(world *w);
void net_arrive(world *w, packet *k);
void net_free(world *w);

/* ---- the roles ---- */

void dispatcher_make(world *w);
void dispatcher_end(world *w);
void dispatcher_fault(world *w); /* its disk */
process *dispatcher_process(world *w);
const dispatch *dispatcher_now(world *w); /* NULL: it is down */
/* All that is stored is what was committed. */
void dispatcher_check_store(world *w);
uint64_t dispatcher_tries_max(world *w);

void runner_make(world *w, size_t number);
void runner_end(struct sim_runner *r);
process *runner_process(struct sim_runner *r);
void runner_fault(struct sim_runner *r); /* its machine, an executor, a signal */
bool runner_at_rest(const struct sim_runner *r, const char **why);
void runner_calm(struct sim_runner *r);
/* Empty when it is no runner's connection. */
slice runner_of_peer(const world *w, uint64_t peer);
bool runner_reaches(const world *w, slice id, slice repo);
/* One of its executors runs it. */
bool runner_works_at(const world *w, slice id, uint64_t task, uint64_t att);

void observer_make(world *w, size_t number);
void observer_end(struct sim_observer *o);
process *observer_process(struct sim_observer *o);
void observer_push(struct sim_observer *o); /* commits come */
bool observer_at_rest(const struct sim_observer *o, const char **why);
/* What its branches ended at was built. */
void observer_check(const struct sim_observer *o);

void follower_make(world *w, size_t number);
void follower_end(struct sim_follower *f);
process *follower_process(struct sim_follower *f);
bool follower_at_rest(const struct sim_follower *f, const char **why);

void client_make(world *w, size_t number);
void client_end(struct sim_client *c);
process *client_process(struct sim_client *c);
void client_act(struct sim_client *c);
bool client_at_rest(const struct sim_client *c, const char **why);
void client_calm(struct sim_client *c); /* puts all runners back to work */

/* ---- oracle ---- */

oracle *oracle_new(world *w);
void oracle_free(oracle *o);
/* A row went into the open transaction; the event as encoded. */
void oracle_put(oracle *o, const row *r, slice encoded);
void oracle_commit(oracle *o);
void oracle_rollback(oracle *o);
/* The dispatcher takes a frame; it has taken it. */
void oracle_hears(oracle *o, uint64_t peer, slice frame);
void oracle_heard(oracle *o);
/* The dispatcher has spoken: what comes is of the next turn. */
void oracle_spoken(oracle *o);
/* The dispatcher speaks. */
void oracle_sent(oracle *o, uint64_t peer, slice frame);
void oracle_published(oracle *o, slice topic, slice frame);
void oracle_dispatcher_started(oracle *o, uint64_t ep);
/* The dispatcher was stopped for so long, and takes it into account. */
void work_stood_still(oracle *o, int64_t gap_ms);
/* The dispatcher took all that was there and committed. */
void oracle_turn(oracle *o);
void oracle_nacked(oracle *o, const msg_nack *m);
/* Executors. */
void oracle_task_starts(oracle *o, slice runner_id, const msg_assign *m);
void oracle_unit_ended(oracle *o, uint64_t task, uint64_t att, slice file, verdict v);
void oracle_ended(oracle *o, uint64_t task, uint64_t att, verdict v);
void oracle_output(oracle *o, uint64_t task, uint64_t att, uint64_t log_bytes);
void oracle_spool_deleted(oracle *o, slice runner_id, uint64_t task, uint64_t att,
                          const msg_result *result);
/* Log files. */
void oracle_log_written(oracle *o, uint64_t task, uint64_t att, uint64_t off, slice bytes);
/* Observers and readers. */
void oracle_saw(oracle *o, const msg_submit *m);
void oracle_applied(oracle *o, const char *who, uint64_t expected, const msg_event *e);
uint64_t oracle_builds(const oracle *o);
uint64_t oracle_events(const oracle *o);
uint64_t oracle_tasks(const oracle *o);
/* A build's id, of those that were ever committed; 0: there is none. */
uint64_t oracle_some_build(oracle *o);
bool oracle_has_build(oracle *o, slice repo, slice ref, slice oid);
bool oracle_sid_done(oracle *o, slice sid);
/* Tells what runs and what waits. */
void oracle_explain(oracle *o);
bool oracle_at_rest(oracle *o, const char **why);
void oracle_final(oracle *o, store *s, buf *(*log)(world *w, uint64_t task, uint64_t att));

/* Byte `i` of what an attempt's process writes. */
unsigned char output_byte(uint64_t task, uint64_t att, uint64_t i);
uint64_t mix_bytes(uint64_t h, slice s);

#endif
