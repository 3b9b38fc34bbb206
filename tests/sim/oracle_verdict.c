#include "oracle.h"

bool is_good(verdict v)
{
    return v == VERDICT_PASSED || v == VERDICT_FLAKY;
}

/* Our own reading of the roll-up: the worst wins. */
int badness(verdict v)
{
    switch (v) {
    case VERDICT_ERRORED:
        return 7;
    case VERDICT_LOST:
        return 6;
    case VERDICT_TIMEOUT:
        return 5;
    case VERDICT_FAILED:
        return 4;
    case VERDICT_CANCELED:
        return 3;
    case VERDICT_NO_TESTS:
        return 2;
    case VERDICT_PASSED:
    case VERDICT_FLAKY:
        return 1;
    default:
        return 0;
    }
}

/* ---- S15: from what the process said up to the build ---- */

/* What nobody but the dispatcher decides. */
static bool is_given(verdict v)
{
    return v == VERDICT_LOST || v == VERDICT_CANCELED || v == VERDICT_ERRORED;
}

/* All its files were told, and only its result was not, or they ran again for their artifacts: its
 * verdict is theirs. */
static bool is_told(const oracle *o, const known_task *t, const truth *real)
{
    const known_job *j = t->kind == TASK_TESTS ? &o->builds[t->build]->jobs[t->job] : NULL;
    int worst = 0;

    for (size_t k = 0; j && k < t->units_n; k++) {
        if (!j->unit[t->units[k]])
            return false;
        worst = badness(j->unit[t->units[k]]) > worst ? badness(j->unit[t->units[k]]) : worst;
    }
    return j && (!real->verdict || (t->att > 1 && j->artifacts)) && badness(t->verdict) == worst;
}

void oracle_check_task(oracle *o, const known_task *t)
{
    const truth *real = oracle_truth(o, t->id, t->att);
    known_job *j = t->kind == TASK_TESTS ? &o->builds[t->build]->jobs[t->job] : NULL;

    checked(o->w, RULE_S15);
    if (j && is_given(t->verdict) && badness(t->verdict) > badness(j->given))
        j->given = t->verdict;
    if (!o->stale && !is_given(t->verdict) && t->verdict != real->verdict && !is_told(o, t, real))
        broken(o->w, RULE_S15, "task %llu attempt %llu is %s, but its process said %s", ULL(t->id),
               ULL(t->att), verdict_text(t->verdict),
               real->verdict ? verdict_text(real->verdict) : "nothing");
}

typedef struct stored_cases {
    oracle *o;
    const row_unit *unit;
    uint64_t place, n;
} stored_cases;

static volt_code check_case(void *ctx, const row *r, volt_err *err)
{
    stored_cases *s = ctx;
    const row_case *c = &r->test_case;
    rec_test_case want = unit_case(&s->o->w->scratch, s->unit->task, s->unit->att, s->place, s->n);

    (void)err;
    if (c->n != s->n || s->n >= s->unit->cases || c->verdict != want.verdict ||
        c->duration_ms != want.duration_ms || !slice_eq(c->name, want.name) ||
        !slice_eq(c->message, want.message))
        broken(s->o->w, RULE_CASES,
               "case %llu of unit %llu in build %llu is stored as '" SLICE_FMT "', of %llu",
               ULL(c->n), ULL(s->unit->i), ULL(s->unit->build), SLICE_ARG(c->name),
               ULL(s->unit->cases));
    s->n++;
    return VOLT_OK;
}

/* `told`: by its process; what that did not tell of itself has no cases. */
static void check_cases(oracle *o, const row_unit *r, uint64_t place, bool told)
{
    store *s = dispatcher_store(o->w);
    stored_cases stored = { o, r, place, 0 };

    checked(o->w, RULE_CASES);
    if (r->cases != unit_cases(r->task, r->att, place) && (told || r->cases))
        broken(o->w, RULE_CASES, "unit %llu of build %llu has %llu cases, its process told %llu",
               ULL(r->i), ULL(r->build), ULL(r->cases), ULL(unit_cases(r->task, r->att, place)));
    s->ops->cases(s, r->build, r->job, r->i, false, 0, SIZE_MAX, check_case, &stored, NULL);
    if (stored.n != r->cases)
        broken(o->w, RULE_CASES, "of %llu cases of unit %llu in build %llu there are %llu",
               ULL(r->cases), ULL(r->i), ULL(r->build), ULL(stored.n));
}

void oracle_check_unit(oracle *o, const row_unit *r)
{
    const known_task *t = oracle_task(o, r->task);
    const truth *real = oracle_truth(o, r->task, r->att);
    size_t k = 0;

    while (t && k < t->units_n && t->units[k] != r->i)
        k++;
    checked(o->w, RULE_S15);
    if (!t || k == t->units_n || t->build != r->build || t->job != r->job)
        broken(o->w, RULE_S15, "unit %llu of build %llu has its verdict from task %llu", ULL(r->i),
               ULL(r->build), ULL(r->task));
    if (r->verdict == VERDICT_FLAKY && r->tries < 2)
        broken(o->w, RULE_S15, "unit %llu of build %llu is flaky after one run", ULL(r->i),
               ULL(r->build));
    if (!o->stale && !is_given(r->verdict) && r->verdict != real->unit[k] &&
        !(real->setup_failed && r->verdict == real->verdict)) /* it shares the end of its batch */
        broken(o->w, RULE_S15, "unit %llu of build %llu is %s, but its process said %s", ULL(r->i),
               ULL(r->build), verdict_text(r->verdict),
               real->unit[k] ? verdict_text(real->unit[k]) : "nothing");
    if (!o->stale)
        check_cases(o, r, k, real->unit[k] && !is_given(r->verdict));
}

