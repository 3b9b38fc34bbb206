#include "role/dispatcher.h"

#include <stdlib.h>

#include "base/kill.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "role/dispatcher_internal.h"
#include "wire/codec.h"

#define BAD_PEERS_MAX   1024
#define BEHIND_MIN_MS   100 /* leases are moved all at once, which takes a while */
#define BAD_TELL_MS     1000
#define OUTBOX_KEEP_MAX (1 << 20) /* a larger one is given back once it is empty */

#define READ_BYTES_MAX    (256 * 1024) /* of answers to readers in one turn, and one answer more */
#define READ_ANSWER_BYTES (8 * 1024)   /* what any answer counts at least: it was looked up */
#define READ_PASSED_MAX   256          /* readers that do not read, passed over in one turn */
#define READ_UNREAD_MAX   (256 * 1024) /* who has not taken so many bytes yet gets no more */
#define READ_LATER_MS     20           /* then when nobody else waits, look again */

/* One entry of the outbox: this header, the topic, the frame. */
typedef struct letter {
    uint64_t peer; /* 0: published on the topic */
    size_t topic_n, frame_n;
} letter;

/* ---- outbox ---- */

static void outbox_add(dispatcher *d, uint64_t peer, slice topic, slice frame)
{
    letter l = { peer, topic.n, frame.n };

    buf_add(&d->outbox, &l, sizeof l);
    buf_add_slice(&d->outbox, topic);
    buf_add_slice(&d->outbox, frame);
}

/* Encodes in place, behind its header. */
static void outbox_encode(dispatcher *d, uint64_t peer, slice topic, const msg *m)
{
    size_t at = d->outbox.n;
    letter l = { peer, topic.n, 0 };

    buf_add(&d->outbox, &l, sizeof l);
    buf_add_slice(&d->outbox, topic);
    wire_encode(m, &d->outbox);
    l.frame_n = d->outbox.n - at - sizeof l - topic.n;
    memcpy(d->outbox.p + at, &l, sizeof l);
}

void outbox_send(dispatcher *d, uint64_t peer, const msg *m)
{
    if (peer)
        outbox_encode(d, peer, (slice){ 0 }, m);
}

static void outbox_deliver(dispatcher *d)
{
    size_t at = 0;

    while (at < d->outbox.n) {
        letter l;
        slice topic, frame;

        memcpy(&l, d->outbox.p + at, sizeof l);
        at += sizeof l;
        topic = (slice){ d->outbox.p + at, l.topic_n };
        frame = (slice){ d->outbox.p + at + l.topic_n, l.frame_n };
        at += l.topic_n + l.frame_n;
        KILL_POINT(before_letter);
        if (!l.peer)
            d->out.publish(d->out.ctx, topic, frame);
        else if (!d->out.send(d->out.ctx, l.peer, frame))
            buf_add(&d->gone_peers, &l.peer, sizeof l.peer);
    }
    if (d->outbox.cap > OUTBOX_KEEP_MAX)
        buf_free(&d->outbox);
    else
        buf_clear(&d->outbox);
}

/* ---- effects ---- */

/* An event is encoded once: stored, and published after the commit. */
static volt_code put_event(dispatcher *d, const row *r, volt_err *err)
{
    const msg m = { .type = MSG_event, .event = r->event };
    const char *topic = arena_printf(&d->effects.arena, "e.%s.", event_kind_text(r->event.kind));

    if (r->event.kind == EVENT_BUILD_DONE)
        map_puts(&d->grown, r->event.repo, d);
    buf_clear(&d->event_frame);
    wire_encode(&m, &d->event_frame);
    if (MUTANT(publish_first))
        d->out.publish(d->out.ctx, slice_of(topic), buf_slice(&d->event_frame));
    else
        outbox_add(d, 0, slice_of(topic), buf_slice(&d->event_frame));
    return d->store->ops->put(d->store, r, buf_slice(&d->event_frame), err);
}

