#include "core/watch.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "core/watch_queue.h"

/* ---- refs ---- */

static bool same(const watch_oid *a, const watch_oid *b)
{
    return strcmp(a->hex, b->hex) == 0;
}

static watch_ref *ref_get(watch_repo *repo, slice name)
{
    watch_ref *ref = map_gets(&repo->refs, name);

    if (ref || name.n == 0 || name.n > WATCH_REF_MAX)
        return ref;
    ref = NEW(watch_ref);
    ref->repo = repo;
    ref->name = mem_strndup(name.p, name.n);
    list_init(&ref->queue);
    list_push(&repo->ref_order, &ref->in_repo);
    map_puts(&repo->refs, name, ref);
    return ref;
}

static void ref_free(watch *w, watch_ref *ref)
{
    if (ref->repo->head == ref)
        ref->repo->head = NULL;
    heap_remove(&w->relist, &ref->relist);
    list_remove(&ref->in_repo);
    watch_keep_nothing(ref);
    map_removes(&ref->repo->refs, slice_of(ref->name));
    free(ref->name);
    free(ref);
}

void watch_settle_ref(watch *w, watch_ref *ref)
{
    if (ref->gone && !ref->listing && ref->queued == 0)
        ref_free(w, ref);
}

/* ---- which commits ---- */

/* A ref of which nothing is known, so that it is compared with the others. */
static bool is_new(const watch_ref *ref)
{
    return ref->repo->policy == WATCH_EVERY && !ref->tip_only && !*ref->mark.hex;
}

static void ask_now(watch *w, watch_ref *ref, watch_effects *out)
{
    watch_repo *repo = ref->repo;
    watch_effect *e;
    slices known = { 0 };

    if (ref->listing || ref->gone || ref->relist.at || ref->queued >= WATCH_QUEUE_MAX ||
        !*ref->tip.hex || same(&ref->mark, &ref->tip))
        return;
    ref->listing = true;
    ref->asked = ref->tip;
    w->listings++;
    if (repo->policy == WATCH_EVERY && !ref->tip_only) {
        known.v = ARENA_ARRAY(&out->arena, slice, repo->refs.n);
        if (repo->head && repo->head != ref && *repo->head->mark.hex)
            known.v[known.n++] = watch_effect_text(out, repo->head->mark.hex);
        LIST_FOR(pos, &repo->ref_order)
        {
            watch_ref *other = LIST_OWNER(pos, watch_ref, in_repo);

            if (other != ref && other != repo->head && *other->mark.hex)
                known.v[known.n++] = watch_effect_text(out, other->mark.hex);
        }
    }
    e = watch_effect_add(out, WATCH_DO_LIST);
    e->repo = repo->number;
    e->ref = watch_effect_text(out, ref->name);
    e->old = watch_effect_text(out, ref->mark.hex);
    e->oid = watch_effect_text(out, ref->tip.hex);
    e->known = known;
    e->tip_only = ref->tip_only || repo->policy == WATCH_LATEST;
}

/* A new branch is compared with the others once these are queued up to their tips: else what came
 * on both at once would be submitted on both. */
static void ask_new_refs(watch *w, watch_repo *repo, watch_effects *out)
{
    if (!repo->new_refs)
        return;
    LIST_FOR(pos, &repo->ref_order)
    {
        const watch_ref *ref = LIST_OWNER(pos, watch_ref, in_repo);

        if (!ref->gone && !is_new(ref) && !ref->relist.at && !same(&ref->mark, &ref->tip))
            return;
    }
    repo->new_refs = false;
    LIST_FOR(pos, &repo->ref_order)
    {
        watch_ref *ref = LIST_OWNER(pos, watch_ref, in_repo);

        if (is_new(ref))
            ask_now(w, ref, out);
    }
}

void watch_ask(watch *w, watch_ref *ref, watch_effects *out)
{
    watch_repo *repo = ref->repo;

    if (is_new(ref))
        repo->new_refs = true;
    else
        ask_now(w, ref, out);
    ask_new_refs(w, repo, out);
}

void watch_settle_first_sight(watch_repo *repo, watch_effects *out)
{
    watch_ref *head = repo->head;

    if (repo->known || !repo->sighted)
        return;
    if (head && (head->listing || head->relist.at || head->unspooled))
        return;
    repo->known = true;
    watch_effect_add(out, WATCH_DO_KNOWN)->repo = repo->number;
}

static void see_tip(watch *w, watch_repo *repo, const watch_tip *tip, bool first, bool head,
                    watch_effects *out)
{
    watch_ref *ref = ref_get(repo, tip->ref);

    if (!ref || !watch_set_id(&ref->tip, tip->oid))
        return;
    ref->sight = repo->sight;
    ref->gone = false;
    if (head)
        repo->head = ref;
    if (first && !*ref->mark.hex) {
        if (!head || repo->from_now) {
            ref->mark = ref->cursor = ref->tip;
            watch_emit_cursor(ref, ref->cursor.hex, out);
            return;
        }
        ref->tip_only = true;
    }
    if (is_new(ref))
        repo->new_refs = true; /* when all have been seen */
    else
        ask_now(w, ref, out);
}

