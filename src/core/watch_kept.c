/*
 * What was accepted is durable at the dispatcher, but its data directory may be put back to an
 * earlier state.  Until a runner has proven that to it, and after --accept-rollback, it accepts
 * commits that nobody knows of when the newest directory is put in its place again, and it lacks
 * those that were accepted by the newest.  So an observer remembers what was accepted, and offers
 * it to each dispatcher that shows itself, also to one that only seems to be another: a commit that
 * is known is answered with its build.
 *
 * For a day only: the dispatcher may forget builds that ended longer ago, and would make them anew.
 * To another history the newest commit of each branch is offered even so.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "core/watch_queue.h"

static bool is_old(const watch *w, const watch_ref *ref, size_t i)
{
    return ref->kept[i].wall_ms < w->wall_ms - ref->repo->kept_ms;
}

static void add(watch_ref *ref, const watch_oid *oid, int64_t wall_ms)
{
    if (ref->kept_n == ref->kept_cap) {
        ref->kept_cap = ref->kept_cap ? ref->kept_cap * 2 : 4;
        ref->kept = mem_grow(ref->kept, ref->kept_cap, sizeof *ref->kept);
    }
    ref->kept[ref->kept_n++] = (watch_kept){ *oid, wall_ms };
}

void watch_keep(const watch *w, watch_ref *ref, const watch_oid *oid)
{
    size_t gone = 0;

    add(ref, oid, w->wall_ms);
    while (ref->kept_n - gone > 1 && (ref->kept_n - gone > WATCH_KEPT_MAX || is_old(w, ref, gone)))
        gone++;
    ref->kept_n -= gone;
    memmove(ref->kept, ref->kept + gone, ref->kept_n * sizeof *ref->kept);
}

void watch_keep_nothing(watch_ref *ref)
{
    free(ref->kept);
    ref->kept = NULL;
    ref->kept_n = ref->kept_cap = 0;
}

void watch_restore_kept(watch *w, size_t repo, slice ref, slice oid, int64_t wall_ms)
{
    watch_ref *r = map_gets(&w->repos[repo]->refs, ref);
    watch_oid id;

    if (r && watch_set_id(&id, oid))
        add(r, &id, wall_ms);
}

static bool is_queued(const watch_ref *ref, const watch_oid *oid)
{
    LIST_FOR(pos, &ref->queue)
    {
        if (strcmp(LIST_OWNER(pos, submission, in_ref)->oid.hex, oid->hex) == 0)
            return true;
    }
    return false;
}

/* Durable as one that is kept, so it is not spooled. */
static void offer(watch *w, watch_ref *ref, const watch_oid *oid)
{
    watch_oid mark = ref->mark;
    submission *s = watch_submission_new(w, ref, oid, (slice){ 0 }, (slice){ 0 });

    ref->mark = mark;
    s->again = true;
    s->stage = STAGE_SPOOLED;
    prng_hex32(&w->rng, s->sid);
    map_puts(&w->by_sid, slice_of(s->sid), s);
    if (watch_first(ref) == s)
        watch_make_ready(w, ref);
}

void watch_offer_again(watch *w, bool other, watch_effects *out)
{
    watch_effect *e = other ? watch_effect_add(out, WATCH_DO_TELL) : NULL;

    if (e) {
        e->warn = true;
        e->text = watch_effect_text(out, "the dispatcher has begun another history; what was "
                                         "accepted lately is offered again");
    }
    for (size_t r = 0; r < w->repos_n && !MUTANT(offered_once); r++)
        LIST_FOR(pos, &w->repos[r]->ref_order)
        {
            watch_ref *ref = LIST_OWNER(pos, watch_ref, in_repo);

            for (size_t i = 0; i < ref->kept_n; i++)
                if ((!is_old(w, ref, i) || (other && i + 1 == ref->kept_n)) &&
                    !is_queued(ref, &ref->kept[i].oid))
                    offer(w, ref, &ref->kept[i].oid);
        }
}
