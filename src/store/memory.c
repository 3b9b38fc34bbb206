#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "store/memory_store.h"

static const column event_columns[] = {
    { "seq", COLUMN_NUMBER, COLUMN_KEY, offsetof(memory_event, seq), NULL },
    { "bytes", COLUMN_BYTES, COLUMN_VALUE, offsetof(memory_event, bytes), NULL },
};

static const table event_table = { "event", sizeof(memory_event), event_columns, 2, 1 };

size_t memory_place(const shelf *sh, const void *fields)
{
    size_t from = 0, to = sh->n;

    if (sh->n && table_cmp(sh->table, sh->v[sh->n - 1], fields) < 0)
        return sh->n; /* most rows come in the order of their keys */
    while (from < to) {
        size_t at = from + (to - from) / 2;

        if (table_cmp(sh->table, sh->v[at], fields) < 0)
            from = at + 1;
        else
            to = at;
    }
    return from;
}

static bool is_at(const shelf *sh, size_t at, const void *fields)
{
    return at < sh->n && table_cmp(sh->table, sh->v[at], fields) == 0;
}

void *memory_find(const shelf *sh, const void *fields)
{
    size_t at = memory_place(sh, fields);

    return is_at(sh, at, fields) ? sh->v[at] : NULL;
}

static void insert(shelf *sh, size_t at, void *fields)
{
    if (sh->n == sh->cap) {
        sh->cap = sh->cap ? sh->cap * 2 : 16;
        sh->v = mem_grow(sh->v, sh->cap, sizeof *sh->v);
    }
    memmove(sh->v + at + 1, sh->v + at, (sh->n - at) * sizeof *sh->v);
    sh->v[at] = fields;
    sh->n++;
}

static void take_out(shelf *sh, size_t from, size_t n)
{
    memmove(sh->v + from, sh->v + from + n, (sh->n - from - n) * sizeof *sh->v);
    sh->n -= n;
}

static void remember(memory_store *s, row_kind kind, void *was, void *now)
{
    if (s->undo_n == s->undo_cap) {
        s->undo_cap = s->undo_cap ? s->undo_cap * 2 : 64;
        s->undo = mem_grow(s->undo, s->undo_cap, sizeof *s->undo);
    }
    s->undo[s->undo_n++] = (undo){ kind, was, now };
}

void memory_forget(memory_store *s, row_kind kind, size_t from, size_t n)
{
    shelf *sh = &s->shelves[kind];

    for (size_t i = from; i < from + n; i++)
        remember(s, kind, sh->v[i], NULL);
    if (n)
        take_out(sh, from, n);
}

void memory_replace(memory_store *s, row_kind kind, size_t at, void *now)
{
    shelf *sh = &s->shelves[kind];

    remember(s, kind, sh->v[at], now);
    sh->v[at] = now;
}

static volt_code put_event(memory_store *s, const msg_event *event, slice encoded, volt_err *err)
{
    shelf *sh = &s->shelves[ROW_EVENT];
    memory_event e = { .seq = event->seq,
                       .time_ms = (int64_t)event->time_ms,
                       .kind = event->kind,
                       .build = event->build,
                       .bytes = encoded };
    void *now;

    if (event->seq != s->ids.last_seq + 1)
        return volt_fail(err, VOLT_ECORRUPT, "event %" PRIu64 " does not follow event %" PRIu64,
                         event->seq, s->ids.last_seq);
    now = table_clone(sh->table, &e);
    insert(sh, sh->n, now);
    remember(s, ROW_EVENT, NULL, now);
    s->ids.last_seq = event->seq;
    return VOLT_OK;
}

static volt_code check_build(memory_store *s, const row_build *b, volt_err *err)
{
    const shelf *sh = &s->shelves[ROW_BUILD];

    for (size_t i = 0; i < sh->n; i++) {
        const row_build *other = sh->v[i];

        if (other->build != b->build && other->gen == b->gen && slice_eq(other->oid, b->oid) &&
            slice_eq(other->repo, b->repo) && slice_eq(other->ref, b->ref))
            return volt_fail(err, VOLT_EEXISTS,
                             "build %" PRIu64 " has the commit and generation of build %" PRIu64,
                             b->build, other->build);
    }
    return VOLT_OK;
}

