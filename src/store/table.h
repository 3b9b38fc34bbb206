/*
 * table.h - the rows of core/row.h as tables: which C field is which column.
 *
 * One description serves every backend: SQLite makes its statements and moves fields by it, the
 * memory store copies and compares rows by it.  Columns are named as the fields are; the key's
 * columns stand first.  What is below is pure.
 */
#ifndef VOLT_STORE_TABLE_H
#define VOLT_STORE_TABLE_H

#include <stddef.h>

#include "base/arena.h"
#include "core/row.h"

#define TABLE_COLUMNS_MAX 24

typedef enum column_type {
    COLUMN_NUMBER, /* uint64_t, int64_t */
    COLUMN_BOOL,
    COLUMN_TEXT,  /* slice that people read: mostly UTF-8, but any bytes */
    COLUMN_BYTES, /* slice that they do not */
    COLUMN_LIST,  /* slices */
    COLUMN_WORD,  /* an enum of messages.def */
} column_type;

typedef enum column_role {
    COLUMN_VALUE,
    COLUMN_KEY,
    COLUMN_FIXED, /* says what the row is of; as it was when the row was made, an update leaves it
                   */
} column_role;

typedef struct column {
    const char *name;
    column_type type;
    column_role role;
    size_t offset;
    const word_set *words; /* COLUMN_WORD */
} column;

typedef struct table {
    const char *name;
    size_t size; /* of the row's struct */
    const column *columns;
    size_t n;
    size_t keys; /* the first `keys` columns are the key */
} table;

/* The table of a kind of row.  Of events only what people and retention look at: the event itself
 * is kept encoded. */
const table *table_of(row_kind kind);
/* The struct inside a row that its table describes. */
const void *table_fields(const row *r);
void *table_fields_mut(row *r);

/* Compares keys: numbers by value, texts bytewise. */
int table_cmp(const table *t, const void *a, const void *b);
/* Copies the texts and lists of *fields, which it borrows from elsewhere, into `a`. */
void table_own(const table *t, void *fields, arena *a);
/* A copy of the struct with all its texts and lists in one piece; freed with free(). */
void *table_clone(const table *t, const void *fields);

#endif
