/* What was accepted is offered to each dispatcher that shows itself anew. */
#include "watch_story.h"

#define HOUR_MS 3600000

static void knows(story *t, size_t number)
{
    msg m = { .type = MSG_accepted,
              .accepted = { .sid = slice_of(t->sid[number - 1]), .build = 7, .dup = true } };

    step(t, (watch_event){ .kind = WATCH_MSG, .msg = &m });
}

/* main a2 and a3, accepted as #1 and #2 by a dispatcher of history `a`. */
static story begin_accepted(watch_policy policy)
{
    story t = begin_known(policy);

    t.wall_ms = 1700000000000;
    head_beat_of(&t, 1, 'a');
    sees(&t, "main a2");
    listed(&t, "main", "a2");
    accepts(&t, 1);
    t.wall_ms += HOUR_MS;
    sees(&t, "main a3");
    listed(&t, "main", "a3");
    accepts(&t, 2);
    buf_clear(&t.trace);
    return t;
}

static void each_start_is_offered_what_was_accepted(void **unused)
{
    story t = begin_accepted(WATCH_EVERY);

    (void)unused;
    head_beat_of(&t, 1, 'a');
    is(&t, "");
    head_beat_of(&t, 2, 'a');
    is(&t, "PUSH #3 refs/heads/main a2\n");
    knows(&t, 3); /* is not told, and moves nothing */
    is(&t, "PUSH #4 refs/heads/main a3\n");
    accepts(&t, 4);
    is(&t, "TELL demo main a30000000000: build 104 (it was accepted before, and had been lost)\n");
    assert_int_equal(watch_pending(t.w), 0);
    head_beat_of(&t, 3, 'a');
    is(&t, "PUSH #5 refs/heads/main a2\n");
    end(&t);
}

/* Of two directories, of which one takes the place of the other at once: their starts may have the
 * same number. */
static void another_start_of_the_same_epoch_is_offered_it_too(void **unused)
{
    story t = begin_accepted(WATCH_LATEST);
    char hist[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", boot[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    msg m = { .type = MSG_head,
              .head = { .hist = slice_of(hist), .ep = 1, .boot = slice_of(boot) } };

    (void)unused;
    step(&t, (watch_event){ .kind = WATCH_MSG, .msg = &m });
    is(&t, "PUSH #3 refs/heads/main a2\n");
    step(&t, (watch_event){ .kind = WATCH_MSG, .msg = &m });
    is(&t, "");
    end(&t);
}

static void one_that_was_not_heard_for_a_while_may_be_another(void **unused)
{
    story t = begin_accepted(WATCH_LATEST);

    (void)unused;
    pass(&t, WATCH_SILENT_MS);
    is(&t, "SILENT\n");
    head_beat_of(&t, 1, 'a');
    is(&t, "HEARD\n"
           "PUSH #3 refs/heads/main a2\n");
    end(&t);
}

static void an_observer_that_starts_offers_what_was_accepted(void **unused)
{
    story t = begin(WATCH_LATEST, false);

    (void)unused;
    watch_restore_kept(t.w, 0, SLICE("refs/heads/main"), oid(&t.arena, "a1"), 0); /* no such ref */
    watch_restore_cursor(t.w, 0, SLICE("refs/heads/main"), oid(&t.arena, "a2"));
    watch_restore_kept(t.w, 0, SLICE("refs/heads/main"), oid(&t.arena, "a2"), 0);
    watch_restore_kept(t.w, 0, SLICE("refs/heads/main"), SLICE("odd"), 0);
    watch_restore_known(t.w, 0);
    sees(&t, "main a2");
    is(&t, "");
    head_beat(&t, 1);
    is(&t, "HEARD\n"
           "PUSH #1 refs/heads/main a2\n");
    end(&t);
}

static void what_was_accepted_long_ago_is_not_offered(void **unused)
{
    story t = begin_accepted(WATCH_EVERY);

    (void)unused;
    t.wall_ms += WATCH_KEPT_MS;
    head_beat_of(&t, 2, 'a');
    is(&t, "PUSH #3 refs/heads/main a3\n");
    knows(&t, 3);
    t.wall_ms++;
    head_beat_of(&t, 3, 'a');
    is(&t, "");
    end(&t);
}

/* It goes on from an old copy, which may be older than that. */
static void another_history_is_offered_the_newest_of_each_branch(void **unused)
{
    story t = begin_accepted(WATCH_EVERY);

    (void)unused;
    t.wall_ms += 2 * WATCH_KEPT_MS;
    head_beat_of(&t, 1, 'b');
    is(&t, "TELL ! the dispatcher has begun another history; what was accepted lately is offered "
           "again\n"
           "PUSH #3 refs/heads/main a3\n");
    accepts(&t, 3);
    assert_int_equal(watch_pending(t.w), 0);
    end(&t);
}

