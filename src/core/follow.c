#include "core/follow.h"

#include <assert.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/heap.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "base/prng.h"

#define PAGE_MAX 1000 /* rows that a dispatcher serves at once */
#define HIST_LEN 32

/* An event that came too early, with texts of its own. */
typedef struct early {
    msg_event event;
    arena texts;
    struct early *next_spent;
} early;

struct follow {
    char hist[HIST_LEN + 1]; /* "": none known yet */
    uint64_t ep;             /* greatest epoch heard of in it */
    uint64_t next;
    bool applied; /* `next` was reached by applying, not only asked for */
    uint64_t page;
    prng rng;

    early **early; /* the event of number n is at n % early_max */
    size_t early_max, early_n;
    early *spent; /* applied in this call; stand until the next one */

    uint64_t r;          /* number of the newest question */
    bool asked;          /* it has no answer yet */
    uint64_t asked_from; /* everything below was applied when it was asked; 0: nothing was */
    unsigned tries;      /* how often in a row there was none */
    bool missing;        /* there is reason to ask */
    int64_t ask_at_ms;   /* open question: repeat it then; else, when `missing`: ask then */
    uint64_t watch_seq;  /* a head beat told of this number; 0: no such watch */
    int64_t watch_ms;    /* if it is not here by then, ask */
    int64_t heard_ms;
};

/* keep_msg_event(): gives a message texts of its own, for every field that has one.  (Lists would
 * be dropped; events have none.) */
