/* What is told of the work, against what was really done: leases, tries, verdicts, credit. */
#include "oracle.h"

#include <string.h>

#define LOSSES_MAX     5    /* in a row, then a runner is cordoned */
#define AVOID_MIN_MS   1000 /* a runner that refused a task does not get it again within */
#define UNFIT_MAX      3    /* noes of runners without what a task asks for, then it is errored */
#define BACKOFF_MIN_MS 2000 /* nor anybody one that was lost twice */

static known_runner *runner_at(oracle *o, uint64_t peer)
{
    return map_get(&o->peers, peer);
}

/* ---- leases: who was heard of keeps what he has ---- */

static bool lists(const rec_held *v, size_t n, const known_task *t)
{
    for (size_t i = 0; i < n; i++)
        if (v[i].task == t->id && v[i].att == t->att)
            return true;
    return false;
}

static void renew(oracle *o, const rec_held *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        known_task *t = oracle_task(o, v[i].task);

        if (t && t->att == v[i].att)
            t->heard_ms = oracle_now(o);
    }
}

void work_starts(oracle *o)
{
    for (uint64_t i = 1; i <= o->tasks_n; i++)
        if (o->tasks[i]) { /* the grace */
            o->tasks[i]->heard_ms = o->tasks[i]->leased_ms =
                oracle_now(o) + dispatcher_lease_ms(o->w);
            o->tasks[i]->back = code_none;
            o->tasks[i]->unfit = 0;
        }
}

/* L5's other side: a lease ends by silence only when there was silence. */
static void check_lapse(oracle *o, const known_task *t, slice why)
{
    int64_t since = t->heard_ms;

    checked(o->w, RULE_LEASE);
    if (slice_starts(why, SLICE("its lease lapsed")))
        since = t->leased_ms > since ? t->leased_ms : since;
    else if (!slice_starts(why, SLICE("its runner was silent")))
        return;
    if (oracle_now(o) - since < dispatcher_lease_ms(o->w))
        broken(o->w, RULE_LEASE, "task %llu attempt %llu lapses %lld ms after it was heard of",
               ULL(t->id), ULL(t->att), (long long)(oracle_now(o) - since));
}

/* What a returning runner does not list does not run there (unless it was heard of in the same
 * turn, behind the hello). */
static void check_welcome(oracle *o, const known_runner *r, const msg_welcome *m)
{
    for (uint64_t i = 1; i <= o->tasks_n && o->turn_frames == 1; i++) {
        const known_task *t = o->tasks[i];

        if (t && t->state == STATE_RUNNING && strcmp(t->runner, r->id) == 0 &&
            !lists(m->keep.v, m->keep.n, t))
            broken(o->w, RULE_LEASE, "task %llu goes on at a runner that came back without it",
                   ULL(t->id));
    }
}

/* ---- logs and artifacts: nobody sends beyond his credit ---- */

static void give_credit(oracle *o, const log_name *name, uint64_t end)
{
    uint64_t *credit = &oracle_truth(o, name->task, name->att)->credit[name->part];

    *credit = end > *credit ? end : *credit;
}

static void check_credit(oracle *o, const known_runner *r, const msg_log *m)
{
    const known_task *given = oracle_task(o, m->task);
    const truth *t = oracle_truth(o, m->task, m->att);
    uint64_t credit = t->credit[m->part], most = credit > o->window ? credit : o->window;

    checked(o->w, RULE_S17);
    /* Of another history, sent before the welcome was there; the numbers may be used again. */
    if (!t->starts || !given || given->att != m->att || strcmp(given->runner, r->id) != 0)
        return;
    if (o->window && m->off + m->d.n > most)
        broken(o->w, RULE_S17, "task %llu attempt %llu sends up to %llu, its credit is %llu",
               ULL(m->task), ULL(m->att), ULL(m->off + m->d.n), ULL(most));
}

/* ---- messages ---- */

void work_hears(oracle *o, uint64_t peer, const msg *m)
{
    known_runner *r = runner_at(o, peer);

    if (!r) /* not registered: it may still be in another history */
        return;
    if (m->type == MSG_log && !o->stale)
        check_credit(o, r, &m->log);
    if (m->type == MSG_hello) {
        r->left = false;
    } else if (m->type == MSG_bye) {
        r->left = true;
    } else if (m->type == MSG_hb) {
        r->hb = m->hb.n;
        r->held_n = m->hb.held.n < HELD_LIMIT ? m->hb.held.n : HELD_LIMIT;
        if (r->held_n)
            memcpy(r->held, m->hb.held.v, r->held_n * sizeof *r->held);
    }
}

