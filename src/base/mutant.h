/*
 * mutant.h - deliberate bugs, which the simulator has to find.
 *
 * MUTANT(name) stands at the decision that the bug `name` of tests/mutants/mutants.def breaks.  In
 * the product it is the constant 0 and leaves no trace; only the program volt-sim-mutants is built
 * with VOLT_MUTANTS, and switches on the one that its command line names.
 */
#ifndef VOLT_BASE_MUTANT_H
#define VOLT_BASE_MUTANT_H

#ifdef VOLT_MUTANTS

#include <stdbool.h>

typedef enum mutant {
#define BUG(name, invariant, doc) MUTANT_##name,
#include "mutants.def"
#undef BUG
    mutant_count
} mutant;

bool mutant_is_on(mutant m);
/* Switches it on for the rest of the process.  False: there is none of that name. */
bool mutant_choose(const char *name);

#define MUTANT(name) mutant_is_on(MUTANT_##name)

#else

#define MUTANT(name) 0

#endif

#endif
