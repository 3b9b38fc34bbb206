/*
 * trace_dispatcher - tells stories of the dispatcher and compares them with what is kept.
 *
 * A story is a text file: lines that begin with `> ` happen, the lines behind each are what the
 * dispatcher says about it.  The program makes the story anew from its `> ` lines and compares.
 * UPDATE=1 in the environment writes the new one in its place, to be read before it is committed.
 *
 *   > r1 hello slots=2 boot=1 labels=gpu held=1:1:running    a runner (also r2 ... r9)
 *   > r1 hello maxep=9 proof=yes                              was told of a later start; without
 *                                                            proof it only says so
 *   > r1 hb 1:1:running every=1000                           what it holds, - for nothing
 *   > r1 start|bye|nack|plan|tests|log|result TASK ATT ...   see the functions below
 *   > r1 breaks                                              its connection, noticed at a send
 *   > obs submit BRANCH DIGIT                                a commit; its id is that digit
 *   > c1 cancel|rebuild BUILD, c1 mode RUNNER MODE           a client
 *   > wait 1500                                              milliseconds, with a tick when due
 *   > restart accept-rollback=yes                            as with that option
 *   > restart large=2                                        killed, and started from its store;
 *                                                            all come over new connections;
 *                                                            more runners are a large fleet
 *   > # anything                                             for the reader
 *
 * Left out of what is printed, because it is the same each time: the history's name, times, the
 * repository, head beats.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/files.h"
#include "base/mem.h"
#include "role/dispatcher.h"
#include "wire/codec.h"
#include "words.h"

#define HIST      "0123456789abcdef0123456789abcdef"
#define HIST2     "fedcba9876543210fedcba9876543210"
#define SECRET    "5ec5ec5ec5ec5ec5ec5ec5ec5ec5ec55"
#define PEERS_MAX 32

typedef struct story {
    store *store;
    dispatcher *d;
    int64_t now_ms;
    buf out;
    arena a;                   /* of one line */
    uint64_t peers[PEERS_MAX]; /* by who() */
    bool broken[PEERS_MAX];
    uint64_t peers_n;
    unsigned sids;
    size_t large; /* as dispatcher_config */
    bool new_history;
} story;

/* ---- what the dispatcher says ---- */

/* Without what tells nothing new. */
static void plain(msg *m)
{
    const slice none = { 0 };

    if (m->type == MSG_event) {
        m->event.hist = m->event.repo = m->event.ref = m->event.oid = m->event.runner_id = none;
        m->event.ep = m->event.time_ms = m->event.duration_ms = 0;
    } else if (m->type == MSG_assign) {
        m->assign.url = m->assign.repo = m->assign.oid = m->assign.ref = none;
        m->assign.key = none;
        m->assign.grace_ms = m->assign.log_max = 0;
    } else if (m->type == MSG_welcome) {
        m->welcome.hist = m->welcome.key = none;
        m->welcome.window = 0;
        if (m->welcome.hb_ms == 1000) /* the usual times */
            m->welcome.hb_ms = m->welcome.suspect_ms = m->welcome.lease_ms = 0;
    }
}

/* What plain() emptied, as it is printed where it is required. */
static void print_plain(buf *out, const msg *m)
{
    static const char *const empty[] = {
        "hist: , ", ", hist: ",   ", repo: \"\"",    ", url: \"\"",   ", ref: \"\"",
        ", oid: ",  ", hb_ms: 0", ", suspect_ms: 0", ", lease_ms: 0", ", window: 0"
    };
    buf line = { 0 };

    wire_print(m, &line);
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        char *at = strstr(line.p, empty[i]);
        size_t n = strlen(empty[i]);

        if (!at)
            continue;
        memmove(at, at + n, line.n - (size_t)(at - line.p) - n + 1);
        line.n -= n;
    }
    buf_add_slice(out, buf_slice(&line));
    buf_free(&line);
}

static void hear(story *s, const char *who, slice frame)
{
    msg m;

    if (wire_decode(frame, &s->a, &m, NULL) != VOLT_OK) {
        buf_addf(&s->out, "  %s <- MALFORMED\n", who);
        return;
    }
    if (m.type == MSG_head)
        return;
    plain(&m);
    buf_addf(&s->out, "  %s <- ", who);
    print_plain(&s->out, &m);
    buf_addc(&s->out, '\n');
}

/* Peers are named by their place: 1-9 runners, 11-19 clients. */
static const char *name_of(story *s, uint64_t peer)
{
    for (unsigned i = 0; i < PEERS_MAX; i++)
        if (s->peers[i] == peer)
            return arena_printf(&s->a, "%c%u", i > 10 ? 'c' : 'r', i % 10);
    return "nobody";
}

