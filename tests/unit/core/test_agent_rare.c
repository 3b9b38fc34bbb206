/* What an agent makes of executors, spools and messages that are seldom as they should be. */
#include "agent_world.h"

#include "core/msg.h"

static msg nack(uint64_t task, uint64_t att)
{
    return (msg){ .type = MSG_nack, .nack = { .task = task, .att = att, .code = CODE_BUSY } };
}

static msg plan(uint64_t task, uint64_t att)
{
    return (msg){ .type = MSG_plan, .plan = { .task = task, .att = att, .last = true } };
}

static msg tests(uint64_t task, uint64_t att, uint64_t from, rec_item *items, size_t n)
{
    return (msg){ .type = MSG_tests,
                  .tests = { .task = task, .att = att, .from = from, .items = { items, n } } };
}

static void exec_event(world *w, agent_event_kind kind, unsigned slot)
{
    step(w, (agent_event){ .kind = kind, .slot = slot });
}

/* ---- executors ---- */

static void hears_an_executor_only_about_its_attempt(void **unused)
{
    world *w = ready_world(1);

    (void)unused;
    hear(w, assign(1, 1, TASK_SCRIPT));
    buf_clear(&w->story);
    w->quiet = true;
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t task = i ? 1 : 2, att = i ? 2 : 1; /* another task, another attempt */
        rec_item item = { .verdict = VERDICT_PASSED };

        exec_says(w, 1, start(task, att));
        exec_says(w, 1, nack(task, att));
        exec_says(w, 1, plan(task, att));
        exec_says(w, 1, tests(task, att, 0, &item, 1));
        exec_says(w, 1, result(task, att, 0));
    }
    exec_says(w, 1, (msg){ .type = MSG_who });
    w->quiet = false;
    exec_says(w, 1, result(1, 1, 0));
    check(w, "> slot 1: result\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n");
    close_world(w);
}

static void relays_nothing_of_an_attempt_that_is_fenced(void **unused)
{
    world *w = ready_world(1);
    rec_item item = { .verdict = VERDICT_PASSED };

    (void)unused;
    hear(w, assign(1, 1, TASK_PLAN));
    hear(w, assign(2, 1, TASK_TESTS));
    for (uint64_t task = 1; task <= 2; task++)
        hear(w, (msg){ .type = MSG_fenced, .fenced = { .task = task, .att = 1 } });
    buf_clear(&w->story);
    exec_says(w, 0, plan(1, 1));
    exec_says(w, 1, tests(2, 1, 0, &item, 1));
    exec_says(w, 1, start(2, 1));
    exec_says(w, 0, result(1, 1, 0));
    exec_says(w, 1, nack(2, 1));
    check(w, "> slot 0: plan\n"
             "> slot 1: tests\n"
             "> slot 1: start\n"
             "> slot 0: result\n"
             "  delete 1-1\n"
             "> slot 1: nack\n"
             "  delete 2-1\n");
    close_world(w);
}

/* Slot 2 was never heard of, 3 is of an earlier agent, the others cannot be. */
static world *gappy_world(void)
{
    world *w = open_world(1);

    w->quiet = true;
    exec_event(w, AGENT_EXEC_UP, 3);
    step(w, (agent_event){ .kind = AGENT_BEGIN });
    for (unsigned i = 0; i < 2; i++) {
        exec_event(w, AGENT_EXEC_UP, i);
        exec_says(w, i, idle_hb());
    }
    hear(w, welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 }));
    w->quiet = false;
    return w;
}

static void passes_over_slots_that_are_not_there(void **unused)
{
    world *w = gappy_world();

    (void)unused;
    exec_event(w, AGENT_EXEC_UP, MSG_SLOTS_MAX + 1);
    exec_event(w, AGENT_EXEC_GONE, MSG_SLOTS_MAX + 1);
    exec_event(w, AGENT_EXEC_GONE, 2);
    exec_says(w, 2, idle_hb());
    exec_says(w, 500, idle_hb());
    exec_event(w, AGENT_EXEC_GONE, 3);
    exec_event(w, AGENT_EXEC_GONE, 3); /* told twice */
    exec_says(w, 3, idle_hb());
    hear(w, assign(1, 1, TASK_SCRIPT));
    check(w, "> slot 2: hb\n"
             "> slot 500: hb\n"
             "> slot 3: hb\n"
             "> assign\n"
             "  slot 1: assign 1-1\n");
    close_world(w);
}

