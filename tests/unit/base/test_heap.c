#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/heap.h"
#include "base/prng.h"

#define NODES 200

typedef struct item {
    heap_node node;
    uint64_t added; /* the oracle's own order */
    bool in;
} item;

static item items[NODES];

/* The smallest by searching. */
static heap_node *oracle_top(void)
{
    item *best = NULL;

    for (int i = 0; i < NODES; i++)
        if (items[i].in && (!best || items[i].node.key < best->node.key ||
                            (items[i].node.key == best->node.key && items[i].added < best->added)))
            best = &items[i];
    return best ? &best->node : NULL;
}

static void agrees_with_a_search_over_random_changes(void **unused)
{
    prng rng = { 7 };
    heap h = { 0 };
    uint64_t added = 0;

    (void)unused;
    memset(items, 0, sizeof items);
    for (int i = 0; i < 20000; i++) {
        item *it = &items[prng_below(&rng, NODES)];

        if (prng_below(&rng, 3) == 0) {
            heap_remove(&h, &it->node);
            it->in = false;
            assert_int_equal(it->node.at, 0);
        } else {
            if (!it->in)
                it->added = ++added;
            it->in = true;
            heap_set(&h, &it->node, (int64_t)prng_below(&rng, 30)); /* many ties */
        }
        assert_ptr_equal(heap_top(&h), oracle_top());
        assert_int_equal(heap_top_key(&h), heap_top(&h) ? heap_top(&h)->key : HEAP_NEVER);
    }
    heap_free(&h);
}

static void empties_in_order_and_first_come_first_on_ties(void **unused)
{
    heap h = { 0 };
    int64_t keys[] = { 5, 1, 5, 3, 1 };
    int order[] = { 1, 4, 3, 0, 2 };

    (void)unused;
    memset(items, 0, sizeof items);
    for (int i = 0; i < 5; i++)
        heap_set(&h, &items[i].node, keys[i]);
    for (int i = 0; i < 5; i++) {
        item *top = HEAP_OWNER(heap_top(&h), item, node);

        assert_ptr_equal(top, &items[order[i]]);
        heap_remove(&h, &top->node);
        heap_remove(&h, &top->node); /* harmless */
    }
    assert_null(heap_top(&h));
    assert_int_equal(heap_top_key(&h), HEAP_NEVER);
    heap_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_search_over_random_changes),
        cmocka_unit_test(empties_in_order_and_first_come_first_on_ties),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
