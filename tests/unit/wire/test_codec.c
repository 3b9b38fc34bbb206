#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "random_msg.h"

#define HEX32 "0123456789abcdef0123456789abcdef"
#define OID40 "0123456789abcdef0123456789abcdef01234567"

/* ---- building frames by hand ---- */

static void put_str(buf *b, const char *s)
{
    size_t n = strlen(s);

    if (n < 32)
        buf_addc(b, (char)(0xa0 | n));
    else
        buf_add(b, (char[]){ (char)0xd9, (char)n }, 2);
    buf_adds(b, s);
}

static void put_pair(buf *b, const char *key, const char *value)
{
    put_str(b, key);
    put_str(b, value);
}

static void put_num(buf *b, const char *key, unsigned char n)
{
    put_str(b, key);
    assert_true(n < 0x80);
    buf_addc(b, (char)n);
}

/* A map of `more` pairs beyond v and t. */
static void put_head(buf *b, unsigned more, const char *type)
{
    buf_addc(b, (char)(0x80 | (more + 2)));
    put_num(b, "v", 1);
    put_pair(b, "t", type);
}

static volt_code decode(const buf *b, volt_err *err)
{
    arena a = { 0 };
    msg m;
    volt_code rc = wire_decode(buf_slice(b), &a, &m, err);

    arena_free(&a);
    return rc;
}

/* Frees the frame. */
static void assert_refused(buf *b, volt_code want, const char *what)
{
    volt_err err = { 0 };

    assert_int_equal(decode(b, &err), want);
    if (!strstr(err.msg, what))
        fail_msg("'%s' says nothing of '%s'", err.msg, what);
    buf_free(b);
}

static void assert_taken(buf *b)
{
    volt_err err = { 0 };

    if (decode(b, &err) != VOLT_OK)
        fail_msg("%s", err.msg);
    buf_free(b);
}

/* ---- round trips ---- */

static void assert_round_trip(const msg *m)
{
    buf frame = { 0 }, again = { 0 }, one = { 0 }, two = { 0 };
    arena a = { 0 };
    volt_err err = { 0 };
    msg back;

    wire_encode(m, &frame);
    if (wire_decode(buf_slice(&frame), &a, &back, &err) != VOLT_OK)
        fail_msg("%s", err.msg);
    assert_true(same_msg(m, &back));
    wire_encode(&back, &again);
    assert_true(slice_eq(buf_slice(&frame), buf_slice(&again)));
    wire_print(m, &one);
    wire_print(&back, &two);
    assert_string_equal(buf_str(&one), buf_str(&two));
    buf_free(&frame);
    buf_free(&again);
    buf_free(&one);
    buf_free(&two);
    arena_free(&a);
}

static void round_trips_every_message_with_random_content(void **unused)
{
    prng rng = { 1 };

    (void)unused;
    for (msg_type type = MSG_NONE + 1; type < MSG_TYPES; type++)
        for (unsigned fill = 0; fill <= 100; fill += 5) {
            arena a = { 0 };
            random_msg g = { .rng = &rng, .a = &a, .fill = fill, .items_max = 6, .text_max = 300 };
            msg m = random_make(&g, type);

            assert_round_trip(&m);
            arena_free(&a);
        }
}

static void round_trips_texts_of_full_length(void **unused)
{
    prng rng = { 2 };

    (void)unused;
    for (msg_type type = MSG_NONE + 1; type < MSG_TYPES; type++) {
        arena a = { 0 };
        random_msg g = { .rng = &rng, .a = &a, .fill = 100, .items_max = 2 };
        msg m = random_make(&g, type);

        assert_round_trip(&m);
        arena_free(&a);
    }
}

static void round_trips_long_lists(void **unused)
{
    arena a = { 0 };
    msg m = { .type = MSG_tests };

    (void)unused;
    m.tests.task = 1;
    m.tests.att = 1;
    m.tests.items.n = 10000;
    m.tests.items.v = ARENA_ARRAY(&a, rec_item, m.tests.items.n);
    for (size_t i = 0; i < m.tests.items.n; i++) {
        m.tests.items.v[i].verdict = VERDICT_PASSED;
        m.tests.items.v[i].log_off = i * 1000;
    }
    assert_round_trip(&m);
    arena_free(&a);
}

