/* The agent and its dispatcher: coming, going, restarting, leaving. */
#include "agent_world.h"

static void registers_and_beats(void **fixture)
{
    world *w = open_world(1);

    (void)fixture;
    step(w, (agent_event){ .kind = AGENT_BEGIN });
    hear(w, welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 }));
    pass(w, 1000);
    hear(w, (msg){ .type = MSG_hb_ok, .hb_ok = { .n = 1, .ep = 1 } });
    pass(w, 1000);
    check(w, "  spawn 0\n"
             "  spawn 1\n"
             "  hello\n"
             "> welcome\n"
             "  save 1 1\n"
             "  \"registered\"\n"
             "> 1000 ms\n"
             "  hb\n"
             "> hb_ok\n"
             "> 1000 ms\n"
             "  hb\n");
    close_world(w);
}

/* The fleet has grown: the next heartbeat stands, then they come less often; and it shrinks. */
static void takes_over_the_times_of_an_answer(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    pass(w, 1000);
    hear(w, (msg){ .type = MSG_hb_ok,
                   .hb_ok = { .ep = 1, .hb_ms = 5000, .suspect_ms = 20000, .lease_ms = 60000 } });
    pass(w, 1000);
    pass(w, 4999);
    hear(w, (msg){ .type = MSG_hb_ok, .hb_ok = { .ep = 1 } });
    pass(w, 1);
    pass(w, 14000);
    hear(w, (msg){ .type = MSG_hb_ok,
                   .hb_ok = { .ep = 1, .hb_ms = 1000, .suspect_ms = 4000, .lease_ms = 15000 } });
    pass(w, 1000);
    check(w, "> 1000 ms\n"
             "  hb\n"
             "> hb_ok\n"
             "> 1000 ms\n"
             "  hb\n"
             "> 4999 ms\n"
             "> hb_ok\n"
             "> 1 ms\n"
             "  hb\n"
             "> 14000 ms\n"
             "  hb\n"
             "  hb\n"
             "> hb_ok\n"
             "> 1000 ms\n"
             "  hb\n");
    close_world(w);
}

static void goes_on_while_the_dispatcher_is_silent(void **fixture)
{
    world *w = ready_world(1);
    rec_held kept = { .task = 1, .att = 1 };

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    pass(w, 3900);
    pass(w, 700);
    exec_says(w, 1, result(1, 1, 0));
    hear(w, welcome(1, (rec_held_list){ &kept, 1 }, (rec_held_list){ 0 }));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> 3900 ms\n"
             "  hb 1-1/running\n"
             "  hb 1-1/running\n"
             "  hb 1-1/running\n"
             "> 700 ms\n"
             "  \"connection to the dispatcher lost; what runs goes on\"\n"
             "  reconnect\n"
             "  hello 1-1/running\n"
             "> slot 1: result\n"
             "> welcome\n"
             "  \"registered again\"\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n");
    close_world(w);
}

static void follows_a_restarted_dispatcher(void **fixture)
{
    world *w = ready_world(1);
    msg again = assign(3, 1, TASK_SCRIPT), old = assign(4, 1, TASK_SCRIPT);
    rec_held kept = { .task = 1, .att = 1 };

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    pass(w, 10);
    hear(w, (msg){ .type = MSG_who });
    pass(w, 300);
    hear(w, welcome(2, (rec_held_list){ &kept, 1 }, (rec_held_list){ 0 }));
    exec_says(w, 1, result(1, 1, 0));
    hear(w, result_ok(1, 1));
    hear(w, old);
    again.assign.ep = 2;
    hear(w, again);
    hear(w, (msg){ .type = MSG_who });
    pass(w, 300);
    hear(w, welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 }));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> 10 ms\n"
             "> who\n"
             "> 300 ms\n"
             "  hello 1-1/running\n"
             "> welcome\n"
             "  save 1 2\n"
             "  \"registered again\"\n"
             "  start 1-1\n"
             "> slot 1: result\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n"
             "> result_ok\n"
             "  delete 1-1\n"
             "> assign\n"
             "> assign\n"
             "  slot 1: assign 3-1\n"
             "> who\n"
             "> 300 ms\n"
             "  hello 3-1/accepted\n"
             "> welcome\n"
             "  \"an outdated dispatcher (epoch 1, newest 2) answered; ignored\"\n");
    close_world(w);
}

