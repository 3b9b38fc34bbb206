#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "core/dispatch_internal.h"
#include "core/outcome.h"

#define REPO_BACKOFF_MS 5000 /* first time a runner stays away from a repository */
#define UNFIT_NACKS_MAX 3    /* runners without the commit, or what the job asks for */

task *task_of(dispatch *d, const runner *r, uint64_t id, uint64_t att)
{
    task *t = map_get(&d->tasks, id);

    if (MUTANT(no_fence) && t && t->lease.runner)
        return t;
    return t && t->lease.runner == r && t->att == att ? t : NULL;
}

void fence(dispatch *d, const runner *r, uint64_t task, uint64_t att)
{
    msg_fenced *m;

    if (MUTANT(nobody_drops))
        return;
    m = &effects_send(d->out, r->peer, MSG_fenced)->fenced;
    *m = (msg_fenced){ .task = task, .att = att, .code = CODE_STALE };
}

void on_start(dispatch *d, runner *r, const msg_start *m)
{
    task *t = task_of(d, r, m->task, m->att);

    if (t)
        life_running(d, t);
    else
        fence(d, r, m->task, m->att);
}

/* What went well for a minute begins anew with the first wait. */
static void set_bad_repo(dispatch *d, runner *r, const repo *p, slice why)
{
    bad_repo *bad = map_gets(&r->bad_repos, p->name);

    if (!bad) {
        bad = NEW(bad_repo);
        map_puts(&r->bad_repos, p->name, bad);
    }
    if (!bad->backoff_ms || d->now_ms - bad->until_ms > DISPATCH_BACKOFF_MAX_MS) {
        bad->backoff_ms = REPO_BACKOFF_MS;
    } else if (bad->backoff_ms < DISPATCH_BACKOFF_MAX_MS) {
        bad->backoff_ms *= 2;
        if (bad->backoff_ms > DISPATCH_BACKOFF_MAX_MS)
            bad->backoff_ms = DISPATCH_BACKOFF_MAX_MS;
    }
    snprintf(bad->why, sizeof bad->why, SLICE_FMT, SLICE_ARG(why));
    bad->until_ms = d->now_ms + bad->backoff_ms;
    fleet_hinder(&d->fleet, r, bad->until_ms);
}

void on_nack(dispatch *d, runner *r, const msg_nack *m)
{
    task *t = task_of(d, r, m->task, m->att);

    if (!t) { /* already given up: nothing to fence, for it does not run */
        group_ended(d, r, m->task, m->att);
        return;
    }
    switch (m->code) {
    case CODE_LOST:
        life_lost(d, t, true,
                  m->msg.n ? arena_str(&d->out->arena, m->msg) : "its executor vanished");
        break;
    case CODE_SPEC:
        life_task_final(d, t, VERDICT_ERRORED, m->msg);
        break;
    case CODE_NOT_FOUND: /* a mirror or a push may be behind: others may have it */
    case CODE_UNABLE:
        if (t->state != STATE_CANCELING && ++t->unfit >= UNFIT_NACKS_MAX &&
            !MUTANT(unfit_forgotten))
            life_task_final(
                d, t, VERDICT_ERRORED,
                step_text(d, SLICE_FMT ": " SLICE_FMT, SLICE_ARG(r->name), SLICE_ARG(m->msg)));
        else
            life_return(d, t, m->code, m->msg, m->code == CODE_NOT_FOUND ? 1000 : 0);
        break;
    case CODE_DISK: /* its pool, its mirrors or its spool: other work would fare no better */
    case CODE_REPO:
        set_bad_repo(d, r, t->build->repo, m->msg);
        life_return(d, t, m->code, m->msg, 0);
        break;
    default:
        life_return(d, t, m->code, m->msg, 0);
        break;
    }
}

/* ---- plan ---- */

static job *draft_job(build *b, plan_draft *draft, const rec_job *m)
{
    job *j;

    if (draft->n && m->tests && draft->jobs[draft->n - 1]->tests &&
        slice_eq(draft->jobs[draft->n - 1]->name, m->name))
        return draft->jobs[draft->n - 1]; /* goes on in this part */
    if (draft->n == BUILD_JOBS_MAX)
        return NULL;
    j = job_new(b, &draft->arena,
                &(row_job){ .idx = draft->n,
                            .name = m->name,
                            .needs = m->needs,
                            .labels = m->labels,
                            .spec = m->spec,
                            .priority = m->priority,
                            .timeout_ms = m->timeout_ms,
                            .retry = m->retry,
                            .batch = m->batch,
                            .allow_failure = m->allow_failure,
                            .always = m->always,
                            .concurrency = m->concurrency,
                            .tests = m->tests,
                            .artifacts = m->artifacts });
    if (draft->n == draft->cap) {
        draft->cap = draft->cap ? draft->cap * 2 : 8;
        draft->jobs = mem_grow(draft->jobs, draft->cap, sizeof *draft->jobs);
    }
    draft->jobs[draft->n++] = j;
    return j;
}

