#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/cleanup.h"
#include "base/files.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/command.h"

#include "net/loop.h"
#include "net/sock.h"
#include "role/dispatcher.h"
#include "store/logs.h"
#include "wire/codec.h"

#define HEARTBEAT_MIN_MS 20
#define HEARTBEAT_MS     1000 /* when only --lease was given */
#define LEASE_MS         15000
#define DRAIN_MAX        256       /* frames a transaction */
#define UNSENT_MAX       (8 << 20) /* bytes of answers a transaction: pages are large */
#define CHECK_MS         5000
#define DISK_LOW         (64ull << 20)  /* free bytes below which new commits are refused */
#define DISK_FINE        (128ull << 20) /* and above which they are taken again */
#define BALLAST_SIZE     (8 << 20)      /* given up so that a start on a full disk succeeds */
#define PRUNE_MS         60000
#define PRUNE_MAX        500   /* rows a slice, some 1 ms */
#define PUB_HWM          20000 /* a subscriber that is further behind repairs itself by replay */
#define DAY_MS           (24LL * 3600 * 1000)

/* The process: three sockets around a dispatcher. */
typedef struct server {
    const command_line *line;
    const char *dir;
    store *store;
    logs *logs;
    dispatcher *dispatcher;
    sock *intake, *work, *events;
    loop *loop;
    bool stop;
    bool disk_low;
    int64_t disk_ms, prune_ms; /* when next looked at */
    uint64_t trimmed_seq;      /* newest event when memory was last given back */
    int64_t keep_ms;           /* 0: for ever */
    int64_t hb_ms, lease_ms;   /* as asked for; 0: by the size of the fleet */
    log_limit bad_frames;
} server;

/* ---- what the dispatcher needs from outside ---- */

static volt_code log_write_at(void *ctx, uint64_t task, uint64_t att, uint64_t off, slice bytes,
                              volt_err *err)
{
    return logs_write(ctx, task, att, off, bytes, err);
}

static volt_code log_sync(void *ctx, uint64_t task, uint64_t att, uint64_t bytes, volt_err *err)
{
    return logs_sync(ctx, task, att, bytes, err);
}

static volt_code log_read(void *ctx, uint64_t task, uint64_t att, uint64_t off, size_t max,
                          buf *ret, volt_err *err)
{
    return logs_read(ctx, task, att, off, max, ret, err);
}

static void log_remove(void *ctx, uint64_t task, uint64_t att)
{
    logs_remove(ctx, task, att);
}

/* A frame that a full pipe does not take is dropped: whatever matters is repeated until it is
 * answered. */
static bool send_frame(void *ctx, uint64_t peer, slice frame)
{
    server *s = ctx;

    return sock_send(s->work, peer, (slice){ 0 }, frame, NULL) != VOLT_EUNREACHABLE;
}

static void publish_frame(void *ctx, slice topic, slice frame)
{
    server *s = ctx;

    sock_send(s->events, 0, topic, frame, NULL);
}

/* ---- disk ---- */

static char *ballast_path(const server *s)
{
    return mem_printf("%s/ballast", s->dir);
}

static void make_ballast(const server *s)
{
    char *path = ballast_path(s);
    CLEANUP(close)
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

    if (fd >= 0 && posix_fallocate(fd, 0, BALLAST_SIZE) != 0)
        unlink(path); /* no room for it: the watermark alone has to do */
    free(path);
}

static bool drop_ballast(const server *s)
{
    char *path = ballast_path(s);
    bool there = unlink(path) == 0;

    free(path);
    return there;
}

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

static void check_resources(server *s, int64_t now_ms)
{
    struct statvfs fs;
    uint64_t free_bytes;
    bool low = s->disk_low;

    if (now_ms < s->disk_ms)
        return;
    s->disk_ms = now_ms + CHECK_MS;
    give_memory_back(s);
    if (statvfs(s->dir, &fs) != 0)
        return;
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (free_bytes < DISK_LOW)
        low = true;
    else if (free_bytes > DISK_FINE)
        low = false;
    if (low != s->disk_low) {
        if (low)
            log_warn("'%s' has %llu MiB free: new commits are refused until there are %llu", s->dir,
                     (unsigned long long)(free_bytes >> 20), DISK_FINE >> 20);
        else
            log_note("'%s' has room again: new commits are taken", s->dir);
    }
    if (!low)
        make_ballast(s);
    s->disk_low = low;
    dispatcher_set_disk_low(s->dispatcher, low);
}

/* ---- start ---- */

static volt_code write_endpoint(const server *s, const addr *at, volt_err *err)
{
    char text[ADDR_TEXT_MAX * 3], line[ADDR_TEXT_MAX * 3 + 1];
    char *path = mem_printf("%s/endpoint", s->dir);
    volt_code code;

    addr_print(at, text, sizeof text);
    snprintf(line, sizeof line, "%s\n", text);
    code = files_replace(path, slice_of(line), err);
    free(path);
    return code;
}

