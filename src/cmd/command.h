/*
 * command.h - a subcommand of `volt`: one constant, one short function.
 *
 * Help, completion and the man page derive from the tables here.  A value is looked for in the
 * flag, then in the environment (VOLT_DISPATCHER_SERVER for --dispatcher-server), then in the
 * option's default.  An empty variable counts as not set.  Flags without a value have no variable.
 * Every command also has --help and --verbose (log_debug() is written).
 */
#ifndef VOLT_CMD_COMMAND_H
#define VOLT_CMD_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef enum exit_code {
    EXIT_DONE = 0,  /* done, or passed */
    EXIT_RED = 1,   /* the build did not pass */
    EXIT_USAGE = 2, /* usage or configuration */
    EXIT_NOT_FOUND = 3,
    EXIT_UNREACHABLE = 4, /* the dispatcher does not answer */
    EXIT_REFUSED = 5,     /* key, role, lock */
    EXIT_TIMED_OUT = 6,
    EXIT_INTERRUPTED = 130,
} exit_code;

typedef enum option_kind {
    OPTION_FLAG, /* no value */
    OPTION_TEXT,
    OPTION_WORD,     /* one of the words in `arg` ("auto|always|never"); read as a text */
    OPTION_NUMBER,   /* checked against min and max */
    OPTION_DURATION, /* "5s": read with command_ms() */
    OPTION_SIZE,     /* "20G", checked against min and max: read with command_bytes() */
    OPTION_LIST,     /* may be given several times; in the environment separated by spaces */
} option_kind;

typedef struct option_spec {
    const char *name; /* long name without dashes */
    char letter;      /* 0: none */
    option_kind kind;
    const char *arg;  /* what help calls the value: "N", "DIR" */
    const char *def;  /* default as text; NULL: none */
    int64_t min, max; /* NUMBER; SIZE, in bytes; min also DURATION, in ms */
    const char *help; /* one sentence without a full stop */
    bool no_env;      /* not from the environment: belongs to one call, or VOLT_NAME means something
                         else (as in what `volt tail --exec` gives its program) */
} option_spec;

typedef struct command_line command_line;

typedef struct command {
    const char *name;
    const char *args;       /* "REPO...", "" */
    int args_min, args_max; /* args_max -1: any number */
    const char *summary;    /* one line of `volt --help` */
    const char *text;       /* paragraphs of the command's own help and man page; may be NULL */
    const option_spec *options;
    size_t options_n;
    bool hidden; /* not in `volt --help` */
    exit_code (*run)(const command_line *line);
} command;

/* The option every command that talks to a dispatcher has. */
#define OPTION_DISPATCHER                                                         \
    {                                                                             \
        "dispatcher-server", 0, OPTION_TEXT, "HOST:PORT", "localhost:8888", 0, 0, \
            "where the dispatcher is", false                                      \
    }
#define OPTION_JSON                                                   \
    {                                                                 \
        "json", 0, OPTION_FLAG, NULL, NULL, 0, 0, "print JSON", false \
    }
/* Read it with show_color() of cmd/show.h. */
#define OPTION_COLOR                                                                \
    {                                                                               \
        "color", 0, OPTION_WORD, "auto|always|never", "auto", 0, 0,                 \
            "colour the output; auto: on a terminal, unless NO_COLOR is set", false \
    }

/* Values; the name must be one of the command's options of that kind (else an assert).
 * Texts stand as long as the command runs. */
bool command_flag(const command_line *line, const char *name);
const char *command_text(const command_line *line,
                         const char *name); /* NULL: not given, no default */
int64_t command_number(const command_line *line, const char *name);
int64_t command_ms(const command_line *line, const char *name);
int64_t command_bytes(const command_line *line, const char *name);
size_t command_list(const command_line *line, const char *name, const char *const **ret);
/* Positional arguments. */
size_t command_args(const command_line *line, const char *const **ret);
/* True when the value came from flag, environment or file, not from the default. */
bool command_given(const command_line *line, const char *name);

/* Prints `volt NAME: MESSAGE` to standard error and returns the exit code that fits err->code. */
exit_code command_fail(const command_line *line, const volt_err *err);
/* The same for a message of the caller's. */
exit_code command_fail_with(const command_line *line, exit_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* $XDG_STATE_HOME/volt or ~/.local/state/volt, then "/name" when name is not NULL; allocated.
 * Not made: the directory may be missing. */
char *command_state_dir(const char *name);
/* The path of this program, for starting it again (/proc/self/exe resolved); static. */
const char *command_self(void);

/* For main.c: reads the rest of the command line (argv[0] is the command's name) and runs the
 * command, or prints its help, or says what is wrong with the line (EXIT_USAGE). */
exit_code command_run(const command *c, int argc, char **argv);
/* The command of that name; NULL: there is none. */
const command *command_find(const char *name);
/* VOLT_DISPATCHER_SERVER for "dispatcher-server"; allocated. */
char *command_variable(const char *option);

/* Every command (each defined in its own file, listed in commands.c), in the order of
 * `volt --help`. */
extern const command *const commands[];
extern const size_t commands_n;

#endif
