#include "net/addr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/slice.h"
#include "base/text.h"

#define PORT_LOWEST     10240 /* of free triples: above what servers and administrators like */
#define TRIPLE_TRIES    500
#define EPHEMERAL_FIRST 32768 /* Linux's default, when /proc does not tell */

DEFINE_CLEANUP(struct addrinfo *, freeaddrinfo);
DEFINE_CLEANUP(FILE *, fclose);

volt_code addr_parse(const char *s, addr *ret, volt_err *err)
{
    const char *host = s, *port = NULL, *end = s + strlen(s);
    const char *colon = strchr(s, ':');
    int64_t number = ADDR_PORT;
    volt_err why;

    assert(s && ret);
    if (*s == '[') {
        const char *close = strchr(s, ']');

        if (!close || (close[1] && close[1] != ':'))
            return volt_fail(err, VOLT_EINVALID, "'%s' is not HOST:PORT (try [::1]:%d)", s,
                             ADDR_PORT);
        host = s + 1;
        end = close;
        port = close[1] ? close + 2 : NULL;
    } else if (colon && !strchr(colon + 1, ':')) { /* more than one: a bare IPv6 address */
        end = colon;
        port = colon + 1;
    }
    if (end == host || (size_t)(end - host) >= sizeof ret->host)
        return volt_fail(err, VOLT_EINVALID, "'%s' is not HOST:PORT (try localhost:%d)", s,
                         ADDR_PORT);
    for (const char *p = host; p < end; p++)
        if (isspace((unsigned char)*p) || iscntrl((unsigned char)*p) || *p == '/')
            return volt_fail(err, VOLT_EINVALID, "'%s' is not HOST:PORT (try localhost:%d)", s,
                             ADDR_PORT);
    if (port && (!isdigit((unsigned char)*port) ||
                 text_number(port, 1, ADDR_PORT_MAX, &number, &why) != VOLT_OK))
        return volt_fail(err, VOLT_EINVALID, "'%s': port '%s' is not a number from 1 to %d", s,
                         port, ADDR_PORT_MAX);
    memcpy(ret->host, host, (size_t)(end - host));
    ret->host[end - host] = '\0';
    ret->port = (int)number;
    return VOLT_OK;
}

void addr_print(const addr *a, char *ret, size_t size)
{
    snprintf(ret, size, strchr(a->host, ':') ? "[%s]:%d" : "%s:%d", a->host, a->port);
}

/* One address of either family, as bind() and connect() take it. */
typedef struct ip_addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    socklen_t n;
} ip_addr;

typedef struct ip_list {
    ip_addr v[ADDR_MAX];
    int n;
} ip_list;

static void add_ip(ip_list *list, const struct sockaddr *sa, socklen_t n)
{
    ip_addr a = { .n = n };

    if (list->n == ADDR_MAX || n > sizeof a.v6)
        return;
    memcpy(&a.sa, sa, n);
    for (int i = 0; i < list->n; i++)
        if (list->v[i].n == n && memcmp(&list->v[i].sa, &a.sa, n) == 0)
            return;
    list->v[list->n++] = a;
}