static log_name name_of(const effect *e)
{
    return (log_name){ .task = e->task, .att = e->att, .part = e->part };
}

static volt_code apply_one(dispatcher *d, const effect *e, volt_err *err)
{
    const log_name name = name_of(e);

    switch (e->kind) {
    case EFFECT_PUT:
        d->dirty = true;
        if (e->row->kind == ROW_EVENT)
            return put_event(d, e->row, err);
        return d->store->ops->put(d->store, e->row, (slice){ 0 }, err);
    case EFFECT_CUT:
        d->dirty = true;
        return d->store->ops->cut_cases(d->store, &e->row->test_case, err);
    case EFFECT_LOG_WRITE:
        return d->logs.write(d->logs.ctx, &name, e->off, e->bytes, err);
    case EFFECT_LOG_SYNC:
        if (MUTANT(log_not_synced))
            return VOLT_OK;
        return d->logs.sync(d->logs.ctx, &name, e->off, err);
    case EFFECT_LOG_DROP:
        buf_add(&d->gone_logs, &name, sizeof name);
        return VOLT_OK;
    case EFFECT_STALE:
        d->dirty = true;
        return d->store->ops->stale(d->store, e->bytes, err);
    case EFFECT_SEND:
        outbox_send(d, e->peer, e->msg);
        return VOLT_OK;
    case EFFECT_PUBLISH:
        outbox_encode(d, 0, slice_of(e->topic), e->msg);
        return VOLT_OK;
    }
    return VOLT_OK;
}

/* One log that cannot be written must not stop everything else.  Without room it goes on later from
 * where it is; after a failure of the disk it begins anew, in another file.  Returns how much of it
 * is there. */
static uint64_t log_unwritten(dispatcher *d, const effect *e, volt_code why)
{
    const log_name name = name_of(e);
    uint64_t bytes = e->off;

    if (why == VOLT_EFULL) {
        d->disk_low = true; /* until somebody has looked */
    } else {
        d->logs.remove(d->logs.ctx, &name);
        bytes = 0;
    }
    dispatch_log_is(d->core, e->task, e->att, e->part, bytes);
    return bytes;
}

/* What would tell of a piece of a log or of artifacts. */
static bool tells_of(const effect *e, const effect *piece)
{
    return (e->kind == EFFECT_PUBLISH && e->msg->type == MSG_log &&
            e->msg->log.task == piece->task) ||
           (e->kind == EFFECT_SEND && e->msg->type == MSG_log_ok &&
            e->msg->log_ok.task == piece->task && e->msg->log_ok.part == piece->part);
}

static volt_code apply(dispatcher *d, volt_err *err)
{
    const effect *unwritten = NULL;
    uint64_t there = 0;
    volt_code code = VOLT_OK;

    for (size_t i = 0; i < d->effects.n && code == VOLT_OK; i++) {
        const effect *e = &d->effects.v[i];

        if (unwritten && tells_of(e, unwritten)) {
            msg m = { .type = MSG_log_ok,
                      .log_ok = { .task = unwritten->task,
                                  .att = unwritten->att,
                                  .off = there,
                                  .part = unwritten->part } };

            if (e->kind == EFFECT_SEND)
                outbox_send(d, e->peer, &m);
            continue;
        }
        code = apply_one(d, e, err);
        if (e->kind == EFFECT_LOG_WRITE && (code == VOLT_EFULL || code == VOLT_EIO)) {
            there = log_unwritten(d, e, code);
            unwritten = e;
            code = VOLT_OK;
        }
    }
    effects_clear(&d->effects);
    return code;
}

static volt_code step(dispatcher *d, const dispatch_event *ev, volt_err *err)
{
    dispatch_step(d->core, ev, &d->effects);
    return apply(d, err);
}

/* ---- start and end ---- */

