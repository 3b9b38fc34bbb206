/* A job's setup on a slot, and files that are run again. */
#include "exec/keeper.h"
#include "stage.h"

/* Whether the process whose number the file DIR/name holds still runs. */
static bool lives(const stage *s, const char *name)
{
    char *path = mem_printf("%s/%s", s->dir, name);
    FILE *f = fopen(path, "r");
    char text[256];
    long pid = 0;
    size_t n;

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld", &pid), 1);
    fclose(f);
    free(path);
    snprintf(text, sizeof text, "/proc/%ld/stat", pid);
    f = fopen(text, "r");
    if (!f)
        return false;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    return strrchr(text, ')')[2] != 'Z';
}

/* What the file DIR/name holds; stands as long as the stage. */
static const char *content(stage *s, const char *name)
{
    char *path = mem_printf("%s/%s", s->dir, name), text[4096];
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text, f) : 0;

    if (f)
        fclose(f);
    free(path);
    return arena_str(&s->mem, (slice){ text, n });
}

/* A batch of the job: `$D` in the commands is the stage's directory. */
static msg_assign batch(stage *s, uint64_t task, slice oid, const char *setup, const char *run,
                        uint64_t retry, const char *files)
{
    msg_assign a = order(s, task, oid, files);
    rec_var dir = { SLICE("D"), slice_of(s->dir) };
    msg_spec spec = {
        .run = slice_of(run), .setup = slice_of(setup), .retry = retry, .env = { &dir, 1 }
    };
    CLEANUP(buf)
    buf b = { 0 };

    plan_spec_write(&spec, &b);
    a.spec = arena_slice(&s->mem, buf_slice(&b));
    return a;
}

static void step_until(stage *s, int64_t ahead_ms, bool (*done)(const stage *s))
{
    int64_t hang_ms = now_ms() + HANG_MS;

    while (!done(s)) {
        assert_true(now_ms() < hang_ms);
        wait_some(s, 10);
        executor_step(s->ex, now_ms() + ahead_ms);
    }
}

static bool has_left(const stage *s)
{
    return !site_has_setup(s->site);
}

/* As when the slot has nothing to do for a while. */
static void leave(stage *s)
{
    step_until(s, EXECUTOR_IDLE_MS, has_left);
}

static void it_runs_once_before_the_files_of_all_batches(void **state)
{
    stage *s = *state;
    slice id = commit(s);
    const char *setup = "echo up >>$D/ups\necho from the setup\ntouch made";
    msg_assign a = batch(s, 1, id, setup, "test -f made; echo ran {}", 0, "a b");
    rec_item got[2];
    const msg_result *r = run(s, &a);

    assert_int_equal(r->verdict, VERDICT_PASSED);
    assert_false(r->setup_failed);
    assert_int_equal(outcomes(s, got), 2);
    assert_output(s, &got[0], "ran a\n");
    assert_output(s, &got[1], "ran b\n");
    s->log[got[0].log_off] = '\0';
    assert_true(
        strncmp(s->log, "volt: setup begins\nfrom the setup\nvolt: setup ended after ", 57) == 0);
    a = batch(s, 2, id, setup, "test -f made; echo ran {}", 0, "c");
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    assert_int_equal(outcomes(s, got), 1);
    assert_output(s, &got[0], "ran c\n");
    assert_int_equal(got[0].log_off, 0); /* nothing of a setup */
    assert_string_equal(content(s, "ups"), "up\n");
    leave(s);
    a = batch(s, 3, id, setup, "true", 0, "a");
    run(s, &a);
    assert_string_equal(content(s, "ups"), "up\nup\n");
    leave(s);
}

static void what_it_started_lives_for_the_jobs_batches_and_no_longer(void **state)
{
    stage *s = *state;
    slice id = commit(s);
    const char *setup = "setsid sleep 600 &\necho $! >$D/server";
    const char *test = "kill -0 $(cat $D/server); setsid sleep 600 & echo $! >$D/left";
    msg_assign a;

    for (uint64_t task = 1; task <= 3; task++) {
        a = batch(s, task, id, setup, test, 0, "a b");
        assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
        assert_true(lives(s, "server"));
        assert_false(lives(s, "left"));
    }
    a = batch(s, 4, id, setup, "! kill -0 $(cat $D/old)", 0, "a");
    a.job = SLICE("another");
    shell("cp %s/server %s/old", s->dir, s->dir);
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    assert_false(lives(s, "old"));
    assert_true(lives(s, "server"));
    leave(s);
    assert_false(lives(s, "server"));
}

