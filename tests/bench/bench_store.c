/*
 * bench_store.c - how fast the store takes what the dispatcher writes for its tasks.
 *
 *   bench_store [TASKS [DIR]]     20,000 tasks in a new directory in DIR (/tmp)
 *
 * One build of TASKS units handed out one by one: a task is leased, starts and ends, which is 4
 * events, 3 puts of its row, 2 of its attempt's and 1 of its unit's.  100 tasks are under way at
 * once, so a task's rows are not in one commit but spread as they are in life.  Prints tasks/s for
 * 1, 16 and 256 transitions a commit (bench_floor has the floor).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "store/store.h"

#define IN_FLIGHT 100
#define HIST      "0123456789abcdef0123456789abcdef"

static double seconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void check(volt_code rc, const volt_err *err)
{
    if (rc == VOLT_OK)
        return;
    fprintf(stderr, "bench_store: %s\n", err->msg);
    exit(1);
}

typedef struct bench {
    store *s;
    uint64_t tasks;
    uint64_t seq;
    uint64_t puts;
    char event[300]; /* as long as an encoded event with all that a task's events have */
} bench;

static void put(bench *b, const row *r, slice encoded)
{
    volt_err err;

    check(b->s->ops->put(b->s, r, encoded, &err), &err);
    b->puts++;
}

static void put_event(bench *b, event_kind kind, uint64_t task)
{
    row r = { .kind = ROW_EVENT,
              .event = { .seq = ++b->seq,
                         .kind = kind,
                         .time_ms = UINT64_C(1700000000000) + b->seq,
                         .build = 1,
                         .task = task,
                         .att = 1 } };

    put(b, &r, (slice){ b->event, sizeof b->event });
}

static void put_task(bench *b, uint64_t task, state st)
{
    uint32_t unit = (uint32_t)task - 1;
    row r = { .kind = ROW_TASK,
              .task = { .task = task,
                        .build = 1,
                        .job = 0,
                        .kind = TASK_TESTS,
                        .state = st,
                        .verdict = st == STATE_FINAL ? VERDICT_PASSED : 0,
                        .att = 1,
                        .runner = SLICE(HIST),
                        .units = { (const char *)&unit, sizeof unit },
                        .done = st == STATE_FINAL,
                        .since_ms = 1700000000000,
                        .duration_ms = st == STATE_FINAL ? 12 : 0,
                        .cpu_ms = st == STATE_FINAL ? 3 : 0 } };

    put(b, &r, (slice){ 0 });
}

static void put_attempt(bench *b, uint64_t task, state st)
{
    row r = { .kind = ROW_ATTEMPT,
              .attempt = { .task = task,
                           .att = 1,
                           .runner = SLICE(HIST),
                           .runner_name = SLICE("runner-17"),
                           .state = st,
                           .verdict = st == STATE_FINAL ? VERDICT_PASSED : 0,
                           .leased_ms = 1700000000000,
                           .ended_ms = st == STATE_FINAL ? 1700000000012 : 0 } };

    put(b, &r, (slice){ 0 });
}

static void lease(bench *b, uint64_t task)
{
    put_task(b, task, STATE_LEASED);
    put_attempt(b, task, STATE_LEASED);
    put_event(b, EVENT_LEASED, task);
}

static void start(bench *b, uint64_t task)
{
    put_task(b, task, STATE_RUNNING);
    put_event(b, EVENT_RUNNING, task);
}

static void end(bench *b, uint64_t task)
{
    row unit = { .kind = ROW_UNIT,
                 .unit = { .build = 1,
                           .i = task - 1,
                           .verdict = VERDICT_PASSED,
                           .duration_ms = 12,
                           .task = task,
                           .att = 1 } };

    put_task(b, task, STATE_FINAL);
    put_attempt(b, task, STATE_FINAL);
    put(b, &unit, (slice){ 0 });
    put_event(b, EVENT_TEST_DONE, task);
    put_event(b, EVENT_TASK_DONE, task);
}

