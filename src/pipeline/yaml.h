/*
 * yaml.h - a YAML document as a small tree: all that Volt knows of YAML, and of libfyaml.
 *
 * A scalar is its text, whatever it looks like: `no` and `3.10` are not given another meaning.
 * Anchors, aliases and merge keys (`<<`) work; what an alias names is shared, not copied, so a node
 * may stand at several places of the tree.  Tags, keys that are not scalars, keys that stand twice
 * and more than one document are refused.
 *
 * Whatever the bytes are, the work is bounded: a tree that is walked with all its aliases followed
 * has at most YAML_NODES_MAX nodes.
 *
 * Pure: bytes in, a tree or problems out.
 */
#ifndef VOLT_PIPELINE_YAML_H
#define VOLT_PIPELINE_YAML_H

#include <stdbool.h>

#include "pipeline/problems.h"

#define YAML_BYTES_MAX       ((size_t)1 << 20)
#define YAML_DEPTH_MAX       64
#define YAML_NODES_MAX       200000 /* aliases followed */
#define YAML_BLANK_LINES_MAX 200    /* in a row */

typedef enum yaml_kind { YAML_SCALAR, YAML_SEQUENCE, YAML_MAPPING } yaml_kind;

typedef struct yaml_node yaml_node;

typedef struct yaml_entry {
    const yaml_node *key; /* a scalar */
    const yaml_node *value;
} yaml_entry;

struct yaml_node {
    yaml_kind kind;
    place at;
    slice text; /* SCALAR; a NUL stands behind it, and none in it */
    bool plain; /* SCALAR: without quotes, so that an empty one is "nothing" */
    union {
        const yaml_node *const *items; /* SEQUENCE */
        const yaml_entry *entries;     /* MAPPING: its own, then the merged */
    };
    size_t n; /* of items or entries */
    /* While it is read. */
    bool open;
    size_t weight; /* nodes, aliases followed */
};

/* The tree, in `mem`.  NULL: the problems say why. */
const yaml_node *yaml_parse(slice text, arena *mem, problems *p);

/* The value of a key, or NULL. */
const yaml_node *yaml_get(const yaml_node *mapping, const char *key);

#endif
