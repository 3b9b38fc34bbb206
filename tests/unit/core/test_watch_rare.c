/* What the observer makes of what is seldom, late or hostile. */
#include "watch_story.h"

#define MAIN "refs/heads/main"

static void ignores_names_and_ids_that_cannot_be(void **unused)
{
    story t = begin_known(WATCH_LATEST);
    char *name = arena_printf(&t.arena, "%-*s", WATCH_REF_MAX + 1, "refs/heads/long");
    watch_tip tips[] = {
        { .ref = SLICE(MAIN), .oid = SLICE("a2") },            /* no commit id */
        { .ref = slice_of(name), .oid = oid(&t.arena, "b1") }, /* too long */
        { .ref = SLICE(""), .oid = oid(&t.arena, "b2") },
    };

    (void)unused;
    step(&t, (watch_event){ .kind = WATCH_REFS, .tips = tips, .tips_n = 3, .head = SLICE(MAIN) });
    is(&t, "");
    sees(&t, "main a2");
    is(&t, "LIST refs/heads/main a1..a2 tip\n");
    end(&t);
}

/* The only id of 64 digits among those of 40: sha256. */
static void takes_long_ids(void **unused)
{
    story t = begin_known(WATCH_LATEST);
    char id[65] = "";
    watch_tip tip = { .ref = SLICE(MAIN), .oid = { id, 64 } };

    (void)unused;
    memset(id, 'c', 64);
    step(&t, (watch_event){ .kind = WATCH_REFS, .tips = &tip, .tips_n = 1, .head = SLICE(MAIN) });
    assert_int_equal(t.out.n, 1);
    assert_int_equal(t.out.v[0].oid.n, 64);
    end(&t);
}

static void ignores_answers_to_nothing(void **unused)
{
    story t = begin_known(WATCH_LATEST);
    const watch_event_kind about_submissions[] = { WATCH_SPOOLED, WATCH_SPOOL_FAILED,
                                                   WATCH_BLOCKED };
    msg other = { .type = MSG_welcome };

    (void)unused;
    listed(&t, "main", "a2"); /* not asked for */
    list_fails(&t, "main");
    listed(&t, "gone", "a2");
    list_fails(&t, "gone");
    for (size_t i = 0; i < 3; i++)
        step(&t, (watch_event){ .kind = about_submissions[i], .id = 99 });
    step(&t, (watch_event){ .kind = WATCH_LISTED, .repo = 5, .ref = SLICE(MAIN) });
    step(&t, (watch_event){ .kind = WATCH_MSG, .msg = &other });
    is(&t, "");
    assert_int_equal(watch_pending(t.w), 0);
    end(&t);
}

static void believes_no_answer_to_what_was_not_sent(void **unused)
{
    story t = begin_known(WATCH_LATEST);

    (void)unused;
    t.spool = false;
    sees(&t, "main a2");
    listed(&t, "main", "a2");
    is(&t, "LIST refs/heads/main a1..a2 tip\n"
           "SPOOL #1 refs/heads/main a2 as 1\n");
    accepts(&t, 1);
    rejects(&t, 1, CODE_NAME_TAKEN, true);
    submission_event(&t, WATCH_BLOCKED, 1);
    is(&t, "");
    submission_event(&t, WATCH_SPOOLED, 1);
    is(&t, "PUSH #1 refs/heads/main a2\n");
    submission_event(&t, WATCH_SPOOLED, 1); /* told twice */
    submission_event(&t, WATCH_SPOOL_FAILED, 1);
    is(&t, "");
    accepts(&t, 1);
    is(&t, "TELL demo main a20000000000: build 101\n"
           "CURSOR refs/heads/main a2\n"
           "UNSPOOL 1\n");
    end(&t);
}

