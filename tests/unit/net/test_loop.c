#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/loop.h"

typedef struct watched {
    loop *l;
    int fd, fd2;
    int calls;
    int last_signal;
} watched;

static int64_t in_ms(int64_t ms)
{
    return loop_now_ms() + ms;
}

static void read_one(void *ctx)
{
    watched *w = ctx;
    char c;

    w->calls++;
    assert_int_equal(read(w->fd, &c, 1), 1);
}

static void remove_all(void *ctx)
{
    watched *w = ctx;

    w->calls++;
    loop_remove_fd(w->l, w->fd);
    loop_remove_fd(w->l, w->fd2);
}

static void count(void *ctx)
{
    ((watched *)ctx)->calls++;
}

static void make_pipe(int p[2])
{
    assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
}

static void returns_at_the_deadline_not_before(void **state)
{
    loop *l = loop_new();
    int64_t deadline = in_ms(30);

    (void)state;
    assert_int_equal(loop_wait(l, deadline, NULL, NULL), VOLT_OK);
    assert_true(loop_now_ms() >= deadline);
    assert_int_equal(loop_wait(l, 0, NULL, NULL), VOLT_OK); /* long past */
    loop_free(l);
}

static void what_is_left_unread_is_reported_again(void **state)
{
    watched w = { .l = loop_new() };
    int p[2];

    (void)state;
    make_pipe(p);
    w.fd = p[0];
    assert_int_equal(loop_add_fd(w.l, p[0], read_one, &w, NULL), VOLT_OK);
    assert_int_equal(write(p[1], "abc", 3), 3);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(loop_wait(w.l, INT64_MAX, NULL, NULL), VOLT_OK);
        assert_int_equal(w.calls, i);
    }
    loop_free(w.l);
    close(p[0]);
    close(p[1]);
}

static void a_descriptor_that_hangs_up_is_reported(void **state)
{
    watched w = { .l = loop_new() };
    int p[2];

    (void)state;
    make_pipe(p);
    assert_int_equal(loop_add_fd(w.l, p[0], count, &w, NULL), VOLT_OK);
    close(p[1]);
    assert_int_equal(loop_wait(w.l, INT64_MAX, NULL, NULL), VOLT_OK);
    assert_int_equal(w.calls, 1);
    loop_free(w.l);
    close(p[0]);
}

static void a_callback_may_remove_itself_and_others(void **state)
{
    watched w = { .l = loop_new() };
    int a[2], b[2];

    (void)state;
    make_pipe(a);
    make_pipe(b);
    w.fd = a[0];
    w.fd2 = b[0];
    assert_int_equal(loop_add_fd(w.l, a[0], remove_all, &w, NULL), VOLT_OK);
    assert_int_equal(loop_add_fd(w.l, b[0], remove_all, &w, NULL), VOLT_OK);
    assert_int_equal(write(a[1], "x", 1), 1);
    assert_int_equal(write(b[1], "x", 1), 1);
    assert_int_equal(loop_wait(w.l, in_ms(1000), NULL, NULL), VOLT_OK);
    assert_int_equal(w.calls, 1);
    assert_int_equal(loop_wait(w.l, in_ms(1), NULL, NULL), VOLT_OK);
    assert_int_equal(w.calls, 1);
    loop_free(w.l);
    for (int i = 0; i < 2; i++) {
        close(a[i]);
        close(b[i]);
    }
}

static void add_another(void *ctx)
{
    watched *w = ctx;

    loop_remove_fd(w->l, w->fd);
    for (int i = 0; i < 40; i++) /* the tables move meanwhile */
        assert_int_equal(loop_add_fd(w->l, w->fd2, count, w, NULL), VOLT_OK);
}

static void what_a_callback_adds_is_due_at_the_next_wait(void **state)
{
    watched w = { .l = loop_new() };
    int p[2];

    (void)state;
    make_pipe(p);
    w.fd = w.fd2 = p[0];
    assert_int_equal(write(p[1], "x", 1), 1);
    assert_int_equal(loop_add_fd(w.l, p[0], add_another, &w, NULL), VOLT_OK);
    assert_int_equal(loop_wait(w.l, INT64_MAX, NULL, NULL), VOLT_OK);
    assert_int_equal(w.calls, 0);
    assert_int_equal(loop_wait(w.l, INT64_MAX, NULL, NULL), VOLT_OK);
    assert_int_equal(w.calls, 40);
    loop_free(w.l);
    close(p[0]);
    close(p[1]);
}

static void one_too_many_is_refused(void **state)
{
    loop *l = loop_new();
    int p[2];

    (void)state;
    make_pipe(p);
    for (int i = 0; i < LOOP_ITEMS_MAX; i++)
        assert_int_equal(loop_add_fd(l, p[0], count, NULL, NULL), VOLT_OK);
    assert_int_equal(loop_add_fd(l, p[0], count, NULL, NULL), VOLT_EFULL);
    loop_free(l);
    close(p[0]);
    close(p[1]);
}

