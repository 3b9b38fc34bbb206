/*
 * Attempts that must not run beside another of their concurrency group.  The dispatcher gives the
 * group away when it has not heard of one for a lease (and waits one more), so by then it must have
 * ended here, whether or not anybody can tell us that.
 *
 * Its end is set by what is surely known: when the dispatcher answers a heartbeat that listed it,
 * the lease was renewed when that came, which was not before it was sent.  So it may run for a
 * lease from the sending of the last heartbeat that was answered.  The executor ends it then, for
 * it goes on also when this process is stopped; when it does not, it is ended with all it started.
 */
#include "base/mutant.h"
#include "core/agent_parts.h"

/* Times are compared only where they were taken, in this process's clock. */
static int64_t lease_from(const agent *a, int64_t sent_ms)
{
    return MUTANT(alone_unbounded) ? sent_ms + (INT64_C(1) << 40) : sent_ms + a->lease_ms;
}

/* So much longer, and one whose executor has not ended it is ended with that. */
static int64_t patience_ms(const agent *a)
{
    return a->lease_ms / 4;
}

int64_t agent_alone_first_ms(const agent *a)
{
    return a->answered_ms == HEAP_NEVER ? 0 : lease_from(a, a->answered_ms);
}

static void allow(attempt *t, int64_t until_ms, agent_effects *out)
{
    msg *m;

    if (until_ms <= t->until_ms)
        return;
    t->until_ms = until_ms;
    if (!t->placed) /* it goes along with its assign */
        return;
    m = ARENA_NEW(&out->arena, msg);
    m->type = MSG_renew;
    m->renew = (msg_renew){ .task = t->task, .att = t->att, .until_ms = (uint64_t)until_ms };
    agent_send_exec(t->slot, m, out);
}

void agent_alone_beat(agent *a, uint64_t n, int64_t now)
{
    if (a->asked_ms == HEAP_NEVER) { /* one at a time: its answer, or that to a later one */
        a->asked_n = n;
        a->asked_ms = now;
    }
    LIST_FOR(at, &a->held)
    {
        attempt *t = LIST_OWNER(at, attempt, link);

        if (!t->listed_n)
            t->listed_n = n;
    }
}

void agent_alone_answered(agent *a, uint64_t n, agent_effects *out)
{
    if (a->asked_ms == HEAP_NEVER || n < a->asked_n || n > a->hb_n)
        return;
    a->answered_ms = a->asked_ms;
    a->asked_ms = HEAP_NEVER;
    LIST_FOR(at, &a->held)
    {
        attempt *t = LIST_OWNER(at, attempt, link);

        if (t->alone && t->listed_n && t->listed_n <= n)
            allow(t, lease_from(a, a->answered_ms), out);
    }
}

void agent_alone_welcome(agent *a, bool answers, const rec_held_list *keep, agent_effects *out)
{
    a->asked_ms = HEAP_NEVER;
    if (!answers) /* it may be the answer to an earlier hello */
        return;
    a->answered_ms = a->hello_last;
    for (size_t i = 0; i < keep->n; i++) {
        attempt *t = agent_find(a, keep->v[i].task, keep->v[i].att);

        if (t && t->alone)
            allow(t, lease_from(a, a->answered_ms), out);
    }
}

/* When the executor of s is ended for the sake of its attempt. */
static int64_t end_of(const agent *a, const slot *s)
{
    bool there = s && (s->state == SLOT_CONNECTED || s->state == SLOT_READY);

    return there && s->a && s->a->alone && s->a->until_ms ? s->a->until_ms + patience_ms(a)
                                                          : HEAP_NEVER;
}

int64_t agent_alone_deadline_ms(const agent *a)
{
    int64_t first = HEAP_NEVER;

    for (unsigned i = 0; i < a->slots_cap && a->any_alone; i++) {
        int64_t at = end_of(a, a->slots[i]);

        first = at < first ? at : first;
    }
    return first;
}

void agent_tick_alone(agent *a, int64_t now, agent_effects *out)
{
    for (unsigned i = 0; i < a->slots_cap && a->any_alone; i++)
        if (end_of(a, a->slots[i]) <= now)
            agent_kill_executor(a, a->slots[i], now, out);
}
