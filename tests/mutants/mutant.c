#include "base/mutant.h"

#include <string.h>

static mutant chosen = mutant_count;

bool mutant_is_on(mutant m)
{
    return m == chosen;
}

bool mutant_choose(const char *name)
{
    static const char *const names[] = {
#define BUG(name, invariant, doc) #name,
#include "mutants.def"
#undef BUG
    };

    for (mutant m = 0; m < mutant_count; m++)
        if (strcmp(names[m], name) == 0) {
            chosen = m;
            return true;
        }
    return false;
}