static volt_code open_sockets(server *s, volt_err *err)
{
    sock_options intake = { .frame_max = WIRE_INTAKE_MAX, .recv_hwm = 10000 };
    sock_options work = { .frame_max = WIRE_WORK_MAX, .send_hwm = 10000, .recv_hwm = 1000 };
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
    unsigned char random[16];
    char hist[33];
    const log_files files = { s->logs, log_write_at, log_sync, log_read, log_remove };
    const dispatcher_out out = { s, send_frame, publish_frame };
    dispatcher_config config = { .hist_if_new = hist };

    if (s->hb_ms) {
        config.hb_ms = s->hb_ms;
        config.lease_ms = s->lease_ms;
        config.suspect_ms = s->lease_ms / 4 > 4 * s->hb_ms ? 4 * s->hb_ms : s->lease_ms / 4;
    }
    randombytes_buf(random, sizeof random);
    sodium_bin2hex(hist, sizeof hist, random, sizeof random);
    return dispatcher_new(s->store, &files, &out, &config, loop_now_ms(), loop_wall_ms(),
                          &s->dispatcher, err);
}

static volt_code open_store(server *s, volt_err *err)
{
    volt_code code = files_make_dir(s->dir, err);

    if (code == VOLT_OK)
        code = store_open_sqlite(s->dir, &s->store, err);
    if (code == VOLT_OK)
        code = logs_open(s->dir, &s->logs, err);
    return code;
}

static volt_code open_all(server *s, volt_err *err)
{
    volt_code code = open_store(s, err);

    if (code == VOLT_OK)
        code = open_sockets(s, err);
    return code == VOLT_OK ? start_dispatcher(s, err) : code;
}

static void close_all(server *s)
{
    dispatcher_free(TAKE(s->dispatcher));
    sock_free_linger(TAKE(s->intake), 0);
    sock_free_linger(TAKE(s->work), 100);
    sock_free_linger(TAKE(s->events), 100);
    logs_close(TAKE(s->logs));
    store_close(TAKE(s->store));
}

/* Store, core and sockets.  A full disk is met by giving up the ballast, once, and beginning anew:
 * it may have stopped any of the steps. */
static volt_code start(server *s, volt_err *err)
{
    volt_code code = open_all(s, err);

    if (code == VOLT_EFULL && drop_ballast(s)) {
        log_warn("'%s' is full; the ballast was given up to start", s->dir);
        close_all(s);
        code = open_all(s, err);
    }
    return code;
}

