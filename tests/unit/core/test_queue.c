#include "core/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#define ITEMS 8

typedef struct world {
    queue q;
    queue_class *c;
    queue_item items[ITEMS];
    fair_share shares[3];
    char repos[3]; /* only their addresses count */
} world;

static int set_up(void **state)
{
    world *w = calloc(1, sizeof *w);

    queue_init(&w->q);
    w->c = queue_class_for(&w->q, (slices){ 0 }, (slice){ 0 }, SLICE("demo"), false);
    for (int i = 0; i < 3; i++)
        w->shares[i].order = (uint64_t)i + 1;
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    world *w = *state;

    for (int i = 0; i < ITEMS; i++)
        queue_remove(&w->q, &w->items[i]);
    queue_free(&w->q);
    free(w);
    return 0;
}

static struct repo *repo_of(world *w, int repo)
{
    return (struct repo *)(void *)&w->repos[repo];
}

/* Items are as old as their numbers. */
static void push(world *w, int item, int repo, uint64_t priority)
{
    queue_push(&w->q, w->c, &w->items[item], repo_of(w, repo), &w->shares[repo], priority,
               (queue_place){ .build = (uint64_t)item });
}

static bool anything(void *ctx, const queue_item *item)
{
    (void)ctx, (void)item;
    return true;
}

static bool any_line(void *ctx, const queue_line *line)
{
    (void)ctx, (void)line;
    return true;
}

static queue_item *next(world *w)
{
    return queue_next(w->c, &(queue_asker){ any_line, anything, NULL });
}

static bool other(void *ctx, const queue_item *item)
{
    return item != ctx;
}

static queue_item *next_but(world *w, queue_item *item)
{
    return queue_next(w->c, &(queue_asker){ any_line, other, item });
}

/* Hands out the next item; its number, or -1. */
static int pop(world *w)
{
    queue_item *item = next(w);

    if (!item)
        return -1;
    queue_charge(&w->q, item);
    queue_remove(&w->q, item);
    return (int)(item - w->items);
}

static void first_in_first_out(void **state)
{
    world *w = *state;

    push(w, 0, 0, 0);
    push(w, 1, 0, 0);
    push(w, 2, 0, 0);
    assert_int_equal(pop(w), 0);
    assert_int_equal(pop(w), 1);
    assert_int_equal(pop(w), 2);
    assert_int_equal(pop(w), -1);
}

static void what_comes_back_keeps_its_place(void **state)
{
    world *w = *state;

    for (int i = 0; i < 6; i++)
        push(w, i, 0, 0);
    assert_int_equal(pop(w), 0);
    assert_int_equal(pop(w), 1);
    assert_int_equal(pop(w), 2);
    push(w, 7, 0, 0);
    push(w, 0, 0, 0); /* in the order in which its runner got them, and in any other */
    push(w, 2, 0, 0);
    push(w, 1, 0, 0);
    push(w, 6, 0, 0);
    for (int i = 0; i < ITEMS; i++)
        assert_int_equal(pop(w), i);
}

static void orders_by_build_then_job_then_task(void **state)
{
    world *w = *state;
    const queue_place places[] = { { 1, 9, 9 }, { 2, 1, 8 }, { 2, 1, UINT64_MAX }, { 2, 2, 3 } };

    for (int i = 3; i >= 0; i--)
        queue_push(&w->q, w->c, &w->items[i], repo_of(w, 0), &w->shares[0], 0, places[i]);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pop(w), i);
}

static void greater_priority_goes_before_all_else(void **state)
{
    world *w = *state;

    push(w, 0, 0, 0);
    push(w, 1, 1, 5);
    push(w, 2, 0, 5);
    assert_int_equal(pop(w), 2); /* the first repository of two equal ones */
    assert_int_equal(pop(w), 1);
    assert_int_equal(pop(w), 0);
}

static void repositories_take_turns(void **state)
{
    world *w = *state;

    for (int i = 0; i < 4; i++)
        push(w, i, 0, 0);
    push(w, 4, 1, 0);
    push(w, 5, 1, 0);
    assert_int_equal(pop(w), 0);
    assert_int_equal(pop(w), 4);
    assert_int_equal(pop(w), 1);
    assert_int_equal(pop(w), 5);
    assert_int_equal(pop(w), 2);
    assert_int_equal(pop(w), 3);
}

static void idleness_earns_no_credit(void **state)
{
    world *w = *state;

    for (int i = 0; i < 4; i++)
        push(w, i, 0, 0);
    pop(w);
    pop(w);
    pop(w);
    push(w, 4, 1, 0); /* was never there: not three turns in a row now */
    push(w, 5, 1, 0);
    push(w, 6, 0, 0);
    assert_int_equal(pop(w), 4);
    assert_int_equal(pop(w), 3);
    assert_int_equal(pop(w), 5);
    assert_int_equal(pop(w), 6);
}

