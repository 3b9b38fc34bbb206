#include "core/build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* A job of that name; `needs` is one name or NULL. */
static job *make_job(build *b, plan_draft *d, const char *name, const char *needs)
{
    slice need[] = { slice_of(needs) };
    job *j = job_new(
        b, &b->arena,
        &(row_job){
            .idx = d->n, .name = slice_of(name), .needs = { need, needs ? 1 : 0 }, .tests = true });

    d->jobs = realloc(d->jobs, (d->n + 1) * sizeof *d->jobs);
    d->jobs[d->n++] = j;
    return j;
}

/* Checks a draft of jobs "name" or "name<need"; the sentence when it is refused, or "". */
static const char *checked(const char *const *jobs, size_t n)
{
    static volt_err err;
    repo p = { .name = SLICE("demo") };
    build *b = build_new(1, &p);
    plan_draft d = { 0 };
    volt_code code;

    for (size_t i = 0; i < n; i++) {
        const char *by = strchr(jobs[i], '<');
        char name[40];

        snprintf(name, sizeof name, "%.*s", by ? (int)(by - jobs[i]) : 32, jobs[i]);
        make_job(b, &d, name, by ? by + 1 : NULL);
    }
    err.msg[0] = '\0';
    code = draft_check(&d, &err);
    assert_int_equal(code, err.msg[0] ? VOLT_EINVALID : VOLT_OK);
    draft_clear(&d);
    build_free(b);
    return err.msg;
}

static void accepts_a_graph_without_a_cycle(void **state)
{
    const char *jobs[] = { "deploy<test", "test<build", "build", "lint" };

    (void)state;
    assert_string_equal(checked(jobs, 4), "");
    assert_string_equal(checked(NULL, 0), "");
}

static void names_a_job_of_a_cycle(void **state)
{
    const char *self[] = { "a<a" }, *ring[] = { "free", "a<c", "b<a", "c<b", "after<c" };

    (void)state;
    assert_string_equal(checked(self, 1), "job 'a' needs itself in a circle");
    assert_string_equal(checked(ring, 5), "job 'a' needs itself in a circle");
}

static void refuses_needs_that_are_no_jobs_and_names_twice(void **state)
{
    const char *unknown[] = { "a<b" }, *twice[] = { "a", "b", "a" };

    (void)state;
    assert_string_equal(checked(unknown, 1), "job 'a' needs 'b', which is no job");
    assert_string_equal(checked(twice, 3), "two jobs are named 'a'");
}

static void the_worst_verdict_wins(void **state)
{
    static const verdict order[] = { VERDICT_PASSED, VERDICT_NO_TESTS, VERDICT_CANCELED,
                                     VERDICT_FAILED, VERDICT_TIMEOUT,  VERDICT_LOST,
                                     VERDICT_ERRORED };

    (void)state;
    for (size_t i = 0; i < 7; i++)
        for (size_t k = 0; k <= i; k++) {
            assert_int_equal(verdict_worse(order[i], order[k]), order[i]);
            assert_int_equal(verdict_worse(order[k], order[i]), order[i]);
        }
    assert_int_equal(verdict_worse(VERDICT_FAILED, VERDICT_SKIPPED), VERDICT_FAILED);
    assert_int_equal(verdict_worse(VERDICT_SKIPPED, VERDICT_FAILED), VERDICT_FAILED);
    assert_int_equal(verdict_worse(verdict_none, VERDICT_PASSED), VERDICT_PASSED);
    assert_int_equal(verdict_worse(VERDICT_FLAKY, VERDICT_FAILED), VERDICT_FAILED);
}

static void only_passed_flaky_and_skipped_are_not_bad(void **state)
{
    (void)state;
    for (verdict v = VERDICT_PASSED; v < verdict_count; v++)
        assert_int_equal(verdict_is_bad(v),
                         v != VERDICT_PASSED && v != VERDICT_FLAKY && v != VERDICT_SKIPPED);
}

static void a_job_waits_until_what_it_needs_has_passed(void **state)
{
    repo p = { .name = SLICE("demo") };
    build *b = build_new(1, &p);
    plan_draft d = { 0 };
    job *first = make_job(b, &d, "first", NULL), *second = make_job(b, &d, "second", "first");
    const job *which = NULL;

    (void)state;
    b->jobs = d.jobs;
    b->jobs_n = d.n;
    build_resolve(b);
    assert_int_equal(job_needs(first, &which), NEED_MET);
    assert_int_equal(job_needs(second, &which), NEED_OPEN);
    assert_ptr_equal(which, first);
    first->state = STATE_FINAL;
    first->verdict = VERDICT_FLAKY;
    assert_int_equal(job_needs(second, &which), NEED_MET);
    first->verdict = VERDICT_FAILED;
    assert_int_equal(job_needs(second, &which), NEED_FAILED);
    first->allow_failure = true;
    assert_int_equal(job_needs(second, &which), NEED_MET);
    first->verdict = VERDICT_SKIPPED;
    assert_int_equal(job_needs(second, &which), NEED_FAILED);
    build_free(b);
}

static void a_batch_is_kept_as_its_indexes(void **state)
{
    repo p = { .name = SLICE("demo") };
    build *b = build_new(1, &p);
    task *t = task_new(b, NULL, 9, TASK_TESTS);
    arena a = { 0 };
    row_task row;

    (void)state;
    t->units = calloc(2, sizeof *t->units);
    t->units_n = 2;
    t->units[0] = 1;
    t->units[1] = 0x10203;
    task_to_row(t, &a, &row);
    assert_int_equal(row.units.n, 8);
    assert_memory_equal(row.units.p, "\x01\0\0\0\x03\x02\x01\0", 8);
    arena_free(&a);
    build_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_a_graph_without_a_cycle),
        cmocka_unit_test(names_a_job_of_a_cycle),
        cmocka_unit_test(refuses_needs_that_are_no_jobs_and_names_twice),
        cmocka_unit_test(the_worst_verdict_wins),
        cmocka_unit_test(only_passed_flaky_and_skipped_are_not_bad),
        cmocka_unit_test(a_job_waits_until_what_it_needs_has_passed),
        cmocka_unit_test(a_batch_is_kept_as_its_indexes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
