/*
 * Submitting: a branch gets commits, an observer submits each, a dispatcher makes builds of them.
 *
 * Stands for: watch.c (on_listed, watch_restore_*), watch_queue.c (watch_enqueue, push, on_accepted,
 * on_err, advance, resend_all), dispatch_client.c (on_submit, seen_before, on_submission),
 * role/dispatcher.c (commit, then speak).  Messages: submit, accepted, submission, head.
 *
 * A submission's sid is (commit, life of the observer that first queued it).  Both processes crash
 * between any two steps; what they made durable is left.  The network is a set, as in lease.pml; the
 * query's answer is a message like the published one.
 *
 * Left out, and why that loses nothing:
 * - a refusal for now (DISK, BUSY) is a submit that was lost; one for good (NAME_TAKEN) is an answer
 *   like `accepted`, but there is no build to be checked;
 * - the policy `latest` queues fewer commits; other branches have queues of their own;
 * - times and backoff: a re-send may happen at any moment, a query is one more way to hear an answer.
 *
 * PROP one_build (S5): no commit gets two builds
 * PROP accepted_is_durable (S4): what the observer was told is accepted is in the store
 * PROP no_hole (S4): the cursor stands on nothing whose build, or an older one's, is missing
 * PROP in_order: builds are made in the order of the commits
 * LIVE all_built (L1): when faults end, every commit has its build
 * LIVE all_answered (L2): and the observer's cursor is at the tip, its spool empty
 * REACH two_sids: one commit accepted under two sids
 * REACH hint_lost: a build whose answers were all lost so far, after a crash of the observer
 * REACH left_over: the cursor is beyond an entry that is still spooled
 * REACH behind: the dispatcher forgot a submission that it had taken but not committed
 * MUTANT NODEDUPE breaks one_build: only the sid is compared, not the commit
 * MUTANT ACKFIRST breaks accepted_is_durable: accepted leaves before the commit
 * MUTANT CURSORFIRST breaks no_hole: the cursor moves when a submission is sent
 * MUTANT SPOOLANY breaks no_hole: entries become durable in any order
 * MUTANT SENDFIRST breaks no_hole: the cursor moves to whatever is accepted
 * MUTANT ALLATONCE breaks in_order: all of a branch are under way at once
 * MUTANT NORESEND breaks all_built: a submission is sent once
 * MUTANT NOLIST breaks all_built: after its start the observer does not look behind its cursor
 * MUTANT NODUP breaks all_answered: a repeated submission is not answered
 */
#ifdef FULL
#define COMMITS 3
#else
#define COMMITS 2
#endif
#define LIVES   2
#define OTHER   (LIVES + 1) /* somebody else submits the first commit, too */
#define one(c, l) (1 << (COMMITS * ((l) - 1) + (c) - 1)) /* a sid */
#define bit(c)    (1 << (c))

byte tip; /* commits 1..tip are on the branch */

/* The observer: durable are cursor and the spool (by commit: the life in its sid; 0: none). */
byte cursor, spool[COMMITS + 1];
byte life = 1, mark, queued[COMMITS + 1], first = 1; /* `first` is the oldest that is not answered */
bool sent_first;

/* The dispatcher: builds and submissions in memory and in the store. */
byte m_builds, s_builds;
short m_sids, s_sids;
bool dirty;
short o_accepted;
byte made[COMMITS + 1];

#ifdef LIVE
short n_submit, n_accepted;
#else
short n_submit = one(1, OTHER), n_accepted;
#endif

bool calm; /* faults have ended; for S properties they never do */
bool false_answer, disorder, forgotten;

#define upto(c) (bit((c) + 1) - 2) /* the set 1..c */

active proctype Repository() { do :: tip < COMMITS -> tip++ :: tip == COMMITS -> break od }

/* ---- the observer ---- */

#ifdef SPOOLANY
#define may_spool(c) true
#else
#define may_spool(c) (c == first || spool[c - 1] || c - 1 <= cursor)
#endif
#ifdef ALLATONCE
#define may_send(c) true
#else
#define may_send(c) (c == first)
#endif
#ifdef NORESEND
#define again(c) !sent_first
#else
#define again(c) !(n_submit & one(c, queued[c]))
#endif

inline spool_it(c)
{
    queued[c] && !spool[c] && c >= first && may_spool(c) -> spool[c] = queued[c]
}

inline send_it(c)
{
    queued[c] && queued[c] == spool[c] && c >= first && may_send(c) && again(c) &&
        !(n_accepted & one(c, queued[c])) ->
    sent_first = true;
#ifdef CURSORFIRST
    cursor = c;
#endif
    if :: n_submit = n_submit | one(c, queued[c]) :: !calm fi
}

inline unspool(c) /* once the cursor is durable; a power cut may leave older ones than it takes */
{
    spool[c] && !queued[c] && c <= cursor -> spool[c] = 0
}