static void does_nothing_in_an_epoch_that_it_cannot_save(void **fixture)
{
    world *w = ready_world(1);
    rec_held kept = { .task = 1, .att = 1 };
    msg next = assign(2, 1, TASK_SCRIPT);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    hear(w, (msg){ .type = MSG_who });
    pass(w, 300);
    w->disk_full = true;
    hear(w, welcome(2, (rec_held_list){ &kept, 1 }, (rec_held_list){ 0 }));
    exec_says(w, 1, result(1, 1, 0));
    next.assign.ep = 2;
    hear(w, next);
    pass(w, 2000);
    hear(w, welcome(2, (rec_held_list){ &kept, 1 }, (rec_held_list){ 0 }));
    w->disk_full = false;
    pass(w, 2000);
    hear(w, welcome(2, (rec_held_list){ &kept, 1 }, (rec_held_list){ 0 }));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> who\n"
             "> 300 ms\n"
             "  hello 1-1/running\n"
             "> welcome\n"
             "  save 1 2 fails\n"
             "> slot 1: result\n"
             "> assign\n"
             "> 2000 ms\n"
             "  hello 1-1/done\n"
             "> welcome\n"
             "  save 1 2 fails\n"
             "> 2000 ms\n"
             "  hello 1-1/done\n"
             "> welcome\n"
             "  save 1 2\n"
             "  \"registered again\"\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n");
    close_world(w);
}

static void starts_afresh_in_another_history(void **fixture)
{
    world *w = ready_world(2);
    msg m = welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 });

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, assign(2, 1, TASK_SCRIPT));
    exec_says(w, 2, result(2, 1, 0));
    hear(w, (msg){ .type = MSG_who });
    pass(w, 200);
    m.welcome.hist = SLICE(HIST2);
    hear(w, m);
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, result(1, 1, 0));
    step(w, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = 1 });
    step(w, (agent_event){ .kind = AGENT_EXEC_UP, .slot = 1 });
    exec_says(w, 1, idle_hb());
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> assign\n"
             "  slot 2: assign 2-1\n"
             "> slot 2: result\n"
             "  result 2-1 passed log 0 of 0, items 0 from 0\n"
             "> who\n"
             "> 200 ms\n"
             "  hello 1-1/accepted 2-1/done\n"
             "> welcome\n"
             "  slot 1: cancel 1-1\n"
             "  delete 2-1\n"
             "  slot 0: bye\n"
             "  slot 2: bye\n"
             "  save 2 1\n"
             "  \"registered again\"\n"
             "> assign\n"
             "> slot 1: result\n"
             "  delete 1-1\n"
             "  slot 1: bye\n" /* the old one takes another 1-1 for the same */
             "  spawn 1\n"
             "> slot 1: hb\n"
             "  slot 1: assign 1-1\n");
    close_world(w);
}

static void drains(void **fixture)
{
    world *w = ready_world(1);
    rec_held kept = { .task = 1, .att = 1 };

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    pass(w, 300);
    step(w, (agent_event){ .kind = AGENT_DRAIN });
    hear(w, welcome(1, (rec_held_list){ &kept, 1 }, (rec_held_list){ 0 }));
    hear(w, assign(2, 1, TASK_SCRIPT));
    exec_says(w, 1, result(1, 1, 0));
    hear(w, result_ok(1, 1));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> 300 ms\n"
             "  \"draining: finishing what is held\"\n"
             "  hello(drain) 1-1/accepted\n"
             "> welcome\n"
             "> assign\n"
             "  nack 2-1 DRAIN\n"
             "> slot 1: result\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n"
             "> result_ok\n"
             "  delete 1-1\n"
             "  bye\n"
             "  slot 0: bye\n"
             "  slot 1: bye\n"
             "  exit: drained\n");
    close_world(w);
}

static void stops_and_gives_back(void **fixture)
{
    world *w = ready_world(2);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    hear(w, assign(2, 1, TASK_SCRIPT));
    step(w, (agent_event){ .kind = AGENT_STOP });
    step(w, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = 0 });
    step(w, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = 2 });
    pass(w, AGENT_STOP_MS);
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> assign\n"
             "  slot 2: assign 2-1\n"
             "  slot 0: bye\n"
             "  slot 1: bye\n"
             "  slot 2: bye\n"
             "  delete 2-1\n"
             "> 3000 ms\n"
             "  hb 1-1/accepted\n"
             "  hb 1-1/accepted\n"
             "  hb 1-1/accepted\n"
             "  kill 1\n"
             "  delete 1-1\n"
             "  bye\n"
             "  exit: stopped\n");
    close_world(w);
}