/* ---- truncation and damage ---- */

static void refuses_every_message_cut_at_every_byte(void **unused)
{
    prng rng = { 3 };

    (void)unused;
    for (msg_type type = MSG_NONE + 1; type < MSG_TYPES; type++) {
        arena a = { 0 };
        random_msg g = { .rng = &rng, .a = &a, .fill = 100, .items_max = 2, .text_max = 20 };
        msg m = random_make(&g, type);
        buf frame = { 0 };

        wire_encode(&m, &frame);
        for (size_t n = 0; n < frame.n; n++) {
            char *exact = malloc(n ? n : 1); /* so that a read beyond the end is seen */
            volt_err err = { 0 };
            msg back;

            memcpy(exact, frame.p, n);
            assert_int_equal(wire_decode((slice){ exact, n }, &a, &back, &err), VOLT_EMSG);
            free(exact);
        }
        buf_addc(&frame, (char)0xc0);
        assert_refused(&frame, VOLT_EMSG, "bytes behind the end");
        arena_free(&a);
    }
}

static void survives_changed_bytes(void **unused)
{
    prng rng = { 4 };

    (void)unused;
    for (msg_type type = MSG_NONE + 1; type < MSG_TYPES; type++) {
        arena a = { 0 };
        random_msg g = { .rng = &rng, .a = &a, .fill = 60, .items_max = 3, .text_max = 20 };
        msg m = random_make(&g, type), back;
        buf frame = { 0 };

        wire_encode(&m, &frame);
        for (int i = 0; i < 2000; i++) {
            size_t at = prng_below(&rng, frame.n);
            char was = frame.p[at];

            frame.p[at] = (char)prng_next(&rng);
            if (wire_decode(buf_slice(&frame), &a, &back, NULL) == VOLT_OK) {
                buf out = { 0 };

                wire_encode(&back, &out); /* what is taken is valid */
                buf_free(&out);
            }
            frame.p[at] = was;
        }
        buf_free(&frame);
        arena_free(&a);
    }
}

/* ---- the envelope ---- */

static void refuses_what_is_no_map(void **unused)
{
    buf b = { 0 };

    (void)unused;
    assert_refused(&b, VOLT_EMSG, "ends where a value should come");
    buf_addc(&b, (char)0x90);
    assert_refused(&b, VOLT_EMSG, "not a map");
    buf_addc(&b, 1);
    assert_refused(&b, VOLT_EMSG, "not a map");
}

static void names_what_is_wrong_in_the_envelope(void **unused)
{
    buf b = { 0 };

    (void)unused;
    buf_addc(&b, (char)0x80);
    assert_refused(&b, VOLT_EMSG, "v: is missing");
    buf_addc(&b, (char)0x81);
    put_pair(&b, "v", "1");
    assert_refused(&b, VOLT_EMSG, "v: is not an integer");
    buf_addc(&b, (char)0x82); /* the version counts before all else */
    put_num(&b, "v", 2);
    put_num(&b, "t", 7);
    assert_refused(&b, VOLT_EVERSION, "v: protocol version 2, not 1");
    buf_addc(&b, (char)0x81);
    put_num(&b, "v", 1);
    assert_refused(&b, VOLT_EMSG, "t: is missing");
    buf_addc(&b, (char)0x82);
    put_num(&b, "v", 1);
    put_num(&b, "t", 7);
    assert_refused(&b, VOLT_EMSG, "t: is not str");
    put_head(&b, 0, "nonsense");
    assert_refused(&b, VOLT_EMSG, "t: no message 'nonsense'");
    put_head(&b, 0, "none");
    assert_refused(&b, VOLT_EMSG, "t: no message 'none'");
    put_head(&b, 1, "who");
    put_pair(&b, "r", "x");
    assert_refused(&b, VOLT_EMSG, "who.r");
    put_head(&b, 1, "who");
    put_str(&b, "r");
    buf_add(&b, "\xcf\x00\x20\x00\x00\x00\x00\x00\x00", 9); /* 2^53 */
    assert_refused(&b, VOLT_EMSG, "who.r");
}

