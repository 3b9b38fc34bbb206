/*
 * sim.h - the whole system in one process: real cores, virtual time, a network and disks that fail.
 *
 * A run is decided by its seed alone.  For its first part faults happen: processes are killed at
 * any effect, paused and restarted, connections break, messages are dropped, doubled and delayed.
 * Then faults stop, and within a bounded time everything has to come to rest.  The oracle looks at
 * all that becomes durable, is sent, or is done, and ends the program at the first thing that must
 * not be: rules.h names them all.
 *
 * sim.c         time and the course of a run
 * chaos.c       what goes wrong, how often, and when
 * process.c     processes and their clocks
 * net.c         connections: PUSH, DEALER-ROUTER and PUB-SUB as far as they can fail
 * hostile.c     strangers: malformed frames, and sound ones where they do not belong
 * dispatcher.c  the dispatcher, its store and log files
 * runner.c      agents with their spools; runner_fault.c: what happens to them
 * executor.c    simulated executors
 * observer.c    observers with simulated repositories
 * reader.c      subscribers and clients
 * oracle*.c     what must hold; oracle.h says what is where
 * count.c       what was exercised, and how many different states there were
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
#include "rules.h"
#include "wire/codec.h"

#define RUNNERS_FIRST 5 /* at the start at most; more may come */
#define RUNNERS_MAX   9
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

/* A frame that waits: on its way, or before a stopped process. */
typedef struct packet {
    heap_node at; /* in world.packets */
    list node;
    net_link *link;
    uint64_t gen; /* the link's when it was sent */
    bool up;      /* towards the dispatcher */
    bool hostile; /* a stranger's */
    uint64_t peer;
    size_t n;
    char bytes[];
} packet;

typedef struct process_ops {
    void (*start)(process *p);
    /* Its memory is gone; what is durable stays. */
    void (*crash)(process *p);
    /* A frame came in over `l`. */
    void (*frame)(process *p, const packet *k);
    /* Its core's deadline, or the end of a pause (gap_ms > 0). */
    void (*time)(process *p, int64_t gap_ms);
    /* In the world's time; see process_when(). */
    int64_t (*deadline_ms)(const process *p);
} process_ops;

struct process {
    world *w;
    const process_ops *ops;
    char name[16];
    uint32_t number; /* unique in its world */
    bool up;
    bool retired;         /* never started again */
    uint64_t life;        /* counts starts */
    int64_t paused_ms;    /* stopped until; 0: runs */
    int64_t paused_since; /* when that began */
    int64_t up_at;        /* down: started again then; HEAP_NEVER: by somebody else */
    heap_node timer;      /* in world.timers: the core's deadline, the end of a pause, the start */
    list inbox;           /* of packets, while stopped */
    unsigned die_in;      /* killed before the n-th effect from now; 0: no */
    bool dying;           /* killed: nothing it does counts any more */
    int64_t clock_ppm;    /* its monotonic clock goes so much faster than the world's */
    int64_t clock_ms;     /* and began at this */
    int64_t wall_off_ms;  /* its wall clock is wrong by */
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
    uint64_t last_words;          /* what goes up under this gen arrives all the same; 0: none */
    uint64_t tries;               /* invalidates connection attempts */
    int64_t last_up, last_down;   /* arrival of the newest frame each way: order is kept */
    int64_t stall_up, stall_down; /* nothing arrives before */
    list outbox;                  /* waits for the connection */
    size_t outbox_n;
    list in_world;
};

/* ---- the whole ---- */

