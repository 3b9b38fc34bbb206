#include "core/match.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define RUNNERS 3
#define TASKS   8

/* Runners r0.. and tasks of two repositories; what is given is written down as "r0:3 ". */
typedef struct world {
    queue q;
    fleet f;
    repo repos[2];
    build *builds[2];
    runner *runners[RUNNERS];
    task *tasks[TASKS];
    char given[256];
    match m;
} world;

static void give(void *ctx, runner *r, queue_item *item)
{
    world *w = ctx;
    const task *t = HEAP_OWNER(item, task, item);
    size_t n = strlen(w->given);

    queue_remove(&w->q, item);
    if (t->kind == TASK_PLAN)
        r->plans++;
    else
        r->busy++;
    fleet_update(&w->f, r, false);
    snprintf(w->given + n, sizeof w->given - n, "%s:%d ", r->name.p, (int)t->id);
}

static int set_up(void **state)
{
    world *w = calloc(1, sizeof *w);
    static const char *const ids[] = { "00000000000000000000000000000000",
                                       "11111111111111111111111111111111",
                                       "22222222222222222222222222222222" };
    static const char *const names[] = { "r0", "r1", "r2" };

    queue_init(&w->q);
    fleet_init(&w->f);
    for (int i = 0; i < 2; i++) {
        w->repos[i] = (repo){ .name = i ? SLICE("b") : SLICE("a") };
        w->repos[i].share.order = (uint64_t)i;
        w->builds[i] = build_new((uint64_t)i + 1, &w->repos[i]);
    }
    for (int i = 0; i < RUNNERS; i++) {
        w->runners[i] = fleet_add(&w->f, slice_of(ids[i]));
        runner_describe(w->runners[i], slice_of(names[i]), (slice){ 0 }, (slices){ 0 },
                        (slices){ 0 }, 1);
    }
    for (int i = 0; i < TASKS; i++)
        w->tasks[i] = task_new(w->builds[i % 2], NULL, (uint64_t)i, TASK_SCRIPT);
    w->m = (match){ &w->q, &w->f, 1000, give, w };
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    world *w = *state;

    for (int i = 0; i < TASKS; i++)
        queue_remove(&w->q, &w->tasks[i]->item);
    build_free(w->builds[0]);
    build_free(w->builds[1]);
    queue_free(&w->q);
    fleet_free(&w->f);
    free(w);
    return 0;
}

static void up(world *w, int runner, uint64_t slots)
{
    w->runners[runner]->slots = slots;
    fleet_set_state(&w->f, w->runners[runner], RUNNER_UP);
    fleet_update(&w->f, w->runners[runner], true);
}

static void ready(world *w, int task, task_kind kind, slices labels)
{
    repo *p = &w->repos[task % 2];

    w->tasks[task]->kind = kind;
    queue_push(&w->q, queue_class_for(&w->q, labels, (slice){ 0 }, p->name, kind == TASK_PLAN),
               &w->tasks[task]->item, p, &p->share, 0, (queue_place){ .task = (uint64_t)task });
}

static const char *matched(world *w)
{
    w->given[0] = '\0';
    match_all(&w->m);
    return w->given;
}

static void new_work_spreads_over_free_runners(void **state)
{
    world *w = *state;

    up(w, 0, 2);
    up(w, 1, 2);
    matched(w);
    ready(w, 0, TASK_SCRIPT, (slices){ 0 });
    ready(w, 2, TASK_SCRIPT, (slices){ 0 });
    ready(w, 4, TASK_SCRIPT, (slices){ 0 });
    assert_string_equal(matched(w), "r0:0 r1:2 r0:4 ");
    assert_string_equal(matched(w), "");
}

static void a_runner_takes_no_more_than_its_slots(void **state)
{
    world *w = *state;

    for (int i = 0; i < 6; i += 2)
        ready(w, i, TASK_SCRIPT, (slices){ 0 });
    up(w, 0, 2);
    assert_string_equal(matched(w), "r0:0 r0:2 ");
    up(w, 1, 1);
    assert_string_equal(matched(w), "r1:4 ");
}

static void planning_goes_before_all_else_and_beside_a_full_slot(void **state)
{
    world *w = *state;

    ready(w, 0, TASK_SCRIPT, (slices){ 0 });
    ready(w, 2, TASK_SCRIPT, (slices){ 0 });
    ready(w, 1, TASK_PLAN, (slices){ 0 });
    up(w, 0, 1);
    assert_string_equal(matched(w), "r0:1 r0:0 ");
}

static void repositories_take_turns(void **state)
{
    world *w = *state;

    for (int i = 0; i < 6; i += 2)
        ready(w, i, TASK_SCRIPT, (slices){ 0 });
    ready(w, 1, TASK_SCRIPT, (slices){ 0 });
    up(w, 0, 3);
    assert_string_equal(matched(w), "r0:0 r0:1 r0:2 ");
}

static void labels_decide_who_may(void **state)
{
    world *w = *state;
    slice gpu[] = { SLICE("gpu") };

    up(w, 0, 1);
    ready(w, 0, TASK_SCRIPT, (slices){ gpu, 1 });
    assert_string_equal(matched(w), "");
    runner_describe(w->runners[1], SLICE("r1"), (slice){ 0 }, (slices){ gpu, 1 }, (slices){ 0 }, 1);
    up(w, 1, 1);
    assert_string_equal(matched(w), "r1:0 ");
}

static void what_a_runner_cannot_take_does_not_stop_what_it_can(void **state)
{
    world *w = *state;
    slice gpu[] = { SLICE("gpu") };

    up(w, 0, 1);
    ready(w, 0, TASK_SCRIPT, (slices){ gpu, 1 });
    ready(w, 2, TASK_SCRIPT, (slices){ 0 });
    assert_string_equal(matched(w), "r0:2 ");
}

static void an_avoided_runner_gets_it_after_its_time(void **state)
{
    world *w = *state;
    queue_class *c;

    up(w, 0, 1);
    w->tasks[0]->avoid = w->runners[0]->serial;
    w->tasks[0]->avoid_until_ms = 2000;
    ready(w, 0, TASK_SCRIPT, (slices){ 0 });
    assert_string_equal(matched(w), "");
    w->m.now_ms = 2000;
    c = w->tasks[0]->item.line->in;
    c->fresh = true; /* as dispatch.c does when a hindrance ends */
    assert_string_equal(matched(w), "r0:0 ");
}

static void a_runner_that_stopped_taking_gets_nothing(void **state)
{
    world *w = *state;

    up(w, 0, 1);
    w->runners[0]->mode = MODE_CORDON;
    fleet_update(&w->f, w->runners[0], true);
    ready(w, 0, TASK_SCRIPT, (slices){ 0 });
    assert_string_equal(matched(w), "");
    w->runners[0]->mode = MODE_RUN;
    fleet_update(&w->f, w->runners[0], true);
    assert_string_equal(matched(w), "r0:0 ");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(new_work_spreads_over_free_runners),
        TEST(a_runner_takes_no_more_than_its_slots),
        TEST(planning_goes_before_all_else_and_beside_a_full_slot),
        TEST(repositories_take_turns),
        TEST(labels_decide_who_may),
        TEST(what_a_runner_cannot_take_does_not_stop_what_it_can),
        TEST(an_avoided_runner_gets_it_after_its_time),
        TEST(a_runner_that_stopped_taking_gets_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