/* What an update leaves as it is. */
static void keep_fixed(const table *t, void *fields, const void *was)
{
    for (size_t i = 0; i < t->n; i++) {
        const column *c = &t->columns[i];
        void *to = (char *)fields + c->offset;
        const void *from = (const char *)was + c->offset;

        if (c->role != COLUMN_FIXED)
            continue;
        if (c->type == COLUMN_NUMBER)
            *(uint64_t *)to = *(const uint64_t *)from;
        else if (c->type == COLUMN_WORD)
            *(unsigned *)to = *(const unsigned *)from;
        else
            *(slice *)to = *(const slice *)from;
    }
}

static volt_code put(store *base, const row *r, slice encoded, volt_err *err)
{
    memory_store *s = (memory_store *)base;
    shelf *sh = &s->shelves[r->kind];
    row next = *r;
    size_t at;
    void *was, *now;
    volt_code rc;

    if (r->kind == ROW_EVENT)
        return put_event(s, &r->event, encoded, err);
    at = memory_place(sh, table_fields(r));
    was = is_at(sh, at, table_fields(r)) ? sh->v[at] : NULL;
    if (r->kind == ROW_UNIT && r->unit.file.n == 0 && !was)
        return volt_fail(err, VOLT_ECORRUPT,
                         "unit %" PRIu64 " of job %" PRIu64 " in build %" PRIu64 " has no row",
                         r->unit.i, r->unit.job, r->unit.build);
    if (r->kind == ROW_BUILD && !was && (rc = check_build(s, &r->build, err)))
        return rc;
    if (was)
        keep_fixed(sh->table, table_fields_mut(&next), was);
    now = table_clone(sh->table, table_fields(&next));
    if (was) {
        memory_replace(s, r->kind, at, now);
    } else {
        insert(sh, at, now);
        remember(s, r->kind, NULL, now);
    }
    if (r->kind == ROW_BUILD && r->build.build > s->ids.last_build)
        s->ids.last_build = r->build.build;
    if (r->kind == ROW_TASK && r->task.task > s->ids.last_task)
        s->ids.last_task = r->task.task;
    return VOLT_OK;
}

static volt_code commit(store *base, volt_err *err)
{
    memory_store *s = (memory_store *)base;

    (void)err;
    for (size_t i = 0; i < s->undo_n; i++)
        free(s->undo[i].was);
    s->undo_n = 0;
    s->ids_committed = s->ids;
    memcpy(s->stale_committed, s->stale, sizeof s->stale);
    return VOLT_OK;
}

void store_memory_crash(store *base)
{
    memory_store *s = (memory_store *)base;

    for (size_t i = s->undo_n; i > (MUTANT(torn_commit) ? 1 : 0); i--) {
        const undo *u = &s->undo[i - 1];
        shelf *sh = &s->shelves[u->kind];
        size_t at = memory_place(sh, u->now ? u->now : u->was);

        if (!u->now)
            insert(sh, at, u->was);
        else if (u->was)
            sh->v[at] = u->was;
        else
            take_out(sh, at, 1);
        free(u->now);
    }
    s->undo_n = 0;
    if (!MUTANT(seq_autoincrement))
        s->ids = s->ids_committed;
    memcpy(s->stale, s->stale_committed, sizeof s->stale);
    free(s->sweep_submission);
    free(s->sweep);
    s->sweep_submission = NULL;
    s->sweep = NULL;
}

/* ---- reads ---- */

/* Hands out rows [from, to) of a shelf. */
static volt_code walk(const memory_store *s, row_kind kind, size_t from, size_t to, store_row_fn fn,
                      void *ctx, volt_err *err)
{
    const shelf *sh = &s->shelves[kind];
    volt_code rc = VOLT_OK;
    row r = { .kind = kind };

    for (size_t i = from; !rc && i < to; i++) {
        memcpy(table_fields_mut(&r), sh->v[i], sh->table->size);
        rc = fn(ctx, &r, err);
    }
    return rc;
}

