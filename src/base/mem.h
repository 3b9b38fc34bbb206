/*
 * mem.h - allocation that does not fail.
 *
 * Volt says nothing before its transaction is durable, so a process that is out of memory may end
 * at any allocation and lose nothing: it writes one line to standard error and exits with 70, and a
 * supervisor starts it again.  That replaces error paths which nobody could test.
 * Sizes that a peer declares are checked by the caller before they get here.
 */
#ifndef VOLT_BASE_MEM_H
#define VOLT_BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>

#define MEM_EXIT_CODE 70 /* EX_SOFTWARE of sysexits.h */

/* The end of a process that is out of memory. */
void mem_end(void) __attribute__((noreturn));
/* `size` zeroed bytes, freed with free(). */
void *mem_zero(size_t size);
/* An array of `n` zeroed items of `size` bytes. */
void *mem_array(size_t n, size_t size);
/* As realloc(), for n items of `size` bytes; new bytes are not zeroed. */
void *mem_grow(void *p, size_t n, size_t size);
/* A copy of the first n bytes of s and a NUL. */
char *mem_strndup(const char *s, size_t n);
char *mem_strdup(const char *s);
/* printf into a fresh string. */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *mem_vprintf(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

#define NEW(type)          ((type *)mem_zero(sizeof(type)))
#define NEW_ARRAY(type, n) ((type *)mem_array((n), sizeof(type)))

#endif
