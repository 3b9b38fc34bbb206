#include "net/sock.h"

#include <assert.h>
#include <czmq.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/mem.h"

#define ID_LEN           5 /* of a routing id that libzmq made: a zero byte and 32 bits */
#define HWM_DEFAULT      1000
#define BACKLOG          4096  /* 1,000 runners that come back at once (measured: 0.8 s) */
#define HANDSHAKE_MS     15000 /* a connection that does not speak ZMTP is cut after */
#define CONNECT_MS       3000  /* a SYN without an answer: try again, perhaps elsewhere */
#define RECONNECT_MS     100
#define RECONNECT_MAX_MS 2000
#define SOCKETS_MAX      4096 /* a process; 12 bytes each are taken beforehand */
#define ODD_IN_A_ROW     256  /* dropped in one sock_recv() before others get their turn */
#define FDS_WANTED       65536
#define FDS_SPARE        32   /* a socket needs some ten, and its first one the library's own */
#define TALLY_PLACES     4096 /* peers share one when their numbers do */

/* What of the large payloads is still in libzmq, whose thread gives them back.  It outlives the
 * socket as long as they do. */
typedef struct tally {
    atomic_size_t refs;
    atomic_size_t all;
    atomic_size_t of[TALLY_PLACES];
} tally;

typedef struct large {
    tally *tally;
    size_t place, n;
    char bytes[];
} large;

struct sock {
    zsock_t *z;
    tally *tally; /* NULL: nothing large was sent yet */
    void *raw;    /* z's libzmq socket */
    sock_kind kind;
    uint64_t odd;
    zmq_msg_t head; /* of the message last taken: routing id or topic */
    zmq_msg_t body;
};

void sock_setup(void)
{
    zsys_handler_set(NULL); /* signals are loop.c's */
    zsys_set_io_threads(1);
    zsys_set_max_sockets(SOCKETS_MAX);
    zsys_set_linger(0);
    zsys_init();
}

void sock_more_fds(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    if (limit.rlim_cur < FDS_WANTED && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < FDS_WANTED ? limit.rlim_max : FDS_WANTED;
        setrlimit(RLIMIT_NOFILE, &limit); /* without it there is room for fewer peers, no more */
    }
}

static void set_int(sock *s, int option, int value)
{
    int rc = zmq_setsockopt(s->raw, option, &value, sizeof value);

    assert(rc == 0); /* our own constants on a socket of ours */
}

/* Without descriptors libzmq and czmq abort the process. */
static volt_code check_fds(volt_err *err)
{
    CLEANUP(close)
    int first = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct rlimit limit = { 0 };
    int spare[FDS_SPARE], n = 0;

    while (first >= 0 && n < FDS_SPARE && (spare[n] = fcntl(first, F_DUPFD_CLOEXEC, 0)) >= 0)
        n++;
    for (int i = 0; i < n; i++)
        close(spare[i]);
    if (n == FDS_SPARE)
        return VOLT_OK;
    getrlimit(RLIMIT_NOFILE, &limit);
    return volt_fail(err, VOLT_EFULL,
                     "make a socket: this process may open %llu files at once, which are too few; "
                     "raise the limit (ulimit -n)",
                     (unsigned long long)limit.rlim_cur);
}

