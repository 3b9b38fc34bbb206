#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"

/* The published output of SplitMix64 for the seed 1234567. */
static void gives_the_published_sequence(void **unused)
{
    static const uint64_t want[] = { 6457827717110365317ULL, 3203168211198807973ULL,
                                     9817491932198370423ULL, 4593380528125082431ULL,
                                     16408922859458223821ULL };
    prng p = { 1234567 };

    (void)unused;
    for (int i = 0; i < 5; i++)
        assert_true(prng_next(&p) == want[i]);
}

static void below_stays_below_and_reaches_all(void **unused)
{
    unsigned count[7] = { 0 };
    prng p = { 1 };

    (void)unused;
    for (int i = 0; i < 70000; i++) {
        uint64_t x = prng_below(&p, 7);

        assert_true(x < 7);
        count[x]++;
    }
    for (int i = 0; i < 7; i++) /* 10,000 each; six standard deviations are 560 */
        assert_in_range(count[i], 9400, 10600);
    assert_int_equal(prng_below(&p, 1), 0);
}

static void jitter_stays_within_its_percentage(void **unused)
{
    int64_t least = INT64_MAX, most = 0;
    prng p = { 1 };

    (void)unused;
    for (int i = 0; i < 10000; i++) {
        int64_t x = prng_jitter_ms(&p, 1000, 20);

        least = x < least ? x : least;
        most = x > most ? x : most;
    }
    assert_in_range(least, 800, 810);
    assert_in_range(most, 1190, 1200);
    assert_int_equal(prng_jitter_ms(&p, 0, 20), 0);
    assert_int_equal(prng_jitter_ms(&p, 1000, 0), 1000);
}

static void hex_is_the_same_for_the_same_seed(void **unused)
{
    char a[33], b[33], c[33];

    (void)unused;
    prng_hex32(&(prng){ 1 }, a);
    prng_hex32(&(prng){ 1 }, b);
    prng_hex32(&(prng){ 2 }, c);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    for (int i = 0; i < 32; i++)
        assert_true((a[i] >= '0' && a[i] <= '9') || (a[i] >= 'a' && a[i] <= 'f'));
    assert_int_equal(a[32], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_published_sequence),
        cmocka_unit_test(below_stays_below_and_reaches_all),
        cmocka_unit_test(jitter_stays_within_its_percentage),
        cmocka_unit_test(hex_is_the_same_for_the_same_seed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
