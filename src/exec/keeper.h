/*
 * keeper.h - the process above a job's setup, below which stays what the setup leaves running.
 *
 * What a unit leaves running falls to the executor, which is a child subreaper, and is ended.  What
 * a setup leaves has to stay, and to be told from that even when all its own parents have ended. So
 * a setup has a subreaper of its own: the keeper runs the commands and says how they ended; then it
 * waits until nothing is left below it.  Its subtree is the setup's, all else below the executor is
 * the unit's: neither can get into the other, however often they fork or leave their sessions.
 *
 * What the commands write goes to the keeper's output until they have ended; what is written later
 * is read and thrown away, so that a server that goes on talking neither blocks nor dies of it.
 *
 * Not told apart: what a process of the setup starts because a unit asked it to (a build daemon's
 * workers, a database's) is the setup's.  A keeper that is killed takes its commands along and
 * leaves the rest to the executor, which ends it with the next unit: as if all had been killed.
 */
#ifndef VOLT_EXEC_KEEPER_H
#define VOLT_EXEC_KEEPER_H

#define KEEPER_COMMAND "keeper" /* argv[1] of a program that calls keeper_run() */

/* What it writes to its standard input, a pipe, when the commands have ended. */
typedef struct keeper_word {
    int exit;
    int signal; /* that ended them; 0: none */
} keeper_word;

/* Runs the command in this process's directory and environment; the exit status to end
 * with.  Leaves the process to its default only by being killed: it blocks every other signal, for
 * it has to outlive what it keeps. */
int keeper_run(const char *const *argv);

#endif
