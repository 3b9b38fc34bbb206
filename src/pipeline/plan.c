#include "pipeline/plan.h"

#include "base/cleanup.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "pipeline/detect.h"
#include "pipeline/glob.h"
#include "wire/codec.h"

#define BRANCHES       "refs/heads/"
#define MODE_SUBMODULE 0160000u

/* ---- specs ---- */

/* What its fields need, so that an older runner takes what it can run. */
static uint64_t level_of(const msg_spec *spec)
{
    bool new = spec->setup.n || spec->retry || spec->secrets.n || spec->report || spec->alone ||
               spec->artifacts.n || spec->cache_paths.n || spec->home_kept || spec->submodules ||
               spec->network_off || spec->sandbox == SANDBOX_KIND_BWRAP;

    return new ? 2 : 1;
}

void plan_spec_write(const msg_spec *spec, buf *out)
{
    msg m = { .type = MSG_spec, .spec = *spec };

    m.spec.level = level_of(spec);
    wire_encode(&m, out);
}

static bool has_nul(slice s)
{
    return s.n && memchr(s.p, '\0', s.n);
}

volt_code plan_spec_read(slice spec, arena *mem, msg_spec *ret, volt_err *err)
{
    msg m;
    volt_code code = wire_decode(spec, mem, &m, err);

    if (code)
        return code;
    if (m.type != MSG_spec)
        return volt_fail(err, VOLT_EMSG, "'%s' is no spec", msg_type_text(m.type));
    if (m.spec.level > PLAN_SPEC_LEVEL)
        return volt_fail(err, VOLT_EVERSION,
                         "this runner knows specs up to level %d, not %llu; it is older than the "
                         "one that planned",
                         PLAN_SPEC_LEVEL, (unsigned long long)m.spec.level);
    if (has_nul(m.spec.script) || has_nul(m.spec.run) || has_nul(m.spec.setup))
        return volt_fail(err, VOLT_EINVALID, "commands hold a NUL byte");
    if (m.spec.report == REPORT_JUNIT && glob_check(m.spec.report_files, err))
        return VOLT_EINVALID;
    for (size_t i = 0; i < m.spec.artifacts.n; i++) /* they become a process's arguments, ... */
        if (glob_check(m.spec.artifacts.v[i], err))
            return VOLT_EINVALID;
    for (size_t i = 0; i < m.spec.cache_paths.n; i++) /* ... and so do these */
        if (pipeline_cache_path_check(m.spec.cache_paths.v[i], err))
            return VOLT_EINVALID;
    *ret = m.spec;
    return VOLT_OK;
}

/* ---- what cannot be done yet ---- */

static void check_tests(problems *p, const job_text *job)
{
    if (!job->at.tests.line)
        return;
    if (job->tests.setup.n && job->concurrency.n)
        problems_add(p, job->at.concurrency,
                     "what 'setup' starts lives on between batches, so it cannot be kept apart by "
                     "'concurrency'");
    if (job->retry > 0)
        problems_add(p, job->at.retry,
                     "a job with tests runs again file by file: 'retry' belongs into its 'tests'");
}

static void check_able(problems *p, const pipeline *file)
{
    for (size_t i = 0; i < file->texts_n; i++) {
        const job_text *job = &file->texts[i];

        check_tests(p, job);
        if (job->sandbox == SANDBOX_CONTAINER)
            problems_add(p, job->at.sandbox,
                         "Volt starts no containers yet; its sandboxes are 'host' and 'bwrap'");
    }
}

/* ---- jobs ---- */

static bool fits(slices branches, slice ref)
{
    const slice heads = SLICE(BRANCHES);
    CLEANUP(free)
    char *branch = NULL;

    if (!branches.n || !ref.n)
        return true;
    if (!slice_starts(ref, heads))
        return false;
    branch = mem_strndup(ref.p + heads.n, ref.n - heads.n);
    for (size_t i = 0; i < branches.n; i++)
        if (text_glob(branches.v[i].p, branch))
            return true;
    return false;
}

/* Each commit of the default branch is somebody's release. */
static bool supersedes(const pipeline *file, const plan_settings *settings)
{
    const slice heads = SLICE(BRANCHES);
    slice branch = settings->ref;

    if (!file->supersede || !slice_starts(branch, heads))
        return false;
    if (!slice_starts(settings->default_branch, heads))
        branch = (slice){ branch.p + heads.n, branch.n - heads.n };
    return !slice_eq(branch, settings->default_branch);
}

