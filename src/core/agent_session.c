#include <stdio.h>

#include "base/mutant.h"
#include "core/agent_parts.h"

#define HELLO_GAP_MS   200   /* at most so often, whatever provokes it */
#define HELLO_MIN_MS   500   /* an answer is waited for at least so long */
#define HELLO_MAX_MS   10000 /* and at most so long, before the next address is tried */
#define HB_DEFAULT_MS  1000  /* before the first welcome */
#define HB_LEAST_MS    10    /* as welcome has it; in hb_ok less is absent, or not to be followed */
#define COMPLAIN_MS    1000
#define UNSAVED_MS     2000  /* after a write failed, to the next try */
#define BELIEVE_MS     60000 /* REPLACED is believed the second time within so long ... */
#define REPLACED_BEATS 3 /* ... and the first time another hello follows after these heartbeats */

void agent_init_session(agent *a)
{
    a->hb_ms = HB_DEFAULT_MS;
    a->suspect_ms = 4 * HB_DEFAULT_MS;
    a->hb_at = a->waiting_ms = a->hello_at = a->asked_ms = a->answered_ms = HEAP_NEVER;
    a->hello_last = -HELLO_GAP_MS;
}

static rec_held_list list_held(const agent *a, arena *to, bool keys)
{
    rec_held_list l = { a->held_n ? ARENA_ARRAY(to, rec_held, a->held_n) : NULL, 0 };

    LIST_FOR(at, &a->held)
    {
        const attempt *t = LIST_OWNER(at, attempt, link);

        l.v[l.n++] = (rec_held){
            .task = t->task,
            .att = t->att,
            .state = t->state,
            .log_bytes = t->result ? t->result->log_bytes : t->streams[PART_LOG].sent,
            .key = keys ? arena_slice(to, slice_of(t->key)) : (slice){ 0 },
        };
    }
    return l;
}

static rec_held_list list_last(const agent *a, arena *to)
{
    rec_held *h = ARENA_NEW(to, rec_held);

    *h = (rec_held){
        .task = a->last_task,
        .att = a->last_att,
        .key = arena_slice(to, slice_of(a->last_key)),
    };
    return (rec_held_list){ h, a->last_task ? 1 : 0 };
}

/* How long an answer to the n-th hello in a row is waited for.  Full jitter: after a dispatcher
 * restarts, thousands of runners come back spread out; for few, hb_ms is short and so is this. */
static int64_t hello_wait_ms(agent *a)
{
    unsigned shift = a->hellos < 8 ? a->hellos : 8;
    int64_t most = a->hb_ms << shift;

    if (most > HELLO_MAX_MS - HELLO_MIN_MS)
        most = HELLO_MAX_MS - HELLO_MIN_MS;
    return HELLO_MIN_MS + (int64_t)prng_below(&a->prng, (uint64_t)most);
}

static void say_hello(agent *a, int64_t now, agent_effects *out)
{
    msg_hello *h;
    msg *m;

    if (a->hello_anew)
        agent_add(out, AGENT_RECONNECT);
    m = agent_send(out, MSG_hello);
    m->r = ++a->hello_n;
    h = &m->hello;
    h->vmin = h->vmax = MSG_VERSION;
    h->id = a->id;
    h->name = a->name;
    h->host = a->host;
    h->boot = a->boot;
    h->hist = arena_slice(&out->arena, slice_of(a->hist));
    h->maxep = a->maxep;
    h->key = arena_slice(&out->arena, slice_of(a->key));
    h->slots = a->slots_n;
    h->labels = a->labels;
    h->reach = a->reach;
    h->mode = a->draining || a->stopping ? MODE_DRAIN : runner_mode_none;
    h->held = list_held(a, &out->arena, true);
    h->last = list_last(a, &out->arena);

    if (a->hellos == 1 && !a->welcomed)
        agent_say(out, true, "no answer from the dispatcher yet; trying on");
    a->session = SESSION_HELLO;
    a->hellos++;
    a->hello_last = now;
    a->hello_at = MUTANT(hello_once) ? HEAP_NEVER : now + hello_wait_ms(a);
    a->hello_anew = true;
}

/* Over the connection there is: somebody answers there. */
void agent_hello_soon(agent *a, int64_t now)
{
    int64_t at = a->hello_last + HELLO_GAP_MS;

    a->session = SESSION_NONE;
    a->hello_anew = false;
    a->hellos = 0;
    a->hello_at = at > now ? at : now;
}

/* What runs goes on; the dispatcher hears nothing more until the disk takes writes again, and gives
 * the work to others when that takes longer than the lease. */
void agent_unsaved(agent *a, int64_t now)
{
    a->unsaved = true;
    a->session = SESSION_NONE;
    a->away = true;
    a->hellos = 0;
    a->hello_anew = false;
    a->hello_at = now + UNSAVED_MS;
}

