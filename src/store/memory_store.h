/*
 * memory_store.h - what the files of the memory backend share.
 *
 * A shelf per kind of row: pointers to copies, sorted by key.  A log of what the open transaction
 * replaced undoes it at a crash.  Look-ups that no key serves walk a whole shelf: this backend is
 * for simulations and tests.
 */
#ifndef VOLT_STORE_MEMORY_STORE_H
#define VOLT_STORE_MEMORY_STORE_H

#include "store/store.h"
#include "store/table.h"

typedef struct shelf {
    void **v; /* the structs of `table`, each one allocation */
    size_t n, cap;
    const table *table;
} shelf;

/* What is kept of an event. */
typedef struct memory_event {
    uint64_t seq;
    int64_t time_ms;
    event_kind kind;
    uint64_t build;
    slice bytes;
} memory_event;

typedef struct undo {
    row_kind kind;
    void *was; /* NULL: it was added */
    void *now; /* NULL: it was forgotten */
} undo;

typedef struct memory_ids {
    uint64_t last_seq, last_build, last_task;
    uint64_t forgetting; /* the build whose details retention has begun to take; 0: none */
} memory_ids;

typedef struct memory_store {
    store base;
    shelf shelves[ROW_KINDS];
    undo *undo;
    size_t undo_n, undo_cap;
    char hist[33], secret[33];
    char stale[STORE_STALE_MAX], stale_committed[STORE_STALE_MAX];
    uint64_t ep;
    memory_ids ids, ids_committed;
    /* What retention looks at next; NULL: the first. */
    row_submission *sweep_submission;
    row_file *sweep;
} memory_store;

/* Where the row with the key of `fields` is or belongs. */
size_t memory_place(const shelf *sh, const void *fields);
/* The row with that key, or NULL. */
void *memory_find(const shelf *sh, const void *fields);
/* Forgets rows [from, from + n) of a shelf, until a crash. */
void memory_forget(memory_store *s, row_kind kind, size_t from, size_t n);
/* Puts `now`, with the same key, in the place of a row, until a crash. */
void memory_replace(memory_store *s, row_kind kind, size_t at, void *now);

/* ---- memory_history.c: what a store is ---- */

volt_code memory_head(store *base, store_head *ret, volt_err *err);
volt_code memory_secret(store *base, const char if_new[33], char ret[33], volt_err *err);
volt_code memory_stale(store *base, slice what, volt_err *err);
volt_code memory_new_history(store *base, const char hist[33], volt_err *err);
volt_code memory_begin_epoch(store *base, const char hist_if_new[33], uint64_t *ret, volt_err *err);

/* ---- memory_prune.c ---- */

volt_code memory_cut_cases(store *base, const row_case *from, volt_err *err);
volt_code memory_bytes(store *base, uint64_t *ret, volt_err *err);
volt_code memory_prune(store *base, const store_old *old, size_t max, store_log_fn log_gone,
                       void *ctx, bool *more, volt_err *err);

#endif
