#include <stdlib.h>

#include "base/mem.h"
#include "base/cleanup.h"
#include "disk.h"

#define DRAIN_MAX   256
#define GAP_MS      2000 /* a longer one is told to the core, as the real loop does */
#define PRUNE_MS    60000
#define OPERATOR_MS 20000 /* an operator looks at a complaint within */

typedef struct frame_in {
    list node;
    uint64_t peer;
    bool hostile;
    buf frame;
} frame_in;

typedef struct sim_dispatcher {
    process p;
    world *w;
    disk disk;
    dispatcher *d; /* NULL: down, or its store is closed */
    list inbox;    /* of frame_in, not yet taken */
    bool turn_due;
    int64_t gap_ms;
    int64_t reopen_ms; /* up without a store: tries again then */
    int64_t prune_ms;
    bool asked; /* an operator is on the way */
    char boot[33];
    dispatcher_config config;
} sim_dispatcher;

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

/* A reader that does not read, now and then. */
static size_t unread(void *ctx, uint64_t peer)
{
    sim_dispatcher *sd = ctx;

    (void)peer;
    return !sd->w->calm && chance(sd->w, 50) ? SIZE_MAX : 0;
}

/* ---- opening the store, and having to close it ---- */

/* An error is a death that was planned, or the disk's: then the process ends too, or opens its
 * store once more. */
static bool check(sim_dispatcher *sd, volt_code code, const volt_err *err)
{
    world *w = sd->w;

    checked(w, RULE_DISPATCHER);
    if (code == VOLT_OK && !sd->disk.failed)
        return true;
    if (sd->p.dying)
        return false;
    if (!sd->disk.failed)
        broken(w, RULE_DISPATCHER, "%s", err->msg);
    if (code == VOLT_OK) { /* it went on without what failed: a log can be sent again */
        sd->disk.failed = false;
        return true;
    }
    tell(w, &sd->p, "gives up: %s", err->msg);
    if (chance(w, 500)) {
        sd->p.dying = true;
        return false;
    }
    cover("fault", "store opened again");
    dispatcher_free(TAKE(sd->d));
    disk_crash(&sd->disk, false);
    sd->reopen_ms = w->now_ms + some_ms(w, 0, 2000);
    return false;
}

/* Not secret here: strangers only say what they have heard. */
static void prove(const char *secret, const char *about, char ret[33])
{
    prng p = { mix_bytes(mix_bytes(0, slice_of(secret)), slice_of(about)) };

    prng_hex32(&p, ret);
}

static void open_dispatcher(sim_dispatcher *sd)
{
    world *w = sd->w;
    const log_files files = disk_logs(&sd->disk);
    const dispatcher_out out = { .ctx = sd, .send = send, .publish = publish, .unread = unread };
    prng starts = { mix_word((uint64_t)w->now_ms, sd->disk.ep) };
    volt_err err = { .msg = "" };

    prng_hex32(&starts, sd->boot);
    sd->config.boot = sd->boot;
    sd->config.hist_if_new = sd->disk.hist;
    sd->config.new_history = sd->disk.renames;
    sd->config.secret_if_new = "5ec5e75ec5e75ec5e75ec5e75ec5e700";
    sd->config.prove = prove;
    check(sd,
          dispatcher_new(sd->disk.store, &files, &out, &sd->config, process_now(&sd->p),
                         process_wall(&sd->p), &sd->d, &err),
          &err);
    sd->prune_ms = w->now_ms + some_ms(w, 0, PRUNE_MS);
}

/* ---- turns ---- */

static bool take_one(sim_dispatcher *sd)
{
    world *w = sd->w;
    frame_in *f = LIST_OWNER(sd->inbox.next, frame_in, node);
    volt_err err = { .msg = "" };
    volt_code code;

    list_remove(&f->node);
    tell_frame(w, &sd->p, f->hostile ? "<- (a stranger's)" : "<-", buf_slice(&f->frame));
    oracle_hears(w->oracle, f->peer, buf_slice(&f->frame), f->hostile);
    code = dispatcher_frame(sd->d, process_now(&sd->p), process_wall(&sd->p), f->peer,
                            buf_slice(&f->frame), &err);
    if (code == VOLT_EMSG && !f->hostile)
        broken(w, RULE_WIRE, "the dispatcher does not understand: %s", err.msg);
    oracle_heard(w->oracle);
    buf_free(&f->frame);
    free(f);
    return check(sd, code == VOLT_EMSG ? VOLT_OK : code, &err);
}

