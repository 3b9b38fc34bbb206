/*
 * Coming back: a runner whose agent or machine starts again, a dispatcher that starts again.
 *
 * Stands for: dispatch_fleet.c (on_hello, reconcile_held, reconcile_leases, fleet_unreachable,
 * repeat_unheard), dispatch_load.c (resume_task), agent_task.c (agent_found, agent_settle, is_new),
 * agent_slot.c (adopt).  Messages: hello, welcome.keep and drop, assign, refuse REPLACED, who.
 *
 * One task, one slot.  Each start of the agent has a new boot and a connection of its own; an assign
 * is for one connection.  The last hello of each boot may be taken at any time, also when its
 * sender is dead and a newer one has been heard.  An executor outlives its agent, but not the
 * machine; the spool outlives both.  Another runner takes work while faults last, not afterwards.
 *
 * Left out, and why that loses nothing:
 * - start, hb and result pass at once or not yet: their loss and doubling are in lease.pml;
 * - the dispatcher's transaction, as in cancel.pml; another history: rollback.pml.
 *
 * PROP starts_once (S3): no attempt starts twice
 * PROP one_final (S1): one final, of the newest attempt (S2)
 * PROP capacity (S11): what counts against the slot is the leases there are, at most one
 * PROP newest_stays: the newest process with an id is never told that it was replaced
 * PROP spool_outlives (S7): no result is deleted while it could become the final
 * LIVE ends (L1): when faults end, the task gets its final though only this runner is there
 * LIVE nothing_held (L2): and the runner holds nothing
 * REACH adopted: an attempt goes on that was assigned to an earlier agent
 * REACH late_hello: a dead process's hello is taken after the newer one's
 * MUTANT ANYBOOT breaks starts_once: what a new boot does not hold is assigned to it again
 * MUTANT KEEPFOREIGN breaks starts_once: an agent leaves alone what its executor runs and it does not hold
 * MUTANT LEAK breaks capacity: a lease that is lost at hello does not free the slot
 * MUTANT DOUBLECOUNT breaks capacity: leases are counted again on top of the count
 * MUTANT REPLACE breaks newest_stays: a hello ends whoever else has the id
 * MUTANT DROPALL breaks spool_outlives: a hello of a new boot is told to drop all it holds
 * MUTANT NORECONCILE breaks starts_once: hello is not compared with the leases, so the next heartbeats
 *   have the assign repeated to a new boot
 * MUTANT NOREPEAT breaks ends: an assign is sent once
 * MUTANT NOWHO breaks ends: a message of an unknown connection gets no answer
 */
#ifdef FULL
#define BOOTS 3
#define ATTS  3
#else
#define BOOTS 2
#define ATTS  2
#endif
#define bit(n) (1 << (n))

mtype = { QUEUED, LEASED, RUNNING, FINAL };
mtype = { NONE, ACCEPTED, STARTED, DONE }; /* an attempt as its agent knows it */

/* The dispatcher. */
mtype state = QUEUED;
byte att, busy;
byte known_boot, before;     /* newest boot heard of, and the one it took the place of */
byte peer;                   /* boot whose connection is bound; 0: none */

/* The machine: agent, executor (runs x_att, has x_next in its channel), spool. */
byte boot = 1, a_att, a_ended, x_att, x_next, sp_att;
mtype a_state = NONE;
bool sp_result;

/* The network: last hello of each boot, assigns by boot, drops by attempt. */
bool h_there[BOOTS + 1]; byte h_att[BOOTS + 1]; mtype h_state[BOOTS + 1] = NONE;
byte n_assign[BOOTS + 1], n_drop;

bool calm; /* faults have ended; for S properties they never do */
byte finals, started;
bool twice, early_delete, newest_told;

#define leased     (state == LEASED || state == RUNNING)
#define its(a)     (leased && att == (a))
#define start(a)   twice = twice || (started & bit(a)); started = started | bit(a)

inline lose() /* life_lost; the last attempt is the last try */
{
    busy--;
    if
    :: att == ATTS -> state = FINAL; finals++
    :: else -> state = QUEUED
    fi
}

