/* What an attempt brings into its checkout before it runs, the artifacts of the jobs that it needs,
 * and what it leaves behind, its own.  Both may take long, so `volt carry` does them: a unit like
 * those of the job, whose output are Volt's own lines in the log. */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/verdict.h"
#include "exec/attempt_parts.h"

#define CARRY_MS  (30 * 60 * 1000) /* either way */
#define ARGS_OWN  12               /* besides globs and names of jobs */
#define LAST_WORD 1024

static void add_texts(attempt *a, const char **argv, size_t *n, slices texts)
{
    for (size_t i = 0; i < texts.n; i++)
        argv[(*n)++] = arena_str(&a->unit_mem, texts.v[i]);
}

bool carry_in(attempt *a, int64_t now_ms)
{
    const site_config *config = site_settings(a->site);
    arena *mem = &a->unit_mem;
    const char **argv = ARENA_ARRAY(mem, const char *, ARGS_OWN + a->order.inputs.n);
    size_t n = 0;

    if (!a->fresh || !a->order.inputs.n)
        return false;
    argv[n++] = "volt";
    argv[n++] = "carry";
    argv[n++] = "--dispatcher-server";
    argv[n++] = config->dispatcher ? config->dispatcher : "localhost:8888";
    argv[n++] = "--inputs";
    argv[n++] = arena_printf(mem, "%s/inputs", config->work);
    argv[n++] = "--";
    argv[n++] = "in";
    argv[n++] = arena_printf(mem, "%" PRIu64, a->order.build);
    argv[n++] = a->dir;
    add_texts(a, argv, &n, a->order.inputs);
    batch_run_own(a, STAGE_CARRY_IN, "artifacts", argv, CARRY_MS, now_ms);
    return true;
}

bool carry_out(attempt *a, int64_t now_ms)
{
    arena *mem = &a->unit_mem;
    const char **argv = ARENA_ARRAY(mem, const char *, ARGS_OWN + a->spec.artifacts.n);
    size_t n = 0;

    if (!a->spec.artifacts.n || !a->order.artifact_max || a->broken)
        return false;
    argv[n++] = "volt";
    argv[n++] = "carry";
    argv[n++] = "--max-bytes";
    argv[n++] = arena_printf(mem, "%" PRIu64, a->order.artifact_max);
    if (!a->fresh) { /* what earlier batches left in the workspace is kept already */
        argv[n++] = "--since";
        argv[n++] = arena_printf(mem, "%" PRId64, a->since_ns);
    }
    argv[n++] = "--";
    argv[n++] = "out";
    argv[n++] = spool_stream_path(a->spool, PART_ARTIFACTS, mem);
    argv[n++] = a->dir;
    add_texts(a, argv, &n, a->spec.artifacts);
    batch_run_own(a, STAGE_CARRY_OUT, "artifacts", argv, CARRY_MS, now_ms);
    return true;
}

/* The last line that the unit wrote, for the result; in the attempt's memory.  On a full disk there
 * may be none: then `unsaid`. */
static slice last_word(attempt *a, const unit_outcome *o, slice unsaid)
{
    const slice own = SLICE("volt: ");
    char bytes[LAST_WORD];
    uint64_t n = o->log_len < sizeof bytes ? o->log_len : sizeof bytes;
    slice s = { bytes, 0 };

    if (spool_read_stream(a->spool, PART_LOG, o->log_off + o->log_len - n, bytes, (size_t)n, &s.n,
                          NULL))
        return unsaid;
    while (s.n && s.p[s.n - 1] == '\n')
        s.n--;
    for (size_t i = s.n; i > 0; i--)
        if (s.p[i - 1] == '\n') {
            s = (slice){ s.p + i, s.n - i };
            break;
        }
    if (slice_starts(s, own))
        s = (slice){ s.p + own.n, s.n - own.n };
    return s.n ? arena_slice(&a->mem, s) : unsaid;
}

bool carried_in(attempt *a)
{
    const unit_outcome *o = unit_result(a->unit);
    volt_err err;
    slice why;

    if (!a->canceled && o->end == UNIT_EXITED && !o->signal && o->exit == 0)
        return true;
    means_end(a);
    if (scratch_clear(a->site, &err))
        log_warn("task %" PRIu64 ": %s", a->order.task, err.msg);
    if (a->canceled) {
        attempt_finish(a, &(msg_result){ .verdict = VERDICT_CANCELED,
                                         .msg = slice_of(a->why),
                                         .log_bytes = output_bytes(a->out),
                                         .from = a->order.from });
        return false;
    }
    if (o->end == UNIT_EXITED && o->exit == CARRY_EXIT_FULL)
        site_drop_workspace(a->site, a->order.repo);
    why = last_word(a, o, SLICE("the artifacts of the jobs it needs could not be restored"));
    if (o->end == UNIT_EXITED && (o->exit == CARRY_EXIT_AWAY || o->exit == CARRY_EXIT_FULL))
        attempt_refuse(a, o->exit == CARRY_EXIT_FULL ? CODE_DISK : CODE_BUSY,
                       arena_str(&a->mem, why));
    else
        attempt_finish(a, &(msg_result){ .verdict = VERDICT_ERRORED,
                                         .msg = why,
                                         .log_bytes = output_bytes(a->out),
                                         .from = a->order.from });
    return false;
}

void carried_out(attempt *a)
{
    const unit_outcome *o = unit_result(a->unit);
    struct stat st;

    a->not_kept = o->end != UNIT_EXITED || o->signal || o->exit;
    /* Passed without them, it would let the jobs that need them run.  It is lost, which counts as a
     * try: one that leaves more than any runner has room for must not go round for ever. */
    if (o->end == UNIT_EXITED && o->exit == CARRY_EXIT_FULL && !verdict_is_bad(a->worst))
        batch_give_up(a, arena_str(&a->mem, last_word(a, o, SLICE("no room for its artifacts"))));
    if (!a->not_kept && stat(spool_stream_path(a->spool, PART_ARTIFACTS, &a->mem), &st) == 0)
        a->artifact_bytes = (uint64_t)st.st_size;
}
