#include "repos.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define FLUSH_MS 100

typedef struct entry {
    list node;
    uint64_t n;
    buf frame;
} entry;

/* What was accepted of a branch, oldest first. */
typedef struct kept {
    size_t n;
    unsigned commit[WATCH_KEPT_MAX + 1];
    int64_t wall_ms[WATCH_KEPT_MAX + 1];
} kept;

/* What an observer knows of a repository; `cursor`, `kept`, `known` and the spool are durable. */
typedef struct watched {
    sim_repo *repo;
    char url[64];
    unsigned cursor[BRANCHES];
    kept kept[BRANCHES], new_kept[BRANCHES];
    bool known;
    unsigned known_commits; /* of the repository, when its first sight was over */
    unsigned forgiven; /* of months: builds up to this may have been lost with a data directory */
    list spool;        /* of entry */
    unsigned new_cursor[BRANCHES];
    bool new_known;
    uint64_t gone[1024]; /* removals that wait for the flush */
    size_t gone_n;
    bool spool_failed;
} watched;

typedef struct sim_observer {
    process p;
    world *w;
    char obs[16];
    watched v[REPOS_MAX];
    size_t n;
    watch_policy policy;
    watch *watch;
    watch_effects out;
    bool busy;
    uint64_t batch[1024];
    size_t batch_of[1024], batch_n;
    net_link intake, work, events;
    int64_t flush_ms, look_ms;
    buf frame;
    sim_repo *repos; /* of the world, owned by the first observer */
} sim_observer;

/* ---- repositories ---- */

void observer_push(sim_observer *o)
{
    world *w = o->w;
    watched *x = &o->v[pick(w, o->n)];
    sim_repo *r = x->repo;
    size_t b = chance(w, 600) ? 0 : (size_t)pick(w, BRANCHES);
    unsigned n = 1 + (unsigned)pick(w, chance(w, 100) ? 12 : 3);

    if (b && r->tip[b] && chance(w, 150)) {
        r->tip[b] = 0; /* deleted */
        return;
    }
    if (!r->tip[b])
        r->tip[b] = r->tip[0];
    if (r->parent[r->tip[b]] && chance(w, 100))
        r->tip[b] = r->parent[r->tip[b]]; /* set back, then forward another way */
    for (unsigned i = 0; i < n; i++) {
        unsigned c = repo_add(w, r, r->tip[b]);

        if (!c)
            return;
        r->tip[b] = c;
    }
    tell(w, NULL, "push of %u to %s %s: %.8s", n, r->name, repo_branches[b], r->oids[r->tip[b]]);
    if (chance(w, 500)) /* a hint */
        o->look_ms = w->now_ms;
    process_arm(&o->p);
}

/* ---- effects ---- */

static void carry_out(sim_observer *o);

static void feed(sim_observer *o, watch_event ev)
{
    ev.now_ms = process_now(&o->p);
    ev.wall_ms = process_wall(&o->p);
    watch_step(o->watch, &ev, &o->out);
    if (!o->busy)
        carry_out(o);
}

/* A LIST that may be answered later. */
typedef struct list_wish {
    sim_observer *o;
    size_t repo;
    int branch;
    unsigned tip, old, known[BRANCHES];
    size_t known_n;
    bool tip_only;
} list_wish;

static void answer_list(const list_wish *e)
{
    sim_observer *o = e->o;
    const sim_repo *r = o->v[e->repo].repo;
    watch_commit *commits = NEW_ARRAY(watch_commit, r->commits + 1);
    unsigned chain[COMMITS_MAX];
    size_t n = 0;
    watch_event ev = { .kind = WATCH_LISTED,
                       .repo = e->repo,
                       .ref = slice_of(repo_branches[e->branch]),
                       .commits = commits };

    for (unsigned c = e->tip; c; c = r->parent[c]) {
        bool old = e->old && repo_reaches(r, e->old, c);

        for (size_t i = 0; i < e->known_n && !old && !e->old; i++)
            old = repo_reaches(r, e->known[i], c);
        if (old || (e->tip_only && n == 1) || (!e->old && !e->known_n && n == 1))
            break;
        chain[n++] = c;
    }
    for (size_t i = 0; i < n; i++) {
        commits[i].oid = slice_of(r->oids[chain[n - 1 - i]]);
        commits[i].subject = SLICE("a change");
    }
    ev.commits_n = n;
    feed(o, ev);
    free(commits);
}

