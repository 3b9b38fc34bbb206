/*
 * link.h - a subscriber's two sockets to one dispatcher.
 *
 * SUB to B+2 hears events and head beats, DEALER to B+1 asks.  Of a name with several addresses one
 * is connected at a time.
 */
#ifndef VOLT_CMD_TAIL_LINK_H
#define VOLT_CMD_TAIL_LINK_H

#include "base/err.h"
#include "net/addr.h"
#include "net/sock.h"

/* Zero-initialise; tail_link_close() frees it. */
typedef struct tail_link {
    sock *sub, *dealer;
    addr at;
    addr_list work, events;
    int place; /* in both lists */
} tail_link;

/* Starts to connect to `server`, HOST:PORT, and subscribes to events and head beats; does not wait.
 * VOLT_EINVALID: a malformed address.  VOLT_EUNREACHABLE: an unknown host.  VOLT_EIO. */
volt_code tail_link_open(tail_link *l, const char *server, volt_err *err);
void tail_link_close(tail_link *l);

/* Nothing was heard: perhaps another address of the name answers, or the name has moved. */
void tail_link_rotate(tail_link *l);

#endif
