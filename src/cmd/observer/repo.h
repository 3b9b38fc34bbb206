/*
 * repo.h - one watched repository: when to look, what it has, which commits came.
 *
 * A repository on this machine is read in place; one behind a URL is asked by `git ls-remote`, and
 * where the history between two tips is wanted, fetched into a mirror below the state directory.
 * Nothing here waits for a network.  A repository that cannot be read is named once, looked at
 * again and again, and does not hold up the others.
 */
#ifndef VOLT_CMD_OBSERVER_REPO_H
#define VOLT_CMD_OBSERVER_REPO_H

#include "cmd/observer/hint.h"
#include "core/watch.h"
#include "git/refs.h"
#include "net/loop.h"

#define OBSERVER_HEAD "HEAD" /* stands for a branch at the first sight of a detached HEAD */

typedef struct observer_repo observer_repo;

/* Called from observer_repo_run(), observer_repo_list() and the loop; what they get stands for the
 * call. */
typedef struct observer_repo_calls {
    void *ctx;
    /* What it has now differs from the last time.  `head`: full name of HEAD's branch, or "". */
    void (*sighted)(void *ctx, size_t number, const ref_list *refs, const char *head);
    /* Answers to observer_repo_list(): oldest first; texts are empty where there is no history. */
    void (*listed)(void *ctx, size_t number, const char *ref, const commit_note *v, size_t n);
    void (*list_failed)(void *ctx, size_t number, const char *ref);
} observer_repo_calls;

typedef struct observer_repo_config { /* texts are borrowed for the repository's life */
    size_t number;
    const char *name;
    const char *source; /* URL for git; for people show `url` */
    const char *path;   /* on this machine; NULL: a remote one */
    const char *url;    /* as it is submitted */
    const char *const *globs;
    size_t globs_n; /* 0: every branch */
    bool every, all_parents, from_now;
    bool once;        /* who watches ends when it cannot be read */
    const char *work; /* mirrors are made below it */
    int64_t interval_ms;
    loop *loop;
    observer_hint *hint; /* NULL: none */
    observer_repo_calls calls;
} observer_repo_config;

observer_repo *observer_repo_new(const observer_repo_config *config);
void observer_repo_free(observer_repo *r);

/* Looks, when it is time or `now_ms` was hinted at; asks remotes without waiting. */
void observer_repo_run(observer_repo *r, int64_t now_ms);
int64_t observer_repo_deadline_ms(const observer_repo *r);
/* It may have moved: look soon.  `dirs`: directories to be watched came or went. */
void observer_repo_hint(observer_repo *r, int64_t now_ms, bool dirs);
/* Its first sight is over: a detached HEAD no longer counts as a branch. */
void observer_repo_set_known(observer_repo *r);

/* Finds the commits that a LIST effect asks for; answers by `listed` or `list_failed`, maybe before
 * it returns. */
void observer_repo_list(observer_repo *r, const watch_effect *list);

/* Looked at successfully at least once; or tried at least once and failed. */
bool observer_repo_seen(const observer_repo *r);
bool observer_repo_failed(const observer_repo *r);
/* It had no commit at the last look, although every branch was looked at. */
bool observer_repo_empty(const observer_repo *r);

#endif
