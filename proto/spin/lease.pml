/*
 * Lease and fencing: one task, two runners, a dispatcher that may crash between any two steps.
 *
 * Stands for: dispatch_life.c (life_lease, life_lost, life_return), dispatch_task.c (on_result,
 * late_result, fence), dispatch_fleet.c (on_hb: repeat_unheard, drops), role/dispatcher.c (memory,
 * store, outbox: commit, then speak), agent_task.c (is_new, agent_doom, agent_result_ok).
 * Messages: assign, hb with hb_ok.drop, result, result_ok, fenced.
 *
 * The network is a set of messages that were once sent.  What is in it may be taken any number of
 * times, in any order, however late, or never: so loss, doubling, delay and reordering have no bound.
 *
 * Left out, and why that loses nothing:
 * - time: a lease may lapse at any moment before the faults end, so hb renews nothing here;
 * - epochs: a runner takes every assign, also those that it would ignore for their epoch (rollback.pml);
 * - start and the state running: they change what is told, not who may end the task (reattach.pml);
 * - nack, bye and a connection that is gone: each is a return of the lease without a try, which may
 *   happen at any moment, RETURNS times in all;
 * - several steps in one transaction: nobody sees a step before its commit, so a crash that forgets
 *   several is the loss of the messages that made them;
 * - hello and a restart of the agent: reattach.pml.  The log: log.pml.
 *
 * PROP one_final (S1): at most one final, and it never changes
 * PROP newest_ends (S2): the final is that of the greatest attempt ever committed
 * PROP starts_once (S3): no attempt starts twice
 * PROP ok_is_durable (S6): whoever is told result_ok, the final is in the store
 * PROP spool_outlives (S7): no result is deleted while it could still become the final
 * PROP tries_bounded (S12): lost attempts and attempts stay below their maximum
 * LIVE ends (L1): when faults end, the task gets its final
 * LIVE spools_empty (L2): and no runner holds anything in the end
 * REACH both_run: two attempts run at once on two runners
 * REACH old_result_answered: an old attempt's result is answered after the newer one's final
 * REACH lost_but_done: the task ends lost while its runner has a result
 * MUTANT NOFENCE breaks newest_ends: a result is taken by its task alone
 * MUTANT ACKFIRST breaks ok_is_durable: result_ok leaves before the commit
 * MUTANT REUSE breaks starts_once: assign leaves before the attempt number is durable
 * MUTANT NOENDED breaks starts_once: a runner forgets what it has ended
 * MUTANT NOMAX breaks tries_bounded: losses are not counted
 * MUTANT UNFINAL breaks one_final: a final task is leased again when its runner goes silent
 * MUTANT DROPLIVE breaks spool_outlives: a heartbeat's answer drops what is leased to the sender
 * MUTANT NOLAPSE breaks ends: a lease lasts for ever
 * MUTANT NOREPEAT breaks ends: a result is sent once (the lease is renewed by heartbeats meanwhile)
 * MUTANT NODROP breaks spools_empty: heartbeats drop nothing, and results are sent once
 */
#ifdef FULL
#define TRIES   3
#define RETURNS 1
#elif defined(LIVE)
#define TRIES   2
#define RETURNS 0
#else
#define TRIES   2
#define RETURNS 1
#endif
#define ATTS    (TRIES + RETURNS)
#define one(r, a) (1 << (8 * (r) + (a))) /* attempt a of runner r, as a member of a set */
#define has(set, r, a) ((set) & one(r, a))

mtype = { QUEUED, LEASED, FINAL };         /* the task */
mtype = { NONE, ACCEPTED, RUNNING, DONE }; /* an attempt on its runner */

/* The dispatcher: in memory, and in the store. */
mtype m_state = QUEUED; byte m_att, m_run, m_tries, m_final;
mtype s_state = QUEUED; byte s_att, s_run, s_tries, s_final;
bool dirty;
/* What was said in this transaction, and what is on the network. */
short o_assign, o_ok, o_fenced;
short n_assign, n_ok, n_fenced, n_result;
byte returns;

