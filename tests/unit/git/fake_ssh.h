/*
 * fake_ssh.h - "ssh" that runs the command on this machine: remotes without a network.
 *
 * Each run adds a line to the file "calls" and leaves its environment in "env".  A file "hang"
 * makes it sleep (its process id goes to "pid"), "refuse" makes it fail as ssh does.
 */
#ifndef VOLT_TESTS_GIT_FAKE_SSH_H
#define VOLT_TESTS_GIT_FAKE_SSH_H

#include "scratch.h"

static inline int fake_ssh_setup(void **state)
{
    char dir[PATH_SIZE];

    scratch_setup(state);
    assert_non_null(getcwd(dir, sizeof dir));
    run("cat > ssh <<'END'\n#!/bin/sh\ncd $(dirname $0)\necho \"$2\" >> calls\nenv > env\n"
        "if [ -e hang ] && [ \"$1\" != quick ]; then echo $$ > pid; exec sleep 1000; fi\n"
        "if [ -e refuse ]; then echo 'ssh: Could not resolve hostname x: Unknown' >&2; exit 255; "
        "fi\n"
        "if [ -e master ]; then sleep 1000 >/dev/null & echo $! > pid; fi\n"
        "exec sh -c \"$2\"\nEND\nchmod +x ssh");
    {
        CLEANUP(free)
        char *command = mem_printf("%s/ssh", dir);

        setenv("GIT_SSH", command, 1);
        setenv("GIT_SSH_VARIANT", "simple", 1);
    }
    return 0;
}

/* The URL of a repository in the current directory. */
static inline char *fake_url(const char *host, const char *name)
{
    char dir[PATH_SIZE];

    assert_non_null(getcwd(dir, sizeof dir));
    return mem_printf("ssh://%s%s/%s", host, dir, name);
}

static inline void assert_process_gone(void)
{
    CLEANUP(free)
    char *state = sh("for i in $(seq 50); do s=$(ps -o stat= -p $(cat pid) || true); case \"$s\" in"
                     " ''|Z*) break;; esac; sleep 0.1; done; echo $s");

    assert_true(state[0] == '\0' || state[0] == 'Z');
}

#endif
