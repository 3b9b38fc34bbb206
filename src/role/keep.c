/*
 * keep.c - retention: what of the builds that have ended is kept, put into the store's numbers.
 */
#include "role/dispatcher_internal.h"

#define DAY_MS          (INT64_C(24) * 3600 * 1000)
#define EVENTS_MS       (30 * DAY_MS) /* where no time is given */
#define EVENTS_LEAST_MS DAY_MS        /* observers offer again, subscribers come back, within */

static void log_gone(void *ctx, uint64_t task, uint64_t att)
{
    dispatcher *d = ctx;

    for (unsigned part = 0; part < PARTS_N; part++) {
        const log_name name = { task, att, (msg_part)part };

        buf_add(&d->gone_logs, &name, sizeof name);
    }
}

static volt_code is_out_of_room(dispatcher *d, const dispatcher_keep *keep, bool *ret,
                                volt_err *err)
{
    uint64_t bytes;
    volt_code code;

    *ret = false;
    if (!keep->bytes)
        return VOLT_OK;
    code = d->store->ops->bytes(d->store, &bytes, err);
    if (code == VOLT_OK)
        *ret = bytes + d->logs.bytes(d->logs.ctx) > keep->bytes;
    return code;
}

static store_old bounds(const dispatcher *d, int64_t wall_ms, const dispatcher_keep *keep)
{
    return (store_old){ .ended_ms = keep->ms ? wall_ms - keep->ms : INT64_MIN,
                        .newest = keep->builds,
                        .event_ms = wall_ms - (keep->ms ? keep->ms : EVENTS_MS),
                        .room_ms = wall_ms - EVENTS_LEAST_MS,
                        .counted = d->counted,
                        .line_ms = wall_ms - history_keep_ms(keep->ms) };
}

volt_code dispatcher_prune(dispatcher *d, int64_t wall_ms, const dispatcher_keep *keep, size_t max,
                           bool *more, volt_err *err)
{
    store_old old = bounds(d, wall_ms, keep);
    store_head head;
    size_t at = 0;
    /* One at a time, and only those with a new build: counting a thousand takes 0.1 ms. */
    const map_entry *grown = keep->builds ? map_next(&d->grown, &at) : NULL;
    volt_code code;

    *more = false;
    if (*dispatch_trouble(d->core)) /* an old copy: what it would forget the newest may have */
        return VOLT_OK;
    code = is_out_of_room(d, keep, &old.for_room, err);
    if (grown)
        old.repo = grown->str;
    if (code == VOLT_OK)
        code = d->store->ops->prune(d->store, &old, max, log_gone, d, more, err);
    d->dirty = true;
    if (code == VOLT_OK)
        code = d->store->ops->head(d->store, &head, err);
    if (code != VOLT_OK)
        return code;
    d->floor = head.floor;
    d->crammed = old.for_room && !*more;
    if (grown && !*more) {
        map_removes(&d->grown, old.repo);
        *more = d->grown.n > 0;
    }
    return VOLT_OK;
}

bool dispatcher_is_crammed(const dispatcher *d)
{
    return d->crammed;
}
