/* Runs itself again in the roles of main(), for processes that behave badly in known ways. */
#include "exec/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

#define HOPS_MAX     500000 /* of a role that runs away, should nobody stop it: a minute */
#define BUSH_DEPTH   9      /* 512 processes */
#define WAIT_MS      10000
#define STILL_WAITED 10

static char self_path[4096];
static int null_fd;

/* ---- roles ---- */

static void role_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    const struct dirent *e;

    while ((e = readdir(d)))
        if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(d))
            printf("%s ", e->d_name);
    closedir(d);
}

static void role_state(void)
{
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");

    while (fgets(line, sizeof line, f))
        if (strncmp(line, "SigBlk:", 7) == 0 || strncmp(line, "SigIgn:", 7) == 0)
            fputs(line, stdout);
    fclose(f);
    printf("session %d umask %03o\n", getsid(0) == getpid(), umask(0));
}

/* Forks and ends, again and again: whoever looks finds a process that has gone already. */
static void role_hop(void)
{
    for (int i = 0; i < HOPS_MAX; i++)
        if (fork() > 0)
            _exit(0);
    _exit(1);
}

/* Each forks as many as it may, and all stay. */
static void role_bush(void)
{
    for (int depth = 0; depth < BUSH_DEPTH; depth++)
        if (fork() < 0)
            break;
    sleep(60);
}

/* A daemon as daemons are made, which does not heed TERM. */
static void say_up(void)
{
    if (write(1, "up", 2) != 2)
        _exit(1);
}

static void role_daemon(void)
{
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            signal(SIGTERM, SIG_IGN);
            say_up();
            sleep(60);
        }
        _exit(0);
    }
    wait(NULL);
}

static void *sleeper(void *arg)
{
    say_up();
    sleep(60);
    return arg;
}

/* Its first thread ends, which makes it look like a zombie, but it lives. */
static void role_headless(void)
{
    pthread_t t;

    pthread_create(&t, NULL, sleeper, NULL);
    pthread_exit(NULL);
}

static pid_t start(int out, const char *role);

static void role_executor(void)
{
    volt_err err;

    if (process_setup(&err))
        exit(1);
    null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    printf("%d", start(1, "sleep"));
    fflush(stdout);
    sleep(60);
}

static void role_stopped(void)
{
    say_up();
    raise(SIGSTOP);
    sleep(60);
}

static bool play(const char *role)
{
    if (strcmp(role, "fds") == 0)
        role_fds();
    else if (strcmp(role, "state") == 0)
        role_state();
    else if (strcmp(role, "hop") == 0)
        role_hop();
    else if (strcmp(role, "bush") == 0)
        role_bush();
    else if (strcmp(role, "daemon") == 0)
        role_daemon();
    else if (strcmp(role, "headless") == 0)
        role_headless();
    else if (strcmp(role, "executor") == 0)
        role_executor();
    else if (strcmp(role, "stopped") == 0)
        role_stopped();
    else if (strcmp(role, "sleep") == 0)
        sleep(60);
    else
        return false;
    return true;
}

/* ---- helpers ---- */

static pid_t start(int out, const char *role)
{
    const char *argv[] = { "role", role, NULL };
    const char *env[] = { "PATH=/usr/bin:/bin", NULL };
    process_command c = { self_path, argv, env, "/", null_fd, out, NULL };
    volt_err err;
    pid_t pid = -1;

    if (process_spawn(&c, &pid, &err))
        fail_msg("%s", err.msg);
    return pid;
}

/* Starts a role with a pipe for what it writes. */
static int start_piped(const char *role, pid_t *pid)
{
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    *pid = start(ends[1], role);
    close(ends[1]);
    return ends[0];
}

static void read_up(int fd)
{
    char b[2];

    assert_int_equal(read(fd, b, 2), 2);
    assert_memory_equal(b, "up", 2);
}

