/*
 * refs.h - what the branches of a repository on this machine point at, and the commits between.
 *
 * The observer keeps one handle a repository and lists its refs again and again.  Every call looks
 * at the files as they are now, so that moves by other processes are seen, `git pack-refs`
 * included.
 */
#ifndef VOLT_GIT_REFS_H
#define VOLT_GIT_REFS_H

#include <stddef.h>
#include <stdint.h>

#include "git/git.h"

#define REFS_WATCH_MAX   1024 /* directories named by refs_watch_dirs() */
#define REFS_SUBJECT_MAX 256
#define REFS_AUTHOR_MAX  128

typedef struct refs refs;

typedef struct ref_item {
    char *name;   /* "refs/heads/main" */
    commit_id id; /* of the commit; an annotated tag is followed to it */
} ref_item;

/* Sorted by name.  Zero-initialise; free with ref_list_free(), which leaves it empty. */
typedef struct ref_list {
    ref_item *v;
    size_t n;
    size_t cap;
} ref_list;

typedef struct commit_note {
    commit_id id;
    char subject[REFS_SUBJECT_MAX]; /* first line, whole UTF-8, cut when longer */
    char author[REFS_AUTHOR_MAX];   /* name, likewise */
    int64_t time_ms;                /* of the committer, since 1970 */
    uint32_t parents;
} commit_note;

/* Which commits came between two tips. */
typedef struct commit_range {
    const commit_id *from; /* the last tip known; NULL: the ref is new */
    const commit_id *base; /* for a new ref, or one whose `from` is gone: what is known already,
                              as a rule the default branch's tip; may be NULL */
    const commit_id *to;   /* the tip now */
    size_t max;            /* >= 1: of more, the newest */
    bool first_parent;     /* leave out what merges brought in */
} commit_range;

typedef struct commit_list {
    commit_id *v;
    size_t n;
    bool cut; /* there were more than `max` */
} commit_list;

/* Opens a repository: bare, a work tree, a linked worktree or a submodule.  Errors as
 * git_locate(). */
volt_code refs_open(const char *path, refs **ret, volt_err *err);
void refs_free(refs *r);

/* Fills *ret afresh with the refs that fit one of the globs of text_glob(), with n = 0 every
 * branch.  A glob that does not begin with "refs/" is meant for branches ("release/?").  Refs that
 * do not lead to a commit are left out.
 * VOLT_EIO, VOLT_ECORRUPT; VOLT_ENOTFOUND: the repository is gone. */
volt_code refs_list(refs *r, const char *const *globs, size_t n, ref_list *ret, volt_err *err);
/* True when `name` ("refs/heads/x") fits one of the globs, as refs_list() has it. */
bool refs_match(const char *name, const char *const *globs, size_t n);
void ref_list_free(ref_list *list);
void ref_list_add(ref_list *list, slice name, const commit_id *id);
void ref_list_sort(ref_list *list);
/* The item of that name, or NULL; stands as long as the list. */
const ref_item *ref_list_find(const ref_list *list, const char *name);

/* Full name of the branch HEAD names ("refs/heads/main"), born or not; owned by the caller.
 * VOLT_ENOTFOUND: HEAD is detached. */
volt_code refs_default_branch(refs *r, char **ret, volt_err *err);
/* The commit HEAD leads to.  VOLT_ENOTFOUND: to none (yet). */
volt_code refs_head(refs *r, commit_id *ret, volt_err *err);

/* Resolves what a user types: a full or short id, a branch, a tag, HEAD~2.
 * VOLT_ENOTFOUND. VOLT_EINVALID: ambiguous, or no commit. */
volt_code refs_resolve(refs *r, const char *text, commit_id *ret, volt_err *err);

/* VOLT_ENOTFOUND: no such commit here. */
volt_code refs_commit(refs *r, const commit_id *id, commit_note *ret, volt_err *err);

/* The commits that `to` has and `from` has not, oldest first, the last one `to` itself.  After a
 * force push those are the ones since the merge base.  A new ref gets those that `base` has not,
 * and at least `to`.  Nothing when `to` is `from`, or older.  Free ret->v with free().
 * VOLT_ENOTFOUND: `to` is not here. */
volt_code refs_between(refs *r, const commit_range *range, commit_list *ret, volt_err *err);

/* The directories to watch (inotify) for moves of refs, at most REFS_WATCH_MAX, the most telling
 * first: HEAD's, packed-refs', refs/ and all below it.  They are a hint and change as branches are
 * made: ask again after each event.  NULL-terminated, free with refs_watch_dirs_free(). */
volt_code refs_watch_dirs(refs *r, char ***ret, volt_err *err);
void refs_watch_dirs_free(char **dirs);

#endif