static void passes_over_what_does_not_suit(void **state)
{
    world *w = *state;

    push(w, 0, 0, 0);
    push(w, 1, 0, 0);
    assert_ptr_equal(next_but(w, &w->items[0]), &w->items[1]);
    queue_remove(&w->q, &w->items[1]);
    assert_null(next_but(w, &w->items[0]));
}

typedef struct counting {
    const queue_line *refused;
    size_t lines, items;
} counting;

static bool count_line(void *ctx, const queue_line *line)
{
    counting *c = ctx;

    c->lines++;
    return line != c->refused;
}

static bool count_item(void *ctx, const queue_item *item)
{
    counting *c = ctx;

    (void)item;
    c->items++;
    return true;
}

/* Of many lines and items only those are looked at that come next: counted, not timed. */
static void looks_at_what_comes_next_only(void **state)
{
    enum { LINES = 500, EACH = 20 };
    static queue_item items[LINES][EACH];
    static fair_share shares[LINES];
    world *w = *state;
    counting counted = { 0 };
    const queue_asker asker = { count_line, count_item, &counted };

    for (size_t i = 0; i < LINES; i++) {
        shares[i].order = i;
        for (size_t k = 0; k < EACH; k++)
            queue_push(&w->q, w->c, &items[i][k], (struct repo *)(void *)&shares[i], &shares[i], 0,
                       (queue_place){ .build = k });
    }
    for (size_t n = 0; n < LINES; n++) { /* each line in turn */
        queue_item *item = queue_next(w->c, &asker);

        assert_ptr_equal(item, &items[n][0]);
        queue_charge(&w->q, item);
        queue_remove(&w->q, item);
    }
    assert_int_equal(counted.lines, LINES);
    assert_int_equal(counted.items, LINES);
    counted = (counting){ .refused = items[0][1].line }; /* which would be next */
    assert_ptr_equal(queue_next(w->c, &asker), &items[1][1]);
    assert_int_equal(counted.lines, 2);
    assert_int_equal(counted.items, 1);
    for (size_t i = 0; i < LINES; i++)
        for (size_t k = 0; k < EACH; k++)
            queue_remove(&w->q, &items[i][k]);
}

static void labels_are_a_set(void **state)
{
    world *w = *state;
    slice ab[] = { SLICE("a"), SLICE("b") }, ba[] = { SLICE("b"), SLICE("a") };
    slice joined[] = { SLICE("ab") };
    const slice none = { 0 };
    queue_class *c = queue_class_for(&w->q, (slices){ ab, 2 }, none, SLICE("x"), false);

    assert_ptr_equal(queue_class_for(&w->q, (slices){ ba, 2 }, none, SLICE("y"), false), c);
    assert_ptr_not_equal(queue_class_for(&w->q, (slices){ joined, 1 }, none, SLICE("x"), false), c);
    assert_ptr_not_equal(queue_class_for(&w->q, (slices){ ab, 2 }, none, SLICE("x"), true), c);
}

static void local_repositories_are_classes_of_their_own(void **state)
{
    world *w = *state;
    const slices none = { 0 };
    queue_class *c = queue_class_for(&w->q, none, SLICE("host"), SLICE("x"), false);

    assert_ptr_equal(queue_class_for(&w->q, none, SLICE("host"), SLICE("x"), false), c);
    assert_ptr_not_equal(queue_class_for(&w->q, none, SLICE("host"), SLICE("y"), false), c);
    assert_ptr_not_equal(queue_class_for(&w->q, none, SLICE("other"), SLICE("x"), false), c);
    assert_ptr_not_equal(w->c, c);
}

static void a_delayed_item_waits_for_its_time(void **state)
{
    world *w = *state;

    queue_delay(&w->q, &w->items[0], 500);
    assert_true(queue_has(&w->items[0]));
    assert_int_equal(pop(w), -1);
    assert_null(queue_due(&w->q, 499));
    assert_ptr_equal(queue_due(&w->q, 500), &w->items[0]);
    assert_false(queue_has(&w->items[0]));
    assert_null(queue_due(&w->q, 500));
}

static void what_is_removed_is_gone_from_everywhere(void **state)
{
    world *w = *state;

    push(w, 0, 0, 0);
    queue_remove(&w->q, &w->items[0]);
    queue_delay(&w->q, &w->items[0], 500);
    queue_remove(&w->q, &w->items[0]);
    queue_remove(&w->q, &w->items[0]); /* harmless */
    assert_false(queue_has(&w->items[0]));
    assert_null(queue_due(&w->q, 500));
    assert_int_equal(w->c->n, 0);
    assert_int_equal(w->q.n, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(first_in_first_out),
        TEST(what_comes_back_keeps_its_place),
        TEST(orders_by_build_then_job_then_task),
        TEST(greater_priority_goes_before_all_else),
        TEST(repositories_take_turns),
        TEST(idleness_earns_no_credit),
        TEST(passes_over_what_does_not_suit),
        TEST(looks_at_what_comes_next_only),
        TEST(labels_are_a_set),
        TEST(local_repositories_are_classes_of_their_own),
        TEST(a_delayed_item_waits_for_its_time),
        TEST(what_is_removed_is_gone_from_everywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