static volt_code walk_all(const memory_store *s, row_kind kind, store_row_fn fn, void *ctx,
                          volt_err *err)
{
    return walk(s, kind, 0, s->shelves[kind].n, fn, ctx, err);
}

/* Copies the row with the key of `key` into *ret. */
static volt_code fetch(const memory_store *s, row_kind kind, const void *key, arena *a, void *ret,
                       const char *what, volt_err *err)
{
    const shelf *sh = &s->shelves[kind];
    const void *found = memory_find(sh, key);

    if (!found)
        return volt_fail(err, VOLT_ENOTFOUND, "no such %s", what);
    memcpy(ret, found, sh->table->size);
    table_own(sh->table, ret, a);
    return VOLT_OK;
}

static volt_code submission(store *base, slice sid, arena *a, row_submission *ret, volt_err *err)
{
    row_submission key = { .sid = sid };

    return fetch((memory_store *)base, ROW_SUBMISSION, &key, a, ret, "submission", err);
}

static volt_code build(store *base, uint64_t id, arena *a, row_build *ret, volt_err *err)
{
    row_build key = { .build = id };

    return fetch((memory_store *)base, ROW_BUILD, &key, a, ret, "build", err);
}

static volt_code task(store *base, uint64_t id, arena *a, row_task *ret, volt_err *err)
{
    row_task key = { .task = id };

    return fetch((memory_store *)base, ROW_TASK, &key, a, ret, "task", err);
}

static volt_code short_log(store *base, uint64_t id, uint64_t att, arena *a, slice *ret,
                           volt_err *err)
{
    row_log key = { .task = id, .att = att };
    row_log found;
    volt_code rc = fetch((memory_store *)base, ROW_LOG, &key, a, &found, "log", err);

    if (!rc)
        *ret = found.bytes;
    return rc;
}

static volt_code file(store *base, slice repo, slice job, slice name, arena *a, row_file *ret,
                      volt_err *err)
{
    row_file key = { .repo = repo, .job = job, .file = name };

    return fetch((memory_store *)base, ROW_FILE, &key, a, ret, "file", err);
}

static volt_code means(store *base, slice repo, slice job, slices files, uint64_t *ret,
                       volt_err *err)
{
    const memory_store *s = (memory_store *)base;

    (void)err;
    for (size_t i = 0; i < files.n; i++) {
        row_file key = { .repo = repo, .job = job, .file = files.v[i] };
        const row_file *found = memory_find(&s->shelves[ROW_FILE], &key);

        ret[i] = found ? found->mean_ms : UINT64_MAX;
    }
    return VOLT_OK;
}

static volt_code latest_build(store *base, slice repo, slice ref, slice oid, arena *a,
                              row_build *ret, volt_err *err)
{
    const memory_store *s = (memory_store *)base;
    const shelf *sh = &s->shelves[ROW_BUILD];
    const row_build *latest = NULL;

    for (size_t i = 0; i < sh->n; i++) {
        const row_build *b = sh->v[i];

        if (slice_eq(b->oid, oid) && slice_eq(b->repo, repo) && slice_eq(b->ref, ref) &&
            (!latest || b->gen > latest->gen))
            latest = b;
    }
    if (!latest)
        return volt_fail(err, VOLT_ENOTFOUND, "no such build");
    *ret = *latest;
    table_own(sh->table, ret, a);
    return VOLT_OK;
}

static volt_code builds(store *base, slice repo, uint64_t before, size_t max, store_row_fn fn,
                        void *ctx, volt_err *err)
{
    const memory_store *s = (memory_store *)base;
    const shelf *sh = &s->shelves[ROW_BUILD];
    row_build key = { .build = before };
    size_t at = before ? memory_place(sh, &key) : sh->n;
    volt_code rc = VOLT_OK;

    for (; !rc && at > 0 && max > 0; at--) {
        const row_build *b = sh->v[at - 1];

        if (repo.n && !slice_eq(b->repo, repo))
            continue;
        rc = walk(s, ROW_BUILD, at - 1, at, fn, ctx, err);
        max--;
    }
    return rc;
}

