#include "pipeline/matrix.h"

#include "base/cleanup.h"

/* ---- reading ---- */

static void read_rows(reader *r, const yaml_node *node, variables **ret, size_t *ret_n)
{
    if (node->kind != YAML_SEQUENCE || node->n > PIPELINE_JOBS_MAX) {
        problems_add(r->problems, node->at,
                     "expected a list of variables and their values, of at most %d items",
                     PIPELINE_JOBS_MAX);
        return;
    }
    *ret = ARENA_ARRAY(r->mem, variables, node->n);
    *ret_n = node->n;
    for (size_t i = 0; i < node->n; i++) {
        const yaml_node *row = node->items[i];

        field_variables(r, row, &(*ret)[i]);
        if (row->kind == YAML_MAPPING && row->n == 0)
            problems_add(r->problems, row->at, "expected variables and their values, not nothing");
        (*ret)[i].at = row->at;
    }
}

static void read_axis(reader *r, const yaml_entry *e, matrix *m)
{
    matrix_axis *axis = &m->axes[m->axes_n];

    if (!field_check_variable(r, e->key))
        return;
    axis->name = e->key->text;
    field_texts(r, e->value, PIPELINE_JOBS_MAX, PIPELINE_NAME_MAX, &axis->values);
    if (e->value->kind == YAML_SEQUENCE && e->value->n == 0)
        problems_add(r->problems, e->value->at, "no values of " SLICE_FMT, SLICE_ARG(axis->name));
    m->axes_n++;
}

void matrix_read(reader *r, const yaml_node *node, matrix *ret)
{
    size_t before;

    if (node->kind != YAML_MAPPING || node->n == 0) {
        problems_add(r->problems, node->at, "expected variables and lists of their values");
        return;
    }
    if (node->n > MATRIX_AXES_MAX) {
        problems_add(r->problems, node->at, "%zu keys; at most %d", node->n, MATRIX_AXES_MAX);
        return;
    }
    before = r->problems->n + r->problems->more;
    ret->axes = ARENA_ARRAY(r->mem, matrix_axis, node->n);
    for (size_t i = 0; i < node->n; i++) {
        const yaml_entry *e = &node->entries[i];

        if (slice_is(e->key->text, "include"))
            read_rows(r, e->value, &ret->include, &ret->include_n);
        else if (slice_is(e->key->text, "exclude"))
            read_rows(r, e->value, &ret->exclude, &ret->exclude_n);
        else if (!slice_starts(e->key->text, SLICE("x-")))
            read_axis(r, e, ret);
    }
    if (!ret->axes_n && !ret->include_n && r->problems->n + r->problems->more == before)
        problems_add(r->problems, node->at, "expected variables and lists of their values");
}

/* ---- expanding ---- */

static const slice *value_of(const variables *values, slice name)
{
    for (size_t i = 0; i < values->n; i++)
        if (slice_eq(values->v[i].name, name))
            return &values->v[i].value;
    return NULL;
}

static bool has_all(const variables *values, const variables *asked)
{
    for (size_t i = 0; i < asked->n; i++) {
        const slice *value = value_of(values, asked->v[i].name);

        if (!value || !slice_eq(*value, asked->v[i].value))
            return false;
    }
    return true;
}

/* The number of combinations of the axes; more than max: there are more. */
static size_t product(const matrix *m, size_t max)
{
    size_t n = m->axes_n > 0;

    for (size_t i = 0; i < m->axes_n && n <= max; i++)
        n *= m->axes[i].values.n;
    return n;
}

static void combination(const matrix *m, size_t index, variable ret[MATRIX_AXES_MAX])
{
    for (size_t i = m->axes_n; i-- > 0;) {
        const matrix_axis *axis = &m->axes[i];

        ret[i] = (variable){ axis->name, axis->values.v[index % axis->values.n] };
        index /= axis->values.n;
    }
}

/* Whether some row of `exclude` takes the combination away; notes all that would. */
static bool excluded(const matrix *m, const variables *values, bool *used)
{
    bool found = false;

    for (size_t i = 0; i < m->exclude_n; i++)
        if (has_all(values, &m->exclude[i]))
            found = used[i] = true;
    return found;
}

/* An included row: the axes in their order, then the rest. */
static variables included(reader *r, const matrix *m, const variables *row)
{
    variables values = { .v = ARENA_ARRAY(r->mem, variable, row->n) };

    for (size_t i = 0; i < m->axes_n; i++) {
        const slice *value = value_of(row, m->axes[i].name);

        if (value)
            values.v[values.n++] = (variable){ m->axes[i].name, *value };
    }
    for (size_t i = 0; i < row->n; i++)
        if (!value_of(&values, row->v[i].name))
            values.v[values.n++] = row->v[i];
    return values;
}

size_t matrix_expand(reader *r, const job_text *job, size_t max, variables **ret)
{
    const matrix *m = &job->matrix;
    bool single = !job->at.matrix.line;
    size_t all = single ? 1 : product(m, max), n = 0;
    bool *used = ARENA_ARRAY(r->mem, bool, m->exclude_n);
    variable scratch[MATRIX_AXES_MAX];
    variables *v;

    if (all + m->include_n > max) {
        problems_add(r->problems, single ? job->where : job->at.matrix,
                     "the file makes more than %d jobs", PIPELINE_JOBS_MAX);
        return 0;
    }
    v = *ret = ARENA_ARRAY(r->mem, variables, all + m->include_n);
    if (single)
        return 1;
    for (size_t i = 0; i < all; i++) {
        variables values = { .v = scratch, .n = m->axes_n };

        combination(m, i, scratch);
        if (excluded(m, &values, used))
            continue;
        values.v = ARENA_ARRAY(r->mem, variable, m->axes_n);
        memcpy(values.v, scratch, m->axes_n * sizeof *scratch);
        v[n++] = values;
    }
    for (size_t k = 0; k < m->exclude_n; k++)
        if (!used[k] && all)
            problems_add(r->problems, m->exclude[k].at, "no combination has these values");
    for (size_t i = 0; i < m->include_n; i++)
        v[n++] = included(r, m, &m->include[i]);
    if (n == 0 && all)
        problems_add(r->problems, job->at.matrix, "no combination is left");
    return n;
}

slice matrix_name(reader *r, const job_text *job, const variables *values)
{
    CLEANUP(buf)
    buf name = { 0 };

    buf_add_slice(&name, job->name);
    for (size_t i = 0; i < values->n; i++) {
        buf_addc(&name, '/');
        buf_add_slice(&name, values->v[i].value);
    }
    return arena_slice(r->mem, buf_slice(&name));
}
