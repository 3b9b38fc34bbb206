#include "cmd/observer/run.h"

#include <signal.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/kill.h"
#include "base/mem.h"
#include "cmd/show.h"
#include "wire/codec.h"

#define FLUSH_MS       100  /* cursors are gathered so long: one fsync for a burst */
#define FLUSH_RETRY_MS 5000 /* after a failure */
#define LOOK_MS        2000 /* between looks whether the states are there */

/* ---- effects ---- */

static void carry_out(observer *o);

static void feed(observer *o, watch_event ev)
{
    ev.now_ms = loop_now_ms();
    ev.wall_ms = loop_wall_ms();
    watch_step(o->w, &ev, &o->out);
    if (!o->busy)
        carry_out(o);
}

static void spool(observer *o, const watch_effect *e)
{
    watched *r = &o->v[e->repo];
    volt_err err;
    uint64_t held;

    o->in_batch = true;
    buf_clear(&o->frame);
    wire_encode(e->msg, &o->frame);
    /* Behind one that failed nothing may be durable, or a crash would lose the first. */
    if (!r->spool_failed && observer_state_spool(r->state, e->n, buf_slice(&o->frame), &err)) {
        r->spool_failed = true;
        if (log_limit_pass(&o->spool_trouble, loop_now_ms(), &held))
            log_error("%s; nothing is lost, trying again", err.msg);
    }
    if (r->spool_failed) {
        feed(o, (watch_event){ .kind = WATCH_SPOOL_FAILED, .id = e->id });
        return;
    }
    r->spooled = true;
    if (o->batch_n == o->batch_cap) {
        o->batch_cap = o->batch_cap ? 2 * o->batch_cap : 64;
        o->batch = mem_grow(o->batch, o->batch_cap, sizeof *o->batch);
        o->batch_of = mem_grow(o->batch_of, o->batch_cap, sizeof *o->batch_of);
    }
    o->batch_of[o->batch_n] = e->repo;
    o->batch[o->batch_n++] = e->id;
}

/* One sync of the directory for all entries written in a row. */
static void end_batch(observer *o)
{
    volt_err err;
    uint64_t held;
    size_t n = o->batch_n;

    KILL_POINT(before_submission_sync);
    for (size_t i = 0; i < o->n; i++) {
        watched *r = &o->v[i];

        if (r->spooled && observer_state_sync(r->state, &err)) {
            r->spool_failed = true;
            if (log_limit_pass(&o->spool_trouble, loop_now_ms(), &held))
                log_error("%s; nothing is lost, trying again", err.msg);
        } else {
            r->spool_failed = false;
        }
        r->spooled = false;
    }
    KILL_POINT(after_submission_sync);
    o->batch_n = 0;
    o->in_batch = false;
    for (size_t i = 0; i < n; i++)
        feed(o, (watch_event){ .kind = o->v[o->batch_of[i]].spool_failed ? WATCH_SPOOL_FAILED
                                                                         : WATCH_SPOOLED,
                               .id = o->batch[i] });
    for (size_t i = 0; i < o->n; i++)
        o->v[i].spool_failed = false;
}

static void push(observer *o, const watch_effect *e)
{
    volt_err err;
    volt_code code;

    buf_clear(&o->frame);
    wire_encode(e->msg, &o->frame);
    code = observer_link_push(o->link, buf_slice(&o->frame), &err);
    KILL_POINT(after_push);
    if (code && code != VOLT_EAGAIN)
        log_error("%s", err.msg);
    if (code)
        feed(o, (watch_event){ .kind = WATCH_BLOCKED, .id = e->id });
}

static void persist(observer *o, const watch_effect *e)
{
    observer_state *state = o->v[e->repo].state;

    if (e->kind == WATCH_DO_CURSOR) {
        observer_state_cursor(state, e->ref, e->oid);
        if (e->kept)
            observer_state_kept(state, e->ref, e->oid, e->wall_ms, e->kept);
    } else if (e->kind == WATCH_DO_UNSPOOL) {
        observer_state_unspool(state, e->n);
    } else {
        observer_state_known(state);
        observer_repo_set_known(o->v[e->repo].repo);
    }
    if (o->flush_ms == INT64_MAX)
        o->flush_ms = loop_now_ms() + FLUSH_MS;
}

static void tell(const watch_effect *e)
{
    CLEANUP(buf)
    buf text = { 0 };

    show_text(&text, e->text, 0);
    log_write(e->warn ? LOG_WARN : LOG_NOTE, "%s", buf_str(&text));
}

static void do_effect(observer *o, const watch_effect *e)
{
    switch (e->kind) {
    case WATCH_DO_LIST:
        observer_repo_list(o->v[e->repo].repo, e);
        break;
    case WATCH_DO_SPOOL:
        spool(o, e);
        break;
    case WATCH_DO_PUSH:
        push(o, e);
        break;
    case WATCH_DO_QUERY:
        observer_link_query(o->link, e->msg);
        break;
    case WATCH_DO_CURSOR:
    case WATCH_DO_KNOWN:
    case WATCH_DO_UNSPOOL:
        persist(o, e);
        break;
    case WATCH_DO_TELL:
        tell(e);
        break;
    case WATCH_DO_SILENT:
        log_warn("no sign of a dispatcher at %s; waiting for it (is 'volt dispatcher' running?)",
                 o->server);
        break;
    case WATCH_DO_HEARD:
        log_note("the dispatcher at %s is there", o->server);
        break;
    }
}

/* Steps that effects cause append to the same list, so everything happens in the order in which it
 * was decided. */
