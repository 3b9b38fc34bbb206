/* How the observer sends what it submits. */
#include "watch_story.h"

static void nothing_is_pushed_before_the_first_head_beat(void **unused)
{
    story t = begin(WATCH_LATEST, false);

    (void)unused;
    sees(&t, "main a1");
    listed(&t, "main", "a1");
    is(&t, "LIST refs/heads/main -..a1 tip\n"
           "SPOOL #1 refs/heads/main a1 as 1\n"
           "KNOWN\n");
    pass(&t, 100000);
    is(&t, "SILENT\n");
    head_beat(&t, 1);
    is(&t, "HEARD\n"
           "PUSH #1 refs/heads/main a1\n");
    end(&t);
}

static void nothing_is_pushed_before_it_is_durable(void **unused)
{
    story t = begin_known(WATCH_EVERY);

    (void)unused;
    t.spool = false;
    sees(&t, "main a3");
    listed(&t, "main", "a2 a3");
    submission_event(&t, WATCH_SPOOL_FAILED, 1);
    submission_event(&t, WATCH_SPOOL_FAILED, 2);
    is(&t, "LIST refs/heads/main a1..a3\n"
           "SPOOL #1 refs/heads/main a2 as 1\n"
           "SPOOL #2 refs/heads/main a3 as 2\n");
    head_beat(&t, 1);
    pass(&t, 1300);
    is(&t, "SPOOL #1 refs/heads/main a2 as 1\n"
           "SPOOL #2 refs/heads/main a3 as 2\n");
    submission_event(&t, WATCH_SPOOLED, 1);
    submission_event(&t, WATCH_SPOOLED, 2);
    is(&t, "PUSH #1 refs/heads/main a2\n");
    end(&t);
}

static void an_unanswered_push_is_asked_about_and_repeated(void **unused)
{
    story t = begin_known(WATCH_LATEST);

    (void)unused;
    sees(&t, "main a2");
    listed(&t, "main", "a2");
    buf_clear(&t.trace);
    pass(&t, 99);
    is(&t, "");
    pass(&t, 1);
    is(&t, "QUERY #1\n");
    knows_not(&t, 1); /* the first one is repeated at once */
    is(&t, "PUSH #1 refs/heads/main a2\n");
    pass(&t, 100);
    knows_not(&t, 1); /* later ones in their time: 2 s here */
    is(&t, "QUERY #1\n");
    head_beat(&t, 1);
    pass(&t, 1400);
    is(&t, "");
    pass(&t, 1000);
    is(&t, "PUSH #1 refs/heads/main a2\n"
           "QUERY #1\n");
    end(&t);
}

static void an_answer_comes_but_once(void **unused)
{
    story t = begin_known(WATCH_LATEST);

    (void)unused;
    sees(&t, "main a2");
    listed(&t, "main", "a2");
    accepts(&t, 1);
    buf_clear(&t.trace);
    accepts(&t, 1);
    rejects(&t, 1, CODE_NAME_TAKEN, true);
    knows_not(&t, 1);
    is(&t, "");
    assert_int_equal(watch_pending(t.w), 0);
    end(&t);
}

static void repeats_back_off_up_to_a_minute(void **unused)
{
    story t = begin_known(WATCH_LATEST);
    int pushes = 0;

    (void)unused;
    sees(&t, "main a2");
    listed(&t, "main", "a2");
    buf_clear(&t.trace);
    for (int s = 0; s < 600; s++) {
        head_beat(&t, 1);
        pass(&t, 1000);
    }
    for (const char *p = buf_str(&t.trace); (p = strstr(p, "PUSH")) != NULL; p++)
        pushes++;
    assert_in_range(pushes, 13, 17); /* 6 in the first minute, then one a minute */
    end(&t);
}

static void a_new_epoch_sends_everything_again_at_once(void **unused)
{
    story t = begin_known(WATCH_EVERY);

    (void)unused;
    sees(&t, "main a3");
    listed(&t, "main", "a2 a3");
    pass(&t, 200);
    buf_clear(&t.trace);
    head_beat(&t, 2);
    is(&t, "PUSH #1 refs/heads/main a2\n"); /* #2 waits for its turn */
    end(&t);
}

static void a_silent_dispatcher_is_told_once_and_then_waited_for(void **unused)
{
    story t = begin_known(WATCH_LATEST);

    (void)unused;
    sees(&t, "main a2");
    listed(&t, "main", "a2");
    buf_clear(&t.trace);
    pass(&t, 4000);
    assert_non_null(strstr(buf_str(&t.trace), "SILENT\n"));
    buf_clear(&t.trace);
    pass(&t, 24 * 3600 * 1000);
    is(&t, "");
    head_beat(&t, 1); /* the same one: it was the network */
    is(&t, "HEARD\n"
           "PUSH #1 refs/heads/main a2\n");
    end(&t);
}

static void a_push_that_would_block_is_waited_for(void **unused)
{
    story t = begin_known(WATCH_LATEST);

    (void)unused;
    sees(&t, "main a2");
    listed(&t, "main", "a2");
    submission_event(&t, WATCH_BLOCKED, 1);
    sees(&t, "main a2, dev b1");
    listed(&t, "dev", "b1");
    buf_clear(&t.trace);
    pass(&t, WATCH_BLOCKED_MS - 1);
    is(&t, "");
    pass(&t, 1);
    is(&t, "PUSH #1 refs/heads/main a2\n"
           "PUSH #2 refs/heads/dev b1\n");
    end(&t);
}