/* Adds variables; one of that name that is there already gets the new value. */
static void add_variables(rec_var *v, size_t *n, const variables *more)
{
    for (size_t i = 0; i < more->n; i++) {
        size_t at = 0;

        while (at < *n && !slice_eq(v[at].name, more->v[i].name))
            at++;
        v[at] = (rec_var){ more->v[i].name, more->v[i].value };
        *n += at == *n;
    }
}

static sandbox_kind sandbox_of(const job_text *job)
{
    return job->sandbox == SANDBOX_HOST    ? SANDBOX_KIND_HOST
           : job->sandbox == SANDBOX_BWRAP ? SANDBOX_KIND_BWRAP
                                           : sandbox_kind_none;
}

static slice make_spec(plan *p, const pipeline_job *job)
{
    const variables *env = &p->pipeline->env, *own = &job->text->env;
    CLEANUP(buf)
    buf out = { 0 };
    const pipeline_tests *tests = &job->text->tests;
    const pipeline_cache *cache = &job->text->cache;
    msg_spec spec = { .script = job->text->script,
                      .run = tests->run,
                      .setup = tests->setup,
                      .retry = tests->retry,
                      .secrets = job->text->secrets,
                      .sandbox = sandbox_of(job->text),
                      .network_off = !job->text->network,
                      .report = tests->report,
                      .report_files = tests->report_files,
                      .alone = job->text->concurrency.n > 0,
                      .artifacts = job->text->artifacts,
                      .cache_key = cache->key,
                      .cache_paths = cache->paths,
                      .home_kept = job->text->home == HOME_KEPT,
                      .submodules = job->text->submodules };

    spec.env.v = ARENA_ARRAY(p->mem, rec_var, env->n + own->n + job->axes.n);
    add_variables(spec.env.v, &spec.env.n, env);
    add_variables(spec.env.v, &spec.env.n, own);
    add_variables(spec.env.v, &spec.env.n, &job->axes);
    plan_spec_write(&spec, &out);
    return arena_slice(p->mem, buf_slice(&out));
}

static rec_job make_job(plan *p, const pipeline_job *job, const plan_settings *settings,
                        problems *problems)
{
    const job_text *text = job->text;
    rec_job rec = { .name = job->name,
                    .needs = job->needs,
                    .labels = text->labels,
                    .priority = text->priority,
                    .timeout_ms = text->timeout_ms ? text->timeout_ms : settings->timeout_ms,
                    .retry = text->retry,
                    .allow_failure = text->allow_failure,
                    .always = text->always,
                    .concurrency = text->concurrency,
                    .tests = text->at.tests.line > 0,
                    .batch = text->tests.batch,
                    .artifacts = text->artifacts.n > 0,
                    .spec = make_spec(p, job) };

    if (rec.spec.n > PLAN_SPEC_MAX)
        problems_add(problems, text->where,
                     "the commands and variables of job '" SLICE_FMT "' take %zu bytes; at most %d",
                     SLICE_ARG(job->name), rec.spec.n, PLAN_SPEC_MAX);
    return rec;
}

/* Job names whose job is left out: not for this ref, or in need of one that is left out.  Needs may
 * stand in any order, so this is repeated until nothing changes. */
static void leave_out(plan *p, slice ref, map *out)
{
    const pipeline *file = p->pipeline;
    bool changed = true;

    for (size_t i = 0; i < file->jobs_n; i++)
        if (!fits(file->jobs[i].text->branches, ref))
            map_puts(out, file->jobs[i].name, (void *)&file->jobs[i]);
    while (changed && out->n > 0) {
        changed = false;
        for (size_t i = 0; i < file->jobs_n; i++) {
            const pipeline_job *job = &file->jobs[i];

            for (size_t k = 0; k < job->needs.n && !map_gets(out, job->name); k++)
                if (map_gets(out, job->needs.v[k])) {
                    map_puts(out, job->name, (void *)job);
                    changed = true;
                }
        }
    }
}

static void want_files(plan *p, const job_text *text)
{
    if (p->files_n == 0 || p->files[p->files_n - 1].text != text)
        p->files[p->files_n++] = (plan_files){ .text = text };
    p->files[p->files_n - 1].jobs++;
}

