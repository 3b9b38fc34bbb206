/*
 * attempt_parts.h - what the files that make up an attempt share: attempt.c (its life), plan.c (the
 * jobs of a commit), batch.c (running them), setup.c and carry.c (what goes before and behind),
 * outcomes.c (what their reports say), means.c (what not every runner can give them).
 */
#ifndef VOLT_EXEC_ATTEMPT_PARTS_H
#define VOLT_EXEC_ATTEMPT_PARTS_H

#include "base/arena.h"
#include "base/buf.h"
#include "exec/attempt.h"
#include "exec/environ.h"
#include "exec/output.h"
#include "exec/sandbox.h"
#include "exec/secrets.h"
#include "exec/unit.h"
#include "exec/unit_report.h"
#include "git/mirror.h"

typedef enum attempt_phase {
    PHASE_FETCH,   /* the commit is on its way */
    PHASE_LEAVE,   /* what another job's setup left on this slot ends */
    PHASE_READY,   /* the workspace is made, and nothing started: it must not start too late */
    PHASE_UNITS,   /* a unit, or the setup, runs */
    PHASE_DONE,    /* the result is said */
    PHASE_REFUSED, /* nacked */
} attempt_phase;

typedef enum carry { CARRY_NOTHING, CARRY_IN, CARRY_OUT } carry;

struct attempt {
    site *site;
    attempt_say *say;
    void *ctx;
    buf frame; /* the assign, encoded */
    arena mem; /* of the decoded assign and the environment */
    msg_assign order;
    commit_id commit;
    char *source; /* mirror.h's */
    spool *spool; /* NULL when it was refused before it had one */
    attempt_phase phase;
    bool started;
    bool start_said;
    bool canceled;
    char *why;        /* reason of the cancel, or NULL */
    int64_t until_ms; /* see attempt_until_ms() */
    buf result;       /* encoded, once said */

    mirror_fetch *fetch; /* PHASE_FETCH */

    /* The batch. */
    scratch scratch;
    output *out;         /* of a plan, too, when it has something to say */
    const char *dir;     /* the workspace's */
    const char *bwrap;   /* NULL: without a sandbox */
    const char *objects; /* what the workspace borrows from; in a sandbox only */
    secret *secrets;     /* as spec.secrets */
    mask *mask;          /* NULL: there are none */
    msg_spec spec;       /* `level` is 0: the order has none, see detect.h */
    const char **env, **env_files;
    char *store;    /* where the commit is */
    char *key;      /* of the workspace, see site_kept() */
    bool fresh;     /* it was made for this attempt: nothing of the job was there */
    carry carrying; /* what `unit` is, when it is not the job's */
    int64_t since_ns;
    uint64_t artifact_bytes;
    bool not_kept;  /* of the artifacts, though there were some */
    arena unit_mem; /* of the running unit */
    unit *unit;
    bool in_setup;      /* `unit` is the setup */
    size_t next;        /* the file whose unit runs, or runs next */
    uint64_t runs;      /* of that file, before the unit's */
    uint64_t first_off; /* where the first of them begins in the log */
    size_t flushed;     /* outcomes that went in `tests` messages */
    rec_item items[ATTEMPT_FLUSH_ITEMS];
    size_t items_n;          /* outcomes behind those */
    unit_report *report;     /* NULL: exit statuses tell all */
    const unit_found *found; /* of the unit that ended, until it is told; NULL: nothing */
    rec_test_case *cases;    /* behind those told, like the items */
    size_t cases_n, cases_cap;
    size_t cases_bytes;
    size_t cases_told;   /* bytes, in all */
    uint64_t cases_from; /* place of the first in the report of its file */
    uint64_t cases_open; /* of the file that has no item yet */
    arena cases_mem;
    int64_t flush_ms;
    int64_t start_ms; /* when `start` is said at the latest; ATTEMPT_NEVER: it was */
    int64_t begun_ms; /* the first unit's start */
    int64_t ended_ms; /* the last one's end */
    int64_t cpu_us, max_rss_bytes;
    verdict worst;
    rec_item worst_item; /* the first of that verdict */
    char *broken;        /* why it cannot go on here, or NULL */
    char *failure;       /* the setup's, for people; NULL: it had none */
};

