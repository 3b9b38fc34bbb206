/*
 * addr.h - "host:port" as people write it, and the endpoints that libzmq takes.
 *
 * libzmq 4.3.4 cannot bind "localhost" and tries only the first address of a name on connect, so
 * names are resolved here: bind every result, rotate through them on connect.
 */
#ifndef VOLT_NET_ADDR_H
#define VOLT_NET_ADDR_H

#include "base/err.h"

#define ADDR_PORT     8888 /* default base port */
#define ADDR_MAX      16   /* results of a name that are used */
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
/* Numeric endpoints of host at port + offset, deduplicated, IPv4 first.  Blocks on the resolver.
 * VOLT_EUNREACHABLE: the name has no address. */
volt_code addr_resolve(const addr *a, int offset, addr_list *ret, volt_err *err);

#endif
