/* What is told of the work, against what was really done: leases, tries, verdicts, credit. */
#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>

#define LOSSES_MAX     5    /* in a row, then a runner is cordoned */
#define AVOID_MIN_MS   1000 /* a runner that refused a task does not get it again within */
#define BACKOFF_MIN_MS 2000 /* nor anybody one that was lost twice */

static int64_t lease_ms(const oracle *o)
{
    return o->w->k.lease_ms ? o->w->k.lease_ms : 15000;
}

static known_runner *runner_at(oracle *o, uint64_t peer)
{
    slice id = runner_of_peer(o->w, peer);

    return id.n ? map_gets(&o->runners, id) : NULL;
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
            t->heard_ms = o->w->now_ms;
    }
}

void work_starts(oracle *o)
{
    for (uint64_t i = 1; i <= o->tasks_n; i++)
        if (o->tasks[i]) { /* the grace */
            o->tasks[i]->heard_ms = o->tasks[i]->leased_ms = o->w->now_ms + lease_ms(o);
            o->tasks[i]->back = code_none;
        }
}

void work_stood_still(oracle *o, int64_t gap_ms)
{
    for (uint64_t i = 1; i <= o->tasks_n; i++)
        if (o->tasks[i]) {
            o->tasks[i]->heard_ms += gap_ms;
            o->tasks[i]->leased_ms += gap_ms;
        }
}

/* L5's other side: a lease ends by silence only when there was silence. */
static void check_lapse(oracle *o, const known_task *t, slice why)
{
    int64_t since = t->heard_ms;

    if (slice_starts(why, SLICE("its lease lapsed")))
        since = t->leased_ms > since ? t->leased_ms : since;
    else if (!slice_starts(why, SLICE("its runner was silent")))
        return;
    if (o->w->now_ms - since < lease_ms(o))
        broken(o->w, "lease", "task %llu attempt %llu lapses %lld ms after it was heard of",
               ULL(t->id), ULL(t->att), (long long)(o->w->now_ms - since));
}

/* What a returning runner does not list does not run there (unless it was heard of in the same
 * turn, behind the hello). */
static void check_welcome(oracle *o, const known_runner *r, const msg_welcome *m)
{
    for (uint64_t i = 1; i <= o->tasks_n && o->turn_frames == 1; i++) {
        const known_task *t = o->tasks[i];

        if (t && t->state == STATE_RUNNING && strcmp(t->runner, r->id) == 0 &&
            !lists(m->keep.v, m->keep.n, t))
            broken(o->w, "hello", "task %llu goes on at a runner that came back without it",
                   ULL(t->id));
    }
}

/* ---- logs: nobody sends beyond his credit ---- */

static void give_credit(oracle *o, uint64_t task, uint64_t att, uint64_t end)
{
    truth *t = oracle_truth(o, task, att);

    t->credit = end > t->credit ? end : t->credit;
}

static void check_credit(oracle *o, const msg_log *m)
{
    const truth *t = oracle_truth(o, m->task, m->att);
    uint64_t most = t->credit > o->window ? t->credit : o->window;

    if (o->window && m->off + m->d.n > most)
        broken(o->w, "S17", "task %llu attempt %llu sends log up to %llu, its credit is %llu",
               ULL(m->task), ULL(m->att), ULL(m->off + m->d.n), ULL(most));
}

/* ---- messages ---- */

void work_hears(oracle *o, uint64_t peer, const msg *m)
{
    known_runner *r = runner_at(o, peer);

    if (m->type == MSG_log)
        check_credit(o, &m->log);
    if (!r)
        return;
    if (m->type == MSG_hello) {
        r->left = false;
    } else if (m->type == MSG_bye) {
        r->left = true;
    } else if (m->type == MSG_hb) {
        r->hb = m->hb.n;
        r->held_n = m->hb.held.n < HELD_LIMIT ? m->hb.held.n : HELD_LIMIT;
        memcpy(r->held, m->hb.held.v, r->held_n * sizeof *r->held);
    }
}

void work_says(oracle *o, uint64_t peer, const msg *m)
{
    const known_runner *r = runner_at(o, peer);

    if (m->type == MSG_log_ok)
        give_credit(o, m->log_ok.task, m->log_ok.att, m->log_ok.off + m->log_ok.window);
    if (!r)
        return;
    if (m->type == MSG_hb_ok && m->hb_ok.n == r->hb) {
        renew(o, r->held, r->held_n);
    } else if (m->type == MSG_welcome) {
        o->window = m->welcome.window;
        for (uint64_t i = 1; i <= o->tasks_n;
             i++) /* it is no longer silent; its leases begin anew */
            if (o->tasks[i] && strcmp(o->tasks[i]->runner, r->id) == 0)
                o->tasks[i]->heard_ms = o->w->now_ms;
        for (size_t i = 0; i < m->welcome.keep.n; i++)
            give_credit(o, m->welcome.keep.v[i].task, m->welcome.keep.v[i].att,
                        m->welcome.keep.v[i].log_bytes + m->welcome.window);
        check_welcome(o, r, &m->welcome);
    }
}

