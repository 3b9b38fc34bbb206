/*
 * fields.h - values of a pipeline file by type.  Each function notes a problem and leaves *ret as
 * it is when the node is something else.  For pipeline.c and matrix.c.
 */
#ifndef VOLT_PIPELINE_FIELDS_H
#define VOLT_PIPELINE_FIELDS_H

#include "pipeline/pipeline.h"
#include "pipeline/yaml.h"

typedef struct reader {
    arena *mem;
    problems *problems;
} reader;

/* A key that a mapping may have. */
typedef struct field {
    const char *name;
    void (*read)(reader *r, const yaml_node *value, void *into);
    size_t place; /* of its `place` in the struct */
} field;

/* Reads a mapping by its fields into a struct.  Keys that begin with `x-` are passed over; an
 * unknown one is a problem that says the nearest.  `what` is what the mapping is ("a job"). */
void fields_read(reader *r, const yaml_node *node, const char *what, const field *fields, size_t n,
                 void *into);

/* Not empty. */
void field_text(reader *r, const yaml_node *node, slice *ret);
/* At most `bytes` long each; one text stands for a list of it. */
void field_texts(reader *r, const yaml_node *node, size_t items, size_t bytes, slices *ret);
/* The same as lines of one text. */
void field_lines(reader *r, const yaml_node *node, slice *ret);
void field_bool(reader *r, const yaml_node *node, bool *ret);
void field_number(reader *r, const yaml_node *node, uint64_t min, uint64_t max, uint64_t *ret);
void field_duration(reader *r, const yaml_node *node, uint64_t *ret);
/* One of n words; *ret is its place. */
void field_word(reader *r, const yaml_node *node, const char *const *words, size_t n,
                unsigned *ret);
/* A mapping of environment variables.  A value may be empty. */
void field_variables(reader *r, const yaml_node *node, variables *ret);
/* False, and a problem: it cannot be the name of a variable of the author's. */
bool field_check_variable(reader *r, const yaml_node *key);

#endif
