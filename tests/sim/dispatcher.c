#include "sim.h"

#include <stdlib.h>
#include <stdio.h>

#include "base/mem.h"
#include "store/store.h"

#define DRAIN_MAX  256
#define WALL_START INT64_C(1700000000000)

/* A log file: what was written, and how much of it a loss of power leaves. */
typedef struct log_file {
    uint64_t task, att;
    buf bytes;
    size_t synced;
} log_file;

typedef struct frame_in {
    list node;
    uint64_t peer;
    buf frame;
} frame_in;

typedef struct sim_dispatcher {
    process p;
    world *w;
    store *store;
    store_ops ops; /* the store's, with ours before them; see of_store() */
    const store_ops *inner;
    dispatcher *d;
    list inbox; /* of frame_in, not yet taken */
    bool turn_due;
    int64_t gap_ms;
    int64_t disk_low_ms; /* its disk is nearly full until */
    map logs;            /* log_key -> log_file */
    dispatcher_config config;
    char hist[33];
} sim_dispatcher;

static uint64_t log_key(uint64_t task, uint64_t att)
{
    return task << 20 | att;
}

/* ---- the store, watched ---- */

static sim_dispatcher *of_store(store *s)
{
    return (sim_dispatcher *)(void *)((char *)(uintptr_t)s->ops - offsetof(sim_dispatcher, ops));
}

static volt_code watched_put(store *s, const row *r, slice encoded, volt_err *err)
{
    sim_dispatcher *sd = of_store(s);
    volt_code code;

    if (process_dies(&sd->p))
        return volt_fail(err, VOLT_EIO, "killed");
    code = sd->inner->put(s, r, encoded, err);
    if (code != VOLT_OK)
        broken(sd->w, "store", "put fails: %s", err ? err->msg : "");
    oracle_put(sd->w->oracle, r, encoded);
    return code;
}

static volt_code watched_commit(store *s, volt_err *err)
{
    sim_dispatcher *sd = of_store(s);
    volt_code code;

    if (process_dies(&sd->p))
        return volt_fail(err, VOLT_EIO, "killed");
    code = sd->inner->commit(s, err);
    if (code == VOLT_OK)
        oracle_commit(sd->w->oracle);
    return code;
}

static volt_code watched_begin_epoch(store *s, const char hist_if_new[33], uint64_t *ret,
                                     volt_err *err)
{
    sim_dispatcher *sd = of_store(s);
    volt_code code;

    if (process_dies(&sd->p))
        return volt_fail(err, VOLT_EIO, "killed");
    code = sd->inner->begin_epoch(s, hist_if_new, ret, err);
    if (code == VOLT_OK)
        oracle_dispatcher_started(sd->w->oracle, *ret);
    return code;
}

/* ---- log files ---- */

static log_file *find_log(sim_dispatcher *sd, uint64_t task, uint64_t att)
{
    return map_get(&sd->logs, log_key(task, att));
}

static volt_code log_write(void *ctx, uint64_t task, uint64_t att, uint64_t off, slice bytes,
                           volt_err *err)
{
    sim_dispatcher *sd = ctx;
    log_file *f = find_log(sd, task, att);

    if (process_dies(&sd->p))
        return volt_fail(err, VOLT_EIO, "killed");
    if (!f) {
        f = NEW(log_file);
        f->task = task;
        f->att = att;
        map_put(&sd->logs, log_key(task, att), f);
    }
    if (off > f->bytes.n)
        broken(sd->w, "S8", "log of task %llu attempt %llu gets a hole at %zu: written at %llu",
               (unsigned long long)task, (unsigned long long)att, f->bytes.n,
               (unsigned long long)off);
    oracle_log_written(sd->w->oracle, task, att, off, bytes);
    if (off + bytes.n > f->bytes.n) {
        size_t old = f->bytes.n;

        buf_room(&f->bytes, (size_t)off + bytes.n - old);
        f->bytes.n = (size_t)off + bytes.n;
    }
    memcpy(f->bytes.p + off, bytes.p, bytes.n);
    if (f->synced > off)
        f->synced = (size_t)off;
    return VOLT_OK;
}

static volt_code log_sync(void *ctx, uint64_t task, uint64_t att, uint64_t bytes, volt_err *err)
{
    sim_dispatcher *sd = ctx;
    log_file *f = find_log(sd, task, att);

    if (process_dies(&sd->p))
        return volt_fail(err, VOLT_EIO, "killed");
    if (!f || f->bytes.n < bytes)
        broken(sd->w, "S8", "log of task %llu attempt %llu is shorter than the result says",
               (unsigned long long)task, (unsigned long long)att);
    f->bytes.n = (size_t)bytes;
    f->synced = (size_t)bytes;
    return VOLT_OK;
}

