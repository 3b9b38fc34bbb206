#include "exec/executor.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/rmtree.h"
#include "exec/process.h"
#include "wire/codec.h"

#define HANG_MS  60000
#define SAID_MAX 4096

/* A repository, a work directory, and an executor with everything it said. */
typedef struct stage {
    char dir[64];
    char *repo, *work;
    site *site;
    executor *ex;
    arena mem;
    msg said[SAID_MAX];
    slice frames[SAID_MAX];
    size_t said_n;
    char *log; /* of the last attempt that was run */
} stage;

static int signals;

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

/* ---- the stage ---- */

static void hear(void *ctx, slice frame)
{
    stage *s = ctx;
    volt_err err;

    assert_true(s->said_n < SAID_MAX);
    s->frames[s->said_n] = arena_slice(&s->mem, frame);
    if (wire_decode(s->frames[s->said_n], &s->mem, &s->said[s->said_n], &err))
        fail_msg("%s", err.msg);
    s->said_n++;
}

static void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *fmt, ...)
{
    char *script;
    va_list ap;

    va_start(ap, fmt);
    assert_true(vasprintf(&script, fmt, ap) > 0);
    va_end(ap);
    if (system(script)) /* waits for its child itself; nothing of the executor runs meanwhile */
        fail_msg("%s", script);
    free(script);
}

static void add_file(const stage *s, const char *path, mode_t mode, const char *text)
{
    char *full = mem_printf("%s/%s", s->repo, path);
    FILE *f;

    shell("mkdir -p \"$(dirname '%s')\"", full);
    f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    chmod(full, mode);
    free(full);
}

/* Commits everything; the id stands as long as the stage. */
static slice commit(stage *s)
{
    CLEANUP(free)
    char *path = mem_printf("%s/id", s->dir);
    char id[41] = "";
    FILE *f;

    shell("cd '%s' && git add -A && git -c user.name=t -c user.email=t@t -c commit.gpgsign=false "
          "commit -q --allow-empty -m x && git rev-parse HEAD >'%s'",
          s->repo, path);
    f = fopen(path, "r");
    assert_non_null(fgets(id, sizeof id, f));
    fclose(f);
    return arena_slice(&s->mem, slice_of(id));
}

static void open_executor(stage *s, uint64_t slot)
{
    site_config config = { .work = s->work,
                           .slot = slot,
                           .runner = "box-1",
                           .host = "box",
                           .path = "/usr/bin:/bin",
                           .timeout_ms = 600000,
                           .fetch_ms = 60000,
                           .log_max = 1 << 20 };
    volt_err err;

    if (site_new(&config, &s->site, &err))
        fail_msg("%s", err.msg);
    s->ex = executor_new(s->site, hear, s);
}

static void close_executor(stage *s)
{
    executor_free(s->ex);
    site_free(s->site);
}

static int set_stage(void **state)
{
    stage *s = NEW(stage);

    strcpy(s->dir, "/tmp/volt-executor-XXXXXX");
    if (!mkdtemp(s->dir))
        return -1;
    s->repo = mem_printf("%s/repo", s->dir);
    s->work = mem_printf("%s/work", s->dir);
    mkdir(s->work, 0700);
    shell("git init -q -b main '%s'", s->repo);
    open_executor(s, 1);
    *state = s;
    return 0;
}

static int clear_stage(void **state)
{
    stage *s = *state;

    close_executor(s);
    rmtree(AT_FDCWD, s->dir, NULL);
    arena_free(&s->mem);
    free(s->repo);
    free(s->work);
    free(s->log);
    free(s);
    return process_reap(&(process_exit){ 0 }) == PROCESS_NONE ? 0 : -1;
}

/* ---- driving it ---- */

static void give(stage *s, const msg *m)
{
    CLEANUP(buf)
    buf b = { 0 };
    volt_err err;

    wire_encode(m, &b);
    if (executor_take(s->ex, buf_slice(&b), now_ms(), &err))
        fail_msg("%s", err.msg);
}

