#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <unistd.h>

#include "cmd/command.h"

/* What the last run of the command saw. */
static struct {
    int runs;
    bool flag, server_given, ref_given;
    char server[64], word[64];
    int64_t number, ms, bytes;
    size_t list_n, args_n;
    char list[4][64], args[4][64];
} seen;

static exit_code run(const command_line *line)
{
    const char *const *v;

    seen.runs++;
    seen.flag = command_flag(line, "fast");
    seen.server_given = command_given(line, "dispatcher-server");
    seen.ref_given = command_given(line, "ref");
    snprintf(seen.server, sizeof seen.server, "%s", command_text(line, "dispatcher-server"));
    snprintf(seen.word, sizeof seen.word, "%s", command_text(line, "color"));
    seen.number = command_number(line, "slots");
    seen.ms = command_ms(line, "interval");
    seen.bytes = command_bytes(line, "room");
    seen.list_n = command_list(line, "branch", &v);
    for (size_t i = 0; i < seen.list_n && i < 4; i++)
        snprintf(seen.list[i], sizeof seen.list[i], "%s", v[i]);
    seen.args_n = command_args(line, &v);
    for (size_t i = 0; i < seen.args_n && i < 4; i++)
        snprintf(seen.args[i], sizeof seen.args[i], "%s", v[i]);
    return EXIT_RED;
}

static const option_spec options[] = {
    OPTION_DISPATCHER,
    OPTION_COLOR,
    { .name = "fast", .letter = 'f', .kind = OPTION_FLAG, .help = "be fast" },
    { .name = "slots",
      .letter = 's',
      .kind = OPTION_NUMBER,
      .arg = "N",
      .def = "1",
      .min = 1,
      .max = 64,
      .help = "how many" },
    { .name = "interval",
      .kind = OPTION_DURATION,
      .arg = "TIME",
      .def = "5s",
      .help = "how often" },
    { .name = "room",
      .kind = OPTION_SIZE,
      .arg = "SIZE",
      .def = "4M",
      .min = 1024,
      .max = 1 << 30,
      .help = "how much" },
    { .name = "branch", .letter = 'b', .kind = OPTION_LIST, .arg = "GLOB", .help = "which" },
    { .name = "ref",
      .kind = OPTION_TEXT,
      .arg = "REF",
      .help = "belongs to one call",
      .no_env = true },
};

static const command sample = {
    .name = "sample",
    .args = "REPO...",
    .args_min = 1,
    .args_max = 2,
    .summary = "show how options are read",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = run,
};

/* Runs the command with the words of `text`; what goes to standard error is in `said`. */
static char said[4096];
static exit_code run_words(const char *text)
{
    char words[512], *argv[32] = { (char *)(uintptr_t) "sample" }, *save = NULL;
    int argc = 1, old = dup(STDERR_FILENO);
    FILE *f = tmpfile();
    exit_code code;
    size_t n;

    memset(&seen, 0, sizeof seen);
    snprintf(words, sizeof words, "%s", text);
    for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    fflush(stderr);
    dup2(fileno(f), STDERR_FILENO);
    code = command_run(&sample, argc, argv);
    fflush(stderr);
    dup2(old, STDERR_FILENO);
    close(old);
    rewind(f);
    n = fread(said, 1, sizeof said - 1, f);
    said[n] = '\0';
    fclose(f);
    return code;
}

static int clean(void **state)
{
    (void)state;
    unsetenv("VOLT_DISPATCHER_SERVER");
    unsetenv("VOLT_SLOTS");
    unsetenv("VOLT_BRANCH");
    unsetenv("VOLT_REF");
    unsetenv("VOLT_COLOR");
    return 0;
}

static void defaults_hold_where_nothing_is_said(void **state)
{
    (void)state;
    assert_int_equal(run_words("here"), EXIT_RED);
    assert_string_equal(seen.server, "localhost:8888");
    assert_false(seen.server_given);
    assert_int_equal(seen.number, 1);
    assert_int_equal(seen.ms, 5000);
    assert_int_equal(seen.bytes, 4 << 20);
    assert_int_equal(seen.list_n, 0);
    assert_false(seen.flag);
    assert_int_equal(seen.args_n, 1);
    assert_string_equal(seen.args[0], "here");
}

static void options_and_arguments_mix(void **state)
{
    (void)state;
    assert_int_equal(run_words("one --slots=4 -f two --interval 250ms --room 3K -bmain --branch v* "
                               "--dispatcher-server h:1"),
                     EXIT_RED);
    assert_int_equal(seen.number, 4);
    assert_true(seen.flag);
    assert_int_equal(seen.ms, 250);
    assert_int_equal(seen.bytes, 3 << 10);
    assert_int_equal(seen.list_n, 2);
    assert_string_equal(seen.list[0], "main");
    assert_string_equal(seen.list[1], "v*");
    assert_string_equal(seen.server, "h:1");
    assert_true(seen.server_given);
    assert_int_equal(seen.args_n, 2);
    assert_int_equal(run_words("-- --slots"), EXIT_RED);
    assert_string_equal(seen.args[0], "--slots");
}