static bool send_frame(void *ctx, uint64_t peer, slice frame)
{
    story *s = ctx;

    for (unsigned i = 0; i < PEERS_MAX; i++)
        if (s->peers[i] == peer && s->broken[i])
            return false;
    hear(s, name_of(s, peer), frame);
    return true;
}

static void publish_frame(void *ctx, slice topic, slice frame)
{
    (void)topic;
    hear(ctx, "all", frame);
}

/* ---- what it stands on ---- */

static const char *kind_of(const log_name *name)
{
    return name->part == PART_ARTIFACTS ? "artifacts" : "log";
}

static volt_code log_write(void *ctx, const log_name *name, uint64_t off, slice bytes,
                           volt_err *err)
{
    story *s = ctx;

    (void)err;
    buf_addf(&s->out, "  %s of %" PRIu64 "-%" PRIu64 ": %zu bytes at %" PRIu64 "\n", kind_of(name),
             name->task, name->att, bytes.n, off);
    return VOLT_OK;
}

static volt_code log_sync(void *ctx, const log_name *name, uint64_t bytes, volt_err *err)
{
    story *s = ctx;

    (void)err;
    buf_addf(&s->out, "  %s of %" PRIu64 "-%" PRIu64 ": durable, %" PRIu64 " bytes\n",
             kind_of(name), name->task, name->att, bytes);
    return VOLT_OK;
}

static volt_code log_read(void *ctx, const log_name *name, uint64_t off, size_t max, buf *ret,
                          volt_err *err)
{
    (void)ctx, (void)name, (void)off, (void)max, (void)ret, (void)err;
    return VOLT_OK;
}

static void log_remove(void *ctx, const log_name *name)
{
    (void)ctx, (void)name;
}

static uint64_t log_bytes(void *ctx)
{
    (void)ctx;
    return 0;
}

static void must(volt_code code, const volt_err *err)
{
    if (code == VOLT_OK)
        return;
    fprintf(stderr, "trace_dispatcher: the dispatcher fails: %s\n", err->msg);
    exit(1);
}

/* Only has to differ. */
static void prove(const char *secret, const char *about, char ret[33])
{
    uint64_t h = 5381;

    (void)secret;
    for (const char *p = about; *p; p++)
        h = h * 33 + (unsigned char)*p;
    snprintf(ret, 33, "%032" PRIx64, h);
}

static void start(story *s)
{
    const log_files files = { s, log_write, log_sync, log_read, log_remove, log_bytes };
    const dispatcher_out out = { .ctx = s, .send = send_frame, .publish = publish_frame };
    const dispatcher_config config = { .hist_if_new = s->new_history ? HIST2 : HIST,
                                       .new_history = s->new_history,
                                       .secret_if_new = SECRET,
                                       .prove = prove,
                                       .large = s->large };
    volt_err err;

    must(dispatcher_new(s->store, &files, &out, &config, s->now_ms, s->now_ms, &s->d, &err), &err);
}

static void take(story *s, uint64_t peer, const msg *m)
{
    buf frame = { 0 };
    volt_err err;

    wire_encode(m, &frame);
    must(dispatcher_frame(s->d, s->now_ms, s->now_ms, peer, buf_slice(&frame), &err), &err);
    must(dispatcher_commit(s->d, &err), &err);
    buf_free(&frame);
}

static void wait_ms(story *s, int64_t ms)
{
    int64_t end = s->now_ms + ms;
    volt_err err;

    for (;;) {
        int64_t at = dispatcher_next_deadline_ms(s->d);

        if (at > end)
            break;
        s->now_ms = at > s->now_ms ? at : s->now_ms;
        must(dispatcher_tick(s->d, s->now_ms, s->now_ms, 0, &err), &err);
        must(dispatcher_commit(s->d, &err), &err);
    }
    s->now_ms = end;
}

/* ---- what happens ---- */

/* hello slots=N boot=DIGIT labels=A,B held=... */
static void hello(story *s, msg *m, slice who, const words *w)
{
    msg_hello *h = &m->hello;
    slice digit = { who.p + 1, who.n - 1 };

    m->type = MSG_hello;
    *h = (msg_hello){ .vmin = 1, .vmax = 1, .name = who, .id = read_digits(&s->a, digit, 32) };
    h->boot = read_digits(&s->a, words_option(w, "boot"), 32);
    h->hist = SLICE(HIST);
    h->slots = words_number(words_option(w, "slots"));
    h->slots = h->slots ? h->slots : 1;
    h->labels = read_list(&s->a, words_option(w, "labels"), ',');
    h->held = read_held(&s->a, words_option(w, "held"));
    h->maxep = words_number(words_option(w, "maxep"));
    if (words_option(w, "proof").n) {
        char *key = arena_zero(&s->a, 33);

        prove(SECRET, arena_printf(&s->a, HIST " epoch %" PRIu64, h->maxep), key);
        h->key = (slice){ key, 32 };
    }
}

