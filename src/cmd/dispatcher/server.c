#include "cmd/dispatcher/server.h"

#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/files.h"
#include "base/kill.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/dispatcher/disk.h"
#include "cmd/dispatcher/secret.h"
#include "net/loop.h"
#include "net/sock.h"
#include "role/dispatcher.h"
#include "store/logs.h"
#include "wire/codec.h"

#define DRAIN_MIN      256       /* frames a transaction, when so many are there */
#define DRAIN_MAX      8192      /* and at most, when commits are slow */
#define UNSENT_MAX     (8 << 20) /* bytes of answers a transaction */
#define AGAIN_FIRST_MS 100       /* to the next try after a write failed, twice as long each time */
#define AGAIN_MAX_MS   30000
#define AGAIN_CALM_MS  60000 /* who ran that long begins anew with the first */
#define PRUNE_MS       60000
#define PRUNE_MAX      500  /* rows a slice, some 1 ms */
#define PUB_HWM        4000 /* messages; a subscriber further behind repairs itself by replay */
#define PIECES_MAX     (16 << 20) /* bytes of logs that subscribers have not taken; then no more */
#define WORK_HWM       2000       /* messages a peer; more than a runner's slots */

/* The process: three sockets around a dispatcher. */
typedef struct server {
    disk disk;
    store *store;
    logs *logs;
    dispatcher *dispatcher;
    sock *intake, *work, *events;
    loop *loop;
    bool stop;
    int64_t prune_ms;     /* when next looked at */
    uint64_t trimmed_seq; /* newest event when memory was last given back */
    dispatcher_keep keep;
    uint64_t artifact_max;   /* bytes an attempt; 0: the core's */
    int64_t hb_ms, lease_ms; /* as asked for; 0: by the size of the fleet */
    int64_t commit_ms;       /* how long the last commit took */
    log_limit bad_frames, bad_logs;
    bool new_history; /* asked for, and not done yet */
    bool told_trouble, told_crammed;
    uint64_t ep; /* newest epoch of this process; 0: none yet */
    /* While there is no dispatcher. */
    volt_err trouble;
    int64_t again_ms; /* when it is tried again */
    int64_t start_ms; /* when it was tried last */
    unsigned tries;   /* since it last ran for a while */
} server;

/* ---- what the dispatcher needs from outside ---- */

/* A log that cannot be written waits, and the runner sends it again; nothing else stops. */
static volt_code log_write_at(void *ctx, const log_name *name, uint64_t off, slice bytes,
                              volt_err *err)
{
    server *s = ctx;
    int64_t now_ms = loop_now_ms();
    uint64_t held;
    volt_err why;
    volt_code code = logs_write(s->logs, name, off, bytes, &why);

    KILL_POINT(after_log_write);
    if (code == VOLT_OK)
        return VOLT_OK;
    if (code == VOLT_EFULL)
        disk_doubt(&s->disk, now_ms);
    if (log_limit_pass(&s->bad_logs, now_ms, &held))
        log_warn("%s; it waits%s", why.msg, held ? " (as do others)" : "");
    return volt_fail(err, code, "%s", why.msg);
}

static volt_code log_sync(void *ctx, const log_name *name, uint64_t bytes, volt_err *err)
{
    server *s = ctx;
    volt_code code = logs_sync(s->logs, name, bytes, err);

    KILL_POINT(after_log_sync);
    return code;
}

static volt_code log_read(void *ctx, const log_name *name, uint64_t off, size_t max, buf *ret,
                          volt_err *err)
{
    server *s = ctx;

    return logs_read(s->logs, name, off, max, ret, err);
}

static void log_remove(void *ctx, const log_name *name)
{
    server *s = ctx;

    logs_remove(s->logs, name);
}

static uint64_t log_bytes(void *ctx)
{
    const server *s = ctx;

    return logs_bytes(s->logs);
}

/* A frame that a full pipe does not take is dropped: whatever matters is repeated until it is
 * answered. */
static bool send_frame(void *ctx, uint64_t peer, slice frame)
{
    server *s = ctx;

    return sock_send(s->work, peer, (slice){ 0 }, frame, NULL) != VOLT_EUNREACHABLE;
}

static size_t unread(void *ctx, uint64_t peer)
{
    server *s = ctx;

    return sock_unsent_to(s->work, peer);
}

/* Pieces of logs are large: they stop while somebody who subscribed to them does not read.  Who
 * shows logs fetches what is missing. */
