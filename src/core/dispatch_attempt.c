#include "base/mem.h"
#include "base/mutant.h"
#include "core/dispatch_internal.h"
#include "core/split.h"

#define BATCH_BYTES_MAX (128 * 1024) /* of file names, so that an assign fits its frame */

uint64_t life_slots(const dispatch *d, const job *j)
{
    return d->fleet.slots_up && !j->group ? d->fleet.slots_up : 1;
}

/* The next units of a job as a batch. */
static task *cut_batch(dispatch *d, job *j)
{
    size_t n = split_batch(&j->units[j->units_out], j->units_n - j->units_out, j->units_left,
                           life_slots(d, j), j->batch);
    task *t = life_add_task(d, j->build, j, TASK_TESTS);
    size_t bytes = 0;

    t->units = NEW_ARRAY(uint32_t, n);
    while (t->units_n < n) {
        bytes += j->units[j->units_out].file.n + 8;
        if (t->units_n && bytes > BATCH_BYTES_MAX)
            break;
        j->units_left -= split_weight(&j->units[j->units_out]);
        t->units[t->units_n++] = (uint32_t)j->units_out++;
    }
    queue_shrink(&d->queue, &j->item, (uint32_t)t->units_n);
    if (j->units_out == j->units_n)
        life_take_out(d, j, &j->item);
    return t;
}

/* An attempt goes on behind the files that were told.  But what they left went with their attempt,
 * so where that is kept all of a batch run again; what was told of them stands. */
static size_t first_unit(const task *t)
{
    return t->job && t->job->artifacts ? 0 : t->done;
}

void life_assign(dispatch *d, const task *t)
{
    const build *b = t->build;
    const job *j = t->job;
    msg_assign *m = &effects_send(d->out, t->lease.runner->peer, MSG_assign)->assign;
    size_t from = first_unit(t), n = t->units_n - from;

    *m = (msg_assign){ .task = t->id,
                       .att = t->att,
                       .ep = d->config.ep,
                       .kind = t->kind,
                       .build = b->id,
                       .repo = b->repo->name,
                       .url = b->repo->url,
                       .oid = b->oid,
                       .ref = b->ref,
                       .default_branch = b->repo->default_branch,
                       .env = b->env,
                       .from = from,
                       .log_max = d->config.log_max,
                       .key = stale_attempt_key(d, t->id, t->att) };
    if (!j)
        return;
    m->job = j->name;
    m->spec = j->spec;
    m->timeout_ms = j->timeout_ms;
    m->alone = j->group != NULL;
    m->artifact_max = j->artifacts ? d->config.artifact_max : 0;
    m->files = (slices){ ARENA_ARRAY(&d->out->arena, slice, n), n };
    for (size_t i = 0; i < n; i++)
        m->files.v[i] = j->units[t->units[from + i]].file;
    m->inputs = parts_inputs(d, j);
}

/* What `volt build` shows of slots and times. */
static void count_lease(dispatch *d, task *t)
{
    job *j = t->job;

    t->build->busy++;
    if (d->fleet.slots_up > t->build->slots)
        t->build->slots = d->fleet.slots_up;
    if (!j)
        return;
    j->busy++;
    if (!j->started_wall_ms)
        j->started_wall_ms = d->wall_ms;
}

void life_lease(dispatch *d, runner *r, queue_item *item)
{
    task *t;

    if (item->kind == ITEM_JOB) {
        t = cut_batch(d, HEAP_OWNER(item, job, item));
    } else {
        t = HEAP_OWNER(item, task, item);
        life_take_out(d, t->job, item);
    }
    if (t->job && t->job->group)
        group_take(d, t->job->group, t);
    if (t->job && t->job->state == STATE_QUEUED)
        t->job->state = STATE_RUNNING;
    if (t->att == 0 || !MUTANT(att_reused))
        t->att++;
    t->state = STATE_LEASED;
    t->missed = 0;
    t->hb_seen = r->hb_count;
    memset(t->bytes, 0, sizeof t->bytes);
    t->log_short = t->artifacts_whole = false;
    t->cases = 0;
    if (t->kind == TASK_PLAN)
        draft_clear(&t->build->draft);
    memcpy(t->runner_id, r->id, sizeof t->runner_id);
    if (!slice_eq(t->runner_name, r->name))
        t->runner_name = build_keep(t->build, r->name);
    t->leased_wall_ms = t->since_wall_ms = d->wall_ms;
    lease_grant(&d->leases, &t->lease, r, &r->leases, d->now_ms + dispatch_pace(d, r)->lease_ms);
    if (t->kind == TASK_PLAN)
        r->plans++;
    else
        r->busy++;
    count_lease(d, t);
    fleet_update(&d->fleet, r, false);
    if (!MUTANT(lease_not_stored))
        put_task(d, t);
    put_attempt(d, t, STATE_LEASED, code_none);
    emit_task(d, EVENT_LEASED, t)->n = t->units_n - first_unit(t);
    life_assign(d, t);
}

void life_running(dispatch *d, task *t)
{
    if (t->state != STATE_LEASED)
        return;
    t->state = STATE_RUNNING;
    t->since_wall_ms = d->wall_ms;
    put_task(d, t);
    emit_task(d, EVENT_RUNNING, t);
}

