#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "cmd/client.h"
#include "net/loop.h"
#include "net/sock.h"
#include "wire/codec.h"

#define WAIT_MS 10000 /* a guard against hangs */

/* A dispatcher that answers each question as `answer` says. */
typedef struct fake {
    pthread_t thread;
    char server[64];
    sock *router;
    atomic_bool stop;
    atomic_int asked;
    /* Fills *out; false: no answer.  `n` counts the questions from 1. */
    bool (*answer)(const msg *question, int n, msg *out);
} fake;

static void nothing(void *ctx)
{
    (void)ctx;
}

static void send_msg(fake *f, uint64_t peer, const msg *m)
{
    buf frame = { 0 };

    wire_encode(m, &frame);
    sock_send(f->router, peer, (slice){ 0 }, buf_slice(&frame), NULL);
    buf_free(&frame);
}

static void *serve(void *ctx)
{
    fake *f = ctx;
    loop *l = loop_new();

    loop_add_sock(l, f->router, nothing, NULL, NULL);
    while (!f->stop) {
        uint64_t peer;
        slice payload;

        loop_wait(l, loop_now_ms() + 20, NULL, NULL);
        while (sock_recv(f->router, &peer, NULL, &payload, NULL) == VOLT_OK) {
            arena a = { 0 };
            msg question, out = { 0 };

            if (wire_decode(payload, &a, &question, NULL) == VOLT_OK &&
                f->answer(&question, ++f->asked, &out)) {
                out.r = question.r;
                send_msg(f, peer, &out);
                out.r = question.r + 1000; /* somebody else's, or of long ago */
                send_msg(f, peer, &out);
            }
            arena_free(&a);
        }
    }
    loop_free(l);
    sock_free(f->router);
    return NULL;
}

/* Starts it on free ports of localhost. */
static void start(fake *f, bool (*answer)(const msg *, int, msg *))
{
    const sock_options options = { .frame_max = 1 << 20 };
    addr a = { .host = "localhost" };
    volt_code code = VOLT_EEXISTS;

    *f = (fake){ .answer = answer };
    while (code == VOLT_EEXISTS) {
        addr_list list;

        sock_free(f->router);
        assert_int_equal(addr_free_triple(&a, NULL), VOLT_OK);
        assert_int_equal(addr_resolve(&a, 1, &list, NULL), VOLT_OK);
        assert_int_equal(sock_new(SOCK_ROUTER, &options, &f->router, NULL), VOLT_OK);
        code = sock_bind(f->router, &list, NULL);
    }
    assert_int_equal(code, VOLT_OK);
    addr_print(&a, f->server, sizeof f->server);
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
}

static void stop(fake *f)
{
    f->stop = true;
    pthread_join(f->thread, NULL);
}

static client *open_client(const char *server, int64_t timeout_ms)
{
    client *c;

    assert_int_equal(client_open(server, timeout_ms, &c, NULL), VOLT_OK);
    return c;
}

static bool answer_task(const msg *question, int n, msg *out)
{
    static rec_task_row row = { .build = 1, .kind = TASK_PLAN, .state = STATE_QUEUED };

    (void)n;
    row.task = question->task.task;
    *out = (msg){ .type = MSG_task_is, .task_is = { .rows = { &row, 1 } } };
    return true;
}

static bool answer_second(const msg *question, int n, msg *out)
{
    return n >= 2 && answer_task(question, n, out);
}

static bool answer_nothing(const msg *question, int n, msg *out)
{
    (void)question;
    (void)n;
    (void)out;
    return false;
}

static bool answer_no(const msg *question, int n, msg *out)
{
    (void)question;
    *out = n == 1   ? (msg){ .type = MSG_err,
                             .err = { .code = CODE_NOT_FOUND, .msg = SLICE("no task 7") } }
           : n == 2 ? (msg){ .type = MSG_err, .err = { .code = CODE_STATE } }
                    : (msg){ .type = MSG_ok };
    return true;
}

static const msg question = { .type = MSG_task, .task = { .task = 7 } };

static void each_question_gets_its_own_answer(void **state)
{
    fake f;
    client *c;

    (void)state;
    start(&f, answer_task);
    c = open_client(f.server, WAIT_MS);
    for (uint64_t i = 1; i <= 20; i++) {
        const msg q = { .type = MSG_task, .task = { .task = i } };
        const msg *a = NULL;

        assert_int_equal(client_ask(c, &q, MSG_task_is, &a, NULL), VOLT_OK);
        assert_int_equal(a->task_is.rows.v[0].task, i);
    }
    client_free(c);
    stop(&f);
}

static void an_unanswered_question_is_sent_again(void **state)
{
    const msg *a = NULL;
    client *c;
    fake f;

    (void)state;
    start(&f, answer_second);
    c = open_client(f.server, WAIT_MS);
    assert_int_equal(client_ask(c, &question, MSG_task_is, &a, NULL), VOLT_OK);
    assert_int_equal(a->task_is.rows.v[0].task, 7);
    assert_true(f.asked >= 2);
    client_free(c);
    stop(&f);
}