/* Messages that came before the wait must wake it, although libzmq's descriptor tells only once. */
static void a_socket_wakes_as_long_as_something_is_there(void **state)
{
    const sock_options options = { .frame_max = 1000 };
    watched w = { .l = loop_new() };
    addr at = { .host = "localhost" };
    addr_list list;
    sock *pull, *push;
    slice got;

    (void)state;
    assert_int_equal(addr_free_triple(&at, NULL), VOLT_OK);
    assert_int_equal(addr_resolve(&at, 0, &list, NULL), VOLT_OK);
    assert_int_equal(sock_new(SOCK_PULL, &options, &pull, NULL), VOLT_OK);
    assert_int_equal(sock_new(SOCK_PUSH, &options, &push, NULL), VOLT_OK);
    assert_int_equal(sock_bind(pull, &list, NULL), VOLT_OK);
    assert_int_equal(sock_connect(push, list.v[0], NULL), VOLT_OK);
    assert_int_equal(loop_add_sock(w.l, pull, count, &w, NULL), VOLT_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(sock_send(push, 0, (slice){ 0 }, SLICE("x"), NULL), VOLT_OK);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(loop_wait(w.l, in_ms(10000), NULL, NULL), VOLT_OK);
        assert_int_equal(w.calls, i);
        assert_int_equal(sock_recv(pull, NULL, NULL, &got, NULL), VOLT_OK);
    }
    assert_int_equal(loop_wait(w.l, in_ms(1), NULL, NULL), VOLT_OK);
    assert_int_equal(w.calls, 3);
    loop_remove_sock(w.l, pull);
    assert_int_equal(sock_send(push, 0, (slice){ 0 }, SLICE("x"), NULL), VOLT_OK);
    assert_int_equal(loop_wait(w.l, in_ms(20), NULL, NULL), VOLT_OK);
    assert_int_equal(w.calls, 3);
    loop_free(w.l);
    sock_free(push);
    sock_free(pull);
}

static void got_signal(void *ctx, int number)
{
    watched *w = ctx;

    w->calls++;
    w->last_signal = number;
}

/* Before the others, which block it. */
static void a_hangup_that_was_ignored_stays_so(void **state)
{
    watched w = { .l = loop_new() };

    (void)state;
    signal(SIGHUP, SIG_IGN);
    assert_int_equal(loop_signals(w.l, got_signal, &w, NULL), VOLT_OK);
    kill(getpid(), SIGHUP);
    assert_int_equal(loop_wait(w.l, in_ms(100), NULL, NULL), VOLT_OK);
    assert_int_equal(w.calls, 0);
    signal(SIGHUP, SIG_DFL);
    loop_free(w.l);
}

static void signals_are_events(void **state)
{
    static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
    watched w = { .l = loop_new() };
    pid_t pid;

    (void)state;
    assert_int_equal(loop_signals(w.l, got_signal, &w, NULL), VOLT_OK);
    for (int i = 0; i < 3; i++) {
        kill(getpid(), numbers[i]);
        assert_int_equal(loop_wait(w.l, in_ms(10000), NULL, NULL), VOLT_OK);
        assert_int_equal(w.last_signal, numbers[i]);
    }
    pid = fork();
    if (pid == 0)
        _exit(0);
    while (w.last_signal != SIGCHLD)
        assert_int_equal(loop_wait(w.l, in_ms(10000), NULL, NULL), VOLT_OK);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    raise(SIGPIPE);
    loop_free(w.l);
}

static void a_stopped_process_notices_the_gap(void **state)
{
    loop *l = loop_new();
    int64_t gap = -1;
    pid_t pid;

    (void)state;
    assert_int_equal(loop_wait(l, in_ms(1200), &gap, NULL), VOLT_OK);
    assert_int_equal(gap, 0);
    pid = fork(); /* somebody stops us for longer than 2 s and what the wait itself may take */
    if (pid == 0) {
        poll(NULL, 0, 100);
        kill(getppid(), SIGSTOP);
        poll(NULL, 0, 3200);
        kill(getppid(), SIGCONT);
        _exit(0);
    }
    for (int i = 0; gap == 0 && i < 5; i++)
        assert_int_equal(loop_wait(l, in_ms(1000), &gap, NULL), VOLT_OK);
    assert_true(gap > 2000 && gap < 60000);
    while (waitpid(pid, NULL, 0) < 0)
        ;
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(returns_at_the_deadline_not_before),
        cmocka_unit_test(what_is_left_unread_is_reported_again),
        cmocka_unit_test(a_descriptor_that_hangs_up_is_reported),
        cmocka_unit_test(a_callback_may_remove_itself_and_others),
        cmocka_unit_test(what_a_callback_adds_is_due_at_the_next_wait),
        cmocka_unit_test(one_too_many_is_refused),
        cmocka_unit_test(a_hangup_that_was_ignored_stays_so),
        cmocka_unit_test(signals_are_events),
        cmocka_unit_test(a_socket_wakes_as_long_as_something_is_there),
        cmocka_unit_test(a_stopped_process_notices_the_gap),
    };

    sock_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