static void publish_frame(void *ctx, slice topic, slice frame)
{
    server *s = ctx;

    if (!slice_starts(topic, SLICE("l.")) || sock_unsent(s->events) < PIECES_MAX)
        sock_send(s->events, 0, topic, frame, NULL);
}

/* ---- memory and disk ---- */

/* What a burst of work needed goes back to the system once nothing is left of it: glibc keeps what
 * lies below the last block in use (25 MB after a build of 20,000 tests, measured). */
static void give_memory_back(server *s)
{
    uint64_t seq = dispatch_last_seq(dispatcher_core(s->dispatcher));

    if (seq == s->trimmed_seq || dispatch_builds(dispatcher_core(s->dispatcher)) > 0)
        return;
    s->trimmed_seq = seq;
    if (s->store->ops->relax)
        s->store->ops->relax(s->store);
    malloc_trim(0);
}

/* Between transactions.  VOLT_ENOTFOUND: the store's files, or the logs, were deleted. */
static volt_code check_resources(server *s, int64_t now_ms, volt_err *err)
{
    if (!disk_check(&s->disk, now_ms))
        return VOLT_OK;
    dispatcher_set_disk_low(s->dispatcher, s->disk.low);
    give_memory_back(s);
    if (logs_check(s->logs, err))
        return VOLT_ENOTFOUND;
    return s->store->ops->commit(s->store, err); /* of nothing: it only looks */
}

/* ---- start ---- */

static volt_code write_endpoint(const server *s, const addr *at, volt_err *err)
{
    char text[ADDR_TEXT_MAX * 3], line[ADDR_TEXT_MAX * 3 + 1];
    CLEANUP(free)
    char *path = mem_printf("%s/endpoint", s->disk.dir);
    CLEANUP(buf)
    buf old = { 0 };

    addr_print(at, text, sizeof text);
    snprintf(line, sizeof line, "%s\n", text);
    /* A full disk does not keep a dispatcher from starting where it was before. */
    if (files_read(path, sizeof line, &old, NULL) == VOLT_OK && slice_is(buf_slice(&old), line))
        return VOLT_OK;
    return files_replace(path, slice_of(line), err);
}

static volt_code open_sockets(server *s, volt_err *err)
{
    sock_options intake = { .frame_max = WIRE_INTAKE_MAX, .recv_hwm = 10000 };
    sock_options work = { .frame_max = WIRE_WORK_MAX, .send_hwm = WORK_HWM, .recv_hwm = 1000 };
    sock_options events = { .frame_max = 1024, .send_hwm = PUB_HWM };
    volt_code code = sock_new(SOCK_PULL, &intake, &s->intake, err);

    if (code == VOLT_OK)
        code = sock_new(SOCK_ROUTER, &work, &s->work, err);
    if (code == VOLT_OK)
        code = sock_new(SOCK_PUB, &events, &s->events, err);
    return code;
}

static volt_code bind_one(sock *s, const addr *at, int offset, volt_err *err)
{
    addr_list list;
    volt_code code = addr_resolve(at, offset, &list, err);

    return code == VOLT_OK ? sock_bind(s, &list, err) : code;
}

static volt_code bind_sockets(server *s, const addr *at, volt_err *err)
{
    volt_code code = bind_one(s->intake, at, 0, err);

    if (code == VOLT_OK)
        code = bind_one(s->work, at, 1, err);
    if (code == VOLT_OK)
        code = bind_one(s->events, at, 2, err);
    return code;
}

static volt_code start_dispatcher(server *s, volt_err *err)
{
    char hist[33], secret[33], boot[33];
    const log_files files = { s, log_write_at, log_sync, log_read, log_remove, log_bytes };
    const dispatcher_out out = {
        .ctx = s, .send = send_frame, .publish = publish_frame, .unread = unread
    };
    dispatcher_config config = { .hist_if_new = hist,
                                 .secret_if_new = secret,
                                 .prove = secret_prove,
                                 .boot = boot,
                                 .artifact_max = s->artifact_max,
                                 .new_history = s->new_history };
    volt_code code;

    if (s->hb_ms) {
        config.hb_ms = s->hb_ms;
        config.lease_ms = s->lease_ms;
        config.suspect_ms = s->lease_ms / 4 > 4 * s->hb_ms ? 4 * s->hb_ms : s->lease_ms / 4;
    }
    secret_random(hist);
    secret_random(secret);
    secret_random(boot);
    code = dispatcher_new(s->store, &files, &out, &config, loop_now_ms(), loop_wall_ms(),
                          &s->dispatcher, err);
    if (code == VOLT_OK && s->new_history)
        log_warn("the data in '%s' goes on as a new history: what runs is given up and runs again",
                 s->disk.dir);
    if (code == VOLT_OK) /* not again when the store is opened anew */
        s->new_history = false;
    return code;
}

