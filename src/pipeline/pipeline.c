#include "pipeline/pipeline.h"

#include <assert.h>

#include "base/map.h"
#include "pipeline/fields.h"
#include "pipeline/glob.h"
#include "pipeline/matrix.h"
#include "pipeline/needs.h"

#define JOB_NAME_MAX 128 /* bytes, before the matrix values */
#define ITEMS_MAX    1000
#define TEXT_MAX     1024 /* bytes of one of several texts */
#define COUNT(a)     (sizeof(a) / sizeof *(a))

#define REPORT_JUNIT_PREFIX "junit:"

/* ---- tests ---- */

typedef volt_code check_fn(slice pattern, volt_err *err);

static void read_checked(reader *r, const yaml_node *node, check_fn *check, slices *ret)
{
    slices globs = { 0 };
    volt_err err;

    field_texts(r, node, ITEMS_MAX, GLOB_MAX, &globs);
    for (size_t i = 0; i < globs.n; i++)
        if (globs.v[i].n && check(globs.v[i], &err))
            problems_add(r->problems, node->kind == YAML_SEQUENCE ? node->items[i]->at : node->at,
                         "%s", err.msg);
    if (node->kind == YAML_SEQUENCE && node->n == 0)
        problems_add(r->problems, node->at, "expected patterns, not an empty list");
    *ret = globs;
}

static void read_globs(reader *r, const yaml_node *node, slices *ret)
{
    read_checked(r, node, glob_check, ret);
}

static void tests_files(reader *r, const yaml_node *node, void *into)
{
    read_globs(r, node, &((pipeline_tests *)into)->files);
}

static bool holds(slice text, const char *what)
{
    return text.n && memmem(text.p, text.n, what, strlen(what));
}

static void tests_run(reader *r, const yaml_node *node, void *into)
{
    slice *run = &((pipeline_tests *)into)->run;

    field_lines(r, node, run);
    if (run->n && !holds(*run, "{}") && !holds(*run, "VOLT_TEST_FILES"))
        problems_add(r->problems, node->at,
                     "this does not say where the test file goes: write {} or $VOLT_TEST_FILES");
}

static void tests_setup(reader *r, const yaml_node *node, void *into)
{
    field_lines(r, node, &((pipeline_tests *)into)->setup);
}

static_assert(REPORT_JUNIT == 1 && REPORT_TAP == 2, "places in `words` below");

static void tests_report(reader *r, const yaml_node *node, void *into)
{
    static const char *const words[] = { "exit", "junit:PATTERN", "tap" };
    const slice prefix = SLICE(REPORT_JUNIT_PREFIX);
    pipeline_tests *t = into;
    unsigned kind = report_kind_none;
    volt_err err;

    if (node->kind != YAML_SCALAR || !slice_starts(node->text, prefix)) {
        field_word(r, node, words, COUNT(words), &kind);
        t->report = (report_kind)kind;
        return;
    }
    t->report = REPORT_JUNIT;
    t->report_files = (slice){ node->text.p + prefix.n, node->text.n - prefix.n };
    if (glob_check(t->report_files, &err))
        problems_add(r->problems, node->at, "%s", err.msg);
}

static void tests_batch(reader *r, const yaml_node *node, void *into)
{
    if (node->kind == YAML_SCALAR && slice_is(node->text, "auto"))
        return;
    field_number(r, node, 1, PIPELINE_BATCH_MAX, &((pipeline_tests *)into)->batch);
}

static void tests_retry(reader *r, const yaml_node *node, void *into)
{
    field_number(r, node, 0, PIPELINE_RETRY_MAX, &((pipeline_tests *)into)->retry);
}

#define TESTS_FIELD(key) { #key, tests_##key, offsetof(pipeline_tests, at.key) },
static const field tests_fields[] = { PIPELINE_TESTS_KEYS(TESTS_FIELD) };

/* ---- cache ---- */

