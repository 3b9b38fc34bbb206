/*
 * fault_disk.c - the store's disk fails, or loses power, at every operation of a story.
 *
 * At the n-th operation the process forks: the child goes on with the failure, to the end of the
 * story and through one more loss of power there; the parent goes on without.  So every point is
 * tried, each with several things that may be left of what was not yet synced, at the price of half
 * a story each.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/prng.h"
#include "disk.h"
#include "story.h"

#define TURNS_MAX   600
#define REOPENS_MAX 250
#define SEEDS_MAX   64

/* How an operation fails. */
typedef struct trouble {
    const char *name;
    disk_fate fate;
    unsigned ops; /* from then on */
    disk_left left;
    bool repeated; /* chance decides what is left: with as many seeds as were asked for */
} trouble;

static const trouble troubles[] = {
    { "power cut, nothing pending is left", DISK_CUT, 1, DISK_NOTHING, false },
    { "power cut, all is left", DISK_CUT, 1, DISK_ALL, false },
    { "power cut, the first writes are left, the last one torn", DISK_CUT, 1, DISK_PREFIX, true },
    { "power cut, some sectors are left", DISK_CUT, 1, DISK_SUBSET, true },
    { "EIO once", DISK_EIO, 1, DISK_NOTHING, false },
    { "EIO once, power cut later", DISK_EIO, 1, DISK_SUBSET, true },
    { "EIO for 200 operations", DISK_EIO, 200, DISK_NOTHING, false },
    { "ENOSPC once", DISK_ENOSPC, 1, DISK_NOTHING, false },
    { "ENOSPC once after half a write, power cut later", DISK_SHORT, 1, DISK_PREFIX, true },
    { "ENOSPC for 200 operations", DISK_ENOSPC, 200, DISK_SUBSET, false },
};

#define TROUBLES (sizeof troubles / sizeof *troubles)

typedef struct run {
    /* What is asked for. */
    uint64_t from, to, every; /* operations */
    unsigned seeds;
    int only; /* trouble, or -1: all */
    /* The parent's account. */
    uint64_t op, points[TROUBLES], bad;
    /* The child's trouble. */
    const trouble *now;
    unsigned left_ops;
    uint64_t seed, cut_at;
    prng rng;
} run;

/* Of the data directory: the child's would meet the parent's, which is the same open file. */
int flock(int fd, int operation)
{
    (void)fd, (void)operation;
    return 0;
}

/* ---- a child's disk ---- */

static disk_fate meet(run *r)
{
    if (r->left_ops) {
        r->left_ops--;
        return r->now->fate;
    }
    if (r->cut_at && r->op >= r->cut_at) {
        r->cut_at = 0;
        return DISK_CUT;
    }
    return DISK_FINE;
}

/* True in the child. */
static bool branches(run *r, size_t which, uint64_t seed)
{
    pid_t child;
    int status;

    fflush(stdout);
    child = fork();
    if (child < 0)
        story_broken("fork");
    if (child == 0) {
        r->now = &troubles[which];
        r->left_ops = r->now->ops;
        r->seed = seed;
        r->rng = (prng){ r->op * 1000 + seed };
        /* A later cut finds what an error left behind. */
        r->cut_at =
            r->now->fate != DISK_CUT && r->now->repeated ? r->op + 1 + prng_below(&r->rng, 200) : 0;
        return true;
    }
    waitpid(child, &status, 0);
    r->points[which]++;
    if (status != 0) {
        r->bad++;
        fprintf(stderr,
                "  at operation %llu: %s, seed %llu (--op %llu --trouble %zu --seed %llu)%s\n",
                (unsigned long long)r->op, troubles[which].name, (unsigned long long)seed,
                (unsigned long long)r->op, which, (unsigned long long)seed,
                WIFSIGNALED(status) ? ", ended by a signal" : "");
    }
    return false;
}

