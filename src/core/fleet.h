/*
 * fleet.h - the runners: who is there, what they can take, what they may get.
 *
 * Capacity is state, never a counter of credits: slots minus leases.  A plan runs outside the
 * slots, one at a time.
 */
#ifndef VOLT_CORE_FLEET_H
#define VOLT_CORE_FLEET_H

#include "base/arena.h"
#include "core/build.h"

#define FLEET_RUNNERS_MAX 100000
#define FLEET_ID_SHOWN    8 /* of an id's 32 characters, by `volt runners` */
#define FLEET_LOSSES_MAX  5 /* in a row, then a runner is cordoned */

typedef struct runner {
    uint64_t serial; /* unique in this process, never reused */
    char id[33];
    char boot[33];
    char before[33]; /* process whose place this one took since this start */
    slice name, host;
    slices labels, reach;
    uint64_t slots;
    uint64_t peer;        /* 0: not connected since this start */
    runner_state state;   /* changed by fleet_set_state() only */
    bool slow;            /* it may keep the slow pace of a large fleet */
    bool awaited;         /* not heard of since this start, and still in its grace */
    runner_mode mode;     /* an operator's at the dispatcher */
    runner_mode own_mode; /* as its hello says */
    uint64_t losses;
    uint64_t loss_step; /* step of the newest: what ends in one step is one loss */
    uint64_t hb_count;
    int64_t seen_ms; /* monotonic: last message */
    int64_t seen_wall_ms;
    heap_node alarm; /* when its silence is looked at next */
    list leases;     /* of lease.on_runner */
    size_t busy;     /* leases but plans */
    size_t plans;
    list in_free;       /* linked while it may get a task */
    list in_free_plans; /* linked while it may get a plan */
    list in_fresh;      /* linked while its capacity or fitness changed since it was last matched */
    uint64_t counted_slots; /* its part of fleet.slots_up */
    map bad_repos;          /* name -> bad_repo: can run nothing of it for now */
    list hindrances;        /* of what keeps it from work for a while */
    arena texts;            /* name, host, labels, reach of the last hello */
    list in_fleet;          /* in order of arrival */
} runner;

typedef struct bad_repo {
    int64_t until_ms;
    int64_t backoff_ms;
    char why[256];
} bad_repo;

typedef struct fleet {
    map by_id;
    map by_peer;
    list all;
    list free;       /* may get a task; who got something last stands last */
    list free_plans; /* may get a plan */
    list fresh;
    heap alarms;
    heap hindrances; /* of all runners, by their ends */
    uint64_t serials;
    size_t n;
    size_t present;    /* of these, not gone */
    uint64_t slots_up; /* slots of runners that may get tasks */
} fleet;

void fleet_init(fleet *f);
void fleet_free(fleet *f);

runner *fleet_by_peer(const fleet *f, uint64_t peer);
runner *fleet_by_id(const fleet *f, slice id);
/* By name, id, or FLEET_ID_SHOWN or more first bytes of an id; *several: more than one that is not
 * gone is meant. */
runner *fleet_find(const fleet *f, slice name_or_id, bool *several);
/* A new one, not connected. */
runner *fleet_add(fleet *f, slice id);
/* Forgets it; it must hold no lease. */
void fleet_remove(fleet *f, runner *r);
void fleet_set_state(fleet *f, runner *r, runner_state state);
/* Binds it to a connection; an older one is forgotten. */
void fleet_bind(fleet *f, runner *r, uint64_t peer);
/* Takes over name, host, labels, reach and slots. */
void runner_describe(runner *r, slice name, slice host, slices labels, slices reach,
                     uint64_t slots);

/* Up, and nobody wants it to stop taking tasks. */
bool runner_takes(const runner *r);
bool runner_has_room(const runner *r, bool plan);
bool runner_has_labels(const runner *r, slices labels);
/* It has the class's labels and reaches its repository. */
bool runner_suits(const runner *r, const queue_class *c);
/* The repository is one that it could not reach, or had no disk for, lately. */
const bad_repo *runner_bad_repo(const runner *r, const repo *p, int64_t now_ms);

/* Forgets what it could not run. */
void runner_forgive_repos(runner *r);

/* Until until_ms something is kept from `r` (a task avoids it, a repository is out of its reach):
 * then fleet_rematch() has it matched anew.  O(log n). */
void fleet_hinder(fleet *f, runner *r, int64_t until_ms);
/* Runners for which a hindrance has ended are matched next.  O(log n) for each that has: neither
 * the queue nor the fleet is looked through. */
void fleet_rematch(fleet *f, int64_t now_ms);

/* Call after anything that bears on capacity or fitness: keeps `free` and slots_up right. `gained`:
 * it may now suit something that it did not suit before, so it has to be matched. */
void fleet_update(fleet *f, runner *r, bool gained);

#endif