static void replaces_an_earlier_agents_executor_when_it_is_idle(void **fixture)
{
    world *w = open_world(1);

    (void)fixture;
    step(w, (agent_event){ .kind = AGENT_EXEC_UP, .slot = 1 });
    step(w, (agent_event){ .kind = AGENT_BEGIN });
    exec_says(w, 1, idle_hb());
    step(w, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = 1 });
    check(w, "  spawn 0\n"
             "  hello\n"
             "> slot 1: hb\n"
             "  slot 1: bye\n"
             "  spawn 1\n");
    close_world(w);
}

static void heeds_a_refusal(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, (msg){ .type = MSG_refuse, .refuse = { .code = CODE_STALE_DB, .retry_ms = 500 } });
    pass(w, 700);
    hear(w, (msg){ .type = MSG_refuse, .refuse = { .code = CODE_VERSION } });
    check(w, "> refuse\n"
             "  \"the dispatcher refuses this runner (STALE_DB); trying again\"\n"
             "> 700 ms\n"
             "  hello\n"
             "> refuse\n"
             "  exit: VERSION\n");
    close_world(w);
}

/* The hello of a process that was killed may be read after that of the next one. */
static void believes_the_second_time_that_it_was_replaced(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, (msg){ .type = MSG_refuse, .refuse = { .code = CODE_REPLACED } });
    pass(w, 3000);
    hear(w, (msg){ .type = MSG_refuse, .refuse = { .code = CODE_REPLACED } });
    check(w, "> refuse\n"
             "  \"another process with this runner's id registered; trying again\"\n"
             "> 3000 ms\n"
             "  hello\n"
             "> refuse\n"
             "  slot 0: bye\n"
             "  slot 1: bye\n"
             "  exit: REPLACED\n");
    close_world(w);
}

static void adopts_what_an_earlier_agent_left(void **fixture)
{
    world *w = open_world(1);
    msg found[4];
    rec_held held = { .task = 1, .att = 1, .state = HELD_RUNNING };
    rec_item item = { .verdict = VERDICT_PASSED };
    msg done = result(2, 1, 0);

    (void)fixture;
    for (uint64_t i = 0; i < 4; i++)
        found[i] = assign(i + 1, 1, TASK_TESTS);
    w->tests[0] =
        (msg){ .type = MSG_tests, .tests = { .task = 1, .att = 1, .items = { &item, 1 } } };
    w->tests_n = 1;
    w->result = &done;
    for (uint64_t i = 0; i < 3; i++)
        step(w, (agent_event){ .kind = AGENT_FOUND,
                               .task = i + 1,
                               .att = 1,
                               .msg = &found[i],
                               .has_result = i == 1 });
    step(w, (agent_event){ .kind = AGENT_FOUND, .task = 9, .att = 1 }); /* not readable */
    step(w, (agent_event){ .kind = AGENT_EXEC_UP, .slot = 3 });
    step(w, (agent_event){ .kind = AGENT_BEGIN });
    exec_says(w, 3, (msg){ .type = MSG_hb, .hb = { .held = { &held, 1 } } });
    hear(w, welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 }));
    exec_says(w, 3, result(1, 1, 0));
    check(w, "  delete 9-1\n"
             "  spawn 0\n"
             "  spawn 1\n"
             "> slot 3: hb\n"
             "  delete 3-1\n"
             "  hello 1-1/running 2-1/done\n"
             "> welcome\n"
             "  save 1 1\n"
             "  \"registered\"\n"
             "  start 1-1\n"
             "  tests 1-1 from 0: 1\n"
             "  result 2-1 passed log 0 of 0, items 1 from 0\n"
             "> slot 3: result\n"
             "  result 1-1 passed log 0 of 0, items 1 from 0\n"
             "  slot 3: bye\n");
    close_world(w);
}

