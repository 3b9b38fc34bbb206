#include "cmd/tail/question.h"

#include "base/buf.h"
#include "wire/codec.h"

unsigned question_tag(uint64_t r)
{
    return (unsigned)(r % QUESTION_TAGS);
}

uint64_t question_number(uint64_t r)
{
    return r / QUESTION_TAGS;
}

uint64_t question_r(unsigned tag, uint64_t n)
{
    return n * QUESTION_TAGS + tag;
}

void question_send(sock *s, const msg *m, uint64_t r)
{
    __attribute__((cleanup(cleanup_buf))) buf frame = { 0 };
    msg numbered = *m;

    numbered.r = r;
    wire_encode(&numbered, &frame);
    sock_send(s, 0, SLICE(""), buf_slice(&frame), NULL);
}

static void send_question(question *q, int64_t now_ms)
{
    int64_t wait_ms = QUESTION_RETRY_MS;

    for (unsigned i = 0; i < q->tries && wait_ms < QUESTION_RETRY_MAX; i++)
        wait_ms *= 2;
    q->n++;
    q->repeat_ms = now_ms + wait_ms;
    question_send(q->sock, &q->asked, question_r(q->tag, q->n));
}

void question_ask(question *q, int64_t now_ms, const msg *m)
{
    q->asked = *m;
    q->open = true;
    q->tries = 0;
    send_question(q, now_ms);
}

bool question_answered(question *q, uint64_t r)
{
    if (!q->open || question_tag(r) != q->tag || question_number(r) != q->n)
        return false;
    q->open = false;
    return true;
}

void question_tick(question *q, int64_t now_ms)
{
    if (!q->open || now_ms < q->repeat_ms)
        return;
    q->tries++;
    send_question(q, now_ms);
}

int64_t question_deadline_ms(const question *q)
{
    return q->open ? q->repeat_ms : INT64_MAX;
}