/* A runner: the attempt it holds (a greater one takes its place) and the newest it has ended. */
byte held[2], ended[2];
mtype at[2] = NONE;

bool calm; /* faults have ended; for S properties they never do */

/* What only the properties look at. */
byte finals;
short started;
bool changed, early_ok, early_delete, twice;

#define leased_to(r, a) (m_state == LEASED && m_att == (a) && m_run == (r))
#define final_of(r, a)  (m_state == FINAL && m_att == (a) && m_run == (r))
#define idle            (!dirty && !o_assign && !o_ok && !o_fenced)

inline commit()
{
    if
    :: m_state == FINAL && s_state != FINAL -> finals++
    :: s_state == FINAL && (m_state != FINAL || m_final != s_final) -> changed = true
    :: else
    fi;
    s_state = m_state; s_att = m_att; s_run = m_run; s_tries = m_tries; s_final = m_final;
    dirty = false
}

/* What was said goes out, or is lost. */
inline deliver(net, out)
{
    if
    :: net = net | out
    :: !calm && out != 0
    fi;
    out = 0
}

inline end_task(a)
{
    m_state = FINAL; m_final = a; dirty = true
}

inline lease(r) /* life_lease */
{
    idle && m_state == QUEUED && m_att <= ATTS && (r == 0 || m_att) -> /* the two are alike: the first is number 0 */
    m_att++; m_run = r; m_state = LEASED; dirty = true;
    o_assign = o_assign | one(r, m_att)
}

proctype Dispatcher()
{
end:
    do
    :: atomic { lease(0) }
    :: atomic { lease(1) }
    :: atomic { idle && m_state == LEASED && !has(n_assign, m_run, m_att) -> /* repeat_unheard */
        o_assign = o_assign | one(m_run, m_att) }
    :: atomic { !idle -> commit(); deliver(n_assign, o_assign); deliver(n_ok, o_ok); deliver(n_fenced, o_fenced) }
#ifdef REUSE
    :: atomic { o_assign -> deliver(n_assign, o_assign) }
#endif
#ifdef ACKFIRST
    :: atomic { o_ok -> deliver(n_ok, o_ok) }
#endif
    :: atomic { !calm && !idle -> /* kill -9, start again */
        m_state = s_state; m_att = s_att; m_run = s_run; m_tries = s_tries; m_final = s_final;
        dirty = false; o_assign = 0; o_ok = 0; o_fenced = 0 }
    od
}

/* The lease ends without a result. */
proctype Leases()
{
end:
    do
#ifndef NOLAPSE
    :: atomic { idle && m_state == LEASED && (!calm || held[m_run] != m_att) && m_tries <= TRIES -> /* life_lost */
        m_tries++; dirty = true;
#ifdef NOMAX
        m_state = QUEUED
#else
        if
        :: m_tries >= TRIES -> end_task(m_att)
        :: else -> m_state = QUEUED
        fi
#endif
        }
#endif
    :: atomic { idle && m_state == LEASED && !calm && returns < RETURNS -> /* life_return */
        returns++; m_state = QUEUED; dirty = true }
#ifdef UNFINAL
    :: atomic { idle && m_state == FINAL && m_att < ATTS -> m_state = QUEUED; dirty = true }
#endif
    od
}

inline take_result(a)
{
    idle && has(n_result, r, a) ->
    if
    :: n_result = n_result & ~one(r, a)
    :: !calm /* it comes again */
    fi;
    if
#ifdef NOFENCE
    :: m_state == LEASED -> end_task(a); o_ok = o_ok | one(r, a)
    :: m_state == FINAL -> o_ok = o_ok | one(r, a)
    :: m_state == QUEUED -> o_fenced = o_fenced | one(r, a)
#else
    :: leased_to(r, a) -> end_task(a); o_ok = o_ok | one(r, a)      /* on_result */
    :: !leased_to(r, a) && final_of(r, a) -> o_ok = o_ok | one(r, a) /* late_result */
    :: !leased_to(r, a) && !final_of(r, a) -> o_fenced = o_fenced | one(r, a)
#endif
    fi
}

