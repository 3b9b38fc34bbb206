#include "runner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "commits.h"

#define STEP_MS          300 /* a long unit writes this often */
#define RESULT_CASES_MAX 8

void output_fill(char *to, const log_name *name, uint64_t off, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (char)output_byte(name, off + i);
}

/* ---- speaking ---- */

static void say(executor *x, const msg *m)
{
    buf frame = { 0 };

    wire_encode(m, &frame);
    runner_hears(x, buf_slice(&frame), false);
    buf_free(&frame);
}

static void spool_add(buf *part, slice frame)
{
    uint64_t n = frame.n;

    buf_add(part, &n, sizeof n);
    buf_add_slice(part, frame);
}

static void say_and_spool(executor *x, buf *part, const msg *m)
{
    buf frame = { 0 };

    wire_encode(m, &frame);
    spool_add(part, buf_slice(&frame));
    runner_hears(x, buf_slice(&frame), false);
    buf_free(&frame);
}

void executor_report(executor *x)
{
    rec_held held = { .task = x->order.assign.task, .att = x->order.assign.att };
    msg m = { .type = MSG_hb, .hb = { .n = 1 } };

    held.state = x->phase == EXEC_DONE ? HELD_DONE
                 : !executor_busy(x)   ? held_state_none
                 : x->started          ? HELD_RUNNING
                                       : HELD_ACCEPTED;
    if (held.state) {
        held.log_bytes = x->spool->bytes[PART_LOG];
        m.hb.held = (rec_held_list){ &held, 1 };
    }
    say(x, &m);
}

static void say_start(executor *x)
{
    say(x, &(msg){ .type = MSG_start,
                   .start = { .task = x->order.assign.task, .att = x->order.assign.att } });
}

bool executor_busy(const executor *x)
{
    return x->up && (x->phase == EXEC_FETCH || x->phase == EXEC_UNITS);
}

static void leave_when_done(executor *x)
{
    if (x->leaving && !executor_busy(x))
        executor_die(x);
}

static void refuse(executor *x, const msg_assign *m, code why)
{
    msg n = { .type = MSG_nack, .nack = { .task = m->task, .att = m->att, .code = why } };

    n.nack.msg = SLICE("simulated");
    say(x, &n);
}

static void refuse_own(executor *x, code why)
{
    x->phase = EXEC_REFUSED;
    x->serial++;
    refuse(x, &x->order.assign, why);
    leave_when_done(x);
}

/* ---- working ---- */

/* Has no secrets: half of them, by their id. */
static bool is_poor(const executor *x)
{
    return x->r->id[0] & 1;
}

static verdict some_verdict(const executor *x, uint64_t unit)
{
    prng r = commit_prng(x->order.assign.oid,
                         7 + x->order.assign.att * 1000 + x->order.assign.task * 77 + unit);
    static const verdict bad[] = { VERDICT_FAILED, VERDICT_TIMEOUT, VERDICT_NO_TESTS,
                                   VERDICT_ERRORED };

    if (x->order.assign.kind == TASK_TESTS && prng_below(&r, 20) == 0)
        return VERDICT_FLAKY;
    return prng_below(&r, 10) ? VERDICT_PASSED : bad[prng_below(&r, 4)];
}

static void step(void *ctx, uint64_t serial);

static void later(executor *x, int64_t ms)
{
    call_at(x->r->w, x->r->w->now_ms + ms, step, x, x->serial);
}

static void say_tests(void *ctx, const msg *m)
{
    executor *x = ctx;

    say_and_spool(x, &x->spool->tests, m);
}

static void flush(executor *x)
{
    const msg_assign *order = &x->order.assign;
    const rec_item_list items = { x->items, x->items_n };

    if (order->kind != TASK_TESTS)
        return;
    cases_tell(order, order->from + x->flushed, &items, say_tests, x);
    x->flushed += x->items_n;
    x->items_n = 0;
}

/* What it leaves; none, little, or many pieces. */
static void leave_artifacts(executor *x)
{
    const msg_assign *order = &x->order.assign;
    world *w = x->r->w;
    uint64_t n = chance(w, 300) ? 0 : 1 + (chance(w, 300) ? pick(w, 60000) : pick(w, 3000));

    if (!order->artifact_max)
        return;
    x->spool->bytes[PART_ARTIFACTS] = n < order->artifact_max ? n : 0;
    if (n)
        cover("executor", "artifacts");
    if (x->spool->timeline == w->timeline)
        oracle_output(w->oracle, order->task, order->att, PART_ARTIFACTS,
                      x->spool->bytes[PART_ARTIFACTS]);
}

