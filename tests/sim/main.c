/*
 * volt_sim - runs the whole system under a virtual clock and an oracle; see sim.h.
 *
 *   volt_sim --seed N [--trace]     one run; --trace tells its story
 *   volt_sim --seeds A..B           many
 *   volt_sim --seconds S [--seed N] from seed N (default: 1) on, for S seconds of real time
 *   --twice      runs each seed twice and compares
 *   --coverage   prints what was exercised; --need FILE: fails when a line of it was not
 *   --mutant M   (in volt_sim_mutants only) with the bug M, see tests/mutants
 * Ends with 1 at the first seed that breaks something, and says which.
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "sim.h"

#define SEED_SECONDS_MAX 120 /* of real time; a second is much, under a sanitizer too */

/* ---- what was exercised ---- */

typedef struct covered {
    char *name;
    uint64_t n;
} covered;

static map cover_by_name;
static covered **cover_list;
static size_t cover_n;

void cover(const char *what, const char *kind)
{
    char name[128];
    covered *c;

    snprintf(name, sizeof name, "%s: %s", what, kind);
    c = map_gets(&cover_by_name, slice_of(name));
    if (!c) {
        c = NEW(covered);
        c->name = mem_strdup(name);
        map_puts(&cover_by_name, slice_of(name), c);
        cover_list = mem_grow(cover_list, cover_n + 1, sizeof *cover_list);
        cover_list[cover_n++] = c;
    }
    c->n++;
}

static int by_name(const void *a, const void *b)
{
    const covered *ca = *(covered *const *)a, *cb = *(covered *const *)b;

    return strcmp(ca->name, cb->name);
}

static void print_cover(void)
{
    qsort(cover_list, cover_n, sizeof *cover_list, by_name);
    for (size_t i = 0; i < cover_n; i++)
        printf("%10" PRIu64 "  %s\n", cover_list[i]->n, cover_list[i]->name);
}

/* Names in the file that were never counted. */
static int check_cover(const char *path)
{
    FILE *f = fopen(path, "r");
    char line[128];
    int missing = 0;

    if (!f) {
        fprintf(stderr, "volt_sim: cannot read '%s'\n", path);
        return 1;
    }
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] && line[0] != '#' && !map_gets(&cover_by_name, slice_of(line))) {
            fprintf(stderr, "volt_sim: never happened: %s\n", line);
            missing++;
        }
    }
    fclose(f);
    return missing > 0;
}

static void free_cover(void)
{
    for (size_t i = 0; i < cover_n; i++) {
        free(cover_list[i]->name);
        free(cover_list[i]);
    }
    free(cover_list);
    map_free(&cover_by_name);
}

/* ---- runs ---- */

typedef struct args {
    uint64_t from, to;
    double seconds;
    bool trace, twice, coverage;
    const char *need;
} args;

static char dying_words[64];

/* An assert in a core, a loop without an end, or worse: the seed is what matters. */
static void on_death(int number)
{
    fputs(dying_words, stderr); /* nothing else runs in this program */
    signal(number, SIG_DFL);
    raise(number);
}

static double real_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void add(sim_report *sum, const sim_report *r)
{
    sum->steps += r->steps;
    sum->virtual_ms += r->virtual_ms;
    sum->builds += r->builds;
    sum->events += r->events;
    sum->tasks += r->tasks;
    sum->restarts += r->restarts;
}

static void tell_the_seed_of_a_death(void)
{
    signal(SIGABRT, on_death);
    signal(SIGSEGV, on_death);
    signal(SIGALRM, on_death);
}

static int run(const args *a)
{
    sim_report sum = { 0 }, r, again;
    uint64_t n = 0;
    double end = a->seconds > 0 ? real_s() + a->seconds : 0;

    for (uint64_t seed = a->from; end > 0 ? real_s() < end : seed <= a->to; seed++, n++) {
        snprintf(dying_words, sizeof dying_words, "volt_sim: in seed %" PRIu64 "\n", seed);
        alarm(SEED_SECONDS_MAX);
        sim_run(seed, a->trace, &r);
        if (a->twice) {
            sim_run(seed, false, &again);
            if (again.hash != r.hash || again.steps != r.steps) {
                fprintf(stderr, "seed %" PRIu64 ": not the same the second time\n", seed);
                return 1;
            }
        }
        add(&sum, &r);
        if (a->from == a->to && a->seconds <= 0)
            printf("trace hash %016" PRIx64 "\n", r.hash);
    }
    printf("%" PRIu64 " seeds, %" PRIu64 " steps checked, %.1f h of virtual time, %" PRIu64
           " builds, %" PRIu64 " tasks, %" PRIu64 " events, %" PRIu64 " dispatcher starts\n",
           n, sum.steps, (double)sum.virtual_ms / 3600000, sum.builds, sum.tasks, sum.events,
           sum.restarts);
    if (a->coverage)
        print_cover();
    return a->need ? check_cover(a->need) : 0;
}

static void parse_range(const char *s, args *a)
{
    char *end;

    a->from = a->to = strtoull(s, &end, 10);
    if (strncmp(end, "..", 2) == 0)
        a->to = strtoull(end + 2, NULL, 10);
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "seed", required_argument, NULL, 's' },
                                             { "seeds", required_argument, NULL, 's' },
                                             { "seconds", required_argument, NULL, 'd' },
                                             { "trace", no_argument, NULL, 't' },
                                             { "twice", no_argument, NULL, '2' },
                                             { "coverage", no_argument, NULL, 'c' },
                                             { "need", required_argument, NULL, 'n' },
#ifdef VOLT_MUTANTS
                                             { "mutant", required_argument, NULL, 'm' },
#endif
                                             { NULL, 0, NULL, 0 } };
    args a = { .from = 1, .to = 1 };
    int c, rc;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 's':
            parse_range(optarg, &a);
            break;
        case 'd':
            a.seconds = strtod(optarg, NULL);
            break;
        case 't':
            a.trace = true;
            break;
        case '2':
            a.twice = true;
            break;
        case 'c':
            a.coverage = true;
            break;
        case 'n':
            a.need = optarg;
            break;
#ifdef VOLT_MUTANTS
        case 'm':
            if (mutant_choose(optarg))
                break;
            fprintf(stderr, "volt_sim_mutants: there is no mutant '%s'\n", optarg);
            return 2;
#endif
        default:
            fprintf(stderr, "usage: volt_sim [--seed N | --seeds A..B | --seconds S] [--trace] "
                            "[--twice] [--coverage] [--need FILE]\n");
            return 2;
        }
    }
    tell_the_seed_of_a_death();
    rc = run(&a);
    free_cover();
    return rc;
}