/* What comes from runner r: results; heartbeats, which list what it holds, and what is not its any
 * more is dropped. */
proctype Results(byte r)
{
end:
    do
    :: atomic { take_result(1) } :: atomic { take_result(2) } :: atomic { take_result(3) }
#ifdef FULL
    :: atomic { take_result(4) }
#endif
    od
}

proctype Heartbeats(byte r)
{
end:
    do
#ifndef NODROP
    :: atomic { idle && held[r] && !has(n_fenced, r, held[r]) &&
#ifndef DROPLIVE
        !leased_to(r, held[r]) && !(m_state == FINAL && m_att == held[r]) &&
#endif
        true -> o_fenced = o_fenced | one(r, held[r]) }
#endif
    :: false
    od
}

inline let_go()
{
#ifndef NOENDED
    ended[r] = held[r];
#endif
    held[r] = 0; at[r] = NONE
}

inline take(a)
{
    has(n_assign, r, a) && a > held[r] && a > ended[r] ->
    held[r] = a; at[r] = ACCEPTED; sent = false /* it ends an older one */
}

proctype Runner(byte r)
{
    bool sent;
end:
    do
    :: atomic { take(1) } :: atomic { take(2) } :: atomic { take(3) }
#ifdef FULL
    :: atomic { take(4) }
#endif
    :: atomic { at[r] == ACCEPTED -> at[r] = RUNNING; /* its spool is durable */
        twice = twice || has(started, 0, held[r]); started = started | one(0, held[r]) }
    :: atomic { at[r] == RUNNING -> at[r] = DONE }
#if defined(NOREPEAT) || defined(NODROP)
    :: atomic { at[r] == DONE && !sent -> sent = true;
#else
    :: atomic { at[r] == DONE && !has(n_result | n_ok | n_fenced, r, held[r]) ->
#endif
        if :: n_result = n_result | one(r, held[r]) :: !calm fi }
    :: atomic { held[r] && has(n_ok, r, held[r]) ->
        early_ok = early_ok || s_state != FINAL || s_att < held[r];
        let_go() }
    :: atomic { held[r] && has(n_fenced, r, held[r]) ->
        early_delete = early_delete || (at[r] == DONE && s_state == LEASED && s_att == held[r] && s_run == r);
        let_go() }
    :: atomic { !calm && (at[r] == ACCEPTED || at[r] == RUNNING) -> let_go() } /* its executor vanished */
    od
}

#ifdef LIVE /* Faults end; time never stands still, so a run that stops is a run for ever. */
active proctype Calm() { calm = true }

bool tick;
active proctype Time() { do :: tick = !tick od }
#endif

init
{
    atomic { run Dispatcher(); run Leases(); run Results(0); run Results(1); run Heartbeats(0);
             run Heartbeats(1); run Runner(0); run Runner(1) }
}

ltl one_final { [] (finals <= 1 && !changed) }
ltl newest_ends { [] (s_state != FINAL || s_final == s_att) }
ltl starts_once { [] !twice }
ltl ok_is_durable { [] !early_ok }
ltl spool_outlives { [] !early_delete }
ltl tries_bounded { [] (m_tries <= TRIES && m_att <= ATTS) }
ltl ends { <> (s_state == FINAL) }
ltl spools_empty { <> [] (!held[0] && !held[1]) }
ltl both_run { [] !(at[0] == RUNNING && at[1] == RUNNING) }
ltl old_result_answered { [] !(m_state == FINAL && m_att > 1 && has(o_fenced, 0, 1)) }
ltl lost_but_done { [] !(s_state == FINAL && s_tries == TRIES && held[s_run] == s_att && at[s_run] == DONE) }