active proctype Observer()
{
end:
    do
    :: atomic { mark < tip -> mark++; queued[mark] = life } /* on_listed, watch_enqueue */
    :: atomic { spool_it(1) } :: atomic { spool_it(2) }
    :: atomic { send_it(1) } :: atomic { send_it(2) }
#ifdef FULL
    :: atomic { spool_it(3) } :: atomic { send_it(3) }
#endif
#ifdef SENDFIRST
    :: atomic { first < COMMITS && queued[first + 1] && (m_builds & bit(first + 1)) -> cursor = first + 1 }
#endif
    :: atomic { first <= COMMITS && queued[first] && spool[first] && (n_accepted & one(first, queued[first])) ->
        false_answer = false_answer || !(s_builds & bit(first));
        cursor = first; queued[first] = 0; first++; sent_first = false } /* advance */
    :: atomic { unspool(1) } :: atomic { unspool(2) }
#ifdef FULL
    :: atomic { unspool(3) }
#endif
    od
}

/* A new life: the spool is queued again, in order, and the mark is its last entry or the cursor. */
active proctype Crashes()
{
    byte c;
end:
    do
    :: atomic { !calm && life < LIVES ->
        life++; sent_first = false; first = COMMITS + 1; mark = cursor; c = 1;
        do
        :: c <= COMMITS ->
            queued[c] = spool[c];
            if :: spool[c] -> mark = c; if :: first > c -> first = c :: else fi :: else fi;
            c++
        :: else -> break
        od;
        if :: first > COMMITS -> first = mark + 1 :: else fi;
#ifdef NOLIST
        mark = tip; if :: first > cursor && !queued[first] -> first = tip + 1 :: else fi;
#endif
        c = 0 }
    od
}

/* ---- the dispatcher ---- */

inline take(c, l) /* on_submit */
{
    !dirty && !o_accepted && (n_submit & one(c, l)) ->
    if :: n_submit = n_submit & ~one(c, l) :: !calm fi;
#ifdef NODUP
    if
    :: !(m_sids & one(c, l)) -> o_accepted = one(c, l)
    :: else
    fi;
#else
    o_accepted = one(c, l);
#endif
    if
#ifdef NODEDUPE
    :: !(m_sids & one(c, l)) ->
#else
    :: !(m_sids & one(c, l)) && !(m_builds & bit(c)) ->
#endif
        disorder = disorder || (upto(c - 1) & ~m_builds);
        m_builds = m_builds | bit(c); made[c]++
    :: else
    fi;
    dirty = !(m_sids & one(c, l)); m_sids = m_sids | one(c, l)
}

inline forget()
{
    c = 1;
    do :: c <= COMMITS -> if :: (m_builds & ~s_builds) & bit(c) -> made[c]-- :: else fi; c++ :: else -> break od;
    c = 0; forgotten = forgotten || m_sids != s_sids;
    m_builds = s_builds; m_sids = s_sids; dirty = false; o_accepted = 0
}

active proctype Dispatcher()
{
    byte c;
end:
    do
    :: atomic { take(1, OTHER) }
    :: atomic { take(1, 1) } :: atomic { take(1, 2) } :: atomic { take(2, 1) } :: atomic { take(2, 2) }
#ifdef FULL
    :: atomic { take(3, 1) } :: atomic { take(3, 2) }
#endif
#ifdef ACKFIRST
    :: atomic { dirty && o_accepted -> n_accepted = n_accepted | o_accepted }
#endif
    :: atomic { dirty || o_accepted -> s_builds = m_builds; s_sids = m_sids; dirty = false;
        if :: n_accepted = n_accepted | o_accepted :: !calm fi; o_accepted = 0 }
    :: atomic { !calm && (dirty || o_accepted) -> forget() } /* kill -9, start again */
    od
}

/* The query for the sid under way: the truth, also when the hint was lost. */
active proctype Query()
{
end:
    do
    :: atomic { first <= COMMITS && queued[first] && spool[first] && sent_first &&
        (s_sids & one(first, queued[first])) && !(n_accepted & one(first, queued[first])) && !calm ->
        n_accepted = n_accepted | one(first, queued[first]) }
    od
}

#ifdef LIVE /* Faults end; time never stands still, so a run that stops is a run for ever. */
active proctype Calm() { calm = true }

bool tick;
active proctype Time() { do :: tick = !tick od }
#endif

ltl one_build { [] (made[1] <= 1 && made[2] <= 1) }
ltl accepted_is_durable { [] !false_answer }
ltl no_hole { [] ((upto(cursor) & ~s_builds) == 0) }
ltl in_order { [] !disorder }
ltl all_built { <> (s_builds == upto(COMMITS)) }
ltl all_answered { <> [] (cursor == COMMITS && !spool[1] && !spool[2]) }
ltl two_sids { [] !((s_sids & one(2, 1)) && (s_sids & one(2, 2))) }
ltl hint_lost { [] !(life == 2 && (s_sids & one(2, 1)) && cursor == 1) }
ltl left_over { [] !(life == 2 && cursor == 2 && spool[1] && queued[1]) }
ltl behind { [] !(forgotten && s_builds == upto(COMMITS)) }
