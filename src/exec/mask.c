#include "exec/mask.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/mem.h"

/* A node of the tree of all texts: what the stream's end has in common with the beginning of one.
 * Nodes are named by their place; the root is 0, which as a child or sibling means none. */
typedef struct node {
    uint32_t child, sibling;
    uint32_t shorter; /* the longest other node whose text ends this one's */
    uint32_t depth;   /* bytes of its text */
    uint32_t found;   /* bytes of the longest hidden text that ends here; 0: none */
    unsigned char byte;
} node;

struct mask {
    node *v;
    uint32_t n, cap;
    uint32_t first[256]; /* the root's children */
    uint32_t deepest;
    bool linked;
    uint32_t at;
    /* The bytes held back: [from, to) of `room`. */
    char *held;
    bool *hidden;
    size_t from, to, room;
    bool hiding; /* the last byte that went out was hidden */
};

mask *mask_new(void)
{
    mask *m = NEW(mask);

    m->n = m->cap = 1;
    m->v = NEW_ARRAY(node, 1);
    return m;
}

void mask_free(mask *m)
{
    if (!m)
        return;
    free(m->v);
    free(m->held);
    free(m->hidden);
    free(m);
}

static uint32_t child_of(const mask *m, uint32_t at, unsigned char byte)
{
    if (at == 0)
        return m->first[byte];
    for (at = m->v[at].child; at && m->v[at].byte != byte; at = m->v[at].sibling)
        ;
    return at;
}

static uint32_t add_child(mask *m, uint32_t to, unsigned char byte)
{
    uint32_t made = m->n++;

    if (m->n > m->cap) {
        m->cap *= 2;
        m->v = mem_grow(m->v, m->cap, sizeof *m->v);
    }
    m->v[made] = (node){ .sibling = m->v[to].child, .depth = m->v[to].depth + 1, .byte = byte };
    m->v[to].child = made;
    if (to == 0)
        m->first[byte] = made;
    return made;
}

void mask_add(mask *m, slice text)
{
    uint32_t at = 0;

    assert(!m->linked);
    if (text.n < MASK_TEXT_MIN)
        return;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char byte = (unsigned char)text.p[i];
        uint32_t next = child_of(m, at, byte);

        at = next ? next : add_child(m, at, byte);
    }
    m->v[at].found = m->v[at].depth;
    if (m->v[at].depth > m->deepest)
        m->deepest = m->v[at].depth;
}

/* The node of the longest beginning that the stream ends with, one byte on. */
static uint32_t step(const mask *m, uint32_t at, unsigned char byte)
{
    uint32_t next = child_of(m, at, byte);

    while (!next && at) {
        at = m->v[at].shorter;
        next = child_of(m, at, byte);
    }
    return next;
}

/* Fills in `shorter` and what it brings to `found`, level by level, for it points upwards. */
static void link_nodes(mask *m)
{
    CLEANUP(free)
    uint32_t *queue = NEW_ARRAY(uint32_t, m->n);
    size_t n = 1;

    for (size_t i = 0; i < n; i++) {
        const node *parent = &m->v[queue[i]];

        for (uint32_t at = parent->child; at; at = m->v[at].sibling) {
            node *it = &m->v[at];

            if (queue[i])
                it->shorter = step(m, parent->shorter, it->byte);
            if (!it->found)
                it->found = m->v[it->shorter].found;
            queue[n++] = at;
        }
    }
    m->room = 2 * (size_t)m->deepest + 1;
    m->held = mem_zero(m->room);
    m->hidden = NEW_ARRAY(bool, m->room);
    m->linked = true;
}

/* Holds a byte; `found` bytes that end with it are hidden, some of which may have gone out so. */
static void hold(mask *m, char byte, size_t found)
{
    size_t since;

    if (m->to == m->room) {
        memmove(m->held, m->held + m->from, m->to - m->from);
        memmove(m->hidden, m->hidden + m->from, (m->to - m->from) * sizeof *m->hidden);
        m->to -= m->from;
        m->from = 0;
    }
    m->held[m->to] = byte;
    m->hidden[m->to] = false;
    m->to++;
    since = m->to - m->from > found ? m->to - found : m->from;
    for (size_t i = since; i < m->to; i++)
        m->hidden[i] = true;
}

/* Lets go what stands before `until`, and what is hidden whatever comes. */
static void let_go(mask *m, size_t until, buf *out)
{
    for (; m->from < m->to && (m->from < until || m->hidden[m->from]); m->from++) {
        if (!m->hidden[m->from])
            buf_addc(out, m->held[m->from]);
        else if (!m->hiding)
            buf_adds(out, MASK_SHOWN);
        m->hiding = m->hidden[m->from];
    }
}

void mask_feed(mask *m, slice piece, buf *out)
{
    const unsigned char *p = (const unsigned char *)piece.p, *end = p + piece.n;

    if (!m->linked)
        link_nodes(m);
    while (p < end) {
        const unsigned char *plain = p;
        size_t depth;

        while (m->at == 0 && p < end && !m->first[*p])
            p++;
        if (p > plain) {
            buf_add(out, plain, (size_t)(p - plain));
            m->hiding = false;
            continue;
        }
        m->at = step(m, m->at, *p);
        hold(m, (char)*p++, m->v[m->at].found);
        depth = m->v[m->at].depth; /* more than are held, when the first of them are hidden */
        let_go(m, m->to > depth ? m->to - depth : 0, out);
    }
}

void mask_end(mask *m, buf *out)
{
    let_go(m, m->to, out);
    m->from = m->to = 0;
    m->at = 0;
    m->hiding = false;
}

void mask_text(mask *m, slice text, buf *out)
{
    mask_feed(m, text, out);
    mask_end(m, out);
}