static void check_script(oracle *o, const known_build *b, const known_job *j)
{
    verdict want = j->script == VERDICT_PASSED && j->scripts > 1 ? VERDICT_FLAKY : j->script;

    if (j->verdict != want && !(b->canceled && j->verdict == VERDICT_CANCELED &&
                                badness(want) <= badness(VERDICT_CANCELED)))
        broken(o->w, RULE_S15, "job " SLICE_FMT " of build %llu is %s, but its script is %s",
               SLICE_ARG(j->name), ULL(b->id), verdict_text(j->verdict),
               want ? verdict_text(want) : "open");
}

/* Of test files: the worst of them; that of a setup, without which they are not all run; and of a
 * batch that ran again for its artifacts, and came to no end. */
static void check_files(oracle *o, const known_build *b, const known_job *j)
{
    int worst = !j->units                               ? badness(VERDICT_NO_TESTS)
                : badness(j->given) > badness(j->setup) ? badness(j->given)
                                                        : badness(j->setup);

    checked(o->w, RULE_SETUP);
    if (j->setup)
        cover("job", "failed setup");
    if (badness(j->verdict) < badness(j->setup))
        broken(o->w, RULE_SETUP, "job " SLICE_FMT " of build %llu is %s, but its setup is %s",
               SLICE_ARG(j->name), ULL(b->id), verdict_text(j->verdict), verdict_text(j->setup));
    for (uint64_t i = 0; i < j->units; i++) {
        if (!j->unit[i] && !b->canceled && !j->setup)
            broken(o->w, RULE_S15, "job " SLICE_FMT " of build %llu ends before its unit %llu",
                   SLICE_ARG(j->name), ULL(b->id), ULL(i));
        worst = badness(j->unit[i]) > worst ? badness(j->unit[i]) : worst;
    }
    if (badness(j->verdict) != worst &&
        !(b->canceled && worst < badness(VERDICT_CANCELED) && j->verdict == VERDICT_CANCELED))
        broken(o->w, RULE_S15, "job " SLICE_FMT " of build %llu is %s, but that is not its roll-up",
               SLICE_ARG(j->name), ULL(b->id), verdict_text(j->verdict));
}

static bool is_taken_over(const known_build *b, const known_job *j)
{
    for (size_t i = 0; i < b->passed.n; i++)
        if (slice_eq(b->passed.v[i], j->name))
            return true;
    return false;
}

/* It runs nothing, and it did pass there. */
static void check_taken_over(oracle *o, const known_build *b, const known_job *j)
{
    const known_build *from = o->builds[b->retry_of];

    cover("job", "taken over");
    if (j->verdict != VERDICT_PASSED || j->scripts || j->units)
        broken(o->w, RULE_S15, "job " SLICE_FMT " of build %llu was to be taken over from %llu",
               SLICE_ARG(j->name), ULL(b->id), ULL(b->retry_of));
    for (size_t i = 0; from && i < from->jobs_n; i++)
        if (slice_eq(from->jobs[i].name, j->name) && from->jobs[i].verdict != VERDICT_PASSED &&
            from->jobs[i].verdict != VERDICT_FLAKY)
            broken(o->w, RULE_S15,
                   "job " SLICE_FMT " is taken over from build %llu, where it is %s",
                   SLICE_ARG(j->name), ULL(b->retry_of), verdict_text(from->jobs[i].verdict));
}

void oracle_check_job(oracle *o, const known_build *b, const known_job *j)
{
    checked(o->w, RULE_S15);
    if (is_taken_over(b, j)) {
        check_taken_over(o, b, j);
        return;
    }
    if (j->verdict == VERDICT_SKIPPED) {
        if (j->always)
            broken(o->w, RULE_S13, "job " SLICE_FMT " always runs, and is skipped",
                   SLICE_ARG(j->name));
        return;
    }
    if (j->tests)
        check_files(o, b, j);
    else
        check_script(o, b, j);
}

/* What a build without jobs is, by its plan. */
static verdict of_plan(const known_task *plan)
{
    if (!plan)
        return verdict_none;
    return plan->verdict == VERDICT_PASSED     ? VERDICT_NO_TESTS
           : plan->verdict == VERDICT_CANCELED ? VERDICT_CANCELED
                                               : VERDICT_ERRORED;
}

void oracle_check_build(oracle *o, const known_build *b)
{
    int worst = 0;

    checked(o->w, RULE_S15);
    for (size_t i = 0; i < b->jobs_n; i++) {
        if (b->jobs[i].state != STATE_FINAL)
            broken(o->w, RULE_S15, "build %llu ends before its job " SLICE_FMT, ULL(b->id),
                   SLICE_ARG(b->jobs[i].name));
        if (!b->jobs[i].allow_failure && badness(b->jobs[i].verdict) > worst)
            worst = badness(b->jobs[i].verdict);
    }
    if (b->jobs_n == 0)
        worst = badness(of_plan(oracle_task(o, b->plan)));
    if (worst == 0) /* nothing that counts: no failure */
        worst = badness(VERDICT_PASSED);
    if (badness(b->verdict) != worst && !(b->canceled && b->verdict == VERDICT_CANCELED))
        broken(o->w, RULE_S15, "build %llu is %s, but that is not its roll-up", ULL(b->id),
               verdict_text(b->verdict));
}
