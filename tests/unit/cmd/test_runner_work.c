#include "cmd/runner/work.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/rmtree.h"

/* Opens `dir` in a process of its own, which starts a child that keeps every descriptor, and is
 * killed.  Returns the child. */
static pid_t die_with_a_child(const char *dir)
{
    int pipe_ends[2];
    pid_t owner, child = 0;

    assert_int_equal(pipe(pipe_ends), 0);
    owner = fork();
    assert_true(owner >= 0);
    if (owner == 0) {
        runner_work w = { .lock = -1 };

        if (runner_work_open(dir, &w, NULL) == VOLT_OK) {
            child = fork();
            if (child == 0) {
                alarm(30); /* ends it when the test fails */
                for (;;)
                    pause();
            }
        }
        if (write(pipe_ends[1], &child, sizeof child) != sizeof child)
            abort();
        for (;;)
            pause();
    }
    assert_int_equal(read(pipe_ends[0], &child, sizeof child), sizeof child);
    assert_true(child > 0);
    kill(owner, SIGKILL);
    waitpid(owner, NULL, 0);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    return child;
}

static void is_free_when_its_runner_is_dead(void **fixture)
{
    char dir[] = "/tmp/volt-work-XXXXXX";
    runner_work w = { .lock = -1 };
    pid_t child;

    (void)fixture;
    assert_non_null(mkdtemp(dir));
    child = die_with_a_child(dir);
    assert_int_equal(runner_work_open(dir, &w, NULL), VOLT_OK);
    runner_work_close(&w);
    kill(child, SIGKILL);
    rmtree(AT_FDCWD, dir, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_free_when_its_runner_is_dead),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
