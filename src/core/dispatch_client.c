#include <stdlib.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "core/dispatch_internal.h"
#include "core/env.h"

/* ---- submissions ---- */

static void put_submission(dispatch *d, slice sid, uint64_t build, code refused)
{
    row_submission *row;

    if (MUTANT(sid_not_stored))
        return;
    row = &effects_put(d->out, ROW_SUBMISSION)->submission;
    *row =
        (row_submission){ .sid = sid, .build = build, .refused = refused, .wall_ms = d->wall_ms };
}

/* The answer goes back to a client, or out on the observer's topic. */
static msg *submission_answer(dispatch *d, slice obs, msg_type type)
{
    const char *topic;

    if (d->ev->peer)
        return answer(d, type);
    topic = arena_printf(&d->out->arena, "a." SLICE_FMT ".", SLICE_ARG(obs));
    return effects_publish(d->out, topic, type);
}

static void accept(dispatch *d, slice obs, slice sid, uint64_t build, bool dup, verdict v)
{
    msg_accepted *m = &submission_answer(d, obs, MSG_accepted)->accepted;

    *m = (msg_accepted){ .sid = sid, .build = build, .dup = dup, .verdict = v };
}

static void reject(dispatch *d, slice obs, slice sid, code code, bool permanent, slice why)
{
    msg_rejected *m = &submission_answer(d, obs, MSG_rejected)->rejected;

    *m = (msg_rejected){ .sid = sid, .code = code, .msg = why, .permanent = permanent };
}

void client_put_off(dispatch *d, slice obs, slice sid, code code, slice why)
{
    reject(d, obs, sid, code, false, why);
}

/* The verdict of a build that may have ended. */
static verdict known_verdict(const dispatch *d, const row_build *row)
{
    const build *b = map_get(&d->builds, row->build);

    return b ? verdict_none : row->verdict;
}

/* Answers a submission that was seen before; false: it is new. */
static bool seen_before(dispatch *d, slice obs, slice sid)
{
    const row_submission *row = d->ev->facts.submission;

    if (!row || MUTANT(sid_forgotten))
        return false;
    if (MUTANT(dup_unanswered))
        return true;
    if (row->build)
        accept(d, obs, sid, row->build, true, verdict_none);
    else
        reject(d, obs, sid, row->refused, true, SLICE("refused before"));
    return true;
}

/* Urls that name the same repository: slashes and ".git" at the end do not count. */
static slice canonical(slice url)
{
    while (url.n > 1 && url.p[url.n - 1] == '/')
        url.n--;
    if (slice_ends(url, SLICE("/.git")))
        url.n -= 5;
    else if (slice_ends(url, SLICE(".git")))
        url.n -= 4;
    return url;
}

repo *dispatch_repo(dispatch *d, slice name, slice url, slice default_branch)
{
    repo *p = NEW(repo);
    const char *colon;

    p->name = (slice){ mem_strndup(name.p, name.n), name.n };
    p->url = (slice){ mem_strndup(url.p, url.n), url.n };
    p->default_branch =
        (slice){ mem_strndup(default_branch.p, default_branch.n), default_branch.n };
    p->share.order = ++d->repo_orders;
    if (slice_starts(p->url, SLICE("local:"))) {
        p->local_host.p = p->url.p + 6;
        colon = memchr(p->local_host.p, ':', p->url.n - 6);
        p->local_host.n = colon ? (size_t)(colon - p->local_host.p) : p->url.n - 6;
    }
    map_puts(&d->repos, p->name, p);
    return p;
}

static repo *bind_repo(dispatch *d, const msg_submit *m)
{
    repo *p = map_gets(&d->repos, m->repo);
    row_repo *row;

    if (p)
        return slice_eq(canonical(p->url), canonical(m->url)) ? p : NULL;
    p = dispatch_repo(d, m->repo, m->url, m->default_branch);
    if (MUTANT(repo_not_stored))
        return p;
    row = &effects_put(d->out, ROW_REPO)->repo;
    *row = (row_repo){ .name = p->name, .url = p->url, .default_branch = p->default_branch };
    return p;
}

static bool same_env(const row_build *b, slices env)
{
    bool same = b->env.n == env.n;

    for (size_t i = 0; i < env.n && same; i++)
        same = slice_eq(b->env.v[i], env.v[i]);
    return same;
}

/* Refuses a submission for good. */
static void reject_for_good(dispatch *d, const msg_submit *m, code code, slice why)
{
    put_submission(d, m->sid, 0, code);
    reject(d, m->obs, m->sid, code, true, why);
}

void on_submit(dispatch *d, const msg_submit *m)
{
    const row_build *latest = d->ev->facts.latest;
    bool again = latest && m->env.n && !same_env(latest, m->env);
    const char *wrong;
    repo *p;
    build *b;

    if (seen_before(d, m->obs, m->sid))
        return;
    wrong = env_check(m->env, &d->out->arena);
    if (wrong) {
        reject_for_good(d, m, CODE_BAD_MSG, slice_of(wrong));
        return;
    }
    if (latest && !again && !MUTANT(identity_ignored)) {
        put_submission(d, m->sid, latest->build, code_none);
        accept(d, m->obs, m->sid, latest->build, true, known_verdict(d, latest));
        return;
    }
    if (d->ev->disk_low) {
        reject(d, m->obs, m->sid, CODE_DISK, false, SLICE("the dispatcher's disk is nearly full"));
        return;
    }
    if (d->builds_n >= DISPATCH_BUILDS_MAX) {
        reject(d, m->obs, m->sid, CODE_BUSY, false, SLICE("100000 builds wait already"));
        return;
    }
    p = bind_repo(d, m);
    if (!p) {
        p = map_gets(&d->repos, m->repo);
        reject_for_good(
            d, m, CODE_NAME_TAKEN,
            step_text(d, "the name '" SLICE_FMT "' belongs to " SLICE_FMT "; use NAME=" SLICE_FMT,
                      SLICE_ARG(m->repo), SLICE_ARG(p->url), SLICE_ARG(m->url)));
        return;
    }
    b = life_submit(d, p,
                    &(row_build){ .ref = m->ref,
                                  .oid = m->oid,
                                  .gen = again ? latest->gen + 1 : 0,
                                  .subject = m->subject,
                                  .author = m->author,
                                  .env = m->env },
                    m->priority);
    put_submission(d, m->sid, b->id, code_none);
    accept(d, m->obs, m->sid, b->id, false, verdict_none);
}

