/* What an order asks for and not every runner has: secrets, and a sandbox. */
#include "stage.h"

#define PATH_ALL "/usr/bin:/bin"

/* The stage's executor anew, with secrets, and with what PATH has of bwrap. */
static void open_again(stage *s, const char *path)
{
    site_config config;
    char *secrets = arena_printf(&s->mem, "%s/secrets", s->dir);
    FILE *f = fopen(secrets, "w");
    volt_err err;

    assert_non_null(f);
    fputs("TOKEN=hunter2hunter2\nOTHER=sesame open\n", f);
    fclose(f);
    chmod(secrets, 0600);
    config = *site_settings(s->site);
    config.secrets = secrets;
    config.path = path;
    close_executor(s);
    if (site_new(&config, &s->site, &err))
        fail_msg("%s", err.msg);
    s->ex = executor_new(s->site, hear, s);
}

static msg_assign asking(stage *s, uint64_t task, slice oid, const msg_spec *spec)
{
    msg_assign a = order(s, task, oid, NULL);
    CLEANUP(buf)
    buf b = { 0 };

    plan_spec_write(spec, &b);
    a.spec = arena_slice(&s->mem, buf_slice(&b));
    a.default_branch = SLICE("main");
    return a;
}

static void assert_unable(stage *s, const msg_assign *a, const char *says)
{
    const msg *m;

    begin(s, a);
    m = finish(s);
    assert_int_equal(m->type, MSG_nack);
    assert_int_equal(m->nack.code, CODE_UNABLE);
    if (!slice_starts(m->nack.msg, slice_of(says)))
        fail_msg(SLICE_FMT, SLICE_ARG(m->nack.msg));
}

static void secrets_are_given_and_masked(void **state)
{
    stage *s = *state;
    slice names[] = { SLICE("TOKEN"), SLICE("OTHER") };
    msg_assign a;
    const msg_result *r;

    open_again(s, PATH_ALL);
    a = asking(
        s, 1, commit(s),
        &(msg_spec){ .script = SLICE("echo $TOKEN; cat $VOLT_SECRETS_DIR/OTHER; exit ${#TOKEN}"),
                     .secrets = { names, 2 } });
    r = run(s, &a);
    assert_int_equal(r->exit, strlen("hunter2hunter2"));
    assert_string_equal(s->log, "***\n***");
    assert_int_equal(r->log_bytes, strlen(s->log));
    assert_int_equal(access(site_secrets(s->site), F_OK), -1);
}

static void secrets_are_refused_with_a_reason(void **state)
{
    stage *s = *state;
    slice names[] = { SLICE("TOKEN"), SLICE("NONE") };
    const msg_spec one = { .script = SLICE("exit 9"), .secrets = { names, 1 } };
    const msg_spec both = { .script = SLICE("exit 9"), .secrets = { names, 2 } };
    slice oid = commit(s);
    msg_assign a = asking(s, 1, oid, &one);

    assert_unable(s, &a, "this runner has no secrets, and 'TOKEN' is wanted");
    open_again(s, PATH_ALL);
    a.ref = SLICE("refs/heads/topic");
    assert_unable(s, &a, "secret 'TOKEN' is not for topic of r at this runner: only the default");
    a.ref = SLICE("refs/pull/1/head");
    assert_unable(s, &a, "secret 'TOKEN' is not for refs/pull/1/head of r");
    a = asking(s, 1, oid, &both);
    assert_unable(s, &a, "this runner has no secret 'NONE'");
    a = asking(s, 1, oid, &one); /* a plan gets none, and asks for none */
    a.kind = TASK_PLAN;
    a.ref = SLICE("refs/heads/topic");
    assert_int_equal(run(s, &a)->verdict, VERDICT_PASSED);
}

static void a_sandbox_is_refused_where_it_cannot_be(void **state)
{
    stage *s = *state;
    slice oid = commit(s);
    msg_assign a;

    open_again(s, "/nowhere");
    a = asking(s, 1, oid, &(msg_spec){ .script = SLICE("exit 9"), .sandbox = SANDBOX_KIND_BWRAP });
    assert_unable(s, &a, "this runner cannot do 'sandbox: bwrap': bubblewrap (bwrap) is not");
    a = asking(s, 1, oid, &(msg_spec){ .script = SLICE("exit 9"), .network_off = true });
    assert_unable(s, &a, "this runner cannot do 'network: false': bubblewrap (bwrap) is not");
    shell("printf '#!/bin/sh\\necho no luck; exit 1\\n' >'%s/bwrap'; chmod 755 '%s/bwrap'", s->dir,
          s->dir);
    open_again(s, s->dir);
    assert_unable(s, &a,
                  "this runner cannot do 'network: false': bwrap does not work here: no luck");
}

static void a_sandbox_gets_the_command_as_it_is(void **state)
{
    stage *s = *state;
    msg_assign a;

    shell("printf '#!/bin/sh\\nwhile [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"\\n' "
          ">'%s/bwrap'; chmod 755 '%s/bwrap'",
          s->dir, s->dir);
    open_again(s, s->dir);
    a = asking(s, 1, commit(s),
               &(msg_spec){ .script = SLICE("echo 'a  b'; exit 9"),
                            .sandbox = SANDBOX_KIND_BWRAP,
                            .network_off = true });
    assert_int_equal(run(s, &a)->exit, 9);
    assert_string_equal(s->log, "a  b\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(secrets_are_given_and_masked),
        TEST(secrets_are_refused_with_a_reason),
        TEST(a_sandbox_is_refused_where_it_cannot_be),
        TEST(a_sandbox_gets_the_command_as_it_is),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
