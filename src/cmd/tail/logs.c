#include "cmd/tail/logs.h"

#include <assert.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "cmd/json.h"
#include "cmd/tail/question.h"
#include "cmd/show.h"

#define PIECE_BYTES 65536
#define OVER_MAX    4096 /* more than pieces that can be on their way */
#define UTF8_MAX    4

typedef struct attempt {
    uint64_t task, att, build;
    char *job;
    bool wanted;   /* else nobody knows yet whether its build is */
    uint64_t off;  /* everything below was shown or is in `line` */
    uint64_t seen; /* greatest end of a published piece */
    bool ended;    /* its log is `end` bytes long */
    uint64_t end;
    list fetch; /* linked while something is to be fetched */
    buf line;   /* the beginning of a line, or of a character */
} attempt;

struct logs {
    logs_config config;
    question question;
    map attempts; /* key_of() -> attempt */
    map builds;   /* filtered: build -> &yes or &no */
    list fetch;   /* attempts of which something is missing, the first is asked about */
    size_t fetches;
    bool warned;
    uint64_t over[OVER_MAX]; /* keys of the attempts that were forgotten last, in a ring */
    size_t overs;
};

static char yes, no;

/* Attempts of one task that are so far apart are never known at the same time. */
static uint64_t key_of(uint64_t task, uint64_t att)
{
    return task | (att % 1024) << 53;
}

logs *logs_new(const logs_config *config)
{
    logs *l = NEW(logs);

    l->config = *config;
    l->question.sock = config->sock;
    l->question.tag = config->tag;
    list_init(&l->fetch);
    return l;
}

static void attempt_free(attempt *a)
{
    buf_free(&a->line);
    free(a->job);
    free(a);
}

void logs_forget(logs *l)
{
    const map_entry *e;
    size_t at = 0;

    while ((e = map_next(&l->attempts, &at)))
        attempt_free(e->value);
    map_free(&l->attempts);
    map_free(&l->builds);
    list_init(&l->fetch);
    l->fetches = 0;
    l->overs = 0;
    l->question.open = false;
}

void logs_free(logs *l)
{
    if (!l)
        return;
    logs_forget(l);
    free(l);
}

/* ---- showing ---- */

static void show_line(logs *l, const attempt *a, slice line)
{
    buf *out = l->config.out;

    buf_addf(out, "%s#%llu ", show_begin(l->config.color, TONE_DIM), (unsigned long long)a->build);
    show_text(out, slice_of(a->job[0] ? a->job : "plan"), 0);
    buf_addf(out, "/%llu |%s ", (unsigned long long)a->task, show_end(l->config.color, TONE_DIM));
    buf_add_slice(out, line);
    buf_addc(out, '\n');
}

/* Shows the whole lines of a->line, when `last` all of it. */
static void show_lines(logs *l, attempt *a, bool last)
{
    slice rest = buf_slice(&a->line);

    while (rest.n) {
        size_t look = rest.n < LOGS_LINE_MAX ? rest.n : LOGS_LINE_MAX;
        const char *end = memchr(rest.p, '\n', look);
        size_t n = end ? (size_t)(end - rest.p) : look;

        if (!end && !last && rest.n < LOGS_LINE_MAX)
            break;
        show_line(l, a, (slice){ rest.p, n });
        n += end != NULL;
        rest = (slice){ rest.p + n, rest.n - n };
    }
    buf_drop(&a->line, a->line.n - rest.n);
}

/* Shows a->line as an object; a character that is not whole yet waits for its end. */
static void show_object(logs *l, attempt *a, bool last)
{
    slice d = buf_slice(&a->line);
    size_t whole = text_utf8_prefix(d);
    json_t *o, *base64;

    if (!last && d.n - whole < UTF8_MAX)
        d.n = whole;
    if (!d.n)
        return;
    o = json_pack("{s:s, s:I, s:I, s:I, s:I}", "kind", "log", "build", (json_int_t)a->build, "task",
                  (json_int_t)a->task, "att", (json_int_t)a->att, "off",
                  (json_int_t)(a->off - a->line.n));
    assert(o);
    json_add_bytes(o, "job", slice_of(a->job));
    json_add_bytes(o, "text", d);
    base64 = json_object_get(o, "text_base64");
    if (base64) {
        json_object_set(o, "base64", base64);
        json_object_del(o, "text_base64");
    }
    json_add_line(o, l->config.out);
    buf_drop(&a->line, d.n);
}