/* Old events and builds are forgotten, as the real loop does between its other work. */
static bool prune(sim_dispatcher *sd)
{
    world *w = sd->w;
    volt_err err = { .msg = "" };
    const dispatcher_keep keep = w->k.keep;
    bool more = false;
    volt_code code;

    if (!dispatcher_forgets(&w->k.keep) || w->now_ms < sd->prune_ms)
        return true;
    sd->prune_ms = w->now_ms + (int64_t)pick(w, (uint64_t)(keep.ms ? keep.ms : PRUNE_MS));
    cover("fault", "old events forgotten");
    tell(w, &sd->p, "forgets what is old");
    code = dispatcher_prune(sd->d, process_wall(&sd->p), &keep, 1 + pick(w, 500), &more, &err);
    if (more && !keep.ms)
        sd->prune_ms = w->now_ms + some_ms(w, 1, 100);
    return check(sd, code, &err);
}

static void new_directory(void *ctx, uint64_t timeline);

static void turn(sim_dispatcher *sd)
{
    world *w = sd->w;
    size_t most = chance(w, 300) ? 1 + (size_t)pick(w, 4) : DRAIN_MAX;
    volt_err err = { .msg = "" };
    int64_t gap = sd->gap_ms > GAP_MS ? sd->gap_ms : 0;
    int64_t now = process_now(&sd->p);

    sd->turn_due = false;
    sd->gap_ms = 0;
    dispatcher_set_disk_low(sd->d, !w->calm && w->now_ms < sd->disk.low_ms);
    for (size_t n = 0; n < most && !list_empty(&sd->inbox); n++)
        if (!take_one(sd))
            return;
    if (gap || now >= dispatcher_next_deadline_ms(sd->d))
        if (!check(sd, dispatcher_tick(sd->d, now, process_wall(&sd->p), gap, &err), &err))
            return;
    if (gap)
        oracle_gap(w->oracle, gap);
    if (!prune(sd) || !check(sd, dispatcher_commit(sd->d, &err), &err) || sd->p.dying)
        return;
    oracle_spoken(w->oracle);
    oracle_turn(w->oracle, list_empty(&sd->inbox));
    if (oracle_noticed(w->oracle) && !sd->asked) {
        sd->asked = true;
        call_at(w, w->now_ms + some_ms(w, 500, OPERATOR_MS), new_directory, sd, w->timeline);
    }
}

/* ---- as a process ---- */

static void on_frame(process *p, const packet *k)
{
    sim_dispatcher *sd = (sim_dispatcher *)p;
    frame_in *f = NEW(frame_in);

    f->peer = k->link->kind == LINK_INTAKE ? 0 : k->peer;
    f->hostile = k->hostile;
    buf_add(&f->frame, k->bytes, k->n);
    list_push(&sd->inbox, &f->node);
    sd->turn_due = true;
}

static void on_time(process *p, int64_t gap_ms)
{
    sim_dispatcher *sd = (sim_dispatcher *)p;

    sd->gap_ms += gap_ms;
    if (!sd->d && p->w->now_ms >= sd->reopen_ms)
        open_dispatcher(sd);
    if (sd->d && !p->dying)
        turn(sd);
    if (!p->dying && !list_empty(&sd->inbox))
        sd->turn_due = true;
}

static int64_t deadline_ms(const process *p)
{
    const sim_dispatcher *sd = (const sim_dispatcher *)p;
    int64_t at;

    if (!sd->d)
        return sd->reopen_ms;
    if (sd->turn_due)
        return p->w->now_ms;
    at = process_when(p, dispatcher_next_deadline_ms(sd->d));
    return dispatcher_forgets(&p->w->k.keep) && sd->prune_ms < at ? sd->prune_ms : at;
}

static void on_start(process *p)
{
    sim_dispatcher *sd = (sim_dispatcher *)p;

    if (!p->w->calm && chance(p->w, 60)) /* killed while it starts */
        p->die_in = 1 + (unsigned)pick(p->w, 6);
    open_dispatcher(sd);
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

    dispatcher_free(TAKE(sd->d));
    drop_inbox(sd);
    disk_crash(&sd->disk, chance(sd->w, sd->w->k.power));
    net_dispatcher_gone(sd->w);
}

static const process_ops ops = { on_start, on_crash, on_frame, on_time, deadline_ms };

/* ---- life ---- */

