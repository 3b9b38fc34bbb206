#include "core/lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

typedef struct world {
    lease_table table;
    list leases; /* of the one runner */
    lease a, b;
    struct runner *runner; /* opaque here */
} world;

static int set_up(void **state)
{
    static world w;

    w = (world){ 0 };
    list_init(&w.leases);
    w.runner = (struct runner *)(void *)&w;
    *state = &w;
    return 0;
}

static int tear_down(void **state)
{
    lease_table_free(&((world *)*state)->table);
    return 0;
}

static void the_earliest_lapses_first(void **state)
{
    world *w = *state;

    assert_int_equal(lease_next_deadline_ms(&w->table), HEAP_NEVER);
    lease_grant(&w->table, &w->a, w->runner, &w->leases, 200);
    lease_grant(&w->table, &w->b, w->runner, &w->leases, 100);
    assert_int_equal(lease_next_deadline_ms(&w->table), 100);
    assert_null(lease_due(&w->table, 99));
    assert_ptr_equal(lease_due(&w->table, 100), &w->b);
    lease_release(&w->table, &w->b);
    assert_null(lease_due(&w->table, 199));
    assert_ptr_equal(lease_due(&w->table, 500), &w->a);
}

static void a_renewal_ends_what_a_pause_has_added(void **state)
{
    world *w = *state;

    lease_grant(&w->table, &w->a, w->runner, &w->leases, 200);
    lease_shift(&w->table, 3600000);
    assert_int_equal(lease_next_deadline_ms(&w->table), 3600200);
    lease_renew(&w->table, &w->a, 300);
    assert_int_equal(lease_next_deadline_ms(&w->table), 300);
}

static void a_gap_is_added_to_every_lease(void **state)
{
    world *w = *state;

    lease_grant(&w->table, &w->a, w->runner, &w->leases, 200);
    lease_grant(&w->table, &w->b, w->runner, &w->leases, 100);
    lease_shift(&w->table, 1000);
    assert_null(lease_due(&w->table, 1099));
    assert_ptr_equal(lease_due(&w->table, 1100), &w->b);
    assert_int_equal(w->a.deadline.key, 1200);
}

static void a_released_lease_can_be_granted_again(void **state)
{
    world *w = *state;

    lease_grant(&w->table, &w->a, w->runner, &w->leases, 200);
    assert_true(w->leases.next == &w->a.on_runner);
    lease_release(&w->table, &w->a);
    assert_true(list_empty(&w->leases));
    assert_null(w->a.runner);
    lease_release(&w->table, &w->a); /* harmless */
    lease_grant(&w->table, &w->a, w->runner, &w->leases, 400);
    assert_int_equal(lease_next_deadline_ms(&w->table), 400);
    lease_release(&w->table, &w->a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_earliest_lapses_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_renewal_ends_what_a_pause_has_added, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_gap_is_added_to_every_lease, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_released_lease_can_be_granted_again, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
