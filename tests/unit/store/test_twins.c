/* The two backends as each other's oracle: the same random puts, commits, restarts and retention on
 * both, then every read compared. */
#include "fixture.h"

#include "base/prng.h"

#define BUILDS 6
#define ROUNDS 800

typedef struct twins {
    fixture *f[2];
    prng p;
    uint64_t seq, seq_committed;
    int64_t now_ms;
    int sids;
} twins;

static slice random_text(twins *t, char room[16])
{
    static const char letters[] = "ab\n\\\0\xc3\xa9\xff/";
    size_t n = (size_t)prng_below(&t->p, 16);

    for (size_t i = 0; i < n; i++)
        room[i] = letters[prng_below(&t->p, sizeof letters - 1)];
    return (slice){ room, n };
}

/* A submission is put once, and numbered here so that the order of ids is that of time. */
static slice next_sid(twins *t, char room[16])
{
    return (slice){ room, (size_t)snprintf(room, 16, "%08d", ++t->sids) };
}

static state random_state(twins *t)
{
    return prng_below(&t->p, 2) ? STATE_FINAL : STATE_RUNNING;
}

/* Builds, jobs, units and tasks of few ids, so that rows meet again. */
static row random_row(twins *t, char room[3][16], slice items[2])
{
    uint64_t build = 1 + prng_below(&t->p, BUILDS), small = prng_below(&t->p, 4);
    slice text = random_text(t, room[0]);
    uint64_t task = build * 4 + small;
    row r;

    items[0] = random_text(t, room[1]);
    items[1] = random_text(t, room[2]);
    switch ((row_kind)prng_below(&t->p, ROW_EVENT)) {
    case ROW_REPO:
        return (row){ .kind = ROW_REPO,
                      .repo = { .name = { text.p, text.n % 3 }, .url = items[0] } };
    case ROW_SUBMISSION:
        return (row){ .kind = ROW_SUBMISSION,
                      .submission = { next_sid(t, room[1]), build, CODE_BUSY, t->now_ms } };
    case ROW_BUILD:
        r = build_row_of(build, build, random_state(t), (int64_t)build);
        r.build.repo = build % 2 ? SLICE("volt") : SLICE("bolt");
        r.build.finished_ms = r.build.state == STATE_FINAL ? t->now_ms : 0;
        r.build.retry_of = prng_below(&t->p, build);
        r.build.why = text;
        return r;
    case ROW_JOB:
        r = job_of(build, small);
        r.job.needs = (slices){ items, (size_t)prng_below(&t->p, 3) };
        r.job.spec = text;
        return r;
    case ROW_TASK:
        r = task_of(task, build, random_state(t));
        r.task.units = items[0];
        r.task.why = text;
        return r;
    case ROW_ATTEMPT:
        r = attempt_of(task, 1 + small);
        r.attempt.runner_name = text;
        return r;
    case ROW_LOG:
        return (row){ .kind = ROW_LOG, .log = { task, 1, text } };
    case ROW_FILE: /* UTF-8: SQLite has blobs behind texts, so they are not swept together */
        return (row){ .kind = ROW_FILE,
                      .file = { .repo = { "ab" + small / 2, small % 2 },
                                .job = { "ab\n" + items[0].n % 3, items[0].n % 2 },
                                .file = { "ab\n" + items[1].n % 2, items[1].n % 3 },
                                .mean_ms = small,
                                .oid = text,
                                .seen_ms = t->now_ms } };
    case ROW_CURSOR:
        return (row){ .kind = ROW_CURSOR,
                      .cursor = { small ? SLICE("files") : items[0], prng_next(&t->p) >> 1 } };
    case ROW_RUNNER:
        return (row){ .kind = ROW_RUNNER,
                      .runner = { .id = { HIST + small, 1 },
                                  .name = text,
                                  .labels = { items, (size_t)prng_below(&t->p, 3) } } };
    default:
        r = unit_of(build, small, prng_below(&t->p, 8), SLICE("file"));
        r.unit.duration_ms = prng_below(&t->p, 1000);
        return r;
    }
}

