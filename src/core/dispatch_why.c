#include <stdarg.h>
#include <stdio.h>

#include "core/dispatch_internal.h"

#define NAMES_MAX 3    /* runners named in one reason */
#define WHY_MAX   1000 /* bytes, so that it fits its field */

static const char *say(arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static const char *say(arena *a, const char *fmt, ...)
{
    char text[WHY_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return arena_str(a, slice_of(text));
}

static long long seconds(int64_t ms)
{
    return ms > 0 ? (ms + 999) / 1000 : 0;
}

/* ---- runners ---- */

/* What a runner is to work of a class; the greater, the nearer it is to taking it. */
typedef enum stand { STAND_NONE, STAND_LABELS, STAND_REACH, STAND_IDLE, STAND_TAKES } stand;

static stand stand_of(const runner *r, const queue_class *c)
{
    if (r->state == RUNNER_GONE)
        return STAND_NONE;
    if (!runner_has_labels(r, c->labels))
        return STAND_LABELS;
    if (!runner_suits(r, c))
        return STAND_REACH;
    return runner_takes(r) ? STAND_TAKES : STAND_IDLE;
}

/* A label of the class that no runner has; empty: each is there. */
static slice missing_label(const dispatch *d, const queue_class *c)
{
    for (size_t i = 0; i < c->labels.n; i++) {
        bool some = false;

        LIST_FOR(l, &d->fleet.all)
        {
            const runner *r = LIST_OWNER(l, runner, in_fleet);

            some = r->state != RUNNER_GONE && runner_has_labels(r, (slices){ &c->labels.v[i], 1 });
            if (some)
                break;
        }
        if (!some)
            return c->labels.v[i];
    }
    return (slice){ 0 };
}

static const char *idle_text(const runner *r, int64_t now_ms, arena *a)
{
    if (r->awaited)
        return "has not come back since the dispatcher's start";
    if (r->state != RUNNER_UP)
        return say(a, "is silent for %lld s", seconds(now_ms - r->seen_ms));
    return r->mode == MODE_DRAIN || r->own_mode == MODE_DRAIN ? "drains" : "is cordoned";
}

static const char *idle_reason(const dispatch *d, int64_t now_ms, const queue_class *c, arena *a)
{
    const char *names = "";
    size_t n = 0;

    LIST_FOR(l, &d->fleet.all)
    {
        const runner *r = LIST_OWNER(l, runner, in_fleet);

        if (stand_of(r, c) == STAND_IDLE && n++ < NAMES_MAX)
            names = say(a, "%s%s" SLICE_FMT " %s", names, n > 1 ? ", " : "", SLICE_ARG(r->name),
                        idle_text(r, now_ms, a));
    }
    if (n > NAMES_MAX)
        names = say(a, "%s, and %zu more", names, n - NAMES_MAX);
    return say(a, "its runners take nothing new: %s", names);
}

/* What keeps work of a class waiting whatever it is: the first thing that an operator could change;
 * NULL: *taker takes such work. */
static const char *class_reason(const dispatch *d, int64_t now_ms, const queue_class *c,
                                const runner **taker, arena *a)
{
    stand best = STAND_NONE;
    slice label;

    LIST_FOR(l, &d->fleet.all)
    {
        const runner *r = LIST_OWNER(l, runner, in_fleet);
        stand s = stand_of(r, c);

        best = s > best ? s : best;
        if (s == STAND_TAKES) {
            *taker = r;
            return NULL;
        }
    }
    if (best == STAND_NONE)
        return "no runner is connected";
    if (best == STAND_IDLE)
        return idle_reason(d, now_ms, c, a);
    if (best == STAND_REACH)
        return say(a,
                   "no runner can reach the repository; start one on " SLICE_FMT
                   " or with --repo " SLICE_FMT "=PATH",
                   SLICE_ARG(c->host), SLICE_ARG(c->repo));
    label = missing_label(d, c);
    if (label.n)
        return say(a, "no runner has label " SLICE_FMT, SLICE_ARG(label));
    return "no runner has all its labels";
}

static bool avoids(const runner *r, const queue_item *item, int64_t now_ms)
{
    const task *t = item->kind == ITEM_TASK ? HEAP_OWNER(item, task, item) : NULL;

    return t && t->avoid == r->serial && t->avoid_until_ms > now_ms;
}

/* Each runner that takes such work keeps away from this: from its repository, or from the item
 * itself, which it gave back.  NULL: one does not, so the item only waits for its turn. */
static const char *hindrance(const dispatch *d, int64_t now_ms, const queue_item *item, arena *a)
{
    const bad_repo *bad = NULL;
    const runner *avoided = NULL;
    const task *t;

    LIST_FOR(l, &d->fleet.all)
    {
        const runner *r = LIST_OWNER(l, runner, in_fleet);
        const bad_repo *its;

        if (stand_of(r, item->line->in) != STAND_TAKES)
            continue;
        its = runner_bad_repo(r, item->line->repo, now_ms);
        if (its)
            bad = !bad || its->until_ms < bad->until_ms ? its : bad;
        else if (avoids(r, item, now_ms))
            avoided = r;
        else
            return NULL;
    }
    if (!avoided)
        return say(a, "each runner gave work of its repository back, tried again in %lld s: %s",
                   seconds(bad->until_ms - now_ms), bad->why);
    t = HEAP_OWNER(item, task, item);
    return say(a, SLICE_FMT " gave it back and gets it again in %lld s: " SLICE_FMT,
               SLICE_ARG(avoided->name), seconds(t->avoid_until_ms - now_ms), SLICE_ARG(t->why));
}

/* ---- turns ---- */

/* The virtual time of a line's first item, if only this class were handed out. */
static uint64_t first_turn(const queue_line *line)
{
    uint64_t at = line->share->time;

    LIST_FOR(l, &line->in->lines)
    {
        const queue_line *other = LIST_OWNER(l, queue_line, node);

        if (other->share == line->share && other->priority > line->priority)
            at += other->n;
    }
    return at;
}

static void find_turns(const queue_class *c, why *w, arena *a)
{
    size_t n = 0;

    w->lines_n = 0;
    LIST_FOR(l, &c->lines)
    {
        w->lines_n++;
    }
    w->lines = ARENA_ARRAY(a, why_line, w->lines_n);
    LIST_FOR(l, &c->lines)
    {
        const queue_line *line = LIST_OWNER(l, queue_line, node);

        w->lines[n++] = (why_line){ line, first_turn(line) };
    }
}

/* How many of line x go before the item at `index` of line y. */
static size_t before(const why_line *x, const why_line *y, size_t index)
{
    uint64_t turn = y->turn + index;
    bool first = x->line->share->order < y->line->share->order;

    if (x == y)
        return index;
    if (x->line->priority != y->line->priority)
        return x->line->priority > y->line->priority ? x->line->n : 0;
    if (x->turn > turn)
        return 0;
    return turn - x->turn + first < x->line->n ? (size_t)(turn - x->turn) + first : x->line->n;
}

size_t why_ahead(const why *w, const queue_line *line, size_t index)
{
    const why_line *y = w->lines;
    size_t n = 0;

    while (y->line != line)
        y++;
    for (size_t i = 0; i < w->lines_n; i++)
        n += before(&w->lines[i], y, index);
    return n;
}

/* ---- reasons ---- */

void why_begin(const dispatch *d, int64_t now_ms, const queue_class *c, why *w, arena *a)
{
    if (w->in == c)
        return;
    *w = (why){ .in = c };
    w->of_class = class_reason(d, now_ms, c, &w->taker, a);
    find_turns(c, w, a);
}

const char *why_waits(const dispatch *d, int64_t now_ms, const why *w, const queue_item *item,
                      size_t ahead, arena *a)
{
    const char *why = d->stale_db ? d->trouble : w->of_class;

    if (!why &&
        (runner_bad_repo(w->taker, item->line->repo, now_ms) || avoids(w->taker, item, now_ms)))
        why = hindrance(d, now_ms, item, a);
    if (why)
        return why;
    why = d->disk_low ? "; logs stand still, for the dispatcher's disk is nearly full" : "";
    if (ahead >= WHY_AHEAD_MAX)
        return say(a, "%d or more ahead for a free slot%s", WHY_AHEAD_MAX, why);
    return ahead ? say(a, "%zu ahead for a free slot%s", ahead, why)
                 : say(a, "next for a free slot%s", why);
}

const char *why_delayed(const dispatch *d, int64_t now_ms, const queue_item *item, arena *a)
{
    const task *t = HEAP_OWNER(item, task, item);

    if (d->stale_db)
        return d->trouble;
    return say(a, "tried again in %lld s: " SLICE_FMT, seconds(item->delay.key - now_ms),
               SLICE_ARG(t->why));
}

const char *why_queued(const dispatch *d, int64_t now_ms, const queue_item *item, why *w, arena *a)
{
    size_t index = 0;

    if (item->delay.at)
        return why_delayed(d, now_ms, item, a);
    why_begin(d, now_ms, item->line->in, w, a);
    LIST_FOR(l, &item->line->items)
    {
        if (l == &item->node || ++index == WHY_AHEAD_MAX)
            break;
    }
    return why_waits(d, now_ms, w, item, why_ahead(w, item->line, index), a);
}

const char *why_under_way(const dispatch *d, int64_t now_ms, const task *t, arena *a)
{
    const runner *r = t->lease.runner;
    int64_t until;

    if (r->state != RUNNER_UP) {
        until = r->seen_ms + dispatch_pace(d, r)->lease_ms;
        if (t->lease.deadline.key < until)
            until = t->lease.deadline.key;
        return say(a, "its runner %s; it is given up in %lld s", idle_text(r, now_ms, a),
                   seconds(until - now_ms));
    }
    if (t->state == STATE_CANCELING)
        return say(a, "until all that it started has ended: " SLICE_FMT, SLICE_ARG(t->why));
    return d->disk_low && (t->bytes[PART_LOG] || t->bytes[PART_ARTIFACTS])
               ? "its log stands still, for the dispatcher's disk is nearly full"
               : "";
}
