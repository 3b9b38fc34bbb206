/*
 * secrets.h - the secrets that a runner has, who may have them, and how a task gets them.
 *
 * They are in a directory, a file each, named as they are; or in one file, of lines NAME=VALUE
 * ('#' begins a comment; of two lines for a name the last counts).  All of it belongs to this user,
 * and others may not even read it.  It is read anew for each attempt that wants some, so that a
 * secret can be changed while the runner runs.
 */
#ifndef VOLT_EXEC_SECRETS_H
#define VOLT_EXEC_SECRETS_H

#include "base/arena.h"
#include "base/err.h"
#include "core/msg.h"

#define SECRET_MAX 32768 /* bytes; a variable of the environment may have 128 KiB */

typedef struct secret {
    slice name;
    slice text;  /* as the file has it */
    slice value; /* without newlines at its end */
} secret;

/* The secrets of these names, in their order, in `mem`.  Errors never quote a value.
 * VOLT_ENOTFOUND: there is none of a name.  VOLT_EINVALID: too short to be masked, or too long.
 * VOLT_EREFUSED: others may read it, or it belongs to another user.  VOLT_EIO. */
volt_code secrets_read(const char *path, slices names, arena *mem, secret **ret, volt_err *err);
/* Reads all there are: for the runner's start. */
volt_code secrets_check(const char *path, volt_err *err);

/* A rule says who may have secrets: REPO, whose default branch may; or REPO:BRANCH.  Both are
 * patterns as text_glob() has them; a BRANCH that begins with "refs/" is one of whole refs.
 * VOLT_EINVALID. */
volt_code secrets_rule_check(const char *rule, volt_err *err);
/* Whether a rule allows it; without rules: it is the default branch. */
bool secrets_allowed(const char *const *rules, size_t n, slice repo, slice ref,
                     slice default_branch);

/* Where the files of the slot's attempts go: in memory, if the machine has a place for that, else
 * DISK; owned by the caller. */
char *secrets_place(const char *work, uint64_t slot, const char *disk);
/* Makes the directory with a file each, for this user only.  VOLT_EFULL: no space.  VOLT_EIO. */
volt_code secrets_put(const char *dir, const secret *v, size_t n, volt_err *err);
/* Removes it. */
void secrets_remove(const char *dir);

#endif
