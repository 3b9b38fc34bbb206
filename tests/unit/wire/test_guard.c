#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "wire/codec.h"
#include "wire/guard.h"

static void assert_guard(const char *bytes, size_t n, const char *what)
{
    volt_err err = { 0 };
    volt_code rc = guard_check((slice){ bytes, n }, &err);

    if (!what) {
        assert_int_equal(rc, VOLT_OK);
        return;
    }
    assert_int_equal(rc, VOLT_EMSG);
    if (!strstr(err.msg, what))
        fail_msg("'%s' says nothing of '%s'", err.msg, what);
}

static void refuses_hostile_counts(void **unused)
{
    (void)unused;
    assert_guard("\xdd\x10\x00\x00\x00", 5, "claims more items"); /* 2^28 items */
    assert_guard("\xdd\xff\xff\xff\xff", 5, "claims more items");
    assert_guard("\xdf\x00\x00\x00\x40", 5, "claims more items");
    assert_guard("\xdf\xff\xff\xff\xff", 5, "too many keys");
    assert_guard("\xdb\xff\xff\xff\xff", 5, "ends within a value");
    assert_guard("\xc6\xff\xff\xff\xff", 5, "ends within a value");
    /* Each level alone would fit the bytes left, together they do not. */
    assert_guard("\x94\x93\xc0\xc0\xc0", 5, "claims more items");
}

static void counts_depth(void **unused)
{
    char deep[WIRE_DEPTH_MAX + 2];

    (void)unused;
    memset(deep, 0x91, sizeof deep);
    deep[WIRE_DEPTH_MAX] = 0;
    assert_guard(deep, WIRE_DEPTH_MAX + 1, NULL);
    deep[WIRE_DEPTH_MAX] = (char)0x91;
    deep[WIRE_DEPTH_MAX + 1] = 0;
    assert_guard(deep, WIRE_DEPTH_MAX + 2, "nested too deeply");
}

static void refuses_ext_and_what_begins_no_value(void **unused)
{
    static const unsigned char bad[] = { 0xc1, 0xc7, 0xc8, 0xc9, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8 };

    (void)unused;
    for (size_t i = 0; i < sizeof bad; i++) {
        char b[32] = { (char)bad[i] };

        assert_guard(b, sizeof b, "begins no value, or an ext type");
    }
}

/* Every first byte with exactly the bytes that its form asks for, and with one fewer. */
static void knows_every_form(void **unused)
{
    static const struct {
        unsigned from, to;
        size_t n; /* bytes behind the first */
    } forms[] = { { 0x00, 0x80, 0 },  { 0x80, 0x80, 0 }, { 0x90, 0x90, 0 }, { 0xa0, 0xa0, 0 },
                  { 0xbf, 0xbf, 31 }, { 0xc0, 0xc0, 0 }, { 0xc2, 0xc3, 0 }, { 0xc4, 0xc4, 1 },
                  { 0xc5, 0xc5, 2 },  { 0xc6, 0xc6, 4 }, { 0xca, 0xca, 4 }, { 0xcb, 0xcb, 8 },
                  { 0xcc, 0xcc, 1 },  { 0xcd, 0xcd, 2 }, { 0xce, 0xce, 4 }, { 0xcf, 0xcf, 8 },
                  { 0xd0, 0xd0, 1 },  { 0xd1, 0xd1, 2 }, { 0xd2, 0xd2, 4 }, { 0xd3, 0xd3, 8 },
                  { 0xd9, 0xd9, 1 },  { 0xda, 0xda, 2 }, { 0xdb, 0xdb, 4 }, { 0xdc, 0xdc, 2 },
                  { 0xdd, 0xdd, 4 },  { 0xde, 0xde, 2 }, { 0xdf, 0xdf, 4 }, { 0xe0, 0xff, 0 } };

    (void)unused;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        for (unsigned b = forms[i].from; b <= forms[i].to; b++) {
            char bytes[64] = { (char)b };

            assert_guard(bytes, forms[i].n + 1, NULL);
            assert_guard(bytes, forms[i].n, "ends w");
            assert_guard(bytes, forms[i].n + 2, "bytes behind the end");
        }
}

static void finds_double_keys_in_large_and_nested_maps(void **unused)
{
    buf b = { 0 };

    (void)unused;
    buf_add(&b, "\x91\xde\x00\x80", 4); /* [{128 pairs}] */
    for (int i = 0; i < GUARD_KEYS_MAX; i++)
        buf_addf(&b, "\xa3k%02x%c", i, 1);
    assert_guard(b.p, b.n, NULL);
    memcpy(b.p + b.n - 4, "k05", 3); /* the last becomes one of the first */
    b.p[b.n - 1] = 1;
    assert_guard(b.p, b.n, "key 'k05' comes twice");
    b.p[3] = (char)0x81; /* 129 pairs */
    assert_guard(b.p, b.n, "too many keys");
    buf_free(&b);
    assert_guard("\x82\xa1"
                 "a\x81\xa1"
                 "a\x01\xa1"
                 "b\x01",
                 10, NULL); /* the same key in two maps */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_hostile_counts),
        cmocka_unit_test(counts_depth),
        cmocka_unit_test(refuses_ext_and_what_begins_no_value),
        cmocka_unit_test(knows_every_form),
        cmocka_unit_test(finds_double_keys_in_large_and_nested_maps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
