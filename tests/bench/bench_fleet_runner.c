/* One simulated runner of bench_fleet. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_fleet.h"

#define NEVER_HUNG_MS (24 * 3600 * 1000) /* its executors are a few lines here */
#define PART_UNITS    4000

static void step(sim_runner *r, agent_event ev);

static void tell(sim_runner *r, unsigned slot, const msg *m)
{
    step(r, (agent_event){ .kind = AGENT_EXEC_MSG, .slot = slot, .msg = m });
}

/* ---- plans: what a commit holds is said by its branch ---- */

static uint64_t number_behind(const char *ref, const char *before)
{
    const char *p = strstr(ref, before);

    return p ? strtoull(p + strlen(before), NULL, 10) : 0;
}

/* A part of a plan with `units` files that are tasks of their own. */
static bool units_part(const char *ref, uint64_t part, msg *m, arena *a)
{
    uint64_t units = number_behind(ref, "units-"), at = part * PART_UNITS;
    size_t n = 0, most = units - at < PART_UNITS ? (size_t)(units - at) : PART_UNITS;
    slice *files = ARENA_ARRAY(a, slice, most);
    rec_job *job = ARENA_NEW(a, rec_job);

    for (; n < most; n++, at++)
        files[n] = slice_of(
            arena_printf(a, "tests/module-%03" PRIu64 "/test_%06" PRIu64 ".py", at / 1000, at));
    *job = (rec_job){ .name = SLICE("tests"), .tests = true, .batch = 1, .files = { files, n } };
    m->plan.jobs = (rec_job_list){ job, 1 };
    return at >= units;
}

/* The whole plan of `jobs` scripts: some for any runner, some for a label that all have, some for
 * that of an eighth of the fleet. */
static bool scripts_part(const char *ref, msg *m, arena *a)
{
    uint64_t n = number_behind(ref, "scripts-");
    rec_job *jobs = ARENA_ARRAY(a, rec_job, n);
    slice *every = ARENA_NEW(a, slice), *pool = ARENA_NEW(a, slice);

    *every = SLICE("linux");
    *pool = slice_of(arena_printf(a, "pool-%" PRIu64, number_behind(ref, "build-") % POOLS));
    for (uint64_t i = 0; i < n; i++) {
        jobs[i].name = slice_of(arena_printf(a, "check/gcc-%04" PRIu64, i));
        jobs[i].spec = slice_of(arena_printf(
            a, "run: make -C build/gcc-%04" PRIu64 " check CFLAGS=-O2 SHARD=%" PRIu64, i, i));
        if (i % 10 >= 8)
            jobs[i].labels = (slices){ pool, 1 };
        else if (i % 10 >= 4)
            jobs[i].labels = (slices){ every, 1 };
    }
    m->plan.jobs = (rec_job_list){ jobs, (size_t)n };
    return true;
}

/* Parts `from` and those behind it. */
static void tell_plan(sim_runner *r, uint64_t from, bool spooled)
{
    arena *mem = &r->f->out.arena; /* the agent passes them on as they are */
    bool last = false;

    for (uint64_t part = from; !last; part++) {
        msg *m = ARENA_NEW(mem, msg);

        *m = (msg){ .type = MSG_plan,
                    .plan = { .task = r->plan.id, .att = r->plan.att, .part = part } };
        last = strstr(r->plan_ref, "units-") ? units_part(r->plan_ref, part, m, mem)
                                             : scripts_part(r->plan_ref, m, mem);
        m->plan.last = last;
        if (spooled)
            step(r, (agent_event){ .kind = AGENT_SPOOL,
                                   .task = r->plan.id,
                                   .att = r->plan.att,
                                   .part = AGENT_PART_PLAN,
                                   .msg = m });
        else
            tell(r, 0, m);
    }
}

/* ---- the executors: slot 0 plans, slot 1 waits ---- */

static void end_task(sim_runner *r, unsigned slot, verdict v)
{
    sim_task *t = slot ? &r->task : &r->plan;
    rec_item item = { .verdict = v, .duration_ms = 1 };
    msg m = { .type = MSG_result,
              .result = { .task = t->id, .att = t->att, .verdict = v, .from = t->from } };

    if (t->kind == TASK_TESTS)
        m.result.items = (rec_item_list){ &item, 1 };
    t->id = 0;
    t->end_ms = HEAP_NEVER;
    tell(r, slot, &m);
}

static int64_t some_work_ms(bench_fleet *f)
{
    return f->work_min_ms +
           (int64_t)prng_below(&f->rng, (uint64_t)(f->work_max_ms - f->work_min_ms) + 1);
}

