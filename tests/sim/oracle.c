#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define AVOID_MS 66000 /* an unsuitable runner is avoided for at most so long */

static void free_parts(oracle *o)
{
    arena_free(&o->mem);
    arena_free(&o->open);
    map_free(&o->runners);
    map_free(&o->peers);
    map_free(&o->submissions);
    map_free(&o->superseding);
    map_free(&o->repos);
    map_free(&o->identities);
    map_free(&o->files);
    map_free(&o->truths);
    free(o->pend);
    free(o->tasks);
    free(o->events);
    free(o->saws);
    free(o->lines);
}

oracle *oracle_new(world *w, oracle *past)
{
    oracle *o = NEW(oracle);

    o->w = w;
    o->repo_nack_ms = -AVOID_MS;
    o->past = past;
    w->task_states = 0;
    return o;
}

void oracle_free(oracle *o)
{
    while (o) {
        oracle *past = o->past;

        free_parts(o);
        free(o);
        o = past;
    }
}

known_task *oracle_task(const oracle *o, uint64_t task)
{
    return task < o->tasks_cap ? o->tasks[task] : NULL;
}

truth *oracle_truth(oracle *o, uint64_t task, uint64_t att)
{
    truth *t = map_get(&o->truths, task << 20 | att);

    if (!t) {
        t = ARENA_NEW(&o->mem, truth);
        t->task = task;
        t->att = att;
        map_put(&o->truths, task << 20 | att, t);
    }
    return t;
}

/* ---- transactions ---- */

/* Texts of the rows that are looked at, for they stand for the call only. */
static void keep_list(arena *a, slices *l)
{
    slice *v = ARENA_ARRAY(a, slice, l->n + 1);

    for (size_t i = 0; i < l->n; i++)
        v[i] = arena_slice(a, l->v[i]);
    l->v = v;
}

static void keep_texts(oracle *o, row *r)
{
    arena *a = &o->open;

    switch (r->kind) {
    case ROW_TASK:
        r->task.runner = arena_slice(a, r->task.runner);
        r->task.units = arena_slice(a, r->task.units);
        r->task.why = arena_slice(a, r->task.why);
        break;
    case ROW_BUILD:
        r->build.repo = arena_slice(a, r->build.repo);
        r->build.ref = arena_slice(a, r->build.ref);
        r->build.oid = arena_slice(a, r->build.oid);
        keep_list(a, &r->build.passed);
        break;
    case ROW_REPO:
        r->repo.name = arena_slice(a, r->repo.name);
        r->repo.url = arena_slice(a, r->repo.url);
        break;
    case ROW_JOB:
        keep_list(a, &r->job.needs);
        r->job.name = arena_slice(a, r->job.name);
        r->job.concurrency = arena_slice(a, r->job.concurrency);
        break;
    case ROW_UNIT:
        r->unit.file = arena_slice(a, r->unit.file);
        break;
    case ROW_FILE:
        r->file.repo = arena_slice(a, r->file.repo);
        r->file.job = arena_slice(a, r->file.job);
        r->file.file = arena_slice(a, r->file.file);
        break;
    case ROW_EVENT:
        r->event.why = arena_slice(a, r->event.why);
        r->event.runner_id = arena_slice(a, r->event.runner_id);
        break;
    case ROW_RUNNER:
        r->runner.id = arena_slice(a, r->runner.id);
        break;
    case ROW_SUBMISSION:
        r->submission.sid = arena_slice(a, r->submission.sid);
        break;
    default:
        break;
    }
}

void oracle_put(oracle *o, const row *r, slice encoded)
{
    pending *p;

    if (o->pend_n == o->pend_cap) {
        o->pend_cap = o->pend_cap ? o->pend_cap * 2 : 256;
        o->pend = mem_grow(o->pend, o->pend_cap, sizeof *o->pend);
    }
    p = &o->pend[o->pend_n++];
    p->row = *r;
    p->canceled = r->kind == ROW_BUILD && (slice_starts(r->build.why, SLICE("canceled")) ||
                                           slice_starts(r->build.why, SLICE("superseded")));
    if (r->kind == ROW_EVENT)
        p->event = (known_event){ mix_bytes(0, encoded), event_fields(&r->event) };
    keep_texts(o, &p->row);
    oracle_put_now(o, r);
}

