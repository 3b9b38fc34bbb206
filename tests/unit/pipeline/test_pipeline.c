#include "pipeline/pipeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/cleanup.h"

typedef struct file {
    arena mem;
    problems problems;
    const pipeline *p;
} file;

static file *read_file(const char *text)
{
    file *f = calloc(1, sizeof *f);

    assert_non_null(f);
    f->problems.mem = &f->mem;
    f->p = pipeline_read(slice_of(text), &f->mem, &f->problems);
    assert_true((f->p == NULL) == (f->problems.n > 0));
    return f;
}

static void file_free(file *f)
{
    arena_free(&f->mem);
    free(f);
}

static const pipeline *good(file *f)
{
    if (!f->p)
        fail_msg("%s", f->problems.v[0].text);
    return f->p;
}

static void assert_slice(slice s, const char *want)
{
    CLEANUP(buf)
    buf b = { 0 };

    buf_add_slice(&b, s);
    assert_string_equal(buf_str(&b), want);
}

static void assert_slices(slices s, const char *want)
{
    CLEANUP(buf)
    buf b = { 0 };

    for (size_t i = 0; i < s.n; i++)
        buf_addf(&b, "%s" SLICE_FMT, i ? " " : "", SLICE_ARG(s.v[i]));
    assert_string_equal(buf_str(&b), want);
}

/* ---- good files ---- */

static void reads_every_key(void **state)
{
    file *f = read_file("env: {A: no, B: 3.10, C: }\n"
                        "branches: [main, \"release/*\"]\n"
                        "supersede: true\n"
                        "x-own: {anything: [goes]}\n"
                        "jobs:\n"
                        "  x-base: &base {labels: [linux, gpu], timeout: 1h30m}\n"
                        "  build:\n"
                        "    <<: *base\n"
                        "    x-note: mine\n"
                        "    script: [make, make check]\n"
                        "    env: {D: 1}\n"
                        "    branches: main\n"
                        "    retry: 2\n"
                        "    allow_failure: true\n"
                        "    priority: 1000\n"
                        "    concurrency: deploy\n"
                        "    always: true\n"
                        "    submodules: true\n"
                        "    home: kept\n"
                        "    artifacts: [\"dist/**\"]\n"
                        "    cache: {key: [lock], paths: [node_modules, .cache]}\n"
                        "    secrets: TOKEN\n"
                        "    sandbox: container\n"
                        "    image: debian:12\n"
                        "    network: false\n"
                        "  test:\n"
                        "    needs: build\n"
                        "    tests:\n"
                        "      files: \"tests/**/test_*.py\"\n"
                        "      run: python3 {}\n"
                        "      setup: |\n"
                        "        make\n"
                        "        make install\n"
                        "      report: junit:out/*.xml\n"
                        "      batch: 7\n"
                        "      retry: 1\n");
    const pipeline *p = good(f);
    const job_text *b = &p->texts[0], *t = &p->texts[1];

    (void)state;
    assert_int_equal(p->env.n, 3);
    assert_slice(p->env.v[0].value, "no");
    assert_slice(p->env.v[1].value, "3.10");
    assert_slice(p->env.v[2].value, "");
    assert_slices(p->branches, "main release/*");
    assert_true(p->supersede);
    assert_int_equal(p->texts_n, 2);
    assert_int_equal(p->jobs_n, 2);
    assert_slice(b->script, "make\nmake check");
    assert_slices(b->labels, "linux gpu");
    assert_int_equal(b->timeout_ms, 5400000);
    assert_slice(b->env.v[0].name, "D");
    assert_slices(b->branches, "main");
    assert_int_equal(b->retry, 2);
    assert_true(b->allow_failure);
    assert_int_equal(b->priority, 1000);
    assert_slice(b->concurrency, "deploy");
    assert_true(b->always && b->submodules && !b->network);
    assert_int_equal(b->home, HOME_KEPT);
    assert_slices(b->artifacts, "dist/**");
    assert_slices(b->cache.key, "lock");
    assert_slices(b->cache.paths, "node_modules .cache");
    assert_slices(b->secrets, "TOKEN");
    assert_int_equal(b->sandbox, SANDBOX_CONTAINER);
    assert_slice(b->image, "debian:12");
    assert_int_equal(b->at.cache.line, 21);
    assert_int_equal(b->at.cache.column, 5);
    assert_slices(t->tests.files, "tests/**/test_*.py");
    assert_slice(t->tests.run, "python3 {}");
    assert_slice(t->tests.setup, "make\nmake install\n");
    assert_int_equal(t->tests.report, REPORT_JUNIT);
    assert_slice(t->tests.report_files, "out/*.xml");
    assert_int_equal(t->tests.batch, 7);
    assert_int_equal(t->tests.retry, 1);
    assert_true(t->network);
    assert_slices(p->jobs[1].needs, "build");
    file_free(f);
}