static volt_code log_read(void *ctx, uint64_t task, uint64_t att, uint64_t off, size_t max,
                          buf *ret, volt_err *err)
{
    sim_dispatcher *sd = ctx;
    const log_file *f = find_log(sd, task, att);

    (void)err;
    if (f && off < f->bytes.n) {
        size_t n = f->bytes.n - (size_t)off;

        buf_add(ret, f->bytes.p + off, n < max ? n : max);
    }
    return VOLT_OK;
}

static void log_remove(void *ctx, uint64_t task, uint64_t att)
{
    sim_dispatcher *sd = ctx;
    log_file *f = map_remove(&sd->logs, log_key(task, att));

    if (f)
        buf_free(&f->bytes);
    free(f);
}

/* The machine lost its power: what was not synced may be gone. */
static void lose_power(sim_dispatcher *sd)
{
    const map_entry *e;
    size_t at = 0;

    cover("fault", "power lost");
    while ((e = map_next(&sd->logs, &at))) {
        log_file *f = e->value;

        /* By its number, for the order of a table must not decide. */
        if ((f->task ^ f->att ^ (uint64_t)sd->w->now_ms) % 3)
            f->bytes.n = f->synced + (f->bytes.n - f->synced) / 2;
    }
}

/* ---- speaking ---- */

static bool send(void *ctx, uint64_t peer, slice frame)
{
    sim_dispatcher *sd = ctx;

    if (process_dies(&sd->p))
        return true;
    tell_frame(sd->w, &sd->p, "->", frame);
    oracle_sent(sd->w->oracle, peer, frame);
    return net_send(sd->w, peer, frame);
}

static void publish(void *ctx, slice topic, slice frame)
{
    sim_dispatcher *sd = ctx;

    if (process_dies(&sd->p))
        return;
    if (!slice_is(topic, "h."))
        tell_frame(sd->w, &sd->p, "=>", frame);
    oracle_published(sd->w->oracle, topic, frame);
    net_publish(sd->w, topic, frame);
}

/* ---- turns ---- */

/* Every error is the death we planned; any other is found by watched_put() and here. */
static bool check(sim_dispatcher *sd, volt_code code, const volt_err *err)
{
    if (code == VOLT_OK)
        return true;
    if (!sd->p.dying)
        broken(sd->w, "dispatcher", "ends by itself: %s", err->msg);
    return false;
}

static bool take_one(sim_dispatcher *sd)
{
    frame_in *f = LIST_OWNER(sd->inbox.next, frame_in, node);
    volt_err err = { .msg = "" };
    volt_code code;

    list_remove(&f->node);
    tell_frame(sd->w, &sd->p, "<-", buf_slice(&f->frame));
    oracle_hears(sd->w->oracle, f->peer, buf_slice(&f->frame));
    code = dispatcher_frame(sd->d, sd->w->now_ms, WALL_START + sd->w->now_ms, f->peer,
                            buf_slice(&f->frame), &err);
    if (code == VOLT_EMSG)
        broken(sd->w, "wire", "the dispatcher does not understand: %s", err.msg);
    oracle_heard(sd->w->oracle);
    buf_free(&f->frame);
    free(f);
    return check(sd, code, &err);
}

static void turn(sim_dispatcher *sd)
{
    world *w = sd->w;
    size_t most = chance(w, 300) ? 1 + (size_t)pick(w, 4) : DRAIN_MAX;
    volt_err err = { .msg = "" };
    int64_t gap = sd->gap_ms > 2000 ? sd->gap_ms : 0;

    sd->turn_due = false;
    sd->gap_ms = 0;
    work_stood_still(w->oracle, gap);
    dispatcher_set_disk_low(sd->d, !w->calm && w->now_ms < sd->disk_low_ms);
    for (size_t n = 0; n < most && !list_empty(&sd->inbox); n++)
        if (!take_one(sd))
            return;
    if (gap || w->now_ms >= dispatcher_next_deadline_ms(sd->d))
        if (!check(sd, dispatcher_tick(sd->d, w->now_ms, WALL_START + w->now_ms, gap, &err), &err))
            return;
    if (!check(sd, dispatcher_commit(sd->d, &err), &err) || sd->p.dying)
        return;
    oracle_spoken(w->oracle);
    if (list_empty(&sd->inbox))
        oracle_turn(w->oracle);
}

/* ---- as a process ---- */

static void on_frame(process *p, net_link *l, uint64_t peer, slice frame)
{
    sim_dispatcher *sd = (sim_dispatcher *)p;
    frame_in *f = NEW(frame_in);

    f->peer = l->kind == LINK_INTAKE ? 0 : peer;
    buf_add_slice(&f->frame, frame);
    list_push(&sd->inbox, &f->node);
    sd->turn_due = true;
}

