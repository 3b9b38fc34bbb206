/* Fair share between repositories, whatever labels their work asks for: a property of random runs,
 * and the case that it is there for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "core/match.h"

#define REPOS   6
#define CLASSES 4
#define MANY    10000
#define ROUNDS  20000
#define RUNNER  "00000000000000000000000000000000"

typedef struct world {
    queue q;
    fleet f;
    runner *r;
    repo repos[REPOS];
    build *builds[REPOS];
    size_t waiting[REPOS];
    task *given;
    match m;
} world;

static void give(void *ctx, runner *r, queue_item *item)
{
    world *w = ctx;

    (void)r;
    w->given = HEAP_OWNER(item, task, item);
    queue_remove(&w->q, item);
}

static world *open_world(void)
{
    slice all[] = { SLICE("l1"), SLICE("l2"), SLICE("l3") };
    const slice names[] = {
        SLICE("a"), SLICE("b"), SLICE("c"), SLICE("d"), SLICE("e"), SLICE("f")
    };
    world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    queue_init(&w->q);
    fleet_init(&w->f);
    for (size_t i = 0; i < REPOS; i++) {
        w->repos[i] = (repo){ .name = names[i], .share.order = i };
        w->builds[i] = build_new(i + 1, &w->repos[i]);
    }
    w->r = fleet_add(&w->f, SLICE(RUNNER));
    runner_describe(w->r, SLICE("r"), (slice){ 0 }, (slices){ all, 3 }, (slices){ 0 }, 1);
    fleet_set_state(&w->f, w->r, RUNNER_UP);
    fleet_update(&w->f, w->r, true);
    w->m = (match){ &w->q, &w->f, 1000, give, w };
    return w;
}

static void close_world(world *w)
{
    for (size_t i = 0; i < REPOS; i++) {
        LIST_FOR(l, &w->builds[i]->tasks)
        {
            queue_remove(&w->q, &LIST_OWNER(l, task, in_build)->item);
        }
        build_free(w->builds[i]);
    }
    queue_free(&w->q);
    fleet_free(&w->f);
    free(w);
}

/* One more task of a repository waits, with label l1, l2 or l3 (class 0: none). */
static void add(world *w, size_t i, size_t class)
{
    slice labels[] = { SLICE("l1"), SLICE("l2"), SLICE("l3") };
    static uint64_t ids;
    task *t = task_new(w->builds[i], NULL, ++ids, TASK_SCRIPT);
    const slices own = { class ? &labels[class - 1] : NULL, class ? 1 : 0 };

    queue_push(&w->q, queue_class_for(&w->q, own, (slice){ 0 }, w->repos[i].name, false), &t->item,
               &w->repos[i], &w->repos[i].share, 0, (queue_place){ .build = i, .task = ids });
    w->waiting[i]++;
}

/* The repository whose task goes next. */
static size_t next(world *w)
{
    size_t i;

    assert_true(match_runner(&w->m, w->r));
    i = (size_t)(w->given->build->id - 1);
    w->waiting[i]--;
    return i;
}

/* Each repository with work gets a turn before any other gets a third one since: whoever comes
 * anew, or waits beside much work of others, in whatever classes, waits for a turn of each. */
static void nobody_gets_a_third_turn_while_another_waits(void **unused)
{
    world *w = open_world();
    prng r = { 17 };
    unsigned since[REPOS][REPOS] = { { 0 } }; /* turns of k while i waited for its next */

    (void)unused;
    for (int n = 0; n < ROUNDS; n++) {
        size_t i = (size_t)prng_below(&r, REPOS), got;

        for (uint64_t k = prng_below(&r, 4); k > 0; k--)
            add(w, i, (size_t)prng_below(&r, CLASSES));
        if (w->q.n == 0)
            continue;
        got = next(w);
        for (i = 0; i < REPOS; i++) {
            since[i][got] = w->waiting[i] && i != got ? since[i][got] + 1 : 0;
            assert_true(since[i][got] <= 2);
        }
        memset(since[got], 0, sizeof since[got]);
    }
    close_world(w);
}

static void the_first_task_of_another_repository_is_not_held_up(void **unused)
{
    world *w = open_world();

    (void)unused;
    for (size_t n = 0; n < MANY; n++)
        add(w, 0, n % CLASSES);
    for (size_t n = 0; n < 100; n++)
        assert_int_equal(next(w), 0);
    for (size_t class = 0; class < CLASSES; class ++) { /* also after it was idle for long */
        add(w, 1, class);
        assert_true(next(w) == 1 || next(w) == 1);
        for (size_t n = 0; n < 10; n++)
            assert_int_equal(next(w), 0);
    }
    close_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_gets_a_third_turn_while_another_waits),
        cmocka_unit_test(the_first_task_of_another_repository_is_not_held_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
