/* The answer to `artifacts`: which archives count for the jobs of a build. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "core/build.h"
#include "role/dispatcher_internal.h"

#define PAGE_ROWS  500
#define LEVELS_MAX 100 /* retries of retries that are looked through */

/* Of one build: the jobs that are asked for, and what their tasks left. */
typedef struct level {
    dispatcher *d;
    uint64_t build;
    const map *wanted; /* names; NULL: all */
    map passed;        /* names of the jobs taken over from an earlier build */
    slice *names;      /* of the wanted jobs, by index; others are empty */
    size_t names_n;
    size_t *script_row; /* by index: place of that script's row, + 1 */
    map earlier;        /* wanted, passed, and left artifacts: to be found in the earlier build */
    slices earlier_names;
} level;

typedef struct rows {
    rec_artifact_row *v;
    size_t n, cap;
} rows;

typedef struct search {
    level *level;
    rows *rows;
} search;

static void add_row(rows *r, const rec_artifact_row *row)
{
    if (r->n == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 16;
        r->v = mem_grow(r->v, r->cap, sizeof *r->v);
    }
    r->v[r->n++] = *row;
}

static volt_code add_name(void *ctx, const row *r, volt_err *err)
{
    level *l = ctx;
    slice name = arena_slice(&l->d->arena, r->job.name);
    bool wanted = !l->wanted || map_gets(l->wanted, name);

    (void)err;
    if (l->names_n == BUILD_JOBS_MAX)
        return VOLT_OK;
    l->names[l->names_n++] = wanted ? name : (slice){ 0 };
    if (wanted && r->job.artifacts && map_gets(&l->passed, name)) {
        map_puts(&l->earlier, name, l);
        l->earlier_names.v[l->earlier_names.n++] = name;
    }
    return VOLT_OK;
}

static volt_code add_task(void *ctx, const row *r, volt_err *err)
{
    search *s = ctx;
    level *l = s->level;
    const row_task *t = &r->task;
    rec_artifact_row row = { .build = t->build, .task = t->task, .att = t->att };
    size_t *place;

    (void)err;
    if (t->state != STATE_FINAL || t->job >= l->names_n || !l->names[t->job].n)
        return VOLT_OK;
    row.job = l->names[t->job];
    row.bytes = t->artifact_bytes;
    place = &l->script_row[t->job];
    if (t->kind == TASK_SCRIPT && *place) /* a later try */
        s->rows->v[*place - 1] = row;
    else if (t->kind == TASK_SCRIPT || row.bytes)
        add_row(s->rows, &row);
    if (t->kind == TASK_SCRIPT && !*place)
        *place = s->rows->n;
    return VOLT_OK;
}

/* Rows of one build; *next is the earlier one that has those of l->earlier, 0: there is none. */
static volt_code look(level *l, uint64_t build, rows *found, uint64_t *next, volt_err *err)
{
    store *s = l->d->store;
    arena *a = &l->d->arena;
    search in = { l, found };
    row_build row;
    volt_code code = s->ops->build(s, build, a, &row, err);

    *next = 0;
    if (code == VOLT_OK && row.forgotten)
        code = VOLT_ENOTFOUND;
    if (code != VOLT_OK)
        return code;
    for (size_t i = 0; i < row.passed.n; i++)
        map_puts(&l->passed, row.passed.v[i], l);
    l->names = ARENA_ARRAY(a, slice, BUILD_JOBS_MAX);
    l->script_row = ARENA_ARRAY(a, size_t, BUILD_JOBS_MAX);
    l->earlier_names.v = ARENA_ARRAY(a, slice, BUILD_JOBS_MAX);
    code = s->ops->jobs(s, build, add_name, l, err);
    if (code == VOLT_OK)
        code = s->ops->tasks(s, build, SIZE_MAX, add_task, &in, err);
    if (l->earlier.n)
        *next = row.retry_of;
    return code;
}

