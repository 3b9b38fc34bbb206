#include "core/effect.h"

#include <stdlib.h>

#include "base/mem.h"

effect *effects_add(effects *e, effect_kind kind)
{
    effect *x;

    if (e->n == e->cap) {
        e->cap = e->cap ? e->cap * 2 : 64;
        e->v = mem_grow(e->v, e->cap, sizeof *e->v);
    }
    x = &e->v[e->n++];
    *x = (effect){ .kind = kind };
    return x;
}

row *effects_put(effects *e, row_kind kind)
{
    row *r = ARENA_NEW(&e->arena, row);

    r->kind = kind;
    effects_add(e, EFFECT_PUT)->row = r;
    return r;
}

static msg *new_msg(effects *e, msg_type type)
{
    msg *m = ARENA_NEW(&e->arena, msg);

    m->type = type;
    return m;
}

msg *effects_send(effects *e, uint64_t peer, msg_type type)
{
    msg *m = new_msg(e, type);
    effect *x = effects_add(e, EFFECT_SEND);

    x->peer = peer;
    x->msg = m;
    return m;
}

msg *effects_publish(effects *e, const char *topic, msg_type type)
{
    msg *m = new_msg(e, type);
    effect *x = effects_add(e, EFFECT_PUBLISH);

    x->topic = arena_str(&e->arena, slice_of(topic));
    x->msg = m;
    return m;
}

void effects_clear(effects *e)
{
    e->n = 0;
    arena_reset(&e->arena);
}

void effects_free(effects *e)
{
    free(e->v);
    arena_free(&e->arena);
    *e = (effects){ 0 };
}
