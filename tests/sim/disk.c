#include "disk.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "store/table.h"

/* ---- journal ---- */

typedef enum entry_kind { ENTRY_EPOCH, ENTRY_ROW, ENTRY_CUT, ENTRY_COMMIT } entry_kind;

typedef struct entry {
    entry_kind kind;
    uint64_t ep; /* at a COMMIT: of the time */
    row row;
    slice encoded;
} entry;

typedef struct journal {
    arena mem;
    entry *v;
    size_t n, cap, committed;
} journal;

static entry *note(disk *d, entry_kind kind)
{
    journal *j = d->journal;

    if (!j)
        return NULL;
    if (j->n == j->cap) {
        j->cap = j->cap ? j->cap * 2 : 1024;
        j->v = mem_grow(j->v, j->cap, sizeof *j->v);
    }
    j->v[j->n] = (entry){ .kind = kind, .ep = d->ep };
    return &j->v[j->n++];
}

static void note_row(disk *d, const row *r, slice encoded)
{
    entry *e = note(d, ENTRY_ROW);

    if (!e)
        return;
    e->row = *r;
    if (r->kind == ROW_EVENT) /* it is kept encoded, and decoded when it is played again */
        e->encoded = arena_slice(&d->journal->mem, encoded);
    else
        table_own(table_of(r->kind), table_fields_mut(&e->row), &d->journal->mem);
}

static void note_commit(disk *d)
{
    if (note(d, ENTRY_COMMIT))
        d->journal->committed = d->journal->n;
}

static void journal_free(journal *j)
{
    if (!j)
        return;
    arena_free(&j->mem);
    free(j->v);
    free(j);
}

/* ---- failing ---- */

static bool is_full(const disk *d)
{
    return !d->w->calm && d->w->now_ms < d->full_ms;
}

/* Whether this call fails, and how. */
static volt_code fails(disk *d, volt_err *err)
{
    if (process_dies(d->p))
        return volt_fail(err, VOLT_EIO, "killed");
    if (is_full(d)) {
        d->failed = true;
        cover("fault", "no space left");
        return volt_fail(err, VOLT_EFULL, "no space left");
    }
    if (d->fail_in && --d->fail_in == 0) {
        d->failed = true;
        cover("fault", "disk fails");
        return volt_fail(err, VOLT_EIO, "the disk fails");
    }
    return VOLT_OK;
}

void disk_fault(disk *d)
{
    world *w = d->w;

    switch (pick(w, 4)) {
    case 0:
        cover("fault", "disk nearly full");
        d->low_ms = w->now_ms + some_ms(w, 500, 10000);
        tell(w, d->p, "its disk is nearly full until %.3f", (double)d->low_ms / 1000);
        break;
    case 1:
        d->low_ms = d->full_ms = w->now_ms + some_ms(w, 1, 3000);
        tell(w, d->p, "its disk is full until %.3f", (double)d->full_ms / 1000);
        break;
    default:
        d->fail_in = 1 + (unsigned)pick(w, chance(w, 500) ? 10 : 200);
        tell(w, d->p, "its disk will fail at call %u", d->fail_in);
        break;
    }
}

/* ---- the store, watched ---- */

static disk *of_store(store *s)
{
    return (disk *)(void *)((char *)(uintptr_t)s->ops - offsetof(disk, ops));
}

static volt_code watched_put(store *s, const row *r, slice encoded, volt_err *err)
{
    disk *d = of_store(s);
    volt_code code = fails(d, err);

    if (code != VOLT_OK)
        return code;
    code = d->inner->put(s, r, encoded, err);
    if (code != VOLT_OK)
        broken(d->w, RULE_STORE, "put fails: %s", err ? err->msg : "");
    oracle_put(d->w->oracle, r, encoded);
    note_row(d, r, encoded);
    return code;
}

static volt_code watched_cut(store *s, const row_case *from, volt_err *err)
{
    disk *d = of_store(s);
    volt_code code = fails(d, err);
    entry *e;

    if (code != VOLT_OK)
        return code;
    e = note(d, ENTRY_CUT);
    if (e)
        e->row = (row){ .kind = ROW_CASE, .test_case = *from };
    return d->inner->cut_cases(s, from, err);
}

static void commit(disk *d)
{
    volt_err err;

    if (d->inner->commit(d->store, &err) != VOLT_OK)
        broken(d->w, RULE_STORE, "commit fails: %s", err.msg);
    oracle_commit(d->w->oracle);
    note_commit(d);
}

static volt_code watched_commit(store *s, volt_err *err)
{
    disk *d = of_store(s);
    volt_code code = fails(d, err);

    if (code == VOLT_OK)
        commit(d);
    else if (code == VOLT_EIO && !d->p->dying && chance(d->w, 300)) {
        cover("fault", "failed commit that is durable");
        commit(d);
    }
    return code;
}

