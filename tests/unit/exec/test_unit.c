#include "exec/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

#define HANG_MS  20000 /* of a test that does not come to its end */
#define LIMIT_MS 50000 /* of a unit whose time a test lets pass */

typedef struct bench {
    int log;
    output *out;
    char *text; /* of the log, once ended */
    unit_outcome end;
} bench;

static int null_fd;
/* The units' time: what a test has skipped, and when it stands still (0: it does not). */
static int64_t skipped_ms, still_ms;

static int64_t real_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

static int64_t now_ms(void)
{
    return still_ms ? still_ms : real_ms() + skipped_ms;
}

static int given(void *ctx)
{
    const int *fd = ctx;

    return *fd;
}

static unit *begin(bench *b, const char *script, int64_t timeout_ms, int64_t grace_ms)
{
    static const char *env[] = { "PATH=/usr/bin:/bin", NULL };
    const char *argv[] = { "sh", "-c", script, NULL };
    unit_order order = {
        .name = "tests/x",
        .timeout_ms = timeout_ms,
        .grace_ms = grace_ms,
        .run = { .path = "/bin/sh", .argv = argv, .env = env, .dir = "/", .in = null_fd }
    };
    char path[] = "/tmp/volt-unit-XXXXXX";

    b->log = mkstemp(path);
    assert_true(b->log >= 0);
    unlink(path);
    b->out = output_new(given, &b->log, 1 << 20);
    return unit_start(&order, b->out, now_ms());
}

static void finish(bench *b, unit *u)
{
    int64_t hang_ms = real_ms() + HANG_MS;
    struct stat st;

    while (!unit_step(u, now_ms())) {
        struct pollfd p = { .fd = output_fd(b->out), .events = POLLIN };

        assert_true(real_ms() < hang_ms);
        poll(&p, 1, 2); /* no signalfd here: a look each 2 ms finds what ended */
    }
    b->end = *unit_result(u);
    unit_free(u);
    assert_int_equal(fstat(b->log, &st), 0);
    b->text = mem_zero((size_t)st.st_size + 1);
    assert_int_equal(pread(b->log, b->text, (size_t)st.st_size, 0), st.st_size);
    assert_int_equal(b->end.log_off, 0);
    assert_int_equal(b->end.log_len, st.st_size);
    assert_int_equal(process_reap(&(process_exit){ 0 }), PROCESS_NONE);
}

static void clear(bench *b)
{
    output_free(b->out);
    close(b->log);
    free(b->text);
}

/* Waits until the unit has written `text` to its log. */
static void await(bench *b, unit *u, const char *text)
{
    int64_t hang_ms = real_ms() + HANG_MS;

    while (output_bytes(b->out) < strlen(text)) {
        assert_true(real_ms() < hang_ms);
        assert_false(unit_step(u, now_ms()));
        poll(NULL, 0, 1);
    }
}

/* Lets the time until its limit pass once it has written `text`. */
static void come_to_limit(bench *b, unit *u, const char *text)
{
    await(b, u, text);
    skipped_ms += LIMIT_MS;
}

static void both_streams_come_in_order(void **state)
{
    bench b;

    (void)state;
    finish(&b, begin(&b, "echo 1; echo 2 >&2; echo 3; printf 4 >&2; exit 7", 0, 1000));
    assert_string_equal(b.text, "1\n2\n3\n4");
    assert_int_equal(b.end.end, UNIT_EXITED);
    assert_int_equal(b.end.exit, 7);
    assert_int_equal(b.end.signal, 0);
    clear(&b);
}

static void its_input_is_empty(void **state)
{
    bench b;

    (void)state;
    finish(&b, begin(&b, "cat; echo end", 0, 1000));
    assert_string_equal(b.text, "end\n");
    clear(&b);
}

static void a_signal_that_ends_it_is_told(void **state)
{
    bench b;

    (void)state;
    finish(&b, begin(&b, "kill -SEGV $$", 0, 1000));
    assert_int_equal(b.end.end, UNIT_EXITED);
    assert_int_equal(b.end.signal, SIGSEGV);
    clear(&b);
}

static void the_time_limit_is_kept_and_named(void **state)
{
    bench b;
    unit *u = begin(&b, "printf begun; sleep 100", LIMIT_MS, 5000);

    (void)state;
    come_to_limit(&b, u, "begun");
    finish(&b, u);
    assert_string_equal(b.text, "begun\nvolt: tests/x: stopped at its time limit of 50.0 s\n");
    assert_int_equal(b.end.end, UNIT_TIMEOUT);
    assert_true(b.end.duration_ms >= LIMIT_MS && b.end.duration_ms < 2 * LIMIT_MS);
    clear(&b);
}

