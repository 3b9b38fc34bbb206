#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include "base/buf.h"
#include "net/loop.h"
#include "net/sock.h"

#define FRAME_MAX 4096
#define WAIT_MS   10000 /* a guard against hangs */

static const sock_options plain = { .frame_max = FRAME_MAX };

/* Binds a socket of `kind` on free ports of localhost. */
static sock *bound(sock_kind kind, const sock_options *options, addr *at)
{
    volt_code code = VOLT_EEXISTS;
    sock *s = NULL;

    while (code == VOLT_EEXISTS) {
        addr_list list;

        sock_free(s);
        *at = (addr){ .host = "localhost" };
        assert_int_equal(addr_free_triple(at, NULL), VOLT_OK);
        assert_int_equal(addr_resolve(at, 0, &list, NULL), VOLT_OK);
        assert_int_equal(sock_new(kind, options, &s, NULL), VOLT_OK);
        code = sock_bind(s, &list, NULL);
    }
    assert_int_equal(code, VOLT_OK);
    return s;
}

static sock *connected(sock_kind kind, const sock_options *options, const addr *at)
{
    addr_list list;
    sock *s;

    assert_int_equal(addr_resolve(at, 0, &list, NULL), VOLT_OK);
    assert_int_equal(sock_new(kind, options, &s, NULL), VOLT_OK);
    assert_int_equal(sock_connect(s, list.v[0], NULL), VOLT_OK);
    return s;
}

/* Takes the next message, waiting for it. */
static slice take(sock *s, uint64_t *peer, slice *topic)
{
    slice payload = { 0 };

    while (sock_recv(s, peer, topic, &payload, NULL) == VOLT_EAGAIN) {
        zmq_pollitem_t item = { .socket = sock_raw(s), .events = ZMQ_POLLIN };

        assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    }
    return payload;
}

static void send_ok(sock *s, uint64_t peer, const char *text)
{
    assert_int_equal(sock_send(s, peer, (slice){ 0 }, slice_of(text), NULL), VOLT_OK);
}

static int raw_connect(const addr *at)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *found;
    char port[16];
    int fd;

    snprintf(port, sizeof port, "%d", at->port);
    assert_int_equal(getaddrinfo("127.0.0.1", port, &hints, &found), 0);
    fd = socket(found->ai_family, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, found->ai_addr, found->ai_addrlen), 0);
    freeaddrinfo(found);
    return fd;
}

static void a_router_answers_the_peer_that_asked(void **state)
{
    addr at;
    sock *router = bound(SOCK_ROUTER, &plain, &at);
    sock *a = connected(SOCK_DEALER, &plain, &at);
    sock *b = connected(SOCK_DEALER, &plain, &at);

    (void)state;
    send_ok(a, 0, "a");
    send_ok(b, 0, "b");
    for (int i = 0; i < 2; i++) {
        uint64_t peer = 0;
        slice from = take(router, &peer, NULL);
        char answer[3] = { from.p[0], '!', '\0' };

        assert_true(peer > 0);
        send_ok(router, peer, answer);
    }
    assert_true(slice_is(take(a, NULL, NULL), "a!"));
    assert_true(slice_is(take(b, NULL, NULL), "b!"));
    sock_free(a);
    sock_free(b);
    sock_free(router);
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 loopback = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool has = fd >= 0 && bind(fd, (const struct sockaddr *)&loopback, sizeof loopback) == 0;

    if (fd >= 0)
        close(fd);
    return has;
}

static void both_loopbacks_reach_the_same_socket(void **state)
{
    addr at;
    sock *pull = bound(SOCK_PULL, &plain, &at);
    addr_list list;

    (void)state;
    assert_int_equal(addr_resolve(&at, 0, &list, NULL), VOLT_OK);
    for (int i = 0; i < list.n; i++) {
        sock *push;

        if (strchr(list.v[i], '[') && !has_ipv6())
            continue;
        assert_int_equal(sock_new(SOCK_PUSH, &plain, &push, NULL), VOLT_OK);
        assert_int_equal(sock_connect(push, list.v[i], NULL), VOLT_OK);
        send_ok(push, 0, list.v[i]);
        assert_true(slice_is(take(pull, NULL, NULL), list.v[i]));
        sock_free(push);
    }
    sock_free(pull);
}