static void cache_key(reader *r, const yaml_node *node, void *into)
{
    read_globs(r, node, &((pipeline_cache *)into)->key);
}

volt_code pipeline_cache_path_check(slice path, volt_err *err)
{
    const slice home = SLICE("~/");

    return glob_check(slice_starts(path, home) ? (slice){ path.p + home.n, path.n - home.n } : path,
                      err);
}

static void cache_paths(reader *r, const yaml_node *node, void *into)
{
    read_checked(r, node, pipeline_cache_path_check, &((pipeline_cache *)into)->paths);
}

#define CACHE_FIELD(key) { #key, cache_##key, offsetof(pipeline_cache, at.key) },
static const field cache_fields[] = { PIPELINE_CACHE_KEYS(CACHE_FIELD) };

/* ---- a job ---- */

static void job_script(reader *r, const yaml_node *node, void *into)
{
    field_lines(r, node, &((job_text *)into)->script);
}

static void job_tests(reader *r, const yaml_node *node, void *into)
{
    pipeline_tests *t = &((job_text *)into)->tests;

    fields_read(r, node, "tests", tests_fields, COUNT(tests_fields), t);
    if (node->kind == YAML_MAPPING && !t->at.files.line)
        problems_add(r->problems, node->at, "tests want 'files'");
    if (node->kind == YAML_MAPPING && !t->at.run.line)
        problems_add(r->problems, node->at, "tests want 'run'");
}

static void job_needs(reader *r, const yaml_node *node, void *into)
{
    job_text *job = into;
    slices names = { 0 };

    field_texts(r, node, PIPELINE_NEEDS_MAX, PIPELINE_NAME_MAX, &names);
    job->needs = ARENA_ARRAY(r->mem, named, names.n);
    for (size_t i = 0; i < names.n; i++)
        if (names.v[i].n)
            job->needs[job->needs_n++] =
                (named){ names.v[i], node->kind == YAML_SEQUENCE ? node->items[i]->at : node->at };
}

static void job_labels(reader *r, const yaml_node *node, void *into)
{
    field_texts(r, node, PIPELINE_LABELS_MAX, PIPELINE_LABEL_MAX, &((job_text *)into)->labels);
}

static void job_matrix(reader *r, const yaml_node *node, void *into)
{
    matrix_read(r, node, &((job_text *)into)->matrix);
}

static void job_env(reader *r, const yaml_node *node, void *into)
{
    field_variables(r, node, &((job_text *)into)->env);
}

static void job_branches(reader *r, const yaml_node *node, void *into)
{
    field_texts(r, node, ITEMS_MAX, TEXT_MAX, &((job_text *)into)->branches);
}

static void job_timeout(reader *r, const yaml_node *node, void *into)
{
    field_duration(r, node, &((job_text *)into)->timeout_ms);
}

static void job_retry(reader *r, const yaml_node *node, void *into)
{
    field_number(r, node, 0, PIPELINE_RETRY_MAX, &((job_text *)into)->retry);
}

static void job_allow_failure(reader *r, const yaml_node *node, void *into)
{
    field_bool(r, node, &((job_text *)into)->allow_failure);
}

static void job_priority(reader *r, const yaml_node *node, void *into)
{
    field_number(r, node, 0, PIPELINE_PRIORITY_MAX, &((job_text *)into)->priority);
}

static void job_concurrency(reader *r, const yaml_node *node, void *into)
{
    slice *name = &((job_text *)into)->concurrency;

    field_text(r, node, name);
    if (name->n > PIPELINE_NAME_MAX)
        problems_add(r->problems, node->at, "longer than %d bytes", PIPELINE_NAME_MAX);
}

static void job_always(reader *r, const yaml_node *node, void *into)
{
    field_bool(r, node, &((job_text *)into)->always);
}

static void job_submodules(reader *r, const yaml_node *node, void *into)
{
    field_bool(r, node, &((job_text *)into)->submodules);
}