static size_t bytes_of(slices s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += s.v[i].n + sizeof(slice);
    return n;
}

/* `expected_ms` of each file, or NULL. */
static bool draft_add(build *b, plan_draft *draft, const rec_job *m, const uint32_t *expected_ms)
{
    job *j;

    draft->units += m->files.n;
    draft->bytes += m->name.n + m->concurrency.n + m->spec.n + bytes_of(m->needs) +
                    bytes_of(m->labels) + bytes_of(m->files);
    if (draft->units > BUILD_UNITS_MAX || draft->bytes > BUILD_PLAN_MAX)
        return false;
    j = draft_job(b, draft, m);
    if (!j)
        return false;
    j->units = mem_grow(j->units, j->units_n + m->files.n, sizeof *j->units);
    for (size_t i = 0; i < m->files.n; i++)
        j->units[j->units_n++] = (unit){ .file = arena_slice(&draft->arena, m->files.v[i]),
                                         .expected_ms = expected_ms ? expected_ms[i] : 0 };
    return true;
}

void on_plan(dispatch *d, runner *r, const msg_plan *m)
{
    task *t = task_of(d, r, m->task, m->att);
    const uint32_t *expected_ms = d->ev->facts.expected_n ? d->ev->facts.expected_ms : NULL;
    msg_plan_ok *ok;

    if (!t || t->kind != TASK_PLAN) {
        fence(d, r, m->task, m->att);
        return;
    }
    if ((m->part == t->build->draft.next_part ||
         (MUTANT(plan_twice) && m->part < t->build->draft.next_part)) &&
        !t->build->draft.whole) {
        for (size_t i = 0; i < m->jobs.n; i++) {
            if (!draft_add(t->build, &t->build->draft, &m->jobs.v[i], expected_ms)) {
                life_task_final(
                    d, t, VERDICT_ERRORED,
                    SLICE("the plan is too large: at most 1000 jobs, 100000 files and 32 MiB"));
                fence(d, r, m->task, m->att);
                return;
            }
            if (expected_ms)
                expected_ms += m->jobs.v[i].files.n;
        }
        t->build->draft.next_part++;
        t->build->draft.whole = m->last;
        t->build->draft.supersede |= m->supersede;
    }
    ok = &effects_send(d->out, r->peer, MSG_plan_ok)->plan_ok;
    *ok = (msg_plan_ok){ .task = t->id, .att = t->att, .next = t->build->draft.next_part };
}

/* ---- units ---- */

static void take_case(dispatch *d, task *t, const rec_test_case *c)
{
    put_case(d, t, c);
    t->cases++;
    t->cases_kept = true;
}

/* Takes what is new of the run; false: something before it is missing. */
static bool take_outcomes(dispatch *d, task *t, outcome_run run)
{
    outcome o;

    if (outcome_is_ahead(&run, (outcome_place){ t->done, t->cases }))
        return false;
    if (MUTANT(items_appended) || (MUTANT(cases_appended) && run.at.file == t->done))
        run.at = (outcome_place){ t->done, t->cases };
    while (t->done < t->units_n && outcome_next(&run, (outcome_place){ t->done, t->cases }, &o)) {
        if (o.item)
            life_unit_done(d, t, o.item, true);
        else if (t->cases < OUTCOME_CASES_MAX)
            take_case(d, t, o.test_case);
        else
            break; /* more than its item can count */
    }
    return true;
}

static void say_tests(dispatch *d, const runner *r, const task *t)
{
    msg_tests_ok *ok = &effects_send(d->out, r->peer, MSG_tests_ok)->tests_ok;

    *ok = (msg_tests_ok){ .task = t->id, .att = t->att, .next = t->done, .cases = t->cases };
}

void on_tests(dispatch *d, runner *r, const msg_tests *m)
{
    task *t = task_of(d, r, m->task, m->att);
    size_t before;

    if (!t || t->kind != TASK_TESTS) {
        fence(d, r, m->task, m->att);
        return;
    }
    life_running(d, t);
    before = t->done;
    take_outcomes(d, t, OUTCOME_RUN(m));
    if (t->done != before)
        put_task(d, t);
    say_tests(d, r, t);
}

/* ---- result ---- */

static void say_result(dispatch *d, const runner *r, uint64_t task, uint64_t att)
{
    msg_result_ok *ok = &effects_send(d->out, r->peer, MSG_result_ok)->result_ok;

    *ok = (msg_result_ok){ .task = task, .att = att };
}

