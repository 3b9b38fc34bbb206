#include "dispatcher_world.h"

#include "role/readers.h"

#define READER    100 /* connections of readers: this one and those behind it */
#define FILES     3000
#define EVENTS_OF 4096 /* a history of more than so many: dozens of pages */

/* Builds of FILES units each, until the history has EVENTS_OF events. */
static void make_history(world *w)
{
    static char names[FILES][24];
    slice files[FILES];
    char ref[32];

    for (size_t i = 0; i < FILES; i++) {
        snprintf(names[i], sizeof names[i], "tests/component/t%04zu", i);
        files[i] = slice_of(names[i]);
    }
    world_hello(w, RUNNER, ID_1, BOOT, 1);
    for (int n = 0; dispatch_last_seq(dispatcher_core(w->d)) < EVENTS_OF; n++) {
        rec_job job = {
            .name = SLICE("tests"), .tests = true, .batch = FILES, .files = { files, FILES }
        };

        snprintf(ref, sizeof ref, "refs/heads/b%d", n);
        world_submit(w, "demo", ref);
        world_plan(w, RUNNER, &job, 1);
        world_forget_but_assign(w, RUNNER);
        world_result(w, RUNNER, VERDICT_PASSED);
        world_forget(w);
    }
    world_wait(w, 1); /* what was due is done */
    world_forget(w);
}

static void ask_replay(world *w, uint64_t peer, uint64_t r, uint64_t from)
{
    world_hand_in(w, peer, &(msg){ .type = MSG_replay, .r = r, .replay = { .from = from } });
}

static bool is_due(const world *w)
{
    return dispatcher_next_deadline_ms(w->d) <= w->now_ms;
}

static void a_heartbeat_waits_for_a_page_or_two(void **state)
{
    world *w = *state;

    make_history(w);
    for (uint64_t i = 0; i < 20; i++)
        ask_replay(w, READER + i, 1, 1);
    world_hand_in(w, RUNNER, &(msg){ .type = MSG_hb, .hb = { .n = 7, .free = 1 } });
    world_commit(w);

    assert_int_equal(world_last(w, RUNNER, MSG_hb_ok)->hb_ok.n, 7);
    assert_in_range(world_count(w, 0, MSG_events), 1, 3);
    assert_true(is_due(w)); /* the others wait for the next turn, which follows at once */
}

static void readers_are_served_by_turns(void **state)
{
    world *w = *state;
    uint64_t next[20];
    bool done = false;

    make_history(w);
    for (uint64_t i = 0; i < 20; i++)
        ask_replay(w, READER + i, 1, next[i] = 1);
    while (!done) {
        uint64_t least = UINT64_MAX, most = 0;

        assert_true(is_due(w));
        world_commit(w);
        for (size_t h = 0; h < w->heard_n; h++) {
            uint64_t i = w->heard[h].peer - READER;
            const msg_events *page = &w->heard[h].m.events;

            assert_int_equal(w->heard[h].m.type, MSG_events);
            assert_int_equal(page->next, next[i] + page->items.n);
            next[i] = page->next;
            if (page->next <= page->last)
                ask_replay(w, READER + i, page->next, page->next);
        }
        world_forget(w);
        done = true;
        for (size_t i = 0; i < 20; i++) {
            least = next[i] < least ? next[i] : least;
            most = next[i] > most ? next[i] : most;
            done &= next[i] > dispatch_last_seq(dispatcher_core(w->d));
        }
        assert_true(most - least <= 1000); /* nobody is more than a page before another */
    }
    assert_false(is_due(w));
}

static void one_with_many_questions_has_one_turn(void **state)
{
    world *w = *state;

    make_history(w);
    for (uint64_t r = 1; r <= 10; r++)
        ask_replay(w, READER, r, 1);
    ask_replay(w, READER + 1, 1, 1);
    world_commit(w);

    assert_int_equal(world_count(w, READER, MSG_events), 1);
    assert_int_equal(world_count(w, READER + 1, MSG_events), 1);
}

static void a_question_that_waits_is_answered_once(void **state)
{
    world *w = *state;

    for (int i = 0; i < 100; i++)
        ask_replay(w, READER, 5, 1);
    world_commit(w);

    assert_int_equal(world_count(w, READER, MSG_events), 1);
    assert_int_equal(world_count(w, READER, MSG_err), 0);
    ask_replay(w, READER, 5, 1); /* asked again later, perhaps since the answer was lost */
    world_commit(w);
    assert_int_equal(world_count(w, READER, MSG_events), 2);
}

static void too_many_questions_are_refused_for_now(void **state)
{
    world *w = *state;

    for (uint64_t r = 1; r <= READERS_QUESTIONS_MAX + 3; r++)
        world_hand_in(w, READER, &(msg){ .type = MSG_builds, .r = r });
    for (int i = 0; i < READERS_QUESTIONS_MAX; i++)
        world_commit(w);

    assert_int_equal(world_count(w, READER, MSG_builds_are), READERS_QUESTIONS_MAX);
    assert_int_equal(world_count(w, READER, MSG_err), 3);
    assert_int_equal(world_last(w, READER, MSG_err)->err.code, CODE_BUSY);
}

static void who_does_not_read_gets_no_more_and_holds_up_nobody(void **state)
{
    world *w = *state;

    make_history(w);
    w->deaf = READER;
    ask_replay(w, READER, 1, 1);
    ask_replay(w, READER + 1, 1, 1);
    world_commit(w);
    assert_int_equal(world_count(w, READER, MSG_events), 0);
    assert_int_equal(world_count(w, READER + 1, MSG_events), 1);
    assert_false(is_due(w)); /* no busy loop */

    world_wait(w, 100);
    assert_int_equal(world_count(w, READER, MSG_events), 0);
    w->deaf = 0;
    world_wait(w, 100);
    assert_int_equal(world_count(w, READER, MSG_events), 1);
}

static void readers_that_left_are_forgotten(void **state)
{
    world *w = *state;

    for (uint64_t i = 0; i < 100; i++)
        ask_replay(w, READER + i, 1, 1);
    world_restart(w); /* with questions open: nothing leaks */
    world_wait(w, 1);
    assert_int_equal(world_count(w, 0, MSG_events), 0);
    assert_false(is_due(w));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_heartbeat_waits_for_a_page_or_two),
        TEST(readers_are_served_by_turns),
        TEST(one_with_many_questions_has_one_turn),
        TEST(a_question_that_waits_is_answered_once),
        TEST(too_many_questions_are_refused_for_now),
        TEST(who_does_not_read_gets_no_more_and_holds_up_nobody),
        TEST(readers_that_left_are_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
