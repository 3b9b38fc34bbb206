#include <inttypes.h>

#include "sim.h"

#define DAY_MS  INT64_C(86400000)
#define HOUR_MS 3600000

/* ---- the plan of a run ---- */

void chaos_choose(world *w, const sim_options *options)
{
    knobs *k = &w->k;
    prng own = { mix_word(7, w->seed) }; /* of what leaves the other chances as they are */

    k->lossy = chance(w, 400);
    k->drop = k->lossy ? (unsigned)pick(w, 120) : (unsigned)pick(w, 60);
    k->dup = k->lossy ? (unsigned)pick(w, 80) : 0;
    k->delay_max = chance(w, 800) ? 1 + (unsigned)pick(w, 20) : 1 + (unsigned)pick(w, 800);
    k->kill = (unsigned)pick(w, 6);
    k->fault_gap_ms = chance(w, 100)   ? 60000
                      : chance(w, 500) ? 2500
                                       : 300 + (unsigned)pick(w, 1500);
    k->work_gap_ms = 2000;
    k->nack = chance(w, 500) ? 0 : (unsigned)pick(w, 200);
    k->slow = chance(w, 400) ? 20 : (unsigned)pick(w, 500);
    k->power = chance(w, 500) ? 0 : 500;
    k->hostile = chance(w, 500) ? 0 : 300 + (unsigned)pick(w, 700);
    k->disk = chance(w, 500) ? 200 : 600;
    k->rebirth = chance(w, 800) ? 0 : 400;
    k->drift = chance(w, 500) ? 0 : 500;
    k->lease_ms = chance(w, 500) ? 0 : some_ms(w, 2000, 6000);
    k->hb_ms = k->lease_ms / 10;
    k->keep.ms = chance(w, 700) ? 0 : some_ms(w, 100, chance(w, 500) ? 3000 : 60000);
    k->look_ms = 5000;
    k->faults_until_ms = some_ms(w, 10000, 60000);
    if (prng_below(&own, 4) == 0)
        k->keep.builds = 1 + prng_below(&own, 4);
    if (prng_below(&own, 6) == 0)
        k->keep.bytes = 10000 + prng_below(&own, 500000);
    if (k->rebirth) /* a copy is made of what was committed, which retention does not tell */
        k->keep = (dispatcher_keep){ 0 };
    if (options->days <= 0)
        return;
    /* Months: heartbeats as in a large fleet, an hour between pushes, some between faults. */
    w->long_haul = true;
    k->drop = k->lossy ? (unsigned)pick(w, 20) : 0;
    k->lease_ms = 60000;
    k->hb_ms = 5000;
    k->fault_gap_ms = 60000 * (10 + (unsigned)pick(w, 600));
    k->work_gap_ms = 60000 * (20 + (unsigned)pick(w, 100));
    k->keep.ms = k->rebirth ? 0 : DAY_MS * some_ms(w, 1, 5);
    k->look_ms = 300000;
    k->faults_until_ms = (int64_t)(options->days * (double)DAY_MS);
    if (k->delay_max > 100)
        k->delay_max = 100;
}

/* ---- faults ---- */

static process *some_process(world *w)
{
    switch (pick(w, 8)) {
    case 0:
    case 1:
    case 2:
        return dispatcher_process(w);
    case 3:
    case 4:
        return runner_process(w->runners[pick(w, w->runners_n)]);
    case 5:
        return observer_process(w->observers[pick(w, w->observers_n)]);
    case 6:
        return follower_process(w->followers[pick(w, w->followers_n)]);
    default:
        return client_process(w->clients[pick(w, w->clients_n)]);
    }
}

int64_t chaos_absence_ms(const process *p)
{
    const world *w = p->w;

    for (size_t i = 0; w->long_haul && i < w->followers_n; i++)
        if (p == follower_process(w->followers[i])) /* somebody looks again on another day */
            return 2 * DAY_MS;
    return w->long_haul ? HOUR_MS / 2 : 4000;
}

