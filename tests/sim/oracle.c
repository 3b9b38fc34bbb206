#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define AVOID_MS 66000 /* an unsuitable runner is avoided for at most so long */

oracle *oracle_new(world *w)
{
    oracle *o = NEW(oracle);

    o->w = w;
    o->repo_nack_ms = -AVOID_MS;
    return o;
}

void oracle_free(oracle *o)
{
    arena_free(&o->mem);
    arena_free(&o->open);
    map_free(&o->runners);
    map_free(&o->submissions);
    map_free(&o->identities);
    map_free(&o->truths);
    free(o->pend);
    free(o->tasks);
    free(o->events);
    free(o->saws);
    free(o);
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
static void keep_texts(oracle *o, row *r)
{
    arena *a = &o->open;

    switch (r->kind) {
    case ROW_TASK:
        r->task.runner = arena_slice(a, r->task.runner);
        r->task.why = arena_slice(a, r->task.why);
        break;
    case ROW_BUILD:
        r->build.repo = arena_slice(a, r->build.repo);
        r->build.ref = arena_slice(a, r->build.ref);
        r->build.oid = arena_slice(a, r->build.oid);
        break;
    case ROW_JOB: {
        slice *needs = ARENA_ARRAY(a, slice, r->job.needs.n + 1);

        for (size_t i = 0; i < r->job.needs.n; i++)
            needs[i] = arena_slice(a, r->job.needs.v[i]);
        r->job.needs.v = needs;
        r->job.name = arena_slice(a, r->job.name);
        break;
    }
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
    p->canceled = r->kind == ROW_BUILD && slice_starts(r->build.why, SLICE("canceled"));
    p->hash = mix_bytes(UINT64_C(14695981039346656037), encoded);
    keep_texts(o, &p->row);
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

        if (r->busy > r->slots || r->plans > 1)
            broken(o->w, "S11", "a runner of %llu slots has %zu tasks and %zu plans", ULL(r->slots),
                   r->busy, r->plans);
    }
}

void oracle_spoken(oracle *o)
{
    o->turn_frames = 0;
}

void oracle_rollback(oracle *o)
{
    o->turn_frames = 0;
    o->pend_n = 0;
    arena_reset(&o->open);
}

void oracle_dispatcher_started(oracle *o, uint64_t ep)
{
    if (ep <= o->ep)
        broken(o->w, "epoch", "epoch %llu follows %llu", ULL(ep), ULL(o->ep));
    o->ep = ep;
    o->published = 0;
    work_starts(o);
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

void oracle_hears(oracle *o, uint64_t peer, slice frame)
{
    msg m;

    o->heard_task = 0;
    o->heard_pend = o->pend_n;
    o->turn_frames++;
    if (wire_decode(frame, &o->w->scratch, &m, NULL) != VOLT_OK)
        return;
    work_hears(o, peer, &m);
    if (!is_of_attempt(&m))
        return;
    o->heard_att = newest_attempt(o, m.start.task);
    if (m.start.att != o->heard_att)
        o->heard_task = m.start.task;
}

/* A word about an attempt that is not the newest changes nothing of its task. */
void oracle_heard(oracle *o)
{
    for (size_t i = o->heard_pend; o->heard_task && i < o->pend_n; i++) {
        const row_task *t = &o->pend[i].row.task;

        if (o->pend[i].row.kind == ROW_TASK && t->task == o->heard_task && t->att <= o->heard_att)
            broken(o->w, "fence", "a message about an older attempt makes task %llu %s",
                   ULL(t->task), state_text(t->state));
    }
}

/* ---- what the dispatcher says ---- */

static void check_accepted(oracle *o, const msg_accepted *m)
{
    const known_submission *k = map_gets(&o->submissions, m->sid);

    if (!k || k->build != m->build || !o->builds[m->build])
        broken(o->w, "S4", "a submission is accepted as build %llu, which is not durable",
               ULL(m->build));
}

static void check_rejected(oracle *o, const msg_rejected *m)
{
    const known_submission *k = map_gets(&o->submissions, m->sid);

    if (m->permanent && (!k || k->build))
        broken(o->w, "S4", "a submission is refused for good, and that is not durable");
}

static void check_assign(oracle *o, const msg_assign *m)
{
    const known_task *t = oracle_task(o, m->task);

    if (!t || t->att < m->att)
        broken(o->w, "S2", "task %llu attempt %llu is assigned, which is not durable", ULL(m->task),
               ULL(m->att));
}

static void check_result_ok(oracle *o, const msg_result_ok *m)
{
    const known_task *t = oracle_task(o, m->task);

    if (!t || t->state != STATE_FINAL || t->att != m->att)
        broken(o->w, "S6", "the result of task %llu attempt %llu is acknowledged, but not durable",
               ULL(m->task), ULL(m->att));
}

static void check_tests_ok(oracle *o, const msg_tests_ok *m)
{
    const known_task *t = oracle_task(o, m->task);

    if (!t || t->done < m->next)
        broken(o->w, "S6", "%llu outcomes of task %llu are acknowledged, %llu are durable",
               ULL(m->next), ULL(m->task), ULL(t ? t->done : 0));
}

/* Whether the attempt belongs to the runner behind the connection, as far as is durable. */
static bool is_live(oracle *o, uint64_t peer, uint64_t task, uint64_t att)
{
    const known_task *t = oracle_task(o, task);

    return t && t->att == att && is_leased(t->state) &&
           slice_is(runner_of_peer(o->w, peer), t->runner);
}

/* What is given up is not his any more: an attempt that was live once is so until its end. */
static void check_dropped(oracle *o, uint64_t peer, const rec_held_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (is_live(o, peer, l->v[i].task, l->v[i].att))
            broken(o->w, "fence", "task %llu attempt %llu is live, and its runner is to drop it",
                   ULL(l->v[i].task), ULL(l->v[i].att));
}

static void check_kept(oracle *o, const rec_held_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        const known_task *t = oracle_task(o, l->v[i].task);

        if (!t || t->att < l->v[i].att || (t->att > l->v[i].att && o->turn_frames == 1))
            broken(o->w, "fence", "task %llu attempt %llu is kept, but attempt %llu is the newest",
                   ULL(l->v[i].task), ULL(l->v[i].att), ULL(t ? t->att : 0));
    }
}

void oracle_sent(oracle *o, uint64_t peer, slice frame)
{
    msg m;
    rec_held one;

    if (wire_decode(frame, &o->w->scratch, &m, NULL) != VOLT_OK)
        broken(o->w, "wire", "the dispatcher sends what cannot be read");
    cover("dispatcher sends", msg_type_text(m.type));
    work_says(o, peer, &m);
    switch (m.type) {
    case MSG_accepted:
        check_accepted(o, &m.accepted);
        break;
    case MSG_rejected:
        check_rejected(o, &m.rejected);
        break;
    case MSG_assign:
        check_assign(o, &m.assign);
        break;
    case MSG_result_ok:
        check_result_ok(o, &m.result_ok);
        break;
    case MSG_tests_ok:
        check_tests_ok(o, &m.tests_ok);
        break;
    case MSG_welcome:
        check_kept(o, &m.welcome.keep);
        check_dropped(o, peer, &m.welcome.drop);
        break;
    case MSG_hb_ok:
        check_dropped(o, peer, &m.hb_ok.drop);
        break;
    case MSG_fenced:
        one = (rec_held){ .task = m.fenced.task, .att = m.fenced.att };
        check_dropped(o, peer, &(rec_held_list){ &one, 1 });
        break;
    default:
        break;
    }
}

static void check_event(oracle *o, const msg_event *e, slice frame)
{
    if (e->seq > o->events_n)
        broken(o->w, "S9", "event %llu is published, the newest that is durable is %llu",
               ULL(e->seq), ULL(o->events_n));
    if (o->events[e->seq] != mix_bytes(UINT64_C(14695981039346656037), frame))
        broken(o->w, "S9", "event %llu is published otherwise than it is kept", ULL(e->seq));
    if (e->seq <= o->published)
        broken(o->w, "S9", "event %llu is published after event %llu", ULL(e->seq),
               ULL(o->published));
    o->published = e->seq;
}

static void check_output(oracle *o, const char *what, uint64_t task, uint64_t att, uint64_t off,
                         slice bytes)
{
    const truth *t = oracle_truth(o, task, att);

    if (off + bytes.n > t->log_bytes)
        broken(o->w, "S8", "%s of task %llu attempt %llu: %llu bytes, its process wrote %llu", what,
               ULL(task), ULL(att), ULL(off + bytes.n), ULL(t->log_bytes));
    for (size_t i = 0; i < bytes.n; i++)
        if ((unsigned char)bytes.p[i] != output_byte(task, att, off + i))
            broken(o->w, "S8", "%s of task %llu attempt %llu differs at byte %llu", what, ULL(task),
                   ULL(att), ULL(off + i));
}

void oracle_published(oracle *o, slice topic, slice frame)
{
    msg m;

    if (wire_decode(frame, &o->w->scratch, &m, NULL) != VOLT_OK)
        broken(o->w, "wire", "the dispatcher publishes what cannot be read");
    cover("dispatcher publishes", msg_type_text(m.type));
    (void)topic;
    if (m.type == MSG_event)
        check_event(o, &m.event, frame);
    else if (m.type == MSG_accepted)
        check_accepted(o, &m.accepted);
    else if (m.type == MSG_rejected)
        check_rejected(o, &m.rejected);
    else if (m.type == MSG_head && m.head.last > o->events_n)
        broken(o->w, "S9", "a head beat tells of event %llu, the newest that is durable is %llu",
               ULL(m.head.last), ULL(o->events_n));
    else if (m.type == MSG_log)
        check_output(o, "the published log", m.log.task, m.log.att, m.log.off, m.log.d);
}

void oracle_log_written(oracle *o, uint64_t task, uint64_t att, uint64_t off, slice bytes)
{
    check_output(o, "the log", task, att, off, bytes);
}

/* ---- what others do ---- */

void oracle_task_starts(oracle *o, slice runner_id, const msg_assign *m)
{
    truth *t = oracle_truth(o, m->task, m->att);
    const known_task *k = oracle_task(o, m->task);

    if (t->starts++)
        broken(o->w, "S3", "task %llu attempt %llu starts again", ULL(m->task), ULL(m->att));
    if (!k || k->att < m->att || (k->att == m->att && !slice_is(runner_id, k->runner)))
        broken(o->w, "S3", "task %llu attempt %llu starts on a runner that it was not given to",
               ULL(m->task), ULL(m->att));
    snprintf(t->runner, sizeof t->runner, SLICE_FMT, SLICE_ARG(runner_id));
}

void oracle_output(oracle *o, uint64_t task, uint64_t att, uint64_t log_bytes)
{
    oracle_truth(o, task, att)->log_bytes = log_bytes;
}

void oracle_spool_deleted(oracle *o, slice runner_id, uint64_t task, uint64_t att,
                          const msg_result *result)
{
    const known_task *k = oracle_task(o, task);

    /* An attempt without a result was given up; a canceled one's end nobody has to hear. */
    if (!result || result->verdict == VERDICT_CANCELED)
        return;
    if (k && k->att == att && is_leased(k->state) && slice_is(runner_id, k->runner))
        broken(o->w, "S7", "the spool of task %llu attempt %llu is deleted, but the task is %s",
               ULL(task), ULL(att), state_text(k->state));
}

void oracle_nacked(oracle *o, const msg_nack *m)
{
    if (m->code == CODE_REPO)
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
    buf frame = { 0 };
    const msg m = { .type = MSG_event, .event = *e };

    if (expected && e->seq != expected)
        broken(o->w, "S10", "%s applies event %llu in place of %llu", who, ULL(e->seq),
               ULL(expected));
    if (e->seq > o->events_n)
        broken(o->w, "S10", "%s applies event %llu, which is not durable", who, ULL(e->seq));
    wire_encode(&m, &frame);
    if (o->events[e->seq] != mix_bytes(UINT64_C(14695981039346656037), buf_slice(&frame)))
        broken(o->w, "S10", "%s applies event %llu otherwise than it is kept", who, ULL(e->seq));
    buf_free(&frame);
}

bool oracle_sid_done(oracle *o, slice sid)
{
    return map_gets(&o->submissions, sid) != NULL;
}

uint64_t oracle_some_build(oracle *o)
{
    uint64_t n = o->builds_n, back = n ? pick(o->w, n < 8 ? n : 8) : 0;

    return n ? n - back : 0;
}

/* ---- L3: never a ready task beside a free slot that suits it ---- */

static const known_job *job_named(const known_build *b, slice name)
{
    for (size_t i = 0; i < b->jobs_n; i++)
        if (slice_eq(b->jobs[i].name, name))
            return &b->jobs[i];
    return NULL;
}

static bool has_special(const rec_runner_row *r)
{
    return r->labels.n > 0;
}

static bool suits(oracle *o, const rec_task_row *t, const rec_runner_row *r)
{
    const known_build *b = o->builds[t->build];
    const known_job *j = t->kind == TASK_PLAN ? NULL : job_named(b, t->job);
    const known_runner *k = map_gets(&o->runners, r->id);

    if (r->state != RUNNER_UP || r->mode != MODE_RUN || !k)
        return false;
    if (t->kind == TASK_PLAN ? k->plans > 0 : k->busy >= k->slots)
        return false;
    if (j && j->special && !has_special(r))
        return false;
    return runner_reaches(o->w, r->id, b->repo);
}

/* Avoidance is not seen from outside, so what was tried before is given its time. */
static bool may_wait(oracle *o, const rec_task_row *t)
{
    const known_task *k = t->task ? oracle_task(o, t->task) : NULL;

    if (o->w->now_ms - o->repo_nack_ms < AVOID_MS || slice_starts(t->why, SLICE("tried again in")))
        return true;
    return k && k->att > 0 && o->w->now_ms - k->requeued_ms < AVOID_MS;
}

void oracle_turn(oracle *o)
{
    const dispatch *d = dispatcher_now(o->w);
    arena a = { 0 };
    msg_status_is s;
    msg_runners_are r = { .more = false };
    const msg_runners all = { .all = true };

    dispatch_status(d, o->w->now_ms, &s, &a);
    if (s.trouble.n)
        broken(o->w, "STALE_DB", SLICE_FMT, SLICE_ARG(s.trouble));
    if (s.waiting.n)
        dispatch_runners(d, o->w->now_ms, &all, &r, &a);
    for (size_t i = 0; i < s.waiting.n; i++)
        for (size_t k = 0; k < r.rows.n; k++)
            if (suits(o, &s.waiting.v[i], &r.rows.v[k]) && !may_wait(o, &s.waiting.v[i]))
                broken(o->w, "L3",
                       "a task of build %llu waits (" SLICE_FMT ") beside " SLICE_FMT
                       ", which is free",
                       ULL(s.waiting.v[i].build), SLICE_ARG(s.waiting.v[i].why),
                       SLICE_ARG(r.rows.v[k].name));
    arena_free(&a);
}
