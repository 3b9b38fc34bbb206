/* The agent and its executors: who gets an attempt, and how it ends. */
#include "agent_world.h"

static void runs_a_task(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    w->log_n = 5;
    exec_says(w, 1, result(1, 1, 5));
    hear(w, result_ok(1, 1));
    assert_int_equal(agent_held(w->a), 0);
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> slot 1: result\n"
             "  result 1-1 passed log 5 of 5, items 0 from 0\n"
             "> result_ok\n"
             "  delete 1-1\n");
    close_world(w);
}

static void waits_for_an_executor_that_is_starting(void **fixture)
{
    world *w = open_world(1);

    (void)fixture;
    w->quiet = true;
    step(w, (agent_event){ .kind = AGENT_BEGIN });
    hear(w, welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 }));
    w->quiet = false;
    hear(w, assign(1, 1, TASK_SCRIPT));
    step(w, (agent_event){ .kind = AGENT_EXEC_UP, .slot = 1 });
    exec_says(w, 1, idle_hb());
    check(w, "> assign\n"
             "> slot 1: hb\n"
             "  slot 1: assign 1-1\n");
    close_world(w);
}

static void answers_duplicates_and_starts_nothing_twice(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, assign(1, 2, TASK_SCRIPT));
    hear(w, assign(1, 2, TASK_SCRIPT));
    exec_says(w, 1, start(1, 2));
    hear(w, assign(1, 2, TASK_SCRIPT));
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, result(1, 2, 0));
    hear(w, assign(1, 2, TASK_SCRIPT));
    hear(w, result_ok(1, 2));
    hear(w, result_ok(1, 2));
    hear(w, assign(1, 2, TASK_SCRIPT));
    check(w, "> assign\n"
             "  slot 1: assign 1-2\n"
             "> assign\n"
             "> slot 1: start\n"
             "  start 1-2\n"
             "> assign\n"
             "  start 1-2\n"
             "> assign\n"
             "> slot 1: result\n"
             "  result 1-2 passed log 0 of 0, items 0 from 0\n"
             "> assign\n"
             "  result 1-2 passed log 0 of 0, items 0 from 0\n"
             "> result_ok\n"
             "  delete 1-2\n"
             "> result_ok\n"
             "> assign\n");
    close_world(w);
}

static void kills_the_old_attempt_before_a_greater_one(void **fixture)
{
    world *w = ready_world(2);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, assign(1, 2, TASK_SCRIPT));
    exec_says(w, 1, result(1, 1, 0));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> assign\n"
             "  slot 1: cancel 1-1\n"
             "> slot 1: result\n"
             "  delete 1-1\n"
             "  slot 1: assign 1-2\n");
    close_world(w);
}

static void prefers_the_slot_with_a_warm_workspace(void **fixture)
{
    world *w = ready_world(3);
    msg other = assign(3, 1, TASK_SCRIPT);

    (void)fixture;
    other.assign.job = SLICE("lint");
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, other);
    exec_says(w, 1, result(1, 1, 0));
    exec_says(w, 2, result(3, 1, 0));
    other.assign.task = 4;
    hear(w, other);
    other.assign.task = 5;
    other.assign.repo = SLICE("another");
    hear(w, other);
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> assign\n"
             "  slot 2: assign 3-1\n"
             "> slot 1: result\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n"
             "> slot 2: result\n"
             "  result 3-1 passed log 0 of 0, items 0 from 0\n"
             "> assign\n"
             "  slot 2: assign 4-1\n"
             "> assign\n"
             "  slot 3: assign 5-1\n");
    close_world(w);
}

static void ends_what_is_fenced(void **fixture)
{
    world *w = ready_world(1);
    rec_held dropped = { .task = 2, .att = 1, .code = CODE_STALE };

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    hear(w, (msg){ .type = MSG_fenced, .fenced = { .task = 1, .att = 1, .code = CODE_STALE } });
    hear(w, assign(2, 1, TASK_SCRIPT));
    exec_says(w, 1, result(1, 1, 0));
    hear(w, (msg){ .type = MSG_hb_ok, .hb_ok = { .n = 1, .ep = 1, .drop = { &dropped, 1 } } });
    exec_says(w, 1, (msg){ .type = MSG_nack, .nack = { .task = 2, .att = 1, .code = CODE_LOST } });
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> fenced\n"
             "  slot 1: cancel 1-1\n"
             "> assign\n"
             "> slot 1: result\n"
             "  delete 1-1\n"
             "  slot 1: assign 2-1\n"
             "> hb_ok\n"
             "  slot 1: cancel 2-1\n"
             "> slot 1: nack\n"
             "  delete 2-1\n");
    close_world(w);
}

