/*
 * volt-sim - runs the whole system under a virtual clock and an oracle; see sim.h.
 *
 *   volt-sim --seed N [--trace]     one run; --trace tells its story
 *   volt-sim --seeds A..B           many
 *   volt-sim --seconds S [--seed N] from seed N (default: 1) on, for S seconds of real time
 *   volt-sim --years Y [--seed N]   from seed N on, months each, until Y years of virtual time
 *   --days D     each run has D days of virtual time with faults (with --years: 30)
 *   --twice      runs each seed twice and compares
 *   --coverage   prints what was exercised, and how often each rule was looked at
 *   --need FILE  fails when a line of that was never counted
 *   --rules      what is checked, and where
 *   --mutant M   (in volt-sim-mutants only) with the bug M, see tests/mutants
 * Ends with 1 at the first seed that breaks something, and says which.
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/mutant.h"
#include "sim.h"

#define SEED_SECONDS_MAX 120 /* of real time; a second is much, under a sanitizer too */

/* ---- runs ---- */

typedef struct args {
    uint64_t from, to;
    double seconds, years, days;
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

static void tell_the_seed_of_a_death(void)
{
    signal(SIGABRT, on_death);
    signal(SIGSEGV, on_death);
    signal(SIGALRM, on_death);
}

static void add(sim_report *sum, const sim_report *r)
{
    sum->steps += r->steps;
    sum->virtual_ms += r->virtual_ms;
    sum->builds += r->builds;
    sum->events += r->events;
    sum->tasks += r->tasks;
    sum->restarts += r->restarts;
    for (rule i = 0; i < RULES_N; i++)
        sum->checks[i] += r->checks[i];
}

static void print_sum(uint64_t seeds, const sim_report *sum)
{
    double hours = (double)sum->virtual_ms / 3600000;

    printf("%" PRIu64 " seeds, %" PRIu64 " steps checked, %" PRIu64 " distinct states, ", seeds,
           sum->steps, states_n());
    if (hours < 1000)
        printf("%.1f h", hours);
    else
        printf("%.2f years", hours / 24 / 365.25);
    printf(" of virtual time, %" PRIu64 " builds, %" PRIu64 " tasks, %" PRIu64 " events, %" PRIu64
           " dispatcher starts\n",
           sum->builds, sum->tasks, sum->events, sum->restarts);
    fflush(stdout);
}

static void print_rules(void)
{
    for (rule i = 0; i < RULES_N; i++)
        printf("%-10s %s\n           %s\n", rule_text(i), rule_sentence(i), rule_where(i));
}

/* One seed, or (--twice) the same again to compare; false: they differ. */
static bool run_seed(const args *a, uint64_t seed, sim_report *ret)
{
    sim_options options = { .seed = seed, .trace = a->trace, .days = a->days };
    sim_report again;

    snprintf(dying_words, sizeof dying_words, "volt-sim: in seed %" PRIu64 "\n", seed);
    if (a->days <= 0)
        alarm(SEED_SECONDS_MAX);
    sim_run(&options, ret);
    if (!a->twice)
        return true;
    options.trace = false;
    sim_run(&options, &again);
    if (again.hash == ret->hash && again.steps == ret->steps)
        return true;
    fprintf(stderr, "seed %" PRIu64 ": not the same the second time\n", seed);
    return false;
}

static bool is_enough(const args *a, double end_s, uint64_t seed, const sim_report *sum)
{
    if (a->years > 0)
        return (double)sum->virtual_ms >= a->years * 365.25 * 86400000;
    return end_s > 0 ? real_s() >= end_s : seed > a->to;
}

static int run(const args *a)
{
    sim_report sum = { 0 }, r;
    uint64_t n = 0;
    double end_s = a->seconds > 0 ? real_s() + a->seconds : 0;

    for (uint64_t seed = a->from; !is_enough(a, end_s, seed, &sum); seed++) {
        if (!run_seed(a, seed, &r))
            return 1;
        add(&sum, &r);
        n++;
        if (a->years > 0)
            print_sum(n, &sum);
        else if (a->from == a->to && a->seconds <= 0)
            printf("trace hash %016" PRIx64 "\n", r.hash);
    }
    print_sum(n, &sum);
    for (rule i = 0; i < RULES_N; i++) {
        if (sum.checks[i])
            cover("rule", rule_text(i)); /* for --need */
        if (a->coverage)
            printf("%12" PRIu64 "  looked at: %s\n", sum.checks[i], rule_text(i));
    }
    if (a->coverage)
        cover_print();
    return a->need && cover_check(a->need) ? 1 : 0;
}

static void parse_range(const char *s, args *a)
{
    char *end;

    a->from = a->to = strtoull(s, &end, 10);
    if (strncmp(end, "..", 2) == 0)
        a->to = strtoull(end + 2, NULL, 10);
}

static int usage(void)
{
    fprintf(stderr,
            "usage: volt-sim [--seed N | --seeds A..B | --seconds S | --years Y] [--days D] "
            "[--trace] [--twice] [--coverage] [--need FILE] [--rules]\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "seed", required_argument, NULL, 's' },
                                             { "seeds", required_argument, NULL, 's' },
                                             { "seconds", required_argument, NULL, 'd' },
                                             { "years", required_argument, NULL, 'y' },
                                             { "days", required_argument, NULL, 'm' },
                                             { "trace", no_argument, NULL, 't' },
                                             { "twice", no_argument, NULL, '2' },
                                             { "coverage", no_argument, NULL, 'c' },
                                             { "need", required_argument, NULL, 'n' },
                                             { "rules", no_argument, NULL, 'r' },
#ifdef VOLT_MUTANTS
                                             { "mutant", required_argument, NULL, 'x' },
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
        case 'y':
            a.years = strtod(optarg, NULL);
            break;
        case 'm':
            a.days = strtod(optarg, NULL);
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
        case 'r':
            print_rules();
            return 0;
#ifdef VOLT_MUTANTS
        case 'x':
            if (mutant_choose(optarg))
                break;
            fprintf(stderr, "volt-sim-mutants: there is no mutant '%s'\n", optarg);
            return 2;
#endif
        default:
            return usage();
        }
    }
    if (a.years > 0 && a.days <= 0)
        a.days = 30;
    tell_the_seed_of_a_death();
    rc = run(&a);
    count_free();
    return rc;
}
