#include "pipeline/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/mem.h"

#define FILE_MODE      0100644u
#define EXEC_MODE      0100755u
#define SUBMODULE_MODE 0160000u

typedef struct made {
    arena mem;
    problems problems;
    plan *plan;
} made;

static made *make(const char *text, const char *ref)
{
    made *m = NEW(made);
    const pipeline *p;

    m->problems.mem = &m->mem;
    p = pipeline_read(slice_of(text), &m->mem, &m->problems);
    if (p)
        m->plan = plan_make(p, &(plan_settings){ .ref = slice_of(ref), .timeout_ms = 600000 },
                            &m->mem, &m->problems);
    assert_true((m->plan == NULL) == (m->problems.n > 0));
    return m;
}

static void made_free(made *m)
{
    arena_free(&m->mem);
    free(m);
}

static const plan *good(const made *m)
{
    if (!m->plan)
        fail_msg("%s", m->problems.v[0].text);
    return m->plan;
}

static void names(slices s, buf *out)
{
    for (size_t i = 0; i < s.n; i++)
        buf_addf(out, "%s" SLICE_FMT, i ? " " : "", SLICE_ARG(s.v[i]));
}

static void assert_jobs(const plan *p, const char *want)
{
    CLEANUP(buf)
    buf b = { 0 };

    for (size_t i = 0; i < p->n; i++)
        buf_addf(&b, "%s" SLICE_FMT, i ? " " : "", SLICE_ARG(p->jobs[i].name));
    if (p->left_out.n)
        buf_adds(&b, " - ");
    names(p->left_out, &b);
    assert_string_equal(buf_str(&b), want);
}

static void assert_slice(slice s, const char *want)
{
    if (!slice_is(s, want))
        fail_msg("'" SLICE_FMT "' is not '%s'", SLICE_ARG(s), want);
}

/* ---- which jobs ---- */

static void check_ref(const char *text, const char *ref, const char *want, const char *why)
{
    made *m = make(text, ref);

    assert_jobs(good(m), want);
    if (why)
        assert_string_equal(m->plan->why_none, why);
    else
        assert_null(m->plan->why_none);
    made_free(m);
}

static void branches_choose_jobs(void **state)
{
    static const char file[] = "branches: [main, \"release/*\"]\njobs:\n  a: {script: x}\n"
                               "  d: {script: x, branches: main, needs: b}\n"
                               "  b: {script: x, branches: release/*, needs: a}\n"
                               "  c: {script: x, needs: [a, d]}\n";

    (void)state;
    check_ref(file, "refs/heads/main", "a - d b c", NULL);
    check_ref(file, "refs/heads/release/1", "a b - d c", NULL);
    check_ref(file, "refs/heads/release/1/2", " - a d b c",
              "'branches' of .volt.yml do not name refs/heads/release/1/2");
    check_ref(file, "refs/tags/main", " - a d b c",
              "'branches' of .volt.yml do not name refs/tags/main");
    check_ref(file, "", "a d b c", NULL);
    check_ref("jobs:\n  a: {script: x, branches: main}\n", "refs/heads/dev", " - a",
              "no job of .volt.yml is for refs/heads/dev");
}

static void records_say_what_the_file_says(void **state)
{
    made *m = make("jobs:\n  a: {script: x}\n"
                   "  b: {script: y, needs: a, labels: [gpu], timeout: 90s, retry: 3, "
                   "allow_failure: true, priority: 7}\n"
                   "  t: {tests: {files: t*, run: \"x {}\", batch: 5}}\n",
                   "refs/heads/main");
    const plan *p = good(m);

    (void)state;
    assert_int_equal(p->jobs[0].timeout_ms, 600000);
    assert_false(p->jobs[0].tests);
    assert_slice(p->jobs[1].needs.v[0], "a");
    assert_slice(p->jobs[1].labels.v[0], "gpu");
    assert_int_equal(p->jobs[1].timeout_ms, 90000);
    assert_int_equal(p->jobs[1].retry, 3);
    assert_int_equal(p->jobs[1].priority, 7);
    assert_true(p->jobs[1].allow_failure);
    assert_true(p->jobs[2].tests);
    assert_int_equal(p->jobs[2].batch, 5);
    made_free(m);
}

/* ---- how they are run ---- */

