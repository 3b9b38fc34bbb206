#include "core/fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static int set_up(void **state)
{
    fleet *f = calloc(1, sizeof *f);

    fleet_init(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fleet_free(*state);
    free(*state);
    return 0;
}

static runner *add(fleet *f, const char *id, const char *name, uint64_t slots)
{
    runner *r = fleet_add(f, slice_of(id));

    runner_describe(r, slice_of(name), SLICE("host"), (slices){ 0 }, (slices){ 0 }, slots);
    fleet_set_state(f, r, RUNNER_UP);
    fleet_update(f, r, true);
    return r;
}

static void finds_by_connection_id_and_name(void **state)
{
    fleet *f = *state;
    runner *a = add(f, ID_A, "box", 1), *b = add(f, ID_B, "box2", 1);
    bool several;

    fleet_bind(f, a, 7);
    fleet_bind(f, b, 8);
    assert_ptr_equal(fleet_by_peer(f, 7), a);
    assert_ptr_equal(fleet_by_id(f, SLICE(ID_B)), b);
    assert_ptr_equal(fleet_find(f, SLICE("box"), &several), a);
    assert_ptr_equal(fleet_find(f, SLICE(ID_B), &several), b);
    assert_null(fleet_find(f, SLICE("nobody"), &several));
    fleet_bind(f, a, 9);
    assert_null(fleet_by_peer(f, 7));
    assert_ptr_equal(fleet_by_peer(f, 9), a);
}

static void says_when_a_name_is_not_enough(void **state)
{
    fleet *f = *state;
    runner *a = add(f, ID_A, "box", 1);
    bool several;

    add(f, ID_B, "box", 1);
    fleet_find(f, SLICE("box"), &several);
    assert_true(several);
    fleet_set_state(f, a, RUNNER_GONE);
    assert_ptr_equal(fleet_find(f, SLICE("box"), &several), fleet_by_id(f, SLICE(ID_B)));
    assert_false(several);
}

static void finds_by_the_part_of_an_id_that_is_shown(void **state)
{
    const char *id = ID_A;
    fleet *f = *state;
    runner *a = add(f, id, "box", 1);
    bool several;

    assert_ptr_equal(fleet_find(f, (slice){ id, FLEET_ID_SHOWN }, &several), a);
    assert_false(several);
    assert_null(fleet_find(f, (slice){ id, FLEET_ID_SHOWN - 1 }, &several));
    add(f, "aaaaaaaabbbbbbbbbbbbbbbbbbbbbbbb", "box", 1);
    fleet_find(f, (slice){ id, FLEET_ID_SHOWN }, &several);
    assert_true(several);
    assert_ptr_equal(fleet_find(f, (slice){ id, FLEET_ID_SHOWN + 1 }, &several), a);
    assert_false(several);
}

static void a_plan_runs_outside_the_slots(void **state)
{
    runner *r = add(*state, ID_A, "box", 1);

    r->busy = 1;
    assert_false(runner_has_room(r, false));
    assert_true(runner_has_room(r, true));
    r->plans = 1;
    r->busy = 0;
    assert_true(runner_has_room(r, false));
    assert_false(runner_has_room(r, true));
}

static void takes_nothing_when_silent_cordoned_or_draining(void **state)
{
    runner *r = add(*state, ID_A, "box", 1);

    assert_true(runner_takes(r));
    r->mode = MODE_CORDON;
    assert_false(runner_takes(r));
    r->mode = MODE_RUN;
    r->own_mode = MODE_DRAIN;
    assert_false(runner_takes(r));
    r->own_mode = MODE_RUN;
    fleet_set_state(*state, r, RUNNER_SUSPECT);
    assert_false(runner_takes(r));
}

static void has_all_the_labels_or_does_not_suit(void **state)
{
    fleet *f = *state;
    runner *r = add(f, ID_A, "box", 1);
    slice has[] = { SLICE("linux"), SLICE("gpu") }, wants[] = { SLICE("gpu"), SLICE("arm") };

    runner_describe(r, SLICE("box"), SLICE("host"), (slices){ has, 2 }, (slices){ 0 }, 1);
    assert_true(runner_has_labels(r, (slices){ 0 }));
    assert_true(runner_has_labels(r, (slices){ wants, 1 }));
    assert_false(runner_has_labels(r, (slices){ wants, 2 }));
}

static void reaches_local_repositories_of_its_host_or_by_name(void **state)
{
    runner *r = add(*state, ID_A, "box", 1);
    slice reach[] = { SLICE("demo") };
    queue_class here = { .host = SLICE("host"), .repo = SLICE("any") };
    queue_class there = { .host = SLICE("other"), .repo = SLICE("demo") };

    assert_true(runner_suits(r, &here));
    assert_false(runner_suits(r, &there));
    runner_describe(r, SLICE("box"), SLICE("host"), (slices){ 0 }, (slices){ reach, 1 }, 1);
    assert_true(runner_suits(r, &there));
}

static void counts_slots_that_may_get_work(void **state)
{
    fleet *f = *state;
    runner *a = add(f, ID_A, "a", 3), *b = add(f, ID_B, "b", 2);

    assert_int_equal(f->slots_up, 5);
    a->mode = MODE_DRAIN;
    fleet_update(f, a, false);
    assert_int_equal(f->slots_up, 2);
    runner_describe(b, SLICE("b"), SLICE("host"), (slices){ 0 }, (slices){ 0 }, 8);
    fleet_update(f, b, false);
    assert_int_equal(f->slots_up, 8);
    fleet_remove(f, a);
    assert_int_equal(f->slots_up, 8);
    assert_null(fleet_by_id(f, SLICE(ID_A)));
}

static void only_those_with_room_are_free(void **state)
{
    fleet *f = *state;
    runner *r = add(f, ID_A, "a", 1);

    assert_true(list_linked(&r->in_free));
    r->busy = r->plans = 1;
    fleet_update(f, r, false);
    assert_false(list_linked(&r->in_free));
    assert_false(list_linked(&r->in_fresh));
    r->busy = 0;
    fleet_update(f, r, true);
    assert_true(list_linked(&r->in_free) && list_linked(&r->in_fresh));
}

/* The cost of an end is its own, whatever the fleet and the queue hold: nobody else is looked at.
 */
static void only_the_hindered_is_matched_anew(void **state)
{
    fleet *f = *state;
    runner *a = add(f, ID_A, "a", 1), *b = add(f, ID_B, "b", 1);

    list_remove(&a->in_fresh);
    list_remove(&b->in_fresh);
    fleet_hinder(f, a, 1000);
    fleet_hinder(f, a, 1000);
    fleet_hinder(f, a, 3000);
    assert_int_equal(f->hindrances.n, 2);
    fleet_rematch(f, 999);
    assert_false(list_linked(&a->in_fresh));
    fleet_rematch(f, 1000);
    assert_true(list_linked(&a->in_fresh) && !list_linked(&b->in_fresh));
    assert_int_equal(heap_top_key(&f->hindrances), 3000);
    fleet_remove(f, a);
    assert_int_equal(f->hindrances.n, 0);
}

static void one_connection_is_one_runner(void **state)
{
    fleet *f = *state;
    runner *a = add(f, ID_A, "a", 1), *b = add(f, ID_B, "b", 1);

    fleet_bind(f, a, 5);
    fleet_bind(f, b, 5);
    assert_ptr_equal(fleet_by_peer(f, 5), b);
    assert_int_equal(a->peer, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(finds_by_connection_id_and_name),
        TEST(says_when_a_name_is_not_enough),
        TEST(finds_by_the_part_of_an_id_that_is_shown),
        TEST(a_plan_runs_outside_the_slots),
        TEST(takes_nothing_when_silent_cordoned_or_draining),
        TEST(has_all_the_labels_or_does_not_suit),
        TEST(reaches_local_repositories_of_its_host_or_by_name),
        TEST(counts_slots_that_may_get_work),
        TEST(only_those_with_room_are_free),
        TEST(only_the_hindered_is_matched_anew),
        TEST(one_connection_is_one_runner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
