/*
 * fuzz_pipeline.c - whatever a pipeline file holds, it is read and planned, or refused with
 * problems that have their places in it; what is read keeps to the limits, and a runner understands
 * the specs of a plan.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "pipeline/command.h"
#include "pipeline/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/* Of libfyaml itself; see token_text() in yaml.c. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml.so";
}

static void require(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

static void check_pipeline(const pipeline *p)
{
    require(p->jobs_n > 0 && p->jobs_n <= PIPELINE_JOBS_MAX, "there are jobs, not too many");
    for (size_t i = 0; i < p->jobs_n; i++) {
        const pipeline_job *job = &p->jobs[i];

        require(job->name.n > 0 && job->name.n <= PIPELINE_NAME_MAX, "a job has a name");
        require((job->text->script.n > 0) != (job->text->tests.run.n > 0), "it runs one thing");
        require(job->needs.n <= PIPELINE_NEEDS_MAX, "its needs are bounded");
        for (size_t k = 0; k < job->needs.n; k++)
            require(!slice_eq(job->needs.v[k], job->name), "it does not need itself");
    }
}

static void check_plan(plan *p)
{
    static const char *const paths[] = { "a", "tests/test_a.py", "t/b/c d", "tests/x/y.sh" };

    require((p->n == 0) == (p->why_none != NULL), "it says why there is nothing");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        plan_offer(p, slice_of(paths[i]), 0100644);
    require(plan_end(p, NULL) == VOLT_OK, "a few files are not too many");
    for (size_t i = 0; i < p->n; i++) {
        msg_spec spec;
        buf command = { 0 };

        require(p->jobs[i].spec.n <= PLAN_SPEC_MAX, "a spec fits");
        require(plan_spec_read(p->jobs[i].spec, p->mem, &spec, NULL) == VOLT_OK,
                "a runner reads what a planner wrote");
        require((spec.script.n > 0) != p->jobs[i].tests, "it says what to run");
        for (size_t k = 0; k < p->jobs[i].files.n; k++)
            command_of_file(spec.run, p->jobs[i].files.v[k], &command);
        buf_free(&command);
    }
}

static void check_problems(const problems *p, slice text)
{
    size_t lines = 1;
    buf out = { 0 };

    for (size_t i = 0; i < text.n; i++)
        lines += text.p[i] == '\n';
    require(p->n > 0 && p->n <= PROBLEMS_MAX, "it says what is wrong");
    for (size_t i = 0; i < p->n; i++) {
        require(p->v[i].text[0] != '\0', "each problem has a text");
        require(p->v[i].at.line <= lines + 1, "its line is in the file");
    }
    problems_print(p, "file", text, &out);
    problems_brief(p, "file", &out);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    slice text = { (const char *)bytes, n };
    arena mem = { 0 };
    problems problems = { .mem = &mem };
    const pipeline *p = pipeline_read(text, &mem, &problems);

    plan *made = NULL;

    if (p) {
        check_pipeline(p);
        made = plan_make(p, &(plan_settings){ .ref = SLICE("refs/heads/main") }, &mem, &problems);
    }
    if (made)
        check_plan(made);
    else
        check_problems(&problems, text);
    arena_free(&mem);
    return 0;
}
