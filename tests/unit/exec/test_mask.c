#include "exec/mask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/prng.h"

#define STREAM_MAX 400
#define TEXTS_MAX  6

DEFINE_CLEANUP(mask *, mask_free);

static void assert_masked(mask *m, const char *in, const char *want)
{
    CLEANUP(buf)
    buf out = { 0 };

    mask_text(m, slice_of(in), &out);
    assert_string_equal(buf_str(&out), want);
}

static void hides_texts_where_they_stand(void **state)
{
    (void)state;
    CLEANUP(mask_free)
    mask *m = mask_new();

    mask_add(m, SLICE("hunter2"));
    mask_add(m, SLICE("sesame"));
    assert_masked(m, "", "");
    assert_masked(m, "nothing here", "nothing here");
    assert_masked(m, "hunter2", "***");
    assert_masked(m, "a hunter2, b sesame.", "a ***, b ***.");
    assert_masked(m, "hunterhunter2s", "hunter***s");
    assert_masked(m, "sesameseesame", "***seesame");
    assert_masked(m, "hunter2hunter2sesame!", "***!");
    assert_masked(m, "hunter", "hunter");
}

static void hides_what_overlaps_whole(void **state)
{
    (void)state;
    CLEANUP(mask_free)
    mask *m = mask_new();

    mask_add(m, SLICE("aaaaaa"));
    mask_add(m, SLICE("abcabc"));
    mask_add(m, SLICE("xxabcabcabcyy"));
    assert_masked(m, "aaaaaaaa", "***");
    assert_masked(m, "baaaaaab", "b***b");
    assert_masked(m, "-abcabcabc-", "-***-");
    assert_masked(m, "xxabcabcabcyy", "***");
    assert_masked(m, "xxabcabcabcyz", "xx***yz");
    assert_masked(m, "aaaaaabcabc", "***");
}

static void leaves_texts_that_are_too_short(void **state)
{
    (void)state;
    CLEANUP(mask_free)
    mask *m = mask_new();

    mask_add(m, SLICE("short"));
    mask_add_secret(m, SLICE("tiny"));
    assert_masked(m, "short tiny", "short tiny");
}

static void holds_back_only_what_may_become_one(void **state)
{
    (void)state;
    CLEANUP(mask_free)
    mask *m = mask_new();
    CLEANUP(buf)
    buf out = { 0 };

    mask_add(m, SLICE("hunter2"));
    mask_feed(m, SLICE("password: "), &out);
    assert_string_equal(buf_str(&out), "password: ");
    mask_feed(m, SLICE("hunt"), &out);
    assert_string_equal(buf_str(&out), "password: ");
    mask_feed(m, SLICE("er2"), &out);
    assert_string_equal(buf_str(&out), "password: ***");
    mask_feed(m, SLICE("h"), &out);
    assert_string_equal(buf_str(&out), "password: ***");
    mask_end(m, &out);
    assert_string_equal(buf_str(&out), "password: ***h");
    mask_feed(m, SLICE("unter2"), &out); /* another stream */
    mask_end(m, &out);
    assert_string_equal(buf_str(&out), "password: ***hunter2");
}

static void hides_the_lines_of_a_long_secret(void **state)
{
    (void)state;
    CLEANUP(mask_free)
    mask *m = mask_new();

    mask_add_secret(
        m, SLICE("-----BEGIN KEY-----\n  c2VjcmV0IGtleQ\r\nabc\n      \n-----END KEY-----"));
    assert_masked(m, "1: c2VjcmV0IGtleQ\n2: abc", "1: ***\n2: abc");
    assert_masked(m, "[-----BEGIN KEY-----]", "[***]");
    assert_masked(m, "      indented", "      indented");
}

/* The base64 of `value` within other bytes, from base64(1). */
static void hides_base64_wherever_it_stands(void **state)
{
    (void)state;
    CLEANUP(mask_free)
    mask *m = mask_new();

    mask_add_secret(m, SLICE("open~sesame?"));
    assert_masked(m, "b3Blbn5zZXNhbWU/", "***");                  /* alone */
    assert_masked(m, "b3Blbn5zZXNhbWU_", "***");                  /* for URLs */
    assert_masked(m, "YTpvcGVufnNlc2FtZT8=", "YTp***8=");         /* a: before it; two bytes */
    assert_masked(m, "dXNlcjpvcGVufnNlc2FtZT8K", "dXNlcjp***8K"); /* user: before it, \n behind */
    assert_masked(m, "eG9wZW5+c2VzYW1lP3g=", "eG***3g=");         /* one byte before and behind */
}

static void hides_wrapped_base64(void **state)
{
    (void)state;
    CLEANUP(mask_free)
    mask *m = mask_new();
    /* base64 -w 76 and -w 64 of 0123456789 ten times. */
    const char *const wide =
        "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2\n"
        "Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OQ==\n";
    const char *const narrow = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3\n"
                               "ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1\n"
                               "Njc4OQ==\n";
    CLEANUP(free)
    char *value = mem_zero(101);

    for (size_t i = 0; i < 100; i++)
        value[i] = (char)('0' + i % 10);
    mask_add_secret(m, slice_of(value));
    assert_masked(m, wide, "***\n***Q==\n");
    assert_masked(m, narrow, "***\n***\nNjc4OQ==\n");
}