/* A batch of `files`, separated by blanks; a script when there are none. */
static msg_assign order(stage *s, uint64_t task, slice oid, const char *files)
{
    msg_assign a = { .task = task,
                     .att = 1,
                     .ep = 1,
                     .kind = files ? TASK_TESTS : TASK_SCRIPT,
                     .build = 1,
                     .job = SLICE("tests"),
                     .repo = SLICE("r"),
                     .oid = oid,
                     .ref = SLICE("refs/heads/main") };
    char *url = arena_printf(&s->mem, "local:box:%s", s->repo);

    a.url = slice_of(url);
    a.files.v = ARENA_ARRAY(&s->mem, slice, 1000);
    while (files && *files) {
        size_t n = strcspn(files, " ");

        a.files.v[a.files.n++] = (slice){ files, n };
        files += n + (files[n] == ' ');
    }
    return a;
}

static void begin(stage *s, const msg_assign *a)
{
    s->said_n = 0;
    give(s, &(msg){ .type = MSG_assign, .assign = *a });
}

static void wait_some(stage *s, int most_ms)
{
    struct pollfd fds[1 + ATTEMPT_FDS_MAX] = { { .fd = signals, .events = POLLIN } };
    int64_t left = executor_deadline_ms(s->ex) - now_ms();
    struct signalfd_siginfo info;

    poll(fds, 1 + executor_fds(s->ex, fds + 1),
         left < 0         ? 0
         : left < most_ms ? (int)left
                          : most_ms);
    while (read(signals, &info, sizeof info) > 0)
        ;
    executor_step(s->ex, now_ms());
}

static void read_log(stage *s, uint64_t task)
{
    char *path = mem_printf("%s/spool/%d-1/log", s->work, (int)task);
    FILE *f = fopen(path, "r");
    size_t n;

    free(s->log);
    s->log = mem_zero(4 << 20);
    n = f ? fread(s->log, 1, (4 << 20) - 1, f) : 0;
    s->log[n] = '\0';
    if (f)
        fclose(f);
    free(path);
}

static const msg *last(const stage *s)
{
    assert_true(s->said_n > 0);
    return &s->said[s->said_n - 1];
}

/* Goes on until the attempt has ended; returns the last message. */
static const msg *finish(stage *s)
{
    int64_t hang_ms = now_ms() + HANG_MS;

    while (executor_busy(s->ex)) {
        assert_true(now_ms() < hang_ms);
        wait_some(s, 1000);
    }
    return last(s);
}

static const msg_result *run(stage *s, const msg_assign *a)
{
    const msg *m;

    begin(s, a);
    m = finish(s);
    if (m->type == MSG_nack)
        fail_msg("nack: " SLICE_FMT, SLICE_ARG(m->nack.msg));
    assert_int_equal(m->type, MSG_result);
    read_log(s, a->task);
    return &m->result;
}

static const msg_result *run_script(stage *s, uint64_t task, slice oid, const char *script)
{
    msg_assign a = order(s, task, oid, NULL);

    a.spec = slice_of(script);
    return run(s, &a);
}

/* Waits until the log of the running attempt has something. */
static void await_output(stage *s)
{
    int64_t hang_ms = now_ms() + HANG_MS;

    for (;;) {
        s->said_n = 0;
        executor_report(s->ex);
        if (s->said[0].hb.held.v[0].log_bytes > 0)
            break;
        assert_true(now_ms() < hang_ms);
        wait_some(s, 10);
    }
    s->said_n = 0;
}

/* Every outcome that was said, in order; fails when there is a gap. */
static size_t outcomes(const stage *s, rec_item *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < s->said_n; i++) {
        const msg *m = &s->said[i];
        bool tests = m->type == MSG_tests;
        const rec_item_list *items = tests ? &m->tests.items : &m->result.items;

        if (!tests && m->type != MSG_result)
            continue;
        assert_int_equal(tests ? m->tests.from : m->result.from, n);
        memcpy(ret + n, items->v, items->n * sizeof *ret);
        n += items->n;
    }
    return n;
}

static void assert_output(const stage *s, const rec_item *item, const char *want)
{
    slice got = { s->log + item->log_off, item->log_len };

    if (!slice_is(got, want))
        fail_msg("'" SLICE_FMT "' is not '%s'", SLICE_ARG(got), want);
}

static void assert_spooled(const stage *s, const char *part, const slice *frames, size_t n)
{
    CLEANUP(free)
    char *path = mem_printf("%s/spool/1-1/%s", s->work, part);
    CLEANUP(buf)
    buf b = { 0 };
    FILE *f = fopen(path, "r");
    slice rest, one;

    assert_non_null(f);
    b.n = fread(buf_room(&b, 4 << 20), 1, 4 << 20, f);
    fclose(f);
    rest = buf_slice(&b);
    for (size_t i = 0; i < n; i++) {
        assert_true(spool_next(&rest, &one));
        assert_true(slice_eq(one, frames[i]));
    }
    assert_int_equal(rest.n, 0);
}