static void finish(executor *x, verdict v, const char *why)
{
    const msg_assign *order = &x->order.assign;
    arena a = { 0 };

    if (v != VERDICT_CANCELED)
        leave_artifacts(x);
    msg m = { .type = MSG_result,
              .result = { .task = order->task,
                          .att = order->att,
                          .ep = order->ep,
                          .verdict = v,
                          .msg = slice_of(why),
                          .log_bytes = x->spool->bytes[PART_LOG],
                          .artifact_bytes = x->spool->bytes[PART_ARTIFACTS],
                          .duration_ms = (uint64_t)(x->r->w->now_ms - x->began_ms) } };

    m.result.setup_failed = x->in_setup && v != VERDICT_CANCELED;
    if (m.result.setup_failed)
        cover("batch", "failed setup");
    if (m.result.setup_failed && x->spool->timeline == x->r->w->timeline)
        oracle_setup_fails(x->r->w->oracle, order->task, order->att);
    if (order->kind == TASK_TESTS) {
        m.result.from = order->from + x->flushed;
        m.result.items = (rec_item_list){ x->items, x->items_n };
        m.result.cases = cases_of(order, m.result.from, &m.result.items, &a);
        if (m.result.cases.n > RESULT_CASES_MAX) {
            flush(x);
            m.result.from = order->from + x->flushed;
            m.result.items = (rec_item_list){ 0 };
            m.result.cases = (rec_test_case_list){ 0 };
        }
    }
    x->phase = EXEC_DONE;
    x->serial++;
    if (x->spool->timeline == x->r->w->timeline)
        oracle_task_ends(x->r->w->oracle, order->task, order->att, v);
    wire_encode(&m, &x->spool->result);
    arena_free(&a);
    runner_hears(x, buf_slice(&x->spool->result), false);
    leave_when_done(x);
}

static void write_some(executor *x, uint64_t n)
{
    const msg_assign *order = &x->order.assign;

    uint64_t *bytes = &x->spool->bytes[PART_LOG];

    if (order->log_max && *bytes + n > order->log_max)
        n = order->log_max - *bytes;
    *bytes += n;
    if (x->spool->timeline == x->r->w->timeline)
        oracle_output(x->r->w->oracle, order->task, order->att, PART_LOG, *bytes);
}

static uint64_t units_n(const executor *x)
{
    return x->order.assign.kind == TASK_TESTS ? x->order.assign.files.n : 1;
}

static void next_unit(executor *x)
{
    world *w = x->r->w;

    x->left_ms = chance(w, w->calm ? 2 : w->k.slow) ? some_ms(w, 1000, 30000)
                 : chance(w, 150)                   ? some_ms(w, 50, 1500)
                                                    : some_ms(w, 0, 30);
    if (chance(w, 10))
        write_some(x, pick(w, 40000));
    later(x, x->left_ms < STEP_MS ? x->left_ms : STEP_MS);
}

static verdict worse(verdict a, verdict b)
{
    return (b == VERDICT_PASSED || b == VERDICT_FLAKY) && a ? a : b;
}

/* ---- the setup, once while a slot stays with a job ---- */

static uint64_t job_of(const executor *x)
{
    return mix_bytes(x->order.assign.build, x->order.assign.job);
}

static bool needs_setup(const executor *x)
{
    if (x->order.assign.kind != TASK_TESTS || !slice_is(x->order.assign.spec, SPEC_SETUP))
        return false;
    if (x->set_up == job_of(x))
        cover("batch", "after another one's setup");
    return x->set_up != job_of(x);
}

static void end_setup(executor *x)
{
    world *w = x->r->w;
    static const verdict bad[] = { VERDICT_FAILED, VERDICT_TIMEOUT, VERDICT_ERRORED };

    write_some(x, pick(w, 300));
    if (x->canceled || chance(w, 120)) {
        x->set_up = 0;
        finish(x, x->canceled ? VERDICT_CANCELED : bad[pick(w, 3)],
               x->canceled ? "canceled" : "the setup failed");
        return;
    }
    x->in_setup = false;
    x->set_up = job_of(x);
    next_unit(x);
}

/* Some files take no time at all. */
static uint64_t some_duration_ms(const executor *x, uint64_t unit)
{
    prng r = commit_prng(x->order.assign.oid, 9 + x->order.assign.task * 77 + unit);

    return 7 * prng_below(&r, 31);
}

