#include "commits.h"

#include <inttypes.h>

#include "sim.h"

#define JOBS_MAX  6
#define FILES_MAX 24

prng commit_prng(slice oid, uint64_t salt)
{
    return (prng){ mix_bytes(UINT64_C(14695981039346656037) + salt, oid) };
}

bool commit_supersedes(slice oid)
{
    prng r = commit_prng(oid, 3);

    return prng_below(&r, 8) == 0;
}

static slices some_files(arena *a, uint64_t n)
{
    slices files = { ARENA_ARRAY(a, slice, n), (size_t)n };

    for (uint64_t i = 0; i < n; i++)
        files.v[i] = slice_of(arena_printf(a, "tests/test_%02" PRIu64 ".py", i));
    return files;
}

static slice some_group(prng *r)
{
    switch (prng_below(r, 8)) {
    case 0:
    case 1:
        return SLICE("deploy");
    case 2:
        return SLICE("site");
    default:
        return (slice){ 0 };
    }
}

static rec_job some_job(arena *a, prng *r, size_t i, bool tests)
{
    rec_job j = { .name = slice_of(arena_printf(a, "job%zu", i)), .tests = tests };

    if (tests) {
        j.files = some_files(a, 1 + prng_below(r, FILES_MAX));
        j.batch = prng_below(r, 3) ? 0 : 1 + prng_below(r, 3);
        j.spec = prng_below(r, 3) ? (slice){ 0 } : SLICE(SPEC_SETUP);
    } else {
        j.spec = SLICE("make check");
        j.retry = prng_below(r, 3) ? 0 : 1 + prng_below(r, 2);
    }
    j.concurrency = some_group(r);
    j.priority = prng_below(r, 3);
    j.allow_failure = prng_below(r, 6) == 0;
    j.always = prng_below(r, 8) == 0;
    j.artifacts = prng_below(r, 3) == 0;
    if (prng_below(r, 5) == 0) {
        j.labels = (slices){ ARENA_NEW(a, slice), 1 };
        j.labels.v[0] = SLICE(LABEL_SPECIAL);
    }
    return j;
}

/* Nonsense: a cycle, a need that nobody has, a name twice, files of a script; or no files at all,
 * which makes sense. */
static void spoil_plan(rec_job_list *l, arena *a, prng *r)
{
    uint64_t how = prng_below(r, 5);

    if (how < 2) {
        l->v[0].needs = (slices){ ARENA_NEW(a, slice), 1 };
        l->v[0].needs.v[0] = how ? l->v[0].name : SLICE("nobody");
    } else if (how == 2 && l->n > 1) { /* one alone would go on with the same files */
        l->v[l->n] = l->v[0];
        l->n++;
    } else if (how < 4) {
        l->v[0].tests = false;
        l->v[0].files = some_files(a, 2);
    } else {
        l->v[0].tests = true;
        l->v[0].files = (slices){ 0 };
    }
}

static bool asks_for_more(slice oid, uint64_t job)
{
    prng r = commit_prng(oid, 100 + job);

    return prng_below(&r, 20) == 0;
}

rec_job_list commit_plan(slice oid, arena *a, verdict *ret)
{
    prng r = commit_prng(oid, 1);
    uint64_t kind = prng_below(&r, 12);
    rec_job_list l = { ARENA_ARRAY(a, rec_job, JOBS_MAX + 1), 0 };

    *ret = VERDICT_PASSED;
    if (kind == 0)
        return l;
    if (kind == 1) {
        *ret = prng_below(&r, 2) ? VERDICT_ERRORED : VERDICT_FAILED;
        return l;
    }
    l.n = kind < 6 ? 1 : 2 + (size_t)prng_below(&r, JOBS_MAX - 1);
    for (size_t i = 0; i < l.n; i++) {
        rec_job *j = &l.v[i];

        *j = some_job(a, &r, i, kind < 6 || prng_below(&r, 2));
        if (asks_for_more(oid, i))
            j->spec = SLICE(SPEC_SECRET);
        j->needs.v = ARENA_ARRAY(a, slice, JOBS_MAX);
        for (size_t k = 0; k < i; k++)
            if (prng_below(&r, 3) == 0)
                j->needs.v[j->needs.n++] = l.v[k].name;
    }
    if (prng_below(&r, 2)) /* what is needed may stand behind */
        for (size_t i = 0; i < l.n / 2; i++) {
            rec_job j = l.v[i];

            l.v[i] = l.v[l.n - 1 - i];
            l.v[l.n - 1 - i] = j;
        }
    if (kind == 2)
        spoil_plan(&l, a, &r);
    return l;
}
