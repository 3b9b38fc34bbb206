#include "exec/unit.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "exec/keeper.h"

#define KILL_AGAIN_MS 20 /* between rounds of KILL, when no SIGCHLD comes */

typedef enum phase { RUNNING, LINGERING, KEPT, ENDING, KILLING, ENDED } phase;

struct unit {
    unit_order order;
    output *out; /* NULL: it was kept */
    pid_t pid;
    int word; /* where its keeper says how the commands ended; -1: nowhere */
    phase phase;
    bool exited; /* its own process, or its keeper's commands */
    int64_t started_ms;
    int64_t deadline_ms; /* of the phase */
    int64_t give_up_ms;  /* KILLING */
    unit_outcome outcome;
};

static int64_t after(int64_t now_ms, int64_t more_ms)
{
    return more_ms < UNIT_NEVER - now_ms ? now_ms + more_ms : UNIT_NEVER;
}

static void __attribute__((format(printf, 2, 3))) say(unit *u, const char *fmt, ...)
{
    char *text, *line;
    va_list ap;

    va_start(ap, fmt);
    text = mem_vprintf(fmt, ap);
    va_end(ap);
    line = mem_printf("volt: %s: %s", u->order.name, text);
    if (u->out)
        output_line(u->out, line);
    else
        log_warn("%s", line);
    free(line);
    free(text);
}

static void finish(unit *u, int64_t now_ms)
{
    unit_outcome *o = &u->outcome;
    char limit[TEXT_DURATION_MAX];

    if (u->out)
        output_close(u->out);
    assert(u->exited || o->left || o->end == UNIT_NOT_STARTED);
    if (u->pid > 0 && !u->exited)
        o->duration_ms = now_ms - u->started_ms;
    if (o->end == UNIT_TIMEOUT)
        say(u, "stopped at its time limit of %s", text_show_ms(u->order.timeout_ms, limit));
    if (o->left)
        say(u, "%zu of its processes could not be ended", o->left);
    if (u->out)
        o->log_len = output_bytes(u->out) - o->log_off;
    u->phase = ENDED;
    u->deadline_ms = UNIT_NEVER;
}

/* The pipe for the keeper's word, which it writes to its standard input. */
static volt_code open_word(unit *u, int *ret, volt_err *err)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
        return volt_fail(err, VOLT_EIO, "make a pipe: %s", strerror(errno));
    u->word = ends[0];
    *ret = u->order.run.in = ends[1];
    return VOLT_OK;
}

unit *unit_start(const unit_order *order, output *out, int64_t now_ms)
{
    unit *u = NEW(unit);
    volt_err err;
    int write_end = -1, word_end = -1;
    volt_code rc;

    u->order = *order;
    u->out = out;
    u->word = -1;
    u->started_ms = now_ms;
    u->deadline_ms = order->timeout_ms > 0 ? after(now_ms, order->timeout_ms) : UNIT_NEVER;
    u->outcome.log_off = output_bytes(out);
    if (order->run.path)
        rc = output_open(out, &write_end, &err);
    else
        rc = volt_fail(&err, VOLT_ENOTFOUND, "%s is not in PATH", order->run.argv[0]);
    u->order.run.out = write_end;
    if (!rc && order->keep)
        rc = open_word(u, &word_end, &err);
    if (!rc)
        rc = process_spawn(&u->order.run, &u->pid, &err);
    if (write_end >= 0)
        close(write_end);
    if (word_end >= 0)
        close(word_end);
    if (rc) {
        u->outcome.end = UNIT_NOT_STARTED;
        say(u, "cannot be started: %s", err.msg);
        finish(u, now_ms);
    }
    return u;
}

void unit_free(unit *u)
{
    if (!u)
        return;
    assert(u->phase == ENDED);
    if (u->word >= 0)
        close(u->word);
    free(u);
}

/* Takes note of what has ended.  False: nothing is left. */
static bool reap(unit *u, int64_t now_ms)
{
    unit_outcome *o = &u->outcome;
    process_exit e;
    process_found found;

    while ((found = process_reap(&e)) == PROCESS_ENDED) {
        o->cpu_us += e.cpu_us;
        if (e.max_rss_bytes > o->max_rss_bytes)
            o->max_rss_bytes = e.max_rss_bytes;
        if (e.pid != u->pid || u->exited)
            continue;
        u->exited = true;
        o->exit = e.exit;
        o->signal = e.signal;
        o->duration_ms = now_ms - u->started_ms;
    }
    return found == PROCESS_RUNNING && !(u->exited && process_kept() && process_only_kept());
}

