#include "exec/output.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

#define PLENTY ((uint64_t)1 << 30)

static int given(void *ctx)
{
    const int *fd = ctx;

    return *fd;
}

/* An unnamed file. */
static int new_log(void)
{
    char path[] = "/tmp/volt-output-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

static char *contents(int fd, size_t *n)
{
    struct stat st;
    char *text;

    assert_int_equal(fstat(fd, &st), 0);
    *n = (size_t)st.st_size;
    text = mem_zero(*n + 1);
    assert_int_equal(pread(fd, text, *n, 0), (ssize_t)*n);
    return text;
}

static void assert_log(int fd, const char *want)
{
    size_t n;
    char *text = contents(fd, &n);

    assert_string_equal(text, want);
    free(text);
    close(fd);
}

static void keeps_every_byte_in_order(void **state)
{
    int log = new_log(), w;
    output *o = output_new(given, &log, PLENTY);
    char bytes[256], *text;
    size_t n;

    (void)state;
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    assert_int_equal(output_open(o, &w, NULL), VOLT_OK);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(write(w, bytes, sizeof bytes), sizeof bytes);
        if (i % 100 == 0)
            assert_false(output_pump(o));
    }
    close(w);
    while (output_fd(o) >= 0)
        output_pump(o);
    text = contents(log, &n);
    assert_int_equal(n, 500 * 256);
    assert_int_equal(output_bytes(o), n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal((unsigned char)text[i], i % 256);
    assert_int_equal(output_lost(o), 0);
    assert_string_equal(output_why(o), "");
    free(text);
    output_free(o);
    close(log);
}

static void a_pipe_held_open_by_others_is_left_at_the_end(void **state)
{
    int log = new_log(), first, second;
    output *o = output_new(given, &log, PLENTY);

    (void)state;
    assert_int_equal(output_open(o, &first, NULL), VOLT_OK);
    assert_int_equal(write(first, "one\n", 4), 4);
    output_close(o);
    assert_int_equal(output_open(o, &second, NULL), VOLT_OK);
    assert_int_equal(write(first, "late", 4), -1); /* no reader: SIGPIPE is ignored here */
    assert_int_equal(write(second, "two\n", 4), 4);
    output_close(o);
    close(first);
    close(second);
    output_free(o);
    assert_log(log, "one\ntwo\n");
}

static void beyond_the_cap_a_line_says_so_and_the_writer_goes_on(void **state)
{
    int log = new_log(), w;
    output *o = output_new(given, &log, 10);
    static char big[300000];

    (void)state;
    memset(big, 'x', sizeof big);
    assert_int_equal(output_open(o, &w, NULL), VOLT_OK);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(write(w, big, sizeof big), sizeof big);
        output_pump(o);
    }
    close(w);
    output_close(o);
    assert_int_equal(output_lost(o), 10 * sizeof big - 10);
    assert_string_equal(output_why(o), "the log was cut at its limit");
    output_line(o, "volt: more");
    assert_int_equal(output_open(o, &w, NULL), VOLT_OK);
    assert_int_equal(write(w, "y", 1), 1);
    close(w);
    output_close(o);
    output_free(o);
    assert_log(log, "xxxxxxxxxx\nvolt: the log ends here, at its limit of 10 bytes\nvolt: more\n");
}

static void exactly_the_cap_is_whole(void **state)
{
    int log = new_log(), w;
    output *o = output_new(given, &log, 10);

    (void)state;
    assert_int_equal(output_open(o, &w, NULL), VOLT_OK);
    assert_int_equal(write(w, "0123456789", 10), 10);
    close(w);
    output_close(o);
    assert_int_equal(output_lost(o), 0);
    output_free(o);
    assert_log(log, "0123456789");
}

static void a_full_disk_does_not_stop_the_writer(void **state)
{
    int log = open("/dev/full", O_RDWR | O_CLOEXEC), w;
    output *o = output_new(given, &log, PLENTY);

    (void)state;
    assert_int_equal(output_open(o, &w, NULL), VOLT_OK);
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(write(w, "0123456789", 10), 10);
        if (i % 1000 == 0)
            output_pump(o);
    }
    close(w);
    output_close(o);
    assert_int_equal(output_bytes(o), 0);
    assert_int_equal(output_lost(o), 1000000);
    assert_string_equal(output_why(o), "the log ends here: No space left on device");
    output_free(o);
    close(log);
}

static void a_log_that_cannot_be_spliced_to_is_written(void **state)
{
    int log = new_log(), w;
    output *o;

    (void)state;
    fcntl(log, F_SETFL, O_APPEND); /* which splice() refuses, as some file systems do */
    o = output_new(given, &log, 10);
    assert_int_equal(output_open(o, &w, NULL), VOLT_OK);
    assert_int_equal(write(w, "01234", 5), 5);
    output_pump(o);
    assert_int_equal(write(w, "56789abc", 8), 8);
    close(w);
    output_close(o);
    assert_int_equal(output_lost(o), 3);
    output_free(o);
    assert_log(log, "0123456789\nvolt: the log ends here, at its limit of 10 bytes\n");
}

