/*
 * question.h - one question at a time to the dispatcher, without blocking, repeated until answered.
 *
 * Several askers share one DEALER.  Each has a tag below QUESTION_TAGS, and request numbers are
 * made of a count and the tag, so that an answer finds its asker and only the newest question's
 * answer is taken.
 */
#ifndef VOLT_CMD_TAIL_QUESTION_H
#define VOLT_CMD_TAIL_QUESTION_H

#include "core/msg.h"
#include "net/sock.h"

#define QUESTION_TAGS      4
#define QUESTION_RETRY_MS  1000 /* then doubled … */
#define QUESTION_RETRY_MAX 16000

typedef struct question {
    sock *sock; /* borrowed */
    unsigned tag;
    uint64_t n;
    bool open;
    unsigned tries;
    int64_t repeat_ms; /* monotonic */
    msg asked;
} question; /* initialise with sock and tag */

/* Whom an answer with request number `r` is for, and which of its questions. */
unsigned question_tag(uint64_t r);
uint64_t question_number(uint64_t r);
/* The request number of question `n` of `tag`. */
uint64_t question_r(unsigned tag, uint64_t n);

/* Encodes m with request number r and sends it; what cannot be sent now is repeated by its owner.
 */
void question_send(sock *s, const msg *m, uint64_t r);

/* Asks; an open question is given up.  m must not borrow anything: it is kept to be repeated. */
void question_ask(question *q, int64_t now_ms, const msg *m);
/* True when `r` answers the open question, which is closed by it. */
bool question_answered(question *q, uint64_t r);
/* Repeats the open question when its time has come.  An answer that says "not now" is left
 * unclaimed by the caller and so repeated as well. */
void question_tick(question *q, int64_t now_ms);
int64_t question_deadline_ms(const question *q);

#endif
