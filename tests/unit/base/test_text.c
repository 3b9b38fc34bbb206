#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <iconv.h>

#include "base/prng.h"
#include "base/text.h"

/* ---- UTF-8; the oracle is the C library's converter ---- */

static size_t oracle_prefix(iconv_t cd, char *s, size_t n)
{
    uint32_t wide[64];
    char *out = (char *)wide;
    size_t left = n, out_left = sizeof wide;

    iconv(cd, NULL, NULL, NULL, NULL);
    iconv(cd, &s, &left, &out, &out_left); /* stops at what is no character */
    return n - left;
}

static void utf8_prefix_agrees_with_iconv(void **unused)
{
    static const unsigned char heads[] = { 0x00, 0x41, 0x7f, 0x80, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf,
                                           0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3,
                                           0xf4, 0xf5, 0xff, 0x8f, 0x90, 0x9f, 0xa0 };
    iconv_t cd = iconv_open("UTF-32LE", "UTF-8");
    prng rng = { 1 };

    (void)unused;
    assert_true(cd != (iconv_t)-1);
    for (int i = 0; i < 300000; i++) {
        char s[28];
        size_t n = prng_below(&rng, sizeof s + 1), plain = prng_below(&rng, n + 1);

        for (size_t k = 0; k < n; k++)
            s[k] = k < plain ? 'a' : (char)heads[prng_below(&rng, sizeof heads)];
        assert_int_equal(text_utf8_prefix((slice){ s, n }), oracle_prefix(cd, s, n));
    }
    iconv_close(cd);
    assert_int_equal(text_utf8_prefix((slice){ 0 }), 0);
}

/* ---- glob; the oracle says it as plainly as it can, by recursion ---- */

static bool oracle_glob(const char *p, const char *s)
{
    if (p[0] == '*' && p[1] == '*')
        return oracle_glob(p + 2, s) || (*s && oracle_glob(p, s + 1));
    if (*p == '*')
        return oracle_glob(p + 1, s) || (*s && *s != '/' && oracle_glob(p, s + 1));
    if (!*p || !*s)
        return !*p && !*s;
    return (*p == *s || (*p == '?' && *s != '/')) && oracle_glob(p + 1, s + 1);
}

static void glob_agrees_with_the_recursive_definition(void **unused)
{
    prng rng = { 9 };
    int matches = 0;

    (void)unused;
    for (int i = 0; i < 300000; i++) {
        char p[9], s[9];
        size_t pn = prng_below(&rng, sizeof p), sn = prng_below(&rng, sizeof s);

        for (size_t k = 0; k < pn; k++)
            p[k] = "aab/**?*"[prng_below(&rng, 8)];
        for (size_t k = 0; k < sn; k++)
            s[k] = "aab/"[prng_below(&rng, 4)];
        p[pn] = s[sn] = '\0';
        matches += oracle_glob(p, s);
        if (text_glob(p, s) != oracle_glob(p, s))
            fail_msg("glob '%s' on '%s' is not %d", p, s, oracle_glob(p, s));
    }
    assert_true(matches > 3000); /* the sample says something about both answers */
}

static void glob_reads_as_people_expect(void **unused)
{
    (void)unused;
    assert_true(text_glob("main", "main"));
    assert_false(text_glob("main", "maint"));
    assert_true(text_glob("release-*", "release-1.2"));
    assert_false(text_glob("release-*", "release-1/2"));
    assert_true(text_glob("refs/heads/**", "refs/heads/a/b"));
    assert_true(text_glob("v?.*", "v1.0"));
    assert_false(text_glob("", "x"));
    assert_true(text_glob("**", ""));
}

/* ---- durations and numbers ---- */

static void reads_durations(void **unused)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } cases[] = { { "250ms", 250 },     { "5s", 5000 },
                  { "5", 5000 },        { "10m", 600000 },
                  { "2h", 7200000 },    { "7d", 604800000 },
                  { "0", 0 },           { "3650d", 315360000000 },
                  { "3651d", -1 },      { "99999999999999999999s", -1 },
                  { "-1s", -1 },        { "+1s", -1 },
                  { " 1s", -1 },        { "1 s", -1 },
                  { "1.5s", -1 },       { "s", -1 },
                  { "", -1 },           { "5x", -1 },
                  { "1h30m", 5400000 }, { "1m0s1ms", 60001 },
                  { "30m1h", -1 },      { "1h1h", -1 },
                  { "1h30", -1 },       { "3650d1ms", -1 },
                  { "1h m", -1 } };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t ms = -1;
        volt_err err = { 0 };
        volt_code rc = text_duration_ms(cases[i].text, &ms, &err);

        assert_int_equal(rc, cases[i].ms < 0 ? VOLT_EINVALID : VOLT_OK);
        assert_int_equal(ms, cases[i].ms);
    }
}