/* A result for a task that is not leased to r: final already, or fenced. */
static void late_result(dispatch *d, const runner *r, const msg_result *m)
{
    const task *t = map_get(&d->tasks, m->task);
    bool same;

    if (t) {
        same = t->state == STATE_FINAL && t->att == m->att && memcmp(t->runner_id, r->id, 32) == 0;
    } else {
        same = d->ev->facts.tasks_n == 1 && d->ev->facts.tasks[0].task == m->task &&
               d->ev->facts.tasks[0].state == STATE_FINAL && d->ev->facts.tasks[0].att == m->att &&
               slice_is(d->ev->facts.tasks[0].runner, r->id);
    }
    group_ended(d, r, m->task, m->att);
    if (same) {
        say_result(d, r, m->task, m->att);
        return;
    }
    if (t) {
        msg_event *e = emit_task(d, EVENT_STALE_RESULT, t);

        e->att = m->att;
        e->verdict = m->verdict;
        e->runner = r->name;
        e->runner_id = (slice){ r->id, 32 };
    }
    fence(d, r, m->task, m->att);
}

/* A plan's end: the draft must be whole and make sense. */
static verdict plan_verdict(dispatch *d, task *t, const msg_result *m, slice *why)
{
    volt_err err;

    if (m->verdict != VERDICT_PASSED)
        return m->verdict;
    if (draft_check(&t->build->draft, &err) == VOLT_OK)
        return VERDICT_PASSED;
    *why = step_text(d, "%s", err.msg);
    return VERDICT_ERRORED;
}

/* A batch's end: what did not run has not passed.  Of files that ran again for what they leave, the
 * outcomes that were told first stand. */
static verdict batch_verdict(const task *t, const msg_result *m, slice *why)
{
    bool good = !verdict_is_bad(m->verdict);

    if (m->setup_failed && good) {
        *why = SLICE("its runner reported a failed setup, and a good end");
        return VERDICT_ERRORED;
    }
    if (t->done < t->units_n && good) {
        *why = SLICE("its runner reported fewer outcomes than there are files");
        return VERDICT_ERRORED;
    }
    if (t->att > 1 && t->job->artifacts && t->done == t->units_n && !m->setup_failed &&
        m->verdict != VERDICT_ERRORED && m->verdict != VERDICT_CANCELED) /* of the attempt itself */
        return life_worst_unit(t);
    return m->verdict;
}

void on_result(dispatch *d, runner *r, const msg_result *m)
{
    task *t = task_of(d, r, m->task, m->att);
    verdict v = m->verdict;
    slice why = m->msg;

    if (!t) {
        late_result(d, r, m);
        return;
    }
    life_running(d, t); /* its start may have been lost: a story has no holes */
    if (t->kind == TASK_TESTS && !take_outcomes(d, t, OUTCOME_RUN(m))) {
        say_tests(d, r, t); /* asks for those that are missing; the result comes again */
        return;
    }
    if (t->kind == TASK_PLAN && v == VERDICT_PASSED && !t->build->draft.whole) {
        msg_plan_ok *ok = &effects_send(d->out, r->peer, MSG_plan_ok)->plan_ok;

        *ok = (msg_plan_ok){ .task = t->id, .att = t->att, .next = t->build->draft.next_part };
        if (MUTANT(result_ok_early))
            say_result(d, r, t->id, t->att);
        return;
    }
    if (m->log_bytes > parts_max(d, t, PART_LOG) ||
        m->artifact_bytes > parts_max(d, t, PART_ARTIFACTS)) {
        say_result(d, r, t->id,
                   t->att); /* it would never be taken whole, so it is not waited for */
        life_task_final(d, t, VERDICT_ERRORED,
                        SLICE("its runner sent a log or artifacts beyond the cap"));
        return;
    }
    if (!parts_take(d, r, t, m)) {
        if (t->done)
            put_task(d, t);
        return;
    }
    t->duration_ms = m->duration_ms;
    t->exit = m->exit;
    t->signal = m->signal;
    t->cpu_ms = m->cpu_ms;
    t->max_rss_bytes = m->max_rss_bytes;
    r->losses = 0;
    if (t->kind == TASK_PLAN)
        v = plan_verdict(d, t, m, &why);
    else if (t->kind == TASK_TESTS)
        v = batch_verdict(t, m, &why);
    say_result(d, r, t->id, t->att);
    if (t->kind == TASK_TESTS && m->setup_failed && !MUTANT(setup_failure_goes_on))
        life_setup_failed(d, t, why);
    life_task_final(d, t, v, why);
    if (t->kind == TASK_PLAN) { /* who planned keeps the first task: it rides behind the answer */
        const match one = { &d->queue, &d->fleet, d->now_ms, dispatch_give, d };

        match_runner(&one, r);
    }
}