static void names_of(const pipeline *p, buf *out)
{
    for (size_t i = 0; i < p->jobs_n; i++) {
        buf_addf(out, "%s" SLICE_FMT, i ? " " : "", SLICE_ARG(p->jobs[i].name));
        for (size_t k = 0; k < p->jobs[i].needs.n; k++)
            buf_addf(out, "%s" SLICE_FMT, k ? "," : "<", SLICE_ARG(p->jobs[i].needs.v[k]));
    }
}

static void check_names(const char *text, const char *want)
{
    CLEANUP(buf)
    buf out = { 0 };
    file *f = read_file(text);

    names_of(good(f), &out);
    assert_string_equal(buf_str(&out), want);
    file_free(f);
}

static void matrices_expand(void **state)
{
    (void)state;
    check_names("jobs:\n  t: {script: x, matrix: {PY: [3.10, 3.12], OS: [a, b]}}\n",
                "t/3.10/a t/3.10/b t/3.12/a t/3.12/b");
    check_names("jobs:\n  t:\n    script: x\n    matrix:\n      PY: [1, 2]\n      OS: [a, b]\n"
                "      exclude: [{PY: 1, OS: b}, {PY: 2, OS: a}]\n"
                "      include: [{EXTRA: q, OS: c, PY: 3}, {OS: d}]\n",
                "t/1/a t/2/b t/3/c/q t/d");
    check_names("jobs:\n  t: {script: x, matrix: {include: [{A: 1}, {A: 2}]}}\n", "t/1 t/2");
    check_names("jobs:\n  t: {script: x, matrix: {PY: 3.10}}\n  d: {script: y, needs: t/3.10}\n",
                "t/3.10 d<t/3.10");
    check_names("jobs:\n  d: {script: y, needs: [t, t/1, u]}\n"
                "  t: {script: x, matrix: {A: [1, 2]}}\n  u: {script: z}\n",
                "d<t/1,t/2,u t/1 t/2 u");
}

static void a_job_knows_its_matrix_values(void **state)
{
    file *f = read_file("jobs:\n  t: {script: x, matrix: {PY: [3.10], OS: [a, b]}}\n");
    const pipeline_job *job = &good(f)->jobs[1];

    (void)state;
    assert_int_equal(job->axes.n, 2);
    assert_slice(job->axes.v[0].name, "PY");
    assert_slice(job->axes.v[0].value, "3.10");
    assert_slice(job->axes.v[1].value, "b");
    file_free(f);
}

/* ---- bad files ---- */

static void check_bad(const char *text, const char *want)
{
    CLEANUP(buf)
    buf out = { 0 };
    file *f = read_file(text);

    problems_print(&f->problems, ".volt.yml", slice_of(text), &out);
    assert_string_equal(buf_str(&out), want);
    file_free(f);
}