static void renews_and_ends_the_slots_that_are_there(void **unused)
{
    world *w = gappy_world();
    msg other = welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 });

    (void)unused;
    other.welcome.hist = SLICE(HIST2);
    hear(w, (msg){ .type = MSG_who });
    pass(w, 100);
    hear(w, other);
    step(w, (agent_event){ .kind = AGENT_STOP });
    step(w, (agent_event){ .kind = AGENT_STOP });
    pass(w, AGENT_STOP_MS);
    exec_event(w, AGENT_EXEC_GONE, 0); /* nobody listens any more */
    assert_true(w->exited);
    assert_non_null(strstr(buf_str(&w->story), "  slot 0: bye\n  slot 1: bye\n"));
    assert_non_null(strstr(buf_str(&w->story), "  kill 0\n  kill 1\n"));
    assert_null(strstr(buf_str(&w->story), "kill 2"));
    close_world(w);
}

static void sends_executors_away_that_come_while_it_stops(void **unused)
{
    world *w = ready_world(1);

    (void)unused;
    step(w, (agent_event){ .kind = AGENT_STOP });
    exec_event(w, AGENT_EXEC_GONE, 1);
    exec_event(w, AGENT_EXEC_UP, 1);
    exec_says(w, 1, idle_hb());
    exec_event(w, AGENT_EXEC_GONE, 1);
    exec_event(w, AGENT_EXEC_GONE, 0);
    check(w, "  slot 0: bye\n"
             "  slot 1: bye\n"
             "  slot 1: bye\n"
             "> slot 1: hb\n"
             "  bye\n"
             "  exit: stopped\n");
    close_world(w);
}

static void starts_no_executor_before_it_begins(void **unused)
{
    world *w = open_world(1);

    (void)unused;
    exec_event(w, AGENT_EXEC_UP, 1);
    exec_event(w, AGENT_EXEC_GONE, 1);
    check(w, "");
    step(w, (agent_event){ .kind = AGENT_BEGIN });
    check(w, "  spawn 0\n"
             "  spawn 1\n"
             "  hello\n");
    close_world(w);
}

/* One that was started never speaks, one that connected does not say what it works at. */
static void gives_up_executors_that_do_not_speak(void **unused)
{
    world *w = open_world(1);

    (void)unused;
    step(w, (agent_event){ .kind = AGENT_BEGIN });
    exec_event(w, AGENT_EXEC_UP, 0);
    buf_clear(&w->story);
    w->quiet = true;
    pass(w, 14900);
    w->quiet = false;
    assert_string_equal(buf_str(&w->story), "");
    pass(w, 300);
    assert_non_null(strstr(buf_str(&w->story),
                           "  \"executor of slot 0 is hung; it is ended with all it started\"\n"
                           "  kill 0\n"));
    assert_non_null(strstr(buf_str(&w->story), "  \"executor of slot 1 ended; starting another\"\n"
                                               "  spawn 1\n"));
    assert_null(strstr(buf_str(&w->story), "spawn 0"));
    pass(w, 15000); /* it cannot be ended, or nobody says so */
    assert_non_null(strstr(buf_str(&w->story), "  \"executor of slot 0 ended; starting another\"\n"
                                               "  spawn 0\n"));
    close_world(w);
}

static void ends_what_an_executor_holds_and_nobody_knows(void **unused)
{
    world *w = ready_world(1);
    rec_held held[] = { { .task = 8, .att = 1, .state = HELD_DONE },
                        { .task = 5, .att = 1, .state = HELD_RUNNING },
                        { .task = 6, .att = 1, .state = HELD_RUNNING } };

    (void)unused;
    exec_event(w, AGENT_EXEC_UP, 2);
    exec_says(w, 2, (msg){ .type = MSG_hb, .hb = { .held = { held, 3 } } });
    exec_says(w, 2, result(5, 1, 0));
    check(w, "> slot 2: hb\n"
             "  slot 2: cancel 5-1\n"
             "> slot 2: result\n"
             "  delete 5-1\n"
             "  slot 2: bye\n");
    close_world(w);
}

/* Executors of an earlier agent that say to hold what another has, or what has ended. */
static void leaves_an_attempt_to_the_executor_that_has_it(void **unused)
{
    world *w = ready_world(2);
    rec_held held[] = { { .task = 1, .att = 1, .state = HELD_RUNNING },
                        { .task = 1, .att = 1, .state = HELD_DONE },
                        { .task = 2, .att = 1, .state = HELD_DONE } };

    (void)unused;
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, assign(2, 1, TASK_SCRIPT));
    exec_says(w, 2, result(2, 1, 0));
    buf_clear(&w->story);
    exec_event(w, AGENT_EXEC_UP, 5);
    exec_says(w, 5, (msg){ .type = MSG_hb, .hb = { .held = { held, 3 } } });
    exec_says(w, 1, result(1, 1, 0));
    check(w, "> slot 5: hb\n"
             "  slot 5: bye\n"
             "> slot 1: result\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n");
    close_world(w);
}

/* ---- the spool ---- */

static void found(world *w, uint64_t task, uint64_t att, const msg *m)
{
    step(w, (agent_event){ .kind = AGENT_FOUND, .task = task, .att = att, .msg = m });
}

