/*
 * repos.h - simulated repositories: commits that have one parent, and branches.
 */
#ifndef VOLT_TESTS_SIM_REPOS_H
#define VOLT_TESTS_SIM_REPOS_H

#include "sim.h"

#define BRANCHES    3
#define COMMITS_MAX 4000
#define OID_SIZE    41

/* A repository that observers look at.  Commits are numbered from 1; 0 is "none". */
typedef struct sim_repo {
    char name[16], url[48];
    unsigned commits;
    unsigned parent[COMMITS_MAX];
    unsigned tip[BRANCHES];
    char oids[COMMITS_MAX][OID_SIZE];
} sim_repo;

extern const char *const repo_branches[BRANCHES];

/* REPOS_MAX of them, with one commit each; freed with free(). */
sim_repo *repos_make(world *w);
/* A new commit; 0: there is no room. */
unsigned repo_add(world *w, sim_repo *r, unsigned parent);
/* The number of a commit id, and of a ref's name (-1: none). */
unsigned repo_commit(slice oid);
int repo_branch(slice ref);
/* `to` is `from` or one of its ancestors. */
bool repo_reaches(const sim_repo *r, unsigned from, unsigned to);

#endif
