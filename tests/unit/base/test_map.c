#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/map.h"
#include "base/prng.h"

#define KEYS 300

static int values[KEYS * 2]; /* only their addresses count */

static void *oracle[KEYS];

static size_t oracle_n(void)
{
    size_t n = 0;

    for (int i = 0; i < KEYS; i++)
        n += oracle[i] != NULL;
    return n;
}

static slice name_of(uint64_t k, char ret[16])
{
    return (slice){ ret, k == 0 ? 0 : (size_t)snprintf(ret, 16, "key-%d", (int)k) };
}

/* Random puts, replacements and removals; after each, every key must answer as the oracle does. */
static void agree_with_an_array(bool strings)
{
    prng rng = { 11 };
    map m = { 0 };
    char name[16];

    memset(oracle, 0, sizeof oracle);
    for (int i = 0; i < 6000; i++) {
        uint64_t k = prng_below(&rng, KEYS);
        void *value = &values[prng_below(&rng, KEYS * 2)];
        size_t at = 0, seen = 0;

        if (prng_below(&rng, 5) < (i < 3000 ? 3u : 2u)) { /* grows, then shrinks */
            if (strings)
                map_puts(&m, name_of(k, name), value);
            else
                map_put(&m, k * 0x100000000ULL, value);
            oracle[k] = value;
        } else {
            void *was =
                strings ? map_removes(&m, name_of(k, name)) : map_remove(&m, k * 0x100000000ULL);

            assert_ptr_equal(was, oracle[k]);
            oracle[k] = NULL;
        }
        assert_int_equal(m.n, oracle_n());
        for (uint64_t q = 0; q < KEYS; q++)
            assert_ptr_equal(strings ? map_gets(&m, name_of(q, name))
                                     : map_get(&m, q * 0x100000000ULL),
                             oracle[q]);
        for (const map_entry *e; (e = map_next(&m, &at)) != NULL;)
            seen += e->value != NULL;
        assert_int_equal(seen, m.n);
    }
    map_free(&m);
}

static void number_keys_agree_with_an_array(void **unused)
{
    (void)unused;
    agree_with_an_array(false);
}

static void string_keys_agree_with_an_array(void **unused)
{
    (void)unused;
    agree_with_an_array(true);
}

static void copies_string_keys(void **unused)
{
    char key[] = "abc";
    map m = { 0 };

    (void)unused;
    map_puts(&m, slice_of(key), values);
    key[0] = 'x';
    assert_ptr_equal(map_gets(&m, SLICE("abc")), values);
    assert_null(map_gets(&m, SLICE("xbc")));
    map_free(&m);
}

static void an_empty_map_has_nothing(void **unused)
{
    map m = { 0 };
    size_t at = 0;

    (void)unused;
    assert_null(map_get(&m, 1));
    assert_null(map_remove(&m, 1));
    assert_null(map_removes(&m, SLICE("a")));
    assert_null(map_next(&m, &at));
    map_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(number_keys_agree_with_an_array),
        cmocka_unit_test(string_keys_agree_with_an_array),
        cmocka_unit_test(copies_string_keys),
        cmocka_unit_test(an_empty_map_has_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