static void hides_what_stands_in_a_url(void **state)
{
    (void)state;
    CLEANUP(mask_free)
    mask *m = mask_new();

    mask_add_secret(m, SLICE("a/b c?(\xc3\xa9)"));
    assert_masked(m, "x=a%2Fb%20c%3F%28%C3%A9%29&", "x=***&");
    assert_masked(m, "x=a%2fb%20c%3f%28%c3%a9%29&", "x=***&");
    assert_masked(m, "x=a%2Fb+c%3F%28%C3%A9%29&", "x=***&");
    assert_masked(m, "/a/b%20c%3F%28%C3%A9%29&", "/***&");
    assert_masked(m, "x=a%2Fb%20c%3F(%C3%A9)&", "x=***&");
    assert_masked(m, "a/b c?(\xc3\xa9)", "***");
}

/* ---- against what it should be, on random streams ---- */

typedef struct naive {
    char texts[TEXTS_MAX][16];
    size_t n;
} naive;

static size_t occurs(const naive *x, const char *at, size_t left)
{
    size_t longest = 0;

    for (size_t i = 0; i < x->n; i++) {
        size_t n = strlen(x->texts[i]);

        if (n <= left && n > longest && memcmp(at, x->texts[i], n) == 0)
            longest = n;
    }
    return longest;
}

/* What is hidden of all of the stream. */
static void naive_mask(const naive *x, const char *in, size_t n, buf *out)
{
    bool hidden[STREAM_MAX] = { false };

    for (size_t i = 0; i < n; i++)
        memset(hidden + i, true, occurs(x, in + i, n - i));
    for (size_t i = 0; i < n; i++)
        if (!hidden[i])
            buf_addc(out, in[i]);
        else if (i == 0 || !hidden[i - 1])
            buf_adds(out, MASK_SHOWN);
}

/* Bytes at the end of the stream that are the beginning of a text, but not all of it. */
static size_t may_become_one(const naive *x, const char *in, size_t n)
{
    for (size_t at = n > 16 ? n - 16 : 0; at < n; at++)
        for (size_t i = 0; i < x->n; i++)
            if (strlen(x->texts[i]) > n - at && memcmp(x->texts[i], in + at, n - at) == 0)
                return n - at;
    return 0;
}

static void random_text(prng *p, char *to, size_t n, char letters)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (char)('a' + prng_below(p, (uint64_t)letters));
    to[n] = '\0';
}

static void masks_as_looking_everywhere_would(void **state)
{
    (void)state;
    prng p = { 1 };
    size_t hits = 0;

    for (int round = 0; round < 20000; round++) {
        CLEANUP(mask_free)
        mask *m = mask_new();
        CLEANUP(buf)
        buf want = { 0 };
        CLEANUP(buf)
        buf got = { 0 };
        naive x = { .n = 1 + prng_below(&p, TEXTS_MAX) };
        char in[STREAM_MAX + 1], letters = (char)(2 + prng_below(&p, 2));
        size_t n = prng_below(&p, STREAM_MAX), at = 0;

        for (size_t i = 0; i < x.n; i++) {
            random_text(&p, x.texts[i], MASK_TEXT_MIN + prng_below(&p, 9), letters);
            mask_add(m, slice_of(x.texts[i]));
        }
        random_text(&p, in, n, letters);
        naive_mask(&x, in, n, &want);
        while (at < n) {
            size_t piece = 1 + prng_below(&p, n - at);
            size_t may;

            mask_feed(m, (slice){ in + at, piece }, &got);
            at += piece;
            may = may_become_one(&x, in, at);
            assert_true(got.n <= want.n && memcmp(got.p ? got.p : "", buf_str(&want), got.n) == 0);
            if (!may) { /* nothing is held: all that is settled of a stream that ends here is out */
                CLEANUP(buf)
                buf settled = { 0 };

                naive_mask(&x, in, at, &settled);
                assert_int_equal(got.n, settled.n);
            }
        }
        mask_end(m, &got);
        assert_string_equal(buf_str(&got), buf_str(&want));
        hits += want.n != n;
    }
    assert_true(hits > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hides_texts_where_they_stand),
        cmocka_unit_test(hides_what_overlaps_whole),
        cmocka_unit_test(leaves_texts_that_are_too_short),
        cmocka_unit_test(holds_back_only_what_may_become_one),
        cmocka_unit_test(hides_the_lines_of_a_long_secret),
        cmocka_unit_test(hides_base64_wherever_it_stands),
        cmocka_unit_test(hides_wrapped_base64),
        cmocka_unit_test(hides_what_stands_in_a_url),
        cmocka_unit_test(masks_as_looking_everywhere_would),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
