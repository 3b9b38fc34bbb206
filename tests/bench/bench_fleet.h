/*
 * bench_fleet.h - shared by bench_fleet.c (commands, time, figures) and bench_fleet_runner.c (one
 * runner: the real agent, a connection of its own, an executor that only waits).
 */
#ifndef VOLT_BENCH_FLEET_H
#define VOLT_BENCH_FLEET_H

#include "bench.h"
#include "core/agent.h"
#include "zmtp.h"

#define POOLS 8 /* labels pool-0 ... pool-7 */

typedef struct sim_task {
    uint64_t id, att; /* 0: none */
    uint64_t from, files;
    task_kind kind;
    int64_t end_ms;
} sim_task;

typedef struct bench_fleet bench_fleet;

typedef struct sim_runner {
    bench_fleet *f;
    zmtp link;
    agent *a; /* NULL: only an echo */
    bool spawn[2];
    bool gone[2];
    bool bye; /* it left */
    bool begun;
    sim_task task;
    sim_task plan;
    char plan_ref[64]; /* of the commit being planned */
    heap_node timer;
    uint64_t ep;        /* of the newest welcome */
    int64_t now_ms;     /* of its newest event */
    uint64_t acked;     /* newest task whose result is durable */
    int64_t freed_ns;   /* a result was sent, nothing new has come; 0: not so */
    int64_t beat_ns;    /* an unanswered heartbeat was sent; 0: none */
    int64_t echo_at_ms; /* without an agent: the next one */
} sim_runner;

typedef struct samples {
    double *v;
    size_t n, cap;
} samples;

struct bench_fleet {
    sim_runner *v;
    size_t n;
    prng rng;
    int epoll;
    heap timers;
    int64_t now_ms;
    int64_t work_min_ms, work_max_ms; /* how long tasks take */
    int64_t echo_ms;                  /* > 0: without agents, a frame each */
    agent_effects out;
    arena mem; /* of the message under way */
    buf frame;
    bool measuring;
    samples assigns_ms, beats_ms;
    uint64_t results; /* acknowledged */
    uint64_t beats;   /* answered */
    uint64_t assigned;
    uint64_t nacks, fenced; /* that should not be */
    uint64_t ep;            /* newest */
    size_t back;            /* runners that were welcomed in it */
    int64_t back_ns;        /* when the newest of them was */
};

void fleet_sample(samples *s, double x);
/* A runner with its agent, which begins when its time is there. */
void runner_begin(bench_fleet *f, size_t i, const struct sockaddr_in *to, int64_t at_ms);
/* A message came. */
void runner_hears(void *owner, slice payload);
/* Its connection may have changed, or its time has come. */
void runner_tick(sim_runner *r);
/* A heartbeat besides those of the agent, of a runner that holds nothing. */
void runner_beat(sim_runner *r);
/* What it works at ends within the time that tasks take now. */
void runner_rush(sim_runner *r);
void runner_end(sim_runner *r);

#endif
