/*
 * addr.h - "host:port" as people write it, and the endpoints that libzmq takes.
 *
 * libzmq 4.3.4 cannot bind "localhost" and tries only the first address of a name on connect, so
 * names are resolved here: bind every result, rotate through them on connect.
 */
#ifndef VOLT_NET_ADDR_H
#define VOLT_NET_ADDR_H

#include <stddef.h>

#include "base/err.h"

#define ADDR_PORT     8888  /* default base port */
#define ADDR_PORT_MAX 65533 /* B+2 is a port as well */
#define ADDR_MAX      16    /* results of a name that are used */
#define ADDR_TEXT_MAX 128

typedef struct addr {
    char host[256]; /* without brackets */
    int port;       /* base port B; B+1 and B+2 belong to it */
} addr;

typedef struct addr_list {
    char v[ADDR_MAX][ADDR_TEXT_MAX]; /* "tcp://127.0.0.1:8888", "tcp://[::1]:8888" */
    int n;
} addr_list;

/* "host", "host:port", "1.2.3.4:8888", "[::1]:8888", "::1".  VOLT_EINVALID. */
volt_code addr_parse(const char *s, addr *ret, volt_err *err);
/* The same as text again, with brackets where they are needed; cut to `size`. */
void addr_print(const addr *a, char *ret, size_t size);

/* Numeric endpoints of host at port + offset, deduplicated, IPv4 first.  Blocks on the resolver.
 * "localhost" is both loopback addresses whatever /etc/hosts says (RFC 6761, section 6.3); "*" is
 * every interface.  VOLT_EUNREACHABLE: the name has no address. */
volt_code addr_resolve(const addr *a, int offset, addr_list *ret, volt_err *err);

/* Sets a->port so that it and the next two ports are free on every address of a->host now; a later
 * bind can still lose the race (VOLT_EEXISTS) and asks again then.
 * The ports are not ones that the kernel hands to outgoing connections: there a client that
 * reconnects to a server which is down could meet itself and keep the port.
 * VOLT_EFULL: found none.  VOLT_EUNREACHABLE: as addr_resolve(). */
volt_code addr_free_triple(addr *a, volt_err *err);

/* Connects once by plain TCP, up to timeout_ms for all of them: is anybody there at all?
 * VOLT_OK: somebody accepts.  VOLT_EUNREACHABLE: nobody; err says why ("connection refused").
 * Blocks. */
volt_code addr_probe(const addr_list *list, int timeout_ms, volt_err *err);

#endif