static void a_branch_that_went_is_not_offered(void **unused)
{
    story t = begin_accepted(WATCH_LATEST);

    (void)unused;
    sees(&t, "dev b1");
    buf_clear(&t.trace);
    head_beat_of(&t, 2, 'a');
    is(&t, "");
    end(&t);
}

static void what_is_under_way_is_not_offered_as_well(void **unused)
{
    story t = begin_accepted(WATCH_LATEST);

    (void)unused;
    head_beat_of(&t, 2, 'a');
    is(&t, "PUSH #3 refs/heads/main a2\n");
    head_beat_of(&t, 3, 'a');
    is(&t, "PUSH #3 refs/heads/main a2\n");
    knows(&t, 3);
    is(&t, "PUSH #4 refs/heads/main a3\n");
    knows(&t, 4);
    is(&t, "");
    end(&t);
}

/* New commits wait behind them, and move the cursor as ever. */
static void what_is_offered_again_leaves_the_cursor_alone(void **unused)
{
    story t = begin_accepted(WATCH_LATEST);

    (void)unused;
    head_beat_of(&t, 2, 'a');
    sees(&t, "main a4");
    listed(&t, "main", "a4");
    is(&t, "PUSH #3 refs/heads/main a2\n"
           "LIST refs/heads/main a3..a4 tip\n"
           "SPOOL #4 refs/heads/main a4 as 3\n");
    knows(&t, 3);
    is(&t, "PUSH #5 refs/heads/main a3\n");
    knows(&t, 5);
    is(&t, "PUSH #4 refs/heads/main a4\n");
    knows(&t, 4);
    is(&t, "TELL demo main a40000000000: build 7 (known)\n"
           "CURSOR refs/heads/main a4\n"
           "UNSPOOL 3\n");
    end(&t);
}

static void what_was_refused_is_not_kept(void **unused)
{
    story t = begin_known(WATCH_LATEST);

    (void)unused;
    sees(&t, "main a2");
    listed(&t, "main", "a2");
    rejects(&t, 1, CODE_NAME_TAKEN, true);
    buf_clear(&t.trace);
    head_beat(&t, 2);
    is(&t, "");
    end(&t);
}

/* How many to remember the effect tells, so that the disk and the machine agree. */
static void so_many_of_a_branch_are_remembered(void **unused)
{
    story t = begin_known(WATCH_LATEST);
    size_t kept = 0;

    (void)unused;
    for (size_t i = 0; i < WATCH_KEPT_MAX + 10; i++) {
        sees(&t, arena_printf(&t.arena, "main c%zu", i + 1000));
        t.sids = 0;
        listed(&t, "main", arena_printf(&t.arena, "c%zu", i + 1000));
        accepts(&t, 1);
        for (size_t k = 0; k < t.out.n; k++)
            if (t.out.v[k].kind == WATCH_DO_CURSOR)
                kept = t.out.v[k].kept;
        assert_int_equal(kept, i < WATCH_KEPT_MAX ? i + 1 : WATCH_KEPT_MAX);
    }
    t.wall_ms += WATCH_KEPT_MS + 1; /* all of them are old now, but for the next */
    sees(&t, "main d1");
    t.sids = 0;
    listed(&t, "main", "d1");
    accepts(&t, 1);
    for (size_t k = 0; k < t.out.n; k++)
        if (t.out.v[k].kind == WATCH_DO_CURSOR)
            assert_int_equal(t.out.v[k].kept, 1);
    buf_clear(&t.trace);
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_start_is_offered_what_was_accepted),
        cmocka_unit_test(another_start_of_the_same_epoch_is_offered_it_too),
        cmocka_unit_test(one_that_was_not_heard_for_a_while_may_be_another),
        cmocka_unit_test(an_observer_that_starts_offers_what_was_accepted),
        cmocka_unit_test(what_was_accepted_long_ago_is_not_offered),
        cmocka_unit_test(another_history_is_offered_the_newest_of_each_branch),
        cmocka_unit_test(a_branch_that_went_is_not_offered),
        cmocka_unit_test(what_is_under_way_is_not_offered_as_well),
        cmocka_unit_test(what_is_offered_again_leaves_the_cursor_alone),
        cmocka_unit_test(what_was_refused_is_not_kept),
        cmocka_unit_test(so_many_of_a_branch_are_remembered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
