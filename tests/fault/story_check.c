#include "story_parts.h"

#include <string.h>

#include "store/sqlite_store.h"

typedef struct walk {
    story *s;
    uint64_t next;
} walk;

static volt_code check_event(void *ctx, uint64_t seq, slice bytes, volt_err *err)
{
    walk *w = ctx;

    (void)err;
    NEED(seq == w->next, "S9: event %llu is followed by %llu", ull(w->next - 1), ull(seq));
    NEED(w->s->events[seq].n == 0 || slice_eq(buf_slice(&w->s->events[seq]), bytes),
         "S9: event %llu is not what was published", ull(seq));
    w->next++;
    return VOLT_OK;
}

static void check_events(story *s)
{
    walk w = { .s = s };
    store_head head;
    volt_err err;

    NEED(s->store->ops->head(s->store, &head, &err) == VOLT_OK, "head: %s", err.msg);
    NEED(head.last_seq >= s->last_event, "S9: event %llu was published, %llu is the last",
         ull(s->last_event), ull(head.last_seq));
    w.next = head.floor ? head.floor : 1;
    NEED(w.next == 1 || s->pruning, "S9: events before %llu are gone", ull(w.next));
    NEED(s->store->ops->events(s->store, 0, EVENTS_MAX, check_event, &w, &err) == VOLT_OK,
         "events: %s", err.msg);
    NEED(w.next == head.last_seq + 1, "S9: %llu events of %llu", ull(w.next - 1),
         ull(head.last_seq));
}

static void check_log(story *s, const spoken *t, const row_task *row)
{
    const log_file *f = story_log_of(s, t->task, t->att);
    slice bytes = f ? buf_slice(&f->bytes) : (slice){ 0 };

    if (!t->ended || t->v == VERDICT_CANCELED || row->kind != TASK_SCRIPT)
        return;
    if (!t->is_long)
        NEED(s->store->ops->short_log(s->store, t->task, t->att, &s->arena, &bytes, NULL) ==
                 VOLT_OK,
             "S8: the log of task %llu is gone", ull(t->task));
    NEED(bytes.n == (t->is_long ? LONG_LOG : 300) && bytes.n == row->log_bytes,
         "S8: the log of task %llu has %zu bytes", ull(t->task), bytes.n);
    for (size_t i = 0; i < bytes.n; i++)
        NEED(bytes.p[i] == story_log_byte(t->task, i),
             "S8: byte %zu of the log of task %llu is wrong", i, ull(t->task));
}

/* Its details may; its line stays. */
static bool is_forgotten(story *s, uint64_t build)
{
    row_build row;

    NEED(s->store->ops->build(s->store, build, &s->arena, &row, NULL) == VOLT_OK,
         "the line of build %llu is gone", ull(build));
    NEED(!row.forgotten || (s->pruning && row.state == STATE_FINAL),
         "build %llu is forgotten, and %s", ull(build), state_text(row.state));
    return row.forgotten;
}

static void check_tasks(story *s)
{
    for (size_t i = 0; i < s->tasks_n; i++) {
        const spoken *t = &s->tasks[i];
        row_task row;
        volt_err err;
        volt_code code = s->store->ops->task(s->store, t->task, &s->arena, &row, &err);

        if (code == VOLT_ENOTFOUND && is_forgotten(s, t->build))
            continue;
        NEED(code == VOLT_OK, "task %llu: %s", ull(t->task), err.msg);
        NEED(row.att >= t->att, "attempt %llu of task %llu was given out, %llu is stored",
             ull(t->att), ull(t->task), ull(row.att));
        NEED(!t->ended || row.state == STATE_FINAL, "S6: task %llu is %s again", ull(t->task),
             state_text(row.state));
        NEED(!t->ended || row.verdict == t->v, "S6: task %llu is %s, not %s", ull(t->task),
             verdict_text(row.verdict), verdict_text(t->v));
        NEED(row.done >= t->told || row.att > t->att, "outcome %llu of task %llu is gone",
             ull(t->told), ull(t->task));
        check_log(s, t, &row);
    }
}

static void check_wants(story *s)
{
    for (size_t i = 0; i < WANTS; i++) {
        row_submission sub;
        row_build build;
        volt_err err;
        volt_code code;

        if (!s->wants[i].build)
            continue;
        code =
            s->store->ops->submission(s->store, slice_of(s->wants[i].sid), &s->arena, &sub, &err);
        NEED((code == VOLT_OK && sub.build == s->wants[i].build) ||
                 (code == VOLT_ENOTFOUND && is_forgotten(s, s->wants[i].build)),
             "S4: submission %zu is gone", i);
        code = s->store->ops->build(s->store, s->wants[i].build, &s->arena, &build, &err);
        NEED(code == VOLT_OK, "S4: build %llu: %s", ull(s->wants[i].build), err.msg);
        NEED(!s->wants[i].final || (build.state == STATE_FINAL && build.verdict == s->wants[i].v),
             "S1: build %llu had its verdict", ull(build.build));
    }
}

static void check_pages(story *s)
{
    sqlite3_stmt *st = NULL;
    sqlite3 *db = ((sqlite_store *)s->store)->db;

    NEED(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &st, NULL) == SQLITE_OK &&
             sqlite3_step(st) == SQLITE_ROW,
         "integrity check: %s", sqlite3_errmsg(db));
    NEED(strcmp((const char *)sqlite3_column_text(st, 0), "ok") == 0, "integrity check: %s",
         (const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
}

void story_check(story *s)
{
    arena_reset(&s->arena);
    check_pages(s);
    check_events(s);
    check_tasks(s);
    check_wants(s);
}

void story_check_end(story *s)
{
    story_check(s);
    NEED(s->wants[WANT_MAIN].v == VERDICT_FAILED, "the first build is %s",
         verdict_text(s->wants[WANT_MAIN].v));
    NEED(s->wants[WANT_DEV].v == VERDICT_PASSED, "the second build is %s",
         verdict_text(s->wants[WANT_DEV].v));
    NEED(s->wants[WANT_AGAIN].v == VERDICT_CANCELED || s->wants[WANT_AGAIN].v == VERDICT_FAILED,
         "the third build is %s", verdict_text(s->wants[WANT_AGAIN].v));
}