static void take_assign(sim_runner *r, unsigned slot, const msg_assign *a)
{
    sim_task *t = slot ? &r->task : &r->plan;
    msg start = { .type = MSG_start, .start = { .task = a->task, .att = a->att } };

    *t = (sim_task){ .id = a->task,
                     .att = a->att,
                     .from = a->from,
                     .files = a->files.n,
                     .kind = a->kind,
                     .end_ms = r->f->now_ms + some_work_ms(r->f) };
    if (slot == 0)
        snprintf(r->plan_ref, sizeof r->plan_ref, SLICE_FMT, SLICE_ARG(a->ref));
    tell(r, slot, &start);
    if (slot == 0) {
        tell_plan(r, 0, false);
        end_task(r, 0, VERDICT_PASSED);
    } else if (t->end_ms <= r->f->now_ms) {
        end_task(r, 1, VERDICT_PASSED);
    }
}

static void executor_takes(sim_runner *r, unsigned slot, const msg *m)
{
    sim_task *t = slot ? &r->task : &r->plan;

    if (m->type == MSG_assign)
        take_assign(r, slot, &m->assign);
    else if (m->type == MSG_cancel && t->id == m->cancel.task && t->att == m->cancel.att)
        end_task(r, slot, VERDICT_CANCELED);
    else if (m->type == MSG_bye)
        r->gone[slot] = true;
}

/* ---- the agent's effects ---- */

static void send_msg(sim_runner *r, const msg *m)
{
    bench_fleet *f = r->f;

    if (m->type == MSG_hb && !r->beat_ns)
        r->beat_ns = bench_now_ns();
    else if (m->type == MSG_result)
        r->freed_ns = bench_now_ns();
    else if (m->type == MSG_nack)
        f->nacks++;
    buf_clear(&f->frame);
    wire_encode(m, &f->frame);
    zmtp_send(&r->link, buf_slice(&f->frame), f->now_ms, &f->rng);
}

static void carry_out(sim_runner *r, const agent_effect *e)
{
    switch (e->kind) {
    case AGENT_SEND:
        send_msg(r, e->msg);
        break;
    case AGENT_EXEC:
        executor_takes(r, e->slot, e->msg);
        break;
    case AGENT_SPAWN:
        r->spawn[e->slot] = true;
        break;
    case AGENT_READ_LOG: /* there is none */
        step(r, (agent_event){
                    .kind = AGENT_LOG_READ, .task = e->task, .att = e->att, .off = e->off });
        break;
    case AGENT_READ:
        if (e->part == AGENT_PART_PLAN)
            tell_plan(r, e->off, true);
        step(r,
             (agent_event){ .kind = AGENT_SPOOL, .task = e->task, .att = e->att, .part = e->part });
        break;
    case AGENT_RECONNECT:
        zmtp_renew(&r->link, r->f->now_ms);
        break;
    case AGENT_EXIT:
        if (e->why == AGENT_REFUSED)
            bench_die("a runner was refused: %s", e->text);
        r->bye = true;
        break;
    case AGENT_KILL:
    case AGENT_SAVE:
    case AGENT_DELETE_SPOOL:
    case AGENT_SAY:
        break;
    }
}

/* Effects are a list that is carried out in order; what the executors say to them steps the agent
 * again, which appends.  The outermost call alone carries out. */
static void step(sim_runner *r, agent_event ev)
{
    bench_fleet *f = r->f;

    ev.now_ms = r->now_ms;
    agent_step(r->a, &ev, &f->out);
}

static void settle(sim_runner *r)
{
    bench_fleet *f = r->f;
    int64_t at;

    for (size_t i = 0; i < f->out.n; i++) {
        agent_effect e = f->out.v[i]; /* the list may move */

        carry_out(r, &e);
        for (unsigned slot = 0; i + 1 == f->out.n && slot < 2; slot++) {
            msg hb = { .type = MSG_hb, .hb = { .n = 1 } };

            if (r->spawn[slot]) {
                r->spawn[slot] = false;
                step(r, (agent_event){ .kind = AGENT_EXEC_UP, .slot = slot });
                tell(r, slot, &hb);
            }
            if (r->gone[slot]) {
                r->gone[slot] = false;
                step(r, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = slot });
            }
        }
    }
    agent_effects_clear(&f->out);
    at = agent_next_deadline_ms(r->a);
    at = at < r->task.end_ms ? at : r->task.end_ms;
    at = at < r->link.connect_at ? at : r->link.connect_at;
    if (!r->timer.at || r->timer.key != at)
        heap_set(&f->timers, &r->timer, at);
}

