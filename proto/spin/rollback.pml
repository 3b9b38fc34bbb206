/*
 * Old backups: a dispatcher whose data directory is put back to an earlier state.
 *
 * Stands for: dispatch_fleet.c (on_hello, reconcile_held, from_the_future, find_stale), the store's
 * begin_epoch, agent.c (welcome, abandon_all, the epochs of assigns).  Messages: hello with hist,
 * maxep and held; welcome with hist, ep and drop; assign with ep; result.
 *
 * One task, one runner: the one that worked for the newest state is the one that can be misled by an
 * older one, since what is leased to it may have the numbers of something that it holds.  Each lease
 * has a name of its own, which the protocol does not know: so a result can be told from another one's.
 *
 * The dispatcher's word that its data are an old copy (`stale`) is durable here, and only the
 * operator's --accept-rollback takes it back, by beginning a new history.
 *
 * Left out, and why that loses nothing:
 * - transactions, doubling and reordering: lease.pml; what is on its way when a connection ends is lost;
 * - other runners: without this one's word nothing tells of the newer state (REACH unnoticed).
 *
 * PROP not_mixed: no result is taken for that of another lease
 * PROP none_assigned: when a runner's hello told of a newer state, nothing is assigned before the operator's word
 * PROP final_stays (S1): then no final of a history changes, either
 * LIVE goes_on (L1): when faults end and the operator has spoken, the task gets its final
 * REACH noticed_by_epoch: the runner has seen a later start than this one
 * REACH noticed_by_held: the runner holds a later attempt than is known
 * REACH new_history: a final in the new history, by a runner of the old one
 * REACH unnoticed: an old copy that no runner can tell from the newest: the task ends again
 * MUTANT NOHELD breaks not_mixed: held attempts are not compared with the newest known one
 * MUTANT NOEPOCH breaks none_assigned: the runner's greatest epoch is not compared
 * MUTANT FORGET breaks none_assigned: a restart of the dispatcher forgets that its data are old
 * MUTANT SAMEHIST breaks final_stays: --accept-rollback keeps the history
 * MUTANT IGNORE breaks none_assigned: the old copy is noticed, and work goes on
 * MUTANT STAY breaks goes_on: a runner does not follow to another history
 */
#ifdef FULL
#define STARTS 5
#define LEASES 5
#elif defined(LIVE) /* enough to be noticed, spoken about, and to go on */
#define STARTS 3
#define LEASES 3
#else
#define STARTS 4
#define LEASES 4
#endif

mtype = { QUEUED, LEASED, FINAL };

/* The dispatcher's data, and a copy of them. */
mtype state = QUEUED; byte att, lease, ep = 1, hist = 1;
bool stale;
mtype k_state; byte k_att, k_lease, k_ep, k_hist;
bool copied, restored;

bool bound; /* it knows the runner's connection */

/* The runner: durable but for the session. */
byte held, h_lease, maxep, r_hist;
bool done, session;

byte n_att, n_lease, n_ep; /* an assign under way */

byte leases, starts; /* made so far */

bool calm; /* faults have ended; for S properties they never do */
bool told, mixed, misled, changed, again, by_epoch, by_held;
byte ended_as[3]; /* published final of each history, by lease */

inline begin() /* a start: a new epoch, new connections */
{
    ep++; starts++; bound = false; n_att = 0
#ifdef FORGET
    ; stale = false
#endif
}

inline give(a) /* assign, or the same again */
{
    if :: n_att = att; n_lease = lease; n_ep = ep :: !calm fi
}

active proctype Dispatcher()
{
end:
    do
    :: atomic { state == QUEUED && bound && leases < LEASES + (calm -> 3 : 0) &&
#ifdef IGNORE
        true ->
#else
        !stale ->
#endif
        misled = misled || told;
        att++; leases++; lease = leases; state = LEASED; give(att) }
    :: atomic { state == LEASED && bound && session && held != att && !n_att && !stale -> give(att) }
    :: atomic { !calm && state == LEASED && leases < LEASES - 2 -> state = QUEUED } /* its lease lapses */
    :: atomic { !calm && starts < STARTS - 1 -> begin() }
    od
}

active proctype Operator()
{
end:
    do
    :: atomic { !calm && !copied -> copied = true;
        k_state = state; k_att = att; k_lease = lease; k_ep = ep; k_hist = hist }
    :: atomic { !calm && copied && !restored && starts < STARTS - 1 -> restored = true;
        state = k_state; att = k_att; lease = k_lease; ep = k_ep; hist = k_hist; stale = false; begin() }
    :: atomic { stale && starts < STARTS -> /* --accept-rollback */
#ifndef SAMEHIST
        hist++;
#endif
        begin(); stale = false; told = false }
    od
}

inline welcome(same)
{
    if
    :: same && ep < maxep /* one that was replaced: ignored */
#ifdef STAY
    :: !same && r_hist
    :: (same && ep >= maxep) || !r_hist ->
#else
    :: !(same && ep < maxep) ->
#endif
        if
        :: !same || (held && !(state == LEASED && att == held)) -> held = 0; h_lease = 0; done = false /* abandon, drop */
        :: else
        fi;
        r_hist = hist; maxep = ep; session = true
    fi
}

active proctype Hello()
{
    bool same;
end:
    do
    :: atomic { !calm || !bound || !session ->
        session = false; n_att = 0; bound = true; same = r_hist == hist;
        if
        :: same && maxep > ep -> told = true; by_epoch = true;
#ifndef NOEPOCH
            stale = true
#endif
        :: same && held > att -> told = true; by_held = true;
#ifndef NOHELD
            stale = true
#endif
        :: else
        fi;
        if
        :: state == LEASED && !(same && held == att) -> state = QUEUED /* came back without it */
        :: else
        fi;
        if :: welcome(same) :: !calm fi; same = false }
    od
}

active proctype Runner()
{
end:
    do
    :: atomic { session && n_att && n_ep == maxep && n_att > held -> /* ends an older one */
        held = n_att; h_lease = n_lease; done = false; n_att = 0 }
    :: atomic { session && n_att && (n_ep != maxep || n_att <= held) -> n_att = 0 } /* has it: result again */
    :: atomic { held && !done -> done = true }
    :: atomic { session && bound && held && done ->
        if
        :: state == LEASED && att == held ->
            mixed = mixed || h_lease != lease;
            state = FINAL;
            if
            :: ended_as[hist] && ended_as[hist] != h_lease ->
                if :: by_epoch || by_held -> changed = true :: else -> again = true fi
            :: else
            fi;
            ended_as[hist] = h_lease
        :: else
        fi;
        if :: held = 0; h_lease = 0; done = false :: !calm fi } /* result_ok, fenced; or that is lost */
    :: atomic { !calm && held && !done -> held = 0; h_lease = 0 } /* its executor vanishes */
    od
}

#ifdef LIVE /* Faults end; time never stands still, so a run that stops is a run for ever. */
active proctype Calm() { calm = true }

bool tick;
active proctype Time() { do :: tick = !tick od }
#endif

ltl not_mixed { [] !mixed }
ltl none_assigned { [] !misled }
ltl final_stays { [] !changed }
ltl goes_on { <> [] (state == FINAL) }
ltl noticed_by_epoch { [] !(by_epoch && stale) }
ltl noticed_by_held { [] !(by_held && stale) }
ltl new_history { [] !(hist == 2 && state == FINAL && ended_as[1] && ended_as[2]) }
ltl unnoticed { [] !again }