static void end_unit(executor *x)
{
    world *w = x->r->w;
    verdict v = !x->canceled     ? some_verdict(x, x->order.assign.from + x->next)
                : chance(w, 100) ? VERDICT_FAILED /* by itself, just before */
                                 : VERDICT_CANCELED;

    write_some(x, chance(w, 30) ? pick(w, 20000) : pick(w, 300));
    x->worst = worse(x->worst, v);
    if (x->spool->timeline == w->timeline)
        oracle_unit_ends(w->oracle, &x->order.assign, x->next, v);
    x->items[x->items_n] =
        (rec_item){ .verdict = v,
                    .tries = v == VERDICT_FLAKY ? 2 : 0,
                    .duration_ms = some_duration_ms(x, x->order.assign.from + x->next) };
    if (x->order.assign.kind == TASK_TESTS)
        cases_count(&x->order.assign, x->order.assign.from + x->next, &x->items[x->items_n]);
    x->items_n++;
    x->next++;
    if (x->next == units_n(x) && x->order.assign.kind == TASK_TESTS && !w->calm && chance(w, 5)) {
        cover("fault", "executor ends between its last outcome and its result");
        flush(x);
        executor_die(x);
        return;
    }
    if (x->next == units_n(x) || x->canceled) {
        if (x->canceled && x->next < units_n(x)) /* what did not run did not fail */
            x->worst = VERDICT_CANCELED;
        finish(x, x->worst, x->canceled ? "canceled" : "");
        return;
    }
    if (x->items_n == ITEMS_MAX || chance(w, 400))
        flush(x);
    next_unit(x);
}

static void plan(executor *x)
{
    world *w = x->r->w;
    arena a = { 0 };
    verdict v;
    rec_job_list jobs = commit_plan(x->order.assign.oid, &a, &v);
    msg m = { .type = MSG_plan,
              .plan = { .task = x->order.assign.task,
                        .att = x->order.assign.att,
                        .supersede = commit_supersedes(x->order.assign.oid) } };

    for (size_t i = 0; i < jobs.n; i++) {
        rec_job j = jobs.v[i];
        slices files = j.files;

        while (j.tests && files.n > 2 && chance(w, 200)) { /* goes on in the next part */
            j.files.n = 1 + (size_t)pick(w, files.n - 1);
            m.plan.jobs = (rec_job_list){ &j, 1 };
            say_and_spool(x, &x->spool->plan, &m);
            m.plan.part++;
            files.v += j.files.n;
            files.n -= j.files.n;
            j.files = files;
        }
        m.plan.jobs = (rec_job_list){ &j, 1 };
        m.plan.last = i + 1 == jobs.n;
        say_and_spool(x, &x->spool->plan, &m);
        m.plan.part++;
    }
    if (jobs.n == 0 && v == VERDICT_PASSED) {
        m.plan.jobs = (rec_job_list){ 0 };
        m.plan.last = true;
        say_and_spool(x, &x->spool->plan, &m);
    }
    arena_free(&a);
    finish(x, v, "");
}

static code some_refusal(world *w)
{
    static const code why[] = { CODE_REPO, CODE_NOT_FOUND, CODE_DISK,  CODE_LOST,
                                CODE_SPEC, CODE_BUSY,      CODE_UNABLE };

    return why[pick(w, sizeof why / sizeof *why)];
}

static void expire(void *ctx, uint64_t task);

static void begin(executor *x)
{
    world *w = x->r->w;

    if (x->order.assign.kind == TASK_TESTS && x->order.assign.files.n == 0)
        broken(w, RULE_S15, "task %llu attempt %llu is handed out, but has no file left",
               (unsigned long long)x->order.assign.task, (unsigned long long)x->order.assign.att);
    if (x->order.assign.alone && w->now_ms >= x->until_ms) {
        expire(x, x->order.assign.task);
        return;
    }
    if (slice_is(x->order.assign.spec, SPEC_SECRET) && is_poor(x)) {
        cover("fault", "runner without what a job asks for");
        refuse_own(x, CODE_UNABLE);
        return;
    }
    if (!w->calm && chance(w, w->k.nack)) {
        refuse_own(x, some_refusal(w));
        return;
    }
    x->phase = EXEC_UNITS;
    x->started = true;
    if (x->spool->timeline == w->timeline)
        oracle_task_starts(w->oracle, slice_of(x->r->id), &x->order.assign);
    runner_check_alone(x);
    if (x->r->cursed && !w->calm && chance(w, 800)) {
        cover("fault", "executor dies of its task");
        executor_die(x);
        return;
    }
    say_start(x);
    x->in_setup = needs_setup(x);
    if (x->order.assign.kind == TASK_PLAN)
        later(x, some_ms(w, 0, 50));
    else
        next_unit(x);
}

static void step(void *ctx, uint64_t serial)
{
    executor *x = ctx;

    if (serial != x->serial || !executor_busy(x))
        return;
    if (x->hangs_ms > x->r->w->now_ms) {
        later(x, x->hangs_ms - x->r->w->now_ms);
        return;
    }
    if (x->phase == EXEC_FETCH) {
        begin(x);
    } else if (x->order.assign.kind == TASK_PLAN) {
        plan(x);
    } else if (x->left_ms > STEP_MS && !x->canceled) {
        x->left_ms -= STEP_MS;
        write_some(x, pick(x->r->w, 2000));
        later(x, x->left_ms < STEP_MS ? x->left_ms : STEP_MS);
    } else if (x->in_setup) {
        end_setup(x);
    } else {
        end_unit(x);
    }
}