static void an_address_of_another_machine_is_passed_over(void **state)
{
    addr at = { .host = "127.0.0.1" };
    addr_list list;
    volt_err err = { 0 };
    sock *s;

    (void)state;
    assert_int_equal(addr_free_triple(&at, NULL), VOLT_OK);
    assert_int_equal(addr_resolve(&at, 0, &list, NULL), VOLT_OK);
    snprintf(list.v[1], ADDR_TEXT_MAX, "tcp://[2001:db8::7]:%d", at.port);
    snprintf(list.v[2], ADDR_TEXT_MAX, "tcp://192.0.2.7:%d", at.port);
    list.n = 3;
    assert_int_equal(sock_new(SOCK_PULL, &plain, &s, NULL), VOLT_OK);
    assert_int_equal(sock_bind(s, &list, &err), VOLT_OK);
    sock_free(s);

    memcpy(list.v[0], list.v[1], ADDR_TEXT_MAX);
    assert_int_equal(sock_new(SOCK_PULL, &plain, &s, NULL), VOLT_OK);
    assert_int_equal(sock_bind(s, &list, &err), VOLT_EIO);
    assert_non_null(strstr(err.msg, "192.0.2.7"));
    sock_free(s);
}

static void a_port_in_use_is_told(void **state)
{
    addr at;
    sock *first = bound(SOCK_PULL, &plain, &at);
    addr_list list;
    volt_err err = { 0 };
    sock *second;

    (void)state;
    assert_int_equal(addr_resolve(&at, 0, &list, NULL), VOLT_OK);
    assert_int_equal(sock_new(SOCK_PULL, &plain, &second, NULL), VOLT_OK);
    assert_int_equal(sock_bind(second, &list, &err), VOLT_EEXISTS);
    assert_non_null(strstr(err.msg, "in use"));
    sock_free(second);
    sock_free(first);
}

static void a_port_is_free_again_at_once(void **state)
{
    addr at;
    sock *router = bound(SOCK_ROUTER, &plain, &at);
    sock *dealer = connected(SOCK_DEALER, &plain, &at);
    int64_t limit = loop_now_ms() + WAIT_MS;
    addr_list list;
    int got;

    (void)state;
    send_ok(dealer, 0, "one");
    take(router, NULL, NULL);
    sock_free(router);
    assert_int_equal(addr_resolve(&at, 0, &list, NULL), VOLT_OK);
    for (int i = 0;; i++) { /* closing is done by libzmq's thread, a moment later */
        volt_code code;

        assert_int_equal(sock_new(SOCK_ROUTER, &plain, &router, NULL), VOLT_OK);
        code = sock_bind(router, &list, NULL);
        if (code == VOLT_OK)
            break;
        assert_int_equal(code, VOLT_EEXISTS);
        assert_true(i < 1000);
        sock_free(router);
        poll(NULL, 0, 1);
    }
    do { /* what went into the old connection is lost; a new one is made by itself */
        zmq_pollitem_t item = { .socket = sock_raw(router), .events = ZMQ_POLLIN };

        send_ok(dealer, 0, "two");
        got = zmq_poll(&item, 1, 20);
        assert_true(loop_now_ms() < limit);
    } while (!got);
    assert_true(slice_is(take(router, NULL, NULL), "two"));
    sock_free(dealer);
    sock_free(router);
}

static void a_peer_that_is_gone_is_unreachable(void **state)
{
    addr at;
    sock *router = bound(SOCK_ROUTER, &plain, &at);
    sock *dealer = connected(SOCK_DEALER, &plain, &at);
    volt_code code = VOLT_OK;
    uint64_t peer = 0;

    (void)state;
    send_ok(dealer, 0, "x");
    take(router, &peer, NULL);
    sock_free(dealer);
    for (int i = 0; code == VOLT_OK && i < 5000; i++) {
        code = sock_send(router, peer, (slice){ 0 }, SLICE("y"), NULL);
        poll(NULL, 0, 1);
    }
    assert_int_equal(code, VOLT_EUNREACHABLE);
    sock_free(router);
}