static volt_code jobs(store *base, uint64_t id, store_row_fn fn, void *ctx, volt_err *err)
{
    const memory_store *s = (memory_store *)base;
    const shelf *sh = &s->shelves[ROW_JOB];
    row_job from = { .build = id }, to = { .build = id + 1 };

    return walk(s, ROW_JOB, memory_place(sh, &from), memory_place(sh, &to), fn, ctx, err);
}

static volt_code units(store *base, uint64_t id, uint64_t skip, size_t max, store_row_fn fn,
                       void *ctx, volt_err *err)
{
    const memory_store *s = (memory_store *)base;
    const shelf *sh = &s->shelves[ROW_UNIT];
    row_unit first = { .build = id }, end = { .build = id + 1 };
    size_t from = memory_place(sh, &first), to = memory_place(sh, &end);

    from = skip < to - from ? from + (size_t)skip : to;
    return walk(s, ROW_UNIT, from, max < to - from ? from + max : to, fn, ctx, err);
}

static volt_code cases(store *base, uint64_t id, uint64_t job, uint64_t i, bool bad, uint64_t from,
                       size_t max, store_row_fn fn, void *ctx, volt_err *err)
{
    const memory_store *s = (memory_store *)base;
    const shelf *sh = &s->shelves[ROW_CASE];
    row_case first = { .build = id, .job = job, .i = i };
    row_case end = { .build = id, .job = job, .i = i + 1 };
    volt_code rc = VOLT_OK;
    size_t to = memory_place(sh, &end);

    for (size_t at = memory_place(sh, &first); !rc && at < to && max > 0; at++) {
        const row_case *c = sh->v[at];

        if (bad && c->verdict != VERDICT_FAILED && c->verdict != VERDICT_ERRORED)
            continue;
        if (from > 0) {
            from--;
            continue;
        }
        rc = walk(s, ROW_CASE, at, at + 1, fn, ctx, err);
        max--;
    }
    return rc;
}

static volt_code tasks(store *base, uint64_t id, size_t max, store_row_fn fn, void *ctx,
                       volt_err *err)
{
    const memory_store *s = (memory_store *)base;
    const shelf *sh = &s->shelves[ROW_TASK];
    volt_code rc = VOLT_OK;
    size_t from = sh->n;

    for (size_t found = 0; from > 0 && found < max; from--)
        found += ((const row_task *)sh->v[from - 1])->build == id;
    for (; !rc && from < sh->n; from++)
        if (((const row_task *)sh->v[from])->build == id)
            rc = walk(s, ROW_TASK, from, from + 1, fn, ctx, err);
    return rc;
}

static volt_code files(store *base, const row_file *after, size_t max, store_row_fn fn, void *ctx,
                       volt_err *err)
{
    const memory_store *s = (memory_store *)base;
    const shelf *sh = &s->shelves[ROW_FILE];
    size_t from = memory_place(sh, after);

    from += memory_find(sh, after) != NULL;
    return walk(s, ROW_FILE, from, max < sh->n - from ? from + max : sh->n, fn, ctx, err);
}

static volt_code attempts(store *base, uint64_t id, store_row_fn fn, void *ctx, volt_err *err)
{
    const memory_store *s = (memory_store *)base;
    const shelf *sh = &s->shelves[ROW_ATTEMPT];
    row_attempt from = { .task = id }, to = { .task = id + 1 };

    return walk(s, ROW_ATTEMPT, memory_place(sh, &from), memory_place(sh, &to), fn, ctx, err);
}

static int by_name(const void *a, const void *b)
{
    const row_runner *ra = *(void *const *)a, *rb = *(void *const *)b;
    int order = slice_cmp(ra->name, rb->name);

    return order ? order : slice_cmp(ra->id, rb->id);
}

static volt_code runners(store *base, store_row_fn fn, void *ctx, volt_err *err)
{
    const memory_store *s = (memory_store *)base;
    const shelf *sh = &s->shelves[ROW_RUNNER];
    void **sorted = NEW_ARRAY(void *, sh->n);
    row r = { .kind = ROW_RUNNER };
    volt_code rc = VOLT_OK;

    if (sh->n) {
        memcpy(sorted, sh->v, sh->n * sizeof *sorted);
        qsort(sorted, sh->n, sizeof *sorted, by_name);
    }
    for (size_t i = 0; !rc && i < sh->n; i++) {
        r.runner = *(const row_runner *)sorted[i];
        rc = fn(ctx, &r, err);
    }
    free(sorted);
    return rc;
}