static void answer_late(void *ctx, uint64_t life)
{
    list_wish *e = ctx;

    if (e->o->p.paused_ms && e->o->p.life == life) {
        call_at(e->o->w, e->o->p.paused_ms + 1, answer_late, e, life);
        return;
    }
    if (e->o->p.up && e->o->p.life == life) {
        answer_list(e);
        process_settle(&e->o->p);
    }
    free(e);
}

static void list_commits(sim_observer *o, const watch_effect *e)
{
    list_wish *late;
    list_wish want = { .o = o,
                       .repo = e->repo,
                       .branch = repo_branch(e->ref),
                       .tip = repo_commit(e->oid),
                       .old = repo_commit(e->old),
                       .tip_only = e->tip_only };

    for (size_t i = 0; i < e->known.n && i < BRANCHES; i++)
        want.known[want.known_n++] = repo_commit(e->known.v[i]);
    if (!o->w->calm && chance(o->w, 60)) {
        feed(o, (watch_event){ .kind = WATCH_LIST_FAILED, .repo = e->repo, .ref = e->ref });
    } else if (chance(o->w, 300)) { /* a large repository */
        late = NEW(list_wish);
        *late = want;
        call_at(o->w, o->w->now_ms + some_ms(o->w, 1, 2000), answer_late, late, o->p.life);
    } else {
        answer_list(&want);
    }
}

static void spool(sim_observer *o, const watch_effect *e)
{
    watched *x = &o->v[e->repo];
    entry *s;

    if (!x->spool_failed && !o->w->calm && chance(o->w, 15))
        x->spool_failed = true;
    if (x->spool_failed || o->batch_n == 1024) {
        feed(o, (watch_event){ .kind = WATCH_SPOOL_FAILED, .id = e->id });
        return;
    }
    s = NEW(entry);
    s->n = e->n;
    wire_encode(e->msg, &s->frame);
    list_push(&x->spool, &s->node);
    o->batch_of[o->batch_n] = e->repo;
    o->batch[o->batch_n++] = e->id;
    oracle_saw(o->w->oracle, &e->msg->submit);
}

static void end_batch(sim_observer *o)
{
    size_t n = o->batch_n;

    o->batch_n = 0;
    for (size_t i = 0; i < o->n; i++)
        o->v[i].spool_failed = false;
    for (size_t i = 0; i < n; i++)
        feed(o, (watch_event){ .kind = WATCH_SPOOLED, .id = o->batch[i] });
}

static void push(sim_observer *o, const watch_effect *e)
{
    buf_clear(&o->frame);
    wire_encode(e->msg, &o->frame);
    tell_frame(o->w, &o->p, "push", buf_slice(&o->frame));
    if ((!o->w->calm && chance(o->w, 30)) || !link_send(&o->intake, buf_slice(&o->frame)))
        feed(o, (watch_event){ .kind = WATCH_BLOCKED, .id = e->id });
}

static void keep(kept *k, const watch_effect *e)
{
    size_t gone;

    if (!e->oid.n)
        k->n = 0;
    if (!e->kept)
        return;
    k->commit[k->n] = repo_commit(e->oid);
    k->wall_ms[k->n++] = e->wall_ms;
    gone = k->n - e->kept;
    k->n = e->kept;
    memmove(k->commit, k->commit + gone, k->n * sizeof *k->commit);
    memmove(k->wall_ms, k->wall_ms + gone, k->n * sizeof *k->wall_ms);
}

static void persist(sim_observer *o, const watch_effect *e)
{
    watched *x = &o->v[e->repo];

    if (e->kind == WATCH_DO_CURSOR) {
        x->new_cursor[repo_branch(e->ref)] = repo_commit(e->oid);
        keep(&x->new_kept[repo_branch(e->ref)], e);
    } else if (e->kind == WATCH_DO_KNOWN)
        x->new_known = true;
    else if (x->gone_n < 1024)
        x->gone[x->gone_n++] = e->n;
    if (o->flush_ms == HEAP_NEVER)
        o->flush_ms = o->w->now_ms + FLUSH_MS;
}

