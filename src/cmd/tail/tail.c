/* volt tail: the result stream as lines, as JSON, as files, and as calls of a command. */
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "cmd/command.h"
#include "cmd/tail/holdback.h"
#include "cmd/tail/hook.h"
#include "cmd/json.h"
#include "cmd/tail/lines.h"
#include "cmd/tail/link.h"
#include "cmd/tail/logs.h"
#include "cmd/tail/output.h"
#include "cmd/tail/question.h"
#include "cmd/tail/results.h"
#include "cmd/tail/until.h"
#include "cmd/show.h"
#include "core/follow.h"
#include "net/loop.h"
#include "wire/codec.h"

#define BATCH_MAX     256               /* messages taken before the output is flushed */
#define TEXT_MAX      ((size_t)4 << 20) /* held back, in bytes; then reading waits too */
#define FIRST_WORD_MS 2000              /* a dispatcher that is there says something within 1 s */

enum { TAG_FOLLOW, TAG_RESULTS, TAG_LOGS, TAG_UNTIL };

typedef struct tail {
    const char *server; /* as given */
    tail_link link;
    loop *loop;

    follow *follow;
    follow_acts acts;
    arena arena; /* of one message */
    buf held;    /* a page that came while there was too much to do; empty: none */

    results *results; /* NULL: not asked for, as the next two */
    hook *hook;
    logs *logs;
    bool json, color, all;
    const char *repo; /* NULL: all */
    uint64_t count_left;
    until until;

    holdback lines; /* what is to be shown */
    buf out;        /* what is being written */
    int64_t heard_ms, rotate_ms;
    bool met;      /* something was heard at all */
    bool begun;    /* an event, or an answer to `replay`, has come */
    bool silent;   /* said so */
    bool missed;   /* the end of the build that is waited for; what is known of it is used */
    bool ending;   /* nothing new; what was begun is finished */
    bool over;     /* leave at once */
    bool terminal; /* standard output is one */
    exit_code code;
} tail;

/* ---- output ---- */

static void end_now(tail *t, exit_code code)
{
    t->over = true;
    t->code = code;
}

static void flush(tail *t)
{
    volt_err err;

    holdback_take(&t->lines, &t->out);
    switch (output_write(&t->out, !t->over, &err)) {
    case VOLT_OK:
    case VOLT_ECANCELED: /* the loop reports the signal */
        break;
    case VOLT_EUNREACHABLE:
        end_now(t, EXIT_DONE);
        break;
    default:
        log_error("%s", err.msg);
        end_now(t, EXIT_RED);
        break;
    }
}

static void show_json(tail *t, const msg_event *event)
{
    msg m = { .type = MSG_event };

    m.event = *event;
    json_add_line(json_of_msg(&m), &t->lines.text);
}

/* ---- events ---- */

static void end_with(tail *t, verdict v)
{
    t->ending = true;
    t->code = v == VERDICT_PASSED || v == VERDICT_FLAKY ? EXIT_DONE : EXIT_RED;
}

static void end_when_seen(tail *t, const msg_event *e, bool shown)
{
    if (shown && t->count_left && --t->count_left == 0)
        t->ending = true;
    if (e->kind == EVENT_BUILD_DONE && e->build == t->until.build)
        end_with(t, e->verdict);
}

static bool is_wanted(const tail *t, const msg_event *e)
{
    return !t->repo || slice_is(e->repo, t->repo);
}

static void end_when_missed(tail *t, int64_t now_ms)
{
    const msg_event *e = until_missed(&t->until, follow_next(t->follow));

    if (!e || t->ending)
        return;
    log_note("build %" PRIu64 " has ended already: %s", e->build, verdict_text(e->verdict));
    t->missed = true;
    if (t->results && is_wanted(t, e))
        results_add(t->results, now_ms, e);
    end_with(t, e->verdict);
}