/* One problem in the job `t: {...}`; `want` is its text, at that column of line 2. */
static void check_job(const char *keys, unsigned column, const char *want)
{
    CLEANUP(buf)
    buf text = { 0 };
    file *f;

    buf_addf(&text, "jobs:\n  t: {%s}\n", keys);
    f = read_file(buf_str(&text));
    if (f->problems.n != 1 || strcmp(f->problems.v[0].text, want) != 0 ||
        f->problems.v[0].at.line != 2 || f->problems.v[0].at.column != column) {
        CLEANUP(buf)
        buf out = { 0 };

        problems_print(&f->problems, "f", buf_slice(&text), &out);
        fail_msg("want %u: %s\n%s", column, want, buf_str(&out));
    }
    file_free(f);
}

static void unknown_keys_are_told_with_the_nearest(void **state)
{
    (void)state;
    check_bad("job:\n  t: {script: x}\n",
              ".volt.yml:1:1: unknown key 'job' of the file; did you mean 'jobs'?\n"
              "    job:\n    ^\n"
              ".volt.yml:1:1: the file wants 'jobs'\n    job:\n    ^\n");
    check_bad("jobs:\n  t:\n    scirpt: make\n",
              ".volt.yml:3:5: unknown key 'scirpt' of a job; did you mean 'script'?\n"
              "        scirpt: make\n        ^\n");
    check_job("labels: [a]", 3, "job 't' has neither script nor tests");
    check_job("script: x, frobnicate: 1", 18, "unknown key 'frobnicate' of a job");
    check_job("tests: {files: a, run: \"{}\", fils: b}", 36,
              "unknown key 'fils' of tests; did you mean 'files'?");
    check_job("script: x, cache: {key: a, paths: b, path: c}", 44,
              "unknown key 'path' of a cache; did you mean 'paths'?");
}

static void types_and_ranges_are_checked(void **state)
{
    (void)state;
    check_job("script: {a: b}", 15, "expected a text or a list of texts, not a mapping");
    check_job("script: ", 7, "expected a text or a list of texts, not nothing");
    check_job("script: ''", 15, "expected a text or a list of texts, not an empty text");
    check_job("script: [a, [b]]", 19, "expected a text, not a list");
    check_job("script: []", 15, "expected commands, not a list");
    check_job("script: x, retry: 11", 25, "expected a number from 0 to 10, not '11'");
    check_job("script: x, retry: -1", 25, "expected a number from 0 to 10, not '-1'");
    check_job("script: x, retry: 2x", 25, "expected a number from 0 to 10, not '2x'");
    check_job("script: x, priority: 1001", 28, "expected a number from 0 to 1000, not '1001'");
    check_job("script: x, timeout: 10", 27, "expected a duration, as 90s, 10m or 1h30m, not '10'");
    check_job("script: x, timeout: 0s", 27, "expected a duration, as 90s, 10m or 1h30m, not '0s'");
    check_job("script: x, timeout: 30m1h", 27,
              "expected a duration, as 90s, 10m or 1h30m, not '30m1h'");
    check_job("script: x, allow_failure: yes", 33, "expected true or false, not 'yes'");
    check_job("script: x, home: mine", 24, "expected 'scratch' or 'kept', not 'mine'");
    check_job("script: x, sandbox: jail", 27,
              "expected 'host', 'bwrap' or 'container', not 'jail'");
    check_job("script: x, image: a", 18, "an image is for 'sandbox: container'");
    check_job("script: x, sandbox: container", 18, "a container wants an 'image'");
    check_job("script: x, env: [A]", 23, "expected variables and their values, not a list");
    check_job("script: x, env: {1A: b}", 24,
              "expected a variable's name (letters, digits and '_'), not '1A'");
    check_job("script: x, env: {VOLT_JOB: b}", 24, "variables that begin with VOLT are Volt's own");
    check_job("script: x, env: {A: [b]}", 27, "expected a text, not a list");
    check_job("script: x, secrets: [A, a-b]", 31,
              "expected a variable's name (letters, digits and '_'), not 'a-b'");
    check_job("script: x, secrets: VOLT_A", 27, "variables that begin with VOLT are Volt's own");
    check_job("script: x, secrets: [A, B, A]", 34, "secret 'A' is named twice");
    check_job("script: x, artifacts: [/etc/passwd]", 30,
              "pattern '/etc/passwd', column 1: it starts at the top of the repository, "
              "without a '/'");
    check_job("script: x, cache: {key: a, paths: [b, ~/../c]}", 45,
              "pattern '../c', column 1: '..' is not allowed");
    check_job("script: x, cache: {key: a}", 25, "a cache wants 'paths'");
    check_job("tests: {files: a}", 14, "tests want 'run'");
    check_job("tests: {run: \"{}\"}", 14, "tests want 'files'");
    check_job("tests: {files: a, run: x}", 30,
              "this does not say where the test file goes: write {} or $VOLT_TEST_FILES");
    check_job("tests: {files: a, run: \"{}\", report: xml}", 44,
              "expected 'exit', 'junit:PATTERN' or 'tap', not 'xml'");
    check_job("tests: {files: a, run: \"{}\", batch: 0}", 43,
              "expected a number from 1 to 10000, not '0'");
    check_job("script: x, tests: {files: a, run: \"{}\"}", 18,
              "job 't' has a script and tests; it can have one of them");
}

