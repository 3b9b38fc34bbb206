/*
 * lines.h - an event of the result stream as one line for people.
 *
 *   12:03:44  #12 volt main 1a2b3c4d5e  failed  tests/test_a.py, exit 1 (1.2 s) on box-1
 */
#ifndef VOLT_CMD_TAIL_LINES_H
#define VOLT_CMD_TAIL_LINES_H

#include "base/buf.h"
#include "core/msg.h"

/* Appends the event's line, newline included.  What a peer wrote is shown without its
 * control characters.  `color`: with ANSI colours. */
void line_of_event(const msg_event *event, bool color, buf *out);
/* False for what only explains how a result came about (queued, leased, …): a plain view leaves it
 * out. */
bool line_is_news(const msg_event *event);

#endif