static void keeps_of_a_spool_what_can_be(void **unused)
{
    world *w = open_world(1);
    msg first = assign(1, 1, TASK_SCRIPT), second = assign(1, 2, TASK_SCRIPT);

    (void)unused;
    found(w, 2, 1, &first); /* other numbers inside */
    found(w, 1, 2, &first);
    found(w, 1, 1, &first);
    found(w, 1, 2, &second); /* fences the older */
    found(w, 1, 1, &first);
    check(w, "  delete 2-1\n"
             "  delete 1-2\n"
             "  delete 1-1\n"
             "  delete 1-1\n");
    close_world(w);
}

static void waits_for_what_it_found_before_it_drains(void **unused)
{
    world *w = open_world(1);
    msg m = assign(1, 1, TASK_SCRIPT);

    (void)unused;
    found(w, 1, 1, &m);
    exec_event(w, AGENT_EXEC_UP, 1);
    step(w, (agent_event){ .kind = AGENT_BEGIN });
    step(w, (agent_event){ .kind = AGENT_DRAIN });
    step(w, (agent_event){ .kind = AGENT_DRAIN });
    check(w, "  spawn 0\n"
             "  \"draining: finishing what is held\"\n");
    close_world(w);

    w = open_world(1);
    exec_event(w, AGENT_EXEC_UP, 1);
    step(w, (agent_event){ .kind = AGENT_DRAIN });
    step(w, (agent_event){ .kind = AGENT_BEGIN });
    check(w, "  \"draining\"\n"
             "  spawn 0\n"
             "  hello(drain)\n"
             "  bye\n"
             "  slot 1: bye\n"
             "  exit: drained\n");
    close_world(w);
}

static void ignores_words_of_the_spool_that_it_did_not_ask_for(void **unused)
{
    world *w = ready_world(1);
    msg done = result(1, 1, 0);

    (void)unused;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    buf_clear(&w->story);
    step(w, (agent_event){ .kind = AGENT_LOG_READ, .task = 1, .att = 1, .bytes = SLICE("x") });
    step(w, (agent_event){ .kind = AGENT_LOG_READ, .task = 9, .att = 1, .bytes = SLICE("x") });
    step(w, (agent_event){ .kind = AGENT_SPOOL, .task = 9, .att = 1, .part = AGENT_PART_RESULT });
    step(w, (agent_event){ .kind = AGENT_SPOOL, .task = 1, .att = 1, .part = AGENT_PART_RESULT });
    check(w, "");
    exec_says(w, 1, done);
    step(w,
         (agent_event){
             .kind = AGENT_SPOOL, .task = 1, .att = 1, .part = AGENT_PART_RESULT, .msg = &done });
    check(w, "> slot 1: result\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n");
    close_world(w);
}

/* ---- outcomes and plans ---- */

static void tells_outcomes_in_order_and_not_too_many_at_once(void **unused)
{
    enum { MANY = 3000 };
    world *w = ready_world(1);
    rec_item *items = calloc(MANY, sizeof *items);
    msg tell_all;

    (void)unused;
    assert_non_null(items);
    for (size_t i = 0; i < MANY; i++)
        items[i].verdict = VERDICT_PASSED;
    hear(w, assign(1, 1, TASK_TESTS));
    exec_says(w, 1, start(1, 1));
    buf_clear(&w->story);
    exec_says(w, 1, tests(1, 1, 5, items, 1)); /* those before it are missing */
    check(w, "> slot 1: tests\n");
    exec_says(w, 1, tests(1, 1, 0, items, MANY));
    assert_non_null(strstr(buf_str(&w->story), "  tests 1-1 from 0: "));
    assert_null(strstr(buf_str(&w->story), "from 0: 3000"));
    tell_all = (msg){ .type = MSG_tests_ok, .tests_ok = { .task = 1, .att = 1, .next = 5000 } };
    buf_clear(&w->story);
    hear(w, tell_all); /* more than there are: all */
    exec_says(w, 1, result(1, 1, 0));
    check(w, "> tests_ok\n"
             "> slot 1: result\n"
             "  result 1-1 passed log 0 of 0, items 0 from 5000\n");
    free(items);
    close_world(w);
}

static void believes_no_acknowledgement_of_parts_that_are_not_there(void **unused)
{
    world *w = ready_world(1);

    (void)unused;
    w->plan[0] = plan(1, 1);
    w->plan_n = 1;
    hear(w, assign(1, 1, TASK_PLAN));
    exec_says(w, 0, plan(1, 1));
    buf_clear(&w->story);
    hear(w, (msg){ .type = MSG_plan_ok, .plan_ok = { .task = 1, .att = 1, .next = 2 } });
    hear(w, (msg){ .type = MSG_plan_ok, .plan_ok = { .task = 7, .att = 1, .next = 1 } });
    pass(w, 1500); /* so it is repeated */
    assert_non_null(strstr(buf_str(&w->story), "  plan 1-1 part 0\n"));
    close_world(w);
}

