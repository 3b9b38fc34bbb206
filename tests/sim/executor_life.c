#include "runner.h"

#include <stdlib.h>

#include "base/mem.h"

#define LONELY_MS 15000

/* What waits before a stopped executor. */
typedef struct held_back {
    list node; /* in executor.held_back */
    executor *x;
    uint64_t conn;
    buf frame;
} held_back;

static void held_back_free(held_back *h)
{
    list_remove(&h->node);
    buf_free(&h->frame);
    free(h);
}

static void take_late(void *ctx, uint64_t unused)
{
    held_back *h = ctx;

    (void)unused;
    if (h->x->up && h->x->connected && h->conn == h->x->conn)
        executor_take(h->x, buf_slice(&h->frame));
    held_back_free(h);
}

void executor_hold_back(executor *x, slice frame)
{
    held_back *h = NEW(held_back);

    h->x = x;
    h->conn = x->conn;
    buf_add_slice(&h->frame, frame);
    list_push(&x->held_back, &h->node);
    call_at(x->r->w, x->hangs_ms, take_late, h, 0);
}

void executor_hang(executor *x)
{
    world *w = x->r->w;

    if (!x->up)
        return;
    cover("fault", "executor stopped");
    x->hangs_ms = w->now_ms + some_ms(w, 100, chance(w, 500) ? 60000 : 3000);
    tell(w, &x->r->p, "executor %u is stopped until %.3f", x->slot, (double)x->hangs_ms / 1000);
}

void executor_start(executor *x)
{
    x->up = true;
    x->hangs_ms = 0;
    x->leaving = false;
    x->phase = EXEC_IDLE;
    x->set_up = 0;
    x->serial++;
    if (x->r->p.up)
        executor_connect(x, false);
    else
        executor_die(x);
}

void executor_die(executor *x)
{
    bool told = x->connected;

    if (!x->up)
        return;
    tell(x->r->w, &x->r->p, "executor %u ends", x->slot);
    x->up = false;
    x->serial++;
    x->phase = EXEC_IDLE;
    if (told)
        runner_hears(x, (slice){ 0 }, true);
    x->connected = false;
}

void executor_connect(executor *x, bool told)
{
    x->connected = true;
    x->conn++;
    x->last_out = told;
    executor_report(x);
}

static void lonely(void *ctx, uint64_t conn)
{
    executor *x = ctx;

    if (!x->up || x->connected || x->conn != conn)
        return;
    cover("fault", "executor left alone for a lease");
    executor_leave(x);
}

void executor_disconnect(executor *x)
{
    world *w = x->r->w;

    if (!x->up || !x->connected)
        return;
    if (x->phase == EXEC_UNITS && x->order.assign.alone)
        x->hangs_ms = 0; /* with it and its agent gone nobody would be left to end the task */
    x->connected = false;
    x->conn++;
    if (!executor_busy(x))
        executor_die(x);
    else
        call_at(w, w->now_ms + (w->k.lease_ms ? w->k.lease_ms : LONELY_MS), lonely, x, x->conn);
}

void executor_free(executor *x)
{
    LIST_FOR_SAFE(n, &x->held_back)
    {
        held_back_free(LIST_OWNER(n, held_back, node));
    }
    arena_free(&x->mem);
}