volt_code sock_new(sock_kind kind, const sock_options *options, sock **ret, volt_err *err)
{
    static const int types[] = {
        [SOCK_PULL] = ZMQ_PULL,     [SOCK_PUSH] = ZMQ_PUSH, [SOCK_ROUTER] = ZMQ_ROUTER,
        [SOCK_DEALER] = ZMQ_DEALER, [SOCK_PUB] = ZMQ_PUB,   [SOCK_SUB] = ZMQ_SUB
    };
    zsock_t *z;
    sock *s;
    int rc;

    assert(options && options->frame_max > 0 && ret);
    if (check_fds(err))
        return VOLT_EFULL;
    z = zsock_new(types[kind]);
    if (!z)
        return volt_fail(err, VOLT_EIO, "make a socket: %s", zmq_strerror(errno));
    s = NEW(sock);
    s->z = z;
    s->raw = zsock_resolve(z);
    s->kind = kind;
    zmq_msg_init(&s->head);
    zmq_msg_init(&s->body);
    rc = zmq_setsockopt(s->raw, ZMQ_MAXMSGSIZE, &options->frame_max, sizeof options->frame_max);
    assert(rc == 0);
    set_int(s, ZMQ_SNDHWM, options->send_hwm ? options->send_hwm : HWM_DEFAULT);
    set_int(s, ZMQ_RCVHWM, options->recv_hwm ? options->recv_hwm : HWM_DEFAULT);
    set_int(s, ZMQ_LINGER, 0);
    set_int(s, ZMQ_BACKLOG, BACKLOG);
    set_int(s, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS);
    set_int(s, ZMQ_CONNECT_TIMEOUT, CONNECT_MS);
    set_int(s, ZMQ_RECONNECT_IVL, RECONNECT_MS);
    set_int(s, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);
    /* Peers that vanished without a word (power, network) would be kept for ever. */
    set_int(s, ZMQ_TCP_KEEPALIVE, 1);
    set_int(s, ZMQ_TCP_KEEPALIVE_IDLE, 60);
    set_int(s, ZMQ_TCP_KEEPALIVE_INTVL, 15);
    set_int(s, ZMQ_TCP_KEEPALIVE_CNT, 4);
    if (kind == SOCK_ROUTER)
        set_int(s, ZMQ_ROUTER_MANDATORY, 1);
    *ret = s;
    return VOLT_OK;
}

static void tally_release(tally *t)
{
    if (t && atomic_fetch_sub(&t->refs, 1) == 1)
        free(t);
}

void sock_free_linger(sock *s, int linger_ms)
{
    if (!s)
        return;
    set_int(s, ZMQ_LINGER, linger_ms);
    zmq_msg_close(&s->head);
    zmq_msg_close(&s->body);
    zsock_destroy(&s->z);
    tally_release(s->tally);
    free(s);
}

void sock_free(sock *s)
{
    sock_free_linger(s, 0);
}

/* Only where it is one: with the option on, libzmq makes mapped IPv6 addresses of IPv4 ones. */
static void set_family(sock *s, const char *endpoint)
{
    set_int(s, ZMQ_IPV6, strchr(endpoint, '[') != NULL);
}

volt_code sock_bind(sock *s, const addr_list *list, volt_err *err)
{
    int bound = 0, failed = 0, failed_at = 0;

    assert(list->n > 0);
    for (int i = 0; i < list->n; i++) {
        int e;

        set_family(s, list->v[i]);
        if (zmq_bind(s->raw, list->v[i]) == 0) {
            bound++;
            continue;
        }
        e = errno;
        if (e == EADDRINUSE)
            return volt_fail(err, VOLT_EEXISTS, "%s is in use by another process",
                             list->v[i] + strlen("tcp://"));
        if (e != EADDRNOTAVAIL && e != EAFNOSUPPORT && e != ENODEV)
            return volt_fail(err, VOLT_EIO, "listen at %s: %s", list->v[i] + strlen("tcp://"),
                             zmq_strerror(e));
        failed = e; /* an address of a family or interface that this machine has not */
        failed_at = i;
    }
    if (!bound)
        return volt_fail(err, VOLT_EIO, "listen at %s: %s", list->v[failed_at] + strlen("tcp://"),
                         zmq_strerror(failed));
    return VOLT_OK;
}

volt_code sock_connect(sock *s, const char *endpoint, volt_err *err)
{
    set_family(s, endpoint);
    if (zmq_connect(s->raw, endpoint) < 0)
        return volt_fail(err, VOLT_EIO, "connect to %s: %s", endpoint, zmq_strerror(errno));
    return VOLT_OK;
}