/* A list that ends where it began, or in no commit id, is answered with the tip that was seen. */
static void submits_the_tip_when_a_list_leads_nowhere(void **unused)
{
    const slice ends[] = { SLICE("nonsense"), { 0 } };

    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        story t = begin_known(WATCH_LATEST);
        watch_commit commit = { .oid = i ? oid(&t.arena, "a1") : ends[0],
                                .subject = SLICE("Say so"),
                                .author = SLICE("A. U. Thor") };

        sees(&t, "main a2");
        step(&t,
             (watch_event){
                 .kind = WATCH_LISTED, .ref = SLICE(MAIN), .commits = &commit, .commits_n = 1 });
        is(&t, "LIST refs/heads/main a1..a2 tip\n"
               "SPOOL #1 refs/heads/main a2 as 1\n"
               "PUSH #1 refs/heads/main a2\n");
        assert_true(slice_is(t.out.v[0].msg->submit.subject, "Say so"));
        assert_true(slice_is(t.out.v[0].msg->submit.author, "A. U. Thor"));
        end(&t);
    }
}

static void passes_over_commits_that_cannot_be(void **unused)
{
    story t = begin_known(WATCH_EVERY);
    watch_commit commits[] = { { .oid = SLICE("short") },
                               { .oid = oid(&t.arena, "a1") }, /* the mark itself */
                               { .oid = oid(&t.arena, "a3") } };

    (void)unused;
    sees(&t, "main a3");
    step(&t, (watch_event){
                 .kind = WATCH_LISTED, .ref = SLICE(MAIN), .commits = commits, .commits_n = 3 });
    is(&t, "LIST refs/heads/main a1..a3\n"
           "SPOOL #1 refs/heads/main a3 as 1\n"
           "PUSH #1 refs/heads/main a3\n");
    end(&t);
}

static void takes_a_long_list_in_parts_and_lists_no_full_branch(void **unused)
{
    story t = begin_known(WATCH_EVERY);
    watch_commit commits[WATCH_LIST_MAX + 1];
    size_t taken = 0;

    (void)unused;
    head_beat(&t, 1);
    sees(&t, "main ff");
    for (int round = 0; round < WATCH_QUEUE_MAX / WATCH_LIST_MAX; round++) {
        watch_event ev = { .kind = WATCH_LISTED,
                           .ref = SLICE(MAIN),
                           .commits = commits,
                           .commits_n = WATCH_LIST_MAX + 1 };

        for (size_t i = 0; i <= WATCH_LIST_MAX; i++)
            commits[i] =
                (watch_commit){ .oid =
                                    oid(&t.arena, arena_printf(&t.arena, "b%d%03zu1", round, i)) };
        watch_effects_clear(&t.out);
        watch_step(t.w, &ev, &t.out);
        for (size_t i = 0; i < t.out.n; i++)
            taken += t.out.v[i].kind == WATCH_DO_SPOOL;
        if (taken < WATCH_QUEUE_MAX)
            assert_int_equal(t.out.v[t.out.n - 1].kind, WATCH_DO_LIST);
    }
    assert_int_equal(taken, WATCH_QUEUE_MAX);
    assert_int_not_equal(t.out.v[t.out.n - 1].kind, WATCH_DO_LIST);
    assert_int_equal(watch_pending(t.w), WATCH_QUEUE_MAX);
    end(&t);
}

static void forgets_a_branch_that_goes_while_its_list_fails(void **unused)
{
    story t = begin_known(WATCH_LATEST);

    (void)unused;
    sees(&t, "main a1, dev b1");
    is(&t, "LIST refs/heads/dev -..b1 tip\n");
    sees(&t, "main a1");
    list_fails(&t, "dev");
    pass(&t, 3600 * 1000);
    assert_null(strstr(buf_str(&t.trace), "LIST"));
    assert_int_equal(watch_pending(t.w), 0);
    end(&t);
}

/* 1, 2, 4 ... s up to the longest, and no further. */
static void lists_again_less_and_less_often(void **unused)
{
    story t = begin_known(WATCH_LATEST);
    int64_t waited_ms = 0;

    (void)unused;
    sees(&t, "main a2");
    for (int i = 0; i < 12; i++) {
        int64_t begun_ms = t.now_ms;

        list_fails(&t, "main");
        buf_clear(&t.trace);
        while (!strstr(buf_str(&t.trace), "LIST"))
            pass(&t, 500);
        waited_ms = t.now_ms - begun_ms;
    }
    assert_in_range(waited_ms, 60000 * 80 / 100, 60000 * 120 / 100 + 500);
    end(&t);
}