/* Encodes m, appends it to a part of the spool, and says it.  VOLT_EFULL, VOLT_EIO: the spool did
 * not take it, and nothing was said. */
volt_code attempt_tell(attempt *a, spool_part part, const msg *m, volt_err *err);
/* Says that the attempt started, once. */
void attempt_tell_start(attempt *a);
/* Refuses it, or gives it up; the last thing said. */
void attempt_refuse(attempt *a, code why, const char *text);
/* The log of the attempt `ctx`, as output_new() takes it. */
int attempt_open_log(void *ctx);
/* The code for a failure to prepare: the repository's, or this machine's disk. */
code attempt_blame(volt_code rc);
/* Fills in what every result has, spools and says it. */
void attempt_finish(attempt *a, msg_result *r);

/* Reads what the commit in the store at `path` has to run, says the plan and the result. */
void plan_run(attempt *a, const char *path);

/* Sees whether this runner has what the order asks for, and reads its secrets; any error: it has
 * not. */
volt_code means_check(attempt *a, volt_err *err);
/* Has the secrets masked in the output and puts their files.  VOLT_EFULL, VOLT_EIO; else as
 * site_objects(). */
volt_code means_begin(attempt *a, volt_err *err);
/* Makes the command one that runs in the sandbox that is asked for; its words are in `mem`. */
void means_confine(const attempt *a, process_command *run, arena *mem);
/* Removes the secrets' files. */
void means_end(const attempt *a);

/* Reads the order's spec.  VOLT_EINVALID, VOLT_EMSG, VOLT_EVERSION: it cannot be understood. */
volt_code batch_check(attempt *a, volt_err *err);
/* Prepares the workspace from the repository at `path`, once the slot has left its last job, and
 * starts the setup or the first unit; of an attempt that is `alone` batch_start() does that, once
 * it is known that it still may. */
void batch_begin(attempt *a, const char *path, int64_t now_ms);
/* PHASE_LEAVE: goes on, when the slot has. */
void batch_leave(attempt *a, int64_t now_ms);
void batch_start(attempt *a, int64_t now_ms);
/* Nothing of it was started, nor will be. */
void batch_drop(attempt *a);
void batch_step(attempt *a, int64_t now_ms);
void batch_cancel(attempt *a, int64_t grace_ms, int64_t now_ms);
int64_t batch_deadline_ms(const attempt *a);
/* A line of our own in the log. */
void batch_say(attempt *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Between TERM and KILL. */
int64_t batch_grace_ms(const attempt *a);
/* What a unit or the setup cost, and whether it left the slot fit for the next. */
void batch_count(attempt *a, const unit_outcome *o);
void batch_free(attempt *a);
/* Sends the outcomes that wait. */
void batch_flush(attempt *a);

/* Before a unit starts. */
void outcomes_begin(attempt *a);
/* A unit exited: its verdict by its report, and lines in the log. */
void outcomes_judge(attempt *a, const unit_outcome *o, rec_item *item);
/* Tells what it reported, before its item. */
void outcomes_tell(attempt *a, rec_item *item);
/* The cases that wait were told. */
void outcomes_flushed(attempt *a);
void outcomes_free(attempt *a);

/* Starts the job's setup as the running unit. */
void setup_begin(attempt *a, int64_t now_ms);
/* It has ended, or is kept: takes it off.  False: the batch is at its end. */
bool setup_end(attempt *a);
/* Starts to restore the artifacts of the jobs that it needs.  False: there is nothing to do. */
bool carry_in(attempt *a, int64_t now_ms);
/* It has ended; takes note.  False: the attempt is over. */
bool carried_in(attempt *a);
/* Starts to pack what the job leaves.  False: there is nothing to do. */
bool carry_out(attempt *a, int64_t now_ms);
void carried_out(attempt *a);

#endif