/* ---- plans ---- */

static msg_assign plan_order(stage *s, uint64_t task, slice oid)
{
    msg_assign a = order(s, task, oid, NULL);

    a.kind = TASK_PLAN;
    a.job = (slice){ 0 };
    return a;
}

static void plans_the_units_of_a_commit(void **state)
{
    stage *s = *state;
    msg_assign a;
    const rec_job *job;

    add_file(s, "tests/test_b.py", 0644, "");
    add_file(s, "tests/a/run", 0755, "");
    add_file(s, "tests/a/helper.py", 0644, "");
    add_file(s, "src/test_c.py", 0644, "");
    a = plan_order(s, 1, commit(s));
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    assert_int_equal(s->said_n, 3);
    assert_int_equal(s->said[0].type, MSG_start);
    assert_int_equal(s->said[1].type, MSG_plan);
    assert_true(s->said[1].plan.last);
    assert_int_equal(s->said[1].plan.jobs.n, 1);
    job = &s->said[1].plan.jobs.v[0];
    assert_true(slice_is(job->name, "tests"));
    assert_true(job->tests);
    assert_int_equal(job->timeout_ms, 600000);
    assert_int_equal(job->files.n, 2);
    assert_true(slice_is(job->files.v[0], "tests/a/run"));
    assert_true(slice_is(job->files.v[1], "tests/test_b.py"));
    assert_spooled(s, "plan", &s->frames[1], 1);
}

static void a_commit_without_tests_has_a_plan_without_jobs(void **state)
{
    stage *s = *state;
    msg_assign a;

    add_file(s, "README", 0644, "");
    a = plan_order(s, 1, commit(s));
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    assert_int_equal(s->said_n, 3);
    assert_true(s->said[1].plan.last);
    assert_int_equal(s->said[1].plan.jobs.n, 0);
}

static void a_large_plan_comes_in_parts(void **state)
{
    enum { FILES = 6000 };
    stage *s = *state;
    msg_assign a;
    size_t n = 0;
    char want[256];

    shell("cd '%s' && (echo 'commit refs/heads/main'; echo 'committer t <t@t> 0 +0000'; "
          "echo 'data 0'; i=0; while [ $i -lt %d ]; do "
          "printf 'M 755 inline tests/%%0100d\\ndata 0\\n\\n' $i; i=$((i+1)); done) | "
          "git fast-import --quiet && git reset -q --soft main && git checkout -qf",
          s->repo, FILES);
    a = plan_order(s, 1, commit(s));
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    assert_true(s->said_n > 4);
    for (size_t i = 1; i + 1 < s->said_n; i++) {
        const msg_plan *p = &s->said[i].plan;

        assert_int_equal(s->said[i].type, MSG_plan);
        assert_int_equal(p->part, i - 1);
        assert_int_equal(p->last, i + 2 == s->said_n);
        assert_true(s->frames[i].n <= 200 * 1024);
        for (size_t k = 0; k < p->jobs.v[0].files.n; k++) {
            snprintf(want, sizeof want, "tests/%0100d", (int)n++);
            assert_true(slice_is(p->jobs.v[0].files.v[k], want));
        }
    }
    assert_int_equal(n, FILES);
    assert_spooled(s, "plan", &s->frames[1], s->said_n - 2);
}

/* ---- tests ---- */

#define PYTHON(body) \
    "import unittest\nclass T(unittest.TestCase):\n    def test_it(self): " body "\n"

