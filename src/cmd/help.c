#include "cmd/help.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"

#define COLUMN 28 /* where the explanations of options begin */
#define WIDTH  96

static const char about[] = "Volt tests every commit: an observer watches git repositories, a "
                            "dispatcher hands their commits to runners, and everybody may follow "
                            "the results.";

static const struct {
    int code;
    const char *meaning;
} exits[] = {
    { EXIT_DONE, "done, or the build passed" },
    { EXIT_RED, "the build did not pass" },
    { EXIT_USAGE, "usage or configuration" },
    { EXIT_NOT_FOUND, "not found" },
    { EXIT_UNREACHABLE, "the dispatcher cannot be reached" },
    { EXIT_REFUSED, "refused: key, role, lock, port in use" },
    { EXIT_TIMED_OUT, "timed out" },
    { EXIT_INTERRUPTED, "interrupted" },
};
#define EXITS_N (sizeof exits / sizeof *exits)

/* What every command has besides its own table. */
static const option_spec common[] = {
    { .name = "verbose", .kind = OPTION_FLAG, .help = "say more on standard error" },
    { .name = "help", .letter = 'h', .kind = OPTION_FLAG, .help = "show this help" },
};
#define COMMON_N (sizeof common / sizeof *common)

/* Prints words of `text` from column `at`, broken before WIDTH; the cursor is at column `from`. */
static void wrap(FILE *out, size_t from, size_t at, const char *text)
{
    size_t x = from;

    if (x + 1 > at && from > 0) {
        fputc('\n', out);
        x = 0;
    }
    while (*text) {
        size_t n = strcspn(text, " \n");

        if (x > at && x + 1 + n > WIDTH) {
            fputc('\n', out);
            x = 0;
        }
        if (x > at)
            fputc(' ', out);
        else
            fprintf(out, "%*s", (int)(at - x), "");
        x = (x > at ? x + 1 : at) + n;
        fwrite(text, 1, n, out);
        text += n;
        if (text[0] == '\n' && text[1]) { /* the table's own line break */
            fputc('\n', out);
            x = 0;
        }
        text += *text != '\0';
    }
    fputc('\n', out);
}

/* "default 5s; VOLT_INTERVAL", "" when there is neither. */
static void sources(const option_spec *o, buf *ret)
{
    CLEANUP(free)
    char *variable = command_variable(o->name);
    bool env = o->kind != OPTION_FLAG && !o->no_env;

    if (o->def && *o->def)
        buf_addf(ret, "default %s%s", o->def, env ? "; " : "");
    if (env)
        buf_adds(ret, variable);
    if (o->kind == OPTION_LIST)
        buf_addf(ret, "%srepeatable", ret->n ? "; " : "");
}