static void assert_env(const msg_spec *spec, const char *want)
{
    CLEANUP(buf)
    buf b = { 0 };

    for (size_t i = 0; i < spec->env.n; i++)
        buf_addf(&b, "%s" SLICE_FMT "=" SLICE_FMT, i ? " " : "", SLICE_ARG(spec->env.v[i].name),
                 SLICE_ARG(spec->env.v[i].value));
    assert_string_equal(buf_str(&b), want);
}

static void specs_are_read_as_they_were_written(void **state)
{
    made *m = make("env: {A: 1, B: 2, C: }\njobs:\n"
                   "  s: {script: [one, two], env: {B: 3, D: \"x y\"}, matrix: {D: [4], E: [5]}}\n"
                   "  t: {tests: {files: t*, run: \"x {}\"}}\n"
                   "  u: {tests: {files: t*, run: \"x {}\", setup: [a, b], retry: 2}}\n"
                   "  v: {tests: {files: t*, run: \"x {}\", retry: 1}}\n"
                   "  w: {script: x, artifacts: [out/**, \"*.log\"]}\n",
                   "refs/heads/main");
    const plan *p = good(m);
    msg_spec spec;

    (void)state;
    assert_int_equal(plan_spec_read(p->jobs[0].spec, &m->mem, &spec, NULL), VOLT_OK);
    assert_slice(spec.script, "one\ntwo");
    assert_slice(spec.run, "");
    assert_env(&spec, "A=1 B=3 C= D=4 E=5");
    assert_int_equal(spec.level, 1); /* older runners can do it */
    assert_false(p->jobs[0].artifacts);
    assert_int_equal(plan_spec_read(p->jobs[1].spec, &m->mem, &spec, NULL), VOLT_OK);
    assert_slice(spec.script, "");
    assert_slice(spec.run, "x {}");
    assert_env(&spec, "A=1 B=2 C=");
    assert_int_equal(spec.level, 1); /* older runners can do that */
    assert_int_equal(plan_spec_read(p->jobs[2].spec, &m->mem, &spec, NULL), VOLT_OK);
    assert_slice(spec.setup, "a\nb");
    assert_int_equal(spec.retry, 2);
    assert_int_equal(spec.level, 2);
    assert_int_equal(plan_spec_read(p->jobs[3].spec, &m->mem, &spec, NULL), VOLT_OK);
    assert_int_equal(spec.level, 2);
    assert_int_equal(plan_spec_read(p->jobs[4].spec, &m->mem, &spec, NULL), VOLT_OK);
    assert_int_equal(spec.level, 2);
    assert_int_equal(spec.artifacts.n, 2);
    assert_slice(spec.artifacts.v[1], "*.log");
    assert_true(p->jobs[4].artifacts);
    made_free(m);
}

/* The spec of the one job that these keys make. */
static msg_spec spec_of(const char *keys, arena *mem)
{
    CLEANUP(free)
    char *text = mem_printf("jobs:\n  t: {script: x%s}\n", keys);
    made *m = make(text, "");
    msg_spec spec;

    assert_int_equal(plan_spec_read(arena_slice(mem, good(m)->jobs[0].spec), mem, &spec, NULL),
                     VOLT_OK);
    made_free(m);
    return spec;
}

static void a_spec_asks_for_what_its_job_needs(void **state)
{
    CLEANUP(arena)
    arena mem = { 0 };
    msg_spec spec = spec_of("", &mem);

    (void)state;
    assert_true(spec.level == 1 && !spec.secrets.n && !spec.sandbox && !spec.network_off);
    spec = spec_of(", sandbox: host, network: true", &mem);
    assert_true(spec.level == 1 && spec.sandbox == SANDBOX_KIND_HOST && !spec.network_off);
    spec = spec_of(", sandbox: bwrap", &mem);
    assert_true(spec.level == 2 && spec.sandbox == SANDBOX_KIND_BWRAP);
    spec = spec_of(", network: false", &mem);
    assert_true(spec.level == 2 && spec.network_off);
    spec = spec_of(", secrets: [KEY, TOKEN]", &mem);
    assert_true(spec.level == 2 && spec.secrets.n == 2);
    assert_slice(spec.secrets.v[0], "KEY");
    assert_slice(spec.secrets.v[1], "TOKEN");
}