/* The course of a run: all of its chances.  Per mille unless it says otherwise. */
typedef struct knobs {
    bool lossy;            /* any message may be lost, doubled, overtaken; else links only break */
    unsigned drop, dup;    /* of messages, when lossy; of published ones, always */
    unsigned delay_max;    /* ms */
    unsigned kill;         /* weight of kills among faults, 0..10 */
    unsigned fault_gap_ms; /* mean time between faults */
    unsigned work_gap_ms;  /* and between pushes and commands */
    unsigned nack;         /* of attempts that executors refuse */
    unsigned slow;         /* of units: long ones */
    unsigned power;        /* of dispatcher deaths: those that lose what was not synced */
    unsigned hostile;      /* of faults: malformed and misplaced frames */
    unsigned disk;         /* of dispatcher faults: its disk fails, or is full */
    unsigned rebirth;      /* of dispatcher faults: its data directory is replaced */
    unsigned drift;        /* of processes: those whose clock is wrong */
    int64_t lease_ms, hb_ms; /* 0: the dispatcher's default */
    dispatcher_keep keep;
    int64_t look_ms; /* an observer looks at its repositories at most so seldom */
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
    bool long_haul;
    char days[24]; /* as the command line said */
    uint64_t hash;
    uint64_t steps;
    uint64_t checks[RULES_N];
    uint64_t task_states; /* of all open tasks: the sum of their classes' hashes */
    unsigned timeline;    /* raised when the dispatcher's data directory is replaced */
    uint32_t processes_n;
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
    struct hostile *hostile;
    oracle *oracle;
    arena scratch; /* of one step */
};

typedef struct sim_options {
    uint64_t seed;
    bool trace;  /* tell the story */
    double days; /* of virtual time with faults; 0: as the seed chooses, a minute at most */
} sim_options;

typedef struct sim_report {
    uint64_t hash, steps, virtual_ms, builds, events, tasks, restarts;
    uint64_t checks[RULES_N];
} sim_report;

void sim_run(const sim_options *options, sim_report *ret);

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
void broken(world *w, rule which, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), noreturn));
/* A rule was put to the test. */
static inline void checked(world *w, rule which)
{
    w->checks[which]++;
}
const char *rule_text(rule r);
const char *rule_sentence(rule r);
const char *rule_where(rule r);
/* What must be the same in every run of the seed. */
void mix(world *w, uint64_t x);

/* ---- process.c ---- */

void process_init(process *p, world *w, const process_ops *ops, const char *name, size_t number);
void process_start(process *p);
/* Its crash handler runs; it starts again after after_ms (negative: not by itself). */
void process_kill(process *p, int64_t after_ms);
void process_pause(process *p, int64_t for_ms);
/* Sets its timer anew. */
void process_arm(process *p);
/* Its timer rang. */
void process_time(process *p);
/* It goes on, or starts, now. */
void process_wake(process *p);
/* Counts an effect; true: the process was killed before it (the caller ends what it does, then
 * calls process_kill()). */
bool process_dies(process *p);
/* After anything it did outside its handlers: its death, or its next deadline. */
void process_settle(process *p);
void process_deliver(process *p, packet *k);
/* What its own clocks say. */
int64_t process_now(const process *p);
int64_t process_wall(const process *p);
/* When its own monotonic clock will say so, in the world's time. */
int64_t process_when(const process *p, int64_t local_ms);
/* Runs, is stopped, or is down. */
uint64_t process_class(const process *p);

/* ---- chaos.c ---- */

void chaos_choose(world *w, const sim_options *options);
void chaos_begin(world *w);
/* It is started again within. */
int64_t chaos_absence_ms(const process *p);
/* No more faults: all processes run, and whoever was told to rest is put back to work. */
void chaos_end(world *w);

/* ---- hostile.c ---- */

/* Remembers a frame, to be misused later. */
void hostile_saw(world *w, slice frame);
/* Sends one over some connection, whichever way. */
void hostile_send(world *w);
void hostile_free(world *w);

/* ---- count.c ---- */

/* Counted for the summary: what was exercised. */
void cover(const char *what, const char *kind);
void cover_print(void);
/* Names in the file that were never counted are said; how many. */
int cover_check(const char *path);
/* The world's present state, as far as it is abstract, is one of those that were seen. */
void states_add(uint64_t hash);
uint64_t states_n(void);
void count_free(void);

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
/* No more cuts. */
void net_heal(world *w);
/* One that is connected; NULL: none. */
net_link *net_some_link(world *w, bool runners);
/* A stranger's frame over a connection, to the dispatcher or to its peer. */
void net_inject(net_link *l, bool up, slice frame);
void net_arrive(world *w, packet *k);
void net_free(world *w);

/* ---- the roles ---- */

/* What is not at rest yet. */
typedef struct rest {
    rule rule;
    const char *why;
} rest;