/* The keeper's word, once it was said, counts for what its own process would. */
static void hear(unit *u, int64_t now_ms)
{
    unit_outcome *o = &u->outcome;
    keeper_word word;

    if (u->word < 0 || read(u->word, &word, sizeof word) != sizeof word)
        return;
    close(u->word);
    u->word = -1;
    u->exited = true;
    o->exit = word.exit;
    o->signal = word.signal;
    o->duration_ms = now_ms - u->started_ms;
}

static void keep(unit *u)
{
    output_close(u->out);
    u->outcome.log_len = output_bytes(u->out) - u->outcome.log_off;
    u->out = NULL;
    u->phase = KEPT;
    u->deadline_ms = UNIT_NEVER;
    process_keep(u->pid);
}

static void terminate(unit *u, int64_t now_ms, int64_t grace_ms)
{
    process_signal_all(SIGTERM);
    u->phase = ENDING;
    u->deadline_ms = after(now_ms, grace_ms);
}

static void kill_again(unit *u, int64_t now_ms)
{
    size_t n = process_kill_all();

    if (now_ms >= u->give_up_ms) {
        u->outcome.left = n;
        finish(u, now_ms);
        return;
    }
    u->deadline_ms = after(now_ms, KILL_AGAIN_MS);
}

static void deadline_reached(unit *u, int64_t now_ms)
{
    int64_t grace_ms = u->order.grace_ms;

    switch (u->phase) {
    case RUNNING:
        u->outcome.end = UNIT_TIMEOUT;
        terminate(u, now_ms, grace_ms);
        break;
    case LINGERING:
        terminate(u, now_ms, grace_ms < UNIT_LEFT_GRACE_MS ? grace_ms : UNIT_LEFT_GRACE_MS);
        break;
    case ENDING:
        u->phase = KILLING;
        u->give_up_ms = after(now_ms, UNIT_KILL_MS);
        kill_again(u, now_ms);
        break;
    case KILLING:
        kill_again(u, now_ms);
        break;
    case KEPT:
    case ENDED:
        break;
    }
}

bool unit_step(unit *u, int64_t now_ms)
{
    bool left;

    if (u->phase == ENDED || u->phase == KEPT)
        return true;
    if (u->out)
        output_pump(u->out);
    left = reap(u, now_ms);
    hear(u, now_ms);
    if (!left) {
        finish(u, now_ms);
        return true;
    }
    if (u->phase == RUNNING && u->order.keep && u->exited && !u->outcome.exit &&
        !u->outcome.signal) {
        keep(u);
        return true;
    }
    if (u->phase == RUNNING && u->exited) {
        u->phase = LINGERING;
        u->deadline_ms = after(now_ms, UNIT_LINGER_MS);
    }
    if (now_ms >= u->deadline_ms)
        deadline_reached(u, now_ms);
    return u->phase == ENDED;
}

bool unit_ended(const unit *u)
{
    return u->phase == ENDED;
}

bool unit_kept(const unit *u)
{
    return u->phase == KEPT;
}

int64_t unit_deadline_ms(const unit *u)
{
    return u->deadline_ms;
}

void unit_stop(unit *u, int64_t now_ms, int64_t grace_ms)
{
    switch (u->phase) {
    case RUNNING:
    case LINGERING:
        if (!u->exited)
            u->outcome.end = UNIT_CANCELED;
        terminate(u, now_ms, grace_ms);
        break;
    case ENDING:
        if (after(now_ms, grace_ms) < u->deadline_ms)
            u->deadline_ms = after(now_ms, grace_ms);
        break;
    case KEPT:
        process_keep(0);
        terminate(u, now_ms, grace_ms);
        break;
    case KILLING:
    case ENDED:
        break;
    }
}

void unit_let_go(unit *u)
{
    if (u->phase == KEPT)
        process_keep(0);
    u->phase = ENDED;
}

const unit_outcome *unit_result(const unit *u)
{
    assert(u->phase == ENDED || u->phase == KEPT);
    return &u->outcome;
}
