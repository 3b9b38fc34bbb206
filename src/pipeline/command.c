#include "pipeline/command.h"

/* Means nothing to a shell, wherever it stands in a word. */
static const char harmless[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "_-./+,:=@%";

/* What a POSIX shell does itself where a program of that name may be about as well, or means
 * something else by; and setsid, which does not wait where it leads a session, as we start it. */
static const char *const shells_own[] = {
    ".",       "alias",   "bg",     "break", "case",   "cd",    "command", "continue",
    "do",      "eval",    "exec",   "exit",  "export", "fc",    "fg",      "for",
    "getopts", "hash",    "if",     "jobs",  "kill",   "local", "read",    "readonly",
    "return",  "set",     "setsid", "shift", "times",  "trap",  "type",    "ulimit",
    "umask",   "unalias", "unset",  "until", "wait",   "while",
};

/* Where it stands first, a name with '=' would set a variable, and that passes. */
static bool is_harmless(slice file)
{
    for (size_t i = 0; i < file.n; i++)
        if (file.p[i] == '=' || !memchr(harmless, file.p[i], sizeof harmless - 1))
            return false;
    return file.n > 0 && file.p[0] != '-';
}

/* In single quotes; a name that begins with '-' would be an option, so "./" comes before it. */
static void add_quoted(slice file, buf *out)
{
    buf_addc(out, '\'');
    if (file.n && file.p[0] == '-')
        buf_adds(out, "./");
    for (size_t i = 0; i < file.n; i++)
        if (file.p[i] == '\'')
            buf_adds(out, "'\\''");
        else
            buf_addc(out, file.p[i]);
    buf_addc(out, '\'');
}

void command_of_file(slice run, slice file, buf *out)
{
    for (size_t i = 0; i < run.n; i++) {
        if (run.p[i] != '{' || i + 1 == run.n || run.p[i + 1] != '}') {
            buf_addc(out, run.p[i]);
            continue;
        }
        if (is_harmless(file))
            buf_add_slice(out, file);
        else
            add_quoted(file, out);
        i++;
    }
}

static bool is_shells_own(slice word)
{
    for (size_t i = 0; i < sizeof shells_own / sizeof *shells_own; i++)
        if (slice_is(word, shells_own[i]))
            return true;
    return memchr(word.p, '=', word.n) != NULL; /* sets a variable */
}

const char **command_words(slice command, arena *a)
{
    const char **words;
    size_t n = 0, from = 0;

    while (command.n && strchr(" \n", command.p[command.n - 1]))
        command.n--;
    for (size_t i = 0; i < command.n; i++)
        if (command.p[i] != ' ' && !memchr(harmless, command.p[i], sizeof harmless - 1))
            return NULL;
    words = ARENA_ARRAY(a, const char *, command.n / 2 + 2);
    for (size_t i = 0; i <= command.n; i++) {
        if (i < command.n && command.p[i] != ' ')
            continue;
        if (i > from)
            words[n++] = arena_str(a, (slice){ command.p + from, i - from });
        from = i + 1;
    }
    words[n] = NULL;
    return n && !is_shells_own(slice_of(words[0])) ? words : NULL;
}
