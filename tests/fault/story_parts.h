/*
 * story_parts.h - the inside of a story, shared by story.c (what happens), story_logs.c (the log
 * files) and story_check.c (what must hold).  Nobody else includes this.
 */
#ifndef VOLT_TESTS_FAULT_STORY_PARTS_H
#define VOLT_TESTS_FAULT_STORY_PARTS_H

#include "base/buf.h"
#include "story.h"

#define RUNNERS    2
#define HELD_MAX   8
#define TASKS_MAX  64
#define EVENTS_MAX 2048
#define LOGS_MAX   32
#define LONG_LOG   40000

typedef struct holding {
    uint64_t task, att, build;
    task_kind kind;
    bool is_long, started, canceled, streamed;
    size_t files, from, told; /* told: outcomes acknowledged, as an index in the batch */
    bool plan_ok;
    uint64_t log_at;
} holding;

typedef struct runner_peer {
    char id[33];
    uint64_t slots, maxep, hb_n;
    bool up;
    int64_t heard_ms, hello_ms;
    holding held[HELD_MAX];
    size_t held_n;
} runner_peer;

/* What the dispatcher has said of a task. */
typedef struct spoken {
    uint64_t task, build, att; /* newest attempt that was assigned */
    size_t runner;
    bool ended; /* that attempt's result was acknowledged */
    verdict v;
    uint64_t told; /* outcomes acknowledged */
    bool is_long;
} spoken;

typedef struct log_file {
    uint64_t task, att;
    buf bytes;
    size_t synced;
} log_file;

typedef enum want { WANT_MAIN, WANT_DEV, WANT_AGAIN, WANTS } want;

struct story {
    char *dir;
    store *store;
    dispatcher *d;
    int64_t now_ms, wall_ms;
    uint64_t turn, r;
    bool restarted, pruning;
    runner_peer runners[RUNNERS];
    struct {
        char sid[33];
        uint64_t build; /* 0: not accepted yet */
        bool final, cancel_done;
        verdict v;
    } wants[WANTS];
    spoken tasks[TASKS_MAX];
    size_t tasks_n;
    buf events[EVENTS_MAX]; /* by seq */
    uint64_t last_event, epoch;
    log_file logs[LOGS_MAX];
    size_t logs_n;
    struct {
        uint64_t peer;
        buf frame;
    } inbox[256];
    size_t inbox_n;
    arena arena;
};

#define NEED(cond, ...)                \
    do {                               \
        if (!(cond))                   \
            story_broken(__VA_ARGS__); \
    } while (0)

static inline unsigned long long ull(uint64_t n)
{
    return n;
}

/* The log files, in memory; a power cut leaves what is synced, and some of the rest. */
log_files story_log_files(story *s);
/* NULL: nothing was written. */
log_file *story_log_of(story *s, uint64_t task, uint64_t att);
/* What each task writes at place i of its log. */
char story_log_byte(uint64_t task, uint64_t i);

#endif
