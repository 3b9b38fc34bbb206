#include "cmd/command.h"

#include <assert.h>
#include <ctype.h>
#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/nearest.h"
#include "base/text.h"
#include "cmd/help.h"

#define OPTIONS_MAX 32
#define VALUES_MAX  4096 /* of one list option */
/* getopt_long() returns these for long options: above every letter. */
#define LONG_FIRST   256
#define LONG_HELP    (LONG_FIRST + OPTIONS_MAX)
#define LONG_VERBOSE (LONG_HELP + 1)

typedef struct value {
    bool given;
    const char *text; /* TEXT; NUMBER, DURATION and SIZE as written */
    int64_t number;   /* NUMBER, DURATION in ms, SIZE in bytes */
    const char **list;
    size_t n;
    char *words; /* what the list of an environment variable points into */
} value;

struct command_line {
    const command *cmd;
    value values[OPTIONS_MAX];
    const char *const *args;
    size_t args_n;
};

static const value *find(const command_line *line, const char *name, option_kind kind,
                         option_kind other)
{
    for (size_t i = 0; i < line->cmd->options_n; i++) {
        const option_spec *o = &line->cmd->options[i];

        if (strcmp(o->name, name) == 0) {
            assert(o->kind == kind || o->kind == other);
            return &line->values[i];
        }
    }
    assert(false && "a command asks for an option that it does not have");
    return NULL;
}

bool command_flag(const command_line *line, const char *name)
{
    return find(line, name, OPTION_FLAG, OPTION_FLAG)->given;
}

const char *command_text(const command_line *line, const char *name)
{
    return find(line, name, OPTION_TEXT, OPTION_WORD)->text;
}

int64_t command_number(const command_line *line, const char *name)
{
    return find(line, name, OPTION_NUMBER, OPTION_NUMBER)->number;
}

int64_t command_ms(const command_line *line, const char *name)
{
    return find(line, name, OPTION_DURATION, OPTION_DURATION)->number;
}

int64_t command_bytes(const command_line *line, const char *name)
{
    return find(line, name, OPTION_SIZE, OPTION_SIZE)->number;
}

size_t command_list(const command_line *line, const char *name, const char *const **ret)
{
    const value *v = find(line, name, OPTION_LIST, OPTION_LIST);

    *ret = v->list;
    return v->n;
}

size_t command_args(const command_line *line, const char *const **ret)
{
    *ret = line->args;
    return line->args_n;
}

bool command_given(const command_line *line, const char *name)
{
    for (size_t i = 0; i < line->cmd->options_n; i++)
        if (strcmp(line->cmd->options[i].name, name) == 0)
            return line->values[i].given;
    assert(false && "a command asks for an option that it does not have");
    return false;
}

static exit_code exit_of(volt_code code)
{
    switch (code) {
    case VOLT_OK:
        return EXIT_DONE;
    case VOLT_ENOTFOUND:
        return EXIT_NOT_FOUND;
    case VOLT_EUNREACHABLE:
        return EXIT_UNREACHABLE;
    case VOLT_EREFUSED:
    case VOLT_EAGAIN:
    case VOLT_ELOCKED:
    case VOLT_EEXISTS:
    case VOLT_ECORRUPT:
    case VOLT_EVERSION:
        return EXIT_REFUSED;
    case VOLT_ETIMEOUT:
        return EXIT_TIMED_OUT;
    case VOLT_ECANCELED:
        return EXIT_INTERRUPTED;
    default: /* what remains is a set-up that does not work: files, limits, arguments */
        return EXIT_USAGE;
    }
}

static void print_error(const command *c, const char *fmt, va_list ap)
{
    fflush(stdout); /* what was said before the error comes before it */
    fprintf(stderr, "volt %s: ", c->name);
    vfprintf(stderr, fmt, ap);
}

exit_code command_fail(const command_line *line, const volt_err *err)
{
    return command_fail_with(line, exit_of(err->code), "%s", err->msg);
}

