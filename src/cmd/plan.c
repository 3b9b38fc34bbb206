#include <stdio.h>

#include "base/cleanup.h"
#include "base/files.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/command.h"
#include "cmd/json.h"
#include "cmd/pipefile.h"
#include "cmd/show.h"
#include "git/refs.h"
#include "git/tree.h"
#include "pipeline/detect.h"
#include "pipeline/yaml.h"

#define SHOWN_MAX 60 /* columns of a script's line */

DEFINE_CLEANUP(refs *, refs_free);
DEFINE_CLEANUP(objects *, objects_free);

/* Where a plan comes from; texts are owned. */
typedef struct origin {
    char *ref;    /* empty: every job */
    commit_id id; /* empty: a file alone, whose tests are not looked for */
} origin;

static void cleanup_origin(origin *o)
{
    free(o->ref);
}

static bool visit(void *ctx, const tree_file *file)
{
    plan *p = ctx;

    return plan_offer(p, slice_of(file->path), file->mode);
}

/* ---- showing ---- */

static void add_list(buf *out, const char *what, slices texts)
{
    if (texts.n)
        buf_addf(out, "%s%s", out->n && out->p[out->n - 1] != '\n' ? "  " : "", what);
    for (size_t i = 0; i < texts.n; i++) {
        buf_adds(out, i ? ", " : " ");
        show_text(out, texts.v[i], 0);
    }
}

/* The first of several lines of commands. */
static void add_commands(buf *out, slice lines)
{
    const char *end = lines.n ? memchr(lines.p, '\n', lines.n) : NULL;

    if (end)
        lines.n = (size_t)(end - lines.p);
    show_text(out, lines, SHOWN_MAX);
    buf_adds(out, end && lines.n <= SHOWN_MAX ? " ..." : "");
}

static void add_tests(buf *out, const pipeline_tests *t)
{
    if (t->retry)
        buf_addf(out, "  retry %llu", (unsigned long long)t->retry);
    if (t->setup.n) {
        buf_adds(out, "\n    after ");
        add_commands(out, t->setup);
    }
}

static void add_means(buf *out, const job_text *text)
{
    add_list(out, "secrets", text->secrets);
    if (text->sandbox == SANDBOX_BWRAP)
        buf_adds(out, "  in a sandbox");
    if (!text->network)
        buf_adds(out, "  without network");
}

/* The first line of a script, or the patterns of tests and how many files they name. */
static void add_work(buf *out, const plan *p, size_t i, bool looked)
{
    const rec_job *job = &p->jobs[i];

    if (job->tests) {
        slice dir = SLICE(DETECT_DIR "/");
        slices patterns = { &dir, 1 };

        if (p->of[i])
            patterns = p->of[i]->text->tests.files;
        for (size_t k = 0; k < patterns.n; k++) {
            show_text(out, patterns.v[k], 0);
            buf_addc(out, ' ');
        }
        if (looked)
            buf_addf(out, "(%zu file%s)", job->files.n, job->files.n == 1 ? "" : "s");
        if (p->of[i])
            add_tests(out, &p->of[i]->text->tests);
    } else {
        add_commands(out, p->of[i]->text->script);
    }
}

static void show(const plan *p, bool looked)
{
    CLEANUP(buf)
    buf out = { 0 };

    for (size_t i = 0; i < p->n; i++) {
        const rec_job *job = &p->jobs[i];

        show_text(&out, job->name, 0);
        add_list(&out, "needs", job->needs);
        add_list(&out, "on", job->labels);
        if (job->concurrency.n) {
            slice group = job->concurrency;

            add_list(&out, "alone in", (slices){ &group, 1 });
        }
        if (p->of[i])
            add_means(&out, p->of[i]->text);
        buf_adds(&out, job->allow_failure ? "  may fail\n    " : "\n    ");
        add_work(&out, p, i, looked);
        buf_addc(&out, '\n');
    }
    if (p->n == 0 && !p->why_none)
        buf_adds(&out,
                 "nothing to run: no " PIPELINE_FILE ", and no tests below " DETECT_DIR "/\n");
    if (p->why_none)
        buf_addf(&out, "nothing to do: %s\n", p->why_none);
    else if (p->left_out.n) {
        add_list(&out, "left out:", p->left_out);
        buf_addc(&out, '\n');
    }
    fwrite(out.p, 1, out.n, stdout);
}

static void add_texts(json_t *object, const char *key, slices texts)
{
    json_t *list = json_array();

    for (size_t i = 0; i < texts.n; i++)
        json_array_append_new(list, json_stringn_nocheck(texts.v[i].p, texts.v[i].n));
    json_object_set_new(object, key, list);
}

static json_t *job_to_json(const plan *p, size_t i)
{
    const wire_table *t = json_list_table(MSG_plan, "jobs");
    const job_text *text = p->of[i] ? p->of[i]->text : NULL;
    rec_job job = p->jobs[i];
    json_t *one;

    job.spec = (slice){ 0 }; /* said in words below */
    one = json_of(t, &job);
    if (!text)
        return one;
    add_texts(one, "secrets", text->secrets);
    if (text->sandbox)
        json_add_bytes(one, "sandbox", slice_of(text->sandbox == SANDBOX_BWRAP ? "bwrap" : "host"));
    json_object_set_new(one, "network", json_boolean(text->network));
    if (job.tests) {
        add_texts(one, "patterns", text->tests.files);
        json_add_bytes(one, "run", text->tests.run);
        if (text->tests.setup.n)
            json_add_bytes(one, "setup", text->tests.setup);
        if (text->tests.retry)
            json_object_set_new(one, "retry", json_integer((json_int_t)text->tests.retry));
    } else {
        json_add_bytes(one, "script", text->script);
    }
    return one;
}

