#include "exec/executor.h"

#include <assert.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "exec/attempt_parts.h"
#include "exec/process.h"
#include "wire/codec.h"

/* Idle for so long, it removes what was set aside. */
#define SWEEP_AFTER_MS  1000
#define EXPIRE_GRACE_MS 1 /* TERM to KILL: there is no time to lose */

struct executor {
    site *site;
    attempt_say *say;
    void *ctx;
    attempt *attempt; /* the running or the last one; NULL: none yet */
    uint64_t reports;
    bool leaving;
    int64_t sweep_ms;
    int64_t idle_ms; /* when a job whose setup is still there has had its time */
};

executor *executor_new(site *s, attempt_say *say, void *ctx)
{
    executor *e = NEW(executor);

    e->site = s;
    e->say = say;
    e->ctx = ctx;
    e->sweep_ms = e->idle_ms = ATTEMPT_NEVER;
    return e;
}

void executor_free(executor *e)
{
    if (!e)
        return;
    attempt_free(e->attempt);
    free(e);
}

bool executor_busy(const executor *e)
{
    return e->attempt && !attempt_ended(e->attempt);
}

bool executor_finished(const executor *e)
{
    return e->leaving && !executor_busy(e) && !site_has_setup(e->site);
}

void executor_report(executor *e)
{
    CLEANUP(buf)
    buf b = { 0 };
    rec_held held = { 0 };
    msg m = { .type = MSG_hb, .hb = { .n = ++e->reports, .free = !executor_busy(e) } };

    if (e->attempt && attempt_state(e->attempt)) {
        held = (rec_held){ .task = attempt_id(e->attempt).task,
                           .att = attempt_id(e->attempt).att,
                           .state = attempt_state(e->attempt),
                           .log_bytes = attempt_log_bytes(e->attempt) };
        m.hb.held = (rec_held_list){ &held, 1 };
    }
    wire_encode(&m, &b);
    e->say(e->ctx, buf_slice(&b));
}

/* An assign for the attempt that is here already repeats what was said; any other while it runs is
 * refused. */
static void take_assign(executor *e, slice frame, const msg_assign *order, int64_t now_ms)
{
    if (e->attempt && attempt_state(e->attempt) && attempt_id(e->attempt).task == order->task &&
        attempt_id(e->attempt).att == order->att) {
        attempt_repeat(e->attempt);
        return;
    }
    if (executor_busy(e) || e->leaving) {
        CLEANUP(buf)
        buf b = { 0 };
        const msg m = { .type = MSG_nack,
                        .nack = { .task = order->task,
                                  .att = order->att,
                                  .code = CODE_BUSY,
                                  .msg = SLICE("the executor has another task") } };

        wire_encode(&m, &b);
        e->say(e->ctx, buf_slice(&b));
        return;
    }
    attempt_free(TAKE(e->attempt));
    e->attempt = attempt_start(e->site, frame, e->say, e->ctx, now_ms);
    e->sweep_ms = now_ms + SWEEP_AFTER_MS;
    e->idle_ms = now_ms + EXECUTOR_IDLE_MS;
}

static void take_cancel(executor *e, const msg_cancel *m, int64_t now_ms)
{
    if (!e->attempt || attempt_id(e->attempt).task != m->task ||
        attempt_id(e->attempt).att != m->att)
        return;
    if (executor_busy(e))
        attempt_cancel(e->attempt, (int64_t)m->grace_ms, m->why, now_ms);
    else
        attempt_repeat(e->attempt);
}

static void end_setup(executor *e, int64_t now_ms)
{
    e->idle_ms = ATTEMPT_NEVER;
    site_end_setup(e->site, now_ms);
    site_step_setup(e->site, now_ms);
}

static void take_renew(executor *e, const msg_renew *m)
{
    if (e->attempt && attempt_id(e->attempt).task == m->task &&
        attempt_id(e->attempt).att == m->att)
        attempt_renew(e->attempt, (int64_t)m->until_ms);
}

int64_t executor_until_ms(const executor *e)
{
    return e->attempt ? attempt_until_ms(e->attempt) : ATTEMPT_NEVER;
}

void executor_expire(executor *e, int64_t now_ms)
{
    if (executor_busy(e))
        attempt_cancel(e->attempt, EXPIRE_GRACE_MS,
                       SLICE("no word from the dispatcher for a whole lease, and it must not run "
                             "beside another of its concurrency group"),
                       now_ms);
}

void executor_leave(executor *e, const char *why, int64_t now_ms)
{
    e->leaving = true;
    if (executor_busy(e))
        attempt_cancel(e->attempt, EXECUTOR_LEAVE_MS, slice_of(why), now_ms);
    if (!executor_busy(e))
        end_setup(e, now_ms);
}

volt_code executor_take(executor *e, slice frame, int64_t now_ms, volt_err *err)
{
    CLEANUP(arena)
    arena mem = { 0 };
    volt_code rc;
    msg m;

    rc = wire_decode(frame, &mem, &m, err);
    if (rc)
        return rc;
    if (m.type == MSG_assign)
        take_assign(e, frame, &m.assign, now_ms);
    else if (m.type == MSG_renew)
        take_renew(e, &m.renew);
    else if (m.type == MSG_cancel)
        take_cancel(e, &m.cancel, now_ms);
    else if (m.type == MSG_hb)
        executor_report(e);
    else if (m.type == MSG_bye)
        executor_leave(e, "the runner was stopped", now_ms);
    return VOLT_OK;
}

size_t executor_fds(const executor *e, struct pollfd ret[ATTEMPT_FDS_MAX])
{
    return executor_busy(e) ? attempt_fds(e->attempt, ret) : 0;
}

int64_t executor_deadline_ms(const executor *e)
{
    int64_t at_ms = site_setup_deadline_ms(e->site);

    if (executor_busy(e))
        return attempt_deadline_ms(e->attempt);
    if (site_has_setup(e->site) && e->idle_ms < at_ms)
        at_ms = e->idle_ms;
    return e->sweep_ms < at_ms ? e->sweep_ms : at_ms;
}

void executor_step(executor *e, int64_t now_ms)
{
    process_exit ended;

    if (executor_busy(e)) {
        attempt_step(e->attempt, now_ms);
        e->sweep_ms = now_ms + SWEEP_AFTER_MS;
        e->idle_ms = now_ms + EXECUTOR_IDLE_MS;
        return;
    }
    while (process_reap(&ended) == PROCESS_ENDED) /* what a fetch left, which fell to us */
        ;
    site_step_setup(e->site, now_ms);
    if (site_has_setup(e->site) && (now_ms >= e->idle_ms || e->leaving))
        end_setup(e, now_ms);
    if (now_ms >= e->sweep_ms)
        e->sweep_ms = site_sweep(e->site) ? now_ms : ATTEMPT_NEVER;
}
