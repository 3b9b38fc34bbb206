/* Attempts of a concurrency group: how long the agent lets them run. */
#include "agent_world.h"

#define LEASE_MS 15000
#define BEGAN_MS 1000 /* agent_world's clock at the hello */

typedef struct limit {
    uint64_t assigned, renewed; /* 0: none was sent */
} limit;

static limit found;

/* As step() of agent_world.h, but it keeps what the executor is told. */
static void watch(world *w, agent_event ev)
{
    agent_effects out = { 0 };

    ev.now_ms = w->now;
    agent_step(w->a, &ev, &out);
    found = (limit){ 0 };
    for (size_t i = 0; i < out.n; i++) {
        const msg *m = out.v[i].kind == AGENT_EXEC ? out.v[i].msg : NULL;

        if (m && m->type == MSG_assign)
            found.assigned = m->assign.until_ms;
        else if (m && m->type == MSG_renew)
            found.renewed = m->renew.until_ms;
        carry_out(w, &out.v[i]);
    }
    agent_effects_free(&out);
}

static void watch_msg(world *w, msg m)
{
    watch(w, (agent_event){ .kind = AGENT_MSG, .msg = &m });
}

static msg hb_ok(uint64_t n)
{
    return (msg){ .type = MSG_hb_ok, .hb_ok = { .n = n, .ep = 1 } };
}

static msg alone(uint64_t task, uint64_t att)
{
    msg m = assign(task, att, TASK_SCRIPT);

    m.assign.alone = true;
    return m;
}

/* Registered by the answer to its first hello. */
static world *answered_world(void)
{
    world *w = open_world(1);
    msg m = welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 });

    step(w, (agent_event){ .kind = AGENT_BEGIN });
    step(w, (agent_event){ .kind = AGENT_EXEC_UP, .slot = 1 });
    exec_says(w, 1, idle_hb());
    w->now += 400;
    m.r = 1;
    hear(w, m);
    buf_clear(&w->story);
    return w;
}

static void counts_from_the_sending_of_what_was_answered(void **unused)
{
    world *w = answered_world();

    (void)unused;
    watch_msg(w, alone(1, 1));
    assert_int_equal(found.assigned, BEGAN_MS + LEASE_MS);
    /* Heartbeat 1 lists it, at 2,400; the answer comes later. */
    pass(w, 1000);
    w->now = 2900;
    watch_msg(w, hb_ok(1));
    assert_int_equal(found.renewed, 2400 + LEASE_MS);
    /* The answer to 2 is lost, that to 3 tells of the time of 2. */
    pass(w, 2500);
    watch_msg(w, hb_ok(3));
    assert_int_equal(found.renewed, 3400 + LEASE_MS);
    /* One that came before, and one that was never sent, tell nothing. */
    watch_msg(w, hb_ok(2));
    watch_msg(w, hb_ok(30));
    assert_int_equal(found.renewed, 0);
    close_world(w);
}

static void an_answer_to_what_did_not_list_it_renews_nothing(void **unused)
{
    world *w = answered_world();

    (void)unused;
    pass(w, 1000);
    watch_msg(w, alone(1, 1)); /* behind heartbeat 1 */
    watch_msg(w, hb_ok(1));
    assert_int_equal(found.renewed, 0);
    pass(w, 1000);
    watch_msg(w, hb_ok(2));
    assert_int_equal(found.renewed, 3400 + LEASE_MS);
    close_world(w);
}

static void one_that_is_dropped_is_not_renewed(void **unused)
{
    world *w = answered_world();
    rec_held gone = { .task = 1, .att = 1, .code = CODE_STALE };
    msg m = hb_ok(1);

    (void)unused;
    watch_msg(w, alone(1, 1));
    pass(w, 1000);
    m.hb_ok.drop = (rec_held_list){ &gone, 1 };
    watch_msg(w, m);
    assert_int_equal(found.renewed, 0);
    close_world(w);
}

static void what_is_not_alone_has_no_end(void **unused)
{
    world *w = answered_world();

    (void)unused;
    watch_msg(w, assign(1, 1, TASK_SCRIPT));
    assert_int_equal(found.assigned, 0);
    pass(w, 1000);
    watch_msg(w, hb_ok(1));
    assert_int_equal(found.renewed, 0);
    close_world(w);
}

static void one_that_comes_too_late_is_not_started(void **unused)
{
    world *w = ready_world(1); /* by a welcome that names no hello, so nothing is known */

    (void)unused;
    hear(w, alone(1, 1));
    check(w, "> assign\n  nack 1-1 BUSY\n");
    close_world(w);
}

static void an_executor_that_does_not_end_it_is_ended(void **unused)
{
    world *w = answered_world();

    (void)unused;
    watch_msg(w, alone(1, 1));
    exec_says(w, 1, start(1, 1));
    w->quiet = true;
    while (w->now < BEGAN_MS + LEASE_MS + LEASE_MS / 4 - 1) {
        pass(w, 1);
        exec_says(w, 1, idle_hb()); /* it lives */
    }
    w->quiet = false;
    buf_clear(&w->story);
    pass(w, 1);
    assert_non_null(strstr(buf_str(&w->story), "  kill 1\n"));
    close_world(w);
}

static void a_returning_one_is_renewed_by_the_hello_that_was_answered(void **unused)
{
    world *w = answered_world();
    rec_held kept = { .task = 1, .att = 1 };
    msg m = welcome(1, (rec_held_list){ &kept, 1 }, (rec_held_list){ 0 });

    (void)unused;
    watch_msg(w, alone(1, 1));
    exec_says(w, 1, start(1, 1));
    w->now = 5000;
    hear(w, (msg){ .type = MSG_who });
    w->now = 5100;
    m.r = 1; /* of the first hello: it tells of an earlier time */
    watch_msg(w, m);
    assert_int_equal(found.renewed, 0);
    hear(w, (msg){ .type = MSG_who });
    pass(w, 300);
    m.r = 3;
    watch_msg(w, m);
    assert_true(found.renewed > 5000 + LEASE_MS && found.renewed <= (uint64_t)w->now + LEASE_MS);
    close_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_from_the_sending_of_what_was_answered),
        cmocka_unit_test(an_answer_to_what_did_not_list_it_renews_nothing),
        cmocka_unit_test(one_that_is_dropped_is_not_renewed),
        cmocka_unit_test(what_is_not_alone_has_no_end),
        cmocka_unit_test(one_that_comes_too_late_is_not_started),
        cmocka_unit_test(an_executor_that_does_not_end_it_is_ended),
        cmocka_unit_test(a_returning_one_is_renewed_by_the_hello_that_was_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
