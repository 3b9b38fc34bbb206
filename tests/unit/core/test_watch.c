/* What the observer submits. */
#include "watch_story.h"

static void first_sight_submits_head_once(void **unused)
{
    story t = begin(WATCH_LATEST, false);

    (void)unused;
    head_beat(&t, 1);
    sees(&t, "main a1, dev b1");
    is(&t, "HEARD\n"
           "CURSOR refs/heads/dev b1\n"
           "LIST refs/heads/main -..a1 tip\n");
    listed(&t, "main", "a1");
    is(&t, "SPOOL #1 refs/heads/main a1 as 1\n"
           "KNOWN\n"
           "PUSH #1 refs/heads/main a1\n");
    accepts(&t, 1);
    is(&t, "TELL demo main a10000000000: build 101\n"
           "CURSOR refs/heads/main a1\n"
           "UNSPOOL 1\n");
    sees(&t, "main a1, dev b1");
    is(&t, "");
    end(&t);
}

static void first_sight_with_every_still_submits_one(void **unused)
{
    story t = begin(WATCH_EVERY, false);

    (void)unused;
    sees(&t, "main a9, dev b1");
    is(&t, "CURSOR refs/heads/dev b1\n"
           "LIST refs/heads/main -..a9 tip\n");
    end(&t);
}

static void from_now_submits_nothing_at_first_sight(void **unused)
{
    story t = begin(WATCH_LATEST, true);

    (void)unused;
    sees(&t, "main a1, dev b1");
    is(&t, "CURSOR refs/heads/dev b1\n"
           "CURSOR refs/heads/main a1\n"
           "KNOWN\n");
    sees(&t, "main a2, dev b1");
    is(&t, "LIST refs/heads/main a1..a2 tip\n");
    end(&t);
}

static void an_empty_repository_is_known_and_its_first_branch_submitted(void **unused)
{
    story t = begin(WATCH_LATEST, false);

    (void)unused;
    sees(&t, "");
    is(&t, "KNOWN\n");
    sees(&t, "main a1");
    is(&t, "LIST refs/heads/main -..a1 tip\n");
    end(&t);
}

static void a_crash_in_the_first_sight_starts_it_anew(void **unused)
{
    story t = begin(WATCH_LATEST, false);

    (void)unused;
    /* dev's cursor was written, main not yet asked about; meanwhile dev moved and new appeared */
    watch_restore_cursor(t.w, 0, SLICE("refs/heads/dev"), oid(&t.arena, "b1"));
    sees(&t, "main a1, dev b2, new c1");
    is(&t, "LIST refs/heads/dev b1..b2 tip\n"
           "CURSOR refs/heads/new c1\n"
           "LIST refs/heads/main -..a1 tip\n");
    end(&t);
}

static void latest_submits_the_tip_of_each_moved_branch(void **unused)
{
    story t = begin_known(WATCH_LATEST);

    (void)unused;
    sees(&t, "main a3, topic b1");
    is(&t, "LIST refs/heads/topic -..b1 tip\n"
           "LIST refs/heads/main a1..a3 tip\n");
    listed(&t, "main", "a3");
    listed(&t, "topic", "b1");
    is(&t, "SPOOL #1 refs/heads/main a3 as 1\n"
           "PUSH #1 refs/heads/main a3\n"
           "SPOOL #2 refs/heads/topic b1 as 2\n"
           "PUSH #2 refs/heads/topic b1\n");
    end(&t);
}

static void the_same_commit_on_two_branches_is_two_submissions(void **unused)
{
    story t = begin_known(WATCH_EVERY);

    (void)unused;
    sees(&t, "main a1, release a1");
    is(&t, "LIST refs/heads/release -..a1 known a1\n");
    listed(&t, "release", ""); /* nothing new, so its tip */
    is(&t, "SPOOL #1 refs/heads/release a1 as 1\n"
           "PUSH #1 refs/heads/release a1\n");
    end(&t);
}

static void an_unaccepted_submission_stays_when_its_branch_moves_on(void **unused)
{
    story t = begin_known(WATCH_LATEST);

    (void)unused;
    sees(&t, "main a2");
    listed(&t, "main", "a2");
    sees(&t, "main a3");
    listed(&t, "main", "a3");
    is(&t, "LIST refs/heads/main a1..a2 tip\n"
           "SPOOL #1 refs/heads/main a2 as 1\n"
           "PUSH #1 refs/heads/main a2\n"
           "LIST refs/heads/main a2..a3 tip\n"
           "SPOOL #2 refs/heads/main a3 as 2\n");
    accepts(&t, 1);
    is(&t, "TELL demo main a20000000000: build 101\n"
           "CURSOR refs/heads/main a2\n"
           "UNSPOOL 1\n"
           "PUSH #2 refs/heads/main a3\n");
    end(&t);
}

static void every_submits_all_commits_oldest_first_one_after_the_other(void **unused)
{
    story t = begin_known(WATCH_EVERY);

    (void)unused;
    sees(&t, "main a3");
    is(&t, "LIST refs/heads/main a1..a3\n");
    listed(&t, "main", "a2 a3");
    is(&t, "SPOOL #1 refs/heads/main a2 as 1\n"
           "SPOOL #2 refs/heads/main a3 as 2\n"
           "PUSH #1 refs/heads/main a2\n");
    accepts(&t, 1);
    accepts(&t, 2);
    is(&t, "TELL demo main a20000000000: build 101\n"
           "CURSOR refs/heads/main a2\n"
           "UNSPOOL 1\n"
           "PUSH #2 refs/heads/main a3\n"
           "TELL demo main a30000000000: build 102\n"
           "CURSOR refs/heads/main a3\n"
           "UNSPOOL 2\n");
    end(&t);
}