static void takes_keys_in_any_order_and_unknown_ones(void **unused)
{
    buf b = { 0 };

    (void)unused;
    buf_addc(&b, (char)0x86);
    put_num(&b, "att", 2);
    put_str(&b, "later");
    buf_add(&b, "\x92\xc0\x81\xa1k\xcb\0\0\0\0\0\0\0\0", 14); /* [nil, {k: 0.0}] */
    put_pair(&b, "t", "start");
    put_num(&b, "r", 0);
    put_num(&b, "task", 1);
    put_num(&b, "v", 1);
    assert_taken(&b);
}

/* ---- fields ---- */

static void names_a_missing_or_double_key(void **unused)
{
    buf b = { 0 };

    (void)unused;
    put_head(&b, 1, "start");
    put_num(&b, "att", 2);
    assert_refused(&b, VOLT_EMSG, "start.task: is missing");
    put_head(&b, 3, "start");
    put_num(&b, "task", 1);
    put_num(&b, "att", 2);
    put_num(&b, "task", 1);
    assert_refused(&b, VOLT_EMSG, "key 'task' comes twice");
    put_head(&b, 2, "who"); /* unknown ones too: readers differ in which they believe */
    put_num(&b, "zz", 1);
    put_num(&b, "zz", 1);
    assert_refused(&b, VOLT_EMSG, "key 'zz' comes twice");
}

static void refuses_keys_that_are_not_str(void **unused)
{
    buf b = { 0 };

    (void)unused;
    put_head(&b, 1, "who");
    buf_add(&b, "\x01\x01", 2);
    assert_refused(&b, VOLT_EMSG, "a key that is not str");
    put_head(&b, 1, "who");
    buf_add(&b, "\x90\x01", 2);
    assert_refused(&b, VOLT_EMSG, "a key that is not str");
    put_head(&b, 1, "who");
    buf_add(&b, "\xc4\x01x\x01", 4);
    assert_refused(&b, VOLT_EMSG, "a key that is not str");
}

static void refuses_numbers_out_of_range_or_of_another_type(void **unused)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *what; /* NULL: taken */
    } cases[] = {
        { "\x00", 1, "start.task: 0 is not within 1..9007199254740991" },
        { "\xcf\x00\x1f\xff\xff\xff\xff\xff\xff", 9, NULL },
        { "\xcf\x00\x20\x00\x00\x00\x00\x00\x00", 9, "9007199254740992 is not within" },
        { "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9, "18446744073709551615 is not within" },
        { "\xd3\x00\x00\x00\x00\x00\x00\x00\x05", 9, NULL }, /* a signed form of 5 */
        { "\xcc\x05", 2, NULL },
        { "\xff", 1, "is not an integer" }, /* -1 */
        { "\xd0\x80", 2, "is not an integer" },
        { "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", 9, "is not an integer" }, /* 1.0 */
        { "\xa1"
          "1",
          2, "is not an integer" },
        { "\xc0", 1, "is not an integer" },
        { "\xc3", 1, "is not an integer" },
        { "\x91\x01", 2, "is not an integer" },
        { "\x81\xa1x\x01", 4, "is not an integer" },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf b = { 0 };

        put_head(&b, 2, "start");
        put_num(&b, "att", 1);
        put_str(&b, "task");
        buf_add(&b, cases[i].bytes, cases[i].n);
        if (cases[i].what)
            assert_refused(&b, VOLT_EMSG, cases[i].what);
        else
            assert_taken(&b);
    }
}

