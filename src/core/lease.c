#include "core/lease.h"

#include <assert.h>

void lease_grant(lease_table *table, lease *l, struct runner *runner, list *leases,
                 int64_t until_ms)
{
    assert(!l->runner && runner);
    l->least_ms = 0;
    l->runner = runner;
    list_push(leases, &l->on_runner);
    heap_set(&table->deadlines, &l->deadline, until_ms);
}

void lease_renew(lease_table *table, lease *l, int64_t until_ms)
{
    assert(l->runner);
    heap_set(&table->deadlines, &l->deadline, until_ms > l->least_ms ? until_ms : l->least_ms);
}

void lease_release(lease_table *table, lease *l)
{
    if (!l->runner)
        return;
    l->runner = NULL;
    list_remove(&l->on_runner);
    heap_remove(&table->deadlines, &l->deadline);
}

lease *lease_due(const lease_table *table, int64_t now_ms)
{
    heap_node *top = heap_top(&table->deadlines);

    return top && top->key <= now_ms ? HEAP_OWNER(top, lease, deadline) : NULL;
}

void lease_shift(lease_table *table, int64_t by_ms)
{
    for (size_t i = 0; i < table->deadlines.n; i++) { /* the same for all: the order stands */
        lease *l = HEAP_OWNER(table->deadlines.v[i], lease, deadline);

        l->deadline.key += by_ms;
        if (l->least_ms)
            l->least_ms += by_ms;
    }
}

int64_t lease_next_deadline_ms(const lease_table *table)
{
    return heap_top_key(&table->deadlines);
}

void lease_table_free(lease_table *table)
{
    heap_free(&table->deadlines);
}
