/*
 * stage.h - a repository, a work directory and an executor, for the tests that drive one.
 */
#ifndef VOLT_TEST_EXEC_STAGE_H
#define VOLT_TEST_EXEC_STAGE_H

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
#include "exec/executor.h"
#include "exec/process.h"
#include "pipeline/plan.h"
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

static inline int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

/* ---- the stage ---- */

static inline void hear(void *ctx, slice frame)
{
    stage *s = ctx;
    volt_err err;

    assert_true(s->said_n < SAID_MAX);
    s->frames[s->said_n] = arena_slice(&s->mem, frame);
    if (wire_decode(s->frames[s->said_n], &s->mem, &s->said[s->said_n], &err))
        fail_msg("%s", err.msg);
    s->said_n++;
}

static inline void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline void shell(const char *fmt, ...)
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

static inline void add_file(const stage *s, const char *path, mode_t mode, const char *text)
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
static inline slice commit(stage *s)
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

static inline void open_executor(stage *s, uint64_t slot)
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

static inline void close_executor(stage *s)
{
    executor_free(s->ex);
    site_free(s->site);
}

static inline int set_stage(void **state)
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

static inline int clear_stage(void **state)
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

static inline void give(stage *s, const msg *m)
{
    CLEANUP(buf)
    buf b = { 0 };
    volt_err err;

    wire_encode(m, &b);
    if (executor_take(s->ex, buf_slice(&b), now_ms(), &err))
        fail_msg("%s", err.msg);
}

/* A batch of `files`, separated by blanks; a script when there are none. */
static inline msg_assign order(stage *s, uint64_t task, slice oid, const char *files)
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

static inline void begin(stage *s, const msg_assign *a)
{
    s->said_n = 0;
    give(s, &(msg){ .type = MSG_assign, .assign = *a });
}

static inline void wait_some(stage *s, int most_ms)
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

static inline void read_log(stage *s, uint64_t task)
{
    char *path = mem_printf("%s/spool/%d-1.log", s->work, (int)task);
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

static inline const msg *last(const stage *s)
{
    assert_true(s->said_n > 0);
    return &s->said[s->said_n - 1];
}

/* Goes on until the attempt has ended; returns the last message. */
static inline const msg *finish(stage *s)
{
    int64_t hang_ms = now_ms() + HANG_MS;

    while (executor_busy(s->ex)) {
        assert_true(now_ms() < hang_ms);
        wait_some(s, 1000);
    }
    return last(s);
}

static inline const msg_result *run(stage *s, const msg_assign *a)
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

/* How to run a script; stands until the next one. */
static inline slice spec_of(const char *script)
{
    static buf spec;

    buf_clear(&spec);
    plan_spec_write(&(msg_spec){ .script = slice_of(script) }, &spec);
    return buf_slice(&spec);
}

static inline const msg_result *run_script(stage *s, uint64_t task, slice oid, const char *script)
{
    msg_assign a = order(s, task, oid, NULL);

    a.spec = spec_of(script);
    return run(s, &a);
}

/* Waits until the log of the running attempt has something. */
static inline void await_output(stage *s)
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
static inline size_t outcomes(const stage *s, rec_item *ret)
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

static inline void assert_output(const stage *s, const rec_item *item, const char *want)
{
    slice got = { s->log + item->log_off, item->log_len };

    if (!slice_is(got, want))
        fail_msg("'" SLICE_FMT "' is not '%s'", SLICE_ARG(got), want);
}

static inline void assert_spooled(const stage *s, spool_part part, const slice *frames, size_t n)
{
    CLEANUP(buf)
    buf b = { 0 };
    slice rest, one;
    spool *sp;

    assert_int_equal(spool_open(s->work, (spool_id){ 1, 1 }, &sp, NULL), VOLT_OK);
    assert_int_equal(spool_read(sp, part, 4 << 20, &b, NULL), VOLT_OK);
    spool_free(sp);
    rest = buf_slice(&b);
    for (size_t i = 0; i < n; i++) {
        assert_true(spool_next(&rest, &one));
        assert_true(slice_eq(one, frames[i]));
    }
    assert_int_equal(rest.n, 0);
}

static inline int setup(void **state)
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

#endif