static void lose_ref(watch *w, watch_ref *ref, watch_effects *out)
{
    ref->gone = true;
    ref->mark = (watch_oid){ 0 };
    watch_keep_nothing(ref);
    heap_remove(&w->relist, &ref->relist);
    if (*ref->cursor.hex) {
        ref->cursor = (watch_oid){ 0 };
        watch_emit_cursor(ref, "", out);
    }
    watch_settle_ref(w, ref);
}

static void on_refs(watch *w, watch_repo *repo, const watch_event *ev, watch_effects *out)
{
    bool first = !repo->known && !repo->sighted;
    slice branch = ev->head;

    repo->sight++;
    repo->head = map_gets(&repo->refs, ev->head);
    if (slice_starts(branch, SLICE("refs/heads/"))) {
        branch.p += 11;
        branch.n -= 11;
        free(repo->default_branch);
        repo->default_branch = mem_strndup(branch.p, branch.n);
    }
    /* Those that are gone first: a new branch must not be compared with them. */
    for (size_t i = 0; i < ev->tips_n; i++) {
        watch_ref *ref = map_gets(&repo->refs, ev->tips[i].ref);

        if (ref)
            ref->sight = repo->sight;
    }
    LIST_FOR_SAFE(pos, &repo->ref_order)
    {
        watch_ref *ref = LIST_OWNER(pos, watch_ref, in_repo);

        if (ref->sight != repo->sight && !ref->gone)
            lose_ref(w, ref, out);
    }
    /* At first sight the others' marks are set before HEAD is asked about. */
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < ev->tips_n; i++) {
            bool head = slice_eq(ev->tips[i].ref, ev->head);

            if (head == (round == 1))
                see_tip(w, repo, &ev->tips[i], first, head, out);
        }
    repo->sighted = true;
    ask_new_refs(w, repo, out);
    watch_settle_first_sight(repo, out);
}

static void on_listed(watch *w, watch_ref *ref, const watch_event *ev, watch_effects *out)
{
    const watch_commit *last = ev->commits_n ? &ev->commits[ev->commits_n - 1] : NULL;
    watch_oid asked = ref->asked;
    watch_oid mark = ref->mark;
    watch_oid oid;
    size_t i = 0, n = ev->commits_n;

    ref->listing = false;
    ref->tip_only = false;
    ref->list_tries = 0;
    w->listings--;
    /* An older commit than before (a branch was set back) lists as nothing, yet it is what the
     * branch now is; and an answer that leads nowhere must not be asked for again. */
    if (!last || !watch_set_id(&oid, last->oid) || same(&oid, &mark)) {
        watch_enqueue(w, ref, &asked, last ? last->subject : (slice){ 0 },
                      last ? last->author : (slice){ 0 }, out);
        n = 0;
    } else if (ref->repo->policy == WATCH_LATEST) {
        i = n - 1;
    } else if (n > WATCH_LIST_MAX) {
        n = WATCH_LIST_MAX;
    }
    for (; i < n; i++)
        if (watch_set_id(&oid, ev->commits[i].oid) && !same(&oid, &mark))
            watch_enqueue(w, ref, &oid, ev->commits[i].subject, ev->commits[i].author, out);
    if (ref->gone) /* deleted meanwhile: made again, it is a new branch */
        ref->mark = (watch_oid){ 0 };
    watch_ask(w, ref, out);
}

static void on_list_failed(watch *w, watch_ref *ref, int64_t now_ms, watch_effects *out)
{
    ref->listing = false;
    w->listings--;
    if (ref->gone) {
        watch_settle_ref(w, ref);
        return;
    }
    if (ref->list_tries < 7)
        ref->list_tries++;
    heap_set(&w->relist, &ref->relist, now_ms + watch_backoff_ms(w, ref->list_tries));
    ask_new_refs(w, ref->repo, out);
}

/* ---- time and events ---- */

static void on_time(watch *w, int64_t now_ms, watch_effects *out)
{
    if (!w->started) {
        w->started = true;
        w->silent_at_ms = now_ms + WATCH_SILENT_MS;
    }
    if (now_ms >= w->silent_at_ms) {
        w->heard = false;
        w->silent_at_ms = HEAP_NEVER;
        if (!w->told_silent)
            watch_effect_add(out, WATCH_DO_SILENT);
        w->told_silent = true;
    }
    watch_on_queue_time(w, now_ms, out);
    while (heap_top_key(&w->relist) <= now_ms) {
        watch_ref *ref = HEAP_OWNER(heap_top(&w->relist), watch_ref, relist);

        heap_remove(&w->relist, &ref->relist);
        watch_ask(w, ref, out);
        watch_settle_first_sight(ref->repo, out);
    }
}