static void carry_out(observer *o)
{
    o->busy = true;
    for (size_t i = 0;; i++) {
        watch_effect e;

        if (o->in_batch && (i == o->out.n || o->out.v[i].kind != WATCH_DO_SPOOL))
            end_batch(o);
        if (i == o->out.n)
            break;
        e = o->out.v[i]; /* the list may move */
        do_effect(o, &e);
    }
    watch_effects_clear(&o->out);
    o->busy = false;
}

/* ---- what happens ---- */

void observer_run_message(void *ctx, const msg *m)
{
    feed(ctx, (watch_event){ .kind = WATCH_MSG, .msg = m });
}

static void on_sighted(void *ctx, size_t number, const ref_list *refs, const char *head)
{
    watch_tip *tips = NEW_ARRAY(watch_tip, refs->n + 1);

    for (size_t i = 0; i < refs->n; i++)
        tips[i] = (watch_tip){ slice_of(refs->v[i].name), slice_of(refs->v[i].id.hex) };
    feed(ctx, (watch_event){ .kind = WATCH_REFS,
                             .repo = number,
                             .tips = tips,
                             .tips_n = refs->n,
                             .head = slice_of(head) });
    free(tips);
}

static void on_listed(void *ctx, size_t number, const char *ref, const commit_note *v, size_t n)
{
    watch_commit *commits = NEW_ARRAY(watch_commit, n + 1);

    for (size_t i = 0; i < n; i++)
        commits[i] =
            (watch_commit){ slice_of(v[i].id.hex), slice_of(v[i].subject), slice_of(v[i].author) };
    feed(ctx, (watch_event){ .kind = WATCH_LISTED,
                             .repo = number,
                             .ref = slice_of(ref),
                             .commits = commits,
                             .commits_n = n });
    free(commits);
}

static void on_list_failed(void *ctx, size_t number, const char *ref)
{
    feed(ctx, (watch_event){ .kind = WATCH_LIST_FAILED, .repo = number, .ref = slice_of(ref) });
}

observer_repo_calls observer_run_calls(observer *o)
{
    return (observer_repo_calls){ o, on_sighted, on_listed, on_list_failed };
}

static void on_hint(void *ctx, size_t repo, bool dirs)
{
    observer *o = ctx;
    int64_t now_ms = loop_now_ms();

    for (size_t i = 0; i < o->n; i++)
        if (repo == HINT_ALL ? o->v[i].source.path != NULL : repo == i)
            observer_repo_hint(o->v[i].repo, now_ms, dirs);
}

void observer_run_hints(void *ctx)
{
    observer *o = ctx;

    observer_hint_read(o->hint, on_hint, o);
}

void observer_run_signal(void *ctx, int number)
{
    observer *o = ctx;

    if (number == SIGHUP)
        for (size_t i = 0; i < o->n; i++)
            observer_repo_hint(o->v[i].repo, loop_now_ms(), true);
    else if (number == SIGINT || number == SIGTERM)
        o->signal = number;
}

/* ---- the loop ---- */

static void flush(observer *o)
{
    volt_err err;
    uint64_t held;

    o->flush_ms = INT64_MAX;
    for (size_t i = 0; i < o->n; i++)
        if (observer_state_flush(o->v[i].state, &err)) {
            o->flush_ms = loop_now_ms() + FLUSH_RETRY_MS;
            if (log_limit_pass(&o->flush_trouble, loop_now_ms(), &held))
                log_error("%s; nothing is lost, trying again", err.msg);
        }
}

/* What was deleted is made again of what is in memory. */
static volt_code look_after_states(observer *o, int64_t now_ms, volt_err *err)
{
    volt_code code = VOLT_OK;
    size_t gone = 0;

    if (now_ms < o->look_ms)
        return VOLT_OK;
    o->look_ms = now_ms + LOOK_MS;
    for (size_t i = 0; i < o->n && !code; i++)
        if (observer_state_is_gone(o->v[i].state)) {
            gone++;
            code = observer_state_mend(o->v[i].state, err);
        }
    if (code)
        return volt_wrap(err, code, "the state was deleted and cannot be made again");
    if (gone) {
        log_warn("the state of %zu %s was deleted and is made again", gone,
                 gone == 1 ? "repository" : "repositories");
        flush(o);
    }
    return VOLT_OK;
}

static int64_t next_deadline_ms(const observer *o)
{
    int64_t at = watch_next_deadline_ms(o->w);

    at = observer_link_deadline_ms(o->link) < at ? observer_link_deadline_ms(o->link) : at;
    at = o->flush_ms < at ? o->flush_ms : at;
    at = o->look_ms < at ? o->look_ms : at;
    for (size_t i = 0; i < o->n; i++) {
        int64_t look = observer_repo_deadline_ms(o->v[i].repo);

        at = look < at ? look : at;
    }
    return at;
}

/* With --once: each repository was looked at, or cannot be, and nothing waits for an answer. */
static bool all_done(const observer *o)
{
    for (size_t i = 0; i < o->n; i++)
        if (!observer_repo_seen(o->v[i].repo) && !observer_repo_failed(o->v[i].repo))
            return false;
    return watch_pending(o->w) == 0;
}

volt_code observer_run(observer *o, bool once, volt_err *err)
{
    while (!o->signal && !(once && all_done(o))) {
        volt_code code = loop_wait(o->loop, next_deadline_ms(o), NULL, err);
        int64_t now_ms;

        if (code)
            return code;
        now_ms = loop_now_ms();
        code = look_after_states(o, now_ms, err);
        if (code)
            return code;
        for (size_t i = 0; i < o->n; i++)
            observer_repo_run(o->v[i].repo, now_ms);
        feed(o, (watch_event){ .kind = WATCH_TICK });
        observer_link_tick(o->link, now_ms, watch_heard(o->w));
        if (now_ms >= o->flush_ms)
            flush(o);
    }
    flush(o);
    return VOLT_OK;
}
