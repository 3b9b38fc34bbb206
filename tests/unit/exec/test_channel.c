#include "exec/channel.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/volt-channel-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char *path = mem_printf("%s/1.sock", dir);

    (void)state;
    unlink(path);
    free(path);
    return rmdir(dir);
}

/* Both ends of a connection, and the listener. */
static void pair(int *listener, channel **a, channel **b)
{
    assert_int_equal(channel_listen(dir, "1.sock", listener, NULL), VOLT_OK);
    assert_int_equal(channel_connect(dir, "1.sock", a, NULL), VOLT_OK);
    assert_int_equal(channel_accept(*listener, b, NULL), VOLT_OK);
}

static void unpair(int listener, channel *a, channel *b)
{
    channel_free(a);
    channel_free(b);
    close(listener);
}

static void carries_frames_both_ways_in_order(void **state)
{
    channel *a, *b;
    int listener;
    slice got;

    (void)state;
    pair(&listener, &a, &b);
    assert_int_equal(channel_recv(b, &got, NULL), VOLT_EAGAIN);
    assert_int_equal(channel_send(a, SLICE("one"), NULL), VOLT_OK);
    assert_int_equal(channel_send(a, SLICE(""), NULL), VOLT_OK);
    assert_int_equal(channel_send(a, SLICE("t\0o"), NULL), VOLT_OK);
    assert_int_equal(channel_send(b, SLICE("back"), NULL), VOLT_OK);
    assert_int_equal(channel_recv(b, &got, NULL), VOLT_OK);
    assert_true(slice_is(got, "one"));
    assert_int_equal(channel_recv(b, &got, NULL), VOLT_OK);
    assert_int_equal(got.n, 0);
    assert_int_equal(channel_recv(b, &got, NULL), VOLT_OK);
    assert_true(slice_eq(got, SLICE("t\0o")));
    assert_int_equal(channel_recv(b, &got, NULL), VOLT_EAGAIN);
    assert_int_equal(channel_recv(a, &got, NULL), VOLT_OK);
    assert_true(slice_is(got, "back"));
    unpair(listener, a, b);
}

static void large_frames_pass_in_pieces(void **state)
{
    char *big = mem_array(CHANNEL_FRAME_MAX, 1);
    channel *a, *b;
    int listener, got = 0;
    slice f;

    (void)state;
    for (size_t i = 0; i < CHANNEL_FRAME_MAX; i++)
        big[i] = (char)(i * 7);
    pair(&listener, &a, &b);
    for (int i = 0; i < 4; i++)
        assert_int_equal(channel_send(a, (slice){ big, CHANNEL_FRAME_MAX }, NULL), VOLT_OK);
    assert_true(channel_pending(a) > 0);
    while (got < 4) {
        volt_code rc = channel_recv(b, &f, NULL);

        if (rc == VOLT_EAGAIN) {
            channel_flush(a);
            continue;
        }
        assert_int_equal(rc, VOLT_OK);
        assert_int_equal(f.n, CHANNEL_FRAME_MAX);
        assert_memory_equal(f.p, big, f.n);
        got++;
    }
    assert_int_equal(channel_pending(a), 0);
    unpair(listener, a, b);
    free(big);
}

static void a_peer_that_does_not_read_fills_a_bounded_buffer(void **state)
{
    char *big = mem_array(CHANNEL_FRAME_MAX, 1);
    channel *a, *b;
    int listener, sent = 0;

    (void)state;
    pair(&listener, &a, &b);
    while (channel_send(a, (slice){ big, CHANNEL_FRAME_MAX }, NULL) == VOLT_OK)
        assert_true(++sent < 20);
    assert_true(channel_pending(a) <= CHANNEL_PENDING_MAX);
    unpair(listener, a, b);
    free(big);
}

static void frames_before_the_end_are_read_then_the_end(void **state)
{
    channel *a, *b;
    int listener;
    slice f;

    (void)state;
    pair(&listener, &a, &b);
    channel_send(a, SLICE("last words"), NULL);
    channel_free(a);
    assert_int_equal(channel_send(b, SLICE("into the void"), NULL), VOLT_OK);
    assert_int_equal(channel_recv(b, &f, NULL), VOLT_OK);
    assert_true(slice_is(f, "last words"));
    assert_int_equal(channel_recv(b, &f, NULL), VOLT_EUNREACHABLE);
    unpair(listener, NULL, b);
}

static void torn_and_oversized_frames_are_refused(void **state)
{
    channel *a, *b;
    int listener;
    slice f;

    (void)state;
    pair(&listener, &a, &b);
    assert_int_equal(send(channel_fd(a), "\5\0\0\0abc", 7, 0), 7);
    assert_int_equal(channel_recv(b, &f, NULL), VOLT_EAGAIN);
    channel_free(a);
    assert_int_equal(channel_recv(b, &f, NULL), VOLT_EMSG);
    channel_free(b);
    assert_int_equal(channel_connect(dir, "1.sock", &a, NULL), VOLT_OK);
    assert_int_equal(channel_accept(listener, &b, NULL), VOLT_OK);
    assert_int_equal(send(channel_fd(a), "\1\0\20\0", 4, 0), 4);
    assert_int_equal(channel_recv(b, &f, NULL), VOLT_EMSG);
    unpair(listener, a, b);
}

static void a_stale_socket_is_replaced_a_living_one_is_not(void **state)
{
    int first, second;
    channel *c = NULL;
    volt_err err;

    (void)state;
    assert_int_equal(channel_connect(dir, "1.sock", &c, NULL), VOLT_ENOTFOUND);
    assert_int_equal(channel_listen(dir, "1.sock", &first, NULL), VOLT_OK);
    assert_int_equal(channel_listen(dir, "1.sock", &second, &err), VOLT_EEXISTS);
    close(first);
    assert_int_equal(channel_connect(dir, "1.sock", &c, NULL), VOLT_ENOTFOUND);
    assert_int_equal(channel_listen(dir, "1.sock", &second, NULL), VOLT_OK);
    close(second);
}

static void a_long_directory_and_a_private_socket(void **state)
{
    char *deep = mem_printf("%s/%0120d", dir, 1);
    char *path = mem_printf("%s/1.sock", deep);
    channel *a, *b;
    struct stat st;
    int listener;

    (void)state;
    assert_int_equal(mkdir(deep, 0700), 0);
    assert_int_equal(channel_listen(deep, "1.sock", &listener, NULL), VOLT_OK);
    assert_int_equal(channel_accept(listener, &b, NULL), VOLT_EAGAIN);
    assert_int_equal(channel_connect(deep, "1.sock", &a, NULL), VOLT_OK);
    assert_int_equal(channel_accept(listener, &b, NULL), VOLT_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    unpair(listener, a, b);
    unlink(path);
    rmdir(deep);
    free(path);
    free(deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(carries_frames_both_ways_in_order, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(large_frames_pass_in_pieces, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_peer_that_does_not_read_fills_a_bounded_buffer, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(frames_before_the_end_are_read_then_the_end, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(torn_and_oversized_frames_are_refused, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(a_stale_socket_is_replaced_a_living_one_is_not, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(a_long_directory_and_a_private_socket, make_dir,
                                        remove_dir),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