static int refuse(void *ctx)
{
    int *asked = ctx;

    ++*asked;
    errno = ENOSPC;
    return -1;
}

static void a_log_is_made_for_the_first_byte_only(void **state)
{
    int asked = 0, w;
    output *o = output_new(refuse, &asked, PLENTY);

    (void)state;
    assert_int_equal(output_open(o, &w, NULL), VOLT_OK);
    assert_false(output_pump(o));
    assert_true(output_fd(o) >= 0);
    close(w);
    assert_false(output_pump(o));
    assert_int_equal(output_fd(o), -1);
    output_close(o);
    assert_int_equal(asked, 0);

    assert_int_equal(output_open(o, &w, NULL), VOLT_OK);
    assert_int_equal(write(w, "x", 1), 1);
    close(w);
    output_close(o);
    assert_true(asked > 0);
    assert_int_equal(output_lost(o), 1);
    assert_string_equal(output_why(o), "the log ends here: No space left on device");
    output_free(o);
}

static void own_lines_begin_on_a_new_line(void **state)
{
    int log = new_log(), w;
    output *o = output_new(given, &log, PLENTY);

    (void)state;
    output_line(o, "volt: first");
    assert_int_equal(output_open(o, &w, NULL), VOLT_OK);
    assert_int_equal(write(w, "no end", 6), 6);
    close(w);
    output_close(o);
    output_line(o, "volt: second");
    output_line(o, "volt: third");
    output_free(o);
    assert_log(log, "volt: first\nno end\nvolt: second\nvolt: third\n");
}

static void secrets_are_hidden_byte_by_byte(void **state)
{
    const char *const said = "a hunter2 b hunter";
    int log = new_log(), w;
    output *o = output_new(given, &log, PLENTY);
    mask *m = mask_new();

    (void)state;
    mask_add(m, SLICE("hunter2"));
    output_mask(o, m);
    assert_int_equal(output_open(o, &w, NULL), VOLT_OK);
    for (const char *p = said; *p; p++) {
        assert_int_equal(write(w, p, 1), 1);
        output_pump(o);
    }
    assert_int_equal(output_bytes(o), strlen("a *** b "));
    close(w);
    output_close(o);
    assert_int_equal(output_bytes(o), strlen("a *** b hunter"));
    assert_int_equal(output_open(o, &w, NULL), VOLT_OK);
    assert_int_equal(write(w, "2\n", 2), 2); /* another process's */
    close(w);
    output_close(o);
    assert_int_equal(output_lost(o), 0);
    output_line(o, "volt: it said hunter2");
    output_free(o);
    mask_free(m);
    assert_log(log, "a *** b hunter2\nvolt: it said ***\n");
}

static void the_cap_counts_what_is_shown(void **state)
{
    int log = new_log(), w;
    output *o = output_new(given, &log, 5);
    mask *m = mask_new();

    (void)state;
    mask_add(m, SLICE("hunter2"));
    output_mask(o, m);
    assert_int_equal(output_open(o, &w, NULL), VOLT_OK);
    assert_int_equal(write(w, "hunter2 hunter2hunt", 19), 19);
    output_pump(o);
    close(w);
    output_close(o);
    assert_int_equal(output_bytes(o),
                     5 + strlen("\nvolt: the log ends here, at its limit of 5 bytes\n"));
    assert_int_equal(output_lost(o), strlen("**hunt"));
    output_free(o);
    mask_free(m);
    assert_log(log, "*** *\nvolt: the log ends here, at its limit of 5 bytes\n");
}

static void a_full_disk_does_not_stop_who_is_masked(void **state)
{
    int log = open("/dev/full", O_RDWR | O_CLOEXEC), w;
    output *o = output_new(given, &log, PLENTY);
    mask *m = mask_new();

    (void)state;
    mask_add(m, SLICE("hunter2"));
    output_mask(o, m);
    assert_int_equal(output_open(o, &w, NULL), VOLT_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(write(w, "0123456789", 10), 10);
        output_pump(o);
    }
    close(w);
    output_close(o);
    assert_int_equal(output_lost(o), 20);
    assert_string_equal(output_why(o), "the log ends here: No space left on device");
    output_free(o);
    mask_free(m);
    close(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_every_byte_in_order),
        cmocka_unit_test(a_pipe_held_open_by_others_is_left_at_the_end),
        cmocka_unit_test(beyond_the_cap_a_line_says_so_and_the_writer_goes_on),
        cmocka_unit_test(exactly_the_cap_is_whole),
        cmocka_unit_test(a_full_disk_does_not_stop_the_writer),
        cmocka_unit_test(a_log_that_cannot_be_spliced_to_is_written),
        cmocka_unit_test(a_log_is_made_for_the_first_byte_only),
        cmocka_unit_test(own_lines_begin_on_a_new_line),
        cmocka_unit_test(secrets_are_hidden_byte_by_byte),
        cmocka_unit_test(the_cap_counts_what_is_shown),
        cmocka_unit_test(a_full_disk_does_not_stop_who_is_masked),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