static void kill_soon(process *p)
{
    world *w = p->w;

    if (p->up && !p->paused_ms) { /* at one of its next effects */
        p->die_in = 1 + (unsigned)pick(w, chance(w, 300) ? 400 : 12);
        tell(w, p, "will be killed at effect %u", p->die_in);
    } else if (p->up) {
        process_kill(p, some_ms(w, 0, chaos_absence_ms(p)));
    }
}

static void set_wall_clock(process *p)
{
    world *w = p->w;

    p->wall_off_ms += chance(w, 500) ? some_ms(w, -5000, 5000) : some_ms(w, -DAY_MS, DAY_MS);
    cover("fault", "wall clock set");
    tell(w, p, "its wall clock is set, and is wrong by %" PRId64 " ms", p->wall_off_ms);
}

static void one_fault(world *w)
{
    process *p = some_process(w);
    uint64_t kind = pick(w, 10);

    for (int i = 0; i < 3 && chance(w, w->k.hostile); i++)
        hostile_send(w);
    if (kind < w->k.kill)
        kill_soon(p);
    else if (kind == 6)
        process_pause(p, some_ms(w, 1, !chance(w, 300) ? 2500 : w->long_haul ? HOUR_MS : 25000));
    else if (kind == 7 && (chance(w, w->k.disk) || chance(w, w->k.rebirth)))
        dispatcher_fault(w);
    else if (kind == 7 && chance(w, 150))
        set_wall_clock(chance(w, 500) ? dispatcher_process(w) : p);
    else if (kind == 7 && chance(w, 150))
        runner_scale(w);
    else if (kind == 7)
        runner_fault(w->runners[pick(w, w->runners_n)]);
    else
        net_fault(w);
}

static void fault(void *ctx, uint64_t arg)
{
    world *w = ctx;

    (void)arg;
    if (w->calm)
        return;
    one_fault(w);
    if (w->long_haul && chance(w, 300)) /* a bad minute, then hours of peace */
        call_at(w, w->now_ms + some_ms(w, 1, 5000), fault, w, 0);
    else
        call_at(w, w->now_ms + some_ms(w, 1, 2 * (int64_t)w->k.fault_gap_ms), fault, w, 0);
}

static void work(void *ctx, uint64_t arg)
{
    world *w = ctx;

    (void)arg;
    if (w->calm)
        return;
    if (chance(w, 600))
        observer_push(w->observers[pick(w, w->observers_n)]);
    else
        client_act(w->clients[pick(w, w->clients_n)]);
    call_at(w, w->now_ms + some_ms(w, 1, 2 * (int64_t)w->k.work_gap_ms), work, w, 0);
}

void chaos_begin(world *w)
{
    tell(w, NULL,
         "%s network, drop %u, dup %u, delay %u ms, kill %u, a fault each %u ms, for %" PRId64
         " ms",
         w->k.lossy ? "lossy" : "orderly", w->k.drop, w->k.dup, w->k.delay_max, w->k.kill,
         w->k.fault_gap_ms, w->k.faults_until_ms);
    call_at(w, w->now_ms + some_ms(w, 1, 3000), fault, w, 0);
    call_at(w, w->now_ms + some_ms(w, 1, 1000), work, w, 0);
}

void chaos_end(world *w)
{
    tell(w, NULL, "---- no more faults ----");
    w->calm = true;
    net_heal(w);
    dispatcher_calm(w);
    for (size_t i = 0; i < w->runners_n; i++)
        runner_calm(w->runners[i]);
    for (size_t i = 0; i < w->observers_n; i++)
        process_wake(observer_process(w->observers[i]));
    for (size_t i = 0; i < w->followers_n; i++)
        process_wake(follower_process(w->followers[i]));
    for (size_t i = 0; i < w->clients_n; i++)
        process_wake(client_process(w->clients[i]));
    client_calm(w->clients[0]);
}
