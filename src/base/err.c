#include "base/err.h"

#include <stdio.h>
#include <string.h>

volt_code volt_fail(volt_err *err, volt_code code, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return code;
    err->code = code;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    for (char *p = err->msg; *p; p++) /* libraries end their messages with newlines */
        if (*p == '\n')
            *p = p[1] ? ' ' : '\0';
    return code;
}

volt_code volt_wrap(volt_err *err, volt_code code, const char *fmt, ...)
{
    char joined[2 * VOLT_ERR_MSG_MAX];
    va_list ap;
    size_t n;

    if (!err)
        return code;
    va_start(ap, fmt);
    vsnprintf(joined, VOLT_ERR_MSG_MAX, fmt, ap);
    va_end(ap);
    n = strlen(joined);
    snprintf(joined + n, sizeof joined - n, ": %s", err->msg);
    memcpy(err->msg, joined, sizeof err->msg - 1);
    err->msg[sizeof err->msg - 1] = '\0';
    err->code = code;
    return code;
}

const char *volt_code_text(volt_code code)
{
    switch (code) {
    case VOLT_OK:
        return "success";
#define ERROR(name, text) \
    case VOLT_##name:     \
        return text;
#include "base/errors.def"
#undef ERROR
    default:
        return "unknown error";
    }
}