static void a_spec_says_what_is_kept_and_the_least_level_for_it(void **state)
{
    made *m = make("jobs:\n"
                   "  a: {script: x, cache: {key: [a, b], paths: [c, ~/d]}}\n"
                   "  b: {script: x, home: kept}\n"
                   "  c: {script: x, submodules: true}\n"
                   "  d: {script: x, home: scratch, submodules: false}\n",
                   "");
    const plan *p = good(m);
    msg_spec spec[4];

    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(plan_spec_read(p->jobs[i].spec, &m->mem, &spec[i], NULL), VOLT_OK);
    assert_int_equal(spec[0].level, 2);
    assert_int_equal(spec[0].cache_key.n, 2);
    assert_slice(spec[0].cache_key.v[1], "b");
    assert_int_equal(spec[0].cache_paths.n, 2);
    assert_slice(spec[0].cache_paths.v[1], "~/d");
    assert_true(spec[1].level == 2 && spec[1].home_kept && !spec[1].submodules);
    assert_true(spec[2].level == 2 && spec[2].submodules && !spec[2].home_kept);
    assert_true(spec[3].level == 1 && !spec[3].home_kept && !spec[3].submodules);
    made_free(m);
}

static void bad_specs_are_refused(void **state)
{
    CLEANUP(arena)
    arena mem = { 0 };
    CLEANUP(buf)
    buf spec = { 0 };
    slice outside = SLICE("~/../x");
    msg_spec got;
    volt_err err;

    (void)state;
    assert_int_equal(plan_spec_read(SLICE("make"), &mem, &got, &err), VOLT_EMSG);
    plan_spec_write(&(msg_spec){ .script = SLICE("a\0b") }, &spec);
    assert_int_equal(plan_spec_read(buf_slice(&spec), &mem, &got, &err), VOLT_EINVALID);
    buf_clear(&spec);
    plan_spec_write(&(msg_spec){ .run = SLICE("x"), .setup = SLICE("a\0b") }, &spec);
    assert_int_equal(plan_spec_read(buf_slice(&spec), &mem, &got, &err), VOLT_EINVALID);
    buf_clear(&spec);
    plan_spec_write(&(msg_spec){ .cache_paths = { &outside, 1 } }, &spec);
    assert_int_equal(plan_spec_read(buf_slice(&spec), &mem, &got, &err), VOLT_EINVALID);
    /* {"v": 1, "t": "spec", "level": 3} */
    assert_int_equal(
        plan_spec_read(SLICE("\x83\xa1v\x01\xa1t\xa4spec\xa5level\x03"), &mem, &got, &err),
        VOLT_EVERSION);
    assert_string_equal(err.msg, "this runner knows specs up to level 2, not 3; it is older than "
                                 "the one that planned");
    assert_int_equal(
        plan_spec_read(SLICE("\x83\xa1v\x01\xa1t\xa3mode\xa4mode\xa3run"), &mem, &got, &err),
        VOLT_EMSG);
}

static void a_spec_is_bounded(void **state)
{
    CLEANUP(buf)
    buf text = { 0 };
    made *m;

    (void)state;
    buf_adds(&text, "jobs:\n  a:\n    script: |\n      ");
    for (int i = 0; i < 32600; i++)
        buf_addc(&text, 'x');
    buf_addc(&text, '\n');
    m = make(buf_str(&text), "");
    assert_true(good(m)->jobs[0].spec.n <= PLAN_SPEC_MAX);
    made_free(m);
    buf_adds(&text, "    env:\n      A: ");
    for (int i = 0; i < 200; i++)
        buf_addc(&text, 'y');
    buf_addc(&text, '\n');
    m = make(buf_str(&text), "");
    assert_int_equal(m->problems.n, 1);
    assert_non_null(strstr(m->problems.v[0].text, "the commands and variables of job 'a' take 32"));
    assert_int_equal(m->problems.v[0].at.line, 2);
    made_free(m);
}

static bool superseding(const char *ref, const char *default_branch)
{
    arena mem = { 0 };
    problems problems = { .mem = &mem };
    const pipeline *p =
        pipeline_read(SLICE("supersede: true\njobs: {t: {script: x}}\n"), &mem, &problems);
    const plan *made = plan_make(
        p, &(plan_settings){ .ref = slice_of(ref), .default_branch = slice_of(default_branch) },
        &mem, &problems);
    bool supersede;

    assert_non_null(made);
    supersede = made->supersede;
    arena_free(&mem);
    return supersede;
}