/* plan TASK ATT tests=FILE,FILE scripts=NAME,NAME:NEED:NEED: one job "tests", then the scripts. */
static void plan(story *s, msg *m, const words *w)
{
    slices files = read_list(&s->a, words_option(w, "tests"), ','),
           scripts = read_list(&s->a, words_option(w, "scripts"), ',');
    rec_job *jobs = ARENA_ARRAY(&s->a, rec_job, scripts.n + 1);
    size_t n = 0;

    if (files.n)
        jobs[n++] = (rec_job){ .name = SLICE("tests"), .tests = true, .files = files };
    for (size_t i = 0; i < scripts.n; i++) {
        slices part = read_list(&s->a, scripts.v[i], ':');

        jobs[n].name = part.v[0];
        jobs[n].needs = (slices){ part.v + 1, part.n - 1 };
        jobs[n++].spec = SLICE("make");
    }
    m->type = MSG_plan;
    m->plan.last = true;
    m->plan.jobs = (rec_job_list){ jobs, n };
}

/* result TASK ATT VERDICT items=V,V from=N log=TEXT bytes=N msg=TEXT setup=failed */
static void result(story *s, msg *m, slice verdict_word, const words *w)
{
    msg_result *r = &m->result;

    m->type = MSG_result;
    r->verdict = (verdict)word_value(&words_verdict, verdict_word);
    r->items = read_items(&s->a, words_option(w, "items"));
    r->from = words_number(words_option(w, "from"));
    r->log = words_option(w, "log");
    r->log_bytes = r->log.n ? r->log.n : words_number(words_option(w, "bytes"));
    r->msg = words_option(w, "msg");
    r->setup_failed = slice_is(words_option(w, "setup"), "failed");
}

/* False: not understood. */
static bool about_attempt(story *s, msg *m, slice verb, words *w)
{
    uint64_t task = words_number(words_next(w)), att = words_number(words_next(w));
    slice third = words_next(w);

    if (slice_is(verb, "start")) {
        m->type = MSG_start;
    } else if (slice_is(verb, "nack")) {
        m->type = MSG_nack;
        m->nack.code = (code)word_value(&words_code, third);
        m->nack.msg = words_option(w, "msg");
    } else if (slice_is(verb, "plan")) {
        plan(s, m, w);
    } else if (slice_is(verb, "tests")) {
        m->type = MSG_tests;
        m->tests.from = words_number(words_option(w, "from"));
        m->tests.items = read_items(&s->a, words_option(w, "items"));
    } else if (slice_is(verb, "log")) {
        m->type = MSG_log;
        m->log.off = words_number(words_option(w, "off"));
        m->log.d = words_option(w, "d");
    } else if (slice_is(verb, "result")) {
        result(s, m, third, w);
    } else {
        return false;
    }
    m->start.task = task; /* all of them begin with task and att */
    m->start.att = att;
    return true;
}

static bool by_runner(story *s, unsigned place, slice who, words *w)
{
    slice verb = words_next(w);
    msg m = { .type = MSG_hb };

    if (slice_is(verb, "breaks")) {
        s->broken[place] = true;
        return true;
    }
    if (slice_is(verb, "hello")) {
        s->peers[place] = ++s->peers_n;
        s->broken[place] = false;
        hello(s, &m, who, w);
    } else if (slice_is(verb, "hb")) {
        m.hb.hb_ms = words_number(words_option(w, "every"));
        m.hb.held = read_held(&s->a, words_next(w));
    } else if (slice_is(verb, "bye")) {
        m.type = MSG_bye;
    } else if (!about_attempt(s, &m, verb, w)) {
        return false;
    }
    take(s, s->peers[place], &m);
    return true;
}

static bool by_client(story *s, unsigned place, words *w)
{
    slice verb = words_next(w), first = words_next(w);
    msg m = { .r = 1 };

    if (!s->peers[place])
        s->peers[place] = ++s->peers_n;
    if (slice_is(verb, "cancel")) {
        m.type = MSG_cancel_build;
        m.cancel_build.build = words_number(first);
    } else if (slice_is(verb, "rebuild")) {
        m.type = MSG_rebuild;
        m.rebuild.sid = slice_of(arena_printf(&s->a, "%032u", ++s->sids));
        m.rebuild.build = words_number(first);
    } else if (slice_is(verb, "mode")) {
        m.type = MSG_set_mode;
        m.set_mode.runner = first;
        m.set_mode.mode = (runner_mode)word_value(&words_runner_mode, words_next(w));
    } else {
        return false;
    }
    take(s, s->peers[place], &m);
    return true;
}