inline unreachable() /* the connection is gone: fleet_unreachable */
{
    peer = 0;
    if
    :: state == LEASED && att < ATTS -> busy--; state = QUEUED /* life_return */
    :: else
    fi
}

inline send_assign() /* to the connection that is bound */
{
    if :: n_assign[peer] = n_assign[peer] | bit(att) :: !calm fi
}

active proctype Dispatcher()
{
end:
    do
    :: atomic { state == QUEUED && att < ATTS && peer && busy < 1 ->
        att++; busy++; state = LEASED; send_assign() }
    :: atomic { state == QUEUED && att < ATTS && !calm -> /* the other takes it, ends it or loses it */
        att++; if :: state = FINAL; finals++ :: att < ATTS fi }
    :: atomic { leased && !calm -> lose() } /* its lease lapses */
#ifdef LIVE
    :: atomic { its(att) && calm && a_att != att && (state == RUNNING || a_ended >= att) -> lose() } /* it is not listed; nack again */
#endif
#ifndef NOREPEAT
    :: atomic { its(att) && state == LEASED && peer == boot && a_att != att && !(n_assign[peer] & bit(att)) ->
        send_assign() } /* repeat_unheard */
#endif
    :: atomic { peer && peer != boot -> unreachable() }
    :: atomic { !calm && (peer || before) -> /* it starts again: leases are loaded, connections and memory are new */
        peer = 0; before = 0;
#ifndef DOUBLECOUNT
        busy = 0;
#endif
        if :: leased -> busy++ :: else fi }
    od
}

inline hello()
{
    if
#ifdef REPLACE
    :: peer && peer != b && b != known_boot -> newest_told = newest_told || peer == boot
#else
    :: peer && peer != b && b == before -> newest_told = newest_told || b == boot; goto refused
#endif
    :: else
    fi;
    same = b == known_boot;
    if :: !same -> before = known_boot :: else fi;
    known_boot = b; peer = b;
    if /* reconcile_held */
    :: h_att[b] && its(h_att[b]) ->
#ifdef DROPALL
        if :: !same -> n_drop = n_drop | bit(h_att[b]) :: else fi;
#endif
        if :: h_state[b] != ACCEPTED -> state = RUNNING :: else fi
    :: h_att[b] && !its(h_att[b]) -> n_drop = n_drop | bit(h_att[b])
    :: !h_att[b]
    fi;
#ifndef NORECONCILE
    if /* reconcile_leases */
    :: leased && att != h_att[b] ->
#ifdef ANYBOOT
        if
        :: state == LEASED -> send_assign()
#else
        if
        :: same && state == LEASED -> send_assign()
#endif
        :: else ->
#ifdef LEAK
            busy++;
#endif
            lose()
        fi
    :: else
    fi;
#endif
    /* A dead process's connection is gone, too: the welcome finds that out. */
    if :: b != boot -> unreachable() :: else fi;
refused:
    same = false;
    h_there[b] = false; h_att[b] = 0; h_state[b] = NONE
}

active proctype Hellos()
{
    byte b; bool same;
end:
    do
    :: atomic { h_there[1] || h_there[2] || h_there[BOOTS] ->
        if
        :: h_there[1] -> b = 1
        :: h_there[2] -> b = 2
#ifdef FULL
        :: h_there[3] -> b = 3
#endif
        fi;
        hello(); b = 0 }
    od
}

inline say_hello()
{
    h_there[boot] = true; h_att[boot] = a_att; h_state[boot] = a_state
}

inline forget(a)
{
    a_ended = a; a_att = 0; a_state = NONE
}

inline delete_spool(a)
{
    if :: sp_att == a -> early_delete = early_delete || (sp_result && its(a)); sp_att = 0; sp_result = false :: else fi
}

#define given(a) ((n_assign[boot] & bit(a)) && (a) > a_att && (a) > a_ended)

