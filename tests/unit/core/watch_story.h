/*
 * watch_story.h - stories of the observer's machine as traces: what went in is called by name, what
 * came out is one line an effect, and the whole is compared with the story.
 */
#ifndef VOLT_TESTS_WATCH_STORY_H
#define VOLT_TESTS_WATCH_STORY_H

#include "core/watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"

#define COMMITS_MAX 8

typedef struct story {
    watch *w;
    watch_effects out;
    buf trace;
    int64_t now_ms, wall_ms;
    char sid[16][33]; /* of submission 1, 2 ... in the order of their first SPOOL */
    uint64_t id[16];
    size_t sids;
    bool spool; /* answer SPOOL at once with SPOOLED */
    arena arena;
} story;

/* "a1" stands for the commit a1000... */
static inline slice oid(arena *a, const char *name)
{
    char *s = arena_printf(a, "%-40s", name);

    for (int i = 0; i < 40; i++)
        if (s[i] == ' ')
            s[i] = '0';
    return (slice){ s, 40 };
}

static inline const char *brief(arena *a, slice id)
{
    size_t n = id.n;

    while (n > 0 && id.p[n - 1] == '0')
        n--;
    return n ? arena_str(a, (slice){ id.p, n }) : "-";
}

static inline size_t number_of(story *t, const watch_effect *e)
{
    for (size_t i = 0; i < t->sids; i++)
        if (slice_is(e->msg->submit.sid, t->sid[i])) {
            t->id[i] = e->id;
            return i + 1;
        }
    assert_true(t->sids < 16);
    memcpy(t->sid[t->sids], e->msg->submit.sid.p, 32);
    t->id[t->sids] = e->id;
    return ++t->sids;
}

static inline void print_known(story *t, const watch_effect *e)
{
    if (e->known.n)
        buf_adds(&t->trace, " known");
    for (size_t i = 0; i < e->known.n; i++)
        buf_addf(&t->trace, " %s", brief(&t->arena, e->known.v[i]));
}

static inline void print_effect(story *t, const watch_effect *e)
{
    static const char *const names[] = { "LIST",  "SPOOL",   "PUSH", "QUERY",  "CURSOR",
                                         "KNOWN", "UNSPOOL", "TELL", "SILENT", "HEARD" };
    arena *a = &t->arena;

    buf_addf(&t->trace, "%s", names[e->kind]);
    switch (e->kind) {
    case WATCH_DO_LIST:
        buf_addf(&t->trace, " " SLICE_FMT " %s..%s%s", SLICE_ARG(e->ref), brief(a, e->old),
                 brief(a, e->oid), e->tip_only ? " tip" : "");
        print_known(t, e);
        break;
    case WATCH_DO_SPOOL:
    case WATCH_DO_PUSH:
        buf_addf(&t->trace, " #%zu " SLICE_FMT " %s", number_of(t, e),
                 SLICE_ARG(e->msg->submit.ref), brief(a, e->msg->submit.oid));
        if (e->kind == WATCH_DO_SPOOL)
            buf_addf(&t->trace, " as %d", (int)e->n);
        break;
    case WATCH_DO_QUERY:
        for (size_t i = 0; i < t->sids; i++)
            if (slice_is(e->msg->submission.sid, t->sid[i]))
                buf_addf(&t->trace, " #%zu", i + 1);
        break;
    case WATCH_DO_CURSOR:
        buf_addf(&t->trace, " " SLICE_FMT " %s", SLICE_ARG(e->ref), brief(a, e->oid));
        break;
    case WATCH_DO_UNSPOOL:
        buf_addf(&t->trace, " %d", (int)e->n);
        break;
    case WATCH_DO_TELL:
        buf_addf(&t->trace, " %s" SLICE_FMT, e->warn ? "! " : "", SLICE_ARG(e->text));
        break;
    case WATCH_DO_KNOWN:
    case WATCH_DO_SILENT:
    case WATCH_DO_HEARD:
        break;
    }
    buf_addc(&t->trace, '\n');
}

static inline void step(story *t, watch_event ev)
{
    uint64_t spooled[32];
    size_t n = 0;

    ev.now_ms = t->now_ms;
    ev.wall_ms = t->wall_ms;
    watch_effects_clear(&t->out);
    watch_step(t->w, &ev, &t->out);
    for (size_t i = 0; i < t->out.n; i++) {
        print_effect(t, &t->out.v[i]);
        if (t->out.v[i].kind == WATCH_DO_SPOOL && t->spool && n < 32)
            spooled[n++] = t->out.v[i].id;
    }
    for (size_t i = 0; i < n; i++)
        step(t, (watch_event){ .kind = WATCH_SPOOLED, .id = spooled[i] });
}