/* ---- rows ---- */

static void check_given(oracle *o, const known_task *t)
{
    const known_build *b = o->builds[t->build];
    const known_runner *r = map_gets(&o->runners, slice_of(t->runner));
    int64_t since = o->w->now_ms - t->back_ms;

    if (t->job != ROW_JOB_PLAN && b->jobs[t->job].special && !r->special)
        broken(o->w, "S16", "task %llu goes to a runner without its label", ULL(t->id));
    if (!runner_reaches(o->w, slice_of(t->runner), b->repo))
        broken(o->w, "S16", "task %llu goes to a runner that cannot reach its repository",
               ULL(t->id));
    if (t->back == CODE_LOST && t->tries > 1 && since < BACKOFF_MIN_MS)
        broken(o->w, "backoff", "task %llu was lost %llu times, and is given again after %lld ms",
               ULL(t->id), ULL(t->tries), (long long)since);
    if ((t->back == CODE_BUSY || t->back == CODE_DISK || t->back == CODE_LABEL ||
         t->back == CODE_REPO || t->back == CODE_NOT_FOUND) &&
        since < AVOID_MIN_MS && strcmp(t->runner, t->back_runner) == 0)
        broken(o->w, "backoff", "task %llu goes back after %lld ms to the runner that refused it",
               ULL(t->id), (long long)since);
}

/* S15: the verdict is the one with which its process ended. */
static void check_verdict(oracle *o, const known_task *t, slice why)
{
    const truth *real = oracle_truth(o, t->id, t->att);
    const known_runner *r = map_gets(&o->runners, slice_of(t->runner));

    if (t->verdict == VERDICT_CANCELED && !slice_ends(why, SLICE("not confirmed")) && r &&
        !r->left && runner_works_at(o->w, slice_of(t->runner), t->id, t->att))
        broken(o->w, "cancel", "task %llu attempt %llu is canceled, but still runs", ULL(t->id),
               ULL(t->att));
    if (t->verdict == VERDICT_LOST || t->verdict == VERDICT_CANCELED || t->kind == TASK_PLAN)
        return;
    if (real->ended && real->ended != t->verdict)
        broken(o->w, "S15", "task %llu attempt %llu ended %s, and is said to be %s", ULL(t->id),
               ULL(t->att), verdict_text(real->ended), verdict_text(t->verdict));
}

void work_task(oracle *o, const known_task *old, known_task *t, slice why)
{
    if (t->att > old->att) {
        check_given(o, t);
        t->leased_ms = o->w->now_ms;
        t->heard_ms = -lease_ms(o); /* not yet */
    }
    if (t->state == STATE_RUNNING && old->state != STATE_RUNNING &&
        !oracle_truth(o, t->id, t->att)->starts)
        broken(o->w, "S3", "task %llu attempt %llu is said to run, but never started", ULL(t->id),
               ULL(t->att));
    if (t->state == STATE_FINAL && is_leased(old->state))
        check_verdict(o, t, why);
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
        broken(o->w, "S12", "task %llu had %llu tries, comes back (%s), and had %llu then",
               ULL(t->id), ULL(t->tries_told), code_text(e->code), ULL(t->tries));
    t->tries_told = t->tries;
    t->back = e->code;
    t->back_ms = o->w->now_ms;
    memcpy(t->back_runner, t->runner, sizeof t->back_runner);
}

/* S15: a unit's verdict is what it ended with in the attempt that is named; of one that did not
 * run, what ended the attempt. */
void work_unit(oracle *o, const row_unit *r)
{
    const truth *real = oracle_truth(o, r->task, r->att);

    if (!r->verdict || r->i >= UNITS_MAX || r->verdict == VERDICT_LOST ||
        r->verdict == VERDICT_CANCELED)
        return;
    if (real->unit[r->i] ? real->unit[r->i] != r->verdict
                         : r->verdict != VERDICT_ERRORED && r->verdict != real->ended)
        broken(o->w, "S15", "unit %llu of build %llu %s, and is said to be %s", ULL(r->i),
               ULL(r->build), real->unit[r->i] ? verdict_text(real->unit[r->i]) : "never ran",
               verdict_text(r->verdict));
}

void work_runner(oracle *o, known_runner *k, const row_runner *r)
{
    k->special = r->labels.n > 0;
    if (r->losses >= LOSSES_MAX && r->mode == MODE_RUN)
        broken(o->w, "cordon", "a runner lost its work %llu times in a row and is not cordoned",
               ULL(r->losses));
}

/* ---- executors ---- */

void oracle_unit_ended(oracle *o, uint64_t task, uint64_t att, slice file, verdict v)
{
    uint64_t i = slice_starts(file, SLICE("tests/test_")) ? strtoull(file.p + 11, NULL, 10) : 0;

    if (i < UNITS_MAX)
        oracle_truth(o, task, att)->unit[i] = v;
}

void oracle_ended(oracle *o, uint64_t task, uint64_t att, verdict v)
{
    oracle_truth(o, task, att)->ended = v;
}
