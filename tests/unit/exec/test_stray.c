#include "exec/stray.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

/* No such directory: only its name counts, and no other test's processes have it. */
static char work[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(work, sizeof work, "/nowhere/stray-%d", getpid());
    return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

static int tear_down(void **state)
{
    (void)state;
    return 0;
}

static bool is_slot_3(void *ctx, uint64_t slot)
{
    (void)ctx;
    return slot == 3;
}

static bool is_any(void *ctx, uint64_t slot)
{
    (void)ctx, (void)slot;
    return true;
}

/* A process with this workspace in its environment, behind other variables. */
static pid_t start(const char *script, const char *workspace)
{
    char *env[] = { mem_strdup("FIRST=VOLT_WORKSPACE"), mem_printf("VOLT_WORKSPACE=%s", workspace),
                    mem_strdup("LAST=1"), NULL };
    char *argv[] = { mem_strdup("sh"), mem_strdup("-c"), mem_strdup(script), NULL };
    int ready[2];
    pid_t pid;
    char byte;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        dup2(ready[1], 1);
        close(ready[0]);
        close(ready[1]);
        execve("/bin/sh", argv, env);
        _exit(127);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1); /* it runs, with the environment it was given */
    close(ready[0]);
    for (int i = 0; i < 3; i++) {
        free(env[i]);
        free(argv[i]);
    }
    return pid;
}

static bool runs(pid_t pid)
{
    return waitpid(pid, NULL, WNOHANG) == 0;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void stop_all(stray_wanted *wanted)
{
    while (stray_kill(work, wanted, NULL))
        poll(NULL, 0, 5);
}

#define SLEEP "echo; exec sleep 1000"

static void ends_what_has_a_workspace_of_a_wanted_slot(void **state)
{
    char mine[128], other_slot[128], other_work[128], near[128];
    pid_t a, b, c, d;

    (void)state;
    snprintf(mine, sizeof mine, "%s/pool/3/demo", work);
    snprintf(other_slot, sizeof other_slot, "%s/pool/33/demo", work);
    snprintf(other_work, sizeof other_work, "%s-2/pool/3/demo", work);
    snprintf(near, sizeof near, "/x%s/pool/3/demo", work);
    a = start(SLEEP, mine);
    b = start(SLEEP, other_slot);
    c = start(SLEEP, other_work);
    d = start(SLEEP, near);
    stop_all(is_slot_3);
    assert_int_equal(waitpid(a, NULL, 0), a);
    assert_true(runs(b) && runs(c) && runs(d));
    stop_all(is_any);
    assert_int_equal(waitpid(b, NULL, 0), b);
    assert_true(runs(c) && runs(d));
    end(c);
    end(d);
}

/* Below one that is known; its own environment is empty, and it ignores what can be ignored. */
static void ends_what_such_a_process_started(void **state)
{
    char mine[128];
    pid_t pid;

    (void)state;
    snprintf(mine, sizeof mine, "%s/pool/3/demo", work);
    pid = start("env -i sh -c 'trap \"\" TERM INT HUP; echo; exec sleep 1000' & wait", mine);
    assert_int_equal(stray_kill(work, is_slot_3, NULL), 2);
    stop_all(is_slot_3);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    while (waitpid(-1, NULL, 0) > 0) /* the inner one falls to us: returns, for it has ended */
        ;
}

/* This program, told to look for itself: see main(). */
static void leaves_itself_alone(void **state)
{
    char *env[] = { mem_printf("VOLT_WORKSPACE=%s/pool/3/demo", work), NULL };
    char *argv[] = { mem_strdup("test_stray"), work, NULL };
    int status;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        execve("/proc/self/exe", argv, env);
        _exit(127);
    }
    free(env[0]);
    free(argv[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return (int)stray_kill(argv[1], is_any, NULL);

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(ends_what_has_a_workspace_of_a_wanted_slot),
        TEST(ends_what_such_a_process_started),
        TEST(leaves_itself_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