static volt_code open_all(server *s, volt_err *err)
{
    volt_code code = disk_make_dir(&s->disk, err);

    if (code == VOLT_OK)
        code = store_open_sqlite(s->disk.dir, &s->store, err);
    if (code == VOLT_OK)
        code = logs_open(s->disk.dir, &s->logs, err);
    if (code == VOLT_OK)
        code = logs_sweep(s->logs, s->store, err);
    return code == VOLT_OK ? start_dispatcher(s, err) : code;
}

static void close_all(server *s)
{
    dispatcher_free(TAKE(s->dispatcher));
    logs_close(TAKE(s->logs));
    store_close(TAKE(s->store));
}

static void close_sockets(server *s)
{
    sock_free_linger(TAKE(s->intake), 0);
    sock_free_linger(TAKE(s->work), 100);
    sock_free_linger(TAKE(s->events), 100);
}

/* What this process began with must still be there when the store is opened again: files that were
 * deleted meanwhile would be made anew, empty. */
static volt_code check_epoch(server *s, volt_err *err)
{
    uint64_t ep = dispatcher_epoch(s->dispatcher);

    if (ep <= s->ep)
        return volt_fail(err, VOLT_ENOTFOUND,
                         "the data in '%s' was deleted or replaced while it was in use; put it or "
                         "a copy of it back, or start anew",
                         s->disk.dir);
    s->ep = ep;
    return VOLT_OK;
}

/* Store and core.  A full disk is met by giving up the ballast, once, and beginning anew: it may
 * have stopped any of the steps.  After a failure nothing is left open. */
static volt_code start(server *s, volt_err *err)
{
    volt_code code = open_all(s, err);

    if (code == VOLT_EFULL && disk_drop_ballast(&s->disk)) {
        log_warn("'%s' is full; the ballast was given up to start", s->disk.dir);
        close_all(s);
        code = open_all(s, err);
    }
    if (code == VOLT_OK)
        code = check_epoch(s, err);
    s->start_ms = loop_now_ms();
    s->disk.look_ms = 0;
    if (code == VOLT_OK)
        code = check_resources(s, s->start_ms, err);
    if (code != VOLT_OK)
        close_all(s);
    return code;
}

static void stop(server *s)
{
    close_all(s);
    close_sockets(s);
    loop_free(s->loop);
}

/* ---- while the store cannot be used ---- */

/* What may be over some day.  ELOCKED: somebody looks at the file meanwhile. */
static bool may_pass(volt_code code)
{
    return code == VOLT_EFULL || code == VOLT_EIO || code == VOLT_ELOCKED;
}

/* Memory is ahead of the store, so it is thrown away, with all that waited to be said, and made
 * anew from what is durable, as after a restart.  The sockets stay: to the peers it is a dispatcher
 * that begins a new epoch. */
static void suspend(server *s)
{
    int64_t now_ms = loop_now_ms(), wait_ms = AGAIN_FIRST_MS;

    close_all(s);
    if (s->trouble.code == VOLT_EFULL)
        disk_doubt(&s->disk, now_ms);
    if (now_ms - s->start_ms > AGAIN_CALM_MS)
        s->tries = 0;
    for (unsigned i = 0; i < s->tries && wait_ms < AGAIN_MAX_MS; i++)
        wait_ms *= 2;
    s->tries++;
    s->again_ms = now_ms + wait_ms;
    log_error("%s; nothing is lost, trying again in %lld ms", s->trouble.msg, (long long)wait_ms);
}