static void lose_session(agent *a, int64_t now, agent_effects *out)
{
    /* The first try comes quickly, so that a restarted dispatcher has its runners back at once. */
    int64_t least = a->hb_ms / 10, spread = a->hb_ms / 2 - least;

    agent_say(out, true, "connection to the dispatcher lost; what runs goes on");
    a->session = SESSION_NONE;
    a->away = true;
    a->hello_anew = true;
    a->hellos = 0;
    a->hello_at = now + least + (int64_t)prng_below(&a->prng, (uint64_t)(spread > 0 ? spread : 1));
}

/* Counted from the heartbeat that got no answer, not from the last word heard: a process that was
 * stopped for a while has not been met with silence. */
static int64_t silent_at(const agent *a)
{
    int64_t after = a->suspect_ms - a->hb_ms;

    if (a->session != SESSION_UP || a->waiting_ms == HEAP_NEVER)
        return HEAP_NEVER;
    return a->waiting_ms + (after > a->suspect_ms / 2 ? after : a->suspect_ms / 2);
}

static void beat(agent *a, int64_t now, agent_effects *out)
{
    msg_hb *hb = &agent_send(out, MSG_hb)->hb;

    hb->n = ++a->hb_n;
    hb->free = agent_free_slots(a);
    hb->hb_ms = (uint64_t)a->hb_ms;
    hb->held = list_held(a, &out->arena, false);
    agent_alone_beat(a, hb->n, now);
    a->hb_at = now + a->hb_ms;
    if (a->waiting_ms == HEAP_NEVER)
        a->waiting_ms = now;
}

static void abandon_all(agent *a, agent_effects *out)
{
    LIST_FOR_SAFE(at, &a->held)
    {
        agent_doom(a, LIST_OWNER(at, attempt, link), out);
    }
    agent_forget_ended(a);
    agent_renew_slots(a, out);
}

static void drop(agent *a, const rec_held_list *l, agent_effects *out)
{
    for (size_t i = 0; i < l->n; i++) {
        attempt *t = agent_find(a, l->v[i].task, l->v[i].att);

        if (t)
            agent_doom(a, t, out);
    }
}

/* What ended since the hello was sent, the dispatcher would wait for until the lease ends. */
static void keep(agent *a, const rec_held_list *l, agent_effects *out)
{
    LIST_FOR(at, &a->held)
    {
        agent_rewind(a, LIST_OWNER(at, attempt, link));
    }
    for (size_t i = 0; i < l->n; i++) {
        attempt *t = agent_find(a, l->v[i].task, l->v[i].att);

        if (t)
            agent_kept(t, &l->v[i]);
        else
            agent_disown(a, l->v[i].task, l->v[i].att, out);
    }
}

static void welcome(agent *a, const msg *m, int64_t now, agent_effects *out)
{
    const msg_welcome *w = &m->welcome;
    bool other = !slice_is(w->hist, a->hist) && !MUTANT(other_hist_kept), first = !a->welcomed;

    if (a->session == SESSION_NONE)
        return;
    if (!other && w->ep < a->maxep) { /* one that was replaced, and does not know it */
        agent_say(out, true, "an outdated dispatcher (epoch %llu, newest %llu) answered; ignored",
                  (unsigned long long)w->ep, (unsigned long long)a->maxep);
        return;
    }
    if (other && a->hist[0])
        abandon_all(a, out);
    if (other)
        a->last_task = a->last_att = 0;
    if (other || w->ep != a->maxep || !slice_is(w->key, a->key) || a->unsaved) {
        a->unsaved = false;
        agent_effect *e = agent_add(out, AGENT_SAVE);

        snprintf(a->hist, sizeof a->hist, SLICE_FMT, SLICE_ARG(w->hist));
        a->maxep = w->ep;
        snprintf(a->key, sizeof a->key, SLICE_FMT, SLICE_ARG(w->key));
        e->key = arena_str(&out->arena, w->key);
        e->hist = arena_str(&out->arena, w->hist);
        e->ep = w->ep;
    }
    a->hb_ms = (int64_t)w->hb_ms;
    a->suspect_ms = (int64_t)w->suspect_ms;
    a->lease_ms = (int64_t)w->lease_ms;
    a->window = w->window;
    a->mode = w->mode ? w->mode : MODE_RUN;
    if (first || a->away)
        agent_say(out, false, first ? "registered" : "registered again");
    a->away = false;
    a->session = SESSION_UP;
    a->welcomed = true;
    a->hellos = 0;
    a->hello_at = HEAP_NEVER;
    a->hb_at = now + a->hb_ms;
    drop(a, &w->drop, out);
    keep(a, &w->keep, out);
    agent_alone_welcome(a, m->r == a->hello_n, &w->keep, out);
    LIST_FOR_SAFE(at, &a->held)
    {
        attempt *t = LIST_OWNER(at, attempt, link);

        if (t->state == HELD_RUNNING)
            agent_send_start(t, out);
        agent_pump(a, t, now, out);
    }
}