static void show(logs *l, attempt *a, slice bytes, bool last)
{
    buf_add_slice(&a->line, bytes);
    a->off += bytes.n;
    if (l->config.json)
        show_object(l, a, last);
    else
        show_lines(l, a, last);
}

/* ---- knowing what is missing ---- */

static void ask(logs *l, int64_t now_ms)
{
    msg m = { .type = MSG_get };
    attempt *a;

    if (l->question.open || list_empty(&l->fetch))
        return;
    a = LIST_OWNER(l->fetch.next, attempt, fetch);
    m.get.task = a->task;
    m.get.att = a->att;
    m.get.off = a->off;
    m.get.max = PIECE_BYTES;
    question_ask(&l->question, now_ms, &m);
}

static void fetch(logs *l, int64_t now_ms, attempt *a)
{
    if (list_linked(&a->fetch) || !a->wanted)
        return;
    list_push(&l->fetch, &a->fetch);
    l->fetches++;
    ask(l, now_ms);
}

static void stop_fetching(logs *l, attempt *a)
{
    if (!list_linked(&a->fetch))
        return;
    if (l->fetch.next == &a->fetch)
        l->question.open = false;
    list_remove(&a->fetch);
    l->fetches--;
}

static bool is_wanted(const logs *l, uint64_t build)
{
    return !l->config.filtered || map_get(&l->builds, build) == &yes;
}

static attempt *find(const logs *l, uint64_t task, uint64_t att)
{
    return map_get(&l->attempts, key_of(task, att));
}

/* A replay may overtake what was published: then pieces come of attempts that are done with. */
static bool is_over(const logs *l, uint64_t task, uint64_t att)
{
    for (size_t i = 0; i < OVER_MAX && i < l->overs; i++)
        if (l->over[i] == key_of(task, att))
            return true;
    return false;
}

/* The attempt, made when it is new; NULL: there are too many. */
static attempt *know(logs *l, uint64_t task, uint64_t att, uint64_t build, slice job, uint64_t off)
{
    attempt *a = find(l, task, att);

    if (a)
        return a;
    if (l->attempts.n >= LOGS_MAX) {
        if (!l->warned)
            log_warn("more than %d tasks write at once: the output of some is not shown", LOGS_MAX);
        l->warned = true;
        return NULL;
    }
    a = NEW(attempt);
    a->task = task;
    a->att = att;
    a->build = build;
    a->job = mem_strndup(job.p ? job.p : "", job.n);
    a->wanted = is_wanted(l, build);
    a->off = l->config.whole ? 0 : off;
    map_put(&l->attempts, key_of(task, att), a);
    return a;
}

/* Nothing more will be shown of it. */
static void forget(logs *l, attempt *a)
{
    show(l, a, (slice){ 0 }, true);
    stop_fetching(l, a);
    map_remove(&l->attempts, key_of(a->task, a->att));
    l->over[l->overs++ % OVER_MAX] = key_of(a->task, a->att);
    attempt_free(a);
}

static void forget_when_whole(logs *l, int64_t now_ms, attempt *a)
{
    if (a->ended && a->off >= a->end)
        forget(l, a);
    else if (a->ended)
        fetch(l, now_ms, a);
}