/* Whoever asks something is told; everybody else repeats it until there is an answer. */
static void refuse_frames(server *s)
{
    CLEANUP(arena)
    arena a = { 0 };
    CLEANUP(buf)
    buf frame = { 0 };
    char *text = mem_printf("the dispatcher cannot use its data directory and keeps trying: %s",
                            s->trouble.msg);
    uint64_t peer;
    slice in;
    msg m;

    for (int n = 0; n < DRAIN_MAX && sock_recv(s->work, &peer, NULL, &in, NULL) == VOLT_OK; n++) {
        arena_reset(&a);
        if (wire_decode(in, &a, &m, NULL) != VOLT_OK || m.r == 0)
            continue;
        m = (msg){ .type = MSG_err, .r = m.r, .err = { .code = CODE_DISK, .msg = slice_of(text) } };
        buf_clear(&frame);
        wire_encode(&m, &frame);
        send_frame(s, peer, buf_slice(&frame));
    }
    for (int n = 0; n < DRAIN_MAX && sock_recv(s->intake, NULL, NULL, &in, NULL) == VOLT_OK; n++)
        ;
    free(text);
}

static volt_code try_again(server *s, volt_err *err)
{
    volt_code code;

    refuse_frames(s);
    if (loop_now_ms() < s->again_ms)
        return VOLT_OK;
    code = start(s, &s->trouble);
    if (code == VOLT_OK) {
        log_note("goes on, epoch %llu", (unsigned long long)dispatcher_epoch(s->dispatcher));
        return VOLT_OK;
    }
    if (!may_pass(code)) {
        *err = s->trouble;
        return code;
    }
    suspend(s);
    return VOLT_OK;
}

/* ---- the loop ---- */

static void on_signal(void *ctx, int signal)
{
    server *s = ctx;

    if (signal == SIGTERM || signal == SIGINT)
        s->stop = true;
}

static void nothing(void *ctx) /* the turn drains the sockets itself, fairly */
{
    (void)ctx;
}

/* One frame; false: there was none, or the process has to end (*code). */
static bool take_frame(server *s, sock *from, volt_code *code, volt_err *err)
{
    uint64_t peer = 0, held;
    slice frame;
    volt_err bad;

    if (sock_recv(from, &peer, NULL, &frame, &bad) != VOLT_OK)
        return false;
    *code = dispatcher_frame(s->dispatcher, loop_now_ms(), loop_wall_ms(),
                             from == s->work ? peer : 0, frame, err);
    if (*code == VOLT_EMSG) {
        if (log_limit_pass(&s->bad_frames, loop_now_ms(), &held))
            log_warn("malformed message: %s%s", err ? err->msg : "", held ? " (and others)" : "");
        *code = VOLT_OK;
    }
    return *code == VOLT_OK;
}

/* The transaction has room for a further frame.  Taking frames may last as long as the last commit
 * did: on a disk that needs 50 ms for an fsync (measured, under foreign load) 256 a commit are
 * fewer than ten thousand runners send, and what they repeat unanswered would never be caught up
 * with. */
static bool may_take(const server *s, int n, int64_t until_ms)
{
    if (n >= DRAIN_MAX || dispatcher_unsent(s->dispatcher) >= UNSENT_MAX)
        return false;
    return n < DRAIN_MIN || loop_now_ms() < until_ms;
}

/* By turns from both sockets.  *left: what runners said was not all read. */
static volt_code drain(server *s, bool *left, volt_err *err)
{
    volt_code code = VOLT_OK;
    bool work = true, intake = true;
    int64_t until_ms = loop_now_ms() + s->commit_ms;

    for (int n = 0; (work || intake) && may_take(s, n, until_ms); n++) {
        if (work)
            work = take_frame(s, s->work, &code, err);
        if (code != VOLT_OK)
            return code;
        if (intake && (n % 4 == 0 || !work)) /* reports before new work, four to one */
            intake = take_frame(s, s->intake, &code, err);
        if (code != VOLT_OK)
            return code;
    }
    *left = work;
    return VOLT_OK;
}

static volt_code prune(server *s, int64_t now_ms, volt_err *err)
{
    bool more = false;
    volt_code code;

    if (!dispatcher_forgets(&s->keep) || now_ms < s->prune_ms)
        return VOLT_OK;
    code = dispatcher_prune(s->dispatcher, loop_wall_ms(), &s->keep, PRUNE_MAX, &more, err);
    s->prune_ms = more ? now_ms : now_ms + PRUNE_MS;
    if (more)
        return code;
    if (dispatcher_is_crammed(s->dispatcher) && !s->told_crammed)
        log_warn("'%s' takes more than --keep-bytes, with all forgotten that may be: what is left "
                 "is of builds that have not ended, of the last day, or lines and histories",
                 s->disk.dir);
    s->told_crammed = dispatcher_is_crammed(s->dispatcher);
    return code;
}

