/*
 * bench_fleet - many runners against a dispatcher, each with a connection of its own.
 *
 *   bench_fleet SERVER RUNNERS         the real agents (src/core/agent.h), executors that only wait
 *   bench_fleet SERVER RUNNERS MS      without agents: a small frame each MS, which must come back
 *
 * Commands on standard input, a line each; each ends with the line "done":
 *   join MS               all connect, spread over MS; waits until all are registered: up_s
 *   work MIN MAX          tasks take so many ms from now on, also those under way
 *   submit N WHAT FROM    N builds with WHAT ("units-K" or "scripts-K"), numbered from FROM, each
 *                         accepted before the next is sent; submit_s
 *   wear N                N more heartbeats on each connection: libzmq's queues of a connection
 * grow to their lasting size with the first 500 frames, which take 40 minutes measure S collects:
 * p50, p99 and latest of freed slot -> next assign and of heartbeats, counts of both, results_s;
 * nothing is sampled meanwhile answers               asks the dispatcher, anew every 5 ms, until it
 * answers: answered_ns back EP               waits until all are registered in epoch EP: back_ns
 * (of the last one) quit                  all say nothing and end Times that end in _ns are of
 * CLOCK_MONOTONIC.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "bench_fleet.h"

#define EVENTS_MAX 1024
#define PATIENCE_S 300
#define REPOS      100
#define ASK_MS     5

void fleet_sample(samples *s, double x)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 4096;
        s->v = mem_grow(s->v, s->cap, sizeof *s->v);
    }
    s->v[s->n++] = x;
}

static int64_t now_ms(void)
{
    return bench_now_ns() / 1000000;
}

/* ---- without agents: the floor ---- */

static void echo_hears(void *owner, slice payload)
{
    sim_runner *r = owner;

    (void)payload;
    r->f->beats++;
    if (r->beat_ns && r->f->measuring)
        fleet_sample(&r->f->beats_ms, (double)(bench_now_ns() - r->beat_ns) / 1e6);
    r->beat_ns = 0;
    if (!r->ep) {
        r->ep = 1;
        r->f->back++;
        r->f->back_ns = bench_now_ns();
    }
}

static void echo_tick(sim_runner *r)
{
    static const char frame[] = "as long as a heartbeat is";
    bench_fleet *f = r->f;
    int64_t at;

    zmtp_tick(&r->link, f->now_ms, &f->rng);
    if (r->echo_at_ms <= f->now_ms) {
        r->echo_at_ms = f->now_ms + f->echo_ms;
        r->beat_ns = bench_now_ns();
        zmtp_send(&r->link, SLICE(frame), f->now_ms, &f->rng);
    }
    at = r->link.connect_at < r->echo_at_ms ? r->link.connect_at : r->echo_at_ms;
    heap_set(&f->timers, &r->timer, at);
}

static void echo_begin(bench_fleet *f, size_t i, const struct sockaddr_in *to, int64_t at_ms)
{
    sim_runner *r = &f->v[i];

    r->f = f;
    zmtp_init(&r->link, to, f->epoll, r);
    r->link.connect_at = at_ms;
    r->echo_at_ms = at_ms;
    heap_set(&f->timers, &r->timer, at_ms);
}

/* ---- the loop ---- */

static void one_tick(sim_runner *r)
{
    if (r->a)
        runner_tick(r);
    else
        echo_tick(r);
}

/* Waits until something happens or until_ms, and handles it.  False: a command has come. */
static bool turn(bench_fleet *f, int64_t until_ms)
{
    static struct epoll_event events[EVENTS_MAX];
    int64_t top = heap_top_key(&f->timers), at = top < until_ms ? top : until_ms;
    bool command = false;
    int n;

    f->now_ms = now_ms();
    n = epoll_wait(f->epoll, events, EVENTS_MAX,
                   at <= f->now_ms          ? 0
                   : at - f->now_ms > 60000 ? 60000
                                            : (int)(at - f->now_ms));
    if (n < 0 && errno != EINTR)
        bench_die("epoll: %s", strerror(errno));
    f->now_ms = now_ms();
    for (int i = 0; i < n; i++) {
        sim_runner *r = events[i].data.ptr;

        if (!r) {
            command = true;
            continue;
        }
        zmtp_ready(&r->link, events[i].events, f->now_ms, &f->rng,
                   r->a ? runner_hears : echo_hears);
        if (r->link.connect_at < r->timer.key)
            heap_set(&f->timers, &r->timer, r->link.connect_at);
    }
    while (heap_top_key(&f->timers) <= f->now_ms)
        one_tick(HEAP_OWNER(heap_top(&f->timers), sim_runner, timer));
    return !command;
}

