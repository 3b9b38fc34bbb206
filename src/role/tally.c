/*
 * tally.c - the histories of test files, made of the events behind the work.
 *
 * An outcome is durable as an event with its number; the histories are what these come to, and a
 * cursor says how far they have come.  Both are written in one transaction, so each run counts
 * once, whoever dies.  It takes nearly as long as all else that an outcome does (7 us of CPU beside
 * 9, tests/bench/bench_dispatch.c), and that would be just when runners wait for their answers, so
 * it is put off to a quiet moment.
 */
#include "base/mutant.h"
#include "role/dispatcher_internal.h"
#include "wire/codec.h"

#define TALLY_MAX 128  /* runs a turn, some 1 ms */
#define LOOK_MAX  4096 /* events that are looked at for them */
#define QUIET_MS  20   /* who asks for the next piece of something has asked by then */
#define TALLY_MS  100  /* while there is other work, the next turn that counts comes so late */

typedef struct page {
    arena *a;
    file_run *runs;
    size_t n;
    size_t seen;
    uint64_t last; /* event that it ends with */
} page;

static volt_code take_event(void *ctx, uint64_t seq, slice bytes, volt_err *err)
{
    page *p = ctx;
    const msg_event *e;
    msg m;

    (void)err;
    if (++p->seen == TALLY_MAX)
        p->last = seq;
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

/* What cannot be read is not counted: no more hangs on it.  If its transaction is gone with it, the
 * next put tells. */
static volt_code count(dispatcher *d, const file_run *run, volt_err *err)
{
    row r = { .kind = ROW_FILE, .file = { .repo = run->repo, .job = run->job, .file = run->file } };
    volt_code code =
        d->store->ops->file(d->store, run->repo, run->job, run->file, &d->arena, &r.file, NULL);

    if (code != VOLT_OK && code != VOLT_ENOTFOUND)
        return VOLT_OK;
    history_count(&r.file, run);
    return d->store->ops->put(d->store, &r, (slice){ 0 }, err);
}

static uint64_t behind(const dispatcher *d)
{
    return dispatch_last_seq(d->core) - d->counted;
}

static volt_code count_page(dispatcher *d, volt_err *err)
{
    page p = { .a = &d->arena,
               .runs = ARENA_ARRAY(&d->arena, file_run, TALLY_MAX),
               .last = d->counted + (behind(d) < LOOK_MAX ? behind(d) : LOOK_MAX) };
    row r = { .kind = ROW_CURSOR };
    volt_code code = VOLT_OK;

    d->store->ops->events_of(d->store, EVENT_TEST_DONE, d->counted + 1, p.last, TALLY_MAX,
                             take_event, &p, NULL);
    r.cursor = (row_cursor){ SLICE("files"), p.last };
    for (size_t i = 0; code == VOLT_OK && i < p.n; i++)
        code = count(d, &p.runs[i], err);
    if (code == VOLT_OK && p.n && !MUTANT(run_counted_twice))
        code = d->store->ops->put(d->store, &r, (slice){ 0 }, err);
    d->dirty |= p.n > 0;
    d->counted = p.last;
    return code;
}

int64_t tally_due_ms(const dispatcher *d)
{
    int64_t at_ms = d->tallied_ms + TALLY_MS, quiet_ms = d->worked_ms + QUIET_MS;

    if (!behind(d))
        return INT64_MAX;
    if (d->outbox.n && quiet_ms < d->tallied_ms + QUIET_MS) /* what is to be said goes first */
        quiet_ms = d->tallied_ms + QUIET_MS;
    return quiet_ms < at_ms ? quiet_ms : at_ms;
}

volt_code tally_some(dispatcher *d, bool busy, volt_err *err)
{
    if (busy)
        d->worked_ms = d->now_ms;
    if (d->now_ms < tally_due_ms(d))
        return VOLT_OK;
    d->tallied_ms = d->now_ms;
    return count_page(d, err);
}
