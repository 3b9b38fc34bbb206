#include "core/fleet.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/mutant.h"

typedef struct hindrance {
    heap_node end;
    runner *runner;
    list on_runner;
} hindrance;

void fleet_init(fleet *f)
{
    *f = (fleet){ 0 };
    list_init(&f->all);
    list_init(&f->free);
    list_init(&f->free_plans);
    list_init(&f->fresh);
}

void runner_forgive_repos(runner *r)
{
    const map_entry *e;
    size_t at = 0;

    while ((e = map_next(&r->bad_repos, &at)))
        free(e->value);
    map_free(&r->bad_repos);
}

static void end_hindrance(fleet *f, hindrance *h)
{
    heap_remove(&f->hindrances, &h->end);
    list_remove(&h->on_runner);
    free(h);
}

static void runner_free(fleet *f, runner *r)
{
    LIST_FOR_SAFE(l, &r->hindrances)
    {
        end_hindrance(f, LIST_OWNER(l, hindrance, on_runner));
    }
    runner_forgive_repos(r);
    arena_free(&r->texts);
    free(r);
}

void fleet_free(fleet *f)
{
    LIST_FOR_SAFE(l, &f->all)
    {
        runner_free(f, LIST_OWNER(l, runner, in_fleet));
    }
    map_free(&f->by_id);
    map_free(&f->by_peer);
    heap_free(&f->alarms);
    heap_free(&f->hindrances);
}

runner *fleet_by_peer(const fleet *f, uint64_t peer)
{
    return map_get(&f->by_peer, peer);
}

runner *fleet_by_id(const fleet *f, slice id)
{
    return map_gets(&f->by_id, id);
}

static bool has_name(const runner *r, slice name)
{
    return slice_eq(r->name, name);
}

static bool has_id_from(const runner *r, slice begin)
{
    return begin.n >= FLEET_ID_SHOWN && slice_starts(slice_of(r->id), begin);
}

static runner *find_fit(const fleet *f, slice what, bool (*fits)(const runner *, slice),
                        bool *several)
{
    runner *found = NULL;

    LIST_FOR(l, &f->all)
    {
        runner *r = LIST_OWNER(l, runner, in_fleet);

        if (!fits(r, what))
            continue;
        if (found && found->state != RUNNER_GONE && r->state != RUNNER_GONE)
            *several = true;
        if (!found || found->state == RUNNER_GONE)
            found = r;
    }
    return found;
}

runner *fleet_find(const fleet *f, slice name_or_id, bool *several)
{
    runner *found = fleet_by_id(f, name_or_id);

    *several = false;
    if (!found)
        found = find_fit(f, name_or_id, has_name, several);
    if (!found)
        found = find_fit(f, name_or_id, has_id_from, several);
    return found;
}

runner *fleet_add(fleet *f, slice id)
{
    runner *r = NEW(runner);

    assert(id.n == 32);
    memcpy(r->id, id.p, 32);
    r->serial = ++f->serials;
    r->state = RUNNER_GONE;
    r->mode = r->own_mode = MODE_RUN;
    list_init(&r->leases);
    list_init(&r->hindrances);
    list_push(&f->all, &r->in_fleet);
    map_puts(&f->by_id, id, r);
    f->n++;
    return r;
}

void fleet_set_state(fleet *f, runner *r, runner_state state)
{
    f->present -= r->state != RUNNER_GONE;
    f->present += state != RUNNER_GONE;
    r->state = state;
}

void fleet_remove(fleet *f, runner *r)
{
    assert(list_empty(&r->leases));
    fleet_set_state(f, r, RUNNER_GONE);
    fleet_update(f, r, false);
    fleet_bind(f, r, 0);
    list_remove(&r->in_fresh);
    heap_remove(&f->alarms, &r->alarm);
    map_removes(&f->by_id, (slice){ r->id, 32 });
    list_remove(&r->in_fleet);
    f->n--;
    runner_free(f, r);
}

void fleet_bind(fleet *f, runner *r, uint64_t peer)
{
    if (r->peer == peer)
        return;
    if (r->peer)
        map_remove(&f->by_peer, r->peer);
    r->peer = peer;
    if (peer) {
        runner *other = map_get(&f->by_peer, peer);

        if (other) /* one connection that speaks for two runners: the newest is meant */
            other->peer = 0;
        map_put(&f->by_peer, peer, r);
    }
}

