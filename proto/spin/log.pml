/*
 * The log of one attempt: pieces under credit, the result behind them, the file in the store.
 *
 * Stands for: agent_flow.c (pump_log, retry, agent_log_ok, agent_rewind, agent_kept, pump_result),
 * dispatch_task.c (on_log, take_log, on_result), dispatch_load.c (log_bytes 0 after a start),
 * store/logs.c (write, sync).  Messages: log, log_ok, result, result_ok, welcome.keep.
 *
 * The log is BYTES units long; a piece is one of them, with FULL also two, so that pieces sent again
 * overlap the old ones.  The network loses, doubles and reorders without bound while faults last; what was on
 * its way when a session ended is gone, for it belonged to the old connection.
 *
 * Left out, and why that loses nothing:
 * - fencing (lease.pml): another attempt has another file;
 * - other transactions: only the result's needs the log to be durable;
 * - time: the re-send timer may ring at any moment while something is owed.
 *
 * PROP exact_prefix (S8): the file is a prefix of what the process wrote
 * PROP whole_at_final (S8): a committed result's log is whole and survives a power cut
 * PROP spool_outlives (S7): the spool is deleted only when the result is committed
 * LIVE acknowledged (L2): when faults end, the result is committed and the spool deleted
 * REACH streamed_twice: the log is sent again from its beginning after a crash
 * REACH short_result: the log travels in the result
 * REACH paused: the runner has no credit and nothing under way
 * MUTANT NOOFF breaks exact_prefix: a piece is appended whatever its offset
 * MUTANT HIGHOFF breaks exact_prefix: a piece is written also beyond the end
 * MUTANT NOSYNC breaks whole_at_final: the result is committed before the file is durable
 * MUTANT EARLY breaks whole_at_final: the result does not wait for the end of the log
 * MUTANT ACKFIRST breaks spool_outlives: result_ok leaves before the commit
 * MUTANT NOKEEP breaks acknowledged: after a welcome the runner goes on where it was
 * MUTANT NOPROBE breaks acknowledged: a runner without credit waits for a log_ok that was lost
 * MUTANT NORETRY breaks acknowledged: nothing is sent again
 */
#ifdef FULL /* and pieces of two units */
#define BYTES  3
#define WINDOW 2
#else
#define BYTES  2
#define WINDOW 2
#endif
#ifdef EARLY
#define ENOUGH 0
#else
#define ENOUGH BYTES /* units acknowledged before the result is sent */
#endif
#define bit(n) (1 << (n))
#define piece(off, n) bit(2 * (off) + (n) - 1)

/* The runner.  The process has written `wrote` units, and has ended when that is BYTES. */
byte wrote, sent, acked, window = WINDOW;
bool streamed, told, spool = true;

/* The dispatcher: the length it knows; the file as readers see it, and what a power cut leaves. */
byte known, file, disk;
bool final; /* in the store */

bool session = true; /* hello was answered, and both know the connection */

/* The network: pieces by offset and length, log_ok by offset, and with window 0. */
short n_piece;
byte n_ok;
bool n_probe, n_pause, n_result, n_short, n_result_ok;

bool calm; /* faults have ended; for S properties they never do */

/* What only the properties look at. */
bool wrong, early_delete, again;

#define taken(set, n) if :: set = set & ~(n) :: !calm fi /* it may come again */
#define sent_or_lost(bool_set) if :: bool_set :: !calm fi

inline end_session()
{
    session = false; n_piece = 0; n_ok = 0; n_probe = false; n_pause = false; n_result = false; n_short = false
}

/* ---- the runner ---- */

#define credit            (acked + window > sent)
#define send_piece_is_due (session && spool && credit && sent < wrote)

inline send_piece(n)
{
    streamed = true;
    sent_or_lost(n_piece = n_piece | piece(sent, n));
    sent = sent + n
}

active proctype Process() { do :: wrote < BYTES -> wrote++ :: wrote == BYTES -> break od }

active proctype Sender()
{
end:
    do
    :: atomic { (streamed || wrote < BYTES) && send_piece_is_due -> send_piece(1) }
#ifdef FULL
    :: atomic { (streamed || wrote < BYTES) && send_piece_is_due && sent + 2 <= wrote && sent + 2 <= acked + window -> send_piece(2) }
#endif
    :: atomic { session && spool && wrote == BYTES && !told && streamed && acked >= ENOUGH ->
        told = true; sent_or_lost(n_result = true) }
    :: atomic { session && spool && wrote == BYTES && !told && !streamed -> /* log_is_short */
        told = true; sent_or_lost(n_short = true) }
    od
}

/* The timer: what is not acknowledged is sent again, and without credit it is asked for. */
#define under_way (n_piece || n_probe || n_ok || n_pause || n_result || n_short || n_result_ok)
active proctype Retry()
{
end:
    do
#ifndef NORETRY
    :: atomic { session && spool && (!calm || !under_way) && (sent > acked || told || (streamed && !credit)) ->
#ifndef NOPROBE
        if
        :: streamed && !credit && sent == acked -> sent_or_lost(n_probe = true)
        :: else
        fi;
#endif
        sent = acked; told = false }
#endif
    :: false
    od
}

