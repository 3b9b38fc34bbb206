/*
 * no_memory.c - loaded before the C library (LD_PRELOAD), makes memory run out in a real process.
 *
 * VOLT_NO_MEMORY=executor:1234:FILE lets the 1,234th allocation of `volt executor` fail, with a +
 * behind the number (1234+) all behind it in that process, too; 0 only counts.  FILE holds what
 * `calls` below says, for the test to look at.  All executors count together, and those that are
 * started again go on counting, so that one allocation fails and no more.
 *
 * A process that is ended by a signal of its own making says where it was: an abort inside a
 * library cannot be prevented here, one of ours has to be.
 */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FRAMES_MAX 64

typedef struct calls {
    _Atomic uint64_t n;
    _Atomic uint64_t denied_pid; /* 0: none yet */
} calls;

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

static calls *all;
static uint64_t at;
static bool all_behind;
static _Atomic bool dry; /* this process has no more */

/* ---- which process ---- */

static void say_where(int number)
{
    static const char line[] = "no_memory: ended by a signal at\n";
    void *frames[FRAMES_MAX];

    if (write(STDERR_FILENO, line, sizeof line - 1) > 0)
        backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), STDERR_FILENO);
    signal(number, SIG_DFL);
    raise(number);
}

/* "volt ROLE ...", whatever the path of volt. */
static bool is_role(const char *role, size_t n)
{
    char line[4096] = { 0 };
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    size_t first;

    if (fd < 0 || read(fd, line, sizeof line - 2) < 0)
        abort();
    close(fd);
    first = strlen(line);
    return first >= 4 && strcmp(line + first - 4, "volt") == 0 && strlen(line + first + 1) == n &&
           memcmp(line + first + 1, role, n) == 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("VOLT_NO_MEMORY"), *colon = text ? strchr(text, ':') : NULL;
    char *end;
    void *first[1];
    int fd;

    if (!colon || !is_role(text, (size_t)(colon - text)))
        return;
    at = strtoull(colon + 1, &end, 10);
    all_behind = *end == '+';
    end += all_behind;
    fd = *end == ':' ? open(end + 1, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (fd < 0 || ftruncate(fd, sizeof *all) < 0) {
        fprintf(stderr, "no_memory: '%s' is not ROLE:NUMBER[+]:FILE\n", text);
        abort();
    }
    backtrace(first, 1); /* loads what it needs */
    signal(SIGSEGV, say_where);
    signal(SIGBUS, say_where);
    signal(SIGABRT, say_where);
    all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (all == MAP_FAILED)
        abort();
}

/* ---- allocations ---- */

static bool denied(void)
{
    if (!all)
        return false;
    if (!dry) {
        if (atomic_fetch_add(&all->n, 1) + 1 != at)
            return false;
        all->denied_pid = (uint64_t)getpid();
        dry = all_behind;
    }
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n)
{
    return denied() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return denied() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return denied() ? NULL : __libc_realloc(p, n);
}

void *memalign(size_t align, size_t n)
{
    return denied() ? NULL : __libc_memalign(align, n);
}

void *aligned_alloc(size_t align, size_t n)
{
    return memalign(align, n);
}

int posix_memalign(void **ret, size_t align, size_t n)
{
    void *p = memalign(align, n);

    if (p)
        *ret = p;
    return p ? 0 : ENOMEM;
}