/* Its parent ends while a unit runs, so it would fall to the executor as the unit's leftovers do.
 */
static void an_orphan_of_the_setup_is_not_the_units(void **state)
{
    stage *s = *state;
    const char *setup = "(sh -c 'setsid sleep 600 & echo $! >$D/server; until test -e $D/go; do "
                        "sleep 0.01; done; echo gone >$D/gone' &)";
    const char *test = "touch $D/go; until test -e $D/gone; do sleep 0.01; done";
    msg_assign a;

    a = batch(s, 1, commit(s), setup, test, 0, "a b");
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    assert_true(lives(s, "server"));
    leave(s);
    assert_false(lives(s, "server"));
}

/* It neither blocks nor dies of a pipe that nobody reads, and gets into no file's part. */
static void a_server_may_go_on_talking(void **state)
{
    stage *s = *state;
    const char *setup = "(head -c 4000000 /dev/zero | tr '\\0' x; echo said >$D/said; exec sleep "
                        "600) & echo $! >$D/server";
    const char *test = "until test -e $D/said; do sleep 0.01; done; echo {}";
    rec_item got[1];
    msg_assign a;

    a = batch(s, 1, commit(s), setup, test, 0, "a");
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    assert_int_equal(outcomes(s, got), 1);
    assert_output(s, &got[0], "a\n");
    assert_true(lives(s, "server"));
    leave(s);
}

static void home_and_scratch_stay_as_long(void **state)
{
    stage *s = *state;
    slice id = commit(s);
    const char *setup = "echo x >$HOME/x; echo y >$TMPDIR/y; echo z >$VOLT_OUTPUT/z";
    const char *test = "cat $HOME/x $TMPDIR/y $VOLT_OUTPUT/z";
    rec_item got[1];
    msg_assign a;

    for (uint64_t task = 1; task <= 2; task++) {
        a = batch(s, task, id, setup, test, 0, "a");
        assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
        assert_int_equal(outcomes(s, got), 1);
        assert_output(s, &got[0], "x\ny\nz\n");
    }
    leave(s);
    shell("test ! -e %s/home/1/home/x", s->work);
}

static void a_failed_one_ends_the_batch_and_leaves_nothing(void **state)
{
    stage *s = *state;
    slice id = commit(s);
    msg_assign a = batch(s, 1, id, "touch half; setsid sleep 600 & echo $! >$D/server; exit 3",
                         "touch $D/ran", 0, "a b");
    const msg_result *r = run(s, &a);

    assert_int_equal(r->verdict, VERDICT_FAILED);
    assert_true(r->setup_failed);
    assert_int_equal(r->exit, 3);
    assert_int_equal(r->items.n, 0);
    assert_true(slice_is(r->msg, "the setup failed with status 3"));
    assert_string_equal(s->log, "volt: setup begins\nvolt: the setup failed with status 3\n");
    assert_false(lives(s, "server"));
    assert_string_equal(content(s, "ran"), "");
    a = batch(s, 2, id, "test ! -e half", "true", 0, "a"); /* in a clean workspace */
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    leave(s);
}

static void it_has_the_jobs_time_limit(void **state)
{
    stage *s = *state;
    msg_assign a = batch(s, 1, commit(s), "sleep 600 & echo $! >$D/server; wait", "true", 0, "a");
    const msg_result *r;

    a.timeout_ms = HANG_MS;
    begin(s, &a);
    while (!*content(s, "server"))
        wait_some(s, 10);
    executor_step(s->ex, now_ms() + HANG_MS);
    r = &finish(s)->result;
    assert_int_equal(r->verdict, VERDICT_TIMEOUT);
    assert_true(r->setup_failed);
    assert_true(slice_is(r->msg, "the setup was stopped at its time limit of 1 m 00 s"));
    assert_false(lives(s, "server"));
}

