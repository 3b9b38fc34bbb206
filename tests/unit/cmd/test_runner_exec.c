#include "cmd/runner/exec.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/rmtree.h"
#include "exec/channel.h"

#define PATIENCE_MS 20000

typedef struct fixture {
    char dir[64];
    loop *loop;
    executors *e;
    unsigned up, gone;
} fixture;

static void on_up(void *ctx, unsigned slot)
{
    (void)slot;
    ((fixture *)ctx)->up++;
}

static void on_frame(void *ctx, unsigned slot, slice frame)
{
    (void)ctx;
    (void)slot;
    (void)frame;
}

static void on_gone(void *ctx, unsigned slot)
{
    (void)slot;
    ((fixture *)ctx)->gone++;
}

/* Until the channel is up and our child, which this program is as well (main()), has ended. */
static void wait_for_the_child(fixture *f)
{
    int64_t end = loop_now_ms() + PATIENCE_MS;
    siginfo_t ended = { 0 };

    while (loop_now_ms() < end && (!f->up || !ended.si_pid)) {
        executors_due(f->e, loop_now_ms());
        usleep(2000);
        assert_int_equal(waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT), 0);
    }
    assert_int_equal(f->up, 1);
    assert_true(ended.si_pid > 0);
}

/* An agent that was killed had just started an executor, which listens a moment after the next
 * agent has looked for one and started another: that one finds the place taken, and ends. */
static void the_end_of_its_own_is_not_that_of_who_has_the_place(void **state)
{
    static const char *const args[] = { NULL };
    fixture f = { .dir = "/tmp/volt-exec-XXXXXX" };
    executors_config config = {
        .args = args, .up = on_up, .frame = on_frame, .gone = on_gone, .ctx = &f
    };
    CLEANUP(free)
    char *slots = NULL;
    volt_err err;
    int listener;

    (void)state;
    assert_non_null(mkdtemp(f.dir));
    slots = mem_printf("%s/slots", f.dir);
    assert_int_equal(mkdir(slots, 0777), 0);
    config.loop = f.loop = loop_new();
    config.work = f.dir;
    f.e = executors_new(&config);
    executors_adopt(f.e);
    assert_int_equal(channel_listen(slots, "1.sock", &listener, &err), VOLT_OK);
    executors_spawn(f.e, 1);
    wait_for_the_child(&f);
    executors_reap(f.e);
    for (int i = 0; i < 50; i++) {
        executors_due(f.e, loop_now_ms());
        usleep(2000);
    }
    assert_int_equal(f.gone, 0);
    assert_int_equal(f.up, 1);

    executors_free(f.e);
    loop_free(f.loop);
    close(listener);
    assert_int_equal(rmtree(AT_FDCWD, f.dir, NULL), VOLT_OK);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_end_of_its_own_is_not_that_of_who_has_the_place),
    };

    if (argc > 1 && strcmp(argv[1], "executor") == 0) /* what executors_spawn() starts */
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
