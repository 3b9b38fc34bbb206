/*
 * Cancel: one task that is canceled at some moment, and all that may happen around it.
 *
 * Stands for: dispatch_life.c (life_cancel_build, life_lost, life_return, life_task_final),
 * dispatch_fleet.c (repeat_unheard, drops, hello), dispatch_task.c (on_start, on_nack, on_result),
 * agent_task.c (agent_cancel, agent_ended, is_new), the executor's end of a process tree.
 * Messages: cancel_build, assign, start, hb, cancel, result, result_ok, fenced, nack, bye.
 *
 * An attempt's number names its runner, which is another one each time (the harder case: an attempt
 * that takes the place of an older one on the same runner kills that first).
 * The network is a set of messages, as in lease.pml.
 *
 * Left out, and why that loses nothing:
 * - a crash of the dispatcher: it forgets no state (lease.pml), so it is the loss of some messages;
 * - the jobs and the build: their verdict is computed from the task's;
 * - time: a lease may lapse, and a process may end, at any moment.
 *
 * PROP one_final (S1): one final, never changed, and that of the newest attempt (S2)
 * PROP nothing_runs: after a final `canceled` not marked unconfirmed no process runs, but for attempts
 *   that were recorded as lost before
 * PROP canceled_stays: what was canceled is not run again
 * LIVE ends (L1): when faults end, a canceled task gets its final
 * LIVE tree_gone: and no process runs in the end
 * REACH passed_anyway: the result overtakes the cancel, and counts
 * REACH unconfirmed_runs: a canceled task whose runner vanished while its process runs
 * REACH never_started: canceled before its assign came, and told so
 * REACH old_one_runs: a canceled final while an attempt recorded as lost still runs
 * MUTANT EARLYFINAL breaks nothing_runs: cancel is final at once
 * MUTANT EARLYRESULT breaks nothing_runs: the result `canceled` does not wait for the process tree
 * MUTANT NOMARK breaks nothing_runs: a canceled task whose runner vanished is not marked
 * MUTANT FORGET breaks nothing_runs: a cancel of what is not held lets a late assign start
 * MUTANT BYEFIRST breaks nothing_runs: bye does not wait for the process tree
 * MUTANT REQUEUE breaks canceled_stays: a canceling task whose lease lapses is queued again
 * MUTANT TWICE breaks one_final: a result that comes after the final replaces it
 * MUTANT ONCE breaks ends: cancel is not repeated on heartbeats, and the process does not end by itself
 */
#ifdef FULL
#define ATTS 3
#else
#define ATTS 2
#endif
#define bit(a) (1 << (a))

mtype = { QUEUED, LEASED, RUNNING, CANCELING, FINAL };
mtype = { none, PASSED, CANCELED, LOST };
mtype = { NONE, WAITING, BUSY, ENDING, DONE, GONE }; /* an attempt on its runner; GONE: ended for ever */

mtype state = QUEUED, verdict = none;
byte att;
bool asked, unconfirmed;
byte unsure;     /* attempts recorded as lost: their process may still run */

mtype on[ATTS + 1] = NONE, ended_as[ATTS + 1] = none;
byte asked_end;  /* attempts whose runner knows that they are canceled */
byte alive;      /* attempts whose process tree is there */

byte n_assign, n_start, n_cancel, n_passed, n_canceled, n_answer, n_nack_lost, n_nack, n_bye;

bool calm; /* faults have ended; for S properties they never do */
byte finals;
bool again;

#define current(a)   ((a) == att && state != QUEUED && state != FINAL)
#define say(set, a)  if :: set = set | bit(a) :: !calm fi
#define heard(set, a) if :: set = set & ~bit(a) :: !calm fi

inline end_task(v)
{
    state = FINAL; verdict = v; finals++
}

inline give_back() /* life_return: nothing of it runs */
{
    if
    :: state == CANCELING -> end_task(CANCELED)
    :: state != CANCELING -> state = QUEUED
    fi
}

inline lose() /* life_lost: nobody knows whether it runs */
{
    unsure = unsure | bit(att);
    if
#ifdef REQUEUE
    :: att < ATTS -> state = QUEUED
    :: att == ATTS && state != CANCELING -> end_task(LOST)
#else
    :: state != CANCELING && att < ATTS -> state = QUEUED
    :: state != CANCELING && att == ATTS -> end_task(LOST)
#endif
    :: state == CANCELING ->
#ifdef NOMARK
        unsure = unsure & ~bit(att);
#else
        unconfirmed = true;
#endif
        end_task(CANCELED)
    fi
}

active proctype Dispatcher()
{
end:
    do
    :: atomic { state == QUEUED && att < ATTS -> att++; state = LEASED; again = again || asked; say(n_assign, att) }
    :: atomic { state == LEASED && !(n_assign & bit(att)) && on[att] == NONE -> say(n_assign, att) } /* repeat_unheard */
    :: atomic { state == CANCELING && !(n_cancel & bit(att)) &&
#ifdef ONCE
        false &&
#endif
        (on[att] == NONE || on[att] == WAITING || on[att] == BUSY || on[att] == GONE) -> say(n_cancel, att) }
    /* A lease lapses, its runner is gone or came back without it; calm: only when that is so. */
    :: atomic { (state == LEASED || state == RUNNING || state == CANCELING) &&
        (!calm || on[att] == GONE || on[att] == NONE) -> lose() }
    :: atomic { !calm && state == LEASED -> unsure = unsure | bit(att); state = QUEUED } /* its connection is gone */
    od
}