static volt_code watched_begin_epoch(store *s, const char hist_if_new[33], uint64_t *ret,
                                     volt_err *err)
{
    disk *d = of_store(s);
    volt_code code = fails(d, err);

    if (code == VOLT_OK)
        code = d->inner->begin_epoch(s, hist_if_new, ret, err);
    if (code != VOLT_OK)
        return code;
    d->ep = *ret;
    note(d, ENTRY_EPOCH);
    note_commit(d);
    if (d->renames) {
        d->renames = false;
        oracle_renamed(d->w->oracle);
    }
    oracle_dispatcher_started(d->w->oracle, *ret);
    return code;
}

static volt_code watched_prune(store *s, const store_old *old, size_t max, store_log_fn log_gone,
                               void *ctx, bool *more, volt_err *err)
{
    disk *d = of_store(s);
    volt_code code = fails(d, err);

    if (code != VOLT_OK)
        return code;
    oracle_prunes(d->w->oracle, s);
    code = d->inner->prune(s, old, max, log_gone, ctx, more, err);
    if (code == VOLT_OK)
        oracle_pruned(d->w->oracle, s, old);
    return code;
}

/* ---- log files ---- */

static uint64_t log_key(const log_name *name)
{
    return name->task << 21 | name->att << 1 | name->part;
}

log_file *disk_log(const disk *d, const log_name *name)
{
    return map_get(&d->logs, log_key(name));
}

static volt_code log_write(void *ctx, const log_name *name, uint64_t off, slice bytes,
                           volt_err *err)
{
    disk *d = ctx;
    log_file *f = disk_log(d, name);
    volt_code code = fails(d, err);

    if (code != VOLT_OK)
        return code;
    if (!f) {
        f = NEW(log_file);
        f->name = *name;
        map_put(&d->logs, log_key(name), f);
    }
    if (off > f->bytes.n)
        broken(d->w, RULE_S8, "log of task %llu attempt %llu gets a hole at %zu: written at %llu",
               (unsigned long long)name->task, (unsigned long long)name->att, f->bytes.n,
               (unsigned long long)off);
    oracle_log_written(d->w->oracle, name, off, bytes);
    if (off + bytes.n > f->bytes.n) {
        buf_room(&f->bytes, (size_t)off + bytes.n - f->bytes.n);
        f->bytes.n = (size_t)off + bytes.n;
    }
    memcpy(f->bytes.p + off, bytes.p, bytes.n);
    if (off <= f->torn_from && off + bytes.n > f->torn_from)
        f->torn_from = (size_t)off + bytes.n;
    if (f->synced > off)
        f->synced = (size_t)off;
    return VOLT_OK;
}

static volt_code log_sync(void *ctx, const log_name *name, uint64_t bytes, volt_err *err)
{
    disk *d = ctx;
    log_file *f = disk_log(d, name);
    volt_code code = fails(d, err);

    if (code != VOLT_OK)
        return code;
    if (!f || f->bytes.n < bytes)
        broken(d->w, RULE_S8, "log of task %llu attempt %llu is shorter than the result says",
               (unsigned long long)name->task, (unsigned long long)name->att);
    f->bytes.n = (size_t)bytes;
    f->synced = (size_t)bytes;
    return VOLT_OK;
}

static volt_code log_read(void *ctx, const log_name *name, uint64_t off, size_t max, buf *ret,
                          volt_err *err)
{
    const log_file *f = disk_log(ctx, name);

    (void)err;
    if (f && off < f->bytes.n) {
        size_t n = f->bytes.n - (size_t)off;

        buf_add(ret, f->bytes.p + off, n < max ? n : max);
    }
    return VOLT_OK;
}

static void log_remove(void *ctx, const log_name *name)
{
    disk *d = ctx;
    log_file *f = map_remove(&d->logs, log_key(name));

    if (f)
        buf_free(&f->bytes);
    free(f);
}

static uint64_t log_bytes(void *ctx)
{
    const disk *d = ctx;
    const map_entry *e;
    size_t at = 0;
    uint64_t n = 0;

    while ((e = map_next(&d->logs, &at)))
        n += ((const log_file *)e->value)->bytes.n;
    return n;
}

log_files disk_logs(disk *d)
{
    return (log_files){ d, log_write, log_sync, log_read, log_remove, log_bytes };
}

/* The end of what was not synced is cut off, or torn: blocks that were never written are zero. */
static void lose_power(disk *d)
{
    const map_entry *e;
    size_t at = 0;

    cover("fault", "power lost");
    while ((e = map_next(&d->logs, &at))) {
        log_file *f = e->value;
        /* By its number, for the order of a table must not decide. */
        uint64_t how = (f->name.task ^ f->name.att ^ (uint64_t)d->w->now_ms) % 4;
        size_t half = f->synced + (f->bytes.n - f->synced) / 2;

        if (how == 0 || f->bytes.n == f->synced)
            continue;
        if (how == 1) {
            memset(f->bytes.p + half, 0, f->bytes.n - half);
            if (f->torn_from >= f->torn_to || f->torn_from > half)
                f->torn_from = half;
            f->torn_to = f->bytes.n;
            cover("fault", "log file torn");
        } else {
            f->bytes.n = half;
            cover("fault", "log file cut short");
        }
    }
}

