#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/prng.h"

static void agrees_with_a_plain_array_over_random_changes(void **unused)
{
    static char oracle[20000];
    prng rng = { 5 };
    size_t n = 0;
    buf b = { 0 };

    (void)unused;
    for (int i = 0; i < 5000; i++) {
        char piece[40];
        size_t len = prng_below(&rng, sizeof piece);

        for (size_t k = 0; k < len; k++)
            piece[k] = (char)prng_next(&rng);
        if (n + len > sizeof oracle || prng_below(&rng, 4) == 0) {
            size_t drop = prng_below(&rng, n + 1);

            buf_drop(&b, drop);
            n -= drop;
            memmove(oracle, oracle + drop, n);
        } else {
            buf_add(&b, piece, len);
            if (len)
                memcpy(oracle + n, piece, len);
            n += len;
        }
        assert_int_equal(b.n, n);
        assert_true(n == 0 || memcmp(b.p, oracle, n) == 0);
        assert_true(!b.p || b.p[b.n] == '\0');
    }
    buf_free(&b);
}

static void is_a_string_whatever_was_added(void **unused)
{
    buf b = { 0 };

    (void)unused;
    assert_string_equal(buf_str(&b), "");
    buf_adds(&b, "one");
    buf_addc(&b, ' ');
    buf_add_slice(&b, SLICE("two"));
    buf_add_slice(&b, (slice){ 0 });
    buf_addf(&b, " %d %0200d", 3, 4); /* longer than the first block */
    assert_int_equal(b.n, 3 + 1 + 3 + 2 + 1 + 200);
    assert_int_equal(strlen(buf_str(&b)), b.n);
    assert_memory_equal(b.p, "one two 3 000", 13);
    buf_clear(&b);
    assert_string_equal(buf_str(&b), "");
    buf_free(&b);
    memset(buf_room(&b, 60), 'x', 60); /* room that nothing was put into, in used memory */
    buf_free(&b);
    buf_room(&b, 60);
    assert_string_equal(buf_str(&b), "");
    buf_free(&b);
    assert_null(b.p);
}

static void room_is_for_the_asked_bytes(void **unused)
{
    buf b = { 0 };

    (void)unused;
    for (size_t n = 1; n < 5000; n += 37) {
        memset(buf_room(&b, n), 'x', n);
        b.n += n;
        b.p[b.n] = '\0'; /* the NUL has its place too */
        assert_true(b.n < b.cap);
    }
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_plain_array_over_random_changes),
        cmocka_unit_test(is_a_string_whatever_was_added),
        cmocka_unit_test(room_is_for_the_asked_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