static void only_branches_but_the_default_one_supersede(void **state)
{
    (void)state;
    assert_true(superseding("refs/heads/topic", "main"));
    assert_true(superseding("refs/heads/topic", "refs/heads/main"));
    assert_true(superseding("refs/heads/topic", ""));
    assert_false(superseding("refs/heads/main", "main"));
    assert_false(superseding("refs/heads/main", "refs/heads/main"));
    assert_false(superseding("refs/tags/v1", "main"));
    assert_false(superseding("", "main"));
}

static void a_group_is_said_in_the_record_and_in_the_spec(void **state)
{
    made *m = make("jobs:\n  a: {script: x, concurrency: deploy}\n  b: {script: x}\n", "");
    const plan *p = good(m);
    msg_spec spec;

    (void)state;
    assert_slice(p->jobs[0].concurrency, "deploy");
    assert_int_equal(plan_spec_read(p->jobs[0].spec, &m->mem, &spec, NULL), VOLT_OK);
    assert_true(spec.alone);
    assert_int_equal(spec.level, 2); /* an older runner would not end it in time */
    assert_slice(p->jobs[1].concurrency, "");
    assert_int_equal(plan_spec_read(p->jobs[1].spec, &m->mem, &spec, NULL), VOLT_OK);
    assert_false(spec.alone);
    assert_int_equal(spec.level, 1);
    made_free(m);
}

static void a_group_keeps_apart_what_ends_with_its_batch_only(void **state)
{
    made *m =
        make("jobs:\n  a: {tests: {files: t*, run: \"x {}\", setup: y}, concurrency: db}\n", "");

    (void)state;
    assert_int_equal(m->problems.n, 1);
    assert_non_null(strstr(m->problems.v[0].text, "what 'setup' starts lives on"));
    made_free(m);
}

/* ---- what cannot be done yet ---- */

static void what_the_file_may_ask_is_done(void **state)
{
    static const char *const keys[] = {
        "script: x, concurrency: a",
        "script: x, always: true",
        "script: x, submodules: true",
        "script: x, home: kept",
        "script: x, artifacts: a",
        "script: x, cache: {key: a, paths: b}",
        "script: x, retry: 1",
        "tests: {files: a, run: \"{}\", setup: make}",
        "tests: {files: a, run: \"{}\", report: tap}",
        "tests: {files: a, run: \"{}\", report: \"junit:a\"}",
        "tests: {files: a, run: \"{}\", retry: 1}",
        "tests: {files: a, run: \"{}\"}, retry: 0",
    };

    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        CLEANUP(free)
        char *text = mem_printf("jobs:\n  t: {%s}\n", keys[i]);
        made *m = make(text, "");

        good(m);
        made_free(m);
    }
}

static void a_job_with_tests_is_retried_by_its_files(void **state)
{
    made *m = make("jobs:\n  t: {tests: {files: a, run: \"{}\"}, retry: 1}\n", "");

    (void)state;
    assert_int_equal(m->problems.n, 1);
    assert_string_equal(m->problems.v[0].text, "a job with tests runs again file by file: 'retry' "
                                               "belongs into its 'tests'");
    made_free(m);
}

static void a_container_is_refused(void **state)
{
    made *m = make("jobs:\n  t: {script: x, sandbox: container, image: a}\n", "");

    (void)state;
    assert_int_equal(m->problems.n, 1);
    assert_string_equal(m->problems.v[0].text,
                        "Volt starts no containers yet; its sandboxes are 'host' and 'bwrap'");
    made_free(m);
}

/* ---- files ---- */

static void offer(plan *p, const char *path, uint32_t mode)
{
    assert_true(plan_offer(p, slice_of(path), mode));
}

static void assert_files(const rec_job *job, const char *want)
{
    CLEANUP(buf)
    buf b = { 0 };

    names(job->files, &b);
    assert_string_equal(buf_str(&b), want);
}

