#include "cmd/tail/lines.h"

#include <time.h>

#include "base/text.h"
#include "cmd/show.h"

bool line_is_news(const msg_event *e)
{
    switch (e->kind) {
    case EVENT_QUEUED:
    case EVENT_LEASED:
    case EVENT_LOG_END:
        return false;
    case EVENT_RUNNING: /* a batch of units, of which there may be thousands */
        return e->task_kind == TASK_SCRIPT || e->att > 1;
    case EVENT_TASK_DONE: /* its units were told one by one */
        return e->verdict != VERDICT_PASSED && e->verdict != VERDICT_FLAKY &&
               e->verdict != VERDICT_FAILED;
    default:
        return true;
    }
}

static void add_time(uint64_t time_ms, bool color, buf *out)
{
    time_t at = (time_t)(time_ms / 1000);
    struct tm tm;

    if (time_ms && localtime_r(&at, &tm))
        buf_addf(out, "%s%02d:%02d:%02d%s  ", show_begin(color, TONE_DIM), tm.tm_hour, tm.tm_min,
                 tm.tm_sec, show_end(color, TONE_DIM));
}

static void add_build(const msg_event *e, buf *out)
{
    if (!e->build)
        return;
    buf_addf(out, "#%llu ", (unsigned long long)e->build);
    show_text(out, e->repo, 0);
    buf_addc(out, ' ');
    show_text(out, show_ref(e->ref), 0);
    buf_addf(out, " " SLICE_FMT "  ", SLICE_ARG(show_oid(e->oid)));
}

static void add_verdict(const msg_event *e, bool color, buf *out)
{
    show_tone tone = show_verdict_tone(e->verdict);

    buf_addf(out, "%s%s%s", show_begin(color, tone), verdict_text(e->verdict),
             show_end(color, tone));
}

static void add_if(const char *before, slice text, const char *after, buf *out)
{
    if (!text.n)
        return;
    buf_adds(out, before);
    show_text(out, text, 0);
    buf_adds(out, after);
}

static void add_duration(const msg_event *e, buf *out)
{
    char text[TEXT_DURATION_MAX];

    if (e->duration_ms)
        buf_addf(out, " (%s)", text_show_ms((int64_t)e->duration_ms, text));
}

/* "task 4 (tests)", with the attempt when it is not the first. */
static void add_task(const msg_event *e, buf *out)
{
    buf_addf(out, "task %llu", (unsigned long long)e->task);
    if (e->task_kind == TASK_PLAN)
        buf_adds(out, " (plan)");
    add_if(" (", e->job, ")", out);
    if (e->att > 1)
        buf_addf(out, ", attempt %llu", (unsigned long long)e->att);
}

static void add_how(const msg_event *e, buf *out)
{
    if (e->signal)
        buf_addf(out, ", signal %llu", (unsigned long long)e->signal);
    else if (e->exit)
        buf_addf(out, ", exit %llu", (unsigned long long)e->exit);
    if (e->bad)
        buf_addf(out, ", %llu of %llu cases failed", (unsigned long long)e->bad,
                 (unsigned long long)(e->cases > e->bad ? e->cases : e->bad));
}

/* What happened in a build. */
static void add_build_news(const msg_event *e, bool color, buf *out)
{
    switch (e->kind) {
    case EVENT_SUBMITTED:
        buf_adds(out, e->gen ? "submitted again" : "submitted");
        add_if(": ", e->subject, "", out);
        add_if(" (", e->author, ")", out);
        break;
    case EVENT_PLANNED:
        buf_addf(out, "planned: %llu to run", (unsigned long long)e->n);
        break;
    case EVENT_QUEUED:
        add_if("job ", e->job, " is ready", out);
        break;
    case EVENT_TEST_DONE:
        add_verdict(e, color, out);
        add_if("  ", e->file.n ? e->file : e->job, "", out);
        add_how(e, out);
        if (e->n)
            buf_addf(out, ", %llu runs", (unsigned long long)e->n);
        add_duration(e, out);
        add_if(" on ", e->runner, "", out);
        break;
    case EVENT_JOB_DONE:
        add_if("job ", e->job, ": ", out);
        add_verdict(e, color, out);
        add_duration(e, out);
        break;
    case EVENT_BUILD_DONE:
        buf_adds(out, "build ");
        add_verdict(e, color, out);
        add_duration(e, out);
        add_if(": ", e->subject, "", out);
        break;
    default:
        buf_adds(out, event_kind_text(e->kind));
        break;
    }
}

/* What happened to a task. */
static void add_task_news(const msg_event *e, bool color, buf *out)
{
    add_task(e, out);
    switch (e->kind) {
    case EVENT_LEASED:
        buf_adds(out, " given to ");
        break;
    case EVENT_RUNNING:
        buf_adds(out, " runs on ");
        break;
    case EVENT_LOG_END:
        buf_addf(out, " wrote %llu bytes", (unsigned long long)e->log_bytes);
        return;
    case EVENT_REQUEUED:
        buf_adds(out, " waits again");
        add_if(", it was with ", e->runner, "", out);
        if (e->code)
            buf_addf(out, " (%s)", code_text(e->code));
        return;
    case EVENT_TASK_DONE:
        buf_adds(out, ": ");
        add_verdict(e, color, out);
        add_how(e, out);
        add_duration(e, out);
        return;
    case EVENT_CANCELING:
        buf_adds(out, " is told to end on ");
        break;
    default: /* EVENT_STALE_RESULT */
        buf_adds(out, ": a result came too late from ");
        break;
    }
    show_text(out, e->runner, 0);
}

static void add_runner_news(const msg_event *e, buf *out)
{
    if (e->kind == EVENT_EPOCH) {
        buf_addf(out, "dispatcher started (epoch %llu)", (unsigned long long)e->ep);
        return;
    }
    add_if("runner ", e->runner, "", out);
    switch (e->kind) {
    case EVENT_RUNNER_UP:
        buf_adds(out, " is here");
        if (e->n)
            buf_addf(out, ", slots: %llu", (unsigned long long)e->n);
        break;
    case EVENT_RUNNER_DOWN:
        buf_adds(out, " is gone");
        break;
    case EVENT_SUSPECT:
        buf_adds(out, " is silent");
        break;
    default: /* EVENT_RUNNER_MODE */
        buf_addf(out, " mode: %s", runner_mode_text(e->mode));
        break;
    }
}

void line_of_event(const msg_event *e, bool color, buf *out)
{
    add_time(e->time_ms, color, out);
    switch (e->kind) {
    case EVENT_RUNNER_UP:
    case EVENT_RUNNER_DOWN:
    case EVENT_SUSPECT:
    case EVENT_RUNNER_MODE:
    case EVENT_EPOCH:
        add_runner_news(e, out);
        break;
    case EVENT_LEASED:
    case EVENT_RUNNING:
    case EVENT_LOG_END:
    case EVENT_REQUEUED:
    case EVENT_TASK_DONE:
    case EVENT_CANCELING:
    case EVENT_STALE_RESULT:
        add_build(e, out);
        add_task_news(e, color, out);
        break;
    default:
        add_build(e, out);
        add_build_news(e, color, out);
        break;
    }
    add_if(": ", e->why, "", out);
    buf_addc(out, '\n');
}
