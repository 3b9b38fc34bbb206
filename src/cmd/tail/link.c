#include "cmd/tail/link.h"

#include "base/log.h"

#define EVENT_FRAME_MAX ((int64_t)1024 * 1024)
#define REPLY_FRAME_MAX ((int64_t)32 * 1024 * 1024) /* a page: 1,000 events of at most 16 KiB */
#define QUESTIONS_MAX   8 /* wait for a dispatcher that is away; each is repeated later */

static volt_code resolve(tail_link *l, volt_err *err)
{
    volt_code rc = addr_resolve(&l->at, 1, &l->work, err);

    if (rc == VOLT_OK)
        rc = addr_resolve(&l->at, 2, &l->events, err);
    l->place = 0;
    return rc;
}

static volt_code join(tail_link *l, volt_err *err)
{
    volt_code rc = sock_connect(l->sub, l->events.v[l->place % l->events.n], err);

    return rc ? rc : sock_connect(l->dealer, l->work.v[l->place % l->work.n], err);
}

volt_code tail_link_open(tail_link *l, const char *server, volt_err *err)
{
    sock_options events = { .frame_max = EVENT_FRAME_MAX };
    sock_options work = { .frame_max = REPLY_FRAME_MAX, .send_hwm = QUESTIONS_MAX };
    volt_code rc = addr_parse(server, &l->at, err);

    if (!rc)
        rc = resolve(l, err);
    if (!rc)
        rc = sock_new(SOCK_SUB, &events, &l->sub, err);
    if (!rc)
        rc = sock_new(SOCK_DEALER, &work, &l->dealer, err);
    if (!rc)
        rc = sock_subscribe(l->sub, SLICE("e."), err);
    if (!rc)
        rc = sock_subscribe(l->sub, SLICE("h."), err);
    return rc ? rc : join(l, err);
}

void tail_link_close(tail_link *l)
{
    sock_free(l->sub);
    sock_free(l->dealer);
}

void tail_link_rotate(tail_link *l)
{
    volt_err err;

    sock_disconnect(l->sub, l->events.v[l->place % l->events.n], NULL);
    sock_disconnect(l->dealer, l->work.v[l->place % l->work.n], NULL);
    if (++l->place >= l->work.n && resolve(l, &err)) {
        l->place = 0; /* the old addresses are still in the lists, or part of the new ones */
        log_debug("%s", err.msg);
    }
    if (join(l, &err))
        log_debug("%s", err.msg);
}