static void cancel(stage *s, uint64_t task)
{
    give(s, &(msg){ .type = MSG_cancel,
                    .cancel = { .task = task, .att = 1, .why = SLICE("enough") } });
}

static void a_cancel_ends_it_in_the_midst(void **state)
{
    stage *s = *state;
    msg_assign a =
        batch(s, 1, commit(s), "sleep 600 & echo $! >$D/server; echo x; wait", "true", 0, "a");
    const msg *m;

    begin(s, &a);
    while (!*content(s, "server"))
        wait_some(s, 10);
    cancel(s, 1);
    m = finish(s);
    assert_int_equal(m->type, MSG_result);
    assert_int_equal(m->result.verdict, VERDICT_CANCELED);
    assert_false(m->result.setup_failed);
    assert_false(lives(s, "server"));
}

static void a_cancel_of_a_batch_ends_what_it_left(void **state)
{
    stage *s = *state;
    slice id = commit(s);
    const char *setup = "echo up >>$D/ups; sleep 600 & echo $! >$D/server";
    msg_assign a = batch(s, 1, id, setup, "touch $D/in; exec sleep 600", 0, "a b");

    begin(s, &a);
    while (access(arena_printf(&s->mem, "%s/in", s->dir), F_OK))
        wait_some(s, 10);
    cancel(s, 1);
    assert_int_equal(finish(s)->result.verdict, VERDICT_CANCELED);
    assert_false(lives(s, "server"));
    a = batch(s, 2, id, setup, "true", 0, "a");
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    assert_string_equal(content(s, "ups"), "up\nup\n");
    leave(s);
}

static bool is_finished(const stage *s)
{
    return executor_finished(s->ex);
}

static void an_executor_that_leaves_ends_it_first(void **state)
{
    stage *s = *state;
    msg_assign a = batch(s, 1, commit(s), "sleep 600 & echo $! >$D/server", "true", 0, "a");

    run(s, &a);
    assert_true(lives(s, "server"));
    give(s, &(msg){ .type = MSG_bye });
    assert_false(executor_finished(s->ex));
    step_until(s, 0, is_finished);
    assert_false(lives(s, "server"));
}

static void a_canceled_batch_need_not_wait_for_the_last_job(void **state)
{
    stage *s = *state;
    slice id = commit(s);
    msg_assign a =
        batch(s, 1, id,
              "sh -c 'trap \"\" TERM; touch $D/up; while :; do sleep 0.05; done' & echo $! "
              ">$D/server; until test -e $D/up; do sleep 0.01; done",
              "true", 0, "a");

    run(s, &a);
    a = batch(s, 2, id, "", "touch $D/ran", 0, "a");
    a.job = SLICE("another");
    begin(s, &a);
    assert_true(executor_busy(s->ex));
    executor_report(s->ex);
    assert_int_equal(last(s)->hb.held.v[0].state, HELD_ACCEPTED);
    cancel(s, 2);
    assert_false(executor_busy(s->ex));
    assert_int_equal(last(s)->result.verdict, VERDICT_CANCELED);
    leave(s);
    assert_false(lives(s, "server"));
    assert_string_equal(content(s, "ran"), "");
}

static void a_workspace_that_vanished_has_it_run_again(void **state)
{
    stage *s = *state;
    slice id = commit(s);
    const char *setup = "echo up >>$D/ups; touch made";
    msg_assign a = batch(s, 1, id, setup, "test -e made; rm -rf $VOLT_WORKSPACE", 0, "a");

    run(s, &a);
    a = batch(s, 2, id, setup, "test -e made", 0, "a");
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
    assert_string_equal(content(s, "ups"), "up\nup\n");
    leave(s);
}

/* ---- files that are run again ---- */