static void job_home(reader *r, const yaml_node *node, void *into)
{
    static const char *const words[] = { "scratch", "kept" };
    unsigned home = HOME_SCRATCH;

    field_word(r, node, words, COUNT(words), &home);
    ((job_text *)into)->home = (pipeline_home)home;
}

static void job_artifacts(reader *r, const yaml_node *node, void *into)
{
    read_globs(r, node, &((job_text *)into)->artifacts);
}

static void job_cache(reader *r, const yaml_node *node, void *into)
{
    pipeline_cache *cache = &((job_text *)into)->cache;

    fields_read(r, node, "a cache", cache_fields, COUNT(cache_fields), cache);
    if (node->kind == YAML_MAPPING && !cache->at.paths.line)
        problems_add(r->problems, node->at, "a cache wants 'paths'");
    if (node->kind == YAML_MAPPING && !cache->at.key.line)
        problems_add(r->problems, node->at, "a cache wants 'key'");
}

static void job_secrets(reader *r, const yaml_node *node, void *into)
{
    slices *names = &((job_text *)into)->secrets;

    field_texts(r, node, PIPELINE_SECRETS_MAX, PIPELINE_SECRET_MAX, names);
    for (size_t i = 0; i < names->n; i++) {
        const yaml_node *it = node->kind == YAML_SEQUENCE ? node->items[i] : node;

        field_check_variable(r, it);
        for (size_t k = 0; k < i; k++)
            if (slice_eq(names->v[i], names->v[k]))
                problems_add(r->problems, it->at, "secret '" SLICE_FMT "' is named twice",
                             SLICE_ARG(names->v[i]));
    }
}

static void job_sandbox(reader *r, const yaml_node *node, void *into)
{
    static const char *const words[] = { "host", "bwrap", "container" };
    unsigned word = 0;

    field_word(r, node, words, COUNT(words), &word);
    ((job_text *)into)->sandbox = (pipeline_sandbox)(word + SANDBOX_HOST);
}

static void job_image(reader *r, const yaml_node *node, void *into)
{
    field_text(r, node, &((job_text *)into)->image);
}

static void job_network(reader *r, const yaml_node *node, void *into)
{
    field_bool(r, node, &((job_text *)into)->network);
}

#define JOB_FIELD(key) { #key, job_##key, offsetof(job_text, at.key) },
static const field job_fields[] = { PIPELINE_JOB_KEYS(JOB_FIELD) };

/* What keys say of each other. */
static void check_job(reader *r, const job_text *job)
{
    if (job->at.script.line && job->at.tests.line)
        problems_add(r->problems, job->at.tests,
                     "job '" SLICE_FMT "' has a script and tests; it can have one of them",
                     SLICE_ARG(job->name));
    else if (!job->at.script.line && !job->at.tests.line)
        problems_add(r->problems, job->where, "job '" SLICE_FMT "' has neither script nor tests",
                     SLICE_ARG(job->name));
    if (job->at.image.line && job->sandbox != SANDBOX_CONTAINER)
        problems_add(r->problems, job->at.image, "an image is for 'sandbox: container'");
    if (job->at.image.line == 0 && job->sandbox == SANDBOX_CONTAINER)
        problems_add(r->problems, job->at.sandbox, "a container wants an 'image'");
}

static bool is_job_name(slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];

        if (c <= ' ' || c == 0x7f || c == '/' || c == '\'' || c == '"')
            return false;
    }
    return name.n > 0 && name.n <= JOB_NAME_MAX;
}

static void read_job(reader *r, const yaml_entry *e, pipeline *p)
{
    job_text *job = &p->texts[p->texts_n];
    size_t before;

    *job = (job_text){ .name = e->key->text, .where = e->key->at, .network = true };
    p->texts_n++;
    if (!is_job_name(job->name))
        problems_add(r->problems, job->where,
                     "a job's name has no spaces, quotes or '/', and at most %d bytes",
                     JOB_NAME_MAX);
    before = r->problems->n + r->problems->more;
    fields_read(r, e->value, "a job", job_fields, COUNT(job_fields), job);
    if (r->problems->n + r->problems->more ==
        before) /* else a misspelt key may be what is missing */
        check_job(r, job);
}

