/*
 * Events: numbered in the transaction that changes the state, published after it, followed by a
 * subscriber over a road that loses.
 *
 * Stands for: dispatch.c (emit, say_head), role/dispatcher.c (put_event, commit_and_speak), query.c
 * (replay), store prune, follow.c.  Messages: event, head, replay, events.
 *
 * An event is its number and one bit that stands for all it says.  A dispatcher that crashed may say
 * something else under the number that it had not committed.  The network is a set, as in lease.pml.
 *
 * Left out, and why that loses nothing:
 * - the follower's buffer of early events: the network keeps them for as long as they are wanted;
 * - pages: the answer to a replay is the events there are, each a message of its own;
 * - another history: follow.c starts anew with it, as with the first one.
 *
 * PROP gapless (S9): the table holds the numbers up to its newest, each once
 * PROP published_is_committed (S9): what is published is in the table
 * PROP a_prefix (S10): what the subscriber applies is what the table says, each number once, in order
 * LIVE caught_up (L4): when faults end, the subscriber has applied the whole table
 * REACH said_anew: a number that was given out before a crash says something else after it
 * REACH told_by_head: only the head tells that an event was lost
 * REACH from_floor: the subscriber goes on behind events that are no longer kept
 * MUTANT PUBFIRST breaks published_is_committed: events are published before the commit
 * MUTANT AUTONUMBER breaks gapless: numbers come from a counter that a crash does not set back
 * MUTANT GAPS breaks a_prefix: the subscriber applies whatever is newer
 * MUTANT AGAIN breaks a_prefix: and what it had before
 * MUTANT UNCOMMITTED breaks a_prefix: a replay reads what is not committed
 * MUTANT NOASK breaks caught_up: nothing is asked for again
 * MUTANT NOHEAD breaks caught_up: no head beats, so that a lost last event is not missed
 * MUTANT NOFLOOR breaks caught_up: an answer does not say that older events are no longer kept
 */
#ifdef FULL
#define EVENTS 4
#elif defined(LIVE)
#define EVENTS 2
#else
#define EVENTS 3
#endif
#define says(n, v) (1 << (2 * (n) + (v))) /* event n with the bit v, as a member of a set */
#define both(n)    (says(n, 0) | says(n, 1))

/* The dispatcher: newest number and what the events say, in memory and in the table. */
byte m_last, s_last, counter, floor = 1;
short m_table, s_table;
bool dirty;

short n_event;          /* published, or an answer's */
byte n_head, n_floor;   /* greatest head on its way, floor in an answer on its way; 0: none */

/* The subscriber. */
byte due = 1;
bool gap, asked;
short applied;

bool calm; /* faults have ended; for S properties they never do */
bool hole, wrong, anew, by_head;
short forgotten;

#define publish(set) if :: n_event = n_event | (set) :: !calm fi

inline happens(v)
{
    !dirty && m_last < EVENTS ->
#ifdef AUTONUMBER
    counter++; hole = hole || counter != m_last + 1; m_last = counter;
#else
    m_last++;
#endif
    m_table = m_table | says(m_last, v); dirty = true;
    anew = anew || (forgotten & says(m_last, 1 - v))
}

active proctype Dispatcher()
{
end:
    do
    :: atomic { happens(0) }
    :: atomic { happens(1) }
#ifdef PUBFIRST
    :: atomic { dirty -> publish(m_table & ~s_table) }
#endif
    :: atomic { dirty -> /* commit, then speak */
        if :: n_event = n_event | (m_table & ~s_table) :: !calm fi;
        s_last = m_last; s_table = m_table; dirty = false }
    :: atomic { !calm && dirty -> forgotten = m_table & ~s_table; m_last = s_last; m_table = s_table; dirty = false } /* kill -9 */
#ifndef NOHEAD
    :: atomic { !dirty && n_head < s_last && due <= s_last -> n_head = s_last } /* each second */
#endif
    :: atomic { !calm && floor <= s_last && floor < EVENTS -> floor++ } /* pruned */
    od
}

#ifdef GAPS
#define WANTED(n) (n >= due)
#elif defined(AGAIN)
#define WANTED(n) (n <= due)
#else
#define WANTED(n) (n == due)
#endif

inline apply(n, v)
{
    (n_event & says(n, v)) && WANTED(n) ->
    wrong = wrong || n != due || !(s_table & says(n, v)) || (applied & both(n));
    applied = applied | says(n, v); due = n + 1; gap = false; asked = false
}

active proctype Subscriber()
{
end:
    do
    :: atomic { apply(1, 0) } :: atomic { apply(1, 1) } :: atomic { apply(2, 0) } :: atomic { apply(2, 1) }
    :: atomic { apply(3, 0) } :: atomic { apply(3, 1) }
#ifdef FULL
    :: atomic { apply(4, 0) } :: atomic { apply(4, 1) }
#endif
    :: atomic { !gap && n_event >= says(due + 1, 0) -> gap = true } /* a later one came */
    :: atomic { n_head && n_head >= due && !gap -> gap = true; by_head = by_head || n_event < says(due, 0) }
    :: atomic { n_floor -> if :: n_floor > due -> due = n_floor :: else fi; n_floor = 0; gap = false; asked = false }
    od
}

/* Asks, and is answered from the table, or one of the two is lost and it asks again. */
active proctype Replay()
{
end:
    do
#ifndef NOASK
    :: atomic { gap && !n_floor && (!asked || !calm) ->
        if
        :: due < floor ->
            asked = true;
#ifndef NOFLOOR
            n_floor = floor
#endif
        :: due >= floor ->
            asked = true;
#ifdef UNCOMMITTED
            n_event = n_event | (m_table & ~(says(due, 0) - 1))
#else
            n_event = n_event | (s_table & ~(says(due, 0) - 1))
#endif
        :: !calm
        fi }
#endif
    :: false
    od
}

#ifdef LIVE /* Faults end; time never stands still, so a run that stops is a run for ever. */
active proctype Calm() { calm = true }

bool tick;
active proctype Time() { do :: tick = !tick od }
#endif

ltl gapless { [] !hole }
ltl published_is_committed { [] (due <= s_last + 1 && (dirty || (n_event & ~s_table) == 0)) }
ltl a_prefix { [] !wrong }
ltl caught_up { <> [] (s_last == EVENTS && due == EVENTS + 1) }
ltl said_anew { [] !anew }
ltl told_by_head { [] !by_head }
ltl from_floor { [] !(due > 1 && !applied) }