static void tell_trouble(server *s)
{
    const char *trouble = dispatch_trouble(dispatcher_core(s->dispatcher));

    if (*trouble && !s->told_trouble)
        log_error("'%s': %s", s->disk.dir, trouble);
    s->told_trouble = *trouble;
}

/* Drain, time, retention; one transaction; then speak. */
static volt_code turn(server *s, int64_t gap_ms, volt_err *err)
{
    bool left = false;
    volt_code code = drain(s, &left, err);
    int64_t now_ms = loop_now_ms(), behind_ms = dispatcher_behind(s->dispatcher, now_ms, left);

    gap_ms = gap_ms > behind_ms ? gap_ms : behind_ms; /* a long turn counts once */
    if (code == VOLT_OK && (gap_ms > 0 || now_ms >= dispatcher_next_deadline_ms(s->dispatcher)))
        code = dispatcher_tick(s->dispatcher, now_ms, loop_wall_ms(), gap_ms, err);
    if (code == VOLT_OK)
        code = prune(s, now_ms, err);
    if (code == VOLT_OK) {
        s->commit_ms = loop_now_ms();
        code = dispatcher_commit(s->dispatcher, err);
        s->commit_ms = loop_now_ms() - s->commit_ms;
    }
    if (code == VOLT_OK)
        code = check_resources(s, now_ms, err);
    if (code == VOLT_OK)
        tell_trouble(s);
    return code;
}

static int64_t next_ms(const server *s)
{
    int64_t at;

    if (!s->dispatcher)
        return s->again_ms;
    at = dispatcher_next_deadline_ms(s->dispatcher);
    at = s->disk.look_ms < at ? s->disk.look_ms : at; /* the store is looked at then, too */
    return dispatcher_forgets(&s->keep) && s->prune_ms < at ? s->prune_ms : at;
}

static volt_code run_loop(server *s, volt_err *err)
{
    int64_t gap_ms = 0;
    volt_code code = loop_add_sock(s->loop, s->intake, nothing, s, err);

    if (code == VOLT_OK)
        code = loop_add_sock(s->loop, s->work, nothing, s, err);
    while (code == VOLT_OK && !s->stop) {
        if (!s->dispatcher) {
            code = try_again(s, err);
        } else if (may_pass(code = turn(s, gap_ms, err))) {
            s->trouble = *err;
            suspend(s);
            code = VOLT_OK;
        }
        if (code == VOLT_OK && !s->stop)
            code = loop_wait(s->loop, next_ms(s), &gap_ms, err);
    }
    return code;
}

static volt_code serve(server *s, addr at, volt_err *err)
{
    char text[ADDR_TEXT_MAX * 3];
    volt_code code = VOLT_OK;

    for (int tries = 0; tries < 10; tries++) { /* a free triple may be taken meanwhile */
        addr to = at;

        if (at.port == 0)
            code = addr_free_triple(&to, err);
        if (code == VOLT_OK)
            code = bind_sockets(s, &to, err);
        if (code != VOLT_EEXISTS || at.port != 0) {
            at = to;
            break;
        }
        close_sockets(s);
        code = open_sockets(s, err);
    }
    if (code == VOLT_OK)
        code = write_endpoint(s, &at, err);
    if (code != VOLT_OK)
        return code;
    addr_print(&at, text, sizeof text);
    log_note("ready at %s, data in '%s', epoch %llu", text, s->disk.dir,
             (unsigned long long)dispatcher_epoch(s->dispatcher));
    return run_loop(s, err);
}

volt_code server_run(const server_config *config, volt_err *err)
{
    server s = {
        .disk.dir = config->dir,
        .keep = config->keep,
        .artifact_max = config->artifact_max,
        .hb_ms = config->hb_ms,
        .lease_ms = config->lease_ms,
        .new_history = config->new_history,
        .loop = loop_new(),
    };
    volt_code code;

    sock_more_fds();
    signal(SIGXFSZ, SIG_IGN); /* a limit to the size of files is met as a full disk */
    code = sodium_init() < 0 ? volt_fail(err, VOLT_EIO, "no source of random numbers")
                             : loop_signals(s.loop, on_signal, &s, err);
    if (code == VOLT_OK)
        code = open_sockets(&s, err);
    if (code == VOLT_OK)
        code = start(&s, err);
    if (code == VOLT_OK)
        code = serve(&s, config->at, err);
    stop(&s);
    return code;
}
