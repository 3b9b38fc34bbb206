/* Attempts that must not run beside another: they begin late, and end in time. */
#include "stage.h"

static msg_assign alone(stage *s, const char *script)
{
    static buf spec;
    msg_assign a = order(s, 1, commit(s), NULL);

    buf_clear(&spec);
    plan_spec_write(&(msg_spec){ .script = slice_of(script), .alone = true }, &spec);
    a.spec = buf_slice(&spec);
    a.alone = true;
    a.until_ms = 5000;
    return a;
}

static void starts_only_when_it_is_looked_at_again(void **state)
{
    stage *s = *state;
    msg_assign a = alone(s, "echo here");

    begin(s, &a);
    assert_int_equal(s->said_n, 0);
    assert_int_equal(executor_deadline_ms(s->ex), 0);
    assert_int_equal(executor_until_ms(s->ex), 5000);
    give(s, &(msg){ .type = MSG_renew, .renew = { .task = 1, .att = 1, .until_ms = 9000 } });
    assert_int_equal(executor_until_ms(s->ex), 9000);
    give(s, &(msg){ .type = MSG_renew, .renew = { .task = 1, .att = 2, .until_ms = 9999 } });
    give(s, &(msg){ .type = MSG_renew, .renew = { .task = 1, .att = 1, .until_ms = 1 } });
    assert_int_equal(executor_until_ms(s->ex), 9000);
    assert_int_equal(finish(s)->result.verdict, VERDICT_PASSED);
    read_log(s, 1);
    assert_string_equal(s->log, "here\n");
    assert_true(executor_until_ms(s->ex) == ATTEMPT_NEVER);
}

static void one_that_may_not_start_any_more_does_not(void **state)
{
    stage *s = *state;
    msg_assign a = alone(s, "echo here");
    const msg *m;

    begin(s, &a);
    executor_expire(s->ex, now_ms());
    m = finish(s);
    assert_int_equal(m->result.verdict, VERDICT_CANCELED);
    assert_non_null(strstr(arena_str(&s->mem, m->result.msg), "no word from the dispatcher"));
    read_log(s, 1);
    assert_string_equal(s->log, "");
}

static void one_that_runs_ends_at_once_with_all_it_started(void **state)
{
    stage *s = *state;
    msg_assign a = alone(s, "trap '' TERM; (trap '' TERM; setsid sleep 1000) & echo here; wait");
    int64_t before_ms;

    begin(s, &a);
    await_output(s);
    before_ms = now_ms();
    executor_expire(s->ex, now_ms());
    assert_int_equal(finish(s)->result.verdict, VERDICT_CANCELED);
    assert_true(now_ms() - before_ms < ATTEMPT_GRACE_MS); /* no grace */
}

static void a_grace_under_way_ends_then_too(void **state)
{
    stage *s = *state;
    msg_assign a = alone(s, "trap '' TERM; echo here; while :; do sleep .1; done");
    int64_t before_ms;

    begin(s, &a);
    await_output(s);
    before_ms = now_ms();
    give(s, &(msg){ .type = MSG_cancel, .cancel = { .task = 1, .att = 1, .grace_ms = HANG_MS } });
    executor_expire(s->ex, now_ms());
    assert_int_equal(finish(s)->result.verdict, VERDICT_CANCELED);
    assert_true(now_ms() - before_ms < HANG_MS / 2);
}

static void a_dispatcher_that_knows_no_groups_gets_it_back(void **state)
{
    stage *s = *state;
    msg_assign a = alone(s, "echo here");

    a.alone = false;
    begin(s, &a);
    assert_int_equal(s->said[0].type, MSG_nack);
    assert_int_equal(s->said[0].nack.code, CODE_SPEC);
}

static void other_work_has_no_end(void **state)
{
    stage *s = *state;
    msg_assign a = order(s, 1, commit(s), NULL);

    a.spec = spec_of("echo here");
    begin(s, &a);
    assert_true(executor_until_ms(s->ex) == ATTEMPT_NEVER);
    assert_int_equal(finish(s)->result.verdict, VERDICT_PASSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(starts_only_when_it_is_looked_at_again),
        TEST(one_that_may_not_start_any_more_does_not),
        TEST(one_that_runs_ends_at_once_with_all_it_started),
        TEST(a_grace_under_way_ends_then_too),
        TEST(a_dispatcher_that_knows_no_groups_gets_it_back),
        TEST(other_work_has_no_end),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