static void do_effect(sim_observer *o, const watch_effect *e)
{
    static const char *const names[] = { "list",  "spool",   "push", "query",  "cursor",
                                         "known", "unspool", "tell", "silent", "heard" };

    cover("watch effect", names[e->kind]);
    if (e->kind != WATCH_DO_TELL && e->kind != WATCH_DO_PUSH)
        tell(o->w, &o->p, "%s %s " SLICE_FMT " %.8s", names[e->kind],
             e->msg || e->kind >= WATCH_DO_TELL ? "" : o->v[e->repo].repo->name, SLICE_ARG(e->ref),
             e->oid.n ? e->oid.p : "");
    switch (e->kind) {
    case WATCH_DO_LIST:
        list_commits(o, e);
        break;
    case WATCH_DO_SPOOL:
        spool(o, e);
        break;
    case WATCH_DO_PUSH:
        push(o, e);
        break;
    case WATCH_DO_QUERY:
        buf_clear(&o->frame);
        wire_encode(e->msg, &o->frame);
        link_send(&o->work, buf_slice(&o->frame));
        break;
    case WATCH_DO_CURSOR:
    case WATCH_DO_KNOWN:
    case WATCH_DO_UNSPOOL:
        persist(o, e);
        break;
    case WATCH_DO_TELL:
        tell(o->w, &o->p, "says: " SLICE_FMT, SLICE_ARG(e->text));
        break;
    case WATCH_DO_SILENT:
    case WATCH_DO_HEARD:
        break;
    }
}

static void carry_out(sim_observer *o)
{
    bool batch = false; /* also when all of it failed */

    o->busy = true;
    for (size_t i = 0;; i++) {
        watch_effect e;

        if (batch && (i == o->out.n || o->out.v[i].kind != WATCH_DO_SPOOL)) {
            end_batch(o);
            batch = false;
        }
        if (i == o->out.n || process_dies(&o->p))
            break;
        e = o->out.v[i]; /* the list may move */
        batch |= e.kind == WATCH_DO_SPOOL;
        do_effect(o, &e);
    }
    watch_effects_clear(&o->out);
    o->batch_n = 0;
    o->busy = false;
}

/* ---- disk ---- */

static void unspool(watched *x, uint64_t n)
{
    LIST_FOR_SAFE(l, &x->spool)
    {
        entry *s = LIST_OWNER(l, entry, node);

        if (s->n == n) {
            list_remove(l);
            buf_free(&s->frame);
            free(s);
            return;
        }
    }
}

/* Cursors first, then removals; a death between them leaves entries that are sent again. */
static void flush(sim_observer *o)
{
    o->flush_ms = HEAP_NEVER;
    for (size_t i = 0; i < o->n; i++) {
        watched *x = &o->v[i];

        if (process_dies(&o->p))
            return;
        memcpy(x->cursor, x->new_cursor, sizeof x->cursor);
        memcpy(x->kept, x->new_kept, sizeof x->kept);
        if (x->new_known && !x->known)
            x->known_commits = x->repo->commits;
        x->known = x->new_known;
        for (size_t k = 0; k < x->gone_n; k++) {
            if (process_dies(&o->p))
                return;
            unspool(x, x->gone[k]);
        }
        x->gone_n = 0;
    }
}

static void restore(sim_observer *o, size_t i)
{
    watched *x = &o->v[i];

    memcpy(x->new_cursor, x->cursor, sizeof x->cursor);
    memcpy(x->new_kept, x->kept, sizeof x->kept);
    x->new_known = x->known;
    x->gone_n = 0;
    for (size_t b = 0; b < BRANCHES; b++)
        if (x->cursor[b])
            watch_restore_cursor(o->watch, i, slice_of(repo_branches[b]),
                                 slice_of(x->repo->oids[x->cursor[b]]));
    for (size_t b = 0; b < BRANCHES; b++)
        for (size_t k = 0; k < x->kept[b].n; k++)
            watch_restore_kept(o->watch, i, slice_of(repo_branches[b]),
                               slice_of(x->repo->oids[x->kept[b].commit[k]]),
                               x->kept[b].wall_ms[k]);
    if (x->known)
        watch_restore_known(o->watch, i);
    LIST_FOR(l, &x->spool)
    {
        entry *s = LIST_OWNER(l, entry, node);
        arena a = { 0 };
        msg m;

        if (wire_decode(buf_slice(&s->frame), &a, &m, NULL) != VOLT_OK)
            broken(o->w, RULE_WIRE, "an observer's spool cannot be read");
        watch_restore_spooled(o->watch, i, s->n, &m.submit);
        arena_free(&a);
    }
}