static void put_twice(twins *t)
{
    char room[3][16];
    slice items[2];
    row r = random_row(t, room, items);

    for (int i = 0; i < 2; i++)
        put(t->f[i], r);
}

static void gone(void *ctx, uint64_t task, uint64_t att)
{
    buf_addf(ctx, " %llu.%llu", (unsigned long long)task, (unsigned long long)att);
}

/* Mostly old, for else nothing would be left. */
static int64_t random_ms(twins *t)
{
    int64_t ms = (int64_t)prng_below(&t->p, (uint64_t)t->now_ms);

    return prng_below(&t->p, 2) ? ms : ms / 2;
}

static void prune_twice(twins *t)
{
    const store_old old = { .ended_ms = random_ms(t),
                            .repo = prng_below(&t->p, 2) ? SLICE("volt") : (slice){ 0 },
                            .newest = prng_below(&t->p, 3),
                            .for_room = prng_below(&t->p, 2),
                            .event_ms = random_ms(t),
                            .room_ms = random_ms(t),
                            .counted = prng_below(&t->p, t->seq + 1),
                            .line_ms = random_ms(t) };
    size_t max = 1 + (size_t)prng_below(&t->p, 12);
    buf told[2] = { { 0 }, { 0 } };
    bool more[2];

    for (int i = 0; i < 2; i++)
        if (t->f[i]->s->ops->prune(t->f[i]->s, &old, max, gone, &told[i], &more[i],
                                   &t->f[i]->err) != VOLT_OK)
            fail_msg("%s", t->f[i]->err.msg);
    assert_int_equal(more[0], more[1]);
    assert_string_equal(buf_str(&told[0]), buf_str(&told[1]));
    buf_free(&told[0]);
    buf_free(&told[1]);
}

static void step(twins *t)
{
    uint64_t dice = prng_below(&t->p, 100);

    t->now_ms++;
    if (dice < 70) {
        put_twice(t);
    } else if (dice < 85) {
        t->seq++;
        put_event(t->f[0], t->seq, t->now_ms, dice % 3);
        put_event(t->f[1], t->seq, t->now_ms, dice % 3);
    } else if (dice < 93) {
        commit(t->f[0]);
        commit(t->f[1]);
        t->seq_committed = t->seq;
    } else if (dice < 98) {
        prune_twice(t);
    } else {
        fixture_restart(t->f[0]);
        fixture_restart(t->f[1]);
        t->seq = t->seq_committed;
    }
}

static volt_code tell_event(void *ctx, uint64_t seq, slice bytes, volt_err *err)
{
    (void)err;
    buf_addf(ctx, "%llu:%zu ", (unsigned long long)seq, bytes.n);
    return VOLT_OK;
}

static void tell_text(buf *b, slice text)
{
    buf_addf(b, "%zu:", text.n);
    for (size_t i = 0; i < text.n; i++)
        buf_addf(b, "%02x", (unsigned char)text.p[i]);
}

static volt_code tell_row(void *ctx, const row *r, volt_err *err)
{
    const table *t = table_of(r->kind);
    buf *b = ctx;

    (void)err;
    buf_addf(b, "\n%s", t->name);
    for (size_t i = 0; i < t->n; i++) {
        const void *p = (const char *)table_fields(r) + t->columns[i].offset;
        const slices *list = p;

        buf_addf(b, " %s=", t->columns[i].name);
        switch (t->columns[i].type) {
        case COLUMN_NUMBER:
            buf_addf(b, "%llu", (unsigned long long)*(const uint64_t *)p);
            break;
        case COLUMN_BOOL:
            buf_addf(b, "%d", *(const bool *)p);
            break;
        case COLUMN_WORD:
            buf_addf(b, "%u", *(const unsigned *)p);
            break;
        case COLUMN_TEXT:
        case COLUMN_BYTES:
            tell_text(b, *(const slice *)p);
            break;
        case COLUMN_LIST:
            for (size_t k = 0; k < list->n; k++)
                tell_text(b, list->v[k]);
        }
    }
    return VOLT_OK;
}