static void a_slow_peer_makes_eagain_and_disturbs_no_other(void **state)
{
    const sock_options small = { .frame_max = FRAME_MAX, .send_hwm = 10, .recv_hwm = 10 };
    static char bytes[FRAME_MAX];
    addr at;
    sock *router = bound(SOCK_ROUTER, &small, &at);
    sock *slow = connected(SOCK_DEALER, &small, &at);
    sock *quick = connected(SOCK_DEALER, &small, &at);
    uint64_t slow_peer = 0, quick_peer = 0;
    volt_code code = VOLT_OK;

    (void)state;
    send_ok(slow, 0, "s");
    take(router, &slow_peer, NULL);
    send_ok(quick, 0, "q");
    take(router, &quick_peer, NULL);
    for (int i = 0; code == VOLT_OK && i < 1000000; i++)
        code = sock_send(router, slow_peer, (slice){ 0 }, (slice){ bytes, sizeof bytes }, NULL);
    assert_int_equal(code, VOLT_EAGAIN);
    send_ok(router, quick_peer, "still here");
    assert_true(slice_is(take(quick, NULL, NULL), "still here"));
    sock_free(slow);
    sock_free(quick);
    sock_free(router);
}

static void a_push_without_a_peer_waits_then_makes_eagain(void **state)
{
    const sock_options small = { .frame_max = FRAME_MAX, .send_hwm = 3, .recv_hwm = 3 };
    addr at = { .host = "localhost" };
    volt_code code = VOLT_OK;
    sock *push;
    int sent = 0;

    (void)state;
    assert_int_equal(addr_free_triple(&at, NULL), VOLT_OK);
    push = connected(SOCK_PUSH, &small, &at);
    while (code == VOLT_OK && sent < 100) {
        code = sock_send(push, 0, (slice){ 0 }, SLICE("x"), NULL);
        sent += code == VOLT_OK;
    }
    assert_int_equal(code, VOLT_EAGAIN);
    assert_int_equal(sent, 3);
    sock_free(push);
}

static void disconnecting_drops_what_waits(void **state)
{
    addr at = { .host = "localhost" };
    addr_list list;
    sock *pull, *push;

    (void)state;
    assert_int_equal(addr_free_triple(&at, NULL), VOLT_OK);
    assert_int_equal(addr_resolve(&at, 0, &list, NULL), VOLT_OK);
    push = connected(SOCK_PUSH, &plain, &at);
    send_ok(push, 0, "old");
    assert_int_equal(sock_disconnect(push, list.v[0], NULL), VOLT_OK);
    assert_int_equal(sock_disconnect(push, list.v[0], NULL), VOLT_ENOTFOUND);
    assert_int_equal(sock_connect(push, list.v[1], NULL), VOLT_OK);
    assert_int_equal(sock_disconnect(push, list.v[1], NULL), VOLT_OK);
    assert_int_equal(sock_connect(push, list.v[0], NULL), VOLT_OK);
    send_ok(push, 0, "new");
    assert_int_equal(sock_new(SOCK_PULL, &plain, &pull, NULL), VOLT_OK);
    assert_int_equal(sock_bind(pull, &list, NULL), VOLT_OK);
    assert_true(slice_is(take(pull, NULL, NULL), "new"));
    sock_free(push);
    sock_free(pull);
}

