#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/slice.h"
#include "net/addr.h"

static void reads_what_people_write(void **state)
{
    static const struct {
        const char *text, *host;
        int port;
        const char *again;
    } good[] = {
        { "localhost", "localhost", 8888, "localhost:8888" },
        { "localhost:9000", "localhost", 9000, "localhost:9000" },
        { "10.1.2.3:1", "10.1.2.3", 1, "10.1.2.3:1" },
        { "ci.example.org:65533", "ci.example.org", 65533, "ci.example.org:65533" },
        { "[::1]:8000", "::1", 8000, "[::1]:8000" },
        { "[::1]", "::1", 8888, "[::1]:8888" },
        { "::1", "::1", 8888, "[::1]:8888" },
        { "fe80::1%eth0", "fe80::1%eth0", 8888, "[fe80::1%eth0]:8888" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char again[300];
        addr a;

        assert_int_equal(addr_parse(good[i].text, &a, NULL), VOLT_OK);
        assert_string_equal(a.host, good[i].host);
        assert_int_equal(a.port, good[i].port);
        addr_print(&a, again, sizeof again);
        assert_string_equal(again, good[i].again);
    }
}

static void refuses_the_rest_and_names_it(void **state)
{
    static const char *const bad[] = {
        "",         ":8888",     "host:",      "host:x",   "host:0",          "host:65534",
        "[::1",     "[::1]8888", "[]:8888",    "ho st:80", "tcp://host:8888", "host:-1",
        "host: 80", "host:+80",  "host:80abc",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        volt_err err = { 0 };
        addr a;

        assert_int_equal(addr_parse(bad[i], &a, &err), VOLT_EINVALID);
        if (*bad[i])
            assert_non_null(strstr(err.msg, bad[i]));
    }
}

static void localhost_is_both_loopbacks(void **state)
{
    addr a = { .host = "localhost", .port = 7000 };
    addr_list list;

    (void)state;
    assert_int_equal(addr_resolve(&a, 1, &list, NULL), VOLT_OK);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.v[0], "tcp://127.0.0.1:7001");
    assert_string_equal(list.v[1], "tcp://[::1]:7001");
}

static void numbers_resolve_to_themselves(void **state)
{
    addr a = { .host = "192.0.2.7", .port = 7000 };
    addr b = { .host = "2001:db8::1", .port = 7000 };
    addr_list list;

    (void)state;
    assert_int_equal(addr_resolve(&a, 2, &list, NULL), VOLT_OK);
    assert_int_equal(list.n, 1);
    assert_string_equal(list.v[0], "tcp://192.0.2.7:7002");
    assert_int_equal(addr_resolve(&b, 0, &list, NULL), VOLT_OK);
    assert_int_equal(list.n, 1);
    assert_string_equal(list.v[0], "tcp://[2001:db8::1]:7000");
}

static void an_unknown_name_is_unreachable(void **state)
{
    addr a = { .host = "no-such-host.invalid", .port = 7000 }; /* RFC 6761: never exists */
    volt_err err = { 0 };
    addr_list list;

    (void)state;
    assert_int_equal(addr_resolve(&a, 0, &list, &err), VOLT_EUNREACHABLE);
    assert_non_null(strstr(err.msg, "no-such-host.invalid"));
}

static int listen_at(int port)
{
    struct sockaddr_in in = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void a_free_triple_avoids_what_is_taken(void **state)
{
    addr a = { .host = "localhost" };
    int fd, first;

    (void)state;
    assert_int_equal(addr_free_triple(&a, NULL), VOLT_OK);
    assert_in_range(a.port, 1024, ADDR_PORT_MAX);
    first = a.port;
    fd = listen_at(first + 2);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(addr_free_triple(&a, NULL), VOLT_OK);
        assert_int_not_equal(a.port, first);
    }
    close(fd);
}

static void a_probe_tells_refused_from_there(void **state)
{
    addr a = { .host = "localhost" };
    volt_err err = { 0 };
    addr_list list;
    int fd;

    (void)state;
    assert_int_equal(addr_free_triple(&a, NULL), VOLT_OK);
    assert_int_equal(addr_resolve(&a, 0, &list, NULL), VOLT_OK);
    assert_int_equal(addr_probe(&list, 1000, &err), VOLT_EUNREACHABLE);
    assert_string_equal(err.msg, "connection refused");
    fd = listen_at(a.port);
    assert_int_equal(addr_probe(&list, 1000, &err), VOLT_OK);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_people_write),
        cmocka_unit_test(refuses_the_rest_and_names_it),
        cmocka_unit_test(localhost_is_both_loopbacks),
        cmocka_unit_test(numbers_resolve_to_themselves),
        cmocka_unit_test(an_unknown_name_is_unreachable),
        cmocka_unit_test(a_free_triple_avoids_what_is_taken),
        cmocka_unit_test(a_probe_tells_refused_from_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
