/* What the machines keep, seen from inside: reading only, and by our own reckoning. */
#include "core/agent_parts.h"
#include "core/dispatch_internal.h"
#include "oracle.h"

#define WALK_EVERY 16 /* turns: all open builds are walked */
#define TICK_MS    50

/* ---- STALE_DB ---- */

static void look_stale(oracle *o, const dispatch *d)
{
    checked(o->w, RULE_STALE_DB);
    if (d->stale_db && !o->stale)
        broken(o->w, RULE_STALE_DB, "good data is taken for an old copy");
    if (o->must_notice && !d->stale_db)
        broken(o->w, RULE_STALE_DB, "a runner knows of a later start, and nobody notices");
    o->noticed |= d->stale_db;
}

/* ---- L3: never ready work beside a free slot that suits it ---- */

static const known_job *job_named(const known_build *b, slice name)
{
    for (size_t i = 0; i < b->jobs_n; i++)
        if (slice_eq(b->jobs[i].name, name))
            return &b->jobs[i];
    return NULL;
}

/* May have it now; that it was tried there before is the core's own knowledge. */
static bool suits(oracle *o, const queue_item *item, const runner *r)
{
    const task *t = item->kind == ITEM_TASK ? HEAP_OWNER(item, task, item) : NULL;
    const job *job = t ? t->job : HEAP_OWNER(item, struct job, item);
    const known_runner *k = map_gets(&o->runners, (slice){ r->id, 32 });
    const known_build *b = o->builds[t ? t->build->id : job->build->id];
    const known_job *j = job && b ? job_named(b, job->name) : NULL;

    if (r->state != RUNNER_UP || r->mode != MODE_RUN || r->own_mode != MODE_RUN || !k || !b)
        return false;
    if (!job ? k->plans > 0 : k->busy >= k->slots)
        return false;
    if ((j && j->special && r->labels.n == 0) || !runner_reaches(o->w, slice_of(r->id), b->repo))
        return false;
    if (t && t->avoid == r->serial && t->avoid_until_ms > process_now(dispatcher_process(o->w)))
        return false;
    return !runner_bad_repo(r, item->line->repo, process_now(dispatcher_process(o->w)));
}

static void look_line(oracle *o, const dispatch *d, const queue_line *line)
{
    LIST_FOR(i, &line->items)
    {
        const queue_item *item = LIST_OWNER(i, queue_item, node);

        LIST_FOR(l, &d->fleet.all)
        {
            const runner *r = LIST_OWNER(l, runner, in_fleet);

            if (suits(o, item, r))
                broken(o->w, RULE_L3,
                       "a task of " SLICE_FMT " waits beside " SLICE_FMT ", which is free",
                       SLICE_ARG(line->repo->name), SLICE_ARG(r->name));
        }
    }
}

static void look_queue(oracle *o, const dispatch *d)
{
    checked(o->w, RULE_L3);
    LIST_FOR(l, &d->queue.classes)
    {
        LIST_FOR(k, &LIST_OWNER(l, queue_class, node)->lines)
        {
            look_line(o, d, LIST_OWNER(k, queue_line, node));
        }
    }
}

/* A group that nothing holds has its first in the queue; what holds it ends. */
static void look_groups(oracle *o, const dispatch *d)
{
    int64_t most = process_now(dispatcher_process(o->w)) + 2 * dispatcher_lease_ms(o->w) + TICK_MS;

    LIST_FOR(l, &d->groups)
    {
        const group *g = LIST_OWNER(l, group, in_dispatch);
        const queue_item *first =
            list_empty(&g->waiting) ? NULL : LIST_OWNER(g->waiting.next, queue_item, in_group);

        if (g->holder || g->until.at)
            first = NULL;
        if (g->offered != first || (first && !first->line))
            broken(o->w, RULE_L3, "group " SLICE_FMT " is free, and its first not in the queue",
                   SLICE_ARG(g->name));
        if ((g->holder && !g->holder->lease.runner) || (g->until.at && g->until.key > most))
            broken(o->w, RULE_L3, "group " SLICE_FMT " is held for too long", SLICE_ARG(g->name));
    }
}

/* What waits stands in the queue or before its group, or nobody would ever come to it. */
static bool waits(const queue_item *item)
{
    return queue_has(item) || list_linked(&item->in_group);
}

static void walk_builds(oracle *o, const dispatch *d)
{
    size_t open = 0;

    LIST_FOR(l, &d->build_list)
    {
        const build *b = LIST_OWNER(l, build, in_dispatch);

        LIST_FOR(k, &b->tasks)
        {
            const task *t = LIST_OWNER(k, task, in_build);

            open += t->state != STATE_FINAL;
            if ((t->state == STATE_QUEUED) != waits(&t->item))
                broken(o->w, RULE_L3, "task %llu is %s, and %s the queue", ULL(t->id),
                       state_text(t->state), waits(&t->item) ? "in" : "not in");
        }
        for (size_t i = 0; i < b->jobs_n; i++) {
            const job *j = b->jobs[i];

            if (!b->canceled && (j->state == STATE_QUEUED || j->state == STATE_RUNNING) &&
                j->units_out < j->units_n && !waits(&j->item))
                broken(o->w, RULE_L3, "files of job " SLICE_FMT " of build %llu wait in no queue",
                       SLICE_ARG(j->name), ULL(b->id));
        }
    }
    checked(o->w, RULE_STORE);
    if (open != o->open_tasks || d->builds_n != o->open_builds)
        broken(o->w, RULE_STORE,
               "in memory are %zu tasks of %zu builds, in the store %llu of %llu are open", open,
               d->builds_n, ULL(o->open_tasks), ULL(o->open_builds));
}