static void the_file_is_checked_as_a_whole(void **state)
{
    (void)state;
    check_bad("jobs: {}\n",
              ".volt.yml:1:7: expected jobs by their names\n    jobs: {}\n          ^\n");
    check_bad("jobs: {x-a: 1}\n",
              ".volt.yml:1:1: the file has no jobs\n    jobs: {x-a: 1}\n    ^\n");
    check_bad("- a\n",
              ".volt.yml:1:1: expected the keys of the file, not a list\n    - a\n    ^\n");
    check_bad("jobs:\n  a b: {script: x}\n",
              ".volt.yml:2:3: a job's name has no spaces, quotes or '/', and at most 128 bytes\n"
              "      a b: {script: x}\n      ^\n");
    check_bad("jobs:\n  a: make\n",
              ".volt.yml:2:6: expected the keys of a job, not 'make'\n      a: make\n         ^\n");
}

static void needs_are_checked(void **state)
{
    (void)state;
    check_job("script: x, needs: u", 25, "no job is named 'u'");
    check_job("script: x, needs: [t]", 26, "job 't' needs itself");
    check_job("script: x, matrix: {A: [1, 2]}, needs: t/1", 46, "job 't' needs itself");
    check_bad("jobs:\n  build: {script: x}\n  t: {script: x, needs: biuld}\n",
              ".volt.yml:3:25: no job is named 'biuld'; did you mean 'build'?\n"
              "      t: {script: x, needs: biuld}\n                            ^\n");
    check_bad("jobs:\n  a: {script: x, needs: [b]}\n  b: {script: x, needs: [d, c]}\n"
              "  c: {script: x, needs: [a]}\n  d: {script: x}\n",
              ".volt.yml:4:26: these jobs need each other: a -> b -> c -> a\n"
              "      c: {script: x, needs: [a]}\n                             ^\n");
}

static void matrices_are_checked(void **state)
{
    (void)state;
    check_job("script: x, matrix: [a]", 26, "expected variables and lists of their values");
    check_job("script: x, matrix: {A: []}", 30, "no values of A");
    check_job("script: x, matrix: {a-b: [1]}", 27,
              "expected a variable's name (letters, digits and '_'), not 'a-b'");
    check_job("script: x, matrix: {A: [1, 1]}", 18, "two jobs are named 't/1'");
    check_job("script: x, matrix: {A: [1], exclude: [{A: 2}]}", 45,
              "no combination has these values");
    check_job("script: x, matrix: {A: [1], exclude: [{A: 1}]}", 18, "no combination is left");
    check_job("script: x, matrix: {x-a: 1}", 26, "expected variables and lists of their values");
    check_job("script: x, matrix: {exclude: [{A: 1}]}", 26,
              "expected variables and lists of their values");
    check_job("script: x, matrix: {A: [1], include: [{}]}", 45,
              "expected variables and their values, not nothing");
}