static volt_code events(store *base, uint64_t from, size_t max, store_event_fn fn, void *ctx,
                        volt_err *err)
{
    const memory_store *s = (memory_store *)base;
    const shelf *sh = &s->shelves[ROW_EVENT];
    memory_event key = { .seq = from };
    volt_code rc = VOLT_OK;

    for (size_t i = memory_place(sh, &key); !rc && i < sh->n && max > 0; i++, max--) {
        const memory_event *e = sh->v[i];

        rc = fn(ctx, e->seq, e->bytes, err);
    }
    return rc;
}

static volt_code events_of(store *base, event_kind kind, uint64_t from, uint64_t to, size_t max,
                           store_event_fn fn, void *ctx, volt_err *err)
{
    const memory_store *s = (memory_store *)base;
    const shelf *sh = &s->shelves[ROW_EVENT];
    memory_event key = { .seq = from };
    volt_code rc = VOLT_OK;

    for (size_t i = memory_place(sh, &key); !rc && i < sh->n && max > 0; i++) {
        const memory_event *e = sh->v[i];

        if (e->seq > to)
            break;
        if (e->kind != kind)
            continue;
        rc = fn(ctx, e->seq, e->bytes, err);
        max--;
    }
    return rc;
}

static volt_code load(store *base, store_row_fn fn, void *ctx, volt_err *err)
{
    const memory_store *s = (memory_store *)base;
    const shelf *sh = &s->shelves[ROW_BUILD];
    volt_code rc;

    if ((rc = walk_all(s, ROW_REPO, fn, ctx, err)) || (rc = runners(base, fn, ctx, err)))
        return rc;
    for (size_t i = 0; !rc && i < sh->n; i++) {
        const row_build *b = sh->v[i];

        if (b->state == STATE_FINAL)
            continue;
        if ((rc = walk(s, ROW_BUILD, i, i + 1, fn, ctx, err)) ||
            (rc = jobs(base, b->build, fn, ctx, err)) ||
            (rc = units(base, b->build, 0, SIZE_MAX, fn, ctx, err)))
            return rc;
        rc = tasks(base, b->build, SIZE_MAX, fn, ctx, err);
    }
    return rc;
}

static void close_store(store *base)
{
    memory_store *s = (memory_store *)base;

    commit(base, NULL); /* frees what the rows of the open transaction replaced */
    for (row_kind kind = 0; kind < ROW_KINDS; kind++) {
        for (size_t i = 0; i < s->shelves[kind].n; i++)
            free(s->shelves[kind].v[i]);
        free(s->shelves[kind].v);
    }
    free(s->undo);
    free(s->sweep_submission);
    free(s->sweep);
    free(s);
}

static const store_ops ops = {
    .close = close_store,
    .head = memory_head,
    .secret = memory_secret,
    .stale = memory_stale,
    .new_history = memory_new_history,
    .begin_epoch = memory_begin_epoch,
    .put = put,
    .cut_cases = memory_cut_cases,
    .commit = commit,
    .load = load,
    .submission = submission,
    .build = build,
    .latest_build = latest_build,
    .task = task,
    .short_log = short_log,
    .file = file,
    .means = means,
    .builds = builds,
    .jobs = jobs,
    .tasks = tasks,
    .units = units,
    .files = files,
    .cases = cases,
    .attempts = attempts,
    .runners = runners,
    .events = events,
    .events_of = events_of,
    .bytes = memory_bytes,
    .prune = memory_prune,
};

volt_code store_open_memory(store **ret)
{
    memory_store *s = NEW(memory_store);

    assert(ret);
    s->base.ops = &ops;
    for (row_kind kind = 0; kind < ROW_KINDS; kind++)
        s->shelves[kind].table = table_of(kind);
    s->shelves[ROW_EVENT].table = &event_table;
    *ret = &s->base;
    return VOLT_OK;
}