static volt_code load_row(void *ctx, const row *r, volt_err *err)
{
    dispatcher *d = ctx;

    if (r->kind == ROW_REPO)
        map_puts(&d->grown, r->repo.name, d);
    return dispatch_load(d->core, r, err);
}

static volt_code start(dispatcher *d, const dispatcher_config *config, int64_t now_ms,
                       int64_t wall_ms, volt_err *err)
{
    dispatch_config core = { .hb_ms = config->hb_ms,
                             .suspect_ms = config->suspect_ms,
                             .lease_ms = config->lease_ms,
                             .large = config->large,
                             .tries_max = config->tries_max,
                             .log_max = config->log_max,
                             .artifact_max = config->artifact_max,
                             .log_window = config->log_window };
    store_head head;
    volt_code code = VOLT_OK;

    if (config->secret_if_new) {
        core.prove = config->prove;
        code = d->store->ops->secret(d->store, config->secret_if_new, core.secret, err);
    }
    if (code == VOLT_OK && config->new_history)
        code = d->store->ops->new_history(d->store, config->hist_if_new, err);
    if (code == VOLT_OK) /* commits all of it, before anybody is told of anything */
        code = d->store->ops->begin_epoch(d->store, config->hist_if_new, &d->ep, err);

    if (code == VOLT_OK)
        code = d->store->ops->head(d->store, &head, err);
    if (code != VOLT_OK)
        return code;
    memcpy(d->hist, head.hist, sizeof d->hist);
    memcpy(core.hist, head.hist, sizeof core.hist);
    d->floor = head.floor;
    d->counted = head.counted;
    core.stale = head.stale;
    core.ep = d->ep;
    if (config->boot)
        memcpy(core.boot, config->boot, sizeof core.boot);
    core.last_seq = head.last_seq;
    core.last_build = head.last_build;
    core.last_task = head.last_task;
    d->core = dispatch_new(&core);
    code = d->store->ops->load(d->store, load_row, d, err);
    if (code != VOLT_OK)
        return code;
    d->now_ms = now_ms;
    d->wall_ms = wall_ms;
    dispatch_loaded(d->core, now_ms, wall_ms, &d->effects);
    code = apply(d, err);
    return code == VOLT_OK ? dispatcher_commit(d, err) : code;
}

volt_code dispatcher_new(store *s, const log_files *logs, const dispatcher_out *out,
                         const dispatcher_config *config, int64_t now_ms, int64_t wall_ms,
                         dispatcher **ret, volt_err *err)
{
    dispatcher *d = NEW(dispatcher);
    volt_code code;

    d->store = s;
    d->logs = *logs;
    d->out = *out;
    code = start(d, config, now_ms, wall_ms, err);
    if (code == VOLT_OK)
        *ret = d;
    else
        dispatcher_free(d);
    return code;
}

void dispatcher_free(dispatcher *d)
{
    if (!d)
        return;
    dispatch_free(d->core);
    effects_free(&d->effects);
    arena_free(&d->arena);
    buf_free(&d->outbox);
    buf_free(&d->event_frame);
    readers_free(&d->readers);
    buf_free(&d->question);
    buf_free(&d->gone_logs);
    buf_free(&d->gone_peers);
    map_free(&d->bad_peers);
    map_free(&d->grown);
    free(d);
}

/* ---- frames and time ---- */

/* Tells a peer of its malformed frame, at most once a second. */
static void tell_bad(dispatcher *d, uint64_t peer, const char *why)
{
    msg m = { .type = MSG_err, .err = { .code = CODE_BAD_MSG, .msg = slice_of(why) } };
    int64_t next = (int64_t)(intptr_t)map_get(&d->bad_peers, peer);

    if (!peer || d->now_ms < next)
        return;
    if (d->bad_peers.n >= BAD_PEERS_MAX) /* forgetting them costs an answer too many, no more */
        map_free(&d->bad_peers);
    map_put(&d->bad_peers, peer, (void *)(intptr_t)(d->now_ms + BAD_TELL_MS));
    outbox_send(d, peer, &m);
}

