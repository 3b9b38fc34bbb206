/*
 * log.h - a process's own log: one line an entry to standard error.
 *
 * `volt runner: cannot reach …`: the program and role first, as an error line has it.  Shells only;
 * the core and libraries return errors instead.
 */
#ifndef VOLT_BASE_LOG_H
#define VOLT_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

typedef enum log_level { LOG_ERROR, LOG_WARN, LOG_NOTE, LOG_DEBUG } log_level;

/* `role` ("dispatcher") is kept by pointer.  Entries above `most` are not written. */
void log_setup(const char *role, log_level most);
void log_write(log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_note(...)  log_write(LOG_NOTE, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

/* At most one entry a second for something a peer can provoke; says how many were held back. */
typedef struct log_limit {
    int64_t next_ms;
    uint64_t held;
} log_limit;

/* True when the entry may be written now; *held is how many were not since the last one. */
bool log_limit_pass(log_limit *l, int64_t now_ms, uint64_t *held);

#endif