static void apply(tail *t, int64_t now_ms, const msg_event *e)
{
    bool wanted = is_wanted(t, e);
    bool shown = wanted && (t->json || t->all || line_is_news(e));

    if (t->ending)
        return;
    /* The line of a finished build is shown when its file is there: who was killed, and goes on
     * behind the last event that was shown, lacks no file. */
    if (wanted && e->kind == EVENT_BUILD_DONE && t->results)
        holdback_hold(&t->lines);
    if (shown && t->json)
        show_json(t, e);
    else if (shown) {
        if (t->terminal) /* the line of progress that `volt up` keeps on the same terminal */
            buf_adds(&t->lines.text, "\r\033[K");
        line_of_event(e, t->color, &t->lines.text);
    }
    if (t->logs)
        logs_event(t->logs, now_ms, e, wanted);
    if (wanted && e->kind == EVENT_BUILD_DONE) {
        if (t->results)
            results_add(t->results, now_ms, e); /* the command comes after its file */
        else if (t->hook)
            hook_add(t->hook, now_ms, e, NULL);
    }
    end_when_seen(t, e, shown);
}

static void on_result(void *ctx, const msg_event *event, const char *path, const volt_err *err)
{
    tail *t = ctx;
    bool missed = t->missed && event->build == t->until.build;

    if (err && missed) {
        log_error("results of build %" PRIu64 ": %s", event->build, err->msg);
        end_now(t, EXIT_RED);
        return;
    }
    if (err) { /* what was shown has its files; the rest comes again from that number */
        log_error("results of build %" PRIu64 ": %s; events from %" PRIu64
                  " on were not shown: go on with --from %" PRIu64,
                  event->build, err->msg, event->seq, event->seq);
        flush(t);
        end_now(t, EXIT_RED);
        return;
    }
    holdback_release(&t->lines);
    if (t->hook && !missed) /* it is not for old builds, if not asked to */
        hook_add(t->hook, loop_now_ms(), event, path);
}

static void start_anew(tail *t, const follow_act *act)
{
    log_note("the dispatcher at %s has another history now; going on with its event %" PRIu64,
             t->server, act->from);
    if (t->results && results_pending(t->results)) {
        log_warn("results of %zu builds of the old history cannot be had any more",
                 results_pending(t->results));
        results_forget(t->results);
        holdback_release_all(&t->lines);
    }
    if (t->logs)
        logs_forget(t->logs);
}

static void carry_out(tail *t, int64_t now_ms)
{
    for (size_t i = 0; i < t->acts.n && !t->over; i++) {
        const follow_act *act = &t->acts.v[i];
        msg m = { .type = MSG_replay };

        switch (act->kind) {
        case FOLLOW_APPLY:
            t->begun = true;
            apply(t, now_ms, act->event);
            break;
        case FOLLOW_ASK:
            m.replay = act->replay;
            question_send(t->link.dealer, &m, question_r(TAG_FOLLOW, act->r));
            break;
        case FOLLOW_FLOOR:
            log_note("events %" PRIu64 " to %" PRIu64 " are no longer kept", act->from, act->to);
            until_ask(&t->until, now_ms);
            break;
        case FOLLOW_SKIP:
            log_warn("event %" PRIu64 " is of a kind that this volt does not know", act->from);
            break;
        case FOLLOW_NEW_HIST:
            start_anew(t, act);
            until_ask(&t->until, now_ms);
            break;
        }
    }
}

/* Too much is to be done still: what comes now is dropped, or put off, and comes again by replay.
 * So memory stays bounded whatever the dispatcher has to tell. */
static bool is_held(const tail *t)
{
    return (t->results && results_is_full(t->results)) || (t->hook && hook_is_full(t->hook)) ||
           (t->logs && logs_is_full(t->logs)) || t->lines.text.n > TEXT_MAX;
}

/* ---- messages ---- */

static void take_page(tail *t, int64_t now_ms, const msg *m)
{
    const slices *frames = &m->events.items;
    msg_event *items = ARENA_ARRAY(&t->arena, msg_event, frames->n + 1);

    for (size_t i = 0; i < frames->n; i++) {
        msg item;

        if (wire_decode(frames->v[i], &t->arena, &item, NULL) == VOLT_OK && item.type == MSG_event)
            items[i] = item.event;
    }
    if (!t->begun && m->events.last + 1 < follow_next(t->follow))
        log_note("the newest event of the dispatcher at %s is %" PRIu64 "; waiting for %" PRIu64,
                 t->server, m->events.last, follow_next(t->follow));
    t->begun = true;
    follow_page(t->follow, now_ms, question_number(m->r), &m->events, items, &t->acts);
    carry_out(t, now_ms);
}

