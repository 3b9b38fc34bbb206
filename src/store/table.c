#include "store/table.h"

#include <assert.h>

#include "base/mem.h"

static_assert(sizeof(state) == sizeof(unsigned) && sizeof(code) == sizeof(unsigned),
              "an enum is read and written as an unsigned");
static_assert(sizeof(uint64_t) == sizeof(int64_t), "either is a COLUMN_NUMBER");

#define NUMBER(row, field)                                              \
    {                                                                   \
#field, COLUMN_NUMBER, COLUMN_VALUE, offsetof(row, field), NULL \
    }
#define KEY(row, field)                                               \
    {                                                                 \
#field, COLUMN_NUMBER, COLUMN_KEY, offsetof(row, field), NULL \
    }
#define FIXED(row, field)                                               \
    {                                                                   \
#field, COLUMN_NUMBER, COLUMN_FIXED, offsetof(row, field), NULL \
    }
#define BOOLEAN(row, field)                                           \
    {                                                                 \
#field, COLUMN_BOOL, COLUMN_VALUE, offsetof(row, field), NULL \
    }
#define TEXT(row, field)                                              \
    {                                                                 \
#field, COLUMN_TEXT, COLUMN_VALUE, offsetof(row, field), NULL \
    }
#define TEXT_KEY(row, field)                                        \
    {                                                               \
#field, COLUMN_TEXT, COLUMN_KEY, offsetof(row, field), NULL \
    }
#define TEXT_FIX(row, field)                                          \
    {                                                                 \
#field, COLUMN_TEXT, COLUMN_FIXED, offsetof(row, field), NULL \
    }
#define BYTES_FIX(row, field)                                          \
    {                                                                  \
#field, COLUMN_BYTES, COLUMN_FIXED, offsetof(row, field), NULL \
    }
#define LIST(row, field)                                              \
    {                                                                 \
#field, COLUMN_LIST, COLUMN_VALUE, offsetof(row, field), NULL \
    }
#define WORD_OF(row, field, set)                                              \
    {                                                                         \
#field, COLUMN_WORD, COLUMN_VALUE, offsetof(row, field), &words_##set \
    }
#define WORD_FIX(row, field, set)                                             \
    {                                                                         \
#field, COLUMN_WORD, COLUMN_FIXED, offsetof(row, field), &words_##set \
    }

static const column repo_columns[] = {
    TEXT_KEY(row_repo, name),
    TEXT(row_repo, url),
    TEXT(row_repo, default_branch),
    LIST(row_repo, held),
};

static const column submission_columns[] = {
    TEXT_KEY(row_submission, sid),
    NUMBER(row_submission, build),
    WORD_OF(row_submission, refused, code),
    NUMBER(row_submission, wall_ms),
};

static const column build_columns[] = {
    KEY(row_build, build),
    TEXT_FIX(row_build, repo),
    TEXT_FIX(row_build, ref),
    TEXT_FIX(row_build, oid),
    FIXED(row_build, gen),
    WORD_OF(row_build, state, state),
    WORD_OF(row_build, verdict, verdict),
    TEXT(row_build, subject),
    TEXT(row_build, author),
    NUMBER(row_build, priority),
    TEXT(row_build, why),
    NUMBER(row_build, created_ms),
    NUMBER(row_build, finished_ms),
    NUMBER(row_build, units),
    NUMBER(row_build, units_done),
    NUMBER(row_build, units_bad),
    NUMBER(row_build, slots),
    NUMBER(row_build, retry_of),
    LIST(row_build, passed),
    LIST(row_build, env),
    BOOLEAN(row_build, forgotten),
};

static const column job_columns[] = {
    KEY(row_job, build),
    KEY(row_job, idx),
    TEXT(row_job, name),
    WORD_OF(row_job, state, state),
    WORD_OF(row_job, verdict, verdict),
    LIST(row_job, needs),
    LIST(row_job, labels),
    NUMBER(row_job, priority),
    NUMBER(row_job, timeout_ms),
    NUMBER(row_job, retry),
    NUMBER(row_job, batch),
    BOOLEAN(row_job, allow_failure),
    BOOLEAN(row_job, always),
    BOOLEAN(row_job, tests),
    TEXT(row_job, concurrency),
    TEXT(row_job, why),
    NUMBER(row_job, units),
    NUMBER(row_job, units_done),
    NUMBER(row_job, units_bad),
    NUMBER(row_job, ready_ms),
    NUMBER(row_job, started_ms),
    NUMBER(row_job, ended_ms),
    NUMBER(row_job, work_ms),
    NUMBER(row_job, longest_ms),
    BOOLEAN(row_job, artifacts),
    NUMBER(row_job, artifact_bytes),
    TEXT(row_job, spec),
};