static void a_branch_that_moves_while_it_is_listed_is_listed_again(void **unused)
{
    story t = begin_known(WATCH_EVERY);

    (void)unused;
    sees(&t, "main a2");
    sees(&t, "main a4");
    is(&t, "LIST refs/heads/main a1..a2\n");
    listed(&t, "main", "a2");
    is(&t, "SPOOL #1 refs/heads/main a2 as 1\n"
           "LIST refs/heads/main a2..a4\n"
           "PUSH #1 refs/heads/main a2\n");
    end(&t);
}

static void a_new_branch_is_compared_with_what_is_known_heads_first(void **unused)
{
    story t = begin_known(WATCH_EVERY);

    (void)unused;
    sees(&t, "main a1, dev b2");
    listed(&t, "dev", "b1 b2");
    buf_clear(&t.trace);
    sees(&t, "main a1, dev b2, topic c1");
    is(&t, "LIST refs/heads/topic -..c1 known a1 b2\n");
    end(&t);
}

static void a_new_branch_waits_for_those_it_is_compared_with(void **unused)
{
    story t = begin_known(WATCH_EVERY);

    (void)unused;
    sees(&t, "main a3, topic c1");
    is(&t, "LIST refs/heads/main a1..a3\n");
    listed(&t, "main", "a2 a3");
    is(&t, "SPOOL #1 refs/heads/main a2 as 1\n"
           "SPOOL #2 refs/heads/main a3 as 2\n"
           "LIST refs/heads/topic -..c1 known a3\n"
           "PUSH #1 refs/heads/main a2\n");
    end(&t);
}

static void a_new_branch_does_not_wait_for_one_that_cannot_be_listed(void **unused)
{
    story t = begin_known(WATCH_EVERY);

    (void)unused;
    sees(&t, "main a3, topic c1");
    buf_clear(&t.trace);
    list_fails(&t, "main");
    is(&t, "LIST refs/heads/topic -..c1 known a1\n");
    end(&t);
}

static void a_branch_set_back_submits_its_tip(void **unused)
{
    story t = begin_known(WATCH_EVERY);

    (void)unused;
    sees(&t, "main a0f");
    is(&t, "LIST refs/heads/main a1..a0f\n");
    listed(&t, "main", "");
    is(&t, "SPOOL #1 refs/heads/main a0f as 1\n"
           "PUSH #1 refs/heads/main a0f\n");
    end(&t);
}

static void a_deleted_branch_loses_its_cursor_but_not_its_queue(void **unused)
{
    story t = begin_known(WATCH_EVERY);

    (void)unused;
    sees(&t, "main a1, dev b1");
    listed(&t, "dev", "b1");
    accepts(&t, 1);
    sees(&t, "main a1, dev b2");
    listed(&t, "dev", "b2");
    buf_clear(&t.trace);
    sees(&t, "main a1");
    is(&t, "CURSOR refs/heads/dev -\n");
    accepts(&t, 2); /* the cursor stays away */
    is(&t, "TELL demo dev b20000000000: build 102\n"
           "UNSPOOL 2\n");
    sees(&t, "main a1, dev b2");
    is(&t, "LIST refs/heads/dev -..b2 known a1\n");
    end(&t);
}

static void a_branch_deleted_while_listed_is_submitted_yet(void **unused)
{
    story t = begin_known(WATCH_LATEST);

    (void)unused;
    sees(&t, "main a1, dev b1");
    sees(&t, "main a1");
    listed(&t, "dev", "b1");
    is(&t, "LIST refs/heads/dev -..b1 tip\n"
           "SPOOL #1 refs/heads/dev b1 as 1\n"
           "PUSH #1 refs/heads/dev b1\n");
    end(&t);
}

static void a_list_that_fails_is_asked_again(void **unused)
{
    story t = begin_known(WATCH_LATEST);

    (void)unused;
    sees(&t, "main a2");
    list_fails(&t, "main");
    assert_int_equal(watch_pending(t.w), 1);
    sees(&t, "main a3");
    is(&t, "LIST refs/heads/main a1..a2 tip\n");
    pass(&t, 1300);
    is(&t, "LIST refs/heads/main a1..a3 tip\n");
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_sight_submits_head_once),
        cmocka_unit_test(first_sight_with_every_still_submits_one),
        cmocka_unit_test(from_now_submits_nothing_at_first_sight),
        cmocka_unit_test(an_empty_repository_is_known_and_its_first_branch_submitted),
        cmocka_unit_test(a_crash_in_the_first_sight_starts_it_anew),
        cmocka_unit_test(latest_submits_the_tip_of_each_moved_branch),
        cmocka_unit_test(the_same_commit_on_two_branches_is_two_submissions),
        cmocka_unit_test(an_unaccepted_submission_stays_when_its_branch_moves_on),
        cmocka_unit_test(every_submits_all_commits_oldest_first_one_after_the_other),
        cmocka_unit_test(a_branch_that_moves_while_it_is_listed_is_listed_again),
        cmocka_unit_test(a_new_branch_is_compared_with_what_is_known_heads_first),
        cmocka_unit_test(a_new_branch_waits_for_those_it_is_compared_with),
        cmocka_unit_test(a_new_branch_does_not_wait_for_one_that_cannot_be_listed),
        cmocka_unit_test(a_branch_set_back_submits_its_tip),
        cmocka_unit_test(a_deleted_branch_loses_its_cursor_but_not_its_queue),
        cmocka_unit_test(a_branch_deleted_while_listed_is_submitted_yet),
        cmocka_unit_test(a_list_that_fails_is_asked_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
