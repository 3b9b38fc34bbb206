/* What happens to runners: their machines, executors and processes, and how many there are. */
#include <stdlib.h>

#include "runner.h"

/* What a loss of power makes of a spool whose task has not ended, for only the assign before the
 * start and the result at the end are synced.  False: nothing is left of it. */
static bool tear(spool *s)
{
    world *w = s->r->w;

    if (chance(w, 500))
        return false;
    if (chance(w, 200)) {
        s->torn = true;
        cover("fault", "spooled assign torn");
    }
    if (s->plan.n && chance(w, 500)) {
        s->plan.n = (size_t)pick(w, s->plan.n);
        cover("fault", "spooled plan torn");
    }
    if (s->tests.n && chance(w, 500)) {
        s->tests.n = (size_t)pick(w, s->tests.n);
        cover("fault", "spooled outcomes torn");
    }
    if (s->bytes[PART_LOG] && chance(w, 500))
        s->bytes[PART_LOG] = pick(w, s->bytes[PART_LOG]);
    return true;
}

/* The whole machine: all processes, and what of the spool had not reached the disk. */
static void machine_dies(sim_runner *r)
{
    cover("fault", "runner's machine lost");
    tell(r->w, &r->p, "its machine dies");
    process_kill(&r->p, some_ms(r->w, 100, 10000));
    for (unsigned i = 0; i <= r->slots; i++) {
        executor_die(&r->exec[i]);
        r->exec[i].spool = NULL;
    }
    LIST_FOR_SAFE(n, &r->spools)
    {
        spool *s = LIST_OWNER(n, spool, node);

        if (!s->result.n && !tear(s))
            runner_spool_free(s);
    }
}

/* For good: nobody starts it again. */
static void retire(sim_runner *r)
{
    r->retired_ms = r->w->now_ms;
    r->p.retired = true;
    cover("fault", "runner taken away");
    if (r->p.up && !r->p.paused_ms && chance(r->w, 600)) {
        tell(r->w, &r->p, "is drained for good");
        r->drained = true;
        runner_steps(r, (agent_event){ .kind = AGENT_DRAIN });
        return;
    }
    tell(r->w, &r->p, "is gone for good");
    process_kill(&r->p, -1);
    for (unsigned i = 0; i <= r->slots; i++)
        executor_die(&r->exec[i]);
}

void runner_scale(world *w)
{
    sim_runner *r = w->runners[pick(w, w->runners_n)];

    if (chance(w, 500) && w->runners_n < RUNNERS_MAX) {
        cover("fault", "runner added");
        runner_make(w, w->runners_n++);
    } else if (r->number > 0 && !r->retired_ms) { /* the first can do all that others can */
        retire(r);
    }
}

void runner_fault(sim_runner *r)
{
    uint64_t kind = pick(r->w, 6);

    if (r->retired_ms)
        return;
    if (kind == 0) {
        machine_dies(r);
    } else if (kind == 1 && chance(r->w, 400)) {
        cover("fault", "executors do not start");
        r->broken_ms = r->w->now_ms + some_ms(r->w, 1000, 15000);
        for (unsigned i = 0; i <= r->slots; i++)
            executor_die(&r->exec[i]);
    } else if (kind == 1 && chance(r->w, 500)) {
        executor_hang(&r->exec[pick(r->w, r->slots + 1)]);
    } else if (kind < 3) {
        cover("fault", "executor killed");
        executor_die(&r->exec[pick(r->w, r->slots + 1)]);
    } else if (r->p.up && !r->p.paused_ms) {
        cover("fault", kind == 3   ? "runner drained"
                       : kind == 4 ? "runner stopped"
                                   : "agent killed");
        if (kind == 5)
            process_kill(&r->p, some_ms(r->w, 0, chance(r->w, 300) ? 40000 : 3000));
        else
            runner_steps(r, (agent_event){ .kind = kind == 3 ? AGENT_DRAIN : AGENT_STOP });
    }
}
