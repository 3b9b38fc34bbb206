/* The second stream of an attempt: told when its log is through, and before its result. */
#include "agent_world.h"

static msg artifacts_ok(uint64_t off, uint64_t window)
{
    msg m = log_ok(off, window);

    m.log_ok.part = PART_ARTIFACTS;
    return m;
}

/* An attempt that ended with so many bytes of each. */
static world *ended_world(size_t log_n, size_t artifacts_n)
{
    world *w = ready_world(1);
    msg m = result(1, 1, log_n);

    w->quiet = true;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    w->log_n = log_n;
    w->artifacts_n = artifacts_n;
    m.result.artifact_bytes = artifacts_n;
    w->quiet = false;
    exec_says(w, 1, m);
    return w;
}

static void sends_them_behind_the_log_and_before_the_result(void **unused)
{
    world *w = ended_world(20000, 100000);

    (void)unused;
    hear(w, log_ok(20000, 65536));
    hear(w, artifacts_ok(100000, 65536));
    hear(w, result_ok(1, 1));
    check(w, "> slot 1: result\n"
             "  log 1-1 at 0: 20000 eof\n"
             "> log_ok\n"
             "  artifacts 1-1 at 0: 65536\n"
             "  artifacts 1-1 at 65536: 34464 eof\n"
             "> log_ok\n"
             "  result 1-1 passed log 0 of 20000, items 0 from 0\n"
             "> result_ok\n"
             "  delete 1-1\n");
    close_world(w);
}

static void leaves_a_short_log_in_the_result(void **unused)
{
    world *w = ended_world(5, 10);

    (void)unused;
    hear(w, artifacts_ok(10, 65536));
    check(w, "> slot 1: result\n"
             "  artifacts 1-1 at 0: 10 eof\n"
             "> log_ok\n"
             "  result 1-1 passed log 5 of 5, items 0 from 0\n");
    close_world(w);
}

static void waits_for_credit_and_asks_for_it(void **unused)
{
    world *w = ended_world(0, 300000);

    (void)unused;
    hear(w, artifacts_ok(262144, 0));
    pass(w, 1000);
    hear(w, artifacts_ok(262144, 65536));
    check(w, "> slot 1: result\n"
             "  artifacts 1-1 at 0: 65536\n"
             "  artifacts 1-1 at 65536: 65536\n"
             "  artifacts 1-1 at 131072: 65536\n"
             "  artifacts 1-1 at 196608: 65536\n"
             "> log_ok\n"
             "> 1000 ms\n"
             "  hb 1-1/done\n"
             "  artifacts 1-1 at 262144: 0\n"
             "> log_ok\n"
             "  artifacts 1-1 at 262144: 37856 eof\n");
    close_world(w);
}

static void sends_again_what_was_lost(void **unused)
{
    world *w = ended_world(0, 10);

    (void)unused;
    pass(w, 1000);
    hear(w, artifacts_ok(10, 65536));
    hear(w, artifacts_ok(0, 65536)); /* it began anew, and forgot */
    hear(w, artifacts_ok(10, 65536));
    check(w, "> slot 1: result\n"
             "  artifacts 1-1 at 0: 10 eof\n"
             "> 1000 ms\n"
             "  hb 1-1/done\n"
             "  artifacts 1-1 at 0: 10 eof\n"
             "> log_ok\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n"
             "> log_ok\n"
             "  artifacts 1-1 at 0: 10 eof\n"
             "> log_ok\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n");
    close_world(w);
}

static void goes_on_where_a_new_session_knows_them_to_be(void **unused)
{
    world *w = ended_world(0, 100);
    rec_held keep = { .task = 1, .att = 1, .artifact_bytes = 60 };

    (void)unused;
    hear(w, welcome(2, (rec_held_list){ &keep, 1 }, (rec_held_list){ 0 }));
    hear(w, artifacts_ok(100, 65536));
    check(w, "> slot 1: result\n"
             "  artifacts 1-1 at 0: 100 eof\n"
             "> welcome\n"
             "  save 1 2\n"
             "  artifacts 1-1 at 60: 40 eof\n"
             "> log_ok\n"
             "  result 1-1 passed log 0 of 0, items 0 from 0\n");
    close_world(w);
}

/* Another attempt will do better. */
static void gives_up_what_has_a_torn_archive(void **unused)
{
    world *w = ready_world(1);
    msg m = result(1, 1, 0);

    (void)unused;
    hear(w, assign(1, 1, TASK_SCRIPT));
    exec_says(w, 1, start(1, 1));
    m.result.artifact_bytes = 50;
    w->artifacts_n = 20;
    exec_says(w, 1, m);
    hear(w, artifacts_ok(20, 65536));
    check(w, "> assign\n"
             "  slot 1: assign 1-1\n"
             "> slot 1: start\n"
             "  start 1-1\n"
             "> slot 1: result\n"
             "  artifacts 1-1 at 0: 20\n"
             "  nack 1-1 LOST\n"
             "  delete 1-1\n"
             "> log_ok\n");
    close_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_them_behind_the_log_and_before_the_result),
        cmocka_unit_test(leaves_a_short_log_in_the_result),
        cmocka_unit_test(waits_for_credit_and_asks_for_it),
        cmocka_unit_test(sends_again_what_was_lost),
        cmocka_unit_test(goes_on_where_a_new_session_knows_them_to_be),
        cmocka_unit_test(gives_up_what_has_a_torn_archive),
    };

    return cmocka_run_group_tests_name("agent artifacts", tests, NULL, NULL);
}
