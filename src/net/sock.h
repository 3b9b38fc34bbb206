/*
 * sock.h - ZeroMQ sockets as Volt uses them: raw frames, bounded, never blocking.
 *
 * A send is not a delivery: whoever needs one waits for an answer.
 * Constructed through czmq's zsock, moved with libzmq's zmq_msg_t (an echo over zmsg costs 5-7
 * times the CPU).
 */
#ifndef VOLT_NET_SOCK_H
#define VOLT_NET_SOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"
#include "net/addr.h"

typedef struct sock sock;

typedef enum sock_kind {
    SOCK_PULL,
    SOCK_PUSH,
    SOCK_ROUTER,
    SOCK_DEALER,
    SOCK_PUB,
    SOCK_SUB
} sock_kind;

#define SOCK_LARGE 4096 /* bytes; what is smaller is bounded by the high-water marks */

typedef struct sock_options {
    int64_t frame_max; /* bytes, > 0: largest frame taken from a peer; who sends more is cut off */
    int send_hwm, recv_hwm; /* messages; 0: 1,000 */
} sock_options;

/* Once at the start of main, before any other use: czmq without its signal handlers. */
void sock_setup(void);
/* Raises the soft limit of open files, for a process that many peers connect to.  Not for one that
 * starts other people's programs: they inherit it, and select() breaks above 1,024. */
void sock_more_fds(void);

/* VOLT_EFULL: out of file descriptors, or nearly.  VOLT_EIO: out of memory. */
volt_code sock_new(sock_kind kind, const sock_options *options, sock **ret, volt_err *err);
/* Closes at once, dropping what was not sent (LINGER 0); sock_free_linger waits up to linger_ms. */
void sock_free(sock *s);
void sock_free_linger(sock *s, int linger_ms);

/* Binds every endpoint of the list.  Those of an address family or interface that this machine has
 * not are passed over when another one works.  After a failure free the socket: some may be bound.
 * VOLT_EEXISTS: the port is in use.  VOLT_EIO. */
volt_code sock_bind(sock *s, const addr_list *list, volt_err *err);
/* Connects to one endpoint; libzmq reconnects by itself (100 ms … 2 s).  What is sent before the
 * connection stands, or while it is broken, waits in the socket; sock_disconnect() drops it. */
volt_code sock_connect(sock *s, const char *endpoint, volt_err *err);
/* VOLT_ENOTFOUND: was not connected to it. */
volt_code sock_disconnect(sock *s, const char *endpoint, volt_err *err);
volt_code sock_subscribe(sock *s, slice topic, volt_err *err);
volt_code sock_unsubscribe(sock *s, slice topic, volt_err *err);

/* Sends without blocking.  `peer` addresses a ROUTER's peer and is ignored otherwise; `topic` (may
 * be empty) is a first frame of a PUB.
 * VOLT_EAGAIN (*err is left alone): would block (PUSH, DEALER, ROUTER with a full pipe).
 * VOLT_EUNREACHABLE: a ROUTER's peer is gone. */
volt_code sock_send(sock *s, uint64_t peer, slice topic, slice payload, volt_err *err);

/* Takes one message without blocking.  *payload (and *topic for a SUB) stand until the next
 * sock_recv() on this socket.  A message of another number of parts, or of a peer that chose its
 * own routing id, is dropped and counted (sock_odd()).  `peer` and `topic` may be NULL.
 * VOLT_EAGAIN (*err is left alone): nothing there. */
volt_code sock_recv(sock *s, uint64_t *peer, slice *topic, slice *payload, volt_err *err);

/* Bytes of large payloads (SOCK_LARGE and more) that sock_send() took and that were not handed to
 * the kernel yet: all of them, or those to a ROUTER's `peer`.  A peer may be charged with those of
 * another one, rarely. */
size_t sock_unsent(const sock *s);
size_t sock_unsent_to(const sock *s, uint64_t peer);
/* Messages that sock_recv() dropped. */
uint64_t sock_odd(const sock *s);
/* For zmq_poll. */
void *sock_raw(sock *s);

#endif