/* ---- L5 ---- */

static void look_leases(oracle *o, const dispatch *d)
{
    int64_t lease_ms = dispatcher_lease_ms(o->w);
    int64_t now = process_now(dispatcher_process(o->w));

    checked(o->w, RULE_L5);
    for (size_t i = 0; i < d->leases.deadlines.n; i++) {
        const task *t =
            HEAP_OWNER(HEAP_OWNER(d->leases.deadlines.v[i], lease, deadline), task, lease);
        const known_task *k = oracle_task(o, t->id);
        const known_runner *r = k ? map_gets(&o->runners, slice_of(k->runner)) : NULL;
        int64_t from = k ? k->renewed_ms : 0;

        if (r && r->hello_ms > from) /* what it lacked then was sent again */
            from = r->hello_ms;
        if (from < o->started_ms + lease_ms) /* the grace of a start */
            from = o->started_ms + lease_ms;
        if (now - o->gaps_ms > from + lease_ms + TICK_MS)
            broken(o->w, RULE_L5, "task %llu attempt %llu is leased %lld ms after it was heard of",
                   ULL(t->id), ULL(t->att), (long long)(now - o->gaps_ms - from));
    }
}

/* ---- S17 ---- */

static void bound(oracle *o, const char *what, size_t n, size_t max)
{
    if (n > max)
        broken(o->w, RULE_S17, "%s: %zu, and %zu are enough", what, n, max);
}

static void look_bounds(oracle *o, const dispatch *d)
{
    size_t leases = 0;

    checked(o->w, RULE_S17);
    LIST_FOR(l, &d->fleet.all)
    {
        const runner *r = LIST_OWNER(l, runner, in_fleet);

        leases += r->busy + r->plans;
        bound(o, "repositories that a runner cannot reach", r->bad_repos.n, d->repos.n);
    }
    if (leases != d->leases.deadlines.n)
        broken(o->w, RULE_S17, "runners are said to have %zu leases, and there are %zu", leases,
               d->leases.deadlines.n);
    bound(o, "runners", d->fleet.n, o->w->runners_n);
    bound(o, "connections of runners", d->fleet.by_peer.n, d->fleet.n);
    bound(o, "lines of the queue", d->queue.lines.n, d->queue.n);
    bound(o, "bytes that wait after all was sent", dispatcher_owes(o->w), 0);
}

void oracle_turn(oracle *o, bool all)
{
    const dispatch *d = dispatcher_now(o->w);

    look_stale(o, d);
    look_bounds(o, d);
    if (!all || d->stale_db)
        return;
    look_queue(o, d);
    look_groups(o, d);
    look_leases(o, d);
    if (o->turns++ % WALK_EVERY == 0)
        walk_builds(o, d);
}

/* ---- old copies ---- */

void oracle_is_stale(oracle *o)
{
    o->stale = true;
}

void oracle_adopt(oracle *o)
{
    const oracle *past = o->past;

    /* What really happened to attempts that have ended is true in the copy too. */
    for (uint64_t i = 1; i <= o->tasks_n; i++) {
        const known_task *t = oracle_task(o, i);
        truth *old = t ? map_get(&past->truths, i << 20 | t->att) : NULL;

        if (old && t->state == STATE_FINAL) {
            truth *now = oracle_truth(o, i, t->att);

            *now = *old;
            oracle_note_setup(o, t);
        }
    }
}

static volt_code rename_event(void *ctx, uint64_t seq, slice bytes, volt_err *err)
{
    oracle *o = ctx;
    arena a = { 0 };
    msg m;

    (void)err;
    if (seq > o->events_n || wire_decode(bytes, &a, &m, NULL) != VOLT_OK ||
        !slice_is(m.event.hist, dispatcher_history(o->w)) || m.event.seq != seq)
        broken(o->w, RULE_S9, "event %llu is not one of the new history", ULL(seq));
    o->events[seq] = (known_event){ mix_bytes(0, bytes), event_fields(&m.event) };
    arena_free(&a);
    return VOLT_OK;
}

void oracle_renamed(oracle *o)
{
    store *s = dispatcher_store(o->w);

    o->stale = o->must_notice = o->noticed = false;
    for (uint64_t i = 1; i <= o->tasks_n; i++)
        if (o->tasks[i]) /* what the copy told while it was stale was not followed */
            o->tasks[i]->tries_told = o->tasks[i]->tries;
    s->ops->events(s, 1, SIZE_MAX, rename_event, o, NULL);
}

bool oracle_stale(const oracle *o)
{
    return o->stale;
}

bool oracle_noticed(const oracle *o)
{
    return o->noticed;
}

uint64_t oracle_final_bytes(const oracle *o, const log_name *name)
{
    const known_task *t = oracle_task(o, name->task);

    if (!t || t->state != STATE_FINAL || t->att != name->att)
        return 0;
    return name->part == PART_LOG ? t->log_bytes : t->artifact_bytes;
}

/* ---- the end ---- */

void oracle_check_empty(oracle *o)
{
    const dispatch *d = dispatcher_now(o->w);

    bound(o, "builds in memory", d->builds.n, 0);
    bound(o, "tasks in memory", d->tasks.n, 0);
    bound(o, "tasks in the queue", d->queue.n + d->queue.delayed.n, 0);
    bound(o, "leases", d->leases.deadlines.n, 0);
    LIST_FOR(l, &d->groups)
    {
        bound(o, "groups that nothing holds", !LIST_OWNER(l, group, in_dispatch)->until.at, 0);
    }
    for (size_t i = 0; i < o->w->runners_n; i++)
        runner_check_empty(o->w->runners[i]);
}
