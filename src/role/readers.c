#include "role/readers.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "wire/codec.h"

/* A peer and its questions, each with this header before it. */
typedef struct reader {
    list node;
    uint64_t peer;
    size_t n;
    buf questions;
} reader;

typedef struct question {
    uint64_t r;
    size_t frame_n;
    msg_type type;
} question;

static reader *first(const readers *r)
{
    assert(r->of.n);
    return LIST_OWNER(r->round.next, reader, node);
}

static void forget(readers *r, reader *one)
{
    map_remove(&r->of, one->peer);
    list_remove(&one->node);
    buf_free(&one->questions);
    free(one);
}

void readers_free(readers *r)
{
    while (r->of.n)
        forget(r, first(r));
    map_free(&r->of);
}

static bool waits_already(const reader *one, const msg *m)
{
    question q;

    for (size_t at = 0; m->r && at < one->questions.n; at += sizeof q + q.frame_n) {
        memcpy(&q, one->questions.p + at, sizeof q);
        if (q.r == m->r && q.type == m->type)
            return true;
    }
    return false;
}

static void add_question(reader *one, const msg *m)
{
    size_t at = one->questions.n;
    question q = { .r = m->r, .type = m->type };

    buf_add(&one->questions, &q, sizeof q);
    wire_encode(m, &one->questions);
    q.frame_n = one->questions.n - at - sizeof q;
    memcpy(one->questions.p + at, &q, sizeof q);
    one->n++;
}

bool readers_add(readers *r, uint64_t peer, const msg *m)
{
    reader *one = map_get(&r->of, peer);

    if (one && waits_already(one, m))
        return true;
    if (one ? one->n == READERS_QUESTIONS_MAX : r->of.n == READERS_MAX)
        return false;
    if (!one) {
        one = NEW(reader);
        one->peer = peer;
        if (!r->round.next)
            list_init(&r->round);
        list_push(&r->round, &one->node);
        map_put(&r->of, peer, one);
    }
    add_question(one, m);
    return true;
}

size_t readers_count(const readers *r)
{
    return r->of.n;
}

uint64_t readers_next(const readers *r)
{
    return first(r)->peer;
}

void readers_pass(readers *r)
{
    reader *one = first(r);

    list_remove(&one->node);
    list_push(&r->round, &one->node);
}

void readers_take(readers *r, buf *ret)
{
    reader *one = first(r);
    question q;

    memcpy(&q, one->questions.p, sizeof q);
    buf_add(ret, one->questions.p + sizeof q, q.frame_n);
    buf_drop(&one->questions, sizeof q + q.frame_n);
    if (--one->n == 0)
        forget(r, one);
    else
        readers_pass(r);
}