/* ---- the agent's word ---- */

static void cancel(executor *x, const char *why);

/* Its clock is the agent's, and a stopped one looks at it when it goes on. */
static void expire(void *ctx, uint64_t task)
{
    executor *x = ctx;

    if (!executor_busy(x) || !x->order.assign.alone || x->order.assign.task != task)
        return;
    if (x->hangs_ms > x->r->w->now_ms) {
        call_at(x->r->w, x->hangs_ms, expire, x, task);
    } else if (x->r->w->now_ms >= x->until_ms) {
        cover("fault", "an attempt that is alone ends for want of the dispatcher's word");
        cancel(x, "no word from the dispatcher");
    }
}

static void renew(executor *x, uint64_t until_ms)
{
    if (!x->order.assign.alone)
        return;
    x->until_ms = process_when(&x->r->p, (int64_t)until_ms);
    call_at(x->r->w, x->until_ms, expire, x, x->order.assign.task);
}

static void take_renew(executor *x, const msg_renew *m)
{
    if (executor_busy(x) && x->order.assign.task == m->task && x->order.assign.att == m->att)
        renew(x, m->until_ms);
}

static void take_assign(executor *x, slice frame, const msg_assign *m)
{
    const msg_assign *old = &x->order.assign;
    sim_runner *r = x->r;

    if (x->phase != EXEC_IDLE && x->phase != EXEC_REFUSED && old->task == m->task &&
        old->att == m->att) {
        if (x->phase == EXEC_DONE)
            runner_hears(x, buf_slice(&x->spool->result), false);
        else if (x->started)
            say_start(x);
        return;
    }
    if (executor_busy(x) || x->leaving) {
        refuse(x, m, CODE_BUSY);
        return;
    }
    if (runner_spool(r, m->task, m->att)) { /* it began once, and must not again */
        x->phase = EXEC_REFUSED;
        refuse(x, m, CODE_LOST);
        return;
    }
    arena_reset(&x->mem);
    wire_decode(arena_slice(&x->mem, frame), &x->mem, &x->order, NULL);
    x->spool = runner_spool_new(r, m->task, m->att, frame);
    x->phase = EXEC_FETCH;
    x->started = x->canceled = x->in_setup = false;
    x->next = x->flushed = x->items_n = 0;
    x->worst = verdict_none;
    x->began_ms = r->w->now_ms;
    x->serial++;
    renew(x, m->until_ms);
    later(x, chance(r->w, 900) ? some_ms(r->w, 0, 20) : some_ms(r->w, 0, 4000));
}

static void cancel(executor *x, const char *why)
{
    if (!executor_busy(x))
        return;
    x->canceled = true;
    x->serial++;
    if (x->phase == EXEC_FETCH || x->order.assign.kind == TASK_PLAN)
        finish(x, VERDICT_CANCELED, why);
    else
        later(x, some_ms(x->r->w, 0, 400));
}

static void take_cancel(executor *x, const msg_cancel *m)
{
    if (x->phase == EXEC_IDLE || x->order.assign.task != m->task || x->order.assign.att != m->att)
        return;
    if (x->phase == EXEC_DONE)
        runner_hears(x, buf_slice(&x->spool->result), false);
    else if (!x->canceled)
        cancel(x, "canceled");
}

void executor_leave(executor *x)
{
    x->leaving = true;
    cancel(x, "the runner was stopped");
    if (x->up)
        leave_when_done(x);
}

void executor_take(executor *x, slice frame)
{
    arena a = { 0 };
    msg m;

    if (x->hangs_ms > x->r->w->now_ms) {
        executor_hold_back(x, frame);
        return;
    }
    if (wire_decode(frame, &a, &m, NULL) != VOLT_OK)
        broken(x->r->w, RULE_WIRE, "an executor does not understand its agent");
    cover("agent to executor", msg_type_text(m.type));
    tell_frame(x->r->w, &x->r->p, "[exec]<-", frame);
    if (m.type == MSG_assign)
        take_assign(x, frame, &m.assign);
    else if (m.type == MSG_renew)
        take_renew(x, &m.renew);
    else if (m.type == MSG_cancel)
        take_cancel(x, &m.cancel);
    else if (m.type == MSG_hb)
        executor_report(x);
    else if (m.type == MSG_bye)
        executor_leave(x);
    arena_free(&a);
}
