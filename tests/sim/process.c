#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

#define WALL_START INT64_C(1700000000000)
#define UPTIME_MAX 1000000000 /* ms: what a monotonic clock may show at the start */
#define MILLION    1000000
#define QUARTZ_PPM 200   /* a bad quartz */
#define BROKEN_PPM 30000 /* a virtual machine whose clock is far off */

/* ---- clocks ---- */

int64_t process_now(const process *p)
{
    return p->clock_ms + p->w->now_ms + p->w->now_ms * p->clock_ppm / MILLION;
}

int64_t process_wall(const process *p)
{
    return WALL_START + p->w->now_ms + p->wall_off_ms;
}

int64_t process_when(const process *p, int64_t local_ms)
{
    int64_t at;

    if (local_ms == HEAP_NEVER || p->clock_ppm == 0)
        return local_ms == HEAP_NEVER ? local_ms : local_ms - p->clock_ms;
    at = (local_ms - p->clock_ms) / (MILLION + p->clock_ppm) * MILLION +
         (local_ms - p->clock_ms) % (MILLION + p->clock_ppm) * MILLION / (MILLION + p->clock_ppm);
    while (p->clock_ms + at + at * p->clock_ppm / MILLION < local_ms)
        at++;
    return at;
}

static void set_clock(process *p)
{
    world *w = p->w;

    p->clock_ms = (int64_t)pick(w, UPTIME_MAX);
    p->wall_off_ms = 0;
    p->clock_ppm = 0;
    if (!chance(w, w->k.drift))
        return;
    p->wall_off_ms = some_ms(w, -3600000, 3600000);
    p->clock_ppm =
        chance(w, 500) ? some_ms(w, -QUARTZ_PPM, QUARTZ_PPM) : some_ms(w, -BROKEN_PPM, BROKEN_PPM);
    cover("fault", p->clock_ppm > QUARTZ_PPM || p->clock_ppm < -QUARTZ_PPM ? "clock far off"
                                                                           : "clock drifts");
}

/* ---- life ---- */

void process_init(process *p, world *w, const process_ops *ops, const char *name, size_t number)
{
    p->w = w;
    p->ops = ops;
    p->number = ++w->processes_n;
    snprintf(p->name, sizeof p->name, "%s-%zu", name, number);
    list_init(&p->inbox);
    p->up_at = HEAP_NEVER;
    set_clock(p);
}

void process_arm(process *p)
{
    int64_t at;

    if (p->paused_ms)
        at = p->paused_ms;
    else if (!p->up)
        at = p->up_at;
    else
        at = p->ops->deadline_ms(p);
    if (at == HEAP_NEVER)
        heap_remove(&p->w->timers, &p->timer);
    else
        heap_set(&p->w->timers, &p->timer, at > p->w->now_ms ? at : p->w->now_ms);
}

static void empty_inbox(process *p)
{
    LIST_FOR_SAFE(l, &p->inbox)
    {
        list_remove(l);
        free(LIST_OWNER(l, packet, node));
    }
}

void process_start(process *p)
{
    if (p->up)
        return;
    p->up = true;
    p->dying = false;
    p->die_in = 0;
    p->up_at = HEAP_NEVER;
    p->life++;
    tell(p->w, p, "starts");
    p->ops->start(p);
    if (p->dying)
        process_kill(p, some_ms(p->w, 0, 3000));
    process_arm(p);
}

void process_kill(process *p, int64_t after_ms)
{
    if (p->up) {
        tell(p->w, p, "is killed");
        cover("fault", "kill");
        p->up = false;
        p->ops->crash(p);
    }
    p->dying = false;
    p->die_in = 0;
    p->paused_ms = 0;
    empty_inbox(p);
    p->up_at = after_ms < 0 || p->retired ? HEAP_NEVER : p->w->now_ms + after_ms;
    process_arm(p);
}

bool process_dies(process *p)
{
    if (p->dying)
        return true;
    if (p->die_in && --p->die_in == 0)
        p->dying = true;
    return p->dying;
}

void process_settle(process *p)
{
    if (p->dying)
        process_kill(p, p->w->calm ? 300 : some_ms(p->w, 0, chaos_absence_ms(p)));
    process_arm(p);
}

void process_deliver(process *p, packet *k)
{
    if (p->paused_ms) {
        list_push(&p->inbox, &k->node);
        return;
    }
    if (p->up) {
        p->ops->frame(p, k);
        process_settle(p);
    }
    free(k);
}

static void resume(process *p)
{
    int64_t gap = p->w->now_ms - p->paused_since;

    tell(p->w, p, "goes on after %" PRId64 " ms", gap);
    p->paused_ms = 0;
    while (p->up && !list_empty(&p->inbox)) {
        packet *k = LIST_OWNER(p->inbox.next, packet, node);

        list_remove(&k->node);
        if (k->link->gen == k->gen || p == dispatcher_process(p->w))
            process_deliver(p, k);
        else
            free(k);
    }
    if (p->up) /* it sees by its own clock how long that was */
        p->ops->time(p, gap + gap * p->clock_ppm / MILLION);
    process_settle(p);
}

void process_time(process *p)
{
    if (p->paused_ms) {
        resume(p);
    } else if (!p->up) {
        process_start(p);
    } else {
        p->ops->time(p, 0);
        process_settle(p);
    }
}

void process_pause(process *p, int64_t for_ms)
{
    if (!p->up || p->paused_ms)
        return;
    tell(p->w, p, "is stopped for %" PRId64 " ms", for_ms);
    cover("fault", "pause");
    p->paused_since = p->w->now_ms;
    p->paused_ms = p->w->now_ms + for_ms;
    process_arm(p);
}

void process_wake(process *p)
{
    p->die_in = 0;
    if (p->paused_ms) {
        p->paused_ms = p->w->now_ms;
        process_arm(p);
    } else if (!p->up) {
        p->up_at = p->w->now_ms;
        process_arm(p);
    }
}

uint64_t process_class(const process *p)
{
    return !p->up ? 1 : p->paused_ms ? 2 : 3;
}