static void a_file_that_passes_at_last_is_flaky(void **state)
{
    stage *s = *state;
    const char *test = "echo x >>$D/{}; n=$(wc -l <$D/{}); echo run $n; test $n = 3";
    msg_assign a = batch(s, 1, commit(s), "", test, 2, "a b");
    rec_item got[2];
    const msg_result *r;

    shell("printf 'x\\nx\\n' >%s/b", s->dir);
    r = run(s, &a);
    assert_int_equal(r->verdict, VERDICT_FLAKY);
    assert_int_equal(outcomes(s, got), 2);
    assert_int_equal(got[0].verdict, VERDICT_FLAKY);
    assert_int_equal(got[0].tries, 3);
    assert_int_equal(got[0].exit, 0);
    assert_output(s, &got[0], "run 1\nvolt: a: run 2 of 3\nrun 2\nvolt: a: run 3 of 3\nrun 3\n");
    assert_int_equal(got[1].verdict, VERDICT_PASSED);
    assert_int_equal(got[1].tries, 0);
    assert_output(s, &got[1], "run 3\n");
}

static void one_that_never_passes_has_failed(void **state)
{
    stage *s = *state;
    msg_assign a = batch(s, 1, commit(s), "", "echo {}; exit 4", 1, "a b");
    rec_item got[2];

    assert_int_equal(run(s, &a)->verdict, VERDICT_FAILED);
    assert_int_equal(outcomes(s, got), 2);
    assert_int_equal(got[0].verdict, VERDICT_FAILED);
    assert_int_equal(got[0].tries, 2);
    assert_int_equal(got[0].exit, 4);
    assert_output(s, &got[0], "a\nvolt: a: run 2 of 2\na\n");
    assert_output(s, &got[1], "b\nvolt: b: run 2 of 2\nb\n");
}

static void one_that_took_too_long_counts_by_the_run_that_decided(void **state)
{
    stage *s = *state;
    msg_assign a =
        batch(s, 1, commit(s), "", "test -e $D/once && exit 0; touch $D/once; sleep 600", 1, "a");
    rec_item got[1];

    a.timeout_ms = HANG_MS;
    begin(s, &a);
    while (access(arena_printf(&s->mem, "%s/once", s->dir), F_OK))
        wait_some(s, 10);
    executor_step(s->ex, now_ms() + HANG_MS);
    assert_int_equal(finish(s)->result.verdict, VERDICT_FLAKY);
    assert_int_equal(outcomes(s, got), 1);
    assert_int_equal(got[0].verdict, VERDICT_FLAKY);
    assert_int_equal(got[0].tries, 2);
    assert_true(got[0].duration_ms < HANG_MS);
}

static void a_canceled_one_is_not_run_again(void **state)
{
    stage *s = *state;
    msg_assign a = batch(s, 1, commit(s), "",
                         "trap 'exit 1' TERM; echo x >>$D/n; while :; do sleep 0.01; done", 5, "a");

    begin(s, &a);
    while (!*content(s, "n"))
        wait_some(s, 10);
    cancel(s, 1);
    assert_int_equal(finish(s)->result.verdict, VERDICT_CANCELED);
    assert_string_equal(content(s, "n"), "x\n");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(it_runs_once_before_the_files_of_all_batches),
        TEST(what_it_started_lives_for_the_jobs_batches_and_no_longer),
        TEST(an_orphan_of_the_setup_is_not_the_units),
        TEST(a_server_may_go_on_talking),
        TEST(home_and_scratch_stay_as_long),
        TEST(a_failed_one_ends_the_batch_and_leaves_nothing),
        TEST(it_has_the_jobs_time_limit),
        TEST(a_cancel_ends_it_in_the_midst),
        TEST(a_cancel_of_a_batch_ends_what_it_left),
        TEST(an_executor_that_leaves_ends_it_first),
        TEST(a_canceled_batch_need_not_wait_for_the_last_job),
        TEST(a_workspace_that_vanished_has_it_run_again),
        TEST(a_file_that_passes_at_last_is_flaky),
        TEST(one_that_never_passes_has_failed),
        TEST(one_that_took_too_long_counts_by_the_run_that_decided),
        TEST(a_canceled_one_is_not_run_again),
    };

    if (argc > 3 && strcmp(argv[1], KEEPER_COMMAND) == 0) /* as the executor starts it */
        return keeper_run((const char *const *)argv + 3);
    return cmocka_run_group_tests(tests, setup, NULL);
}