void oracle_commit(oracle *o)
{
    const map_entry *e;
    size_t at = 0;

    /* A canceled build's jobs may end before its own row tells why. */
    for (size_t i = 0; i < o->pend_n; i++)
        if (o->pend[i].row.kind == ROW_BUILD && o->pend[i].canceled &&
            o->builds[o->pend[i].row.build.build])
            o->builds[o->pend[i].row.build.build]->canceled = true;
    for (size_t i = 0; i < o->pend_n; i++)
        oracle_apply(o, &o->pend[i]);
    o->pend_n = 0;
    arena_reset(&o->open);
    while ((e = map_next(&o->runners, &at))) {
        const known_runner *r = e->value;

        checked(o->w, RULE_S11);
        if (r->busy > r->slots || r->plans > 1)
            broken(o->w, RULE_S11, "a runner of %llu slots has %zu tasks and %zu plans",
                   ULL(r->slots), r->busy, r->plans);
    }
}

void oracle_spoken(oracle *o)
{
    o->turn_frames = 0;
    o->turn_gap_ms = 0;
}

void oracle_rollback(oracle *o)
{
    const map_entry *e;
    size_t at = 0;

    while ((e = map_next(&o->runners, &at)))
        ((known_runner *)e->value)->mode_put = ((known_runner *)e->value)->mode;
    o->turn_frames = 0;
    o->pend_n = 0;
    arena_reset(&o->open);
}

void oracle_dispatcher_started(oracle *o, uint64_t ep)
{
    checked(o->w, RULE_EPOCH);
    if (ep <= o->ep)
        broken(o->w, RULE_EPOCH, "epoch %llu follows %llu", ULL(ep), ULL(o->ep));
    o->ep = ep;
    o->published = 0;
    o->must_notice = o->noticed = false;
    o->started_ms = process_now(dispatcher_process(o->w));
    o->gaps_ms = o->turn_gap_ms = 0;
    work_starts(o);
}

int64_t oracle_now(const oracle *o)
{
    return process_now(dispatcher_process(o->w)) - o->gaps_ms;
}

void oracle_gap(oracle *o, int64_t gap_ms)
{
    o->gaps_ms += gap_ms;
    o->turn_gap_ms = gap_ms;
}

/* ---- what the dispatcher hears ---- */

/* The newest attempt, in the open transaction too; 0: none. */
static uint64_t newest_attempt(const oracle *o, uint64_t task)
{
    const known_task *t = oracle_task(o, task);

    for (size_t i = o->pend_n; i-- > 0;)
        if (o->pend[i].row.kind == ROW_TASK && o->pend[i].row.task.task == task)
            return o->pend[i].row.task.att;
    return t ? t->att : 0;
}

/* Messages about attempts all begin with task and att. */
static bool is_of_attempt(const msg *m)
{
    return m->type == MSG_start || m->type == MSG_nack || m->type == MSG_plan ||
           m->type == MSG_tests || m->type == MSG_log || m->type == MSG_result;
}

/* Heartbeats and hellos renew leases. */
static void hears_held(oracle *o, slice runner, const rec_held_list *held)
{
    for (size_t i = 0; i < held->n; i++) {
        known_task *t = oracle_task(o, held->v[i].task);

        if (t && t->att == held->v[i].att && slice_is(runner, t->runner))
            t->renewed_ms = oracle_now(o);
    }
}

static void hears_hello(oracle *o, uint64_t peer, const msg_hello *m)
{
    bool ours = slice_is(m->hist, dispatcher_history(o->w));
    known_runner *r = oracle_runner(o, m->id);

    map_put(&o->peers, peer, r);
    r->said_mode = m->mode;
    if (m->mode == MODE_RUN || !m->mode)
        r->own_mode = m->mode; /* it may get work before its welcome is sent */
    r->hello_ms = oracle_now(o);
    hears_held(o, m->id, &m->held);
    checked(o->w, RULE_STALE_DB);
    if (ours && m->maxep > o->ep)
        o->must_notice = true;
}