active proctype Hears()
{
    byte off;
end:
    do
    :: atomic { n_ok -> /* agent_log_ok */
        if
        :: n_ok & bit(0) -> off = 0
        :: n_ok & bit(1) -> off = 1
        :: n_ok & bit(2) -> off = 2
#ifdef FULL
        :: n_ok & bit(3) -> off = 3
#endif
        fi;
        taken(n_ok, bit(off));
        if
        :: !streamed
        :: streamed && off < acked -> window = WINDOW; sent = off; acked = off; told = false
        :: streamed && off >= acked -> window = WINDOW; acked = off; if :: sent < off -> sent = off :: else fi
        fi;
        off = 0 }
    :: atomic { n_pause -> taken(n_pause, 1); if :: streamed -> window = 0 :: else fi }
    :: atomic { spool && n_result_ok -> spool = false; early_delete = early_delete || !final }
    od
}

/* hello over a new connection; the welcome may be lost, then it is said again. */
active proctype Hello()
{
end:
    do
    :: atomic { spool && (!calm || (!session && !n_result_ok)) ->
        end_session();
        if
        :: final -> n_result_ok = true /* drop: it is final */
        :: !final -> /* keep: agent_rewind, agent_kept */
            session = true; told = false;
#ifndef NOKEEP
            sent = known; acked = known; window = WINDOW; streamed = streamed || known > 0
#endif
        :: !calm
        fi }
    :: atomic { !calm && spool -> /* the agent starts again, and finds the spool */
        end_session(); streamed = false; told = false; sent = 0; acked = 0; window = WINDOW }
    od
}

/* ---- the dispatcher ---- */

inline say_log()
{
    if
    :: n_ok = n_ok | bit(known)
    :: !calm -> n_pause = true /* its disk is nearly full; the offset is that of another log_ok */
    :: !calm
    fi
}

inline take_piece(off, n)
{
    n_piece & piece(off, n) ->
    taken(n_piece, piece(off, n));
    if
    :: final /* fenced, below */
#ifdef NOOFF
    :: !final && known + n <= BYTES -> wrong = wrong || off != known; known = known + n
#else
#ifdef HIGHOFF
    :: !final && off >= known -> wrong = wrong || off != known; known = off + n
#else
    :: !final && off == known -> known = known + n
#endif
#endif
    :: !final && (!calm || off != known) /* not taken */
    fi;
    if :: file < known -> file = known :: else fi; /* below that it wrote what was there */
    if :: final -> n_result_ok = true :: else -> say_log() fi
}

active proctype Pieces()
{
end:
    do
    :: atomic { take_piece(0, 1) } :: atomic { take_piece(1, 1) }
#ifdef FULL
    :: atomic { take_piece(2, 1) } :: atomic { take_piece(0, 2) } :: atomic { take_piece(1, 2) }
#endif
    :: atomic { n_probe -> n_probe = false; if :: final -> n_result_ok = true :: else -> say_log() fi }
    od
}

inline restart()
{
    again = again || (known && !final);
    end_session(); known = 0
}

inline commit_result()
{
#ifdef ACKFIRST
    n_result_ok = true;
#endif
    if
    :: !calm && !final -> restart() /* a crash before the commit */
    ::
#ifndef NOSYNC
        disk = file;
#endif
        final = true; sent_or_lost(n_result_ok = true)
    fi
}

active proctype Results()
{
end:
    do
    :: atomic { n_result ->
        taken(n_result, 1);
        if
        :: final -> n_result_ok = true
#ifdef EARLY
        :: !final -> commit_result()
#else
        :: !final && known == BYTES -> commit_result()
        :: !final && known != BYTES -> say_log()
#endif
        fi }
    :: atomic { n_short ->
        taken(n_short, 1);
        if
        :: final -> n_result_ok = true
        :: !final && known == 0 -> /* the log is a row of the result's transaction */
            file = BYTES; disk = BYTES; known = BYTES; commit_result()
        :: !final && known != 0 -> say_log()
        fi }
    od
}

active proctype Faults()
{
end:
    do
    :: atomic { !calm -> restart() }                                       /* kill -9: the file stays */
    :: atomic { !calm -> restart(); file = disk }                          /* the power goes */
    od
}

#ifdef LIVE /* Faults end; time never stands still, so a run that stops is a run for ever. */
active proctype Calm() { calm = true }

bool tick;
active proctype Time() { do :: tick = !tick od }
#endif

ltl exact_prefix { [] (!wrong && file <= wrote) }
ltl whole_at_final { [] (!final || (disk == BYTES && file == BYTES && wrote == BYTES)) }
ltl spool_outlives { [] !early_delete }
ltl acknowledged { <> (final && !spool) }
ltl streamed_twice { [] !(again && final && streamed) }
ltl short_result { [] !(final && !streamed && !again) }
ltl paused { [] !(session && streamed && window == 0 && sent == acked && spool) }