/* `text`: "main a1, dev b1"; the first one is HEAD's. */
static inline void sees(story *t, const char *text)
{
    watch_tip tips[8];
    size_t n = 0;
    char *s = arena_str(&t->arena, slice_of(text)), *save = NULL;

    for (char *p = strtok_r(s, ", ", &save); p; p = strtok_r(NULL, ", ", &save)) {
        tips[n].ref = slice_of(arena_printf(&t->arena, "refs/heads/%s", p));
        tips[n].oid = oid(&t->arena, strtok_r(NULL, ", ", &save));
        n++;
    }
    step(t,
         (watch_event){
             .kind = WATCH_REFS, .tips = tips, .tips_n = n, .head = slice_of("refs/heads/main") });
}

static inline void listed(story *t, const char *branch, const char *text)
{
    watch_commit commits[COMMITS_MAX];
    size_t n = 0;
    char *s = arena_str(&t->arena, slice_of(text)), *save = NULL;

    for (char *p = strtok_r(s, " ", &save); p; p = strtok_r(NULL, " ", &save))
        commits[n++] = (watch_commit){ .oid = oid(&t->arena, p) };
    step(t, (watch_event){ .kind = WATCH_LISTED,
                           .ref = slice_of(arena_printf(&t->arena, "refs/heads/%s", branch)),
                           .commits = commits,
                           .commits_n = n });
}

static inline void list_fails(story *t, const char *branch)
{
    step(t, (watch_event){ .kind = WATCH_LIST_FAILED,
                           .ref = slice_of(arena_printf(&t->arena, "refs/heads/%s", branch)) });
}

static inline void head_beat(story *t, uint64_t ep)
{
    msg m = { .type = MSG_head, .head = { .ep = ep } };

    step(t, (watch_event){ .kind = WATCH_MSG, .msg = &m });
}

/* Of the history whose name is that digit, 32 times. */
static inline void head_beat_of(story *t, uint64_t ep, char digit)
{
    msg m = { .type = MSG_head, .head = { .ep = ep } };
    char hist[32];

    memset(hist, digit, sizeof hist);
    m.head.hist = (slice){ hist, sizeof hist };
    step(t, (watch_event){ .kind = WATCH_MSG, .msg = &m });
}

static inline void accepts(story *t, size_t number)
{
    msg m = { .type = MSG_accepted,
              .accepted = { .sid = slice_of(t->sid[number - 1]), .build = number + 100 } };

    step(t, (watch_event){ .kind = WATCH_MSG, .msg = &m });
}

static inline void rejects(story *t, size_t number, code why, bool permanent)
{
    msg m = { .type = MSG_rejected,
              .rejected = {
                  .sid = slice_of(t->sid[number - 1]), .code = why, .permanent = permanent } };

    step(t, (watch_event){ .kind = WATCH_MSG, .msg = &m });
}

static inline void knows_not(story *t, size_t number)
{
    msg m = { .type = MSG_err, .r = t->id[number - 1], .err = { .code = CODE_NOT_FOUND } };

    step(t, (watch_event){ .kind = WATCH_MSG, .msg = &m });
}

static inline void submission_event(story *t, watch_event_kind kind, size_t number)
{
    step(t, (watch_event){ .kind = kind, .id = t->id[number - 1] });
}

/* Time passes; ticks come when they are due. */
static inline void pass(story *t, int64_t ms)
{
    int64_t end = t->now_ms + ms;

    while (watch_next_deadline_ms(t->w) <= end) {
        if (watch_next_deadline_ms(t->w) > t->now_ms)
            t->now_ms = watch_next_deadline_ms(t->w);
        step(t, (watch_event){ .kind = WATCH_TICK });
    }
    t->now_ms = end;
    step(t, (watch_event){ .kind = WATCH_TICK });
}

static inline void add_repo(story *t, watch_policy policy, bool from_now)
{
    watch_add(t->w, &(watch_repo_config){ .name = SLICE("demo"),
                                          .url = SLICE("local:host:/srv/demo"),
                                          .policy = policy,
                                          .from_now = from_now });
}

static inline story begin(watch_policy policy, bool from_now)
{
    story t = { .w = watch_new(SLICE("obs"), 42), .now_ms = 1000000, .spool = true };

    add_repo(&t, policy, from_now);
    return t;
}

/* A repository whose first sight is over: main at a1, accepted; a dispatcher of epoch 1. */
static inline story begin_known(watch_policy policy)
{
    story t = begin(policy, false);

    watch_restore_cursor(t.w, 0, SLICE("refs/heads/main"), oid(&t.arena, "a1"));
    watch_restore_known(t.w, 0);
    head_beat(&t, 1);
    sees(&t, "main a1");
    buf_clear(&t.trace);
    return t;
}

static inline void is(story *t, const char *expected)
{
    assert_string_equal(buf_str(&t->trace), expected);
    buf_clear(&t->trace);
}

static inline void end(story *t)
{
    watch_free(t->w);
    watch_effects_free(&t->out);
    buf_free(&t->trace);
    arena_free(&t->arena);
}

#endif