/* What was taken over from a build that is no longer kept. */
static void add_gone(const level *above, uint64_t build, rows *found)
{
    for (size_t i = 0; i < above->earlier_names.n; i++)
        add_row(found, &(rec_artifact_row){ .job = above->earlier_names.v[i], .build = build });
}

static void free_level(level *l)
{
    map_free(&l->passed);
    map_free(&l->earlier);
}

/* A row's place in the answer: by its job's in the asked build, then as it was found. */
typedef struct place {
    const slice *job;
    size_t found;
} place;

static int compare_places(const void *a, const void *b)
{
    const place *p = a, *q = b;

    if (p->job != q->job)
        return p->job < q->job ? -1 : 1;
    return p->found < q->found ? -1 : 1;
}

/* What is unpacked later stands where several keep the same path: it must not depend on which of
 * them a retry took over, or on which batch was made last. */
static void put_in_order(dispatcher *d, const level *asked, rows *found)
{
    rec_artifact_row *as_found = ARENA_ARRAY(&d->arena, rec_artifact_row, found->n);
    place *places = ARENA_ARRAY(&d->arena, place, found->n);
    map jobs = { 0 };

    for (size_t i = 0; i < asked->names_n; i++)
        if (asked->names[i].n)
            map_puts(&jobs, asked->names[i], &asked->names[i]);
    for (size_t i = 0; i < found->n; i++) {
        as_found[i] = found->v[i];
        places[i] = (place){ map_gets(&jobs, as_found[i].job), i };
    }
    map_free(&jobs);
    if (found->n)
        qsort(places, found->n, sizeof *places, compare_places);
    for (size_t i = 0; i < found->n; i++)
        found->v[i] = as_found[places[i].found];
}

static volt_code look_back(dispatcher *d, const msg_artifacts *ask, rows *found, volt_err *err)
{
    map asked = { 0 };
    level above = { .d = d }, first = { 0 };
    uint64_t build = ask->build, next;
    volt_code code = VOLT_OK;

    for (size_t i = 0; i < ask->jobs.n; i++)
        map_puts(&asked, ask->jobs.v[i], found);
    for (unsigned n = 0; code == VOLT_OK && build && n < LEVELS_MAX; n++, build = next) {
        level l = { .d = d, .wanted = n ? &above.earlier : ask->jobs.n ? &asked : NULL };

        code = look(&l, build, found, &next, err);
        if (n && code == VOLT_ENOTFOUND) {
            add_gone(&above, build, found);
            code = VOLT_OK;
        }
        free_level(&above);
        above = l;
        if (!n)
            first = l;
    }
    put_in_order(d, &first, found);
    free_level(&above);
    map_free(&asked);
    return code;
}

volt_code answer_artifacts(dispatcher *d, uint64_t peer, const msg *m, volt_err *err)
{
    const msg_artifacts *ask = &m->artifacts;
    msg a = { .type = MSG_artifacts_are, .r = m->r };
    rec_artifact_row *page = ARENA_ARRAY(&d->arena, rec_artifact_row, PAGE_ROWS);
    rec_artifact_row_list *list = &a.artifacts_are.rows;
    CLEANUP(free)
    rec_artifact_row *all = NULL;
    rows found = { 0 };
    uint64_t skip = ask->from;
    volt_code code = look_back(d, ask, &found, err);

    all = found.v;
    if (code != VOLT_OK)
        return code;
    a.artifacts_are.hist = slice_of(d->hist);
    list->v = page;
    for (size_t i = 0; i < found.n && !a.artifacts_are.more; i++) {
        if ((found.v[i].task && !found.v[i].bytes) || (skip && skip--))
            continue;
        if (list->n == PAGE_ROWS)
            a.artifacts_are.more = true;
        else
            page[list->n++] = found.v[i];
    }
    outbox_send(d, peer, &a);
    return VOLT_OK;
}