static const column unit_columns[] = {
    KEY(row_unit, build),
    KEY(row_unit, job),
    KEY(row_unit, i),
    TEXT_FIX(row_unit, file),
    FIXED(row_unit, expected_ms),
    WORD_OF(row_unit, verdict, verdict),
    NUMBER(row_unit, duration_ms),
    NUMBER(row_unit, task),
    NUMBER(row_unit, att),
    NUMBER(row_unit, log_off),
    NUMBER(row_unit, log_len),
    NUMBER(row_unit, exit),
    NUMBER(row_unit, signal),
    NUMBER(row_unit, tries),
    NUMBER(row_unit, cases),
    NUMBER(row_unit, bad),
};

static const column case_columns[] = {
    KEY(row_case, build),
    KEY(row_case, job),
    KEY(row_case, i),
    KEY(row_case, n),
    TEXT(row_case, name),
    WORD_OF(row_case, verdict, verdict),
    NUMBER(row_case, duration_ms),
    TEXT(row_case, message),
};

static const column task_columns[] = {
    KEY(row_task, task),
    FIXED(row_task, build),
    FIXED(row_task, job),
    WORD_FIX(row_task, kind, task_kind),
    WORD_OF(row_task, state, state),
    WORD_OF(row_task, verdict, verdict),
    NUMBER(row_task, att),
    NUMBER(row_task, tries),
    TEXT(row_task, runner),
    BYTES_FIX(row_task, units),
    NUMBER(row_task, done),
    TEXT(row_task, why),
    NUMBER(row_task, since_ms),
    NUMBER(row_task, duration_ms),
    NUMBER(row_task, exit),
    NUMBER(row_task, signal),
    NUMBER(row_task, log_bytes),
    NUMBER(row_task, cpu_ms),
    NUMBER(row_task, max_rss_bytes),
    NUMBER(row_task, artifact_bytes),
};

static const column attempt_columns[] = {
    KEY(row_attempt, task),
    KEY(row_attempt, att),
    TEXT(row_attempt, runner),
    TEXT(row_attempt, runner_name),
    WORD_OF(row_attempt, state, state),
    WORD_OF(row_attempt, verdict, verdict),
    WORD_OF(row_attempt, code, code),
    NUMBER(row_attempt, leased_ms),
    NUMBER(row_attempt, ended_ms),
    NUMBER(row_attempt, log_bytes),
    NUMBER(row_attempt, artifact_bytes),
};

static const column log_columns[] = {
    KEY(row_log, task),
    KEY(row_log, att),
    TEXT(row_log, bytes),
};

static const column file_columns[] = {
    TEXT_KEY(row_file, repo),  TEXT_KEY(row_file, job),
    TEXT_KEY(row_file, file),  NUMBER(row_file, mean_ms),
    NUMBER(row_file, runs),    NUMBER(row_file, failures),
    NUMBER(row_file, flaky),   TEXT(row_file, flaky_oid),
    TEXT(row_file, oid),       WORD_OF(row_file, verdict, verdict),
    NUMBER(row_file, seen_ms),
};

static const column cursor_columns[] = {
    TEXT_KEY(row_cursor, name),
    NUMBER(row_cursor, seq),
};

static const column runner_columns[] = {
    TEXT_KEY(row_runner, id),
    TEXT(row_runner, name),
    TEXT(row_runner, host),
    TEXT(row_runner, boot),
    LIST(row_runner, labels),
    LIST(row_runner, reach),
    NUMBER(row_runner, slots),
    WORD_OF(row_runner, mode, runner_mode),
    WORD_OF(row_runner, state, runner_state),
    NUMBER(row_runner, losses),
    NUMBER(row_runner, seen_ms),
};

static const column event_columns[] = {
    KEY(msg_event, seq),
    NUMBER(msg_event, time_ms),
    WORD_OF(msg_event, kind, event_kind),
    NUMBER(msg_event, build),
    NUMBER(msg_event, task),
    NUMBER(msg_event, att),
    WORD_OF(msg_event, verdict, verdict),
};

#define TABLE(name, type, columns, keys)                                    \
    {                                                                       \
        name, sizeof(type), columns, sizeof columns / sizeof *columns, keys \
    }