static void every_unit_has_its_verdict_and_its_part_of_the_log(void **state)
{
    static const verdict want[] = { VERDICT_PASSED, VERDICT_FAILED, VERDICT_NO_TESTS,
                                    VERDICT_FAILED, VERDICT_PASSED, VERDICT_FAILED,
                                    VERDICT_FAILED, VERDICT_ERRORED };
    stage *s = *state;
    rec_item got[8];
    msg_assign a;

    add_file(s, "tests/test_ok.py", 0644, PYTHON("pass"));
    add_file(s, "tests/test_bad.py", 0644, PYTHON("self.fail()"));
    add_file(s, "tests/test_none.py", 0644, "");
    add_file(s, "tests/test_leaves.py", 0644, "import os; os._exit(0)\n");
    add_file(s, "tests/ok", 0755, "#!/bin/sh\necho out; echo err >&2; printf '\\377'\n");
    add_file(s, "tests/bad", 0755, "#!/bin/sh\necho bad; exit 3\n");
    add_file(s, "tests/dies", 0755, "#!/bin/sh\nkill -ABRT $$\n");
    a = order(s, 1, commit(s),
              "tests/test_ok.py tests/test_bad.py tests/test_none.py tests/test_leaves.py "
              "tests/ok tests/bad tests/dies tests/absent");
    assert_int_equal(run(s, &a)->verdict, VERDICT_ERRORED);
    assert_int_equal(s->said[0].type, MSG_start);
    assert_int_equal(outcomes(s, got), 8);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(got[i].verdict, want[i]);
    assert_int_equal(got[0].exit, 0);
    assert_int_equal(got[5].exit, 3);
    assert_int_equal(got[6].signal, SIGABRT);
    assert_output(s, &got[3], "volt: the process ended with status 0 before its tests were done\n");
    assert_output(s, &got[4], "out\nerr\n\377");
    assert_output(s, &got[5], "bad\n");
    assert_output(s, &got[7],
                  "volt: tests/absent: cannot be started: execute it: "
                  "No such file or directory\n");
    for (size_t i = 1; i < 8; i++)
        assert_int_equal(got[i].log_off, got[i - 1].log_off + got[i - 1].log_len);
    assert_int_equal(last(s)->result.log_bytes, got[7].log_off + got[7].log_len);
}

static void outcomes_travel_together(void **state)
{
    enum { UNITS = 150 };
    stage *s = *state;
    rec_item got[UNITS];
    slice tests[UNITS];
    size_t tests_n = 0;
    msg_assign a;

    add_file(s, "tests/true", 0755, "#!/bin/true\n");
    a = order(s, 1, commit(s), "");
    a.kind = TASK_TESTS;
    for (a.files.n = 0; a.files.n < UNITS; a.files.n++)
        a.files.v[a.files.n] = SLICE("tests/true");
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    assert_int_equal(outcomes(s, got), UNITS);
    assert_true(s->said_n < UNITS);
    for (size_t i = 0; i < s->said_n; i++)
        if (s->said[i].type == MSG_tests)
            tests[tests_n++] = s->frames[i];
    assert_spooled(s, "tests", tests, tests_n);
}

static void an_outcome_is_told_while_the_next_unit_runs(void **state)
{
    stage *s = *state;
    rec_item got[2];
    int64_t hang_ms = now_ms() + HANG_MS;
    msg_assign a;

    add_file(s, "tests/quick", 0755, "#!/bin/true\n");
    add_file(s, "tests/slow", 0755, "#!/bin/sh\nsleep 100\n");
    a = order(s, 1, commit(s), "tests/quick tests/slow");
    begin(s, &a);
    while (outcomes(s, got) == 0) {
        assert_true(now_ms() < hang_ms);
        wait_some(s, 1000);
    }
    assert_true(executor_busy(s->ex));
    executor_leave(s->ex, "enough", now_ms());
    assert_int_equal(finish(s)->result.verdict, VERDICT_CANCELED);
    assert_int_equal(outcomes(s, got), 2);
    assert_int_equal(got[1].verdict, VERDICT_CANCELED);
    assert_true(executor_finished(s->ex));
}

static void a_rest_of_a_batch_counts_from_its_place(void **state)
{
    stage *s = *state;
    msg_assign a;

    add_file(s, "tests/true", 0755, "#!/bin/true\n");
    a = order(s, 1, commit(s), "tests/true tests/true");
    a.from = 40;
    run(s, &a);
    assert_int_equal(last(s)->result.from + last(s)->result.items.n, 42);
}