static void on_time(process *p, int64_t gap_ms)
{
    sim_dispatcher *sd = (sim_dispatcher *)p;

    sd->gap_ms += gap_ms;
    turn(sd);
    if (!p->dying && !list_empty(&sd->inbox))
        sd->turn_due = true;
}

static int64_t deadline_ms(const process *p)
{
    const sim_dispatcher *sd = (const sim_dispatcher *)p;

    return sd->turn_due ? p->w->now_ms : dispatcher_next_deadline_ms(sd->d);
}

static void on_start(process *p)
{
    sim_dispatcher *sd = (sim_dispatcher *)p;
    const log_files files = { sd, log_write, log_sync, log_read, log_remove };
    const dispatcher_out out = { .ctx = sd, .send = send, .publish = publish };
    volt_err err = { .msg = "" };

    if (!p->w->calm && chance(p->w, 60)) /* killed while it starts */
        p->die_in = 1 + (unsigned)pick(p->w, 6);
    check(sd,
          dispatcher_new(sd->store, &files, &out, &sd->config, p->w->now_ms,
                         WALL_START + p->w->now_ms, &sd->d, &err),
          &err);
}

static void drop_inbox(sim_dispatcher *sd)
{
    LIST_FOR_SAFE(n, &sd->inbox)
    {
        frame_in *f = LIST_OWNER(n, frame_in, node);

        list_remove(n);
        buf_free(&f->frame);
        free(f);
    }
    sd->turn_due = false;
    sd->gap_ms = 0;
}

static void on_crash(process *p)
{
    sim_dispatcher *sd = (sim_dispatcher *)p;

    dispatcher_free(sd->d);
    sd->d = NULL;
    drop_inbox(sd);
    store_memory_crash(sd->store);
    oracle_rollback(sd->w->oracle);
    if (chance(sd->w, sd->w->k.power * 10))
        lose_power(sd);
    net_dispatcher_gone(sd->w);
}

static const process_ops ops = { on_start, on_crash, on_frame, on_time, deadline_ms };

void dispatcher_make(world *w)
{
    sim_dispatcher *sd = NEW(sim_dispatcher);
    static const uint64_t windows[] = { 1000, 4096, 20000, 262144 };

    sd->w = w;
    w->dispatcher = sd;
    list_init(&sd->inbox);
    process_init(&sd->p, w, &ops, "dispatcher", 0);
    store_open_memory(&sd->store);
    sd->inner = sd->store->ops;
    sd->ops = *sd->inner;
    sd->ops.put = watched_put;
    sd->ops.commit = watched_commit;
    sd->ops.begin_epoch = watched_begin_epoch;
    sd->store->ops = &sd->ops;
    prng_hex32(&w->rng, sd->hist);
    sd->config.hist_if_new = sd->hist;
    sd->config.log_window = windows[pick(w, 4)];
    sd->config.log_max = chance(w, 500) ? 0 : 50000;
    if (w->k.lease_ms) {
        sd->config.lease_ms = w->k.lease_ms;
        sd->config.hb_ms = w->k.lease_ms / 10;
        sd->config.suspect_ms = w->k.lease_ms / 3;
    }
    sd->config.tries_max = chance(w, 700) ? 0 : 1 + pick(w, 5);
    process_start(&sd->p);
}

void dispatcher_end(world *w)
{
    sim_dispatcher *sd = w->dispatcher;
    const map_entry *e;
    size_t at = 0;

    dispatcher_free(sd->d);
    drop_inbox(sd);
    while ((e = map_next(&sd->logs, &at))) {
        buf_free(&((log_file *)e->value)->bytes);
        free(e->value);
    }
    map_free(&sd->logs);
    store_close(sd->store);
    free(sd);
}

process *dispatcher_process(world *w)
{
    return &w->dispatcher->p;
}

const dispatch *dispatcher_now(world *w)
{
    return w->dispatcher->d ? dispatcher_core(w->dispatcher->d) : NULL;
}

static buf *log_of(world *w, uint64_t task, uint64_t att)
{
    log_file *f = find_log(w->dispatcher, task, att);

    return f ? &f->bytes : NULL;
}

void dispatcher_check_store(world *w)
{
    oracle_final(w->oracle, w->dispatcher->store, log_of);
}

uint64_t dispatcher_tries_max(world *w)
{
    return w->dispatcher->config.tries_max ? w->dispatcher->config.tries_max : 3;
}

void dispatcher_fault(world *w)
{
    cover("fault", "disk nearly full");
    w->dispatcher->disk_low_ms = w->now_ms + some_ms(w, 500, 10000);
    tell(w, &w->dispatcher->p, "its disk is nearly full until %.3f",
         (double)w->dispatcher->disk_low_ms / 1000);
}
