#include "oracle.h"

#include <stdlib.h>

#include "base/mem.h"

static bool find_build(oracle *o, uint64_t build, row_build *ret)
{
    store *s = dispatcher_store(o->w);

    return s->ops->build(s, build, &o->w->scratch, ret, NULL) == VOLT_OK;
}

bool oracle_is_gone(oracle *o, uint64_t build)
{
    row_build r;

    return !find_build(o, build, &r);
}

bool oracle_is_forgotten(oracle *o, uint64_t build)
{
    row_build r;

    return !find_build(o, build, &r) || r.forgotten;
}

static volt_code note_line(void *ctx, const row *r, volt_err *err)
{
    oracle *o = ctx;

    (void)err;
    if (o->lines_n == o->lines_cap) {
        o->lines_cap = o->lines_cap ? o->lines_cap * 2 : 64;
        o->lines = mem_grow(o->lines, o->lines_cap, sizeof *o->lines);
    }
    o->lines[o->lines_n] = r->build;
    o->lines[o->lines_n++].repo = arena_slice(&o->w->scratch, r->build.repo);
    return VOLT_OK;
}

void oracle_prunes(oracle *o, store *s)
{
    o->lines_n = 0;
    s->ops->builds(s, (slice){ 0 }, 0, SIZE_MAX, note_line, o, NULL);
}

/* A build that has not ended takes over jobs of `build`, by any number of retries. */
static const row_build *who_needs(oracle *o, uint64_t build)
{
    for (size_t i = 0; i < o->lines_n; i++) {
        uint64_t from = o->lines[i].state == STATE_FINAL ? 0 : o->lines[i].retry_of;
        row_build r;

        while (from && from != build)
            from = find_build(o, from, &r) ? r.retry_of : 0;
        if (from)
            return &o->lines[i];
    }
    return NULL;
}

/* Builds of its repository that ended later and had their details before this slice. */
static uint64_t newer(const oracle *o, const row_build *than)
{
    uint64_t n = 0;

    for (size_t i = 0; i < o->lines_n; i++) {
        const row_build *b = &o->lines[i];

        n += b->state == STATE_FINAL && !b->forgotten && slice_eq(b->repo, than->repo) &&
             (b->finished_ms > than->finished_ms ||
              (b->finished_ms == than->finished_ms && b->build > than->build));
    }
    return n;
}

static void check_victim(oracle *o, const row_build *b, const store_old *old)
{
    const row_build *other = who_needs(o, b->build);

    if (b->state != STATE_FINAL)
        broken(o->w, RULE_RETAIN, "build %llu is forgotten, and %s", ULL(b->build),
               state_text(b->state));
    if (other)
        broken(o->w, RULE_RETAIN, "build %llu is forgotten, and build %llu needs it", ULL(b->build),
               ULL(other->build));
    if (b->finished_ms < old->ended_ms || old->for_room)
        return;
    if (!slice_eq(b->repo, old->repo) || newer(o, b) < old->newest)
        broken(o->w, RULE_RETAIN, "build %llu is forgotten, and neither old nor one too many",
               ULL(b->build));
    cover("retention", "one too many");
}

void oracle_pruned(oracle *o, store *s, const store_old *old)
{
    checked(o->w, RULE_RETAIN);
    (void)s;
    for (size_t i = 0; i < o->lines_n; i++) {
        const row_build *was = &o->lines[i];
        row_build is;
        bool there = find_build(o, was->build, &is);

        if (there && is.forgotten && !was->forgotten)
            check_victim(o, was, old);
        if (!there && was->finished_ms >= old->line_ms)
            broken(o->w, RULE_RETAIN, "the line of build %llu is gone too early", ULL(was->build));
    }
    if (old->for_room)
        cover("retention", "no room");
}
