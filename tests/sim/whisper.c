/* What an executor tells its agent, which arrives a little later, in order. */
#include "runner.h"

#include <stdlib.h>

#include "base/mem.h"

typedef struct whisper { /* between an executor and its agent */
    list node;           /* in sim_runner.whispers */
    executor *x;
    uint64_t conn, number;
    bool gone, up;
    buf frame;
} whisper;

static void whisper_free(whisper *s)
{
    list_remove(&s->node);
    buf_free(&s->frame);
    free(s);
}

static void whisper_arrives(void *ctx, uint64_t arg)
{
    whisper *s = ctx;
    executor *x = s->x;
    sim_runner *r = x->r;
    agent_event ev = { .kind = AGENT_EXEC_MSG, .slot = x->slot };
    arena a = { 0 };
    msg m;

    (void)arg;
    if ((r->p.paused_ms && s->conn == x->conn) || s->number != x->heard + 1) {
        call_at(r->w, r->w->now_ms + 1, whisper_arrives, s, 0);
        return;
    }
    x->heard++;
    if (r->p.up && s->conn == x->conn) {
        if (s->gone) {
            ev.kind = AGENT_EXEC_GONE;
        } else if (s->up) {
            ev.kind = AGENT_EXEC_UP;
        } else {
            wire_decode(buf_slice(&s->frame), &a, &m, NULL);
            cover("executor to agent", msg_type_text(m.type));
            tell_frame(r->w, &r->p, "[exec]->", buf_slice(&s->frame));
            ev.msg = &m;
        }
        runner_steps(r, ev);
    }
    arena_free(&a);
    whisper_free(s);
}

static void whisper_send(executor *x, slice frame, bool up, bool gone)
{
    world *w = x->r->w;
    whisper *s = NEW(whisper);

    list_push(&x->r->whispers, &s->node);
    s->x = x;
    s->conn = x->conn;
    s->number = ++x->said;
    s->up = up;
    s->gone = gone;
    buf_add_slice(&s->frame, frame);
    x->last_out = x->last_out > w->now_ms ? x->last_out : w->now_ms;
    x->last_out += some_ms(w, 0, 1);
    call_at(w, x->last_out, whisper_arrives, s, 0);
}

void runner_hears(executor *x, slice frame, bool gone)
{
    if (!x->connected)
        return;
    if (!gone && x->last_out == 0) /* the first word follows the connection */
        whisper_send(x, (slice){ 0 }, true, false);
    whisper_send(x, frame, false, gone);
}

void runner_forget_whispers(sim_runner *r)
{
    LIST_FOR_SAFE(n, &r->whispers)
    {
        whisper_free(LIST_OWNER(n, whisper, node));
    }
}