void disk_crash(disk *d, bool power)
{
    store_memory_crash(d->store);
    oracle_rollback(d->w->oracle);
    if (d->journal)
        d->journal->n = d->journal->committed;
    d->failed = false;
    if (power)
        lose_power(d);
}

/* ---- life ---- */

static void open_store(disk *d)
{
    store_open_memory(&d->store);
    d->inner = d->store->ops;
    d->ops = *d->inner;
    d->ops.put = watched_put;
    d->ops.cut_cases = watched_cut;
    d->ops.commit = watched_commit;
    d->ops.begin_epoch = watched_begin_epoch;
    d->ops.prune = watched_prune;
    d->store->ops = &d->ops;
    d->ep = 0;
    d->renames = false;
    if (d->w->k.rebirth)
        d->journal = NEW(journal);
}

void disk_open(disk *d, world *w, process *p)
{
    d->w = w;
    d->p = p;
    prng_hex32(&w->rng, d->hist);
    open_store(d);
}

static void close_store(disk *d)
{
    store_close(d->store);
    journal_free(d->journal);
    d->store = NULL;
    d->journal = NULL;
}

static void free_logs(disk *d)
{
    const map_entry *e;
    size_t at = 0;

    while ((e = map_next(&d->logs, &at))) {
        buf_free(&((log_file *)e->value)->bytes);
        free(e->value);
    }
    map_free(&d->logs);
    d->logs = (map){ 0 };
}

void disk_close(disk *d)
{
    free_logs(d);
    close_store(d);
}

/* ---- another directory ---- */

void disk_renew(disk *d)
{
    world *w = d->w;

    cover("fault", "empty data directory");
    tell(w, d->p, "has an empty data directory");
    free_logs(d);
    close_store(d);
    prng_hex32(&w->rng, d->hist);
    open_store(d);
    w->timeline++;
    w->oracle = oracle_new(w, w->oracle);
}

void disk_rename(disk *d)
{
    world *w = d->w;

    cover("fault", "old copy accepted");
    tell(w, d->p, "goes on from an old copy as a new history");
    prng_hex32(&w->rng, d->hist);
    journal_free(TAKE(d->journal)); /* it tells of the old history */
    d->renames = true;
    w->timeline++;
}

/* What was written after the copy was made is not in it. */
static void cut_logs(disk *d)
{
    map old = d->logs;
    const map_entry *e;
    size_t at = 0;

    d->logs = (map){ 0 };
    while ((e = map_next(&old, &at))) {
        log_file *f = e->value;
        uint64_t keep = oracle_final_bytes(d->w->oracle, &f->name);

        if (keep && keep <= f->bytes.n) {
            f->bytes.n = (size_t)keep;
            map_put(&d->logs, log_key(&f->name), f);
        } else {
            buf_free(&f->bytes);
            free(f);
        }
    }
    map_free(&old);
}

static void play(disk *d, journal *from, size_t n)
{
    oracle *o = d->w->oracle;
    uint64_t ep;
    msg m;

    for (size_t i = 0; i < n; i++) {
        entry *e = &from->v[i];

        if (e->kind == ENTRY_ROW) {
            if (e->row.kind == ROW_EVENT &&
                wire_decode(e->encoded, &d->w->scratch, &m, NULL) == VOLT_OK)
                e->row.event = m.event;
            d->inner->put(d->store, &e->row, e->encoded, NULL);
            oracle_put(o, &e->row, e->encoded);
            note_row(d, &e->row, e->encoded);
        } else if (e->kind == ENTRY_CUT) {
            d->inner->cut_cases(d->store, &e->row.test_case, NULL);
        } else if (e->kind == ENTRY_EPOCH) {
            d->inner->begin_epoch(d->store, d->hist, &ep, NULL);
            oracle_dispatcher_started(o, ep);
            d->ep = ep;
            note(d, ENTRY_EPOCH);
        } else {
            commit(d);
        }
    }
}

/* A commit of an epoch that is two below what some runner knows, for the restored dispatcher begins
 * one above it.  0: there is none. */
static size_t choose_copy(const disk *d)
{
    uint64_t known = runner_greatest_epoch(d->w, d->hist);
    const journal *j = d->journal;
    size_t end = 0;

    if (!j)
        return 0;
    for (size_t i = 0; i < j->committed && j->v[i].ep + 1 < known; i++)
        end = i + 1;
    if (end == 0)
        return 0;
    end = 1 + (size_t)pick(d->w, end);
    while (end > 0 && j->v[end - 1].kind != ENTRY_COMMIT)
        end--;
    return end;
}

bool disk_restore(disk *d)
{
    world *w = d->w;
    journal *old = d->journal;
    size_t n = choose_copy(d);

    if (n == 0)
        return false;
    cover("fault", "old copy of the data");
    tell(w, d->p, "has an old copy of its data directory: %zu of %zu entries", n, old->committed);
    d->journal = NULL;
    close_store(d);
    open_store(d);
    w->timeline++;
    w->oracle = oracle_new(w, w->oracle);
    oracle_is_stale(w->oracle);
    play(d, old, n);
    oracle_adopt(w->oracle);
    cut_logs(d);
    journal_free(old);
    return true;
}
