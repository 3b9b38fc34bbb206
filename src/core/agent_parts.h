/*
 * agent_parts.h - the inside of the agent, shared by its files: agent.c (life, leaving, the step),
 * agent_session.c (the session with the dispatcher), agent_task.c (attempts), agent_slot.c
 * (executors), agent_alone.c (attempts of a concurrency group), agent_flow.c (what an attempt still
 * has to tell: plan, outcomes, log, result), agent_outcomes.c (of these, the outcomes).
 * Nobody else includes this.
 */
#ifndef VOLT_CORE_AGENT_PARTS_H
#define VOLT_CORE_AGENT_PARTS_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/prng.h"
#include "core/agent.h"
#include "core/outcome.h"

#define AGENT_ENDED_MAX 1024 /* ended attempts remembered, so that a late assign starts nothing */

/* One of an attempt's streams of bytes. */
typedef struct stream {
    uint64_t sent, acked, window;
    uint64_t asked; /* of the READ_LOG under way */
    bool reading;
    bool streamed; /* a piece was sent: a log can no longer travel in the result */
    bool ended;    /* a piece with eof was sent */
} stream;

typedef struct attempt {
    list link;
    uint64_t task, att, ep;
    char key[33]; /* of its assign; empty: it had none */
    task_kind kind;
    held_state state;
    bool canceled;     /* the dispatcher asked for its end */
    bool doomed;       /* no longer ours: only waits for its executor to end it */
    bool placed;       /* an executor has it, in `slot` */
    bool found;        /* from the spool of an earlier agent, executor not yet known */
    bool no_spool;     /* it was canceled before an executor had it */
    bool alone;        /* it must have ended when until_ms is reached */
    int64_t until_ms;  /* 0: its executor knows, from an earlier agent */
    uint64_t listed_n; /* the first heartbeat that listed it; 0: none yet */
    unsigned slot;
    arena arena;        /* of `assign` and `result` */
    msg *assign;        /* only while it waits for a slot */
    msg_result *result; /* without items and log; NULL until the executor has said it */
    uint64_t place[2];  /* hashes of (build, job) and repo: where its workspace is warm */

    /* What the dispatcher has been told, and what it has acknowledged. */
    uint64_t plan_parts, plan_sent, plan_acked;
    uint64_t plan_read_from;
    bool plan_reading;
    int64_t plan_at; /* not read before: its spool lacked what there was to read */
    rec_item *items; /* outcomes of the files from told.file on */
    size_t items_n, items_cap;
    rec_test_case *cases; /* of the same, in order; each one's texts are a block of their own */
    size_t cases_n, cases_cap;
    uint64_t cases_open;      /* of these, those of the file behind the last item */
    outcome_place told, sent; /* acknowledged; in messages */
    stream streams[PARTS_N];  /* the artifacts go when the result is known and the log is through */
    bool log_whole;           /* the READ_LOG under way is for the result */
    bool result_sent;
    bool result_reading;

    heap_node timer; /* the earliest of these two and, while a plan is to be read, plan_at */
    int64_t log_at;  /* look for new output */
    int64_t retry_at;
    int64_t poll_ms;
    unsigned retries;
} attempt;

typedef enum slot_state {
    SLOT_DOWN,
    SLOT_STARTING,
    SLOT_CONNECTED,
    SLOT_READY,
    SLOT_KILLED, /* it was hung; not gone yet */
} slot_state;

typedef struct slot {
    unsigned n;
    slot_state state;
    bool leaving; /* was told bye */
    bool old;     /* started by an earlier agent: replaced when idle, it may be an older program */
    attempt *a;
    uint64_t place[2]; /* of the last attempt here */
    heap_node timer;   /* DOWN: start it; STARTING, CONNECTED: give it up; READY: ask it */
    int64_t started_ms;
    unsigned unheard;  /* heartbeats that it was sent since its last word */
    unsigned failures; /* ended soon after its start, in a row */
} slot;

typedef struct ended {
    uint64_t task, att;
    code nacked; /* 0: by a result, or fenced */
} ended;

typedef enum session { SESSION_NONE, SESSION_HELLO, SESSION_UP } session;

struct agent {
    /* who we are */
    arena arena;
    slice id, name, host, boot;
    slices labels, reach;
    unsigned slots_n; /* that take tasks, without slot 0 */
    int64_t beat_ms;  /* between heartbeats to an executor */
    prng prng;

