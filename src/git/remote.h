/*
 * remote.h - the branches of a repository behind a URL, by `git ls-remote`.
 *
 * The observer asks many remotes at once; none of them, hanging or slow, holds up another: a
 * question is a handle with a descriptor for the loop.
 */
#ifndef VOLT_GIT_REMOTE_H
#define VOLT_GIT_REMOTE_H

#include "base/buf.h"
#include "git/refs.h"

#define REMOTE_URL_MAX    2048
#define REMOTE_OUTPUT_MAX (64u << 20)

typedef struct remote_query remote_query;

typedef struct remote_answer {
    ref_list refs;        /* those that fit the globs */
    char *default_branch; /* "refs/heads/main", or NULL when HEAD was not asked for or tells none */
    commit_id head;       /* HEAD's commit; empty likewise */
} remote_answer;

/* True for what `git clone` takes for a URL rather than a path: "scheme://…" or "host:path".
 * A file:// URL is one too: see remote_local_path(). */
bool remote_is_url(const char *text);
/* The path of a file:// URL or of a plain path (percent-decoded; NULL when it is neither), owned by
 * the caller: such repositories are read in place. */
char *remote_local_path(const char *text);
/* Basename without ".git", as a repository is called by default; owned by the caller. */
char *remote_name(const char *url_or_path);
/* The URL without user and password ("https://host/x.git"); `ssh://git@…` stays.  Owned. */
char *remote_show(const char *url);

/* Takes users and passwords out of every URL in a text. */
void remote_scrub(buf *text);
/* Whether git may be given this URL.  VOLT_EINVALID: too long, a path, or a remote helper. */
volt_code remote_check(const char *url, volt_err *err);
/* What the words of a git command that failed to reach a remote mean: VOLT_EUNREACHABLE,
 * VOLT_EINVALID (no repository there) or VOLT_EIO (this machine's disk). */
volt_code remote_code(const char *errors);

/* Starts asking; `globs` as for refs_list().  With `head` also for the default branch, at the price
 * of hearing of every ref there (pull requests …).
 * Errors as remote_check() and child_start(). */
volt_code remote_start(const char *url, const char *const *globs, size_t n, bool head,
                       int64_t limit_ms, remote_query **ret, volt_err *err);
int remote_fd(const remote_query *q);
/* VOLT_EAGAIN: not finished.  VOLT_OK: *ret is filled, free with remote_answer_free().
 * VOLT_EUNREACHABLE: host, network, credentials.  VOLT_EINVALID: it answers, but there is no
 * repository.  VOLT_ETIMEOUT, VOLT_EFULL (REMOTE_OUTPUT_MAX), VOLT_ECORRUPT. */
volt_code remote_step(remote_query *q, remote_answer *ret, volt_err *err);
void remote_free(remote_query *q); /* ends it when it still runs */
void remote_answer_free(remote_answer *answer);

/* All of it, blocking. */
volt_code remote_list(const char *url, const char *const *globs, size_t n, bool head,
                      int64_t limit_ms, remote_answer *ret, volt_err *err);

#endif