static void plan(bench *b)
{
    row build = { .kind = ROW_BUILD,
                  .build = { .build = 1,
                             .repo = SLICE("bench"),
                             .ref = SLICE("refs/heads/main"),
                             .oid = SLICE(HIST),
                             .state = STATE_RUNNING,
                             .units = b->tasks } };
    row job = { .kind = ROW_JOB,
                .job = { .build = 1, .name = SLICE("tests"), .tests = true, .units = b->tasks } };
    volt_err err;

    put(b, &build, (slice){ 0 });
    put(b, &job, (slice){ 0 });
    for (uint64_t i = 0; i < b->tasks; i++) {
        char file[48];
        int n = snprintf(file, sizeof file, "tests/unit/test_%06" PRIu64 ".py", i);
        row unit = { .kind = ROW_UNIT,
                     .unit = { .build = 1, .i = i, .file = { file, (size_t)n } } };

        put(b, &unit, (slice){ 0 });
    }
    check(b->s->ops->commit(b->s, &err), &err);
}

/* Each round leases one task, starts an older and ends a still older one. */
static void run(bench *b, unsigned per_commit)
{
    volt_err err;

    for (uint64_t i = 1; i <= b->tasks + IN_FLIGHT; i++) {
        if (i <= b->tasks)
            lease(b, i);
        if (i > IN_FLIGHT / 2 && i - IN_FLIGHT / 2 <= b->tasks)
            start(b, i - IN_FLIGHT / 2);
        if (i > IN_FLIGHT)
            end(b, i - IN_FLIGHT);
        if (i % per_commit == 0)
            check(b->s->ops->commit(b->s, &err), &err);
    }
    check(b->s->ops->commit(b->s, &err), &err);
}

static long private_kib(void)
{
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    char line[128];
    long kib = 0, n;

    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "Private_Clean: %ld", &n) == 1 ||
            sscanf(line, "Private_Dirty: %ld", &n) == 1)
            kib += n;
    if (f)
        fclose(f);
    return kib;
}

static void remove_dir(const char *dir)
{
    char name[256];

    snprintf(name, sizeof name, "%s/volt.db", dir);
    unlink(name);
    snprintf(name, sizeof name, "%s/volt.db-wal", dir);
    unlink(name);
    rmdir(dir);
}

static void measure(uint64_t tasks, const char *parent, unsigned per_commit)
{
    bench b = { .tasks = tasks };
    char dir[200];
    double wall, cpu, close_s;
    volt_err err;

    for (size_t i = 0; i < sizeof b.event; i++)
        b.event[i] = (char)(i * 7);
    snprintf(dir, sizeof dir, "%s/bench-store-XXXXXX", parent);
    if (!mkdtemp(dir)) {
        perror(dir);
        exit(1);
    }
    check(store_open_sqlite(dir, &b.s, &err), &err);
    plan(&b);
    b.puts = 0;
    wall = seconds(CLOCK_MONOTONIC);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    run(&b, per_commit);
    wall = seconds(CLOCK_MONOTONIC) - wall;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("%10u %12.0f %12.0f %10.2f %10.1f %10ld", per_commit, (double)tasks / wall,
           (double)b.puts / wall, cpu / (double)b.puts * 1e6, cpu / wall * 100, private_kib());
    close_s = seconds(CLOCK_MONOTONIC);
    store_close(b.s);
    printf(" %10.0f\n", (seconds(CLOCK_MONOTONIC) - close_s) * 1e3);
    remove_dir(dir);
}

int main(int argc, char **argv)
{
    static const unsigned per_commit[] = { 1, 16, 256 };
    uint64_t tasks = argc > 1 ? strtoull(argv[1], NULL, 10) : 20000;
    const char *parent = argc > 2 ? argv[2] : "/tmp";

    if (tasks == 0 || tasks > UINT32_MAX) {
        fprintf(stderr, "usage: bench_store [TASKS [DIR]]\n");
        return 2;
    }
    printf("%10s %12s %12s %10s %10s %10s %10s\n", "a commit", "tasks/s", "puts/s", "us CPU/put",
           "CPU %", "priv KiB", "close ms");
    for (size_t i = 0; i < sizeof per_commit / sizeof *per_commit; i++)
        measure(tasks, parent, per_commit[i]);
    return 0;
}