static void a_hanging_test_is_stopped_and_named(void **state)
{
    stage *s = *state;
    rec_item got[2];
    msg_assign a;

    add_file(s, "tests/test_hang.py", 0644, "import time\nwhile True: time.sleep(1)\n");
    add_file(s, "tests/true", 0755, "#!/bin/true\n");
    a = order(s, 1, commit(s), "tests/test_hang.py tests/true");
    a.timeout_ms = 300;
    a.grace_ms = 1000;
    assert_int_equal(run(s, &a)->verdict, VERDICT_TIMEOUT);
    outcomes(s, got);
    assert_int_equal(got[0].verdict, VERDICT_TIMEOUT);
    assert_int_equal(got[1].verdict, VERDICT_PASSED);
    assert_non_null(
        strstr(s->log, "volt: tests/test_hang.py: stopped at its time limit of 300 ms"));
}

static void a_log_beyond_its_cap_is_cut_and_the_result_says_so(void **state)
{
    stage *s = *state;
    msg_assign a = order(s, 1, commit(s), NULL);
    const msg_result *r;

    a.spec = SLICE("head -c 300000 /dev/zero; echo; echo end");
    a.log_max = 1000;
    r = run(s, &a);
    assert_int_equal(r->verdict, VERDICT_PASSED);
    assert_true(r->log_bytes < 1100);
    assert_true(slice_is(r->msg, "the log was cut at its limit; 299005 bytes were thrown away"));
}

static void nothing_leaks_into_a_task(void **state)
{
    stage *s = *state;
    slice oid = commit(s);
    int leak = open("/dev/null", O_RDONLY);

    setenv("SECRET", "of the runner", 1);
    run_script(s, 1, oid,
               "ls /proc/self/fd | tr '\\n' ' '; env | cut -d= -f1 | sort | tr '\\n' ' '");
    unsetenv("SECRET");
    close(leak);
    /* 3 is ls reading the directory; PWD is the shell's */
    assert_string_equal(s->log, "0 1 2 3 CI HOME LANG PATH PWD TMPDIR VOLT VOLT_ATTEMPT "
                                "VOLT_BRANCH VOLT_BUILD VOLT_COMMIT VOLT_JOB VOLT_OUTPUT VOLT_REF "
                                "VOLT_REPO VOLT_RUNNER VOLT_TASK VOLT_WORKSPACE ");
}

static void home_is_empty_each_time_and_goes(void **state)
{
    stage *s = *state;
    slice oid = commit(s);

    for (uint64_t task = 1; task <= 2; task++) {
        run_script(s, task, oid,
                   "ls -A $HOME $TMPDIR $VOLT_OUTPUT | grep -v ^/ | grep . || true; "
                   "touch $HOME/x $TMPDIR/x; mkdir $TMPDIR/d; chmod 0 $TMPDIR/d");
        assert_string_equal(s->log, "");
    }
    shell("test -z \"$(find '%s/home' ! -type d)\"", s->work);
}

static void batches_of_one_job_share_a_workspace_others_get_a_clean_one(void **state)
{
    static const char touch[] = "ls; touch left; mkdir -p a/b; git init -q a/b";
    stage *s = *state;
    slice oid;
    msg_assign a;

    add_file(s, "file", 0644, "");
    oid = commit(s);
    assert_int_equal(run_script(s, 1, oid, touch)->verdict, VERDICT_PASSED);
    assert_string_equal(s->log, "file\n");
    run_script(s, 2, oid, touch);
    assert_string_equal(s->log, "a\nfile\nleft\n");
    a = order(s, 3, oid, NULL);
    a.spec = slice_of(touch);
    a.build = 2;
    run(s, &a);
    assert_string_equal(s->log, "file\n");
    a.task = 4;
    a.job = SLICE("other");
    run(s, &a);
    assert_string_equal(s->log, "file\n");
}

static void a_fixed_commit_after_a_broken_one_is_green(void **state)
{
    stage *s = *state;
    msg_assign a;
    slice broken, fixed;

    add_file(s, ".gitignore", 0644, "__pycache__\n");
    add_file(s, "tests/value.py", 0644, "x = 1\n");
    add_file(s, "tests/test_x.py", 0644, "import value\n" PYTHON("self.assertEqual(value.x, 2)"));
    broken = commit(s);
    add_file(s, "tests/value.py", 0644, "x = 2\n"); /* as long, and as old to the second */
    fixed = commit(s);
    for (uint64_t i = 0; i < 4; i++) {
        a = order(s, 1 + i, i % 2 ? fixed : broken, "tests/test_x.py");
        a.build = 1 + i;
        assert_int_equal(run(s, &a)->verdict, i % 2 ? VERDICT_PASSED : VERDICT_FAILED);
    }
}

