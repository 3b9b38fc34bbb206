#include <assert.h>
#include <stdio.h>

#include "base/mutant.h"
#include "base/text.h"
#include "store/memory_store.h"

volt_code memory_head(store *base, store_head *ret, volt_err *err)
{
    const memory_store *s = (memory_store *)base;
    const shelf *events = &s->shelves[ROW_EVENT];
    const memory_event *oldest = events->n ? events->v[0] : NULL;
    const row_cursor files = { .name = SLICE("files") };
    const row_cursor *counted = memory_find(&s->shelves[ROW_CURSOR], &files);

    (void)err;
    *ret = (store_head){
        .ep = s->ep,
        .last_seq = s->ids.last_seq,
        .floor = oldest ? oldest->seq : 0,
        .last_build = s->ids.last_build,
        .last_task = s->ids.last_task,
        .counted = counted ? counted->seq : 0,
    };
    memcpy(ret->hist, s->hist, sizeof ret->hist);
    memcpy(ret->stale, s->stale, sizeof ret->stale);
    return VOLT_OK;
}

volt_code memory_secret(store *base, const char if_new[33], char ret[33], volt_err *err)
{
    memory_store *s = (memory_store *)base;

    (void)err;
    if (!s->secret[0])
        memcpy(s->secret, if_new, sizeof s->secret);
    memcpy(ret, s->secret, sizeof s->secret);
    return VOLT_OK;
}

volt_code memory_stale(store *base, slice what, volt_err *err)
{
    memory_store *s = (memory_store *)base;

    (void)err;
    snprintf(s->stale, sizeof s->stale, SLICE_FMT, SLICE_ARG(what));
    return VOLT_OK;
}

volt_code memory_new_history(store *base, const char hist[33], volt_err *err)
{
    memory_store *s = (memory_store *)base;
    const shelf *events = &s->shelves[ROW_EVENT];

    (void)err;
    for (size_t i = 0; i < events->n; i++) {
        memory_event *e = events->v[i];
        char *at = e->bytes.n ? memmem(e->bytes.p, e->bytes.n, s->hist, 32) : NULL;

        if (at)
            memcpy(at, hist, 32);
    }
    memcpy(s->hist, hist, sizeof s->hist);
    s->stale[0] = '\0';
    return VOLT_OK;
}

volt_code memory_begin_epoch(store *base, const char hist_if_new[33], uint64_t *ret, volt_err *err)
{
    memory_store *s = (memory_store *)base;

    assert(text_is_hex(slice_of(hist_if_new), sizeof s->hist - 1));
    if (!s->hist[0])
        memcpy(s->hist, hist_if_new, sizeof s->hist);
    *ret = MUTANT(epoch_not_raised) && s->ep ? s->ep : ++s->ep;
    return base->ops->commit(base, err);
}