void dispatcher_make(world *w);
void dispatcher_end(world *w);
void dispatcher_fault(world *w); /* its disk, or its data directory */
void dispatcher_calm(world *w);
uint64_t dispatcher_class(const world *w); /* its abstract state */
store *dispatcher_store(world *w);
size_t dispatcher_owes(world *w); /* bytes that it has not sent yet */
process *dispatcher_process(world *w);
const dispatch *dispatcher_now(world *w); /* NULL: it is down */
/* Whether a loss of power took this byte of a log file, and nobody wrote it again. */
bool dispatcher_log_torn(const world *w, const log_name *name, uint64_t at);
/* All that is stored is what was committed. */
void dispatcher_check_store(world *w);
uint64_t dispatcher_tries_max(world *w);
int64_t dispatcher_lease_ms(const world *w);
const char *dispatcher_history(const world *w); /* of its data directory */

void runner_make(world *w, size_t number);
/* One more runner, or one less for good. */
void runner_scale(world *w);
void runner_end(struct sim_runner *r);
process *runner_process(struct sim_runner *r);
void runner_fault(struct sim_runner *r); /* its machine, an executor, a signal */
bool runner_at_rest(const struct sim_runner *r, rest *ret);
void runner_calm(struct sim_runner *r);
uint64_t runner_class(const struct sim_runner *r);  /* its abstract state */
bool runner_is_retired(const struct sim_runner *r); /* taken away for good */
/* It was told to leave before since_ms, and is there. */
bool runner_is_draining(const struct sim_runner *r, int64_t since_ms);
/* The greatest epoch of that history that a runner keeps. */
uint64_t runner_greatest_epoch(const world *w, const char *hist);
/* Slots in which nothing is, as far as itself knows; *assigns: how many ever came. */
uint64_t runner_idle_slots(const struct sim_runner *r, bool plan, uint64_t *assigns);
/* S17: its agent remembers nothing of what has ended. */
void runner_check_empty(const struct sim_runner *r);
bool runner_is_special(const struct sim_runner *r); /* has the label */
slice runner_id(const struct sim_runner *r);
slice runner_name(const struct sim_runner *r);
/* Empty when it is no runner's connection. */
slice runner_of_peer(const world *w, uint64_t peer);
bool runner_reaches(const world *w, slice id, slice repo);
/* One of its executors runs it. */
bool runner_works_at(const world *w, slice id, uint64_t task, uint64_t att);

void observer_make(world *w, size_t number);
void observer_end(struct sim_observer *o);
process *observer_process(struct sim_observer *o);
void observer_push(struct sim_observer *o); /* commits come */
bool observer_at_rest(const struct sim_observer *o, rest *ret);
/* What its branches ended at was built. */
void observer_check(const struct sim_observer *o);
/* What was accepted months ago may be lost, by no fault of the system's. */
void observer_forgive(struct sim_observer *o);

void follower_make(world *w, size_t number);
void follower_end(struct sim_follower *f);
process *follower_process(struct sim_follower *f);
bool follower_has(const struct sim_follower *f, uint64_t events);
bool follower_at_rest(const struct sim_follower *f, rest *ret);

void client_make(world *w, size_t number);
void client_end(struct sim_client *c);
process *client_process(struct sim_client *c);
void client_act(struct sim_client *c);
bool client_at_rest(const struct sim_client *c, rest *ret);
void client_calm(struct sim_client *c); /* puts all runners back to work */

/* ---- oracle ---- */