static void relays_nacks_and_repeats_them(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, (msg){ .type = MSG_nack, .nack = { .task = 1, .att = 1, .code = CODE_REPO } });
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, assign(1, 2, TASK_SCRIPT));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: nack\n"
             "  nack 1-1 REPO\n"
             "  delete 1-1\n"
             "> assign\n"
             "  nack 1-1 REPO\n"
             "> assign\n"
             "  slot 1: assign 1-2\n");
    close_world(w);
}

/* An older attempt that ends later does not make it forget what it gave back of the same task. */
static void starts_nothing_that_it_gave_back(void **fixture)
{
    world *w = ready_world(2);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, (msg){ .type = MSG_cancel, .cancel = { .task = 1, .att = 2 } });
    hear(w, assign(1, 2, TASK_SCRIPT)); /* came late */
    exec_says(w, 1, result(1, 1, 0));
    hear(w, assign(1, 2, TASK_SCRIPT));
    hear(w, assign(1, 3, TASK_SCRIPT));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> cancel\n"
             "  nack 1-2 LOST\n"
             "> assign\n"
             "  slot 1: cancel 1-1\n"
             "  nack 1-2 LOST\n"
             "> slot 1: result\n"
             "  delete 1-1\n"
             "> assign\n"
             "  nack 1-2 LOST\n"
             "> assign\n"
             "  slot 1: assign 1-3\n");
    close_world(w);
}

static void cancels(void **fixture)
{
    world *w = ready_world(1);
    const msg one = { .type = MSG_cancel, .cancel = { .task = 1, .att = 1 } };
    const msg two = { .type = MSG_cancel, .cancel = { .task = 2, .att = 1 } };
    const msg nine = { .type = MSG_cancel, .cancel = { .task = 9, .att = 1 } };

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, one);
    hear(w, (msg){ .type = MSG_fenced, .fenced = { .task = 1, .att = 1, .code = CODE_STALE } });
    hear(w, assign(2, 1, TASK_SCRIPT)); /* waits for the slot */
    hear(w, two);
    hear(w, two);
    hear(w, nine);
    hear(w, result_ok(2, 1)); /* it never had a spool */
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> cancel\n"
             "  slot 1: cancel 1-1\n"
             "> fenced\n"
             "  slot 1: cancel 1-1\n"
             "> assign\n"
             "> cancel\n"
             "  result 2-1 canceled log 0 of 0, items 0 from 0\n"
             "> cancel\n"
             "> cancel\n"
             "  nack 9-1 LOST\n"
             "> result_ok\n");
    close_world(w);
}

static void gives_back_what_a_lost_executor_had(void **fixture)
{
    world *w = ready_world(1);
    msg done = result(2, 1, 0);

    (void)fixture;
    pass(w, 1);
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    step(w, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = 1 });
    pass(w, 200);
    step(w, (agent_event){ .kind = AGENT_EXEC_UP, .slot = 1 });
    exec_says(w, 1, idle_hb());
    hear(w, assign(2, 1, TASK_SCRIPT));
    w->result = &done; /* it wrote the result, and could not say so */
    step(w, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = 1 });
    check(w, "> 1 ms\n"
             "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "  nack 1-1 LOST\n"
             "  delete 1-1\n"
             "  \"executor of slot 1 ended; starting another\"\n"
             "> 200 ms\n"
             "  spawn 1\n"
             "> slot 1: hb\n"
             "> assign\n"
             "  slot 1: assign 2-1\n"
             "  result 2-1 passed log 0 of 0, items 0 from 0\n"
             "  \"executor of slot 1 ended; starting another\"\n");
    close_world(w);
}