/* ---- as a process ---- */

static void look(sim_observer *o)
{
    o->look_ms = o->w->now_ms + some_ms(o->w, 500, o->w->k.look_ms);
    for (size_t i = 0; i < o->n && !o->p.dying; i++) {
        const sim_repo *r = o->v[i].repo;
        watch_tip tips[BRANCHES];
        size_t n = 0;

        for (size_t b = 0; b < BRANCHES; b++)
            if (r->tip[b])
                tips[n++] = (watch_tip){ slice_of(repo_branches[b]), slice_of(r->oids[r->tip[b]]) };
        feed(o, (watch_event){ .kind = WATCH_REFS,
                               .repo = i,
                               .tips = tips,
                               .tips_n = n,
                               .head = slice_of(repo_branches[0]) });
    }
}

static void on_start(process *p)
{
    sim_observer *o = (sim_observer *)p;

    o->watch = watch_new(slice_of(o->obs), prng_next(&o->w->rng));
    o->flush_ms = HEAP_NEVER;
    o->look_ms = o->w->now_ms;
    o->batch_n = 0;
    for (size_t i = 0; i < o->n; i++) {
        watch_add(o->watch, &(watch_repo_config){ .name = slice_of(o->v[i].repo->name),
                                                  .url = slice_of(o->v[i].url),
                                                  .policy = o->policy,
                                                  .kept_ms = o->w->k.keep.ms });
        o->v[i].spool_failed = false;
        restore(o, i);
    }
    link_open(&o->intake);
    link_open(&o->work);
    link_open(&o->events);
}

static void on_crash(process *p)
{
    sim_observer *o = (sim_observer *)p;

    watch_free(o->watch);
    o->watch = NULL;
    watch_effects_clear(&o->out);
    link_close(&o->intake);
    link_close(&o->work);
    link_close(&o->events);
}

static void on_frame(process *p, const packet *k)
{
    sim_observer *o = (sim_observer *)p;
    arena a = { 0 };
    msg m;

    if (wire_decode((slice){ k->bytes, k->n }, &a, &m, NULL) != VOLT_OK) {
        if (!k->hostile)
            broken(o->w, RULE_WIRE, "an observer does not understand the dispatcher");
        checked(o->w, RULE_HOSTILE);
        arena_free(&a);
        return;
    }
    cover("dispatcher to observer", msg_type_text(m.type));
    feed(o, (watch_event){ .kind = WATCH_MSG, .msg = &m });
    arena_free(&a);
}

static void on_time(process *p, int64_t gap_ms)
{
    sim_observer *o = (sim_observer *)p;

    (void)gap_ms;
    if (o->w->now_ms >= o->look_ms)
        look(o);
    if (!p->dying)
        feed(o, (watch_event){ .kind = WATCH_TICK });
    if (!p->dying && o->w->now_ms >= o->flush_ms)
        flush(o);
}

static int64_t deadline_ms(const process *p)
{
    const sim_observer *o = (const sim_observer *)p;
    int64_t at = process_when(p, watch_next_deadline_ms(o->watch));

    at = o->look_ms < at ? o->look_ms : at;
    return o->flush_ms < at ? o->flush_ms : at;
}

static const process_ops ops = { on_start, on_crash, on_frame, on_time, deadline_ms };

/* ---- life ---- */

