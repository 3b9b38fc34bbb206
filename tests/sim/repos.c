#include "repos.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

const char *const repo_branches[BRANCHES] = { "refs/heads/main", "refs/heads/topic",
                                              "refs/heads/fix" };

unsigned repo_add(world *w, sim_repo *r, unsigned parent)
{
    char hex[33];
    unsigned c;

    if (r->commits + 1 >= COMMITS_MAX)
        return 0;
    c = ++r->commits;
    r->parent[c] = parent;
    prng_hex32(&w->rng, hex);
    snprintf(r->oids[c], OID_SIZE, "%08x%.32s", c, hex);
    return c;
}

unsigned repo_commit(slice oid)
{
    char hex[9];

    if (oid.n < 8)
        return 0;
    snprintf(hex, sizeof hex, "%.8s", oid.p);
    return (unsigned)strtoul(hex, NULL, 16);
}

int repo_branch(slice ref)
{
    for (int b = 0; b < BRANCHES; b++)
        if (slice_is(ref, repo_branches[b]))
            return b;
    return -1;
}

bool repo_reaches(const sim_repo *r, unsigned from, unsigned to)
{
    while (from && from != to)
        from = r->parent[from];
    return from == to;
}

sim_repo *repos_make(world *w)
{
    sim_repo *v = NEW_ARRAY(sim_repo, REPOS_MAX);

    for (size_t i = 0; i < REPOS_MAX; i++) {
        snprintf(v[i].name, sizeof v[i].name, "repo%zu", i);
        snprintf(v[i].url, sizeof v[i].url, i == 1 ? "local:h0:/srv/repo%zu" : "https://x/repo%zu",
                 i);
        v[i].tip[0] = repo_add(w, &v[i], 0);
    }
    return v;
}