static void finds_what_ended_while_it_looked_for_executors(void **fixture)
{
    world *w = open_world(1);
    msg found = assign(1, 1, TASK_TESTS), done = result(1, 1, 0);

    (void)fixture;
    step(w, (agent_event){ .kind = AGENT_FOUND, .task = 1, .att = 1, .msg = &found });
    w->result = &done; /* its executor ends it now, and leaves */
    step(w, (agent_event){ .kind = AGENT_BEGIN });
    step(w, (agent_event){ .kind = AGENT_TICK });
    hear(w, welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 }));
    check(w, "  spawn 0\n"
             "  spawn 1\n"
             "  hello 1-1/done\n"
             "> welcome\n"
             "  save 1 1\n"
             "  \"registered\"\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n");
    close_world(w);
}

/* ---- executors ---- */

/* The dispatcher and the executor of slot 0 answer; that of slot 1 when it is told to. */
static void live(world *w, int seconds, bool slot_1)
{
    w->quiet = true;
    for (int i = 0; i < seconds; i++) {
        pass(w, 1000);
        hear(w, (msg){ .type = MSG_hb_ok, .hb_ok = { .ep = 1 } });
        exec_says(w, 0, idle_hb());
        if (slot_1)
            exec_says(w, 1, idle_hb());
    }
    w->quiet = false;
}

static void ends_a_hung_executor_before_its_task_is_lost(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    live(w, 600, true);
    assert_int_equal(w->asked[0], 40);
    live(w, 119, false);
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n");
    pass(w, 16000);
    exec_says(w, 1, result(1, 1, 0)); /* too late */
    hear(w, welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 }));
    step(w, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = 1 });
    assert_non_null(strstr(buf_str(&w->story),
                           "  \"executor of slot 1 is hung; it is ended with all it started\"\n"
                           "  kill 1\n"));
    assert_non_null(strstr(buf_str(&w->story), "> slot 1: result\n"
                                               "> welcome\n"
                                               "  \"registered again\"\n"
                                               "  start 1-1\n"
                                               "  nack 1-1 LOST\n"
                                               "  delete 1-1\n"
                                               "  \"executor of slot 1 ended; starting another\"\n"
                                               "  spawn 1\n"));
    close_world(w);
}

/* A checkout holds its one thread up; and what is heard of it at all counts. */
static void is_patient_with_an_executor_that_makes_a_workspace(void **fixture)
{
    world *w = ready_world(1);

    (void)fixture;
    hear(w, assign(1, 1, TASK_SCRIPT));
    live(w, 1700, false);
    exec_says(w, 1, start(1, 1));
    live(w, 110, false);
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n");
    close_world(w);
}

/* It may have the task that was found, so that is not given up before its executor has ended. */
static void ends_a_found_executor_that_says_nothing(void **fixture)
{
    world *w = open_world(1);
    msg found = assign(1, 1, TASK_SCRIPT);

    (void)fixture;
    step(w, (agent_event){ .kind = AGENT_FOUND, .task = 1, .att = 1, .msg = &found });
    step(w, (agent_event){ .kind = AGENT_EXEC_UP, .slot = 1 });
    step(w, (agent_event){ .kind = AGENT_BEGIN });
    pass(w, 4999);
    pass(w, 1);
    check(w, "  spawn 0\n"
             "> 4999 ms\n"
             "> 1 ms\n"
             "  \"executor of slot 1 is hung; it is ended with all it started\"\n"
             "  kill 1\n"
             "  delete 1-1\n"
             "  hello\n");
    close_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registers_and_beats),
        cmocka_unit_test(takes_over_the_times_of_an_answer),
        cmocka_unit_test(goes_on_while_the_dispatcher_is_silent),
        cmocka_unit_test(follows_a_restarted_dispatcher),
        cmocka_unit_test(does_nothing_in_an_epoch_that_it_cannot_save),
        cmocka_unit_test(starts_afresh_in_another_history),
        cmocka_unit_test(drains),
        cmocka_unit_test(stops_and_gives_back),
        cmocka_unit_test(replaces_an_earlier_agents_executor_when_it_is_idle),
        cmocka_unit_test(heeds_a_refusal),
        cmocka_unit_test(believes_the_second_time_that_it_was_replaced),
        cmocka_unit_test(adopts_what_an_earlier_agent_left),
        cmocka_unit_test(finds_what_ended_while_it_looked_for_executors),
        cmocka_unit_test(ends_a_hung_executor_before_its_task_is_lost),
        cmocka_unit_test(is_patient_with_an_executor_that_makes_a_workspace),
        cmocka_unit_test(ends_a_found_executor_that_says_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