static int open_bound(const ip_addr *a)
{
    int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* as libzmq will */
    if (bind(fd, &a->sa, a->n) < 0 || listen(fd, 1) < 0) {
        int saved = errno;

        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

/* Every interface: [::] takes IPv4 too, and both at one port exclude each other. */
static void add_any(ip_list *list)
{
    ip_addr v6 = { .v6 = { .sin6_family = AF_INET6 }, .n = sizeof v6.v6 };
    ip_addr v4 = { .v4 = { .sin_family = AF_INET }, .n = sizeof v4.v4 };
    CLEANUP(close)
    int fd = open_bound(&v6);
    const ip_addr *a = fd < 0 ? &v4 : &v6;

    add_ip(list, &a->sa, a->n);
}

static void add_loopbacks(ip_list *list)
{
    ip_addr v4 = { .v4 = { .sin_family = AF_INET }, .n = sizeof v4.v4 };
    ip_addr v6 = { .v6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT },
                   .n = sizeof v6.v6 };

    v4.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    add_ip(list, &v4.sa, v4.n);
    add_ip(list, &v6.sa, v6.n);
}

static volt_code resolve(const char *host, ip_list *ret, volt_err *err)
{
    CLEANUP(freeaddrinfo)
    struct addrinfo *found = NULL;
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    int rc;

    ret->n = 0;
    if (strcmp(host, "*") == 0) {
        add_any(ret);
        return VOLT_OK;
    }
    if (strcasecmp(host, "localhost") == 0) {
        add_loopbacks(ret);
        return VOLT_OK;
    }
    rc = getaddrinfo(host, NULL, &hints, &found);
    if (rc)
        return volt_fail(err, VOLT_EUNREACHABLE, "cannot resolve host '%s': %s", host,
                         rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
    for (int pass = 0; pass < 2; pass++)
        for (const struct addrinfo *a = found; a; a = a->ai_next)
            if (a->ai_family == (pass == 0 ? AF_INET : AF_INET6))
                add_ip(ret, a->ai_addr, a->ai_addrlen);
    if (ret->n == 0)
        return volt_fail(err, VOLT_EUNREACHABLE, "host '%s' has no internet address", host);
    return VOLT_OK;
}

static void set_port(ip_addr *a, int port)
{
    if (a->sa.sa_family == AF_INET)
        a->v4.sin_port = htons((uint16_t)port);
    else
        a->v6.sin6_port = htons((uint16_t)port);
}

volt_code addr_resolve(const addr *a, int offset, addr_list *ret, volt_err *err)
{
    ip_list list;
    volt_code code;

    assert(a->port + offset >= 0 && a->port + offset <= 65535);
    code = resolve(a->host, &list, err);
    if (code)
        return code;
    ret->n = 0;
    for (int i = 0; i < list.n; i++) {
        char text[INET6_ADDRSTRLEN + 1 + 32]; /* "fe80::1%eth0" */
        bool v6 = list.v[i].sa.sa_family == AF_INET6;

        if (getnameinfo(&list.v[i].sa, list.v[i].n, text, sizeof text, NULL, 0, NI_NUMERICHOST))
            continue;
        snprintf(ret->v[ret->n++], ADDR_TEXT_MAX, v6 ? "tcp://[%s]:%d" : "tcp://%s:%d", text,
                 a->port + offset);
    }
    return VOLT_OK;
}

/* The first port that the kernel may give to an outgoing connection. */
static int first_ephemeral(void)
{
    CLEANUP(fclose)
    FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    int first = 0;

    if (!f || fscanf(f, "%d", &first) != 1 || first < PORT_LOWEST + 3 * TRIPLE_TRIES ||
        first > ADDR_PORT_MAX)
        first = EPHEMERAL_FIRST; /* a range that leaves no room below is no worse than any */
    return first;
}

/* False: taken.  Addresses this machine does not have are left for the bind to tell. */
static bool port_free(const ip_list *list, int port)
{
    for (int i = 0; i < list->n; i++) {
        ip_addr a = list->v[i];
        int fd;

        set_port(&a, port);
        fd = open_bound(&a);
        if (fd < 0 && (errno == EADDRINUSE || errno == EACCES))
            return false;
        if (fd >= 0)
            close(fd);
    }
    return true;
}

volt_code addr_free_triple(addr *a, volt_err *err)
{
    int places = (first_ephemeral() - PORT_LOWEST) / 3;
    ip_list list;
    uint32_t start = 0;
    volt_code code;

    code = resolve(a->host, &list, err);
    if (code)
        return code;
    /* Many tests start at once: each begins its search elsewhere. */
    if (getrandom(&start, sizeof start, 0) != sizeof start)
        start = (uint32_t)getpid();
    for (uint32_t i = 0; i < TRIPLE_TRIES; i++) {
        int port = PORT_LOWEST + (int)((start + i) % (uint32_t)places) * 3;

        if (port_free(&list, port) && port_free(&list, port + 1) && port_free(&list, port + 2)) {
            a->port = port;
            return VOLT_OK;
        }
    }
    return volt_fail(err, VOLT_EFULL, "no three consecutive free ports found on '%s'", a->host);
}

/* 0, or the errno of a connect that did not succeed within timeout_ms. */
static int connect_once(const char *endpoint, int timeout_ms)
{
    CLEANUP(freeaddrinfo)
    struct addrinfo *found = NULL;
    CLEANUP(close)
    int fd = -1;
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                              .ai_socktype = SOCK_STREAM };
    char host[ADDR_TEXT_MAX];
    const char *from = endpoint + strlen("tcp://");
    const char *port = strrchr(from, ':') + 1;
    size_t n = (size_t)(port - 1 - from);
    socklen_t len = sizeof(int);
    struct pollfd p;
    int e = 0;

    if (*from == '[') {
        from++;
        n -= 2;
    }
    memcpy(host, from, n);
    host[n] = '\0';
    if (getaddrinfo(host, port, &hints, &found))
        return EADDRNOTAVAIL;
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    if (connect(fd, found->ai_addr, found->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    p = (struct pollfd){ .fd = fd, .events = POLLOUT };
    if (poll(&p, 1, timeout_ms) <= 0)
        return ETIMEDOUT;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0)
        return errno;
    return e;
}

volt_code addr_probe(const addr_list *list, int timeout_ms, volt_err *err)
{
    int worst = 0;

    for (int i = 0; i < list->n; i++) {
        int e = connect_once(list->v[i], timeout_ms / list->n);

        if (e == 0)
            return VOLT_OK;
        /* The first address speaks for the name, unless it is of a family this machine lacks. */
        if (worst == 0 || worst == EADDRNOTAVAIL || worst == EAFNOSUPPORT)
            worst = e;
    }
    switch (worst) {
    case ECONNREFUSED:
        return volt_fail(err, VOLT_EUNREACHABLE, "connection refused");
    case ETIMEDOUT:
        return volt_fail(err, VOLT_EUNREACHABLE, "no answer");
    default:
        return volt_fail(err, VOLT_EUNREACHABLE, "%s",
                         worst ? strerror(worst) : "it has no address");
    }
}
