#include "role/observer_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "wire/codec.h"

#define OID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define OID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define OID_C "cccccccccccccccccccccccccccccccccccccccc"
#define SID_1 "11111111111111111111111111111111"
#define SID_2 "22222222222222222222222222222222"

static int set_up(void **dir)
{
    char *path = mem_strdup("/tmp/volt-state-XXXXXX");

    assert_non_null(mkdtemp(path));
    *dir = path;
    return 0;
}

static int tear_down(void **dir)
{
    char *command = mem_printf("rm -rf '%s'", (char *)*dir);

    assert_int_equal(system(command), 0);
    free(command);
    free(*dir);
    return 0;
}

static volt_code open_as(const char *dir, const char *dispatcher, const char *filter,
                         observer_state **ret, volt_err *err)
{
    const observer_state_config config = { .dir = dir,
                                           .name = "demo",
                                           .url = "local:h:/srv/demo",
                                           .dispatcher = dispatcher,
                                           .filter = filter };

    return observer_state_open(&config, ret, err);
}

static observer_state *open_ok(const char *dir, const char *filter)
{
    observer_state *s = NULL;
    volt_err err = { .msg = "" };

    if (open_as(dir, "localhost:8888", filter, &s, &err))
        fail_msg("%s", err.msg);
    return s;
}

static void spool(observer_state *s, uint64_t n, const char *sid, const char *oid)
{
    buf frame = { 0 };
    msg m = { .type = MSG_submit,
              .submit = { .sid = slice_of(sid),
                          .repo = SLICE("demo"),
                          .url = SLICE("local:h:/srv/demo"),
                          .oid = slice_of(oid),
                          .ref = SLICE("refs/heads/main") } };

    wire_encode(&m, &frame);
    assert_int_equal(observer_state_spool(s, n, buf_slice(&frame), NULL), VOLT_OK);
    assert_int_equal(observer_state_sync(s, NULL), VOLT_OK);
    buf_free(&frame);
}

static watch *restored(observer_state *s)
{
    watch *w = watch_new(SLICE("obs"), 1);

    watch_add(w, &(watch_repo_config){ .name = SLICE("demo"), .url = SLICE("u") });
    assert_int_equal(observer_state_restore(s, w, 0, NULL), VOLT_OK);
    return w;
}

/* What a machine makes of the state: does it ask about main at this tip, and from where? */
static void asks(watch *w, const char *tip, const char *expected_old)
{
    watch_effects out = { 0 };
    watch_tip tips[] = { { SLICE("refs/heads/main"), slice_of(tip) } };
    const char *old = NULL;

    watch_step(w,
               &(watch_event){ .kind = WATCH_REFS,
                               .now_ms = 1,
                               .tips = tips,
                               .tips_n = 1,
                               .head = SLICE("refs/heads/main") },
               &out);
    for (size_t i = 0; i < out.n; i++)
        if (out.v[i].kind == WATCH_DO_LIST)
            old = out.v[i].old.p;
    if (expected_old)
        assert_string_equal(old, expected_old);
    else
        assert_null(old);
    watch_effects_free(&out);
    watch_free(w);
}

static void remembers_cursors_and_spool(void **dir)
{
    observer_state *s = open_ok(*dir, "");

    observer_state_cursor(s, SLICE("refs/heads/main"), SLICE(OID_A));
    observer_state_cursor(s, SLICE("refs/heads/gone"), SLICE(OID_A));
    observer_state_cursor(s, SLICE("refs/heads/gone"), (slice){ 0 });
    observer_state_known(s);
    assert_true(observer_state_dirty(s));
    assert_int_equal(observer_state_flush(s, NULL), VOLT_OK);
    assert_false(observer_state_dirty(s));
    observer_state_free(s);

    s = open_ok(*dir, "");
    asks(restored(s), OID_A, NULL);
    asks(restored(s), OID_B, OID_A);
    spool(s, 1, SID_1, OID_B);
    observer_state_free(s);

    s = open_ok(*dir, "");
    asks(restored(s), OID_B, NULL); /* it is queued */
    asks(restored(s), OID_A, OID_B);
    observer_state_unspool(s, 1);
    assert_int_equal(observer_state_flush(s, NULL), VOLT_OK);
    asks(restored(s), OID_B, OID_A);
    observer_state_free(s);
}

/* What a machine pushes when it hears of a dispatcher, answered one after the other. */
static void offers(observer_state *s, const char *expected)
{
    watch *w = restored(s);
    watch_effects out = { 0 };
    buf pushed = { 0 };
    msg head = { .type = MSG_head, .head = { .ep = 1 } };
    msg yes = { .type = MSG_accepted, .accepted = { .build = 1, .dup = true } };

    watch_step(w, &(watch_event){ .kind = WATCH_MSG, .now_ms = 1, .wall_ms = 9, .msg = &head },
               &out);
    for (size_t i = 0; i < out.n; i++)
        if (out.v[i].kind == WATCH_DO_PUSH) {
            buf_add(&pushed, out.v[i].msg->submit.oid.p, 1);
            yes.accepted.sid = out.v[i].msg->submit.sid;
            watch_step(w, &(watch_event){ .kind = WATCH_MSG, .now_ms = 1, .msg = &yes }, &out);
        }
    assert_string_equal(buf_str(&pushed), expected);
    buf_free(&pushed);
    watch_effects_free(&out);
    watch_free(w);
}

