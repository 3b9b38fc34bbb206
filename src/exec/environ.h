/*
 * environ.h - the environment of a task: what Volt says, what its pipeline file says, and nothing
 * of the runner's own.
 */
#ifndef VOLT_EXEC_ENVIRON_H
#define VOLT_EXEC_ENVIRON_H

#include "base/arena.h"
#include "core/msg.h"
#include "exec/secrets.h"
#include "exec/site.h"

typedef struct environ_place {
    const char *workspace; /* absolute */
    const scratch *scratch;
    const char *home; /* in place of the scratch one; NULL: that */
    rec_var_list own; /* of the pipeline file: they replace Volt's, but for VOLT... */
    /* They replace both.  One with a NUL in it is not among the variables. */
    const secret *secrets;
    size_t secrets_n;
    const char *secrets_dir;
} environ_place;

/* The variables of an attempt as execve() takes them, in `a`; what its submission gave counts more
 * than what its pipeline file says.  *ret_files is where the value of
 * VOLT_TEST_FILES goes: environ_set_files(). */
const char **environ_make(const site_config *config, const msg_assign *assign,
                          const environ_place *place, arena *a, const char ***ret_files);
/* Names the file of the unit that is to start, in `a`. */
void environ_set_files(const char **files, slice file, arena *a);

/* The absolute path of a program in `path` (as PATH), in `a`; NULL: it is not there. */
const char *environ_find(const char *path, const char *program, arena *a);
/* What a shell in `dir` with these variables would run as `name`, as execve() from there takes it,
 * in `a` or `name` itself; NULL: nothing, or it is better asked. */
const char *environ_program(const char *const *env, const char *dir, const char *name, arena *a);

#endif
