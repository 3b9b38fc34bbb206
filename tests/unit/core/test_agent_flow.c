/* What an attempt has to tell, again and again until it is acknowledged. */
#include "agent_world.h"

static void plans_outside_the_slots(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, assign(2, 1, TASK_PLAN));
    hear(w, assign(3, 1, TASK_PLAN));
    hear(w, assign(4, 1, TASK_SCRIPT));
    w->plan[0] = (msg){ .type = MSG_plan, .plan = { .task = 2, .att = 1, .last = true } };
    w->plan_n = 1;
    exec_says(w, 0, w->plan[0]);
    exec_says(w, 0, result(2, 1, 0));
    pass(w, 999);
    pass(w, 1);
    hear(w, (msg){ .type = MSG_plan_ok, .plan_ok = { .task = 2, .att = 1, .next = 1 } });
    hear(w, result_ok(2, 1));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> assign\n"
             "  slot 0: assign 2-1\n"
             "> assign\n"
             "  nack 3-1 BUSY\n"
             "> assign\n"
             "  nack 4-1 BUSY\n"
             "> slot 0: plan\n"
             "  plan 2-1 part 0\n"
             "> slot 0: result\n"
             "  result 2-1 passed log 0 of 0, items 0 from 0\n"
             "> 999 ms\n"
             "> 1 ms\n"
             "  hb 1-1/accepted 2-1/done\n"
             "  plan 2-1 part 0\n"
             "  result 2-1 passed log 0 of 0, items 0 from 0\n"
             "> plan_ok\n"
             "> result_ok\n"
             "  delete 2-1\n");
    close_world(w);
}

static void reads_a_plan_again_that_the_dispatcher_forgot(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    for (uint64_t i = 0; i < 2; i++)
        w->plan[i] =
            (msg){ .type = MSG_plan, .plan = { .task = 1, .att = 1, .part = i, .last = i == 1 } };
    w->plan_n = 2;
    hear(w, assign(1, 1, TASK_PLAN));
    exec_says(w, 0, w->plan[0]);
    exec_says(w, 0, w->plan[1]);
    exec_says(w, 0, result(1, 1, 0));
    hear(w, (msg){ .type = MSG_plan_ok, .plan_ok = { .task = 1, .att = 1, .next = 2 } });
    hear(w, (msg){ .type = MSG_plan_ok, .plan_ok = { .task = 1, .att = 1, .next = 1 } });
    check(w, "> assign\n"
             "  slot 0: assign 1-1\n"
             "> slot 0: plan\n"
             "  plan 1-1 part 0\n"
             "> slot 0: plan\n"
             "  plan 1-1 part 1\n"
             "> slot 0: result\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n"
             "> plan_ok\n"
             "> plan_ok\n"
             "  plan 1-1 part 1\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n");
    close_world(w);
}

/* A later part came, and the spool has not even the first. */
static void reads_a_damaged_plan_once_a_second(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, assign(1, 1, TASK_PLAN));
    exec_says(w, 0, (msg){ .type = MSG_plan, .plan = { .task = 1, .att = 1, .part = 1 } });
    assert_int_equal(w->plan_reads, 1);
    for (int i = 0; i < 100; i++) { /* whatever else happens to it */
        hear(w, (msg){ .type = MSG_plan_ok, .plan_ok = { .task = 1, .att = 1 } });
        pass(w, 100);
    }
    assert_int_equal(w->plan_reads, 11);
    w->plan[0] = (msg){ .type = MSG_plan, .plan = { .task = 1, .att = 1 } };
    w->plan_n = 1;
    buf_clear(&w->story);
    pass(w, 1000);
    assert_non_null(strstr(buf_str(&w->story), "  plan 1-1 part 0\n"));
    exec_says(w, 0, result(1, 1, 0)); /* now nothing will put it right */
    buf_clear(&w->story);
    pass(w, 1000);
    assert_non_null(strstr(buf_str(&w->story), "  nack 1-1 LOST\n  delete 1-1\n"));
    close_world(w);
}

static void tells_an_outcome_behind_its_output(void **fixture)
{
    world *w = ready_world(1);
    rec_item items[2] = { { .verdict = VERDICT_PASSED, .log_len = 20 },
                          { .verdict = VERDICT_PASSED, .log_off = 20, .log_len = 5 } };
    msg m = { .type = MSG_tests, .tests = { .task = 1, .att = 1, .items = { items, 2 } } };

    (void)fixture;
    hear(w, assign(1, 1, TASK_TESTS));
    exec_says(w, 1, start(1, 1));
    w->log_n = 22;
    exec_says(w, 1, m);
    pass(w, 250);
    hear(w, log_ok(22, 262144));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> slot 1: tests\n"
             "> 250 ms\n"
             "  log 1-1 at 0: 22\n"
             "> log_ok\n"
             "  tests 1-1 from 0: 1\n");
    close_world(w);
}

