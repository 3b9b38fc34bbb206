#include "cmd/jobs.h"

#include <inttypes.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/map.h"
#include "base/text.h"
#include "cmd/show.h"
#include "core/verdict.h"

DEFINE_CLEANUP(show_table *, show_table_free);

#define NO_JOB    SIZE_MAX
#define DEPTH_MAX 20 /* indented no further */

#define BESIDES_SHARE 10 /* what is less than a tenth of the work is not told */

/* The jobs as a forest: `parent` is the deepest job that one needs. */
typedef struct tree {
    const rec_job_row_list *jobs;
    size_t *parent, *depth; /* depth 0: not known yet */
    arena arena;
} tree;

/* What a job needs stands before it in the list, or behind: so all is looked at until nothing
 * changes.  Plans have no circles; what one had would stay at the top. */
static void plant(tree *t, const rec_job_row_list *jobs)
{
    map by_name = { 0 };
    bool changed = true;

    *t = (tree){ .jobs = jobs };
    t->parent = ARENA_ARRAY(&t->arena, size_t, jobs->n);
    t->depth = ARENA_ARRAY(&t->arena, size_t, jobs->n);
    for (size_t i = 0; i < jobs->n; i++) {
        t->parent[i] = NO_JOB;
        t->depth[i] = 1;
        map_puts(&by_name, jobs->v[i].name, (void *)&t->depth[i]);
    }
    for (size_t round = 0; changed && round < jobs->n; round++) {
        changed = false;
        for (size_t i = 0; i < jobs->n; i++)
            for (size_t k = 0; k < jobs->v[i].needs.n; k++) {
                const size_t *need = map_gets(&by_name, jobs->v[i].needs.v[k]);

                if (need && *need >= t->depth[i] && need != &t->depth[i]) {
                    t->depth[i] = *need + 1;
                    t->parent[i] = (size_t)(need - t->depth);
                    changed = true;
                }
            }
    }
    map_free(&by_name);
}

static uint64_t between(uint64_t from, uint64_t to)
{
    return from && to > from ? to - from : 0; /* clocks are set, too */
}

static void add_row(show_table *t, const rec_job_row *row, size_t depth, uint64_t now)
{
    show_tone tone;
    const char *outcome = show_outcome(row->verdict, row->state, &tone);
    uint64_t end = row->ended_ms ? row->ended_ms : now;
    int indent = (int)(depth - 1 < DEPTH_MAX ? depth - 1 : DEPTH_MAX) * 2;
    CLEANUP(buf)
    buf name = { 0 };

    show_text(&name, row->name, 60);
    show_cell(t, TONE_PLAIN, "%*s%s", indent, "", buf_str(&name));
    show_cell(t, tone, "%s", outcome);
    show_cell(t, TONE_PLAIN, "%" PRIu64 "/%" PRIu64, row->units_done, row->units);
    show_cell_ms(t, row->ready_ms ? between(row->ready_ms, row->started_ms ? row->started_ms : end)
                                  : 0);
    show_cell_ms(t, row->started_ms ? between(row->started_ms, end) : 0);
    show_cell_ms(t, row->work_ms);
    show_cell_count(t, row->busy);
    if (!row->why.n && row->allow_failure && verdict_is_bad(row->verdict))
        show_cell(t, TONE_DIM, "it may fail");
    else
        show_cell_text(t, TONE_PLAIN, row->why, 0);
}

/* The next job below `at` that stands behind `after` in the list (NO_JOB: from its begin). */
static size_t next_below(const tree *t, size_t at, size_t after)
{
    for (size_t i = after == NO_JOB ? 0 : after + 1; i < t->jobs->n; i++)
        if (t->parent[i] == at)
            return i;
    return NO_JOB;
}

/* Depth first, without recursion: from a job to the first below it, else to the next beside it or
 * beside one above it. */
static size_t next_in_tree(const tree *t, size_t at)
{
    size_t next = next_below(t, at, NO_JOB);

    while (next == NO_JOB && at != NO_JOB) {
        next = next_below(t, t->parent[at], at);
        at = t->parent[at];
    }
    return next;
}

void jobs_print(const rec_job_row_list *jobs, uint64_t now_ms, bool color, FILE *out)
{
    static const char *const headings[] = { "JOB",  "STATE", ">UNITS", ">WAITED",
                                            ">RAN", ">WORK", ">SLOTS", "WHY" };
    CLEANUP(show_table_free)
    show_table *table = NULL;
    bool worth = jobs->n > 1;
    tree t;

    for (size_t i = 0; i < jobs->n; i++)
        worth |= !jobs->v[i].tests || jobs->v[i].why.n;
    if (!worth)
        return;
    table = show_table_new(color, headings, 8);
    plant(&t, jobs);
    for (size_t i = next_below(&t, NO_JOB, NO_JOB); i != NO_JOB; i = next_in_tree(&t, i))
        add_row(table, &jobs->v[i], t.depth[i], now_ms);
    fputc('\n', out);
    show_table_print(table, out);
    arena_free(&t.arena);
}

jobs_sums jobs_sum(const rec_build_row *build, const rec_job_row_list *jobs,
                   const rec_task_row_list *tasks)
{
    uint64_t first = UINT64_MAX, last = 0, longest = 0, units = 0, batches = 0;
    jobs_sums ret = { 0 };

    for (size_t i = 0; i < jobs->n; i++) {
        const rec_job_row *j = &jobs->v[i];

        ret.work_ms += j->work_ms;
        units += j->tests ? j->work_ms : 0;
        if (j->longest_ms > longest)
            longest = j->longest_ms;
        if (!j->started_ms)
            continue;
        if (j->ready_ms && j->ready_ms < first)
            first = j->ready_ms;
        if (j->ended_ms > last)
            last = j->ended_ms;
    }
    for (size_t i = 0; i < tasks->n; i++)
        batches += tasks->v[i].kind == TASK_TESTS ? tasks->v[i].duration_ms : 0;
    ret.besides_ms =
        batches > units ? batches - units : 0; /* of very many the oldest are not here */
    ret.wall_ms = last > first ? last - first : 0;
    if (build->slots)
        ret.least_ms = ret.work_ms / build->slots > longest ? ret.work_ms / build->slots : longest;
    return ret;
}

void jobs_print_sums(const rec_build_row *build, const rec_job_row_list *jobs,
                     const rec_task_row_list *tasks)
{
    char work[TEXT_DURATION_MAX], wall[TEXT_DURATION_MAX], least[TEXT_DURATION_MAX];
    jobs_sums s = jobs_sum(build, jobs, tasks);

    if (!build->verdict || !s.least_ms || !s.wall_ms || build->units < 2)
        return;
    printf("  %s of work in %s on %" PRIu64 " slot%s; at best %s: efficiency %.0f %%\n",
           text_show_ms((int64_t)s.work_ms, work), text_show_ms((int64_t)s.wall_ms, wall),
           build->slots, build->slots == 1 ? "" : "s", text_show_ms((int64_t)s.least_ms, least),
           100.0 * (double)s.least_ms / (double)s.wall_ms);
    if (s.besides_ms >= s.work_ms / BESIDES_SHARE)
        printf("  %s more went into setup and workspaces\n",
               text_show_ms((int64_t)s.besides_ms, work));
}