void observer_make(world *w, size_t number)
{
    static const char *const same_url[] = { "", "/", ".git", "/.git/" };
    sim_observer *o = NEW(sim_observer);

    o->w = w;
    w->observers[number] = o;
    process_init(&o->p, w, &ops, "observer", number);
    snprintf(o->obs, sizeof o->obs, "obs%zu", number);
    o->repos = number ? w->observers[0]->repos : repos_make(w);
    o->policy = chance(w, 500) ? WATCH_EVERY : WATCH_LATEST;
    for (size_t i = 0; i < REPOS_MAX; i++) {
        watched *x = &o->v[o->n];

        if (i != number && !chance(w, 300))
            continue;
        x->repo = &o->repos[i];
        snprintf(x->url, sizeof x->url, "%s%s", x->repo->url,
                 number == 2 && i == 2 && chance(w, 300) ? "-other"
                 : number == 1                           ? same_url[pick(w, 4)]
                                                         : "");
        list_init(&x->spool);
        o->n++;
    }
    link_init(&o->intake, &o->p, LINK_INTAKE);
    link_init(&o->work, &o->p, LINK_WORK);
    link_init(&o->events, &o->p, LINK_EVENTS);
    o->events.topics[0] = mem_printf("a.%s.", o->obs);
    o->events.topics[1] = "h.";
    o->p.up_at = w->now_ms + some_ms(w, 0, 3000);
    process_arm(&o->p);
}

void observer_end(sim_observer *o)
{
    watch_free(o->watch);
    watch_effects_free(&o->out);
    for (size_t i = 0; i < o->n; i++)
        while (!list_empty(&o->v[i].spool))
            unspool(&o->v[i], LIST_OWNER(o->v[i].spool.next, entry, node)->n);
    free((char *)(uintptr_t)o->events.topics[0]);
    link_close(&o->intake);
    link_close(&o->work);
    link_close(&o->events);
    buf_free(&o->frame);
    if (o->p.name[9] == '0')
        free(o->repos);
    free(o);
}

process *observer_process(sim_observer *o)
{
    return &o->p;
}

bool observer_at_rest(const sim_observer *o, rest *ret)
{
    const char *why = "an observer has submissions without an answer";

    if (!o->p.up || watch_pending(o->watch)) {
        *ret = (rest){ RULE_S4, why };
        return false;
    }
    for (size_t i = 0; i < o->n; i++) {
        const watched *x = &o->v[i];

        if (!list_empty(&x->spool)) {
            *ret = (rest){ RULE_L2, "an observer's spool is not empty" };
            return false;
        }
        for (int b = 0; b < BRANCHES; b++)
            if (x->repo->tip[b] && x->cursor[b] != x->repo->tip[b]) {
                *ret = (rest){ RULE_S4, "an observer's cursor is not at its branch's tip" };
                return false;
            }
    }
    return true;
}

void observer_forgive(sim_observer *o)
{
    if (!o->w->long_haul) /* else it may have been accepted too long ago */
        return;
    for (size_t i = 0; i < o->n; i++)
        o->v[i].forgiven = o->v[i].repo->commits;
}

/* What was accepted of a branch that is there has its build, whatever data directory the dispatcher
 * has by now. */
static void check_kept(const sim_observer *o, const watched *x, int branch)
{
    const kept *k = &x->kept[branch];

    checked(o->w, RULE_S4);
    for (size_t i = 0; i < k->n && x->repo->tip[branch] && !o->w->long_haul; i++)
        if (!oracle_has_build(o->w->oracle, slice_of(x->repo->name),
                              slice_of(repo_branches[branch]),
                              slice_of(x->repo->oids[k->commit[i]])))
            broken(o->w, RULE_S4, "%s: %s %s %.8s was accepted, and has no build", o->p.name,
                   x->repo->name, repo_branches[branch], x->repo->oids[k->commit[i]]);
}

void observer_check(const sim_observer *o)
{
    for (size_t i = 0; i < o->n; i++) {
        const watched *x = &o->v[i];

        /* To an empty data directory whoever comes first gives the name its url. */
        bool ours = strcmp(x->url, x->repo->url) == 0 &&
                    !oracle_is_taken(o->w->oracle, slice_of(x->repo->name), slice_of(x->url));

        for (int b = 0; b < BRANCHES && ours; b++) {
            check_kept(o, x, b);
            if (x->repo->tip[b] > x->known_commits && x->repo->tip[b] > x->forgiven &&
                !oracle_has_build(o->w->oracle, slice_of(x->repo->name), slice_of(repo_branches[b]),
                                  slice_of(x->repo->oids[x->repo->tip[b]])))
                broken(o->w, RULE_S4, "%s %s %.8s was never built", x->repo->name, repo_branches[b],
                       x->repo->oids[x->repo->tip[b]]);
        }
    }
}