static void what_a_peer_does_not_take_is_counted(void **state)
{
    enum { LARGE = 100000, MOST = 1000 };
    static char payload[LARGE];
    const sock_options wide = { .frame_max = LARGE + 1, .send_hwm = MOST + 1 };
    const sock_options narrow = { .frame_max = LARGE + 1, .recv_hwm = 1 };
    uint64_t peer;
    size_t most = 0;
    addr at;
    sock *router = bound(SOCK_ROUTER, &wide, &at);
    sock *dealer = connected(SOCK_DEALER, &narrow, &at);

    (void)state;
    send_ok(dealer, 0, "hello");
    take(router, &peer, NULL);
    assert_int_equal(sock_unsent(router), 0);
    send_ok(router, peer, "small"); /* does not count */
    for (int i = 0; i < MOST; i++)  /* more than the kernel takes for it */
        assert_int_equal(
            sock_send(router, peer, (slice){ 0 }, (slice){ payload, sizeof payload }, NULL),
            VOLT_OK);
    do { /* until libzmq's thread has given the kernel what it takes */
        most = sock_unsent(router);
        poll(NULL, 0, 100);
    } while (sock_unsent(router) != most);
    assert_true(most > (size_t)LARGE * MOST / 2);
    assert_int_equal(sock_unsent_to(router, peer), most);
    assert_int_equal(sock_unsent_to(router, peer + 1), 0);

    take(dealer, NULL, NULL);
    for (int i = 0; i < MOST; i++)
        assert_int_equal(take(dealer, NULL, NULL).n, LARGE);
    for (int ms = 0; sock_unsent(router) && ms < WAIT_MS; ms++)
        poll(NULL, 0, 1);
    assert_int_equal(sock_unsent(router), 0);

    for (int i = 0; i < MOST; i++)
        sock_send(router, peer, (slice){ 0 }, (slice){ payload, sizeof payload }, NULL);
    sock_free(router); /* what was not taken is dropped, and its memory freed */
    sock_free(dealer);
}

static void subscribers_get_the_topics_they_asked_for(void **state)
{
    addr at;
    sock *pub = bound(SOCK_PUB, &plain, &at);
    sock *sub = connected(SOCK_SUB, &plain, &at);
    slice topic = { 0 }, payload = { 0 };

    (void)state;
    assert_int_equal(sock_subscribe(sub, SLICE("l.42."), NULL), VOLT_OK);
    for (int i = 0; i < 5000; i++) { /* until the subscription has arrived */
        assert_int_equal(sock_send(pub, 0, SLICE("l.4."), SLICE("other"), NULL), VOLT_OK);
        assert_int_equal(sock_send(pub, 0, SLICE("l.42."), SLICE("mine"), NULL), VOLT_OK);
        if (sock_recv(sub, NULL, &topic, &payload, NULL) == VOLT_OK)
            break;
        poll(NULL, 0, 1);
    }
    assert_true(slice_is(topic, "l.42."));
    assert_true(slice_is(payload, "mine"));
    sock_free(sub);
    sock_free(pub);
}

static void odd_numbers_of_parts_are_dropped_and_counted(void **state)
{
    addr at;
    sock *router = bound(SOCK_ROUTER, &plain, &at);
    sock *dealer = connected(SOCK_DEALER, &plain, &at);
    void *raw = sock_raw(dealer);

    (void)state;
    zmq_send(raw, "", 0, ZMQ_SNDMORE);
    zmq_send(raw, "two", 3, 0);
    for (int i = 0; i < 9; i++)
        zmq_send(raw, "part", 4, ZMQ_SNDMORE);
    zmq_send(raw, "end", 3, 0);
    send_ok(dealer, 0, "good");
    assert_true(slice_is(take(router, NULL, NULL), "good"));
    assert_int_equal(sock_odd(router), 2);
    sock_free(dealer);
    sock_free(router);
}

static void a_peer_with_an_id_of_its_own_is_dropped_and_counted(void **state)
{
    addr at;
    sock *router = bound(SOCK_ROUTER, &plain, &at);
    sock *dealer = connected(SOCK_DEALER, &plain, &at);
    sock *named;
    addr_list list;

    (void)state;
    assert_int_equal(addr_resolve(&at, 0, &list, NULL), VOLT_OK);
    assert_int_equal(sock_new(SOCK_DEALER, &plain, &named, NULL), VOLT_OK);
    zmq_setsockopt(sock_raw(named), ZMQ_ROUTING_ID, "me", 2);
    assert_int_equal(sock_connect(named, list.v[0], NULL), VOLT_OK);
    send_ok(named, 0, "bad");
    while (sock_odd(router) == 0) {
        send_ok(dealer, 0, "good");
        assert_true(slice_is(take(router, NULL, NULL), "good"));
    }
    sock_free(named);
    sock_free(dealer);
    sock_free(router);
}

