/* A dispatcher and executors that do anything, in any order. */
#include "agent_world.h"

typedef struct soak {
    world w;
    prng rng;
    uint64_t att[64]; /* newest attempt assigned, by task */
    uint64_t ran[64]; /* greatest attempt handed to an executor, by task */
    uint64_t at[4];   /* task in each slot; 0: none */
    bool up[4];
} soak;

static uint64_t pick(soak *s, uint64_t n)
{
    return prng_below(&s->rng, n);
}

static void soak_step(soak *s, agent_event ev)
{
    agent_effects out = { 0 };

    ev.now_ms = s->w.now;
    agent_step(s->w.a, &ev, &out);
    for (size_t i = 0; i < out.n; i++) {
        const agent_effect *e = &out.v[i];

        if (e->kind == AGENT_EXEC && e->msg->type == MSG_assign) {
            uint64_t task = e->msg->assign.task;

            assert_true(e->slot < 4 && s->up[e->slot]);
            assert_true(e->msg->assign.att > s->ran[task]); /* S3: at most once */
            assert_int_equal(s->at[e->slot], 0);
            for (unsigned n = 0; n < 4; n++)
                assert_int_not_equal(s->at[n], task);
            s->ran[task] = e->msg->assign.att;
            s->at[e->slot] = task;
        }
        if (e->kind == AGENT_KILL) {
            s->up[e->slot] = false;
            s->at[e->slot] = 0;
            soak_step(s, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = e->slot });
        }
        if (e->kind == AGENT_READ_LOG) {
            agent_event got = { .kind = AGENT_LOG_READ,
                                .task = e->task,
                                .att = e->att,
                                .off = e->off,
                                .bytes = { s->w.log, pick(s, 4) ? (size_t)e->max : 0 } };
            soak_step(s, got);
        }
        if (e->kind == AGENT_READ)
            soak_step(s,
                      (agent_event){
                          .kind = AGENT_SPOOL, .task = e->task, .att = e->att, .part = e->part });
        assert_true(e->kind != AGENT_EXIT);
    }
    agent_effects_free(&out);
}

static void soak_exec(soak *s)
{
    unsigned n = (unsigned)pick(s, 4);
    uint64_t task = s->at[n], att = task ? s->ran[task] : 0;
    msg m = start(task, att);

    if (!s->up[n]) {
        s->up[n] = true;
        s->at[n] = 0;
        soak_step(s, (agent_event){ .kind = AGENT_EXEC_UP, .slot = n });
        m = idle_hb();
    } else if (pick(s, 20) == 0) {
        s->up[n] = false;
        s->at[n] = 0;
        soak_step(s, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = n });
        return;
    } else if (!task) {
        return;
    } else if (pick(s, 3) == 0) {
        m = result(task, att, pick(s, 2) * pick(s, 40000));
        s->at[n] = 0;
    } else if (pick(s, 8) == 0) {
        m = (msg){ .type = MSG_nack, .nack = { .task = task, .att = att, .code = CODE_DISK } };
        s->at[n] = 0;
    }
    soak_step(s, (agent_event){ .kind = AGENT_EXEC_MSG, .slot = n, .msg = &m });
}

static void soak_dispatcher(soak *s)
{
    uint64_t task = 1 + pick(s, 63), att = s->att[task] ? s->att[task] - pick(s, 2) : 1;
    msg m = { 0 };

    if (att == 0)
        att = 1;
    switch (pick(s, 9)) {
    case 0:
    case 1:
        m = assign(task, att + pick(s, 2), pick(s, 4) ? TASK_SCRIPT : TASK_PLAN);
        if (m.assign.att > s->att[task])
            s->att[task] = m.assign.att;
        break;
    case 2:
        m = result_ok(task, att);
        break;
    case 3:
        m = (msg){ .type = MSG_fenced, .fenced = { .task = task, .att = att, .code = CODE_STALE } };
        break;
    case 4:
        m = (msg){ .type = MSG_cancel, .cancel = { .task = task, .att = att } };
        break;
    case 5:
        m = (msg){ .type = MSG_log_ok,
                   .log_ok = { .task = task,
                               .att = att,
                               .off = pick(s, 40000),
                               .window = pick(s, 3) * 30000 } };
        break;
    case 6:
        m = (msg){ .type = MSG_who };
        break;
    case 7:
        m = (msg){ .type = MSG_hb_ok, .hb_ok = { .n = 1, .ep = 1 } };
        break;
    default:
        m = welcome(1, (rec_held_list){ 0 }, (rec_held_list){ 0 });
        break;
    }
    soak_step(s, (agent_event){ .kind = AGENT_MSG, .msg = &m });
}

static void survives_whatever_comes(void **fixture)
{
    (void)fixture;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        world *made = open_world(3);
        soak *s = calloc(1, sizeof *s);

        assert_non_null(s);
        s->w.a = made->a;
        s->rng.state = seed;
        soak_step(s, (agent_event){ .kind = AGENT_BEGIN });
        for (int i = 0; i < 3000; i++) {
            int64_t next = agent_next_deadline_ms(s->w.a);

            if (pick(s, 3) == 0)
                soak_exec(s);
            else if (pick(s, 3))
                soak_dispatcher(s);
            else
                s->w.now += (int64_t)pick(s, 700);
            if (next <= s->w.now) {
                soak_step(s, (agent_event){ .kind = AGENT_TICK });
                assert_true(agent_next_deadline_ms(s->w.a) > s->w.now);
            }
            assert_true(agent_held(s->w.a) <= AGENT_HELD_MAX);
        }
        free(s);
        close_world(made);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survives_whatever_comes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
