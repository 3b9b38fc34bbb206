/*
 * rules.h - what must hold, each with its name, a sentence, and where the simulator looks.
 *
 * S1 to S17 and L1 to L6 are the protocol's invariants; the others are what this program demands
 * beyond them.  A rule that is broken is reported by its name; how often each was looked at is
 * counted, for a rule that nothing ever put to the test proves nothing (volt-sim --coverage).
 */
#ifndef VOLT_TESTS_SIM_RULES_H
#define VOLT_TESTS_SIM_RULES_H

/* X(name, sentence, where) */
#define RULES(X)                                                                                   \
    X(S1, "a task, job, unit or build has at most one final verdict, which never changes",         \
      "each committed row: oracle_rows.c")                                                         \
    X(S2, "an attempt's number is the highest committed, and durable before it is said",           \
      "each committed task: oracle_rows.c; each assign: oracle_said.c")                            \
    X(S3,                                                                                          \
      "an attempt starts at most once, on the runner it was given to, unless that gave it back",   \
      "each start of an executor: oracle.c; each order to one: runner.c")                          \
    X(S4, "what was accepted is there after any crash, and is built",                              \
      "each answer to a submission: oracle_said.c; the store at the end: oracle_rest.c, "          \
      "observer.c")                                                                                \
    X(S5, "there is one build of (repo, ref, oid, generation)", "each new build: oracle_rows.c")   \
    X(S6, "an acknowledged result, outcome or plan is durable",                                    \
      "each acknowledgement: oracle_said.c")                                                       \
    X(S7, "a spool is deleted only when its task is final or the attempt fenced",                  \
      "each deletion: oracle.c")                                                                   \
    X(S8, "a log is an exact prefix of what the process wrote; with a result, all of it",          \
      "each piece written, published or read: oracle_said.c; each kept log at the end: "           \
      "oracle_rest.c")                                                                             \
    X(S9, "events have no gaps, and what is published is committed, the same, in order",           \
      "each event: oracle_rows.c, oracle_said.c")                                                  \
    X(S10, "what a subscriber applies is the table from the first number it wanted, in order",     \
      "each applied event: oracle.c")                                                              \
    X(S11, "a runner has at most as many leases as slots, and one plan", "each commit: oracle.c")  \
    X(S12, "a task is tried at most as often as is allowed", "each committed task: oracle_rows.c") \
    X(S13, "no task of a job starts before what the job needs has passed",                         \
      "each new attempt: oracle_rows.c")                                                           \
    X(S14, "cordoned, draining and silent runners get nothing new",                                \
      "each new attempt, when it is put: oracle_rows.c")                                           \
    X(S15, "a verdict is the roll-up of what is below it, down to what the process said",          \
      "each verdict: oracle_verdict.c")                                                            \
    X(S16, "what a peer says outside its role changes nothing",                                    \
      "each message of a stranger: oracle.c")                                                      \
    X(S17, "what is kept for a peer is bounded, and nothing is left when all is done",             \
      "each turn of the dispatcher and the end: oracle_core.c")                                    \
    X(L1, "after the last fault every accepted build ends", "the end: oracle_rest.c")              \
    X(L2, "then every spool is empty", "the end: oracle_rest.c")                                   \
    X(L3, "a free slot and work that suits it meet",                                               \
      "each turn, at once: oracle_core.c; within 2 s of a quiet system: oracle_rest.c")            \
    X(L4, "a subscriber equals the table within 10 s", "the quiet time: oracle_rest.c")            \
    X(L5, "no lease outlives a lease and a grace of silence", "each turn: oracle_core.c")          \
    X(L6, "a drained runner exits", "the quiet time: oracle_rest.c")                               \
    X(FENCE, "words about an attempt that is not the newest change nothing; live ones are kept",   \
      "each message heard: oracle.c; each drop, fence and keep: oracle_said.c")                    \
    X(STATE, "a task's state follows the table of the protocol", "each committed task")            \
    X(CANCEL, "a canceled build starts nothing, and stays canceled", "each row, each attempt")     \
    X(SETUP,                                                                                       \
      "a job whose setup failed starts nothing more, and ends with that verdict or a worse",       \
      "each new attempt: oracle_rows.c; each verdict: oracle_verdict.c")                           \
    X(SUPERSEDE, "what a newer commit of the branch made pointless starts nothing",                \
      "each new attempt: oracle_rows.c")                                                           \
    X(ALONE, "of a concurrency group one process runs at a time, whatever became of its runner",   \
      "each start of an executor: executor.c")                                                     \
    X(EPOCH, "an epoch is greater than all before it", "each start of the dispatcher")             \
    X(STALE_DB,                                                                                    \
      "an old copy of the data is noticed, nothing is assigned from it, and a good one "           \
      "is never taken for old",                                                                    \
      "each turn, each hello: oracle.c")                                                           \
    X(LEASE, "a lease ends only by silence, and what a runner came back without does not go on",   \
      "each event, each welcome: oracle_work.c")                                                   \
    X(MATCH, "work goes to runners with its label, that reach it, and not back too soon",          \
      "each new attempt: oracle_work.c")                                                           \
    X(WIRE, "what is sent can be read", "each frame")                                              \
    X(HOSTILE, "no frame ends a process", "each malformed frame")                                  \
    X(HISTORY, "what a process says of a test file is counted once in the file's history",         \
      "each committed run: oracle_rows.c; the end: oracle_rest.c")                                 \
    X(RETAIN,                                                                                      \
      "retention takes builds that have ended, that nothing needs, and that are beyond a bound",   \
      "each slice of it: oracle_keep.c; the end: oracle_rest.c")                                   \
    X(CASES, "the store has exactly the cases that the process reported of a test file",           \
      "each committed outcome of a file: oracle_verdict.c")                                        \
    X(STORE, "rows fit together, and the store has what was committed", "each row; the end")       \
    X(SPOOL, "an executor that works has its spool", "each deletion of a spool: runner.c")         \
    X(DISPATCHER, "the dispatcher does not end by itself while its disk works", "each step")       \
    X(PROGRESS, "time goes on", "each step: sim.c")                                                \
    X(SIMULATOR, "this program's own limits", "where they are reached")

typedef enum rule {
#define RULE_NAME(name, sentence, where) RULE_##name,
    RULES(RULE_NAME)
#undef RULE_NAME
        RULES_N
} rule;

#endif