    /* the session */
    session session;
    bool begun, welcomed; /* welcomed: ever */
    bool away;            /* the dispatcher was, or it forgot us: say when it is back */
    char hist[33];
    uint64_t maxep;
    bool unsaved; /* hist, maxep and key are not durable: nothing is acted upon before they are */
    char key[33]; /* of the welcome of that epoch */
    uint64_t last_task, last_att; /* the newest attempt given by this history; 0: none */
    char last_key[33];
    int64_t hb_ms, suspect_ms, lease_ms;
    uint64_t window;
    uint64_t hb_n;
    int64_t hb_at;         /* UP: next heartbeat */
    uint64_t asked_n;      /* the heartbeat whose answer is awaited, ... */
    int64_t asked_ms;      /* ... and when it was sent; HEAP_NEVER: none */
    int64_t answered_ms;   /* sending of the newest heartbeat or hello that surely was answered */
    int64_t waiting_ms;    /* oldest heartbeat with nothing heard since; HEAP_NEVER: none */
    int64_t hello_at;      /* next hello; HEAP_NEVER: none due */
    int64_t hello_last;    /* when the last one was sent */
    bool hello_anew;       /* the next hello goes over a new connection */
    unsigned hellos;       /* unanswered, in a row */
    uint64_t hello_n;      /* the request number of the last one */
    int64_t settle_at;     /* start: give up waiting for the executors that were there */
    int64_t believe_until; /* told until then that it was replaced, it believes it */
    int64_t complain_at;   /* not before: one line a second about what a peer provokes */
    runner_mode mode;      /* set at the dispatcher */
    bool draining;         /* asked for here */
    bool stopping, done;
    int64_t stop_at;

    /* attempts */
    list held; /* those that are not doomed, oldest first */
    size_t held_n;
    map by_task; /* the same */
    heap timers;
    size_t waiting; /* of these, accepted without a slot */
    bool any_alone; /* one was, ever */
    slot **slots;
    unsigned slots_cap; /* entries 0..slots_cap-1, some NULL beyond slots_n */
    heap slot_timers;
    ended ended[AGENT_ENDED_MAX];
    size_t ended_next;
    map ended_by_task; /* its greatest attempt's */
};

