#include "core/watch_queue.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/mutant.h"

/* ---- effects ---- */

watch_effect *watch_effect_add(watch_effects *e, watch_effect_kind kind)
{
    if (e->n == e->cap) {
        e->cap = e->cap ? e->cap * 2 : 32;
        e->v = mem_grow(e->v, e->cap, sizeof *e->v);
    }
    e->v[e->n] = (watch_effect){ .kind = kind };
    return &e->v[e->n++];
}

void watch_effects_clear(watch_effects *e)
{
    e->n = 0;
    arena_reset(&e->arena);
}

void watch_effects_free(watch_effects *e)
{
    free(e->v);
    arena_free(&e->arena);
    *e = (watch_effects){ 0 };
}

slice watch_effect_text(watch_effects *e, const char *s)
{
    return arena_slice(&e->arena, slice_of(s));
}

static const msg *submit_msg(const watch *w, const submission *s, watch_effects *out)
{
    msg *m = ARENA_NEW(&out->arena, msg);
    const watch_repo *repo = s->ref->repo;

    m->type = MSG_submit;
    m->submit = (msg_submit){
        .sid = watch_effect_text(out, s->sid),
        .obs = watch_effect_text(out, w->obs),
        .repo = watch_effect_text(out, repo->name),
        .url = watch_effect_text(out, repo->url),
        .default_branch = watch_effect_text(out, repo->default_branch),
        .oid = watch_effect_text(out, s->oid.hex),
        .ref = watch_effect_text(out, s->ref->name),
        .subject = watch_effect_text(out, s->subject),
        .author = watch_effect_text(out, s->author),
    };
    return m;
}

static void emit_submission(watch *w, const submission *s, watch_effect_kind kind,
                            watch_effects *out)
{
    const msg *m = submit_msg(w, s, out);
    watch_effect *e = watch_effect_add(out, kind);

    e->repo = s->ref->repo->number;
    e->id = s->id;
    e->n = s->n;
    e->msg = m;
}

void watch_emit_cursor(const watch_ref *ref, const char *oid, watch_effects *out)
{
    watch_effect *e = watch_effect_add(out, WATCH_DO_CURSOR);

    e->repo = ref->repo->number;
    e->ref = watch_effect_text(out, ref->name);
    e->oid = watch_effect_text(out, oid);
}

static void tell(const submission *s, bool warn, const char *text, watch_effects *out)
{
    watch_effect *e = watch_effect_add(out, WATCH_DO_TELL);
    const char *ref = s->ref->name;
    const char *shown = strncmp(ref, "refs/heads/", 11) == 0 ? ref + 11 : ref;

    e->repo = s->ref->repo->number;
    e->warn = warn;
    e->text = slice_of(arena_printf(&out->arena, "%s %s %.12s%s%s: %s", s->ref->repo->name, shown,
                                    s->oid.hex, *s->subject ? " " : "", s->subject, text));
}

/* ---- submissions ---- */

bool watch_set_id(watch_oid *id, slice oid)
{
    if (oid.n != 40 && oid.n != 64)
        return false;
    memcpy(id->hex, oid.p, oid.n);
    id->hex[oid.n] = '\0';
    return true;
}

submission *watch_submission_new(watch *w, watch_ref *ref, const watch_oid *oid, slice subject,
                                 slice author)
{
    submission *s = NEW(submission);

    s->ref = ref;
    s->id = ++w->last_id;
    s->oid = *oid;
    s->subject = mem_strndup(subject.n ? subject.p : "", subject.n);
    s->author = mem_strndup(author.n ? author.p : "", author.n);
    list_push(&ref->queue, &s->in_ref);
    ref->queued++;
    ref->mark = *oid;
    w->submissions++;
    map_put(&w->by_id, s->id, s);
    return s;
}

void watch_submission_free(watch *w, submission *s)
{
    if (s->stage == STAGE_FLIGHT)
        w->flight--;
    if (s->stage == STAGE_NEW)
        s->ref->unspooled--;
    heap_remove(&w->due, &s->due);
    list_remove(&s->in_ready);
    list_remove(&s->in_ref);
    s->ref->queued--;
    w->submissions--;
    map_remove(&w->by_id, s->id);
    map_removes(&w->by_sid, slice_of(s->sid));
    free(s->subject);
    free(s->author);
    free(s);
}

submission *watch_first(const watch_ref *ref)
{
    return list_empty(&ref->queue) ? NULL : LIST_OWNER(ref->queue.next, submission, in_ref);
}

/* The first of a branch gets in line when it is durable. */
void watch_make_ready(watch *w, watch_ref *ref)
{
    submission *s = watch_first(ref);

    if (!s || s->stage != STAGE_SPOOLED)
        return;
    s->stage = STAGE_READY;
    list_push(&w->ready, &s->in_ready);
}

void watch_enqueue(watch *w, watch_ref *ref, const watch_oid *oid, slice subject, slice author,
                   watch_effects *out)
{
    submission *s = watch_submission_new(w, ref, oid, subject, author);

    prng_hex32(&w->rng, s->sid);
    s->n = ++ref->repo->last_n;
    map_puts(&w->by_sid, slice_of(s->sid), s);
    ref->unspooled++;
    if (!ref->spool_failed) /* else in its turn, see spool_again() */
        emit_submission(w, s, WATCH_DO_SPOOL, out);
}