static void serve_until(bench_fleet *f, int64_t until_ms)
{
    while (now_ms() < until_ms)
        turn(f, until_ms);
}

/* ---- commands ---- */

static void join(bench_fleet *f, const struct sockaddr_in *to, int64_t spread_ms)
{
    int64_t began = bench_now_ns();

    f->now_ms = now_ms();
    for (size_t i = 0; i < f->n; i++)
        (f->echo_ms ? echo_begin
                    : runner_begin)(f, i, to, f->now_ms + spread_ms * (int64_t)i / (int64_t)f->n);
    while (f->back < f->n) {
        turn(f, now_ms() + 1000);
        if (bench_now_ns() - began > PATIENCE_S * INT64_C(1000000000))
            bench_die("%zu of %zu runners are registered after %d s", f->back, f->n, PATIENCE_S);
    }
    printf("up_s %.3f\n", (double)(f->back_ns - began) / 1e9);
}

static void back(bench_fleet *f, uint64_t ep)
{
    int64_t until = now_ms() + PATIENCE_S * 1000;

    while (f->ep < ep || f->back < f->n) {
        turn(f, now_ms() + 1000);
        if (now_ms() > until)
            bench_die("%zu of %zu runners are back after %d s", f->ep < ep ? 0 : f->back, f->n,
                      PATIENCE_S);
    }
    printf("back_ns %" PRId64 "\n", f->back_ns);
}

static void wear(bench_fleet *f, long n)
{
    enum { AT_ONCE = 8 };
    int64_t until = now_ms() + PATIENCE_S * 1000;

    for (long sent = 0; sent < n; sent += AT_ONCE) {
        uint64_t want = f->beats + AT_ONCE * f->n;

        for (size_t i = 0; i < f->n; i++)
            for (int k = 0; k < AT_ONCE; k++)
                runner_beat(&f->v[i]);
        while (f->beats < want) {
            turn(f, now_ms() + 1000);
            if (now_ms() > until)
                bench_die("heartbeats are not answered within %d s", PATIENCE_S);
        }
    }
}

static void print_spread(const char *what, samples *s)
{
    printf("%s_n %zu\n", what, s->n);
    if (s->n)
        printf("%s_p50_ms %.3f\n%s_p99_ms %.3f\n%s_max_ms %.3f\n", what,
               bench_part(s->v, s->n, 0.5), what, bench_part(s->v, s->n, 0.99), what,
               bench_part(s->v, s->n, 1));
    s->n = 0;
}

static void measure(bench_fleet *f, long seconds)
{
    uint64_t results = f->results, assigned = f->assigned;
    double began = bench_now_s(), took;

    f->measuring = true;
    serve_until(f, now_ms() + seconds * 1000);
    f->measuring = false;
    took = bench_now_s() - began;
    printf("results_s %.1f\nassigned_s %.1f\nnacks %" PRIu64 "\nfenced %" PRIu64 "\n",
           (double)(f->results - results) / took, (double)(f->assigned - assigned) / took, f->nacks,
           f->fenced);
    print_spread("assign", &f->assigns_ms);
    print_spread("beat", &f->beats_ms);
}

/* One answer on a connection of its own, while the fleet is served; false: there is none yet. */
typedef struct asking {
    bool answered;
    msg_type type;
} asking;

static void on_answer(void *owner, slice payload)
{
    asking *a = owner;
    arena mem = { 0 };
    volt_err err;
    msg m;

    if (wire_decode(payload, &mem, &m, &err))
        bench_die("%s", err.msg);
    a->answered = true;
    a->type = m.type;
    arena_free(&mem);
}

/* A connection for questions, which has no place in the fleet's epoll. */
static msg_type ask(bench_fleet *f, const struct sockaddr_in *to, const msg *m, double patience_s)
{
    asking a = { 0 };
    zmtp link;
    buf frame = { 0 };
    struct epoll_event ev;
    double until = bench_now_s() + patience_s;
    int fd = epoll_create1(EPOLL_CLOEXEC);

    wire_encode(m, &frame);
    zmtp_init(&link, to, fd, &a);
    zmtp_send(&link, buf_slice(&frame), 0, &f->rng);
    while (!a.answered && bench_now_s() < until) {
        zmtp_tick(&link, now_ms(), &f->rng);
        turn(f, now_ms());
        if (link.fd >= 0 && epoll_wait(fd, &ev, 1, ASK_MS) == 1)
            zmtp_ready(&link, ev.events, now_ms(), &f->rng, on_answer);
        else if (link.fd < 0) { /* refused: at once again, and not as libzmq waits */
            link.connect_at = 0;
            serve_until(f, now_ms() + ASK_MS);
        }
    }
    zmtp_free(&link);
    buf_free(&frame);
    close(fd);
    return a.answered ? a.type : MSG_NONE;
}