/* The dispatcher would wait for it until the lease ends. */
static void gives_back_what_ended_between_hello_and_welcome(void **fixture)
{
    world *w = ready_world(2);
    rec_held both[] = { { .task = 1, .att = 1 }, { .task = 2, .att = 1 } };

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, assign(2, 1, TASK_SCRIPT));
    exec_says(w, 2, result(2, 1, 0));
    hear(w, result_ok(2, 1));
    hear(w, (msg){ .type = MSG_hb_ok, .hb_ok = { .ep = 2, .n = 1 } }); /* it started again */
    pass(w, 200);
    step(w, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = 1 });
    hear(w, welcome(2, (rec_held_list){ both, 2 }, (rec_held_list){ 0 })); /* of an old hello */
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> assign\n"
             "  slot 2: assign 2-1\n"
             "> slot 2: result\n"
             "  result 2-1 passed log 0 of 0, items 0 from 0\n"
             "> result_ok\n"
             "  delete 2-1\n"
             "> hb_ok\n"
             "> 200 ms\n"
             "  hello 1-1/accepted\n"
             "  delete 1-1\n"
             "  \"executor of slot 1 ended; starting another\"\n"
             "> welcome\n"
             "  save 1 2\n"
             "  nack 1-1 LOST\n");
    close_world(w);
}

/* An executor spools what it has to say, says it, and may be killed between. */
static void reads_what_a_lost_executor_could_not_say(void **fixture)
{
    world *w = ready_world(1);
    rec_item item = { .verdict = VERDICT_FAILED, .exit = 3 };
    msg plan = { .type = MSG_plan, .plan = { .task = 1, .att = 1, .last = true } };
    msg outcomes = { .type = MSG_tests,
                     .tests = { .task = 2, .att = 1, .items = { .v = &item, .n = 1 } } };
    msg planned = result(1, 1, 0), tested = result(2, 1, 0);

    (void)fixture;
    tested.result.from = 1;
    w->plan[0] = plan;
    w->plan_n = 1;
    w->tests[0] = outcomes;
    w->tests_n = 1;
    pass(w, 1);
    hear(w, assign(1, 1, TASK_PLAN));
    hear(w, assign(2, 1, TASK_TESTS));
    w->result = &planned;
    step(w, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = 0 });
    w->result = &tested;
    step(w, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = 1 });
    check(w, "> 1 ms\n"
             "> assign\n"
             "  slot 0: assign 1-1\n"
             "> assign\n"
             "  slot 1: assign 2-1\n"
             "  plan 1-1 part 0\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n"
             "  \"executor of slot 0 ended; starting another\"\n"
             "  tests 2-1 from 0: 1\n"
             "  result 2-1 passed log 0 of 0, items 1 from 0\n"
             "  \"executor of slot 1 ended; starting another\"\n");
    close_world(w);
}

static void takes_an_end_that_nobody_asked_for_as_lost(void **fixture)
{
    world *w = ready_world(1);
    msg ended = result(1, 1, 0);

    (void)fixture;
    ended.result.verdict = VERDICT_CANCELED;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, ended);
    hear(w, assign(1, 2, TASK_SCRIPT));
    hear(w, (msg){ .type = MSG_cancel, .cancel = { .task = 1, .att = 2 } });
    ended.result.att = 2;
    exec_says(w, 1, ended);
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: result\n"
             "  nack 1-1 LOST\n"
             "  delete 1-1\n"
             "> assign\n"
             "  slot 1: assign 1-2\n"
             "> cancel\n"
             "  slot 1: cancel 1-2\n"
             "> slot 1: result\n"
             "  result 1-2 canceled log 0 of 0, items 0 from 0\n");
    close_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_a_task),
        cmocka_unit_test(waits_for_an_executor_that_is_starting),
        cmocka_unit_test(answers_duplicates_and_starts_nothing_twice),
        cmocka_unit_test(kills_the_old_attempt_before_a_greater_one),
        cmocka_unit_test(prefers_the_slot_with_a_warm_workspace),
        cmocka_unit_test(ends_what_is_fenced),
        cmocka_unit_test(relays_nacks_and_repeats_them),
        cmocka_unit_test(starts_nothing_that_it_gave_back),
        cmocka_unit_test(cancels),
        cmocka_unit_test(gives_back_what_a_lost_executor_had),
        cmocka_unit_test(gives_back_what_ended_between_hello_and_welcome),
        cmocka_unit_test(reads_what_a_lost_executor_could_not_say),
        cmocka_unit_test(takes_an_end_that_nobody_asked_for_as_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