static void take_answer(tail *t, int64_t now_ms, slice frame)
{
    msg m;

    arena_reset(&t->arena);
    if (wire_decode(frame, &t->arena, &m, NULL))
        return; /* the question is repeated */
    if (question_tag(m.r) == TAG_FOLLOW && m.type == MSG_events) {
        if (is_held(t)) {
            buf_clear(&t->held);
            buf_add_slice(&t->held, frame);
        } else {
            take_page(t, now_ms, &m);
        }
    } else if (!until_take(&t->until, now_ms, &m) &&
               !(t->results && results_take(t->results, now_ms, &m)) && t->logs) {
        logs_take(t->logs, now_ms, &m);
    }
}

static void take_published(tail *t, int64_t now_ms, slice frame)
{
    msg m;

    arena_reset(&t->arena);
    if (wire_decode(frame, &t->arena, &m, NULL))
        return; /* the next head beat tells what is missing */
    if (m.type == MSG_head && output_is_closed())
        end_now(t, EXIT_DONE);
    /* What the pieces of a log lack is fetched at its end. */
    if (m.type == MSG_log && t->logs && !t->ending && t->lines.text.n <= TEXT_MAX)
        logs_piece(t->logs, now_ms, &m.log);
    if (is_held(t) || t->ending)
        return;
    if (m.type == MSG_event)
        follow_event(t->follow, now_ms, &m.event, &t->acts);
    else if (m.type == MSG_head)
        follow_head(t->follow, now_ms, &m.head, &t->acts);
    else
        return;
    carry_out(t, now_ms);
}

static void heard(tail *t, int64_t now_ms)
{
    t->heard_ms = now_ms;
    t->met = true;
    if (t->silent)
        log_note("the dispatcher at %s is there", t->server);
    t->silent = false;
}

static void drain(tail *t, sock *s, void (*take)(tail *, int64_t, slice))
{
    slice topic, payload;

    for (int i = 0; i < BATCH_MAX && !t->over; i++) {
        int64_t now_ms = loop_now_ms();

        if (sock_recv(s, NULL, &topic, &payload, NULL))
            break;
        heard(t, now_ms);
        take(t, now_ms, payload);
    }
}

static void on_sub(void *ctx)
{
    tail *t = ctx;

    drain(t, t->link.sub, take_published);
}

static void on_dealer(void *ctx)
{
    tail *t = ctx;

    drain(t, t->link.dealer, take_answer);
}

static void on_signal(void *ctx, int sig)
{
    tail *t = ctx;

    if (sig == SIGCHLD) {
        if (t->hook)
            hook_tick(t->hook, loop_now_ms());
        return;
    }
    end_now(t, sig == SIGINT ? EXIT_INTERRUPTED : EXIT_DONE);
}

/* ---- connection ---- */

static void rotate(tail *t, int64_t now_ms)
{
    t->rotate_ms = now_ms + FOLLOW_SILENCE_MS;
    if (!t->silent)
        log_note("no word from a dispatcher at %s; waiting", t->server);
    t->silent = true;
    tail_link_rotate(&t->link);
}

static int64_t silence_deadline_ms(const tail *t)
{
    int64_t at_ms = t->heard_ms + (t->met || t->silent ? FOLLOW_SILENCE_MS : FIRST_WORD_MS);

    return at_ms > t->rotate_ms ? at_ms : t->rotate_ms;
}

/* ---- the loop ---- */

static void sooner(int64_t *at_ms, int64_t other_ms)
{
    if (other_ms < *at_ms)
        *at_ms = other_ms;
}

static int64_t next_deadline_ms(const tail *t)
{
    int64_t at_ms = silence_deadline_ms(t);

    sooner(&at_ms, question_deadline_ms(&t->until.question));
    if (!is_held(t) && !t->ending)
        sooner(&at_ms, t->held.n ? 0 : follow_next_deadline_ms(t->follow));
    if (t->results)
        sooner(&at_ms, results_deadline_ms(t->results));
    if (t->logs)
        sooner(&at_ms, logs_deadline_ms(t->logs));
    if (t->hook)
        sooner(&at_ms, hook_deadline_ms(t->hook));
    return at_ms;
}