static void refuses_bad_words_ids_and_booleans(void **unused)
{
    buf b = { 0 };

    (void)unused;
    put_head(&b, 2, "mode");
    put_pair(&b, "mode", "sleep");
    put_pair(&b, "why", "x");
    assert_refused(&b, VOLT_EMSG, "mode.mode: 'sleep' is none of its words");
    put_head(&b, 1, "mode");
    put_pair(&b, "mode", "");
    assert_refused(&b, VOLT_EMSG, "mode.mode: '' is none of its words");
    put_head(&b, 1, "mode");
    put_num(&b, "mode", 1);
    assert_refused(&b, VOLT_EMSG, "mode.mode: is not str");
    put_head(&b, 1, "submission");
    put_pair(&b, "sid", "0123456789ABCDEF0123456789ABCDEF");
    assert_refused(&b, VOLT_EMSG, "submission.sid: is not 32 lower-case hex digits");
    put_head(&b, 1, "submission");
    put_pair(&b, "sid", HEX32 "0");
    assert_refused(&b, VOLT_EMSG, "submission.sid");
    put_head(&b, 2, "accepted");
    put_pair(&b, "sid", HEX32);
    put_num(&b, "build", 0);
    assert_refused(&b, VOLT_EMSG, "accepted.build");
    put_head(&b, 3, "accepted");
    put_pair(&b, "sid", HEX32);
    put_num(&b, "build", 1);
    put_num(&b, "dup", 1);
    assert_refused(&b, VOLT_EMSG, "accepted.dup: is not a boolean");
}

static void put_submit(buf *b, const char *repo, const char *oid)
{
    put_head(b, 5, "submit");
    put_pair(b, "sid", HEX32);
    put_pair(b, "repo", repo);
    put_pair(b, "url", "/srv/a.git");
    put_pair(b, "oid", oid);
    put_pair(b, "ref", "refs/heads/main");
}

static void checks_texts_and_commit_ids(void **unused)
{
    char long_name[130] = { 0 };
    buf b = { 0 };

    (void)unused;
    put_submit(&b, "a", OID40);
    assert_taken(&b);
    put_submit(&b, "a", OID40 "0");
    assert_refused(&b, VOLT_EMSG, "submit.oid: is not 40 or 64 lower-case hex digits");
    put_submit(&b, "", OID40);
    assert_refused(&b, VOLT_EMSG, "submit.repo: is empty");
    memset(long_name, 'a', 128);
    put_submit(&b, long_name, OID40);
    assert_taken(&b);
    long_name[128] = 'a';
    put_submit(&b, long_name, OID40);
    assert_refused(&b, VOLT_EMSG, "submit.repo: has 129 bytes, over its limit of 128");
    put_submit(&b, "\xff", OID40);
    assert_refused(&b, VOLT_EMSG, "a str that is not UTF-8");
}

static void takes_bin_where_text_is_asked_but_not_the_reverse(void **unused)
{
    buf b = { 0 };

    (void)unused;
    put_head(&b, 1, "bye");
    put_str(&b, "why");
    buf_add(&b, "\xc4\x02\xff\xfe", 4);
    assert_taken(&b);
    put_head(&b, 3, "log");
    put_num(&b, "task", 1);
    put_num(&b, "att", 1);
    put_pair(&b, "d", "text");
    assert_refused(&b, VOLT_EMSG, "log.d: is not bin");
}

static void names_the_place_in_a_list(void **unused)
{
    buf b = { 0 };

    (void)unused;
    put_head(&b, 2, "hb");
    put_num(&b, "n", 0);
    put_str(&b, "held");
    buf_addc(&b, (char)0x92);
    buf_addc(&b, (char)0x82);
    put_num(&b, "task", 1);
    put_num(&b, "att", 1);
    buf_addc(&b, (char)0x81);
    put_num(&b, "task", 1);
    assert_refused(&b, VOLT_EMSG, "hb.held[1].att: is missing");
    put_head(&b, 2, "hb");
    put_num(&b, "n", 0);
    put_str(&b, "held");
    buf_add(&b, "\x91\x90", 2);
    assert_refused(&b, VOLT_EMSG, "hb.held: item 0 is not a map");
    put_head(&b, 2, "hb");
    put_num(&b, "n", 0);
    put_num(&b, "held", 1);
    assert_refused(&b, VOLT_EMSG, "hb.held: is not an array");
    put_head(&b, 2, "hb");
    put_num(&b, "n", 0);
    put_str(&b, "held");
    buf_add(&b, "\xdc\x04\x01", 3); /* 1,025 */
    for (int i = 0; i < 1025; i++)
        buf_addc(&b, (char)0x80);
    assert_refused(&b, VOLT_EMSG, "hb.held: has 1025 items, over its limit of 1024");
}

