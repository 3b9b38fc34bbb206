/*
 * err.h - what went wrong, said once, where it happened.
 *
 * A function that can fail returns a volt_code and takes a `volt_err *` as its last argument
 * (NULL: the caller does not want the text).  The call that fails describes it with volt_fail();
 * callers above add an identifier with volt_wrap() or pass it on.  On success *err is untouched.
 */
#ifndef VOLT_BASE_ERR_H
#define VOLT_BASE_ERR_H

#include <stdarg.h>

typedef enum volt_code {
    VOLT_OK = 0,
    VOLT_CODE_BEFORE_FIRST = -100, /* codes count up from here, so that new ones go at the end */
#define ERROR(name, text) VOLT_##name,
#include "base/errors.def"
#undef ERROR
} volt_code;

#define VOLT_ERR_MSG_MAX 512

typedef struct volt_err {
    volt_code code;
    char msg[VOLT_ERR_MSG_MAX]; /* one line, without a newline; cut when longer */
} volt_err;

/* Fills *err (when not NULL) and returns `code`, so that `return volt_fail(...)` reads well. */
volt_code volt_fail(volt_err *err, volt_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "text: " before the message already in *err; returns err's code (VOLT_EIO when NULL). */
volt_code volt_wrap(volt_err *err, volt_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A short static text for `code` ("not found"). */
const char *volt_code_text(volt_code code);

#endif
