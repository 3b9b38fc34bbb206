/*
 * server.h - the dispatcher's process: its three sockets, its data directory and the loop.
 *
 * A write that fails, or a full disk, does not end it: it closes the store, tells who asks that it
 * cannot be used, and opens it again by itself until that works.
 */
#ifndef VOLT_CMD_DISPATCHER_SERVER_H
#define VOLT_CMD_DISPATCHER_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "net/addr.h"
#include "role/dispatcher.h"

typedef struct server_config {
    const char *dir; /* the data directory, made when it is not there; borrowed */
    addr at;         /* of the first of the three ports; port 0: free ones */
    dispatcher_keep keep;
    uint64_t artifact_max;   /* bytes an attempt may leave; 0: 1 GiB */
    int64_t hb_ms, lease_ms; /* lease >= four heartbeats; both 0: by the size of the fleet */
    bool new_history;        /* go on from an old copy of the data */
} server_config;

/* Serves until SIGTERM or SIGINT.  Fails when the ports are taken, when the data cannot be used at
 * the start, and later for what no waiting mends (not for EFULL, EIO and ELOCKED).  Once in a
 * process: it takes its signals. */
volt_code server_run(const server_config *config, volt_err *err);

#endif
