/*
 * text.h - small text forms that people type and read: durations, sizes, identifiers, numbers.
 */
#ifndef VOLT_BASE_TEXT_H
#define VOLT_BASE_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

#define TEXT_DURATION_MAX 32

/* "250ms", "5s", "10m", "1h30m", "7d"; a bare number is seconds.  0 <= result <= 10 years.
 * VOLT_EINVALID: anything else. */
volt_code text_duration_ms(const char *s, int64_t *ret, volt_err *err);
/* A decimal number in [min, max].  VOLT_EINVALID. */
volt_code text_number(const char *s, int64_t min, int64_t max, int64_t *ret, volt_err *err);
/* "1000", "64K", "512M", "5G", "1T": a bare number is bytes, a letter a power of 1024.
 * VOLT_EINVALID: anything else, or outside [min, max]. */
volt_code text_size(const char *s, int64_t min, int64_t max, int64_t *ret, volt_err *err);
/* "830 ms", "4.2 s", "3 m 05 s", "2 h 07 m": for people. */
const char *text_show_ms(int64_t ms, char ret[TEXT_DURATION_MAX]);
/* Exactly `n` lower-case hex digits. */
bool text_is_hex(slice s, size_t n);
/* A git commit id: 40 or 64 lower-case hex digits. */
bool text_is_oid(slice s);
/* A variable's name, as a shell takes it: letters, digits and '_', no digit first. */
bool text_is_variable(slice s);
/* A relative path that stays below where it starts: no part of it is empty, "." or "..". */
bool text_is_inside(slice path);
/* Length of the longest prefix of s that is whole UTF-8. */
size_t text_utf8_prefix(slice s);
/* fnmatch-like glob over a ref or branch name: `*` within a component, `**` over several, `?`. */
bool text_glob(const char *pattern, const char *s);

#endif
