/*
 * bench_readers - what late subscribers cost the others.
 *
 *   bench_readers fill DIR EVENTS
 *      makes a history of so many events in the new data directory DIR.
 *   bench_readers load SERVER READERS SECONDS
 *      replays that history to READERS subscribers at once, each again and again, and meanwhile
 *      beats as a runner and submits builds, one after the other, whose plan has nothing to do.
 *      Prints beat_p50_ms, beat_p99_ms (`hb` to `hb_ok`), assign_p50_ms, assign_p99_ms (`submit` to
 *      `assign`), events (a second, to all readers), least and most (of one reader, in events).
 *   bench_readers deaf SERVER PEERS
 *      so many subscribers to everything, and so many clients with 16 questions each, that never
 *      read; until it is ended.  Prints a line when all are there.
 *
 * The readers are a process of their own: what they cost their own side delays no measurement.
 */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "base/files.h"
#include "bench.h"
#include "store/store.h"

#define HIST         "0123456789abcdef0123456789abcdef"
#define OID          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define COMMIT_EACH  1000
#define READERS_MAX  1000
#define SAMPLES_MAX  100000
#define PATIENCE_S   30
#define PAUSE_MS     1 /* between two samples */
#define BUILD_PAUSES 5 /* a build after so many beats */

/* ---- fill ---- */

static void check(volt_code code, const volt_err *err)
{
    if (code != VOLT_OK)
        bench_die("%s", err->msg);
}

static void put_event(store *s, uint64_t seq, buf *frame)
{
    row r = { .kind = ROW_EVENT,
              .event = { .hist = SLICE(HIST),
                         .seq = seq,
                         .ep = 1,
                         .kind = EVENT_TEST_DONE,
                         .time_ms = UINT64_C(1700000000000) + seq,
                         .build = 1,
                         .repo = SLICE("project"),
                         .ref = SLICE("refs/heads/main"),
                         .oid = SLICE(OID),
                         .job = SLICE("tests"),
                         .task = 1 + seq / 100,
                         .att = 1,
                         .runner = SLICE("box-1"),
                         .verdict = VERDICT_PASSED,
                         .duration_ms = seq % 1000,
                         .i = seq,
                         .file = SLICE("tests/component/test_something.py") } };
    const msg m = { .type = MSG_event, .event = r.event };
    volt_err err;

    buf_clear(frame);
    wire_encode(&m, frame);
    check(s->ops->put(s, &r, buf_slice(frame), &err), &err);
}

static void fill(const char *dir, uint64_t events)
{
    const row counted = { .kind = ROW_CURSOR, .cursor = { SLICE("files"), events } };
    buf frame = { 0 };
    uint64_t ep;
    volt_err err;
    store *s;

    check(files_make_dir(dir, &err), &err);
    check(store_open_sqlite(dir, &s, &err), &err);
    check(s->ops->begin_epoch(s, HIST, &ep, &err), &err);
    check(s->ops->put(s, &counted, (slice){ 0 }, &err), &err);
    for (uint64_t seq = 1; seq <= events; seq++) {
        put_event(s, seq, &frame);
        if (seq % COMMIT_EACH == 0 || seq == events)
            check(s->ops->commit(s, &err), &err);
    }
    store_close(s);
    buf_free(&frame);
}

/* ---- the readers ---- */

static void ask(sock *s, uint64_t from)
{
    const msg m = { .type = MSG_replay, .r = from, .replay = { .from = from } };

    bench_send(s, &m);
}

/* Takes what is there and asks on; at the end, from the beginning again. */
static void read_on(sock *s, arena *mem, uint64_t *got)
{
    msg m;

    while (bench_recv(s, mem, &m, 0)) {
        if (m.type != MSG_events)
            continue;
        *got += m.events.items.n;
        ask(s, m.events.next > m.events.last ? 1 : m.events.next);
    }
}

static void __attribute__((noreturn)) be_readers(const char *server, size_t n, uint64_t *got)
{
    static sock *v[READERS_MAX];
    static zmq_pollitem_t items[READERS_MAX];
    arena mem = { 0 };

    sock_setup();
    for (size_t i = 0; i < n; i++) {
        v[i] = bench_connect(SOCK_DEALER, server);
        items[i] = (zmq_pollitem_t){ .socket = sock_raw(v[i]), .events = ZMQ_POLLIN };
        ask(v[i], 1);
    }
    for (;;) {
        if (zmq_poll(items, (int)n, -1) < 0)
            bench_die("poll failed");
        for (size_t i = 0; i < n; i++)
            if (items[i].revents)
                read_on(v[i], &mem, &got[i]);
    }
}

static sock *connect_deaf(sock_kind kind, const char *server)
{
    const sock_options options = { .frame_max = WIRE_WORK_MAX, .recv_hwm = 1 };
    addr_list list;
    volt_err err;
    addr at;
    sock *s;

    check(addr_parse(server, &at, &err), &err);
    check(addr_resolve(&at, kind == SOCK_SUB ? 2 : 1, &list, &err), &err);
    check(sock_new(kind, &options, &s, &err), &err);
    if (kind == SOCK_SUB)
        check(sock_subscribe(s, (slice){ 0 }, &err), &err);
    check(sock_connect(s, list.v[0], &err), &err);
    return s;
}

static void __attribute__((noreturn)) be_deaf(const char *server, long peers)
{
    sock_setup();
    for (long i = 0; i < peers; i++) {
        sock *s = connect_deaf(SOCK_DEALER, server);

        connect_deaf(SOCK_SUB, server); /* both stay for as long as the process */
        for (uint64_t r = 1; r <= 16; r++)
            bench_send(s, &(msg){ .type = MSG_replay, .r = r, .replay.from = r });
    }
    bench_sleep_ms(500);
    puts("ready");
    fflush(stdout);
    for (;;)
        pause();
}

