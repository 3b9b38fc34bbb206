#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdalign.h>

#include "base/arena.h"
#include "base/prng.h"

#define PIECES 400

/* Pieces of many sizes are zeroed, aligned, and keep what is written into them: each is filled
 * with its own byte, and all are looked at when all are there. */
static void pieces_do_not_overlap(void **unused)
{
    static struct {
        unsigned char *p;
        size_t n;
    } pieces[PIECES];
    prng rng = { 3 };
    arena a = { 0 };

    (void)unused;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < PIECES; i++) {
            size_t n = prng_below(&rng, i % 50 == 0 ? 100000 : 300);

            pieces[i].p = arena_zero(&a, n);
            pieces[i].n = n;
            assert_int_equal((uintptr_t)pieces[i].p % alignof(max_align_t), 0);
            for (size_t k = 0; k < n; k++)
                assert_int_equal(pieces[i].p[k], 0);
            memset(pieces[i].p, i & 0xff, n);
        }
        for (int i = 0; i < PIECES; i++)
            for (size_t k = 0; k < pieces[i].n; k++)
                assert_int_equal(pieces[i].p[k], i & 0xff);
        arena_reset(&a);
    }
    arena_free(&a);
}

static void copies_end_in_nul(void **unused)
{
    arena a = { 0 };
    slice s = arena_slice(&a, SLICE("abc"));

    (void)unused;
    assert_true(slice_is(s, "abc"));
    assert_int_equal(s.p[3], 0);
    assert_string_equal(arena_str(&a, (slice){ "abcdef", 2 }), "ab");
    assert_string_equal(arena_str(&a, (slice){ 0 }), "");
    assert_string_equal(arena_printf(&a, "%s-%d", "x", 7), "x-7");
    arena_free(&a);
}

static void reset_keeps_memory_for_the_next_use(void **unused)
{
    arena a = { 0 };
    void *first;

    (void)unused;
    arena_reset(&a); /* of one that was never used */
    arena_zero(&a, 10);
    arena_zero(&a, 50000);
    arena_reset(&a);
    first = arena_zero(&a, 40000);
    arena_reset(&a);
    assert_ptr_equal(arena_zero(&a, 40000), first);
    arena_free(&a);
    assert_null(a.head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_do_not_overlap),
        cmocka_unit_test(copies_end_in_nul),
        cmocka_unit_test(reset_keeps_memory_for_the_next_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