/* A part of the store that cannot be read concerns only those who ask for it. */
static void answer(dispatcher *d, uint64_t peer, const msg *m)
{
    volt_err why;
    msg no = { .type = MSG_err, .r = m->r, .err.code = CODE_DISK };

    if (query_answer(d, peer, m, &why) != VOLT_OK) {
        no.err.msg = slice_of(why.msg);
        outbox_send(d, peer, &no);
    }
}

/* What the frame before needed. */
static void forget_frame(dispatcher *d)
{
    arena_reset(&d->arena);
    d->memo = (dispatch_memo){ 0 };
}

/* A question waits for dispatcher_commit(). */
static void put_aside(dispatcher *d, uint64_t peer, const msg *m)
{
    msg busy = { .type = MSG_err,
                 .r = m->r,
                 .err = { .code = CODE_BUSY, .msg = SLICE("too many questions wait; ask later") } };

    if (!readers_count(&d->readers))
        d->read_ms = d->now_ms;
    if (!readers_add(&d->readers, peer, m))
        outbox_send(d, peer, &busy);
}

volt_code dispatcher_frame(dispatcher *d, int64_t now_ms, int64_t wall_ms, uint64_t peer,
                           slice frame, volt_err *err)
{
    dispatch_event ev = { .kind = DISPATCH_MSG,
                          .now_ms = now_ms,
                          .wall_ms = wall_ms,
                          .peer = peer,
                          .disk_low = d->disk_low };
    msg m;
    volt_code code;
    volt_err bad;

    d->now_ms = now_ms;
    d->wall_ms = wall_ms;
    forget_frame(d);
    code = wire_decode(frame, &d->arena, &m, &bad);
    if (code != VOLT_OK) {
        d->bad_frames++;
        tell_bad(d, peer, bad.msg);
        return volt_fail(err, VOLT_EMSG, "%s", bad.msg);
    }
    if (peer && query_is(m.type)) {
        put_aside(d, peer, &m);
        return VOLT_OK;
    }
    code = facts_find(d, &m, &ev.facts, err);
    if (code != VOLT_OK)
        return code;
    ev.msg = &m;
    return step(d, &ev, err);
}

int64_t dispatcher_behind(dispatcher *d, int64_t now_ms, bool left)
{
    int64_t ms = d->behind_at_ms ? now_ms - d->behind_at_ms : 0;
    int64_t room = dispatch_lease_ms(d->core) - d->behind_ms;

    if (!left) {
        d->behind_at_ms = d->behind_ms = 0;
        return 0;
    }
    if (d->behind_at_ms && ms < BEHIND_MIN_MS)
        return 0;
    d->behind_at_ms = now_ms;
    ms = ms < room ? ms : room;
    d->behind_ms += ms;
    return ms;
}

volt_code dispatcher_tick(dispatcher *d, int64_t now_ms, int64_t wall_ms, int64_t gap_ms,
                          volt_err *err)
{
    dispatch_event ev = {
        .now_ms = now_ms, .wall_ms = wall_ms, .gap_ms = gap_ms, .disk_low = d->disk_low
    };
    volt_code code = VOLT_OK;

    d->now_ms = now_ms;
    d->wall_ms = wall_ms;
    if (gap_ms > 0) {
        ev.kind = DISPATCH_GAP;
        code = step(d, &ev, err);
    }
    ev.kind = DISPATCH_TICK;
    return code == VOLT_OK ? step(d, &ev, err) : code;
}

static void remove_logs(dispatcher *d)
{
    for (size_t at = 0; at < d->gone_logs.n; at += sizeof(log_name)) {
        log_name name;

        memcpy(&name, d->gone_logs.p + at, sizeof name);
        d->logs.remove(d->logs.ctx, &name);
    }
    buf_clear(&d->gone_logs);
}