/* ---- remote repositories ---- */

/* An ssh that runs what it is told here, after `first`. */
static void set_ssh(const stage *s, const char *first)
{
    char *path = mem_printf("%s/ssh", s->dir);
    FILE *f = fopen(path, "w");

    fprintf(f, "#!/bin/sh\n%s\nshift\nexec sh -c \"$*\"\n", first);
    fclose(f);
    chmod(path, 0755);
    setenv("GIT_SSH", path, 1);
    setenv("GIT_SSH_VARIANT", "simple", 1);
    free(path);
}

static msg_assign remote_order(stage *s, uint64_t task, slice oid)
{
    msg_assign a = order(s, task, oid, "tests/true");

    a.url = slice_of(arena_printf(&s->mem, "ssh://there%s", s->repo));
    return a;
}

static void a_remote_repository_is_fetched_and_then_followed(void **state)
{
    stage *s = *state;
    msg_assign a;

    set_ssh(s, ":");
    add_file(s, "tests/true", 0755, "#!/bin/true\n");
    a = remote_order(s, 1, commit(s));
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    add_file(s, "tests/true", 0755, "#!/bin/false\n");
    a = remote_order(s, 2, commit(s));
    a.build = 2;
    assert_int_equal(run(s, &a)->verdict, VERDICT_FAILED);
    a = remote_order(s, 3, SLICE("0123456789012345678901234567890123456789"));
    begin(s, &a);
    assert_int_equal(finish(s)->nack.code, CODE_REPO);
}

static void a_fetch_can_be_canceled(void **state)
{
    stage *s = *state;
    msg_assign a;

    set_ssh(s, "sleep 1000");
    a = remote_order(s, 1, commit(s));
    begin(s, &a);
    assert_true(executor_busy(s->ex));
    executor_report(s->ex);
    assert_int_equal(last(s)->hb.held.v[0].state, HELD_ACCEPTED);
    wait_some(s, 50);
    assert_true(executor_busy(s->ex));
    give(s, &(msg){ .type = MSG_cancel, .cancel = { .task = 1, .att = 1 } });
    assert_int_equal(finish(s)->result.verdict, VERDICT_CANCELED);
    while (process_reap(&(process_exit){ 0 }) != PROCESS_NONE) /* what its kill left to us */
        process_kill_all();
}

/* ---- what the agent may say ---- */

static void assert_refused(stage *s, const msg_assign *a, code want)
{
    const msg *m;

    begin(s, a);
    m = finish(s);
    assert_int_equal(m->type, MSG_nack);
    assert_int_equal(m->nack.code, want);
    assert_true(m->nack.msg.n > 0);
    s->said_n = 0;
    executor_report(s->ex);
    assert_int_equal(last(s)->hb.held.n, 0);
}

static void what_cannot_be_run_is_refused_with_a_reason(void **state)
{
    stage *s = *state;
    slice oid = commit(s);
    msg_assign a = order(s, 1, SLICE("0123456789012345678901234567890123456789"), "tests/x");

    assert_refused(s, &a, CODE_REPO);
    a = order(s, 2, oid, "tests/x");
    a.url = SLICE("local:elsewhere:/srv/x");
    assert_refused(s, &a, CODE_REPO);
    a = order(s, 3, oid, "tests/x");
    a.url = SLICE("local:box:/nowhere/at/all");
    assert_refused(s, &a, CODE_REPO);
    a = order(s, 4, oid, "tests/x tests/../../x");
    assert_refused(s, &a, CODE_SPEC);
    a = order(s, 5, oid, "/etc/passwd");
    assert_refused(s, &a, CODE_SPEC);
    a = order(s, 6, oid, NULL);
    assert_refused(s, &a, CODE_SPEC);
    a = order(s, 7, oid, "tests/x");
    a.spec = SLICE("of a later version");
    assert_refused(s, &a, CODE_SPEC);
}

static void no_attempt_starts_twice(void **state)
{
    stage *s = *state;
    slice oid = commit(s);
    msg_assign a = order(s, 1, oid, NULL);

    run_script(s, 1, oid, "true");
    close_executor(s); /* killed, say, and another came */
    open_executor(s, 1);
    a.spec = SLICE("true");
    assert_refused(s, &a, CODE_LOST);
}

