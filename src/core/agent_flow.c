/* What an attempt still has to tell the dispatcher, and what the dispatcher has acknowledged. */
#include <assert.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "core/agent_parts.h"

#define RETRY_MS    1000 /* 1, 2, 4, 8 s without an acknowledgement */
#define RETRY_SHIFT 3
#define POLL_MAX_MS 1000 /* a silent task's log is looked at this often at least */
#define REREAD_MS   1000 /* to the next look for a part of a plan that its spool lacks */

/* ---- the executor's word ---- */

void agent_take_result(attempt *t, const msg_result *m)
{
    msg_result *r;

    if (t->result)
        return;
    agent_take_outcomes(t, OUTCOME_RUN(m));
    t->result = ARENA_NEW(&t->arena, msg_result);
    r = t->result;
    *r = *m;
    r->task = t->task;
    r->att = t->att;
    r->ep = t->ep;
    r->msg = arena_slice(&t->arena, m->msg);
    r->items = (rec_item_list){ 0 };
    r->cases = (rec_test_case_list){ 0 };
    r->log = (slice){ 0 };
    t->state = HELD_DONE;
    t->found = false;
    t->result_reading = false;
}

/* ---- telling ---- */

static bool lacks_plan(const attempt *t)
{
    return !t->plan_reading && t->plan_sent < t->plan_parts;
}

static void pump_plan(attempt *t, int64_t now, agent_effects *out)
{
    agent_effect *e;

    if (!lacks_plan(t) || t->plan_at > now)
        return;
    t->plan_reading = true;
    t->plan_read_from = t->plan_sent;
    e = agent_add(out, AGENT_READ);
    e->task = t->task;
    e->att = t->att;
    e->part = AGENT_PART_PLAN;
    e->off = t->plan_sent;
}

/* ---- log and artifacts ---- */

/* What the result says of its length. */
static uint64_t *size_of(attempt *t, msg_part part)
{
    return part == PART_LOG ? &t->result->log_bytes : &t->result->artifact_bytes;
}

static void send_piece(attempt *t, msg_part part, slice bytes, bool eof, agent_effects *out)
{
    msg_log *m = &agent_send(out, MSG_log)->log;
    stream *s = &t->streams[part];

    m->task = t->task;
    m->att = t->att;
    m->part = part;
    m->off = s->sent;
    m->d = bytes;
    m->eof = eof;
    s->sent += bytes.n;
    s->streamed = true;
    s->ended |= eof;
}

static void read_piece(attempt *t, msg_part part, uint64_t off, uint64_t max, agent_effects *out)
{
    agent_effect *e = agent_add(out, AGENT_READ_LOG);

    t->streams[part].reading = true;
    t->streams[part].asked = max;
    e->task = t->task;
    e->att = t->att;
    e->stream = part;
    e->off = off;
    e->max = max;
}

/* Bytes that may be sent now. */
static uint64_t credit(const stream *s)
{
    uint64_t end = s->acked + s->window + (MUTANT(credit_ignored) ? AGENT_CHUNK_MAX : 0);

    return end > s->sent ? end - s->sent : 0;
}

/* True when the whole log goes into the result. */
static bool log_is_short(const attempt *t)
{
    return t->result && !t->streams[PART_LOG].streamed && t->result->log_bytes <= AGENT_INLINE_MAX;
}

/* Nothing of it has to be acknowledged any more before the result. */
static bool is_through(attempt *t, msg_part part)
{
    return (part == PART_LOG && log_is_short(t)) || t->streams[part].acked >= *size_of(t, part);
}

/* The first outcomes, as many as may be told: an attempt may be lost at any moment, and what was
 * told is not run again, so its output must have arrived before. */
static size_t tellable(attempt *t)
{
    size_t n = 0;

    if (t->result && is_through(t, PART_LOG))
        return t->items_n;
    while (n < t->items_n &&
           t->items[n].log_off + t->items[n].log_len <= t->streams[PART_LOG].acked)
        n++;
    return n;
}

/* One message at a time is under way; what ends meanwhile goes together with the next. */
static void pump_tests(attempt *t, agent_effects *out)
{
    outcome_run run;
    outcome_place end;
    msg_tests *m;

    if (outcome_before(t->told, t->sent))
        return;
    run = agent_next_run(t, tellable(t), &end);
    if ((run.items.n == 0 && run.cases.n == 0) || (t->result && agent_run_is_whole(t, &run)))
        return; /* the result carries the last of them */
    m = &agent_send(out, MSG_tests)->tests;
    m->task = t->task;
    m->att = t->att;
    m->from = run.at.file;
    m->cases_from = run.at.cases;
    m->items = agent_copy_items(&run.items, &out->arena);
    m->cases = agent_copy_cases(&run.cases, &out->arena);
    t->sent = end;
}