void work_says(oracle *o, uint64_t peer, const msg *m)
{
    const known_runner *r = runner_at(o, peer);

    if (m->type == MSG_log_ok)
        give_credit(o, &(log_name){ m->log_ok.task, m->log_ok.att, (msg_part)m->log_ok.part },
                    m->log_ok.off + m->log_ok.window);
    if (!r)
        return;
    if (m->type == MSG_hb_ok && m->hb_ok.n == r->hb) {
        renew(o, r->held, r->held_n);
    } else if (m->type == MSG_welcome) {
        o->window = m->welcome.window;
        for (uint64_t i = 1; i <= o->tasks_n;
             i++) /* it is no longer silent; its leases begin anew */
            if (o->tasks[i] && strcmp(o->tasks[i]->runner, r->id) == 0)
                o->tasks[i]->heard_ms = oracle_now(o);
        for (size_t i = 0; i < m->welcome.keep.n; i++) {
            const rec_held *h = &m->welcome.keep.v[i];

            give_credit(o, &(log_name){ h->task, h->att, PART_LOG },
                        h->log_bytes + m->welcome.window);
            give_credit(o, &(log_name){ h->task, h->att, PART_ARTIFACTS },
                        h->artifact_bytes + m->welcome.window);
        }
        check_welcome(o, r, &m->welcome);
    }
}

/* ---- rows ---- */

static void check_given(oracle *o, const known_task *t)
{
    const known_build *b = o->builds[t->build];
    const known_runner *r = map_gets(&o->runners, slice_of(t->runner));
    int64_t since = process_now(dispatcher_process(o->w)) - t->back_ms;

    checked(o->w, RULE_MATCH);
    if (t->job != ROW_JOB_PLAN && b->jobs[t->job].special && !r->special)
        broken(o->w, RULE_MATCH, "task %llu goes to a runner without its label", ULL(t->id));
    if (!runner_reaches(o->w, slice_of(t->runner), b->repo))
        broken(o->w, RULE_MATCH, "task %llu goes to a runner that cannot reach its repository",
               ULL(t->id));
    if (t->back == CODE_LOST && t->tries > 1 && since < BACKOFF_MIN_MS)
        broken(o->w, RULE_MATCH, "task %llu was lost %llu times, and is given again after %lld ms",
               ULL(t->id), ULL(t->tries), (long long)since);
    if ((t->back == CODE_BUSY || t->back == CODE_DISK || t->back == CODE_LABEL ||
         t->back == CODE_REPO || t->back == CODE_NOT_FOUND || t->back == CODE_UNABLE) &&
        since < AVOID_MIN_MS && strcmp(t->runner, t->back_runner) == 0)
        broken(o->w, RULE_MATCH, "task %llu goes back after %lld ms to the runner that refused it",
               ULL(t->id), (long long)since);
}

static void check_canceled(oracle *o, const known_task *t, slice why)
{
    const known_runner *r = map_gets(&o->runners, slice_of(t->runner));

    checked(o->w, RULE_CANCEL);
    if (t->verdict == VERDICT_CANCELED && !slice_ends(why, SLICE("not confirmed")) && r &&
        !r->left && runner_works_at(o->w, slice_of(t->runner), t->id, t->att))
        broken(o->w, RULE_CANCEL, "task %llu attempt %llu is canceled, but still runs", ULL(t->id),
               ULL(t->att));
}

void work_task(oracle *o, const known_task *old, known_task *t, slice why)
{
    if (t->att > old->att) {
        check_given(o, t);
        t->leased_ms = oracle_now(o);
        t->heard_ms = -dispatcher_lease_ms(o->w); /* not yet */
    }
    if (t->state == STATE_RUNNING && old->state != STATE_RUNNING &&
        !oracle_truth(o, t->id, t->att)->starts)
        broken(o->w, RULE_S3, "task %llu attempt %llu is said to run, but never started",
               ULL(t->id), ULL(t->att));
    if (t->state == STATE_FINAL && is_leased(old->state))
        check_canceled(o, t, why);
}

void work_event(oracle *o, const msg_event *e)
{
    known_task *t = e->task ? oracle_task(o, e->task) : NULL;
    known_runner *r = map_gets(&o->runners, e->runner_id);

    if (e->kind == EVENT_RUNNER_MODE && r) /* its row tells the same */
        r->mode = e->mode;
    if (!t || (e->kind != EVENT_REQUEUED && e->kind != EVENT_TASK_DONE))
        return;
    check_lapse(o, t, e->why);
    if (e->kind != EVENT_REQUEUED)
        return;
    if (t->tries != t->tries_told + (e->code == CODE_LOST))
        broken(o->w, RULE_S12, "task %llu had %llu tries, comes back (%s), and had %llu then",
               ULL(t->id), ULL(t->tries_told), code_text(e->code), ULL(t->tries));
    t->unfit += e->code == CODE_NOT_FOUND || e->code == CODE_UNABLE;
    if (t->unfit >= UNFIT_MAX)
        broken(o->w, RULE_S12, "task %llu comes back (%s) after %u runners had not what it takes",
               ULL(t->id), code_text(e->code), t->unfit);
    t->tries_told = t->tries;
    t->back = e->code;
    t->back_ms = process_now(dispatcher_process(o->w)); /* no pause makes it longer */
    memcpy(t->back_runner, t->runner, sizeof t->back_runner);
}

void work_runner(oracle *o, known_runner *k, const row_runner *r)
{
    k->special = r->labels.n > 0;
    if (r->losses >= LOSSES_MAX && r->mode == MODE_RUN)
        broken(o->w, RULE_MATCH, "a runner lost its work %llu times in a row and is not cordoned",
               ULL(r->losses));
}
