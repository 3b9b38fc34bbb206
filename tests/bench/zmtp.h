/*
 * zmtp.h - a DEALER's connection spoken by hand: one descriptor and no thread, so that one process
 * has ten thousand of them.
 *
 * ZMTP 3.0 (rfc.zeromq.org/spec/23) with the NULL mechanism, messages of one part.  As libzmq does,
 * it connects again by itself 100 ms ... 2 s after a loss, what was to be sent meanwhile waits, and
 * nobody is told.
 */
#ifndef VOLT_BENCH_ZMTP_H
#define VOLT_BENCH_ZMTP_H

#include <netinet/in.h>

#include "base/buf.h"
#include "base/heap.h"
#include "base/prng.h"

typedef enum zmtp_state { ZMTP_DOWN, ZMTP_CONNECTING, ZMTP_GREETED, ZMTP_UP } zmtp_state;

typedef struct zmtp {
    int fd; /* -1: none */
    zmtp_state state;
    buf in;          /* bytes of a frame that has not come whole */
    buf out;         /* whole frames, the first of which may be sent in part */
    size_t out_sent; /* bytes of out */
    bool hears_writable;
    int64_t wait_ms;    /* before the next try */
    int64_t connect_at; /* HEAP_NEVER: not due */
    struct sockaddr_in to;
    int epoll;
    void *owner; /* epoll's answer */
} zmtp;

/* A message; the slice stands for the call. */
typedef void (*zmtp_fn)(void *owner, slice payload);

/* Connects at the next zmtp_tick(). */
void zmtp_init(zmtp *z, const struct sockaddr_in *to, int epoll, void *owner);
/* Drops the connection and what waits, and connects anew. */
void zmtp_renew(zmtp *z, int64_t now_ms);
/* Sends, or keeps it until there is a connection. */
void zmtp_send(zmtp *z, slice payload, int64_t now_ms, prng *rng);
/* epoll reported `events`. */
void zmtp_ready(zmtp *z, uint32_t events, int64_t now_ms, prng *rng, zmtp_fn fn);
/* Connects when that is due: at z->connect_at. */
void zmtp_tick(zmtp *z, int64_t now_ms, prng *rng);
void zmtp_free(zmtp *z);

#endif