active proctype Agent()
{
    byte a;
end:
    do
    :: atomic { given(1) || given(2) || given(3) ->
        if :: given(1) -> a = 1 :: given(2) -> a = 2
#ifdef FULL
           :: given(3) -> a = 3
#endif
        fi;
        if :: a_att -> delete_spool(a_att); x_att = 0 :: else fi; /* ends the older one */
        a_att = a; a_state = ACCEPTED; x_next = a; a = 0 }
    :: atomic { a_att && (n_drop & bit(a_att)) -> /* agent_doom */
        delete_spool(a_att); x_att = 0; x_next = 0; forget(a_att) }
    :: atomic { a_state == DONE && peer == boot -> /* result, and its answer */
        if
        :: its(a_att) -> state = FINAL; finals++; busy--
        :: else
        fi;
        if :: delete_spool(a_att); forget(a_att) :: !calm fi }
    :: atomic { a_state == STARTED && peer == boot && its(a_att) && state == LEASED -> state = RUNNING } /* start, hb */
    :: atomic { a_att && peer == boot && !its(a_att) && !(state == FINAL && att == a_att) && !(n_drop & bit(a_att)) ->
        n_drop = n_drop | bit(a_att) } /* hb_ok.drop */
#ifndef NOWHO
    :: atomic { (peer != boot || !calm) && !h_there[boot] -> say_hello() } /* at the start, after silence, after who */
#else
    :: atomic { peer != boot && !h_there[boot] && known_boot < boot -> say_hello() }
#endif
    od
}

active proctype Executor()
{
end:
    do
    :: atomic { x_next && !x_att ->
        sp_att = x_next; sp_result = false; /* durable before it starts */
        x_att = x_next; x_next = 0; start(x_att);
        if
        :: a_att == x_att -> a_state = STARTED
        :: a_att != x_att -> /* adopt: not ours */
#ifdef KEEPFOREIGN
            skip
#else
            delete_spool(x_att); x_att = 0
#endif
        fi }
    :: atomic { x_att && a_att == x_att ->
        sp_att = x_att; sp_result = true; x_att = 0; a_state = DONE }
    od
}

/* A new agent: FOUND for the spool, EXEC_UP for the executor. */
inline new_agent()
{
    n_assign[boot] = 0; boot++; a_ended = 0; a_att = 0; a_state = NONE;
    if
    :: sp_att && sp_result -> a_att = sp_att; a_state = DONE
    :: sp_att && !sp_result && x_att == sp_att -> a_att = sp_att; a_state = STARTED
    :: sp_att && !sp_result && x_att != sp_att -> a_ended = sp_att; sp_att = 0 /* lost */
    :: !sp_att
    fi;
#ifndef KEEPFOREIGN
    if :: x_att && x_att != a_att -> x_att = 0 :: else fi
#endif
}

active proctype Restarts()
{
end:
    do
    :: atomic { !calm && boot < BOOTS ->
        if
        :: skip                    /* the agent: what is in an executor's channel is lost, or not */
        :: x_next = 0
        :: x_att = 0; x_next = 0   /* the machine */
        fi;
        new_agent() }
    :: atomic { !calm && x_att -> x_att = 0; delete_spool(a_att); forget(a_att) } /* the executor vanishes */
    od
}

#ifdef LIVE /* Faults end; time never stands still, so a run that stops is a run for ever. */
active proctype Calm() { calm = true }

bool tick;
active proctype Time() { do :: tick = !tick od }
#endif

ltl starts_once { [] !twice }
ltl one_final { [] (finals <= 1) }
ltl capacity { [] ((busy == 0 && !leased) || (busy == 1 && leased)) }
ltl newest_stays { [] !newest_told }
ltl spool_outlives { [] !early_delete }
ltl ends { <> (state == FINAL) }
ltl nothing_held { <> [] (!a_att && !x_att) }
ltl adopted { [] !(boot == 2 && state == RUNNING && its(a_att) && a_state == STARTED && !(n_assign[2] & bit(a_att))) }
ltl late_hello { [] !(before == boot && known_boot < boot) }