static void tick(tail *t, int64_t now_ms)
{
    if (t->results)
        results_tick(t->results, now_ms);
    if (t->logs)
        logs_tick(t->logs, now_ms);
    if (t->hook)
        hook_tick(t->hook, now_ms);
    if (now_ms >= silence_deadline_ms(t))
        rotate(t, now_ms);
    if (!is_held(t) && !t->ending) {
        msg m;

        arena_reset(&t->arena);
        if (t->held.n && wire_decode(buf_slice(&t->held), &t->arena, &m, NULL) == VOLT_OK)
            take_page(t, now_ms, &m);
        buf_clear(&t->held);
        if (now_ms >= follow_next_deadline_ms(t->follow)) {
            follow_tick(t->follow, now_ms, &t->acts);
            carry_out(t, now_ms);
        }
    }
    question_tick(&t->until.question, now_ms);
    end_when_missed(t, now_ms);
}

static bool is_done(const tail *t)
{
    return t->over || (t->ending && !(t->results && results_pending(t->results)) &&
                       !(t->hook && hook_pending(t->hook)) && !(t->logs && logs_pending(t->logs)));
}

static volt_code run(tail *t, volt_err *err)
{
    t->heard_ms = loop_now_ms();
    until_ask(&t->until, t->heard_ms);
    tick(t, t->heard_ms);
    while (!is_done(t)) {
        volt_code rc = loop_wait(t->loop, next_deadline_ms(t), NULL, err);

        if (rc)
            return rc;
        tick(t, loop_now_ms());
        flush(t);
    }
    return VOLT_OK;
}

/* ---- setting up ---- */

static volt_code read_from(const command_line *line, uint64_t *ret, volt_err *err)
{
    const char *text = command_text(line, "from");
    int64_t seq;

    *ret = FOLLOW_LIVE;
    if (!text)
        return VOLT_OK;
    *ret = FOLLOW_START;
    if (strcmp(text, "start") == 0)
        return VOLT_OK;
    if (text_number(text, 1, (int64_t)MSG_ID_MAX, &seq, NULL))
        return volt_fail(err, VOLT_EINVALID,
                         "--from takes the number of an event or 'start', not '%s'", text);
    *ret = (uint64_t)seq;
    return VOLT_OK;
}

static volt_code set_up(tail *t, const command_line *line, volt_err *err)
{
    const char *results_dir = command_text(line, "results");
    const char *command = command_text(line, "exec");
    follow_config config = { .seed = (uint64_t)loop_wall_ms() ^ (uint64_t)getpid() << 40 };
    volt_code rc;

    t->server = command_text(line, "dispatcher-server");
    t->json = command_flag(line, "json");
    t->color = !t->json && show_color(line);
    t->terminal = isatty(STDOUT_FILENO);
    t->all = command_flag(line, "all");
    t->repo = command_text(line, "repo");
    t->count_left = (uint64_t)command_number(line, "count");
    t->until.build = (uint64_t)command_number(line, "until-build");
    rc = read_from(line, &config.from, err);
    if (!rc)
        rc = loop_signals(t->loop, on_signal, t, err);
    if (!rc)
        rc = tail_link_open(&t->link, t->server, err);
    if (!rc)
        rc = loop_add_sock(t->loop, t->link.sub, on_sub, t, err);
    if (!rc)
        rc = loop_add_sock(t->loop, t->link.dealer, on_dealer, t, err);
    t->until.question = (question){ .sock = t->link.dealer, .tag = TAG_UNTIL };
    if (!rc && results_dir)
        rc = results_new(results_dir, t->link.dealer, TAG_RESULTS, on_result, t, &t->results, err);
    if (rc)
        return rc;
    if (command)
        t->hook = hook_new(command, command_ms(line, "exec-limit"));
    if (command_flag(line, "logs")) {
        logs_config shown = { .sock = t->link.dealer,
                              .tag = TAG_LOGS,
                              .json = t->json,
                              .color = t->color,
                              .whole = config.from != FOLLOW_LIVE,
                              .filtered = t->repo != NULL,
                              .out = &t->lines.text };

        t->logs = logs_new(&shown);
        rc = sock_subscribe(t->link.sub, SLICE("l."), err);
    }
    t->follow = follow_new(&config, loop_now_ms());
    return rc;
}