/* May pieces of it go now? */
static bool is_due(attempt *t, msg_part part, int64_t now)
{
    if (part == PART_ARTIFACTS)
        return t->result && t->result->artifact_bytes && is_through(t, PART_LOG);
    return t->result ? !log_is_short(t) : t->state == HELD_RUNNING && t->log_at <= now;
}

static void pump_stream(attempt *t, msg_part part, int64_t now, agent_effects *out)
{
    stream *s = &t->streams[part];
    uint64_t max = credit(s);

    if (s->reading || !is_due(t, part, now))
        return;
    if (t->result) {
        uint64_t *size = size_of(t, part);

        /* Something else wrote into the spool.  What the dispatcher has it cannot forget, and it
         * takes no result that tells of less. */
        if (s->acked > *size)
            *size = s->acked;
        if (s->sent >= *size) {
            if (!s->ended)
                send_piece(t, part, (slice){ 0 }, true, out);
            return;
        }
        max = max < *size - s->sent ? max : *size - s->sent;
    }
    if (max)
        read_piece(t, part, s->sent, max < AGENT_CHUNK_MAX ? max : AGENT_CHUNK_MAX, out);
}

static void send_result(attempt *t, slice log, agent_effects *out)
{
    msg_result *r = &agent_send(out, MSG_result)->result;
    outcome_place end;
    outcome_run run = agent_next_run(t, t->items_n, &end);

    *r = *t->result;
    r->msg = arena_slice(&out->arena, r->msg);
    r->log = log;
    r->from = run.at.file;
    r->cases_from = run.at.cases;
    r->items = agent_copy_items(&run.items, &out->arena);
    r->cases = agent_copy_cases(&run.cases, &out->arena);
    t->result_sent = true;
    if (MUTANT(spool_deleted_early))
        agent_delete_spool(t, out);
}

static void pump_result(attempt *t, agent_effects *out)
{
    outcome_run run;
    outcome_place end;

    if (!t->result || t->result_sent || t->streams[PART_LOG].reading || t->plan_reading ||
        t->plan_sent < t->plan_parts)
        return;
    run = agent_next_run(t, t->items_n, &end);
    if (!agent_run_is_whole(t, &run))
        return;
    if (!is_through(t, PART_ARTIFACTS) && !MUTANT(result_before_artifacts))
        return;
    if (t->result->log_bytes == 0) {
        send_result(t, (slice){ 0 }, out);
    } else if (log_is_short(t)) {
        t->log_whole = true;
        read_piece(t, PART_LOG, 0, t->result->log_bytes, out);
    } else if (is_through(t, PART_LOG) || MUTANT(result_before_log)) {
        send_result(t, (slice){ 0 }, out);
    }
}

/* ---- timers ---- */

/* Stopped for want of credit. */
static bool is_stopped(attempt *t, msg_part part)
{
    const stream *s = &t->streams[part];
    bool waits = t->result ? is_due(t, part, 0) && s->sent < *size_of(t, part)
                           : t->state == HELD_RUNNING && s->streamed;

    return waits && credit(s) == 0;
}

/* Something was sent that is not acknowledged, or stands still for want of credit. */
static bool is_owed(attempt *t)
{
    bool streams = false;

    for (unsigned part = 0; part < PARTS_N; part++)
        streams |= t->streams[part].sent > t->streams[part].acked || is_stopped(t, (msg_part)part);
    return t->plan_sent > t->plan_acked || outcome_before(t->told, t->sent) || t->result_sent ||
           streams;
}

static void set_timer(agent *a, attempt *t, int64_t now)
{
    int64_t at;

    if (!is_owed(t)) {
        t->retry_at = HEAP_NEVER;
        t->retries = 0;
    } else if (t->retry_at == HEAP_NEVER) {
        unsigned shift = t->retries < RETRY_SHIFT ? t->retries : RETRY_SHIFT;

        t->retry_at = now + (RETRY_MS << shift);
    }
    at = t->retry_at;
    if (t->state == HELD_RUNNING && !t->streams[PART_LOG].reading &&
        credit(&t->streams[PART_LOG]) && t->log_at < at)
        at = t->log_at;
    if (lacks_plan(t) && t->plan_at < at)
        at = t->plan_at;
    if (at == HEAP_NEVER)
        heap_remove(&a->timers, &t->timer);
    else if (!t->timer.at || t->timer.key != at)
        heap_set(&a->timers, &t->timer, at);
}

/* An acknowledgement brought something forward: patience begins anew. */
static void progress(attempt *t)
{
    t->retry_at = HEAP_NEVER;
    t->retries = 0;
}