void oracle_hears(oracle *o, uint64_t peer, slice frame, bool hostile)
{
    msg m;

    o->heard_task = 0;
    o->heard_pend = o->pend_n;
    o->heard_hostile = hostile;
    o->turn_frames++;
    if (hostile || wire_decode(frame, &o->w->scratch, &m, NULL) != VOLT_OK)
        return;
    work_hears(o, peer, &m);
    if (m.type == MSG_hello)
        hears_hello(o, peer, &m.hello);
    else if (m.type == MSG_hb && map_get(&o->peers, peer))
        hears_held(o, slice_of(((known_runner *)map_get(&o->peers, peer))->id), &m.hb.held);
    if (!is_of_attempt(&m))
        return;
    o->heard_att = newest_attempt(o, m.start.task);
    if (m.start.att != o->heard_att)
        o->heard_task = m.start.task;
}

/* A word about an attempt that is not the newest changes nothing of its task, and one of a stranger
 * nothing at all. */
void oracle_heard(oracle *o)
{
    checked(o->w, o->heard_hostile ? RULE_S16 : RULE_FENCE);
    if (o->heard_hostile && o->pend_n != o->heard_pend)
        broken(o->w, RULE_S16, "a stranger's message changes %zu rows", o->pend_n - o->heard_pend);
    if (o->heard_hostile)
        checked(o->w, RULE_HOSTILE);
    for (size_t i = o->heard_pend; o->heard_task && i < o->pend_n; i++) {
        const row_task *t = &o->pend[i].row.task;

        if (o->pend[i].row.kind == ROW_TASK && t->task == o->heard_task && t->att <= o->heard_att)
            broken(o->w, RULE_FENCE, "a message about an older attempt makes task %llu %s",
                   ULL(t->task), state_text(t->state));
    }
}

/* ---- what others do ---- */

void oracle_task_starts(oracle *o, slice runner_id, const msg_assign *m)
{
    truth *t = oracle_truth(o, m->task, m->att);
    const known_task *k = oracle_task(o, m->task);

    if (o->stale)
        return;
    checked(o->w, RULE_S3);
    if (t->starts++)
        broken(o->w, RULE_S3, "task %llu attempt %llu starts again", ULL(m->task), ULL(m->att));
    if (!k || k->att < m->att || (k->att == m->att && !slice_is(runner_id, k->runner)))
        broken(o->w, RULE_S3, "task %llu attempt %llu starts on a runner that it was not given to",
               ULL(m->task), ULL(m->att));
}

static const known_job *job_of(const oracle *o, uint64_t task, slice *repo)
{
    const known_task *t = oracle_task(o, task);
    const known_build *b = t && t->job != ROW_JOB_PLAN ? o->builds[t->build] : NULL;

    if (!b || t->job >= b->jobs_n)
        return NULL;
    *repo = b->repo;
    return &b->jobs[t->job];
}

bool oracle_same_group(const oracle *o, uint64_t task, uint64_t other)
{
    slice repo, other_repo;
    const known_job *j = job_of(o, task, &repo), *k = job_of(o, other, &other_repo);

    return !o->stale && j && k && j->concurrency.n && slice_eq(j->concurrency, k->concurrency) &&
           slice_eq(repo, other_repo);
}

void oracle_task_ends(oracle *o, uint64_t task, uint64_t att, verdict v)
{
    oracle_truth(o, task, att)->verdict = v;
}

void oracle_setup_fails(oracle *o, uint64_t task, uint64_t att)
{
    oracle_truth(o, task, att)->setup_failed = true;
}

void oracle_unit_ends(oracle *o, const msg_assign *m, uint64_t n, verdict v)
{
    if (m->kind == TASK_TESTS && m->from + n < UNITS_MAX)
        oracle_truth(o, m->task, m->att)->unit[m->from + n] = v;
}

