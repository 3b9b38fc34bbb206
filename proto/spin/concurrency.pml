/*
 * Concurrency groups: an attempt of one task, which may get lost, and others of its group.  Never do
 * two run at once, whatever is late, lost or stopped, with clocks that do not agree.
 *
 * Stands for: dispatch_group.c (group_take, group_leave, group_due, group_restored), dispatch_life.c
 * (surely_ended_ms, life_lost), agent_alone.c (agent_alone_first_ms, agent_alone_answered) and the
 * executor, which ends an attempt at its limit by itself.
 * Messages: assign, hb, hb_ok, result.
 *
 * Time is discrete.  A lease is LEASE ticks of the clock of who measures it, and the runner's stands
 * still for up to DRIFT ticks between two renewals (and a lease spans two such times); ending an
 * attempt takes up to KILL ticks more.
 *
 * The network is what was sent last: a newer message takes the place of an older one, which is then
 * lost; what is there may be taken at any later time, or never.  Of an agent that is stopped nothing
 * is heard, and its executor goes on: that is an agent that takes no message.
 *
 * Left out, and why that loses nothing:
 * - which of the group's tasks goes next: any may;
 * - nack, bye, a new boot: like a result, each is said when nothing runs any more;
 * - hello and welcome: like hb and hb_ok, with the same rule;
 * - the other attempts' runners: they run from their lease to their result, for who is lost is the
 *   one that is looked at, and who begins beside it is the other.
 *
 * PROP alone: never two attempts of the group run at once
 * REACH handed_over: a lost attempt's group is given to another, which runs
 * REACH dies_late: an attempt is still being ended when the dispatcher has given it up
 * REACH renewed: an attempt runs for longer than one lease
 * REACH held_at_start: a dispatcher begins while a lost attempt runs
 * MUTANT NOHOLD breaks alone: the group is free when the lease has lapsed
 * MUTANT FORGET breaks alone: a dispatcher that starts again does not know that the group was held
 * MUTANT NOLIMIT breaks alone: an executor that hears nothing goes on
 * MUTANT FROMANSWER breaks alone: the limit is counted from the coming of the answer
 * MUTANT FROMASSIGN breaks alone: a first limit is counted from the coming of the assign
 * MUTANT ANYANSWER breaks alone: an answer to a heartbeat that did not list the attempt renews it
 */
#ifdef FULL
#define LEASE  5
#define STARTS 2
#else
#define LEASE  4
#define STARTS 1
#endif
#define DRIFT 1
#define KILL  1

mtype = { NOBODY, RUNNER, ANOTHER };       /* who holds the group */
mtype = { NONE, RUN, ENDING };             /* what the runner has */
mtype = { NOTHING, RENEWED, OTHER, DROP }; /* an answer: what was listed is its, nothing was, it is not its */

/* The dispatcher; all but the times is in the store. */
mtype holder = NOBODY;
byte lease_left;
bool held; byte hold_left; /* a lost attempt holds the group, so long */
byte starts;

/* The runner: what it has, how long that may go on, and what its agent knows of the time since it sent
 * the heartbeat that it awaits the answer to, and the newest that was answered.  LEASE: or longer. */
mtype at = NONE;
byte limit, end_left, stalls;
byte asked = LEASE, answered = LEASE;

/* The network. */
bool n_assign, n_hb, n_lists, n_result;
mtype n_ok = NOTHING;
bool behind; /* the answer was said behind the assign, and comes behind it */

/* What only the properties look at. */
bool given_up, started_held;
byte ran;

#define older(t) t = (t < LEASE -> t + 1 : LEASE)
#define less(t)  t = (t > 0 -> t - 1 : 0)