/* When an attempt that is given up cannot run any more: its runner ends it within the lease (which
 * may be longer here than it knows: after a start, or a pause), and gets another one for that. */
static int64_t surely_ended_ms(const dispatch *d, const task *t)
{
    int64_t lease_ms = dispatch_pace(d, t->lease.runner)->lease_ms;
    int64_t left_ms = t->lease.deadline.key - d->now_ms;

    left_ms = left_ms < 0 ? 0 : left_ms < lease_ms ? left_ms : lease_ms;
    return d->now_ms + left_ms + lease_ms;
}

void life_release(dispatch *d, task *t)
{
    runner *r = t->lease.runner;
    int64_t held_ms;

    if (!r)
        return;
    held_ms = t->at_large ? surely_ended_ms(d, t) : 0;
    t->at_large = false;
    lease_release(&d->leases, &t->lease);
    if (t->kind == TASK_PLAN)
        r->plans--;
    else if (!(MUTANT(room_leaks) && t->state == STATE_LEASED))
        r->busy--;
    t->build->busy--;
    if (t->job)
        t->job->busy--;
    fleet_update(&d->fleet, r, true);
    if (t->job && t->job->group)
        group_leave(d, t->job->group, t, held_ms);
}

static void requeue(dispatch *d, task *t, code code, slice why, int64_t delay_ms)
{
    build *b = t->build;
    msg_event *e;

    t->verdict = verdict_none;
    parts_drop_torn(d, t);
    put_attempt(d, t, STATE_FINAL, code);
    if (!MUTANT(requeue_keeps_lease))
        life_release(d, t);
    if (t->kind == TASK_PLAN)
        draft_clear(&t->build->draft);
    t->state = STATE_QUEUED;
    t->since_wall_ms = d->wall_ms;
    t->why = build_keep(b, why);
    put_task(d, t);
    e = emit_task(d, EVENT_REQUEUED, t);
    e->code = code;
    e->why = t->why;
    if (delay_ms > 0)
        queue_delay(&d->queue, &t->item, d->now_ms + delay_ms);
    else
        life_queue_task(d, t);
}

static int64_t backoff_ms(uint64_t times)
{
    int64_t ms = times < 7 ? 1000 << times : DISPATCH_BACKOFF_MAX_MS;

    return ms < DISPATCH_BACKOFF_MAX_MS ? ms : DISPATCH_BACKOFF_MAX_MS;
}

verdict life_worst_unit(const task *t)
{
    verdict v = verdict_none;

    for (size_t i = 0; i < t->units_n; i++)
        v = verdict_worse(v, t->job->units[t->units[i]].verdict);
    return v;
}

/* A batch whose files all have their outcomes, so that nothing is left for another attempt,
 * artifacts neither: only its result did not come.  Then its verdict is theirs. */
static bool end_told(dispatch *d, task *t)
{
    if (!t->units_n || first_unit(t) < t->units_n || MUTANT(told_batch_again))
        return false;
    parts_end_told(d, t);
    life_task_final(d, t, life_worst_unit(t),
                    SLICE("its runner gave it up after the outcomes of all its files"));
    return true;
}

void life_return(dispatch *d, task *t, code code, slice why, int64_t delay_ms)
{
    t->at_large = code == CODE_GONE; /* its assign may have arrived */
    if (t->state == STATE_CANCELING) {
        life_task_final(d, t, VERDICT_CANCELED, t->why);
        return;
    }
    if (end_told(d, t))
        return;
    if (MUTANT(nack_counts))
        t->tries++;
    t->avoid = MUTANT(avoid_forgotten) ? 0 : t->lease.runner->serial;
    t->avoid_until_ms = d->now_ms + (delay_ms ? delay_ms : backoff_ms(t->nacks));
    t->nacks++;
    fleet_hinder(&d->fleet, t->lease.runner, t->avoid_until_ms);
    requeue(d, t, code, why, delay_ms);
}

void life_lost(dispatch *d, task *t, bool ended, const char *why)
{
    runner *r = t->lease.runner;

    t->at_large = !ended;
    fleet_count_loss(d, r);
    if (!MUTANT(tries_not_counted))
        t->tries++;
    if (t->state == STATE_CANCELING) {
        life_task_final(d, t, VERDICT_CANCELED,
                        SLICE("canceled; its runner vanished, so the end is not confirmed"));
        return;
    }
    if (end_told(d, t))
        return;
    if (t->tries >= d->config.tries_max && !MUTANT(max_ignored)) {
        life_task_final(d, t, VERDICT_LOST,
                        step_text(d, "%s (attempt %llu of %llu)", why, (unsigned long long)t->tries,
                                  (unsigned long long)d->config.tries_max));
        return;
    }
    /* Another runner is preferred, when there is one; the first new try is at once. */
    if (d->fleet.slots_up > r->counted_slots) {
        t->avoid = r->serial;
        t->avoid_until_ms = d->now_ms + backoff_ms(t->tries);
        fleet_hinder(&d->fleet, r, t->avoid_until_ms);
    }
    requeue(d, t, CODE_LOST, slice_of(why),
            t->tries > 1 && !MUTANT(backoff_forgotten) ? backoff_ms(t->tries) : 0);
}