/* agent.c */
agent_effect *agent_add(agent_effects *out, agent_effect_kind kind);
msg *agent_send(agent_effects *out, msg_type type);
void agent_say(agent_effects *out, bool warn, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool agent_leaves(const agent *a); /* takes nothing new */
/* The last effect: the process ends, and no step does anything any more. */
void agent_leave(agent *a, agent_exit why, const char *text, agent_effects *out);

/* agent_session.c */
void agent_init_session(agent *a);
/* Says hello as soon as the limit on its rate allows. */
void agent_hello_soon(agent *a, int64_t now);
void agent_unsaved(agent *a, int64_t now);
void agent_from_dispatcher(agent *a, const agent_event *ev, agent_effects *out);
/* Notices silence; says the hello or the heartbeat that is due. */
void agent_tick_session(agent *a, int64_t now, agent_effects *out);
int64_t agent_session_deadline_ms(const agent *a);

/* agent_alone.c */
/* Until when one that comes now may run; 0: nothing tells. */
int64_t agent_alone_first_ms(const agent *a);
/* Heartbeat n goes out with all that is held; it, or a later one, was answered; a welcome came,
 * which answers the last hello or an earlier one. */
void agent_alone_beat(agent *a, uint64_t n, int64_t now);
void agent_alone_answered(agent *a, uint64_t n, agent_effects *out);
void agent_alone_welcome(agent *a, bool answers, const rec_held_list *keep, agent_effects *out);
int64_t agent_alone_deadline_ms(const agent *a);
void agent_tick_alone(agent *a, int64_t now, agent_effects *out);

/* agent_task.c */
msg *agent_copy_assign(const msg *from, arena *to);
/* Ends an attempt that no executor has, by a nack or (why 0) without a word. */
void agent_give_up(agent *a, attempt *t, code why, slice text, agent_effects *out);
void agent_delete_spool(const attempt *t, agent_effects *out);
/* Reads what an attempt's executor has told an earlier agent. */
void agent_ask_spool(attempt *t, agent_effects *out);
void agent_ask_result(attempt *t, agent_effects *out);
void agent_send_start(const attempt *t, agent_effects *out);
attempt *agent_find(const agent *a, uint64_t task, uint64_t att);
void agent_found(agent *a, const agent_event *ev, agent_effects *out);
/* False while an executor that was there before has not said what it holds. */
bool agent_settled(const agent *a);
/* Found attempts that no executor has: one may have ended between the look at its spool and the
 * look for its executor, so their results are asked for once more; without one they are lost.
 * An executor that was there and said nothing may have one, so it is ended.
 * False while answers are missing. */
bool agent_settle(agent *a, int64_t now, agent_effects *out);
void agent_assign(agent *a, const agent_event *ev, agent_effects *out);
void agent_cancel(agent *a, const msg_cancel *m, int64_t now, agent_effects *out);
/* The dispatcher takes an attempt for held that is not: unless it ended well, gives it back. */
void agent_disown(agent *a, uint64_t task, uint64_t att, agent_effects *out);
/* The attempt is no longer ours: it ends without a word, and its spool goes. */
void agent_doom(agent *a, attempt *t, agent_effects *out);
void agent_result_ok(agent *a, uint64_t task, uint64_t att, agent_effects *out);
/* Takes a result, unless it is only the executor's own doing: one that was left alone, or that we
 * stopped, ends its task as canceled though nobody asked for that.  False: given up, freed. */
bool agent_ended(agent *a, attempt *t, const msg_result *m, agent_effects *out);
void agent_no_result(agent *a, attempt *t, agent_effects *out);
/* Gives back, or gives up, everything without a result. */
void agent_lose_all(agent *a, agent_effects *out);
void agent_forget_ended(agent *a);
uint64_t agent_free_slots(const agent *a);
void agent_free_attempt(attempt *t);

/* agent_slot.c */
void agent_begin_slots(agent *a, int64_t now, agent_effects *out);
void agent_send_exec(unsigned n, const msg *m, agent_effects *out);
void agent_kill_task(unsigned n, uint64_t task, uint64_t att, agent_effects *out);
/* The free slot that suits best, or NULL. */
slot *agent_choose_slot(const agent *a, const attempt *t);
void agent_place(slot *s, attempt *t, const msg *assign, agent_effects *out);
void agent_exec_up(agent *a, const agent_event *ev, agent_effects *out);
void agent_exec_msg(agent *a, const agent_event *ev, agent_effects *out);
void agent_exec_gone(agent *a, const agent_event *ev, agent_effects *out);
void agent_tick_slots(agent *a, int64_t now, agent_effects *out);
/* With all it started. */
void agent_kill_executor(agent *a, slot *s, int64_t now, agent_effects *out);
/* Ends the executors that are connected and have not said what they hold. */
void agent_kill_silent(agent *a, int64_t now, agent_effects *out);
void agent_renew_slots(agent *a, agent_effects *out); /* other executors, each once it is idle */
void agent_bye_slots(agent *a, agent_effects *out);
/* Ends the executors that have not left, with all they started. */
void agent_kill_slots(agent *a, agent_effects *out);
/* No executor runs, and none's last words are still being read. */
bool agent_slots_gone(const agent *a);

/* agent_outcomes.c */
/* Takes what is new of what its executor, or its spool, says. */
void agent_take_outcomes(attempt *t, outcome_run run);
/* Forgets the first n files; more than are known: also what is known of the next. */
void agent_drop_outcomes(attempt *t, uint64_t n);
void agent_free_outcomes(attempt *t);
/* What one message may carry of the first n outcomes: from what is acknowledged on, up to *end. */
outcome_run agent_next_run(const attempt *t, size_t n, outcome_place *end);
/* All outcomes that are known are in it. */
bool agent_run_is_whole(const attempt *t, const outcome_run *run);
rec_item_list agent_copy_items(const rec_item_list *from, arena *to);
rec_test_case_list agent_copy_cases(const rec_test_case_list *from, arena *to);

/* agent_flow.c */
void agent_relay_plan(agent *a, attempt *t, const msg *m, int64_t now, agent_effects *out);
void agent_take_result(attempt *t, const msg_result *m);
/* Sends, or asks to read, whatever may be sent now, and sets the timer. */
void agent_pump(agent *a, attempt *t, int64_t now, agent_effects *out);
/* A new session: everything that was not acknowledged is told again. */
void agent_rewind(agent *a, attempt *t);
/* The dispatcher goes on with it, and has so much of its log and artifacts. */
void agent_kept(attempt *t, const rec_held *h);
void agent_tick_flow(agent *a, int64_t now, agent_effects *out);
void agent_plan_ok(agent *a, const msg_plan_ok *m, int64_t now, agent_effects *out);
void agent_tests_ok(agent *a, const msg_tests_ok *m, int64_t now, agent_effects *out);
void agent_log_ok(agent *a, const msg_log_ok *m, int64_t now, agent_effects *out);
void agent_log_read(agent *a, const agent_event *ev, agent_effects *out);
void agent_spool(agent *a, const agent_event *ev, agent_effects *out);

#endif