void dispatcher_make(world *w)
{
    sim_dispatcher *sd = NEW(sim_dispatcher);
    static const uint64_t windows[] = { 1000, 4096, 20000, 262144 };

    sd->w = w;
    w->dispatcher = sd;
    list_init(&sd->inbox);
    process_init(&sd->p, w, &ops, "dispatcher", 0);
    disk_open(&sd->disk, w, &sd->p);
    sd->config.log_window = windows[pick(w, 4)];
    sd->config.log_max = chance(w, 500) ? 0 : 50000;
    if (w->k.lease_ms) {
        sd->config.lease_ms = w->k.lease_ms;
        sd->config.hb_ms = w->k.hb_ms;
        sd->config.suspect_ms = w->k.lease_ms / 3;
    }
    sd->config.tries_max = chance(w, 700) ? 0 : 1 + pick(w, 5);
    process_start(&sd->p);
}

void dispatcher_end(world *w)
{
    sim_dispatcher *sd = w->dispatcher;

    dispatcher_free(sd->d);
    drop_inbox(sd);
    disk_close(&sd->disk);
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

store *dispatcher_store(world *w)
{
    return w->dispatcher->disk.store;
}

const char *dispatcher_history(const world *w)
{
    return w->dispatcher->disk.hist;
}

size_t dispatcher_owes(world *w)
{
    return w->dispatcher->d ? dispatcher_unsent(w->dispatcher->d) : 0;
}

uint64_t dispatcher_class(const world *w)
{
    const sim_dispatcher *sd = w->dispatcher;

    return process_class(&sd->p) | (uint64_t)!sd->d << 2 | (uint64_t)list_empty(&sd->inbox) << 3;
}

static buf *file_of(world *w, const log_name *name)
{
    log_file *f = disk_log(&w->dispatcher->disk, name);

    return f ? &f->bytes : NULL;
}

bool dispatcher_log_torn(const world *w, const log_name *name, uint64_t at)
{
    const log_file *f = disk_log(&w->dispatcher->disk, name);

    return f && at >= f->torn_from && at < f->torn_to;
}

void dispatcher_check_store(world *w)
{
    oracle_final(w->oracle, w->dispatcher->disk.store, file_of);
}

uint64_t dispatcher_tries_max(world *w)
{
    return w->dispatcher->config.tries_max ? w->dispatcher->config.tries_max : 3;
}

int64_t dispatcher_lease_ms(const world *w)
{
    return w->k.lease_ms ? w->k.lease_ms : 15000;
}

/* ---- its disk ---- */

/* Everything that knew the old history is told of it by what it asks next.  What was accepted there
 * observers offer again, but not for months. */
static void forgive(world *w)
{
    for (size_t i = 0; i < w->observers_n; i++)
        observer_forgive(w->observers[i]);
}

typedef enum swap { SWAP_COPY, SWAP_EMPTY, SWAP_ACCEPT } swap;

static void swap_directory(sim_dispatcher *sd, swap how)
{
    world *w = sd->w;

    process_kill(&sd->p, w->calm ? 300 : some_ms(w, 0, 3000));
    if (how == SWAP_COPY && !disk_restore(&sd->disk))
        return;
    if (how == SWAP_EMPTY)
        disk_renew(&sd->disk);
    else if (how == SWAP_ACCEPT)
        disk_rename(&sd->disk);
    sd->asked = false;
    forgive(w);
}

/* What an operator does about an old copy: a new history. */
static void new_directory(void *ctx, uint64_t timeline)
{
    sim_dispatcher *sd = ctx;

    if (timeline == sd->w->timeline && oracle_noticed(sd->w->oracle))
        swap_directory(sd, chance(sd->w, 800) ? SWAP_ACCEPT : SWAP_EMPTY);
}

void dispatcher_fault(world *w)
{
    sim_dispatcher *sd = w->dispatcher;

    if (!chance(w, w->k.rebirth))
        disk_fault(&sd->disk);
    else if (!oracle_stale(w->oracle))
        swap_directory(sd, chance(w, 700) ? SWAP_COPY : SWAP_EMPTY);
}

void dispatcher_calm(world *w)
{
    sim_dispatcher *sd = w->dispatcher;

    sd->disk.fail_in = 0;
    if (oracle_stale(w->oracle))
        swap_directory(sd, chance(w, 500) ? SWAP_ACCEPT : SWAP_EMPTY);
    process_wake(&sd->p);
    if (!sd->d && sd->p.up)
        sd->reopen_ms = w->now_ms;
    process_arm(&sd->p);
}