/* Everything that can be read. */
static void tell(fixture *f, int sids, buf *b)
{
    const store_ops *ops = f->s->ops;
    store_head h = head(f);
    row r;

    buf_addf(b, "head %llu %llu %llu %llu %llu", (unsigned long long)h.last_seq,
             (unsigned long long)h.floor, (unsigned long long)h.last_build,
             (unsigned long long)h.last_task, (unsigned long long)h.counted);
    ops->load(f->s, tell_row, b, NULL);
    ops->builds(f->s, SLICE("volt"), 5, 3, tell_row, b, NULL);
    ops->events(f->s, h.floor + 2, 5, tell_event, b, NULL);
    for (uint64_t build = 1; build <= BUILDS; build++) {
        ops->jobs(f->s, build, tell_row, b, NULL);
        ops->units(f->s, build, 3, 5, tell_row, b, NULL);
        ops->tasks(f->s, build, 3, tell_row, b, NULL);
        r.kind = ROW_BUILD;
        if (ops->build(f->s, build, &f->a, &r.build, NULL) == VOLT_OK)
            tell_row(b, &r, NULL);
    }
    for (uint64_t task = 1; task <= BUILDS * 4 + 4; task++) {
        ops->attempts(f->s, task, tell_row, b, NULL);
        r.kind = ROW_LOG;
        r.log = (row_log){ .task = task, .att = 1 };
        if (ops->short_log(f->s, task, 1, &f->a, &r.log.bytes, NULL) == VOLT_OK)
            tell_row(b, &r, NULL);
    }
    for (const char *name = "ab\n"; *name; name++) {
        slice one = { name, 1 }, none = { name, 0 };

        r.kind = ROW_FILE;
        for (int k = 0; k < 8; k++) {
            slice file = k & 4 ? one : none;
            uint64_t mean = 0;

            if (ops->file(f->s, k & 1 ? one : none, k & 2 ? one : none, file, &f->a, &r.file,
                          NULL) == VOLT_OK)
                tell_row(b, &r, NULL);
            ops->means(f->s, k & 1 ? one : none, k & 2 ? one : none, (slices){ &file, 1 }, &mean,
                       NULL);
            buf_addf(b, " %llu", (unsigned long long)mean);
        }
    }
    for (int i = sids > 40 ? sids - 40 : 1; i <= sids; i++) {
        char sid[16];

        snprintf(sid, sizeof sid, "%08d", i);
        r.kind = ROW_SUBMISSION;
        if (ops->submission(f->s, slice_of(sid), &f->a, &r.submission, NULL) == VOLT_OK)
            tell_row(b, &r, NULL);
    }
    arena_reset(&f->a);
}

static void the_backends_cannot_be_told_apart(void **state_)
{
    (void)state_;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        twins t = { .f = { fixture_new(false), fixture_new(true) }, .p = { seed }, .now_ms = 10 };

        for (size_t i = 0; i < ROUNDS; i++) {
            buf told[2] = { { 0 }, { 0 } };

            step(&t);
            if (i % 11)
                continue;
            tell(t.f[0], t.sids, &told[0]);
            tell(t.f[1], t.sids, &told[1]);
            if (strcmp(buf_str(&told[0]), buf_str(&told[1])) != 0)
                fail_msg("seed %d, step %zu: memory\n%s\nsqlite\n%s", (int)seed, i,
                         buf_str(&told[0]), buf_str(&told[1]));
            buf_free(&told[0]);
            buf_free(&told[1]);
        }
        fixture_free(t.f[0]);
        fixture_free(t.f[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_backends_cannot_be_told_apart) };

    return cmocka_run_group_tests_name("twins", tests, NULL, NULL);
}
