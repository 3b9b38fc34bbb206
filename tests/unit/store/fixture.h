/* fixture.h - a store of either kind in a temporary directory, rows to put, and rows read back. */
#ifndef VOLT_TESTS_STORE_FIXTURE_H
#define VOLT_TESTS_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "store/store.h"
#include "store/table.h"

#define HIST "0123456789abcdef0123456789abcdef"
#define OID  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DAY  INT64_C(86400000)

typedef struct fixture {
    bool on_disk;
    char dir[64];
    char file[80];
    store *s;
    arena a;
    volt_err err;
    row *rows; /* what collect() gathered, owned by `a` */
    size_t rows_n;
} fixture;

static inline void fixture_open(fixture *f)
{
    if (!f->on_disk)
        assert_int_equal(store_open_memory(&f->s), VOLT_OK);
    else if (store_open_sqlite(f->dir, &f->s, &f->err) != VOLT_OK)
        fail_msg("%s", f->err.msg);
}

static inline fixture *fixture_new(bool on_disk)
{
    fixture *f = NEW(fixture);

    f->on_disk = on_disk;
    strcpy(f->dir, "/tmp/volt-store-XXXXXX");
    if (on_disk) {
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->file, sizeof f->file, "%s/volt.db", f->dir);
    }
    fixture_open(f);
    return f;
}

static inline void fixture_free(fixture *f)
{
    static const char *const ends[] = { "", "-wal", "-shm", "-journal" };

    store_close(f->s);
    for (size_t i = 0; f->on_disk && i < sizeof ends / sizeof *ends; i++) {
        char name[96];

        snprintf(name, sizeof name, "%s%s", f->file, ends[i]);
        unlink(name);
    }
    if (f->on_disk)
        assert_int_equal(rmdir(f->dir), 0);
    arena_free(&f->a);
    free(f);
}

/* The end of the process and a new one: what was not committed is gone. */
static inline void fixture_restart(fixture *f)
{
    if (!f->on_disk) {
        store_memory_crash(f->s);
        return;
    }
    store_close(f->s);
    f->s = NULL;
    fixture_open(f);
}

static inline void put(fixture *f, row r)
{
    if (f->s->ops->put(f->s, &r, (slice){ 0 }, &f->err) != VOLT_OK)
        fail_msg("%s", f->err.msg);
}

static inline void put_event(fixture *f, uint64_t seq, int64_t time_ms, uint64_t build)
{
    row r = {
        .kind = ROW_EVENT,
        .event = { .seq = seq, .kind = EVENT_QUEUED, .time_ms = (uint64_t)time_ms, .build = build }
    };
    char bytes[32];
    int n = snprintf(bytes, sizeof bytes, "event-%c%d", '\0', (int)seq);

    if (f->s->ops->put(f->s, &r, (slice){ bytes, (size_t)n }, &f->err) != VOLT_OK)
        fail_msg("%s", f->err.msg);
}

static inline void commit(fixture *f)
{
    if (f->s->ops->commit(f->s, &f->err) != VOLT_OK)
        fail_msg("%s", f->err.msg);
}

static inline store_head head(fixture *f)
{
    store_head h;

    assert_int_equal(f->s->ops->head(f->s, &h, &f->err), VOLT_OK);
    return h;
}

static inline row build_row_of(uint64_t build, uint64_t gen, state st, int64_t created_ms)
{
    return (row){ .kind = ROW_BUILD,
                  .build = { .build = build,
                             .repo = SLICE("volt"),
                             .ref = SLICE("refs/heads/main"),
                             .oid = SLICE(OID),
                             .gen = gen,
                             .state = st,
                             .verdict = st == STATE_FINAL ? VERDICT_PASSED : verdict_none,
                             .created_ms = created_ms,
                             .finished_ms = st == STATE_FINAL ? created_ms + 10 : 0 } };
}

static inline row job_of(uint64_t build, uint64_t idx)
{
    return (row){ .kind = ROW_JOB,
                  .job = { .build = build,
                           .idx = idx,
                           .name = SLICE("unit"),
                           .tests = true,
                           .state = STATE_RUNNING } };
}

static inline row unit_of(uint64_t build, uint64_t job, uint64_t i, slice file)
{
    return (row){ .kind = ROW_UNIT, .unit = { .build = build, .job = job, .i = i, .file = file } };
}

static inline row task_of(uint64_t task, uint64_t build, state st)
{
    return (row){
        .kind = ROW_TASK,
        .task = { .task = task, .build = build, .kind = TASK_TESTS, .state = st },
    };
}

static inline row attempt_of(uint64_t task, uint64_t att)
{
    return (row){
        .kind = ROW_ATTEMPT,
        .attempt = { .task = task, .att = att, .state = STATE_RUNNING, .runner = SLICE(HIST) },
    };
}

static inline volt_code collect(void *ctx, const row *r, volt_err *err)
{
    fixture *f = ctx;

    (void)err;
    f->rows = mem_grow(f->rows, f->rows_n + 1, sizeof *f->rows);
    f->rows[f->rows_n] = *r;
    table_own(table_of(r->kind), table_fields_mut(&f->rows[f->rows_n]), &f->a);
    f->rows_n++;
    return VOLT_OK;
}

static inline void forget_rows(fixture *f)
{
    free(f->rows);
    f->rows = NULL;
    f->rows_n = 0;
}

/* A line that tells the rows: "build 1, job 1.0, test 1.0.2, task 7, ..." */
static inline const char *story(fixture *f)
{
    buf b = { 0 };
    char *told;

    for (size_t i = 0; i < f->rows_n; i++) {
        const row *r = &f->rows[i];
        const table *t = table_of(r->kind);

        buf_addf(&b, "%s%s ", i ? ", " : "", t->name);
        for (size_t k = 0; k < t->keys; k++) {
            const void *p = (const char *)table_fields(r) + t->columns[k].offset;

            if (t->columns[k].type == COLUMN_NUMBER)
                buf_addf(&b, "%s%llu", k ? "." : "", (unsigned long long)*(const uint64_t *)p);
            else
                buf_add_slice(&b, *(const slice *)p);
        }
    }
    told = arena_str(&f->a, buf_slice(&b));
    buf_free(&b);
    forget_rows(f);
    return told;
}

#define assert_slice(actual, expected) assert_true(slice_eq((actual), (expected)))

#endif
