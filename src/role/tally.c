/*
 * tally.c - the histories of test files, made of the events behind the work.
 *
 * An outcome is durable as an event with its number; the histories are what these come to, and a
 * cursor says how far they have come.  Both are written in one transaction, so each run counts
 * once.  That costs more than all else that an outcome does (7 of 16 us of CPU), which would be
 * paid just when runners wait for their answers: so it waits for the quiet moments between.
 */
#include "base/mutant.h"
#include "role/dispatcher_internal.h"
#include "wire/codec.h"

#define TALLY_MAX 256 /* events a turn: when all are of test files, some 2 ms */
#define TALLY_MS  250 /* while there is other work, the next turn that counts comes so late, ... */
#define BURST_MAX 100000 /* ... unless so many events wait: what lasts is no burst */

typedef struct page {
    arena *a;
    file_run *runs;
    size_t n;
} page;

static volt_code take_event(void *ctx, uint64_t seq, slice bytes, volt_err *err)
{
    page *p = ctx;
    const msg_event *e;
    msg m;

    (void)seq, (void)err;
    /* One that cannot be read any more tells nothing. */
    if (wire_decode(arena_slice(p->a, bytes), p->a, &m, NULL) != VOLT_OK || m.type != MSG_event)
        return VOLT_OK;
    e = &m.event;
    if (e->run && history_counts(e->verdict))
        p->runs[p->n++] = (file_run){ .repo = e->repo,
                                      .job = e->job,
                                      .file = e->file,
                                      .oid = e->oid,
                                      .verdict = e->verdict,
                                      .duration_ms = e->duration_ms,
                                      .wall_ms = (int64_t)e->time_ms };
    return VOLT_OK;
}

static volt_code count(dispatcher *d, const file_run *run, volt_err *err)
{
    row r = { .kind = ROW_FILE, .file = { .repo = run->repo, .job = run->job, .file = run->file } };
    volt_code code =
        d->store->ops->file(d->store, run->repo, run->job, run->file, &d->arena, &r.file, err);

    if (code != VOLT_OK && code != VOLT_ENOTFOUND)
        return code;
    history_count(&r.file, run);
    return d->store->ops->put(d->store, &r, (slice){ 0 }, err);
}

/* Counts what happened up to that event. */
static volt_code count_to(dispatcher *d, uint64_t last, volt_err *err)
{
    page p = { &d->arena, ARENA_ARRAY(&d->arena, file_run, TALLY_MAX), 0 };
    row r = { .kind = ROW_CURSOR, .cursor = { SLICE("files"), last } };
    volt_code code = d->store->ops->events_of(d->store, EVENT_TEST_DONE, d->counted + 1, last,
                                              take_event, &p, err);

    for (size_t i = 0; code == VOLT_OK && i < p.n; i++)
        code = count(d, &p.runs[i], err);
    if (code == VOLT_OK && p.n && !MUTANT(run_counted_twice))
        code = d->store->ops->put(d->store, &r, (slice){ 0 }, err);
    d->dirty |= p.n > 0;
    d->counted = last;
    return code;
}

static uint64_t behind(const dispatcher *d)
{
    return dispatch_last_seq(d->core) - d->counted;
}

int64_t tally_due_ms(const dispatcher *d)
{
    return behind(d) ? d->tally_ms : INT64_MAX;
}

volt_code tally_some(dispatcher *d, volt_err *err)
{
    bool quiet = !d->dirty;
    volt_code code;

    if (d->now_ms < tally_due_ms(d))
        return VOLT_OK;
    code = count_to(d, d->counted + (behind(d) < TALLY_MAX ? behind(d) : TALLY_MAX), err);
    d->tally_ms = d->now_ms + (quiet || behind(d) > BURST_MAX ? 0 : TALLY_MS);
    return code;
}
