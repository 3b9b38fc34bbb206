/*
 * env.h - the variables that a submission gives to the tasks of its build: `NAME=VALUE`.
 */
#ifndef VOLT_CORE_ENV_H
#define VOLT_CORE_ENV_H

#include "base/arena.h"
#include "core/msg.h"

#define ENV_VARIABLES_MAX 100
#define ENV_BYTES_MAX     8192 /* of all, so that they fit every frame they travel in */

/* What is wrong with them, in a sentence; NULL: nothing.  Names are letters, digits and '_', each
 * once, and none that is Volt's own. */
const char *env_check(slices env, arena *a);

/* Name and value of one that passed the check. */
slice env_name(slice variable);
slice env_value(slice variable);

#endif
