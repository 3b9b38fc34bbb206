#include "pipeline/needs.h"

#include "base/cleanup.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/nearest.h"

#define SHOWN_MAX 16 /* jobs of a circle that are named */

/* What a need names: jobs[first..first + n) of the text with that index. */
typedef struct target {
    size_t text;
    size_t first, n;
} target;

typedef struct resolver {
    reader *r;
    pipeline *p;
    map names;      /* of target */
    target **found; /* of all texts' needs in order; NULL: a problem */
    size_t *from;   /* text i has found[from[i]..from[i + 1]) */
} resolver;

static void learn_names(resolver *s)
{
    for (size_t i = 0; i < s->p->texts_n; i++) {
        const job_text *text = &s->p->texts[i];
        target *whole = ARENA_NEW(s->r->mem, target);

        *whole = (target){ i, text->first, text->n };
        map_puts(&s->names, text->name, whole);
        for (size_t k = 0; text->at.matrix.line && k < text->n; k++) {
            target *one = ARENA_NEW(s->r->mem, target);

            *one = (target){ i, text->first + k, 1 };
            map_puts(&s->names, s->p->jobs[text->first + k].name, one);
        }
    }
}

static void say_unknown(resolver *s, const named *need)
{
    nearest near = { .typed = need->name.p };
    const char *meant;

    for (size_t i = 0; i < s->p->texts_n && !problems_full(s->r->problems); i++)
        nearest_try(&near, s->p->texts[i].name.p);
    for (size_t i = 0; i < s->p->jobs_n && !problems_full(s->r->problems); i++)
        nearest_try(&near, s->p->jobs[i].name.p);
    meant = nearest_found(&near);
    if (meant)
        problems_add(s->r->problems, need->at,
                     "no job is named '" SLICE_FMT "'; did you mean '%s'?", SLICE_ARG(need->name),
                     meant);
    else
        problems_add(s->r->problems, need->at, "no job is named '" SLICE_FMT "'",
                     SLICE_ARG(need->name));
}

static target *look_up(resolver *s, size_t text, const named *need)
{
    target *t = map_gets(&s->names, need->name);

    if (!t) {
        say_unknown(s, need);
    } else if (t->text == text) {
        problems_add(s->r->problems, need->at, "job '" SLICE_FMT "' needs itself",
                     SLICE_ARG(s->p->texts[text].name));
        return NULL;
    }
    return t;
}

static void look_up_all(resolver *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->p->texts_n; i++)
        n += s->p->texts[i].needs_n;
    s->found = ARENA_ARRAY(s->r->mem, target *, n);
    s->from = ARENA_ARRAY(s->r->mem, size_t, s->p->texts_n + 1);
    n = 0;
    for (size_t i = 0; i < s->p->texts_n; i++) {
        const job_text *text = &s->p->texts[i];

        for (size_t k = 0; k < text->needs_n; k++)
            s->found[n++] = look_up(s, i, &text->needs[k]);
        s->from[i + 1] = n;
    }
}

/* ---- circles ---- */

typedef struct walk {
    size_t *path; /* texts, from the one it began at */
    size_t *next; /* of each text: which of its needs comes next */
    size_t n;
    bool *on_path, *done;
} walk;

static void say_circle(resolver *s, const walk *w, size_t again)
{
    CLEANUP(buf)
    buf names = { 0 };
    size_t last = w->path[w->n - 1], begin = 0, at;

    while (w->path[begin] != again)
        begin++;
    for (size_t i = begin; i < w->n && i < begin + SHOWN_MAX; i++)
        buf_addf(&names, SLICE_FMT " -> ", SLICE_ARG(s->p->texts[w->path[i]].name));
    if (w->n > begin + SHOWN_MAX)
        buf_adds(&names, "... -> ");
    buf_add_slice(&names, s->p->texts[again].name);
    at = w->next[last] - 1 - s->from[last];
    problems_add(s->r->problems, s->p->texts[last].needs[at].at, "these jobs need each other: %s",
                 buf_str(&names));
}

/* Goes one need further along the path. */
static void walk_step(resolver *s, walk *w)
{
    size_t text = w->path[w->n - 1];
    const target *t;

    if (w->next[text] == s->from[text + 1]) {
        w->on_path[text] = false;
        w->done[text] = true;
        w->n--;
        return;
    }
    t = s->found[w->next[text]++];
    if (!t || w->done[t->text])
        return;
    if (w->on_path[t->text]) {
        say_circle(s, w, t->text);
        return;
    }
    w->on_path[t->text] = true;
    w->path[w->n++] = t->text;
}

static void find_circles(resolver *s)
{
    size_t n = s->p->texts_n;
    walk w = { .path = ARENA_ARRAY(s->r->mem, size_t, n),
               .next = ARENA_ARRAY(s->r->mem, size_t, n),
               .on_path = ARENA_ARRAY(s->r->mem, bool, n),
               .done = ARENA_ARRAY(s->r->mem, bool, n) };

    for (size_t i = 0; i < n; i++)
        w.next[i] = s->from[i];
    for (size_t i = 0; i < n; i++) {
        if (w.done[i])
            continue;
        w.on_path[i] = true;
        w.path[w.n++] = i;
        while (w.n && !problems_full(s->r->problems))
            walk_step(s, &w);
    }
}

/* ---- the jobs' own ---- */

/* The names of what a text needs, each once. */
static slices needed_names(resolver *s, size_t text)
{
    slices names = { .v = ARENA_ARRAY(s->r->mem, slice, PIPELINE_NEEDS_MAX) };
    map seen = { 0 };
    bool more = false;

    for (size_t i = s->from[text]; i < s->from[text + 1]; i++)
        for (size_t k = 0; s->found[i] && k < s->found[i]->n && !more; k++) {
            pipeline_job *job = &s->p->jobs[s->found[i]->first + k];

            if (map_gets(&seen, job->name))
                continue;
            map_puts(&seen, job->name, job);
            more = names.n == PIPELINE_NEEDS_MAX;
            if (!more)
                names.v[names.n++] = job->name;
        }
    map_free(&seen);
    if (more)
        problems_add(s->r->problems, s->p->texts[text].at.needs,
                     "more than %d jobs are needed, matrices expanded", PIPELINE_NEEDS_MAX);
    return names;
}

void needs_resolve(reader *r, pipeline *p)
{
    resolver s = { .r = r, .p = p };

    learn_names(&s);
    look_up_all(&s);
    find_circles(&s);
    for (size_t i = 0; i < p->texts_n; i++) {
        slices names = needed_names(&s, i);

        for (size_t k = 0; k < p->texts[i].n; k++)
            p->jobs[p->texts[i].first + k].needs = names;
    }
    map_free(&s.names);
}
