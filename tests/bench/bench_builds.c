/*
 * bench_builds - builds of real commits, end to end.
 *
 *   bench_builds SERVER NAME URL rate < COMMITS
 *      submits all commits (one hexadecimal id a line) at once and waits for their verdicts.
 *      Prints builds (a second, from the first submit to the last verdict), passed, and of the
 *      last build planned_s and running_s: seconds from that event to its verdict.
 *   bench_builds SERVER NAME URL latency SOCKET < COMMITS
 *      submits them one by one, each when the last has ended and the system is idle again.  Their
 *      test is bench_probe, which sends its clock to the datagram socket SOCKET, made here.  Prints
 *      p50_ms, p99_ms and max_ms from before the submit is sent to the start of that process.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "bench.h"

#define COMMITS_MAX 10000
#define PATIENCE_S  120
#define IDLE_MS \
    20 /* between a verdict and the next submit: results are acknowledged, spools gone */

typedef struct bench {
    const char *name, *url;
    sock *dealer, *events;
    char (*oids)[65];
    size_t n;
    size_t done, passed;
    double planned_s, running_s, done_s; /* when; of the last build */
    prng rng;
    arena mem;
} bench;

static void read_commits(bench *b)
{
    b->oids = mem_array(COMMITS_MAX, sizeof *b->oids);
    while (b->n < COMMITS_MAX && scanf("%64s", b->oids[b->n]) == 1)
        b->n++;
    if (b->n == 0)
        bench_die("no commits on standard input");
}

static void submit(bench *b, const char *oid)
{
    char sid[33];
    msg m = { .type = MSG_submit,
              .submit = { .repo = slice_of(b->name),
                          .url = slice_of(b->url),
                          .oid = slice_of(oid),
                          .ref = SLICE("refs/heads/main") } };

    prng_hex32(&b->rng, sid);
    m.submit.sid = slice_of(sid);
    bench_send(b->dealer, &m);
}

/* Our builds are the only ones. */
static void take_event(bench *b, const msg_event *e)
{
    double now = bench_now_s();

    if (e->kind == EVENT_PLANNED)
        b->planned_s = now, b->running_s = 0;
    else if (e->kind == EVENT_RUNNING && e->task_kind == TASK_TESTS && b->running_s == 0)
        b->running_s = now;
    else if (e->kind == EVENT_BUILD_DONE) {
        b->done++;
        b->passed += e->verdict == VERDICT_PASSED;
        b->done_s = now;
    }
}

static void wait_done(bench *b, size_t n)
{
    double until = bench_now_s() + PATIENCE_S;
    msg m;

    while (b->done < n) {
        if (!bench_recv(b->events, &b->mem, &m, until))
            bench_die("%zu of %zu builds ended in %d s", b->done, n, PATIENCE_S);
        if (m.type == MSG_event)
            take_event(b, &m.event);
    }
}

/* What is published before the subscription arrived is not seen: the beat once a second tells. */
static void subscribe(bench *b)
{
    static const char *const topics[] = { "h.", "e.planned.", "e.running.", "e.build_done." };
    msg m;

    for (size_t i = 0; i < sizeof topics / sizeof *topics; i++)
        sock_subscribe(b->events, slice_of(topics[i]), NULL);
    if (!bench_recv(b->events, &b->mem, &m, bench_now_s() + 10))
        bench_die("the dispatcher publishes nothing");
    sock_unsubscribe(b->events, SLICE("h."), NULL);
}

static void rate(bench *b)
{
    double began = bench_now_s();

    for (size_t i = 0; i < b->n; i++)
        submit(b, b->oids[i]);
    wait_done(b, b->n);
    printf("builds %.1f\npassed %zu\nplanned_s %.6f\nrunning_s %.6f\n",
           (double)b->n / (b->done_s - began), b->passed, b->done_s - b->planned_s,
           b->done_s - b->running_s);
}

static int listen_at(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    struct timeval patience = { .tv_sec = 30 };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof at.sun_path)
        bench_die("the path of the socket is too long");
    memcpy(at.sun_path, path, strlen(path));
    if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof at))
        bench_die("cannot listen at '%s'", path);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

static void latency(bench *b, const char *path)
{
    double *ms = mem_array(b->n, sizeof *ms);
    int fd = listen_at(path);

    for (size_t i = 0; i < b->n; i++) {
        char text[64] = "";
        int64_t began = bench_now_ns(), started;

        submit(b, b->oids[i]);
        if (recv(fd, text, sizeof text - 1, 0) < 1 || sscanf(text, "start %" SCNd64, &started) != 1)
            bench_die("no process started");
        ms[i] = (double)(started - began) / 1e6;
        wait_done(b, i + 1);
        bench_sleep_ms(IDLE_MS);
    }
    printf("p50_ms %.3f\np99_ms %.3f\nmax_ms %.3f\npassed %zu\n", bench_part(ms, b->n, 0.5),
           bench_part(ms, b->n, 0.99), bench_part(ms, b->n, 1), b->passed);
    free(ms);
    close(fd);
    unlink(path);
}

int main(int argc, char **argv)
{
    bench b = { .rng = { (uint64_t)bench_now_ns() } };
    bool one_by_one = argc == 6 && strcmp(argv[4], "latency") == 0;

    if (!one_by_one && (argc != 5 || strcmp(argv[4], "rate") != 0))
        bench_die("usage: bench_builds SERVER NAME URL rate | latency SOCKET < COMMITS");
    b.name = argv[2];
    b.url = argv[3];
    sock_setup();
    read_commits(&b);
    b.dealer = bench_connect(SOCK_DEALER, argv[1]);
    b.events = bench_connect(SOCK_SUB, argv[1]);
    subscribe(&b);
    if (one_by_one)
        latency(&b, argv[5]);
    else
        rate(&b);
    sock_free(b.dealer);
    sock_free(b.events);
    arena_free(&b.mem);
    free(b.oids);
    return 0;
}