static slices keep_list(arena *a, slices s)
{
    slices kept = { ARENA_ARRAY(a, slice, s.n), s.n };

    for (size_t i = 0; i < s.n; i++)
        kept.v[i] = arena_slice(a, s.v[i]);
    return kept;
}

void runner_describe(runner *r, slice name, slice host, slices labels, slices reach, uint64_t slots)
{
    arena old = r->texts; /* an argument may live in it */

    r->texts = (arena){ 0 };
    r->name = arena_slice(&r->texts, name);
    r->host = arena_slice(&r->texts, host);
    r->labels = keep_list(&r->texts, labels);
    r->reach = keep_list(&r->texts, reach);
    r->slots = slots;
    arena_free(&old);
}

bool runner_takes(const runner *r)
{
    return r->state == RUNNER_UP && (r->mode == MODE_RUN || MUTANT(mode_ignored)) &&
           (r->own_mode == MODE_RUN || MUTANT(own_mode_ignored));
}

bool runner_has_room(const runner *r, bool plan)
{
    if (plan)
        return r->plans == 0 || (MUTANT(second_plan) && r->plans == 1);
    return r->busy < r->slots + (MUTANT(slots_ignored) ? 1 : 0);
}

static bool list_has(slices s, slice x)
{
    for (size_t i = 0; i < s.n; i++)
        if (slice_eq(s.v[i], x))
            return true;
    return false;
}

bool runner_has_labels(const runner *r, slices labels)
{
    for (size_t i = 0; i < labels.n; i++)
        if (!list_has(r->labels, labels.v[i]) && !MUTANT(labels_ignored))
            return false;
    return true;
}

bool runner_suits(const runner *r, const queue_class *c)
{
    if (c->host.n && !slice_eq(r->host, c->host) && !list_has(r->reach, c->repo) &&
        !MUTANT(reach_ignored))
        return false;
    return runner_has_labels(r, c->labels);
}

const bad_repo *runner_bad_repo(const runner *r, const repo *p, int64_t now_ms)
{
    const bad_repo *bad = r->bad_repos.n ? map_gets(&r->bad_repos, p->name) : NULL;

    return bad && bad->until_ms > now_ms ? bad : NULL;
}

void fleet_hinder(fleet *f, runner *r, int64_t until_ms)
{
    hindrance *h;

    if (!list_empty(&r->hindrances) &&
        LIST_OWNER(r->hindrances.prev, hindrance, on_runner)->end.key == until_ms)
        return; /* all that a runner gives back in one step ends together */
    h = NEW(hindrance);
    h->runner = r;
    list_push(&r->hindrances, &h->on_runner);
    heap_set(&f->hindrances, &h->end, until_ms);
}

void fleet_rematch(fleet *f, int64_t now_ms)
{
    heap_node *top;

    while ((top = heap_top(&f->hindrances)) && top->key <= now_ms) {
        hindrance *h = HEAP_OWNER(top, hindrance, end);

        fleet_update(f, h->runner, !MUTANT(recheck_forgotten));
        end_hindrance(f, h);
    }
}

/* Linked is who has room. */
static void keep_listed(list *free, list *node, bool room)
{
    if (!room)
        list_remove(node);
    else if (!list_linked(node))
        list_push(free, node);
}

void fleet_update(fleet *f, runner *r, bool gained)
{
    bool takes = runner_takes(r);
    bool tasks = takes && runner_has_room(r, false), plans = takes && runner_has_room(r, true);

    f->slots_up -= r->counted_slots;
    r->counted_slots = takes ? r->slots : 0;
    f->slots_up += r->counted_slots;
    keep_listed(&f->free, &r->in_free, tasks);
    keep_listed(&f->free_plans, &r->in_free_plans, plans);
    if (!tasks && !plans)
        list_remove(&r->in_fresh);
    else if (gained && !list_linked(&r->in_fresh) && !MUTANT(slot_not_matched))
        list_push(&f->fresh, &r->in_fresh);
}