static void files_go_to_the_jobs_that_name_them(void **state)
{
    made *m = make("jobs:\n"
                   "  a: {tests: {files: [\"t/**/*.py\", \"t/*.sh\"], run: \"{}\"}}\n"
                   "  s: {script: x}\n"
                   "  b: {tests: {files: t, run: \"{}\"}, matrix: {A: [1, 2]}}\n"
                   "  c: {tests: {files: nowhere, run: \"{}\"}}\n",
                   "");
    plan *p = m->plan;

    (void)state;
    good(m);
    assert_string_equal(plan_root(p), "");
    offer(p, "a.py", FILE_MODE);
    offer(p, "t/a.py", FILE_MODE);
    offer(p, "t/b.sh", EXEC_MODE);
    offer(p, "t/d/c.py", FILE_MODE);
    offer(p, "t/d/d.sh", FILE_MODE);
    offer(p, "t/sub", SUBMODULE_MODE);
    assert_int_equal(plan_end(p, NULL), VOLT_OK);
    assert_files(&p->jobs[0], "t/a.py t/b.sh t/d/c.py");
    assert_files(&p->jobs[1], "");
    assert_files(&p->jobs[2], "t/a.py t/b.sh t/d/c.py t/d/d.sh");
    assert_files(&p->jobs[3], "t/a.py t/b.sh t/d/c.py t/d/d.sh");
    assert_files(&p->jobs[4], "");
    assert_int_equal(p->units, 11);
    made_free(m);
}

static void files_are_bounded_over_all_jobs(void **state)
{
    made *m = make("jobs:\n  a: {tests: {files: \"**\", run: \"{}\"}, matrix: {A: [1, 2]}}\n", "");
    volt_err err;

    (void)state;
    good(m);
    for (int i = 0; i < PLAN_FILES_MAX / 2; i++)
        assert_true(plan_offer(m->plan, SLICE("x"), FILE_MODE));
    assert_int_equal(plan_end(m->plan, &err), VOLT_OK);
    assert_false(plan_offer(m->plan, SLICE("x"), FILE_MODE));
    assert_int_equal(plan_end(m->plan, &err), VOLT_EFULL);
    made_free(m);
}

static void scripts_want_no_files(void **state)
{
    made *m = make("jobs:\n  a: {script: x}\n  b: {tests: {files: a, run: \"{}\"}, branches: m}\n",
                   "refs/heads/dev");

    (void)state;
    assert_null(plan_root(good(m)));
    assert_int_equal(plan_end(m->plan, NULL), VOLT_OK);
    made_free(m);
}

static void without_a_file_the_directory_tests_is_run(void **state)
{
    CLEANUP(arena)
    arena mem = { 0 };
    plan *p = plan_detect(&(plan_settings){ .timeout_ms = 5, .batch = 3 }, &mem);

    (void)state;
    assert_string_equal(plan_root(p), "tests");
    offer(p, "tests/test_a.py", FILE_MODE);
    offer(p, "tests/helper.py", FILE_MODE);
    offer(p, "tests/run", EXEC_MODE);
    assert_int_equal(plan_end(p, NULL), VOLT_OK);
    assert_int_equal(p->n, 1);
    assert_slice(p->jobs->name, "tests");
    assert_int_equal(p->jobs->timeout_ms, 5);
    assert_int_equal(p->jobs->batch, 3);
    assert_int_equal(p->jobs->spec.n, 0);
    assert_files(p->jobs, "tests/test_a.py tests/run");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(branches_choose_jobs),
        cmocka_unit_test(records_say_what_the_file_says),
        cmocka_unit_test(specs_are_read_as_they_were_written),
        cmocka_unit_test(a_spec_asks_for_what_its_job_needs),
        cmocka_unit_test(a_spec_says_what_is_kept_and_the_least_level_for_it),
        cmocka_unit_test(bad_specs_are_refused),
        cmocka_unit_test(a_spec_is_bounded),
        cmocka_unit_test(only_branches_but_the_default_one_supersede),
        cmocka_unit_test(a_group_is_said_in_the_record_and_in_the_spec),
        cmocka_unit_test(a_group_keeps_apart_what_ends_with_its_batch_only),
        cmocka_unit_test(what_the_file_may_ask_is_done),
        cmocka_unit_test(a_job_with_tests_is_retried_by_its_files),
        cmocka_unit_test(a_container_is_refused),
        cmocka_unit_test(files_go_to_the_jobs_that_name_them),
        cmocka_unit_test(files_are_bounded_over_all_jobs),
        cmocka_unit_test(scripts_want_no_files),
        cmocka_unit_test(without_a_file_the_directory_tests_is_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