static void a_refusal_is_an_error_in_the_dispatchers_words(void **state)
{
    volt_err err = { 0 };
    const msg *a = NULL;
    client *c;
    fake f;

    (void)state;
    start(&f, answer_no);
    c = open_client(f.server, WAIT_MS);
    assert_int_equal(client_ask(c, &question, MSG_task_is, &a, &err), VOLT_ENOTFOUND);
    assert_string_equal(err.msg, "no task 7");
    assert_int_equal(client_ask(c, &question, MSG_task_is, &a, &err), VOLT_EREFUSED);
    assert_non_null(strstr(err.msg, "STATE"));
    assert_int_equal(client_ask(c, &question, MSG_task_is, &a, &err), VOLT_EMSG);
    assert_non_null(strstr(err.msg, "answered 'ok' to 'task'"));
    assert_null(a);
    client_free(c);
    stop(&f);
}

static void a_refused_connection_is_explained(void **state)
{
    addr at = { .host = "localhost" };
    char server[64], want[256];
    volt_err err = { 0 };
    const msg *a;
    client *c;

    (void)state;
    assert_int_equal(addr_free_triple(&at, NULL), VOLT_OK);
    addr_print(&at, server, sizeof server);
    c = open_client(server, 50);
    assert_int_equal(client_ask(c, &question, MSG_task_is, &a, &err), VOLT_EUNREACHABLE);
    snprintf(want, sizeof want,
             "cannot reach dispatcher at %s (connection refused); is 'volt dispatcher' running?",
             server);
    assert_string_equal(err.msg, want);
    client_free(c);
}

static void a_silent_listener_is_explained(void **state)
{
    volt_err err = { 0 };
    const msg *a;
    client *c;
    fake f;

    (void)state;
    start(&f, answer_nothing);
    c = open_client(f.server, 50);
    assert_int_equal(client_ask(c, &question, MSG_task_is, &a, &err), VOLT_EUNREACHABLE);
    assert_non_null(strstr(err.msg, "no answer"));
    assert_non_null(strstr(err.msg, f.server));
    client_free(c);
    stop(&f);
}

static void a_client_waits_for_a_dispatcher_that_starts_later(void **state)
{
    const sock_options options = { .frame_max = 1 << 20 };
    addr at = { .host = "localhost" };
    char server[64];
    const msg *a = NULL;
    volt_err err;
    addr_list list;
    client *c;
    fake f = { .answer = answer_task };

    (void)state;
    assert_int_equal(addr_free_triple(&at, NULL), VOLT_OK);
    addr_print(&at, server, sizeof server);
    c = open_client(server, 30);
    assert_int_equal(client_ask(c, &question, MSG_task_is, &a, &err), VOLT_EUNREACHABLE);
    client_free(c);
    c = open_client(server, WAIT_MS);
    assert_int_equal(addr_resolve(&at, 1, &list, NULL), VOLT_OK);
    assert_int_equal(sock_new(SOCK_ROUTER, &options, &f.router, NULL), VOLT_OK);
    assert_int_equal(sock_bind(f.router, &list, NULL), VOLT_OK);
    assert_int_equal(pthread_create(&f.thread, NULL, serve, &f), 0);
    assert_int_equal(client_ask(c, &question, MSG_task_is, &a, &err), VOLT_OK);
    client_free(c);
    stop(&f);
}

static void an_unknown_host_is_unreachable_and_nonsense_is_invalid(void **state)
{
    volt_err err = { 0 };
    client *c = NULL;

    (void)state;
    assert_int_equal(client_open("no-such-host.invalid", 50, &c, &err), VOLT_EUNREACHABLE);
    assert_non_null(strstr(err.msg, "no-such-host.invalid"));
    assert_int_equal(client_open("localhost:x", 50, &c, &err), VOLT_EINVALID);
}

static void names_of_submissions_differ(void **state)
{
    char a[33], b[33];

    (void)state;
    client_new_sid(a);
    client_new_sid(b);
    assert_int_equal(strlen(a), 32);
    assert_int_equal(strspn(a, "0123456789abcdef"), 32);
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_question_gets_its_own_answer),
        cmocka_unit_test(an_unanswered_question_is_sent_again),
        cmocka_unit_test(a_refusal_is_an_error_in_the_dispatchers_words),
        cmocka_unit_test(a_refused_connection_is_explained),
        cmocka_unit_test(a_silent_listener_is_explained),
        cmocka_unit_test(a_client_waits_for_a_dispatcher_that_starts_later),
        cmocka_unit_test(an_unknown_host_is_unreachable_and_nonsense_is_invalid),
        cmocka_unit_test(names_of_submissions_differ),
    };

    sock_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