active proctype Client()
{
    atomic { !asked -> asked = true;
        if
        :: state == QUEUED -> end_task(CANCELED)
        :: state == LEASED || state == RUNNING ->
#ifdef EARLYFINAL
            end_task(CANCELED);
#else
            state = CANCELING;
#endif
            say(n_cancel, att)
        :: state == FINAL
        fi }
}

inline take_result(set, a, v)
{
    set & bit(a) -> heard(set, a);
    if
    :: current(a) -> end_task(v)
#ifdef TWICE
    :: !current(a) && state == FINAL && a == att && verdict != v -> end_task(v)
#endif
    :: !current(a)
    fi;
    say(n_answer, a) /* result_ok or fenced: it ends here either way */
}

/* What comes from the runner of attempt a. */
proctype Takes(byte a)
{
end:
    do
    :: atomic { n_start & bit(a) -> heard(n_start, a);
        if :: current(a) && state == LEASED -> state = RUNNING :: current(a) && state != LEASED
           :: !current(a) -> say(n_answer, a) fi } /* fenced */
    :: atomic { take_result(n_passed, a, PASSED) }
    :: atomic { take_result(n_canceled, a, CANCELED) }
    :: atomic { n_nack_lost & bit(a) -> heard(n_nack_lost, a); if :: current(a) -> lose() :: !current(a) fi }
    :: atomic { (n_nack | n_bye) & bit(a) -> heard(n_nack, a); heard(n_bye, a);
        if :: current(a) -> give_back() :: !current(a) fi }
    :: atomic { (on[a] == WAITING || on[a] == BUSY || on[a] == ENDING) && !current(a) && !(n_answer & bit(a)) &&
        !(state == FINAL && a == att && calm == false) -> say(n_answer, a) } /* hb: drop */
    od
}

inline process_ends(v)
{
    alive = alive & ~bit(a); on[a] = DONE; ended_as[a] = v
}

proctype Runner(byte a)
{
end:
    do
    :: atomic { on[a] == NONE && (n_assign & bit(a)) ->
        if
        :: on[a] = WAITING
        :: !calm -> on[a] = GONE; say(n_nack, a) /* BUSY, DRAIN, REPO: it remembers that */
        fi }
    :: atomic { on[a] == WAITING -> on[a] = BUSY; alive = alive | bit(a); say(n_start, a) }
#ifndef ONCE
    :: atomic { on[a] == BUSY -> process_ends(PASSED) }
#endif
    :: atomic { on[a] == ENDING -> if :: process_ends(CANCELED) :: process_ends(PASSED) fi } /* TERM, grace, KILL: the tree is gone */
    :: atomic { on[a] == DONE && ended_as[a] == PASSED && !((n_passed | n_answer) & bit(a)) -> say(n_passed, a) }
    :: atomic { on[a] == DONE && ended_as[a] == CANCELED && !((n_canceled | n_answer) & bit(a)) -> say(n_canceled, a) }
    :: atomic { (n_cancel & bit(a)) && on[a] != DONE && on[a] != ENDING && !(on[a] == GONE && (n_nack_lost & bit(a))) ->
        heard(n_cancel, a);
        if /* agent_cancel */
        :: on[a] == WAITING -> on[a] = DONE; ended_as[a] = CANCELED
#ifdef EARLYRESULT
        :: on[a] == BUSY -> on[a] = DONE; ended_as[a] = CANCELED
#else
        :: on[a] == BUSY -> on[a] = ENDING
#endif
#ifdef FORGET
        :: on[a] == NONE -> say(n_nack, a)
#else
        :: on[a] == NONE -> on[a] = GONE; say(n_nack_lost, a) /* a late assign starts nothing */
#endif
        :: on[a] == GONE -> say(n_nack_lost, a)
        fi }
    :: atomic { (n_answer & bit(a)) && on[a] != NONE && on[a] != GONE -> /* result_ok, fenced, drop: agent_doom */
        on[a] = GONE; if :: alive = alive & ~bit(a) :: skip fi } /* it may take its time to die */
    :: atomic { on[a] == GONE && (alive & bit(a)) -> alive = alive & ~bit(a) }
    :: atomic { !calm && (on[a] == WAITING || on[a] == BUSY || on[a] == ENDING) -> /* the runner is stopped */
#ifndef BYEFIRST
        alive = alive & ~bit(a);
#endif
        on[a] = GONE; say(n_bye, a) }
    :: atomic { !calm && (on[a] == BUSY || on[a] == ENDING) -> /* its executor vanishes; the tree is killed first */
        alive = alive & ~bit(a); on[a] = GONE; say(n_nack_lost, a) }
    od
}

init
{
    atomic { byte i; for (i : 1 .. ATTS) { run Takes(i); run Runner(i) } }
}

#ifdef LIVE /* Faults end; time never stands still, so a run that stops is a run for ever. */
active proctype Calm() { calm = true }

bool tick;
active proctype Time() { do :: tick = !tick od }
#endif

#define settled (state == FINAL && verdict == CANCELED && !unconfirmed)

ltl one_final { [] (finals <= 1) }
ltl nothing_runs { [] (!settled || (alive & ~unsure) == 0) }
ltl canceled_stays { [] !again }
ltl ends { <> (state == FINAL) }
ltl tree_gone { <> [] (alive == 0) }
ltl passed_anyway { [] !(asked && state == FINAL && verdict == PASSED && (n_cancel & bit(att))) }
ltl unconfirmed_runs { [] !(unconfirmed && (alive & bit(att))) }
ltl never_started { [] !(settled && on[att] == DONE && (n_canceled & bit(att)) && !(n_start & bit(att)) && !alive) }
ltl old_one_runs { [] !(settled && alive) }