/* All it wrote until it closed the pipe. */
static char *read_all(int fd)
{
    static char text[4096];
    size_t n = 0;
    ssize_t got;

    while ((got = read(fd, text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    close(fd);
    return text;
}

/* Waits for one process; fails after WAIT_MS. */
static process_found next(process_exit *e)
{
    process_found found;

    for (int i = 0; i < WAIT_MS && (found = process_reap(e)) == PROCESS_RUNNING; i++)
        poll(NULL, 0, 1);
    return found;
}

/* Kills until nothing is left. */
static void end_all(void)
{
    process_exit e;
    process_found found = PROCESS_RUNNING;

    for (int i = 0; i < WAIT_MS / STILL_WAITED && found != PROCESS_NONE; i++) {
        process_kill_all();
        while ((found = process_reap(&e)) == PROCESS_ENDED)
            ;
        if (found == PROCESS_RUNNING)
            poll(NULL, 0, STILL_WAITED);
    }
    assert_int_equal(found, PROCESS_NONE);
}

/* ---- tests ---- */

static void a_child_has_nothing_of_ours(void **state)
{
    int leak = open("/dev/null", O_RDONLY);
    process_exit e;
    pid_t pid;

    (void)state;
    assert_true(leak > 2);
    assert_string_equal(read_all(start_piped("fds", &pid)), "0 1 2 ");
    assert_int_equal(next(&e), PROCESS_ENDED);
    assert_int_equal(e.pid, pid);
    assert_int_equal(process_reap(&e), PROCESS_NONE);
    close(leak);
}

static void a_child_starts_with_clean_signals_and_its_own_session(void **state)
{
    sigset_t set, before;
    process_exit e;
    pid_t pid;
    int fd;

    (void)state;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &before);
    fd = start_piped("state", &pid);
    sigprocmask(SIG_SETMASK, &before, NULL);
    assert_string_equal(read_all(fd), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
                                      "session 1 umask 022\n");
    next(&e);
}

static void says_how_it_ended(void **state)
{
    process_exit e;
    pid_t pid;

    (void)state;
    close(start_piped("nonsense", &pid));
    assert_int_equal(next(&e), PROCESS_ENDED);
    assert_int_equal(e.exit, 3);
    assert_int_equal(e.signal, 0);
    assert_true(e.max_rss_bytes > 0);
    close(start_piped("sleep", &pid));
    kill(pid, SIGUSR1);
    assert_int_equal(next(&e), PROCESS_ENDED);
    assert_int_equal(e.signal, SIGUSR1);
    assert_int_equal(process_reap(&e), PROCESS_NONE);
}

static void says_why_it_cannot_be_started(void **state)
{
    static const struct {
        const char *name, *text;
        mode_t mode;
        const char *want;
    } cases[] = {
        { "absent", NULL, 0, "No such file or directory" },
        { "plain", "#!/bin/sh\n", 0644, "Permission denied" },
        { "lost", "#!/nowhere/sh\n", 0755, "the interpreter its first line names is missing" },
    };
    char dir[] = "/tmp/volt-process-XXXXXX";
    const char *env[] = { NULL };
    process_exit e;

    (void)state;
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = mem_printf("./%s", cases[i].name);
        char *full = mem_printf("%s/%s", dir, cases[i].name);
        const char *argv[] = { path, NULL };
        process_command c = { path, argv, env, dir, null_fd, null_fd, NULL };
        volt_err err;
        pid_t pid;

        if (cases[i].text) {
            FILE *f = fopen(full, "w");

            fputs(cases[i].text, f);
            fclose(f);
            chmod(full, cases[i].mode);
        }
        assert_int_equal(process_spawn(&c, &pid, &err), VOLT_EINVALID);
        assert_string_equal(err.msg, cases[i].want);
        unlink(full);
        free(path);
        free(full);
    }
    rmdir(dir);
    assert_int_equal(process_reap(&e), PROCESS_NONE);
}

static void a_script_without_an_interpreter_line_is_a_shell_script(void **state)
{
    char path[] = "/tmp/volt-process-XXXXXX";
    const char *argv[] = { path, "one", "two", NULL };
    const char *env[] = { NULL };
    int fd = mkstemp(path), ends[2];
    process_command c = { path, argv, env, "/", null_fd, -1, NULL };
    process_exit e;
    pid_t pid;

    (void)state;
    assert_int_equal(write(fd, "echo $1 $2 $#\n", 14), 14);
    fchmod(fd, 0755);
    close(fd);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    c.out = ends[1];
    assert_int_equal(process_spawn(&c, &pid, NULL), VOLT_OK);
    close(ends[1]);
    assert_string_equal(read_all(ends[0]), "one two 2\n");
    next(&e);
    unlink(path);
}

static void a_daemon_that_forked_twice_is_ended(void **state)
{
    process_exit e;
    pid_t pid;
    int fd = start_piped("daemon", &pid);

    (void)state;
    read_up(fd);
    assert_int_equal(next(&e), PROCESS_ENDED);
    while (e.pid != pid)
        assert_int_equal(next(&e), PROCESS_ENDED);
    assert_int_equal(process_reap(&e), PROCESS_RUNNING);
    process_signal_all(SIGTERM);
    poll(NULL, 0, 20);
    assert_int_equal(process_reap(&e), PROCESS_RUNNING);
    end_all();
    assert_string_equal(read_all(fd), "");
}

static void processes_that_fork_and_end_cannot_run_away(void **state)
{
    pid_t pid;

    (void)state;
    for (int i = 0; i < 3; i++)
        close(start_piped("hop", &pid));
    end_all();
}

static void a_storm_of_processes_is_ended(void **state)
{
    pid_t pid;

    (void)state;
    close(start_piped("bush", &pid));
    end_all(); /* while it grows */
    close(start_piped("bush", &pid));
    poll(NULL, 0, 100);
    end_all();
}

static void a_process_without_its_first_thread_is_ended(void **state)
{
    pid_t pid;
    int fd = start_piped("headless", &pid);

    (void)state;
    read_up(fd);
    close(fd);
    poll(NULL, 0, 5); /* for the thread to end; either way the test holds */
    end_all();
}

static void a_stopped_process_heeds_term(void **state)
{
    process_exit e;
    pid_t pid;
    int fd = start_piped("stopped", &pid);

    (void)state;
    read_up(fd);
    close(fd);
    poll(NULL, 0, 5);
    assert_int_equal(process_signal_all(SIGTERM), 1);
    assert_int_equal(next(&e), PROCESS_ENDED);
    assert_int_equal(e.signal, SIGTERM);
}

static void the_child_of_a_killed_executor_dies_with_it(void **state)
{
    char text[16] = "";
    process_exit e;
    pid_t executor, child;
    int fd = start_piped("executor", &executor);

    (void)state;
    assert_true(read(fd, text, sizeof text - 1) > 0);
    child = atoi(text);
    assert_true(child > 1);
    assert_int_equal(kill(child, 0), 0);
    kill(executor, SIGKILL);
    assert_int_equal(next(&e), PROCESS_ENDED);
    if (e.pid == executor)
        assert_int_equal(next(&e), PROCESS_ENDED);
    else
        assert_int_equal(next(&(process_exit){ 0 }), PROCESS_ENDED);
    assert_int_equal(e.signal, SIGKILL);
    assert_int_equal(process_reap(&e), PROCESS_NONE);
    assert_int_equal(kill(child, 0), -1);
    close(fd);
}

static int setup(void **state)
{
    (void)state;
    if (process_setup(NULL))
        return -1;
    null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    process_enter_cgroup("volt-test-process"); /* both ways are tested where there is one */
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    process_teardown();
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_has_nothing_of_ours),
        cmocka_unit_test(a_child_starts_with_clean_signals_and_its_own_session),
        cmocka_unit_test(says_how_it_ended),
        cmocka_unit_test(says_why_it_cannot_be_started),
        cmocka_unit_test(a_script_without_an_interpreter_line_is_a_shell_script),
        cmocka_unit_test(a_daemon_that_forked_twice_is_ended),
        cmocka_unit_test(processes_that_fork_and_end_cannot_run_away),
        cmocka_unit_test(a_storm_of_processes_is_ended),
        cmocka_unit_test(a_process_without_its_first_thread_is_ended),
        cmocka_unit_test(a_stopped_process_heeds_term),
        cmocka_unit_test(the_child_of_a_killed_executor_dies_with_it),
    };

    if (readlink("/proc/self/exe", self_path, sizeof self_path - 1) < 0)
        return 1;
    if (argc == 2 && argv[0] && strcmp(argv[0], "role") == 0)
        return play(argv[1]) ? 0 : 3;
    return cmocka_run_group_tests(tests, setup, teardown);
}