static void remembers_what_was_accepted(void **dir)
{
    observer_state *s = open_ok(*dir, "");
    slice ref = SLICE("refs/heads/main"), gone = SLICE("refs/heads/gone");

    observer_state_cursor(s, ref, SLICE(OID_C));
    observer_state_kept(s, ref, SLICE(OID_A), 5, 1);
    observer_state_kept(s, ref, SLICE(OID_B), 6, 2);
    observer_state_kept(s, ref, SLICE(OID_C), 7, 2);
    observer_state_cursor(s, gone, SLICE(OID_A));
    observer_state_kept(s, gone, SLICE(OID_A), 8, 1);
    observer_state_cursor(s, gone, (slice){ 0 });
    observer_state_kept(s, gone, SLICE(OID_A), 8, 1);
    assert_int_equal(observer_state_flush(s, NULL), VOLT_OK);
    offers(s, "bc");
    observer_state_free(s);

    s = open_ok(*dir, "");
    offers(s, "bc");
    observer_state_free(s);
}

static void what_is_not_flushed_is_sent_again(void **dir)
{
    observer_state *s = open_ok(*dir, "");
    watch *w;

    spool(s, 1, SID_1, OID_A);
    spool(s, 10, SID_2, OID_B);
    observer_state_cursor(s, SLICE("refs/heads/main"), SLICE(OID_A));
    observer_state_unspool(s, 1);
    observer_state_free(s);
    s = open_ok(*dir, "");
    w = restored(s);
    assert_int_equal(watch_pending(w), 2);
    watch_free(w);
    observer_state_free(s);
}

static void a_second_observer_of_the_repository_is_refused(void **dir)
{
    observer_state *s = open_ok(*dir, ""), *second = NULL;
    volt_err err = { .msg = "" };

    assert_int_equal(open_as(*dir, "localhost:8888", "", &second, &err), VOLT_ELOCKED);
    assert_non_null(strstr(err.msg, "--state"));
    assert_int_equal(open_as(*dir, "elsewhere:8888", "", &second, &err), VOLT_OK);
    observer_state_free(second);
    observer_state_free(s);
    observer_state_free(open_ok(*dir, ""));
}

static void another_filter_makes_it_unknown_but_keeps_cursors(void **dir)
{
    observer_state *s = open_ok(*dir, "main");
    watch *w;

    observer_state_cursor(s, SLICE("refs/heads/main"), SLICE(OID_A));
    observer_state_known(s);
    assert_int_equal(observer_state_flush(s, NULL), VOLT_OK);
    observer_state_free(s);
    s = open_ok(*dir, "main *");
    w = restored(s);
    assert_false(watch_known(w, 0));
    asks(w, OID_B, OID_A);
    observer_state_free(s);
    s = open_ok(*dir, "main");
    w = restored(s);
    assert_true(watch_known(w, 0));
    watch_free(w);
    observer_state_free(s);
}

static void write_to(const char *dir, const char *name, const char *text)
{
    char *command = mem_printf("cd '%s'/demo-* && printf '%%s' '%s' > %s", dir, text, name);

    assert_int_equal(system(command), 0);
    free(command);
}

static void a_torn_spool_entry_is_dropped(void **dir)
{
    observer_state *s = open_ok(*dir, "");
    watch *w;

    spool(s, 1, SID_1, OID_A);
    write_to(*dir, "spool/1", "half");
    w = restored(s);
    assert_int_equal(watch_pending(w), 0);
    watch_free(w);
    w = restored(s);
    assert_int_equal(watch_pending(w), 0);
    watch_free(w);
    observer_state_free(s);
}

static void a_damaged_cursor_is_refused(void **dir)
{
    observer_state *s = open_ok(*dir, "");
    volt_err err = { .msg = "" };

    observer_state_known(s);
    assert_int_equal(observer_state_flush(s, NULL), VOLT_OK);
    observer_state_free(s);
    write_to(*dir, "cursor", "volt observer cursor 1\nurl u\nfilter \nknown yes\n");
    assert_int_equal(open_as(*dir, "localhost:8888", "", &s, &err), VOLT_ECORRUPT);
    assert_non_null(strstr(err.msg, "move it away"));
}

static void the_id_is_made_once(void **dir)
{
    char first[33], second[33];

    assert_int_equal(observer_state_id(*dir, SID_1, first, NULL), VOLT_OK);
    assert_int_equal(observer_state_id(*dir, SID_2, second, NULL), VOLT_OK);
    assert_string_equal(first, SID_1);
    assert_string_equal(second, SID_1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(remembers_cursors_and_spool),
        TEST(remembers_what_was_accepted),
        TEST(what_is_not_flushed_is_sent_again),
        TEST(a_second_observer_of_the_repository_is_refused),
        TEST(another_filter_makes_it_unknown_but_keeps_cursors),
        TEST(a_torn_spool_entry_is_dropped),
        TEST(a_damaged_cursor_is_refused),
        TEST(the_id_is_made_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