static disk_fate judge(void *ctx, disk_op op)
{
    run *r = ctx;

    r->op++;
    if (r->now)
        return meet(r);
    if (r->op < r->from || r->op > r->to || r->op % r->every)
        return DISK_FINE;
    for (size_t i = 0; i < TROUBLES; i++) {
        if ((r->only >= 0 && (size_t)r->only != i) ||
            (op == DISK_READ && troubles[i].fate != DISK_EIO))
            continue;
        for (unsigned k = 0; k < (troubles[i].repeated ? r->seeds : 1); k++)
            if (branches(r, i, k))
                return meet(r);
    }
    return DISK_FINE;
}

/* ---- a story that goes on ---- */

/* The store failed, or the power went: what any of them left is opened. */
static void recover(run *r, story *s, unsigned *reopens)
{
    volt_err err;
    volt_code code;

    do {
        story_close(s);
        if (disk_is_cut()) {
            story_power_back(s, r->seed);
            disk_power_back(r->now->left, r->op + r->seed);
        }
        if (++*reopens > REOPENS_MAX)
            story_broken("the store does not open any more: %s", err.msg);
        code = story_open(s, &err);
        if (code != VOLT_OK && code != VOLT_EIO && code != VOLT_EFULL && !disk_is_cut())
            story_broken("open: %s", err.msg);
    } while (code != VOLT_OK || disk_is_cut());
    if (r->left_ops == 0 && !r->cut_at)
        story_check(s);
}

static void tell(run *r, const char *dir)
{
    story *s = story_new(dir, 1);
    unsigned turns = 0, reopens = 0;
    volt_err err;
    volt_code code = story_open(s, &err);

    for (;;) {
        if (code != VOLT_OK && code != VOLT_EIO && code != VOLT_EFULL && !disk_is_cut())
            story_broken("%s", err.msg);
        if (code != VOLT_OK || disk_is_cut())
            recover(r, s, &reopens);
        if (story_ended(s))
            break;
        if (++turns > TURNS_MAX)
            story_broken("it does not come to an end");
        code = story_turn(s, &err);
    }
    r->cut_at = r->left_ops = 0;
    r->to = 0;
    story_check_end(s);
    disk_cut(); /* and what was promised after the trouble is durable, too */
    story_close(s);
    story_power_back(s, 1);
    disk_power_back(DISK_NOTHING, 1);
    if (story_open(s, &err) != VOLT_OK)
        story_broken("open after the end: %s", err.msg);
    story_check_end(s);
    story_free(s);
    disk_reset();
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "every", required_argument, NULL, 'e' }, { "seeds", required_argument, NULL, 's' },
        { "op", required_argument, NULL, 'o' },    { "trouble", required_argument, NULL, 't' },
        { "seed", required_argument, NULL, 'd' },  { 0 }
    };
    run r = { .to = UINT64_MAX, .every = 1, .seeds = 1, .only = -1 };
    char dir[] = "/tmp/volt-fault-XXXXXX";
    uint64_t points = 0;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        uint64_t n = optarg ? strtoull(optarg, NULL, 10) : 0;

        if (c == 'e')
            r.every = n ? n : 1;
        else if (c == 's')
            r.seeds = (unsigned)(n < SEEDS_MAX ? n : SEEDS_MAX);
        else if (c == 'o')
            r.from = r.to = n;
        else if (c == 't')
            r.only = (int)n;
        else if (c == 'd')
            r.seeds = (unsigned)n + 1;
        else
            return 2;
    }
    if (!mkdtemp(dir))
        return 2;
    disk_install();
    disk_reset();
    disk_set_judge(judge, &r);
    tell(&r, dir);
    if (r.now) /* a child */
        return 0;
    rmdir(dir);
    for (size_t i = 0; i < TROUBLES; i++) {
        printf("%6llu  %s\n", (unsigned long long)r.points[i], troubles[i].name);
        points += r.points[i];
    }
    printf("%llu points of failure over %llu operations, %llu of them broken\n",
           (unsigned long long)points, (unsigned long long)r.op, (unsigned long long)r.bad);
    return r.bad ? 1 : 0;
}