exit_code command_fail_with(const command_line *line, exit_code code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    print_error(line->cmd, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return code;
}

__attribute__((format(printf, 2, 3))) static exit_code usage(const command *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    print_error(c, fmt, ap);
    va_end(ap);
    fprintf(stderr, " (see 'volt %s --help')\n", c->name);
    return EXIT_USAGE;
}

char *command_variable(const char *option)
{
    char *name = mem_printf("VOLT_%s", option);

    for (char *p = name; *p; p++)
        *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    return name;
}

/* True when `word` is one of those in "a|b|c". */
static bool is_choice(const char *choices, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = choices; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (n && strncmp(p, word, n) == 0 && (p[n] == '|' || p[n] == '\0'))
            return true;
    return false;
}

/* Takes one value; `text` must stand as long as the line. */
static volt_code set_value(const option_spec *o, value *v, const char *text, volt_err *err)
{
    char least[TEXT_DURATION_MAX];

    switch (o->kind) {
    case OPTION_FLAG:
    case OPTION_TEXT:
        v->text = text;
        return VOLT_OK;
    case OPTION_WORD:
        v->text = text;
        if (!is_choice(o->arg, text))
            return volt_fail(err, VOLT_EINVALID, "'%s' is not one of %s", text, o->arg);
        return VOLT_OK;
    case OPTION_NUMBER:
        v->text = text;
        return text_number(text, o->min, o->max, &v->number, err);
    case OPTION_DURATION:
        v->text = text;
        if (text_duration_ms(text, &v->number, err))
            return VOLT_EINVALID;
        if (v->number < o->min)
            return volt_fail(err, VOLT_EINVALID, "%s is less than %s", text,
                             text_show_ms(o->min, least));
        return VOLT_OK;
    case OPTION_SIZE:
        v->text = text;
        return text_size(text, o->min, o->max, &v->number, err);
    case OPTION_LIST:
        if (v->n == VALUES_MAX)
            return volt_fail(err, VOLT_EINVALID, "more than %d values", VALUES_MAX);
        v->list = mem_grow(v->list, v->n + 1, sizeof *v->list);
        v->list[v->n++] = text;
        return VOLT_OK;
    }
    return VOLT_OK;
}

/* Fills what the command line left open from the environment and the defaults. */
static exit_code set_rest(command_line *line)
{
    for (size_t i = 0; i < line->cmd->options_n; i++) {
        const option_spec *o = &line->cmd->options[i];
        CLEANUP(free)
        char *name = command_variable(o->name);
        const char *env = o->no_env || o->kind == OPTION_FLAG ? NULL : getenv(name);
        const char *text = env && *env ? env : o->def;
        volt_err err = { 0 };
        volt_code code = VOLT_OK;

        if (line->values[i].given || !text)
            continue;
        line->values[i].given = text == env;
        if (o->kind == OPTION_LIST) {
            char *save = NULL;

            line->values[i].words = mem_strdup(text);
            for (char *s = strtok_r(line->values[i].words, " ", &save); s && !code;
                 s = strtok_r(NULL, " ", &save))
                code = set_value(o, &line->values[i], s, &err);
        } else {
            code = set_value(o, &line->values[i], text, &err);
        }
        if (code)
            return usage(line->cmd, "%s: %s", name, err.msg);
    }
    return EXIT_DONE;
}

/* What getopt_long() is given, made from the option table. */
typedef struct getopt_table {
    struct option v[OPTIONS_MAX + 3];
    char letters[2 * OPTIONS_MAX + 4];
} getopt_table;

static void make_table(const command *c, getopt_table *t)
{
    size_t n = 0;
    char *p = t->letters;

    assert(c->options_n <= OPTIONS_MAX);
    memset(t, 0, sizeof *t);
    *p++ = ':'; /* tell a missing value from an unknown option */
    *p++ = 'h';
    for (; n < c->options_n; n++) {
        const option_spec *o = &c->options[n];
        int has_arg = o->kind == OPTION_FLAG ? no_argument : required_argument;

        t->v[n] = (struct option){ o->name, has_arg, NULL, LONG_FIRST + (int)n };
        if (o->letter) {
            *p++ = o->letter;
            if (has_arg)
                *p++ = ':';
        }
    }
    t->v[n++] = (struct option){ "help", no_argument, NULL, LONG_HELP };
    t->v[n++] = (struct option){ "verbose", no_argument, NULL, LONG_VERBOSE };
}

static size_t option_at(const command *c, int got)
{
    if (got >= LONG_FIRST)
        return (size_t)(got - LONG_FIRST);
    for (size_t i = 0; i < c->options_n; i++)
        if (c->options[i].letter == got)
            return i;
    return c->options_n;
}

/* Says what getopt_long() did not like; `got` is ':' or '?', `word` the argument it read last. */
static exit_code bad_option(const command *c, const getopt_table *t, int got, const char *word)
{
    CLEANUP(free)
    char *typed = mem_strdup(word + strspn(word, "-"));
    nearest n = { .typed = typed };
    const char *near;

    if (got == ':')
        return usage(c, "option '%s' needs a value", word);
    if (optopt >= LONG_FIRST)
        return usage(c, "option '%s' takes no value", word);
    if (optopt)
        return usage(c, "unknown option '-%c'", optopt);
    typed[strcspn(typed, "=")] = '\0';
    for (const struct option *o = t->v; o->name; o++)
        nearest_try(&n, o->name);
    near = nearest_found(&n);
    if (near)
        return usage(c, "unknown option '--%s'; did you mean '--%s'?", typed, near);
    return usage(c, "unknown option '--%s'", typed);
}

/* Reads the options.  *helped: help was printed, nothing else is to be done. */
static exit_code read_options(command_line *line, int argc, char **argv, bool *helped)
{
    const command *c = line->cmd;
    getopt_table t;
    int got;

    make_table(c, &t);
    opterr = 0;
    optind = 1;
    while ((got = getopt_long(argc, argv, t.letters, t.v, NULL)) != -1) {
        const option_spec *o;
        volt_err err = { 0 };
        value *v;

        if (got == ':' || got == '?')
            return bad_option(c, &t, got, argv[optind - 1]);
        if (got == 'h' || got == LONG_HELP) {
            help_command(c, stdout);
            *helped = true;
            return EXIT_DONE;
        }
        if (got == LONG_VERBOSE) {
            log_setup(c->name, LOG_DEBUG);
            continue;
        }
        o = &c->options[option_at(c, got)];
        v = &line->values[option_at(c, got)];
        v->given = true;
        if (set_value(o, v, optarg, &err))
            return usage(c, "--%s: %s", o->name, err.msg);
    }
    line->args = (const char *const *)argv + optind;
    line->args_n = (size_t)(argc - optind);
    return EXIT_DONE;
}

static exit_code check_args(const command_line *line)
{
    const command *c = line->cmd;

    if (line->args_n < (size_t)c->args_min)
        return usage(c, "%s; usage: volt %s %s", line->args_n ? "too few arguments" : "no argument",
                     c->name, c->args);
    if (c->args_max >= 0 && line->args_n > (size_t)c->args_max)
        return usage(c, "unexpected argument '%s'", line->args[c->args_max]);
    return EXIT_DONE;
}

exit_code command_run(const command *c, int argc, char **argv)
{
    command_line *line = NEW(command_line);
    bool helped = false;
    exit_code code;

    line->cmd = c;
    log_setup(c->name, LOG_NOTE);
    code = read_options(line, argc, argv, &helped);
    if (code == EXIT_DONE && !helped)
        code = set_rest(line);
    if (code == EXIT_DONE && !helped)
        code = check_args(line);
    if (code == EXIT_DONE && !helped)
        code = c->run(line);
    for (size_t i = 0; i < c->options_n; i++) {
        free(line->values[i].list);
        free(line->values[i].words);
    }
    free(line);
    return code;
}

const command *command_find(const char *name)
{
    for (size_t i = 0; i < commands_n; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

char *command_state_dir(const char *name)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    const struct passwd *user;

    if (!home || *home != '/') {
        user = getpwuid(getuid());
        home = user ? user->pw_dir : "/";
    }
    if (state && *state == '/') /* the specification has relative ones ignored */
        return mem_printf("%s/volt%s%s", state, name ? "/" : "", name ? name : "");
    return mem_printf("%s/.local/state/volt%s%s", home, name ? "/" : "", name ? name : "");
}

const char *command_self(void)
{
    static char self[PATH_MAX];
    ssize_t n;

    if (!*self) {
        n = readlink("/proc/self/exe", self, sizeof self - 1);
        if (n <= 0)
            return "volt"; /* no /proc: what PATH finds */
        self[n] = '\0';
    }
    return self;
}