#define REC(name, doc)                                                           \
    __attribute__((unused)) static void keep_rec_##name(rec_##name *m, arena *a) \
    {                                                                            \
        (void)m, (void)a;
#define END_REC(name) }
#define MSG(name, dir, doc)                                                      \
    __attribute__((unused)) static void keep_msg_##name(msg_##name *m, arena *a) \
    {                                                                            \
        (void)m, (void)a;
#define END_MSG(name)                        }
#define TEXT(owner, key, presence, max, doc) m->key = arena_slice(a, m->key);
#define HEX(owner, key, presence, doc)       m->key = arena_slice(a, m->key);
#define OID(owner, key, presence, doc)       m->key = arena_slice(a, m->key);
#define BIN(owner, key, presence, max, doc)  m->key = arena_slice(a, m->key);
#define TEXTS(owner, key, items, max, doc)   m->key.n = 0;
#define RECS(owner, key, rec, items, doc)    m->key.n = 0;
#define BINS(owner, key, items, max, doc)    m->key.n = 0;
#include "messages.def"

static follow_act *add(follow_acts *out, follow_act_kind kind)
{
    if (out->n == out->cap) {
        out->cap = out->cap ? out->cap * 2 : 16;
        out->v = mem_grow(out->v, out->cap, sizeof *out->v);
    }
    out->v[out->n] = (follow_act){ .kind = kind };
    return &out->v[out->n++];
}

void follow_acts_free(follow_acts *acts)
{
    free(acts->v);
    *acts = (follow_acts){ 0 };
}

static void early_free(early *e)
{
    arena_free(&e->texts);
    free(e);
}

static void free_spent(follow *f)
{
    while (f->spent) {
        early *e = f->spent;

        f->spent = e->next_spent;
        early_free(e);
    }
}

static early **place_of(follow *f, uint64_t seq)
{
    return &f->early[seq % f->early_max];
}

static void drop_early(follow *f)
{
    for (size_t i = 0; i < f->early_max; i++) {
        if (f->early[i])
            early_free(f->early[i]);
        f->early[i] = NULL;
    }
    f->early_n = 0;
}

follow *follow_new(const follow_config *config, int64_t now_ms)
{
    follow *f = NEW(follow);

    assert(config->hist.n <= HIST_LEN);
    if (config->hist.n && config->from != FOLLOW_LIVE)
        memcpy(f->hist, config->hist.p, config->hist.n);
    f->next = config->from;
    f->missing = config->from != FOLLOW_LIVE;
    f->ask_at_ms = now_ms;
    f->heard_ms = now_ms;
    f->page = config->page && config->page < PAGE_MAX ? config->page : PAGE_MAX;
    f->rng.state = config->seed;
    f->early_max = config->early_max ? config->early_max : FOLLOW_EARLY_MAX;
    f->early = NEW_ARRAY(early *, f->early_max);
    return f;
}

void follow_free(follow *f)
{
    if (!f)
        return;
    free_spent(f);
    drop_early(f);
    free(f->early);
    free(f);
}

/* Begins one call: nothing of the last one is needed any more. */
static void begin(follow *f, follow_acts *out)
{
    free_spent(f);
    out->n = 0;
}

static bool is_ours(const follow *f, slice hist)
{
    return slice_is(hist, f->hist);
}

static void set_hist(follow *f, slice hist)
{
    assert(hist.n == HIST_LEN);
    memcpy(f->hist, hist.p, HIST_LEN);
    f->ep = 0;
}

/* Something is missing: asks at `at_ms`, or sooner when that is agreed already. */
static void want(follow *f, int64_t at_ms)
{
    if (f->asked)
        return; /* the answer tells what is missing still */
    if (!f->missing || at_ms < f->ask_at_ms)
        f->ask_at_ms = at_ms;
    f->missing = true;
}

/* Hands on what is buffered at `next` and behind it. */
static void drain(follow *f, follow_acts *out)
{
    while (f->early_n) {
        early **place = place_of(f, f->next);
        early *e = *place;

        if (!e || e->event.seq != f->next)
            break;
        *place = NULL;
        f->early_n--;
        e->next_spent = f->spent;
        f->spent = e;
        add(out, FOLLOW_APPLY)->event = &e->event;
        f->next++;
        f->applied = true;
    }
    if (f->watch_seq && f->next > f->watch_seq)
        f->watch_seq = 0;
}

/* `next` is `seq` now: buffered events below it are of no use any more. */
static void jump(follow *f, uint64_t seq, follow_acts *out)
{
    for (size_t i = 0; f->early_n && i < f->early_max; i++) {
        early *e = f->early[i];

        if (e && e->event.seq < seq) {
            early_free(e);
            f->early[i] = NULL;
            f->early_n--;
        }
    }
    f->next = seq;
    drain(f, out);
}

static void keep(follow *f, const msg_event *event)
{
    early **place = place_of(f, event->seq);
    early *e;

    if (event->seq - f->next >= f->early_max || *place)
        return; /* comes again by replay, or is here already */
    e = NEW(early);
    e->event = *event;
    keep_msg_event(&e->event, &e->texts);
    *place = e;
    f->early_n++;
}

/* One event of our history, from wherever it came.  True when it was too early. */
static bool take(follow *f, const msg_event *event, follow_acts *out)
{
    if (event->ep > f->ep)
        f->ep = event->ep;
    if (f->next == 0)
        f->next = event->seq;
    if (event->seq > f->next && !MUTANT(gap_applied)) {
        keep(f, event);
        return true;
    }
    if (event->seq == f->next || MUTANT(gap_applied) || MUTANT(applied_again)) {
        add(out, FOLLOW_APPLY)->event = event;
        f->next = event->seq + 1;
        f->applied = true;
        drain(f, out);
    }
    return false;
}

/* False: it belongs to another history than ours, or may; the dispatcher is asked. */
static bool heard(follow *f, int64_t now_ms, slice hist)
{
    f->heard_ms = now_ms;
    if (!f->hist[0])
        set_hist(f, hist);
    if (is_ours(f, hist) || MUTANT(other_hist_applied))
        return true;
    /* Late messages of an old history must not make one question each. */
    want(f, now_ms + FOLLOW_RETRY_MS);
    return false;
}

static void ask(follow *f, int64_t now_ms, follow_acts *out)
{
    follow_act *act = add(out, FOLLOW_ASK);
    int64_t wait_ms = FOLLOW_RETRY_MS;

    for (unsigned i = 0; i < f->tries && wait_ms < FOLLOW_RETRY_MAX; i++)
        wait_ms *= 2;
    f->r++;
    f->asked = true;
    f->missing = false;
    f->ask_at_ms = now_ms + prng_jitter_ms(&f->rng, wait_ms, 20);
    act->r = f->r;
    f->asked_from = f->applied ? f->next : 0;
    act->replay.hist = slice_of(f->hist);
    act->replay.from = f->next;
    act->replay.max = f->page;
}

/* Ends one call: asks when it is time to. */
static void finish(follow *f, int64_t now_ms, follow_acts *out)
{
    if (f->next == 0)
        return; /* only what is new is wanted, and nothing was heard yet */
    if (f->asked) {
        if (now_ms < f->ask_at_ms)
            return;
        f->tries++;
        ask(f, now_ms, out);
        return;
    }
    if (f->watch_seq && now_ms >= f->watch_ms) {
        f->watch_seq = 0;
        want(f, now_ms);
    }
    if (now_ms - f->heard_ms >= FOLLOW_SILENCE_MS)
        want(f, now_ms);
    if (f->missing && now_ms >= f->ask_at_ms)
        ask(f, now_ms, out);
}

void follow_event(follow *f, int64_t now_ms, const msg_event *event, follow_acts *out)
{
    begin(f, out);
    if (heard(f, now_ms, event->hist) && take(f, event, out))
        want(f, now_ms);
    finish(f, now_ms, out);
}

void follow_head(follow *f, int64_t now_ms, const msg_head *head, follow_acts *out)
{
    begin(f, out);
    if (heard(f, now_ms, head->hist)) {
        if (f->next == 0)
            f->next = head->last + 1;
        if (head->last >= f->next && !f->watch_seq && !MUTANT(tail_unwatched)) {
            f->watch_seq = head->last;
            f->watch_ms = now_ms + FOLLOW_BEHIND_MS;
        }
        /* A dispatcher that started anew and knows less than it once published: an old copy of its
         * data, perhaps; the answer to a question tells. */
        if (head->ep > f->ep && f->ep && f->applied && head->last + 1 < f->next)
            want(f, now_ms);
        if (head->ep > f->ep)
            f->ep = head->ep;
    }
    finish(f, now_ms, out);
}

/* The answer says that our history is no longer the dispatcher's. */
static void start_anew(follow *f, const msg_events *page, follow_acts *out)
{
    follow_act *act;

    drop_early(f);
    set_hist(f, page->hist);
    f->next = page->floor ? page->floor : 1;
    f->applied = false;
    f->watch_seq = 0;
    act = add(out, FOLLOW_NEW_HIST);
    act->hist = slice_of(f->hist);
    act->from = f->next;
}

static void skip_to(follow *f, follow_act_kind kind, uint64_t seq, follow_acts *out)
{
    follow_act *act = add(out, kind);

    act->from = f->next;
    act->to = seq - 1;
    jump(f, seq, out);
}

/* Takes a page's items.  They follow one another without a gap and end before page->next, which
 * tells the number of one that could not be decoded. */
static void take_items(follow *f, const msg_events *page, const msg_event *items, bool newest,
                       follow_acts *out)
{
    size_t n = page->items.n;

    for (size_t i = 0; i < n; i++) {
        if (items[i].seq && is_ours(f, items[i].hist))
            take(f, &items[i], out);
        else if (newest && page->next > n && page->next - n + i == f->next)
            skip_to(f, FOLLOW_SKIP, f->next + 1, out);
    }
}

void follow_page(follow *f, int64_t now_ms, uint64_t r, const msg_events *page,
                 const msg_event *items, follow_acts *out)
{
    bool newest = f->asked && (r == f->r || MUTANT(old_page_trusted));
    uint64_t before = f->next;

    begin(f, out);
    f->heard_ms = now_ms;
    if (!newest) { /* the events of a late answer are good, its other words may be out of date */
        if (is_ours(f, page->hist) && f->next)
            take_items(f, page, items, false, out);
        finish(f, now_ms, out);
        return;
    }
    f->asked = false;
    f->tries = 0;
    if (!f->hist[0])
        set_hist(f, page->hist);
    if (!is_ours(f, page->hist) || page->last + 1 < f->asked_from)
        start_anew(f, page, out);
    else if (page->floor > f->next && !MUTANT(floor_unseen))
        skip_to(f, FOLLOW_FLOOR, page->floor, out);
    take_items(f, page, items, true, out);
    /* An answer that brings nothing is no reason to ask again at once. */
    if (page->last >= f->next || f->early_n)
        want(f, f->next != before ? now_ms : now_ms + FOLLOW_RETRY_MS);
    finish(f, now_ms, out);
}

void follow_tick(follow *f, int64_t now_ms, follow_acts *out)
{
    begin(f, out);
    finish(f, now_ms, out);
}

int64_t follow_next_deadline_ms(const follow *f)
{
    int64_t at_ms;

    if (f->next == 0)
        return HEAP_NEVER;
    if (f->asked)
        return f->ask_at_ms;
    at_ms = f->heard_ms + FOLLOW_SILENCE_MS;
    if (f->missing && f->ask_at_ms < at_ms)
        at_ms = f->ask_at_ms;
    if (f->watch_seq && f->watch_ms < at_ms)
        at_ms = f->watch_ms;
    return at_ms;
}

uint64_t follow_next(const follow *f)
{
    return f->next;
}

bool follow_is_current(const follow *f)
{
    return f->next && !f->asked && !f->missing && !f->watch_seq && !f->early_n;
}
