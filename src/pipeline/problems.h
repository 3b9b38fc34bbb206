/*
 * problems.h - what is wrong with a pipeline file, and where.
 *
 * Reading goes on behind a problem where it can, so that its author sees many at once:
 *
 *   .volt.yml:4:5: unknown key 'scirpt'; did you mean 'script'?
 *       scirpt: make
 *       ^
 */
#ifndef VOLT_PIPELINE_PROBLEMS_H
#define VOLT_PIPELINE_PROBLEMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"

#define PROBLEMS_MAX 20 /* kept; later ones are counted */

/* Lines and columns (in characters) from 1; line 0: nowhere. */
typedef struct place {
    uint32_t line, column;
} place;

typedef struct problem {
    place at;
    const char *text; /* one line */
} problem;

typedef struct problems {
    arena *mem; /* of the texts; set this, zero the rest */
    problem v[PROBLEMS_MAX];
    size_t n;    /* kept, in the order of their places */
    size_t more; /* not kept */
} problems;

/* Notes a problem.  The same at the same place once only: what an anchor names is read as often as
 * it is used. */
void problems_add(problems *p, place at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* True: another one would hardly be kept, so a guess for its text is wasted. */
static inline bool problems_full(const problems *p)
{
    return p->n == PROBLEMS_MAX;
}

/* Appends all of them for people, each with its line of `source`, in which control characters are
 * shown as '?'.  `file` is what the source is called. */
void problems_print(const problems *p, const char *file, slice source, buf *out);
/* Appends the first of them in one line, and how many more there are. */
void problems_brief(const problems *p, const char *file, buf *out);

#endif