/* ---- the dispatcher ---- */

static void says_hello_to_a_newer_start(void **unused)
{
    msg newer[] = { assign(1, 1, TASK_SCRIPT), { .type = MSG_hb_ok, .hb_ok = { .ep = 2 } } };

    (void)unused;
    newer[0].assign.ep = 2;
    for (size_t i = 0; i < 2; i++) {
        world *w = ready_world(1);

        hear(w, newer[i]);
        buf_clear(&w->story);
        w->quiet = false;
        pass(w, 600);
        check(w, "> 600 ms\n"
                 "  hello\n");
        close_world(w);
    }
}

static void takes_over_no_half_of_the_times(void **unused)
{
    world *w = ready_world(1);

    (void)unused;
    hear(w, (msg){ .type = MSG_hb_ok, .hb_ok = { .ep = 1, .hb_ms = 100 } });
    hear(w, (msg){ .type = MSG_hb_ok, .hb_ok = { .ep = 1, .hb_ms = 500, .suspect_ms = 2000 } });
    pass(w, 499);
    pass(w, 1); /* sooner than the one that was due */
    check(w, "> hb_ok\n"
             "> hb_ok\n"
             "> 499 ms\n"
             "> 1 ms\n"
             "  hb\n");
    close_world(w);
}

/* Found by fuzz_agent: with 1 ms the session was lost in the very step of its first heartbeat. */
static void takes_over_no_times_that_welcome_could_not_have(void **unused)
{
    world *w = ready_world(1);

    (void)unused;
    hear(w, (msg){ .type = MSG_hb_ok, .hb_ok = { .ep = 1, .hb_ms = 1, .suspect_ms = 1 } });
    pass(w, 999);
    pass(w, 1);
    check(w, "> hb_ok\n"
             "> 999 ms\n"
             "> 1 ms\n"
             "  hb\n");
    close_world(w);
}

static void keeps_the_newest_key_of_a_start(void **unused)
{
    world *w = ready_world(1);
    msg again = welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 });

    (void)unused;
    again.welcome.key = SLICE(HIST2);
    hear(w, (msg){ .type = MSG_who });
    pass(w, 600);
    hear(w, again);
    assert_non_null(strstr(buf_str(&w->story), "> welcome\n  save 1 1\n"));
    close_world(w);
}

static void forgets_the_oldest_of_what_has_ended(void **unused)
{
    world *w = ready_world(1);

    (void)unused;
    w->quiet = true;
    for (uint64_t task = 1; task <= 5000; task++) {
        hear(w, assign(task, 1, TASK_SCRIPT));
        exec_says(w, 1, nack(task, 1));
    }
    w->quiet = false;
    hear(w, assign(5000, 1, TASK_SCRIPT));
    hear(w, assign(1, 1, TASK_SCRIPT));
    check(w, "> assign\n"
             "  nack 5000-1 BUSY\n"
             "> assign\n"
             "  slot 1: assign 1-1\n");
    close_world(w);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(hears_an_executor_only_about_its_attempt),
        cmocka_unit_test(relays_nothing_of_an_attempt_that_is_fenced),
        cmocka_unit_test(passes_over_slots_that_are_not_there),
        cmocka_unit_test(renews_and_ends_the_slots_that_are_there),
        cmocka_unit_test(sends_executors_away_that_come_while_it_stops),
        cmocka_unit_test(starts_no_executor_before_it_begins),
        cmocka_unit_test(gives_up_executors_that_do_not_speak),
        cmocka_unit_test(ends_what_an_executor_holds_and_nobody_knows),
        cmocka_unit_test(leaves_an_attempt_to_the_executor_that_has_it),
        cmocka_unit_test(keeps_of_a_spool_what_can_be),
        cmocka_unit_test(waits_for_what_it_found_before_it_drains),
        cmocka_unit_test(ignores_words_of_the_spool_that_it_did_not_ask_for),
        cmocka_unit_test(tells_outcomes_in_order_and_not_too_many_at_once),
        cmocka_unit_test(believes_no_acknowledgement_of_parts_that_are_not_there),
        cmocka_unit_test(says_hello_to_a_newer_start),
        cmocka_unit_test(takes_over_no_half_of_the_times),
        cmocka_unit_test(takes_over_no_times_that_welcome_could_not_have),
        cmocka_unit_test(keeps_the_newest_key_of_a_start),
        cmocka_unit_test(forgets_the_oldest_of_what_has_ended),
    };

    return cmocka_run_group_tests(all, NULL, NULL);
}
