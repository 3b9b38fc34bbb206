#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void mem_end(void)
{
    static const char line[] =
        "volt: out of memory; nothing acknowledged is lost, start it again\n";
    ssize_t n = write(STDERR_FILENO, line, sizeof line - 1);

    (void)n; /* there is nobody left to tell */
    _exit(MEM_EXIT_CODE);
}

static void *checked(void *p)
{
    if (!p)
        mem_end();
    return p;
}

void *mem_zero(size_t size)
{
    return checked(calloc(1, size ? size : 1));
}

void *mem_array(size_t n, size_t size)
{
    return checked(calloc(n ? n : 1, size ? size : 1));
}

void *mem_grow(void *p, size_t n, size_t size)
{
    return checked(reallocarray(p, n ? n : 1, size ? size : 1));
}

char *mem_strndup(const char *s, size_t n)
{
    char *p = mem_zero(n + 1);

    if (n)
        memcpy(p, s, n);
    return p;
}

char *mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}

char *mem_vprintf(const char *fmt, va_list ap)
{
    char *p = NULL;
    int n = vasprintf(&p, fmt, ap);

    return checked(n < 0 ? NULL : p);
}

char *mem_printf(const char *fmt, ...)
{
    char *p;
    va_list ap;

    va_start(ap, fmt);
    p = mem_vprintf(fmt, ap);
    va_end(ap);
    return p;
}