/* ---- the runner between them ---- */

typedef struct load {
    sock *s;
    arena mem;
    prng rng;
    uint64_t beats;
    double beat_ms[SAMPLES_MAX], assign_ms[SAMPLES_MAX];
    size_t beats_n, assigns_n;
} load;

static msg await(load *l, msg_type type)
{
    double until = bench_now_s() + PATIENCE_S;
    msg m;

    while (bench_recv(l->s, &l->mem, &m, until))
        if (m.type == type)
            return m;
    bench_die("no %s within %d s", msg_type_text(type), PATIENCE_S);
}

static void say_hello(load *l)
{
    char id[33], boot[33];
    msg hello = { .type = MSG_hello,
                  .hello = { .vmin = 1,
                             .vmax = 1,
                             .slots = 1,
                             .mode = MODE_RUN,
                             .name = SLICE("bench-readers") } };

    prng_hex32(&l->rng, id);
    prng_hex32(&l->rng, boot);
    hello.hello.id = slice_of(id);
    hello.hello.boot = slice_of(boot);
    bench_send(l->s, &hello);
    await(l, MSG_welcome);
}

static void beat(load *l)
{
    const msg hb = { .type = MSG_hb, .hb = { .n = ++l->beats, .free = 1 } };
    int64_t sent = bench_now_ns();

    bench_send(l->s, &hb);
    while (await(l, MSG_hb_ok).hb_ok.n != l->beats)
        continue;
    if (l->beats_n < SAMPLES_MAX)
        l->beat_ms[l->beats_n++] = (double)(bench_now_ns() - sent) / 1e6;
}

/* A build whose plan has no jobs; ours is the only runner. */
static void build(load *l)
{
    char sid[33], oid[41];
    msg submit = { .type = MSG_submit,
                   .submit = { .repo = SLICE("noop"),
                               .url = SLICE("https://noop.invalid/noop.git"),
                               .ref = SLICE("refs/heads/main") } };
    msg plan = { .type = MSG_plan, .plan.last = true };
    msg result = { .type = MSG_result, .result.verdict = VERDICT_PASSED };
    int64_t sent = bench_now_ns();
    msg m;

    prng_hex32(&l->rng, sid);
    snprintf(oid, sizeof oid, "%s01234567", sid);
    submit.submit.sid = slice_of(sid);
    submit.submit.oid = slice_of(oid);
    bench_send(l->s, &submit);
    m = await(l, MSG_assign);
    if (l->assigns_n < SAMPLES_MAX)
        l->assign_ms[l->assigns_n++] = (double)(bench_now_ns() - sent) / 1e6;
    plan.plan.task = result.result.task = m.assign.task;
    plan.plan.att = result.result.att = m.assign.att;
    bench_send(l->s, &plan);
    bench_send(l->s, &result);
    await(l, MSG_result_ok);
}

static void say_readers(const uint64_t *got, const uint64_t *before, size_t n, double seconds)
{
    uint64_t sum = 0, least = UINT64_MAX, most = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t events = got[i] - before[i];

        sum += events;
        least = events < least ? events : least;
        most = events > most ? events : most;
    }
    printf("events %.0f\nleast %" PRIu64 "\nmost %" PRIu64 "\n", (double)sum / seconds,
           n ? least : 0, most);
}

static void measure(const char *server, size_t readers, long seconds)
{
    static load l;
    static uint64_t before[READERS_MAX];
    uint64_t *got = mmap(NULL, READERS_MAX * sizeof *got, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = readers ? fork() : 0;
    double began;

    if (got == MAP_FAILED || child < 0)
        bench_die("no memory, or no process");
    if (readers && child == 0)
        be_readers(server, readers, got);
    l.rng.state = (uint64_t)bench_now_ns();
    sock_setup();
    l.s = bench_connect(SOCK_DEALER, server);
    say_hello(&l);
    bench_sleep_ms(500);
    memcpy(before, got, sizeof before);
    began = bench_now_s();
    while (bench_now_s() < began + (double)seconds) {
        beat(&l);
        bench_sleep_ms(PAUSE_MS);
        if (l.beats % BUILD_PAUSES == 0)
            build(&l);
    }
    printf("beat_p50_ms %.3f\nbeat_p99_ms %.3f\n", bench_part(l.beat_ms, l.beats_n, 0.5),
           bench_part(l.beat_ms, l.beats_n, 0.99));
    printf("assign_p50_ms %.3f\nassign_p99_ms %.3f\n", bench_part(l.assign_ms, l.assigns_n, 0.5),
           bench_part(l.assign_ms, l.assigns_n, 0.99));
    say_readers(got, before, readers, bench_now_s() - began);
    if (readers) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    bench_send(l.s, &(msg){ .type = MSG_bye });
    sock_free_linger(l.s, 1000);
    arena_free(&l.mem);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "fill") == 0)
        fill(argv[2], (uint64_t)bench_number(argv[3], 1));
    else if (argc == 5 && strcmp(argv[1], "load") == 0 && bench_number(argv[3], 0) <= READERS_MAX)
        measure(argv[2], (size_t)bench_number(argv[3], 0), bench_number(argv[4], 1));
    else if (argc == 4 && strcmp(argv[1], "deaf") == 0)
        be_deaf(argv[2], bench_number(argv[3], 1));
    else
        bench_die("usage: bench_readers fill DIR EVENTS | load SERVER READERS SECONDS | "
                  "deaf SERVER PEERS");
    return 0;
}
