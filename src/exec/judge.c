/* What the units of a batch come to: the outcome of each file, on its way out. */
#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "core/verdict.h"
#include "exec/attempt_parts.h"
#include "pipeline/detect.h"

#define FIRST_LINE_MAX  256 /* of a script, of which Linux reads so much */
#define EXIT_NO_PROGRAM 127 /* of env, when it does not find what it is to run */

/* The interpreter that a script's first line names, to the system or to env; in `mem`.  NULL: none
 * that is understood. */
static const char *interpreter(const char *path, arena *mem)
{
    CLEANUP(close)
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    char line[FIRST_LINE_MAX + 1] = "";
    char *save = NULL, *word;

    if (fd < 0 || read(fd, line, FIRST_LINE_MAX) < 0 || strncmp(line, "#!", 2) != 0)
        return NULL;
    line[strcspn(line, "\r\n")] = '\0';
    word = strtok_r(line + 2, " \t", &save);
    if (word && strcmp(word, "/usr/bin/env") == 0)
        do
            word = strtok_r(NULL, " \t", &save);
        while (word && (strcmp(word, "-S") == 0 || strchr(word, '=')));
    return word && *word != '-' ? arena_str(mem, slice_of(word)) : NULL;
}

/* Whoever has no pipeline file did not ask for this file, and may not know what it takes. */
static void say_what_is_missing(attempt *a, slice file)
{
    arena *mem = &a->unit_mem;
    const char *name =
        interpreter(arena_printf(mem, "%s/" SLICE_FMT, a->dir, SLICE_ARG(file)), mem);

    /* A PATH in which sh is found is one that can be looked through. */
    if (name && environ_program(a->env, a->dir, "sh", mem) &&
        !environ_program(a->env, a->dir, name, mem))
        batch_say(a,
                  "volt: " SLICE_FMT ": '%s', which its first line names, is not on this runner: "
                  "install it there, or say in .volt.yml what is tested",
                  SLICE_ARG(file), name);
}

/* What a Python file's exit status says; see unittest_one.py. */
static verdict python_verdict(attempt *a, const unit_outcome *o, rec_item *item)
{
    if (o->signal)
        return VERDICT_FAILED;
    switch (o->exit) {
    case ATTEMPT_UNITTEST_PASSED:
        item->exit = 0;
        return VERDICT_PASSED;
    case ATTEMPT_UNITTEST_NO_TESTS:
        return VERDICT_NO_TESTS;
    case 0:
        output_line(a->out, "volt: the process ended with status 0 before its tests were done");
        return VERDICT_FAILED;
    default:
        return VERDICT_FAILED;
    }
}

rec_item judge_unit(attempt *a, const unit_outcome *o)
{
    bool detected = !attempt_is_script(a) && !a->spec.level;
    rec_item item = { .duration_ms = (uint64_t)o->duration_ms,
                      .log_off = a->runs ? a->first_off : o->log_off,
                      .exit = (uint64_t)o->exit,
                      .signal = (uint64_t)o->signal };

    switch (o->end) {
    case UNIT_EXITED:
        if (detected && detect_unit(a->order.files.v[a->next]) == DETECT_PYTHON)
            item.verdict = python_verdict(a, o, &item);
        else
            item.verdict = o->exit == 0 && o->signal == 0 ? VERDICT_PASSED : VERDICT_FAILED;
        if (a->report)
            outcomes_judge(a, o, &item);
        break;
    case UNIT_TIMEOUT:
        item.verdict = VERDICT_TIMEOUT;
        break;
    case UNIT_CANCELED:
        item.verdict = VERDICT_CANCELED;
        break;
    case UNIT_NOT_STARTED:
        item.verdict = VERDICT_ERRORED;
        break;
    }
    if (detected && (o->end == UNIT_NOT_STARTED || o->exit == EXIT_NO_PROGRAM))
        say_what_is_missing(a, a->order.files.v[a->next]);
    item.log_len = output_bytes(a->out) - item.log_off;
    return item;
}

bool judge_again(attempt *a, const rec_item *item)
{
    bool failed = item->verdict == VERDICT_FAILED || item->verdict == VERDICT_TIMEOUT;

    if (!failed || a->runs >= a->spec.retry || attempt_is_script(a) || a->canceled || a->broken)
        return false;
    a->first_off = item->log_off;
    a->runs++;
    return true;
}

void judge_flush(attempt *a)
{
    msg m = { .type = MSG_tests,
              .tests = { .task = a->order.task,
                         .att = a->order.att,
                         .from = a->order.from + a->flushed,
                         .items = { .v = a->items, .n = a->items_n },
                         .cases_from = a->cases_from,
                         .cases = { .v = a->cases, .n = a->cases_n } } };
    volt_err err;

    a->flush_ms = ATTEMPT_NEVER;
    if ((a->items_n == 0 && a->cases_n == 0) || attempt_is_script(a))
        return;
    attempt_tell_start(a);
    if (attempt_tell(a, SPOOL_TESTS, &m, &err)) {
        batch_give_up(a, err.msg);
        return;
    }
    a->flushed += a->items_n;
    a->items_n = 0;
    outcomes_flushed(a);
}

void judge_record(attempt *a, rec_item item, int64_t now_ms)
{
    outcomes_tell(a, &item);
    assert(a->items_n < ATTEMPT_FLUSH_ITEMS);
    if (a->runs) {
        item.tries = a->runs + 1;
        if (item.verdict == VERDICT_PASSED)
            item.verdict = VERDICT_FLAKY;
    }
    a->runs = 0;
    if (verdict_worse(a->worst, item.verdict) != a->worst) {
        a->worst = item.verdict;
        a->worst_item = item;
    }
    if (a->items_n == 0)
        a->flush_ms = now_ms + ATTEMPT_FLUSH_MS;
    a->items[a->items_n++] = item;
    a->cases_open = 0;
}