static void show_json(const pipefile *f, const origin *o)
{
    const plan *p = f->plan;
    json_t *all = json_object(), *jobs = json_array();

    if (p->pipeline)
        json_add_bytes(all, "file", slice_of(f->name));
    if (o->ref)
        json_add_bytes(all, "ref", slice_of(o->ref));
    if (*o->id.hex)
        json_add_bytes(all, "oid", slice_of(o->id.hex));
    for (size_t i = 0; i < p->n; i++)
        json_array_append_new(jobs, job_to_json(p, i));
    json_object_set_new(all, "jobs", jobs);
    add_texts(all, "left_out", p->left_out);
    if (p->why_none)
        json_add_bytes(all, "why", slice_of(p->why_none));
    json_print(all);
}

/* ---- where from ---- */

/* The commit and the file of it; the ref, when the commit is HEAD and on a branch. */
static volt_code open_commit(const char *dir, const char *commit, const char *ref, pipefile *f,
                             origin *o, objects **ret, volt_err *err)
{
    CLEANUP(refs_free)
    refs *r = NULL;
    volt_code code = git_setup(err);

    if (!code)
        code = refs_open(dir, &r, err);
    if (!code)
        code = refs_resolve(r, commit, &o->id, err);
    if (code)
        return code;
    if (ref)
        o->ref = strncmp(ref, "refs/", 5) == 0 ? mem_strdup(ref) : mem_printf("refs/heads/%s", ref);
    else if (strcmp(commit, "HEAD") == 0 && refs_default_branch(r, &o->ref, NULL))
        o->ref = NULL; /* detached */
    f->name = PIPELINE_FILE;
    code = objects_open(dir, ret, err);
    if (code)
        return code;
    code = tree_read(*ret, &o->id, PIPELINE_FILE, YAML_BYTES_MAX, &f->text, err);
    if (code != VOLT_ENOTFOUND)
        return code;
    f->plan = plan_detect(&(plan_settings){ 0 }, &f->mem);
    return VOLT_OK;
}

/* What was written is easily taken for what was committed. */
static void note_uncommitted(const char *dir, const pipefile *f)
{
    CLEANUP(free)
    char *path = mem_printf("%s/" PIPELINE_FILE, dir);
    CLEANUP(buf)
    buf text = { 0 };

    if (files_read(path, YAML_BYTES_MAX, &text, NULL) == VOLT_OK &&
        !slice_eq(buf_slice(&text), buf_slice(&f->text)))
        log_note("the " PIPELINE_FILE " of the working tree is not that of HEAD, which is planned; "
                 "commit it to have it used");
}

static exit_code run(const command_line *line)
{
    CLEANUP(pipefile)
    pipefile f = { 0 };
    CLEANUP(origin)
    origin o = { 0 };
    CLEANUP(objects_free)
    objects *store = NULL;
    const char *const *args;
    size_t n = command_args(line, &args);
    const char *from = pipefile_top(&f, n ? args[0] : "."), *ref = command_text(line, "ref");
    volt_err err;
    volt_code code;

    if (pipefile_is_dir(from))
        code = open_commit(from, n > 1 ? args[1] : "HEAD", ref, &f, &o, &store, &err);
    else
        code = pipefile_open(&f, from, &err);
    if (code)
        return command_fail(line, &err);
    if (store && n < 2)
        note_uncommitted(from, &f);
    if (ref && !o.ref)
        o.ref = strncmp(ref, "refs/", 5) == 0 ? mem_strdup(ref) : mem_printf("refs/heads/%s", ref);
    if (!f.plan && !pipefile_plan(&f, &(plan_settings){ .ref = slice_of(o.ref) })) {
        pipefile_say(&f, stderr);
        return EXIT_USAGE;
    }
    if (store && plan_root(f.plan))
        code = tree_walk(store, &o.id, plan_root(f.plan), visit, f.plan, &err);
    if (!code)
        code = plan_end(f.plan, &err);
    if (code)
        return command_fail(line, &err);
    if (command_flag(line, "json"))
        show_json(&f, &o);
    else
        show(f.plan, store != NULL);
    return EXIT_DONE;
}

static const option_spec options[] = {
    { .name = "ref",
      .kind = OPTION_TEXT,
      .arg = "REF",
      .help = "the branch or tag to plan for; default: HEAD's branch for HEAD, else all jobs",
      .no_env = true },
    OPTION_JSON,
};

const command command_plan = {
    .name = "plan",
    .args = "[REPO [COMMIT] | FILE]",
    .args_max = 2,
    .summary = "show the jobs that a pipeline file makes",
    .text = "REPO is a repository on this machine (default: the one that the current directory is "
            "in), whose COMMIT (default: HEAD) is planned as a runner would, test files counted; "
            "of a FILE alone they are not known. Without .volt.yml that is what is below the "
            "directory tests.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = run,
};