static void jobs_are_counted_when_expanded(void **state)
{
    CLEANUP(buf)
    buf text = { 0 };
    file *f;

    (void)state;
    buf_adds(&text, "jobs:\n  t: {script: x, matrix: {A: [");
    for (int i = 0; i < 999; i++)
        buf_addf(&text, "%d,", i);
    buf_adds(&text, "]}}\n  u: {script: y}\n");
    f = read_file(buf_str(&text));
    assert_int_equal(good(f)->jobs_n, 1000);
    file_free(f);
    buf_adds(&text, "  v: {script: z}\n");
    f = read_file(buf_str(&text));
    assert_int_equal(f->problems.n, 1);
    assert_string_equal(f->problems.v[0].text, "the file makes more than 1000 jobs");
    assert_int_equal(f->problems.v[0].at.line, 4);
    file_free(f);
    f = read_file("jobs:\n  t: {script: x, matrix: {A: &a [1,2,3,4,5,6,7,8,9,0], B: *a, C: *a, D: "
                  "*a, E: *a, F: *a, G: *a, H: *a, I: *a, J: *a, K: *a, L: *a}}\n");
    assert_string_equal(f->problems.v[0].text, "the file makes more than 1000 jobs");
    file_free(f);
}

static void a_job_of_a_large_matrix_cannot_be_needed_whole(void **state)
{
    CLEANUP(buf)
    buf text = { 0 };
    file *f;

    (void)state;
    buf_adds(&text, "jobs:\n  t: {script: x, matrix: {A: [");
    for (int i = 0; i < 65; i++)
        buf_addf(&text, "%d,", i);
    buf_adds(&text, "]}}\n  u: {script: y, needs: t}\n");
    f = read_file(buf_str(&text));
    assert_int_equal(f->problems.n, 1);
    assert_string_equal(f->problems.v[0].text, "more than 64 jobs are needed, matrices expanded");
    file_free(f);
}

static void many_problems_are_told_at_once(void **state)
{
    CLEANUP(buf)
    buf text = { 0 }, brief = { 0 };
    file *f;

    (void)state;
    buf_adds(&text, "jobs:\n");
    for (int i = 0; i < 25; i++)
        buf_addf(&text, "  j%d: {scirpt: x}\n", i);
    f = read_file(buf_str(&text));
    assert_int_equal(f->problems.n, PROBLEMS_MAX);
    assert_int_equal(f->problems.more, 5);
    for (size_t i = 0; i < f->problems.n; i++)
        assert_int_equal(f->problems.v[i].at.line, 2 + i);
    problems_brief(&f->problems, ".volt.yml", &brief);
    assert_string_equal(buf_str(&brief),
                        ".volt.yml:2:8: unknown key 'scirpt' of a job; did you mean 'script'? "
                        "(and 24 more)");
    file_free(f);
}

static void what_an_anchor_names_is_blamed_once(void **state)
{
    (void)state;
    check_bad("x-a: &a {scirpt: 1, script: x}\njobs: {t: *a, u: *a}\n",
              ".volt.yml:1:10: unknown key 'scirpt' of a job; did you mean 'script'?\n"
              "    x-a: &a {scirpt: 1, script: x}\n             ^\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_key),
        cmocka_unit_test(matrices_expand),
        cmocka_unit_test(a_job_knows_its_matrix_values),
        cmocka_unit_test(unknown_keys_are_told_with_the_nearest),
        cmocka_unit_test(types_and_ranges_are_checked),
        cmocka_unit_test(the_file_is_checked_as_a_whole),
        cmocka_unit_test(needs_are_checked),
        cmocka_unit_test(matrices_are_checked),
        cmocka_unit_test(jobs_are_counted_when_expanded),
        cmocka_unit_test(a_job_of_a_large_matrix_cannot_be_needed_whole),
        cmocka_unit_test(many_problems_are_told_at_once),
        cmocka_unit_test(what_an_anchor_names_is_blamed_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
