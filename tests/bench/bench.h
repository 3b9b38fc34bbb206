/*
 * bench.h - what the benchmark's programs share: clocks, spread of samples, a connection.
 *
 * They print "name value" lines for scripts/bench, and end with a word on standard error and
 * status 1 when anything goes wrong.
 */
#ifndef VOLT_BENCH_H
#define VOLT_BENCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/prng.h"
#include "net/sock.h"
#include "wire/codec.h"

/* CLOCK_MONOTONIC, which is one clock for all processes of the machine. */
int64_t bench_now_ns(void);
double bench_now_s(void);
void bench_sleep_ms(int64_t ms);

/* Ends the program. */
void __attribute__((noreturn, format(printf, 1, 2))) bench_die(const char *fmt, ...);
/* A number of at least `min` from the command line. */
long bench_number(const char *text, long min);

/* Sorts v; the sample below which `part` (0..1) of them lie. */
double bench_part(double *v, size_t n, double part);

/* A socket to SERVER ("host:port"): DEALER to port + 1, SUB to port + 2. */
sock *bench_connect(sock_kind kind, const char *server);
/* Waits for room. */
void bench_send(sock *s, const msg *m);
/* Waits until something is there or until_s, then decodes it into `mem`.  False: the time is up. */
bool bench_recv(sock *s, arena *mem, msg *ret, double until_s);

#endif