void agent_pump(agent *a, attempt *t, int64_t now, agent_effects *out)
{
    assert(!t->doomed);
    if (a->session != SESSION_UP)
        return;
    pump_plan(t, now, out);
    pump_tests(t, out);
    pump_stream(t, PART_LOG, now, out);
    pump_stream(t, PART_ARTIFACTS, now, out);
    pump_result(t, out);
    set_timer(a, t, now);
}

/* From the beginning of the file: a dispatcher that started anew has forgotten how many of its
 * cases had come. */
static void restart_outcomes(attempt *t)
{
    t->told.cases = 0;
    t->sent = t->told;
}

void agent_rewind(agent *a, attempt *t)
{
    t->plan_sent = t->plan_acked = 0;
    restart_outcomes(t);
    for (unsigned part = 0; part < PARTS_N; part++) {
        t->streams[part].sent = t->streams[part].acked = 0;
        t->streams[part].window = a->window;
        t->streams[part].ended = false;
    }
    t->result_sent = false;
    progress(t);
}

void agent_kept(attempt *t, const rec_held *h)
{
    const uint64_t known[PARTS_N] = { h->log_bytes, h->artifact_bytes };

    for (unsigned part = 0; part < PARTS_N; part++) {
        t->streams[part].sent = t->streams[part].acked = known[part];
        t->streams[part].streamed |= known[part] > 0; /* by an earlier agent, perhaps */
    }
}

static void retry_stream(attempt *t, msg_part part, agent_effects *out)
{
    stream *s = &t->streams[part];

    /* Asks for credit by an empty piece: what was given may have been lost, or there was none from
     * the start. */
    if ((s->streamed || (t->result && is_due(t, part, 0))) && credit(s) == 0 && s->sent == s->acked)
        send_piece(t, part, (slice){ 0 }, false, out);
    if (s->sent > s->acked && !MUTANT(log_not_repeated)) {
        s->sent = s->acked;
        s->ended = false;
    }
}

static void retry(attempt *t, agent_effects *out)
{
    for (unsigned part = 0; part < PARTS_N; part++)
        retry_stream(t, (msg_part)part, out);
    if (!MUTANT(plan_not_repeated))
        t->plan_sent = t->plan_acked;
    restart_outcomes(t);
    t->result_sent &= MUTANT(result_not_repeated);
    t->retry_at = HEAP_NEVER;
    t->retries++;
}

void agent_tick_flow(agent *a, int64_t now, agent_effects *out)
{
    while (heap_top_key(&a->timers) <= now) {
        attempt *t = HEAP_OWNER(heap_top(&a->timers), attempt, timer);

        heap_remove(&a->timers, &t->timer);
        if (a->session != SESSION_UP)
            continue; /* the next welcome pumps all */
        if (t->retry_at <= now)
            retry(t, out);
        agent_pump(a, t, now, out);
    }
}

/* ---- relaying a plan ---- */

static void send_part(agent *a, attempt *t, const msg *m, agent_effects *out)
{
    if (m->plan.part >= t->plan_parts)
        t->plan_parts = m->plan.part + 1;
    if (a->session == SESSION_UP && m->plan.part == t->plan_sent) {
        agent_add(out, AGENT_SEND)->msg = m;
        t->plan_sent++;
    }
}

void agent_relay_plan(agent *a, attempt *t, const msg *m, int64_t now, agent_effects *out)
{
    send_part(a, t, m, out);
    agent_pump(a, t, now, out);
}

/* ---- answers ---- */

void agent_plan_ok(agent *a, const msg_plan_ok *m, int64_t now, agent_effects *out)
{
    attempt *t = agent_find(a, m->task, m->att);

    if (!t || m->next > t->plan_parts)
        return;
    if (m->next > t->plan_acked) {
        t->plan_acked = m->next;
        if (t->plan_sent < t->plan_acked)
            t->plan_sent = t->plan_acked;
        progress(t);
    } else if (m->next < t->plan_acked) { /* it knows less than it did: from there again */
        t->plan_acked = t->plan_sent = m->next;
        t->result_sent = false;
        progress(t);
    }
    agent_pump(a, t, now, out);
}

void agent_tests_ok(agent *a, const msg_tests_ok *m, int64_t now, agent_effects *out)
{
    attempt *t = agent_find(a, m->task, m->att);
    const outcome_place next = { m->next, m->cases };

    if (!t || !outcome_before(t->told, next))
        return;
    agent_drop_outcomes(t, MUTANT(outcomes_dropped) ? t->items_n : next.file - t->told.file);
    t->told = next;
    if (outcome_before(t->sent, next))
        t->sent = next;
    progress(t);
    agent_pump(a, t, now, out);
}