static void stop(server *s)
{
    close_all(s);
    loop_free(s->loop);
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

/* At most DRAIN_MAX frames, by turns from both sockets. */
static volt_code drain(server *s, volt_err *err)
{
    volt_code code = VOLT_OK;
    bool work = true, intake = true;

    for (int n = 0;
         n < DRAIN_MAX && (work || intake) && dispatcher_unsent(s->dispatcher) < UNSENT_MAX; n++) {
        if (work)
            work = take_frame(s, s->work, &code, err);
        if (code != VOLT_OK)
            return code;
        if (intake && (n % 4 == 0 || !work)) /* reports before new work, four to one */
            intake = take_frame(s, s->intake, &code, err);
        if (code != VOLT_OK)
            return code;
    }
    return VOLT_OK;
}

static volt_code prune(server *s, int64_t now_ms, volt_err *err)
{
    bool more = false;
    volt_code code;

    if (!s->keep_ms || now_ms < s->prune_ms)
        return VOLT_OK;
    code = dispatcher_prune(s->dispatcher, loop_wall_ms() - s->keep_ms, PRUNE_MAX, &more, err);
    s->prune_ms = more ? now_ms : now_ms + PRUNE_MS;
    return code;
}

/* Drain, time, retention; one transaction; then speak. */
static volt_code turn(server *s, int64_t gap_ms, volt_err *err)
{
    volt_code code = drain(s, err);
    int64_t now_ms = loop_now_ms();

    if (code == VOLT_OK && (gap_ms > 0 || now_ms >= dispatcher_next_deadline_ms(s->dispatcher)))
        code = dispatcher_tick(s->dispatcher, now_ms, loop_wall_ms(), gap_ms, err);
    if (code == VOLT_OK)
        code = prune(s, now_ms, err);
    if (code == VOLT_OK)
        code = dispatcher_commit(s->dispatcher, err);
    check_resources(s, now_ms);
    return code;
}

static volt_code run_loop(server *s, volt_err *err)
{
    int64_t gap_ms = 0;
    volt_code code = loop_add_sock(s->loop, s->intake, nothing, s, err);

    if (code == VOLT_OK)
        code = loop_add_sock(s->loop, s->work, nothing, s, err);
    while (code == VOLT_OK && !s->stop) {
        int64_t deadline = dispatcher_next_deadline_ms(s->dispatcher);

        if (s->keep_ms && s->prune_ms < deadline)
            deadline = s->prune_ms;
        code = turn(s, gap_ms, err);
        if (code == VOLT_OK && !s->stop) {
            deadline = dispatcher_next_deadline_ms(s->dispatcher);
            if (s->keep_ms && s->prune_ms < deadline)
                deadline = s->prune_ms;
            code = loop_wait(s->loop, deadline, &gap_ms, err);
        }
    }
    return code;
}

static volt_code serve(server *s, addr *at, volt_err *err)
{
    char text[ADDR_TEXT_MAX * 3];
    volt_code code = VOLT_OK;

    for (int tries = 0; tries < 10; tries++) { /* a free triple may be taken meanwhile */
        addr to = *at;

        if (at->port == 0)
            code = addr_free_triple(&to, err);
        if (code == VOLT_OK)
            code = bind_sockets(s, &to, err);
        if (code != VOLT_EEXISTS || at->port != 0) {
            *at = to;
            break;
        }
        sock_free(TAKE(s->intake));
        sock_free(TAKE(s->work));
        sock_free(TAKE(s->events));
        code = open_sockets(s, err);
    }
    if (code == VOLT_OK)
        code = write_endpoint(s, at, err);
    if (code != VOLT_OK)
        return code;
    addr_print(at, text, sizeof text);
    log_note("ready at %s, data in '%s', epoch %llu", text, s->dir,
             (unsigned long long)dispatcher_epoch(s->dispatcher));
    return run_loop(s, err);
}

static exit_code run(const command_line *line)
{
    char *state = command_state_dir("dispatcher");
    server s = { .line = line, .dir = command_text(line, "data") };
    addr at = { .port = (int)command_number(line, "port") };
    volt_err err;
    volt_code code;

    if (!s.dir)
        s.dir = state;
    snprintf(at.host, sizeof at.host, "%s", command_text(line, "host"));
    s.keep_ms = command_number(line, "keep-days") * DAY_MS;
    s.hb_ms = command_ms(line, "heartbeat");
    s.lease_ms = command_ms(line, "lease");
    if (s.hb_ms || s.lease_ms) { /* one alone goes with the other's usual value */
        s.hb_ms = s.hb_ms ? s.hb_ms : HEARTBEAT_MS;
        s.lease_ms = s.lease_ms ? s.lease_ms : LEASE_MS;
    }
    if (s.hb_ms && (s.hb_ms < HEARTBEAT_MIN_MS || s.lease_ms < 4 * s.hb_ms)) {
        free(state);
        return command_fail_with(line, EXIT_USAGE,
                                 "--heartbeat must be at least %d ms, and --lease four heartbeats",
                                 HEARTBEAT_MIN_MS);
    }
    sock_more_fds();
    s.loop = loop_new();
    code = sodium_init() < 0 ? volt_fail(&err, VOLT_EIO, "no source of random numbers")
                             : loop_signals(s.loop, on_signal, &s, &err);
    if (code == VOLT_OK)
        code = start(&s, &err);
    if (code == VOLT_OK)
        code = serve(&s, &at, &err);
    stop(&s);
    free(state);
    if (code != VOLT_OK)
        return command_fail(line, &err);
    log_note("stopped");
    return EXIT_DONE;
}

static const option_spec options[] = {
    { .name = "host",
      .kind = OPTION_TEXT,
      .arg = "HOST",
      .def = "localhost",
      .help = "address or name to listen on; '*' is every interface" },
    { .name = "port",
      .kind = OPTION_NUMBER,
      .arg = "N",
      .def = "8888",
      .max = ADDR_PORT_MAX,
      .help = "first of the three ports; 0 takes free ones and writes them to DATA/endpoint" },
    { .name = "data",
      .kind = OPTION_TEXT,
      .arg = "DIR",
      .help = "where the history is kept; default: ~/.local/state/volt/dispatcher" },
    { .name = "keep-days",
      .kind = OPTION_NUMBER,
      .arg = "N",
      .def = "0",
      .max = 36500,
      .help = "forget builds that ended longer ago; 0 keeps them for ever" },
    { .name = "heartbeat",
      .kind = OPTION_DURATION,
      .arg = "TIME",
      .help = "how often runners report; default: 1s, with more than 1,000 runners 5s" },
    { .name = "lease",
      .kind = OPTION_DURATION,
      .arg = "TIME",
      .help =
          "silence after which a runner's work is given to others; default: 15s, with more than "
          "1,000 runners 60s" },
};

const command command_dispatcher = {
    .name = "dispatcher",
    .args = "",
    .summary = "queue commits and hand their tests to runners",
    .text = "Listens on three ports from --port on: submissions, runners and clients, events.\n"
            "Everything it has acknowledged is in its data directory; kill it at any moment and "
            "start it again.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = run,
};