/* Now it is known whether the build is wanted: pieces of it may have come before. */
static void decide(logs *l, int64_t now_ms, uint64_t build, bool wanted)
{
    attempt *found[16];
    size_t n;

    if (!l->config.filtered || !build || map_get(&l->builds, build))
        return;
    map_put(&l->builds, build, wanted ? &yes : &no);
    do {
        const map_entry *e;
        size_t at = 0;

        n = 0;
        while (n < sizeof found / sizeof *found && (e = map_next(&l->attempts, &at))) {
            attempt *a = e->value;

            if (a->build == build && !a->wanted)
                found[n++] = a;
        }
        for (size_t i = 0; i < n; i++) {
            found[i]->wanted = true;
            if (!wanted)
                forget(l, found[i]);
            else if (found[i]->seen > found[i]->off)
                fetch(l, now_ms, found[i]);
        }
    } while (n);
}

void logs_piece(logs *l, int64_t now_ms, const msg_log *p)
{
    attempt *a;
    uint64_t end = p->off + p->d.n;

    if (l->config.filtered && map_get(&l->builds, p->build) == &no)
        return;
    a = find(l, p->task, p->att);
    if (!a && !l->config.whole && !is_over(l, p->task, p->att))
        a = know(l, p->task, p->att, p->build, p->job, p->off);
    if (!a) /* else it was begun by an event, or will be */
        return;
    if (end > a->seen)
        a->seen = end;
    if (!a->wanted || list_linked(&a->fetch))
        return; /* comes by query */
    if (p->off > a->off)
        fetch(l, now_ms, a);
    else if (end > a->off)
        show(l, a, (slice){ p->d.p + (a->off - p->off), (size_t)(end - a->off) }, false);
}

void logs_event(logs *l, int64_t now_ms, const msg_event *e, bool wanted)
{
    attempt *a;

    decide(l, now_ms, e->build, wanted);
    if (e->kind == EVENT_BUILD_DONE)
        map_remove(&l->builds, e->build);
    if (!wanted)
        return;
    switch (e->kind) {
    case EVENT_LEASED:
    case EVENT_RUNNING:
        know(l, e->task, e->att, e->build, e->job, 0);
        break;
    case EVENT_LOG_END:
    case EVENT_TASK_DONE: /* alone, when the log was short */
        if (is_over(l, e->task, e->att))
            break;
        /* Of an attempt that began before this was started nothing may be known. */
        a = know(l, e->task, e->att, e->build, e->job, e->log_bytes);
        if (!a)
            break;
        a->ended = true;
        a->end = e->log_bytes > a->seen ? e->log_bytes : a->seen;
        forget_when_whole(l, now_ms, a);
        break;
    case EVENT_REQUEUED:
        a = find(l, e->task, e->att);
        if (!a)
            break;
        a->ended = true; /* though nobody said how long its log is */
        a->end = a->seen;
        forget_when_whole(l, now_ms, a);
        break;
    default:
        break;
    }
}

bool logs_take(logs *l, int64_t now_ms, const msg *answer)
{
    const msg_chunk *c = &answer->chunk;
    attempt *a;

    if (question_tag(answer->r) != l->question.tag)
        return false;
    if (answer->type == MSG_err && answer->err.code != CODE_NOT_FOUND)
        return true; /* may be otherwise later: left open, so repeated */
    if (!question_answered(&l->question, answer->r))
        return true;
    a = LIST_OWNER(l->fetch.next, attempt, fetch);
    if (answer->type != MSG_chunk || c->task != a->task || c->off != a->off) {
        log_note("the output of task %llu is no longer kept", (unsigned long long)a->task);
        forget(l, a);
    } else {
        show(l, a, c->d, false);
        if (c->eof || (a->ended && (c->d.n == 0 || a->off >= a->end)))
            forget(l, a);
        else if (c->d.n == 0 || (!a->ended && a->off >= a->seen))
            stop_fetching(l, a); /* goes on with the next piece */
    }
    ask(l, now_ms);
    return true;
}

bool logs_is_full(const logs *l)
{
    return l->fetches >= LOGS_FETCH_MAX;
}

size_t logs_pending(const logs *l)
{
    return l->fetches;
}

void logs_tick(logs *l, int64_t now_ms)
{
    question_tick(&l->question, now_ms);
}

int64_t logs_deadline_ms(const logs *l)
{
    return question_deadline_ms(&l->question);
}