static void reads_numbers_within_bounds(void **unused)
{
    int64_t n = 77;

    (void)unused;
    assert_int_equal(text_number("42", 1, 100, &n, NULL), VOLT_OK);
    assert_int_equal(n, 42);
    assert_int_equal(text_number("0", 1, 100, &n, NULL), VOLT_EINVALID);
    assert_int_equal(text_number("101", 1, 100, &n, NULL), VOLT_EINVALID);
    assert_int_equal(text_number("4x", 1, 100, &n, NULL), VOLT_EINVALID);
    assert_int_equal(text_number("", 0, 100, &n, NULL), VOLT_EINVALID);
    assert_int_equal(text_number("9223372036854775808", 0, INT64_MAX, &n, NULL), VOLT_EINVALID);
    assert_int_equal(n, 42);
}

static void reads_sizes(void **unused)
{
    static const struct {
        const char *text;
        int64_t bytes; /* -1: refused */
    } cases[] = { { "0", 0 },
                  { "1000", 1000 },
                  { "2K", 2048 },
                  { "3M", 3145728 },
                  { "5G", 5368709120 },
                  { "1T", 1099511627776 },
                  { "2T", -1 },
                  { "8388608T", -1 },
                  { "99999999999999999999", -1 },
                  { "-1", -1 },
                  { "+1", -1 },
                  { " 1", -1 },
                  { "1.5G", -1 },
                  { "1k", -1 },
                  { "1KB", -1 },
                  { "G", -1 },
                  { "", -1 } };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t bytes = -1;
        volt_err err = { 0 };
        volt_code rc = text_size(cases[i].text, 0, INT64_C(1) << 40, &bytes, &err);

        assert_int_equal(rc, cases[i].bytes < 0 ? VOLT_EINVALID : VOLT_OK);
        assert_int_equal(bytes, cases[i].bytes);
    }
}

static void shows_durations_for_people(void **unused)
{
    char s[TEXT_DURATION_MAX];

    (void)unused;
    assert_string_equal(text_show_ms(0, s), "0 ms");
    assert_string_equal(text_show_ms(999, s), "999 ms");
    assert_string_equal(text_show_ms(1000, s), "1.0 s");
    assert_string_equal(text_show_ms(59999, s), "59.9 s");
    assert_string_equal(text_show_ms(185000, s), "3 m 05 s");
    assert_string_equal(text_show_ms(7620000, s), "2 h 07 m");
}

static void knows_ids(void **unused)
{
    char oid[65];

    (void)unused;
    memset(oid, 'a', sizeof oid);
    for (size_t n = 0; n <= 65; n++)
        assert_int_equal(text_is_oid((slice){ oid, n }), n == 40 || n == 64);
    assert_true(text_is_hex(SLICE("09af"), 4));
    assert_false(text_is_hex(SLICE("09aF"), 4));
    assert_false(text_is_hex(SLICE("09ag"), 4));
    assert_false(text_is_hex(SLICE("09a/"), 4));
    assert_false(text_is_hex(SLICE("09a:"), 4));
}

static void knows_paths_that_stay_inside(void **unused)
{
    static const char *const in[] = { "a", "a/b", ".a", "..a/...", "a./b", "a b", "\xff" };
    static const char *const out[] = { "",     ".",     "..",     "/",    "/a",   "a/",
                                       "a//b", "a/./b", "a/../b", "../a", "a/..", "./a" };

    (void)unused;
    for (size_t i = 0; i < sizeof in / sizeof *in; i++)
        assert_true(text_is_inside(slice_of(in[i])));
    for (size_t i = 0; i < sizeof out / sizeof *out; i++)
        assert_false(text_is_inside(slice_of(out[i])));
    assert_false(text_is_inside(SLICE("a\0b")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_prefix_agrees_with_iconv),
        cmocka_unit_test(glob_agrees_with_the_recursive_definition),
        cmocka_unit_test(glob_reads_as_people_expect),
        cmocka_unit_test(reads_durations),
        cmocka_unit_test(reads_sizes),
        cmocka_unit_test(reads_numbers_within_bounds),
        cmocka_unit_test(shows_durations_for_people),
        cmocka_unit_test(knows_ids),
        cmocka_unit_test(knows_paths_that_stay_inside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