static bool by_observer(story *s, words *w)
{
    slice verb = words_next(w), branch = words_next(w), digit = words_next(w);
    msg m = { .type = MSG_submit };
    slice sid = words_option(w, "sid");

    if (!slice_is(verb, "submit"))
        return false;
    m.submit.sid =
        sid.n ? read_digits(&s->a, sid, 32) : slice_of(arena_printf(&s->a, "%032u", ++s->sids));
    m.submit.obs = SLICE("obs");
    m.submit.repo = SLICE("demo");
    m.submit.url = SLICE("https://example.org/demo.git");
    m.submit.ref = slice_of(arena_printf(&s->a, "refs/heads/" SLICE_FMT, SLICE_ARG(branch)));
    m.submit.oid = read_digits(&s->a, digit, 40);
    take(s, 0, &m);
    return true;
}

static bool happens(story *s, slice line)
{
    words w = words_split(line);
    slice who = words_next(&w);

    if (who.n == 0 || who.p[0] == '#')
        return true;
    if (slice_is(who, "wait")) {
        wait_ms(s, (int64_t)words_number(words_next(&w)));
        return true;
    }
    if (slice_is(who, "restart")) {
        s->large = words_number(words_option(&w, "large"));
        s->new_history = words_option(&w, "accept-rollback").n > 0;
        dispatcher_free(s->d);
        store_memory_crash(s->store);
        for (size_t i = 0; i < PEERS_MAX; i++) /* all connect anew */
            if (s->peers[i])
                s->peers[i] = ++s->peers_n;
        start(s);
        return true;
    }
    if (slice_is(who, "obs"))
        return by_observer(s, &w);
    if (who.n == 2 && who.p[1] >= '1' && who.p[1] <= '9') {
        unsigned place = (unsigned)(who.p[1] - '0');

        if (who.p[0] == 'r')
            return by_runner(s, place, who, &w);
        if (who.p[0] == 'c')
            return by_client(s, 10 + place, &w);
    }
    return false;
}

/* ---- comparing ---- */

static int tell(const char *path, slice script, buf *ret)
{
    story s = { .now_ms = 1000 };
    int rc = 0;

    store_open_memory(&s.store);
    start(&s);
    buf_clear(&s.out); /* how it started says each story alike */
    for (size_t at = 0; at < script.n && !rc;) {
        const char *end = memchr(script.p + at, '\n', script.n - at);
        size_t n = end ? (size_t)(end - script.p) - at : script.n - at;
        slice line = { script.p + at, n };

        at += n + 1;
        if (!slice_starts(line, SLICE(">")))
            continue;
        buf_add_slice(&s.out, line);
        buf_addc(&s.out, '\n');
        if (!happens(&s, (slice){ line.p + 1, line.n - 1 })) {
            fprintf(stderr, "%s: not understood: " SLICE_FMT "\n", path, SLICE_ARG(line));
            rc = 2;
        }
        arena_reset(&s.a);
    }
    buf_add_slice(ret, buf_slice(&s.out));
    dispatcher_free(s.d);
    store_close(s.store);
    arena_free(&s.a);
    buf_free(&s.out);
    return rc;
}

/* The first line in which they differ. */
static void show_difference(const char *path, slice want, slice got)
{
    size_t at = 0, line = 1, start = 0;

    while (at < want.n && at < got.n && want.p[at] == got.p[at]) {
        if (want.p[at] == '\n') {
            line++;
            start = at + 1;
        }
        at++;
    }
    fprintf(stderr, "%s:%zu: the story goes otherwise\n  kept: %.*s\n  now:  %.*s\n", path, line,
            (int)strcspn(want.p + start, "\n"), want.p + start, (int)strcspn(got.p + start, "\n"),
            got.p + start);
}

static int check(const char *path)
{
    buf want = { 0 }, got = { 0 };
    char chunk[4096];
    FILE *f = fopen(path, "r");
    size_t n;
    int rc;

    if (!f) {
        fprintf(stderr, "trace_dispatcher: cannot read '%s'\n", path);
        return 2;
    }
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_add(&want, chunk, n);
    fclose(f);
    rc = tell(path, buf_slice(&want), &got);
    if (!rc && !slice_eq(buf_slice(&want), buf_slice(&got))) {
        if (getenv("UPDATE")) {
            rc = files_replace(path, buf_slice(&got), NULL) != VOLT_OK;
        } else {
            buf_adds(&want, "");
            show_difference(path, buf_slice(&want), buf_slice(&got));
            rc = 1;
        }
    }
    buf_free(&want);
    buf_free(&got);
    return rc;
}

int main(int argc, char **argv)
{
    int rc = argc < 2 ? 2 : 0;

    for (int i = 1; i < argc; i++)
        rc |= check(argv[i]);
    return rc;
}