static void keeps_outcomes_until_acknowledged(void **fixture)
{
    world *w = ready_world(1);
    rec_item items[4] = { { .verdict = VERDICT_PASSED } };
    msg one = { .type = MSG_tests, .tests = { .task = 1, .att = 1, .items = { items, 1 } } };
    msg done = result(1, 1, 0);

    (void)fixture;
    hear(w, assign(1, 1, TASK_TESTS));
    exec_says(w, 1, start(1, 1));
    exec_says(w, 1, one);
    one.tests.from = 1;
    exec_says(w, 1, one);
    one.tests.from = 2;
    exec_says(w, 1, one);
    hear(w, (msg){ .type = MSG_tests_ok, .tests_ok = { .task = 1, .att = 1, .next = 1 } });
    pass(w, 2000);
    done.result.from = 3;
    done.result.items = (rec_item_list){ items, 2 };
    exec_says(w, 1, done);
    hear(w, (msg){ .type = MSG_tests_ok, .tests_ok = { .task = 1, .att = 1, .next = 3 } });
    hear(w, result_ok(1, 1));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> slot 1: tests\n"
             "  tests 1-1 from 0: 1\n"
             "> slot 1: tests\n"
             "> slot 1: tests\n"
             "> tests_ok\n"
             "  tests 1-1 from 1: 2\n"
             "> 2000 ms\n"
             "  hb 1-1/running\n"
             "  tests 1-1 from 1: 2\n"
             "  hb 1-1/running\n"
             "> slot 1: result\n"
             "  result 1-1 passed log 0 of 0, items 4 from 1\n"
             "> tests_ok\n"
             "> result_ok\n"
             "  delete 1-1\n");
    close_world(w);
}

static void streams_a_log_under_credit(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    w->log_n = 100000;
    pass(w, 200);
    hear(w, log_ok(65536, 65536));
    hear(w, log_ok(100000, 65536));
    w->log_n = 300000;
    pass(w, 200);
    exec_says(w, 1, result(1, 1, 300000));
    hear(w, log_ok(165536, 0));
    pass(w, 1000);
    hear(w, log_ok(65536, 262144));
    hear(w, log_ok(300000, 262144));
    hear(w, result_ok(1, 1));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> 200 ms\n"
             "  log 1-1 at 0: 65536\n"
             "  log 1-1 at 65536: 34464\n"
             "> log_ok\n"
             "> log_ok\n"
             "> 200 ms\n"
             "  log 1-1 at 100000: 65536\n"
             "> slot 1: result\n"
             "> log_ok\n"
             "> 1000 ms\n"
             "  hb 1-1/done\n"
             "  log 1-1 at 165536: 0\n"
             "> log_ok\n"
             "  log 1-1 at 65536: 65536\n"
             "  log 1-1 at 131072: 65536\n"
             "  log 1-1 at 196608: 65536\n"
             "  log 1-1 at 262144: 37856 eof\n"
             "> log_ok\n"
             "  result 1-1 passed log 0 of 300000, items 0 from 0\n"
             "> result_ok\n"
             "  delete 1-1\n");
    close_world(w);
}

static void sends_a_lost_piece_again(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    w->log_n = 20000;
    exec_says(w, 1, result(1, 1, 20000));
    pass(w, 1000);
    hear(w, log_ok(20000, 65536));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: result\n"
             "  log 1-1 at 0: 20000 eof\n"
             "> 1000 ms\n"
             "  hb 1-1/done\n"
             "  log 1-1 at 0: 20000 eof\n"
             "> log_ok\n"
             "  result 1-1 passed log 0 of 20000, items 0 from 0\n");
    close_world(w);
}

/* Found by fuzz_agent: a log that began without credit never got any. */
static void asks_for_its_first_credit_too(void **fixture)
{
    world *w = ready_world(1);
    msg m = welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 });

    (void)fixture;
    m.welcome.window = 0;
    hear(w, m);
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    w->log_n = 20000;
    exec_says(w, 1, result(1, 1, 20000));
    pass(w, 999);
    pass(w, 1);
    hear(w, log_ok(0, 65536));
    hear(w, log_ok(20000, 65536));
    check(w, "> welcome\n"
             "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> slot 1: result\n"
             "> 999 ms\n"
             "> 1 ms\n"
             "  hb 1-1/done\n"
             "  log 1-1 at 0: 0\n"
             "> log_ok\n"
             "  log 1-1 at 0: 20000 eof\n"
             "> log_ok\n"
             "  result 1-1 passed log 0 of 20000, items 0 from 0\n");
    close_world(w);
}

/* The task wrote into its own spool, and more was streamed than its executor counted. */
static void ends_a_log_that_is_longer_than_its_result_says(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    w->log_n = 100;
    pass(w, 200);
    hear(w, log_ok(100, 65536));
    w->log_n = 300; /* under way when the result comes */
    pass(w, 200);
    exec_says(w, 1, result(1, 1, 20));
    hear(w, log_ok(300, 65536));
    pass(w, 1000);
    hear(w, result_ok(1, 1));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> 200 ms\n"
             "  log 1-1 at 0: 100\n"
             "> log_ok\n"
             "> 200 ms\n"
             "  log 1-1 at 100: 200\n"
             "> slot 1: result\n"
             "  log 1-1 at 300: 0 eof\n"
             "  result 1-1 passed log 0 of 100, items 0 from 0\n"
             "> log_ok\n"
             "> 1000 ms\n"
             "  hb 1-1/done\n"
             "  result 1-1 passed log 0 of 300, items 0 from 0\n"
             "> result_ok\n"
             "  delete 1-1\n");
    close_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_outside_the_slots),
        cmocka_unit_test(reads_a_plan_again_that_the_dispatcher_forgot),
        cmocka_unit_test(reads_a_damaged_plan_once_a_second),
        cmocka_unit_test(tells_an_outcome_behind_its_output),
        cmocka_unit_test(keeps_outcomes_until_acknowledged),
        cmocka_unit_test(streams_a_log_under_credit),
        cmocka_unit_test(asks_for_its_first_credit_too),
        cmocka_unit_test(sends_a_lost_piece_again),
        cmocka_unit_test(ends_a_log_that_is_longer_than_its_result_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