static void garbage_and_oversize_frames_are_cut_and_disturb_nobody(void **state)
{
    static char big[FRAME_MAX + 1];
    addr at;
    sock *router = bound(SOCK_ROUTER, &plain, &at);
    sock *dealer = connected(SOCK_DEALER, &plain, &at);
    sock *rude = connected(SOCK_DEALER, &plain, &at);
    char answer[64], noise[512];
    int fds[8];

    (void)state;
    srandom(1);
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        fds[i] = raw_connect(&at);
        for (size_t k = 0; k < sizeof noise; k++)
            noise[k] = (char)random();
        if (i % 2) /* a ZMTP 3 greeting, then garbage */
            memcpy(noise, "\xff\0\0\0\0\0\0\0\x01\x7f\x03", 11);
        assert_true(send(fds[i], noise, sizeof noise, MSG_NOSIGNAL) > 0);
    }
    for (int i = 0; i < 20; i++) {
        assert_int_equal(sock_send(rude, 0, (slice){ 0 }, (slice){ big, sizeof big }, NULL),
                         VOLT_OK);
        send_ok(dealer, 0, "good");
        assert_true(slice_is(take(router, NULL, NULL), "good"));
    }
    assert_int_equal(sock_send(dealer, 0, (slice){ 0 }, (slice){ big, FRAME_MAX }, NULL), VOLT_OK);
    assert_int_equal(take(router, NULL, NULL).n, FRAME_MAX);
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        struct pollfd p = { .fd = fds[i], .events = POLLIN };
        ssize_t n;

        if (i % 2 == 0) /* a random first byte may look like a greeting that is not complete */
            shutdown(fds[i], SHUT_WR);
        do {
            assert_int_equal(poll(&p, 1, 20000), 1);
            n = read(fds[i], answer, sizeof answer);
        } while (n > 0);
        close(fds[i]);
    }
    sock_free(rude);
    sock_free(dealer);
    sock_free(router);
}

/* What a process starts must not inherit the dispatcher's ports. */
static void descriptors_close_on_exec(void **state)
{
    addr at;
    sock *router = bound(SOCK_ROUTER, &plain, &at);
    sock *dealer = connected(SOCK_DEALER, &plain, &at);
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *e;

    (void)state;
    send_ok(dealer, 0, "x");
    take(router, NULL, NULL);
    while ((e = readdir(dir)) != NULL) {
        int fd = atoi(e->d_name);

        if (e->d_name[0] != '.' && fd > 2 && fd != dirfd(dir)) {
            char link[64], to[256] = "";

            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            if (readlink(link, to, sizeof to - 1) > 0 && strncmp(to, "socket:", 7) == 0)
                assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        }
    }
    closedir(dir);
    sock_free(dealer);
    sock_free(router);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_router_answers_the_peer_that_asked),
        cmocka_unit_test(both_loopbacks_reach_the_same_socket),
        cmocka_unit_test(an_address_of_another_machine_is_passed_over),
        cmocka_unit_test(a_port_in_use_is_told),
        cmocka_unit_test(a_port_is_free_again_at_once),
        cmocka_unit_test(a_peer_that_is_gone_is_unreachable),
        cmocka_unit_test(a_slow_peer_makes_eagain_and_disturbs_no_other),
        cmocka_unit_test(a_push_without_a_peer_waits_then_makes_eagain),
        cmocka_unit_test(disconnecting_drops_what_waits),
        cmocka_unit_test(what_a_peer_does_not_take_is_counted),
        cmocka_unit_test(subscribers_get_the_topics_they_asked_for),
        cmocka_unit_test(odd_numbers_of_parts_are_dropped_and_counted),
        cmocka_unit_test(a_peer_with_an_id_of_its_own_is_dropped_and_counted),
        cmocka_unit_test(garbage_and_oversize_frames_are_cut_and_disturb_nobody),
        cmocka_unit_test(descriptors_close_on_exec),
    };

    sock_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