volt_code sock_disconnect(sock *s, const char *endpoint, volt_err *err)
{
    set_family(s, endpoint);
    if (zmq_disconnect(s->raw, endpoint) < 0)
        return volt_fail(err, errno == ENOENT ? VOLT_ENOTFOUND : VOLT_EIO, "disconnect from %s: %s",
                         endpoint, zmq_strerror(errno));
    return VOLT_OK;
}

volt_code sock_subscribe(sock *s, slice topic, volt_err *err)
{
    assert(s->kind == SOCK_SUB);
    if (zmq_setsockopt(s->raw, ZMQ_SUBSCRIBE, topic.p ? topic.p : "", topic.n) < 0)
        return volt_fail(err, VOLT_EIO, "subscribe to '" SLICE_FMT "': %s", SLICE_ARG(topic),
                         zmq_strerror(errno));
    return VOLT_OK;
}

volt_code sock_unsubscribe(sock *s, slice topic, volt_err *err)
{
    assert(s->kind == SOCK_SUB);
    if (zmq_setsockopt(s->raw, ZMQ_UNSUBSCRIBE, topic.p ? topic.p : "", topic.n) < 0)
        return volt_fail(err, VOLT_EIO, "unsubscribe from '" SLICE_FMT "': %s", SLICE_ARG(topic),
                         zmq_strerror(errno));
    return VOLT_OK;
}

/* A peer's number is its routing id's 32 bits below a one, so that none is 0. */
#define PEER_MARK (UINT64_C(1) << 32)

static void peer_to_id(uint64_t peer, unsigned char id[ID_LEN])
{
    id[0] = 0;
    for (int i = 1; i < ID_LEN; i++)
        id[i] = (unsigned char)(peer >> (8 * (ID_LEN - 1 - i)));
}

/* 0: an id that the peer has chosen itself, which VOLT/1 does not have. */
static uint64_t peer_of_id(zmq_msg_t *m)
{
    const unsigned char *id = zmq_msg_data(m);
    uint64_t peer = 1;

    if (zmq_msg_size(m) != ID_LEN || id[0] != 0)
        return 0;
    for (int i = 1; i < ID_LEN; i++)
        peer = peer << 8 | id[i];
    return peer;
}

/* Of a send that failed. */
static volt_code send_failed(volt_err *err)
{
    if (errno == EAGAIN)
        return VOLT_EAGAIN;
    if (errno == EHOSTUNREACH)
        return volt_fail(err, VOLT_EUNREACHABLE, "the peer is gone");
    return volt_fail(err, VOLT_EIO, "send: %s", zmq_strerror(errno));
}

static volt_code send_frame(sock *s, const void *p, size_t n, int flags, volt_err *err)
{
    while (zmq_send(s->raw, p, n, flags | ZMQ_DONTWAIT) < 0)
        if (errno != EINTR)
            return send_failed(err);
    return VOLT_OK;
}

/* Called from libzmq's thread. */
static void large_done(void *bytes, void *hint)
{
    large *l = hint;

    (void)bytes;
    atomic_fetch_sub(&l->tally->all, l->n);
    atomic_fetch_sub(&l->tally->of[l->place], l->n);
    tally_release(l->tally);
    free(l);
}

static volt_code make_large(sock *s, uint64_t peer, slice payload, zmq_msg_t *ret, volt_err *err)
{
    large *l = mem_grow(NULL, 1, sizeof *l + payload.n);

    if (!s->tally) {
        s->tally = NEW(tally);
        s->tally->refs = 1;
    }
    *l = (large){ .tally = s->tally, .place = peer % TALLY_PLACES, .n = payload.n };
    memcpy(l->bytes, payload.p, payload.n);
    atomic_fetch_add(&l->tally->refs, 1);
    atomic_fetch_add(&l->tally->all, l->n);
    atomic_fetch_add(&l->tally->of[l->place], l->n);
    if (zmq_msg_init_data(ret, l->bytes, l->n, large_done, l) == 0)
        return VOLT_OK;
    large_done(l->bytes, l);
    return volt_fail(err, VOLT_EIO, "send: no memory");
}