static void answers(bench_fleet *f, const struct sockaddr_in *to)
{
    const msg m = { .type = MSG_submission,
                    .r = 1,
                    .submission = { .sid = SLICE("00000000000000000000000000000000") } };

    if (ask(f, to, &m, PATIENCE_S) == MSG_NONE)
        bench_die("the dispatcher does not answer after %d s", PATIENCE_S);
    printf("answered_ns %" PRId64 "\n", bench_now_ns());
}

static void submit(bench_fleet *f, const struct sockaddr_in *to, long n, const char *what,
                   long from)
{
    double began = bench_now_s();

    for (long i = from; i < from + n; i++) {
        char sid[33], oid[41], repo[32], url[96], ref[96];
        msg m = { .type = MSG_submit, .r = 1 };

        prng_hex32(&f->rng, sid);
        snprintf(oid, sizeof oid, "%s01234567", sid);
        snprintf(repo, sizeof repo, "project-%02ld", i % REPOS);
        snprintf(url, sizeof url, "https://git.example.org/team/%s.git", repo);
        snprintf(ref, sizeof ref, "refs/heads/build-%ld/%s", i, what);
        m.submit = (msg_submit){ .sid = slice_of(sid),
                                 .repo = slice_of(repo),
                                 .url = slice_of(url),
                                 .oid = slice_of(oid),
                                 .ref = slice_of(ref),
                                 .subject = SLICE("Make the parser faster on long lines"),
                                 .author = SLICE("A. Developer <dev@example.org>") };
        if (ask(f, to, &m, PATIENCE_S) != MSG_accepted)
            bench_die("build %ld was not accepted", i);
    }
    printf("submit_s %.3f\n", bench_now_s() - began);
}

static void command(bench_fleet *f, const struct sockaddr_in *to, const char *line)
{
    char what[64];
    long a, b;

    if (sscanf(line, "join %ld", &a) == 1)
        join(f, to, a);
    else if (sscanf(line, "back %ld", &a) == 1)
        back(f, (uint64_t)a);
    else if (sscanf(line, "wear %ld", &a) == 1)
        wear(f, a);
    else if (sscanf(line, "measure %ld", &a) == 1)
        measure(f, a);
    else if (strncmp(line, "answers", 7) == 0)
        answers(f, to);
    else if (sscanf(line, "submit %ld %63s %ld", &a, what, &b) == 3)
        submit(f, to, a, what, b);
    else if (sscanf(line, "work %ld %ld", &a, &b) == 2 && 0 <= a && a <= b) {
        f->now_ms = now_ms();
        f->work_min_ms = a;
        f->work_max_ms = b;
        for (size_t i = 0; i < f->n; i++)
            runner_rush(&f->v[i]);
    } else
        bench_die("no command '%s'", line);
    puts("done");
    fflush(stdout);
}

static void raise_fds(size_t n)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < n + 64)
        bench_die("%zu connections need as many open files; the hard limit is %llu", n,
                  (unsigned long long)limit.rlim_max);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    static bench_fleet f;
    static char line[256];
    struct sockaddr_in to = { .sin_family = AF_INET };
    struct epoll_event input = { EPOLLIN, { .ptr = NULL } };
    volt_err err;
    addr at;

    if (argc != 3 && argc != 4)
        bench_die("usage: bench_fleet SERVER RUNNERS [MS]");
    if (addr_parse(argv[1], &at, &err))
        bench_die("%s", err.msg);
    to.sin_port = htons((uint16_t)(at.port + 1));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f.n = (size_t)bench_number(argv[2], 1);
    f.echo_ms = argc == 4 ? bench_number(argv[3], 1) : 0;
    raise_fds(f.n);
    f.v = mem_array(f.n, sizeof *f.v);
    f.rng.state = (uint64_t)bench_now_ns();
    f.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (f.epoll < 0 || epoll_ctl(f.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input) < 0)
        bench_die("epoll: %s", strerror(errno));
    setvbuf(stdin, NULL, _IONBF, 0); /* what was read ahead would not be reported */
    for (;;) {
        while (turn(&f, now_ms() + 1000))
            ;
        if (!fgets(line, sizeof line, stdin) || strncmp(line, "quit", 4) == 0)
            break;
        command(&f, &to, line);
    }
    for (size_t i = 0; i < f.n; i++)
        runner_end(&f.v[i]);
    free(f.v);
    heap_free(&f.timers);
    agent_effects_free(&f.out);
    arena_free(&f.mem);
    buf_free(&f.frame);
    free(f.assigns_ms.v);
    free(f.beats_ms.v);
    return 0;
}