static const table tables[ROW_KINDS] = {
    [ROW_REPO] = TABLE("repo", row_repo, repo_columns, 1),
    [ROW_SUBMISSION] = TABLE("submission", row_submission, submission_columns, 1),
    [ROW_BUILD] = TABLE("build", row_build, build_columns, 1),
    [ROW_JOB] = TABLE("job", row_job, job_columns, 2),
    [ROW_UNIT] = TABLE("test", row_unit, unit_columns, 3),
    [ROW_CASE] = TABLE("test_case", row_case, case_columns, 4),
    [ROW_TASK] = TABLE("task", row_task, task_columns, 1),
    [ROW_ATTEMPT] = TABLE("attempt", row_attempt, attempt_columns, 2),
    [ROW_LOG] = TABLE("log", row_log, log_columns, 2),
    [ROW_FILE] = TABLE("file", row_file, file_columns, 3),
    [ROW_CURSOR] = TABLE("cursor", row_cursor, cursor_columns, 1),
    [ROW_RUNNER] = TABLE("runner", row_runner, runner_columns, 1),
    [ROW_EVENT] = TABLE("event", msg_event, event_columns, 1),
};

static_assert(sizeof task_columns / sizeof *task_columns <= TABLE_COLUMNS_MAX, "the widest table");

const table *table_of(row_kind kind)
{
    assert((unsigned)kind < ROW_KINDS);
    return &tables[kind];
}

/* All members of the row's union begin at one address. */
const void *table_fields(const row *r)
{
    return &r->repo;
}

void *table_fields_mut(row *r)
{
    return &r->repo;
}

int table_cmp(const table *t, const void *a, const void *b)
{
    for (size_t i = 0; i < t->keys; i++) {
        const column *c = &t->columns[i];
        const void *pa = (const char *)a + c->offset, *pb = (const char *)b + c->offset;
        int order;

        if (c->type == COLUMN_NUMBER) {
            uint64_t na = *(const uint64_t *)pa, nb = *(const uint64_t *)pb;

            order = (na > nb) - (na < nb);
        } else {
            order = slice_cmp(*(const slice *)pa, *(const slice *)pb);
        }
        if (order != 0)
            return order;
    }
    return 0;
}

void table_own(const table *t, void *fields, arena *a)
{
    for (size_t i = 0; i < t->n; i++) {
        void *p = (char *)fields + t->columns[i].offset;
        column_type type = t->columns[i].type;

        if (type == COLUMN_TEXT || type == COLUMN_BYTES) {
            *(slice *)p = arena_slice(a, *(slice *)p);
        } else if (type == COLUMN_LIST) {
            slices *list = p;
            slice *v = list->n ? ARENA_ARRAY(a, slice, list->n) : NULL;

            for (size_t k = 0; k < list->n; k++)
                v[k] = arena_slice(a, list->v[k]);
            list->v = v;
        }
    }
}

static size_t list_bytes(const slices *list)
{
    size_t n = 0;

    for (size_t k = 0; k < list->n; k++)
        n += list->v[k].n;
    return n;
}

static slice move_text(char **to, slice from)
{
    slice moved = { *to, from.n };

    if (from.n)
        memcpy(*to, from.p, from.n);
    *to += from.n;
    return moved;
}

/* Layout: the struct, the items of its lists, the bytes of all texts. */
void *table_clone(const table *t, const void *fields)
{
    size_t items = 0, bytes = 0;
    slice *item;
    char *text;
    char *clone;

    assert(t->size % _Alignof(slice) == 0);
    for (size_t i = 0; i < t->n; i++) {
        const void *p = (const char *)fields + t->columns[i].offset;
        column_type type = t->columns[i].type;

        if (type == COLUMN_TEXT || type == COLUMN_BYTES) {
            bytes += ((const slice *)p)->n;
        } else if (type == COLUMN_LIST) {
            items += ((const slices *)p)->n;
            bytes += list_bytes(p);
        }
    }
    clone = mem_zero(t->size + items * sizeof(slice) + bytes);
    memcpy(clone, fields, t->size);
    item = (slice *)(void *)(clone + t->size);
    text = (char *)(item + items);
    for (size_t i = 0; i < t->n; i++) {
        void *p = clone + t->columns[i].offset;
        column_type type = t->columns[i].type;

        if (type == COLUMN_TEXT || type == COLUMN_BYTES) {
            *(slice *)p = move_text(&text, *(slice *)p);
        } else if (type == COLUMN_LIST) {
            slices *list = p;

            for (size_t k = 0; k < list->n; k++)
                item[k] = move_text(&text, list->v[k]);
            list->v = list->n ? item : NULL;
            item += list->n;
        }
    }
    return clone;
}