static void an_assign_that_comes_again_repeats_what_was_said(void **state)
{
    stage *s = *state;
    msg_assign a = order(s, 1, commit(s), NULL), other;

    a.spec = SLICE("echo up; sleep 100");
    begin(s, &a);
    await_output(s);
    begin(s, &a);
    assert_int_equal(s->said_n, 1);
    assert_int_equal(last(s)->type, MSG_start);
    other = a;
    other.task = 2;
    begin(s, &other);
    assert_int_equal(s->said_n, 1);
    assert_int_equal(last(s)->nack.code, CODE_BUSY);
    assert_int_equal(last(s)->nack.task, 2);

    give(s, &(msg){ .type = MSG_cancel,
                    .cancel = { .task = 1, .att = 2, .grace_ms = 1 } }); /* of another attempt */
    assert_true(executor_busy(s->ex));
    give(s, &(msg){ .type = MSG_cancel,
                    .cancel = { .task = 1, .att = 1, .grace_ms = 5000, .why = SLICE("tired") } });
    assert_int_equal(finish(s)->result.verdict, VERDICT_CANCELED);
    assert_true(slice_is(last(s)->result.msg, "tired"));
    begin(s, &a);
    assert_int_equal(s->said_n, 1);
    assert_int_equal(last(s)->type, MSG_result);
    give(s, &(msg){ .type = MSG_cancel, .cancel = { .task = 1, .att = 1 } });
    assert_int_equal(s->said_n, 2);
    assert_int_equal(last(s)->type, MSG_result);
}

static void reports_what_it_holds(void **state)
{
    stage *s = *state;
    msg_assign a = order(s, 1, commit(s), NULL);

    executor_report(s->ex);
    assert_int_equal(last(s)->type, MSG_hb);
    assert_int_equal(last(s)->hb.held.n, 0);
    assert_int_equal(last(s)->hb.free, 1);
    a.spec = SLICE("echo up; sleep 100");
    begin(s, &a);
    await_output(s);
    give(s, &(msg){ .type = MSG_hb, .hb = { .n = 1 } });
    assert_int_equal(last(s)->hb.held.v[0].state, HELD_RUNNING);
    assert_int_equal(last(s)->hb.held.v[0].log_bytes, 3);
    assert_int_equal(last(s)->hb.free, 0);
    give(s, &(msg){ .type = MSG_bye });
    finish(s);
    executor_report(s->ex);
    assert_int_equal(last(s)->hb.held.v[0].state, HELD_DONE);
    assert_true(executor_finished(s->ex));
}

static void what_a_task_leaves_is_gone_before_its_result(void **state)
{
    stage *s = *state;

    run_script(s, 1, commit(s), "(setsid sh -c 'trap \"\" TERM; sleep 1000' >/dev/null 2>&1 &)");
    assert_int_equal(process_reap(&(process_exit){ 0 }), PROCESS_NONE);
}

static int setup(void **state)
{
    sigset_t set;

    (void)state;
    if (process_setup(NULL) || git_setup(NULL))
        return -1;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    setenv("GIT_CONFIG_GLOBAL", "/dev/null", 1);
    return signals < 0 ? -1 : 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_stage, clear_stage)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(plans_the_units_of_a_commit),
        TEST(a_commit_without_tests_has_a_plan_without_jobs),
        TEST(a_large_plan_comes_in_parts),
        TEST(every_unit_has_its_verdict_and_its_part_of_the_log),
        TEST(outcomes_travel_together),
        TEST(an_outcome_is_told_while_the_next_unit_runs),
        TEST(a_rest_of_a_batch_counts_from_its_place),
        TEST(a_hanging_test_is_stopped_and_named),
        TEST(a_log_beyond_its_cap_is_cut_and_the_result_says_so),
        TEST(nothing_leaks_into_a_task),
        TEST(home_is_empty_each_time_and_goes),
        TEST(batches_of_one_job_share_a_workspace_others_get_a_clean_one),
        TEST(a_fixed_commit_after_a_broken_one_is_green),
        TEST(a_remote_repository_is_fetched_and_then_followed),
        TEST(a_fetch_can_be_canceled),
        TEST(what_cannot_be_run_is_refused_with_a_reason),
        TEST(no_attempt_starts_twice),
        TEST(an_assign_that_comes_again_repeats_what_was_said),
        TEST(reports_what_it_holds),
        TEST(what_a_task_leaves_is_gone_before_its_result),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
