#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

/* The one process-wide state of Volt: where its log goes is a property of the process. */
static const char *log_role;
static log_level log_most = LOG_NOTE;

void log_setup(const char *role, log_level most)
{
    log_role = role;
    log_most = most;
}

void log_write(log_level level, const char *fmt, ...)
{
    static const char *const word[] = { "", "warning: ", "", "debug: " };
    char line[2048];
    int n, m;
    va_list ap;
    ssize_t written;

    if (level > log_most)
        return;
    n = snprintf(line, sizeof line, "volt%s%s: %s", log_role ? " " : "", log_role ? log_role : "",
                 word[level]);
    va_start(ap, fmt);
    m = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
    va_end(ap);
    n += m;
    if (n > (int)sizeof line - 2)
        n = (int)sizeof line - 2;
    line[n++] = '\n';
    written = write(STDERR_FILENO, line, (size_t)n); /* one write: lines of processes do not mix */
    (void)written;
}

bool log_limit_pass(log_limit *l, int64_t now_ms, uint64_t *held)
{
    if (now_ms < l->next_ms) {
        l->held++;
        return false;
    }
    *held = l->held;
    l->held = 0;
    l->next_ms = now_ms + 1000;
    return true;
}