static void clean_up(tail *t)
{
    results_free(t->results);
    hook_free(t->hook);
    logs_free(t->logs);
    until_free(&t->until);
    follow_free(t->follow);
    follow_acts_free(&t->acts);
    tail_link_close(&t->link);
    loop_free(t->loop);
    arena_free(&t->arena);
    buf_free(&t->held);
    holdback_free(&t->lines);
    buf_free(&t->out);
}

static exit_code tail_run(const command_line *line)
{
    tail t = { .code = EXIT_DONE };
    volt_err err;
    volt_code rc;

    t.loop = loop_new();
    rc = set_up(&t, line, &err);
    if (!rc)
        rc = run(&t, &err);
    clean_up(&t);
    return rc ? command_fail(line, &err) : t.code;
}

static const option_spec options[] = {
    OPTION_DISPATCHER,
    { "from", 0, OPTION_TEXT, "SEQ|start", NULL, 0, 0,
      "begin with event SEQ, or with the oldest that is kept; else with what happens now", true },
    OPTION_JSON,
    OPTION_COLOR,
    { "all", 'a', OPTION_FLAG, NULL, NULL, 0, 0,
      "also lines about what only explains how a result came about", true },
    { "logs", 'l', OPTION_FLAG, NULL, NULL, 0, 0, "also the output of tasks as they run", true },
    { "repo", 'r', OPTION_TEXT, "NAME", NULL, 0, 0, "only this repository", true },
    { "results", 0, OPTION_TEXT, "DIR", NULL, 0, 0, "keep a file a commit in DIR", true },
    { "exec", 0, OPTION_TEXT, "CMD", NULL, 0, 0, "run CMD at each finished build", true },
    { "exec-limit", 0, OPTION_DURATION, "TIME", "5m", 0, 0, "end CMD when it takes longer", true },
    { "count", 'n', OPTION_NUMBER, "N", "0", 0, INT64_MAX, "leave after N events; 0: never", true },
    { "until-build", 0, OPTION_NUMBER, "ID", "0", 0, (int64_t)MSG_ID_MAX,
      "leave when that build is finished, or was before; exit 1 when it did not pass", true },
};

extern const command command_tail;
const command command_tail = {
    .name = "tail",
    .args = "",
    .summary = "show results as they come, keep them in files, run a command at each",
    .text =
        "Shows what happens from now on, or with --from what happened before and then what happens "
        "from now on, without a gap.  Waits for a dispatcher that is not there, and catches up "
        "after any interruption.\n"
        "\n"
        "With --results DIR, each finished build is written to DIR/REPO/COMMIT, replaced at once, "
        "and DIR/COMMIT links to it, before its end is shown: the verdict first, then each unit "
        "with its verdict, duration "
        "and the number of bytes of its output, then just these bytes.  A commit that was tested "
        "more than once has the newest build's file.  '/' and a leading '.' of a repository's name "
        "become %2F and %2E.  With --from start all files are written again; with --until-build "
        "that build's is, when it was finished before.  When one cannot be written, tail ends with "
        "1 and says the number to go on with.\n"
        "\n"
        "With --exec, CMD is run by sh, one build after the other, with VOLT_BUILD, VOLT_REPO, "
        "VOLT_REF, VOLT_BRANCH, VOLT_COMMIT (also VOLT_OID), VOLT_VERDICT, VOLT_SUBJECT, "
        "VOLT_AUTHOR, VOLT_WHY, VOLT_DURATION_MS, VOLT_GENERATION, VOLT_SEQ and VOLT_RESULT (the "
        "file, with --results) in its environment; what it prints goes to standard error.  With "
        "--from, it is run for old builds too.\n"
        "\n"
        "With --json each line is an event with the fields of proto/README.md; with --logs there "
        "are also objects of kind 'log' with build, job, task, att, off (where the piece begins) "
        "and text; when the piece is not UTF-8, text has U+FFFD and base64 has the bytes.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .args_max = 0,
    .run = tail_run,
};