static void print_option(const option_spec *o, FILE *out)
{
    CLEANUP(buf)
    buf left = { 0 }, text = { 0 }, from = { 0 };

    buf_addf(&left, o->letter ? "  -%c, " : "      ", o->letter);
    buf_addf(&left, "--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
    fputs(buf_str(&left), out);
    sources(o, &from);
    buf_adds(&text, o->help);
    if (from.n && o->kind != OPTION_FLAG)
        buf_addf(&text, " (%s)", buf_str(&from));
    wrap(out, left.n, COLUMN, buf_str(&text));
}

/* The summary as a sentence, without its full stop; allocated. */
static char *sentence(const command *c)
{
    char *s = mem_strdup(c->summary);

    *s = (char)toupper((unsigned char)*s);
    return s;
}

void help_command(const command *c, FILE *out)
{
    CLEANUP(free)
    char *summary = sentence(c);

    fprintf(out, "Usage: volt %s [OPTION]...%s%s\n\n%s.\n", c->name, *c->args ? " " : "", c->args,
            summary);
    if (c->text) {
        fputc('\n', out);
        wrap(out, 0, 0, c->text);
    }
    fputs("\nOptions:\n", out);
    for (size_t i = 0; i < c->options_n; i++)
        print_option(&c->options[i], out);
    for (size_t i = 0; i < COMMON_N; i++)
        print_option(&common[i], out);
}

void help_all(FILE *out)
{
    fputs("Usage: volt COMMAND [OPTION]... [ARGUMENT]...\n\n", out);
    wrap(out, 0, 0, about);
    fputs("\nCommands:\n", out);
    for (size_t i = 0; i < commands_n; i++)
        if (!commands[i]->hidden) {
            CLEANUP(buf)
            buf left = { 0 };

            buf_addf(&left, "  %s", commands[i]->name);
            fputs(buf_str(&left), out);
            wrap(out, left.n, 16, commands[i]->summary);
        }
    fputs("\nOptions:\n", out);
    print_option(&(option_spec){ .name = "version", .help = "print the version" }, out);
    print_option(&common[1], out);
    fputs("\nExit codes:\n", out);
    for (size_t i = 0; i < EXITS_N; i++)
        fprintf(out, "  %3d  %s\n", exits[i].code, exits[i].meaning);
    fputs("\nTry 'volt COMMAND --help', or 'volt man | man -l -' for all of it.\n", out);
}

/* Text for roff: dashes stay dashes, no line begins with a control character. */
static void roff(FILE *out, const char *text)
{
    bool begin = true;

    for (const char *p = text; *p; p++) {
        if (begin && (*p == '.' || *p == '\''))
            fputs("\\&", out);
        if (*p == '\\')
            fputs("\\e", out);
        else if (*p == '-')
            fputs("\\-", out);
        else
            fputc(*p, out);
        begin = *p == '\n';
    }
}

static void man_option(FILE *out, const option_spec *o)
{
    CLEANUP(buf)
    buf from = { 0 };

    fputs(".TP\n", out);
    if (o->letter)
        fprintf(out, "\\fB\\-%c\\fR, ", o->letter);
    fputs("\\fB\\-\\-", out);
    roff(out, o->name);
    fputs("\\fR", out);
    if (o->arg) {
        fputs(" \\fI", out);
        roff(out, o->arg);
        fputs("\\fR", out);
    }
    fputc('\n', out);
    roff(out, o->help);
    sources(o, &from);
    if (from.n && o->kind != OPTION_FLAG) {
        fputs(" (", out);
        roff(out, buf_str(&from));
        fputc(')', out);
    }
    fputs(".\n", out);
}

static void man_command(FILE *out, const command *c)
{
    CLEANUP(free)
    char *summary = sentence(c);

    fprintf(out, ".SS \"volt %s", c->name);
    fprintf(out, "%s%s\"\n", *c->args ? " " : "", c->args);
    roff(out, summary);
    fputs(".\n", out);
    if (c->text) {
        fputs(".PP\n", out);
        roff(out, c->text);
        fputc('\n', out);
    }
    for (size_t i = 0; i < c->options_n; i++)
        man_option(out, &c->options[i]);
}

void help_man(FILE *out)
{
    fprintf(out, ".TH VOLT 1 \"\" \"volt %s\"\n", VOLT_VERSION);
    fputs(".SH NAME\nvolt \\- continuous integration on a message queue\n"
          ".SH SYNOPSIS\n.B volt\n.I COMMAND\n[\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...\n"
          ".SH DESCRIPTION\n",
          out);
    roff(out, about);
    fputs("\n.SH COMMANDS\n", out);
    for (size_t i = 0; i < commands_n; i++)
        if (!commands[i]->hidden)
            man_command(out, commands[i]);
    fputs(".SH COMMON OPTIONS\n", out);
    for (size_t i = 0; i < COMMON_N; i++)
        man_option(out, &common[i]);
    fputs(".SH ENVIRONMENT\nAn option that has a value and is not given is taken from the variable "
          "that its description names, where it names one; an empty variable counts as not set. "
          "\\fBNO_COLOR\\fR turns colours off.\n.SH EXIT STATUS\n",
          out);
    for (size_t i = 0; i < EXITS_N; i++)
        fprintf(out, ".TP\n.B %d\n%s\n", exits[i].code, exits[i].meaning);
}

void help_bash(FILE *out)
{
    fputs("_volt()\n{\n    local cur=${COMP_WORDS[COMP_CWORD]} words='--help --version'\n"
          "    if [ \"$COMP_CWORD\" -gt 1 ]; then\n        case ${COMP_WORDS[1]} in\n",
          out);
    for (size_t i = 0; i < commands_n; i++) {
        fprintf(out, "        %s) words='", commands[i]->name);
        for (size_t k = 0; k < commands[i]->options_n; k++)
            fprintf(out, "--%s ", commands[i]->options[k].name);
        for (size_t k = 0; k < COMMON_N; k++)
            fprintf(out, "--%s%s", common[k].name, k + 1 < COMMON_N ? " " : "");
        fputs("' ;;\n", out);
    }
    fputs("        *) words= ;;\n        esac\n"
          "        case $cur in -*) ;; *) words= ;; esac\n    else\n        words+='",
          out);
    for (size_t i = 0; i < commands_n; i++)
        if (!commands[i]->hidden)
            fprintf(out, " %s", commands[i]->name);
    fputs("'\n    fi\n    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
          "complete -o default -F _volt volt\n",
          out);
}