static volt_code send_payload(sock *s, uint64_t peer, slice payload, volt_err *err)
{
    zmq_msg_t m;
    volt_code code;

    if (payload.n < SOCK_LARGE)
        return send_frame(s, payload.p, payload.n, 0, err);
    code = make_large(s, peer, payload, &m, err);
    if (code)
        return code;
    while (code == VOLT_OK && zmq_msg_send(&m, s->raw, ZMQ_DONTWAIT) < 0)
        if (errno != EINTR)
            code = send_failed(err);
    zmq_msg_close(&m); /* what was sent is libzmq's, and this an empty one */
    return code;
}

volt_code sock_send(sock *s, uint64_t peer, slice topic, slice payload, volt_err *err)
{
    volt_code code = VOLT_OK;

    if (s->kind == SOCK_ROUTER) {
        unsigned char id[ID_LEN];

        assert(peer >= PEER_MARK && peer < 2 * PEER_MARK); /* sock_recv() gave it */
        peer_to_id(peer, id);
        code = send_frame(s, id, sizeof id, ZMQ_SNDMORE, err);
    } else if (s->kind == SOCK_PUB) {
        code = send_frame(s, topic.p, topic.n, ZMQ_SNDMORE, err);
    }
    if (code)
        return code;
    return send_payload(s, peer, payload, err);
}

size_t sock_unsent(const sock *s)
{
    return s->tally ? atomic_load(&s->tally->all) : 0;
}

size_t sock_unsent_to(const sock *s, uint64_t peer)
{
    return s->tally ? atomic_load(&s->tally->of[peer % TALLY_PLACES]) : 0;
}

/* False with errno. */
static bool recv_frame(sock *s, zmq_msg_t *m)
{
    int rc;

    do
        rc = zmq_msg_recv(m, s->raw, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    return rc >= 0;
}

/* Takes what is left of the message whose part `m` was the last one taken.  True: there was some.
 */
static bool drop_rest(sock *s, zmq_msg_t *m)
{
    bool some = false;

    while (zmq_msg_more(m)) {
        some = true;
        if (!recv_frame(s, m))
            break; /* parts of a message come together; only a socket that fails gets here */
    }
    return some;
}

static slice msg_slice(zmq_msg_t *m)
{
    return (slice){ zmq_msg_data(m), zmq_msg_size(m) };
}

volt_code sock_recv(sock *s, uint64_t *peer, slice *topic, slice *payload, volt_err *err)
{
    bool two = s->kind == SOCK_ROUTER || s->kind == SOCK_SUB;

    for (int i = 0; i < ODD_IN_A_ROW; i++) {
        zmq_msg_t *first = two ? &s->head : &s->body;
        uint64_t from = 0;

        if (!recv_frame(s, first)) {
            if (errno == EAGAIN)
                return VOLT_EAGAIN;
            return volt_fail(err, VOLT_EIO, "receive: %s", zmq_strerror(errno));
        }
        if (s->kind == SOCK_ROUTER)
            from = peer_of_id(&s->head);
        if (two && (!zmq_msg_more(&s->head) || !recv_frame(s, &s->body))) {
            s->odd++;
            continue;
        }
        if (drop_rest(s, &s->body) || (s->kind == SOCK_ROUTER && from == 0)) {
            s->odd++;
            continue;
        }
        if (peer)
            *peer = from;
        if (topic)
            *topic = s->kind == SOCK_SUB ? msg_slice(&s->head) : (slice){ 0 };
        *payload = msg_slice(&s->body);
        return VOLT_OK;
    }
    return VOLT_EAGAIN;
}

uint64_t sock_odd(const sock *s)
{
    return s->odd;
}

void *sock_raw(sock *s)
{
    return s->raw;
}
