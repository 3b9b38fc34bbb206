/* What the dispatcher says, publishes and writes into logs: each as far as what it made durable
 * goes. */
#include "oracle.h"

#include <stdio.h>

#include "base/mem.h"

static void check_accepted(oracle *o, const msg_accepted *m)
{
    const known_submission *k = map_gets(&o->submissions, m->sid);

    checked(o->w, RULE_S4);
    if (!k || k->build != m->build || !o->builds[m->build])
        broken(o->w, RULE_S4, "a submission is accepted as build %llu, which is not durable",
               ULL(m->build));
}

static void check_rejected(oracle *o, const msg_rejected *m)
{
    const known_submission *k = map_gets(&o->submissions, m->sid);

    checked(o->w, RULE_S4);
    if (m->permanent && (!k || k->build))
        broken(o->w, RULE_S4, "a submission is refused for good, and that is not durable");
}

static void check_assign(oracle *o, const msg_assign *m)
{
    const known_task *t = oracle_task(o, m->task);

    checked(o->w, RULE_S2);
    if (!t || t->att < m->att)
        broken(o->w, RULE_S2, "task %llu attempt %llu is assigned, which is not durable",
               ULL(m->task), ULL(m->att));
}

static void check_result_ok(oracle *o, const msg_result_ok *m)
{
    const known_task *t = oracle_task(o, m->task);

    checked(o->w, RULE_S6);
    if (!t || t->state != STATE_FINAL || t->att != m->att)
        broken(o->w, RULE_S6,
               "the result of task %llu attempt %llu is acknowledged, but not durable",
               ULL(m->task), ULL(m->att));
}

static void check_tests_ok(oracle *o, const msg_tests_ok *m)
{
    const known_task *t = oracle_task(o, m->task);

    checked(o->w, RULE_S6);
    if (!t || t->done < m->next)
        broken(o->w, RULE_S6, "%llu outcomes of task %llu are acknowledged, %llu are durable",
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
    checked(o->w, RULE_FENCE);
    for (size_t i = 0; i < l->n; i++)
        if (is_live(o, peer, l->v[i].task, l->v[i].att))
            broken(o->w, RULE_FENCE, "task %llu attempt %llu is live, and its runner is to drop it",
                   ULL(l->v[i].task), ULL(l->v[i].att));
}

static void check_kept(oracle *o, const rec_held_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        const known_task *t = oracle_task(o, l->v[i].task);

        if (!t || t->att < l->v[i].att || (t->att > l->v[i].att && o->turn_frames == 1))
            broken(o->w, RULE_FENCE,
                   "task %llu attempt %llu is kept, but attempt %llu is the newest",
                   ULL(l->v[i].task), ULL(l->v[i].att), ULL(t ? t->att : 0));
    }
}

/* Bytes of a log or of artifacts; `over`: of an attempt that is, and whose runner may never have
 * sent again what a loss of power tore from the file. */
static void check_output(oracle *o, const char *what, const msg_log *m, bool over)
{
    const truth *t = oracle_truth(o, m->task, m->att);
    const log_name name = { m->task, m->att, (msg_part)m->part };
    uint64_t most = t->bytes[name.part];

    if (o->stale) /* the attempt may have gone on since the copy was made */
        return;
    if (m->off + m->d.n > most)
        broken(o->w, RULE_S8, "%s of task %llu attempt %llu: %llu bytes, its process wrote %llu",
               what, ULL(m->task), ULL(m->att), ULL(m->off + m->d.n), ULL(most));
    checked(o->w, RULE_S8);
    for (size_t i = 0; i < m->d.n; i++)
        if ((unsigned char)m->d.p[i] != output_byte(&name, m->off + i) &&
            !(over && dispatcher_log_torn(o->w, &name, m->off + i)))
            broken(o->w, RULE_S8, "%s of task %llu attempt %llu differs at byte %llu", what,
                   ULL(m->task), ULL(m->att), ULL(m->off + i));
}

static void check_chunk(oracle *o, const msg_chunk *m)
{
    const known_task *t = oracle_task(o, m->task);
    bool live = t && t->att == m->att && is_leased(t->state);

    msg_log piece = { .task = m->task, .att = m->att, .part = m->part, .off = m->off, .d = m->d };

    if (m->d.n && m->part == PART_ARTIFACTS)
        check_output(o, "what is shown of the artifacts", &piece, false);
    else if (m->d.n)
        check_output(o, live ? "what is shown of the log under way" : "what is shown of the log",
                     &piece, !live);
}

static void take_mode(oracle *o, uint64_t peer)
{
    known_runner *r = map_get(&o->peers, peer);

    if (r)
        r->own_mode = r->said_mode;
}

void oracle_sent(oracle *o, uint64_t peer, slice frame)
{
    msg m;
    rec_held one;

    if (wire_decode(frame, &o->w->scratch, &m, NULL) != VOLT_OK)
        broken(o->w, RULE_WIRE, "the dispatcher sends what cannot be read");
    checked(o->w, RULE_WIRE);
    cover("dispatcher sends", msg_type_text(m.type));
    if (!o->stale)
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
    case MSG_chunk:
        check_chunk(o, &m.chunk);
        break;
    case MSG_result_ok:
        check_result_ok(o, &m.result_ok);
        break;
    case MSG_tests_ok:
        check_tests_ok(o, &m.tests_ok);
        break;
    case MSG_welcome:
        take_mode(o, peer);
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
    checked(o->w, RULE_S9);
    if (e->seq > o->events_n)
        broken(o->w, RULE_S9, "event %llu is published, the newest that is durable is %llu",
               ULL(e->seq), ULL(o->events_n));
    if (o->events[e->seq].frame != mix_bytes(0, frame))
        broken(o->w, RULE_S9, "event %llu is published otherwise than it is kept", ULL(e->seq));
    if (e->seq <= o->published)
        broken(o->w, RULE_S9, "event %llu is published after event %llu", ULL(e->seq),
               ULL(o->published));
    o->published = e->seq;
}

void oracle_published(oracle *o, slice topic, slice frame)
{
    msg m;

    if (wire_decode(frame, &o->w->scratch, &m, NULL) != VOLT_OK)
        broken(o->w, RULE_WIRE, "the dispatcher publishes what cannot be read");
    checked(o->w, RULE_WIRE);
    cover("dispatcher publishes", msg_type_text(m.type));
    (void)topic;
    if (m.type == MSG_event)
        check_event(o, &m.event, frame);
    else if (m.type == MSG_accepted)
        check_accepted(o, &m.accepted);
    else if (m.type == MSG_rejected)
        check_rejected(o, &m.rejected);
    else if (m.type == MSG_head && m.head.last > o->events_n)
        broken(o->w, RULE_S9, "a head beat tells of event %llu, the newest that is durable is %llu",
               ULL(m.head.last), ULL(o->events_n));
    else if (m.type == MSG_log)
        check_output(o, "the published log", &m.log, false);
}

void oracle_log_written(oracle *o, const log_name *name, uint64_t off, slice bytes)
{
    check_output(
        o, name->part == PART_LOG ? "the log" : "the file of the artifacts",
        &(msg_log){
            .task = name->task, .att = name->att, .part = name->part, .off = off, .d = bytes },
        false);
}
