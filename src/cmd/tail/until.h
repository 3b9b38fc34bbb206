/*
 * until.h - the end of the one build that `volt tail --until-build` waits for, when no event tells
 * of it.
 *
 * The build may have ended before the first event that is shown, or in a part of the history that
 * is no longer kept.  So the dispatcher is asked for its verdict, and when it has one, how far the
 * history goes now: when all events up to there were applied and the end was not among them, it
 * will not come any more.  What it would have told is put together from the answers.
 */
#ifndef VOLT_CMD_TAIL_UNTIL_H
#define VOLT_CMD_TAIL_UNTIL_H

#include "base/arena.h"
#include "cmd/tail/question.h"

typedef struct until {
    uint64_t build; /* 0: none is waited for */
    question question;
    msg_event end; /* verdict 0: not known, or none yet; seq: no earlier than it, 0: not known */
    arena mem;     /* of `end` */
} until;           /* initialise with build, and sock and tag of question */

void until_free(until *u);

/* To be called at the start, and when events were left out. */
void until_ask(until *u, int64_t now_ms);
/* True when the answer was for it. */
bool until_take(until *u, int64_t now_ms, const msg *m);
/* The end of a build that was not among the events applied and will not come, with a `seq` that is
 * not its own; NULL: not so, or not known.  `next` as follow_next() has it. */
const msg_event *until_missed(const until *u, uint64_t next);

#endif