void agent_log_ok(agent *a, const msg_log_ok *m, int64_t now, agent_effects *out)
{
    attempt *t = agent_find(a, m->task, m->att);
    stream *s = t ? &t->streams[m->part == PART_ARTIFACTS ? PART_ARTIFACTS : PART_LOG] : NULL;

    if (!t || !s->streamed)
        return;
    if (m->off != s->acked || !MUTANT(credit_stays_zero))
        s->window = m->window;
    if (m->off < s->acked) { /* it knows less than it did: from there again */
        s->sent = s->acked = m->off;
        s->ended = t->result_sent = false;
        progress(t);
    } else if (m->off > s->acked) {
        s->acked = m->off;
        if (s->sent < m->off)
            s->sent = m->off;
        progress(t);
    }
    agent_pump(a, t, now, out);
}

static void whole_log_read(agent *a, attempt *t, slice bytes, agent_effects *out)
{
    t->log_whole = false;
    if (a->session != SESSION_UP || !log_is_short(t) || t->result_sent)
        return;
    if (bytes.n < t->result->log_bytes) /* the spool was damaged: what is there is the log */
        t->result->log_bytes = bytes.n;
    send_result(t, bytes, out);
}

/* When to look for more of a log that is still being written. */
static void look_again(attempt *t, bool some, bool more, int64_t now)
{
    if (some)
        t->poll_ms = AGENT_LINGER_MS;
    else if (t->poll_ms < POLL_MAX_MS)
        t->poll_ms = t->poll_ms * 2 < POLL_MAX_MS ? t->poll_ms * 2 : POLL_MAX_MS;
    t->log_at = more ? now : now + t->poll_ms;
}

/* False: the spool was damaged and another attempt will do better; the attempt is gone.  A log is
 * what is there of it, but a torn archive is nothing. */
static bool piece_read(agent *a, attempt *t, msg_part part, slice bytes, int64_t now,
                       agent_effects *out)
{
    stream *s = &t->streams[part];

    if (bytes.n == 0 && t->result && part == PART_ARTIFACTS) {
        agent_no_result(a, t, out);
        return false;
    }
    if (bytes.n == 0 && t->result) {
        t->result->log_bytes = s->sent;
        return true;
    }
    if (bytes.n)
        send_piece(t, part, bytes, t->result && s->sent + bytes.n >= *size_of(t, part), out);
    if (part == PART_LOG)
        look_again(t, bytes.n > 0, bytes.n == s->asked, now);
    return true;
}

void agent_log_read(agent *a, const agent_event *ev, agent_effects *out)
{
    attempt *t = agent_find(a, ev->task, ev->att);
    stream *s = t ? &t->streams[ev->stream] : NULL;

    if (!t || !s->reading)
        return;
    s->reading = false;
    if (t->log_whole && ev->stream == PART_LOG)
        whole_log_read(a, t, ev->bytes, out);
    else if (a->session == SESSION_UP && ev->off == s->sent && ev->bytes.n <= credit(s) &&
             !piece_read(a, t, ev->stream, ev->bytes, ev->now_ms, out))
        return;
    agent_pump(a, t, ev->now_ms, out);
}

static void plan_read(agent *a, attempt *t, int64_t now, agent_effects *out)
{
    t->plan_reading = false;
    if (a->session != SESSION_UP || !lacks_plan(t) || t->plan_sent > t->plan_read_from)
        return;
    if (t->placed) /* its executor may still end it otherwise */
        t->plan_at = now + REREAD_MS;
    else
        agent_no_result(a, t, out); /* the spool was damaged: another attempt will do better */
}

void agent_spool(agent *a, const agent_event *ev, agent_effects *out)
{
    attempt *t = agent_find(a, ev->task, ev->att);
    const msg *m = ev->msg;

    if (!t)
        return;
    if (ev->part == AGENT_PART_PLAN && m) {
        send_part(a, t, m, out);
        return; /* more follow */
    }
    if (ev->part == AGENT_PART_TESTS && m) {
        agent_take_outcomes(t, OUTCOME_RUN(&m->tests));
        return;
    }
    if (ev->part == AGENT_PART_PLAN) {
        plan_read(a, t, ev->now_ms, out);
        t = agent_find(a, ev->task, ev->att);
    } else if (ev->part == AGENT_PART_RESULT && m) {
        if (!t->result && !agent_ended(a, t, &m->result, out))
            t = NULL;
    } else if (ev->part == AGENT_PART_RESULT && t->result_reading) {
        agent_no_result(a, t, out);
        t = NULL;
    }
    if (t)
        agent_pump(a, t, ev->now_ms, out);
}
