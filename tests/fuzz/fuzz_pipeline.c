/*
 * fuzz_pipeline.c - whatever a pipeline file holds, it is read, or refused with problems that have
 * their places in it; and what is read keeps to the limits.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "pipeline/pipeline.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

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

    if (p)
        check_pipeline(p);
    else
        check_problems(&problems, text);
    arena_free(&mem);
    return 0;
}