/* ---- the file ---- */

static void file_env(reader *r, const yaml_node *node, void *into)
{
    field_variables(r, node, &((pipeline *)into)->env);
}

static void file_branches(reader *r, const yaml_node *node, void *into)
{
    field_texts(r, node, ITEMS_MAX, TEXT_MAX, &((pipeline *)into)->branches);
}

static void file_supersede(reader *r, const yaml_node *node, void *into)
{
    field_bool(r, node, &((pipeline *)into)->supersede);
}

static void file_jobs(reader *r, const yaml_node *node, void *into)
{
    pipeline *p = into;

    if (node->kind != YAML_MAPPING || node->n == 0) {
        problems_add(r->problems, node->at, "expected jobs by their names");
        return;
    }
    if (node->n > PIPELINE_JOBS_MAX) {
        problems_add(r->problems, node->at, "%zu jobs; at most %d", node->n, PIPELINE_JOBS_MAX);
        return;
    }
    p->texts = ARENA_ARRAY(r->mem, job_text, node->n);
    for (size_t i = 0; i < node->n; i++)
        if (!slice_starts(node->entries[i].key->text, SLICE("x-")))
            read_job(r, &node->entries[i], p);
}

#define FILE_FIELD(key) { #key, file_##key, offsetof(pipeline, at.key) },
static const field file_fields[] = { PIPELINE_KEYS(FILE_FIELD) };

static void check_name(reader *r, map *names, const pipeline_job *job)
{
    bool bad = job->name.n > PIPELINE_NAME_MAX;

    for (size_t i = 0; i < job->name.n; i++)
        bad = bad || (unsigned char)job->name.p[i] < ' ';
    if (bad)
        problems_add(r->problems, job->text->at.matrix,
                     "these values make names that are longer than %d bytes or not one line",
                     PIPELINE_NAME_MAX);
    else if (map_gets(names, job->name))
        problems_add(r->problems, job->text->at.matrix, "two jobs are named '" SLICE_FMT "'",
                     SLICE_ARG(job->name));
    else
        map_puts(names, job->name, (void *)job);
}

static void expand(reader *r, pipeline *p)
{
    map names = { 0 };

    p->jobs = ARENA_ARRAY(r->mem, pipeline_job, PIPELINE_JOBS_MAX);
    for (size_t i = 0; i < p->texts_n; i++) {
        job_text *text = &p->texts[i];
        variables *rows;

        text->first = p->jobs_n;
        text->n = matrix_expand(r, text, PIPELINE_JOBS_MAX - p->jobs_n, &rows);
        for (size_t k = 0; k < text->n; k++) {
            pipeline_job *job = &p->jobs[p->jobs_n++];

            *job = (pipeline_job){ .text = text,
                                   .name = matrix_name(r, text, &rows[k]),
                                   .axes = rows[k] };
            check_name(r, &names, job);
        }
    }
    map_free(&names);
}

const pipeline *pipeline_read(slice text, arena *mem, problems *problems)
{
    reader r = { .mem = mem, .problems = problems };
    const yaml_node *root = yaml_parse(text, mem, problems);
    pipeline *p = ARENA_NEW(mem, pipeline);

    if (!root)
        return NULL;
    fields_read(&r, root, "the file", file_fields, COUNT(file_fields), p);
    if (root->kind == YAML_MAPPING && !p->at.jobs.line)
        problems_add(problems, root->at, "the file wants 'jobs'");
    else if (p->texts_n == 0 && problems->n == 0)
        problems_add(problems, p->at.jobs, "the file has no jobs");
    expand(&r, p);
    needs_resolve(&r, p);
    return problems->n + problems->more ? NULL : p;
}
