/*
 * An old copy of the data directory, put back and started, would hand out numbers that were used
 * before: attempts would be confused, and events told twice.  It is recognised by what runners were
 * told since: a later epoch, or an attempt that the copy does not have.  Anybody can claim that, so
 * it counts only with the key that went with it, made of a secret of the data directory that the
 * copy has as well.  Without the key the one runner is refused, and nobody else is concerned.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/mutant.h"
#include "core/dispatch_internal.h"

#define STALE_RETRY_MS 5000

/* ---- keys ---- */

static slice key_of(const dispatch *d, const char *about, arena *a)
{
    char key[33];

    if (!d->config.prove)
        return (slice){ 0 };
    d->config.prove(d->config.secret, arena_printf(a, "%s %s", d->config.hist, about), key);
    return arena_slice(a, slice_of(key));
}

slice stale_epoch_key(dispatch *d, uint64_t ep)
{
    arena *a = &d->out->arena;

    return key_of(d, arena_printf(a, "epoch %" PRIu64, ep), a);
}

slice stale_attempt_key(dispatch *d, uint64_t task, uint64_t att)
{
    arena *a = &d->out->arena;

    return key_of(d, arena_printf(a, "attempt %" PRIu64 " %" PRIu64, task, att), a);
}

/* ---- claims ---- */

/* An attempt from the future of this data directory. */
static bool is_unknown(const dispatch *d, const rec_held *h)
{
    const task *t = map_get(&d->tasks, h->task);

    if (t)
        return h->att > t->att;
    for (size_t i = 0; i < d->ev->facts.tasks_n; i++)
        if (d->ev->facts.tasks[i].task == h->task)
            return h->att > d->ev->facts.tasks[i].att;
    return h->task > d->last_task;
}

void stale_stand_still(dispatch *d, const char *shown)
{
    d->stale_db = true;
    snprintf(d->trouble, sizeof d->trouble,
             "the data directory is an old copy: %s. Nothing is accepted or assigned. Stop the "
             "dispatcher and put the newest data directory back, or, when there is none, start it "
             "once with --accept-rollback to go on from this copy as a new history",
             shown);
}

/* What a runner has shown counts also after a restart: its epoch may be passed by then. */
static void found(dispatch *d, const msg_hello *m, const char *what)
{
    const char *shown = arena_printf(
        &d->out->arena, "runner '" SLICE_FMT "' was told of %s, and this was epoch %" PRIu64,
        SLICE_ARG(((slice){ m->name.p, m->name.n < 100 ? m->name.n : 100 })), what, d->config.ep);

    effects_add(d->out, EFFECT_STALE)->bytes = slice_of(shown);
    stale_stand_still(d, shown);
}

static void refuse(dispatch *d, const char *why)
{
    msg_refuse *m = &effects_send(d->out, d->ev->peer, MSG_refuse)->refuse;

    *m = (msg_refuse){ .code = CODE_STALE_DB, .msg = slice_of(why), .retry_ms = STALE_RETRY_MS };
}

/* Without its key a held one is dropped, as any that is not ours. */
static const rec_held *find_unknown(dispatch *d, const rec_held_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        const rec_held *h = &l->v[i];

        if (h->key.n && is_unknown(d, h) && slice_eq(h->key, stale_attempt_key(d, h->task, h->att)))
            return h;
    }
    return NULL;
}

bool stale_hello(dispatch *d, const msg_hello *m)
{
    char what[64];
    const rec_held *h;

    if (!slice_is(m->hist, d->config.hist) || MUTANT(stale_db_unseen))
        return false;
    h = find_unknown(d, &m->held);
    if (!h) /* of an idle runner: a copy that is started comes to an epoch that was there before */
        h = find_unknown(d, &m->last);
    if (h) {
        snprintf(what, sizeof what, "attempt %" PRIu64 " of task %" PRIu64, h->att, h->task);
        found(d, m, what);
        refuse(d, d->trouble);
        return true;
    }
    if (m->maxep <= d->config.ep)
        return false;
    if (!m->key.n || !slice_eq(m->key, stale_epoch_key(d, m->maxep))) {
        /* It would ignore our assigns, as those of a dispatcher that was replaced. */
        refuse(d, "you say that you know a later start of this dispatcher, and do not show the key "
                  "that it told you; when you can, begin anew with another work directory");
        return true;
    }
    snprintf(what, sizeof what, "epoch %" PRIu64, m->maxep);
    found(d, m, what);
    refuse(d, d->trouble);
    return true;
}

/* ---- standing still ---- */

/* Everything that would change something is put off: runners keep what they run and hold, observers
 * and clients come again. */
void stale_message(dispatch *d, const msg *m)
{
    const char *why = "the data directory is an old copy; 'volt status' says what to do";

    switch (m->type) {
    case MSG_submit:
        client_put_off(d, m->submit.obs, m->submit.sid, CODE_STALE_DB, slice_of(why));
        break;
    case MSG_hello:
    case MSG_hb:
    case MSG_start:
    case MSG_nack:
    case MSG_plan:
    case MSG_tests:
    case MSG_log:
    case MSG_result:
        if (d->ev->peer)
            refuse(d, d->trouble);
        break;
    case MSG_bye: /* it will say hello when it is back */
        break;
    default:
        if (d->ev->peer)
            answer_err(d, CODE_STALE_DB, why);
        break;
    }
}