static void refuse(agent *a, const msg_refuse *m, int64_t now, agent_effects *out)
{
    char text[512];

    if (a->session == SESSION_NONE)
        return;
    if (m->code == CODE_REPLACED && now >= a->believe_until) {
        /* Our directory is locked, so the other may be an earlier process of ours, dead since,
         * whose hello was long under way.  One that lives, on a copy of the directory, has spoken
         * again by then, and we are refused again. */
        a->believe_until = now + BELIEVE_MS;
        agent_say(out, true, "another process with this runner's id registered; trying again");
        a->session = SESSION_NONE;
        a->hello_anew = false;
        a->hello_at = now + REPLACED_BEATS * a->hb_ms;
        return;
    }
    snprintf(text, sizeof text, "%s%s" SLICE_FMT, code_text(m->code), m->msg.n ? ": " : "",
             SLICE_ARG(m->msg));
    if (m->retry_ms == 0) {
        /* Other refusals may be mended by a new program, which finds the executors at work. */
        if (m->code == CODE_REPLACED)
            agent_bye_slots(a, out);
        agent_leave(a, AGENT_REFUSED, text, out);
        return;
    }
    if (now >= a->complain_at) {
        agent_say(out, true, "the dispatcher refuses this runner (%s); trying again", text);
        a->complain_at = now + COMPLAIN_MS;
    }
    a->session = SESSION_NONE;
    a->hellos = 0;
    a->hello_anew = false;
    a->hello_at = now + prng_jitter_ms(&a->prng, (int64_t)m->retry_ms, 20) + 1;
}

static void heard_hb_ok(agent *a, const msg_hb_ok *m, int64_t now, agent_effects *out)
{
    if (m->ep > a->maxep)
        agent_hello_soon(a, now);
    if (m->ep != a->maxep)
        return;
    drop(a, &m->drop, out);
    if (m->hb_ms >= HB_LEAST_MS && m->suspect_ms >= HB_LEAST_MS) { /* the fleet grew or shrank */
        a->hb_ms = (int64_t)m->hb_ms;
        a->suspect_ms = (int64_t)m->suspect_ms;
        if (m->lease_ms >= HB_LEAST_MS)
            a->lease_ms = (int64_t)m->lease_ms;
        if (now + a->hb_ms < a->hb_at)
            a->hb_at = now + a->hb_ms;
    }
    agent_alone_answered(a, m->n, out);
}

/* Messages of a session that stands. */
static void heard(agent *a, const agent_event *ev, agent_effects *out)
{
    const msg *m = ev->msg;
    attempt *t;

    a->waiting_ms = HEAP_NEVER;
    switch (m->type) {
    case MSG_hb_ok:
        heard_hb_ok(a, &m->hb_ok, ev->now_ms, out);
        break;
    case MSG_assign:
        if (m->assign.ep > a->maxep) /* a restart whose welcome we missed */
            agent_hello_soon(a, ev->now_ms);
        else if (m->assign.ep == a->maxep)
            agent_assign(a, ev, out);
        break;
    case MSG_cancel:
        agent_cancel(a, &m->cancel, ev->now_ms, out);
        break;
    case MSG_fenced:
        t = agent_find(a, m->fenced.task, m->fenced.att);
        if (t)
            agent_doom(a, t, out);
        break;
    case MSG_result_ok:
        agent_result_ok(a, m->result_ok.task, m->result_ok.att, out);
        break;
    case MSG_plan_ok:
        agent_plan_ok(a, &m->plan_ok, ev->now_ms, out);
        break;
    case MSG_tests_ok:
        agent_tests_ok(a, &m->tests_ok, ev->now_ms, out);
        break;
    case MSG_log_ok:
        agent_log_ok(a, &m->log_ok, ev->now_ms, out);
        break;
    case MSG_mode:
        a->mode = m->mode.mode;
        break;
    default: /* of a newer protocol, or not for us */
        break;
    }
}

void agent_from_dispatcher(agent *a, const agent_event *ev, agent_effects *out)
{
    const msg *m = ev->msg;

    switch (m->type) {
    case MSG_welcome:
        a->waiting_ms = HEAP_NEVER;
        welcome(a, m, ev->now_ms, out);
        break;
    case MSG_refuse:
        refuse(a, &m->refuse, ev->now_ms, out);
        break;
    case MSG_who:
        a->away = true;
        agent_hello_soon(a, ev->now_ms);
        break;
    case MSG_err:
        if (ev->now_ms >= a->complain_at) {
            agent_say(out, true, "the dispatcher did not understand us: %s " SLICE_FMT,
                      code_text(m->err.code), SLICE_ARG(m->err.msg));
            a->complain_at = ev->now_ms + COMPLAIN_MS;
        }
        break;
    default:
        /* Without a session the next welcome says how things stand; what came before it may be
         * of another history. */
        if (a->session == SESSION_UP)
            heard(a, ev, out);
        break;
    }
}

void agent_tick_session(agent *a, int64_t now, agent_effects *out)
{
    if (silent_at(a) <= now) {
        a->waiting_ms = HEAP_NEVER;
        lose_session(a, now, out);
    }
    if (a->session != SESSION_UP && a->hello_at <= now)
        say_hello(a, now, out);
    if (a->session == SESSION_UP && a->hb_at <= now)
        beat(a, now, out);
}

int64_t agent_session_deadline_ms(const agent *a)
{
    int64_t silent = silent_at(a), next = a->session == SESSION_UP ? a->hb_at : a->hello_at;

    return silent < next ? silent : next;
}
