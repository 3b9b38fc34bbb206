/*
 * until.h - the end of the one build that `volt tail --until-build` waits for, when no event tells
 * of it.
 *
 * The build may have ended before the first event that is shown, or in a part of the history that
 * is no longer kept.  So the dispatcher is asked for its verdict, and when it has one, how far the
 * history goes now: when all events up to there were applied and the end was not among them, it
 * will not come any more.
 */
#ifndef VOLT_CMD_TAIL_UNTIL_H
#define VOLT_CMD_TAIL_UNTIL_H

#include "cmd/tail/question.h"

typedef struct until {
    uint64_t build; /* 0: none is waited for */
    question question;
    verdict verdict; /* as the dispatcher has it; 0: not known, or none yet */
    uint64_t last;   /* its end is no later than this event; 0: not known */
} until;             /* initialise with build, and sock and tag of question */

/* To be called at the start, and when events were left out. */
void until_ask(until *u, int64_t now_ms);
/* True when the answer was for it. */
bool until_take(until *u, int64_t now_ms, const msg *m);
/* The verdict of a build whose end was not among the events applied and will not come; 0: not so,
 * or not known.  `next` as follow_next() has it. */
verdict until_missed(const until *u, uint64_t next);

#endif