static void a_refusal_for_good_moves_the_cursor(void **unused)
{
    story t = begin_known(WATCH_LATEST);

    (void)unused;
    sees(&t, "main a2");
    listed(&t, "main", "a2");
    buf_clear(&t.trace);
    rejects(&t, 1, CODE_NAME_TAKEN, true);
    is(&t, "TELL ! demo main a20000000000: refused: NAME_TAKEN\n"
           "CURSOR refs/heads/main a2\n"
           "UNSPOOL 1\n");
    end(&t);
}

static void a_refusal_for_now_is_told_once_and_repeated(void **unused)
{
    story t = begin_known(WATCH_LATEST);

    (void)unused;
    sees(&t, "main a2");
    listed(&t, "main", "a2");
    buf_clear(&t.trace);
    rejects(&t, 1, CODE_DISK, false);
    pass(&t, 1300);
    rejects(&t, 1, CODE_DISK, false);
    is(&t, "TELL ! demo main a20000000000: refused for now, will be repeated: DISK\n"
           "PUSH #1 refs/heads/main a2\n"
           "QUERY #1\n");
    accepts(&t, 1);
    assert_int_equal(watch_pending(t.w), 0);
    end(&t);
}

static void a_restart_goes_on_with_the_spool_in_order(void **unused)
{
    story t = begin(WATCH_EVERY, false);
    slice main_ref = SLICE("refs/heads/main");

    (void)unused;
    watch_restore_cursor(t.w, 0, main_ref, oid(&t.arena, "a1"));
    watch_restore_known(t.w, 0);
    watch_restore_spooled(t.w, 0, 7,
                          &(msg_submit){ .sid = SLICE("0123456789abcdef0123456789abcdef"),
                                         .ref = main_ref,
                                         .oid = oid(&t.arena, "a2") });
    watch_restore_spooled(t.w, 0, 8,
                          &(msg_submit){ .sid = SLICE("1123456789abcdef0123456789abcdef"),
                                         .ref = main_ref,
                                         .oid = oid(&t.arena, "a3") });
    head_beat(&t, 3);
    sees(&t, "main a4");
    is(&t, "HEARD\n"
           "PUSH #1 refs/heads/main a2\n"
           "LIST refs/heads/main a3..a4\n");
    accepts(&t, 1);
    listed(&t, "main", "a4");
    is(&t, "TELL demo main a20000000000: build 101\n"
           "CURSOR refs/heads/main a2\n"
           "UNSPOOL 7\n"
           "PUSH #2 refs/heads/main a3\n"
           "SPOOL #3 refs/heads/main a4 as 9\n");
    end(&t);
}

static void an_answer_before_the_first_look_lists_nothing(void **unused)
{
    story t = begin(WATCH_EVERY, false);

    (void)unused;
    watch_restore_known(t.w, 0);
    watch_restore_spooled(t.w, 0, 1,
                          &(msg_submit){ .sid = SLICE("0123456789abcdef0123456789abcdef"),
                                         .ref = SLICE("refs/heads/main"),
                                         .oid = oid(&t.arena, "a2") });
    head_beat(&t, 1);
    accepts(&t, 1);
    is(&t, "HEARD\n"
           "PUSH #1 refs/heads/main a2\n"
           "TELL demo main a20000000000: build 101\n"
           "CURSOR refs/heads/main a2\n"
           "UNSPOOL 1\n");
    end(&t);
}

static void no_more_than_a_window_is_under_way(void **unused)
{
    story t = begin_known(WATCH_LATEST);
    watch_tip tips[WATCH_FLIGHT_MAX + 10];
    size_t pushes = 0;
    watch_effects out = { 0 };

    (void)unused;
    for (size_t i = 0; i < WATCH_FLIGHT_MAX + 10; i++) {
        tips[i].ref = slice_of(arena_printf(&t.arena, "refs/heads/b%zu", i));
        tips[i].oid = oid(&t.arena, "b1");
    }
    watch_step(
        t.w,
        &(watch_event){
            .kind = WATCH_REFS, .now_ms = t.now_ms, .tips = tips, .tips_n = WATCH_FLIGHT_MAX + 10 },
        &out);
    for (size_t i = 0; i < out.n; i++) {
        watch_event ev = { .now_ms = t.now_ms, .kind = WATCH_LISTED, .ref = out.v[i].ref };

        if (out.v[i].kind == WATCH_DO_LIST)
            watch_step(t.w, &ev, &out);
        ev = (watch_event){ .now_ms = t.now_ms, .kind = WATCH_SPOOLED, .id = out.v[i].id };
        if (out.v[i].kind == WATCH_DO_SPOOL)
            watch_step(t.w, &ev, &out);
    }
    for (size_t i = 0; i < out.n; i++)
        pushes += out.v[i].kind == WATCH_DO_PUSH;
    assert_int_equal(pushes, WATCH_FLIGHT_MAX);
    assert_int_equal(watch_pending(t.w), WATCH_FLIGHT_MAX + 10);
    watch_effects_free(&out);
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_pushed_before_the_first_head_beat),
        cmocka_unit_test(nothing_is_pushed_before_it_is_durable),
        cmocka_unit_test(an_unanswered_push_is_asked_about_and_repeated),
        cmocka_unit_test(an_answer_comes_but_once),
        cmocka_unit_test(repeats_back_off_up_to_a_minute),
        cmocka_unit_test(a_new_epoch_sends_everything_again_at_once),
        cmocka_unit_test(a_silent_dispatcher_is_told_once_and_then_waited_for),
        cmocka_unit_test(a_push_that_would_block_is_waited_for),
        cmocka_unit_test(a_refusal_for_good_moves_the_cursor),
        cmocka_unit_test(a_refusal_for_now_is_told_once_and_repeated),
        cmocka_unit_test(a_restart_goes_on_with_the_spool_in_order),
        cmocka_unit_test(an_answer_before_the_first_look_lists_nothing),
        cmocka_unit_test(no_more_than_a_window_is_under_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
