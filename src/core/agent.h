/*
 * agent.h - the decisions of `volt runner`: events in, effects out.
 *
 * The agent stands between the dispatcher and one executor a slot (slot 0 plans, 1..slots run
 * tasks).  It does no job work: it hands attempts to executors, relays what they say, streams their
 * logs and artifacts from the spool under the dispatcher's credit, repeats results until they are
 * acknowledged, and goes on when the dispatcher or an executor goes away.
 *
 * Pure: no I/O, no clock, no logging.  Each event carries the time.  Effects are carried out in the
 * order given, before the next event; a READ effect is answered by AGENT_LOG_READ or AGENT_SPOOL,
 * at once or later.  What an effect points to stands until agent_effects_clear(), or belongs to the
 * event that was stepped: the caller keeps that alive until the effects are carried out.
 */
#ifndef VOLT_CORE_AGENT_H
#define VOLT_CORE_AGENT_H

#include "base/arena.h"
#include "core/msg.h"

#define AGENT_HELD_MAX   1024  /* attempts held at once, as hello and hb can list */
#define AGENT_INLINE_MAX 16384 /* bytes of a log that travels inside the result */
#define AGENT_CHUNK_MAX  65536 /* bytes of a log message */
#define AGENT_ITEMS_MAX  1000  /* outcomes in one message: 120 KB of a 256 KiB frame, ... */
#define AGENT_CASES_MAX  98304 /* ... and bytes of cases, which leaves room for a short log */
#define AGENT_LINGER_MS  200   /* a task that is done sooner has its log inside the result */
#define AGENT_STOP_MS    3000  /* executors get so long to end their tasks at a stop */
#define AGENT_BEATS      8     /* unanswered in a row, then an executor is hung ... */
#define AGENT_PATIENCE   15    /* ... this many times as many while it makes a workspace */
#define AGENT_HUNG_MS    120000

typedef struct agent agent;

typedef struct agent_config {
    const char *id, *name, *host, *boot; /* as in hello */
    const char *hist;                    /* last known history; NULL or "": none */
    uint64_t maxep;                      /* greatest epoch acted upon */
    const char *key;                     /* what its welcome told to be shown; NULL or "": none */
    unsigned slots;                      /* 1..MSG_SLOTS_MAX */
    slices labels;
    slices reach;
    int64_t hung_ms; /* silence of an executor that is asked, 0: AGENT_HUNG_MS */
    uint64_t seed;   /* of the jitter */
} agent_config;      /* borrowed for agent_new() */

typedef enum agent_event_kind {
    /* At the start, in this order: FOUND for each spooled attempt, EXEC_UP for each executor that
     * runs already, then BEGIN. */
    AGENT_FOUND,     /* task, att; msg: its assign, NULL when unreadable; has_result */
    AGENT_BEGIN,     /* everything that was there before has been told */
    AGENT_MSG,       /* msg from the dispatcher */
    AGENT_EXEC_UP,   /* slot: its executor is connected, its hb follows */
    AGENT_EXEC_MSG,  /* slot, msg from its executor */
    AGENT_EXEC_GONE, /* slot: its executor ended, cut the connection, or could not be started */
    AGENT_LOG_READ, /* task, att, stream, off, bytes: answers READ_LOG; fewer than asked: the end so
                       far */
    AGENT_SPOOL,   /* task, att, part, msg: answers a READ of that part; NULL: no (more) messages */
    AGENT_UNSAVED, /* a SAVE failed, and what it says to leave out then was left out */
    AGENT_DRAIN,   /* finish what is held, then leave */
    AGENT_STOP,    /* leave now: end what runs and give it back */
    AGENT_TICK,    /* time has passed: at the latest when agent_next_deadline_ms() says */
} agent_event_kind;

typedef enum agent_part { AGENT_PART_PLAN, AGENT_PART_TESTS, AGENT_PART_RESULT } agent_part;

typedef struct agent_event {
    agent_event_kind kind;
    int64_t now_ms; /* monotonic */
    unsigned slot;
    const msg *msg;
    uint64_t task, att, off;
    slice bytes;
    agent_part part;
    msg_part stream;
    bool has_result;
} agent_event;

typedef enum agent_effect_kind {
    AGENT_SEND,         /* msg: to the dispatcher */
    AGENT_EXEC,         /* slot, msg: to an executor */
    AGENT_SPAWN,        /* slot: start an executor, ending one that is left over there */
    AGENT_KILL,         /* slot: end its executor and all it started; EXEC_GONE says that it has */
    AGENT_SAVE,         /* hist, ep, key: make durable before the effects behind it are carried out;
                           when that fails, leave out each SEND and SAY behind it and tell UNSAVED */
    AGENT_READ_LOG,     /* task, att, stream, off, max: read the spooled log or artifacts */
    AGENT_READ,         /* task, att, part, off: the spooled messages; plan: from part `off` */
    AGENT_DELETE_SPOOL, /* task, att */
    AGENT_RECONNECT,    /* a new connection, to the next address of the dispatcher */
    AGENT_SAY,          /* text, warn: for people */
    AGENT_EXIT,         /* why, text: leave; nothing follows */
} agent_effect_kind;

typedef enum agent_exit { AGENT_DRAINED = 1, AGENT_STOPPED, AGENT_REFUSED } agent_exit;

typedef struct agent_effect {
    agent_effect_kind kind;
    unsigned slot;
    const msg *msg;
    uint64_t task, att, off, max, ep;
    const char *hist, *key;
    const char *text;
    agent_part part;
    msg_part stream;
    agent_exit why;
    bool warn;
} agent_effect;

typedef struct agent_effects {
    agent_effect *v;
    size_t n;
    size_t cap;
    arena arena;
} agent_effects; /* zero-initialise */

void agent_effects_clear(agent_effects *e);
void agent_effects_free(agent_effects *e);

/* Copies what it needs of *config. */
agent *agent_new(const agent_config *config);
void agent_free(agent *a);

/* One event; appends to *out.  Input never fails: what is not understood or out of place is
 * ignored. */
void agent_step(agent *a, const agent_event *ev, agent_effects *out);
/* Monotonic time at which an AGENT_TICK is due; HEAP_NEVER: none. */
int64_t agent_next_deadline_ms(const agent *a);

/* True between a welcome and the loss of the connection. */
bool agent_registered(const agent *a);
/* Attempts held, those not counted that are being killed because they are no longer ours. */
size_t agent_held(const agent *a);

#endif