static void what_ignores_term_is_killed(void **state)
{
    bench b;
    unit *u =
        begin(&b, "trap '' TERM; (echo up; sleep 100) & while :; do sleep 1; done", LIMIT_MS, 100);

    (void)state;
    come_to_limit(&b, u, "up\n");
    finish(&b, u);
    assert_int_equal(b.end.end, UNIT_TIMEOUT);
    assert_int_equal(b.end.signal, SIGKILL);
    assert_true(b.end.duration_ms >= LIMIT_MS + 100);
    clear(&b);
}

static void term_lets_it_clean_up(void **state)
{
    bench b;
    unit *u = begin(&b, "trap 'echo cleaned; exit 0' TERM; echo up; while :; do sleep 0.1; done",
                    LIMIT_MS, 5000);

    (void)state;
    come_to_limit(&b, u, "up\n");
    finish(&b, u);
    assert_non_null(strstr(b.text, "cleaned\n")); /* the shell may name its killed child as well */
    assert_non_null(strstr(b.text, "\nvolt: tests/x: stopped at its time limit of 50.0 s\n"));
    assert_int_equal(b.end.end, UNIT_TIMEOUT);
    clear(&b);
}

static void a_daemon_it_leaves_is_ended(void **state)
{
    bench b;
    int64_t begun = now_ms();

    (void)state;
    finish(&b, begin(&b, "(setsid sh -c 'sleep 100 & sleep 101' &) ; echo done", 0, 5000));
    assert_string_equal(b.text, "done\n");
    assert_int_equal(b.end.exit, 0);
    assert_int_equal(b.end.end, UNIT_EXITED);
    /* of its own process, without the daemon's end, which is waited for first */
    assert_true(b.end.duration_ms + UNIT_LINGER_MS / 2 <= now_ms() - begun);
    clear(&b);
}

static void what_is_about_to_end_may_finish(void **state)
{
    bench b;

    (void)state;
    still_ms = now_ms(); /* so that its linger lasts, however slow this machine is */
    finish(&b, begin(&b, "(sleep 0.04; echo late) & echo first", 0, 5000));
    still_ms = 0;
    assert_string_equal(b.text, "first\nlate\n");
    clear(&b);
}

static void can_be_stopped(void **state)
{
    bench b;
    unit *u = begin(&b, "echo up; sleep 100", 0, 5000);

    (void)state;
    await(&b, u, "up\n");
    unit_stop(u, now_ms(), 5000);
    finish(&b, u);
    assert_int_equal(b.end.end, UNIT_CANCELED);
    assert_int_equal(b.end.signal, SIGTERM);
    clear(&b);
}

static void a_second_stop_hurries(void **state)
{
    bench b;
    unit *u = begin(&b, "trap '' TERM; echo up; while :; do sleep 1; done", 0, 5000);
    int64_t begun = now_ms();

    (void)state;
    await(&b, u, "up\n");
    unit_stop(u, now_ms(), 3600000);
    unit_stop(u, now_ms(), 10);
    finish(&b, u);
    assert_int_equal(b.end.end, UNIT_CANCELED);
    assert_int_equal(b.end.signal, SIGKILL);
    assert_true(now_ms() - begun < 10000);
    clear(&b);
}

static void what_cannot_be_started_ends_at_once_and_says_why(void **state)
{
    static const char *argv[] = { "thing", NULL }, *env[] = { NULL };
    unit_order order = { .name = "tests/x",
                         .run = { .path = NULL, .argv = argv, .env = env, .dir = "/" } };
    bench b;
    unit *u;

    (void)state;
    finish(&b, begin(&b, ":", 0, 0));
    u = unit_start(&order, b.out, now_ms());
    assert_true(unit_ended(u));
    assert_int_equal(unit_result(u)->end, UNIT_NOT_STARTED);
    assert_int_equal(unit_result(u)->log_len,
                     strlen("volt: tests/x: cannot be started: thing is not in PATH\n"));
    unit_free(u);
    clear(&b);
}

static void time_and_memory_of_all_its_processes_count(void **state)
{
    bench b;

    (void)state;
    finish(&b, begin(&b,
                     "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; "
                     "sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'",
                     0, 1000));
    assert_true(b.end.cpu_us > 0);
    assert_true(b.end.max_rss_bytes > 1 << 19);
    clear(&b);
}

static int setup(void **state)
{
    (void)state;
    null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return process_setup(NULL) ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_streams_come_in_order),
        cmocka_unit_test(its_input_is_empty),
        cmocka_unit_test(a_signal_that_ends_it_is_told),
        cmocka_unit_test(the_time_limit_is_kept_and_named),
        cmocka_unit_test(what_ignores_term_is_killed),
        cmocka_unit_test(term_lets_it_clean_up),
        cmocka_unit_test(a_daemon_it_leaves_is_ended),
        cmocka_unit_test(what_is_about_to_end_may_finish),
        cmocka_unit_test(can_be_stopped),
        cmocka_unit_test(a_second_stop_hurries),
        cmocka_unit_test(what_cannot_be_started_ends_at_once_and_says_why),
        cmocka_unit_test(time_and_memory_of_all_its_processes_count),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