void watch_step(watch *w, const watch_event *ev, watch_effects *out)
{
    watch_repo *repo = ev->repo < w->repos_n ? w->repos[ev->repo] : NULL;
    watch_ref *ref = repo && ev->ref.n ? map_gets(&repo->refs, ev->ref) : NULL;
    submission *s = ev->id ? map_get(&w->by_id, ev->id) : NULL;

    w->wall_ms = ev->wall_ms;
    switch (ev->kind) {
    case WATCH_REFS:
        assert(repo);
        on_refs(w, repo, ev, out);
        break;
    case WATCH_LISTED:
        if (ref && ref->listing)
            on_listed(w, ref, ev, out);
        break;
    case WATCH_LIST_FAILED:
        if (ref && ref->listing)
            on_list_failed(w, ref, ev->now_ms, out);
        break;
    case WATCH_SPOOLED:
        if (s)
            watch_on_spooled(w, s, out);
        break;
    case WATCH_SPOOL_FAILED:
        if (s)
            watch_on_spool_failed(w, s, ev->now_ms);
        break;
    case WATCH_MSG:
        watch_on_msg(w, ev->msg, ev->now_ms, out);
        break;
    case WATCH_BLOCKED:
        if (s)
            watch_on_blocked(w, s, ev->now_ms);
        break;
    case WATCH_TICK:
        break;
    }
    on_time(w, ev->now_ms, out);
}

int64_t watch_next_deadline_ms(const watch *w)
{
    int64_t at = w->started ? w->silent_at_ms : HEAP_NEVER;
    int64_t due = heap_top_key(&w->due), relist = heap_top_key(&w->relist);

    at = due < at ? due : at;
    at = relist < at ? relist : at;
    if (w->blocked_until_ms && !list_empty(&w->ready) && w->blocked_until_ms < at)
        at = w->blocked_until_ms;
    return at;
}

/* ---- life ---- */

watch *watch_new(slice obs, uint64_t seed)
{
    watch *w = NEW(watch);

    assert(obs.n < sizeof w->obs);
    if (obs.n)
        memcpy(w->obs, obs.p, obs.n);
    w->rng.state = seed;
    w->silent_at_ms = HEAP_NEVER;
    list_init(&w->ready);
    return w;
}

size_t watch_add(watch *w, const watch_repo_config *config)
{
    watch_repo *repo = NEW(watch_repo);

    repo->number = w->repos_n;
    repo->name = mem_strndup(config->name.p, config->name.n);
    repo->url = mem_strndup(config->url.p, config->url.n);
    repo->default_branch = mem_strdup("");
    repo->policy = config->policy;
    repo->from_now = config->from_now;
    repo->kept_ms = config->kept_ms ? config->kept_ms : WATCH_KEPT_MS;
    list_init(&repo->ref_order);
    w->repos = mem_grow(w->repos, w->repos_n + 1, sizeof *w->repos);
    w->repos[w->repos_n++] = repo;
    return repo->number;
}

void watch_restore_cursor(watch *w, size_t repo, slice ref, slice oid)
{
    watch_ref *r = ref_get(w->repos[repo], ref);

    if (r && watch_set_id(&r->cursor, oid))
        r->mark = r->cursor;
}

void watch_restore_known(watch *w, size_t repo)
{
    w->repos[repo]->known = true;
}

void watch_restore_spooled(watch *w, size_t repo, uint64_t n, const msg_submit *entry)
{
    watch_ref *ref = ref_get(w->repos[repo], entry->ref);
    submission *s;
    watch_oid oid;

    if (n > w->repos[repo]->last_n)
        w->repos[repo]->last_n = n;
    if (!ref || entry->sid.n != 32 || !watch_set_id(&oid, entry->oid) ||
        map_gets(&w->by_sid, entry->sid))
        return;
    if (entry->default_branch.n) {
        free(w->repos[repo]->default_branch);
        w->repos[repo]->default_branch =
            mem_strndup(entry->default_branch.p, entry->default_branch.n);
    }
    s = watch_submission_new(w, ref, &oid, entry->subject, entry->author);
    memcpy(s->sid, entry->sid.p, 32);
    if (MUTANT(sid_renewed))
        prng_hex32(&w->rng, s->sid);
    s->n = n;
    s->stage = STAGE_SPOOLED;
    map_puts(&w->by_sid, slice_of(s->sid), s);
    if (watch_first(ref) == s)
        watch_make_ready(w, ref);
}

void watch_free(watch *w)
{
    if (!w)
        return;
    for (size_t r = 0; r < w->repos_n; r++) {
        watch_repo *repo = w->repos[r];

        LIST_FOR_SAFE(pos, &repo->ref_order)
        {
            watch_ref *ref = LIST_OWNER(pos, watch_ref, in_repo);

            while (watch_first(ref))
                watch_submission_free(w, watch_first(ref));
            ref_free(w, ref);
        }
        map_free(&repo->refs);
        free(repo->name);
        free(repo->url);
        free(repo->default_branch);
        free(repo);
    }
    free(w->repos);
    map_free(&w->by_id);
    map_free(&w->by_sid);
    heap_free(&w->due);
    heap_free(&w->relist);
    free(w);
}

size_t watch_pending(const watch *w)
{
    return w->submissions + w->listings + w->relist.n;
}

uint64_t watch_refused(const watch *w)
{
    return w->refused;
}

bool watch_known(const watch *w, size_t repo)
{
    return w->repos[repo]->known;
}

bool watch_heard(const watch *w)
{
    return w->heard;
}
