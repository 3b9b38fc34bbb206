#include "bench.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <zmq.h>

#define RECV_HWM 1000000 /* nothing published may be lost here */

int64_t bench_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

double bench_now_s(void)
{
    return (double)bench_now_ns() / 1e9;
}

void bench_sleep_ms(int64_t ms)
{
    nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

void bench_die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("bench: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

long bench_number(const char *text, long min)
{
    char *end;
    long n = strtol(text, &end, 10);

    if (end == text || *end || n < min)
        bench_die("'%s' is not a number of at least %ld", text, min);
    return n;
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

double bench_part(double *v, size_t n, double part)
{
    size_t i = (size_t)(part * (double)n);

    if (n == 0)
        bench_die("no samples");
    qsort(v, n, sizeof *v, compare);
    return v[i < n ? i : n - 1];
}

sock *bench_connect(sock_kind kind, const char *server)
{
    const sock_options options = { .frame_max = 2 * WIRE_WORK_MAX, .recv_hwm = RECV_HWM };
    addr_list list;
    volt_err err;
    addr at;
    sock *s;

    if (addr_parse(server, &at, &err) || addr_resolve(&at, kind == SOCK_SUB ? 2 : 1, &list, &err) ||
        sock_new(kind, &options, &s, &err) || sock_connect(s, list.v[0], &err))
        bench_die("%s", err.msg);
    return s;
}

void bench_send(sock *s, const msg *m)
{
    buf out = { 0 };

    wire_encode(m, &out);
    while (sock_send(s, 0, (slice){ 0 }, buf_slice(&out), NULL) == VOLT_EAGAIN)
        poll(NULL, 0, 1);
    buf_free(&out);
}

bool bench_recv(sock *s, arena *mem, msg *ret, double until_s)
{
    slice topic, frame;
    volt_err err;

    for (;;) {
        zmq_pollitem_t item = { .socket = sock_raw(s), .events = ZMQ_POLLIN };
        double left = until_s - bench_now_s();

        if (sock_recv(s, NULL, &topic, &frame, NULL) == VOLT_OK) {
            arena_reset(mem);
            if (wire_decode(frame, mem, ret, &err))
                bench_die("%s", err.msg);
            return true;
        }
        if (left <= 0)
            return false;
        zmq_poll(&item, 1, (long)(left * 1000) + 1);
    }
}
