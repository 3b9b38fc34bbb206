#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/kill.h"
#include "base/nearest.h"
#include "cmd/up/children.h"
#include "cmd/command.h"
#include "cmd/help.h"
#include "cmd/json.h"
#include "net/sock.h"

static exit_code unknown(const char *name)
{
    nearest n = { .typed = name };
    const char *near;

    for (size_t i = 0; i < commands_n; i++)
        if (!commands[i]->hidden)
            nearest_try(&n, commands[i]->name);
    near = nearest_found(&n);
    fprintf(stderr, "volt: unknown %s '%s'", *name == '-' ? "option" : "command", name);
    if (near)
        fprintf(stderr, "; did you mean '%s'?", near);
    fputs(" (see 'volt --help')\n", stderr);
    return EXIT_USAGE;
}

static exit_code run(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    const command *c;

    if (!name) {
        help_all(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(name, "--version") == 0) {
        puts("volt " VOLT_VERSION);
        return EXIT_DONE;
    }
    if (strcmp(name, "help") == 0 && argc > 2) {
        c = command_find(argv[2]);
        if (!c)
            return unknown(argv[2]);
        help_command(c, stdout);
        return EXIT_DONE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        help_all(stdout);
        return EXIT_DONE;
    }
    c = command_find(name);
    if (!c)
        return unknown(name);
#ifdef VOLT_KILL_POINTS
    volt_err err;

    if (kill_setup(getenv("VOLT_KILL_AT"), &err)) {
        fprintf(stderr, "volt: %s\n", err.msg);
        return EXIT_USAGE;
    }
#endif
    children_watch_parent();
    sock_setup();
    json_setup();
    return command_run(c, argc - 1, argv + 1);
}

/* A full disk behind a redirection must not look like success. */
int main(int argc, char **argv)
{
    exit_code code = run(argc, argv);
    const command *c = argc > 1 ? command_find(argv[1]) : NULL;
    bool lost = fflush(stdout) != 0;
    const char *why = lost ? strerror(errno) : ""; /* that of an earlier write is gone */

    if (!lost && !ferror(stdout))
        return (int)code;
    fprintf(stderr, "volt%s%s: cannot write the output%s%s\n", c ? " " : "", c ? c->name : "",
            lost ? ": " : "", why);
    return (int)(code ? code : EXIT_USAGE);
}
