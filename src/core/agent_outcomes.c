/* What an attempt's files came to, until the dispatcher has acknowledged it. */
#include <stdlib.h>

#include "base/mem.h"
#include "core/agent_parts.h"

#define CASE_BYTES 64 /* of a case on the wire, without its texts */

/* ---- the executor's word ---- */

static void add_item(attempt *t, const rec_item *item)
{
    if (t->items_n == t->items_cap) {
        t->items_cap = t->items_cap ? t->items_cap * 2 : 4;
        t->items = mem_grow(t->items, t->items_cap, sizeof *t->items);
    }
    t->items[t->items_n] = *item;
    t->items[t->items_n++].cases = t->cases_open;
    t->cases_open = 0;
}

static void add_case(attempt *t, const rec_test_case *c)
{
    char *texts = mem_zero(c->name.n + c->message.n + 1);

    if (t->cases_n == t->cases_cap) {
        t->cases_cap = t->cases_cap ? t->cases_cap * 2 : 4;
        t->cases = mem_grow(t->cases, t->cases_cap, sizeof *t->cases);
    }
    memcpy(texts, c->name.p, c->name.n);
    if (c->message.n)
        memcpy(texts + c->name.n, c->message.p, c->message.n);
    t->cases[t->cases_n] = *c;
    t->cases[t->cases_n].name.p = texts;
    t->cases[t->cases_n++].message.p = texts + c->name.n;
    t->cases_open++;
}

void agent_take_outcomes(attempt *t, outcome_run run)
{
    outcome o;

    /* What comes too early is behind something that is still to be read from the spool, and so is
     * that. */
    while (outcome_next(&run, (outcome_place){ t->told.file + t->items_n, t->cases_open }, &o)) {
        if (o.item)
            add_item(t, o.item);
        else
            add_case(t, o.test_case);
    }
}

static void drop_cases(attempt *t, uint64_t n)
{
    for (size_t i = 0; i < n; i++)
        free((char *)(uintptr_t)t->cases[i].name.p);
    t->cases_n -= n;
    if (n && t->cases_n)
        memmove(t->cases, t->cases + n, t->cases_n * sizeof *t->cases);
}

void agent_drop_outcomes(attempt *t, uint64_t n)
{
    uint64_t cases = 0;

    if (n > t->items_n) {
        n = t->items_n;
        cases = t->cases_open;
        t->cases_open = 0;
    }
    for (size_t i = 0; i < n; i++)
        cases += t->items[i].cases;
    drop_cases(t, cases);
    t->items_n -= n;
    if (n && t->items_n)
        memmove(t->items, t->items + n, t->items_n * sizeof *t->items);
}

void agent_free_outcomes(attempt *t)
{
    drop_cases(t, t->cases_n);
    free(t->cases);
    free(t->items);
}

/* ---- telling ---- */

outcome_run agent_next_run(const attempt *t, size_t n, outcome_place *end)
{
    outcome_run run = { .at = t->told, .items.v = t->items };
    size_t bytes = 0, at = 0, known = 0; /* at: the file's first case */

    *end = t->told;

    for (; run.items.n < n && run.items.n < AGENT_ITEMS_MAX; run.items.n++) {
        uint64_t cases = t->items[run.items.n].cases;

        if (run.items.n == 0) {
            known = t->told.cases < cases ? t->told.cases : cases;
            run.cases.v = known ? t->cases + known : t->cases; /* which may be NULL */
        }
        for (size_t i = run.items.n ? 0 : known; i < cases; i++) {
            const rec_test_case *c = &t->cases[at + i];

            bytes += CASE_BYTES + c->name.n + c->message.n;
            if (bytes > AGENT_CASES_MAX) {
                *end = (outcome_place){ run.at.file + run.items.n, i };
                return run;
            }
            run.cases.n++;
        }
        at += cases;
        *end = (outcome_place){ run.at.file + run.items.n + 1, 0 };
    }
    return run;
}

bool agent_run_is_whole(const attempt *t, const outcome_run *run)
{
    return run->items.n == t->items_n;
}

rec_item_list agent_copy_items(const rec_item_list *from, arena *to)
{
    rec_item_list l = { from->n ? ARENA_ARRAY(to, rec_item, from->n) : NULL, from->n };

    if (l.n)
        memcpy(l.v, from->v, l.n * sizeof *l.v);
    return l;
}

rec_test_case_list agent_copy_cases(const rec_test_case_list *from, arena *to)
{
    rec_test_case_list l = { from->n ? ARENA_ARRAY(to, rec_test_case, from->n) : NULL, from->n };

    for (size_t i = 0; i < l.n; i++) {
        l.v[i] = from->v[i];
        l.v[i].name = arena_slice(to, l.v[i].name);
        l.v[i].message = arena_slice(to, l.v[i].message);
    }
    return l;
}