void on_submission(dispatch *d, const msg_submission *m)
{
    if (!seen_before(d, (slice){ 0 }, m->sid))
        answer_err(d, CODE_NOT_FOUND, "this submission never arrived");
}

/* ---- commands ---- */

void on_cancel_build(dispatch *d, const msg_cancel_build *m)
{
    build *b = map_get(&d->builds, m->build);

    if (b) {
        life_cancel_build(d, b, m->why.n ? m->why : SLICE("canceled by command"));
        answer(d, MSG_ok);
    } else if (d->ev->facts.build) {
        const row_build *row = d->ev->facts.build;

        if (row->verdict == VERDICT_CANCELED)
            answer(d, MSG_ok)->ok.msg = SLICE("it was canceled before");
        else
            answer_err(d, CODE_STATE,
                       arena_printf(&d->out->arena, "build %llu has ended already (%s)",
                                    (unsigned long long)m->build, verdict_text(row->verdict)));
    } else {
        answer_err(
            d, CODE_NOT_FOUND,
            arena_printf(&d->out->arena, "there is no build %llu", (unsigned long long)m->build));
    }
}

/* Why what did not pass in a build cannot run again alone; NULL: it can. */
static const char *no_retry(dispatch *d, const row_build *old)
{
    const unsigned long long build = old->build;

    if (old->state != STATE_FINAL)
        return arena_printf(&d->out->arena, "build %llu has not ended", build);
    if (!verdict_is_bad(old->verdict))
        return arena_printf(&d->out->arena, "build %llu has %s: there is nothing to retry", build,
                            verdict_text(old->verdict));
    if (old->forgotten)
        return arena_printf(&d->out->arena,
                            "what passed in build %llu is no longer kept; 'volt rebuild %llu' runs "
                            "all of it again",
                            build, build);
    return NULL;
}

void on_rebuild(dispatch *d, const msg_rebuild *m)
{
    const row_build *old = d->ev->facts.build;
    const row_build *latest = d->ev->facts.latest;
    const char *why;
    repo *p;
    row_build like;
    build *b;

    if (seen_before(d, (slice){ 0 }, m->sid))
        return;
    p = old ? map_gets(&d->repos, old->repo) : NULL;
    if (!p) {
        answer_err(
            d, CODE_NOT_FOUND,
            arena_printf(&d->out->arena, "there is no build %llu", (unsigned long long)m->build));
        return;
    }
    if (d->ev->disk_low) {
        answer_err(d, CODE_DISK, "the dispatcher's disk is nearly full");
        return;
    }
    if (d->builds_n >= DISPATCH_BUILDS_MAX) {
        answer_err(d, CODE_BUSY, "100000 builds wait already");
        return;
    }
    why = m->failed ? no_retry(d, old) : NULL;
    if (why) {
        answer_err(d, CODE_STATE, why);
        return;
    }
    like = *old;
    like.retry_of = m->failed ? old->build : 0;
    like.passed = m->failed ? d->ev->facts.passed : (slices){ 0 };
    like.gen = (latest && !MUTANT(gen_reused) ? latest->gen : old->gen) + 1;
    b = life_submit(d, p, &like, old->priority);
    put_submission(d, m->sid, b->id, code_none);
    accept(d, (slice){ 0 }, m->sid, b->id, false, verdict_none);
}

/* What becomes of a runner's mode later; nothing where it holds at once. */
static slice said_of_gone(const runner *r, runner_mode mode)
{
    if (r->state != RUNNER_GONE)
        return (slice){ 0 };
    switch (mode) {
    case MODE_CORDON:
        return SLICE("is gone; it gets nothing new when it comes back");
    case MODE_DRAIN:
        return SLICE("is gone; it leaves at once when it comes back");
    default:
        return SLICE("is gone; it takes tasks again when it comes back");
    }
}

void on_set_mode(dispatch *d, const msg_set_mode *m)
{
    bool several;
    runner *r = fleet_find(&d->fleet, m->runner, &several);

    if (!r) {
        answer_err(d, CODE_NOT_FOUND,
                   arena_printf(&d->out->arena, "there is no runner '" SLICE_FMT "'",
                                SLICE_ARG(m->runner)));
    } else if (several) {
        answer_err(d, CODE_STATE,
                   arena_printf(&d->out->arena,
                                "several runners are named '" SLICE_FMT "'; give its id",
                                SLICE_ARG(m->runner)));
    } else {
        fleet_set_mode(d, r, m->mode, m->why);
        answer(d, MSG_ok)->ok.msg = said_of_gone(r, m->mode);
    }
}