static volt_code commit_and_speak(dispatcher *d, volt_err *err)
{
    if (MUTANT(speak_first))
        outbox_deliver(d);
    if (d->dirty) {
        volt_code code;

        KILL_POINT(before_commit);
        code = d->store->ops->commit(d->store, err);
        if (code != VOLT_OK)
            return code;
        KILL_POINT(after_commit);
        d->dirty = false;
        remove_logs(d);
    }
    if (d->outbox.n) {
        outbox_deliver(d);
        KILL_POINT(after_send);
    }
    return VOLT_OK;
}

/* The core learns of connections that were gone; what it decides is committed and sent in turn. */
static volt_code peers_gone(dispatcher *d, volt_err *err)
{
    buf peers = d->gone_peers;
    volt_code code = VOLT_OK;

    d->gone_peers = (buf){ 0 };
    for (size_t at = 0; at < peers.n && code == VOLT_OK; at += sizeof(uint64_t)) {
        dispatch_event ev = { .kind = DISPATCH_UNREACHABLE,
                              .now_ms = d->now_ms,
                              .wall_ms = d->wall_ms,
                              .disk_low = d->disk_low };

        memcpy(&ev.peer, peers.p + at, sizeof ev.peer);
        code = step(d, &ev, err);
    }
    buf_free(&peers);
    return code;
}

static void answer_next(dispatcher *d)
{
    uint64_t peer = readers_next(&d->readers);
    msg m;

    buf_clear(&d->question);
    readers_take(&d->readers, &d->question);
    forget_frame(d);
    if (wire_decode(buf_slice(&d->question), &d->arena, &m, NULL) == VOLT_OK)
        answer(d, peer, &m); /* else: cannot be, as we encoded it, and is no reason to end */
}

/* Answers questions up to this turn's budget. */
static void answer_some(dispatcher *d)
{
    size_t cost = 0, passed = 0;

    while (readers_count(&d->readers) && cost < READ_BYTES_MAX) {
        size_t before = d->outbox.n;

        if (d->out.unread &&
            d->out.unread(d->out.ctx, readers_next(&d->readers)) > READ_UNREAD_MAX) {
            readers_pass(&d->readers);
            if (++passed == READ_PASSED_MAX || passed >= readers_count(&d->readers))
                break;
            continue;
        }
        passed = 0;
        answer_next(d);
        cost += READ_ANSWER_BYTES + d->outbox.n - before;
    }
    d->read_ms = d->now_ms + (passed ? READ_LATER_MS : 0);
}

volt_code dispatcher_commit(dispatcher *d, volt_err *err)
{
    bool busy = d->dirty || readers_count(&d->readers) > 0;
    volt_code code;

    answer_some(d);
    forget_frame(d);
    code = tally_some(d, busy, err);
    if (code == VOLT_OK)
        code = commit_and_speak(d, err);
    /* Ends: each round forgets a connection at least. */
    while (code == VOLT_OK && d->gone_peers.n) {
        code = peers_gone(d, err);
        if (code == VOLT_OK)
            code = commit_and_speak(d, err);
    }
    return code;
}

size_t dispatcher_unsent(const dispatcher *d)
{
    return d->outbox.n;
}

int64_t dispatcher_next_deadline_ms(const dispatcher *d)
{
    int64_t at_ms = dispatch_next_deadline_ms(d->core), tally_ms = tally_due_ms(d);

    at_ms = tally_ms < at_ms ? tally_ms : at_ms;
    return readers_count(&d->readers) && d->read_ms < at_ms ? d->read_ms : at_ms;
}

void dispatcher_set_disk_low(dispatcher *d, bool low)
{
    d->disk_low = low;
}

const dispatch *dispatcher_core(const dispatcher *d)
{
    return d->core;
}

const char *dispatcher_hist(const dispatcher *d)
{
    return d->hist;
}

uint64_t dispatcher_epoch(const dispatcher *d)
{
    return d->ep;
}