static void the_environment_comes_after_flags_and_before_defaults(void **state)
{
    (void)state;
    setenv("VOLT_DISPATCHER_SERVER", "env:1", 1);
    setenv("VOLT_SLOTS", "7", 1);
    setenv("VOLT_BRANCH", "a b", 1);
    assert_int_equal(run_words("x"), EXIT_RED);
    assert_string_equal(seen.server, "env:1");
    assert_true(seen.server_given);
    assert_int_equal(seen.number, 7);
    assert_int_equal(seen.list_n, 2);
    assert_string_equal(seen.list[1], "b");
    assert_int_equal(run_words("x --slots 2 --branch c"), EXIT_RED);
    assert_int_equal(seen.number, 2);
    assert_int_equal(seen.list_n, 1);
    setenv("VOLT_SLOTS", "", 1); /* empty is not set */
    assert_int_equal(run_words("x"), EXIT_RED);
    assert_int_equal(seen.number, 1);
    setenv("VOLT_SLOTS", "many", 1);
    assert_int_equal(run_words("x"), EXIT_USAGE);
    assert_non_null(strstr(said, "VOLT_SLOTS"));
    assert_int_equal(run_words("x --slots 1"), EXIT_RED); /* what is not used does not hurt */
}

static void what_is_wrong_with_a_line_is_said(void **state)
{
    static const struct {
        const char *line, *said;
    } bad[] = {
        { "", "volt sample: no argument; usage: volt sample REPO..." },
        { "a b c", "volt sample: unexpected argument 'c'" },
        { "a --slots 0", "volt sample: --slots: '0' is not a number from 1 to 64" },
        { "a --slots 65", "'65' is not a number from 1 to 64" },
        { "a --slots", "option '--slots' needs a value" },
        { "a -s", "option '-s' needs a value" },
        { "a --fast=yes", "option '--fast=yes' takes no value" },
        { "a --interval soon", "--interval: 'soon' is not a duration" },
        { "a --room 7X", "--room: '7X' is not a size" },
        { "a --room 2G", "--room: '2G' is not from 1024 to 1073741824 bytes" },
        { "a --color=blue", "'blue' is not one of auto|always|never" },
        { "a --dispacher-server x", "did you mean '--dispatcher-server'?" },
        { "a --dispacher x", "did you mean '--dispatcher-server'?" },
        { "a --slot=1", NULL }, /* an unambiguous beginning will do */
        { "a --xyzzy", "unknown option '--xyzzy' (see 'volt sample --help')" },
        { "a -x", "unknown option '-x'" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        exit_code code = run_words(bad[i].line);

        if (!bad[i].said) {
            assert_int_equal(code, EXIT_RED);
            continue;
        }
        assert_int_equal(code, EXIT_USAGE);
        assert_int_equal(seen.runs, 0);
        assert_non_null(strstr(said, bad[i].said));
        assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1); /* one line */
    }
}

static void an_option_of_one_call_has_no_variable(void **state)
{
    (void)state;
    setenv("VOLT_REF", "refs/heads/other", 1);
    assert_int_equal(run_words("x"), EXIT_RED);
    assert_false(seen.ref_given);
    assert_int_equal(run_words("x --ref main"), EXIT_RED);
    assert_true(seen.ref_given);
}

static void state_directories_follow_the_environment(void **state)
{
    char *dir;

    (void)state;
    setenv("XDG_STATE_HOME", "/x/state", 1);
    dir = command_state_dir("dispatcher");
    assert_string_equal(dir, "/x/state/volt/dispatcher");
    free(dir);
    setenv("XDG_STATE_HOME", "relative", 1); /* to be ignored, says the specification */
    setenv("HOME", "/home/me", 1);
    dir = command_state_dir(NULL);
    assert_string_equal(dir, "/home/me/.local/state/volt");
    free(dir);
    assert_int_equal(access(command_self(), X_OK), 0);
}

/* Every table that help, completion and the man page are made from is well formed. */
static void the_tables_of_all_commands_are_sound(void **state)
{
    (void)state;
    for (size_t i = 0; i < commands_n; i++) {
        const command *c = commands[i];

        assert_ptr_equal(command_find(c->name), c); /* no name twice */
        assert_non_null(c->summary);
        assert_non_null(c->args);
        assert_true(c->summary[0] < 'A' || c->summary[0] > 'Z');
        assert_true(c->args_max == -1 || c->args_max >= c->args_min);
        assert_true((c->args_max == 0) == (*c->args == '\0'));
        for (size_t k = 0; k < c->options_n; k++) {
            const option_spec *o = &c->options[k];

            assert_true((o->kind == OPTION_FLAG) == (o->arg == NULL));
            assert_non_null(o->help);
            assert_true(o->help[strlen(o->help) - 1] != '.');
            assert_true(o->letter != 'h');
            for (size_t j = 0; j < k; j++) {
                assert_string_not_equal(o->name, c->options[j].name);
                assert_true(!o->letter || o->letter != c->options[j].letter);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(defaults_hold_where_nothing_is_said, clean),
        cmocka_unit_test_setup(options_and_arguments_mix, clean),
        cmocka_unit_test_setup(the_environment_comes_after_flags_and_before_defaults, clean),
        cmocka_unit_test_setup(what_is_wrong_with_a_line_is_said, clean),
        cmocka_unit_test_setup(an_option_of_one_call_has_no_variable, clean),
        cmocka_unit_test_setup(state_directories_follow_the_environment, clean),
        cmocka_unit_test(the_tables_of_all_commands_are_sound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
