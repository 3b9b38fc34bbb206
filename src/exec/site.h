/*
 * site.h - what an executor has at hand for its attempts: its settings, the way to a repository's
 * objects, workspaces, and scratch directories.
 *
 *   WORK/pool/<slot>/<repo>         workspaces, one a slot and repository, reused
 *   WORK/home/<slot>/               scratch of an attempt, removed after it: home, tmp, output, and
 *                                   the files of secrets where none can be kept in memory
 *   WORK/kept/<slot>/<repo>         homes of jobs with `home: kept`; nobody removes them but people
 *   WORK/cache/<repo>/              of all slots; see cache.h
 */
#ifndef VOLT_EXEC_SITE_H
#define VOLT_EXEC_SITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"
#include "core/msg.h"
#include "exec/unit.h"
#include "git/objects.h"
#include "git/workspace.h"

#define SITE_PATH "/usr/local/bin:/usr/bin:/bin" /* PATH of tasks where the runner has none */

typedef struct site_config {
    const char *work;         /* absolute */
    uint64_t slot;            /* 0: plans */
    const char *runner;       /* its name, for VOLT_RUNNER */
    const char *host;         /* this machine's name, as in `local:HOST:PATH` */
    const char *path;         /* PATH of tasks */
    const char *lang;         /* LANG of tasks; NULL: C.UTF-8 */
    const char *tz;           /* TZ of tasks; NULL: none */
    const char *const *repos; /* "name=path": local clones to take objects from */
    size_t repos_n;
    int64_t timeout_ms; /* limit that a plan gives each unit; 0: none */
    uint64_t batch;     /* files handed over at once without a pipeline file; 0: any number */
    int64_t fetch_ms;   /* limit for fetching a commit; >= 1 */
    /* Monotonic milliseconds, asked once a workspace is ready: its making does not count as the
     * first unit's time.  NULL: the time of the step stands. */
    int64_t (*clock_ms)(void);
    const char *dispatcher; /* HOST:PORT, where artifacts of other jobs are; NULL: localhost:8888 */
    uint64_t log_max;       /* cap of an attempt's log where its assign has none, bytes */
    uint64_t cache_bytes;   /* that the caches of all slots may have; 0: there are none */
    const char *secrets;    /* where the runner's secrets are; NULL: it has none */
    const char *const *secrets_for; /* rules, see secrets.h */
    size_t secrets_for_n;
    sandbox_kind sandbox; /* of orders that do not say; none: the host */
} site_config;

typedef struct site site;

/* Texts must stand as long as the site.  Removes what attempts of this slot left behind.
 * VOLT_EIO: the work directory cannot be written. */
volt_code site_new(const site_config *config, site **ret, volt_err *err);
void site_free(site *s);
const site_config *site_settings(const site *s);
/* A descriptor of /dev/null, for standard inputs; the site's. */
int site_null(const site *s);

/* Where the objects of repository `repo` with that url come from: a path of this machine or a URL,
 * as mirror_start() takes it; owned by the caller.
 * VOLT_EUNREACHABLE: it is on another machine; says what to do. */
volt_code site_source(const site *s, slice repo, slice url, char **ret, volt_err *err);

/* The object store at `path`, kept open; stands until the next call.  Errors as objects_open(). */
volt_code site_objects(site *s, const char *path, objects **ret, volt_err *err);
/* Forgets that store, after it gave an error. */
void site_objects_drop(site *s, const char *path);

/* Notes that the commits of `source` (site_source()) are in the store at `path`. */
void site_learn(site *s, const char *source, const char *path);
/* That path, when the store has the commit already and the source was the last one learnt; stands
 * until the next site_learn().  NULL: mirror_start() has to look, which opens a repository anew:
 * that is most of what handing over a task costs an executor. */
const char *site_known(site *s, const char *source, const commit_id *id);

/* bwrap, when it works here; asked once, or anew while it does not.  Errors as sandbox_find(). */
volt_code site_bwrap(site *s, const char **ret, volt_err *err);

/* The workspace of a repository, kept open; stands until the next call. */
workspace *site_workspace(site *s, slice repo);
/* Removes it at once; what cannot be removed is set aside.  Slow. */
void site_drop_workspace(site *s, slice repo);
/* A workspace belongs to the job it was last prepared for: true while it is the one with this key
 * ("" never is). */
bool site_kept(const site *s, const char *key);
void site_keep(site *s, const char *key);

/* ---- the setup of the workspace's job ----
 *
 * It ran in the workspace; what it left running, and the scratch, live as long as the workspace is
 * its job's. */

/* It succeeded: `u`, which is kept or has ended, is the site's from now on. */
void site_set_up(site *s, unit *u);
/* There is one, or what it left has not ended yet. */
bool site_has_setup(const site *s);
/* Ends what it left: TERM now, KILL after UNIT_LEFT_GRACE_MS.  The workspace is nobody's. */
void site_end_setup(site *s, int64_t now_ms);
/* The same while a unit runs: what the setup left ends with that. */
void site_let_setup_go(site *s);
/* True when nothing is left of it, or none was told to end.  To be called after SIGCHLD and at the
 * deadline. */
bool site_step_setup(site *s, int64_t now_ms);
int64_t site_setup_deadline_ms(const site *s);

/* The file of a repository's cache with that key, owned by the caller. */
char *site_cache(const site *s, slice repo, const char *key);
/* The directory of all caches; the site's. */
const char *site_caches(const site *s);

/* Removes one workspace that was set aside, if there is any: true when there may be more. */
bool site_sweep(site *s);

typedef struct scratch {
    const char *home, *tmp, *output; /* absolute */
} scratch;

/* Fresh directories for an attempt; the paths stand as long as the site.  Those that the last one
 * did not touch are fresh still: making and removing directories would be most of the cost of a
 * task that does nothing.  VOLT_EFULL: no space.  VOLT_EIO. */
volt_code scratch_make(site *s, scratch *ret, volt_err *err);
/* The directory of the secrets' files, see secrets_put(). */
const char *site_secrets(const site *s);
/* The home that is kept for tasks of a repository in this slot: two slots at once must not share
 * one.  Made when it is not there; owned by the caller.  VOLT_EFULL, VOLT_EIO. */
volt_code site_kept_home(const site *s, slice repo, char **ret, volt_err *err);
/* Removes what an attempt left in them, unless a setup's processes live there.  VOLT_EIO: something
 * stays, named; it is in the way of the next scratch_make(). */
volt_code scratch_clear(site *s, volt_err *err);

#endif