/* ---- life ---- */

void runner_begin(bench_fleet *f, size_t i, const struct sockaddr_in *to, int64_t at_ms)
{
    sim_runner *r = &f->v[i];
    char id[33], boot[33], name[32], pool[16];
    slice labels[2] = { SLICE("linux") };
    agent_config config = { .id = id,
                            .name = name,
                            .host = "bench",
                            .boot = boot,
                            .slots = 1,
                            .labels = { labels, 2 },
                            .hung_ms = NEVER_HUNG_MS,
                            .seed = prng_next(&f->rng) };

    prng_hex32(&f->rng, id);
    prng_hex32(&f->rng, boot);
    snprintf(name, sizeof name, "fleet-%05zu", i);
    snprintf(pool, sizeof pool, "pool-%zu", i % POOLS);
    labels[1] = slice_of(pool);
    r->f = f;
    r->task.end_ms = HEAP_NEVER;
    r->a = agent_new(&config);
    zmtp_init(&r->link, to, f->epoll, r);
    r->link.connect_at = at_ms;
    heap_set(&f->timers, &r->timer, at_ms);
}

/* What is measured of it. */
static void watch(sim_runner *r, const msg *m)
{
    bench_fleet *f = r->f;
    int64_t now;

    if (m->type == MSG_welcome) {
        if (m->welcome.ep > f->ep) {
            f->ep = m->welcome.ep;
            f->back = 0;
        }
        if (m->welcome.ep == f->ep && r->ep != f->ep) {
            f->back++;
            f->back_ns = bench_now_ns();
        }
        r->ep = m->welcome.ep;
        r->freed_ns = 0;
    } else if (m->type == MSG_assign && m->assign.kind != TASK_PLAN) {
        now = bench_now_ns();
        f->assigned++;
        if (r->freed_ns && f->measuring)
            fleet_sample(&f->assigns_ms, (double)(now - r->freed_ns) / 1e6);
        r->freed_ns = 0;
    } else if (m->type == MSG_hb_ok) {
        f->beats++;
        if (f->measuring && r->beat_ns)
            fleet_sample(&f->beats_ms, (double)(bench_now_ns() - r->beat_ns) / 1e6);
        r->beat_ns = 0;
    } else if (m->type == MSG_result_ok && m->result_ok.task != r->acked) {
        r->acked = m->result_ok.task; /* a repeated one is no further result */
        f->results++;
    } else if (m->type == MSG_fenced) {
        f->fenced++;
    }
}

void runner_hears(void *owner, slice payload)
{
    sim_runner *r = owner;
    bench_fleet *f = r->f;
    volt_err err;
    msg m;

    arena_reset(&f->mem);
    if (wire_decode(payload, &f->mem, &m, &err))
        bench_die("%s", err.msg);
    r->now_ms = f->now_ms;
    watch(r, &m);
    step(r, (agent_event){ .kind = AGENT_MSG, .msg = &m });
    settle(r);
}

void runner_tick(sim_runner *r)
{
    bench_fleet *f = r->f;

    /* The time at which it was due: late as this process may be, heartbeats stay spread as those of
     * ten thousand processes are. */
    if (r->now_ms < r->timer.key)
        r->now_ms = r->timer.key;
    zmtp_tick(&r->link, f->now_ms, &f->rng);
    if (r->task.id && r->task.end_ms <= f->now_ms)
        end_task(r, 1, VERDICT_PASSED);
    step(r, (agent_event){ .kind = r->begun ? AGENT_TICK : AGENT_BEGIN });
    r->begun = true;
    settle(r);
}

void runner_beat(sim_runner *r)
{
    const msg hb = { .type = MSG_hb, .hb = { .n = 1, .free = 1 } };

    buf_clear(&r->f->frame);
    wire_encode(&hb, &r->f->frame);
    zmtp_send(&r->link, buf_slice(&r->f->frame), r->f->now_ms, &r->f->rng);
}

void runner_rush(sim_runner *r)
{
    int64_t at = r->f->now_ms + some_work_ms(r->f);

    if (!r->task.id)
        return;
    r->task.end_ms = at;
    if (r->timer.key > at)
        heap_set(&r->f->timers, &r->timer, at);
}

void runner_end(sim_runner *r)
{
    agent_free(r->a);
    zmtp_free(&r->link);
}