int64_t watch_backoff_ms(watch *w, unsigned tries)
{
    int64_t ms = WATCH_RESEND_MAX_MS;

    if (tries < 7 && WATCH_RESEND_MS << (tries - 1) < WATCH_RESEND_MAX_MS)
        ms = WATCH_RESEND_MS << (tries - 1);
    return prng_jitter_ms(&w->rng, ms, WATCH_JITTER);
}

/* ---- sending ---- */

static void push(watch *w, submission *s, int64_t now_ms, watch_effects *out)
{
    if (s->stage != STAGE_FLIGHT) {
        list_remove(&s->in_ready);
        s->stage = STAGE_FLIGHT;
        w->flight++;
    }
    if (s->tries < 7)
        s->tries++;
    s->query = true;
    s->resend_ms = MUTANT(push_once) ? HEAP_NEVER : now_ms + watch_backoff_ms(w, s->tries);
    heap_set(&w->due, &s->due, now_ms + WATCH_QUERY_MS);
    emit_submission(w, s, WATCH_DO_PUSH, out);
    if (MUTANT(unspool_early))
        emit_submission(w, s, WATCH_DO_UNSPOOL, out);
}

static void pump(watch *w, int64_t now_ms, watch_effects *out)
{
    if (w->blocked_until_ms && now_ms < w->blocked_until_ms)
        return;
    w->blocked_until_ms = 0;
    while (w->heard && w->flight < WATCH_FLIGHT_MAX && !list_empty(&w->ready))
        push(w, LIST_OWNER(w->ready.next, submission, in_ready), now_ms, out);
}

/* Everything unanswered is due at once: the dispatcher is another process now, or was cut off. */
static void resend_all(watch *w, int64_t now_ms)
{
    for (size_t r = 0; r < w->repos_n; r++)
        LIST_FOR(pos, &w->repos[r]->ref_order)
        {
            submission *s = watch_first(LIST_OWNER(pos, watch_ref, in_repo));

            if (!s || s->stage != STAGE_FLIGHT)
                continue;
            s->tries = 0;
            s->query = false;
            s->resend_ms = now_ms;
            heap_set(&w->due, &s->due, now_ms);
        }
}

static void on_head(watch *w, const msg_head *head, int64_t now_ms, watch_effects *out)
{
    bool anew = !w->heard || head->ep != w->ep || !slice_is(head->boot, w->boot);
    bool named = head->hist.n == 32, other = named && w->hist[0] && !slice_is(head->hist, w->hist);

    if (!w->heard)
        watch_effect_add(out, WATCH_DO_HEARD);
    w->heard = true;
    w->told_silent = false;
    w->ep = head->ep;
    w->silent_at_ms = now_ms + WATCH_SILENT_MS;
    if (named)
        memcpy(w->hist, head->hist.p, 32);
    memset(w->boot, 0, sizeof w->boot);
    if (head->boot.n == 32)
        memcpy(w->boot, head->boot.p, 32);
    if (anew || other) {
        resend_all(w, now_ms);
        watch_offer_again(w, other, out);
    }
}

/* The cursor moves over an answered submission. */
static void pass(const watch *w, const submission *s, watch_effects *out)
{
    watch_ref *ref = s->ref;
    watch_effect *e;

    if (!ref->gone) {
        ref->cursor = s->oid;
        if (s->accepted)
            watch_keep(w, ref, &s->oid);
        watch_emit_cursor(ref, ref->cursor.hex, out);
        out->v[out->n - 1].kept = s->accepted ? ref->kept_n : 0;
        out->v[out->n - 1].wall_ms = w->wall_ms;
    }
    e = watch_effect_add(out, WATCH_DO_UNSPOOL);
    e->repo = ref->repo->number;
    e->n = s->n;
}

/* Up to the first that is not answered. */
static void advance(watch *w, watch_ref *ref, watch_effects *out)
{
    for (submission *s = watch_first(ref); s && s->answered; s = watch_first(ref)) {
        if (!s->again)
            pass(w, s, out);
        watch_submission_free(w, s);
    }
    watch_make_ready(w, ref);
    watch_ask(w, ref, out);
    watch_settle_ref(w, ref);
}

static void finish(watch *w, submission *s, watch_effects *out)
{
    s->answered = true;
    if (s->stage == STAGE_FLIGHT)
        w->flight--;
    heap_remove(&w->due, &s->due);
    list_remove(&s->in_ready);
    s->stage = STAGE_SPOOLED;
    advance(w, s->ref, out);
}

static void on_accepted(watch *w, const msg_accepted *m, watch_effects *out)
{
    submission *s = map_gets(&w->by_sid, m->sid);

    /* What was not spooled was not sent: somebody answers a sid that he cannot know. */
    if (!s || s->stage == STAGE_NEW || s->answered)
        return;
    if (!s->again || !m->dup)
        tell(s, false,
             arena_printf(&out->arena, "build %llu%s", (unsigned long long)m->build,
                          m->dup     ? " (known)"
                          : s->again ? " (it was accepted before, and had been lost)"
                                     : ""),
             out);
    s->accepted = true;
    finish(w, s, out);
}