static void says_once_that_the_dispatcher_is_silent(void **unused)
{
    story t = begin_known(WATCH_LATEST);

    (void)unused;
    pass(&t, 3600 * 1000);
    is(&t, "SILENT\n");
    head_beat(&t, 1);
    pass(&t, 3600 * 1000);
    is(&t, "HEARD\n"
           "SILENT\n");
    end(&t);
}

/* ---- what an earlier process left ---- */

static void restores_only_what_can_be(void **unused)
{
    story t = begin(WATCH_LATEST, false);
    msg_submit good = { .sid = SLICE("0123456789abcdef0123456789abcdef"),
                        .ref = SLICE(MAIN),
                        .oid = oid(&t.arena, "a5") };
    msg_submit bad = good;

    (void)unused;
    watch_restore_cursor(t.w, 0, SLICE(""), oid(&t.arena, "a1"));
    watch_restore_cursor(t.w, 0, SLICE(MAIN), SLICE("short"));
    watch_restore_known(t.w, 0);
    bad.ref = SLICE("");
    watch_restore_spooled(t.w, 0, 7, &bad);
    bad = good;
    bad.sid = SLICE("0123");
    watch_restore_spooled(t.w, 0, 6, &bad);
    bad = good;
    bad.oid = SLICE("short");
    watch_restore_spooled(t.w, 0, 5, &bad);
    assert_int_equal(watch_pending(t.w), 0);
    watch_restore_spooled(t.w, 0, 3, &good);
    watch_restore_spooled(t.w, 0, 4, &good); /* the same twice */
    assert_int_equal(watch_pending(t.w), 1);
    head_beat(&t, 1);
    sees(&t, "main a5");
    is(&t, "HEARD\n"
           "PUSH #1 refs/heads/main a5\n");
    accepts(&t, 1);
    is(&t, "TELL demo main a50000000000: build 101\n"
           "CURSOR refs/heads/main a5\n"
           "UNSPOOL 3\n");
    sees(&t, "main a6");
    listed(&t, "main", "a6");
    is(&t, "LIST refs/heads/main a5..a6 tip\n"
           "SPOOL #2 refs/heads/main a6 as 8\n" /* behind the greatest number of all */
           "PUSH #2 refs/heads/main a6\n");
    end(&t);
}

/* Another history: what is gone, or still under way, is not offered once more. */
static void offers_again_only_what_stands(void **unused)
{
    story t = begin_known(WATCH_LATEST);

    (void)unused;
    head_beat_of(&t, 1, '1');
    sees(&t, "main a2, dev b1");
    listed(&t, "main", "a2");
    listed(&t, "dev", "b1");
    accepts(&t, 1);
    accepts(&t, 2);
    sees(&t, "main a2");
    sees(&t, "main a3");
    listed(&t, "main", "a3");
    buf_clear(&t.trace);
    head_beat_of(&t, 1, '2');
    is(&t, "TELL ! the dispatcher has begun another history; what was accepted lately is "
           "offered again\n"
           "PUSH #3 refs/heads/main a3\n");
    end(&t);
}

static void needs_no_name(void **unused)
{
    watch *w = watch_new((slice){ 0 }, 1);

    (void)unused;
    assert_false(watch_heard(w));
    watch_free(w);
    watch_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ignores_names_and_ids_that_cannot_be),
        cmocka_unit_test(takes_long_ids),
        cmocka_unit_test(ignores_answers_to_nothing),
        cmocka_unit_test(believes_no_answer_to_what_was_not_sent),
        cmocka_unit_test(submits_the_tip_when_a_list_leads_nowhere),
        cmocka_unit_test(passes_over_commits_that_cannot_be),
        cmocka_unit_test(takes_a_long_list_in_parts_and_lists_no_full_branch),
        cmocka_unit_test(forgets_a_branch_that_goes_while_its_list_fails),
        cmocka_unit_test(lists_again_less_and_less_often),
        cmocka_unit_test(says_once_that_the_dispatcher_is_silent),
        cmocka_unit_test(restores_only_what_can_be),
        cmocka_unit_test(offers_again_only_what_stands),
        cmocka_unit_test(needs_no_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