/* ---- encode ---- */

static void leaves_out_what_is_absent(void **unused)
{
    msg m = { .type = MSG_hb };
    buf out = { 0 };

    (void)unused;
    wire_encode(&m, &out); /* n is required, so it is there although 0 */
    assert_int_equal(out.n, 1 + 3 + 2 + 3 + 2 + 1);
    assert_memory_equal(out.p, "\x83\xa1v\x01\xa1t\xa2hb\xa1n\x00", out.n);
    buf_free(&out);
}

static void cuts_long_texts_at_a_character(void **unused)
{
    char text[1100];
    msg m = { .type = MSG_bye }, back;
    buf out = { 0 };
    arena a = { 0 };

    (void)unused;
    memset(text, 'a', sizeof text);
    memcpy(text + 1022, "…", 3); /* 3 bytes, of which 2 would fit */
    m.bye.why = (slice){ text, sizeof text };
    wire_encode(&m, &out);
    assert_int_equal(wire_decode(buf_slice(&out), &a, &back, NULL), VOLT_OK);
    assert_true(slice_eq(back.bye.why, (slice){ text, 1022 }));
    buf_clear(&out);
    memset(text + 100, 0xff, 50); /* not UTF-8 at all: cut at the byte, sent as bin */
    wire_encode(&m, &out);
    assert_int_equal(wire_decode(buf_slice(&out), &a, &back, NULL), VOLT_OK);
    assert_int_equal(back.bye.why.n, 1024);
    buf_free(&out);
    arena_free(&a);
}

static void tables_nest_once_and_keep_the_envelope_free(void **unused)
{
    (void)unused;
    for (msg_type type = MSG_NONE + 1; type < MSG_TYPES; type++) {
        const wire_table *t = wire_message(type);

        assert_string_equal(t->name, msg_type_text(type));
        for (size_t i = 0; i < t->n; i++) {
            assert_int_equal(t->fields[i].key_n, strlen(t->fields[i].key));
            assert_null(t->fields[i].key_n == 1 ? strchr("vtr", t->fields[i].key[0]) : NULL);
            if (t->fields[i].rec)
                for (size_t k = 0; k < t->fields[i].rec->n; k++)
                    assert_null(t->fields[i].rec->fields[k].rec);
        }
    }
    assert_null(wire_message(MSG_NONE));
    assert_null(wire_message(MSG_TYPES));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips_every_message_with_random_content),
        cmocka_unit_test(round_trips_texts_of_full_length),
        cmocka_unit_test(round_trips_long_lists),
        cmocka_unit_test(refuses_every_message_cut_at_every_byte),
        cmocka_unit_test(survives_changed_bytes),
        cmocka_unit_test(refuses_what_is_no_map),
        cmocka_unit_test(names_what_is_wrong_in_the_envelope),
        cmocka_unit_test(takes_keys_in_any_order_and_unknown_ones),
        cmocka_unit_test(names_a_missing_or_double_key),
        cmocka_unit_test(refuses_keys_that_are_not_str),
        cmocka_unit_test(refuses_numbers_out_of_range_or_of_another_type),
        cmocka_unit_test(refuses_bad_words_ids_and_booleans),
        cmocka_unit_test(checks_texts_and_commit_ids),
        cmocka_unit_test(takes_bin_where_text_is_asked_but_not_the_reverse),
        cmocka_unit_test(names_the_place_in_a_list),
        cmocka_unit_test(leaves_out_what_is_absent),
        cmocka_unit_test(cuts_long_texts_at_a_character),
        cmocka_unit_test(tables_nest_once_and_keep_the_envelope_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
