/*
 * bench_beat - how late heartbeats are: a cordoned runner, which gets no tasks, beats all the time.
 *
 *   bench_beat SERVER EVERY_MS       until SIGTERM; then p50_ms, p99_ms, max_ms and beats
 *
 * Measured from the send of `hb` to its `hb_ok`.  The next one goes EVERY_MS after the last was
 * sent, or with its answer when that comes later.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

#define BEATS_MAX  100000
#define PATIENCE_S 60

static volatile sig_atomic_t ended;

static void on_term(int signal_number)
{
    (void)signal_number;
    ended = 1;
}

static void say_hello(sock *s, prng *rng)
{
    char id[33], boot[33];
    msg hello = { .type = MSG_hello,
                  .hello = { .vmin = 1,
                             .vmax = 1,
                             .slots = 1,
                             .mode = MODE_CORDON,
                             .name = SLICE("bench-beat") } };

    prng_hex32(rng, id);
    prng_hex32(rng, boot);
    hello.hello.id = slice_of(id);
    hello.hello.boot = slice_of(boot);
    bench_send(s, &hello);
}

static void await(sock *s, arena *mem, msg_type type, uint64_t n)
{
    double until = bench_now_s() + PATIENCE_S;
    msg m;

    while (bench_recv(s, mem, &m, until))
        if (m.type == type && (type != MSG_hb_ok || m.hb_ok.n == n))
            return;
    bench_die("no %s within %d s", msg_type_text(type), PATIENCE_S);
}

int main(int argc, char **argv)
{
    static double ms[BEATS_MAX];
    prng rng = { (uint64_t)bench_now_ns() };
    arena mem = { 0 };
    size_t n = 0;
    long every;
    sock *s;

    if (argc != 3)
        bench_die("usage: bench_beat SERVER EVERY_MS");
    every = bench_number(argv[2], 1);
    signal(SIGTERM, on_term);
    sock_setup();
    s = bench_connect(SOCK_DEALER, argv[1]);
    say_hello(s, &rng);
    await(s, &mem, MSG_welcome, 0);
    puts("ready");
    fflush(stdout);
    while (!ended && n < BEATS_MAX) {
        const msg hb = { .type = MSG_hb, .hb = { .n = n + 1, .free = 1 } };
        int64_t sent = bench_now_ns(), took;

        bench_send(s, &hb);
        await(s, &mem, MSG_hb_ok, n + 1);
        took = bench_now_ns() - sent;
        ms[n++] = (double)took / 1e6;
        if (took / 1000000 < every)
            bench_sleep_ms(every - took / 1000000);
    }
    bench_send(s, &(msg){ .type = MSG_bye });
    sock_free_linger(s, 1000);
    if (n)
        printf("p50_ms %.3f\np99_ms %.3f\nmax_ms %.3f\n", bench_part(ms, n, 0.5),
               bench_part(ms, n, 0.99), bench_part(ms, n, 1));
    printf("beats %zu\n", n);
    arena_free(&mem);
    return 0;
}
