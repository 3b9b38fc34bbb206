/*
 * attempt_parts.h - what the files that make up an attempt share: attempt.c (its life), plan.c (the
 * jobs of a commit), batch.c (where they run), stages.c (what runs, one after the other), setup.c
 * (what goes before), cached.c and carry.c (what comes into the checkout before, and out of it
 * behind), judge.c and outcomes.c (what ends and reports say), means.c (what not every runner can
 * give them).
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
#include "git/submodule.h"

typedef enum attempt_phase {
    PHASE_FETCH,   /* the commit is on its way */
    PHASE_LEAVE,   /* what another job's setup left on this slot ends */
    PHASE_READY,   /* the workspace is made, and nothing started: it must not start too late */
    PHASE_UNITS,   /* a unit, or the setup, runs */
    PHASE_DONE,    /* the result is said */
    PHASE_REFUSED, /* nacked */
} attempt_phase;

/* What an attempt's unit is, in the order in which they come; all but STAGE_WORK only where there
 * is something to do. */
typedef enum batch_stage {
    STAGE_NONE,
    STAGE_CACHE_IN, /* what the runner keeps for the job comes into its checkout */
    STAGE_CARRY_IN, /* the artifacts of the jobs that it needs */
    STAGE_SETUP,
    STAGE_WORK,      /* the script, or a test file */
    STAGE_CARRY_OUT, /* its own artifacts are packed */
    STAGE_CACHE_OUT,
} batch_stage;

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

    mirror_fetch *fetch;    /* PHASE_FETCH: one of these at most */
    submodules *submodules; /* … or, later, those that are here */
    char *store;            /* where the commit is, once it is here */

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
    char *key;         /* of the workspace, see site_kept() */
    bool fresh;        /* it was made for this attempt: nothing of the job was there */
    char *kept_home;   /* NULL: HOME is scratch */
    char *cache_file;  /* NULL: nothing is to be kept */
    batch_stage stage; /* what `unit` is */
    int64_t since_ns;
    uint64_t artifact_bytes;
    bool not_kept;  /* of the artifacts, though there were some */
    arena unit_mem; /* of the running unit */
    unit *unit;
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

static inline bool attempt_is_script(const attempt *a)
{
    return a->order.kind == TASK_SCRIPT;
}

/* Units that it has to run. */
static inline size_t attempt_units_n(const attempt *a)
{
    return attempt_is_script(a) ? 1 : a->order.files.n;
}

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
/* Notes where the commit is. */
void batch_open(attempt *a, const char *path);
/* Whether the workspace is the job's already, from an earlier batch.  After batch_open(). */
bool batch_is_prepared(const attempt *a);
/* Prepares the workspace, once the slot has left its last job, and starts what comes first; of an
 * attempt that is `alone` batch_start() does that, once it is known that it still may. */
void batch_begin(attempt *a, int64_t now_ms);
/* PHASE_LEAVE: goes on, when the slot has. */
void batch_leave(attempt *a, int64_t now_ms);
void batch_start(attempt *a, int64_t now_ms);
/* Nothing of it was started, nor will be. */
void batch_drop(attempt *a);
void batch_step(attempt *a, int64_t now_ms);
void batch_cancel(attempt *a, int64_t grace_ms, int64_t now_ms);
int64_t batch_deadline_ms(const attempt *a);
/* Starts this very program as a stage of the batch; its output are our own lines in the log. */
void batch_run_own(attempt *a, batch_stage stage, const char *name, const char *const *argv,
                   int64_t timeout_ms, int64_t now_ms);
/* Makes the workspace the commit, whatever is in it. */
volt_code batch_make_workspace(attempt *a, volt_err *err);
/* A line of our own in the log. */
void batch_say(attempt *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Between TERM and KILL. */
int64_t batch_grace_ms(const attempt *a);
/* Ends the attempt at the next opportunity, without a result: another runner has to go on. */
void batch_give_up(attempt *a, const char *why);
/* What a unit or the setup cost, and whether it left the slot fit for the next. */
void batch_count(attempt *a, const unit_outcome *o);
void batch_free(attempt *a);

/* Starts the first stage. */
void stages_begin(attempt *a, int64_t now_ms);
/* Takes what has ended off and starts the next, until one runs or the batch has ended. */
void stages_on(attempt *a, int64_t now_ms);

/* The outcome of the unit that ended. */
rec_item judge_unit(attempt *a, const unit_outcome *o);
/* Whether a file that failed gets another run, and if so, notes the one it had. */
bool judge_again(attempt *a, const rec_item *item);
/* The last run of a file decides: its outcome is one of those that wait. */
void judge_record(attempt *a, rec_item item, int64_t now_ms);
/* Sends the outcomes that wait. */
void judge_flush(attempt *a);

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

/* Names the job's cache, when it has one, and starts to restore it, when it is there.  False:
 * nothing was started. */
bool cache_in(attempt *a, int64_t now_ms);
/* It has ended: takes it off.  False: the batch is at its end. */
bool cached_in(attempt *a);
/* Starts to keep what the job's cache is to hold.  False: nothing was started. */
bool cache_out(attempt *a, int64_t now_ms);
/* HOME of its processes. */
const char *attempt_home(const attempt *a);

#endif