plan *plan_make(const pipeline *file, const plan_settings *settings, arena *mem, problems *problems)
{
    plan *p = ARENA_NEW(mem, plan);
    bool build_fits = fits(file->branches, settings->ref);
    size_t before = problems->n + problems->more;
    map out = { 0 };

    p->mem = mem;
    p->pipeline = file;
    p->jobs = ARENA_ARRAY(mem, rec_job, file->jobs_n);
    p->of = ARENA_ARRAY(mem, const pipeline_job *, file->jobs_n);
    p->files = ARENA_ARRAY(mem, plan_files, file->texts_n);
    p->left_out.v = ARENA_ARRAY(mem, slice, file->jobs_n);
    p->supersede = supersedes(file, settings);
    check_able(problems, file);
    leave_out(p, settings->ref, &out);
    for (size_t i = 0; i < file->jobs_n; i++) {
        const pipeline_job *job = &file->jobs[i];
        rec_job rec = make_job(p, job, settings, problems);

        if (!build_fits || map_gets(&out, job->name)) {
            p->left_out.v[p->left_out.n++] = job->name;
            continue;
        }
        if (rec.tests)
            want_files(p, job->text);
        p->of[p->n] = job;
        p->jobs[p->n++] = rec;
    }
    map_free(&out);
    if (!build_fits)
        p->why_none = arena_printf(mem, "'branches' of " PIPELINE_FILE " do not name " SLICE_FMT,
                                   SLICE_ARG(settings->ref));
    else if (p->n == 0)
        p->why_none = arena_printf(mem, "no job of " PIPELINE_FILE " is for " SLICE_FMT,
                                   SLICE_ARG(settings->ref));
    return problems->n + problems->more > before ? NULL : p;
}

plan *plan_detect(const plan_settings *settings, arena *mem)
{
    plan *p = ARENA_NEW(mem, plan);

    p->mem = mem;
    p->jobs = ARENA_NEW(mem, rec_job);
    p->of = ARENA_NEW(mem, const pipeline_job *);
    p->files = ARENA_NEW(mem, plan_files);
    *p->jobs = (rec_job){ .name = SLICE(DETECT_JOB),
                          .tests = true,
                          .timeout_ms = settings->timeout_ms,
                          .batch = settings->batch };
    p->n = p->files_n = p->files->jobs = 1;
    return p;
}

/* ---- files ---- */

const char *plan_root(const plan *p)
{
    if (!p->pipeline)
        return DETECT_DIR;
    return p->files_n ? "" : NULL;
}

static bool is_full(const plan *p)
{
    return p->units > PLAN_FILES_MAX || p->bytes > PLAN_BYTES_MAX;
}

static bool wants(const plan_files *f, slice path, uint32_t mode)
{
    if (!f->text)
        return detect_file(path, mode) != DETECT_NONE;
    if (mode == MODE_SUBMODULE)
        return false;
    for (size_t i = 0; i < f->text->tests.files.n; i++)
        if (glob_match(f->text->tests.files.v[i], path))
            return true;
    return false;
}

static void add_path(plan *p, plan_files *f, slice path)
{
    if (f->paths.n == f->cap) {
        slice *old = f->paths.v;

        f->cap = f->cap ? 2 * f->cap : 64;
        f->paths.v = ARENA_ARRAY(p->mem, slice, f->cap);
        if (old)
            memcpy(f->paths.v, old, f->paths.n * sizeof *old);
    }
    f->paths.v[f->paths.n++] = path;
    p->units += f->jobs;
    p->bytes += f->jobs * (path.n + sizeof path);
}

bool plan_offer(plan *p, slice path, uint32_t mode)
{
    slice kept = { 0 };

    for (size_t i = 0; i < p->files_n && !is_full(p); i++) {
        if (!wants(&p->files[i], path, mode))
            continue;
        if (!kept.p)
            kept = arena_slice(p->mem, path);
        add_path(p, &p->files[i], kept);
    }
    return !is_full(p);
}

volt_code plan_end(plan *p, volt_err *err)
{
    size_t at = 0;

    if (is_full(p))
        return volt_fail(err, VOLT_EFULL,
                         "the plan is too large: at most %d test files and %zu MiB of their names "
                         "in all jobs",
                         PLAN_FILES_MAX, PLAN_BYTES_MAX >> 20);
    if (!p->pipeline && p->units == 0)
        p->n = 0;
    for (size_t i = 0; i < p->n; i++) {
        const job_text *text = p->of[i] ? p->of[i]->text : NULL;

        if (!p->jobs[i].tests)
            continue;
        while (p->files[at].text != text)
            at++;
        p->jobs[i].files = p->files[at].paths;
    }
    return VOLT_OK;
}