/* `past` (may be NULL, freed): of the data directory that this one replaces. */
oracle *oracle_new(world *w, oracle *past);
void oracle_free(oracle *o);
/* A row went into the open transaction; the event as encoded. */
void oracle_put(oracle *o, const row *r, slice encoded);
void oracle_commit(oracle *o);
void oracle_rollback(oracle *o);
/* The dispatcher takes a frame, which may be a stranger's; it has taken it. */
void oracle_hears(oracle *o, uint64_t peer, slice frame, bool hostile);
void oracle_heard(oracle *o);
/* It did not run for so long, and knows. */
void oracle_gap(oracle *o, int64_t gap_ms);
/* The dispatcher has spoken: what comes is of the next turn. */
void oracle_spoken(oracle *o);
/* The dispatcher speaks. */
void oracle_sent(oracle *o, uint64_t peer, slice frame);
void oracle_published(oracle *o, slice topic, slice frame);
void oracle_dispatcher_started(oracle *o, uint64_t ep);
/* The dispatcher committed and spoke; `all`: nothing waits for it. */
void oracle_turn(oracle *o, bool all);
/* It works on an old copy of its data from now on; it does; it has said so. */
void oracle_is_stale(oracle *o);
void oracle_adopt(oracle *o); /* once the rows of the copy are known */
/* It goes on from that as another history: all rules hold again. */
void oracle_renamed(oracle *o);
bool oracle_stale(const oracle *o);
bool oracle_noticed(const oracle *o);
/* Before and after a slice of retention. */
void oracle_prunes(oracle *o, store *s);
void oracle_pruned(oracle *o, store *s, const store_old *old);
void oracle_nacked(oracle *o, const msg_nack *m);
/* Executors. */
void oracle_task_starts(oracle *o, slice runner_id, const msg_assign *m);
/* Two tasks are of one concurrency group. */
bool oracle_same_group(const oracle *o, uint64_t task, uint64_t other);
void oracle_task_ends(oracle *o, uint64_t task, uint64_t att, verdict v);
/* A batch ends for its setup failed. */
void oracle_setup_fails(oracle *o, uint64_t task, uint64_t att);
/* The n-th of the assign's files has its verdict. */
void oracle_unit_ends(oracle *o, const msg_assign *m, uint64_t n, verdict v);
/* So many bytes of its log or artifacts exist. */
void oracle_output(oracle *o, uint64_t task, uint64_t att, msg_part part, uint64_t bytes);
void oracle_spool_deleted(oracle *o, slice runner_id, uint64_t task, uint64_t att,
                          const msg_result *result);
/* Log files. */
/* Length of a final task's log or artifacts; 0: it is not final, has none, or that is no attempt of
 * its. */
uint64_t oracle_final_bytes(const oracle *o, const log_name *name);
void oracle_log_written(oracle *o, const log_name *name, uint64_t off, slice bytes);
/* Observers and readers. */
void oracle_saw(oracle *o, const msg_submit *m);
void oracle_applied(oracle *o, const char *who, uint64_t expected, const msg_event *e);
/* A subscriber goes on behind events that are no longer kept. */
void oracle_floor(oracle *o, const char *who, uint64_t to);
uint64_t oracle_events(const oracle *o);
/* Builds, tasks and events of all histories. */
void oracle_sum(const oracle *o, sim_report *ret);
/* A build's id, of those that were ever committed; 0: there is none. */
uint64_t oracle_some_build(oracle *o);
/* One that ended badly, of several jobs; 0: none. */
uint64_t oracle_bad_build(oracle *o);
/* The nth newest task that is leased, from 1, or the oldest when they are fewer; without any, nth.
 */
uint64_t oracle_leased_task(const oracle *o, uint64_t nth);
bool oracle_has_build(oracle *o, slice repo, slice ref, slice oid);
/* The name belongs to a repository of another url, in the history that stands now. */
bool oracle_is_taken(oracle *o, slice repo, slice url);
bool oracle_sid_done(oracle *o, slice sid);
/* Tells what runs and what waits. */
void oracle_explain(oracle *o);
bool oracle_at_rest(oracle *o, rest *ret);
/* Looks every half second, once there are no more faults. */
void oracle_quiet(oracle *o);
void oracle_final(oracle *o, store *s, buf *(*file)(world *w, const log_name *name));

/* Byte `i` of what an attempt's process writes, or leaves. */
static inline unsigned char output_byte(const log_name *n, uint64_t i)
{
    return (unsigned char)(n->task * 31 + n->att * 57 + n->part * 101u + i * 7 + (i >> 8) * 13);
}
/* Bytes `off` and following. */
void output_fill(char *to, const log_name *name, uint64_t off, size_t n);
static inline uint64_t mix_word(uint64_t h, uint64_t x)
{
    h = (h ^ x) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ h >> 29;
}
uint64_t mix_bytes(uint64_t h, slice s);
/* How many cases an attempt's file at that place of its batch reports, and what they are. */
uint64_t unit_cases(uint64_t task, uint64_t att, uint64_t place);
rec_test_case unit_case(arena *a, uint64_t task, uint64_t att, uint64_t place, uint64_t n);
uint64_t event_fields(const msg_event *e); /* a hash of all of them */

#endif