void oracle_output(oracle *o, uint64_t task, uint64_t att, msg_part part, uint64_t bytes)
{
    oracle_truth(o, task, att)->bytes[part] = bytes;
}

void oracle_spool_deleted(oracle *o, slice runner_id, uint64_t task, uint64_t att,
                          const msg_result *result)
{
    const known_task *k = oracle_task(o, task);

    /* An attempt without a result was given up; a canceled one's end nobody has to hear. */
    if (!result || result->verdict == VERDICT_CANCELED || o->stale)
        return;
    checked(o->w, RULE_S7);
    if (k && k->att == att && is_leased(k->state) && slice_is(runner_id, k->runner))
        broken(o->w, RULE_S7, "the spool of task %llu attempt %llu is deleted, but the task is %s",
               ULL(task), ULL(att), state_text(k->state));
}

void oracle_nacked(oracle *o, const msg_nack *m)
{
    if (m->code == CODE_REPO || m->code == CODE_DISK)
        o->repo_nack_ms = o->w->now_ms;
}

void oracle_saw(oracle *o, const msg_submit *m)
{
    if (o->saws_n == o->saws_cap) {
        o->saws_cap = o->saws_cap ? o->saws_cap * 2 : 256;
        o->saws = mem_grow(o->saws, o->saws_cap, sizeof *o->saws);
    }
    o->saws[o->saws_n++] = (saw){ .sid = arena_slice(&o->mem, m->sid),
                                  .repo = arena_slice(&o->mem, m->repo),
                                  .ref = arena_slice(&o->mem, m->ref),
                                  .oid = arena_slice(&o->mem, m->oid) };
}

void oracle_applied(oracle *o, const char *who, uint64_t expected, const msg_event *e)
{
    if (expected && e->seq != expected)
        broken(o->w, RULE_S10, "%s applies event %llu in place of %llu", who, ULL(e->seq),
               ULL(expected));
    /* One that still follows an older history is told of the new one by what it asks next. */
    if (o->stale || !slice_is(e->hist, dispatcher_history(o->w)))
        return;
    checked(o->w, RULE_S10);
    if (e->seq > o->events_n)
        broken(o->w, RULE_S10, "%s applies event %llu, which is not durable", who, ULL(e->seq));
    if (o->events[e->seq].fields != event_fields(e))
        broken(o->w, RULE_S10, "%s applies event %llu otherwise than it is kept", who, ULL(e->seq));
}

void oracle_floor(oracle *o, const char *who, uint64_t to)
{
    store_head head;

    dispatcher_store(o->w)->ops->head(dispatcher_store(o->w), &head, NULL);
    if (to >= head.floor)
        broken(o->w, RULE_S10, "%s goes on behind event %llu, but %llu is the oldest kept", who,
               ULL(to), ULL(head.floor));
}

bool oracle_sid_done(oracle *o, slice sid)
{
    return map_gets(&o->submissions, sid) != NULL;
}

uint64_t oracle_leased_task(const oracle *o, uint64_t nth)
{
    uint64_t found = nth;

    for (uint64_t i = o->tasks_n; i > 0 && nth > 0; i--)
        if (o->tasks[i] && is_leased(o->tasks[i]->state)) {
            found = i;
            nth--;
        }
    return found;
}

uint64_t oracle_bad_build(oracle *o)
{
    uint64_t from = o->builds_n ? pick(o->w, o->builds_n) : 0;

    for (uint64_t i = 0; i < o->builds_n; i++) {
        const known_build *b = o->builds[(from + i) % o->builds_n + 1];

        if (b && b->jobs_n > 1 && b->state == STATE_FINAL && !is_good(b->verdict))
            return b->id;
    }
    return 0;
}

uint64_t oracle_some_build(oracle *o)
{
    uint64_t n = o->builds_n, back = n ? pick(o->w, n < 8 ? n : 8) : 0;

    return n ? n - back : 0;
}
