#include "agent_world.h"

#define CASES 300 /* of 1 KiB: more than two messages hold */

static rec_test_case cases[CASES];
static char message[1000];

static msg tests_of(rec_item *items, size_t n, uint64_t from, uint64_t cases_from, size_t cases_n)
{
    return (msg){ .type = MSG_tests,
                  .tests = { .task = 1,
                             .att = 1,
                             .from = from,
                             .items = { items, n },
                             .cases_from = cases_from,
                             .cases = { cases + cases_from, cases_n } } };
}

static msg tests_ok(uint64_t next, uint64_t cases_n)
{
    return (msg){ .type = MSG_tests_ok,
                  .tests_ok = { .task = 1, .att = 1, .next = next, .cases = cases_n } };
}

static world *begun(void)
{
    world *w = ready_world(1);

    hear(w, assign(1, 1, TASK_TESTS));
    exec_says(w, 1, start(1, 1));
    buf_clear(&w->story);
    return w;
}

static void few_cases_go_with_the_result(void **fixture)
{
    world *w = begun();
    rec_item items[2] = { { .verdict = VERDICT_PASSED, .cases = 2 },
                          { .verdict = VERDICT_PASSED, .cases = 3 } };
    msg done = result(1, 1, 0);

    (void)fixture;
    done.result.items = (rec_item_list){ items, 2 };
    done.result.cases = (rec_test_case_list){ cases, 5 };
    exec_says(w, 1, done);
    hear(w, result_ok(1, 1));
    check(w, "> slot 1: result\n"
             "  result 1-1 passed log 0 of 0, items 2 from 0\n"
             "    cases from 0: 5\n"
             "> result_ok\n"
             "  delete 1-1\n");
    close_world(w);
}

static void an_outcome_goes_behind_its_last_case(void **fixture)
{
    world *w = begun();
    rec_item items[1] = { { .verdict = VERDICT_PASSED, .cases = CASES } };

    (void)fixture;
    exec_says(w, 1, tests_of(NULL, 0, 0, 0, 200)); /* the file goes on: nothing to tell yet */
    exec_says(w, 1, tests_of(items, 1, 0, 200, 100));
    hear(w, tests_ok(0, 92));
    hear(w, tests_ok(0, 92)); /* again: nothing new */
    hear(w, tests_ok(0, 184));
    hear(w, tests_ok(0, 276));
    exec_says(w, 1, result(1, 1, 0));
    hear(w, tests_ok(1, 0));
    hear(w, result_ok(1, 1));
    check(w, "> slot 1: tests\n"
             "> slot 1: tests\n"
             "  tests 1-1 from 0: 0\n"
             "    cases from 0: 92\n"
             "> tests_ok\n"
             "  tests 1-1 from 0: 0\n"
             "    cases from 92: 92\n"
             "> tests_ok\n"
             "> tests_ok\n"
             "  tests 1-1 from 0: 0\n"
             "    cases from 184: 92\n"
             "> tests_ok\n"
             "  tests 1-1 from 0: 1\n"
             "    cases from 276: 24\n"
             "> slot 1: result\n"
             "  result 1-1 passed log 0 of 0, items 1 from 0\n"
             "    cases from 276: 24\n"
             "> tests_ok\n"
             "> result_ok\n"
             "  delete 1-1\n");
    close_world(w);
}

/* The dispatcher may have started anew, and forgotten how many had come. */
static void what_is_not_acknowledged_begins_again_with_the_file(void **fixture)
{
    world *w = begun();
    rec_item items[1] = { { .verdict = VERDICT_PASSED, .cases = CASES } };

    (void)fixture;
    exec_says(w, 1, tests_of(items, 0, 0, 0, CASES));
    exec_says(w, 1, tests_of(items, 1, 0, CASES, 0));
    hear(w, tests_ok(0, 92));
    pass(w, 1000);
    hear(w, tests_ok(0, 184));
    check(w, "> slot 1: tests\n"
             "> slot 1: tests\n"
             "  tests 1-1 from 0: 0\n"
             "    cases from 0: 92\n"
             "> tests_ok\n"
             "  tests 1-1 from 0: 0\n"
             "    cases from 92: 92\n"
             "> 1000 ms\n"
             "  hb 1-1/running\n"
             "  tests 1-1 from 0: 0\n"
             "    cases from 0: 92\n"
             "> tests_ok\n"
             "  tests 1-1 from 0: 0\n"
             "    cases from 184: 92\n");
    close_world(w);
}

/* What stands between is still to be read from the spool; what was known is not kept twice. */
static void a_gap_is_waited_for(void **fixture)
{
    world *w = begun();
    rec_item items[2] = { { .verdict = VERDICT_PASSED, .cases = 4 },
                          { .verdict = VERDICT_FAILED, .cases = 1 } };

    (void)fixture;
    exec_says(w, 1, tests_of(items, 1, 0, 2, 2));
    exec_says(w, 1, tests_of(items, 0, 0, 0, 3));
    exec_says(w, 1, tests_of(items, 1, 0, 2, 2));
    exec_says(w, 1, tests_of(items, 2, 0, 0, 5));
    hear(w, tests_ok(1, 0));
    check(w, "> slot 1: tests\n"
             "> slot 1: tests\n"
             "> slot 1: tests\n"
             "  tests 1-1 from 0: 1\n"
             "    cases from 0: 4\n"
             "> slot 1: tests\n"
             "> tests_ok\n"
             "  tests 1-1 from 1: 1\n"
             "    cases from 0: 1\n");
    close_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_cases_go_with_the_result),
        cmocka_unit_test(an_outcome_goes_behind_its_last_case),
        cmocka_unit_test(what_is_not_acknowledged_begins_again_with_the_file),
        cmocka_unit_test(a_gap_is_waited_for),
    };

    memset(message, 'm', sizeof message);
    for (size_t i = 0; i < CASES; i++)
        cases[i] = (rec_test_case){ .name = SLICE("a"),
                                    .verdict = VERDICT_FAILED,
                                    .message = { message, sizeof message } };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
