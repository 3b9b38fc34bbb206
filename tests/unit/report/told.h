/*
 * told.h - what a reader of reports tells, as a story: a line a case, "verdict ms name | message",
 * with a newline in a message shown as "\n".
 */
#ifndef VOLT_TESTS_REPORT_TOLD_H
#define VOLT_TESTS_REPORT_TOLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "report/report.h"

static void add_shown(buf *b, slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == '\n')
            buf_adds(b, "\\n");
        else
            buf_addc(b, text.p[i]);
}

static void told_take(void *ctx, const rec_test_case *c)
{
    buf *b = ctx;

    assert_true(c->name.n > 0 && c->name.n <= REPORT_NAME_MAX);
    assert_true(c->message.n <= REPORT_MESSAGE_MAX);
    buf_addf(b, "%s %llu ", verdict_text(c->verdict), (unsigned long long)c->duration_ms);
    add_shown(b, c->name);
    if (c->message.n)
        buf_adds(b, " | ");
    add_shown(b, c->message);
    buf_addc(b, '\n');
}

#endif
