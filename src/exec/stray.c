#include "exec/stray.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "exec/walk.h"

#define ENVIRON_MAX \
    ((size_t)8 << 20) /* of one process; the kernel's limit is a quarter of a stack */

/* A process's environment: NUL-ended texts.  Empty when it is another user's, a kernel thread's, or
 * that of one that has ended. */
static void read_environ(int proc, pid_t pid, buf *ret)
{
    char name[32], chunk[16384];
    ssize_t n;

    snprintf(name, sizeof name, "%d/environ", pid);
    CLEANUP(close)
    int fd = openat(proc, name, O_RDONLY | O_CLOEXEC);

    buf_clear(ret);
    while (fd >= 0 && ret->n < ENVIRON_MAX) {
        n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        buf_add(ret, chunk, (size_t)n);
    }
}

/* The slot whose workspace the environment names; false: none of this work directory. */
static bool slot_of(const buf *env, const char *prefix, uint64_t *ret)
{
    size_t n = strlen(prefix);

    for (size_t at = 0; at < env->n; at += strnlen(env->p + at, env->n - at) + 1) {
        char *end;

        if (env->n - at <= n || memcmp(env->p + at, prefix, n) != 0)
            continue;
        *ret = strtoull(env->p + at + n, &end, 10); /* a buf ends in a NUL */
        return end != env->p + at + n && *end == '/';
    }
    return false;
}

size_t stray_kill(const char *work, stray_wanted *wanted, void *ctx)
{
    CLEANUP(walk)
    walk w = { .proc = -1 };
    CLEANUP(buf)
    buf prefix = { 0 };
    CLEANUP(buf)
    buf env = { 0 };
    uint64_t slot;
    size_t n = 0;

    if (!walk_open(&w))
        return 0;
    buf_addf(&prefix, "VOLT_WORKSPACE=%s/pool/", work);
    walk_look(&w);
    for (size_t i = 0; i < w.n; i++) {
        if (w.v[i].pid == getpid() || w.v[i].state == 'Z')
            continue;
        read_environ(w.proc, w.v[i].pid, &env);
        w.v[i].ours = slot_of(&env, buf_str(&prefix), &slot) && wanted(ctx, slot);
    }
    walk_mark_children(&w);
    for (size_t i = 0; i < w.n; i++)
        if (w.v[i].ours && w.v[i].state != 'Z') {
            walk_signal(&w, &w.v[i], SIGKILL);
            n++;
        }
    return n;
}