proctype Dispatcher()
{
end:
    do
    :: atomic { holder == NOBODY && !held -> holder = RUNNER; lease_left = LEASE;
        n_assign = true; n_lists = false; n_result = false; behind = false /* numbers tell them apart */ }
    :: atomic { holder == NOBODY && !held -> holder = ANOTHER }
    :: atomic { holder == ANOTHER -> holder = NOBODY }
    :: atomic { holder == RUNNER -> /* the lease lapses, or the connection is gone */
        given_up = given_up || at == RUN;
        holder = NOBODY;
#ifndef NOHOLD
        held = true;
        hold_left = (lease_left < LEASE -> lease_left : LEASE) + LEASE;
#endif
        lease_left = 0 }
    :: atomic { held && hold_left == 0 -> held = false }
    :: atomic { starts < STARTS -> starts++; /* kill -9, start again */
        started_held = started_held || (held && at == RUN);
        lease_left = (holder == RUNNER -> 2 * LEASE : 0);
#ifdef FORGET
        held = false;
#endif
        hold_left = (held -> 2 * LEASE : 0) }
    od
}

/* What comes from the runner. */
proctype Hears()
{
end:
    do
    :: atomic { n_hb -> n_hb = false; behind = n_assign;
        if
        :: n_lists && holder == RUNNER -> lease_left = (lease_left > LEASE -> lease_left : LEASE); n_ok = RENEWED
        :: n_lists && holder != RUNNER -> n_ok = DROP
        :: !n_lists -> n_ok = OTHER
        fi }
    :: atomic { n_result -> n_result = false;
        if
        :: holder == RUNNER -> holder = NOBODY; lease_left = 0
        :: holder != RUNNER -> held = false; hold_left = 0
        fi }
    od
}

inline end_attempt()
{
    at = ENDING; end_left = KILL
}

inline renew()
{
#ifdef FROMANSWER
    limit = LEASE;
#else
    limit = (LEASE - asked > limit -> LEASE - asked : limit);
#endif
    stalls = 0
}

proctype Agent()
{
end:
    do
    :: atomic { asked > 0 -> /* a heartbeat; what is under way of an older one no longer counts */
        n_hb = true; n_lists = (at != NONE); n_ok = NOTHING; asked = 0 }
    :: atomic { n_ok != NOTHING && !(behind && n_assign) -> answered = asked;
        if
        :: n_ok == RENEWED && at == RUN -> renew()
        :: n_ok == DROP && at == RUN -> end_attempt()
#ifdef ANYANSWER
        :: n_ok == OTHER && at == RUN -> renew()
#endif
        :: else
        fi;
        n_ok = NOTHING }
    :: atomic { n_assign && at == NONE -> n_assign = false;
        n_ok = (behind -> n_ok : NOTHING); /* it would have come before */
        if
#ifdef FROMASSIGN
        :: true -> at = RUN; limit = LEASE
#else
        :: answered < LEASE -> at = RUN; limit = LEASE - answered
        :: answered == LEASE /* BUSY */
#endif
        fi;
        stalls = 0 }
    od
}

proctype Executor()
{
end:
    do
    :: atomic { at != NONE -> at = NONE; limit = 0; end_left = 0; n_result = true }
#ifndef NOLIMIT
    :: atomic { at == RUN && limit == 0 -> end_attempt() }
#endif
    od
}

/* What is due at once happens before time passes. */
proctype Time()
{
end:
    do
    :: atomic {
#ifndef NOLIMIT
        !(at == RUN && limit == 0) &&
#endif
        !(at == ENDING && end_left == 0) ->
        less(lease_left); less(hold_left); less(end_left);
        ran = (at != RUN -> 0 : (ran < LEASE + DRIFT + 1 -> ran + 1 : ran));
        if
        :: stalls < DRIFT && at == RUN -> stalls++
        :: less(limit); older(asked); older(answered)
        fi }
    od
}

init
{
    atomic { run Dispatcher(); run Hears(); run Agent(); run Executor(); run Time() }
}

ltl alone { [] !(at != NONE && holder == ANOTHER) }
ltl handed_over { [] !(given_up && holder == ANOTHER) }
ltl dies_late { [] !(at == ENDING && holder != RUNNER) }
ltl renewed { [] !(ran > LEASE + DRIFT) }
ltl held_at_start { [] !started_held }
