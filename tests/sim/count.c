#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "sim.h"

#define NEAR_N 512 /* places of the first look-up, a power of two */
#define STATES_MAX                                                                 \
    ((size_t)1 << 25) /* places; a table that is three quarters full takes no more \
                       */

/* ---- what was exercised ---- */

typedef struct covered {
    char *name;
    uint64_t n;
} covered;

/* The two texts are constants, so their addresses find a name most of the time. */
typedef struct near_name {
    const char *what, *kind;
    covered *c;
} near_name;

static map cover_by_name;
static near_name cover_near[NEAR_N];
static covered **cover_list;
static size_t cover_n;

static covered *find(const char *what, const char *kind)
{
    char name[128];
    covered *c;

    snprintf(name, sizeof name, "%s: %s", what, kind);
    c = map_gets(&cover_by_name, slice_of(name));
    if (!c) {
        c = NEW(covered);
        c->name = mem_strdup(name);
        map_puts(&cover_by_name, slice_of(name), c);
        cover_list = mem_grow(cover_list, cover_n + 1, sizeof *cover_list);
        cover_list[cover_n++] = c;
    }
    return c;
}

void cover(const char *what, const char *kind)
{
    near_name *at = &cover_near[((uintptr_t)what * 31 + (uintptr_t)kind) / 2 % NEAR_N];

    if (at->what != what || at->kind != kind)
        *at = (near_name){ what, kind, find(what, kind) };
    at->c->n++;
}

static int by_name(const void *a, const void *b)
{
    const covered *ca = *(covered *const *)a, *cb = *(covered *const *)b;

    return strcmp(ca->name, cb->name);
}

void cover_print(void)
{
    qsort(cover_list, cover_n, sizeof *cover_list, by_name);
    for (size_t i = 0; i < cover_n; i++)
        printf("%12" PRIu64 "  %s\n", cover_list[i]->n, cover_list[i]->name);
}

int cover_check(const char *path)
{
    FILE *f = fopen(path, "r");
    char line[128];
    int missing = 0;

    if (!f) {
        fprintf(stderr, "volt-sim: cannot read '%s'\n", path);
        return 1;
    }
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] && line[0] != '#' && !map_gets(&cover_by_name, slice_of(line))) {
            fprintf(stderr, "volt-sim: never happened: %s\n", line);
            missing++;
        }
    }
    fclose(f);
    return missing;
}

/* ---- states ---- */

/* A set of hashes: open addressing, 0 is an empty place. */
static uint64_t *states;
static size_t states_cap, states_used;

static bool states_put(uint64_t *v, size_t cap, uint64_t hash)
{
    size_t at = hash % cap;

    while (v[at] && v[at] != hash)
        at = at + 1 < cap ? at + 1 : 0;
    if (v[at])
        return false;
    v[at] = hash;
    return true;
}

static void states_grow(void)
{
    size_t cap = states_cap ? states_cap * 2 : (size_t)1 << 16;
    uint64_t *v = NEW_ARRAY(uint64_t, cap);

    for (size_t i = 0; i < states_cap; i++)
        if (states[i])
            states_put(v, cap, states[i]);
    free(states);
    states = v;
    states_cap = cap;
}

void states_add(uint64_t hash)
{
    if (states_used * 4 >= states_cap * 3) {
        if (states_cap == STATES_MAX)
            return;
        states_grow();
    }
    states_used += states_put(states, states_cap, hash | 1);
}

uint64_t states_n(void)
{
    return states_used;
}

void count_free(void)
{
    for (size_t i = 0; i < cover_n; i++) {
        free(cover_list[i]->name);
        free(cover_list[i]);
    }
    free(cover_list);
    map_free(&cover_by_name);
    free(states);
}