static void on_rejected(watch *w, const msg_rejected *m, watch_effects *out)
{
    submission *s = map_gets(&w->by_sid, m->sid);
    const char *why;

    if (!s || s->stage == STAGE_NEW || s->answered)
        return;
    why = arena_printf(&out->arena, "refused%s: %s%s" SLICE_FMT,
                       m->permanent ? "" : " for now, will be repeated", code_text(m->code),
                       m->msg.n ? ", " : "", SLICE_ARG(m->msg));
    if (m->permanent || MUTANT(refusal_is_final)) {
        tell(s, true, why, out);
        w->refused++;
        finish(w, s, out);
        return;
    }
    if (s->refused != m->code)
        tell(s, true, why, out);
    s->refused = m->code;
    if (s->stage == STAGE_FLIGHT && s->query) { /* answered, so there is nothing to ask */
        s->query = false;
        heap_set(&w->due, &s->due, s->resend_ms);
    }
}

/* NOT_FOUND: the push got lost on its way, or is still on it.  After the first push it is repeated
 * at once (connections that are just being made lose the most), later ones keep their time. */
static void on_err(watch *w, const msg *m, int64_t now_ms, watch_effects *out)
{
    submission *s = m->r ? map_get(&w->by_id, m->r) : NULL;

    if (s && s->stage == STAGE_FLIGHT && m->err.code == CODE_NOT_FOUND && s->tries == 1 &&
        !s->query)
        push(w, s, now_ms, out);
}

void watch_on_msg(watch *w, const msg *m, int64_t now_ms, watch_effects *out)
{
    switch (m->type) {
    case MSG_head:
        on_head(w, &m->head, now_ms, out);
        break;
    case MSG_accepted:
        on_accepted(w, &m->accepted, out);
        break;
    case MSG_rejected:
        on_rejected(w, &m->rejected, out);
        break;
    case MSG_err:
        on_err(w, m, now_ms, out);
        break;
    default:
        break;
    }
}

void watch_on_spooled(watch *w, submission *s, watch_effects *out)
{
    if (s->stage != STAGE_NEW)
        return;
    s->stage = STAGE_SPOOLED;
    s->tries = 0;
    heap_remove(&w->due, &s->due);
    s->ref->unspooled--;
    if (watch_first(s->ref) == s)
        watch_make_ready(w, s->ref);
    watch_settle_first_sight(s->ref->repo, out);
}

void watch_on_spool_failed(watch *w, submission *s, int64_t now_ms)
{
    if (s->stage != STAGE_NEW || s->ref->spool_failed)
        return;
    if (s->tries < 7)
        s->tries++;
    s->ref->spool_failed = true;
    heap_set(&w->due, &s->due, now_ms + watch_backoff_ms(w, s->tries));
}

/* All of the branch, in order: an entry must not be durable before an older one, or a crash between
 * the two would lose the older. */
static void spool_again(watch *w, watch_ref *ref, watch_effects *out)
{
    ref->spool_failed = false;
    LIST_FOR(pos, &ref->queue)
    {
        submission *s = LIST_OWNER(pos, submission, in_ref);

        if (s->stage == STAGE_NEW)
            emit_submission(w, s, WATCH_DO_SPOOL, out);
    }
}

void watch_on_blocked(watch *w, submission *s, int64_t now_ms)
{
    if (s->stage != STAGE_FLIGHT)
        return;
    heap_remove(&w->due, &s->due);
    w->flight--;
    s->tries--;
    s->stage = STAGE_READY;
    list_push(&w->ready, &s->in_ready);
    w->blocked_until_ms = now_ms + WATCH_BLOCKED_MS;
}

static void on_due(watch *w, submission *s, int64_t now_ms, watch_effects *out)
{
    if (s->stage == STAGE_NEW) {
        heap_remove(&w->due, &s->due);
        spool_again(w, s->ref, out);
    } else if (!w->heard) { /* a head beat makes it due again; until then it would only pile up */
        heap_remove(&w->due, &s->due);
    } else if (s->query) {
        msg *m = ARENA_NEW(&out->arena, msg);

        s->query = false;
        heap_set(&w->due, &s->due, s->resend_ms);
        m->type = MSG_submission;
        m->r = s->id;
        m->submission.sid = watch_effect_text(out, s->sid);
        watch_effect_add(out, WATCH_DO_QUERY)->msg = m;
    } else if (w->blocked_until_ms) {
        heap_set(&w->due, &s->due, w->blocked_until_ms);
    } else {
        push(w, s, now_ms, out);
    }
}

void watch_on_queue_time(watch *w, int64_t now_ms, watch_effects *out)
{
    pump(w, now_ms, out);
    while (heap_top_key(&w->due) <= now_ms)
        on_due(w, HEAP_OWNER(heap_top(&w->due), submission, due), now_ms, out);
}
