/*
 * matrix.h - one job for each combination of values.
 *
 *   matrix:
 *     PY: ["3.10", "3.12"]
 *     OS: [linux, bsd]
 *     exclude: [{PY: "3.10", OS: bsd}]    all combinations that have these values
 *     include: [{PY: "3.13", OS: linux, EXTRA: yes}]    one more
 *
 * The first key changes slowest.  A job's name is that of the file, then its values behind slashes:
 * those of the keys, then what only its `include` has.
 */
#ifndef VOLT_PIPELINE_MATRIX_H
#define VOLT_PIPELINE_MATRIX_H

#include "pipeline/fields.h"

#define MATRIX_AXES_MAX 16

void matrix_read(reader *r, const yaml_node *node, matrix *ret);

/* The combinations of a job, one without any values when it has no matrix; *ret in the reader's
 * arena.  Returns how many; 0 when there was a problem, also when they are more than `max`. */
size_t matrix_expand(reader *r, const job_text *job, size_t max, variables **ret);

/* The name of a job's expansion, in the reader's arena. */
slice matrix_name(reader *r, const job_text *job, const variables *values);

#endif
